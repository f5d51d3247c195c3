"""Two dynamic acquisitions on one grid: only one of them is the exam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.errors import InputError
from ...exam import looks_pre_contrast, numbered_families
from ..messages import counted, listing
from .sets import same_within
from .stacks import Stack
from .times import moments_of

_ONE_RUN = 1.03  # by which echo and repetition times of one acquisition may differ


def without_other_runs(
    members: list[Stack], stacks: Sequence[Stack]
) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """A set without other acquisitions, where one alone has a phase before contrast.

    Parameters
    ----------
    members
        Of one grid and protocol.
    stacks
        All volumes that may be phases.

    Returns
    -------
    rest : list of Stack
        All of them where fewer than needed would remain.
    left_out : list of (Stack, str)
        The others, each with the reason.
    """
    runs = runs_of(members)
    whole = [run for run in runs if has_pre(run)]
    if len(runs) < 2 or len(whole) != 1:
        return members, []
    reason = f"of another acquisition than {whole[0][0].name}, with another echo or repetition time"
    return whole[0], [(stack, reason) for stack in members if stack not in whole[0]]


def check_runs(stacks: Sequence[Stack], rivals: Sequence[Sequence[Stack]], where: Path) -> None:
    """Refuse two acquisitions of which nothing tells which is the exam.

    Parameters
    ----------
    stacks
        That are to be the phases.
    rivals
        Others that might be as well.
    where
        What to call their folder.

    Raises
    ------
    InputError
        Names a volume of each, and the remedy.
    """
    if len(runs := [*runs_of(stacks), *rivals]) > 1:
        parts = listing([f"{counted(len(run), 'volume')} like {run[0].name}" for run in runs])
        raise InputError(
            f"{where} holds {len(runs)} dynamic acquisitions ({parts}), and nothing tells which is the exam; "
            "name the phases of one with --phases."
        )


def runs_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Volumes by acquisition; one list where all may be of one.

    Parameters
    ----------
    stacks
        Of one grid, protocol and visit.

    Returns
    -------
    list of list of Stack
        By echo and repetition time, where the names differ as well and no part holds but volumes before
        contrast; without times and agents by names that are numbered each by itself.
    """
    runs: list[list[Stack]] = []
    for stack in stacks:
        home = next((run for run in runs if _one_run(run[0], stack)), None)
        if home is None:
            runs.append([stack])
        else:
            home.append(stack)
    agents = [{stack.head.contrast_agent for stack in run} for run in runs]
    if len(runs) > 1 and min(map(len, runs)) > 1 and not ({False} in agents and {True} in agents):
        return runs
    return _families(stacks) or [list(stacks)]


def _one_run(a: Stack, b: Stack) -> bool:
    return a.stem == b.stem or (
        same_within(a.head.echo_time_ms, b.head.echo_time_ms, _ONE_RUN)
        and same_within(a.head.repetition_time_ms, b.head.repetition_time_ms, _ONE_RUN)
    )


def _families(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Volumes by families of names, where neither times nor agents tell anything."""
    if len({stack.head.contrast_agent for stack in stacks}) > 1 or moments_of(stacks)[0] is not None:
        return []
    families = numbered_families([stack.name for stack in stacks])
    return [[stack for stack in stacks if stack.name in names] for names in families.values()]


def has_pre(run: Sequence[Stack]) -> bool:
    """Whether a name or the agents of volumes say that one is from before contrast.

    Parameters
    ----------
    run
        Volumes of one acquisition.

    Returns
    -------
    bool
    """
    agents = {stack.head.contrast_agent for stack in run}
    return len(agents) == 2 or any(looks_pre_contrast(stack.head.description) for stack in run)
