"""Where the registration of two exams starts: nipple on nipple, or breast on breast where unsure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.geometry import apply_affine, spacing_of
from ..exam import wide_enough_for_both
from ..results.analysis import Analysis

_MIDLINE_MM = 8.0  # over which one breast's shift passes into the other's, as in preprocessing.registration


@dataclass(frozen=True)
class Start:
    """A first guess at where tissue of the current exam lies in the prior one.

    Parameters
    ----------
    axes, prior_axes : ndarray, shape (3, 3)
        Rows are unit vectors towards the patient's right, front and head, in each exam's RAS.
    anchors, prior_anchors : ndarray, shape (2, 3)
        The same place of each breast, left first, RAS mm; twice the same one in exams of one breast.
    by_nipples : bool
        Whether the anchors are nipples; else the middles of the breast masks.
    """

    axes: np.ndarray
    prior_axes: np.ndarray
    anchors: np.ndarray
    prior_anchors: np.ndarray
    by_nipples: bool

    @classmethod
    def of(cls, current: Analysis, prior: Analysis) -> Start:
        """The start of two analysed exams.

        Raises
        ------
        InputError
            One of them shows one breast, the other both.
        """
        if shows_both(current) != shows_both(prior):
            raise InputError(
                "One of the two exams shows one breast, the other both; compare exams that show the same."
            )
        marks = [analysis.model_input.landmarks for analysis in (current, prior)]
        by_nipples = shows_both(current) and all(mark is not None and mark.sure for mark in marks)
        anchors = [mark.nipples for mark in marks] if by_nipples else [_middles(a) for a in (current, prior)]
        return cls(_axes(current), _axes(prior), *anchors, by_nipples)

    @property
    def rotation(self) -> np.ndarray:
        """From directions of the current exam to those of the prior one, shape (3, 3)."""
        return self.prior_axes.T @ self.axes

    def __call__(self, ras_mm: np.ndarray) -> np.ndarray:
        """Points of the current exam, shape (…, 3), RAS mm, as points of the prior one."""
        # share of the right breast
        beyond_mm = (ras_mm - self.anchors.mean(axis=0)) @ self.axes[0]
        share = (1 / (1 + np.exp(-np.clip(beyond_mm / _MIDLINE_MM, -30, 30))))[..., None]
        # both turn alike, each has its own shift
        left, right = self.prior_anchors - self.anchors @ self.rotation.T
        return ras_mm @ self.rotation.T + left * (1 - share) + right * share


def shows_both(analysis: Analysis) -> bool:
    """Whether the exam is wide enough for both breasts."""
    return wide_enough_for_both(analysis.exam.grid.shape, analysis.exam.grid.affine)


def _axes(analysis: Analysis) -> np.ndarray:
    affine = analysis.model_input.affine
    return (affine[:3, :3] / spacing_of(affine)).T


def _middles(analysis: Analysis) -> np.ndarray:
    """Mean position of the breast mask on either side, left first."""
    model_input = analysis.model_input
    index = np.argwhere(model_input.inside)
    right = index[:, 0] > model_input.middle
    sides = [~right, right]
    if not shows_both(analysis) or not all(side.any() for side in sides):
        sides = [np.ones(len(index), bool)] * 2
    return np.stack([apply_affine(model_input.affine, index[side].mean(axis=0)) for side in sides])
