"""Volumes of one time: which of them is the phase, and which are the same phase again.

An exam may be exported twice, kept before and after a correction, or hold two visits under one study. Two
volumes of one time or temporal position are never both phases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import InputError
from ...exam import looks_pre_contrast
from ..clock import DAY_S
from ..messages import listing
from .copies import same_volume
from .pixels import stored_bytes
from .stacks import Stack
from .times import moments_of, phase_times, tied_pairs

_VISIT_GAP_S = 6 * 3600.0  # between the phases of two visits on dates that the headers tell
_RESTART_GAP_S = 600.0  # before an acquisition that begins anew in one study
_VISIT_WITHOUT_DATE_S = 1800.0  # between those that nothing else tells apart
_IMAGE_TYPES = (  # words of the image type that name what was done to an image, the preferred first
    ("DIS3D", "DIS2D", "ND"),
    ("NORM",),
)


@dataclass
class Choice:
    """What is left of volumes of one grid and protocol, none of one time with another.

    Attributes
    ----------
    stacks
        The phases.
    left_out
        Others, with the reason.
    ties
        Volumes of one time that headers do not tell apart; they are among ``stacks``.
    """

    stacks: list[Stack]
    left_out: list[tuple[Stack, str]] = field(default_factory=list)
    ties: list[list[Stack]] = field(default_factory=list)


def without_copies(stacks: Sequence[Stack]) -> tuple[list[Stack], dict[Stack, Stack]]:
    """Volumes of one grid and protocol, each once, by the bytes of their pixels.

    Parameters
    ----------
    stacks
        In any order. Nothing is read where a clock tells all of them apart.

    Returns
    -------
    stacks : list of Stack
        Without copies; of two the one is kept that is not corrected, then the one that is called
        pre-contrast, whose series holds more of them, or has the lower number.
    copies : dict
        Each copy with what it is a copy of.
    """
    if None not in phase_times(stacks):
        return list(stacks), {}
    sizes = Counter(stack.head.series_uid for stack in stacks)

    def rank(stack: Stack) -> tuple:
        head = stack.head
        is_pre = looks_pre_contrast(head.description)
        return (
            stack.is_corrected,
            not is_pre,
            -sizes[head.series_uid],
            head.series_number or 0,
            stack.phase or 0,
        )

    alike: dict[object, list[Stack]] = {}
    for stack in sorted(stacks, key=rank):
        alike.setdefault(_sample_of(stack), []).append(stack)
    copies: dict[Stack, Stack] = {}
    for first, *others in alike.values():
        copies |= {other: first for other in others if same_volume(first.slices, other.slices)}
    return [stack for stack in stacks if stack not in copies], copies


def _sample_of(stack: Stack) -> object:
    """The pixels in the middle of a volume; itself where they cannot be read."""
    try:
        return stored_bytes(stack.slices[len(stack.slices) // 2])
    except (InputError, OSError):
        return stack


def resolve(stacks: Sequence[Stack], context: Sequence[Stack] = ()) -> Choice:
    """The phases among volumes of one grid, protocol and visit, each time once.

    Where several have one time, they are parted by what tells them apart: motion correction, distortion
    correction, normalisation, other words of the image type, frame of reference, the name without its digits.
    The best part is kept: the one with more phases, then the original before the motion-corrected, what the
    scanner calls original before what it calls derived, the distortion-corrected before the other, the
    normalised before the other, the lower series number; and of the other parts those that have no time in
    common with it.

    Parameters
    ----------
    stacks
        In any order.
    context
        Volumes of the protocol elsewhere, which tell whether a clock that is the same for all stands still.

    Returns
    -------
    Choice
        With ties where nothing tells them apart.
    """
    choice = Choice(list(stacks))
    stands_still = moments_of(choice.stacks)[0] is None
    pairs = tied_pairs([*choice.stacks, *(context if stands_still else ())])
    pairs = [(a, b) for a, b in pairs if b < len(choice.stacks)]
    if not pairs:
        parts = _same_again(choice.stacks)
    elif (parts := _parted(choice.stacks, pairs)) is None:
        choice.ties = _connected(choice.stacks, pairs)
        return choice
    _keep_best(choice, parts, {frozenset({choice.stacks[a], choice.stacks[b]}) for a, b in pairs})
    return choice


def _parted(stacks: Sequence[Stack], pairs: Sequence[tuple[int, int]]) -> list[list[Stack]] | None:
    """Parts in which no two volumes are a pair, by the first keys that make such; None where none do."""
    keys: list[Hashable] = [()] * len(stacks)
    for key in _TELLING:
        keys = [(*own, key(stack)) for own, stack in zip(keys, stacks, strict=True)]
        if all(keys[a] != keys[b] for a, b in pairs):
            return [
                [s for s, own in zip(stacks, keys, strict=True) if own == one] for one in dict.fromkeys(keys)
            ]
    return None


def _same_again(stacks: list[Stack]) -> list[list[Stack]]:
    """Parts that are the same phases again though no times say so; one part where there are none.

    Motion-corrected copies with times of their own are as many as the originals, or one fewer. Without times,
    parts of different image types are the same phases where they have the same names, but for one.
    """
    corrected = [stack for stack in stacks if stack.is_corrected]
    originals = [stack for stack in stacks if not stack.is_corrected]
    few, many = sorted((len(corrected), len(originals)))
    if few >= 2 and many - few <= 1:
        return [originals, corrected]
    if moments_of(stacks)[0] is not None:
        return [stacks]
    by_type: dict[Hashable, list[Stack]] = {}
    for stack in stacks:
        by_type.setdefault(stack.head.image_type, []).append(stack)
    first, *others = sorted(by_type.values(), key=len, reverse=True)
    names = Counter((stack.head.description, stack.phase) for stack in first)
    for part in others:
        own = Counter((stack.head.description, stack.phase) for stack in part)
        if len(part) < 2 or len(first) - len(part) > 1 or not own <= names:
            return [stacks]
    return [first, *others]


_TELLING: tuple[Callable[[Stack], Hashable], ...] = (
    lambda stack: stack.is_corrected,
    *(
        lambda stack, words=words: tuple(word in stack.head.image_type for word in words)
        for words in _IMAGE_TYPES
    ),
    lambda stack: stack.head.image_type,
    lambda stack: stack.head.frame_of_reference,
    lambda stack: stack.stem,
)


def _connected(stacks: Sequence[Stack], pairs: Sequence[tuple[int, int]]) -> list[list[Stack]]:
    """Groups of stacks that are tied to each other."""
    group = list(range(len(stacks)))
    for a, b in pairs:
        old, new = group[b], group[a]
        group = [new if own == old else own for own in group]
    groups = [[stacks[n] for n in range(len(stacks)) if group[n] == own] for own in dict.fromkeys(group)]
    return [members for members in groups if len(members) > 1]


def _keep_best(choice: Choice, parts: list[list[Stack]], tied: set[frozenset[Stack]]) -> None:
    """Keep the best part and what has no time in common with it."""
    if len(parts) == 1:
        return
    first, *others = sorted(parts, key=_preference, reverse=True)
    kept = list(first)
    for part in others:
        clash = any({stack, other} in tied for stack in part for other in kept)
        if clash or not tied:
            reason = f"the times of {listing([stack.name for stack in first], 2)} again, {_done(part[0])}"
            choice.left_out += [(stack, reason) for stack in part]
        else:
            kept += part
    choice.stacks = [stack for stack in choice.stacks if stack in kept]


def _preference(part: Sequence[Stack]) -> tuple:
    """Larger is better; see :func:`resolve`."""
    head = part[0].head
    words = [
        next((-rank for rank, word in enumerate(known) if word in head.image_type), -len(known))
        for known in _IMAGE_TYPES
    ]
    number = head.series_number if head.series_number is not None else 1 << 31
    return len(part), not part[0].is_corrected, "ORIGINAL" in head.image_type, *words, -number


def _done(stack: Stack) -> str:
    """What tells a part from the one that is kept."""
    if stack.is_corrected:
        return "corrected for motion"
    words = ", ".join(stack.head.image_type)
    return f"with the image type {words}" if words else "without an image type"


# ---------------------------------------------------------------- two visits


def visits_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Volumes of one grid and protocol by visit, where a study holds more than one exam.

    By dates that lie apart, where one part is an exam by itself (two volumes, not all of them after
    contrast); by frame of reference, and where an acquisition begins anew long after another, where two are.

    Parameters
    ----------
    stacks
        Of one patient, in any order.

    Returns
    -------
    list of list of Stack
        One list where there is but one exam.
    """
    telling = {stack.head.contrast_agent for stack in stacks} == {False, True}

    def is_exam(part: Sequence[Stack]) -> bool:
        return len(part) > 1 and (not telling or {stack.head.contrast_agent for stack in part} != {True})

    for key, least in ((_dates, 1), (_frames, 2), (_restarts, 2)):
        parts: dict[Hashable, list[Stack]] = {}
        for own, stack in zip(key(stacks), stacks, strict=True):
            parts.setdefault(own, []).append(stack)
        if len(parts) > 1 and sum(map(is_exam, parts.values())) >= least:
            return [visit for part in parts.values() for visit in visits_of(part)]
    return [list(stacks)]


