"""Points finer than a grid's voxels, and their means over voxels."""

from __future__ import annotations

import numpy as np

from .anatomy import Grid

Window = tuple[slice, slice, slice]
_SUB_VOXEL_MM = 1.25  # a coarse voxel holds the mean over points this far apart


def evenly_spread(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly over the sphere (a golden spiral)."""
    n = np.arange(count) + 0.5
    height, turn = 1 - 2 * n / count, np.pi * (1 + np.sqrt(5)) * n
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(turn), level * np.sin(turn), height], 1)


def fine_points(
    centre: np.ndarray, reach_mm: float, grid: Grid
) -> tuple[Window, list[np.ndarray], tuple[int, ...]]:
    """Points around a centre, several along each edge of a coarse voxel.

    Parameters
    ----------
    centre : numpy.ndarray
        (3,) mm.
    reach_mm : float
        How far the points go along each axis at least.
    grid : Grid
        That is refined.

    Returns
    -------
    window : tuple of slice
        Of the grid.
    points : list of numpy.ndarray
        float32 positions along x, y, z, mm from the centre.
    blocks : tuple of int
        (6,) shape that splits an array of the points into voxels and points within.
    """
    window, points, blocks = [], [], []
    for axis in range(3):
        centres, spacing, middle = grid.centres(axis), grid.spacing[axis], centre[axis]
        window.append(slice(*np.searchsorted(centres, (middle - reach_mm, middle + reach_mm))))
        n = max(1, round(spacing / _SUB_VOXEL_MM))
        fine = centres[window[axis], None] + ((np.arange(n) + 0.5) / n - 0.5) * spacing
        points.append((fine.ravel() - middle).astype(np.float32))
        blocks += [fine.shape[0], n]
    return tuple(window), points, tuple(blocks)


def voxel_means(
    fraction: np.ndarray, weighted: np.ndarray, blocks: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of each voxel, and the mean factor there, of points whose fraction was weighted by factors."""
    fraction, weighted = (a.reshape(blocks).mean((1, 3, 5)) for a in (fraction, weighted))
    factor = np.where(fraction > 0, weighted / np.maximum(fraction, 1e-6), 1.0)
    return fraction.astype(np.float32), factor.astype(np.float32)
