"""Volumes of the phases' grid and protocol that are none: flip angles, derived images, ultrafast series."""

from __future__ import annotations

from collections.abc import Sequence

from ...exam import MIN_PHASES
from ..crowds import BESIDE_USUAL
from .sets import is_ultrafast, same_grid, same_protocol, same_sequence
from .stacks import Stack
from .times import moments_of, tied_pairs


def without_flip_angles(
    members: list[Stack], stacks: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without the volume of a series of flip angles (to map T1) that has the angle of the phases.

    It is called like those of other angles or inversion times, or was acquired between them.

    Parameters
    ----------
    members
        Of one grid and protocol.
    stacks
        All volumes that may be phases.

    Returns
    -------
    rest : list of Stack
        All of them where fewer than needed would remain.
    left_out : list of (Stack, str)
        The others, each with the reason.
    """
    first = members[0]
    angles = [
        stack
        for stack in stacks
        if same_grid(first, stack) and same_sequence(first, stack) and not same_protocol(first, stack)
    ]
    if not angles:
        return list(members), []
    called = {stack.stem for stack in angles}
    rest = [stack for stack in members if stack.stem not in called]
    if not 1 <= len(rest) < len(members):
        rest = _after(members, angles)
    if not 1 <= len(rest) < len(members):
        return list(members), []
    reason = "one of a series of flip angles or inversion times, by its name or time"
    return rest, [(stack, reason) for stack in members if stack not in rest]


def _after(members: Sequence[Stack], angles: Sequence[Stack]) -> list[Stack]:
    """Those acquired after all flip angles, if the first of them is from before contrast."""
    moments, _ = moments_of([*members, *angles])
    if moments is None:
        return []
    last = max(moments[len(members) :])
    rest = [stack for stack, moment in zip(members, moments) if moment > last]
    agents = {stack.head.contrast_agent for stack in members}
    return rest if len(agents) == 1 or any(not stack.head.contrast_agent for stack in rest) else []


def without_derived(
    members: list[Stack], stacks: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without few derived images beside originals.

    One that is called like the originals and has a time of its own is a phase that was corrected; and one
    that may be from before contrast is not passed over.

    Parameters
    ----------
    members
        Of one grid and protocol.
    stacks
        All volumes that may be phases.

    Returns
    -------
    rest : list of Stack
        All of them where fewer than needed would remain.
    left_out : list of (Stack, str)
        The others, each with the reason.
    """
    derived = [stack for stack in members if "DERIVED" in stack.head.image_type[:1]]
    originals = [stack for stack in members if stack not in derived]
    if not derived or len(originals) < max(MIN_PHASES, len(derived)):
        return members, []
    stems = {stack.stem for stack in originals}
    tied = {members[n] for pair in tied_pairs(members) for n in pair}
    moments, least = moments_of(members)
    begin = min((m for m, s in zip(moments or [], members) if s in originals), default=None)

    def may_be_phase(stack: Stack) -> bool:
        if "SECONDARY" not in stack.head.image_type and stack.stem in stems and stack not in tied:
            return True
        comes_first = begin is not None and moments[members.index(stack)] <= begin - least
        after = all(original.head.contrast_agent for original in originals)
        return comes_first or (after and not stack.head.contrast_agent)

    left_out = [stack for stack in derived if not may_be_phase(stack)]
    reason = "derived from other images, beside originals"
    return [s for s in members if s not in left_out], [(stack, reason) for stack in left_out]


def without_ultrafast(
    members: list[Stack], stacks: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without its ultrafast series, where usual phases remain, some of them after these began.

    Parameters
    ----------
    members
        Of one grid and protocol.
    stacks
        All volumes that may be phases.

    Returns
    -------
    rest : list of Stack
        All of them where fewer than needed would remain.
    left_out : list of (Stack, str)
        The others, each with the reason.
    """
    series: dict[str, list[Stack]] = {}
    for stack in members:
        series.setdefault(stack.stem, []).append(stack)
    fast = [stack for own in series.values() if is_ultrafast(own) for stack in own]
    usual = [stack for stack in members if stack not in fast]
    moments, _ = moments_of(members)
    if not fast or len(usual) < MIN_PHASES or moments is None:
        return members, []
    begin = min(moment for stack, moment in zip(members, moments, strict=True) if stack in fast)
    if max(moment for stack, moment in zip(members, moments, strict=True) if stack in usual) <= begin:
        return members, []
    return usual, [(stack, BESIDE_USUAL) for stack in fast]
