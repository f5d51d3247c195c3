"""The skin in front, from Frangi's edges: small ones dropped, the foremost taken (Luo et al. 2019, 3.1).

Arrays: i towards R, j towards A, k towards S, isotropic voxels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.masks import foremost

_BEHIND_MM, _AHEAD_MM = 7.7, 2.2  # of an edge: where the air's border is looked for
_AVERAGE_MM = 5.5  # along the edge


def skin_front(
    image: np.ndarray, spacing_mm: float, *, sigmas_mm: tuple[float, ...], threshold: float, least_ml: float
) -> np.ndarray:
    """Where the skin's edge lies.

    Parameters
    ----------
    image : ndarray, [i, j, k], float32
    spacing_mm : float
    sigmas_mm, threshold, least_ml
        ``MaskSettings.sigmas_mm``, ``edge_threshold`` and ``min_edge_ml``.

    Returns
    -------
    ndarray, shape (LR, SI), float32
        Largest index j with an edge, its gaps of a few voxels closed; NaN where there is none.
    """
    edge = edges(image, spacing_mm, sigmas_mm=sigmas_mm, threshold=threshold, least_ml=least_ml)
    front = foremost(edge).astype(np.float32)
    closed = ndimage.median_filter(front, size=(7, 5), mode="nearest")
    front = np.where(np.abs(front - closed) > 6, closed, front)
    return np.where(front >= 0, front, np.nan)


def at_air(front: np.ndarray, image: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The border of the air near the edges that :func:`skin_front` gives.

    Frangi's filter answers to ridges, while the skin's border is a step: its edge lies 1 to 5 mm off, farther
    in front where the tissue is bright. The border is where the image falls most from back to front; columns
    side by side are averaged along the edge first, so that noise does not matter.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
        Index j, NaN where there is none.
    image : ndarray, [i, j, k], float32
    spacing_mm : float

    Returns
    -------
    ndarray, shape (LR, SI), float32
        Index j.
    """
    seen = np.isfinite(front)
    offsets = np.arange(-round(_BEHIND_MM / spacing_mm) - 1, round(_AHEAD_MM / spacing_mm) + 2)
    rows = np.clip(np.rint(np.nan_to_num(front))[..., None] + offsets, 0, image.shape[1] - 1).astype(np.intp)
    i, k = np.ogrid[: front.shape[0], : front.shape[1]]
    along = image[i[..., None], rows, k[..., None]] * seen[..., None]
    width = 2 * round(_AVERAGE_MM / spacing_mm / 2) + 1
    along = ndimage.uniform_filter(along, (width, width, 1), mode="nearest")
    fall = along[..., :-2] - along[..., 2:]
    moved = np.where(fall.max(axis=-1) > 0, offsets[1:-1][fall.argmax(axis=-1)], 0)
    return (front + ndimage.median_filter(moved, width, mode="nearest")).astype(np.float32)


def below_skin(surface: np.ndarray, depth: float) -> np.ndarray:
    """The surface that lies a depth below the air, measured across the skin and not from back to front.

    Parameters
    ----------
    surface : ndarray, shape (LR, SI)
        Index j of the air's border, NaN where there is none.
    depth : float
        Voxels.

    Returns
    -------
    ndarray, shape (LR, SI), float32
        Index j; −1 or less where there is no skin.
    """
    air = np.nan_to_num(surface, nan=-1.0).astype(np.float32)
    reach = int(depth)
    side = np.arange(-reach, reach + 1)
    squared = depth**2 - (side[:, None] ** 2 + side[None, :] ** 2)
    ball = np.sqrt(np.maximum(squared, 0.0))
    return ndimage.grey_erosion(air, footprint=squared >= 0, structure=ball, mode="nearest")


def edges(
    image: np.ndarray, spacing_mm: float, *, sigmas_mm: tuple[float, ...], threshold: float, least_ml: float
) -> np.ndarray:
    """Edges of an axial stack: Frangi's measure per slice, small regions dropped.

    The square root evens out coil shading, so that one threshold serves near and far from the coil.

    Parameters
    ----------
    As of :func:`skin_front`.

    Returns
    -------
    ndarray, of the shape of ``image``, bool
    """
    import torch

    from .frangi import ridges

    # square root of the grey values without the brightest, as [k, j, i], as volumes lie in memory
    high = max(0.0, float(np.percentile(image[::3, ::3, ::3], 99.5)))
    compressed = torch.from_numpy(np.ascontiguousarray(image.T)).clamp(0.0, high).sqrt_()
    is_edge = ridges(compressed, threshold, [s / spacing_mm for s in sigmas_mm])
    # of the regions only the large; edges are few, so that only their voxels are counted
    labels, count = ndimage.label(is_edge, ndimage.generate_binary_structure(3, 3))
    if count:
        own = labels[is_edge]
        is_edge[is_edge] = (np.bincount(own) * spacing_mm**3 / 1000.0 >= least_ml)[own]
    return is_edge.T
