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
        Without copies; of two the one with the lower number is kept.
    copies : dict
        Each copy with what it is a copy of.
    """
    if None not in phase_times(stacks):
        return list(stacks), {}
    alike: dict[object, list[Stack]] = {}
    for stack in sorted(stacks, key=lambda stack: (stack.head.series_number or 0, stack.phase or 0)):
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


def resolve(stacks: Sequence[Stack]) -> Choice:
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

    Returns
    -------
    Choice
        With ties where nothing tells them apart.
    """
    choice = Choice(list(stacks))
    pairs = tied_pairs(choice.stacks)
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

    By patient and by dates that lie apart, where one part is an exam by itself (two volumes, not all of them
    after contrast); by frame of reference, and where an acquisition begins anew long after another, where two
    are.

    Parameters
    ----------
    stacks
        In any order.

    Returns
    -------
    list of list of Stack
        One list where there is but one exam.
    """
    telling = {stack.head.contrast_agent for stack in stacks} == {False, True}

    def is_exam(part: Sequence[Stack]) -> bool:
        return len(part) > 1 and (not telling or {stack.head.contrast_agent for stack in part} != {True})

    for key, least in ((_patients, 1), (_dates, 1), (_frames, 2), (_restarts, 2)):
        parts: dict[Hashable, list[Stack]] = {}
        for own, stack in zip(key(stacks), stacks, strict=True):
            parts.setdefault(own, []).append(stack)
        if len(parts) > 1 and sum(map(is_exam, parts.values())) >= least:
            return [visit for part in parts.values() for visit in visits_of(part)]
    return [list(stacks)]


def _patients(stacks: Sequence[Stack]) -> list[Hashable]:
    return [stack.head.patient for stack in stacks]


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
    """The number of the acquisition, where each begins long after the one before.

    That they are not one is told by contrast agents, by numbers or names of series that come again, or for
    parts of as many volumes by a very long pause.
    """
    values, _ = moments_of(stacks)
    if values is None:
        return [0] * len(stacks)
    numbers = _numbered(values, _RESTART_GAP_S)
    parts = [[stack for stack, own in zip(stacks, numbers, strict=True) if own == n] for n in set(numbers)]
    if _told_by_agents(parts) or _told_by_series(parts):
        return numbers
    return (
        _numbered(values, _VISIT_WITHOUT_DATE_S)
        if len({len(part) for part in parts}) == 1
        else [0] * len(stacks)
    )


def _told_by_agents(parts: Sequence[Sequence[Stack]]) -> bool:
    """Whether each part has volumes without and with contrast agent."""
    return all({stack.head.contrast_agent for stack in part} == {False, True} for part in parts)


def _told_by_series(parts: Sequence[Sequence[Stack]]) -> bool:
    """Whether the parts have the same series numbers, or names that differ within a part."""
    for key in (lambda s: s.head.series_number, lambda s: s.head.description):
        values = [[(key(stack), stack.phase or 0) for stack in part] for part in parts]
        if None in (value for own in values for value, _ in own):
            continue
        if len(set(values[0])) == len(values[0]) > 1 and all(sorted(o) == sorted(values[0]) for o in values):
            return True
    return False


def _numbered(values: Sequence[float], gap_s: float) -> list[Hashable]:
    """The number of the group of each time, where groups lie further apart than a gap."""
    order = np.argsort(values, kind="stable")
    groups = np.empty(len(values), int)
    groups[order] = np.concatenate([[0], np.cumsum(np.diff(np.array(values)[order]) > gap_s)])
    return groups.tolist()
