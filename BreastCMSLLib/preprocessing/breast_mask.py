"""Where the breasts are: behind Frangi's edges of the skin, in front of the chest wall, smoothed (Luo et al.
2019, 3.1).

The paper fills the edges. That fails on whole bodies: Frangi's filter finds the skin but not the chest wall,
and at the shoulders a body is as wide as arms and axilla. So the mask lies

* behind the skin and in tissue (``skin.py``, ``body.py``),
* in front of the chest wall of this exam (``chest_wall.py``), behind which heart, vessels and liver enhance
  most,
* and within limits that are measured from the line over the sternum and from the nipples (``sternum.py``,
  ``landmarks.py``, ``limits.py``).

Arrays as ``canonical_grid`` makes them: i towards R, j towards A, k towards S, isotropic voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import Volume
from ..core.ranges import check_ranges, ranged
from ..core.windows import bounding_box
from . import body, chest_wall, limits
from .landmarks import Landmarks, find_landmarks
from .skin import at_air, below_skin, skin_front

NO_TISSUE = "No breast tissue was found in front of the chest wall; check the orientation of the exam."
NO_OUTLINE = (
    "No body outline was found in the exam; check that it is a breast MRI "
    "and that the T1 volume belongs to it."
)
NO_MIDLINE = (
    "The midline of the chest was not found in the exam; check that both breasts are in the field of view."
)
_BLUR_MM = 1.5  # by which noise and enhancing skin show the body's front farther ahead than tissue does
_LEAST_TISSUE = (
    0.8  # of the room between skin and wall; implants that drown all else leave half, breasts 0.95
)
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
        How far behind the air the skin ends.
    sternum_depth_mm, chest_half_width_mm, chest_depth_mm : float
        The ordinary chest wall, see ``chest_wall.ordinary``.
    wall_margin_mm : float
        How far behind the wall of an exam the mask ends, lest a lesion on it be cut.
    wall_forward_mm : float
        How far in front of the ordinary wall it may end at most.
    trust_mm : float
        Where the body reaches farther in front of Frangi's edge, that edge is not the skin.
    back_mm, back_rises_from_mm, back_rise : float
        The coronal plane behind the breasts, see ``limits.back_plane``.
    above_nipple_mm, below_nipple_mm, half_width_mm : float
        The ends of the breasts, see ``limits.within_ends``.
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
    skin_mm: float = ranged(2.8, 0, 1000)
    sternum_depth_mm: float = ranged(10.0, 0, 1000)
    chest_half_width_mm: float = ranged(150.0, 1e-3, 1000)
    chest_depth_mm: float = ranged(120.0, 0, 1000)
    wall_margin_mm: float = ranged(3.0, 0, 1000)
    wall_forward_mm: float = ranged(12.0, 0, 1000)
    trust_mm: float = ranged(15.0, 0, 1000)
    back_mm: float = ranged(55.0, 0, 1000)
    back_rises_from_mm: float = ranged(45.0, 0, 1000)
    back_rise: float = ranged(1.0, 0, 100)
    above_nipple_mm: float = ranged(90.0, 0, 1000)
    below_nipple_mm: float = ranged(95.0, 0, 1000)
    half_width_mm: float = ranged(160.0, 1, 1000)
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
    landmarks : Landmarks
        Where sternum, nipples and chest wall lie.
    """

    weights: Volume
    middle: float
    landmarks: Landmarks

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
    # skin and tissue
    skin = _skin(values, spacing, settings)
    factor = max(1, round(body.COARSE_MM / spacing))
    is_body = _body(values, skin, factor, spacing, tissue)
    surface = _surface(is_body, skin, factor, settings.trust_mm / spacing)
    # landmarks, and the limits that follow from them
    found = find_landmarks(surface, spacing)
    if found is None:
        raise InputError(NO_MIDLINE)
    lateral = (np.arange(image.shape[0]) - found.middle) * spacing
    wall = _chest_wall(values if tissue else None, found.sternum, found.middle, lateral, spacing, settings)
    above = limits.above_nipples_mm(found.nipples, found.middle, surface.shape, spacing)
    plane = limits.back_plane(
        found.sternum,
        above,
        spacing,
        behind_mm=settings.back_mm,
        rises_from_mm=settings.back_rises_from_mm,
        rise=settings.back_rise,
    )
    ends = limits.within_ends(
        above,
        lateral,
        above_nipple_mm=settings.above_nipple_mm,
        below_nipple_mm=settings.below_nipple_mm,
        half_width_mm=settings.half_width_mm,
    )
    ends &= limits.between_arms(surface, found.sternum, found.nipples, found.middle, spacing)
    ends &= limits.above_folds(surface, found.sternum, found.nipples, found.middle, spacing)
    # what lies between
    skin_mm = settings.skin_mm + (0.0 if tissue else _BLUR_MM)
    front = np.where(ends, below_skin(surface, skin_mm / spacing), -1.0)
    back = np.maximum(wall, plane)
    inside = _between(is_body, back, front, factor, image.shape)
    landmarks = found.landmarks(wall, image.affine)
    room = np.maximum(front - np.maximum(back, 0.0), 0.0).sum()
    if inside.sum() < _LEAST_TISSUE * room:  # something drowns the tissue: all behind the skin is body
        landmarks = replace(landmarks, sure=False)
        inside = _between(_behind(surface, factor, is_body.shape), back, front, factor, image.shape)
    weights = _smoothed(inside, settings.smooth_mm / spacing)
    if not (weights > 0.5).any():
        raise InputError(NO_TISSUE)
    return BreastMask(image.with_array(weights), found.middle, landmarks)


