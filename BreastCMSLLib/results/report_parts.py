"""What the reports for browser and paper have in common: rows, tables and pictures in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ModelError
from ..descriptors.atlas import atlas_strip, load_atlas
from ..findings.kinetics import peak_curve
from . import wording
from . import wording_descriptors as described
from . import wording_finding as words
from . import wording_verdict as said
from .curve_plot import BRIGHTEST, MEAN

Rows = list[tuple[str, str]]
Figures = list[tuple[str, bytes]]
COMPARED = "Compared with a prior exam"
NOTHING = "Nothing that could be measured and compared was found; this does not exclude cancer."
FOLDED = "Candidates and curve, none of which reached the threshold"
FOLDED_UNSCORED = "Candidates and curve, not to be relied on"


@dataclass(frozen=True)
class SortedFigures:
    """Caption and PNG of the pictures of a report, by where they stand.

    Parameters
    ----------
    first, map, further, projections : list of (str, bytes)
    """

    first: Figures
    map: Figures
    further: Figures
    projections: Figures


def sorted_figures(images: Mapping[str, bytes]) -> SortedFigures:
    """Sort the pictures of a report: by their captions where these tell, else by their order.

    Parameters
    ----------
    images : mapping of str to bytes
        Caption → PNG.
    """
    projections = [item for item in images.items() if item[0].startswith(wording.PROJECTIONS)]
    others = [item for item in images.items() if item not in projections]
    return SortedFigures(others[:1], others[1:3], others[3:], projections)


def verdict_parts(result: Mapping[str, Any]) -> dict[str, Any]:
    """What heads a page: ``state`` (suspicious, calm or unscored), verdict, and what limits it."""
    state = ("suspicious" if result["malignant"] else "calm") if said.is_in_range(result) else "unscored"
    return {
        "state": state,
        "verdict": said.verdict_line(result),
        "verdict_note": said.verdict_note(result),
        "range_reasons": said.range_reasons(result),
        "cautions": said.cautions(result),
        "not_analysed": said.not_analysed_text(result),
    }


def verdict_place(result: Mapping[str, Any]) -> str:
    """Where the finding is, as far as the verdict does not say it; "" where no more is known."""
    peaks = result.get("peaks") or ()
    place = words.place_text(peaks[0]) if peaks else ""
    return "" if place == wording.finding_place(result) else place


def finding_rows(result: Mapping[str, Any]) -> Rows:
    """How large the finding is, and how it lies to nipple, skin and chest wall; where, the verdict says."""
    finding = result.get("finding") or {}
    if not finding:
        return []
    rows = [
        ("From the nipple", words.from_nipple_text(finding) or words.UNSURE_PLACE),
        ("Distances", words.distances_text(finding)),
        ("Note", words.region_text(finding)),
        ("Size", wording.size_text(finding) or "not measured: no distinct enhancement"),
        ("BI-RADS words", described.lexicon_text(finding)),
    ]
    return [row for row in rows if row[1]]


def curve_rows(result: Mapping[str, Any]) -> Rows:
    """Title and words of each curve that was measured at the first candidate."""
    curves = {BRIGHTEST: peak_curve(result), MEAN: (result.get("finding") or {}).get("kinetics")}
    return [(title, words.curve_words(curve)) for title, curve in curves.items() if curve]


def comparison_lines(result: Mapping[str, Any]) -> list[str]:
    """What changed since a prior exam; empty where the exam was not compared with one."""
    compared = result.get("comparison")
    if not compared:
        return []
    findings = [finding["text"] for finding in compared["findings"]] or [NOTHING]
    return [compared["exams"], *findings, *(f"Note: {remark}" for remark in compared["remarks"])]


def similar_lesions(result: Mapping[str, Any]) -> tuple[str, Figures]:
    """What the finding looks like, "" where it is not known, and the pictures of these simulated lesions.

    No pictures where the result's lesions are of another atlas than the one at hand.
    """
    finding = result.get("finding") or {}
    text, numbers = described.similar_text(finding), described.similar_numbers(finding)
    if not numbers:
        return text, []
    try:
        if finding["looks_like"].get("atlas") != load_atlas().digest:
            return text, []
        return text, [(described.similar_caption(finding), atlas_strip(numbers))]
    except ModelError as error:
        return f"{text}. {error}", []


def candidate_table(result: Mapping[str, Any]) -> dict[str, Any]:
    """Candidates by breast, most suspicious first; columns without any entry are left out.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    dict
        ``head``, and ``groups``: title and rows of each.
    """
    columns = ("#", "Where", "Suspicion", "Size", "Depth", "Curve")
    groups = [
        (title, [_candidate_row(result, number, peak) for number, peak in pairs])
        for title, pairs in words.candidate_groups(result.get("peaks") or ())
    ]
    used = [n for n in range(len(columns)) if any(row[n] for _, rows in groups for row in rows)]
    return {
        "head": [columns[n] for n in used],
        "groups": [(title, [[row[n] for n in used] for row in rows]) for title, rows in groups],
    }


def _candidate_row(result: Mapping[str, Any], number: int, peak: Mapping[str, Any]) -> list[str]:
    curve = peak_curve(result, number - 1) or {}
    kind = curve.get("type")
    note = " (node or vessel possible)" if words.region_text(peak) else ""
    return [
        str(number),
        words.place_text(peak) + note,
        peak.get("suspicion", ""),
        wording.size_text(peak),
        wording.depth_text(peak).removesuffix(" below the skin"),
        f"{kind} ({words.TYPES.get(kind, '?')})" if kind else "",
    ]
