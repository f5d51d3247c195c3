"""Whether phases are missing, above all the one before contrast: what no result may pass over in silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...exam import pre_contrast_names
from ..clock import DAY_S
from ..messages import counted, listing
from .dynamics import key_of
from .geometry import MIN_SLICES, lies_on, normal_of
from .scan import MISSING, PACKED, Scan
from .sets import same_grid, same_protocol, sets_of
from .stacks import Stack
from .times import moments_of
from .variants import resolve

_MOST_BROKEN = 0.7  # share of the slices from which on a stack without a usable place may be a phase
_LEAST_UNREAD = 0.5  # of a phase's files, for files that may have been one
_BOLUS_LEAD_S = (5.0, 1800.0)  # by which contrast agent may be given before a phase that follows it


class MissingPhase(InputError):
    """A phase may be missing.

    Attributes
    ----------
    stacks
        What is there of it.
    """

    def __init__(self, sentence: str, stacks: Sequence[Stack] = ()) -> None:
        super().__init__(sentence)
        self.stacks = tuple(stacks)


@dataclass(frozen=True)
class Search:
    """What phases may be missing from.

    Attributes
    ----------
    dynamics
        The phases, in the order of time.
    others
        Stacks of their study that are no phases, though nothing says why not.
    elsewhere
        Stacks of other studies or visits.
    unchosen
        Volumes of their kind that the user does not name.
    contents
        What else the files hold.
    where
        What to call their folder in messages.
    """

    dynamics: Sequence[Stack]
    others: Sequence[Stack]
    elsewhere: Sequence[Stack]
    unchosen: Sequence[Stack]
    contents: Scan
    where: Path

    @property
    def first(self) -> Stack:
        """The first phase, which would be taken for the one before contrast."""
        return self.dynamics[0]

    @property
    def surely_pre(self) -> bool:
        """Whether the first phase is called pre-contrast, or names no agent while others do."""
        agents = [stack.head.contrast_agent for stack in self.dynamics]
        named = pre_contrast_names([stack.name for stack in self.dynamics])
        return (not agents[0] and any(agents)) or named[0]

    @property
    def all_after(self) -> bool:
        """Whether every phase names a contrast agent."""
        return all(stack.head.contrast_agent for stack in self.dynamics)


def refuse_incomplete(search: Search) -> None:
    """Refuse to go on without a phase of which slices are there.

    Parameters
    ----------
    search
        Phases or subtractions.

    Raises
    ------
    MissingPhase
        A stack of the same protocol has slices on the lines of the phases' grid, but is none of them. One
        that was given up before the surely pre-contrast phase, or repeats a phase of its time, is none.
    """
    parts = [
        stack
        for stack in pieces(search)
        if (relation := _relation(stack, search)) != "same"
        and not (relation == "before" and search.surely_pre)
    ]
    if parts:
        raise MissingPhase(_incomplete(parts, search), parts)


def pieces(search: Search) -> list[Stack]:
    """Parts of volumes of the phases' grid and protocol that are none of the phases."""
    return [stack for stack in search.others if _is_piece(stack, search.first)]


def refuse_without_pre(search: Search) -> None:
    """Refuse phases of which the one before contrast may be missing.

    Parameters
    ----------
    search
        Phases.

    Raises
    ------
    MissingPhase
        Nothing says that the first is from before contrast, and an earlier volume, or one without a contrast
        agent, lies on another grid, in another study or cannot be read; or their numbers, or the time of the
        injection, say that one came before.
    """
    if search.surely_pre:
        return
    for reason in _REASONS:
        if (missing := reason(search)) is not None:
            sentence = f"{missing}, or go on with --keep-order if {search.first.name} is it."
            raise MissingPhase(sentence, missing.stacks)


# ---------------------------------------------------------------- incomplete


def _is_piece(stack: Stack, phase: Stack) -> bool:
    """Whether a stack is a part of a phase, or has broken headers where phases have usable ones."""
    if not same_protocol(phase, stack) or stack.head.study_uid != phase.head.study_uid:
        return False
    if not stack.problem and same_grid(stack, phase):
        return False
    if lies_on(stack.slices, phase.slices):
        return True
    if not stack.problem or len(stack.slices) < max(MIN_SLICES, _MOST_BROKEN * len(phase.slices)):
        return False
    secondary = "SECONDARY" in stack.head.image_type and "SECONDARY" not in phase.head.image_type
    if (stack.head.rows, stack.head.columns) != (phase.head.rows, phase.head.columns) or secondary:
        return False
    # what its header tells of its place cannot be trusted, unless it plainly lies across
    across = normal_of(stack.head)
    return across is None or abs(across @ normal_of(phase.head)) > 0.99