def _skin(values: np.ndarray, spacing: float, settings: MaskSettings) -> np.ndarray:
    """(i, k) index j of the skin's border by Frangi's edges, NaN where there is none."""
    skin = skin_front(
        values,
        spacing,
        sigmas_mm=settings.sigmas_mm,
        threshold=settings.edge_threshold,
        least_ml=settings.min_edge_ml,
    )
    if np.isfinite(skin).mean() < _LEAST_OUTLINE:
        raise InputError(NO_OUTLINE)
    return at_air(skin, values, spacing)


def _body(values: np.ndarray, skin: np.ndarray, factor: int, spacing: float, tissue: bool) -> np.ndarray:
    """The body on the coarse grid, bool."""
    small = body.coarse(np.maximum(values, 0.0), factor)
    if tissue:
        return body.tissue(small, factor * spacing)
    edge = (skin[::factor, ::factor][: small.shape[0], : small.shape[2]] - (factor - 1) / 2) / factor
    return body.enhancing_tissue(small, edge, factor * spacing)


def _surface(is_body: np.ndarray, skin: np.ndarray, factor: int, trust: float) -> np.ndarray:
    """(i, k) index j of the skin: Frangi's edge, the body's front where that lies far beyond the edge or none
    was found.
    """
    front = np.full(skin.shape, np.nan, dtype=np.float32)
    fine = np.repeat(np.repeat(body.front_of(is_body), factor, 0), factor, 1) * factor + (factor - 1)
    front[: fine.shape[0], : fine.shape[1]] = fine
    return np.where(front - skin < trust, skin, front)


def _behind(surface: np.ndarray, factor: int, shape: tuple[int, ...]) -> np.ndarray:
    """All behind the skin, on the coarse grid, bool."""
    ni, nj, nk = shape
    front = np.nan_to_num(surface[: ni * factor : factor, : nk * factor : factor], nan=-1.0) / factor
    return np.arange(nj, dtype=np.float32)[None, :, None] <= front[:, None, :]


def _chest_wall(
    values: np.ndarray | None,
    sternum: np.ndarray,
    middle: float,
    lateral: np.ndarray,
    spacing: float,
    settings: MaskSettings,
) -> np.ndarray:
    """(i, k) index j of the chest wall. values: None where the image does not show it."""
    wall = chest_wall.ordinary(
        sternum,
        lateral,
        spacing,
        sternum_depth_mm=settings.sternum_depth_mm,
        half_width_mm=settings.chest_half_width_mm,
        depth_mm=settings.chest_depth_mm,
    )
    if values is None:
        return wall
    moved = chest_wall.moved(values, wall, middle, spacing, forward_mm=settings.wall_forward_mm)
    return wall if moved is None else wall + (moved - settings.wall_margin_mm) / spacing


def _between(
    is_body: np.ndarray, back: np.ndarray, front: np.ndarray, factor: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Body voxels between two surfaces, without thin and small parts, on the fine grid."""
    # which parts are breasts shows on the coarse grid
    ni, nj, nk = is_body.shape
    low, high = (
        (
            side[: ni * factor, : nk * factor].reshape(ni, factor, nk, factor).mean(axis=(1, 3))
            - (factor - 1) / 2
        )
        / factor
        for side in (back, np.nan_to_num(front, nan=-1.0))
    )
    j = np.arange(nj, dtype=np.float32)[None, :, None]
    parts = is_body & (j >= low[:, None, :]) & (j <= high[:, None, :])
    parts = _large_regions(ndimage.binary_opening(parts))
    parts = ndimage.binary_dilation(parts) & is_body
    # and where they end on the fine one
    inside = np.zeros(shape, dtype=bool)
    fine = np.repeat(np.repeat(np.repeat(parts, factor, 0), factor, 1), factor, 2)
    inside[: fine.shape[0], : fine.shape[1], : fine.shape[2]] = fine
    j = np.arange(shape[1], dtype=np.float32)[None, :, None]
    inside &= j >= back[:, None, :]
    inside &= j <= np.nan_to_num(front, nan=-1.0)[:, None, :]
    return inside


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
