"""Which of several volume files play which part in an exam, by their names and voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.errors import InputError
from ..exam import (
    Phase,
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_segmentation,
    looks_subtracted,
    looks_t1,
    says_fat_saturation,
)

_MOST_LABELS = 32


def assign_roles(phases: list[Phase], has_t1: bool, kind: str) -> tuple[list[Phase], Phase | None, list[str]]:
    """Dynamic volumes and T1 among the volumes of a user's files.

    Names decide, and only while at least two volumes remain: what a user selects is not taken away for its
    name alone.

    Parameters
    ----------
    phases
        The volumes.
    has_t1
        Whether there is another T1 already.
    kind
        "auto", "phases" or "subtractions", as the user says.

    Returns
    -------
    dynamics : list of Phase
        In the order given.
    t1 : Phase or None
        The first that may be one.
    remarks : list of str
        One for each volume left out.
    """
    labels = [
        phase for phase in phases if looks_segmentation(phase.name) and _is_label_map(phase.volume.array)
    ]
    remarks = [f"{phase.name} was left out: it is a segmentation." for phase in labels]
    # whatever remains: a label map is never a phase
    rest = [phase for phase in phases if not any(phase is label for label in labels)]
    rest, others = _take(rest, lambda name: looks_other_contrast(name) or looks_derived(name))
    remarks += _left_out(others, "it is no dynamic phase by its name")
    rest, unsaturated = _take(
        rest, lambda name: says_fat_saturation(name) is False and not looks_subtracted(name)
    )
    rest, called_t1 = _take(rest, lambda name: looks_t1(name) and not looks_subtracted(name))
    t1, why_not = _choose_t1(unsaturated + called_t1, has_t1)
    subtracted = [looks_subtracted(phase.name) for phase in rest]
    why, out = "", []
    if kind != "subtractions" and subtracted.count(False) >= 2:
        why = "it is a subtraction, and the phases themselves are here"
        rest, out = _take(rest, looks_subtracted)
    elif kind != "phases" and subtracted.count(True) >= 2:
        why = "the other volumes are subtractions already"
        rest, out = _take(rest, lambda name: not looks_subtracted(name))
    return rest, t1, remarks + why_not + _left_out(out, why)


def _take(phases: list[Phase], matches: Callable[[str], bool]) -> tuple[list[Phase], list[Phase]]:
    """What remains, and what was taken out by its name: nothing, where fewer than two would remain."""
    remaining = [phase for phase in phases if not matches(phase.name)]
    if len(remaining) < 2:
        return phases, []
    return remaining, [phase for phase in phases if matches(phase.name)]


def _left_out(phases: Sequence[Phase], why: str) -> list[str]:
    return [f"{phase.name} was left out: {why}." for phase in phases]


def _choose_t1(phases: Sequence[Phase], has_t1: bool) -> tuple[Phase | None, list[str]]:
    """The first that may be the T1, and why the others are not."""
    t1, remarks = None, []
    for phase in phases:
        if looks_post_contrast(phase.name):
            remarks += _left_out([phase], "its name says it was acquired after the contrast agent")
        elif says_fat_saturation(phase.name):
            remarks += _left_out([phase], "its name says its fat is suppressed")
        elif has_t1 or t1 is not None:
            remarks += _left_out([phase], "there is another T1")
        else:
            t1 = phase
    return t1, remarks


def _is_label_map(array: np.ndarray) -> bool:
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        return False
    return len(np.unique(array.ravel(order="K")[:: max(1, array.size // 500_000)])) <= _MOST_LABELS


def refuse_copies(phases: Sequence[Phase]) -> None:
    """Refuse one phase under two names.

    Parameters
    ----------
    phases
        The dynamic volumes.

    Raises
    ------
    InputError
        Where two have the very same voxels.
    """
    known: dict[tuple, Phase] = {}
    for phase in phases:
        array = phase.volume.array
        sample = array.ravel(order="K")[:: max(1, array.size // 4096)]
        twin = known.setdefault((array.shape, sample.tobytes()), phase)
        if twin is not phase and array.min() != array.max() and np.array_equal(array, twin.volume.array):
            raise InputError(f"{phase.name} and {twin.name} hold the same voxels; give each phase once.")
