"""Which volumes are the dynamic phases: the best set of one study, visit, grid and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...exam import MAX_PHASES, MIN_PHASES, looks_pre_contrast
from ..crowds import too_many
from ..messages import listing
from ..options import ReadOptions
from .copies import same_volume
from .no_phases import without_derived, without_flip_angles, without_ultrafast
from .runs import check_runs, has_pre, without_other_runs
from .scan import Scan
from .sets import is_ultrafast, same_grid, same_protocol, sets_of
from .stacks import Stack
from .studies import begin_of, counted_studies, labels_of, of_that_study, studies_of
from .times import moments_of
from .variants import Choice, resolve, visits_of, without_copies
from .why_none import why_none

_OPPOSED = {"fat", "out-of-phase", "phase", "real", "imaginary"}  # never phases beside water or magnitudes

_MOST_LISTED = 8  # studies in a sentence


@dataclass
class Dynamics:
    """The dynamic volumes of a study, or what else there is.

    Attributes
    ----------
    stacks
        The phases or subtractions, in any order.
    are_subtractions
        What they are.
    left_out
        Volumes that may seem phases, with the reason.
    copies
        Volumes that hold the images of another.
    ties
        Among the stacks, those of one time that only voxels can tell apart.
    unchosen
        Volumes of the same kind that the user does not name.
    elsewhere
        Volumes in another study or visit that is no exam by itself.
    other_exams
        Volumes of exams that were not chosen.
    rivals
        Other sets of their grid that nothing makes worse.
    """

    stacks: list[Stack]
    are_subtractions: bool
    left_out: list[tuple[Stack, str]] = field(default_factory=list)
    copies: dict[Stack, Stack] = field(default_factory=dict)
    ties: list[list[Stack]] = field(default_factory=list)
    unchosen: list[Stack] = field(default_factory=list)
    elsewhere: list[Stack] = field(default_factory=list)
    other_exams: list[Stack] = field(default_factory=list)
    rivals: list[list[Stack]] = field(default_factory=list)


def choose_dynamics(stacks: Sequence[Stack], options: ReadOptions, where: Path, contents: Scan) -> Dynamics:
    """The dynamic phases among the volumes of a folder.

    Of a study the best set of volumes on one grid and of one protocol is taken: water or magnitude images
    before the others of a Dixon acquisition, then usual phases before ultrafast ones, then the set with more
    phases, then one surely with a phase before contrast, then water, fat-saturated, and the finest images. Of
    volumes of one time :func:`~.variants.resolve` keeps one.

    Parameters
    ----------
    stacks
        All volumes that may be phases.
    options
        Its kind, its study and its phases matter here.
    where
        What to call their folder in messages.
    contents
        What else the folder holds, for messages.

    Returns
    -------
    Dynamics

    Raises
    ------
    InputError
        When there are none, too many, those of several studies, or some of one time.
    """
    valid = [stack for stack in stacks if not stack.problem]
    exams, others = [], []
    for study in studies_of(stacks):
        own = _of_study([stack for stack in study if not stack.problem], options.kind)
        exams += own
        if not own:
            others += study
    exams.sort(key=begin_of)
    every = list(exams)
    if options.study is not None:
        exams = of_that_study(exams, others, options.study, where)
    if not exams:
        raise InputError(why_none(stacks, valid, options.kind, where, contents))
    if len(exams) > 1:
        raise InputError(
            f"{where} holds the dynamic series of {counted_studies(exams)}; choose one of them with --study: "
            f"{labels_of(exams)}."
        )
    (exam,) = exams
    exam.elsewhere += others
    exam.other_exams = [stack for other in every if other is not exam for stack in other.stacks]
    _check_image(exam, valid)
    _check_ties(exam, where)
    check_runs(exam.stacks, exam.rivals, where)
    if len(exam.stacks) > MAX_PHASES:
        raise InputError(_too_many(exam.stacks, where))
    return exam


def chosen_dynamics(stacks: Sequence[Stack], others: Sequence[Stack], kind: str, where: Path) -> Dynamics:
    """The dynamic volumes that the user names.

    Parameters
    ----------
    stacks
        Those named, in any order.
    others
        Volumes that might be phases as well.
    kind
        "auto", "phases" or "subtractions".
    where
        What to call their folder in messages.

    Returns
    -------
    Dynamics

    Raises
    ------
    InputError
        For too few or too many, and for one that is no volume or lies on another grid than the first.
    """
    for stack in stacks:
        if stack.problem:
            raise InputError(stack.problem)
        if not same_grid(stacks[0], stack):
            raise InputError(
                f"{stack.name} ({stack.size}) lies on another grid than {stacks[0].name} "
                f"({stacks[0].size}) in {where}; name phases of one acquisition with --phases."
            )
    if len(stacks) < MIN_PHASES:
        raise InputError(
            f"--phases names only one volume in {where} ({listing([stack.name for stack in stacks])}); "
            f"name {MIN_PHASES} to {MAX_PHASES}."
        )
    if len(stacks) > MAX_PHASES:
        raise InputError(_too_many(stacks, where))
    all_subtracted = all(stack.is_subtraction for stack in stacks)
    are_subtractions = kind == "subtractions" or (kind == "auto" and all_subtracted)
    unchosen = [
        stack
        for stack in others
        if stack not in stacks
        and not stack.problem
        and stack.is_subtraction == are_subtractions
        and same_grid(stack, stacks[0])
        and same_protocol(stack, stacks[0])
    ]
    return Dynamics(list(stacks), are_subtractions, unchosen=unchosen)


# ---------------------------------------------------------------- sets of one study


def _of_study(stacks: Sequence[Stack], kind: str) -> list[Dynamics]:
    """The exam of a study, or those of its visits; none where no two volumes belong together.

    Originals where a pre-contrast phase is surely among them, else the scanner's subtractions.
    """
    phases = _visits([stack for stack in stacks if not stack.is_subtraction])
    subtractions = _visits([stack for stack in stacks if stack.is_subtraction])
    for exam in subtractions:
        exam.are_subtractions = True
    if kind == "phases":
        return phases
    if kind == "subtractions":
        for exam in phases:
            exam.are_subtractions = True
        return subtractions or phases
    if not subtractions or not phases:
        return phases or subtractions
    originals = phases[0].stacks
    agents = {stack.head.contrast_agent for stack in originals}
    has_pre = any(looks_pre_contrast(stack.head.description) for stack in originals) or len(agents) == 2
    return phases if len(originals) > len(subtractions[0].stacks) or has_pre else subtractions


def _visits(stacks: Sequence[Stack]) -> list[Dynamics]:
    """The best set of at least two volumes, by visit, each time once."""
    choices = []
    for members in sets_of(stacks):
        unique, copies = without_copies(members)
        visits = [_choice(visit, stacks) for visit in visits_of(unique)]
        if any(len(choice.stacks) >= MIN_PHASES for choice in visits):
            choices.append((visits, copies))
    if not choices:
        return []
    best, copies = max(choices, key=lambda pair: max(map(_preference, pair[0])))
    exams = [choice for choice in best if len(choice.stacks) >= MIN_PHASES]
    rank = max(map(_preference, best))
    rivals = [
        choice.stacks
        for others, _ in choices
        for choice in others
        if others is not best
        and _preference(choice) == rank
        and same_grid(choice.stacks[0], exams[0].stacks[0])
    ]
    strays = [stack for choice in best if len(choice.stacks) < MIN_PHASES for stack in choice.stacks]
    return [
        Dynamics(
            choice.stacks, False, choice.left_out, copies, choice.ties, elsewhere=list(strays), rivals=rivals
        )
        for choice in exams
    ]


def _choice(visit: Sequence[Stack], stacks: Sequence[Stack]) -> Choice:
    """The phases of a visit."""
    wanted, left_out = list(visit), []
    for without in (without_flip_angles, without_derived, without_ultrafast, without_other_runs):
        wanted, others = without(wanted, stacks)
        left_out += others
    context = [stack for stack in stacks if stack not in visit and same_protocol(stack, visit[0])]
    choice = resolve(wanted, context)
    choice.left_out += left_out
    return choice


def _preference(choice: Choice) -> tuple:
    """Larger is better; see :func:`choose_dynamics`."""
    first = choice.stacks[0]
    return (
        len(choice.stacks) >= MIN_PHASES,
        not first.is_capture,
        first.dixon not in _OPPOSED,
        not is_ultrafast(choice.stacks),
        len(choice.stacks),
        has_pre(choice.stacks),
        first.dixon == "water",
        bool(first.fat_saturated),
        int(np.prod(first.shape)),
    )


# ---------------------------------------------------------------- what is refused


def _check_image(exam: Dynamics, stacks: Sequence[Stack]) -> None:
    """Refuse fat or out-of-phase images where water or in-phase ones are there, but too few."""
    first = exam.stacks[0]
    if first.dixon not in _OPPOSED:
        return
    for stack in stacks:
        if stack.head.study_uid == first.head.study_uid and stack.dixon in ("water", "in-phase"):
            raise InputError(
                f"Only the {first.dixon} images of a Dixon acquisition are complete ({first.name}); "
                f"add the other phases of {stack.name}."
            )


def _check_ties(exam: Dynamics, where: Path) -> None:
    """Refuse volumes of one time that surely differ; leave those whose files do not tell to the voxels."""
    for tie in exam.ties:
        if same_volume(tie[0].slices, tie[1].slices) is not None:
            raise InputError(
                f"{listing([stack.name for stack in tie])} in {where} have one time but differ, and only one "
                "of them can be a phase; name those to leave out with --leave-out."
            )


def _too_many(stacks: Sequence[Stack], where: Path) -> str:
    """What to do about more phases than an exam may have."""
    moments, _ = moments_of(stacks)
    if moments is not None:
        stacks = [stacks[n] for n in sorted(range(len(stacks)), key=moments.__getitem__)]
    return too_many([stack.name for stack in stacks], [key_of(stack) for stack in stacks], str(where))


def key_of(stack: Stack) -> str:
    """What selects a stack in ``--phases`` and ``--leave-out``."""
    number = stack.head.series_number
    if number is None:
        return f'"{stack.name}"'
    return str(number) if stack.phase is None else f"{number}:{stack.phase}"
