"""A plan of volume files while it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...exam import PlannedStack
from ...exam.plan import LEFT_OUT
from ..messages import listing

_SINGLY = 4  # remarks of one reason; more become one


@dataclass
class Draft:
    """Stacks so far, the first problem, and remarks.

    Attributes
    ----------
    stacks
        In any order.
    problem
        Why there is no exam, or "".
    remarks
        Sentences for the user.
    unsaid
        Names of stacks that are left out without a remark.
    """

    stacks: list[PlannedStack] = field(default_factory=list)
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    unsaid: set[str] = field(default_factory=set)

    def refuse(self, sentence: str) -> None:
        """Keep the first problem; "" is none."""
        self.problem = self.problem or sentence

    def stack(self, name: str, role: str, reason: str, files: Iterable[Path | str], **values) -> None:
        """Add a stack; values are further attributes of :class:`PlannedStack`."""
        self.stacks.append(PlannedStack(name, role, reason, tuple(map(str, files)), **values))

    def remark_left_out(self) -> None:
        """A sentence for each volume that is left out, or one for many of the same reason."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for stack in self.stacks:
            if stack.role == LEFT_OUT and stack.name not in self.unsaid:
                by_reason[stack.reason].append(stack.name)
        for reason, names in by_reason.items():
            singly = names if len(names) <= _SINGLY else [f"Each of {listing(names)}"]
            self.remarks += [f"{name} was left out: {reason}." for name in singly]