def _incomplete(parts: Sequence[Stack], search: Search) -> str:
    """What to say of parts of phases."""
    stack, phase = parts[0], search.first
    keys = " ".join(dict.fromkeys(map(key_of, parts)))
    remedy = f"copy or export the whole series again, or leave it out with --leave-out {keys}"
    if stack.problem and len(stack.slices) >= MIN_SLICES:
        return stack.problem
    if len(parts) > 1:
        counts = listing([f"{part.name} {counted(len(part.slices), 'slice')}" for part in parts], 4)
        whole = f"{phase.name} has {len(phase.slices)}"
        return f"Parts of phases lie in {search.where} ({counts}; {whole}); {remedy}."
    short, full = sorted((stack, phase), key=lambda s: len(s.slices))
    if len(short.slices) == len(full.slices):
        return f"{stack.name} in {search.where} does not cover the slices of {phase.name}; {remedy}."
    return (
        f"{short.name} in {search.where} has {counted(len(short.slices), 'slice')} but {full.name} has "
        f"{len(full.slices)}: some are missing; {remedy}."
    )


def _relation(stack: Stack, search: Search) -> str:
    """Whether a stack was acquired "before" the phases or at the "same" time as one, else ""."""
    moments, least = moments_of([stack, *search.dynamics])
    if moments is None:
        return ""
    own, *others = moments
    if own <= min(others) - least:
        return "before"
    return "same" if min(abs(own - other) for other in others) < least else ""


# ---------------------------------------------------------------- without the phase before contrast


def _not_chosen(search: Search) -> MissingPhase | None:
    """A volume without contrast agent that the user does not name, where all named have one."""
    for stack in search.unchosen:
        if search.all_after and not stack.head.contrast_agent:
            return MissingPhase(
                f"The pre-contrast phase is missing: {stack.name} names no contrast agent, as all phases do, "
                f"but is not among them; add {key_of(stack)} to --phases",
                [stack],
            )
    return None


def _elsewhere(search: Search) -> MissingPhase | None:
    """An earlier volume of the protocol, or one without contrast agent, in another study or visit."""
    for stack in search.elsewhere:
        if not _is_like(stack, search) or not _may_precede(stack, search):
            continue
        place = "study" if stack.head.study_uid != search.first.head.study_uid else "visit"
        return MissingPhase(
            f"The pre-contrast phase may be missing in {search.where}: {stack.name} ({stack.source}) lies in "
            f"another {place} than {search.first.name} and the others; put all phases into one study",
            [stack],
        )
    return None


def _is_like(stack: Stack, search: Search) -> bool:
    if not same_protocol(search.first, stack) or stack.is_subtraction:
        return False
    on_grid = not stack.problem and same_grid(stack, search.first)
    return on_grid or lies_on(stack.slices, search.first.slices) or _called_alike(stack, search)


def _called_alike(stack: Stack, search: Search) -> bool:
    return stack.stem in {phase.stem for phase in search.dynamics}


def _may_precede(stack: Stack, search: Search) -> bool:
    """Whether a stack may be the phase before the first one: earlier on its day, or without an agent."""
    if search.all_after and not stack.head.contrast_agent:
        return True
    if stack.head.contrast_agent:
        return False
    for clock in ("datetime", "acquisition", "content", "series"):
        own, first = stack.clocks.get(clock), search.first.clocks.get(clock)
        if own is not None and first is not None and own != first:
            return first - DAY_S < own < first
    numbers = stack.head.series_number, search.first.head.series_number
    return None in numbers or numbers[0] <= numbers[1]


def _other_grid(search: Search) -> MissingPhase | None:
    """An earlier volume of the protocol alone on another grid, or one without contrast agent."""
    candidates = [
        stack
        for stack in search.others
        if same_protocol(search.first, stack) and not stack.is_subtraction and not stack.problem
    ]
    for members in sets_of(candidates):
        stack, *more = resolve(members, search.dynamics).stacks
        if more or not _may_precede(stack, search):
            continue
        if search.all_after or _called_alike(stack, search):
            return MissingPhase(
                f"The pre-contrast phase may be missing in {search.where}: {stack.name} ({stack.size}) lies "
                f"on another grid than {search.first.name} ({search.first.size}) and the phases after it; "
                f"resample it to their grid, leave it out with --leave-out {key_of(stack)}",
                [stack],
            )
    return None


