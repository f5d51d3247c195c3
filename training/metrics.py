"""Classification and localisation figures, each with an interval."""

from __future__ import annotations

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a malignant exam scores above a benign one (ties count half)."""
    from scipy.stats import rankdata

    labels = np.asarray(labels).astype(bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auc_interval(labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """DeLong interval of the AUC (DeLong, DeLong and Clarke-Pearson 1988)."""
    from scipy.stats import norm, rankdata

    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    m, n = int(labels.sum()), int((~labels).sum())
    everyone, within_1, within_0 = rankdata(scores), rankdata(scores[labels]), rankdata(scores[~labels])
    v10 = (everyone[labels] - within_1) / n
    v01 = 1.0 - (everyone[~labels] - within_0) / m
    value = float(v10.mean())
    error = float(np.sqrt(v10.var(ddof=1) / m + v01.var(ddof=1) / n))
    half = float(norm.ppf(0.5 + confidence / 2)) * error
    return max(0.0, value - half), min(1.0, value + half)


def at_threshold(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Accuracy, sensitivity, specificity and F1 of probability ≥ threshold."""
    labels, called = np.asarray(labels).astype(bool), np.asarray(probabilities) >= threshold
    tp, tn = int((called & labels).sum()), int((~called & ~labels).sum())
    fp, fn = int((called & ~labels).sum()), int((~called & labels).sum())
    return {
        "accuracy": (tp + tn) / max(1, labels.size),
        "sensitivity": tp / max(1, tp + fn),
        "specificity": tn / max(1, tn + fp),
        "f1": 2 * tp / max(1, 2 * tp + fp + fn),
    }


def threshold_at_sensitivity(labels: np.ndarray, probabilities: np.ndarray, sensitivity: float) -> float:
    """The highest threshold that keeps the sensitivity, halfway down to the next lower score of any exam."""
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    malignant = np.sort(probabilities[labels])[::-1]
    last_called = malignant[max(1, int(np.ceil(sensitivity * malignant.size))) - 1]
    below = probabilities[probabilities < last_called]
    return float((last_called + (below.max() if below.size else 0.0)) / 2)


def bootstrap_interval(
    values: np.ndarray, statistic=np.mean, confidence: float = 0.95, seed: int = 0, rounds: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap over patients."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(0, values.size, values.size)]) for _ in range(rounds)]
    tail = 50 * (1 - confidence)
    return float(np.percentile(draws, tail)), float(np.percentile(draws, 100 - tail))


def localisation(distances_mm: np.ndarray, hits: np.ndarray) -> dict[str, float]:
    """Distance from peak to lesion centre in mm, hit rates, and how often the peak lies inside the lesion."""
    d = np.asarray(distances_mm, dtype=np.float64)
    return {
        "n": int(d.size),
        "mean_mm": float(d.mean()),
        "sd_mm": float(d.std(ddof=1)) if d.size > 1 else 0.0,
        "median_mm": float(np.median(d)),
        "hit10": float((d <= 10).mean()),
        "hit20": float((d <= 20).mean()),
        "pointing": float(np.mean(hits)),
    }
