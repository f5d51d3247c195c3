"""More volumes than an exam may have: ultrafast acquisitions, and which to choose of too many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..exam import MAX_PHASES, MIN_PHASES
from .messages import listing

ULTRAFAST_S = 20.0  # between phases: less is no usual dynamic acquisition
BESIDE_USUAL = "of an ultrafast acquisition, and the usual phases are here"
_CHOSEN = 6  # phases that a usual acquisition has


def is_fast(moments: Sequence[float | None]) -> bool:
    """Whether volumes follow each other faster than those of a usual dynamic acquisition.

    Parameters
    ----------
    moments
        Seconds of each, in any order; None where unknown.

    Returns
    -------
    bool
        False for fewer than three.
    """
    if len(moments) < 3 or None in moments:
        return False
    return bool(0 < np.median(np.diff(np.sort(moments))) < ULTRAFAST_S)


def too_many(names: Sequence[str], keys: Sequence[str], where: str) -> str:
    """What to do about more phases than an exam may have.

    Parameters
    ----------
    names, keys
        Of the volumes in the order of time: what they are called, and what selects each with ``--phases``.
    where
        What to call their folder or file.

    Returns
    -------
    str
        Names as many as a usual exam has, evenly spaced, the first and the last among them.
    """
    chosen = np.linspace(0, len(keys) - 1, _CHOSEN).round().astype(int)
    return (
        f"{len(names)} dynamic volumes were found in {where} ({listing(names, 3)}); the exam may have "
        f"{MIN_PHASES} to {MAX_PHASES}: select fewer, for example with --phases "
        f"{' '.join(keys[n] for n in chosen)}."
    )
