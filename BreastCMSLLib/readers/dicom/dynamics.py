"""Which volumes are the dynamic phases: the largest set of one study, grid and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...core.geometry import grid_distance
from ...exam import looks_pre_contrast, says_fat_saturation
from ..messages import counted, listing
from .slices import Scan
from .stacks import MIN_SLICES, Stack, normal_of

_GRID_TOLERANCE_MM = 0.1
_WATER = {"W", "WATER"}
_ECHO_RATIO, _REPETITION_RATIO = 1.25, 1.6  # by which times of one protocol may differ


def choose_dynamics(
    stacks: Sequence[Stack], kind: str, where: Path, contents: Scan
) -> tuple[list[Stack], bool]:
    """The dynamic phases among the volumes of a folder.

    Parameters
    ----------
    stacks
        All volumes.
    kind
        "auto", "phases" or "subtractions" as for ``make_exam``.
    where
        What to call their folder in messages.
    contents
        What else the folder holds, for messages.

    Returns
    -------
    stacks : list of Stack
        The phases, in any order.
    are_subtractions : bool
        What they are.

    Raises
    ------
    InputError
        When there are none, those of several studies, or some lack slices.
    """
    usable = [stack for stack in stacks if not stack.is_excluded]
    valid = [stack for stack in usable if not stack.problem]
    studies: dict[str, tuple[list[Stack], bool]] = {}
    for study in dict.fromkeys(stack.head.study_uid for stack in valid):
        dynamics, are_subtractions = _of_study(
            [stack for stack in valid if stack.head.study_uid == study], kind
        )
        if len(dynamics) >= 2:
            studies[study] = dynamics, are_subtractions
    if not studies:
        raise InputError(_why_none(usable, valid, kind, where, contents))
    if len(studies) > 1:
        folders = [f"{dynamics[0].source} (study {study})" for study, (dynamics, _) in studies.items()]
        raise InputError(
            f"{where} holds the dynamic series of {len(studies)} studies; "
            f"choose one of them: {', '.join(folders)}."
        )
    dynamics, are_subtractions = next(iter(studies.values()))
    _check_incomplete(
        dynamics, [stack for stack in usable if stack.is_subtraction == are_subtractions], where
    )
    return dynamics, are_subtractions


def _of_study(stacks: Sequence[Stack], kind: str) -> tuple[list[Stack], bool]:
    """Originals where a pre-contrast phase is surely among them, else the scanner's subtractions."""
    phases = _largest([stack for stack in stacks if not stack.is_subtraction])
    subtractions = _largest([stack for stack in stacks if stack.is_subtraction])
    if kind == "phases":
        return phases, False
    if kind == "subtractions":
        return subtractions or phases, True
    agents = {stack.head.contrast_agent for stack in phases}
    has_pre = any(looks_pre_contrast(stack.head.description) for stack in phases) or agents == {True, False}
    if len(phases) >= 2 and (len(phases) > len(subtractions) or has_pre):
        return phases, False
    return (subtractions, True) if len(subtractions) >= 2 else (phases, False)


def _largest(stacks: Sequence[Stack]) -> list[Stack]:
    return next(iter(sets_of(stacks)), [])


