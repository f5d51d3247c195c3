"""Body, fat and glandular tissue in a sketch of a volume. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.masks import foremost
from .sketch import Sketch

_FEWEST_FAT, _FEWEST_BREAST = 200, 1000  # voxels of a sketch


def body_of(small: np.ndarray) -> np.ndarray:
    """Voxels well above the air, by the two-class threshold of the histogram of square roots (Otsu 1979).

    Parameters
    ----------
    small : ndarray, 3-D

    Returns
    -------
    ndarray, of the same shape, bool
    """
    values = np.sqrt(np.clip(small - float(np.percentile(small, 1)), 0, None))
    top = float(np.percentile(values, 99.5))
    if not top > 0:
        return np.zeros(small.shape, bool)
    counts, edges = np.histogram(np.minimum(values, top), bins=128, range=(0, top))
    middles = (edges[:-1] + edges[1:]) / 2
    # variance between the two classes that each threshold makes
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.sum(counts * middles) - np.cumsum(counts * middles)) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return values > edges[int(between.argmax()) + 1]


def _under_the_skin(one: Sketch) -> tuple[np.ndarray, np.ndarray] | None:
    """Depth in mm behind the front of the body, and where that is a breast (both broadcast to ``one.small``).

    None without a body.
    """
    body = body_of(one.small)
    if not body.any():
        return None
    # lower than tissue: suppressed fat counts as body
    front = foremost(one.small > 0.5 * float(one.small[body].min()))
    step = one.small_mm[1]
    breasts = (front >= 0) & (front > np.percentile(front[front >= 0], 90) - 60 / step)
    depth = (front[:, None, :] - np.arange(one.small.shape[1])[None, :, None]) * step
    return depth, breasts[:, None, :]


def fat_brightness(one: Sketch) -> float | None:
    """Brightness of the layer 5 to 12 mm under the skin, as a share of the bright tissue down to 60 mm.

    That layer is fat; bright tissue is the 90th percentile. 0.60 to 0.96 in volumes without fat saturation.
    With it 0.1 to 0.6 where there is glandular tissue to compare with, but as high as without in breasts of
    fat alone.

    Parameters
    ----------
    one : Sketch

    Returns
    -------
    float or None
        None when there is no body.
    """
    if (skin := _under_the_skin(one)) is None:
        return None
    depth, breasts = skin
    fat = one.small[(depth >= 5) & (depth < 12) & breasts]
    tissue = one.small[(depth >= 5) & (depth < 60) & breasts]
    if fat.size < _FEWEST_FAT or not (top := float(np.percentile(tissue, 90))) > 0:
        return None
    return float(np.median(fat)) / top


def gland_brightness(sketches: Sequence[Sketch]) -> float | None:
    """Brightness before contrast of what enhances most in the breasts, as a multiple of what enhances least.

    The top tenth is glandular tissue and vessels, the lower half fat, each relative to its surroundings, as
    coils light the front more. Fat is the darker of both only with fat saturation: 0.40 to 0.86 without it in
    40 simulated exams; with it 0.61 to 0.87 in the 5 of 120 that are taken for unsaturated; 1.26 (with) and
    0.90 (without) in two public ones. About 1 where nothing enhances but noise.

    Parameters
    ----------
    sketches : sequence of Sketch
        The volume before contrast and those after it, on one grid.

    Returns
    -------
    float or None
        None when there is no body.
    """
    first = sketches[0]
    if (skin := _under_the_skin(first)) is None:
        return None
    depth, breasts = skin
    inside = (depth >= 5) & (depth < 40) & breasts
    weight = inside.astype(np.float32)
    count = _box_means(weight, first.small_mm)

    def around(values: np.ndarray) -> np.ndarray:
        return _box_means(weight * values, first.small_mm) / np.maximum(count, 1e-3)

    # enhancement and brightness, each relative to its surroundings
    rise = np.mean([s.small for s in sketches[1:4]], axis=0) - first.small
    level = np.maximum(around(first.small), 1e-6)
    rise = rise / level
    rise = (rise - around(rise))[inside]
    bright = (first.small / level)[inside]
    # voxels that hold a signal
    rise, bright = rise[bright > 0.05], bright[bright > 0.05]
    if bright.size < _FEWEST_BREAST:
        return None
    least, most = np.percentile(rise, (50, 90))
    return float(np.median(bright[rise >= most]) / max(np.median(bright[rise <= least]), 1e-6))


def _box_means(values: np.ndarray, size_mm: Sequence[float], reach_mm: float = 25.0) -> np.ndarray:
    """Means over boxes that reach so far to either side, zeros beyond the edges."""
    for axis, size in enumerate(size_mm):
        reach = max(1, round(reach_mm / size))
        padding = [(0, 0)] * values.ndim
        padding[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(values, padding), axis=axis, dtype=np.float64)
        ahead, behind = np.arange(values.shape[axis]) + 2 * reach + 1, np.arange(values.shape[axis])
        values = ((sums.take(ahead, axis) - sums.take(behind, axis)) / (2 * reach + 1)).astype(np.float32)
    return values
