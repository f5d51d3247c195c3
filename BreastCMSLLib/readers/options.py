"""What the user says of an input, beside where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..exam import Phase


@dataclass(frozen=True)
class ReadOptions:
    """What the user says; by default nothing.

    Attributes
    ----------
    kind
        "auto", "phases" or "subtractions".
    t1
        The non-fat-saturated T1, read already; then none is looked for.
    t1_uids
        Its series, which can be no phases.
    times_s
        Seconds for each dynamic volume: in the order of the files, or for a folder in the order of time.
    phases
        Series numbers or names of the dynamic volumes, in any order: what else is there is left out.
    leave_out
        Series numbers or names that are no dynamic volumes and no T1.
    study
        1, 2… in the order in which messages list the studies, or a StudyInstanceUID.
    keep_order
        Go on where the phase before contrast may be missing: the first volume is it. The result says so.
    """

    kind: str = "auto"
    t1: Phase | None = None
    t1_uids: tuple[str, ...] = ()
    times_s: Sequence[float | None] | None = None
    phases: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    study: str | None = None
    keep_order: bool = False
