"""How well the words and measures of descriptors agree with what simulated exams were drawn from.

Truth in words: a mass by its pattern; an irregular shape, a margin that is not circumscribed and a
heterogeneous inside by marks above the geometric mean of the medians of fibroadenomas and of invasive cancers
of no special type, between which they lie; a rim where the centre enhances by two thirds of the body or less;
oval where the drawn lesion is 1.3 times as long as thick. Words of the breasts have no such limits: their
truth is divided so that as many women have each word as were measured to have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from BreastCMSLLib.descriptors.lexicon import amount_word, background_word, describe
from BreastCMSLLib.descriptors.names import (
    AMOUNT,
    AMOUNTS,
    BACKGROUND,
    BACKGROUNDS,
    CIRCUMSCRIBED,
    HETEROGENEOUS,
    HOMOGENEOUS,
    INTERNAL,
    IRREGULAR,
    MARGIN,
    MASS,
    NON_MASS,
    NOT_CIRCUMSCRIBED,
    OVAL,
    RIM,
    ROUND,
    SHAPE,
    TYPE,
)
from training.simulation.subtypes import MORPHOLOGY, SUBTYPES

from .metrics import bootstrap, percentile_interval

_BENIGN, _CANCER = SUBTYPES["fibroadenoma"].mass, SUBTYPES["invasive of no special type"].mass
BETWEEN = {  # the marks after Ktrans and ve, of masses
    mark: float(np.sqrt(_BENIGN[2 + n] * _CANCER[2 + n])) for n, mark in enumerate(MORPHOLOGY)
}
RIM_FROM = float(np.log(1.5))  # the centre enhances 1/1.5 of the body
OVAL_FROM = 1.3
_FEWEST = 10  # for a figure

Row = Mapping[str, Any]


def true_words(row: Row) -> dict[str, str]:
    """The words of a lesion by what it was drawn from."""
    if row["pattern"] != "mass":
        return {TYPE: NON_MASS}
    irregular = row["true_irregularity"] > BETWEEN["irregularity"]
    uneven = row["true_heterogeneity"] > BETWEEN["heterogeneity"]
    smooth = OVAL if row["true_elongation"] > OVAL_FROM else ROUND
    spiculated = row["true_spiculation"] > BETWEEN["spiculation"]
    inside = HETEROGENEOUS if uneven else HOMOGENEOUS
    return {
        TYPE: MASS,
        SHAPE: IRREGULAR if irregular else smooth,
        MARGIN: NOT_CIRCUMSCRIBED if spiculated else CIRCUMSCRIBED,
        INTERNAL: RIM if row["true_rim"] > RIM_FROM else inside,
    }


def agreement_lines(lesions: Sequence[Row], exams: Sequence[Row]) -> list[str]:
    """The tables of agreement, as Markdown.

    Parameters
    ----------
    lesions, exams : sequence of mapping
        Of ``described_lesions.DescribedExam``, on which no cut-off was chosen.
    """
    masses = [row for row in lesions if row["pattern"] == "mass"]
    solid = [row for row in masses if row["true_rim"] <= RIM_FROM]
    words = {
        "a mass": _words_of(lesions, TYPE),
        "shape: irregular, or oval or round": _words_of(masses, SHAPE, {OVAL: ROUND}),
        "shape: oval or round": _words_of(masses, SHAPE, {IRREGULAR: None}),
        "margin: circumscribed or not": _words_of(masses, MARGIN),
        "inside: rim or none": _words_of(masses, INTERNAL, {HETEROGENEOUS: HOMOGENEOUS}),
        "inside: homogeneous or heterogeneous, without a rim": _words_of(solid, INTERNAL, {RIM: None}),
        f"{AMOUNT}, a to d": _grades_of(exams, "amount", "density", amount_word, AMOUNTS),
        BACKGROUND: _grades_of(exams, "background", "true_background", background_word, BACKGROUNDS),
    }
    ranks = {
        "radial; a mass": _ranks_of(lesions, "radial", lambda row: float(row["pattern"] == "mass")),
        "roughness; irregularity": _ranks_of(masses, "roughness", "true_irregularity"),
        "elongation; elongation": _ranks_of(masses, "elongation", "true_elongation"),
        "solidity; length of spicules": _ranks_of(masses, "solidity", "true_spiculation"),
        "rim; rim": _ranks_of(masses, "rim", "true_rim"),
        "unevenness; heterogeneity, without a rim": _ranks_of(solid, "unevenness", "true_heterogeneity"),
        "share of glandular tissue; density": _ranks_of(exams, "amount", "density"),
        "share that enhances; background": _ranks_of(exams, "background", "true_background"),
    }
    return [
        "| Word | κ (95 %) | Same word | Clear, of all |",
        "|---|---|---|---|",
        *(_kappa_line(name, *pairs) for name, pairs in words.items()),
        "",
        "| Measure; what was drawn | Rank correlation (95 %) | n |",
        "|---|---|---|",
        *(_rank_line(name, *pairs) for name, pairs in ranks.items()),
    ]


def kappa(truth: np.ndarray, words: np.ndarray, count: int, *, graded: bool = False) -> float:
    """Cohen's κ of two lists of numbers below ``count``; weighted by distance (linearly) where graded."""
    table = np.zeros((count, count))
    np.add.at(table, (truth, words), 1.0)
    table /= table.sum()
    grades = np.arange(count)
    cost = np.abs(grades[:, None] - grades) if graded else 1.0 - np.eye(count)
    chance = float((cost * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    return 1.0 - float((cost * table).sum()) / chance if chance > 0 else float("nan")


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray, int, bool]  # truth, words, seeds, of how many, graded


def _words_of(rows: Sequence[Row], name: str, merged: Mapping[str, str | None] | None = None) -> Pairs:
    """Truth and word where both are said; merged: words taken for another one, or for none."""
    merged, pairs, asked = merged or {}, [], 0
    for row in rows:
        truth = true_words(row).get(name)
        word = (describe(row).get(name) or {}).get("word")
        truth, word = merged.get(truth, truth), merged.get(word, word)
        asked += truth is not None
        if truth is not None and word is not None:
            pairs.append((truth, word, row["seed"]))
    names = sorted({part for pair in pairs for part in pair[:2]})
    truth, words = (np.array([names.index(pair[n]) for pair in pairs], dtype=int) for n in (0, 1))
    return truth, words, np.array([pair[2] for pair in pairs]), asked, False


def _grades_of(
    exams: Sequence[Row], share: str, drawn: str, word_of: Callable[[float], str], grades: Sequence[str]
) -> Pairs:
    """Grades by rank: as many women have each grade of the truth as were measured to have it."""
    known = [row for row in exams if row[share] is not None]
    words = [word_of(row[share]) for row in known]
    numbers = np.array([_grade_of(row[share], word_of, grades) for row in known], dtype=int)
    by_rank = np.sort(numbers)
    truth = by_rank[np.argsort(np.argsort([row[drawn] for row in known]))]
    clear = np.array([word in grades for word in words], dtype=bool)
    seeds = np.array([row["seed"] for row in known])
    return truth[clear], numbers[clear], seeds[clear], len(exams), True


def _grade_of(share: float, word_of: Callable[[float], str], grades: Sequence[str]) -> int:
    return grades.index(word_of(share).split(" to ")[0])


def _ranks_of(rows: Sequence[Row], measure: str, drawn: str | Callable[[Row], float]) -> tuple:
    known = [row for row in rows if row[measure] is not None]
    truth = [drawn(row) if callable(drawn) else row[drawn] for row in known]
    return (*(np.array(v, dtype=float) for v in ([row[measure] for row in known], truth)), _seeds(known))


def _seeds(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row["seed"] for row in rows])


