"""A woman lying prone in a breast coil: tissue fractions on the scanner's grid.

Coordinates in mm: x towards the patient's right, y towards the front (down, as she lies), z towards the head;
origin on the skin over the sternum. Shapes and their ranges are chosen to look like public exams; where a
number was measured, its source stands beside it. Every random number comes from NumPy and is drawn in mm, so
that a seed gives the same woman on every grid and every device: a coarse grid holds the averages of a fine
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

TISSUES = ("fat", "glandular", "muscle", "blood", "liver", "skin", "lung")
# Threshold of the glandular texture, its reach and the skew of its draw. Chosen so that the share of
# glandular tissue and skin in the breast comes near that of 2831 women: mean 19 %, 80 % of them below 27 %,
# 95 % below 45 % (Yaffe et al., Med Phys 2009;36:5437–5443). Here: 20 %, 75 % and 95 %
_SPARSE, _DENSE, _SKEW = 1.8, 2.2, 2.0
_BLEND_MM = 10.0  # over which the breasts run into the chest
_NIPPLE_MM = (6.0, 6.5, 6.0)
_SLAB_VOXELS = 150_000  # a CPU works several times faster on pieces that fit its cache


@dataclass(frozen=True)
class Grid:
    """A field of view and its voxels.

    Attributes
    ----------
    start, extent, spacing : tuple of float
        Corner, size and voxel size in mm along x, y, z.
    """

    start: tuple[float, float, float]
    extent: tuple[float, float, float]
    spacing: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(int(e / s) for e, s in zip(self.extent, self.spacing))

    def centres(self, axis: int) -> np.ndarray:
        """Positions of the voxel centres along an axis, mm."""
        return self.start[axis] + (np.arange(self.shape[axis]) + 0.5) * self.spacing[axis]


@dataclass
class Anatomy:
    """A woman on a grid.

    Attributes
    ----------
    fractions : torch.Tensor
        (tissues, i, j, k) float32 in 0–1, in the order of ``TISSUES``.
    depth, front : torch.Tensor
        (i, j, k) mm below the skin (negative in air), and in front of the chest wall.
    breast : torch.Tensor
        (i, j, k) side: −1 left, +1 right, 0 none.
    facts : dict
        Numbers that might be a shortcut to the label.
    """

    fractions: torch.Tensor
    depth: torch.Tensor
    breast: torch.Tensor
    front: torch.Tensor
    facts: dict


def smooth_noise(
    grid: Grid, cell_mm: float, rng: np.random.Generator, device: torch.device | str
) -> torch.Tensor:
    """Gaussian noise of about unit variance, correlated over a distance.

    A coarse random lattice in mm is interpolated linearly and averaged over each voxel, so that grids finer
    than its cells agree and coarser ones hold the mean.

    Parameters
    ----------
    grid : Grid
        Where it is needed.
    cell_mm : float
        Edge of the lattice's cells.
    rng : numpy.random.Generator
        Of the lattice.
    device : torch.device or str
        That the noise is made on.

    Returns
    -------
    torch.Tensor
        (i, j, k) float32.
    """
    nodes = [int(np.ceil(e / cell_mm)) + 2 for e in grid.extent]
    lattice = rng.standard_normal(nodes, dtype=np.float32)
    lattice *= 1.5**1.5 / lattice.std()  # linear interpolation along three axes leaves (2/3)³ of the variance
    lattice -= lattice.mean()
    half = [s / (2 * cell_mm) for s in grid.spacing]

    def below(t):  # integral of the hat function to t
        t = np.clip(t, -1, 1)
        return np.where(t < 0, 0.5 * (1 + t) ** 2, 1 - 0.5 * (1 - t) ** 2)

    out = torch.as_tensor(lattice, device=device)
    for axis in (2, 1, 0):  # one product per axis is much faster than trilinear up-sampling
        place = ((grid.centres(axis) - grid.start[axis]) / cell_mm)[:, None] - np.arange(nodes[axis])
        weights = (below(place + half[axis]) - below(place - half[axis])) / (2 * half[axis])
        matrix = torch.as_tensor(weights.astype(np.float32), device=device)
        if axis == 2:
            out = out @ matrix.T
        elif axis == 1:
            out = matrix @ out
        else:
            out = (matrix @ out.flatten(1)).reshape(grid.shape)
    return out


def _soft(signed_mm: torch.Tensor, width_mm: float) -> torch.Tensor:
    """Partial volume: 1 where the signed distance is well inside (positive), 0 outside."""
    return (signed_mm / width_mm).add_(0.5).clamp_(0, 1)


def _ellipsoid(x, y, z, centre, radii) -> torch.Tensor:
    """Approximate signed distance in mm, positive inside."""
    q2 = slope2 = 0.0
    for c, m, r in zip((x, y, z), centre, radii):
        part = ((c - m) * (1.0 / r)).square_()
        slope2 = slope2 + part * (1.0 / r**2)
        q2 = part + q2
    q = q2.clamp_min_(1e-6).sqrt_()
    slope = slope2.clamp_min_(1e-8).sqrt_().div_(q).clamp_min_(1e-3)
    return (1 - q).div_(slope)


@dataclass(frozen=True)
class _Breast:
    """side: −1 left, +1 right. centre, radii: of an ellipsoid, mm. nipple: its centre."""

    side: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    nipple: tuple[float, float, float]


@dataclass(frozen=True)
class _Woman:
    """Her sizes in mm. cover: from the skin to the muscle over the sternum. density: 0 fatty to 1 dense."""

    half_width: float
    half_depth: float
    cover: float
    middle_z: float
    breasts: tuple[_Breast, _Breast]
    skin_mm: float
    muscle_mm: float
    density: float


@dataclass(frozen=True)
class _Organs:
    """Ellipsoids (centre, radii) inside the chest, mm."""

    heart: tuple
    aorta: tuple
    arch: tuple
    liver: tuple


@dataclass(frozen=True)
class _Surfaces:
    """Signed distances in mm, positive inside: of each breast's ellipsoid, the skin, the chest wall."""

    breasts: list[torch.Tensor]
    depth: torch.Tensor
    wall: torch.Tensor


