"""A curve where one looks: regions about a point, and the same region of the other breast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine
from ..core.windows import box_about, distance
from ..exam import Exam
from ..findings.kinetics import region_curve
from ..preprocessing.landmarks import Landmarks

RADIUS_MM = 2.0  # of the ball about a point, as of a candidate's curve


def ball_about(exam: Exam, ras_mm: Sequence[float], radius_mm: float = RADIUS_MM) -> Volume:
    """The voxels of an exam about a point, at least the nearest one.

    Parameters
    ----------
    exam : Exam
    ras_mm : sequence of float
        RAS, mm.
    radius_mm : float

    Returns
    -------
    Volume
        Boolean, on a box of the exam's own grid.

    Raises
    ------
    InputError
        The point lies outside the exam.
    """
    grid = exam.grid
    centre = apply_affine(np.linalg.inv(grid.affine), np.asarray(ras_mm, dtype=np.float64))
    nearest = np.round(centre).astype(int)
    if not ((nearest >= 0) & (nearest < grid.shape)).all():
        raise InputError("The place lies outside the exam; choose one inside it.")
    box = box_about(nearest, np.ceil(radius_mm / grid.spacing), grid.shape)
    inside = distance(box, centre, grid.spacing) <= radius_mm
    start = np.array([s.start for s in box])
    inside[tuple(nearest - start)] = True
    affine = np.array(grid.affine)
    affine[:3, 3] = apply_affine(grid.affine, start)
    return Volume(inside, affine)


def mirrored(volume: Volume, landmarks: Landmarks) -> Volume:
    """A volume mirrored into the other breast, at the plane through the line of skin over the sternum.

    Parameters
    ----------
    volume : Volume
        On any grid.
    landmarks : Landmarks
        Of the exam; the plane is upright on its axis towards the right.

    Returns
    -------
    Volume
        The same voxels at their mirror images.
    """
    right, point = landmarks.axes[0], landmarks.sternum[0]
    mirror = np.eye(4)
    mirror[:3, :3] -= 2 * np.outer(right, right)
    mirror[:3, 3] = 2 * right * (right @ point)
    return Volume(volume.array, mirror @ volume.affine)


def curves_of(
    exam: Exam, region: Volume, landmarks: Landmarks | None = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The mean curve of a region, and that of the same region of the other breast.

    Parameters
    ----------
    exam : Exam
    region : Volume
        Boolean, on any grid.
    landmarks : Landmarks, optional
        Without them there is no mirror.

    Returns
    -------
    curve, other : dict
        As in ``findings.kinetics``; the other None where it is not known where it lies, or outside the exam.

    Raises
    ------
    InputError
        The region holds no voxel of the exam.
    """
    curve = region_curve(exam, region)
    if landmarks is None:
        return curve, None
    try:
        return curve, region_curve(exam, mirrored(region, landmarks))
    except InputError:
        return curve, None
