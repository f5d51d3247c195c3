"""The stages of an analysis: their names, how far each is of the whole, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager

STAGES = {
    "read": "Reading the exam",
    "model": "Loading the model",
    "register": "Registering the phases",
    "mask": "Finding the breasts",
    "resample": "Subtracting and resampling",
    "network": "Reading the exam with the network",
    "map": "Making the map",
    "scene": "Building the scene",
    "save": "Saving",
}
# share of the whole time each stage takes on a CPU, for one steady progress bar
_WEIGHTS = {
    "read": 0.2,
    "model": 0.05,
    "register": 0.05,
    "mask": 0.25,
    "resample": 0.15,
    "network": 0.1,
    "map": 0.1,
    "scene": 0.1,
    "save": 0.05,
}

Progress = Callable[[str, float], None]  # a stage, and the fraction done of it


def overall_progress(stage: str, fraction: float) -> float:
    """Progress of the whole analysis.

    Parameters
    ----------
    stage
        One of ``STAGES``.
    fraction
        Of that stage, 0–1.

    Returns
    -------
    float
        0–1.
    """
    names = list(_WEIGHTS)
    done = sum(_WEIGHTS[n] for n in names[: names.index(stage)])
    return min(1.0, (done + _WEIGHTS[stage] * min(max(fraction, 0.0), 1.0)) / sum(_WEIGHTS.values()))


class Stopwatch:
    """How long each stage takes.

    Attributes
    ----------
    seconds
        By stage, in the order they ran; one that runs again adds to its own.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str):
        """Time what is done within."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
