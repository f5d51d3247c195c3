"""What a region looks like in the early subtraction, in three numbers that plain words can be made of."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume
from ..core.windows import bounding_box, box_about
from ..exam import Exam

_SHELL_MM = 8.0  # about the region, with which it is compared
_EDGE_MM, _RIM_MM = 1.0, 3.0  # below the surface: left out, as half of it is other tissue; and the rim


def appearance(exam: Exam, region: Volume, phase: int, inside: np.ndarray) -> dict[str, float | None]:
    """Contrast, rim and unevenness of a region.

    Parameters
    ----------
    exam : Exam
    region : Volume
        Boolean, on the exam's own grid.
    phase : int
        Of ``exam.post``, the early one.
    inside : ndarray, shape (i, j, k), bool
        The breasts.

    Returns
    -------
    dict
        ``contrast``: mean of the region over the mean of the breast within 8 mm about it. ``rim``: mean of
        its outer 3 mm over the mean of what lies deeper. ``unevenness``: standard deviation over mean, a
        millimetre below the surface. None where it is too small to tell.
    """
    spacing = exam.grid.spacing
    own = bounding_box(region.array)
    middle = np.array([(s.start + s.stop - 1) / 2 for s in own])
    half = np.array([(s.stop - s.start) / 2 for s in own]) + np.ceil(_SHELL_MM / spacing)
    box = box_about(middle, half, region.array.shape)
    # early enhancement, and depth below and height above the surface
    change = exam.post[phase].volume.array[box].astype(np.float32)
    change -= np.float32(exam.offsets[phase]) if exam.pre is None else exam.pre.volume.array[box]
    body = region.array[box]
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    height = ndimage.distance_transform_edt(~body, sampling=spacing)
    step = float(spacing.min()) / 2  # a surface lies half a voxel outside the outermost centres
    about = (height > _EDGE_MM + step) & (height <= _SHELL_MM) & inside[box]
    inner = depth > _EDGE_MM + step
    core = depth > _RIM_MM + step
    return {
        "contrast": _ratio(change, body, about),
        "rim": _ratio(change, inner & ~core, core),
        "unevenness": _unevenness(change, inner),
    }


def _ratio(change: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> float | None:
    """Mean over mean; None where either is too small or nothing enhances."""
    if min(np.count_nonzero(upper), np.count_nonzero(lower)) < 8:
        return None
    below = float(change[lower].mean())
    return round(float(change[upper].mean()) / below, 2) if below > 0 else None


def _unevenness(change: np.ndarray, where: np.ndarray) -> float | None:
    values = change[where]
    return round(float(values.std() / values.mean()), 2) if values.size >= 8 and values.mean() > 0 else None
