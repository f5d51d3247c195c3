"""The order in which phases were acquired, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...exam import Phase, order_phases, pre_contrast_names, uncertain_order, with_times_of_names
from ..messages import listing
from .stacks import Stack
from .times import CLOCKS_OF_IMAGES, moments_of, phase_times, tied_pairs


@dataclass(frozen=True)
class Order:
    """Phases in the order of time.

    Attributes
    ----------
    stacks
        First in time first.
    times_s
        Seconds after the first, None for all where no clock tells.
    basis
        What tells the order, in a word: "time", "number" or "name".
    remarks
        Sentences for the user.
    """

    stacks: tuple[Stack, ...]
    times_s: tuple[float | None, ...]
    basis: str
    remarks: tuple[str, ...] = ()


def order_of(stacks: Sequence[Stack], are_subtractions: bool) -> Order:
    """The phases in the order of acquisition.

    By the best clock; where it only tells series apart, by the number of the phase within its series, too;
    without a clock by times in the names, by temporal position, by acquisition and series numbers, by names.

    Parameters
    ----------
    stacks
        Of one grid and protocol, in any order.
    are_subtractions
        Whether none of them can be the pre-contrast phase.

    Returns
    -------
    Order
    """
    times = phase_times(stacks)
    shared = any(stack.phase is not None for stack in stacks)
    phases = [stand_in(stack, time, shared) for stack, time in zip(stacks, times, strict=True)]
    if None in times:
        phases = with_times_of_names(phases)
    remarks = _remark_on_ties(stacks) or _remark_on_one_time(stacks, phases)
    if all(phase.time_s is not None for phase in phases):
        basis = "time"
        key: Sequence = [phase.time_s for phase in phases]
    elif (key := _coarse_times(stacks) or _temporal_positions(stacks) or []) != []:
        basis = "number"
    else:
        in_order = order_phases(phases)
        key = [next(n for n, one in enumerate(in_order) if one is phase) for phase in phases]
        remarks += filter(None, [uncertain_order(phases)])
        basis = "number" if _numbers_tell(phases) else "name"
    order = sorted(range(len(stacks)), key=key.__getitem__)
    if not are_subtractions:
        order, remark = _pre_first(order, phases)
        remarks += remark
    start = min((phase.time_s for phase in phases if phase.time_s is not None), default=0.0)
    seconds = [None if phase.time_s is None else round(phase.time_s - start, 3) for phase in phases]
    return Order(tuple(stacks[n] for n in order), tuple(seconds[n] for n in order), basis, tuple(remarks))


def _remark_on_ties(stacks: Sequence[Stack]) -> list[str]:
    """What to say of volumes that the user names though they have one time."""
    pairs = tied_pairs(stacks)
    if not pairs:
        return []
    names = listing([stacks[n].name for n in dict.fromkeys(n for pair in pairs for n in pair)])
    return [f"{names} have one time; their order rests on numbers or names."]


def _remark_on_one_time(stacks: Sequence[Stack], phases: Sequence[Phase]) -> list[str]:
    """What to say where the clocks of the images stand still: all volumes have one time, by all they keep."""
    if len(stacks) < 2 or None not in (phase.time_s for phase in phases) or _coarse_times(stacks):
        return []
    kept = [[stack.clocks.get(clock) for stack in stacks] for clock in CLOCKS_OF_IMAGES]
    kept = [values for values in kept if None not in values]
    if not kept or any(len(set(values)) > 1 for values in kept):
        return []
    return ["The headers give all dynamic volumes one time; their order rests on numbers or names."]


def _coarse_times(stacks: Sequence[Stack]) -> list[tuple[float, int]] | None:
    """A clock that tells series apart, with the number of the phase in its series."""
    values, _ = moments_of(stacks)
    if values is None:
        return None
    keys = [(value, stack.phase or 0) for value, stack in zip(values, stacks, strict=True)]
    return keys if len(set(keys)) == len(keys) else None


def _temporal_positions(stacks: Sequence[Stack]) -> list[int] | None:
    """Temporal positions that tell all volumes apart."""
    positions = [stack.head.temporal_position for stack in stacks]
    return positions if None not in positions and len(set(positions)) == len(positions) else None


def _numbers_tell(phases: Sequence[Phase]) -> bool:
    """Whether acquisition numbers, series numbers or both tell all phases apart."""
    acquisitions = [phase.acquisition_number for phase in phases]
    series = [phase.series_number for phase in phases]
    if None not in acquisitions and len(set(acquisitions)) == len(phases):
        return True
    return None not in series and len(set(zip(series, acquisitions, strict=True))) == len(phases)


def _pre_first(order: list[int], phases: Sequence[Phase]) -> tuple[list[int], list[str]]:
    """The order with what is called pre-contrast first, unless times contradict its name."""
    named = pre_contrast_names([phases[n].name for n in order])
    if True not in named or named[0]:
        return order, []
    place = named.index(True)
    pre = order[place]
    if any(phase.time_s is None for phase in phases):
        return [pre, *order[:place], *order[place + 1 :]], []
    return order, [
        f"{phases[pre].name} is called pre-contrast but was not acquired first; the first phase in time was "
        "used."
    ]


def stand_in(stack: Stack, time_s: float | None, shared: bool) -> Phase:
    """A phase without voxels, to be ordered.

    Parameters
    ----------
    stack
        The phase.
    time_s
        Its time, or None.
    shared
        Whether phases share a series: then their numbers in it order them, not their acquisition numbers.

    Returns
    -------
    Phase
        With None for its volume.
    """
    return Phase(
        volume=None,  # type: ignore[arg-type]
        name=stack.name,
        source=stack.source,
        time_s=time_s,
        acquisition_number=stack.phase if shared else stack.head.acquisition_number,
        series_number=stack.head.series_number,
    )
