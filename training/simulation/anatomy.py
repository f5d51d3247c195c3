"""A woman lying prone in a breast coil: tissue fractions on the scanner's grid.

Coordinates in mm: x towards the patient's right, y towards the front (down, as she lies), z towards the head; origin on
the skin over the sternum. Shapes and their ranges are chosen to look like public exams; where a number was measured, its
source stands beside it. Every random number comes from NumPy and is drawn in mm, so that a seed gives the same woman on
every grid and every device: a coarse grid holds the averages of a fine one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

TISSUES = ("fat", "glandular", "muscle", "blood", "liver", "skin", "lung")
# Threshold of the glandular texture, its reach and the skew of its draw. Chosen so that the share of glandular tissue and skin in
# the breast comes near that of 2831 women: mean 19 %, 80 % of them below 27 %, 95 % below 45 % (Yaffe et al., Med Phys
# 2009;36:5437–5443). Here: 20 %, 75 % and 95 %
_SPARSE, _DENSE, _SKEW = 1.8, 2.2, 2.0
_SLAB_VOXELS = 150_000  # a CPU works several times faster on pieces that fit its cache


@dataclass(frozen=True)
class Grid:
    """A field of view and its voxels: start (the corner), extent and spacing in mm along x, y, z."""

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
    """fractions: float32 (tissue, i, j, k) in 0–1, in the order of TISSUES. depth: mm below the skin (negative in air).
    breast: side −1 left, +1 right, 0 none. front: mm in front of the chest wall. facts: what might be a shortcut to a label."""

    fractions: torch.Tensor
    depth: torch.Tensor
    breast: torch.Tensor
    front: torch.Tensor
    facts: dict


def smooth_noise(grid: Grid, cell_mm: float, rng: np.random.Generator, device: torch.device | str) -> torch.Tensor:
    """Gaussian noise of about unit variance, correlated over cell_mm: a coarse random lattice in mm, interpolated linearly
    and averaged over each voxel, so that grids finer than the cell agree and coarser ones hold the mean."""
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


def build(grid: Grid, rng: np.random.Generator, device: torch.device | str = "cpu") -> Anatomy:
    """Draw a woman and lay her on the grid."""
    u = rng.uniform
    voxel_mm = grid.spacing[0]
    fields = iter(rng.spawn(6))
    bend = [smooth_noise(grid, 45.0, next(fields), device).mul_(u(1.0, 4.0)) for _ in range(3)]

    half_width, half_depth = u(140, 175), u(90, 120)
    cover = u(9, 20)  # skin to muscle over the sternum
    centre_x, size = u(72, 95), u(0.75, 1.25)
    projection = u(55, 125)
    middle_z = u(-10, 10)
    breasts = []
    for side in (-1, 1):
        radii = (size * u(56, 70), projection * u(0.93, 1.07) + 20, size * u(62, 84))
        centre = (side * centre_x * u(0.95, 1.05), -25 - u(0, 10), middle_z + u(-6, 6))
        nipple = (centre[0] + side * u(-4, 10), centre[1] + radii[1] + 1.0, centre[2] + u(-5, 5))
        breasts.append((side, centre, radii, nipple))
    # breast CT, mean ± sd: Huang et al., Med Phys 2008;35:1199–1206
    skin_mm = float(np.clip(rng.normal(1.45, 0.30), 0.8, 2.3))
    muscle_mm = u(8, 18)
    density = u(0.0, 1.0) ** _SKEW
    texture = smooth_noise(grid, u(4, 8), next(fields), device).mul_(0.5)
    texture += smooth_noise(grid, u(10, 20), next(fields), device).mul_(0.9)
    texture += smooth_noise(grid, 2.5, next(fields), device).mul_(0.3)
    heart = ((-u(15, 35), -u(62, 75) - cover * 0.5, middle_z - u(-5, 25)), (u(42, 55), u(34, 44), u(48, 60)))
    aorta = ((-u(8, 18), -u(130, 150), 0.0), (11.0, 11.0, 900.0))
    arch = ((u(-5, 12), -u(55, 70), middle_z + u(50, 75)), (u(16, 26), u(16, 24), u(28, 40)))
    liver_at = ((u(35, 60), -u(80, 95), middle_z - u(105, 130)), (u(80, 100), u(60, 75), u(50, 70)))
    vessels = torch.as_tensor(_vessels(grid, breasts, cover, rng), device=device)

    shape = grid.shape
    fractions = torch.empty((len(TISSUES), *shape), device=device)
    depth_all, breast_all, front_all = (torch.empty(shape, device=device) for _ in range(3))
    x, y, z = (torch.as_tensor(grid.centres(a).astype(np.float32), device=device) for a in range(3))
    thick = shape[0] if torch.device(device).type != "cpu" else max(1, _SLAB_VOXELS // (shape[1] * shape[2]))
    for first in range(0, shape[0], thick):
        rows = slice(first, min(first + thick, shape[0]))
        at = (x[rows, None, None] + bend[0][rows], y[None, :, None] + bend[1][rows], z[None, None, :] + bend[2][rows])
        q = ((at[0] / half_width) ** 2 + ((at[1] + half_depth) / half_depth) ** 2).clamp_min_(1e-6).sqrt_()
        slope = ((at[0] / half_width**2) ** 2 + ((at[1] + half_depth) / half_depth**2) ** 2).clamp_min_(1e-9).sqrt_().div_(q)
        torso = (1 - q).div_(slope.clamp_min_(2e-3))
        inside = [_ellipsoid(*at, centre, radii) for _, centre, radii, _ in breasts]
        both = torch.maximum(*inside) - torso
        blend = 10.0  # smooth union of breasts and chest
        h = _soft(both, 2 * blend)
        depth = torso + both * h + blend * h * (1 - h)
        front = cover - torso
        wall = torso - cover  # > 0 behind the chest wall

        body = _soft(depth, voxel_mm)
        inner = _soft(depth - skin_mm, voxel_mm)
        skin = body - inner  # the difference keeps the skin's thickness on every grid
        behind, chest = _soft(wall, voxel_mm), _soft(wall - muscle_mm, voxel_mm)
        muscle = inner * (behind - chest)
        chest = chest * inner
        side_here = torch.zeros_like(depth)
        glandular = torch.zeros_like(depth)
        for (side, centre, radii, nipple), signed in zip(breasts, inside):
            within = (signed > 0) & (front > 0)
            side_here[within] = side
            # glandular tissue: a cone that opens backwards from behind the nipple
            tip = centre[1] + radii[1] * 0.9
            across = (((at[0] - centre[0]) / (radii[0] * 0.62)) ** 2 + ((at[2] - centre[2]) / (radii[2] * 0.62)) ** 2).sqrt_()
            along = ((tip - at[1]) / (radii[1] * 0.9)).clamp_(0, 1.2)
            cone = 1.0 - across / (0.25 + 0.85 * along.sqrt()) - 0.4 * (along - 0.75).clamp_min_(0)
            fraction = torch.sigmoid((2.2 * cone + 0.9 * texture[rows] - _SPARSE + _DENSE * density) * 3.0)
            glandular += within * fraction * _soft(signed - 2.0, 4.0) * _soft(front - 3.0, 5.0) * (cone > -1.2)
            knob = _soft(_ellipsoid(*at, nipple, (6.0, 6.5, 6.0)), voxel_mm)
            skin = torch.maximum(skin, knob)
            inner = torch.minimum(inner, 1 - knob)
        muscle, chest = torch.minimum(muscle, inner), torch.minimum(chest, inner)
        blood = liver = torch.zeros_like(depth)
        if chest.any():
            blood = torch.maximum(_soft(_ellipsoid(*at, *heart), voxel_mm * 2), _soft(_ellipsoid(*at, *aorta), voxel_mm))
            blood = torch.maximum(blood, _soft(_ellipsoid(*at, *arch), voxel_mm)).mul_(chest)
            liver = torch.minimum(_soft(_ellipsoid(*at, *liver_at), voxel_mm * 2).mul_(chest), (chest - blood).clamp_min_(0))
        vessels_in = torch.minimum(vessels[rows], (inner - blood - liver).clamp_min_(0))
        glandular = torch.minimum(glandular.clamp_(0, 1), (inner - muscle - chest - vessels_in).clamp_min_(0))
        parts = {"glandular": glandular, "muscle": (muscle - vessels_in).clamp_min_(0), "blood": blood + vessels_in}
        parts |= {"liver": liver, "skin": skin, "lung": (chest - parts["blood"] - liver).clamp_min_(0)}
        parts["fat"] = (body - sum(parts.values())).clamp_min_(0)
        for n, name in enumerate(TISSUES):
            fractions[n, rows] = parts[name]
        depth_all[rows], breast_all[rows], front_all[rows] = depth, side_here, front
    of_breast = breast_all != 0
    volume = float(of_breast.sum()) * float(np.prod(grid.spacing)) / 1000
    facts = {"breast_ml": volume, "density": float((fractions[1] * of_breast).sum() / of_breast.sum().clamp_min(1)), "skin_mm": skin_mm}
    return Anatomy(fractions, depth_all, breast_all, front_all, facts)


def _vessels(grid: Grid, breasts, cover: float, rng: np.random.Generator) -> np.ndarray:
    """Blood fraction of smooth random vessels in the breasts and of the two internal mammary vessels.

    A vessel's cross-section keeps its area on a grid of any spacing.
    """
    out = np.zeros(grid.shape, dtype=np.float32)
    centres = [grid.centres(a) for a in range(3)]
    width = max(grid.spacing)

    def paint(start: np.ndarray, path, length_mm: float, radius_from: float, radius_to: float) -> None:
        t = np.linspace(0, 1, max(2, int(2 * length_mm / width)))
        for point, radius in zip(start + path(t[:, None]), np.linspace(radius_from, radius_to, t.size)):
            # area of the cone (or truncated cone) that the soft edge makes of a disc, to divide it out
            soft = 3 * width * radius**2 / (radius + width / 2) ** 3 if radius < width / 2 else radius**2 / (radius**2 + width**2 / 12)
            reach = radius + width / 2
            window = tuple(slice(*np.searchsorted(g, (c - reach, c + reach))) for g, c in zip(centres, point))
            offsets = [g[w] - c for g, w, c in zip(centres, window, point)]
            distance = np.sqrt(offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2)
            out[window] = np.maximum(out[window], np.clip((radius - distance) / width + 0.5, 0, 1) * soft)

    for side in (-1, 1):
        # internal mammary artery and vein, drawn as one vessel; width chosen
        radius = rng.uniform(1.2, 2.0)
        paint(np.array([side * 24.0, -cover - 9.0, -90.0]), lambda t: t * np.array([0.0, 0.0, 180.0]), 180.0, radius, radius)
    for _side, centre, radii, _nipple in breasts:
        for _vessel in range(rng.integers(2, 8)):
            start = np.array(
                [centre[0] + rng.uniform(-0.6, 0.6) * radii[0], rng.uniform(-10, 5), centre[2] + rng.uniform(-0.7, 0.7) * radii[2]]
            )
            aim = np.array(
                [
                    centre[0] + rng.uniform(-0.5, 0.5) * radii[0],
                    centre[1] + radii[1] * rng.uniform(0.5, 0.9),
                    centre[2] + rng.uniform(-0.5, 0.5) * radii[2],
                ]
            )
            sway = [(rng.normal(0, 7 / n, 3), n, rng.uniform(0, np.pi)) for n in (1, 2, 3)]
            paint(
                start,
                lambda t, to=aim - start, sway=sway: to * t + sum(a * np.sin(np.pi * n * t + p) for a, n, p in sway),
                1.3 * float(np.linalg.norm(aim - start)),
                rng.uniform(0.9, 1.8),
                0.5,
            )
    return out
