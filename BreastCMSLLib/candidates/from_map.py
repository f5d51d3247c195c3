"""The candidates that a saliency map of the network points at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..preprocessing.landmarks import Landmarks
from .candidate import Candidate
from .peaks import COUNT, find_peaks, normalise
from .regions import SNAP_MM, is_vessel, snap

# maps whose candidates are those of the map times the early enhancement, voxel by voxel
FUSED = ("COAMxCAM",)
FUSED_SNAP_MM = 6.0  # such a map peaks on a bright voxel already
NIPPLE_MM = 15.0  # from the tip of a breast


def candidates_from_map(
    map_name: str, saliency: np.ndarray, enhancement: np.ndarray, inside: np.ndarray, affine: np.ndarray
) -> list[Candidate]:
    """The candidates of a named 0–1 map, most suspicious first.

    Its peaks, those of a map in ``FUSED`` times the enhancement, are moved to the bright regions beside them;
    vessels and nipples come last. ``value`` stays that of the map at its own peak, so it need not fall along
    the list. Where a map is 0 everywhere (no cell speaks for malignant), the strongest enhancement is listed
    instead.

    Parameters
    ----------
    map_name : str
        A name in ``network.attention.MAPS``.
    saliency, enhancement : ndarray, shape (LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
        Voxel index of the model's grid → RAS mm.

    Returns
    -------
    list of Candidate
        At least one.

    Raises
    ------
    InputError
        The mask is empty.
    """
    fused = map_name in FUSED
    searched = saliency * enhancement if fused else saliency
    if not searched.any():
        searched, fused = enhancement, True
    if fused:
        searched = normalise(searched, inside)
    peaks = find_peaks(searched, inside, affine, count=COUNT)
    snapped = snap(peaks, enhancement, inside, affine, search_mm=FUSED_SNAP_MM if fused else SNAP_MM)
    return doubtful_last(snapped, Landmarks.of_mask(inside, affine).nipples)


def is_nipple(ras_mm: Sequence[float], tips: np.ndarray, within_mm: float = NIPPLE_MM) -> bool:
    """Whether a point (RAS, mm) lies at the tip of a breast; ``tips`` as of
    ``Landmarks.nipples``.
    """
    return bool((np.linalg.norm(tips - np.array(ras_mm), axis=1) <= within_mm).any())


def doubtful_last(candidates: Sequence[Candidate], tips: np.ndarray) -> list[Candidate]:
    """The same candidates, those on a vessel or a nipple behind the others."""
    return sorted(candidates, key=lambda c: is_vessel(c.region) or is_nipple(c.ras_mm, tips))
