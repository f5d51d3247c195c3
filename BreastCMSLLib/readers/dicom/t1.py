"""Which volume is the T1: not fat-saturated, from before the contrast agent, on any grid that overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.geometry import apply_affine
from ...exam import (
    WHOLE_T1,
    breasts_covered,
    looks_post_contrast,
    looks_pre_contrast,
    looks_t1,
    says_fat_saturation,
)
from ..clock import on_one_clock
from .stacks import Stack

_LEAST_SLICES = 8
_CLOCKS = ("datetime", "acquisition", "content", "series")  # the best first
_SHORT_ECHO_MS, _SHORT_REPETITION_MS = 20, 900


def choose_t1(
    stacks: Sequence[Stack], dynamics: Sequence[Stack], times: Sequence[float | None], where: Path
) -> tuple[Stack | None, list[str], dict[Stack, str]]:
    """The T1 among the volumes of a folder.

    Parameters
    ----------
    stacks
        All volumes.
    dynamics
        The chosen phases.
    times
        Their seconds, or None.
    where
        What messages call the folder.

    Returns
    -------
    t1 : Stack or None
        The one that is most surely a T1 from before the contrast agent.
    remarks : list of str
        Why others were left out, or that the one taken is doubtful.
    reasons : dict
        Why, of each of these others.
    """
    remarks: list[str] = []
    reasons: dict[Stack, str] = {}
    ranked: list[tuple[tuple, Stack]] = []
    for stack in stacks:
        if not _may_be_t1(stack, dynamics):
            continue
        if stack.problem:
            # the sentence goes into results: without the folder, which may be named after the patient
            remarks.append(f"The T1 was left out: {stack.problem.replace(f' in {where}', '')}")
            continue
        before, why = _before_contrast(stack, dynamics, times)
        if before is False:
            remarks.append(f"{stack.name} was left out: {why}.")
            reasons[stack] = why
        else:
            ranked.append(((before is True, *_preference(stack, dynamics[0])), stack))
    if not ranked:
        return None, remarks, reasons  # preprocessing says what the breasts were found on instead
    (sure, *_), t1 = max(ranked, key=lambda pair: pair[0])
    if not sure:
        remarks.append(
            f"{t1.name} was taken for the T1, though its headers do not tell that it is from before "
            "the contrast agent."
        )
    reasons |= {stack: f"{t1.name} is the T1" for _, stack in ranked if stack is not t1}
    return t1, remarks, reasons


def _may_be_t1(stack: Stack, dynamics: Sequence[Stack]) -> bool:
    if any(stack is phase or stack.head.series_uid == phase.head.series_uid for phase in dynamics):
        return False
    if stack.head.study_uid != dynamics[0].head.study_uid or len(stack.slices) < _LEAST_SLICES:
        return False
    if stack.is_subtraction or stack.fat_saturated or not _t1_weighted(stack):
        return False
    return stack.affine is None or _overlaps(stack, dynamics[0])


def _t1_weighted(stack: Stack) -> bool:
    """By name, else by short echo and repetition times where the header rules out fat saturation."""
    if looks_t1(stack.head.description):
        return True
    echo, repetition = stack.head.echo_time_ms, stack.head.repetition_time_ms
    if stack.fat_saturated is not False or echo is None or repetition is None:
        return False
    return echo <= _SHORT_ECHO_MS and repetition <= _SHORT_REPETITION_MS


def _overlaps(stack: Stack, reference: Stack) -> bool:
    """Whether the T1's field holds the middle of the dynamics'."""
    middle = apply_affine(reference.affine, (np.array(reference.shape) - 1) / 2)
    index = apply_affine(np.linalg.inv(stack.affine), middle)
    return bool(((index >= 0) & (index <= np.array(stack.shape) - 1)).all())


def _preference(stack: Stack, reference: Stack) -> tuple[bool, bool, int]:
    """All of the breasts, surely no fat saturation, many voxels."""
    share = breasts_covered(reference.shape, reference.affine, stack.shape, stack.affine)
    return share >= WHOLE_T1, says_fat_saturation(stack.head.description) is False, int(np.prod(stack.shape))


def _before_contrast(
    stack: Stack, dynamics: Sequence[Stack], times: Sequence[float | None]
) -> tuple[bool | None, str]:
    """True or False with the reason, None when neither name nor header tells."""
    if looks_post_contrast(stack.head.description):
        return False, "its name says it was acquired after the contrast agent"
    posts = _post_contrast(dynamics, times)
    for clock in _CLOCKS:
        values = [s.clocks.get(clock) for s in (stack, *posts)]
        if any(value is None for value in values):
            continue
        own, *others = on_one_clock(values)
        if own != min(others):
            return (True, "") if own < min(others) else (False, "it was acquired after the contrast agent")
    if looks_pre_contrast(stack.head.description):
        return True, ""
    if stack.head.contrast_agent:
        return False, "its header names a contrast agent"
    own, numbers = stack.head.series_number, [post.head.series_number for post in posts]
    if own is not None and None not in numbers and own != min(numbers):
        return (
            (True, "") if own < min(numbers) else (False, "it comes after the contrast agent in the series")
        )
    return None, ""


def _post_contrast(dynamics: Sequence[Stack], times: Sequence[float | None]) -> list[Stack]:
    """The phases but for the pre-contrast one, where times or contrast agents tell which that is."""
    posts = list(dynamics)
    if times[0] is not None and not all(stack.is_subtraction for stack in dynamics):
        del posts[int(np.argmin(times))]
    elif len(agentless := [n for n, stack in enumerate(dynamics) if not stack.head.contrast_agent]) == 1:
        del posts[agentless[0]]
    return posts