def build(grid: Grid, rng: np.random.Generator, device: torch.device | str = "cpu") -> Anatomy:
    """Draw a woman and lay her on a grid.

    Parameters
    ----------
    grid : Grid
        Field of view and voxels.
    rng : numpy.random.Generator
        All that is random about her; the same draws on every grid and device.
    device : torch.device or str
        That the tensors are made on.

    Returns
    -------
    Anatomy
        Tissue fractions, depth, breast side and distance from the chest wall of every voxel.
    """
    fields = iter(rng.spawn(6))
    bend = [smooth_noise(grid, 45.0, next(fields), device).mul_(rng.uniform(1.0, 4.0)) for _ in range(3)]
    woman = _draw_woman(rng)
    texture = _glandular_texture(grid, rng, fields, device)
    organs = _draw_organs(rng, woman)
    vessels = torch.as_tensor(_vessels(grid, woman, rng), device=device)

    fractions = torch.empty((len(TISSUES), *grid.shape), device=device)
    depth, breast, front = (torch.empty(grid.shape, device=device) for _ in range(3))
    x, y, z = (torch.as_tensor(grid.centres(axis).astype(np.float32), device=device) for axis in range(3))
    for rows in _slabs(grid, device):
        straight = (x[rows, None, None], y[None, :, None], z[None, None, :])
        at = [axis + bent[rows] for axis, bent in zip(straight, bend)]
        surfaces = _surfaces(at, woman)
        depth[rows], front[rows] = surfaces.depth, -surfaces.wall
        breast[rows], glandular = _breasts(at, woman, surfaces, texture[rows])
        tissues = _tissues(at, woman, organs, surfaces, glandular, vessels[rows], grid.spacing[0])
        for number, name in enumerate(TISSUES):
            fractions[number, rows] = tissues[name]

    of_breast = breast != 0
    glandular = (fractions[TISSUES.index("glandular")] * of_breast).sum()
    facts = {
        "breast_ml": float(of_breast.sum()) * float(np.prod(grid.spacing)) / 1000,
        "density": float(glandular / of_breast.sum().clamp_min(1)),
        "skin_mm": woman.skin_mm,
    }
    return Anatomy(fractions, depth, breast, front, facts)


def _draw_woman(rng: np.random.Generator) -> _Woman:
    u = rng.uniform
    half_width, half_depth = u(140, 175), u(90, 120)
    cover = u(9, 20)
    centre_x, size = u(72, 95), u(0.75, 1.25)
    projection = u(55, 125)
    middle_z = u(-10, 10)
    breasts = []
    for side in (-1, 1):
        radii = (size * u(56, 70), projection * u(0.93, 1.07) + 20, size * u(62, 84))
        centre = (side * centre_x * u(0.95, 1.05), -25 - u(0, 10), middle_z + u(-6, 6))
        nipple = (centre[0] + side * u(-4, 10), centre[1] + radii[1] + 1.0, centre[2] + u(-5, 5))
        breasts.append(_Breast(side, centre, radii, nipple))
    # breast CT, mean ± sd: Huang et al., Med Phys 2008;35:1199–1206
    skin_mm = float(np.clip(rng.normal(1.45, 0.30), 0.8, 2.3))
    muscle_mm = u(8, 18)
    density = u(0.0, 1.0) ** _SKEW
    return _Woman(half_width, half_depth, cover, middle_z, tuple(breasts), skin_mm, muscle_mm, density)


