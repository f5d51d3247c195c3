"""How far a batch is, and how long it will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from .records import DONE, FAILED, REFUSED


class BatchProgress:
    """Counts of a batch.

    Parameters
    ----------
    total : int
        Exams of the worklist.
    counts : mapping of str to int
        Of those that were done before, by status.
    clock : callable
        Seconds.

    Attributes
    ----------
    counts : Counter
        By status.
    """

    def __init__(self, total: int, counts: Mapping[str, int], clock: Callable[[], float] = time.monotonic):
        self.total, self.counts = total, Counter(counts)
        self._before, self._clock, self._start = self.finished, clock, clock()

    def add(self, status: str) -> None:
        """One more is done, refused or has failed."""
        self.counts[status] += 1

    @property
    def finished(self) -> int:
        return self.counts.total()

    @property
    def seconds_left(self) -> float | None:
        """At the mean rate since the start; None before the first exam is finished."""
        new = self.finished - self._before
        return (self._clock() - self._start) / new * (self.total - self.finished) if new else None

    def as_json(self) -> dict[str, Any]:
        """The event of ``--progress json``."""
        left = self.seconds_left
        return {
            "event": "progress",
            "total": self.total,
            **{status: self.counts[status] for status in (DONE, REFUSED, FAILED)},
            "seconds_left": None if left is None else round(left),
        }

    def text(self) -> str:
        """One line for people."""
        words = [f"{self.finished} of {self.total} exams"]
        words += [f"{self.counts[status]} {status}" for status in (REFUSED, FAILED) if self.counts[status]]
        left = self.seconds_left
        if left is not None and self.finished < self.total:
            words.append(f"about {duration_text(left)} left")
        return f"{100 * self.finished / max(self.total, 1):3.0f} %  {', '.join(words)}"


def duration_text(seconds: float) -> str:
    """A duration in two units at most, such as "3 h 20 min".

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"