def _frames(stacks: Sequence[Stack]) -> list[Hashable]:
    return [stack.head.frame_of_reference for stack in stacks]


def _dates(stacks: Sequence[Stack]) -> list[Hashable]:
    """The number of the visit by the dates that acquisition times tell."""
    for clock in ("datetime", "acquisition"):
        values = [stack.clocks.get(clock) for stack in stacks]
        if all(value is not None and value > DAY_S for value in values):
            return _numbered(values, _VISIT_GAP_S)
    return [0] * len(stacks)


def _restarts(stacks: Sequence[Stack]) -> list[Hashable]:
    """The number of the acquisition, where another one begins long after the last.

    That it is another is told by volumes without contrast agent after those with, by numbers or names of
    series that come again, or for parts of as many volumes by a very long pause.
    """
    values, _ = moments_of(stacks)
    if values is None:
        return [0] * len(stacks)
    order = sorted(range(len(stacks)), key=values.__getitem__)
    late = [later for n, later in zip(order, order[1:]) if values[later] - values[n] > _RESTART_GAP_S]
    for starts in (_begins_without_agent, _number_again, _name_again):
        numbers, number, part = [0] * len(stacks), 0, []
        for n in order:
            if n in late and starts(stacks[n], part):
                number, part = number + 1, []
            part.append(stacks[n])
            numbers[n] = number
        if number:
            return numbers
    numbers = _numbered(values, _VISIT_WITHOUT_DATE_S)
    return numbers if len(set(Counter(numbers).values())) == 1 else [0] * len(stacks)


def _begins_without_agent(stack: Stack, part: Sequence[Stack]) -> bool:
    return not stack.head.contrast_agent and part[-1].head.contrast_agent


def _number_again(stack: Stack, part: Sequence[Stack]) -> bool:
    number = stack.head.series_number
    return number is not None and any(
        (s.head.series_number, s.phase) == (number, stack.phase)
        and s.head.series_uid != stack.head.series_uid
        for s in part
    )


def _name_again(stack: Stack, part: Sequence[Stack]) -> bool:
    """Whether a name comes again that no two volumes of the part share."""
    names = [(s.head.description, s.phase) for s in part]
    return len(set(names)) == len(names) > 1 and (stack.head.description, stack.phase) in names


def _numbered(values: Sequence[float], gap_s: float) -> list[Hashable]:
    """The number of the group of each time, where groups lie further apart than a gap."""
    order = np.argsort(values, kind="stable")
    groups = np.empty(len(values), int)
    groups[order] = np.concatenate([[0], np.cumsum(np.diff(np.array(values)[order]) > gap_s)])
    return groups.tolist()
