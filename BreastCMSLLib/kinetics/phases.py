"""Which phase is early and which late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..exam import Exam
from .settings import DEFAULTS, KineticSettings


@dataclass(frozen=True)
class KineticPhases:
    """Indices into ``Exam.post``.

    Parameters
    ----------
    early : int
    late : int or None
        None where one phase after contrast is all.
    text : str
        Which phases these are, in words.
    """

    early: int
    late: int | None
    text: str


def kinetic_phases(exam: Exam, settings: KineticSettings = DEFAULTS) -> KineticPhases:
    """The phases nearest to ``early_s`` and ``late_s`` after the first phase after contrast.

    Where times are unknown, early is the second phase after contrast, or the first of two, and late the last.

    Parameters
    ----------
    exam : Exam
    settings : KineticSettings

    Returns
    -------
    KineticPhases
    """
    count, times = len(exam.post), exam.times_s
    if count == 1:
        return KineticPhases(0, None, f"early: {exam.post[0].name}, the only phase after contrast")
    if times is None:
        early, late = min(1, count - 2), count - 1
        text = f"early: {exam.post[early].name}; late: {exam.post[late].name}; by number, times are unknown"
        return KineticPhases(early, late, text)
    after = times - times[0]
    early = int(np.abs(after[:-1] - settings.early_s).argmin())
    late = early + 1 + int(np.abs(after[early + 1 :] - settings.late_s).argmin())
    words = [
        f"{name}: {exam.post[n].name}, {after[n] / 60:.1f} min"
        for name, n in (("early", early), ("late", late))
    ]
    return KineticPhases(early, late, f"{'; '.join(words)} after the first phase after contrast")
