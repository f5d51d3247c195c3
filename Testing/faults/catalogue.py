"""All generators: our own, and those that nobody on this project wrote."""

from __future__ import annotations

import random
from pathlib import Path

from . import generators, independent  # noqa: F401 (they register what they define)
from .cases import GENERATORS, Generator


def schedule(bases: Path, only: list[str] | None = None) -> tuple[list[Generator], dict[str, str]]:
    """The order to go round in.

    Parameters
    ----------
    bases
        Folder of the undamaged inputs.
    only
        Names of some generators; None takes all.

    Returns
    -------
    list of Generator
        Each as often as its weight, shuffled.
    dict
        Name → reason of those that cannot run here.
    """
    chosen, skipped = [], {}
    for entry in GENERATORS.values():
        if only and entry.name not in only:
            continue
        reason = entry.unavailable(bases)
        if reason:
            skipped[entry.name] = reason
        else:
            chosen += [entry] * entry.weight
    random.Random(0).shuffle(chosen)
    return chosen, skipped
