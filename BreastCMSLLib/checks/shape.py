"""The shape of a breast mask: two breasts, a valley between them, an end towards head or foot.

Masks are boolean (LR, AP, SI), index i towards R, j towards A, k towards S; ``size`` is their voxels' in mm.
"""

from __future__ import annotations

import numpy as np

from ..core.masks import foremost

_STERNUM_MM = 15.0  # to either side of the midline
_END_MM = 7.0  # of a volume towards head or foot
_FEWEST_COLUMNS, _FEWEST_SLICES = 5, 6


def _front_mm(inside: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(LR, SI) where the mask begins in front, mm; NaN where there is none."""
    front = foremost(inside)
    return np.where(front >= 0, front, np.nan) * size[1]


def side_volumes_ml(inside: np.ndarray, size: np.ndarray, middle: float) -> dict[str, float]:
    """Millilitres of the mask "left" and "right" of the index i of the sternum."""
    columns = np.arange(inside.shape[0])
    voxel_ml = float(np.prod(size)) / 1000.0
    sides = {"left": columns < middle, "right": columns > middle}
    return {side: inside[chosen].sum() * voxel_ml for side, chosen in sides.items()}


def sulcus_mm(inside: np.ndarray, size: np.ndarray, middle: float) -> float:
    """How far the mask's front over the sternum lies behind the tip of the flatter breast."""
    front = _front_mm(inside, size)
    columns = np.arange(inside.shape[0])
    central = front[np.abs(columns - middle) * size[0] < _STERNUM_MM]
    # no tissue at all over the sternum is a deep valley
    between = float(np.nanmedian(central)) if np.isfinite(central).any() else -np.inf
    tips = [
        np.nanpercentile(front[side], 95) if np.isfinite(front[side]).any() else -np.inf
        for side in (columns < middle, columns > middle)
    ]
    return min(tips) - between


def recess_mm(inside: np.ndarray, size: np.ndarray) -> float:
    """How far the mask's front at its end towards head or foot lies behind its tip; the larger counts."""
    front = _front_mm(inside, size)
    tips = np.array(
        [
            np.percentile(line[np.isfinite(line)], 95)
            for line in front.T
            if np.isfinite(line).sum() > _FEWEST_COLUMNS
        ]
    )
    if tips.size < _FEWEST_SLICES:
        return 0.0
    ends = max(1, round(_END_MM / size[2]))
    return float(tips.max() - min(tips[:ends].mean(), tips[-ends:].mean()))
