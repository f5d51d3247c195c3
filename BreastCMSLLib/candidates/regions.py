"""The bright region about a point, and candidates moved to its centre.

Arrays lie on the model's grid: ``enhancement`` (LR, AP, SI), ``inside`` (boolean breast mask), ``affine``
(voxel index → RAS mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..core.geometry import apply_affine
from ..core.moments import half_axes, tubularity
from ..core.windows import box_about, distance, whole
from .candidate import Candidate, Region

REACH_MM = 30.0  # how far a lesion may reach from its brightest voxel
SNAP_MM = 15.0  # how far from a coarse maximum its lesion may lie: a cell of 17.6 mm reaches 15 mm
FAR_MM = 8.0  # from a maximum to the centre of its region: farther, the region may be more than the lesion
TIGHT = 0.75  # of the height, for the region of such a maximum
VESSEL = 0.6  # tubularity from which a region is taken for a vessel
_FIRST_BOX_MM = 12.0  # how far about a voxel its region is looked for at first
_FACES = ndimage.generate_binary_structure(3, 1)


def region_at(
    enhancement: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    ras_mm: Sequence[float],
    *,
    search_mm: float = SNAP_MM,
    reach_mm: float = REACH_MM,
    level: float = 0.5,
) -> Region | None:
    """The region connected to the brightest voxel near a point.

    It holds the voxels inside the mask, within ``reach_mm`` of the brightest, that stand above the background
    by ``level`` of what the brightest does. Half of the height is where the edge of a blurred object lies.
    Background is the median inside the mask within ``reach_mm``, or of the whole mask where a large lesion
    fills that ball.

    Parameters
    ----------
    enhancement : ndarray, shape (LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
    ras_mm : sequence of float
        The point (RAS, mm).
    search_mm : float
        How far from it the brightest voxel is looked for.
    reach_mm : float
    level : float

    Returns
    -------
    Region or None
        None where nothing stands out.
    """
    affine = np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = apply_affine(np.linalg.inv(affine), np.asarray(ras_mm))
    window = box_about(centre, (search_mm + reach_mm) / spacing + 1, enhancement.shape)
    if window is None:
        return None
    start = np.array([s.start for s in window])
    values, allowed = enhancement[window].astype(np.float32), inside[window]
    nearby = allowed & (distance(window, centre, spacing) <= search_mm)
    if not nearby.any():
        return None
    # the brightest voxel, of a mean over 3 to 5 mm: a single noisy voxel is no lesion
    smooth = _smoothed(values, allowed, spacing)
    seed = np.unravel_index(int(np.where(nearby, smooth, -np.inf).argmax()), values.shape)
    ball = allowed & (distance(whole(values.shape), seed, spacing) <= reach_mm)
    background, peak = float(np.median(values[ball])), float(smooth[seed])
    if peak < 1.5 * background:
        background = min(background, float(np.median(enhancement[inside])))
    if not peak > background:
        return None
    # what is connected to it and bright enough
    region = _connected((smooth >= background + level * (peak - background)) & ball, seed, spacing)
    weight = np.maximum(values[region] - background, 0.0).astype(np.float64)
    if not weight.sum() > 0:
        return None
    box = ndimage.find_objects(region.astype(np.int8))[0]
    body = np.argwhere(ndimage.binary_fill_holes(np.pad(region[box], 1))) - 1
    middle = apply_affine(affine, body.mean(axis=0) + [s.start for s in box] + start)
    return Region(
        tuple(float(c) for c in middle),
        tuple(int(s.start + o) for s, o in zip(box, start)),
        region[box],
        float(region.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0),
        peak,
        background,
        tubularity(half_axes(_covariance(region, weight, affine), spacing)),
    )


def _smoothed(values: np.ndarray, allowed: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Means over about 3 mm, taken inside the mask only; the values themselves where voxels are larger."""
    width = [2 * int(1.7 / s) + 1 for s in spacing]
    if max(width) == 1:
        return values
    share = ndimage.uniform_filter(allowed.astype(np.float32), width, mode="constant")
    return ndimage.uniform_filter(np.where(allowed, values, 0), width, mode="constant") / np.maximum(
        share, 1e-3
    )


def _covariance(region: np.ndarray, weight: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """3×3, mm², of the places of a region's voxels, each weighted."""
    index = np.argwhere(region)
    middle = weight @ index / weight.sum()
    offsets = (index - middle) @ affine[:3, :3].T
    return (offsets * weight[:, None]).T @ offsets / weight.sum()


def _connected(bright: np.ndarray, seed: Sequence[int], spacing: np.ndarray) -> np.ndarray:
    """The part of a boolean grid that is connected to a voxel of it by faces.

    Most are much smaller than the grid, so it is looked for in a box about the seed first.
    """
    reach = np.ceil(_FIRST_BOX_MM / spacing).astype(int)
    while True:
        box = tuple(slice(max(n - r, 0), n + r + 1) for n, r in zip(seed, reach))
        labels, _ = ndimage.label(bright[box], _FACES)
        own = labels == labels[tuple(n - s.start for n, s in zip(seed, box))]
        # whether it may go on beyond a side of the box that is none of the grid
        cut = False
        for axis, (s, n) in enumerate(zip(box, bright.shape)):
            sides = np.moveaxis(own, axis, 0)
            cut |= (s.start > 0 and bool(sides[0].any())) or (s.stop < n and bool(sides[-1].any()))
        if not cut:
            region = np.zeros(bright.shape, dtype=bool)
            region[box] = own
            return region
        reach = np.array(bright.shape)


def snap(
    candidates: Sequence[Candidate],
    enhancement: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    *,
    search_mm: float = SNAP_MM,
    merge_mm: float = 5.0,
    level: float = 0.5,
    within_mm: float = np.inf,
) -> list[Candidate]:
    """Move each candidate to the centre of the bright region beside it, finer than a voxel, and give it that
    region.

    Where nothing stands out it stays. A centre outside the mask (of a crescent along its border) is not
    taken: the region's own voxel nearest to it is. Candidates that come to one point are one: the first.

    Parameters
    ----------
    candidates : sequence of Candidate
        Strongest first.
    enhancement, inside, affine, search_mm, level
        As in :func:`region_at`.
    merge_mm : float
        Candidates closer together are one.
    within_mm : float
        Where the centre lies farther from the candidate, the region at ``TIGHT`` is taken: a lesion that runs
        into bright tissue is told from it by its height.

    Returns
    -------
    list of Candidate
    """
    to_index = np.linalg.inv(affine)
    moved: list[Candidate] = []
    for candidate in candidates:
        region = region_at(enhancement, inside, affine, candidate.ras_mm, search_mm=search_mm, level=level)
        if region is not None and np.linalg.norm(np.subtract(region.ras_mm, candidate.ras_mm)) > within_mm:
            tight = region_at(enhancement, inside, affine, candidate.ras_mm, search_mm=search_mm, level=TIGHT)
            region = tight or region
        if region is not None:
            candidate = _at_centre(candidate, region, inside, affine, to_index)
        if all(np.linalg.norm(np.subtract(candidate.ras_mm, other.ras_mm)) >= merge_mm for other in moved):
            moved.append(candidate)
    return moved


def _at_centre(candidate: Candidate, region: Region, inside: np.ndarray, affine, to_index) -> Candidate:
    index = np.round(apply_affine(to_index, np.array(region.ras_mm))).astype(int)
    point = region.ras_mm
    if not (index >= 0).all() or not (index < inside.shape).all() or not inside[tuple(index)]:
        voxels = np.argwhere(region.inside) + region.start
        points = apply_affine(affine, voxels)
        nearest = int(np.linalg.norm(points - region.ras_mm, axis=1).argmin())
        index, point = voxels[nearest], tuple(float(c) for c in points[nearest])
    return replace(candidate, ras_mm=point, index=tuple(int(n) for n in index), region=region)


def is_vessel(region: Region | None, tubularity: float = VESSEL) -> bool:
    """Whether a region is as long and thin as a vessel."""
    return region is not None and region.tubularity >= tubularity
