"""Voxels, random fields and shapes that hold the same millimetres on every grid and device.

A coarse grid holds the averages of a fine one: fields are averaged over each voxel, and what is thinner than
a voxel keeps its volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

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

    def axes(self, device: torch.device | str) -> list[torch.Tensor]:
        """The voxel centres along x, y, z as float32 tensors, mm."""
        return [torch.as_tensor(self.centres(axis).astype(np.float32), device=device) for axis in range(3)]

    def slabs(self, device: torch.device | str) -> Iterator[slice]:
        """Planes across x that are worked on at a time: few on a CPU, all of them elsewhere."""
        count, *plane = self.shape
        on_cpu = torch.device(device).type == "cpu"
        thick = max(1, _SLAB_VOXELS // (plane[0] * plane[1])) if on_cpu else count
        for first in range(0, count, thick):
            yield slice(first, min(first + thick, count))

    def window(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, ...]:
        """The voxels whose centres lie within a box (mm); empty outside the grid."""
        return tuple(
            slice(*np.searchsorted(self.centres(axis), (low[axis], high[axis]))) for axis in range(3)
        )


def smooth_noise(
    grid: Grid,
    cell_mm: float | Sequence[float],
    rng: np.random.Generator,
    device: torch.device | str,
    rows: slice = slice(None),
) -> torch.Tensor:
    """Gaussian noise of about unit variance, correlated over a distance.

    A coarse random lattice in mm is interpolated linearly and averaged over each voxel, so that grids finer
    than its cells agree and coarser ones hold the mean.

    Parameters
    ----------
    grid : Grid
        Where it is needed.
    cell_mm : float or sequence of float
        Edge of the lattice's cells, one or one along each axis.
    rng : numpy.random.Generator
        Of the lattice.
    device : torch.device or str
        That the noise is made on.
    rows : slice
        Of the second axis; the rest is left out.

    Returns
    -------
    torch.Tensor
        (i, rows, k) float32.
    """
    cells = np.broadcast_to(np.asarray(cell_mm, dtype=float), 3)
    nodes = [int(np.ceil(e / cell)) + 2 for e, cell in zip(grid.extent, cells)]
    lattice = rng.standard_normal(nodes, dtype=np.float32)
    lattice *= 1.5**1.5 / lattice.std()  # linear interpolation along three axes leaves (2/3)³ of the variance
    lattice -= lattice.mean()

    def below(t):  # integral of the hat function to t
        t = np.clip(t, -1, 1)
        return np.where(t < 0, 0.5 * (1 + t) ** 2, 1 - 0.5 * (1 - t) ** 2)

    out = torch.as_tensor(lattice, device=device)
    for axis in (2, 1, 0):  # one product per axis is much faster than trilinear up-sampling
        half = grid.spacing[axis] / (2 * cells[axis])
        place = ((grid.centres(axis) - grid.start[axis]) / cells[axis])[:, None] - np.arange(nodes[axis])
        weights = (below(place + half) - below(place - half)) / (2 * half)
        matrix = torch.as_tensor(
            weights.astype(np.float32)[rows if axis == 1 else slice(None)], device=device
        )
        if axis == 2:
            out = out @ matrix.T
        elif axis == 1:
            out = matrix @ out
        else:
            out = (matrix @ out.flatten(1)).reshape(matrix.shape[0], *out.shape[1:])
    return out


def bent(points: np.ndarray, grid: Grid, bend: Sequence[torch.Tensor]) -> np.ndarray:
    """Where points (n, 3) of the straight woman lie in the bent one, mm."""
    voxel = np.clip((points - grid.start) / grid.spacing, 0, np.array(grid.shape) - 1).astype(np.int64)
    at = tuple(torch.as_tensor(axis, device=bend[0].device) for axis in voxel.T)
    return points - np.stack([field[at].cpu().numpy() for field in bend], 1)


def unit_variance(field: torch.Tensor) -> torch.Tensor:
    """Scale a field in place: averages over coarse voxels vary less, and thresholds mean the same then."""
    return field.div_(field.std().clamp_min(1e-3))


def soft(signed_mm: torch.Tensor, width_mm: float) -> torch.Tensor:
    """Partial volume: 1 where the signed distance is well inside (positive), 0 outside; the input is lost."""
    return signed_mm.div(width_mm).add_(0.5).clamp_(0, 1)


def ramp(values, low: float, high: float):
    """0 below ``low``, 1 above ``high``, smooth between; of an array or a number."""
    t = np.clip((np.asarray(values, dtype=float) - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def sheet(field: torch.Tensor, slope_per_mm: float, thick_mm: float, voxel_mm: float) -> torch.Tensor:
    """Share of each voxel in the sheet around a field's zero.

    A sheet thinner than a voxel is spread over the voxel, so that its volume is the same on every grid.

    Parameters
    ----------
    field : torch.Tensor
        Of unit variance; its zeros are the middle of the sheet.
    slope_per_mm : float
        Of the field, typically.
    thick_mm, voxel_mm : float
        Of the sheet and the grid.
    """
    thin, spread = slope_per_mm * thick_mm, slope_per_mm * max(thick_mm, voxel_mm)
    share = _mean_of_hat(thin) / _mean_of_hat(spread)
    return field.abs().mul_(-1.0 / spread).add_(1.0).clamp_(min=0).mul_(share)


def _mean_of_hat(width: float) -> float:
    """Mean of 1 − |n|/width, where positive, over a normal n."""
    normal = [math.exp(-(n**2) / 2) / math.sqrt(2 * math.pi) for n in (0, width)]
    return math.erf(width / math.sqrt(2)) - 2 / width * (normal[0] - normal[1])


def smooth_union(a: torch.Tensor, b: torch.Tensor, blend_mm: float) -> torch.Tensor:
    """Signed distance of two bodies that run into each other over a distance."""
    beyond = b - a
    h = soft(beyond, 2 * blend_mm)
    return beyond.mul_(h).add_(a).add_(blend_mm * h * (1 - h))


def ellipsoid(x, y, z, centre: Sequence[float], radii: Sequence[float]) -> torch.Tensor:
    """Approximate signed distance in mm, positive inside."""
    q2 = slope2 = 0.0
    for c, m, r in zip((x, y, z), centre, radii):
        part = ((c - m) * (1.0 / r)).square_()
        slope2 = slope2 + part * (1.0 / r**2)
        q2 = part + q2
    q = q2.clamp_min_(1e-6).sqrt_()
    slope = slope2.clamp_min_(1e-8).sqrt_().div_(q).clamp_min_(1e-3)
    return (1 - q).div_(slope)


def turned_ellipsoid(
    grid: Grid, centre: Sequence[float], radii: Sequence[float], turn: np.ndarray, device: torch.device | str
) -> tuple[tuple[slice, ...], torch.Tensor]:
    """Window of the grid and share of its voxels in an ellipsoid; small ones keep their volume.

    Parameters
    ----------
    grid : Grid
        To draw on.
    centre, radii : sequence of float
        mm.
    turn : numpy.ndarray
        (3, 3) rotation; its rows are the directions of the radii.
    device : torch.device or str
        Of the result.

    Returns
    -------
    window : tuple of slice
        Empty outside the grid.
    share : torch.Tensor
        float32 on the window.
    """
    width = max(grid.spacing)
    reach = np.sqrt(((np.asarray(radii)[:, None] * turn) ** 2).sum(0)) + width
    window = grid.window(np.asarray(centre) - reach, np.asarray(centre) + reach)
    x, y, z = (axis[w] - float(c) for axis, w, c in zip(grid.axes(device), window, centre))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    along = [x * float(row[0]) + y * float(row[1]) + z * float(row[2]) for row in turn]
    inside = ellipsoid(*along, (0.0, 0.0, 0.0), radii)
    # volume of the ball (or cone) that the soft edge makes of a sphere, to divide it out
    mean = float(np.prod(radii)) ** (1 / 3)
    if mean < width / 2:
        volume = 4 * width * mean**3 / (mean + width / 2) ** 4
    else:
        volume = mean**2 / (mean**2 + width**2 / 4)
    return window, soft(inside, width).mul_(volume)


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A (3, 3) rotation, all directions alike."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))
