"""How far the breasts reach to the back, up and down, and to the sides, in mm from landmarks.

At the shoulders everything is wide, and no threshold tells a breast from an arm. So the mask ends where
breasts end. Contours of radiologists lie between 86 mm in front of the line over the sternum and 6 mm behind
it, 46 mm below to 41 mm above the nipple, and at most 109 mm from it.
Arrays: i towards R, j towards A, k towards S.
"""

from __future__ import annotations

import numpy as np


def above_nipples_mm(
    nipples: np.ndarray, middle: float, shape: tuple[int, int], spacing_mm: float
) -> np.ndarray:
    """(LR, SI) mm towards the head from the nipple of a column's own side.

    Parameters
    ----------
    nipples : ndarray, shape (2, 3)
        Indices, left breast first.
    middle : float
        Index i of the midline.
    shape : tuple of int
        (LR, SI).
    spacing_mm : float
    """
    own = np.where(np.arange(shape[0]) > middle, nipples[1, 2], nipples[0, 2])
    return ((np.arange(shape[1])[None, :] - own[:, None]) * spacing_mm).astype(np.float32)


def back_plane(
    sternum: np.ndarray,
    above_mm: np.ndarray,
    spacing_mm: float,
    *,
    behind_mm: float,
    rises_from_mm: float,
    rise: float,
) -> np.ndarray:
    """A coronal plane behind the sternum that comes forward towards the shoulders, in front of the axilla.

    Parameters
    ----------
    sternum : ndarray, shape (SI,)
        Index j of the skin over the sternum.
    above_mm : ndarray, shape (LR, SI)
        :func:`above_nipples_mm`.
    spacing_mm : float
    behind_mm : float
        How far behind the sternum's skin it lies.
    rises_from_mm, rise : float
        From so far above the nipple on it comes forward, by so many mm each mm.

    Returns
    -------
    ndarray, shape (LR, SI), float32
        Index j.
    """
    behind = behind_mm - rise * np.maximum(above_mm - rises_from_mm, 0.0)
    return (sternum[None, :] - behind / spacing_mm).astype(np.float32)


def within_ends(
    above_mm: np.ndarray,
    lateral_mm: np.ndarray,
    *,
    above_nipple_mm: float,
    below_nipple_mm: float,
    half_width_mm: float,
) -> np.ndarray:
    """(LR, SI) bool: columns between the upper and the lower end, and not beyond the sides.

    Parameters
    ----------
    above_mm : ndarray, shape (LR, SI)
        :func:`above_nipples_mm`.
    lateral_mm : ndarray, shape (LR,)
        Distance from the midline.
    above_nipple_mm, below_nipple_mm, half_width_mm : float
        Where the breasts end.
    """
    ends = (above_mm <= above_nipple_mm) & (above_mm >= -below_nipple_mm)
    return ends & (np.abs(lateral_mm) <= half_width_mm)[:, None]
