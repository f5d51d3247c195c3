"""Where the breasts are: edges by Frangi's filter, small components dropped, filled, smoothed (Luo et al. 2019, 3.1).

Two things differ from the paper's recipe, because Frangi's filter finds the skin but not the chest wall:

* Holes are filled from the front: a voxel is inside once a ray from the front has met an edge. Unlike plain hole
  filling this needs no closed contour, so a gap in the skin (coil shading) does not empty a slice.
* A posterior limit follows the chest wall (``chest_wall.py``); heart, great vessels and liver, which enhance most, lie behind
  it and cannot win the peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import Volume, extent
from . import chest_wall

NO_TISSUE = "No breast tissue was found in front of the chest wall; check the orientation of the exam."


@dataclass(frozen=True)
class MaskSettings:
    """Distances in mm, scales in mm, thresholds on Frangi's measure (0–1).

    sternum_depth_mm, chest_half_width_mm, chest_depth_mm: the ordinary chest wall. wall_margin_mm: how far behind the wall found in
    an exam the mask ends, lest a lesion on it be cut. wall_forward_mm: how far in front of the ordinary wall it may end at most:
    a little muscle costs less than breast that is not looked at.
    """

    sigmas_mm: tuple[float, ...] = (1.1, 2.2)
    edge_threshold: float = 0.12
    min_edge_ml: float = 1.5
    skin_mm: float = 4.4
    sternum_depth_mm: float = 10.0
    chest_half_width_mm: float = 150.0
    chest_depth_mm: float = 120.0
    wall_margin_mm: float = 3.0
    wall_forward_mm: float = 4.0
    smooth_mm: float = 1.6


@dataclass(frozen=True)
class BreastMask:
    """weights: float32 volume, 1 inside the breasts, 0 outside, smooth in between (its grid is the input's).
    middle: index i of the sternum.
    """

    weights: Volume
    middle: float

    @property
    def inside(self) -> np.ndarray:
        """Boolean [i, j, k]."""
        return self.weights.array > 0.5

    @property
    def volume_ml(self) -> float:
        return float(self.inside.sum() * abs(np.linalg.det(self.weights.affine[:3, :3])) / 1000.0)


def edges(image: np.ndarray, spacing_mm: float, settings: MaskSettings) -> np.ndarray:
    """Boolean edges [i, j, k] of an axial stack with square voxels: Frangi's measure per slice, small components dropped.

    The square root evens out coil shading, so that one threshold serves near and far from the coil.
    """
    import torch

    from .frangi import ridges

    high = max(0.0, float(np.percentile(image[::3, ::3, ::3], 99.5)))
    compressed = torch.from_numpy(np.ascontiguousarray(image.T)).clamp(0.0, high).sqrt_()  # [k, j, i], as volumes lie in memory
    found = ridges(compressed, settings.edge_threshold, [s / spacing_mm for s in settings.sigmas_mm])
    labels, count = ndimage.label(found, ndimage.generate_binary_structure(3, 3))
    if count:
        own = labels[found]  # edges are few: only their voxels are counted
        found[found] = (np.bincount(own) * spacing_mm**3 / 1000.0 >= settings.min_edge_ml)[own]
    return found.T


def breast_mask(image: Volume, settings: MaskSettings | None = None, *, tissue: bool = True) -> BreastMask:
    """The breasts in a T1-weighted volume (non-fat-saturated T1, or a fat-saturated dynamic phase).

    image: on a canonical grid: i towards R, j towards A, k towards S, isotropic (``preprocessing.canonical_grid``).
    tissue: False where the volume shows enhancement alone; then the ordinary chest wall is taken, since this exam's cannot be seen.
    Raises InputError when no body outline is found.
    """
    settings = settings or MaskSettings()
    spacing = float(image.spacing[0])
    values = np.asarray(image.array, dtype=np.float32)
    found = edges(values, spacing, settings)
    front = _front(found)
    if np.isfinite(front).mean() < 0.15:
        raise InputError("No body outline was found in the exam; check that it is a breast MRI and that the T1 volume belongs to it.")
    surface = front - settings.skin_mm / spacing
    middle = _midline(front)
    limit = _posterior_limit(values if tissue else None, front, middle, spacing, settings)
    j = np.arange(image.shape[1], dtype=np.float32)[None, :, None]
    inside = (j <= surface[:, None, :]) & (j >= limit[:, None, :])
    inside = _large_parts(inside, spacing)
    weights = _smoothed(inside, settings.smooth_mm / spacing)
    if not (weights > 0.5).any():
        raise InputError(NO_TISSUE)
    return BreastMask(image.with_array(weights), middle)


def _front(found: np.ndarray) -> np.ndarray:
    """(i, k) largest j with an edge: the skin as seen from the front; gaps of a few voxels closed by a median."""
    front = np.full((found.shape[0], found.shape[2]), -1, dtype=np.float32)
    for j in range(found.shape[1]):  # the largest is written last
        np.copyto(front, j, where=found[:, j])
    closed = ndimage.median_filter(front, size=(7, 5), mode="nearest")
    front = np.where(np.abs(front - closed) > 6, closed, front)
    return np.where(front >= 0, front, np.nan)


def _posterior_limit(image: np.ndarray | None, front: np.ndarray, middle: float, spacing: float, settings: MaskSettings) -> np.ndarray:
    """(i, k) smallest j that may be breast. image: None where it does not show the wall."""
    limit = chest_wall.ordinary(
        front,
        middle,
        spacing,
        sternum_depth_mm=settings.sternum_depth_mm,
        half_width_mm=settings.chest_half_width_mm,
        depth_mm=settings.chest_depth_mm,
    )
    wall = None if image is None else chest_wall.fit(image, limit, middle, spacing)
    if wall is None:
        return limit
    moved = wall.moved_mm(np.abs(np.arange(len(limit)) - middle) * spacing) - settings.wall_margin_mm
    return limit + (np.minimum(moved, settings.wall_forward_mm) / spacing).astype(np.float32)[:, None]


def _midline(front: np.ndarray) -> float:
    """The i index of the sternum: the mirror axis that best maps the skin onto itself, near the middle of the body."""
    ni, met = front.shape[0], np.isfinite(front)
    profile = np.array([np.median(row[m]) if m.any() else np.nan for row, m in zip(front, met, strict=True)])
    centre = float(np.median(np.nonzero(met)[0]))
    best, best_cost = centre, np.inf
    for axis in np.arange(centre - ni / 10, centre + ni / 10, 0.5):
        offsets = np.arange(0.5, ni / 3)
        left = np.interp(axis - offsets, np.arange(ni), profile, left=np.nan, right=np.nan)
        right = np.interp(axis + offsets, np.arange(ni), profile, left=np.nan, right=np.nan)
        both = np.isfinite(left) & np.isfinite(right)
        if both.sum() > ni / 6:
            cost = float(np.abs(left - right)[both].mean())
            if cost < best_cost:
                best, best_cost = float(axis), cost
    return best


def _large_parts(inside: np.ndarray, spacing: float, keep_fraction: float = 0.05) -> np.ndarray:
    if not inside.any():
        raise InputError(NO_TISSUE)
    box = extent(inside)
    labels, count = ndimage.label(inside[box])
    if count == 1:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.zeros_like(inside)
    kept[box] = (sizes >= keep_fraction * sizes.max())[labels]
    return kept


def _smoothed(inside: np.ndarray, sigma: float, truncate: float = 3.0) -> np.ndarray:
    """``ndimage.gaussian_filter`` of a boolean grid that is not empty, float32, bit for bit; sigma in voxels.

    Only about what is inside, and slab by slab on all threads.
    """
    from ..core.threads import for_each, parts

    reach = int(truncate * sigma + 0.5)  # of the kernel, as SciPy cuts it
    box = tuple(slice(max(s.start - reach, 0), min(s.stop + reach, n)) for s, n in zip(extent(inside), inside.shape))
    weights = np.zeros(inside.shape, dtype=np.float32)
    out = weights[box]

    def first(part: slice) -> None:
        ndimage.gaussian_filter1d(inside[box][:, part].astype(np.float32), sigma, 0, output=out[:, part], truncate=truncate)

    def others(part: slice) -> None:
        for axis in (1, 2):
            ndimage.gaussian_filter1d(out[part], sigma, axis, output=out[part], truncate=truncate)

    for_each(first, parts(out.shape[1], 8))
    for_each(others, parts(out.shape[0], 8))
    return weights
