"""Stacks of dynamic volumes: what each is by its place in the order of time."""

from __future__ import annotations

from collections.abc import Sequence

from ...exam import Phase, PlannedStack, pre_contrast_names
from ...exam.plan import POST, PRE, SUBTRACTION


def dynamic_stacks(phases: Sequence[Phase], kind: str) -> list[PlannedStack]:
    """Roles of dynamic volumes.

    Parameters
    ----------
    phases
        In the order of time; only names and times are used.
    kind
        "phases" or "subtractions".

    Returns
    -------
    list of PlannedStack
        Without files.
    """
    times = [phase.time_s for phase in phases]
    timed_all = None not in times
    by = "time" if timed_all else "name"
    called_pre = pre_contrast_names([phase.name for phase in phases])
    stacks = []
    for place, (phase, is_named) in enumerate(zip(phases, called_pre, strict=True)):
        number = place + 1 if kind == "subtractions" else place
        role = SUBTRACTION if kind == "subtractions" else POST if place else PRE
        reason = f"number {number} by its {by}"
        if role == PRE:
            said = "its name says it was taken before contrast"
            reason = said if is_named else f"it comes first by its {by}"
        time = phase.time_s - times[0] if timed_all else None
        stacks.append(PlannedStack(phase.name, role, reason, (), number=number, time_s=time))
    return stacks
