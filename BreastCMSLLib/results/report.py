"""The report of an exam, for the screen and for A4: verdict, first picture and finding on the first page,
candidates, map and tumour volume on the second, numbers and identifiers in an appendix.

Self-contained HTML: no script, nothing from outside, every text escaped. Needs no Slicer: pictures come in as
PNG bytes. The page itself is ``templates/report.html.jinja``; this module fills it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.errors import OutputError
from ..exam.plan import LEFT_OUT
from ..findings.kinetics import peak_curve
from . import wording
from . import wording_descriptors as described
from . import wording_finding as words
from .curve_plot import curve_plot
from .pages import render
from .plan_table import HEAD, NUMBERS, joined_left_out, plan_rows
from .report_parts import (
    COMPARED,
    FOLDED,
    FOLDED_UNSCORED,
    Rows,
    candidate_table,
    comparison_lines,
    curve_rows,
    finding_rows,
    similar_lesions,
    sorted_figures,
    verdict_parts,
    verdict_place,
)
from .wording_verdict import cutoff_text, is_in_range

_BAR = 58.0  # pixels of the longest bar


def write_report(path: str | os.PathLike, result: Mapping, images: Mapping[str, bytes]) -> None:
    """Write the report of an analysis as one HTML file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    result : mapping
        The content of ``result.json``.
    images : mapping of str to bytes
        Caption → PNG: the first picture, the first candidate with the map and close up, further candidates,
        projections.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    page = report_html(result, images, written=datetime.now())
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report {path} cannot be written ({error.strerror}); choose another output folder."
        ) from error


def report_html(result: Mapping, images: Mapping[str, bytes], *, written: datetime | None = None) -> str:
    """The report as a string.

    Parameters
    ----------
    result, images
        See :func:`write_report`.
    written : datetime, optional
        Local date and time to print on it.

    Returns
    -------
    str
    """
    curve, mean = peak_curve(result), (result.get("finding") or {}).get("kinetics")
    model = result.get("model") or {}
    figures, (similar, similar_figures) = sorted_figures(images), similar_lesions(result)
    return render(
        "report.html.jinja",
        exam_id=result.get("exam_id"),
        written=written,
        training_data=model.get("training_data") or "simulated exams",
        **_verdict(result),
        first_figures=figures.first,
        map_figures=figures.map,
        further_figures=figures.further,
        projections=figures.projections,
        finding=finding_rows(result),
        reasons_title=words.REASONS_TITLE,
        reasons_note=words.REASONS_NOTE,
        reasons=_bars(words.reason_rows(result.get("finding") or {}, mean or curve)),
        curves=curve_rows(result),
        plot=curve_plot(curve, mean) if curve else None,
        curve_unknowns=words.curve_unknowns(result, curve) if curve else "",
        voxel_types=words.voxel_types_text(result.get("finding") or {}),
        candidates=candidate_table(result),
        low=words.low_text(result),
        suspicion_note=words.suspicion_note(result),
        folded_title=FOLDED if is_in_range(result) else FOLDED_UNSCORED,
        map_label=wording.map_label(result),
        legend=wording.LEGEND.format(least=float(result.get("map_threshold", 0.4))),
        tumour_volume=wording.tumour_volume_rows(result),
        compared_title=COMPARED,
        comparison=comparison_lines(result),
        breast_tissue=described.breast_rows(result),
        similar_title=described.SIMILAR_TITLE,
        similar=similar,
        similar_figures=similar_figures,
        similar_note=described.SIMILAR_NOTE,
        notes=_notes(result),
        facts=_facts(result),
        plan=_plan(result),
        model=_model(model),
        model_sha256=model.get("sha256", ""),
        provenance=_provenance(result),
    )


def _verdict(result: Mapping) -> dict[str, Any]:
    """What stands at the head of the page."""
    parts = verdict_parts(result)
    return {
        **parts,
        "place": verdict_place(result) if parts["state"] == "suspicious" else "",
        "probability": float(result["probability"]),
        "probability_text": wording.score_text(result),
        "threshold": float(result["threshold"]),
        "breasts": wording.breasts_text(result),
        "prevalence": wording.prevalence_text(result),
        "cutoff": cutoff_text(result),
    }


def _bars(reasons: Sequence[tuple[str, float]]) -> list[tuple[str, float, float]]:
    """Words, share and length of the bar (pixels) of each reason."""
    longest = max((abs(share) for _, share in reasons), default=1.0)
    return [(text, share, _BAR * abs(share) / longest) for text, share in reasons]


