"""The finished DICOM plan: every file in one stack, with its role and reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...exam import ExamPlan, PlannedStack, pre_contrast_names
from ...exam.plan import LEFT_OUT, POST, PRE, PROBLEM, SUBTRACTION, sorted_stacks
from .draft import Draft
from .geometry import MIN_SLICES
from .sets import same_protocol
from .stacks import Stack


def finished(draft: Draft) -> ExamPlan:
    """The plan of a draft.

    Parameters
    ----------
    draft
        All that was found out.

    Returns
    -------
    ExamPlan
        Every file in one stack.
    """
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


def _dynamic_role(draft: Draft, place: int) -> tuple[str, str, bool, int]:
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


def problem_of(stack: Stack, draft: Draft) -> str:
    """What is wrong with a stack, without its name and folder.

    Parameters
    ----------
    stack
        With a problem, or none.
    draft
        Its plan.

    Returns
    -------
    str
        Words that go into a sentence; "" for none.
    """
    return stack.problem.removeprefix(f"{stack.name} in {draft.where} ").rstrip(".")


def _other_role(stack: Stack, draft: Draft) -> tuple[str, str, bool]:
    """Role, reason and sureness of what is no dynamic volume and no T1."""
    if stack.exclusion:
        return LEFT_OUT, stack.exclusion, True
    if stack.problem:
        few = len(stack.slices) < MIN_SLICES
        return LEFT_OUT if few else PROBLEM, problem_of(stack, draft), True
    if not draft.dynamics:
        return LEFT_OUT, "not known, since no exam could be made", False
    first = draft.dynamics[0]
    if stack.head.study_uid != first.head.study_uid:
        return LEFT_OUT, "of another study", True
    if not same_protocol(stack, first):
        return LEFT_OUT, "of another protocol than the phases", True
    return LEFT_OUT, "on another grid than the phases", True
