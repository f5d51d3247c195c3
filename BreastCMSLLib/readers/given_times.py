"""Times that the user knows, instead of those that headers and names tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.errors import InputError
from ..exam import Exam, ExamPlan, Phase
from .options import check_times


def timed(phases: Sequence[Phase], times_s: Sequence[float | None]) -> list[Phase]:
    """Phases with other times.

    Parameters
    ----------
    phases
        The dynamic volumes.
    times_s
        Seconds of each, None where unknown.

    Returns
    -------
    list of Phase
        In the same order.

    Raises
    ------
    InputError
        When there are more or fewer times than phases.
    """
    if len(times_s) != len(phases):
        names = ", ".join(phase.name for phase in phases)
        raise InputError(
            f"{len(times_s)} times were given for {len(phases)} dynamic volumes ({names}); "
            "give one time for each."
        )
    return [
        replace(phase, time_s=None if time is None else float(time))
        for phase, time in zip(phases, times_s, strict=True)
    ]


def with_times(exam: Exam, times_s: Sequence[float | None]) -> Exam:
    """The exam with times that the user knows; its plan shows them.

    Parameters
    ----------
    exam
        Of phases in the order of time.
    times_s
        Seconds of each, None where unknown.

    Returns
    -------
    Exam

    Raises
    ------
    InputError
        More or fewer times than phases, or times that are no numbers or do not increase.
    """
    phases = timed(exam.phases, times_s)
    check_times(times_s)
    known = [time for time in times_s if time is not None]
    if any(later <= earlier for earlier, later in zip(known, known[1:])):
        raise InputError(
            "The times given do not increase; give the seconds of each phase in the order of acquisition."
        )
    pre, post = (None, phases) if exam.pre is None else (phases[0], phases[1:])
    plan = None if exam.plan is None else plan_with_times(exam.plan, phases)
    return replace(exam, pre=pre, post=tuple(post), plan=plan)


def plan_with_times(plan: ExamPlan, phases: Sequence[Phase]) -> ExamPlan:
    """A plan with the times of an exam's phases.

    Parameters
    ----------
    plan
        Names of its dynamic stacks are those of the phases.
    phases
        In the order of time.

    Returns
    -------
    ExamPlan
        Times count from the first phase; there are none where one is unknown.
    """
    times = [phase.time_s for phase in phases]
    seconds = [None if None in times else time - times[0] for time in times]
    of = dict(zip((phase.name for phase in phases), seconds, strict=True))
    stacks = (
        replace(stack, time_s=of[stack.name]) if stack.is_dynamic and stack.name in of else stack
        for stack in plan.stacks
    )
    return replace(plan, stacks=tuple(stacks))
