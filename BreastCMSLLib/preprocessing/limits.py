"""How far the breasts reach to the back, up and down, and to the sides, in mm from landmarks.

At the shoulders everything is wide, and no threshold tells a breast from an arm. So the mask ends where
breasts end. The centres of four contours of radiologists (anonymised exams of MIMBCD-UI) lie 11 to 48 mm in
front of the line over the sternum, 46 mm below to 43 mm above the nipple, and at most 108 mm from it.
Arrays: i towards R, j towards A, k towards S.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_ARM_RISES_MM = 6.0  # the skin comes forward again by so much where an arm lies beside the breast
_FOLD_MM = 8.0  # a breast ends below where it stands out no more than that over the sternum's line
_FOLD_MARGIN_MM = 10.0
_SMOOTH_MM = 5.5
_ALONG_MM = 30.0  # of the body, over which the sides are smoothed
_SIDE_MM = 15.0  # outside the line where the breast has come back to that level


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


def between_arms(
    front: np.ndarray, sternum: np.ndarray, nipples: np.ndarray, middle: float, spacing_mm: float
) -> np.ndarray:
    """(LR, SI) bool: columns between the arms.

    From the top of a breast to its side the skin only falls back. Where it comes forward again an arm begins;
    and so it does some way outside the line where the breast has come back to the level of the sternum, for
    there the chest falls off steeply.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
        Index j of the skin, NaN where there is none.
    sternum : ndarray, shape (SI,)
        Index j of the sternum's line.
    nipples, middle, spacing_mm
        As of :func:`above_nipples_mm`.
    """
    known = np.where(np.isfinite(front), front, -1e3)
    known = ndimage.median_filter(known, 2 * round(_SMOOTH_MM / spacing_mm / 2) + 1, mode="nearest")
    between = np.ones(front.shape, dtype=bool)
    parting = int(np.clip(round(middle), 1, len(front) - 1))
    for side, nipple in ((slice(parting - 1, None, -1), nipples[0]), (slice(parting, None), nipples[1])):
        outwards = known[side]
        # from the top of each level on, to 20 mm outside the nipple at the farthest
        reach = int(abs(nipple[0] - middle) + 20.0 / spacing_mm)
        top = outwards[:reach].argmax(axis=0)
        lateral = np.arange(len(outwards))[:, None] >= top[None, :]
        # where it has come back to the level of the sternum, or fallen off from a flat top
        height = np.take_along_axis(outwards, top[None, :], 0)[0]
        level = np.minimum(sternum + _FOLD_MM / spacing_mm, height - _ARM_RISES_MM / spacing_mm)
        back = lateral & (outwards <= level[None, :])
        flat = np.where(back.any(axis=0), back.argmax(axis=0), len(outwards))
        # from there to the valley in front of an arm, and not far
        n = np.arange(len(outwards))[:, None]
        beyond = n >= flat[None, :]
        fall = np.minimum.accumulate(np.where(beyond, outwards, np.inf), axis=0)
        rises = beyond & ((outwards - fall) * spacing_mm > _ARM_RISES_MM)
        first = np.where(rises.any(axis=0), rises.argmax(axis=0), len(outwards))
        valley = np.where(beyond & (n < first[None, :]), outwards, np.inf).argmin(axis=0)
        end = np.where(first < len(outwards), valley, len(outwards))
        end = np.minimum(end, flat + round(_SIDE_MM / spacing_mm))
        # noise of single levels is no arm
        end = ndimage.median_filter(end, 2 * round(_ALONG_MM / spacing_mm / 2) + 1, mode="nearest")
        between[side] &= n <= end[None, :]
    return between


def above_folds(
    front: np.ndarray, sternum: np.ndarray, nipples: np.ndarray, middle: float, spacing_mm: float
) -> np.ndarray:
    """(LR, SI) bool: columns above the fold below the breast of their side.

    Going down from the nipple, the breast ends where it hardly stands out over the sternum's line, or where
    the skin comes forward again: there the belly begins.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
        Index j of the skin, NaN where there is none.
    sternum : ndarray, shape (SI,)
        Index j of the sternum's line.
    nipples, middle, spacing_mm
        As of :func:`above_nipples_mm`.
    """
    ahead = (np.where(np.isfinite(front), front, -1e3) - sternum[None, :]) * spacing_mm
    above = np.ones(front.shape, dtype=bool)
    parting, near = int(np.clip(round(middle), 1, len(front) - 1)), 40.0 / spacing_mm
    margin = round(_FOLD_MARGIN_MM / spacing_mm)
    for side, nipple in ((slice(0, parting), nipples[0]), (slice(parting, None), nipples[1])):
        # the breast's ridge, about its nipple
        i = np.arange(len(front))[side]
        ridge = ahead[side][np.abs(i - nipple[0]) <= near].max(axis=0, initial=-1e3)
        ridge = ndimage.median_filter(ridge, 2 * round(_SMOOTH_MM / spacing_mm / 2) + 1, mode="nearest")
        down = ridge[: max(round(nipple[2]), 1)][::-1]
        fall = np.minimum.accumulate(down)
        ends = (down <= _FOLD_MM) | (down - fall > _ARM_RISES_MM)
        if ends.any():
            first = int(ends.argmax())
            fold = int(down[: first + 1].argmin())
            above[side, : max(len(down) - 1 - fold - margin, 0)] = False
    return above
