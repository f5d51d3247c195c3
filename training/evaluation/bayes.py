"""The best that any reader can do on simulated exams: the Bayes-optimal AUC from the drawn parameters.

No image is made. Exams are drawn as the simulation draws them, and each is scored by the exact likelihood
ratio of its lesions' marks, which no reader of the images can beat but by chance.
"""

from __future__ import annotations

import numpy as np

from training.simulation.cohorts import COHORTS
from training.simulation.exam import LESION_NUMBERS
from training.simulation.subtypes import KINETICS, MARKS, MORPHOLOGY, draw_many, log_likelihood

from .metrics import auc, auc_interval

DRAWS = 100_000
READERS = {  # what a reader sees: marks, and whether the pattern
    "all marks": (MARKS, True),
    "morphology alone": (MORPHOLOGY, True),
    "kinetics alone": (KINETICS, False),
    "size alone": (MARKS[:1], False),
}


def bayes_bound(
    population: str, draws: int = DRAWS, lesion_free: float = 0.0, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Bayes-optimal AUC of readers who see some of the marks of all lesions.

    In a malignant exam one of the n lesions is malignant, and the reader does not know which. With the
    densities f of the classes the likelihood ratio of the exam is (1/n) Σ f_malignant(x) / f_benign(x). An
    exam without a lesion is certainly not malignant.

    Parameters
    ----------
    population : str
        "alike" or "paper": how sizes are drawn.
    draws : int
        Exams with lesions, half of them malignant.
    lesion_free : float
        Share of the benign exams that have no lesion.
    seed : int
        Of the draws.

    Returns
    -------
    dict
        By reader: AUC and its DeLong 95 % interval, which stands for the draws alone.
    """
    rng, apart = np.random.default_rng([seed, 20061]), population == "paper"
    exam = np.repeat(
        np.arange(draws), rng.choice(list(LESION_NUMBERS), draws, p=list(LESION_NUMBERS.values()))
    )
    labels, first = np.arange(draws) % 2 == 1, np.r_[True, exam[1:] != exam[:-1]]
    malignant = first & labels[exam]
    patterns, marks = np.empty(len(exam), int), np.empty((len(exam), len(MARKS)))
    for label in (True, False):
        mine = malignant == label
        patterns[mine], marks[mine] = draw_many(label, int(mine.sum()), rng, apart=apart)
    # exams without a lesion: below all others
    empty = round(lesion_free * (draws // 2))
    kept = labels | (np.arange(draws) % 2 == 0) & (np.arange(draws) // 2 >= empty)
    bounds = {}
    for name, (use, sees_pattern) in READERS.items():
        ratio = np.subtract(
            *(
                log_likelihood(label, marks, patterns if sees_pattern else None, use=use, apart=apart)
                for label in (True, False)
            )
        )
        scores = np.full(draws, -np.inf)
        np.logaddexp.at(scores, exam, ratio)
        scores -= np.log(np.bincount(exam))
        scores = np.where(kept, np.nan_to_num(scores), -np.inf)
        bounds[name] = (auc(labels, scores), *auc_interval(labels, scores))
    return bounds


def bayes_lines(name: str, draws: int = DRAWS) -> list[str]:
    """What :func:`bayes_bound` says of a named cohort, as lines."""
    cohort = COHORTS[name]
    lines = []
    shares = {"exams with lesions": 0.0}
    if cohort.lesion_free:
        shares["with those free of lesions"] = cohort.lesion_free
    for what, share in shares.items():
        lines.append(f"{name}, {what}:")
        for reader, (value, low, high) in bayes_bound(cohort.population, draws, share).items():
            lines.append(f"  AUC {value:.4f} ({low:.4f}–{high:.4f})  {reader}")
    return lines
