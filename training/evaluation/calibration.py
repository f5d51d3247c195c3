"""What is frozen on the validation exams before a test exam is read: one temperature, and named operating
points.

Thresholds apply to the calibrated probability σ(logit / temperature), as the bundle's threshold does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from . import metrics

PAPER_SENSITIVITY = 0.857  # of CMSL in Table 1 of Luo et al. 2019
DEFAULT_POINT = "paper_sensitivity"
LIMITS = (0.05, 20.0)  # of the temperature


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does on the validation exams.

    Parameters
    ----------
    temperature : float
        Divides the logit.
    loss_before, loss_after : float
        Mean negative log-likelihood.
    note : str
        Why it is 1, or at its limit.
    """

    temperature: float
    loss_before: float
    loss_after: float
    note: str = ""


def probability(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """σ(logit / temperature), float64."""
    return expit(np.asarray(logits, dtype=np.float64) / temperature)


def negative_log_likelihood(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Mean binary cross-entropy of σ(logit / temperature)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - np.asarray(labels) * scaled))


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    """The temperature of greatest likelihood (Guo et al. 2017, with one class score), within ``LIMITS``.

    It keeps the order of the exams, and so the AUC. Where every exam already lies on its side of 0 the
    likelihood grows without end as the temperature falls; then it stays 1.

    Parameters
    ----------
    labels : numpy.ndarray
        (exams,) 1 malignant, 0 benign.
    logits : numpy.ndarray
        (exams,).

    Returns
    -------
    Calibration
    """
    labels, logits = np.asarray(labels).astype(bool), np.asarray(logits, dtype=np.float64)
    before = negative_log_likelihood(labels, logits)
    if (logits[labels] > 0).all() and (logits[~labels] < 0).all():
        return Calibration(
            1.0,
            before,
            before,
            "left at 1: the validation exams are separated without error, which fixes no temperature",
        )
    minimum = minimize_scalar(
        lambda t: negative_log_likelihood(labels, logits, float(np.exp(t))),
        bounds=np.log(LIMITS),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.exp(minimum.x))
    note = ""
    if min(temperature / LIMITS[0], LIMITS[1] / temperature) < 1.01:
        note = f"at the limit of the range searched, {LIMITS[0]:g} to {LIMITS[1]:g}"
    return Calibration(temperature, before, negative_log_likelihood(labels, logits, temperature), note)


def threshold_at_sensitivity(labels: np.ndarray, probabilities: np.ndarray, sensitivity: float) -> float:
    """The highest threshold that keeps the sensitivity, halfway down to the next lower score of any exam."""
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    malignant = np.sort(probabilities[labels])[::-1]
    wanted = int(
        np.ceil(sensitivity * malignant.size - 1e-9)
    )  # 0.95 of 20 is 19, whatever floating point makes of it
    last_called = malignant[max(1, wanted) - 1]
    below = probabilities[probabilities < last_called]
    return _inside((last_called + (below.max() if below.size else 0.0)) / 2)


def youden_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold of largest sensitivity + specificity, between scores; of equals the most sensitive."""
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    scores = np.unique(probabilities)
    thresholds = (scores + np.concatenate([[0.0], scores[:-1]])) / 2
    called = probabilities[None] >= thresholds[:, None]
    index = called[:, labels].mean(axis=1) - called[:, ~labels].mean(axis=1)
    return _inside(thresholds[int(np.argmax(np.round(index, 12)))])


def operating_points(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, dict]:
    """Thresholds by name, with what each gives on the validation exams.

    Parameters
    ----------
    labels : numpy.ndarray
        (exams,) 1 malignant, 0 benign.
    probabilities : numpy.ndarray
        (exams,) calibrated.

    Returns
    -------
    dict
        name → threshold, default, and validation: sensitivity and specificity.
    """
    thresholds = {
        "youden": youden_threshold(labels, probabilities),
        "paper_sensitivity": threshold_at_sensitivity(labels, probabilities, PAPER_SENSITIVITY),
        "sensitivity_95": threshold_at_sensitivity(labels, probabilities, 0.95),
    }
    points = {}
    for name, threshold in thresholds.items():
        rates = metrics.rates(**metrics.counts(labels, np.asarray(probabilities) >= threshold))
        points[name] = {
            "threshold": threshold,
            "default": name == DEFAULT_POINT,
            "validation": {key: rates[key] for key in ("sensitivity", "specificity")},
        }
    return points


def _inside(threshold: float) -> float:
    """A bundle's threshold lies strictly between 0 and 1."""
    return float(np.clip(threshold, 1e-9, 1 - 1e-9))
