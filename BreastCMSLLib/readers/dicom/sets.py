"""Which volumes belong together: one grid, one protocol, one kind of image."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.geometry import voxels_apart
from ...exam import (
    MAX_VOXELS_APART,
    dixon_word,
    looks_derived,
    only_a_code_says_derived,
    says_fat_saturation,
    telling_names,
)
from ..crowds import is_fast
from ..messages import counted
from .stacks import Stack
from .times import moments_of

_ECHO_RATIO, _REPETITION_RATIO = 1.25, 1.6  # by which times of one protocol may differ
_ANGLE_RATIO, _INVERSION_RATIO = 1.05, 1.05


def same_grid(a: Stack, b: Stack) -> bool:
    """Whether two volumes have the same voxels, within half a voxel."""
    return a.shape == b.shape and voxels_apart(a.shape, a.affine, b.affine) <= MAX_VOXELS_APART


def same_protocol(a: Stack, b: Stack) -> bool:
    """Whether two stacks can be phases of one dynamic acquisition, as far as their headers tell.

    Fat saturation, echo and repetition time, flip angle, inversion time, the image of a Dixon acquisition;
    not the study, nor the grid.
    """
    inversions = bool(a.head.inversion_time_ms), bool(b.head.inversion_time_ms)
    return (
        same_sequence(a, b)
        and same_within(a.head.flip_angle, b.head.flip_angle, _ANGLE_RATIO)
        and inversions[0] is inversions[1]
        and same_within(a.head.inversion_time_ms, b.head.inversion_time_ms, _INVERSION_RATIO)
    )


def same_sequence(a: Stack, b: Stack) -> bool:
    """Whether two stacks are of one protocol but for flip angle and inversion time, as for maps of T1."""
    said = says_fat_saturation(a.head.description), says_fat_saturation(b.head.description)
    if said[0] is not said[1] and False in said:
        return False
    options = a.option_fat_saturated, b.option_fat_saturated
    if None not in options and options[0] is not options[1] and None in said:
        return False
    return (
        a.dixon == b.dixon
        and a.is_capture == b.is_capture
        and same_within(a.head.echo_time_ms, b.head.echo_time_ms, _ECHO_RATIO)
        and same_within(a.head.repetition_time_ms, b.head.repetition_time_ms, _REPETITION_RATIO)
    )


def same_within(a: float | None, b: float | None, ratio: float) -> bool:
    """Whether two numbers differ by no more than a ratio; one that is not there does not count."""
    return not (a and b) or max(a, b) <= ratio * min(a, b)


def sets_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks grouped by grid and protocol.

    Parameters
    ----------
    stacks
        Of one study, without problems.

    Returns
    -------
    list of list of Stack
        In the order of their first stacks.
    """
    sets: list[list[Stack]] = []
    for stack in stacks:
        home = next((s for s in sets if same_grid(s[0], stack) and same_protocol(s[0], stack)), None)
        if home is None:
            sets.append([stack])
        else:
            home.append(stack)
    return sets


def is_ultrafast(stacks: Sequence[Stack]) -> bool:
    """Whether volumes follow each other faster than a usual dynamic acquisition's."""
    return is_fast(moments_of(stacks)[0] or [])


def judge_together(stacks: Sequence[Stack]) -> None:
    """Set what names tell only beside others: Dixon images, and maps that a short code or shared word names.

    Parameters
    ----------
    stacks
        Of one study; their ``dixon`` and ``exclusion`` may change.
    """
    _set_dixon(stacks)
    named = [stack for stack in stacks if stack.is_named_derived]
    names = sorted({stack.head.description for stack in (*named, *_may_be_phases(stacks))})
    own = dict(zip(names, telling_names(names), strict=True))
    for stack in named:
        is_original = "ORIGINAL" in stack.head.image_type
        if is_original if len(names) == 1 else not looks_derived(own[stack.head.description]):
            stack.exclusion = ""
    rest = _may_be_phases(stacks)
    for stack in named:
        if stack.exclusion and only_a_code_says_derived(stack.head.description) and _comes_first(stack, rest):
            stack.exclusion = ""


def _may_be_phases(stacks: Sequence[Stack]) -> list[Stack]:
    return [
        stack
        for stack in stacks
        if not (stack.exclusion or stack.problem or stack.is_subtraction or stack.is_capture)
    ]


def _set_dixon(stacks: Sequence[Stack]) -> None:
    """Which image of a Dixon acquisition names say, where they say different ones of one name."""
    words = [dixon_word(stack.head.description) for stack in stacks]
    images: dict[str, set[str]] = {}
    for image, rest in words:
        if image:
            images.setdefault(rest, set()).add(image)
    for stack, (image, rest) in zip(stacks, words, strict=True):
        if image and len(images[rest]) > 1 and not stack.dixon:
            stack.dixon = image


def _comes_first(stack: Stack, others: Sequence[Stack]) -> bool:
    """Whether a stack is from before contrast, and was acquired before others of its size."""
    others = [other for other in others if (other.shape, other.dixon) == (stack.shape, stack.dixon)]
    if stack.head.contrast_agent or not others:
        return False
    values, least = moments_of([stack, *others])
    if values is None:
        numbers = [item.head.series_number for item in (stack, *others)]
        values, least = (None, 0) if None in numbers else (numbers, 1)
    return values is not None and values[0] <= min(values[1:]) - least


def other_acquisitions(stacks: Sequence[Stack], dynamics: Sequence[Stack]) -> tuple[list[Stack], list[str]]:
    """Other sets of phases: one breast at a time, or an acquisition done again.

    Parameters
    ----------
    stacks
        Those that were not chosen and could be phases, of the same study.
    dynamics
        The chosen ones.

    Returns
    -------
    stacks : list of Stack
        Of sets of at least as many phases on another grid or of another protocol.
    remarks : list of str
        One for each such set.
    """
    first = dynamics[0]
    others = [
        stack
        for stack in stacks
        if stack.is_subtraction == first.is_subtraction
        and not (same_grid(stack, first) and same_protocol(stack, first))
    ]
    groups = [group for group in sets_of(others) if len(group) >= len(dynamics)]
    remarks = [
        f"{group[0].name} and {len(group) - 1} more of its {counted(len(group), 'phase')} lie on another "
        "grid or are of another protocol, and were left out: only one acquisition is analysed at a time, so "
        "analyse the other breast or repetition by itself."
        for group in sorted(groups, key=len, reverse=True)
    ]
    return [stack for group in groups for stack in group], remarks
