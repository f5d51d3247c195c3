"""Is an exam like those that the model was calibrated on?"""

from __future__ import annotations

import numpy as np

from ..models.bundle import Bundle
from .range_check import Reason


def unlike(bundle: Bundle, ordinary: np.ndarray | None) -> list[Reason]:
    """The reason "unlike", where an exam's ordinary candidate lies farther out than that of 99 in 100 exams.

    Parameters
    ----------
    bundle : Bundle
        Without ``ordinary`` nothing is said.
    ordinary : ndarray of float32, shape (features,), or None
        ``ExamScore.ordinary``.

    Returns
    -------
    list of Reason
        One at most.
    """
    known = bundle.ordinary
    if known is None or ordinary is None or known.squared_distance(ordinary) <= known.limit:
        return []
    features = bundle.candidates.settings.features
    named = ", ".join(
        f"{name} ({'above' if sd > 0 else 'below'} theirs by {abs(sd):.1f} standard deviations)"
        for name, sd in known.farthest(ordinary, features)
    )
    text = (
        f"The tissue of this exam looks unlike that of 99 in 100 exams the model was calibrated on, "
        f"most of all by: {named}."
    )
    return [Reason("unlike", text)]