def sets_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks grouped by grid and protocol.

    Parameters
    ----------
    stacks
        Without problems.

    Returns
    -------
    list of list of Stack
        The largest set first; among equals the water images, then the fat-saturated, then the finest.
        Motion-corrected copies and the like, which lie beside the originals, are left out.
    """
    sets: list[list[Stack]] = []
    for stack in stacks:
        home = next((s for s in sets if same_grid(s[0], stack) and _same_protocol(s[0], stack)), None)
        if home is None:
            sets.append([stack])
        else:
            home.append(stack)
    return sorted(map(_originals, sets), key=_preference, reverse=True)


def _originals(stacks: list[Stack]) -> list[Stack]:
    originals = [stack for stack in stacks if "DERIVED" not in stack.head.image_type[:1]]
    return originals if len(originals) >= 2 else stacks


def _preference(stacks: list[Stack]) -> tuple:
    first = stacks[0]
    is_water = bool(_WATER & set(first.head.image_type[2:]))
    return len(stacks), is_water, bool(first.fat_saturated), np.prod(first.shape)


def same_grid(a: Stack, b: Stack) -> bool:
    """Whether two volumes have the same voxels."""
    return a.shape == b.shape and grid_distance(a.shape, a.affine, b.affine) <= _GRID_TOLERANCE_MM


def _same_protocol(a: Stack, b: Stack) -> bool:
    """Whether two stacks can be phases of one dynamic acquisition, as far as their headers tell."""
    said = says_fat_saturation(a.head.description), says_fat_saturation(b.head.description)
    if said[0] is not said[1] and False in said:
        return False
    options = a.option_fat_saturated, b.option_fat_saturated
    if None not in options and options[0] is not options[1] and None in said:
        return False
    for one, other, ratio in (
        (a.head.echo_time_ms, b.head.echo_time_ms, _ECHO_RATIO),
        (a.head.repetition_time_ms, b.head.repetition_time_ms, _REPETITION_RATIO),
    ):
        if one and other and max(one, other) > ratio * min(one, other):
            return False
    return a.dixon == b.dixon and a.head.study_uid == b.head.study_uid


def _check_incomplete(dynamics: Sequence[Stack], stacks: Sequence[Stack], where: Path) -> None:
    """Refuse to go on without a phase that plainly belongs to the chosen ones but lacks slices."""
    reference = dynamics[0]
    for stack in stacks:
        if any(stack is chosen for chosen in dynamics) or not _may_be_phase(stack, reference):
            continue
        if stack.problem:
            raise InputError(stack.problem)
        short, full = sorted((stack, reference), key=lambda s: len(s.slices))
        if len(short.slices) != len(full.slices):
            raise InputError(
                f"{short.name} in {where} has {len(short.slices)} slices but {full.name} has "
                f"{len(full.slices)}: some are missing; copy or export the whole series again."
            )


def _may_be_phase(stack: Stack, reference: Stack) -> bool:
    """Whether a stack is a phase like the reference, but for slices that it lacks."""
    own, head, normal = stack.head, reference.head, normal_of(reference.head)
    if not _same_protocol(reference, stack) or (own.rows, own.columns) != (head.rows, head.columns):
        return False
    if len(stack.slices) < 0.7 * len(reference.slices):
        return False
    if stack.problem:  # what its header tells of its place cannot be trusted, unless it plainly lies across
        across = normal_of(own)
        return across is None or abs(across @ normal) > 0.99
    if not np.allclose(own.orientation, head.orientation, atol=1e-3):
        return False
    if not np.allclose(own.pixel_spacing, head.pixel_spacing, rtol=1e-3):
        return False
    offset = np.subtract(own.position, head.position)
    return np.linalg.norm(offset - normal * (offset @ normal)) <= 0.5


def _why_none(usable: list[Stack], valid: list[Stack], kind: str, where: Path, contents: Scan) -> str:
    """What to say when there are no dynamic phases."""
    for stack in usable:
        if stack.problem and len(stack.slices) >= MIN_SLICES:
            return stack.problem
    if kind == "phases" and any(stack.is_subtraction for stack in valid):
        return (
            f"{where} holds only subtractions, no dynamic phases; choose subtractions as the kind of input."
        )
    damaged = ""
    if contents.damaged:
        files = counted(len(contents.damaged), "file")
        damaged = f" ({files} could not be read, {contents.damaged[0].name} for one)"
    volumes = [stack for stack in valid if not stack.is_subtraction] or valid
    if len(volumes) == 1:
        return (
            f"Only one dynamic phase ({volumes[0].name}) was found in {where}{damaged}; "
            "add the pre- or post-contrast series of the same acquisition."
        )
    if volumes:
        sizes = listing([f"{stack.name} {stack.size}" for stack in volumes])
        return (
            f"No two MR series in {where} share one grid and protocol ({sizes}){damaged}; "
            "choose the folder with all dynamic phases."
        )
    return (
        f"{where} holds MR images but no dynamic T1-weighted volumes{damaged}; "
        "choose the folder with the pre- and post-contrast series."
    )


def other_acquisitions(stacks: Sequence[Stack], dynamics: Sequence[Stack]) -> list[str]:
    """Remarks on other sets of phases: one breast at a time, or an acquisition done again.

    Parameters
    ----------
    stacks
        All volumes.
    dynamics
        The chosen ones.

    Returns
    -------
    list of str
        One for each set of at least as many phases on another grid.
    """
    first = dynamics[0]
    others = [
        stack
        for stack in stacks
        if not any(stack is chosen for chosen in dynamics)
        and not stack.is_excluded
        and not stack.problem
        and stack.is_subtraction == first.is_subtraction
        and stack.head.study_uid == first.head.study_uid
        and not same_grid(stack, first)
    ]
    return [
        f"{group[0].name} and {len(group) - 1} more of its {counted(len(group), 'phase')} lie on another "
        "grid and were left out: only one acquisition is analysed at a time, so analyse the other breast "
        "or repetition by itself."
        for group in sets_of(others)
        if len(group) >= len(dynamics)
    ]
