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
from .correlax import points_at
from .pages import Table
from .slow_maps import BOTH_CLASSES
from .texts import with_interval

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
        By method and kind: n, the mean ``dice``, and ``box``, the share of exams whose lesions are pointed
        at; NaN without any. ``micro``: that share of both kinds together, NaN for a method without a benign
        map. Each with ``*_95``, of a bootstrap over patients or Wilson's.
    """
    lines: dict[str, dict[str, list[dict]]] = {}
    for row in rows:
        for kind, methods in row.get("kinds", {}).items():
            for name, line in methods.items():
                of = lines.setdefault(name, {own: [] for own in KINDS})
                of[kind].append({"patient": row["patient"], **line})
    return {name: _figures(by_kind) for name, by_kind in lines.items()}


def _figures(by_kind: dict[str, list[dict]]) -> dict:
    pointed = {kind: [line for line in lines if "box" in line] for kind, lines in by_kind.items()}
    figures = {
        kind: {"n": len(lines), **_dice(lines), **_share("box", pointed[kind])}
        for kind, lines in by_kind.items()
    }
    both = [line for lines in pointed.values() for line in lines] if all(pointed.values()) else []
    return {**figures, **_share("micro", both)}


def _dice(lines: Sequence[dict]) -> dict:
    if not lines:
        return {"dice": float("nan"), "dice_95": metrics.NOWHERE}
    values = np.array([line["dice"] for line in lines])
    draws = metrics.bootstrap(lambda index: values[index].mean(), values.size, _patients(lines))
    return {"dice": float(values.mean()), "dice_95": metrics.percentile_interval(draws)}


def _share(name: str, lines: Sequence[dict]) -> dict:
    """Exams that are pointed at over all of them: a micro-average, whatever their kinds."""
    hits = np.array([line["box"] for line in lines], dtype=bool)
    share = float(hits.mean()) if lines else float("nan")
    return {name: share, f"{name}_95": metrics.wilson(hits, _patients(lines)) if lines else metrics.NOWHERE}


def _patients(lines: Sequence[dict]) -> list[str]:
    return [line["patient"] for line in lines]


def kinds_table(kinds: dict[str, dict]) -> Table:
    """Of localisation.md: a row a method."""
    head = ("Method", "Dice malignant", "Dice benign", "in box, malignant", "in box, benign", "both")
    rows = []
    for name, of in kinds.items():
        dice = (with_interval(of[kind], "dice", 2) for kind in ("malignant", "benign"))
        box = (with_interval(of[kind], "box") for kind in ("malignant", "benign"))
        rows.append((name, *dice, *box, with_interval(of, "micro")))
    return Table(head, rows)