def _glandular_texture(grid: Grid, rng: np.random.Generator, fields, device) -> torch.Tensor:
    texture = smooth_noise(grid, rng.uniform(4, 8), next(fields), device).mul_(0.5)
    texture += smooth_noise(grid, rng.uniform(10, 20), next(fields), device).mul_(0.9)
    texture += smooth_noise(grid, 2.5, next(fields), device).mul_(0.3)
    return texture


def _draw_organs(rng: np.random.Generator, woman: _Woman) -> _Organs:
    u, z, cover = rng.uniform, woman.middle_z, woman.cover
    return _Organs(
        heart=((-u(15, 35), -u(62, 75) - cover * 0.5, z - u(-5, 25)), (u(42, 55), u(34, 44), u(48, 60))),
        aorta=((-u(8, 18), -u(130, 150), 0.0), (11.0, 11.0, 900.0)),
        arch=((u(-5, 12), -u(55, 70), z + u(50, 75)), (u(16, 26), u(16, 24), u(28, 40))),
        liver=((u(35, 60), -u(80, 95), z - u(105, 130)), (u(80, 100), u(60, 75), u(50, 70))),
    )


def _slabs(grid: Grid, device) -> Iterator[slice]:
    """Rows of the grid that are worked on at a time: few on a CPU, all of them elsewhere."""
    count, *plane = grid.shape
    thick = count if torch.device(device).type != "cpu" else max(1, _SLAB_VOXELS // (plane[0] * plane[1]))
    for first in range(0, count, thick):
        yield slice(first, min(first + thick, count))


def _surfaces(at, woman: _Woman) -> _Surfaces:
    # the torso: an elliptic cylinder
    width, depth = woman.half_width, woman.half_depth
    q = ((at[0] / width) ** 2 + ((at[1] + depth) / depth) ** 2).clamp_min_(1e-6).sqrt_()
    slope = ((at[0] / width**2) ** 2 + ((at[1] + depth) / depth**2) ** 2).clamp_min_(1e-9).sqrt_().div_(q)
    torso = (1 - q).div_(slope.clamp_min_(2e-3))
    # its smooth union with the breasts
    inside = [_ellipsoid(*at, breast.centre, breast.radii) for breast in woman.breasts]
    beyond = torch.maximum(*inside) - torso
    h = _soft(beyond, 2 * _BLEND_MM)
    return _Surfaces(inside, torso + beyond * h + _BLEND_MM * h * (1 - h), torso - woman.cover)


def _breasts(
    at, woman: _Woman, surfaces: _Surfaces, texture: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The side of the breast that a voxel lies in, and its glandular fraction."""
    front = -surfaces.wall
    side, glandular = torch.zeros_like(front), torch.zeros_like(front)
    for breast, signed in zip(woman.breasts, surfaces.breasts):
        within = (signed > 0) & (front > 0)
        side[within] = breast.side
        # glandular tissue: a cone that opens backwards from behind the nipple
        (cx, cy, cz), radii = breast.centre, breast.radii
        tip = cy + radii[1] * 0.9
        across = (((at[0] - cx) / (radii[0] * 0.62)) ** 2 + ((at[2] - cz) / (radii[2] * 0.62)) ** 2).sqrt_()
        along = ((tip - at[1]) / (radii[1] * 0.9)).clamp_(0, 1.2)
        cone = 1.0 - across / (0.25 + 0.85 * along.sqrt()) - 0.4 * (along - 0.75).clamp_min_(0)
        fraction = torch.sigmoid((2.2 * cone + 0.9 * texture - _SPARSE + _DENSE * woman.density) * 3.0)
        glandular += within * fraction * _soft(signed - 2.0, 4.0) * _soft(front - 3.0, 5.0) * (cone > -1.2)
    return side, glandular


def _tissues(
    at,
    woman: _Woman,
    organs: _Organs,
    surfaces: _Surfaces,
    glandular: torch.Tensor,
    vessels: torch.Tensor,
    voxel_mm: float,
) -> dict[str, torch.Tensor]:
    """Fraction of every tissue in the voxels of a slab; together they fill the body."""
    # layers from outside: skin, what is inside it, muscle, chest
    body = _soft(surfaces.depth, voxel_mm)
    inner = _soft(surfaces.depth - woman.skin_mm, voxel_mm)
    skin = body - inner  # the difference keeps the skin's thickness on every grid
    behind, chest = _soft(surfaces.wall, voxel_mm), _soft(surfaces.wall - woman.muscle_mm, voxel_mm)
    muscle, chest = inner * (behind - chest), chest * inner
    for breast in woman.breasts:
        nipple = _soft(_ellipsoid(*at, breast.nipple, _NIPPLE_MM), voxel_mm)
        skin, inner = torch.maximum(skin, nipple), torch.minimum(inner, 1 - nipple)
    muscle, chest = torch.minimum(muscle, inner), torch.minimum(chest, inner)
    # organs inside the chest; vessels and glandular tissue where nothing else is
    blood, liver = _chest_organs(at, organs, chest, voxel_mm)
    vessels = torch.minimum(vessels, (inner - blood - liver).clamp_min_(0))
    glandular = torch.minimum(glandular.clamp_(0, 1), (inner - muscle - chest - vessels).clamp_min_(0))
    tissues = {"glandular": glandular, "muscle": (muscle - vessels).clamp_min_(0), "blood": blood + vessels}
    tissues |= {"liver": liver, "skin": skin, "lung": (chest - tissues["blood"] - liver).clamp_min_(0)}
    return tissues | {"fat": (body - sum(tissues.values())).clamp_min_(0)}


def _chest_organs(
    at, organs: _Organs, chest: torch.Tensor, voxel_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blood (heart and great vessels) and liver."""
    if not chest.any():
        nothing = torch.zeros_like(chest)
        return nothing, nothing
    heart = _soft(_ellipsoid(*at, *organs.heart), voxel_mm * 2)
    aorta, arch = (_soft(_ellipsoid(*at, *vessel), voxel_mm) for vessel in (organs.aorta, organs.arch))
    blood = torch.maximum(torch.maximum(heart, aorta), arch).mul_(chest)
    liver = _soft(_ellipsoid(*at, *organs.liver), voxel_mm * 2).mul_(chest)
    return blood, torch.minimum(liver, (chest - blood).clamp_min_(0))


def _vessels(grid: Grid, woman: _Woman, rng: np.random.Generator) -> np.ndarray:
    """Blood fraction of smooth random vessels in the breasts and of the two internal mammary vessels."""
    fraction = np.zeros(grid.shape, dtype=np.float32)
    for side in (-1, 1):
        # internal mammary artery and vein, drawn as one vessel; width chosen
        radius = rng.uniform(1.2, 2.0)
        start, way = np.array([side * 24.0, -woman.cover - 9.0, -90.0]), np.array([0.0, 0.0, 180.0])
        _paint(fraction, grid, lambda t, start=start, way=way: start + t * way, 180.0, (radius, radius))
    for breast in woman.breasts:
        (cx, _, cz), radii = breast.centre, breast.radii
        for _ in range(rng.integers(2, 8)):
            start = [
                cx + rng.uniform(-0.6, 0.6) * radii[0],
                rng.uniform(-10, 5),
                cz + rng.uniform(-0.7, 0.7) * radii[2],
            ]
            aim = [
                cx + rng.uniform(-0.5, 0.5) * radii[0],
                breast.centre[1] + radii[1] * rng.uniform(0.5, 0.9),
                cz + rng.uniform(-0.5, 0.5) * radii[2],
            ]
            sway = [(rng.normal(0, 7 / n, 3), n, rng.uniform(0, np.pi)) for n in (1, 2, 3)]
            start, way = np.array(start), np.array(aim) - np.array(start)

            def path(t: np.ndarray, start=start, way=way, sway=sway) -> np.ndarray:
                return start + (way * t + sum(a * np.sin(np.pi * n * t + p) for a, n, p in sway))

            _paint(fraction, grid, path, 1.3 * float(np.linalg.norm(way)), (rng.uniform(0.9, 1.8), 0.5))
    return fraction


def _paint(
    fraction: np.ndarray,
    grid: Grid,
    path: Callable[[np.ndarray], np.ndarray],
    length_mm: float,
    radii: tuple[float, float],
) -> None:
    """Add a vessel to the blood fractions; its cross-section keeps its area on a grid of any spacing.

    path: from (n, 1) shares of the way to (n, 3) points. radii: at its beginning and end, mm.
    """
    centres, width = [grid.centres(axis) for axis in range(3)], max(grid.spacing)
    t = np.linspace(0, 1, max(2, int(2 * length_mm / width)))
    for point, radius in zip(path(t[:, None]), np.linspace(*radii, t.size)):
        # area of the cone (or truncated cone) that the soft edge makes of a disc, to divide it out
        if radius < width / 2:
            soft = 3 * width * radius**2 / (radius + width / 2) ** 3
        else:
            soft = radius**2 / (radius**2 + width**2 / 12)
        reach = radius + width / 2
        window = tuple(slice(*np.searchsorted(g, (c - reach, c + reach))) for g, c in zip(centres, point))
        x, y, z = (g[w] - c for g, w, c in zip(centres, window, point))
        distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
        painted = np.clip((radius - distance) / width + 0.5, 0, 1) * soft
        fraction[window] = np.maximum(fraction[window], painted)
