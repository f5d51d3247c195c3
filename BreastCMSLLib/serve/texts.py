"""What stands on the page about an exam and its result, as plain values that a browser can get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks.input_check import BAD, FAIR, Check
from ..exam import ExamPlan
from ..findings.kinetics import peak_curve
from ..results import wording as words
from ..results import wording_finding as places
from ..results import wording_verdict as said
from ..results.curve_plot import curve_plot
from ..results.pages import render
from ..results.plan_table import plan_rows, stack_records

_SIGNS = {FAIR: "●", BAD: "■"}  # shapes too: not everybody tells the colours apart


def plan_table(plan: ExamPlan | None) -> list[dict[str, str]]:
    """The plan of an exam, a row a series: ``name``, ``role``, ``time`` and ``reason``."""
    return [
        {"name": f"{series} {name}".strip(), "role": role, "time": time, "reason": reason}
        for _, series, name, role, time, reason in plan_rows(stack_records(plan))
    ]


def check_lines(check: Check) -> list[dict[str, str]]:
    """The input check, worst first: ``level``, ``sign`` and ``text`` of each finding."""
    return [
        {
            "level": finding.level,
            "sign": _SIGNS.get(finding.level, "✓"),
            "text": f"{finding.topic}: {finding.text}",
        }
        for finding in check.findings
    ]


def result_texts(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result in the words of the report.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    dict
        ``verdict``, ``suspicious``, ``lines``, ``cautions``, ``limits``, ``candidates``, and whether their
        suspicion is known, ``judged``.
    """
    scored = said.is_in_range(result)
    lines = []
    if scored:
        lines.append(f"Probability of malignancy {words.score_percent(result)}")
        lines += [words.breasts_text(result), words.prevalence_text(result)]
    lines += [said.verdict_note(result), *said.range_reasons(result)]
    if scored and result["malignant"]:
        lines += _finding_lines(result)
    return {
        "verdict": said.verdict_line(result),
        "suspicious": bool(scored and result["malignant"]),
        "lines": [line for line in lines if line],
        "cautions": said.cautions(result),
        "limits": [t for t in (scored and said.cutoff_text(result), said.not_analysed_text(result)) if t],
        "candidates": [_candidate(number, peak) for number, peak in enumerate(result["peaks"], 1)],
        "judged": any(peak.get("suspicion") for peak in result["peaks"]),
    }


def _finding_lines(result: Mapping[str, Any]) -> list[str]:
    finding = result.get("finding")
    if not finding:
        return []
    curve = finding.get("kinetics") or {}
    reasons = places.reasons_text(finding, curve)
    parts = [words.size_text(finding), places.curve_words(curve) if curve else ""]
    return [
        f"Finding: {places.place_text(finding)}",
        places.distances_text(finding),
        places.region_text(finding),
        ", ".join(filter(None, parts)),
        f"Reasons {reasons}" if reasons else "",
    ]


def _candidate(number: int, peak: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of candidates."""
    return {
        "number": number,
        "suspicion": peak.get("suspicion", ""),
        "place": ", ".join(filter(None, (words.breast_text(peak), places.quadrant_text(peak)))),
        "size": "" if peak.get("size_mm") is None else f"{float(peak['size_mm']):.0f} mm",
        "position": words.position_text(peak["ras_mm"]),
    }


def curve_picture(result: Mapping[str, Any], index: int) -> dict[str, str]:
    """The curve at a candidate: ``svg``, and ``text`` in one line; both "" where none was measured.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.
    index : int
        Which candidate, from 0; the first one's with the mean of its outline.
    """
    curve = peak_curve(dict(result), index)
    if not curve:
        return {"svg": "", "text": ""}
    mean = (result.get("finding") or {}).get("kinetics") if index == 0 else None
    plot = curve_plot(curve, mean, 360, 170)
    svg = "" if plot is None else render("curve.svg.jinja", plot=plot)
    return {"svg": svg, "text": f"Candidate {index + 1}, brightest 4 mm: {words.curve_text(curve)}"}
