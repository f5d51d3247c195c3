"""Where the sternum lies: the midline between the breasts, and the straight line of the skin over it.

Arrays: i towards R, k towards S; ``front`` (LR, SI) is the index j of the skin, NaN where there is none.
"""

from __future__ import annotations

import numpy as np

OVER_MM = 25.0  # from the midline to either side: there the skin lies on the sternum, not on a breast
_SEARCH = 0.1  # of the field's width, to either side of the skin's middle
_VALLEY_MM = 6.0  # the least by which both breasts stand out over the midline; flat chests reach 10
_ONE_SIDE_MM = 240.0  # narrower fields hold one breast: both with their sides measure 260 and more
_LINE_MM = 150.0  # of the chest that the line is fitted to: above it the neck, below it the belly begins
_NEAR_MM = 6.6  # what lies farther from the line is a bridge of touching breasts, or the neck
_PAIR_MM = 40.0  # apart at the least: two levels that a line is drawn through
_STEEPEST = 0.6  # slope of a sternum's line: 31 degrees


def midline(front: np.ndarray, spacing_mm: float) -> tuple[float, bool]:
    """The axis near the middle that best mirrors the skin onto itself.

    Where the field is too narrow for two breasts and no valley lies at that axis, it holds one breast. The
    midline is then the end of the skin that lies farther in front: the other side falls off to the back.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
    spacing_mm : float

    Returns
    -------
    middle : float
        Index i of the sternum.
    sure : bool
        Whether there is a valley between two breasts.
    """
    seen = np.isfinite(front)
    height = np.array([np.median(row[m]) if m.any() else np.nan for row, m in zip(front, seen, strict=True)])
    axis = _mirror(height, float(np.median(np.nonzero(seen)[0])))
    # of every column the height that the breast reaches over some centimetres of its length
    top = np.array([np.percentile(row[m], 80) if m.any() else np.nan for row, m in zip(front, seen)])
    lateral = (np.arange(len(top)) - axis) * spacing_mm
    over = np.nanmin(np.where(np.abs(lateral) < OVER_MM, top, np.nan), initial=np.inf)
    sides = [np.nanmax(np.where(s * lateral > OVER_MM, top, np.nan), initial=-np.inf) for s in (-1, 1)]
    valley = (min(sides) - over) * spacing_mm >= _VALLEY_MM
    columns = np.flatnonzero(np.isfinite(top))
    if valley or (columns[-1] - columns[0]) * spacing_mm >= _ONE_SIDE_MM:
        return axis, bool(valley)
    few = max(1, round(10.0 / spacing_mm))
    ends = [np.nanmedian(height[columns[part]]) for part in (slice(0, few), slice(-few, None))]
    return float(columns[0] if ends[0] > ends[1] else columns[-1]), False


def sternum_line(front: np.ndarray, middle: float, spacing_mm: float, centre: float) -> np.ndarray:
    """The skin over the sternum as a straight line.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
    middle : float
        Index i of the midline.
    spacing_mm : float
    centre : float
        Index k about which the line is fitted.

    Returns
    -------
    ndarray, shape (SI,), float
        Index j; all NaN where no skin is seen there.
    """
    lateral = np.abs(np.arange(len(front)) - middle) * spacing_mm
    columns = front[lateral < OVER_MM]
    k = np.arange(front.shape[1])
    skin = np.full(len(k), np.nan)
    for n in np.flatnonzero(np.isfinite(columns).any(axis=0)):
        values = columns[:, n]
        skin[n] = np.percentile(values[np.isfinite(values)], 20)
    usable = np.isfinite(skin) & (np.abs(k - centre) * spacing_mm < _LINE_MM / 2)
    if not usable.any():
        usable = np.isfinite(skin)
    if usable.sum() < 3:
        return np.full(len(k), np.nan if not usable.any() else np.nanmedian(skin))
    return _rearmost_line(k[usable], skin[usable], k, spacing_mm)


def _rearmost_line(k: np.ndarray, skin: np.ndarray, at: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Values at ``at`` of the straight line near which most of the skin lies, of two alike the one behind."""
    # every line through two levels some way apart, and how many levels lie near it
    few = np.arange(0, len(k), max(1, round(_PAIR_MM / 8 / spacing_mm)))
    first, second = (few[n] for n in np.triu_indices(len(few), 1))
    run = (k[second] - k[first]).astype(float)
    slope = (skin[second] - skin[first]) / run
    usable = (run * spacing_mm >= min(_PAIR_MM, 0.5 * np.ptp(k) * spacing_mm)) & (np.abs(slope) <= _STEEPEST)
    first, slope = first[usable], slope[usable]
    if not first.size:
        return np.full(len(at), float(np.median(skin)))
    lines = skin[first, None] + slope[:, None] * (k[None, :] - k[first, None])
    near = np.abs(skin - lines) * spacing_mm <= _NEAR_MM / 2
    best = np.lexsort((lines.mean(axis=1), -near.sum(axis=1)))[0]
    # and the line of least squares through those
    return np.polyval(np.polyfit(k[near[best]], skin[near[best]], 1), at)


def _mirror(height: np.ndarray, centre: float) -> float:
    """The axis about which a profile from side to side differs least from its mirror image."""
    count = len(height)
    index, offsets = np.arange(count), np.arange(0.5, count / 3)
    best, least = centre, np.inf
    for axis in np.arange(centre - _SEARCH * count, centre + _SEARCH * count, 0.5):
        left = np.interp(axis - offsets, index, height, left=np.nan, right=np.nan)
        right = np.interp(axis + offsets, index, height, left=np.nan, right=np.nan)
        both = np.isfinite(left) & np.isfinite(right)
        if both.sum() > count / 6:
            cost = float(np.abs(left - right)[both].mean())
            if cost < least:
                best, least = float(axis), cost
    return best
