"""Landmarks of the breasts that a mask shows: skin, nipples, and on which side of the sternum a point lies.

Masks are boolean, (LR, AP, SI), on a model's grid: index i grows towards R, j towards A, k towards S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import apply_affine, spacing_of
from ..core.masks import foremost

_EMPTY = "The breast mask is empty inside the model's field of view; check the exam."


def nipples(inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the nipples are to be looked for, which enhance: the foremost point of the mask on either side.

    The sides part at the column that reaches the least forward in the middle third of the mask.

    Parameters
    ----------
    inside : ndarray, shape (LR, AP, SI), bool
        The breast mask.
    affine : ndarray, shape (4, 4)
        Index → RAS mm.

    Returns
    -------
    ndarray, shape (2, 3)
        RAS mm, left breast first.

    Raises
    ------
    InputError
        The mask is empty.
    """
    columns = np.flatnonzero(inside.any(axis=(1, 2)))
    if not columns.size:
        raise InputError(_EMPTY)
    front = foremost(inside)
    profile = front.max(axis=1)
    low, width = columns[0], columns[-1] - columns[0] + 1
    middle = low + width // 3 + int(profile[low + width // 3 : low + 2 * width // 3 + 1].argmin())
    tips = []
    for part in (slice(0, middle + 1), slice(middle, None)):
        # of voxels equally far in front the mean
        i, k = np.argwhere(front[part] == front[part].max()).mean(axis=0)
        tips.append((part.start + i, front[part].max(), k))
    return apply_affine(affine, np.array(tips))


@dataclass(frozen=True)
class Skin:
    """Where the air begins in front of and beside the breasts; build it with :meth:`of`.

    Parameters
    ----------
    air : ndarray, shape (LR, SI)
        Index j from which on a column is air.
    affine : ndarray, shape (4, 4)
        Index → RAS mm of the model's grid.
    """

    air: np.ndarray
    affine: np.ndarray

    @classmethod
    def of(cls, inside: np.ndarray, affine: np.ndarray, skin_mm: float = 0.0) -> Skin:
        """The skin over a breast mask.

        Air is what lies in front of the mask; where a column holds no mask, what lies in front of the back of
        the nearest column that does. The back of the mask is chest wall, not skin.

        Parameters
        ----------
        inside : ndarray, shape (LR, AP, SI), bool
            The breast mask.
        affine : ndarray, shape (4, 4)
            Index → RAS mm.
        skin_mm : float
            How far in front of the mask's surface the skin lies (``MaskSettings.skin_mm``).

        Returns
        -------
        Skin

        Raises
        ------
        InputError
            The mask is empty.
        """
        front = foremost(inside)
        is_mask = front >= 0
        if not is_mask.any():
            raise InputError(_EMPTY)
        spacing = spacing_of(affine)
        nearest = ndimage.distance_transform_edt(
            ~is_mask, sampling=spacing[[0, 2]], return_distances=False, return_indices=True
        )
        back = np.argmax(inside, axis=1)[tuple(nearest)]
        air = np.where(is_mask, front + 0.5 + skin_mm / spacing[1], back - 0.5)
        return cls(air, np.asarray(affine, dtype=np.float64))

    def depth(self, ras_mm: Sequence[float]) -> float:
        """Shortest distance in mm from a point (RAS, mm) to the air; 0 on the skin and outside."""
        spacing = spacing_of(self.affine)
        i, j, k = apply_affine(np.linalg.inv(self.affine), np.asarray(ras_mm))
        # to the nearest edge of each column across, along and ahead
        columns = zip(self.air.shape, (i, k), spacing[[0, 2]])
        across, along = (np.maximum(np.abs(np.arange(n) - c) - 0.5, 0) * step for n, c, step in columns)
        ahead = np.maximum(self.air - j, 0) * spacing[1]
        return float(np.sqrt((across[:, None] ** 2 + along[None, :] ** 2 + ahead**2).min()))


def side(affine: np.ndarray, ras_mm: Sequence[float], middle: float) -> str:
    """The patient's side on which a point lies.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Index → RAS mm of a model's grid.
    ras_mm : sequence of float
        The point, RAS, mm.
    middle : float
        Index i of the sternum on that grid, ``ModelInput.middle``.

    Returns
    -------
    str
        "right" or "left".
    """
    return "right" if apply_affine(np.linalg.inv(affine), np.asarray(ras_mm))[0] > middle else "left"
