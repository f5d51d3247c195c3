"""A method against another on the same test exams, and whether the difference is more than noise."""

from __future__ import annotations

import numpy as np

from . import metrics
from .method_runs import MethodRuns

AT_THRESHOLD = ("accuracy", "sensitivity", "specificity", "f1")
ENOUGH_SEEDS = 3  # with two, methods that differ in luck alone were called different in 13 % of trials


def difference(method: MethodRuns, baseline: MethodRuns) -> dict:
    """A method against the baseline on the same exams.

    Parameters
    ----------
    method, baseline : MethodRuns
        Of the same test exams.

    Returns
    -------
    dict
        AUC by paired DeLong and bootstrap, the rest by bootstrap; and a sentence.
    """
    labels, patients = method.labels, method.patients
    paired = method.seeds == baseline.seeds
    ours, theirs = method.scores(), baseline.scores()
    gain = metrics.auc_gain(labels, ours, theirs, patients, paired)

    def mean_area(scores: np.ndarray, index: np.ndarray) -> float:
        return float(np.mean([metrics.auc(labels[index], own[index]) for own in scores]))

    result = {
        "method": method.name,
        "baseline": baseline.name,
        "auc": gain,
        "auc_bootstrap": metrics.paired_bootstrap(
            lambda i: mean_area(ours, i) - mean_area(theirs, i), labels.size, patients
        ),
        "delong": [
            {"seed": seed, **metrics.paired_delong(labels, a, b, patients)}
            for seed, a, b in zip(method.seeds, ours, theirs if paired else theirs[:0])
        ],
    }
    called, other = method.called(), baseline.called()
    for key in AT_THRESHOLD:
        result[key] = metrics.paired_bootstrap(
            lambda i, key=key: (
                mean_rate(called[:, i], labels[i], key) - mean_rate(other[:, i], labels[i], key)
            ),
            labels.size,
            patients,
        )
    return {**result, "sentence": sentence(method.name, baseline.name, gain)}


def sentence(method: str, baseline: str, gain: dict) -> str:
    """Whether the AUCs of two methods differ by more than chance, in words."""
    value, (low, high), p = gain["difference"], gain["difference_95"], gain["p"]
    start = f"{method} against {baseline}: "
    if not np.isfinite(p):
        return start + "too few exams of one class to tell."
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    start += f"AUC {value:+.3f} (95 % {low:+.3f} to {high:+.3f}, {chance}); "
    if p >= 0.05:
        return start + "the difference cannot be told from noise."
    kind, fewest = "a gain" if value > 0 else "a loss", min(gain["seeds"])
    if fewest >= ENOUGH_SEEDS:
        return start + f"{kind} that neither the choice of exams nor that of the seeds explains."
    seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
    return start + (
        f"{kind} that the choice of exams does not explain, "
        f"but {seeds} each cannot tell it from luck in training."
    )


def mean_rate(called: np.ndarray, labels: np.ndarray, key: str) -> float:
    """Mean over seeds of a rate of calls (seeds, exams)."""
    return float(np.mean([metrics.rates(**metrics.counts(labels, row))[key] for row in called]))
