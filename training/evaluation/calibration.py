"""What is frozen before a test exam is read: one temperature, named operating points, and the calibration of
candidates.

Thresholds apply to the calibrated probability σ(logit / temperature), as the bundle's threshold does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit, ndtr
from sklearn.linear_model import LogisticRegression

from . import metrics

PAPER_SENSITIVITY = 0.857  # of CMSL in Table 1 of Luo et al. 2019
SENSITIVITIES = ("95", "90", "85")  # in percent: the operating points of a bundle
DEFAULT = "90"
DEFAULT_POINT = f"sensitivity_{DEFAULT}"
FEWEST_LESIONS = 30  # candidates in a malignant lesion, to calibrate candidates by
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
    """The threshold with a sensitivity, by the smoothed distribution of the malignant exams' logits.

    t solves mean Φ((z_i − t) / h) = sensitivity over their logits z_i, h = 1.06 s n^(−1/3), with s the
    smaller of their standard deviation and interquartile range / 1.34. That of a single exam, the highest
    threshold that keeps the sensitivity, jumps from one exam to the next: see
    ``test_a_smoothed_threshold_is_steadier``.
    """
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    logits = logit(np.clip(probabilities[labels], 1e-9, 1 - 1e-9))
    quarter, three = np.percentile(logits, (25, 75))
    spread = min(float(logits.std()), float(three - quarter) / 1.34) or float(logits.std())
    width = max(1.06 * spread * logits.size ** (-1 / 3), 1e-6)

    def missing(threshold: float) -> float:
        return float(ndtr((logits - threshold) / width).mean()) - sensitivity

    reach = 40 * width
    threshold = brentq(missing, logits.min() - reach, logits.max() + reach, xtol=1e-9)
    return _inside(float(expit(threshold)))


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
    wanted = {f"sensitivity_{name}": int(name) / 100 for name in SENSITIVITIES}
    thresholds = {"youden": youden_threshold(labels, probabilities)} | {
        name: threshold_at_sensitivity(labels, probabilities, sensitivity)
        for name, sensitivity in {**wanted, "paper_sensitivity": PAPER_SENSITIVITY}.items()
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


def fit_candidates(candidates: np.ndarray) -> tuple[float, float] | None:
    """A candidate's calibrated logit a z + b, by logistic regression of lying in a malignant lesion.

    Parameters
    ----------
    candidates : ndarray, shape (n, 2)
        The classifier's logit z, and 1 in a malignant lesion, of exams whose lesions have a known place.

    Returns
    -------
    tuple of float or None
        (a, b); None where fewer than ``FEWEST_LESIONS`` lie in a malignant lesion, or as few do not, or where
        the logit counts the wrong way.
    """
    inside = candidates[:, 1].astype(int)
    if min(inside.sum(), len(inside) - inside.sum()) < FEWEST_LESIONS:
        return None
    fitted = LogisticRegression(C=1e3).fit(candidates[:, :1], inside)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (round(slope, 6), round(offset, 6)) if slope > 0 else None


def _inside(threshold: float) -> float:
    """A bundle's threshold lies strictly between 0 and 1."""
    return float(np.clip(threshold, 1e-9, 1 - 1e-9))
