"""Landmarks of the breasts that a mask shows: skin, nipples, and on which side of the sternum a point lies.

Masks are boolean, (LR, AP, SI), on a model's grid: index i grows towards R, j towards A, k towards S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import apply_affine, spacing_of
from ..core.masks import foremost
from .sternum import midline, sternum_line

WALL_AT_MM = tuple(range(0, 161, 20))  # from the midline, where the depth of the chest wall is kept
_WALL_NEAR_MM = 30.0  # of the nipple's height, over which that depth is taken
_COARSE_MM = 2.2
_NIPPLES_MM = (25.0, 150.0)  # from the midline
_EXPECTED_MM = 80.0  # spread of their height about the middle of the field
_TIP_MM = 4.4  # over which the skin is smoothed, so that noise makes no tip
_END_MM = 10.0
_ABSENT_MM = -50.0
_LEAST_MM = 10.0  # by which a tip stands out over the sternum's line; the flattest simulated breasts: 30
_EMPTY = "The breast mask is empty inside the model's field of view; check the exam."


@dataclass(frozen=True)
class Landmarks:
    """Places of the body that the breasts are measured from, RAS mm.

    Parameters
    ----------
    sternum : ndarray, shape (2, 3)
        Lower and upper end of the straight line of skin over the sternum.
    nipples : ndarray, shape (2, 3)
        Left breast first.
    wall_mm : ndarray, shape (2, n)
        Depth of the chest wall behind that line at ``WALL_AT_MM`` from the midline, left side first, at the
        height of the nipple.
    axes : ndarray, shape (3, 3)
        Rows are unit vectors towards the patient's right, front and head.
    sure : bool
        Whether the midline lies in a valley between two breasts and both nipples were seen.
    recess_mm : float
        How far the body falls off in front from its highest point towards head or foot; breasts do.
    """

    sternum: np.ndarray
    nipples: np.ndarray
    wall_mm: np.ndarray
    axes: np.ndarray
    sure: bool
    recess_mm: float = 0.0

    _ARRAYS: ClassVar = ("sternum", "nipples", "wall_mm", "axes")

    @classmethod
    def of_mask(cls, inside: np.ndarray, affine: np.ndarray) -> Landmarks:
        """Landmarks as a breast mask alone shows them, for a mask that came without.

        Parameters
        ----------
        inside : ndarray, shape (LR, AP, SI), bool
            The breast mask.
        affine : ndarray, shape (4, 4)
            Index → RAS mm.

        Returns
        -------
        Landmarks

        Raises
        ------
        InputError
            The mask is empty.
        """
        front = foremost(inside).astype(float)
        found = find_landmarks(np.where(front >= 0, front, np.nan), float(spacing_of(affine)[0]))
        if found is None:
            raise InputError(_EMPTY)
        back = np.where(front >= 0, np.argmax(inside, axis=1), np.nan)
        known = np.isfinite(back)
        back[~known] = np.median(back[known])
        return found.landmarks(back, np.asarray(affine, dtype=np.float64))

    @classmethod
    def from_json(cls, values: dict) -> Landmarks:
        """The landmarks that :meth:`as_json` made lists of."""
        arrays = {name: np.array(values[name], dtype=np.float64) for name in cls._ARRAYS}
        return cls(**arrays, sure=bool(values["sure"]), recess_mm=float(values["recess_mm"]))

    def as_json(self) -> dict:
        """Lists of numbers by name, and ``sure``."""
        return {name: getattr(self, name).tolist() for name in self._ARRAYS} | {
            "sure": self.sure,
            "recess_mm": self.recess_mm,
        }

    def from_midline_mm(self, ras_mm: Sequence[float]) -> float:
        """mm from the midline, positive towards the patient's right."""
        return float(self.axes[0] @ (np.asarray(ras_mm) - self.sternum[0]))

    def from_nipple_mm(self, ras_mm: Sequence[float]) -> float:
        """mm from the nipple of the same side."""
        return float(np.linalg.norm(np.asarray(ras_mm) - self._nipple(ras_mm)))

    def above_nipple_mm(self, ras_mm: Sequence[float]) -> float:
        """mm towards the head from the nipple of the same side."""
        return float(self.axes[2] @ (np.asarray(ras_mm) - self._nipple(ras_mm)))

    def in_front_of_wall_mm(self, ras_mm: Sequence[float]) -> float:
        """mm from the chest wall to the front, along the front axis."""
        point, (low, high) = np.asarray(ras_mm), self.sternum
        up = self.axes[2] @ (high - low)
        share = float(self.axes[2] @ (point - low) / up) if up > 0 else 0.0
        ahead = float(self.axes[1] @ (point - (low + share * (high - low))))
        lateral = self.from_midline_mm(point)
        return ahead + float(np.interp(abs(lateral), WALL_AT_MM, self.wall_mm[int(lateral > 0)]))

    def _nipple(self, ras_mm: Sequence[float]) -> np.ndarray:
        return self.nipples[int(self.from_midline_mm(ras_mm) > 0)]


