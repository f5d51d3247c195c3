"""What the command line prints of a result."""

from __future__ import annotations

from collections.abc import Mapping

from .wording import (
    NOT_MEANINGFUL,
    breast_text,
    breasts_text,
    prevalence_text,
    probability_text,
    score_percent,
    size_text,
    threshold_text,
    tumour_volume_text,
    verdict,
)
from .wording_finding import distances_text, from_nipple_text, place_text, region_text
from .wording_verdict import (
    NEGATIVE,
    UNSCORED,
    is_in_range,
    not_analysed_text,
    other_breast_note,
    range_reasons,
)


def summary_lines(result: Mapping) -> list[str]:
    """Verdict and finding in a sentence, where that lies, the model, the warnings.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    list of str
    """
    model, volumes = result["model"], tumour_volume_text(result)
    lines = [
        *(_scored(result) if is_in_range(result) else _unscored(result)),
        f"Functional tumour volume: {volumes}." if volumes else "",
        not_analysed_text(result),
        f"Model {model['name']}, trained on {model['training_data']}. Research use only.",
        *(f"Note: {warning}" for warning in result["warnings"] if warning not in range_reasons(result)),
        *(f"Note: {text}" for text in _missing_maps(result)),
    ]
    return [line for line in lines if line]


def _scored(result: Mapping) -> list[str]:
    first, breasts = result["peaks"][0], breasts_text(result)
    where = f"in the {breast_text(first)} at RAS ({', '.join(f'{c:.1f}' for c in first['ras_mm'])}) mm"
    score = f"Probability of malignancy {score_percent(result)} ({threshold_text(result)})"
    by_breast = [f"By breast: {breasts}." if breasts else "", prevalence_text(result)]
    if not result["malignant"]:
        first_of_map = f"no finding. The map's first candidate, {NOT_MEANINGFUL}: {where}."
        return [f"{score}: {verdict(result)}; {first_of_map}", NEGATIVE, *by_breast]
    finding = f"finding {', '.join(filter(None, (where, size_text(first))))}."
    facts = (place_text(first), from_nipple_text(first), distances_text(first), region_text(first))
    place = f"Place: {'; '.join(filter(None, facts))}."
    return [f"{score}: {verdict(result)}; {finding}", place, *by_breast, other_breast_note(result)]


def _unscored(result: Mapping) -> list[str]:
    score = UNSCORED.format(score=probability_text(result["probability"]))
    return [f"No result: outside what the model was made for. {score}", *range_reasons(result)]


def _missing_maps(result: Mapping) -> list[str]:
    """Why kinetic maps that were asked for are not there."""
    maps = (result.get("kinetic_maps") or {}).values()
    return (
        [entry["missing"] for entry in maps if "missing" in entry] if any("file" in m for m in maps) else []
    )
