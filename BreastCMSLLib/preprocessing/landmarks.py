"""Landmarks of the breasts that a mask shows: skin, nipples, and on which side of the sternum a point lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import apply_affine


def nipples(inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the nipples are to be looked for, (2, 3) RAS mm, left breast first: the foremost place of the mask on either side.

    inside, affine: on a model's grid (index i towards R, j towards A). The sides part at the column that reaches the least
    forward in the middle third of the mask. Nipples enhance, and lie at the tip. Raises InputError for an empty mask.
    """
    columns = np.flatnonzero(inside.any(axis=(1, 2)))
    if not columns.size:
        raise InputError("The breast mask is empty inside the model's field of view; check the exam.")
    front = np.where(inside.any(axis=1), inside.shape[1] - 1 - np.argmax(inside[:, ::-1, :], axis=1), -1)
    profile = front.max(axis=1)
    low, width = columns[0], columns[-1] - columns[0] + 1
    middle = low + width // 3 + int(profile[low + width // 3 : low + 2 * width // 3 + 1].argmin())
    found = []
    for part in (slice(0, middle + 1), slice(middle, None)):
        tip = np.argwhere(front[part] == front[part].max())
        i, k = tip.mean(axis=0)
        found.append((i + (part.start or 0), float(front[part].max()), k))
    return apply_affine(affine, np.array(found))


@dataclass(frozen=True)
class Skin:
    """Where the air begins in front of and beside the breasts. air: (LR, SI), index j from which on a column is air.

    affine: index → RAS mm of a model's grid (index j towards A).
    """

    air: np.ndarray
    affine: np.ndarray

    @classmethod
    def of(cls, inside: np.ndarray, affine: np.ndarray, skin_mm: float = 0.0) -> Skin:
        """inside: boolean mask (LR, AP, SI). skin_mm: how far in front of the mask's surface the skin lies (``MaskSettings.skin_mm``).

        Air is what lies in front of the mask; where a column holds no mask, what lies in front of the back of the nearest column
        that does. The back of the mask is chest wall, not skin. Raises InputError for an empty mask.
        """
        met = inside.any(axis=1)
        if not met.any():
            raise InputError("The breast mask is empty inside the model's field of view; check the exam.")
        spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        front = inside.shape[1] - 1 - np.argmax(inside[:, ::-1, :], axis=1)
        back = np.argmax(inside, axis=1)
        nearest = ndimage.distance_transform_edt(~met, sampling=spacing[[0, 2]], return_distances=False, return_indices=True)
        air = np.where(met, front + 0.5 + skin_mm / spacing[1], back[tuple(nearest)] - 0.5)
        return cls(air, np.asarray(affine, dtype=np.float64))

    def depth(self, ras_mm: Sequence[float]) -> float:
        """Shortest distance in mm from a place to the air; 0 on the skin and outside."""
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        i, j, k = apply_affine(np.linalg.inv(self.affine), np.asarray(ras_mm))
        columns = zip(self.air.shape, (i, k), spacing[[0, 2]])
        across, along = (np.maximum(np.abs(np.arange(n) - c) - 0.5, 0) * step for n, c, step in columns)
        ahead = np.maximum(self.air - j, 0) * spacing[1]
        return float(np.sqrt((across[:, None] ** 2 + along[None, :] ** 2 + ahead**2).min()))


def side(affine: np.ndarray, ras_mm: Sequence[float], middle: float) -> str:
    """Which breast: "right" or "left" of the sternum, the patient's. middle: ``ModelInput.middle``, index i of the grid of ``affine``."""
    return "right" if apply_affine(np.linalg.inv(affine), np.asarray(ras_mm))[0] > middle else "left"
