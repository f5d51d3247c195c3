"""Local maxima of a saliency map inside the breast mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.geometry import apply_affine, extent
from ..core.threads import for_each, parts

_PLANES = 8


@dataclass(frozen=True)
class Peak:
    """ras_mm: position (RAS, mm). value: height of the map at its summit, 1 at its highest. index: voxel of the model's grid.

    map_ras_mm: that summit; ``ras_mm`` itself until the peak is moved. probability: 0–1, where something estimates it.
    reasons: (what, how much of the logit it brings) pairs of that estimate, the strongest first.
    """

    ras_mm: tuple[float, float, float]
    value: float
    index: tuple[int, int, int]
    map_ras_mm: tuple[float, float, float] | None = None
    probability: float | None = None
    reasons: tuple[tuple[str, float], ...] = ()


def normalise(heat: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The map scaled to 0–1 over the mask (1 at its peak inside), 0 outside, float32."""
    values = heat[inside]
    if not values.size:
        raise InputError("The breast mask is empty inside the model's field of view; check the exam.")
    low, high = float(np.percentile(values, 5)), float(values.max())
    scaled = np.zeros(heat.shape, dtype=np.float32)
    if high > low:
        values -= low
        values /= high - low
        scaled[inside] = np.clip(values, 0, 1, out=values)
    return scaled


def find_peaks(
    heat: np.ndarray, inside: np.ndarray, affine: np.ndarray, *, count: int = 5, separation_mm: float = 20.0, least: float = 0.3
) -> list[Peak]:
    """The highest points of a 0–1 map inside the mask, strongest first, no two closer than ``separation_mm``."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not inside.any():
        return []
    box = extent(inside)
    start = np.array([s.start for s in box])
    masked = np.full([s.stop - s.start for s in box], -np.inf, dtype=heat.dtype)
    np.copyto(masked, heat[box], where=inside[box])
    places, heights = _summits(masked)  # not their shoulders
    order = np.argsort(-heights, kind="stable")
    found: list[Peak] = []
    taken = np.empty((0, 3))
    for number in order:
        index, value = places[number], float(heights[number])
        if len(found) == count or not np.isfinite(value) or (found and value < least):
            break
        if ((((taken - index) * spacing) ** 2).sum(axis=1) < separation_mm**2).any():
            continue
        taken = np.vstack([taken, index])
        voxel = start + index
        point = tuple(float(c) for c in apply_affine(affine, voxel))
        found.append(Peak(point, value, tuple(int(n) for n in voxel), point))
    return found


def _summits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (n, 3), in the order of memory, that are the highest among themselves and their 26 neighbours, and their values.
    −inf is no value.

    Maxima along one axis after another, on a few planes at a time that stay in the cache.
    """
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def work(own: slice) -> None:
        first, last = max(own.start - 1, 0), min(own.stop + 1, len(values))
        highest = values[first:last]
        for axis in range(3):
            line, highest = np.moveaxis(highest, axis, 0), highest.copy()
            widened = np.moveaxis(highest, axis, 0)
            np.maximum(widened[1:], line[:-1], out=widened[1:])
            np.maximum(widened[:-1], line[1:], out=widened[:-1])
        held = values[own]
        summit = (held == highest[own.start - first : own.stop - first]) & (held > -np.inf)
        found[own.start] = np.argwhere(summit) + (own.start, 0, 0), held[summit]

    slabs = parts(len(values), _PLANES)
    for_each(work, slabs)
    places, heights = zip(*(found[own.start] for own in slabs))
    return np.concatenate(places), np.concatenate(heights)
