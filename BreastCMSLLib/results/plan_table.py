"""The exam plan as records of ``result.json``, and as a table to read. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.text import one_line
from ..exam import ExamPlan
from ..exam.plan import LEFT_OUT

HEAD = ("#", "Series", "Name", "Role", "Time s", "Reason")
NUMBERS = (0, 1, 4)  # the columns that are aligned to the right


def stack_records(plan: ExamPlan | None) -> list[dict[str, Any]]:
    """The stacks of a plan for ``result.json``.

    Parameters
    ----------
    plan : ExamPlan or None
        None for an exam that was not read from files.

    Returns
    -------
    list of dict
        As ``ExamPlan.as_json`` has them, but with ``file_count`` and ``first_file``, a base name, for the
        files: no folder is named, because it may be called after the patient.
    """
    return [] if plan is None else [_without_folders(record, plan) for record in plan.as_json()["stacks"]]


def _without_folders(record: Mapping[str, Any], plan: ExamPlan) -> dict[str, Any]:
    files = record["files"]
    first = os.path.basename(files[0]) if files else None
    reason = record["reason"].replace(f" in {plan.where}", "")
    kept = {key: value for key, value in record.items() if key != "files"}
    return kept | {"reason": reason, "file_count": len(files), "first_file": first}


def plan_rows(stacks: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row under ``HEAD`` for each stack.

    Parameters
    ----------
    stacks : iterable of mapping
        Records of a plan, of ``ExamPlan.as_json`` or :func:`stack_records`.

    Returns
    -------
    list of tuple of str
        Empty where a number, a series or a time is not known.
    """
    return [
        (
            _number(stack.get("number")),
            _number(stack.get("series_number")),
            one_line(stack["name"], 1000),
            stack["role"],
            _number(stack.get("time_s")),
            one_line(stack["reason"], 1000) + ("" if stack.get("sure", True) else " (uncertain)"),
        )
        for stack in stacks
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{float(value):.0f}"


def joined_left_out(stacks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The stacks, those that are left out for one reason as one: for a page of a given size.

    Parameters
    ----------
    stacks : sequence of mapping
        Records of a plan.

    Returns
    -------
    list of mapping
    """
    reasons: dict[tuple, list[Mapping[str, Any]]] = {}
    for number, stack in enumerate(stacks):
        alone = () if stack["role"] == LEFT_OUT else (number,)
        reasons.setdefault((*alone, stack["reason"], stack.get("sure", True)), []).append(stack)
    return [_as_one(same) for same in reasons.values()]


def _as_one(stacks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if len(stacks) == 1:
        return stacks[0]
    names = ", ".join(dict.fromkeys(stack["name"] for stack in stacks))
    return {**stacks[0], "name": names, "series_number": None, "time_s": None}


def plan_text(stacks: Iterable[Mapping[str, Any]]) -> str:
    """The table in lines of plain text, each column as wide as it needs.

    Parameters
    ----------
    stacks : iterable of mapping
        Records of a plan.

    Returns
    -------
    str
    """
    rows = [HEAD, *plan_rows(stacks)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
