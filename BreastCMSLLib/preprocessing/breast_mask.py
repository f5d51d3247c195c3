"""Where the breasts are: Frangi's edges, small ones dropped, filled, smoothed (Luo et al. 2019, 3.1).

Two things differ from the paper's recipe, because Frangi's filter finds the skin but not the chest wall:

* Holes are filled from the front: a voxel is inside once a ray from the front has met an edge. Unlike plain
hole
  filling this needs no closed contour, so a gap in the skin (coil shading) does not empty a slice.
* A posterior limit follows the chest wall (``chest_wall.py``). Heart, great vessels and liver, which enhance
most,
  lie behind it and cannot win the peak.

Arrays as ``canonical_grid`` makes them: i towards R, j towards A, k towards S, isotropic voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import Volume
from ..core.masks import foremost
from ..core.ranges import check_ranges, ranged
from ..core.windows import bounding_box
from . import chest_wall

NO_TISSUE = "No breast tissue was found in front of the chest wall; check the orientation of the exam."
_LEAST_OUTLINE = 0.15  # share of columns in which a body's skin is met at the least


@dataclass(frozen=True)
class MaskSettings:
    """Settings of :func:`breast_mask`; distances and scales in mm.

    Parameters
    ----------
    sigmas_mm : tuple of float
        Scales of Frangi's filter.
    edge_threshold : float
        On Frangi's measure, 0–1.
    min_edge_ml : float
        Smaller edges are dropped.
    skin_mm : float
        How far behind its edge the skin ends.
    sternum_depth_mm, chest_half_width_mm, chest_depth_mm : float
        The ordinary chest wall, see ``chest_wall.ordinary``.
    wall_margin_mm : float
        How far behind the wall of an exam the mask ends, lest a lesion on it be cut.
    wall_forward_mm : float
        How far in front of the ordinary wall it may end at most: a little muscle costs less than breast that
        is not looked at.
    smooth_mm : float
        Sigma of the mask's edge.

    Raises
    ------
    ValueError
        A number is one that no model of ours has.
    """

    sigmas_mm: tuple[float, ...] = ranged((1.1, 2.2), 0.1, 50, count=(1, 8))
    edge_threshold: float = ranged(0.12, 0, 1000)
    min_edge_ml: float = ranged(1.5, 0, 1000)
    skin_mm: float = ranged(4.4, 0, 1000)
    sternum_depth_mm: float = ranged(10.0, 0, 1000)
    chest_half_width_mm: float = ranged(150.0, 1e-3, 1000)
    chest_depth_mm: float = ranged(120.0, 0, 1000)
    wall_margin_mm: float = ranged(3.0, 0, 1000)
    wall_forward_mm: float = ranged(4.0, 0, 1000)
    smooth_mm: float = ranged(1.6, 1e-3, 1000)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class BreastMask:
    """The breasts on the grid of the image that they were found in.

    Parameters
    ----------
    weights : Volume
        float32, 1 inside the breasts, 0 outside, smooth in between.
    middle : float
        Index i of the sternum.
    """

    weights: Volume
    middle: float

    @property
    def inside(self) -> np.ndarray:
        """Boolean [i, j, k]."""
        return self.weights.array > 0.5

    @property
    def volume_ml(self) -> float:
        """Of the voxels inside."""
        return float(self.inside.sum() * abs(np.linalg.det(self.weights.affine[:3, :3])) / 1000.0)


def breast_mask(image: Volume, settings: MaskSettings | None = None, *, tissue: bool = True) -> BreastMask:
    """The breasts in a T1-weighted volume (non-fat-saturated T1, or a fat-saturated dynamic phase).

    Parameters
    ----------
    image : Volume
        On a canonical grid (``model_input.canonical_grid``).
    settings : MaskSettings, optional
        None takes the defaults.
    tissue : bool
        False where the volume shows enhancement alone. Then the ordinary chest wall is taken, since this
        exam's cannot be seen.

    Returns
    -------
    BreastMask

    Raises
    ------
    InputError
        No body outline, no midline or no breast tissue was found.
    """
    settings = settings or MaskSettings()
    spacing = float(image.spacing[0])
    values = np.asarray(image.array, dtype=np.float32)
    front = _front(edges(values, spacing, settings))
    if np.isfinite(front).mean() < _LEAST_OUTLINE:
        raise InputError(
            "No body outline was found in the exam; check that it is a breast MRI "
            "and that the T1 volume belongs to it."
        )
    middle = _midline(front)
    surface = front - settings.skin_mm / spacing
    limit = _posterior_limit(values if tissue else None, front, middle, spacing, settings)
    j = np.arange(image.shape[1], dtype=np.float32)[None, :, None]
    inside = (j <= surface[:, None, :]) & (j >= limit[:, None, :])
    weights = _smoothed(_large_regions(inside), settings.smooth_mm / spacing)
    if not (weights > 0.5).any():
        raise InputError(NO_TISSUE)
    return BreastMask(image.with_array(weights), middle)


def edges(image: np.ndarray, spacing_mm: float, settings: MaskSettings) -> np.ndarray:
    """Edges of an axial stack: Frangi's measure per slice, small regions dropped.

    The square root evens out coil shading, so that one threshold serves near and far from the coil.

    Parameters
    ----------
    image : ndarray, [i, j, k], float32
        Square voxels in the slices k.
    spacing_mm : float
    settings : MaskSettings

    Returns
    -------
    ndarray, of the shape of ``image``, bool
    """
    import torch

    from .frangi import ridges

    # square root of the grey values without the brightest, as [k, j, i], as volumes lie in memory
    high = max(0.0, float(np.percentile(image[::3, ::3, ::3], 99.5)))
    compressed = torch.from_numpy(np.ascontiguousarray(image.T)).clamp(0.0, high).sqrt_()
    is_edge = ridges(compressed, settings.edge_threshold, [s / spacing_mm for s in settings.sigmas_mm])
    # of the regions only the large; edges are few, so that only their voxels are counted
    labels, count = ndimage.label(is_edge, ndimage.generate_binary_structure(3, 3))
    if count:
        own = labels[is_edge]
        is_edge[is_edge] = (np.bincount(own) * spacing_mm**3 / 1000.0 >= settings.min_edge_ml)[own]
    return is_edge.T


def _front(edge: np.ndarray) -> np.ndarray:
    """(i, k) float32 largest j with an edge, NaN without: the skin, its gaps of a few voxels closed."""
    front = foremost(edge).astype(np.float32)
    closed = ndimage.median_filter(front, size=(7, 5), mode="nearest")
    front = np.where(np.abs(front - closed) > 6, closed, front)
    return np.where(front >= 0, front, np.nan)


def _midline(front: np.ndarray) -> float:
    """Index i of the sternum: the axis near the middle that best mirrors the skin onto itself."""
    ni, is_skin = front.shape[0], np.isfinite(front)
    profile = np.array(
        [np.median(row[m]) if m.any() else np.nan for row, m in zip(front, is_skin, strict=True)]
    )
    centre = float(np.median(np.nonzero(is_skin)[0]))
    best, best_cost = centre, np.inf
    for axis in np.arange(centre - ni / 10, centre + ni / 10, 0.5):
        # the skin's profile to either side of the axis, where both sides have one
        offsets = np.arange(0.5, ni / 3)
        left = np.interp(axis - offsets, np.arange(ni), profile, left=np.nan, right=np.nan)
        right = np.interp(axis + offsets, np.arange(ni), profile, left=np.nan, right=np.nan)
        both = np.isfinite(left) & np.isfinite(right)
        if both.sum() > ni / 6:
            cost = float(np.abs(left - right)[both].mean())
            if cost < best_cost:
                best, best_cost = float(axis), cost
    return best


def _posterior_limit(
    image: np.ndarray | None, front: np.ndarray, middle: float, spacing: float, settings: MaskSettings
) -> np.ndarray:
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
    lateral = np.abs(np.arange(len(limit)) - middle) * spacing
    moved = wall.moved_mm(lateral) - settings.wall_margin_mm
    return limit + (np.minimum(moved, settings.wall_forward_mm) / spacing).astype(np.float32)[:, None]


def _large_regions(inside: np.ndarray, keep_fraction: float = 0.05) -> np.ndarray:
    """The connected regions of at least that fraction of the largest. Raises InputError for an empty mask."""
    if not inside.any():
        raise InputError(NO_TISSUE)
    box = bounding_box(inside)
    labels, count = ndimage.label(inside[box])
    if count == 1:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = np.zeros_like(inside)
    large[box] = (sizes >= keep_fraction * sizes.max())[labels]
    return large


def _smoothed(inside: np.ndarray, sigma: float, truncate: float = 3.0) -> np.ndarray:
    """``ndimage.gaussian_filter`` of a boolean grid that is not empty, float32, bit for bit; sigma in voxels.

    Only about what is inside, and slab by slab on all threads.
    """
    from ..core.threads import for_each, parts

    reach = int(truncate * sigma + 0.5)  # of the kernel, as SciPy cuts it
    box = bounding_box(inside, reach)
    weights = np.zeros(inside.shape, dtype=np.float32)
    out = weights[box]

    def along_first(part: slice) -> None:
        slab = inside[box][:, part].astype(np.float32)
        ndimage.gaussian_filter1d(slab, sigma, 0, output=out[:, part], truncate=truncate)

    def along_others(part: slice) -> None:
        for axis in (1, 2):
            ndimage.gaussian_filter1d(out[part], sigma, axis, output=out[part], truncate=truncate)

    for_each(along_first, parts(out.shape[1], 8))
    for_each(along_others, parts(out.shape[0], 8))
    return weights
