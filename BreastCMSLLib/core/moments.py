"""Second moments of voxels: how long, wide and thick a region is."""

from __future__ import annotations

import numpy as np


def half_axes(covariance: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Standard deviations along the principal axes of a region.

    Parameters
    ----------
    covariance
        3×3, of the positions of its voxels' centres, mm².
    spacing
        Voxel size along each axis, mm: a voxel is no point, it adds a twelfth of its squared size.

    Returns
    -------
    ndarray
        (3,) mm, the longest first; none is 0.
    """
    return np.sqrt(np.sort(np.linalg.eigvalsh(covariance + np.diag(spacing**2) / 12))[::-1])


def tubularity(axes: np.ndarray) -> float:
    """How much longer than wide a region of these :func:`half_axes` is: 0 round or flat, towards 1 long."""
    return float(1.0 - axes[1] / axes[0])


def flatness(axes: np.ndarray) -> float:
    """How much wider than thick a region of these :func:`half_axes` is: 0 round or long, towards 1 flat."""
    return float(1.0 - axes[2] / axes[1])
