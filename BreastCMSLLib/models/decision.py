"""What an exam is called by: a threshold for a wanted sensitivity, and the share of malignant exams assumed.

A probability holds where as many exams are malignant as among those that the model was calibrated on. Where
another share P is, the odds of every exam change by one factor (Bayes): its logit moves by
logit P − logit P₀. The threshold moves with it, so that the same exams are called. What is decided is
decided before restating: which exams are called, which candidates are listed, and what they are called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ..core.errors import InputError, ModelError

_LEAST = 1e-6  # share of malignant exams, or of others: beyond, restated probabilities are 0 or 1


class Calibrated(Protocol):
    """What a :class:`~.cards.Card` or :class:`~.bundle.Bundle` says of its calibration."""

    name: str
    threshold: float | None
    operating_points: dict[str, float]
    operating_point: str | None
    prevalence: float | None


@dataclass(frozen=True)
class Decision:
    """How an exam's logit is read.

    Parameters
    ----------
    threshold : float
        Probability, restated, from which on an exam is suspicious.
    assumed_threshold : float
        The same before restating.
    operating_point : str or None
        The wanted sensitivity in percent; None where the model does not name its threshold.
    prevalence, assumed_prevalence : float or None
        Share of malignant exams that the probabilities hold for, and that of the model's calibration; None
        where the model does not say.
    shift : float
        What restating adds to a calibrated logit.
    """

    threshold: float
    assumed_threshold: float
    operating_point: str | None
    prevalence: float | None
    assumed_prevalence: float | None
    shift: float = 0.0


def decide(
    model: Calibrated, operating_point: str | None = None, prevalence: float | None = None
) -> Decision:
    """The decision by a model, at one of its operating points, for a share of malignant exams.

    Parameters
    ----------
    model : Card or Bundle
    operating_point : str, optional
        A name in ``model.operating_points``; the model's default by default.
    prevalence : float, optional
        Share of malignant exams, 10⁻⁶ to 1 − 10⁻⁶; that of the model's calibration by default.

    Returns
    -------
    Decision

    Raises
    ------
    InputError
        The prevalence is out of range.
    ModelError
        The model has no such operating point or no threshold, or does not say which prevalence it assumes.
    """
    threshold, name = model.threshold, model.operating_point
    if operating_point is not None:
        if operating_point not in model.operating_points:
            known = ", ".join(f"{point} %" for point in model.operating_points) or "none but its threshold"
            raise ModelError(
                f"{model.name} has no operating point for {operating_point} % sensitivity; it has {known}."
            )
        threshold, name = model.operating_points[operating_point], operating_point
    if threshold is None or not 0.0 < threshold < 1.0:
        raise ModelError(f"{model.name} has no threshold between 0 and 1; use another model.")
    if prevalence is None:
        return Decision(threshold, threshold, name, model.prevalence, model.prevalence)
    if not is_prevalence(prevalence):
        raise InputError(
            f"The prevalence must lie between 0 and 1, {_LEAST:f} or more from either, not {prevalence:g}; "
            "0.05 means one malignant exam in 20."
        )
    if model.prevalence is None or not is_prevalence(model.prevalence):
        raise ModelError(
            f"{model.name} does not say which share of malignant exams it assumes, so its probability cannot "
            "be restated; leave out the prevalence, or use another model."
        )
    shift = shift_between(model.prevalence, prevalence)
    moved = restate(threshold, shift)
    return Decision(moved, threshold, name, prevalence, model.prevalence, shift)


def is_prevalence(share: float) -> bool:
    """Whether a share of malignant exams is one that probabilities can be restated for."""
    return _LEAST <= share <= 1.0 - _LEAST


def shift_between(assumed: float, prevalence: float) -> float:
    """What restating from one share of malignant exams to another adds to a logit."""
    return _logit(prevalence) - _logit(assumed)


def restate(probability: float, shift: float) -> float:
    """A probability restated: its logit moves by the shift."""
    factor = math.exp(shift)  # of the odds
    return factor * probability / (1.0 + (factor - 1.0) * probability)


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