def _broken(search: Search) -> MissingPhase | None:
    """A whole volume of the protocol that cannot be used."""
    for stack in search.others:
        if stack.problem and len(stack.slices) >= MIN_SLICES and same_protocol(search.first, stack):
            if not stack.is_subtraction and not stack.is_capture and _may_precede(stack, search):
                return MissingPhase(
                    f"The pre-contrast phase may be missing: {stack.problem.rstrip('.')}", [stack]
                )
    return None


def _unread(search: Search) -> MissingPhase | None:
    """Files that cannot be read, as many as a phase has."""
    if not (files := search.contents.unread):
        return None
    needed = len({item.path for item in search.first.slices})
    if not {MISSING, PACKED} & search.contents.others.keys() and len(files) < _LEAST_UNREAD * needed:
        return None
    kinds = [what.name for what in search.contents.others if what.problem]
    return MissingPhase(
        f"The pre-contrast phase may be missing in {search.where}: {counted(len(files), 'file')} "
        f"({listing(sorted(path.name for path in files), 2)}) cannot be read ({listing(kinds)}); copy or "
        "fetch all files of the exam",
    )


def _first_number(search: Search) -> MissingPhase | None:
    """Numbers that do not begin with the first."""
    if (numbers := _numbers(search)) is None or numbers[0] < 2 or min(numbers) != numbers[0]:
        return None
    of = f" of {count}" if (count := search.first.head.temporal_positions) else ""
    return MissingPhase(
        f"The pre-contrast phase may be missing in {search.where}: {search.first.name}, the first phase, has "
        f"the number {numbers[0]}{of}; add the phases before it",
    )


def _numbers(search: Search) -> list[int] | None:
    """The number of each phase by its temporal position, or by the instance numbers of one series."""
    heads = [stack.head for stack in search.dynamics]
    numbers = [head.temporal_position for head in heads]
    if None in numbers and len({head.series_uid for head in heads}) == 1:
        firsts = [_least_instance(stack) for stack in search.dynamics]
        count = len(search.first.slices)
        if None not in firsts and all((first - 1) % count == 0 for first in firsts):
            numbers = [1 + (first - 1) // count for first in firsts]
    return numbers if None not in numbers and len(set(numbers)) == len(numbers) else None


def _least_instance(stack: Stack) -> int | None:
    """The first of a volume's instance numbers, where they are in a row."""
    numbers = [item.instance_number for item in stack.slices if item.frame is None]
    if len(numbers) < len(stack.slices) or None in numbers or max(numbers) - min(numbers) >= len(numbers):
        return None
    return min(numbers)


def gaps_between(search: Search) -> list[str]:
    """A sentence where numbers of phases leave some out."""
    numbers = sorted(_numbers(search) or [])
    if not numbers or numbers[-1] - numbers[0] < len(numbers):
        return []
    return [
        f"Phases may be missing between those found: they have the numbers {', '.join(map(str, numbers))}."
    ]


def _injected(search: Search) -> MissingPhase | None:
    """Contrast agent given before the first phase, by the header of that phase."""
    bolus, clock = search.first.head.bolus_s, search.first.clocks.get("acquisition")
    if bolus is None or clock is None or not search.first.head.contrast_agent:
        return None
    if not _BOLUS_LEAD_S[0] < clock % DAY_S - bolus < _BOLUS_LEAD_S[1]:
        return None
    return MissingPhase(
        f"The pre-contrast phase is missing in {search.where}: contrast agent was given "
        f"{clock % DAY_S - bolus:.0f} s before {search.first.name}, the first phase, by its header; add it",
    )


def _out_of_order(search: Search) -> MissingPhase | None:
    """One phase without contrast agent after others that name it."""
    agents = np.array([stack.head.contrast_agent for stack in search.dynamics])
    if not agents[0] or agents.all():
        return None
    stack = search.dynamics[int(np.argmin(agents))]
    return MissingPhase(
        f"The order of the phases in {search.where} is doubtful: {stack.name} names no contrast agent but "
        f"comes after {search.first.name}, which does; check their times, or choose phases with --phases",
        [stack],
    )


_REASONS: tuple[Callable[[Search], MissingPhase | None], ...] = (
    _out_of_order,
    _not_chosen,
    _elsewhere,
    _other_grid,
    _broken,
    _unread,
    _first_number,
    _injected,
)
