"""Tissue against air, on a coarse grid.

One threshold for a whole volume fails: coils make the air near them brighter than tissue far from them. So
every coronal row is compared with its own air, and every voxel with the brightest tissue nearby.
Arrays: i towards R, j towards A, k towards S, isotropic voxels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

COARSE_MM = 2.2  # fine enough for a skin of 4 mm, and eight times fewer voxels than the model's grid
_ABOVE_AIR = 1.6  # times the air of a row, in roots: Rayleigh noise of 0.8 mm smoothing stays below 1.3
_AIR_PERCENTILE = 8.0  # of a row: even where the body fills the field, that much of it is air beside it
_BEHIND = 1.5  # times the air in front: the most that rows behind have; coils lie in front
_GLOW = 0.5  # of the brightest nearby, in roots: ringing and blur about bright skin lie below
_NEARBY_MM = 24.0
_SMOOTH_MM = 1.8
_OPEN_MM = 4.4
_UNSEEN = 0.02  # of the highest value: corners that the scanner cut away are no air
# Enhancement shows tissue by its noise, half as strong again as that of air (Rayleigh noise has 0.655 of the
# spread), where ghosts do not lie over the air: the least of these factors that agrees with the skin's edges
_NOISE_FACTORS = (1.2, 1.35, 1.5, 1.8, 2.2, 2.6)
_NOISE_SMOOTH_MM = 3.3
_AGREE_MM = 7.0
_GAP_MM = 9.0  # in the front that is closed; the valley between the breasts is wider


def coarse(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of cubes of ``factor`` voxels, float32; what is left over at the upper ends is dropped."""
    if factor == 1:
        return values
    ni, nj, nk = (n // factor for n in values.shape)
    cubes = values[: ni * factor, : nj * factor, : nk * factor].reshape(ni, factor, nj, factor, nk, factor)
    return cubes.mean(axis=(1, 3, 5), dtype=np.float32)


def tissue(image: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Where a volume shows tissue: one part, without holes in its axial slices.

    Parameters
    ----------
    image : ndarray, [i, j, k], float32
        T1 or a dynamic phase on a coarse grid, not negative.
    spacing_mm : float

    Returns
    -------
    ndarray, of the shape of ``image``, bool
    """
    # roots even out coil shading
    root = np.sqrt(np.minimum(image, np.percentile(image[::2, ::2, ::2], 99)))
    root = ndimage.gaussian_filter(root, _SMOOTH_MM / spacing_mm)
    seen = root > _UNSEEN * root.max()
    if not seen.any():
        return seen
    # above the air of its row, and above what parts dim from air in the whole volume
    dim = root[seen][::7]
    dim = dim[dim < _otsu(dim)]
    least = np.maximum(_ABOVE_AIR * _air_of_rows(root, seen), _otsu(dim) if dim.size else 0.0)
    body = root > least[None, :, None]
    # and no glow about something bright
    near = 2 * int(_NEARBY_MM / spacing_mm / 2) + 1
    body &= root > _GLOW * ndimage.maximum_filter(root, size=(near, near, 1))
    # one part without bridges and holes
    body = ndimage.binary_opening(body, iterations=_opening(spacing_mm))
    return _filled(_largest(body))


def enhancing_tissue(image: np.ndarray, skin: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Where a volume that shows enhancement alone has a body: its noise is stronger than that of the air.

    Parameters
    ----------
    image : ndarray, [i, j, k], float32
        On a coarse grid, not negative.
    skin : ndarray, shape (LR, SI)
        Index j of the skin's edge on that grid, NaN where none was found.
    spacing_mm : float

    Returns
    -------
    ndarray, of the shape of ``image``, bool
    """
    level = np.minimum(image, np.percentile(image[::2, ::2, ::2], 97))
    level = ndimage.gaussian_filter(level, _NOISE_SMOOTH_MM / spacing_mm)
    seen = level > _UNSEEN * level.max()
    air = _air_of_rows(level, seen)[None, :, None]
    for factor in _NOISE_FACTORS:
        body = ndimage.binary_opening((level > factor * air) & seen, iterations=_opening(spacing_mm))
        body = _filled(_largest(body))
        beyond = (front_of(body) - skin) * spacing_mm
        if not np.isfinite(beyond).any() or np.nanmedian(beyond) <= _AGREE_MM:
            break
    # fat hardly enhances: all is body that lies behind the foremost of it and of the skin
    front = np.fmax(front_of(ndimage.binary_erosion(body, border_value=1)), skin)
    gap = 2 * int(_GAP_MM / spacing_mm / 2) + 1
    front = ndimage.grey_closing(np.nan_to_num(front, nan=-1.0), size=(gap, gap))
    return np.arange(image.shape[1])[None, :, None] <= front[:, None, :]


def front_of(body: np.ndarray) -> np.ndarray:
    """(LR, SI) foremost index j of a body, float, NaN where a column holds none."""
    last = body.shape[1] - 1 - body[:, ::-1].argmax(axis=1)
    return np.where(body.any(axis=1), last, np.nan)


def _opening(spacing_mm: float) -> int:
    """Times to erode and dilate so that bridges of twice _OPEN_MM break."""
    return max(1, round(_OPEN_MM / spacing_mm))


def _air_of_rows(root: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(AP,) level of the air in every coronal row."""
    air = np.full(root.shape[1], np.nan)
    for j in range(len(air)):
        if (values := root[:, j][seen[:, j]]).size > 50:
            air[j] = np.percentile(values, _AIR_PERCENTILE)
    known = np.flatnonzero(np.isfinite(air))
    if not known.size:
        return np.zeros(len(air))
    air = ndimage.median_filter(np.interp(np.arange(len(air)), known, air[known]), 9)
    # arms beside the body leave no air in its rows: those have that of the rows in front
    return np.minimum(air, _BEHIND * float(np.median(air[-max(1, len(air) // 3) :])))


def _otsu(values: np.ndarray) -> float:
    """The threshold that parts values best in two (Otsu, IEEE Trans Syst Man Cybern 1979;9:62)."""
    counts, ends = np.histogram(values, 256)
    centres = (ends[1:] + ends[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * centres)
    between = (sums[-1] * below / below[-1] - sums) ** 2 / np.maximum(below * (below[-1] - below), 1)
    return float(centres[np.argmax(between)])


def _largest(body: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(body)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count > 1 else body


def _filled(body: np.ndarray) -> np.ndarray:
    """Holes of axial slices filled: parts of the air that do not reach the slice's border."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1, :, 1] = in_plane[:, 1, 1] = True
    labels, count = ndimage.label(~body, in_plane)
    outside = np.zeros(count + 1, dtype=bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False
    return ~outside[labels]
