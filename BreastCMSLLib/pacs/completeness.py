"""Whether all of a study has come: it is quiet, nobody broke off, and the archive has no more of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .sending import SendError
from .study import Study

BROKEN_OFF = "Its sender broke off and did not send the rest; send the study again."


@dataclass(frozen=True)
class Waiting:
    """A study that is not complete.

    Parameters
    ----------
    look_at : float
        When to look again, by the monotonic clock.
    given_up : bool
        It has waited for long enough.
    sentence : str
        What it lacks.
    """

    look_at: float
    given_up: bool = False
    sentence: str = ""


def waits(
    study: Study, now: float, quiet_s: float, patience_s: float, count: Callable[[Study], int | None]
) -> Waiting | None:
    """What a study still waits for.

    Parameters
    ----------
    study : Study
    now : float
        By the monotonic clock.
    quiet_s, patience_s : float
        As in the configuration.
    count : callable
        Asks how many images it should have, where all else is well; None where nobody says. May raise
        SendError: then it waits.

    Returns
    -------
    Waiting or None
        None: it is complete.
    """
    silent = now - study.last
    if silent < quiet_s:
        return Waiting(study.last + quiet_s)
    given_up = silent >= patience_s
    if not study.whole:
        return Waiting(now, given_up, BROKEN_OFF)
    try:
        expected = count(study)
    except SendError as error:
        return Waiting(now + quiet_s, given_up, f"It is not known how many images it has: {error}")
    if expected is not None and study.count < expected:
        sentence = f"{study.count} of {expected} images came; send the study again."
        return Waiting(now + quiet_s, given_up, sentence)
    return None
