"""The plan of a DICOM exam: what every file is and why, from headers alone.

``scan`` reads headers; ``build_stacks`` makes one stack for each volume (a series may hold several phases);
``choose_dynamics`` takes the best set of volumes of one study, grid and protocol, each time once; what may
be missing from them is looked for; ``choose_t1`` looks for a T1 without fat saturation from before the
contrast agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InputError
from ...exam import ExamPlan, PlannedStack, missing_pre, pre_contrast_names
from ...exam.plan import LEFT_OUT, POST, PRE, PROBLEM, SUBTRACTION, T1, sorted_stacks
from ..messages import counted, listing
from ..options import ReadOptions
from .dynamics import Dynamics, choose_dynamics, chosen_dynamics, key_of, other_acquisitions, studies_of
from .geometry import MIN_SLICES
from .missing import MissingPhase, Search, gaps_between, pieces, refuse_incomplete, refuse_without_pre
from .order import Order, order_of
from .scales import scale_remarks
from .sets import judge_together, same_grid, same_protocol, same_sequence
from .slices import DAMAGED, Scan, scan
from .stacks import Stack, build_stacks
from .t1 import choose_t1


@dataclass(frozen=True)
class DicomPlan:
    """An exam plan, with what loading the volumes needs.

    Attributes
    ----------
    plan
        The plan.
    options
        What the user said.
    order
        The dynamic volumes, None where there is a problem.
    are_subtractions
        What they are.
    t1
        Its stack, None for none or one that was given.
    ties
        Names of dynamic volumes of one time that only voxels can tell apart.
    """

    plan: ExamPlan
    options: ReadOptions
    order: Order | None = None
    are_subtractions: bool = False
    t1: Stack | None = None
    ties: list[list[str]] = field(default_factory=list)


@dataclass
class _Draft:
    """A plan while it is made.

    Attributes
    ----------
    roles
        Of stacks whose role is settled: role, reason, whether it is sure.
    """

    where: Path
    options: ReadOptions
    contents: Scan
    stacks: list[Stack]
    roles: dict[Stack, tuple[str, str, bool]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problem: str = ""
    order: Order | None = None
    are_subtractions: bool = False
    t1: Stack | None = None
    ties: list[list[str]] = field(default_factory=list)
    elsewhere: list[Stack] = field(default_factory=list)
    unchosen: list[Stack] = field(default_factory=list)
    other_sets: list[Stack] = field(default_factory=list)

    @property
    def dynamics(self) -> tuple[Stack, ...]:
        """The dynamic volumes in the order of time."""
        return () if self.order is None else self.order.stacks

    @property
    def open_stacks(self) -> list[Stack]:
        """Those without a role that may be phases or T1."""
        return [stack for stack in self.stacks if stack not in self.roles and not stack.exclusion]

    def leave_out(self, stacks: Sequence[Stack], reason: str, *, warn: bool = True) -> None:
        """Give stacks the role of what is left out, and say so."""
        for stack in stacks:
            self.roles[stack] = LEFT_OUT, reason, True
        if warn and stacks:
            verb = "was" if len(stacks) == 1 else "were"
            self.warnings.append(f"{listing([s.name for s in stacks])} {verb} left out: {reason}.")


def plan_dicom(files: Iterable[Path], where: Path, options: ReadOptions | None = None) -> DicomPlan:
    """What every file of a DICOM exam is, from headers alone.

    Parameters
    ----------
    files
        Of any format, and links to nothing.
    where
        What to call them in messages.
    options
        What the user says.

    Returns
    -------
    DicomPlan
        Its plan has a problem where there is no exam.

    Raises
    ------
    InputError
        There are no files.
    """
    options = options or ReadOptions()
    contents = scan(files)
    if not contents.files:
        raise InputError(f"{where} is empty; choose the folder with the exam's DICOM or volume files.")
    draft = _Draft(where, options, contents, build_stacks(contents.slices, where))
    for study in studies_of(draft.stacks):
        judge_together(study)
    try:
        if not contents.slices:
            raise InputError(why_no_images(contents, where))
        _choose(draft)
        _look_for_missing(draft)
        _take_t1(draft)
    except InputError as error:
        draft.problem = str(error)
    return DicomPlan(_finished(draft), options, draft.order, draft.are_subtractions, draft.t1, draft.ties)


def why_no_images(contents: Scan, where: Path) -> str:
    """What to say of files among which there are no MR images that can be used."""
    if contents.multiframe:
        return (
            f"{contents.multiframe[0]} in {where} is a multi-frame object that does not tell where its "
            "frames lie; export it as Enhanced MR or as single slices."
        )
    if contents.damaged:
        return (
            f"{where} has no readable MR image: {contents.damaged[0].name} is damaged; "
            "copy or export it again."
        )
    if others := sorted(modality for modality in contents.modalities if modality != "MR"):
        return (
            f"{where} is not an MRI: it holds images of modality {', '.join(others)}; "
            "choose a breast MRI exam."
        )
    if contents.unread:
        names = listing(sorted(path.name for path in contents.unread), 2)
        return (
            f"{where} holds no image that can be read: {counted(len(contents.unread), 'file')} ({names}) "
            "cannot be, empty or links to files that are not there; copy or fetch the exam again."
        )
    return f"{where} holds no DICOM images and no NRRD, NIfTI or MHA volumes; choose the folder of the exam."


# ---------------------------------------------------------------- the dynamic volumes


def _choose(draft: _Draft) -> None:
    """Find the dynamic volumes and their order."""
    options, where = draft.options, draft.where
    of_t1 = [stack for stack in draft.stacks if stack.head.series_uid in set(options.t1_uids)]
    for stack in of_t1:
        draft.roles[stack] = T1, "given as the T1", True
    named_out = _named(draft, options.leave_out, "--leave-out")
    draft.leave_out(named_out, "as asked", warn=False)
    if options.phases:
        named = [stack for stack in _named(draft, options.phases, "--phases") if stack not in named_out]
        chosen = chosen_dynamics(named, draft.open_stacks, options.kind, where)
    else:
        chosen = choose_dynamics(draft.open_stacks, options, where, draft.contents)
    draft.are_subtractions = chosen.are_subtractions
    draft.elsewhere, draft.unchosen = chosen.elsewhere, chosen.unchosen
    draft.ties = [[stack.name for stack in tie] for tie in chosen.ties]
    draft.order = order_of(chosen.stacks, chosen.are_subtractions)
    _warn_of_files(draft)
    _leave_out_the_rest(draft, chosen)
    draft.warnings += draft.order.remarks
    draft.warnings += scale_remarks(draft.dynamics)


def _named(draft: _Draft, keys: Sequence[str], option: str) -> list[Stack]:
    """The stacks that an option names, in the order of the stacks."""
    named: list[Stack] = []
    for key in keys:
        matching = [stack for stack in draft.stacks if _matches(stack, key)]
        if not matching:
            series = listing(list(dict.fromkeys(f"{key_of(s)} ({s.name})" for s in draft.stacks)), 12)
            raise InputError(f"{option} {key} names no series in {draft.where}; there are {series}.")
        named += matching
    return [stack for stack in draft.stacks if stack in named]


def _matches(stack: Stack, key: str) -> bool:
    """Whether a key names a stack: "5", "5:2" (its second phase), "5:2-4", its name or its description."""
    series, _, phases = key.strip().partition(":")
    if series.isdigit() and stack.head.series_number == int(series):
        if not phases:
            return True
        first, _, last = phases.partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            return stack.phase is not None and int(first) <= stack.phase <= int(last or first)
    return key.strip().casefold() in (stack.name.casefold(), stack.head.description.casefold())


def _warn_of_files(draft: _Draft) -> None:
    for what, files in draft.contents.others.items():
        if what is DAMAGED:
            count = counted(len(files), "damaged DICOM file")
            draft.warnings.append(f"{count} ({files[0].name}) could not be read.")
        elif what.problem:
            names = listing(sorted(path.name for path in files), 2)
            draft.warnings.append(
                f"{counted(len(files), 'file')} ({names}) could not be used: {what.reason}."
            )


def _leave_out_the_rest(draft: _Draft, chosen: Dynamics) -> None:
    """Say of every volume that seems a phase why it is none."""
    first, rest = draft.dynamics[0], [s for s in draft.open_stacks if s not in draft.dynamics]
    subtractions = [s for s in rest if s.is_subtraction and not draft.are_subtractions]
    if subtractions:
        names = listing([stack.name for stack in subtractions])
        draft.warnings.append(
            f"The scanner's own subtractions ({names}) were left out, since the phases themselves are here."
        )
        draft.leave_out(subtractions, "a subtraction, and the phases themselves are here", warn=False)
    other_studies = [stack for stack in draft.stacks if stack.head.study_uid != first.head.study_uid]
    if other_studies:
        draft.warnings.append("Images of other studies in the folder were left out.")
        likely = [s.name for s in chosen.elsewhere if s in other_studies and same_protocol(s, first)]
        if likely:
            draft.warnings.append(
                f"{listing(likely)} may be phases, but lie in another study and were left out."
            )
        rest_of_them = [stack for stack in other_studies if stack not in draft.roles]
        draft.leave_out(rest_of_them, "of another study", warn=False)
    if draft.options.phases:
        draft.leave_out(chosen.unchosen, "not chosen", warn=False)
        return
    _leave_out_copies(draft, chosen)
    by_reason: dict[str, list[Stack]] = {}
    for stack, reason in chosen.left_out:
        by_reason.setdefault(reason, []).append(stack)
    for reason, stacks in by_reason.items():
        draft.leave_out(stacks, reason)
    strays = [stack for stack in chosen.elsewhere + chosen.other_exams if stack not in draft.roles]
    draft.leave_out(strays, "of another visit")
    rest = [stack for stack in rest if stack not in draft.roles and not stack.problem]
    dixon = [s for s in rest if s.dixon != first.dixon and _differs_by_dixon(s, first)]
    if dixon:
        draft.leave_out(dixon, f"other images of the Dixon acquisition than the {first.dixon or 'phases'}")
    angles = [
        s for s in rest if same_sequence(s, first) and not same_protocol(s, first) and same_grid(s, first)
    ]
    if angles:
        draft.leave_out(angles, "of other flip angles or inversion times than the phases")
    rest = [stack for stack in rest if stack not in draft.roles]
    draft.other_sets, remarks = other_acquisitions(rest, draft.dynamics)
    draft.warnings += remarks


def _leave_out_copies(draft: _Draft, chosen: Dynamics) -> None:
    """Say which volumes and images are there twice."""
    if chosen.copies:
        names, originals = ([s.name for s in stacks] for stacks in (chosen.copies, chosen.copies.values()))
        draft.warnings.append(
            f"{listing(names)} {'was' if len(names) == 1 else 'were'} left out: the same images as "
            f"{listing(originals)}."
        )
    for copy, original in chosen.copies.items():
        draft.leave_out([copy], f"the same images as {original.name}", warn=False)
    for stack in draft.stacks:
        if stack.is_repeated:
            draft.warnings.append(
                f"{counted(len(stack.slices), 'image')} of {stack.name} are there twice and were used once."
            )


def _differs_by_dixon(stack: Stack, first: Stack) -> bool:
    return bool(stack.dixon or first.dixon) and stack.shape == first.shape and same_grid(stack, first)


# ---------------------------------------------------------------- what is missing


def _look_for_missing(draft: _Draft) -> None:
    """Refuse an exam that lacks phases, above all the one before contrast; or say so, where that is asked."""
    first = draft.dynamics[0]
    of_study = [stack for stack in draft.open_stacks if stack not in draft.dynamics]
    search = Search(
        draft.dynamics,
        [s for s in of_study if s.is_subtraction == draft.are_subtractions],
        draft.elsewhere,
        draft.unchosen,
        draft.contents,
        draft.where,
    )
    checks = [] if draft.options.phases else [refuse_incomplete]
    checks += [] if draft.are_subtractions else [refuse_without_pre]
    for check in checks:
        try:
            check(search)
        except MissingPhase as missing:
            for stack in missing.stacks:
                if stack not in draft.dynamics:
                    reason = f"may be a missing phase, {_problem_of(stack, draft) or 'or a part of one'}"
                    draft.roles[stack] = PROBLEM, reason, False
            if not draft.options.keep_order:
                raise
            why = str(missing).split(", or go on with")[0].replace(f" in {draft.where}", "").rstrip(".")
            draft.warnings.append(f"{first.name} was taken for the phase before contrast as asked. {why}.")
    parts = [
        s for s in pieces(search) if s not in draft.roles and (not s.problem or len(s.slices) < MIN_SLICES)
    ]
    draft.leave_out(parts, "a part of a volume")
    for stack in search.others:
        if stack.problem and stack not in draft.roles and same_protocol(stack, first):
            reason = _problem_of(stack, draft)
            draft.roles[stack] = PROBLEM, reason, True
            draft.warnings.append(f"{stack.name} was left out: it {reason}.")
    is_told = draft.options.phases or draft.options.leave_out
    draft.warnings += [] if is_told else gaps_between(search)
    if not draft.are_subtractions:
        names, options = [stack.name for stack in draft.dynamics], draft.options
        draft.warnings += missing_pre(names, options.kind, str(draft.where), keep_order=options.keep_order)


def _take_t1(draft: _Draft) -> None:
    """Find the T1, and name what of the protocol of the phases is neither."""
    if draft.options.t1 is None:
        _choose_t1(draft)
    first = draft.dynamics[0]
    lone = [
        stack
        for stack in draft.open_stacks
        if stack not in (*draft.dynamics, *draft.other_sets)
        and not stack.problem
        and same_protocol(stack, first)
        and stack.is_subtraction == draft.are_subtractions
    ]
    draft.leave_out(lone, "of the protocol of the phases, but on another grid")


def _choose_t1(draft: _Draft) -> None:
    candidates = [stack for stack in draft.open_stacks if stack not in draft.dynamics]
    draft.t1, remarks, reasons = choose_t1(candidates, draft.dynamics, draft.order.times_s, draft.where)
    draft.warnings += remarks
    for stack, reason in reasons.items():
        draft.roles[stack] = LEFT_OUT, reason, True
    if draft.t1 is not None:
        doubtful = any(remark.startswith(f"{draft.t1.name} was taken") for remark in remarks)
        draft.roles[draft.t1] = T1, "without fat saturation, from before the contrast agent", not doubtful


# ---------------------------------------------------------------- the plan


def _finished(draft: _Draft) -> ExamPlan:
    """Every file in one stack."""
    listed: set[Path] = set()
    planned: list[PlannedStack] = []

    def put(name: str, role: str, reason: str, files: Iterable[Path], sure: bool, **more: object) -> None:
        own = [path for path in dict.fromkeys(files) if path not in listed]
        listed.update(own)
        planned.append(PlannedStack(name, role, reason, tuple(map(str, own)), sure, **more))

    for place, stack in enumerate(draft.dynamics):
        role, reason, sure, number = _dynamic_role(draft, place)
        put(
            stack.name,
            role,
            reason,
            (item.path for item in stack.slices),
            sure,
            series_number=stack.head.series_number,
            number=number,
            time_s=draft.order.times_s[place],
        )
    for stack in draft.stacks:
        if stack not in draft.dynamics:
            role, reason, sure = draft.roles.get(stack) or _other_role(stack, draft)
            files = [item.path for item in stack.slices]
            put(stack.name, role, reason, files, sure, series_number=stack.head.series_number)
    for name, files in draft.contents.copies.items():
        put(f"{name} (copies)", LEFT_OUT, "the same images again, under their own identifiers", files, True)
    for what, files in draft.contents.others.items():
        put(what.name, PROBLEM if what.problem else LEFT_OUT, what.reason, files, True)
    return ExamPlan(
        str(draft.where), sorted_stacks(planned), tuple(dict.fromkeys(draft.warnings)), draft.problem
    )


def _dynamic_role(draft: _Draft, place: int) -> tuple[str, str, bool, int]:
    """Role, reason, sureness and number of a dynamic volume."""
    stack, order = draft.dynamics[place], draft.order
    tied = any(stack.name in tie for tie in draft.ties)
    sure = order.basis != "name" and not tied
    after = {"time": "by its time", "number": "by its number", "name": "by its name alone"}[order.basis]
    if tied:
        after += ", at the time of another volume"
    if draft.are_subtractions:
        return SUBTRACTION, f"the scanner's subtraction, {after}", sure, place + 1
    agents = [other.head.contrast_agent for other in draft.dynamics]
    why = ""
    if not agents[0] and any(agents):
        why = "; it names no contrast agent, others do"
    elif pre_contrast_names([other.name for other in draft.dynamics])[0]:
        why = "; its name says pre-contrast"
    is_missing = bool(draft.problem) and not why  # the phase before contrast, it may be: then all are post
    if place or is_missing:
        number = place + 1 if is_missing else place
        return POST, f"of the same grid and protocol, {after}", sure, number
    if all(agents):
        return PRE, f"the first, {after}, though it names a contrast agent as the others do", False, 0
    return PRE, f"the first, {after}{why}", sure and bool(why), 0


def _problem_of(stack: Stack, draft: _Draft) -> str:
    """What is wrong with a stack, without its name and folder."""
    return stack.problem.removeprefix(f"{stack.name} in {draft.where} ").rstrip(".")


def _other_role(stack: Stack, draft: _Draft) -> tuple[str, str, bool]:
    """Role, reason and sureness of what is no dynamic volume and no T1."""
    if stack.exclusion:
        return LEFT_OUT, stack.exclusion, True
    if stack.problem:
        few = len(stack.slices) < MIN_SLICES
        return LEFT_OUT if few else PROBLEM, _problem_of(stack, draft), True
    if not draft.dynamics:
        return LEFT_OUT, "not known, since no exam could be made", False
    first = draft.dynamics[0]
    if stack.head.study_uid != first.head.study_uid:
        return LEFT_OUT, "of another study", True
    if not same_protocol(stack, first):
        return LEFT_OUT, "of another protocol than the phases", True
    return LEFT_OUT, "on another grid than the phases", True
