"""How much time an analysis has left."""

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
        self._clock, self._last_s = clock, last_s
        self._start = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def seconds(self, share: float) -> float | None:
        """Seconds left at a share done of 0 to 1; None while nothing can be said."""
        guesses, elapsed = [], self.elapsed
        if self._last_s > 0:  # stages take about the same share each time: good from the start
            guesses.append(max(self._last_s - elapsed, self._last_s * (1 - share)))
        if share > 0.1 and elapsed > 1.0:
            guesses.append(elapsed / share * (1 - share))
        return max(0.0, sum(guesses) / len(guesses)) if guesses else None


def duration_text(seconds: float | None) -> str:
    """ "about 12 s left", "about 2 min left": as exact as such an estimate can be; "" for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s left"
    return f"about {round(seconds / 60)} min left"
