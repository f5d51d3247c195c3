"""A DICOM plan while it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...exam.plan import LEFT_OUT
from ..messages import listing
from ..options import ReadOptions
from .order import Order
from .scan import Scan
from .stacks import Stack


@dataclass
class Draft:
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