@dataclass(frozen=True)
class FoundLandmarks:
    """Landmarks on a grid, as indices.

    Parameters
    ----------
    middle : float
        Index i of the midline.
    sternum : ndarray, shape (SI,)
        Index j of the skin over the sternum.
    nipples : ndarray, shape (2, 3)
        Left breast first.
    spacing_mm : float
    sure : bool
    recess_mm : float
        As of :class:`Landmarks`.
    """

    middle: float
    sternum: np.ndarray
    nipples: np.ndarray
    spacing_mm: float
    sure: bool
    recess_mm: float

    def landmarks(self, wall: np.ndarray, affine: np.ndarray) -> Landmarks:
        """The same in RAS mm.

        Parameters
        ----------
        wall : ndarray, shape (LR, SI)
            Index j of the chest wall.
        affine : ndarray, shape (4, 4)
            Index → RAS mm.
        """
        nk, near = len(self.sternum), round(_WALL_NEAR_MM / self.spacing_mm)
        depth = (self.sternum[None, :] - wall) * self.spacing_mm
        lateral = (np.arange(len(wall)) - self.middle) * self.spacing_mm
        walls = []
        for sign, nipple in zip((-1, 1), self.nipples):
            k = int(np.clip(round(nipple[2]), 0, nk - 1))
            of_side = np.median(depth[:, max(k - near, 0) : k + near + 1], axis=1)
            order = np.argsort(sign * lateral)
            walls.append(np.interp(WALL_AT_MM, sign * lateral[order], of_side[order]))
        ends = [[self.middle, self.sternum[0], 0], [self.middle, self.sternum[-1], nk - 1]]
        axes = affine[:3, :3].T / np.linalg.norm(affine[:3, :3], axis=0)[:, None]
        return Landmarks(
            apply_affine(affine, np.array(ends)),
            apply_affine(affine, self.nipples),
            np.array(walls),
            axes,
            self.sure,
            self.recess_mm,
        )


def find_landmarks(front: np.ndarray, spacing_mm: float) -> FoundLandmarks | None:
    """Midline, sternum and nipples in the surface of a body.

    Parameters
    ----------
    front : ndarray, shape (LR, SI)
        Index j of the skin, NaN where there is none.
    spacing_mm : float

    Returns
    -------
    FoundLandmarks or None
        None where no skin is seen over the sternum.
    """
    if not np.isfinite(front).any():
        return None
    # on a coarse grid: landmarks are known to some millimetres at best
    every = max(1, round(_COARSE_MM / spacing_mm))
    small, step = front[::every, ::every] / every, every * spacing_mm
    middle, valley = midline(small, step)
    centre = (small.shape[1] - 1) / 2
    for _ in range(2):  # the line is fitted about the nipples, which are measured from the line
        line = sternum_line(small, middle, step, centre)
        if not np.isfinite(line).all():
            return None
        tips, sure = nipples((small - line) * spacing_mm, middle, step, centre)
        centre = float(tips[:, 1].mean())
    ahead = np.where(np.isfinite(small), small, line)
    index = np.array([[i, ahead[i, k], k] for i, k in tips]) * float(every)
    sternum = np.interp(np.arange(front.shape[1]) / every, np.arange(len(line)), line) * every
    return FoundLandmarks(
        middle * every, sternum, index, spacing_mm, valley and sure, _recess_mm((small - line) * step, step)
    )


def nipples(ahead_mm: np.ndarray, middle: float, spacing_mm: float, centre: float) -> tuple[np.ndarray, bool]:
    """Where the nipples are: the points that lie farthest in front of the sternum's line on either side.

    Parameters
    ----------
    ahead_mm : ndarray, shape (LR, SI)
        How far the skin lies in front of the line, NaN where there is none.
    middle : float
        Index i of the midline.
    spacing_mm : float
    centre : float
        Index k about which they are expected; shoulders and belly, which lie farther off, count less.

    Returns
    -------
    tips : ndarray, shape (2, 2), int
        Indices i, k, left breast first. A side that shows none gets the mirror image of the other.
    sure : bool
        Whether both stand out, and not at an end of the field.
    """
    ni, nk = ahead_mm.shape
    lateral = (np.arange(ni) - middle) * spacing_mm
    along = (np.arange(nk) - centre) * spacing_mm
    seen = np.isfinite(ahead_mm)
    smooth = ndimage.gaussian_filter(np.where(seen, ahead_mm, _ABSENT_MM), _TIP_MM / spacing_mm)
    weighted = np.maximum(smooth, 0.0) * np.exp(-0.5 * (along / _EXPECTED_MM) ** 2) * seen
    tips, heights = [], []
    for sign in (-1, 1):
        beside = (sign * lateral > _NIPPLES_MM[0]) & (sign * lateral < _NIPPLES_MM[1])
        score = np.where(beside[:, None], weighted, -1.0)
        i, k = np.unravel_index(int(np.argmax(score)), score.shape)
        tips.append((int(i), int(k)))
        heights.append(float(smooth[i, k]) if score[i, k] > 0 else 0.0)
    sure = all(h >= _LEAST_MM for h in heights) and all(0 < k < nk - 1 for _, k in tips)
    better = int(np.argmax(heights))
    if min(heights) < _LEAST_MM <= max(heights):
        i, k = tips[better]
        mirrored = int(np.clip(round(2 * middle - i), 0, ni - 1))
        known = np.flatnonzero(seen[:, k])
        tips[1 - better] = (int(known[np.argmin(np.abs(known - mirrored))]), k)
    return np.array(tips), sure


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


def _recess_mm(ahead_mm: np.ndarray, spacing_mm: float) -> float:
    """How far the ridge of the body falls off from its highest point to the lower of its two ends."""
    columns = ahead_mm[:, np.isfinite(ahead_mm).any(axis=0)]
    ridge, ends = np.nanmax(columns, axis=0), max(1, round(_END_MM / spacing_mm))
    return float(np.percentile(ridge, 95) - min(np.median(ridge[:ends]), np.median(ridge[-ends:])))