def _kappa_line(
    name: str, truth: np.ndarray, words: np.ndarray, seeds: np.ndarray, asked: int, graded: bool
) -> str:
    if len(truth) < _FEWEST:
        return f"| {name} | too few | | {len(truth)} of {asked} |"
    if len(set(words.tolist())) == 1:  # agreement beyond chance needs two words
        return f"| {name} | – | {float((truth == words).mean()):.0%} | {len(truth)} of {asked} |"
    count = int(max(truth.max(), words.max())) + 1
    draws = bootstrap(lambda at: kappa(truth[at], words[at], count, graded=graded), len(truth), seeds)
    low, high = percentile_interval(draws)
    value, same = kappa(truth, words, count, graded=graded), float((truth == words).mean())
    return f"| {name} | {value:.2f} ({low:.2f}–{high:.2f}) | {same:.0%} | {len(truth)} of {asked} |"


def _rank_line(name: str, measure: np.ndarray, truth: np.ndarray, seeds: np.ndarray) -> str:
    if len(truth) < _FEWEST:
        return f"| {name} | too few | {len(truth)} |"
    draws = bootstrap(lambda at: _rank_correlation(measure[at], truth[at]), len(truth), seeds)
    low, high = percentile_interval(draws)
    return f"| {name} | {_rank_correlation(measure, truth):+.2f} ({low:+.2f} to {high:+.2f}) | {len(truth)} |"


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's."""
    a, b = (rankdata(values) for values in (one, other))
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
