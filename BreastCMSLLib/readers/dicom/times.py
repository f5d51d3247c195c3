"""When volumes were acquired, from whichever clock the headers keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..clock import across_midnight, on_one_clock

if TYPE_CHECKING:
    from .slices import Slice
    from .stacks import Stack

_LEAST_S = {  # clocks, the best first, and the least that they have to tell two phases apart by
    "datetime": 0.5,
    "acquisition": 0.5,
    "trigger": 0.5,
    "temporal": 0.5,
    "content": 2.0,
    "series": 2.0,
}


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
    if clocks["acquisition"] is not None and all(delay is not None for delay in delays):
        clocks["trigger"] = clocks["acquisition"] + min(delays) / 1000
    if head.temporal_position is not None and head.temporal_resolution_ms and clocks["series"] is not None:
        clocks["temporal"] = (
            clocks["series"] + (head.temporal_position - 1) * head.temporal_resolution_ms / 1000
        )
    return clocks


def _earliest(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else min(across_midnight(values))


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
    for clock, least in _LEAST_S.items():
        values = [stack.clocks.get(clock) for stack in stacks]
        if any(value is None for value in values):
            continue
        values = on_one_clock(values)
        if len(values) > 1 and np.diff(np.sort(values)).min() < least:
            continue
        if _follows_phases(stacks, values):
            start = min(values)
            return [round(value - start, 3) for value in values]
    return [None] * len(stacks)


def _follows_phases(stacks: Sequence[Stack], values: Sequence[float]) -> bool:
    """False when a clock contradicts the temporal positions in a series: then it is another one."""
    series: dict[str, list[tuple[int, float]]] = {}
    for stack, value in zip(stacks, values, strict=True):
        if stack.phase is not None and stack.head.temporal_position is not None:
            series.setdefault(stack.head.series_uid, []).append((stack.head.temporal_position, value))
    return all(sorted(pairs) == sorted(sorted(pairs), key=lambda pair: pair[1]) for pairs in series.values())
