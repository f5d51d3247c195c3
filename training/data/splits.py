"""Whether the splits of a cohort suffice, said before anything is prepared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from BreastCMSLLib.core.errors import InputError

_NAMES = {0: "benign", 1: "malignant"}


def check_classes(pairs: Iterable[tuple[str, int]], source: str, splits: Sequence[str]) -> None:
    """Raise InputError unless both classes are in every split that is needed.

    Parameters
    ----------
    pairs : iterable of tuple
        Split and label (1 malignant, 0 benign) of each exam.
    source : str
        Of the exams, for the sentence.
    splits : sequence of str
        That are needed.
    """
    present = set(pairs)
    for split in splits:
        lacking = [name for label, name in _NAMES.items() if (split, label) not in present]
        if lacking:
            raise InputError(
                f"{source} has no {' and no '.join(lacking)} exams for {split}; correct the split column, "
                "or leave it empty for all exams and let python training/own.py split them."
            )


def fitting_batch(usual: int, exams: int) -> int:
    """Exams a step: as usual, or fewer, at least 2, so that an epoch of so many exams has four steps."""
    return max(2, min(usual, exams // 4))
