"""What the user says of an input, beside where it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import InputError
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


def check_times(times_s: Sequence[float | None]) -> None:
    """Refuse times that no phases can have, whatever their order.

    Parameters
    ----------
    times_s
        Seconds, None where unknown.

    Raises
    ------
    InputError
        NaN, infinity, a negative time, or one given twice.
    """
    known = [time for time in times_s if time is not None]
    if not all(map(math.isfinite, known)):
        raise InputError("A time given is not a number; give the seconds of each phase.")
    if any(time < 0 for time in known):
        raise InputError("A time given is negative; give seconds since the first phase, which has 0.")
    if len(set(known)) < len(known):
        raise InputError("A time is given twice; give the seconds of each phase, which differ.")
