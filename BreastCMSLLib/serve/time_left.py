"""How much time an analysis has left, on the page and in the desktop's panel."""

from __future__ import annotations

import time
from collections.abc import Callable


class TimeLeft:
    """Estimates from the share done, and from how long the last analysis took.

    Parameters
    ----------
    last_s : float
        Seconds of the last whole analysis, or 0.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, last_s: float = 0.0, clock: Callable[[], float] = time.monotonic):
        self._clock, self._last_s = clock, float(last_s or 0.0)
        self._start = clock()
        self._share, self._left, self._updated = 0.0, None, self._start

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def update(self, share: float) -> float | None:
        """Take the share done (0 to 1); returns :meth:`seconds`."""
        elapsed, guesses = self.elapsed, []
        self._share = max(self._share, min(float(share), 1.0))
        if self._last_s > 0:  # stages take about the same share each time: good from the start
            guesses.append(max(self._last_s - elapsed, self._last_s * (1 - self._share)))
        if self._share > 0.1 and elapsed > 1.0:
            guesses.append(elapsed / self._share * (1 - self._share))
        if guesses:
            self._left, self._updated = sum(guesses) / len(guesses), self._clock()
        return self.seconds()

    def seconds(self) -> float | None:
        """Seconds left, counting down between updates; None while nothing can be said."""
        return None if self._left is None else max(0.0, self._left - (self._clock() - self._updated))


def duration_text(seconds: float) -> str:
    """ "12 s" or "2 min": as exact as such an estimate can be."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min"
