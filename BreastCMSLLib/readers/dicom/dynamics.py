"""Which volumes are the dynamic phases: the best set of one study, visit, grid and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...exam import MAX_PHASES, MIN_PHASES, looks_pre_contrast
from ..clock import DAY_S
from ..messages import counted, listing
from ..options import ReadOptions
from .copies import same_volume
from .geometry import MIN_SLICES
from .sets import is_ultrafast, same_grid, same_protocol, same_sequence, sets_of
from .slices import Scan
from .stacks import Stack
from .times import moments_of, tied_pairs
from .variants import Choice, resolve, visits_of, without_copies

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
    """

    stacks: list[Stack]
    are_subtractions: bool
    left_out: list[tuple[Stack, str]] = field(default_factory=list)
    copies: dict[Stack, Stack] = field(default_factory=dict)
    ties: list[list[Stack]] = field(default_factory=list)
    unchosen: list[Stack] = field(default_factory=list)
    elsewhere: list[Stack] = field(default_factory=list)
    other_exams: list[Stack] = field(default_factory=list)


def choose_dynamics(stacks: Sequence[Stack], options: ReadOptions, where: Path, contents: Scan) -> Dynamics:
    """The dynamic phases among the volumes of a folder.

    Of a study the best set of volumes on one grid and of one protocol is taken: water or magnitude images
    before the others of a Dixon acquisition, then usual phases before ultrafast ones, then the set with more
    phases, then water, fat-saturated, and the finest images. Of volumes of one time
    :func:`~.variants.resolve` keeps one.

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
    exams.sort(key=_begin)
    every = list(exams)
    if options.study is not None:
        exams = _of_that_study(exams, others, options.study, where)
    if not exams:
        raise InputError(_why_none(stacks, valid, options.kind, where, contents))
    if len(exams) > 1:
        raise InputError(
            f"{where} holds the dynamic series of {_studies(exams)}; choose one of them with --study: "
            f"{_labels(exams)}."
        )
    (exam,) = exams
    exam.elsewhere += others
    exam.other_exams = [stack for other in every if other is not exam for stack in other.stacks]
    _check_image(exam, valid)
    _check_ties(exam, where)
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


# ---------------------------------------------------------------- studies


def studies_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks by study and patient, in the order in which they come; one without patient belongs to any."""
    patients: dict[str, set[str]] = {}
    for stack in stacks:
        patients.setdefault(stack.head.study_uid, set()).add(stack.head.patient)
    studies: dict[tuple[str, str], list[Stack]] = {}
    for stack in stacks:
        study = stack.head.study_uid
        patient = stack.head.patient if len(patients[study] - {""}) > 1 else ""
        studies.setdefault((study, patient), []).append(stack)
    return list(studies.values())


def _begin(exam: Dynamics) -> tuple[float, str]:
    """When an exam began, as far as its headers tell; and where it lies."""
    return min(map(_start, exam.stacks)), exam.stacks[0].source


def _start(stack: Stack) -> float:
    times = (stack.clocks.get(clock) for clock in ("datetime", "acquisition", "content", "series"))
    return next((time for time in times if time is not None), 0.0)


def _studies(exams: Sequence[Dynamics]) -> str:
    heads = [exam.stacks[0].head for exam in exams]
    noun = "visits"
    if len({head.patient for head in heads}) == len(exams):
        noun = "patients"
    elif len({head.study_uid for head in heads}) == len(exams):
        noun = "studies"
    return f"{len(exams)} {noun}"


