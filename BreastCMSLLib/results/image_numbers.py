"""On which image of which series a point lies: what a reader types at a workstation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.geometry import LPS_FROM_RAS, apply_affine
from ..exam import Exam, Phase, PlannedStack
from ..readers.dicom.objects import is_dicom
from ..readers.dicom.scan import scan
from ..readers.dicom.slices import Slice

_SAME_MM = 0.01


def image_numbers(exam: Exam, phase: Phase, points: Sequence[Sequence[float]]) -> list[dict[str, Any] | None]:
    """Series and image of a phase nearest to each point.

    Parameters
    ----------
    exam : Exam
    phase : Phase
        One of its ``phases``.
    points : sequence of sequence of float
        RAS, mm.

    Returns
    -------
    list of dict or None
        ``series`` (its number, or None), ``image`` (instance or frame number) and ``of`` (images of the
        series); None where the exam was not read from DICOM files, or these do not tell.
    """
    stack = _stack_of(exam, phase)
    slices = [] if stack is None else scan([Path(file) for file in stack.files]).slices
    if not slices or any(item.position is None or item.orientation is None for item in slices):
        return [None] * len(points)
    # heights along the normal of the images; two at one height are of several volumes
    axes = np.array(slices[0].orientation, dtype=float).reshape(2, 3)
    normal = np.cross(*axes)
    heights = np.array([item.position for item in slices], dtype=float) @ normal
    if len(heights) > 1 and np.diff(np.sort(heights)).min() < _SAME_MM:
        return [None] * len(points)
    count = _images_of_series(exam, stack, slices)
    records = []
    for point in points:
        height = float(apply_affine(LPS_FROM_RAS, np.asarray(point, dtype=float)) @ normal)
        nearest = slices[int(np.abs(heights - height).argmin())]
        number = nearest.instance_number if nearest.frame is None else nearest.frame + 1
        known = number is not None and 0 < number <= count
        records.append({"series": nearest.series_number, "image": number, "of": count} if known else None)
    return records


def _stack_of(exam: Exam, phase: Phase) -> PlannedStack | None:
    """The stack of a phase that holds DICOM files of its own."""
    stacks = [] if exam.plan is None else exam.plan.stacks
    own = [stack for stack in stacks if stack.is_dynamic and stack.name == phase.name]
    return own[0] if len(own) == 1 and own[0].files and is_dicom(Path(own[0].files[0])) else None


def _images_of_series(exam: Exam, stack: PlannedStack, slices: Sequence[Slice]) -> int:
    """How many images the series has: its other phases may lie in other stacks."""
    if slices[0].frame is not None:
        return slices[0].frames
    if stack.series_number is None:
        return len(slices)
    same = [other for other in exam.plan.stacks if other.series_number == stack.series_number]
    return sum(len(other.files) for other in same)
