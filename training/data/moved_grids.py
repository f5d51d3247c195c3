"""The same exam on another grid: moved by a part of a voxel, or turned by some degrees."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.preprocessing.model_input import canonical_grid

MOST_TURN_DEG = 5.0  # of the grids that are drawn

Grid = tuple[tuple[int, int, int], np.ndarray]


def moved_grid(
    exam: Exam,
    spacing_mm: float,
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    turn_deg: Sequence[float] = (0.0, 0.0, 0.0),
) -> Grid:
    """The exam's canonical grid, moved and turned, for ``preprocess(..., over=...)``.

    Parameters
    ----------
    exam : Exam
    spacing_mm : float
    shift : sequence of float
        Along each axis, in voxels, from 0 to 1; the grid is one voxel shorter where it is not 0.
    turn_deg : sequence of float
        Rotation vector (RAS), in degrees, about the grid's middle.

    Returns
    -------
    size : tuple of int
    affine : ndarray, shape (4, 4)
        Index → RAS mm.
    """
    size, affine = canonical_grid(exam.grid, spacing_mm)
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.asarray(shift, dtype=np.float64)
    size = tuple(n - bool(part) for n, part in zip(size, shift))
    turn = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    middle = apply_affine(affine, (np.array(size) - 1) / 2)
    affine[:3, 3] = middle + turn @ (affine[:3, 3] - middle)
    affine[:3, :3] = turn @ affine[:3, :3]
    return size, affine


def drawn_grid(exam: Exam, spacing_mm: float, name: str, copy: int) -> Grid:
    """A grid moved by up to a voxel along each axis and turned by up to ``MOST_TURN_DEG`` about any.

    What is drawn follows from the name and the number of the copy alone.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), copy])
    axis = rng.normal(size=3)
    turn = rng.uniform(0, MOST_TURN_DEG) * axis / np.linalg.norm(axis)
    return moved_grid(exam, spacing_mm, rng.uniform(0, 1, 3), turn)
