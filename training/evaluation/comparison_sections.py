"""Sections of a comparison's page beside Table 1: bounds of the AUC, bases, the paper's claims, overlap."""

from __future__ import annotations

from collections.abc import Sequence

from .claims import claim_sentence
from .pages import Block, Items, Table
from .texts import number, with_interval


def bounds_section(comparison: dict) -> list[Block]:
    """The AUC of the size alone, and the best that the simulation allows."""
    rows = []
    if comparison["size_alone"]:
        size = with_interval(comparison["size_alone"], "auc")
        rows.append(["Radius of the largest lesion, by the truth", size])
    for reader, figures in (comparison["bayes"] or {}).items():
        rows.append([f"Bayes bound of the simulation, {reader}", with_interval(figures, "auc")])
    if not rows:
        return ["Neither the sizes of lesions nor the best possible AUC are known for this cohort."]
    return [
        Table(["Reader", "AUC (95 %)"], rows),
        "The size is that of these test exams. The bounds are of exams drawn as these are, each scored by "
        "the likelihood ratio of its lesions' marks: no reader of the images does better but by chance.",
    ]


def bases_section(bases: Sequence[dict]) -> list[Block]:
    """How the runs that the others start from ended."""
    rows = [
        [
            str(base["seed"]),
            str(base["epochs"]),
            number(base["train_loss"], 4),
            "yes" if base["converged"] else "no",
        ]
        for base in bases
    ]
    return [Table(["Seed", "Epochs", "Training loss at the end", "Converged: near 0, or flat"], rows)]


def claims_section(comparison: dict, signed) -> list[Block]:
    """The paper's statements beside what was measured here."""
    sentences = [claim_sentence(one, signed) for one in comparison["claims"]]
    if not sentences:
        return ["None of the paper's statements is of methods that were compared here."]
    return [
        Items(sentences),
        "The paper's exams are real and of another cohort, and it gives no intervals; a statement agrees or "
        "does not only where the difference here is more than noise (p < 0.05, not corrected for so many).",
    ]


def dice_section(comparison: dict) -> list[Block]:
    """How far each map at half of its highest value overlaps with the lesions."""
    rows = [
        [method, name, number(figures["malignant"]), number(figures["benign"])]
        for method, held in comparison["methods"].items()
        for name, figures in (held.get("dice") or {}).items()
    ]
    return [Table(["Method", "Map", "Dice, malignant", "Dice, benign"], rows)] if rows else []
