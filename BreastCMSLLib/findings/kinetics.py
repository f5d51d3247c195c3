"""Enhancement curves, at a point or of a region, and their type in the words of the BI-RADS lexicon.

A curve is a dict of plain values, as results hold it:

times_s
    Seconds after the first dynamic volume, one for each post-contrast phase, or None where unknown.
enhancement
    For each post-contrast phase, % of the pre-contrast signal, or signal units where that is not known.
unit
    "%" or "a.u.".
wash_in
    The early peak, in that unit.
wash_out
    The delayed change, % of the early peak, or None where too little enhances.
initial
    "slow" (< 50 %), "medium" or "fast" (> 100 %) by the early peak; None where it is not in %.
type
    "persistent", "plateau" or "washout", or None; types I, II and III.
ras_mm
    Where it was measured, RAS mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine
from ..core.resampling import resample
from ..core.windows import bounding_box, box_about, distance, whole
from ..exam import Exam

_EARLY_S = 120.0  # from the first post-contrast phase, which BI-RADS calls the initial phase
MINUTES = "minutes from the first phase after contrast"  # title of the axis of times
CHANGE_PERCENT = 10.0  # below which a delayed change is a plateau
# Highest enhancement, % of the signal before contrast, below which a curve has no type: there the ±10 % of a
# plateau are ±2 % of that signal. Noise and drift alone reach it: in the mean of 30 voxels whose signal is
# 20 times their noise, two phases differ by √2 · 5 % / √30 = 1.3 %.
_LEAST_PERCENT = 20.0
_MEDIUM_PERCENT, _FAST_PERCENT = 50.0, 100.0  # of the signal before contrast, between slow, medium and fast


def curve_at(
    exam: Exam, ras_mm: Sequence[float], reach_mm: float = 9.0, radius_mm: float = 2.0
) -> dict[str, Any]:
    """The curve of the brightest small ball near a point.

    A marker sits on a coarse grid, so the ball is looked for in the mean subtraction.

    Parameters
    ----------
    exam : Exam
    ras_mm : sequence of float
        RAS, mm.
    reach_mm : float
        How far from the point the ball may lie.
    radius_mm : float
        Of the ball.

    Returns
    -------
    dict
        A curve as in the module's docstring.
    """
    from scipy import ndimage

    # enhancement in a box about the point
    grid, spacing = exam.grid, exam.grid.spacing
    centre = apply_affine(np.linalg.inv(grid.affine), np.asarray(ras_mm))
    reach = np.ceil((reach_mm + 2 * radius_mm) / spacing)
    box = box_about(np.round(centre), reach, grid.shape, clamp=True)
    change, pre = _change(exam, box)
    # the brightest point, as the mean over the ball's width
    sizes = np.maximum(1, np.round(2 * radius_mm / spacing)).astype(int)
    mean = ndimage.uniform_filter(change.mean(axis=0), size=tuple(sizes), mode="nearest")
    near = distance(box, centre, spacing) <= reach_mm
    brightest = np.unravel_index(int(np.where(near, mean, -np.inf).argmax()), mean.shape)
    # the curve of the ball about it
    ball = distance(whole(mean.shape), brightest, spacing) <= radius_mm
    values = change[:, ball].mean(axis=1).astype(np.float64)
    index = np.add(brightest, [s.start for s in box])
    baseline = None if pre is None else float(pre[ball].mean())
    return _curve(exam, values, baseline, apply_affine(grid.affine, index))


def region_curve(exam: Exam, region: Volume) -> dict[str, Any]:
    """The mean curve of a region.

    Parameters
    ----------
    exam : Exam
    region : Volume
        Boolean, on any grid.

    Returns
    -------
    dict
        A curve as in the module's docstring.

    Raises
    ------
    InputError
        The region holds no voxel of the exam.
    """
    box, inside = _in_exam(exam, region)

    def mean(volume: Volume) -> float:
        return float(volume.array[box][inside].astype(np.float64).mean())

    baseline = None if exam.pre is None else mean(exam.pre.volume)
    values = np.array([mean(phase.volume) for phase in exam.post])
    values -= np.asarray(exam.offsets, dtype=np.float64) if baseline is None else baseline
    index = np.argwhere(inside).mean(axis=0) + [s.start for s in box]
    return _curve(exam, values, baseline, apply_affine(exam.grid.affine, index))


def _in_exam(exam: Exam, region: Volume) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of the exam's grid about a region, and the region in it; raises InputError for an empty one."""
    grid, same = exam.grid, region.same_grid(exam.grid)
    box = bounding_box(region.array) if region.array.any() else None
    if box is not None and not same:
        # the exam's voxels about the region, of which the nearest belong to it
        ends = np.array(np.meshgrid(*[(s.start - 0.5, s.stop - 0.5) for s in box], indexing="ij"))
        index = apply_affine(np.linalg.inv(grid.affine) @ region.affine, ends.reshape(3, -1).T)
        middle = (index.min(axis=0) + index.max(axis=0)) / 2
        box = box_about(middle, np.ptp(index, axis=0) / 2 + 0.5, grid.shape)
    if box is not None:
        affine = np.array(grid.affine)
        affine[:3, 3] = apply_affine(affine, [s.start for s in box])
        shape = tuple(s.stop - s.start for s in box)
        inside = region.array[box] if same else resample(region, shape, affine, nearest=True).array
        if inside.any():
            return box, inside.astype(bool)
    raise InputError("The region holds no voxel of the exam; draw it inside the breasts.")


