"""Maps against lesions of both kinds: Dice, and the pointing game with boxes, micro-averaged.

Malignant lesions are those of malignant exams, benign ones those of the others. Every map speaks for
malignant. Its overlap with a benign lesion is that of the same map; the game's benign map is 1 minus it where
the method has one of both classes (``BOTH_CLASSES``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from BreastCMSLLib.results.record import MAP_THRESHOLD
from training.data.cache import CachedExam

from . import metrics
from .correlax import micro_average, points_at
from .pages import Table
from .slow_maps import BOTH_CLASSES
from .texts import number

KINDS = {"benign": 1, "malignant": 2}  # → value in the truth mask


def judge_kind(exam: CachedExam, maps: dict[str, np.ndarray], kind: str, step: int) -> dict[str, dict]:
    """By method the Dice of its map with the exam's lesions of a kind, and whether it points at them.

    Parameters
    ----------
    exam : CachedExam
        With a mask of such a lesion.
    maps : dict
        Map by method, (LR, AP, SI), 0–1.
    kind : {"benign", "malignant"}
    step : int
        Voxels that boxes are grown by on all sides.

    Returns
    -------
    dict
        ``dice`` and ``box``, 0 or 1, by method.
    """
    lesion = exam.truth == KINDS[kind]
    lines = {}
    for name, saliency in maps.items():
        line = {"dice": metrics.dice(saliency >= MAP_THRESHOLD, lesion)}
        if kind == "malignant" or name in BOTH_CLASSES:
            pointed = saliency if kind == "malignant" else 1.0 - saliency
            line["box"] = int(points_at(pointed, exam.inside, lesion, step))
        lines[name] = line
    return lines


def summarise_kinds(rows: Sequence[dict]) -> dict[str, dict]:
    """Figures of every method over rows with ``kinds``.

    Returns
    -------
    dict
        By method: ``dice`` and ``box`` by kind, means and NaN without any; ``micro``, the share of lesions of
        both kinds that are pointed at, NaN for a method without a benign map; ``n`` by kind.
    """
    lines: dict[str, dict[str, list[dict]]] = {}
    for row in rows:
        for kind, methods in row.get("kinds", {}).items():
            for name, line in methods.items():
                lines.setdefault(name, {own: [] for own in KINDS})[kind].append(line)
    return {name: _figures(by_kind) for name, by_kind in lines.items()}


def _figures(by_kind: dict[str, list[dict]]) -> dict:
    hits = {kind: [line["box"] for line in lines if "box" in line] for kind, lines in by_kind.items()}
    dice = {kind: [line["dice"] for line in lines] for kind, lines in by_kind.items()}
    return {
        "n": {kind: len(lines) for kind, lines in by_kind.items()},
        "dice": {kind: float(np.mean(own)) if own else float("nan") for kind, own in dice.items()},
        "box": {kind: float(np.mean(own)) if own else float("nan") for kind, own in hits.items()},
        "micro": micro_average(hits) if all(hits.values()) else float("nan"),
    }


def kinds_table(kinds: dict[str, dict]) -> Table:
    """Of localisation.md: a row a method."""
    head = ("Method", "Dice malignant", "Dice benign", "in box, malignant", "in box, benign", "both")
    rows = []
    for name, of in kinds.items():
        dice = (number(of["dice"][kind], 2) for kind in ("malignant", "benign"))
        box = (number(of["box"][kind]) for kind in ("malignant", "benign"))
        rows.append((name, *dice, *box, number(of["micro"])))
    return Table(head, rows)
