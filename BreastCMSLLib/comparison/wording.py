"""A comparison in words, for the page and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..results.report_parts import comparison_lines
from ..results.wording import amount_text, probability_percent, size_text
from ..results.wording_finding import TYPES, place_text
from .names import NEW, RIGID, VANISHED

_TITLES = {"size_mm": "Longest diameter", "volume_ml": "Volume", "ftv_ml": "Functional tumour volume"}
_UNITS = {"size_mm": ("mm", 0), "volume_ml": ("ml", 2), "ftv_ml": ("ml", 2)}
_CURVE_TITLES = {"wash_in": "Early enhancement", "wash_out": "Delayed change"}
_BREASTS = {"breast": "Breast", "right": "Right breast", "left": "Left breast"}
_DOUBT = "Uncertain: registration and change of size do not bear it out."
NOTE = (
    "Grown: the longest diameter is at least 20 % and 5 mm larger; shrunk: at least 30 % smaller "
    "(RECIST 1.1). New and vanished: no candidate of the other exam within 15 mm, or half the diameter of "
    "a larger one."
)


def title_of(finding: Mapping[str, Any]) -> str:
    """What became of a finding, and where it lies: "Grown: left breast, upper inner, about 10 o'clock"."""
    doubt = " (uncertain match)" if finding["certain"] is False else ""
    if not _other(finding)["in_breasts"]:
        doubt = " (not read there)" if _other(finding)["in_field"] else " (outside the field of view)"
    return f"{finding['change'].capitalize()}{doubt}: {place_text(_shown(finding))}"


def measure_rows(finding: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Measure, prior and current value, and change of each measure that a finding has."""
    changes = finding["changes"]
    if changes is None:
        return _single_rows(finding)
    rows = [(_TITLES[name], *_values(changes[name], *unit)) for name, unit in _UNITS.items()]
    rows += [(title, *_values(changes[name], "%", 0, points=True)) for name, title in _CURVE_TITLES.items()]
    rows.append(("Curve", *(_type_text(changes["curve_type"][name]) for name in ("prior", "current")), ""))
    return [row for row in rows if any(row[1:])]


def breast_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Likewise of each breast's functional tumour volume."""
    return [
        (_BREASTS.get(name, name), *_values(change, "ml", 1))
        for name, change in record["breasts_ftv_ml"].items()
    ]


def registration_text(record: Mapping[str, Any]) -> str:
    """How the exams were laid on each other."""
    registration = record["registration"]
    if registration["mode"] != RIGID:
        return f"By the {registration['start']} alone{_residual_text(registration)}."
    before, after = registration["similarity_before"], registration["similarity_after"]
    return (
        f"Each breast as a rigid body, starting at the {registration['start']}; "
        f"correlation of edges {before:.2f} before, {after:.2f} after{_residual_text(registration)}."
    )


def _residual_text(registration: Mapping[str, Any]) -> str:
    residual = registration["residual_mm"]
    if residual is None:
        return ""
    return f"; three of four places of the breasts then lay within {residual:.1f} mm"


def summary_lines(record: Mapping[str, Any]) -> list[str]:
    """What the command line prints of a comparison."""
    return comparison_lines({"comparison": report_section(record)})


def report_section(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the current exam's result holds of a comparison; docs/priors.md has the keys."""
    exams = "; ".join(f"{name} exam {_verdict(record[name])}" for name in ("prior", "current"))
    return {
        "prior_exam_id": record["prior"]["exam_id"],
        "exams": f"{exams[0].upper()}{exams[1:]}.",
        "findings": [
            {
                "change": finding["change"],
                "certain": finding["certain"],
                "peak": finding["current"]["peak"],
                "ras_mm": finding["current"]["ras_mm"],
                "text": _finding_line(finding),
            }
            for finding in record["findings"]
        ],
        "remarks": list(record["remarks"]),
    }


def _finding_line(finding: Mapping[str, Any]) -> str:
    size = (finding["changes"] or {}).get("size_mm")
    before, now, change = _values(size, "mm", 0) if size else ("", "", "")
    own = size_text(_shown(finding))
    sizes = f", {before} before, {now} now ({change})" if change else f", {own}" if own else ""
    return f"{title_of(finding)}{sizes}."


def _verdict(exam: Mapping[str, Any]) -> str:
    if exam["out_of_range"]:
        return "out of the model's range"
    verdict = "suspicious" if exam["malignant"] else "below the threshold"
    return f"{probability_percent(exam['probability'])}, {verdict}"


def _shown(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record that tells where a finding lies: the current one, or of a vanished one the prior."""
    return finding["prior" if finding["change"] == VANISHED else "current"]


def _single_rows(finding: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of what one exam alone shows: its size, and how the same place enhances in both."""
    of = {name: finding[name] for name in ("prior", "current")}
    sizes = [size_text(exam) or "no candidate" for exam in of.values()]
    curves = []
    for exam in of.values():
        curve = exam["kinetics"]
        early = "outside the field of view" if curve is None else amount_text(curve["wash_in"], curve["unit"])
        curves.append(early)
    # where there is no lesion, a curve's type is noise
    kinds = ["" if exam["peak"] is None else _type_text(exam["kinetics"]["type"]) for exam in of.values()]
    return [("Size", *sizes, ""), ("Early enhancement there", *curves, ""), ("Curve", *kinds, "")]


def _values(
    change: Mapping[str, float | None], unit: str, digits: int, points: bool = False
) -> tuple[str, str, str]:
    """Prior and current value and change as text, "" where not known. points: of a measure in %."""
    prior, current = (
        "" if change[name] is None else f"{change[name]:.{digits}f} {unit}".replace("-", "−")
        for name in ("prior", "current")
    )
    if change["change"] is None:
        return prior, current, ""
    text = f"{change['change']:+.{digits}f} {'points' if points else unit}"
    if change["percent"] is not None and not points:
        text += f", {change['percent']:+.0f} %"
    return prior, current, text.replace("-", "−")


def _type_text(kind: str | None) -> str:
    return "" if kind is None else f"{kind}, type {TYPES.get(kind, '?')}"


def places_text(finding: Mapping[str, Any]) -> str:
    """How far apart a pair lies after registration, or that the other exam's place was looked at."""
    if finding["distance_mm"] is not None:
        doubt = "" if finding["certain"] else f" {_DOUBT}"
        return f"Matched: {finding['distance_mm']:.0f} mm apart after registration.{doubt}"
    name, other = ("prior" if finding["change"] == NEW else "current"), _other(finding)
    if not other["in_field"]:
        return f"That place lies outside the {name} exam's field of view."
    text = f"The {name} exam has no candidate there; its enhancement at that place stands beside it."
    return text if other["in_breasts"] else f"That place was not read as breast in the {name} exam. {text}"


def _other(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the exam that a new or vanished finding is not in; of a pair the prior one's."""
    return finding["current" if finding["change"] == VANISHED else "prior"]
