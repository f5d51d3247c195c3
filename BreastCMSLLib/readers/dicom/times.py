"""When volumes were acquired, from whichever clock the headers keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..clock import across_midnight, on_one_clock

if TYPE_CHECKING:
    from .slices import Slice
    from .stacks import Stack

_OF_ACQUISITION = ("datetime", "acquisition", "trigger", "temporal")  # clocks, the best first
_OF_FILES = ("content", "series")  # also count when images were made anew
CLOCKS_OF_IMAGES = ("datetime", "acquisition", "content")  # of their own, not of their series
_LEAST_S = dict.fromkeys(_OF_ACQUISITION, 0.5) | dict.fromkeys(_OF_FILES, 2.0)  # between two phases


def clocks_of(slices: Sequence[Slice]) -> dict[str, float | None]:
    """The earliest time of slices by each clock.

    Parameters
    ----------
    slices
        Of one volume.

    Returns
    -------
    dict
        Seconds, None where a slice lacks them. Besides the clocks of :class:`Slice` there may be those that
        count from the start of the series: "trigger" (trigger delay) and "temporal" (temporal position times
        resolution).
    """
    head = slices[0]
    clocks = {clock: _earliest([item.clocks[clock] for item in slices]) for clock in head.clocks}
    delays = [item.trigger_ms for item in slices]
    start = clocks["datetime"] if clocks["acquisition"] is None else clocks["acquisition"]
    if start is not None and all(delay is not None for delay in delays):
        clocks["trigger"] = start + min(delays) / 1000
    if head.temporal_position is not None and head.temporal_resolution_ms and clocks["series"] is not None:
        clocks["temporal"] = (
            clocks["series"] + (head.temporal_position - 1) * head.temporal_resolution_ms / 1000
        )
    return clocks


def _earliest(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else min(across_midnight(values))


def moments_of(stacks: Sequence[Stack]) -> tuple[list[float] | None, float]:
    """When volumes were acquired by the best clock that all keep and that is not the same for all.

    Parameters
    ----------
    stacks
        In any order.

    Returns
    -------
    seconds : list of float or None
        By a clock that may tie for some of them; None where no clock tells any two apart.
    least : float
        By how much the times of two volumes have to differ on that clock.
    """
    coarse = None
    for clocks in (_OF_ACQUISITION, _OF_FILES):
        tied = None
        for clock in clocks:
            values, least = [stack.clocks.get(clock) for stack in stacks], _LEAST_S[clock]
            if any(value is None for value in values):
                continue
            values = on_one_clock(values)
            if len(values) < 2 or max(values) - min(values) < least or not _follows_phases(stacks, values):
                continue
            if coarse is not None and not _agree(values, *coarse):
                continue
            ties = _ties(values, least)
            if not ties:
                return values, least
            if all(_one_series(stacks[a], stacks[b]) for a, b in ties):
                coarse = coarse or (values, least)
            else:
                tied = tied or (values, least)
        if tied:
            return tied
    return coarse or (None, 0.0)


def _ties(values: Sequence[float], least: float) -> list[tuple[int, int]]:
    """Pairs of neighbours in time that the clock does not tell apart."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return [(a, b) for a, b in zip(order, order[1:]) if values[b] - values[a] < least]


def tied_pairs(stacks: Sequence[Stack]) -> list[tuple[int, int]]:
    """Pairs of volumes that headers give one time, or one number where they keep no time.

    Parameters
    ----------
    stacks
        Of one grid and protocol.

    Returns
    -------
    list of (int, int)
        Indices; phases that their series tells apart make no pair.
    """
    values, least = moments_of(stacks)
    positions = [stack.head.temporal_position for stack in stacks]
    counted = None not in positions and len(set(positions)) > 1

    def tie(a: int, b: int) -> bool:
        if _one_series(stacks[a], stacks[b]):
            return False
        if values is not None:
            return abs(values[a] - values[b]) < least
        return positions[a] == positions[b] if counted else _same_numbers(stacks[a], stacks[b])

    return [(a, b) for b in range(len(stacks)) for a in range(b) if tie(a, b)]


def _same_numbers(a: Stack, b: Stack) -> bool:
    """Whether two volumes without times have the numbers of one: the same phase of two series, or copies."""
    if a.phase is not None and b.phase is not None:
        return a.phase == b.phase
    one, other = (
        (head.series_number, head.acquisition_number, head.description) for head in (a.head, b.head)
    )
    return one == other and a.head.series_number is not None and a.phase == b.phase


def _agree(values: Sequence[float], coarse: Sequence[float], least: float) -> bool:
    """Whether a clock puts volumes into the order of one that does not tell all of them apart."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return all(coarse[b] > coarse[a] - least for a, b in zip(order, order[1:]))


def _one_series(a: Stack, b: Stack) -> bool:
    """Whether two volumes are phases of one series, which other fields tell apart."""
    return a.head.series_uid == b.head.series_uid and None not in (a.phase, b.phase) and a.phase != b.phase


def phase_times(stacks: Sequence[Stack]) -> list[float | None]:
    """When each phase was acquired, by the best clock that all keep and that tells them apart.

    Parameters
    ----------
    stacks
        The dynamic phases, in any order.

    Returns
    -------
    list of float or None
        Seconds after the earliest of them. None for all where there is no such clock (anonymised files): the
        order then comes from numbers and names.
    """
    values, least = moments_of(stacks)
    if values is None or np.diff(np.sort(values)).min(initial=np.inf) < least:
        return [None] * len(stacks)
    start = min(values)
    return [round(value - start, 3) for value in values]


def _follows_phases(stacks: Sequence[Stack], values: Sequence[float]) -> bool:
    """False when a clock contradicts the temporal positions in a series: then it is another one."""
    series: dict[str, list[tuple[int, float]]] = {}
    for stack, value in zip(stacks, values, strict=True):
        if stack.phase is not None and stack.head.temporal_position is not None:
            series.setdefault(stack.head.series_uid, []).append((stack.head.temporal_position, value))
    return all(sorted(pairs) == sorted(sorted(pairs), key=lambda pair: pair[1]) for pairs in series.values())
