"""What every file of an input is, and why: the exam plan, made from headers before pixels are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1
PRE, POST, SUBTRACTION, T1 = "pre", "post", "subtraction", "T1"
LEFT_OUT, PROBLEM = "left out", "problem"
ROLES = (PRE, POST, SUBTRACTION, T1, LEFT_OUT, PROBLEM)


@dataclass(frozen=True)
class PlannedStack:
    """One volume of an input, or files that make none.

    Attributes
    ----------
    name
        What the user recognises it by.
    role
        One of ``ROLES``.
    reason
        Why it has that role, in words that go into a sentence.
    files
        Paths of all its files.
    sure
        Whether the role follows from what headers and voxels say, rather than from the lack of anything else.
    series_number
        DICOM's, by which the user can choose it, or None.
    number
        Of a post-contrast phase or subtraction, from 1 on; 0 for the pre-contrast phase; else None.
    time_s
        Seconds after the first dynamic volume, or None.
    """

    name: str
    role: str
    reason: str
    files: tuple[str, ...]
    sure: bool = True
    series_number: int | None = None
    number: int | None = None
    time_s: float | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether it is one of the exam's dynamic volumes."""
        return self.role in (PRE, POST, SUBTRACTION)


@dataclass(frozen=True)
class ExamPlan:
    """Every file of an input in one stack, and what the exam is made of.

    Attributes
    ----------
    where
        The folder or files planned, as messages call them.
    stacks
        Dynamic volumes in the order of time first, then T1, problems and what is left out.
    warnings
        Sentences for the user.
    problem
        The sentence why there is no exam; "" where there is one.
    source
        What the reader that made the plan needs to read the exam.
    """

    where: str
    stacks: tuple[PlannedStack, ...]
    warnings: tuple[str, ...] = ()
    problem: str = ""
    source: Any = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file, each once."""
        return tuple(file for stack in self.stacks for file in stack.files)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "breastcmsl.plan",
            "where": self.where,
            "problem": self.problem or None,
            "warnings": list(self.warnings),
            "stacks": [asdict(stack) | {"files": list(stack.files)} for stack in self.stacks],
        }


def sorted_stacks(stacks: Sequence[PlannedStack]) -> tuple[PlannedStack, ...]:
    """Dynamic volumes in the order of time, then T1, problems, what is left out; each by series and name."""

    ranks = {role: rank for rank, role in enumerate((T1, PROBLEM, LEFT_OUT), 1)}

    def key(stack: PlannedStack) -> tuple:
        series = stack.series_number if stack.series_number is not None else 1 << 31
        return ranks.get(stack.role, 0), stack.number or 0, series, stack.name

    return tuple(sorted(stacks, key=key))
