"""Figures of ways to find the lesion over many exams, and which way is chosen by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import calibration, metrics

FAR_MM = 10.0  # a peak that lies farther off misses


def called_malignant(logits: np.ndarray, validation_logits: np.ndarray) -> np.ndarray:
    """Which exams are called malignant at the threshold of the paper's sensitivity on validation."""
    scores = calibration.probability(validation_logits)
    labels = np.ones(scores.size, int)
    threshold = calibration.threshold_at_sensitivity(labels, scores, calibration.PAPER_SENSITIVITY)
    return calibration.probability(logits) >= threshold


def summarise(rows: Sequence[dict], called: np.ndarray) -> dict[str, dict]:
    """Figures of every method.

    Parameters
    ----------
    rows : sequence of dict
        Of :func:`judge`.
    called : numpy.ndarray
        (exams,) :func:`called_malignant`.

    Returns
    -------
    dict
        By method: figures of merit by the paper's protocol (``called``) and over all malignant exams
        (``all``), the cost in seconds, and what was hit instead.
    """
    table = {}
    for name in rows[0]["methods"]:
        lines = [row["methods"][name] for row in rows]
        figures = {"seconds": float(np.median([line["seconds"] for line in lines]))}
        for protocol, chosen in (("called", np.flatnonzero(called)), ("all", np.arange(len(rows)))):
            figures[protocol] = _figures([rows[n] for n in chosen], name)
        far = [line["hit"] for line in lines if line["mm"] > FAR_MM]
        figures["hit_instead"] = {what: far.count(what) for what in sorted(set(far))}
        table[name] = figures
    return table


def _figures(rows: Sequence[dict], name: str) -> dict:
    lines, patients = [row["methods"][name] for row in rows], [row["patient"] for row in rows]
    figures = metrics.localisation(
        [line["mm"] for line in lines], [line["inside"] for line in lines], patients
    )
    for key in ("dice_map", "dice_outline"):
        values = np.array([line[key] for line in lines if key in line])
        figures[key] = float(values.mean()) if values.size else float("nan")
    return figures


def by_score(rows: Sequence[dict], name: str, shares: Sequence[float] = (0.1, 0.25, 0.5, 1.0)) -> list[dict]:
    """Figures of a method over shares of the malignant exams that score highest."""
    order = sorted(rows, key=lambda row: -row["logit"])
    groups = []
    for share in shares:
        part = order[: max(1, round(share * len(order)))]
        groups.append({"share": share, "lowest_logit": part[-1]["logit"], **_figures(part, name)})
    return groups


def choose(table: dict[str, dict], factor: float = 2.0) -> dict[str, str]:
    """The method for the test exams.

    Parameters
    ----------
    table : dict
        Of :func:`summarise`.
    factor : float
        How many times the seconds of plain COAM are affordable.

    Returns
    -------
    dict
        best: by the paper's protocol the most within 10 mm, of as many the least median. default: the same
        among those that are affordable.
    """

    def rank(name: str) -> tuple[float, float, float]:
        called = table[name]["called"]
        return -called["hit10"], called["median_mm"], table[name]["seconds"]

    order = sorted(table, key=rank)
    affordable = [name for name in order if table[name]["seconds"] <= factor * table["COAM"]["seconds"]]
    return {"best": order[0], "default": affordable[0]}