def _plan(result: Mapping) -> dict[str, Any]:
    """The table of how the exam was understood: its stacks, or where none is recorded its phases alone."""
    if stacks := joined_left_out(result.get("stacks") or ()):
        soft = {number for number, stack in enumerate(stacks) if stack["role"] == LEFT_OUT}
        return {"head": HEAD, "rows": plan_rows(stacks), "numbers": NUMBERS, "soft": soft}
    rows = [
        (str(number), phase.get("name", ""), phase.get("role", ""), _seconds(phase.get("time_s")))
        for number, phase in enumerate(result.get("phases") or (), 1)
    ]
    return {"head": ("#", "Name", "Role", "Time s"), "rows": rows, "numbers": (0, 3)}


def _seconds(time_s: float | None) -> str:
    return "unknown" if time_s is None else f"{float(time_s):.0f}"


def _facts(result: Mapping) -> Rows:
    """Positions in numbers, mask, motion and routine remarks."""
    rows = [
        (f"Candidate {number}", f"{words.coordinates_text(peak)}{_moved(peak)}")
        for number, peak in enumerate(result.get("peaks") or (), 1)
    ]
    rows.append(("Breast mask from", wording.mask_text(result)))
    volume_ml = (result.get("mask") or {}).get("volume_ml")
    if volume_ml is not None:
        rows.append(("Mask volume", f"{float(volume_ml):.0f} ml"))
    rows.append(("Read", wording.share_read_text(result)))
    if registration := wording.registration_text(result):
        rows.append(("Motion", registration))
    if result.get("t1"):
        rows.append(("T1", result["t1"].get("name", "")))
    size = ((result.get("input") or {}).get("grid") or {}).get("size")
    if size:
        rows.append(("Grid of the exam", " × ".join(str(number) for number in size) + " voxels"))
    return rows + [("Remark", text) for text in result.get("remarks") or ()]


def _moved(peak: Mapping) -> str:
    distance = wording.moved_mm(peak)
    return f"; moved {distance:.0f} mm" if distance else ""


def _notes(result: Mapping) -> list[str]:
    """What map, outline, candidates and curves are."""
    peaks = result.get("peaks") or ()
    notes = [wording.map_note(result.get("map")), wording.MAP_NOTE]
    if any(peak.get("size_mm") is not None for peak in peaks):
        notes.append(wording.OUTLINE_NOTE)
    if any(wording.moved_mm(peak) for peak in peaks):
        notes.append(wording.MOVED_NOTE)
    if peak_curve(result):
        notes.append(wording.CURVE_NOTE)
    if (result.get("finding") or {}).get("descriptors") or result.get("breast_descriptors"):
        notes.append(described.NOTE)
    return [note for note in notes if note]


def _model(model: Mapping) -> Rows:
    rows = [("Name", model.get("name", "")), ("Trained on", model.get("training_data", "simulated exams"))]
    lines = wording.evidence_lines(model.get("evidence"))
    if lines:
        titles = ["Evidence", *[""] * (len(lines) - 1)]
        return rows + list(zip(titles, lines))
    return rows + [(f"Evidence: {key}", value) for key, value in _flatten(model.get("evidence"))]


def _flatten(evidence: object, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Name and value of every number of an evidence that has another form."""
    if isinstance(evidence, Mapping):
        for key, value in evidence.items():
            yield from _flatten(value, f"{prefix} {str(key).replace('_', ' ')}".strip())
    elif isinstance(evidence, (list, tuple)):
        yield prefix or "evidence", ", ".join(wording.number_text(value) for value in evidence)
    elif evidence is not None:
        yield prefix or "evidence", wording.number_text(evidence)


def _provenance(result: Mapping) -> Rows:
    """What reproduces the run: identifiers, device, versions, timings."""
    source = result.get("input") or {}
    reason = f": {result['device_reason']}" if result.get("device_reason") else ""
    versions, timings = result.get("versions") or {}, result.get("timings_s") or {}
    rows = [
        ("Exam, result schema", f"{result.get('exam_id', '')}, {result.get('schema_version', '')}"),
        ("Computed on", f"{result.get('device', '')} ({result.get('precision', '')}){reason}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        (
            "Seconds",
            ", ".join(f"{stage} {wording.number_text(seconds)}" for stage, seconds in timings.items()),
        ),
        ("Study instance UID", source.get("study_instance_uid")),
        ("Series instance UIDs", ", ".join(str(uid) for uid in source.get("series_instance_uids") or ())),
    ]
    return [(name, value) for name, value in rows if value]
