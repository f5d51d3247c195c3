"""How much time an analysis has left."""

import time


class TimeLeft:
    """Estimates seconds left from the fraction done, and from how long the last analysis took.

    lastTotal: seconds of the last whole analysis, or 0. clock: seconds, monotonic.
    """

    def __init__(self, lastTotal=0.0, clock=time.monotonic):
        self._clock, self._lastTotal = clock, float(lastTotal or 0.0)
        self._start = clock()
        self._fraction, self._left, self._updated = 0.0, None, self._start

    @property
    def elapsed(self):
        return self._clock() - self._start

    def update(self, fraction):
        """Take the fraction done (0..1); returns :meth:`seconds`."""
        elapsed = self.elapsed
        self._fraction = max(self._fraction, min(float(fraction), 1.0))
        guesses = []
        if (
            self._lastTotal > 0
        ):  # the stages take about the same share each time, so this is good from the start
            guesses.append(max(self._lastTotal - elapsed, self._lastTotal * (1 - self._fraction)))
        if self._fraction > 0.1 and elapsed > 1.0:
            guesses.append(elapsed / self._fraction * (1 - self._fraction))
        if guesses:
            self._left, self._updated = sum(guesses) / len(guesses), self._clock()
        return self.seconds()

    def seconds(self):
        """Seconds left, counting down between updates; None while nothing can be said."""
        if self._left is None:
            return None
        return max(0.0, self._left - (self._clock() - self._updated))


def durationText(seconds):
    """ "12 s" or "2 min": as exact as such an estimate can be."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min"
