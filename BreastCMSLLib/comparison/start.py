"""Where the registration of two exams starts: nipple on nipple, or breast on breast where unsure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.geometry import apply_affine, spacing_of
from ..results.analysis import Analysis
from .earlier import shows_both

_BESIDE_MM = 30.0  # from the scanner's midline; a breast whose middle lies nearer may be either


@dataclass(frozen=True)
class Start:
    """A first guess at where tissue of the current exam lies in the prior one.

    Parameters
    ----------
    transforms : ndarray, shape (2, 4, 4)
        RAS mm of the current exam → RAS mm of the prior one, for the left and the right breast; they turn
        alike, and are the same in exams of one breast.
    by_nipples : bool
        Whether they lay nipple on nipple; else the middles of the breast masks.
    """

    transforms: np.ndarray
    by_nipples: bool

    @classmethod
    def all_of(cls, current: Analysis, prior: Analysis) -> list[Start]:
        """The starts of two analysed exams, the better one first.

        Raises
        ------
        InputError
            They show one breast each, and not the same.
        """
        marks = [analysis.model_input.landmarks for analysis in (current, prior)]
        starts = []
        if shows_both(current.exam) and all(mark is not None and mark.sure for mark in marks):
            starts.append(cls._laying([mark.nipples for mark in marks], current, prior, by_nipples=True))
        middles = [_middles(analysis) for analysis in (current, prior)]
        if not shows_both(current.exam):
            _check_side(*middles)
        return [*starts, cls._laying(middles, current, prior, by_nipples=False)]

    @classmethod
    def _laying(
        cls, anchors: list[np.ndarray], current: Analysis, prior: Analysis, *, by_nipples: bool
    ) -> Start:
        """The start that lays the current exam's anchors, shape (2, 3), RAS mm, on the prior one's."""
        rotation = axes_of(prior).T @ axes_of(current)
        transforms = np.tile(np.eye(4), (2, 1, 1))
        transforms[:, :3, :3] = rotation
        transforms[:, :3, 3] = anchors[1] - anchors[0] @ rotation.T
        return cls(transforms, by_nipples)


def axes_of(analysis: Analysis) -> np.ndarray:
    """Unit vectors towards the patient's right, front and head in RAS, shape (3, 3), one a row."""
    affine = analysis.model_input.affine
    return (affine[:3, :3] / spacing_of(affine)).T


def _check_side(now: np.ndarray, then: np.ndarray) -> None:
    """Refuse breasts whose middles, RAS mm, lie on either side of the scanner's midline."""
    right = now[0, 0], then[0, 0]
    if right[0] * right[1] < 0 and min(map(abs, right)) > _BESIDE_MM:
        raise InputError(
            "One exam shows the left breast, the other the right one; compare exams of the same breast."
        )


def _middles(analysis: Analysis) -> np.ndarray:
    """Mean position of the breast mask on either side, left first."""
    model_input = analysis.model_input
    index = np.argwhere(model_input.inside)
    right = index[:, 0] > model_input.middle
    sides = [~right, right]
    if not shows_both(analysis.exam) or not all(side.any() for side in sides):
        sides = [np.ones(len(index), bool)] * 2
    return np.stack([apply_affine(model_input.affine, index[side].mean(axis=0)) for side in sides])
