"""The enhancement curve at a finding, and its type in the words of the BI-RADS lexicon."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.geometry import apply_affine
from ..exam.exam import Exam


def curve_at(exam: Exam, ras_mm: tuple[float, float, float], reach_mm: float = 9.0, radius_mm: float = 2.0) -> dict[str, Any]:
    """Enhancement over time at the hot spot nearest a point.

    A marker sits on a coarse grid, so the brightest small ball of the mean subtraction within ``reach_mm`` is taken.
    ras_mm: RAS, mm. Returns times_s (s after the first dynamic volume, or None), enhancement (% of the pre-contrast
    signal, or signal units where only subtractions exist), unit, wash_in, wash_out (% of the early peak), type, ras_mm.
    """
    from scipy import ndimage

    grid = exam.grid
    spacing = grid.spacing
    centre = apply_affine(np.linalg.inv(grid.affine), np.asarray(ras_mm))
    extent = np.ceil((reach_mm + 2 * radius_mm) / spacing).astype(int)
    low = np.clip(np.round(centre).astype(int) - extent, 0, np.array(grid.shape) - 1)
    high = np.clip(np.round(centre).astype(int) + extent + 1, low + 1, np.array(grid.shape))
    window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    post = np.stack([p.volume.array[window].astype(np.float32) for p in exam.post])
    pre = exam.pre.volume.array[window].astype(np.float32) if exam.pre is not None else None
    change = post - (pre if pre is not None else np.array(exam.offsets, dtype=np.float32)[:, None, None, None])
    sizes = np.maximum(1, np.round(2 * radius_mm / spacing)).astype(int)
    mean = ndimage.uniform_filter(change.mean(axis=0), size=tuple(sizes), mode="nearest")
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in window], indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - centre) * spacing, axis=-1)
    spot = np.unravel_index(int(np.where(distance <= reach_mm, mean, -np.inf).argmax()), mean.shape)
    ball = np.linalg.norm((index - index[spot]) * spacing, axis=-1) <= radius_mm
    curve = change[:, ball].mean(axis=1).astype(np.float64)
    unit = "a.u."
    if pre is not None:
        baseline = float(pre[ball].mean())
        if baseline > 0:
            curve, unit = 100.0 * curve / baseline, "%"
    return record(exam, curve, unit, apply_affine(grid.affine, index[spot].astype(float)))


def record(exam: Exam, curve: np.ndarray, unit: str, ras_mm: np.ndarray) -> dict[str, Any]:
    """A curve as results hold it: one value per post-contrast phase in ``unit``, measured at ``ras_mm``, and its type."""
    times = exam.times_s
    wash_in, wash_out, kind = describe(curve, times)
    return {
        "times_s": None if times is None else [round(float(t), 1) for t in times],
        "enhancement": [round(float(c), 2) for c in curve],
        "unit": unit,
        "wash_in": round(wash_in, 1),
        "wash_out": None if wash_out is None else round(wash_out, 1),
        "type": kind,
        "ras_mm": [round(float(c), 2) for c in ras_mm],
    }


def describe(curve: np.ndarray, times_s: np.ndarray | None) -> tuple[float, float | None, str | None]:
    """Initial enhancement, delayed change in % of it, and persistent (> +10 %), plateau or washout (< −10 %).

    The initial peak is the highest phase within two minutes of the first post-contrast one, or in the first half where
    times are unknown (BI-RADS MRI lexicon: initial phase within 2 min, delayed phase after). None where one phase is all.
    """
    count = len(curve)
    if count < 2:
        return float(curve[0]), None, None  # no delayed phase was acquired
    if times_s is not None:
        early = np.flatnonzero(times_s <= times_s[0] + 120.0)
    else:
        early = np.arange(max(1, count // 2))
    early = early[early < count - 1]
    first = float(curve[early].max())
    delayed = 100.0 * (float(curve[-1]) - first) / abs(first) if first else 0.0
    kind = "persistent" if delayed > 10 else "washout" if delayed < -10 else "plateau"
    return first, delayed, kind


def add_curves(exam: Exam, result: dict[str, Any]) -> None:
    """Give each peak of a result that has none its curve, as ``peak["kinetics"]``; the first one's is the result's own."""
    for place, peak in enumerate(result.get("peaks") or ()):
        if "kinetics" not in peak:
            known = result.get("kinetics") if place == 0 else None
            peak["kinetics"] = known or curve_at(exam, tuple(peak["ras_mm"]))


def peak_curve(result: dict[str, Any], place: int = 0) -> dict[str, Any] | None:
    """The curve at a peak of a result (0: the strongest), or None where it was not measured."""
    peaks = result.get("peaks") or ()
    own = peaks[place].get("kinetics") if place < len(peaks) else None
    return own or (result.get("kinetics") if place == 0 else None)


def curve_points(curve: dict[str, Any]) -> tuple[list[float], list[float], str]:
    """Horizontal values, enhancement, and the horizontal axis' title of a curve, from 0 before contrast where that was taken.

    Times are seconds; where they are unknown the phase numbers stand in. Empty lists when the curve cannot be drawn.
    """
    values = [float(value) for value in curve.get("enhancement") or ()]
    times = None if curve.get("times_s") is None else [float(time) for time in curve["times_s"]]
    # subtractions count time from the first of them, so it has no place for the pre-contrast zero
    if times is not None and times and times[0] <= 0:
        places, title = times, "time from first subtraction (s)"
    else:
        values = [0.0, *values]
        places = [0.0, *times] if times is not None else [float(index) for index in range(len(values))]
        title = "time (s)" if times is not None else "phase"
    if len(places) != len(values) or len(values) < 2 or not np.isfinite([*places, *values]).all():
        return [], [], title
    return places, values, title
