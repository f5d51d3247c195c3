"""Why a model may not be worth using, in sentences that go with it wherever it goes."""

from __future__ import annotations

from collections.abc import Sequence

from .texts import interval

FEWEST_PATIENTS = 10  # of a label: of fewer, no interval says whether a model works


def doubts_of(mix: Sequence[float] | None, classification: dict) -> list[str]:
    """What speaks against a model; none where nothing does.

    Parameters
    ----------
    mix : sequence of float, optional
        (a, b, c) of the exam's logit a · network + b · candidates + c; None without candidates.
    classification : dict
        Of its evidence: ``auc_95`` on the test exams, None where there is none; ``malignant_patients`` and
        ``benign_patients``, those tested with exams of either label.

    Returns
    -------
    list of str
        A sentence each: the candidates count against the score (b ≤ 0); the AUC's 95 % interval includes 0.5
        or lies below it; fewer than ``FEWEST_PATIENTS`` of a label were tested.
    """
    doubts = []
    if mix is not None and mix[1] <= 0:
        doubts.append(
            f"Its candidates count against the score (b = {mix[1]:.2f}): the more suspicious they are, "
            "the lower it gets."
        )
    low, high = classification.get("auc_95") or (None, None)
    if low is None or high is None:
        doubts.append("Its AUC on the test exams has no interval: there are too few of them.")
    elif low <= 0.5:
        doubts.append(
            f"The interval of its AUC, {interval((low, high))}, does not lie above 0.5: "
            "it was not shown to tell malignant from benign exams."
        )
    counts = {label: classification.get(f"{label}_patients") for label in ("malignant", "benign")}
    few = [f"{n} with {label} exams" for label, n in counts.items() if n is not None and n < FEWEST_PATIENTS]
    if few:
        doubts.append(
            f"Few patients were tested, {' and '.join(few)}: "
            f"fewer than {FEWEST_PATIENTS} show nothing of a model, whatever its figures are."
        )
    return doubts