def _change(exam: Exam, box: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Enhancement of every phase after contrast in a box, and the phase before contrast, both float32."""
    post = np.stack([phase.volume.array[box].astype(np.float32) for phase in exam.post])
    if exam.pre is None:
        return post - np.array(exam.offsets, dtype=np.float32)[:, None, None, None], None
    pre = exam.pre.volume.array[box].astype(np.float32)
    return post - pre, pre


def _curve(exam: Exam, change: np.ndarray, baseline: float | None, ras_mm: np.ndarray) -> dict[str, Any]:
    """change: of the signal in every phase after contrast. baseline: the signal before it, where known."""
    relative = baseline is not None and baseline > 0
    values = 100.0 * change / baseline if relative else change
    times = exam.times_s
    wash_in, wash_out, kind = describe(values, times, _LEAST_PERCENT if relative else 0.0)
    return {
        "times_s": None if times is None else [round(float(t), 1) for t in times],
        "enhancement": [round(float(value), 2) for value in values],
        "unit": "%" if relative else "a.u.",
        "wash_in": round(wash_in, 1),
        "wash_out": None if wash_out is None else round(wash_out, 1),
        "initial": initial_rise(wash_in) if relative else None,
        "type": kind,
        "ras_mm": [round(float(c), 2) for c in ras_mm],
    }


def describe(
    curve: np.ndarray, times_s: np.ndarray | None, least: float = 0.0
) -> tuple[float, float | None, str | None]:
    """Early peak, delayed change and type of a curve (BI-RADS MRI lexicon).

    The early peak is the highest phase within two minutes of the first post-contrast one, or in the first
    half where times are unknown. What follows is delayed. Where nothing enhances early, or nothing enough,
    there is nothing that could wash out or persist.

    Parameters
    ----------
    curve : ndarray, shape (phases,)
        Enhancement.
    times_s : ndarray, shape (phases,), or None
    least : float
        The highest phase below which nothing enhances enough, in the curve's unit.

    Returns
    -------
    wash_in : float
        The early peak.
    wash_out : float or None
        The delayed change, % of the early peak; None where one phase is all, or too little enhances.
    kind : str or None
        "persistent" (> +10 %), "plateau" or "washout" (< −10 %); None with ``wash_out``.
    """
    count = len(curve)
    if count < 2:
        return float(curve[0]), None, None
    peak = float(curve[early_phases_of(count, times_s)].max())
    if peak <= 0 or float(curve.max()) < least:
        return peak, None, None
    delayed = 100.0 * (float(curve[-1]) - peak) / peak
    if abs(delayed) <= CHANGE_PERCENT:
        return peak, delayed, "plateau"
    return peak, delayed, "persistent" if delayed > 0 else "washout"


def initial_rise(percent: float) -> str:
    """The initial phase of a curve (BI-RADS MRI lexicon): "slow", "medium" or "fast".

    Parameters
    ----------
    percent : float
        The early peak, % of the signal before contrast.
    """
    if percent < _MEDIUM_PERCENT:
        return "slow"
    return "medium" if percent <= _FAST_PERCENT else "fast"


def early_phases_of(count: int, times_s: np.ndarray | None) -> np.ndarray:
    """Which phases after contrast are early, as :func:`describe` says it; the last one never is.

    Parameters
    ----------
    count : int
        How many phases there are, at least two.
    times_s : ndarray, shape (count,), or None

    Returns
    -------
    ndarray of int
        Indices.
    """
    if times_s is not None:
        early = np.flatnonzero(times_s <= times_s[0] + _EARLY_S)
    else:
        early = np.arange(max(1, count // 2))
    return early[early < count - 1]


# --- the curves of a result ---


def add_curves(exam: Exam, result: dict[str, Any]) -> None:
    """Give each peak of a result its curve, as ``peak["kinetics"]``; the first one's is the result's own."""
    for index, peak in enumerate(result.get("peaks") or ()):
        if "kinetics" not in peak:
            known = result.get("kinetics") if index == 0 else None
            peak["kinetics"] = known or curve_at(exam, peak["ras_mm"])


def peak_curve(result: dict[str, Any], index: int = 0) -> dict[str, Any] | None:
    """The curve at a peak of a result (0: the strongest), or None where it was not measured."""
    peaks = result.get("peaks") or ()
    own = peaks[index].get("kinetics") if index < len(peaks) else None
    return own or (result.get("kinetics") if index == 0 else None)


def curve_points(curve: dict[str, Any]) -> tuple[list[float], list[float], str]:
    """What to draw of a curve, from 0 before contrast where that was taken.

    Parameters
    ----------
    curve : dict

    Returns
    -------
    times : list of float
        Minutes from the first phase after contrast; where they are unknown, phase numbers. Empty when the
        curve cannot be drawn.
    values : list of float
        Enhancement.
    title : str
        Of the horizontal axis.
    """
    values = [float(value) for value in curve.get("enhancement") or ()]
    times = None if curve.get("times_s") is None else [float(time) for time in curve["times_s"]]
    # subtractions count time from the first of them, so that there is no pre-contrast zero to draw
    before = not times or times[0] > 0
    if before:
        values = [0.0, *values]
    if times is None:
        times, title = [float(n) for n in range(len(values))], "phase"
    else:
        start = times[0] if times else 0.0
        times, title = [(time - start) / 60.0 for time in ([0.0, *times] if before else times)], MINUTES
    if len(times) != len(values) or len(values) < 2 or not np.isfinite([*times, *values]).all():
        return [], [], title
    return times, values, title
