"""The order in which phases were acquired, from their clock, their numbers or their names."""

from __future__ import annotations

from collections.abc import Sequence

from .exam import Phase
from .names import name_rank


def order_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Phases in the order they were acquired.

    By time; where a time is missing or two are equal, by AcquisitionNumber, then SeriesNumber, then both (a
    pre-contrast series followed by one series of several phases), then the name. A key is used only when
    every phase has it and no two share it, so that half-anonymised files cannot mislead.

    Parameters
    ----------
    phases
        In any order, which does not matter.

    Returns
    -------
    list of Phase
        The same, ordered.
    """
    keys = (
        lambda phase: phase.time_s,
        lambda phase: phase.acquisition_number,
        lambda phase: phase.series_number,
        _both_numbers,
    )
    for key in keys:
        values = [key(phase) for phase in phases]
        if None not in values and len(set(values)) == len(values):
            return sorted(phases, key=key)
    return sorted(phases, key=lambda phase: (*name_rank(phase.name), phase.source))


def _both_numbers(phase: Phase) -> tuple[int, int] | None:
    return None if phase.series_number is None else (phase.series_number, phase.acquisition_number or 0)
