"""The order in which phases were acquired, from their clock, their numbers or their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .exam import Phase
from .name_sets import order_by_name, seconds_in_name

_LEAST_STEP_S = 2.0  # between phases; less are no times


def order_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Phases in the order they were acquired.

    By time; where a time is missing or two are equal, by AcquisitionNumber, then SeriesNumber, then both (a
    pre-contrast series followed by one series of several phases), then the names. A key is used only when
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
    if key := _numeric_key(phases):
        return sorted(phases, key=key)
    phases = sorted(phases, key=lambda phase: (phase.name, phase.source))
    return [phases[index] for index in order_by_name([phase.name for phase in phases])[0]]


def uncertain_order(phases: Sequence[Phase]) -> str:
    """A sentence where the order of phases rests on names alone that do not plainly tell it, else ""."""
    names = [phase.name for phase in phases]
    if len(phases) < 2 or _numeric_key(phases) or order_by_name(names)[1]:
        return ""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (
        "The order of the volumes is uncertain: it rests on their names alone, which do not plainly tell it "
        f"({', '.join(names[:6])}{more}); check it, or give the time of each."
    )


def with_times_of_names(phases: Sequence[Phase]) -> list[Phase]:
    """Phases without times, given those that every one of their names tells with a unit ("TT=12.3s").

    Parameters
    ----------
    phases
        The dynamic volumes.

    Returns
    -------
    list of Phase
        As they are, where one has a time already, a name tells none, or they are no times of phases.
    """
    seconds = [seconds_in_name(phase.name) for phase in phases]
    if None in seconds or any(phase.time_s is not None for phase in phases):
        return list(phases)
    in_order = sorted(seconds)
    if any(later - earlier < _LEAST_STEP_S for earlier, later in zip(in_order, in_order[1:])):
        return list(phases)
    return [replace(phase, time_s=time) for phase, time in zip(phases, seconds, strict=True)]


def _numeric_key(phases: Sequence[Phase]) -> Callable[[Phase], float | tuple[int, int]] | None:
    """The first key that every phase has and no two share."""
    keys = (
        lambda phase: phase.time_s,
        lambda phase: phase.acquisition_number,
        lambda phase: phase.series_number,
        _both_numbers,
    )
    for key in keys:
        values = [key(phase) for phase in phases]
        if None not in values and len(set(values)) == len(values):
            return key
    return None


def _both_numbers(phase: Phase) -> tuple[int, int] | None:
    return None if phase.series_number is None else (phase.series_number, phase.acquisition_number or 0)
