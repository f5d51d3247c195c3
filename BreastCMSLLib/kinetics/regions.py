"""Body and breasts on the exam's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.geometry import Volume, apply_affine, closest_canonical_axes
from ..core.resampling import resample
from ..exam import Exam, wide_enough_for_both
from ..preprocessing.body import tissue
from ..preprocessing.model_input import ModelInput

_BODY_MM = 3.0  # the largest voxels in which the body is told from air


@dataclass(frozen=True)
class Breasts:
    """The breast mask on the exam's own grid.

    Parameters
    ----------
    inside : ndarray, shape (i, j, k), bool
    sides : mapping of str to ndarray, bool
        ``right`` and ``left``; in an exam of one breast ``breast`` alone.
    """

    inside: np.ndarray
    sides: dict[str, np.ndarray]


def breasts_of(exam: Exam, model_input: ModelInput) -> Breasts:
    """The breast mask of a model input on the exam's own grid, parted at the sternum."""
    grid = exam.grid
    mask = Volume(model_input.inside.astype(np.uint8), model_input.affine)
    inside = resample(mask, grid.shape, grid.affine).array >= 0.5
    if not wide_enough_for_both(grid.shape, grid.affine):
        return Breasts(inside, {"breast": inside})
    # index i of the model's grid, which grows to the right, at every voxel of the exam's
    row = (np.linalg.inv(model_input.affine) @ grid.affine)[0]
    i, j, k = (np.arange(n, dtype=np.float32) * np.float32(step) for n, step in zip(grid.shape, row))
    right = i[:, None, None] + (j[:, None] + k[None, :]) > np.float32(model_input.middle - row[3])
    return Breasts(inside, {"right": inside & right, "left": inside & ~right})


def body_of(exam: Exam, breasts: Breasts) -> np.ndarray:
    """Where the exam's own grid shows tissue; where it holds subtractions alone, the breasts.

    Parameters
    ----------
    exam : Exam
    breasts : Breasts

    Returns
    -------
    ndarray, shape (i, j, k), bool
    """
    if exam.pre is None:
        return breasts.inside
    # a coarse grid of the exam's own axes, towards right, front and head
    pre = exam.pre.volume
    axes, flips = closest_canonical_axes(pre.affine)
    # of about that many voxels, which end where the exam's do: what is beyond has no body
    extents = [pre.shape[a] * pre.spacing[a] for a in axes]
    affine, shape = np.eye(4), [max(2, int(np.ceil(extent / _BODY_MM))) for extent in extents]
    corner = np.array([-0.5] * 3)
    for column, (axis, flip) in enumerate(zip(axes, flips)):
        direction = pre.affine[:3, axis] / pre.spacing[axis] * (-1 if flip else 1)
        affine[:3, column] = direction * extents[column] / shape[column]
        corner[axis] = pre.shape[axis] - 0.5 if flip else -0.5
    affine[:3, 3] = apply_affine(pre.affine, corner) + affine[:3, :3].sum(axis=1) / 2
    small = resample(pre, tuple(shape), affine)
    body = tissue(np.maximum(small.array, 0.0), _BODY_MM)
    found = resample(Volume(body.astype(np.uint8), affine), pre.shape, pre.affine).array >= 0.5
    return found | breasts.inside
