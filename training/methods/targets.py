"""What a method may need of exams besides their labels."""

from __future__ import annotations

import torch

from BreastCMSLLib.core.errors import InputError
from training.data import cache
from training.data.grades import GRADES, grade_of

from .method import Targets

UNKNOWN = -1  # of an exam without a grade


def graded(exams: cache.Cache, rows: dict[str, list[dict]]) -> dict[str, Targets]:
    """Grades of exams, and the weight of each that makes all grades count alike.

    Parameters
    ----------
    exams : Cache
        Of the cohort.
    rows : dict
        Of its index, by split.

    Returns
    -------
    dict
        By split ``grade``, 0 to 2 or ``UNKNOWN``, and ``grade_weight``, the mean number of training exams of
        a grade over that of its own.

    Raises
    ------
    InputError
        When no training exam has a grade.
    """
    grades = {
        split: torch.tensor([_number(exams, row) for row in chosen], dtype=torch.long)
        for split, chosen in rows.items()
    }
    counts = torch.bincount(grades["train"][grades["train"] != UNKNOWN], minlength=len(GRADES)).float()
    if not counts.any():
        raise InputError(
            f"No training exam of {exams.source} has a grade; add a column birads to the manifest "
            "and prepare the cohort again, or leave dkmt out."
        )
    weights = counts.sum() / (counts > 0).sum() / counts.clamp_min(1)
    return {split: {"grade": own, "grade_weight": weights[own.clamp_min(0)]} for split, own in grades.items()}


def _number(exams: cache.Cache, row: dict) -> int:
    grade = grade_of(cache.read_meta(exams.path(row["exam"])), row.get("birads") or "")
    return UNKNOWN if grade is None else GRADES.index(grade)
