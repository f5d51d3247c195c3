"""What stands beside a verdict: no verdict out of range, the cut-off, and what was not analysed.

``result`` is the dictionary of ``result.json``; results of earlier versions lack some of its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .wording import OUT_OF_RANGE, finding_place, percent, probability_text, threshold_percent, verdict

NEGATIVE = "No candidate reached the threshold; this does not exclude cancer."
OTHER_BREAST = (
    "The first candidate lies in the {side} breast; the probability of the {other} breast is higher, to "
    "which all candidates there add."
)
UNSCORED = "The model returned {score}, which means nothing for such an exam."


def is_in_range(result: Mapping) -> bool:
    """Whether the exam is one the model was made for."""
    return not result.get("out_of_range")


def range_reasons(result: Mapping) -> list[str]:
    """Why the exam is not one the model was made for; empty when it is."""
    reasons = result.get("out_of_range") or ()
    return [reason["text"] if isinstance(reason, Mapping) else str(reason) for reason in reasons]


def verdict_line(result: Mapping) -> str:
    """The verdict, and of a suspicious exam where: "Suspicious: left breast, upper inner"."""
    if not is_in_range(result):
        return OUT_OF_RANGE.rstrip(".")
    place = finding_place(result) if result["malignant"] else ""
    return ": ".join(filter(None, (verdict(result).capitalize(), place)))


def verdict_note(result: Mapping) -> str:
    """What the verdict leaves open; of a suspicious exam "", but where its breasts seem to contradict it."""
    if not is_in_range(result):
        return UNSCORED.format(score=probability_text(result["probability"]))
    return other_breast_note(result) if result["malignant"] else NEGATIVE


def other_breast_note(result: Mapping) -> str:
    """Why the breast that the verdict names is not the one of the higher probability; "" where it is."""
    breasts = {name: own["probability"] for name, own in (result.get("breasts") or {}).items()}
    side = (result.get("peaks") or [{}])[0].get("side")
    if side not in breasts or breasts[side] >= max(breasts.values()):
        return ""
    return OTHER_BREAST.format(side=side, other=max(breasts, key=breasts.get))


def cutoff_text(result: Mapping) -> str:
    """The cut-off and what it gave: "Cut-off 27 %, set on simulated exams: of 160 others it calls …"."""
    data = (result.get("model") or {}).get("training_data") or "simulated exams"
    point, cutoff = result.get("operating_point"), result.get("cutoff")
    text = f"Cut-off {threshold_percent(result)}" + (f" for {point} % sensitivity" if point else "")
    text += f", set on {data}"
    if not cutoff:
        return f"{text}."
    count, rest = cutoff["malignant"] + cutoff["others"], percent(cutoff["false_positives"])
    called = f"{percent(cutoff['sensitivity'])} of the cancers and {rest} of the rest"
    return f"{text}: in a test on {count} others it called {called}."


def not_analysed_text(result: Mapping) -> str:
    """What was not looked at, in one sentence; "" in results that do not say."""
    phrases = result.get("not_analysed") or ()
    return f"Not analysed: {'; '.join(phrases)}." if phrases else ""


def cautions(result: Mapping) -> list[str]:
    """The warnings that speak against a result: neither reasons to be out of range nor routine remarks."""
    said: Sequence[str] = [*range_reasons(result), *(result.get("remarks") or ())]
    return [text for text in result.get("warnings") or () if text not in said]