def _labels(exams: Sequence[Dynamics]) -> str:
    """Exams as messages list them: number, folder, date, number of volumes; the UID where folders are one."""
    folders = [exam.stacks[0].source for exam in exams]
    labels = []
    for number, (exam, folder) in enumerate(zip(exams, folders, strict=True), 1):
        head, days = exam.stacks[0].head, int(_start(exam.stacks[0]) // DAY_S)
        facts = [counted(len(exam.stacks), "volume"), *([str(date.fromordinal(days))] if days else [])]
        facts += [f"study {head.study_uid}"] if folders.count(folder) > 1 and head.study_uid else []
        labels.append(f"{number}: {folder} ({', '.join(facts)})")
    more = f"; and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
    return "; ".join(labels[:_MOST_LISTED]) + more


def _of_that_study(exams: list[Dynamics], others: list[Stack], study: str, where: Path) -> list[Dynamics]:
    """The exam that the user chooses, several for a study of several visits."""
    if study.isdigit() and 1 <= int(study) <= len(exams):
        return [exams[int(study) - 1]]
    named = [exam for exam in exams if exam.stacks[0].head.study_uid == study]
    if named or any(stack.head.study_uid == study for stack in others):
        return named
    listed = _labels(exams) or "none"
    raise InputError(f"{where} holds no study {study}; its studies with dynamic series are {listed}.")


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
    strays = [stack for choice in best if len(choice.stacks) < MIN_PHASES for stack in choice.stacks]
    return [
        Dynamics(choice.stacks, False, choice.left_out, copies, choice.ties, elsewhere=list(strays))
        for choice in exams
    ]


def _choice(visit: Sequence[Stack], stacks: Sequence[Stack]) -> Choice:
    """The phases of a visit."""
    wanted, left_out = list(visit), []
    for without in (_without_flip_angles, _without_derived, _without_ultrafast):
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
        first.dixon == "water",
        bool(first.fat_saturated),
        int(np.prod(first.shape)),
    )


def _without_flip_angles(
    members: list[Stack], stacks: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without the volume of a series of flip angles (to map T1) that has the angle of the phases.

    It is called like those of other angles or inversion times, or was acquired between them.
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


def _without_derived(members: list[Stack], _: Sequence[Stack]) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without few derived images beside originals.

    One that is called like the originals and has a time of its own is a phase that was corrected; and one
    that may be from before contrast is not passed over.
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


def _without_ultrafast(
    members: list[Stack], _: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without its ultrafast series, where usual phases remain, some of them after these began."""
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
    reason = "of an ultrafast acquisition, and the usual phases are here"
    return usual, [(stack, reason) for stack in fast]


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
    names = listing([stack.name for stack in stacks], 3)
    chosen = [stacks[n] for n in np.linspace(0, len(stacks) - 1, 6).round().astype(int)]
    return (
        f"{len(stacks)} dynamic volumes were found in {where} ({names}); the exam may have {MIN_PHASES} to "
        f"{MAX_PHASES}: select fewer, for example with --phases {' '.join(map(key_of, chosen))}."
    )


def key_of(stack: Stack) -> str:
    """What selects a stack in ``--phases`` and ``--leave-out``."""
    number = stack.head.series_number
    if number is None:
        return f'"{stack.name}"'
    return str(number) if stack.phase is None else f"{number}:{stack.phase}"


def _why_none(usable: Sequence[Stack], valid: Sequence[Stack], kind: str, where: Path, contents: Scan) -> str:
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
    volumes = [stack for stack in valid if not stack.is_subtraction] or list(valid)
    if len(volumes) == 1:
        return (
            f"Only one dynamic phase ({volumes[0].name}) was found in {where}{damaged}; "
            "add the pre- or post-contrast series of the same acquisition."
        )
    if parted := _parted(volumes):
        return f"{parted[0]} in {where}{damaged}; {parted[1]}."
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


def _parted(volumes: Sequence[Stack]) -> tuple[str, str] | None:
    """What to say of phases of one grid and protocol that lie in different studies or visits."""
    for stack in volumes[1:]:
        first = volumes[0]
        if not (same_grid(first, stack) and same_protocol(first, stack)):
            continue
        uids = first.head.study_uid, stack.head.study_uid
        if uids[0] != uids[1]:
            what = f"{first.name} and {stack.name} lie in two studies ({uids[0]} and {uids[1]})"
            return what, "choose the folder of one exam, with all its phases under one study"
        what = f"{first.name} and {stack.name} lie in two visits, by patient or date"
        return what, "choose the folder of one exam"
    return None


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
        Of sets of at least as many phases on another grid.
    remarks : list of str
        One for each such set.
    """
    first = dynamics[0]
    others = [
        stack
        for stack in stacks
        if stack.is_subtraction == first.is_subtraction and not same_grid(stack, first)
    ]
    groups = [group for group in sets_of(others) if len(group) >= len(dynamics)]
    remarks = [
        f"{group[0].name} and {len(group) - 1} more of its {counted(len(group), 'phase')} lie on another "
        "grid and were left out: only one acquisition is analysed at a time, so analyse the other breast "
        "or repetition by itself."
        for group in sorted(groups, key=len, reverse=True)
    ]
    return [stack for group in groups for stack in group], remarks
