"""Ten minutes for all topics: how many seconds each may take, so that the benchmark ends on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

LIMIT_S = 570.0  # from the first topic to the last row
# in this order, with the seconds that each takes on two quiet cores without bfloat16, everything once
EXPECTED_S = {
    "prepare": 20,  # makes what the others read
    "machine": 6,
    "analyze": 66,
    "duke": 92,
    "command": 40,
    "second": 22,
    "panel": 40,
    "register": 18,
    "large": 45,
    "long": 22,
    "batch": 30,
    "network": 30,
    "coam": 6,
    "mask": 18,
    "precision": 12,
    "reading": 15,
    "start": 5,
    "model_load": 6,
    "sizes": 6,
    "many": 18,
    "training": 28,
    "processes": 25,
}
TOPICS = tuple(EXPECTED_S)
_GRACE = 2.0  # times its share after which a topic is ended
_LEAST_S = 3.0  # with less left nothing is begun


class Budget:
    """Shares out the time that is left.

    Parameters
    ----------
    topics
        What is to be measured, in this order.
    limit_s
        Seconds for all of them.
    clock
        Tells seconds.
    """

    def __init__(
        self, topics: Iterable[str], limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
    ):
        self._left, self._clock = list(topics), clock
        self._end = clock() + limit_s

    def next(self, topic: str) -> tuple[float, float]:
        """Seconds for the next topic.

        Returns
        -------
        share_s : float
            That it should take: of what is left in proportion to ``EXPECTED_S``. Repeats are chosen by it.
        limit_s : float
            After which it is ended; 0 where it is not to begin.
        """
        left = self._end - self._clock()
        expected = sum(EXPECTED_S[name] for name in self._left)
        self._left.remove(topic)
        if left < _LEAST_S:
            return 0.0, 0.0
        share = left * EXPECTED_S[topic] / expected
        return share, min(left, _GRACE * max(share, EXPECTED_S[topic]))
