"""Where a peak lies, by the truth of a cached exam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from training.data.cache import CachedExam


def malignant_lesions(meta: dict) -> list[dict]:
    """The malignant lesions of a cached exam whose place is known."""
    return [
        lesion
        for lesion in meta.get("lesions") or ()
        if lesion["malignant"] and lesion.get("ras_mm") is not None
    ]


def miss(exam: CachedExam, ras_mm: Sequence[float]) -> tuple[float, bool]:
    """How far a point misses the malignant lesions.

    Parameters
    ----------
    exam : CachedExam
        With the truth.
    ras_mm : sequence of float
        The point, RAS mm.

    Returns
    -------
    distance_mm : float
        To the nearest malignant lesion's centre.
    inside : bool
        Whether it lies inside a malignant lesion, read off the truth mask; without one off the lesion's box,
        and without that off the sphere of its radius.

    Raises
    ------
    InputError
        When no malignant lesion of the exam has a known place.
    """
    lesions = malignant_lesions(exam.meta)
    if not lesions:
        raise InputError(
            f"{exam.meta['exam']}: no malignant lesion has a known place, so a peak cannot be judged; "
            "leave the exam out."
        )
    point = np.array(ras_mm, dtype=np.float64)
    distances = [float(np.linalg.norm(point - lesion["ras_mm"])) for lesion in lesions]
    if exam.truth is not None and (exam.truth == 2).any():
        index = np.round(apply_affine(np.linalg.inv(exam.affine), point)).astype(int)
        on_grid = (index >= 0).all() and (index < exam.truth.shape).all()
        return min(distances), bool(on_grid and exam.truth[tuple(index)] == 2)
    return min(distances), any(_inside(point, *pair) for pair in zip(lesions, distances, strict=True))


def _inside(point: np.ndarray, lesion: dict, distance_mm: float) -> bool:
    if lesion.get("box_ras_mm") is not None:
        corners = np.sort(np.array(lesion["box_ras_mm"], dtype=np.float64), axis=0)
        return bool((point >= corners[0]).all() and (point <= corners[1]).all())
    return distance_mm <= float(lesion["radius_mm"])
