"""How an exam was acquired, and what of it the model does not know: voxel size, field of view, times.

It shows before an analysis, so that the input check foresees what the range check will say. Needs NumPy
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.geometry import extent_mm, spacing_of
from ..exam import wide_enough_for_both

MAX_SPACING_MM = 4.0  # small lesions are not seen in larger voxels
SPAN_S = (60.0, 1800.0)  # from the first post-contrast phase to the last
MAX_STEP_S = 420.0
MAX_EXTENT_MM = 300.0  # from head to foot; a breast MRI takes in 140 to 260 mm


@dataclass(frozen=True)
class Reason:
    """Why an exam is out of range.

    Parameters
    ----------
    code : str
        A stable word for programs.
    text : str
        A sentence for people.
    """

    code: str
    text: str


def unknown_acquisition(
    shape: Sequence[int], affine: np.ndarray, post: int, times_s: Sequence[float] | None
) -> list[Reason]:
    """Why the model does not know such an acquisition.

    Parameters
    ----------
    shape, affine
        Of the exam's grid; index → RAS mm.
    post : int
        Number of phases after contrast, or subtractions.
    times_s : sequence of float, optional
        Theirs; None where unknown.

    Returns
    -------
    list of Reason
        Codes: "spacing", "one breast", "extent", "phases", "times".
    """
    return [*_voxels(affine), *_field(shape, affine), *_times(post, times_s)]


def span_and_step(times_s: Sequence[float]) -> tuple[float, float]:
    """Seconds from the first of two or more times to the last, and the longest from one to the next."""
    times = np.asarray(times_s, dtype=np.float64)
    return float(times[-1] - times[0]), float(np.diff(times).max())


def _voxels(affine: np.ndarray) -> list[Reason]:
    widest = spacing_of(affine).max()
    if widest <= MAX_SPACING_MM:
        return []
    text = (
        f"The voxels measure up to {widest:.1f} mm, more than {MAX_SPACING_MM:g} mm: "
        "small lesions cannot be seen."
    )
    return [Reason("spacing", text)]


def _field(shape: Sequence[int], affine: np.ndarray) -> list[Reason]:
    reasons = []
    across, _, height = extent_mm(shape, affine)
    if not wide_enough_for_both(shape, affine):
        text = (
            f"The exam is {across:.0f} mm wide, too little for both breasts, which the model knows: "
            "is it of one breast, or of another part of the body?"
        )
        reasons.append(Reason("one breast", text))
    if height > MAX_EXTENT_MM:
        text = (
            f"The exam measures {height:.0f} mm from head to foot, more than a breast MRI does: "
            "does it hold two exams in one volume, or another part of the body?"
        )
        reasons.append(Reason("extent", text))
    return reasons


def _times(post: int, times_s: Sequence[float] | None) -> list[Reason]:
    if post < 2:
        text = "There is only one post-contrast phase, so the model cannot see how enhancement goes on."
        return [Reason("phases", text)]
    if times_s is None:
        return []
    span, step = span_and_step(times_s)
    if SPAN_S[0] <= span <= SPAN_S[1] and step <= MAX_STEP_S:
        return []
    text = (
        f"The post-contrast phases span {span:.0f} s in steps of up to {step:.0f} s; the model knows spans "
        f"of {SPAN_S[0]:.0f} to {SPAN_S[1]:.0f} s in steps below {MAX_STEP_S:.0f} s."
    )
    return [Reason("times", text)]
