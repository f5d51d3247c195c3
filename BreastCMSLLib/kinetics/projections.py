"""Maximum intensity projections (MIP) of the early subtraction, each along an axis of the exam's own grid."""

from __future__ import annotations

import numpy as np

from ..core.geometry import Volume, closest_canonical_axes
from ..core.windows import bounding_box
from ..exam import Exam
from .names import MIP_AXIAL, MIP_LEFT, MIP_RIGHT, MIP_SAGITTAL
from .phases import kinetic_phases
from .regions import Breasts
from .settings import DEFAULTS, KineticSettings

_THICKEST_MM = 90.0  # of a voxel
_SIDES = {"right": MIP_RIGHT, "left": MIP_LEFT, "breast": MIP_SAGITTAL}


def projections(exam: Exam, breasts: Breasts, settings: KineticSettings = DEFAULTS) -> dict[str, Volume]:
    """Axial projection of the breasts, and a sagittal one of each.

    Only the breasts are projected: heart and vessels behind them would hide what lies in front.

    Parameters
    ----------
    exam : Exam
    breasts : Breasts
    settings : KineticSettings

    Returns
    -------
    dict of str to Volume
        By the names in ``names.PROJECTIONS``; float32, a few thick planes that are alike and fill the exam:
        every slice of a viewer shows the projection. Empty without breasts.
    """
    (lr, _, si), _ = closest_canonical_axes(exam.grid.affine)
    regions = {MIP_AXIAL: (breasts.inside, si)}
    regions |= {_SIDES[name]: (side, lr) for name, side in breasts.sides.items()}
    early = kinetic_phases(exam, settings).early
    return {
        name: _projection(exam, early, inside, axis)
        for name, (inside, axis) in regions.items()
        if inside.any()
    }


def _projection(exam: Exam, early: int, inside: np.ndarray, axis: int) -> Volume:
    """The highest positive change of a phase at the true voxels along an axis, 0 where there is none."""
    box = bounding_box(inside)
    change = exam.post[early].volume.array[box].astype(np.float32)
    change -= np.float32(exam.offsets[early]) if exam.pre is None else exam.pre.volume.array[box]
    change *= inside[box]
    # no more planes than voxels that are no thicker than a volume may have them
    shape = list(exam.grid.shape)
    planes = int(np.ceil(shape[axis] * exam.grid.spacing[axis] / _THICKEST_MM))
    thickness, shape[axis] = shape[axis] / planes, planes
    flat = np.zeros(shape[::-1], dtype=np.float32).T
    place = tuple(slice(None) if a == axis else s for a, s in enumerate(box))
    flat[place] = np.maximum(change.max(axis=axis, keepdims=True), 0.0)
    affine = np.array(exam.grid.affine)
    affine[:3, 3] += affine[:3, axis] * (thickness - 1) / 2
    affine[:3, axis] *= thickness
    return Volume(flat, affine)
