"""Local maxima of a saliency map inside the breast mask."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError
from ..core.geometry import apply_affine
from ..core.threads import for_each, parts
from ..core.windows import bounding_box
from .candidate import Candidate

COUNT = 6  # candidates of a map
_PLANES = 8  # of a slab whose maxima are looked for at once, so that it stays in the cache
_EMPTY = "The breast mask is empty inside the model's field of view; check the exam."


def normalise(saliency: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scale a map to 0–1 over the breast mask, from its 5th percentile to its maximum.

    Parameters
    ----------
    saliency : ndarray, shape (LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)

    Returns
    -------
    ndarray of float32, shape (LR, AP, SI)
        0 outside the mask; 0 everywhere where the map is constant.

    Raises
    ------
    InputError
        The mask is empty.
    """
    values = saliency[inside]
    if not values.size:
        raise InputError(_EMPTY)
    low, high = float(np.percentile(values, 5)), float(values.max())
    scaled = np.zeros(saliency.shape, dtype=np.float32)
    if high > low:
        values -= low
        values /= high - low
        scaled[inside] = np.clip(values, 0, 1, out=values)
    return scaled


def find_peaks(
    saliency: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    *,
    count: int = COUNT,
    separation_mm: float = 20.0,
    least: float = 0.0,
) -> list[Candidate]:
    """Highest local maxima of a 0–1 map inside the breast mask, strongest first.

    Parameters
    ----------
    saliency : ndarray, shape (LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
        Voxel index → RAS mm.
    count : int
        How many at most.
    separation_mm : float
        No two lie closer together.
    least : float
        Lower maxima are left out, but never the first.

    Returns
    -------
    list of Candidate

    Raises
    ------
    InputError
        The mask is empty.
    """
    if not inside.any():
        raise InputError(_EMPTY)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    box = bounding_box(inside)
    start = np.array([s.start for s in box])
    # outside the mask there is no value, so that its edge is no maximum
    masked = np.full([s.stop - s.start for s in box], -np.inf, dtype=saliency.dtype)
    np.copyto(masked, saliency[box], where=inside[box])
    indices, heights = _local_maxima(masked)
    peaks: list[Candidate] = []
    taken = np.empty((0, 3))
    for number in np.argsort(-heights, kind="stable"):
        index, value = indices[number], float(heights[number])
        if len(peaks) == count or (peaks and value < least):
            break
        if ((((taken - index) * spacing) ** 2).sum(axis=1) < separation_mm**2).any():
            continue
        taken = np.vstack([taken, index])
        voxel = start + index
        point = tuple(float(c) for c in apply_affine(affine, voxel))
        peaks.append(Candidate(point, value, tuple(int(n) for n in voxel), point))
    return peaks


def _local_maxima(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (n, 3), in the order of memory, not lower than any of their 26 neighbours, and their values;
    −inf is none.

    ``scipy.ndimage.maximum_filter`` and PyTorch's pooling find the same in ten times as long.
    """

    def search(own: slice) -> tuple[np.ndarray, np.ndarray]:
        first, last = max(own.start - 1, 0), min(own.stop + 1, len(values))
        highest = values[first:last]
        # the maximum of each voxel and its two neighbours, along one axis after another
        for axis in range(3):
            line, highest = np.moveaxis(highest, axis, 0), highest.copy()
            widened = np.moveaxis(highest, axis, 0)
            np.maximum(widened[1:], line[:-1], out=widened[1:])
            np.maximum(widened[:-1], line[1:], out=widened[:-1])
        slab = values[own]
        maximal = (slab == highest[own.start - first : own.stop - first]) & (slab > -np.inf)
        return np.argwhere(maximal) + (own.start, 0, 0), slab[maximal]

    indices, heights = zip(*for_each(search, parts(len(values), _PLANES)))
    return np.concatenate(indices), np.concatenate(heights)
