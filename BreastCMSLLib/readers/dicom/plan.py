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
from ...exam import ExamPlan, missing_pre
from ...exam.plan import LEFT_OUT, PROBLEM, T1
from ..keys import means
from ..messages import counted, listing
from ..options import ReadOptions
from .draft import Draft
from .dynamics import Dynamics, choose_dynamics, chosen_dynamics, key_of
from .geometry import MIN_SLICES
from .missing import MissingPhase, Search, gaps_between, pieces, refuse_incomplete, refuse_without_pre
from .order import Order, order_of
from .planned import finished, problem_of
from .scales import scale_remarks
from .scan import DAMAGED, scan
from .sets import judge_together, other_acquisitions, same_grid, same_protocol, same_sequence
from .stacks import Stack, build_stacks
from .studies import studies_of
from .t1 import choose_t1
from .why_none import why_no_images


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
    draft = Draft(where, options, contents, build_stacks(contents.slices, where))
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
    return DicomPlan(finished(draft), options, draft.order, draft.are_subtractions, draft.t1, draft.ties)


# ---------------------------------------------------------------- the dynamic volumes


def _choose(draft: Draft) -> None:
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


def _named(draft: Draft, keys: Sequence[str], option: str) -> list[Stack]:
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
    head = stack.head
    holders = {head.description} | ({str(head.series_number)} if head.series_number is not None else set())
    return means(key, {stack.name}, holders, stack.phase)


def _warn_of_files(draft: Draft) -> None:
    for what, files in draft.contents.others.items():
        if what is DAMAGED:
            count = counted(len(files), "damaged DICOM file")
            draft.warnings.append(f"{count} ({files[0].name}) could not be read.")
        elif what.problem:
            names = listing(sorted(path.name for path in files), 2)
            draft.warnings.append(
                f"{counted(len(files), 'file')} ({names}) could not be used: {what.reason}."
            )


def _leave_out_the_rest(draft: Draft, chosen: Dynamics) -> None:
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


def _leave_out_copies(draft: Draft, chosen: Dynamics) -> None:
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


def _look_for_missing(draft: Draft) -> None:
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
                    reason = f"may be a missing phase, {problem_of(stack, draft) or 'or a part of one'}"
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
            reason = problem_of(stack, draft)
            draft.roles[stack] = PROBLEM, reason, True
            draft.warnings.append(f"{stack.name} was left out: it {reason}.")
    is_told = draft.options.phases or draft.options.leave_out
    draft.warnings += [] if is_told else gaps_between(search)
    if not draft.are_subtractions:
        names, options = [stack.name for stack in draft.dynamics], draft.options
        draft.warnings += missing_pre(names, options.kind, str(draft.where), keep_order=options.keep_order)


def _take_t1(draft: Draft) -> None:
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


def _choose_t1(draft: Draft) -> None:
    candidates = [stack for stack in draft.open_stacks if stack not in draft.dynamics]
    draft.t1, remarks, reasons = choose_t1(candidates, draft.dynamics, draft.order.times_s, draft.where)
    draft.warnings += remarks
    for stack, reason in reasons.items():
        draft.roles[stack] = LEFT_OUT, reason, True
    if draft.t1 is not None:
        doubtful = any(remark.startswith(f"{draft.t1.name} was taken") for remark in remarks)
        draft.roles[draft.t1] = T1, "without fat saturation, from before the contrast agent", not doubtful
