"""The report of an exam: one page on what was found, how, and how far to trust it, for the screen and for A4.

Self-contained HTML: no script, nothing from outside, every text escaped. Needs no Slicer: pictures come in as
PNG bytes. The page itself is ``templates/report.html.jinja``; this module fills it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.errors import OutputError
from ..exam.plan import LEFT_OUT
from ..findings.kinetics import peak_curve
from . import wording
from .curve_plot import BRIGHTEST, MEAN, curve_plot
from .pages import render
from .plan_table import HEAD, NUMBERS, joined_left_out, plan_rows

Rows = list[tuple[str, str]]


def write_report(path: str | os.PathLike, result: Mapping, images: Mapping[str, bytes]) -> None:
    """Write the report of an analysis as one HTML file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    result : mapping
        The content of ``result.json``.
    images : mapping of str to bytes
        Caption → PNG. The first two, the whole exam and a close-up of the finding, stand before the table of
        candidates, those of further candidates after it, projections beside the tumour volume.

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
    finding, curve = result.get("finding") or {}, peak_curve(result)
    mean = finding.get("kinetics")
    projections = [item for item in images.items() if item[0].startswith(wording.PROJECTIONS)]
    model, out_of_range = result.get("model") or {}, _out_of_range(result)
    return render(
        "report.html.jinja",
        exam_id=result.get("exam_id"),
        written=written,
        training_data=model.get("training_data") or "simulated exams",
        suspicious=bool(result["malignant"]),
        verdict=wording.verdict(result),
        probability=float(result["probability"]),
        probability_text=wording.probability_text(result["probability"]),
        threshold=float(result["threshold"]),
        operating_point=result.get("operating_point"),
        breasts=wording.breasts_text(result),
        prevalence=wording.prevalence_text(result),
        meaningful=bool(result.get("map_meaningful", True)),
        no_finding=wording.NO_FINDING,
        map_label=wording.map_label(result),
        model_line=_model_line(model),
        out_of_range_title=wording.OUT_OF_RANGE,
        out_of_range=out_of_range,
        warnings=[text for text in result.get("warnings") or () if text not in out_of_range],
        finding=_finding(finding),
        curves=_curves({BRIGHTEST: curve, MEAN: mean}),
        plot=curve_plot(curve, mean) if curve else None,
        curve_text=None if not curve else "" if mean else wording.curve_text(curve),
        figures=[item for item in images.items() if item not in projections],
        projections=projections,
        tumour_volume=wording.tumour_volume_rows(result),
        candidates=_candidates(result),
        plan=_plan(result),
        mask=_mask(result),
        notes=_notes(result),
        model=_model(model),
        model_sha256=model.get("sha256", ""),
        provenance=_provenance(result),
    )


def _model_line(model: Mapping) -> str:
    """Model, checksum and what it achieved, in one line under the score."""
    sha256, training_data = str(model.get("sha256") or ""), model.get("training_data") or "simulated exams"
    evidence = ". ".join(wording.evidence_lines(model.get("evidence"))[:2])
    about = f"SHA-256 {sha256[:12]}…, trained on {training_data}"
    return f"Model {model.get('name', '')} ({about}): {evidence or wording.NO_EVIDENCE}."


def _out_of_range(result: Mapping) -> list[str]:
    """Why the exam is not one the model was made for."""
    reasons = result.get("out_of_range") or ()
    return [reason["text"] if isinstance(reason, Mapping) else reason for reason in reasons]


def _finding(finding: Mapping) -> Rows:
    if not finding:
        return []
    rows = [("Position", f"{wording.breast_text(finding)}, {wording.position_text(finding['ras_mm'])}")]
    if finding.get("probability") is not None:
        rows.append(("Probability of this candidate", wording.percent(finding["probability"])))
    if depth := wording.depth_text(finding):
        rows.append(("Depth", depth))
    rows.append(("Diameter, volume", wording.size_text(finding) or "not measured: no distinct enhancement"))
    if reasons := wording.reasons_text(finding):
        rows.append(("Reasons", reasons))
    return rows


def _curves(curves: Mapping[str, Mapping | None]) -> list[tuple[str, ...]]:
    """Title, type, wash-in and delayed change of each curve that was measured."""
    return [
        (
            title,
            curve.get("type") or "unknown",
            wording.amount_text(curve.get("wash_in"), str(curve.get("unit") or "")),
            wording.amount_text(curve.get("wash_out"), "%"),
        )
        for title, curve in curves.items()
        if curve
    ]


def _candidates(result: Mapping) -> dict[str, Any]:
    """A table of the candidates, most suspicious first; columns without any entry are left out."""
    peaks = result.get("peaks") or ()
    scored = all(peak.get("probability") is not None for peak in peaks)
    score = "Probability" if scored else "Map value"
    columns: dict[str, list[str]] = {
        "#": [str(number) for number, _ in enumerate(peaks, 1)],
        "Position mm": [wording.position_text(peak["ras_mm"], 1).removesuffix(" mm") for peak in peaks],
        "Side": [peak.get("side", "") for peak in peaks],
        "Depth mm": [_rounded(peak.get("depth_mm")) for peak in peaks],
        "Size mm": [_rounded(peak.get("size_mm")) for peak in peaks],
        score: [wording.percent(peak["probability"]) if scored else f"{peak['value']:.2f}" for peak in peaks],
        "Moved mm": [_rounded(wording.moved_mm(peak) or None) for peak in peaks],
        "Curve": [(peak_curve(result, index) or {}).get("type") or "" for index, _ in enumerate(peaks)],
    }
    head = [name for name, entries in columns.items() if any(entries)]
    numbers = {index for index, name in enumerate(head) if name not in ("Position mm", "Side", "Curve")}
    return {"head": head, "rows": list(zip(*(columns[name] for name in head))), "numbers": numbers}


def _rounded(value: float | None, unknown: str = "") -> str:
    return unknown if value is None else f"{float(value):.0f}"


def _plan(result: Mapping) -> dict[str, Any]:
    """The table of how the exam was understood: its stacks, or where none is recorded its phases alone."""
    if stacks := joined_left_out(result.get("stacks") or ()):
        soft = {number for number, stack in enumerate(stacks) if stack["role"] == LEFT_OUT}
        return {"head": HEAD, "rows": plan_rows(stacks), "numbers": NUMBERS, "soft": soft}
    rows = [
        (str(number), phase.get("name", ""), phase.get("role", ""), _rounded(phase.get("time_s"), "unknown"))
        for number, phase in enumerate(result.get("phases") or (), 1)
    ]
    return {"head": ("#", "Name", "Role", "Time s"), "rows": rows, "numbers": (0, 3)}


def _mask(result: Mapping) -> Rows:
    rows = [("Mask from", wording.mask_text(result))]
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
    return rows


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
