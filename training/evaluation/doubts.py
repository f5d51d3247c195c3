"""Why a model may not be worth using, in sentences that go with it wherever it goes."""

from __future__ import annotations

from collections.abc import Sequence

from .texts import interval


def doubts_of(mix: Sequence[float] | None, classification: dict) -> list[str]:
    """What speaks against a model; none where nothing does.

    Parameters
    ----------
    mix : sequence of float, optional
        (a, b, c) of the exam's logit a · network + b · candidates + c; None without candidates.
    classification : dict
        Of its evidence: ``auc_95`` on the test exams, None where there is none.

    Returns
    -------
    list of str
        A sentence each: the candidates count against the score (b ≤ 0), or the AUC's 95 % interval includes
        0.5 or lies below it.
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
    return doubts
