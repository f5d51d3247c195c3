"""From the plan of volume files to the exam: voxels are read, and confirm what names and headers tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...core.errors import InputError
from ...exam import (
    MAX_PHASES,
    Exam,
    ExamPlan,
    Phase,
    check_volume,
    guess_kind,
    make_exam,
    missing_pre,
    uncertain_order,
)
from ...exam.plan import sorted_stacks
from ..confirmation import confirm
from ..crowds import too_many
from ..given_times import timed, with_times
from ..public import public_exam
from ..volumes import read_volume_file, several
from .plan import FilePlan
from .stacks import dynamic_stacks


def load_files(planned: FilePlan) -> Exam:
    """The exam of a plan.

    Parameters
    ----------
    planned
        By :func:`~.plan.plan_files`.

    Returns
    -------
    Exam
        With the plan as the voxels confirmed it, and remarks on what was left out among its warnings.

    Raises
    ------
    InputError
        One sentence that names the file and the remedy.
    """
    if planned.plan.problem:
        raise InputError(planned.plan.problem)
    options = planned.options
    dynamics, own_t1 = _read(planned)
    kind = guess_kind(dynamics) if options.kind == "auto" else options.kind
    kept, plan, told = _confirmed(dynamics, planned, kind)
    _check_number(kept, planned)
    if options.times_s is not None and planned.names:
        kept = _with_times_of_files(kept, planned)
    exam = make_exam(kept, kind=kind, t1=options.t1 or own_t1, warnings=(*planned.remarks, *told))
    if options.times_s is not None and not planned.names:
        exam = with_times(exam, options.times_s)
    if exam.pre is not None:
        names = [phase.name for phase in exam.phases]
        missing = missing_pre(names, options.kind, plan.where, keep_order=options.keep_order)
        exam = replace(exam, warnings=(*exam.warnings, *missing))
    exam = replace(exam, plan=_as_read(plan, exam))
    return public_exam(exam, planned.public, [plan.where])


def _read(planned: FilePlan) -> tuple[list[Phase], Phase | None]:
    """The dynamic volumes and the T1, each file read once."""
    wanted = [*planned.dynamics, *([] if planned.t1 is None else [planned.t1])]
    files = list(dict.fromkeys(volume.path for volume in wanted))
    frames = dict(zip(files, several(read_volume_file, files), strict=True))
    phases = [replace(frames[one.path][one.frame], name=one.name, time_s=one.facts.time_s) for one in wanted]
    return phases[: len(planned.dynamics)], None if planned.t1 is None else phases[-1]


def _confirmed(
    dynamics: Sequence[Phase], planned: FilePlan, kind: str
) -> tuple[list[Phase], ExamPlan, list[str]]:
    """What voxels tell; a volume that is no image of a patient is called that, not unlike the others."""
    for phase in dynamics:
        if phase.volume.array.dtype.kind == "f":  # may hold NaN
            check_volume(phase)
    try:
        return confirm(
            dynamics, planned.plan, kind=kind, keep_order=planned.options.keep_order, ties=planned.ties
        )
    except InputError:
        for phase in dynamics:
            check_volume(phase)
        raise


def _check_number(phases: Sequence[Phase], planned: FilePlan) -> None:
    """Refuse too many phases, with words that choose fewer."""
    if len(phases) > MAX_PHASES:
        keys = {volume.name: volume.key for volume in planned.dynamics}
        names = [phase.name for phase in phases]
        raise InputError(too_many(names, [keys[name] for name in names], planned.plan.where))


def _with_times_of_files(phases: Sequence[Phase], planned: FilePlan) -> list[Phase]:
    """The phases with the times that the user gave in the order of the files; some may be no phases."""
    times = planned.options.times_s
    if len(times) == len(planned.names):
        return list(phases)  # each has its own by the plan
    return timed(sorted(phases, key=lambda phase: planned.names.index(phase.name)), times)


def _as_read(plan: ExamPlan, exam: Exam) -> ExamPlan:
    """The plan with the order, roles and times of the exam."""
    kind = "subtractions" if exam.pre is None else "phases"
    read = {stack.name: stack for stack in dynamic_stacks(exam.phases, kind)}
    sure = not uncertain_order(exam.phases)
    stacks = []
    for stack in plan.stacks:
        if (one := read.get(stack.name)) is not None and stack.is_dynamic:
            reason = stack.reason if stack.role == one.role else one.reason
            facts = {"number": one.number, "time_s": one.time_s, "sure": sure}
            stack = replace(stack, role=one.role, reason=reason, **facts)
        stacks.append(stack)
    return replace(plan, stacks=sorted_stacks(stacks), warnings=exam.warnings)
