"""High, moderate or low: what a candidate's calibrated probability says, beside the exam's own verdict."""

from __future__ import annotations

from .names import HIGH, LOW, LOW_BELOW, MODERATE


def suspicion(probability: float, threshold: float, *, malignant: bool, first: bool) -> str:
    """The suspicion of a candidate.

    High is what would call an exam by itself: a probability at or above its threshold. It never contradicts
    the exam: the first candidate of a suspicious one is high, and in another one none is.

    Parameters
    ----------
    probability : float
        Of the candidate, calibrated, for the prevalence that the model assumes.
    threshold : float
        Of the exam, for the same prevalence.
    malignant : bool
        Whether the exam is suspicious.
    first : bool
        Whether it is the first candidate.

    Returns
    -------
    str
        ``HIGH``, ``MODERATE`` or ``LOW``.
    """
    if malignant and (first or probability >= threshold):
        return HIGH
    return MODERATE if probability >= LOW_BELOW else LOW
