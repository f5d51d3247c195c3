"""One page that says what was found, how, and how far to trust it: self-contained HTML for the screen and for A4.

No script, no outside resource, every text escaped. No Slicer needed: pictures come in as PNG bytes.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from pathlib import Path

from ..core.errors import OutputError
from ..findings.kinetics import curve_points, peak_curve
from ..models.cards import evidence_lines
from .wording import note_of, title_of

MAP_NOTE = "The map is a hint where to look, not an outline of a lesion."
CURVE_NOTE = (
    "Curves: of the brightest 4 mm within 9 mm of the place, and the mean of all voxels inside the outline; later change is that of the "
    "last phase against the highest of the first two minutes."
)
MOVED_NOTE = "Places are moved from the map's own maximum to the enhancement beside it, by the distance given."
OUTLINE_NOTE = (
    "The outline is the region that enhances early, at least half as much above its surroundings as its brightest part; "
    "it has not been drawn or checked by a reader."
)
NOT_MEANINGFUL_NOTE = "The score is below the threshold: the map and its peaks are not meaningful at this score and mark no finding."

CURVE_COLOURS = ("#a3231b", "#1f5f8b")  # at the place itself, mean of the outline

_STYLE = """
:root { --ink: #1b1f24; --soft: #5b6570; --line: #d8dde3; --warn: #8a4b00; --warnbg: #fff4e0; --hot: #a3231b; --calm: #1f5f8b; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 28px 28px; max-width: 980px; background: #fff; color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.banner { margin: 0 -28px 18px; padding: 8px 28px; background: var(--warnbg); color: var(--warn);
  border-bottom: 1px solid #f0d9ae; font-weight: 600; }
h1 { margin: 0 0 2px; font-size: 21px; }
h2 { margin: 20px 0 6px; font-size: 15px; border-bottom: 1px solid var(--line); padding-bottom: 3px; }
p { margin: 4px 0; }
.soft { color: var(--soft); }
.verdict { display: flex; gap: 26px; align-items: center; margin: 12px 0 14px; padding: 12px 16px; border: 1px solid var(--line);
  border-left: 6px solid var(--calm); border-radius: 4px; }
.verdict.suspicious { border-left-color: var(--hot); }
.verdict strong { display: block; font-size: 22px; color: var(--calm); }
.verdict.suspicious strong { color: var(--hot); }
.scale { flex: 1; max-width: 420px; margin-left: auto; }
figure { margin: 10px 0; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; background: #000; border-radius: 3px; }
figcaption { margin-top: 3px; color: var(--soft); font-size: 12.5px; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; }
.columns figcaption { font-size: 11.5px; }
.notes { font-size: 13px; }
.columns section > .pairs { margin-bottom: 8px; }
.model { margin: -6px 0 12px; font-size: 12.5px; }
.alarm { margin: 10px 0; padding: 7px 12px; border: 1px solid #f0d9ae; background: var(--warnbg); color: var(--warn); border-radius: 4px; }
.alarm ul { margin: 2px 0; }
section { break-inside: avoid; min-width: 0; }
table { width: 100%; border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #edf0f3; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; }
.pairs th { width: 36%; font-weight: 400; }
.details .pairs th { width: 24%; }
ul { margin: 4px 0; padding-left: 20px; }
.warnings li { color: var(--warn); }
code { font: 12px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: #5b6570; }
@media (max-width: 720px) { .columns { grid-template-columns: 1fr; } .verdict { flex-wrap: wrap; } .scale { margin-left: 0; } }
@page { size: A4; margin: 10mm 12mm; }
@media print { body { padding: 0; max-width: none; font-size: 11px; } .banner { margin: 0 0 8px; padding: 5px 10px; }
  table { font-size: 10.5px; } th, td { padding-top: 2px; padding-bottom: 2px; } h1 { font-size: 17px; }
  h2 { margin-top: 9px; font-size: 13px; break-after: avoid; } .columns { grid-template-columns: 1fr 1fr; }
  .verdict { margin: 7px 0 10px; padding: 7px 14px; } .verdict strong { font-size: 18px; } figure { margin: 6px 0; }
  .model, .soft, figcaption { font-size: 9.5px; } .notes { font-size: 10px; }
  .details table { font-size: 9.5px; } .details code { font-size: 9px; } .details td, .details th { padding-top: 1px; padding-bottom: 1px; }
  .pictures { width: 78%; margin: 0 auto; } p, ul { line-height: 1.3; }
  .columns svg { max-height: 42mm; }
  body, .banner, .alarm { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def write_report(path: str | os.PathLike, result: Mapping, images: Mapping[str, bytes], *, map_note: str = MAP_NOTE) -> None:
    """Write the report of an analysis as one HTML file.

    result: the dict of ``result.json``. images: caption → PNG bytes; the first two, of the whole exam and of the finding from
    near, stand before the table of places, those of further peaks after it. map_note: a sentence about the map.
    Raises OutputError when the file cannot be written.
    """
    page = report_html(result, images, map_note=map_note, made=datetime.now())
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written ({error.strerror}); choose another output folder.") from error


def report_html(result: Mapping, images: Mapping[str, bytes], *, map_note: str = MAP_NOTE, made: datetime | None = None) -> str:
    """The report as a string; see :func:`write_report`. made: local date and time to print on it."""
    training = _text((result.get("model") or {}).get("training_data") or "simulated exams")
    date = f", report made {made:%Y-%m-%d %H:%M}" if made is not None else ""
    finding, curve = _finding(result), _kinetics(result)
    figures = [_figure(caption, png) for caption, png in images.items()]
    meaningful = bool(result.get("map_meaningful"))
    parts = [
        f'<div class="banner">Research use only, not for diagnosis. Model trained on {training}.</div>',
        "<header><h1>Breast DCE-MRI analysis</h1>",
        f'<p class="soft">Exam <code>{_text(result.get("exam_id"))}</code>{_text(date)}</p></header>',
        _verdict(result),
        _model_line(result),
        _out_of_range(result),
        f'<div class="columns">{finding}{curve}</div>' if finding else "",
        f'<div class="pictures">{"".join(figures[:2])}</div>' if figures else "",
        "" if meaningful else f"<p><b>{_text(NOT_MEANINGFUL_NOTE)}</b></p>",
        _peaks(result),
        _warnings(result),
        '<div class="details">',
        f'<section><h2>Further places</h2><div class="columns">{"".join(figures[2:])}</div></section>' if figures[2:] else "",
        '<div class="columns">',
        "" if finding else curve,
        _phases(result),
        _mask(result),
        "</div>",
        _notes(result, map_note),
        f'<div class="columns">{_model(result)}{_provenance(result)}</div>',
        "</div>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>Breast DCE-MRI analysis {_text(result.get('exam_id'))}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def kinetic_curve_svg(curve: Mapping, width: int = 440, height: int = 210, mean: Mapping | None = None) -> str:
    """An enhancement curve (as ``kinetics.curve_at`` returns it) as inline SVG; "" when it cannot be drawn.

    A pre-contrast phase taken long before the others is drawn close to them, its segment dashed: the injection was later.
    mean: the mean curve of the finding's outline, drawn beside it where its times and unit are the same.
    """
    places, values, title = curve_points(curve)
    if not places:
        return ""
    unit = str(curve.get("unit") or "a.u.")
    beside = curve_points(mean)[1] if mean and str(mean.get("unit") or "a.u.") == unit else []
    beside = beside if len(beside) == len(places) else []
    labels = [f"{place:.0f}" for place in places]
    places, broken = drawn_places(places, title)
    left, right, top, bottom = 50, 14, 30 if beside else 14, 40
    low, high = min(0.0, *values, *beside), max(0.0, *values, *beside)
    high = high if high > low else low + 1.0
    high += 0.08 * (high - low)
    span = (places[-1] - places[0]) or 1.0

    def x(place: float) -> float:
        return left + (place - places[0]) / span * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    def drawn(heights: list[float], colour: str) -> str:
        spots = [f"{x(place):.1f},{y(value):.1f}" for place, value in zip(places, heights)]
        lines = f'<polyline points="{" ".join(spots[1:] if broken else spots)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        if broken:
            lines += f'<polyline points="{" ".join(spots[:2])}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="3 5"/>'
        points = zip(places, heights)
        return lines + "".join(f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="3.2" fill="{colour}"/>' for place, value in points)

    marks = [
        f'<line x1="{left}" y1="{y(value):.1f}" x2="{width - right}" y2="{y(value):.1f}" stroke="#e3e7eb"/>'
        f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in axis_ticks(low, high)
    ]
    last = -1000.0
    for place, label in zip(places, labels):
        if x(place) - last >= 32:  # labels must not run into each other
            marks.append(f'<text x="{x(place):.1f}" y="{height - bottom + 16}" text-anchor="middle">{label}</text>')
            last = x(place)
    key = ""
    if beside:
        for at, colour, text in ((left, CURVE_COLOURS[0], "brightest 4 mm"), (left + 150, CURVE_COLOURS[1], "mean of the outline")):
            key += f'<line x1="{at}" y1="12" x2="{at + 20}" y2="12" stroke="{colour}" stroke-width="2"/>'
            key += f'<text x="{at + 26}" y="16">{text}</text>'
    middle = (left + width - right) / 2
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="Enhancement over {title}">'
        f"{''.join(marks)}{key}{drawn(beside, CURVE_COLOURS[1]) if beside else ''}{drawn(values, CURVE_COLOURS[0])}"
        f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{title}</text>'
        f'<text x="12" y="{(top + height - bottom) / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 12 {(top + height - bottom) / 2:.0f})">enhancement ({_text(unit)})</text></svg>'
    )


def drawn_places(places: list[float], title: str) -> tuple[list[float], bool]:
    """Where to draw the times of a curve (``kinetics.curve_points``), and whether its first segment leaves time out (dash it)."""
    steps = sorted(b - a for a, b in zip(places[1:], places[2:]))
    usual = steps[len(steps) // 2] if steps else 0.0
    timed = title != "phase" and not title.startswith("time from")
    if not (timed and usual > 0 and places[1] - places[0] > 3 * usual):
        return places, False
    return [places[1] - 1.5 * usual, *places[1:]], True


def curve_facts(curve: Mapping, short: bool = False) -> list[str]:
    """Wash-in and wash-out of a curve in words, where they were measured. short: for a title."""
    facts, later = [], "later" if short else "change after the early peak"
    for key, title, unit in (("wash_in", "wash-in", str(curve.get("unit") or "")), ("wash_out", later, "%")):
        if curve.get(key) is not None:
            facts.append(f"{title} {_amount(curve[key], unit)}")
    return facts


def chance(probability: float) -> str:
    """ "0.934"; never "0.000" or "1.000", which no model can know."""
    value = float(probability)
    return "<0.001" if value < 0.0005 else ">0.999" if value >= 0.9995 else f"{value:.3f}"


def percent(fraction: float) -> str:
    """ "93 %"; never "0 %" or "100 %" for a probability that is not exactly that."""
    value = 100 * float(fraction)
    if 0 < value < 0.5:
        return "<1 %"
    if 99.5 <= value < 100:
        return ">99 %"
    return f"{value:.0f} %"


def place_text(ras_mm: Iterable[float], digits: int = 0) -> str:
    """A place (RAS, mm) as a reader says it: "L 37, A 7, S 53 mm"."""
    return ", ".join(f"{letters[value < 0]} {abs(value):.{digits}f}" for letters, value in zip(("RL", "AP", "SI"), ras_mm)) + " mm"


def breast_text(record: Mapping) -> str:
    """In which breast a peak or finding lies: "left breast"; "breast" in an exam of one."""
    return f"{record.get('side') or ''} breast".strip()


def size_text(record: Mapping) -> str:
    """Size of a peak's or finding's outline: "24 mm, 3.6 ml"; "" where it has none."""
    if record.get("size_mm") is None:
        return ""
    ml = float(record["volume_ml"])
    return f"{float(record['size_mm']):.0f} mm, {ml:.{1 if ml >= 1 else 2}f} ml"


def moved_text(peak: Mapping) -> str:
    """How far a peak was moved from the map's own maximum; "" when it was not."""
    distance = _moved_mm(peak)
    return f"Moved {distance:.0f} mm from the map's own maximum to the enhancement beside it" if distance >= 0.5 else ""


def _moved_mm(peak: Mapping) -> float:
    return sum((a - b) ** 2 for a, b in zip(peak["ras_mm"], peak.get("map_ras_mm") or peak["ras_mm"])) ** 0.5


def outline_names(result: Mapping) -> dict[int, str]:
    """Label → name of each outline of a result: "Finding: 24 mm, 3.6 ml", "Peak 2: 9 mm, 0.13 ml"."""
    owners = {place: peak for place, peak in enumerate(result.get("peaks") or (), 1) if peak.get("outline") == place}
    return {place: f"{'Finding' if place == 1 else f'Peak {place}'}: {size_text(peak)}" for place, peak in owners.items()}


def finding_text(result: Mapping) -> str:
    """The finding in one line, or why there is none."""
    finding = result.get("finding")
    if not result.get("map_meaningful", True):
        return "none, as the score is below the threshold"
    if not finding:
        return "at the first peak"
    depth = "" if finding.get("depth_mm") is None else f"{float(finding['depth_mm']):.0f} mm below the skin"
    kind = (finding.get("kinetics") or {}).get("type")
    mean = f"mean curve {kind}" if kind else ""
    return ", ".join(filter(None, (breast_text(finding), size_text(finding), depth, mean)))


def _finding(result: Mapping) -> str:
    finding = result.get("finding")
    if not finding:
        return ""
    pairs = [("Where", f"{breast_text(finding)}, {place_text(finding['ras_mm'])}")]
    if finding.get("probability") is not None:
        pairs.append(("Probability here", percent(finding["probability"])))
    if finding.get("depth_mm") is not None:
        pairs.append(("Depth from the skin", f"{float(finding['depth_mm']):.0f} mm"))
    pairs.append(("Diameter, volume", size_text(finding) or "not measured: nothing stands out there"))
    if reasons := reasons_text(finding):
        pairs.append(("What speaks", reasons))
    curves = [("brightest 4 mm", peak_curve(result)), ("mean of the outline", finding.get("kinetics"))]
    return f"<section><h2>Finding</h2>{_pairs(pairs)}{_curve_table(curves)}</section>"


def reasons_text(record: Mapping) -> str:
    """What speaks for and against a place: "for it: curve and wash-out, brightness; against it: size and shape"; "" if unknown.

    The strongest first; groups that move the place's logit by less than 0.5 are left out.
    """
    reasons = record.get("reasons") or {}
    sides = [("for it", [what for what, share in reasons.items() if share >= 0.5])]
    sides.append(("against it", [what for what, share in reasons.items() if share <= -0.5]))
    return "; ".join(f"{side}: {', '.join(what)}" for side, what in sides if what)


def _curve_table(curves: Iterable[tuple[str, Mapping | None]]) -> str:
    rows = []
    for title, curve in curves:
        if curve:
            unit = str(curve.get("unit") or "")
            rows.append((title, curve.get("type") or "unknown", _amount(curve.get("wash_in"), unit), _amount(curve.get("wash_out"), "%")))
    return _table(("Curve", "Type", "Wash-in", "Later change"), rows, numbers={2, 3}) if rows else ""


def _amount(value: object, unit: str) -> str:
    """A number of a curve with its unit and a true minus sign; "" for None."""
    if value is None:
        return ""
    number = f"{float(value):.0f}" if unit == "%" else _number(value)
    return f"{'0' if number == '-0' else number.replace('-', '−')} {unit}".rstrip()


def _notes(result: Mapping, map_note: str) -> str:
    """What map, outline, places and curves are, in small print."""
    notes = [note_of(result.get("map")), map_note]
    if any(peak.get("size_mm") is not None for peak in result.get("peaks") or ()):
        notes.append(OUTLINE_NOTE)
    if any(_moved_mm(peak) >= 0.5 for peak in result.get("peaks") or ()):
        notes.append(MOVED_NOTE)
    if peak_curve(result):
        notes.append(CURVE_NOTE)
    items = "".join(f"<li>{_text(note)}</li>" for note in notes if note)
    return f'<section><h2>How to read it</h2><ul class="notes">{items}</ul></section>'


def _model_line(result: Mapping) -> str:
    """Model, checksum and what it achieved, in one line under the score."""
    model = result.get("model") or {}
    sha = str(model.get("sha256") or "")
    evidence = ". ".join(evidence_lines(model.get("evidence"))[:2]) or "no evidence is recorded in its card"
    about = f"SHA-256 {sha[:12]}…, trained on {model.get('training_data') or 'simulated exams'}"
    line = f"Model {model.get('name', '')} ({about}): {evidence}."
    return f'<p class="soft model">{_text(line)}</p>'


def _out_of_range(result: Mapping) -> str:
    """Why the exam is not one the model was made for; "" when nothing of the kind was found."""
    reasons = [reason.get("text") if isinstance(reason, Mapping) else reason for reason in result.get("out_of_range") or ()]
    items = "".join(f"<li>{_text(text)}</li>" for text in reasons)
    title = "Outside what the model was made for: do not rely on the score."
    return f'<div class="alarm"><b>{title}</b><ul>{items}</ul></div>' if items else ""


def _verdict(result: Mapping) -> str:
    probability, threshold = float(result["probability"]), float(result["threshold"])
    malignant = bool(result["malignant"])
    fill = "#a3231b" if malignant else "#1f5f8b"
    bar = (
        '<svg class="scale" viewBox="0 0 420 46" role="img" aria-label="Probability on a scale from 0 to 1">'
        '<rect x="10" y="10" width="400" height="10" rx="5" fill="#e3e7eb"/>'
        f'<rect x="10" y="10" width="{400 * min(max(probability, 0), 1):.1f}" height="10" rx="5" fill="{fill}"/>'
        f'<line x1="{10 + 400 * threshold:.1f}" y1="4" x2="{10 + 400 * threshold:.1f}" y2="26" stroke="#1b1f24" stroke-width="2"/>'
        '<text x="10" y="40">0</text><text x="410" y="40" text-anchor="end">1</text>'
        f'<text x="{10 + 400 * min(max(threshold, 0.12), 0.88):.1f}" y="40" text-anchor="middle">threshold {threshold:.2f}</text></svg>'
    )
    word = "Suspicious" if malignant else "Not suspicious"
    relation = "at or above" if malignant else "below"
    return (
        f'<div class="verdict{" suspicious" if malignant else ""}"><div><strong>{word}</strong>'
        f"Probability of malignancy <b>{_text(chance(probability))}</b>, {relation} the threshold {threshold:.3f}</div>{bar}</div>"
    )


def _warnings(result: Mapping) -> str:
    said = {reason.get("text") for reason in result.get("out_of_range") or () if isinstance(reason, Mapping)}
    items = "".join(f"<li>{_text(text)}</li>" for text in result.get("warnings") or () if text not in said)
    return f'<section><h2>To keep in mind</h2><ul class="warnings">{items}</ul></section>' if items else ""


def _figure(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}"><figcaption>{_text(caption)}</figcaption></figure>'


def _peaks(result: Mapping) -> str:
    meaning = "" if result.get("map_meaningful", True) else ", not meaningful at this score"
    title = f"Places the map points at ({_text(title_of(result.get('map')))}{meaning})"
    peaks = result.get("peaks") or ()
    scored = bool(peaks) and all(peak.get("probability") is not None for peak in peaks)
    rows = []
    for place, peak in enumerate(peaks, 1):
        depth = "" if peak.get("depth_mm") is None else f"{float(peak['depth_mm']):.0f}"
        size = "" if peak.get("size_mm") is None else f"{float(peak['size_mm']):.0f}"
        score = percent(peak["probability"]) if scored else f"{float(peak['value']):.2f}"
        moved = f"{distance:.0f}" if (distance := _moved_mm(peak)) >= 0.5 else ""
        kind = (peak_curve(result, place - 1) or {}).get("type") or ""
        where = place_text(peak["ras_mm"], 1).removesuffix(" mm")
        rows.append((str(place), where, peak.get("side", ""), depth, size, score, moved, kind))
    if not rows:
        return f"<section><h2>{title}</h2><p>None.</p></section>"
    head = ("#", "Position mm", "Side", "Depth mm", "Size mm", "Probability" if scored else "Map value", "Moved mm", "Curve")
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    numbers = {place for place, column in enumerate(kept) if head[column] not in ("Position mm", "Side", "Curve")}
    table = _table([head[c] for c in kept], [[row[c] for c in kept] for row in rows], numbers=numbers)
    return f"<section><h2>{title}</h2>{table}</section>"


def _kinetics(result: Mapping) -> str:
    curve = peak_curve(result)
    title = "Enhancement over time" if result.get("map_meaningful", True) else "Enhancement at the first place (no finding)"
    if not curve:
        return f"<section><h2>{title}</h2><p>Not available for this exam.</p></section>"
    mean = (result.get("finding") or {}).get("kinetics")
    facts = "" if mean else f"<p>{_text(', '.join([curve.get('type') or 'type unknown', *curve_facts(curve)]))}</p>"
    return f"<section><h2>{title}</h2>{kinetic_curve_svg(curve, mean=mean)}{facts}</section>"


def _phases(result: Mapping) -> str:
    rows = []
    for place, phase in enumerate(result.get("phases") or (), 1):
        time = phase.get("time_s")
        rows.append((str(place), phase.get("name", ""), phase.get("role", ""), "unknown" if time is None else f"{float(time):.0f}"))
    return f"<section><h2>Phases</h2>{_table(('#', 'Name', 'Role', 'Time s'), rows, numbers={0, 3})}</section>" if rows else ""


def _mask(result: Mapping) -> str:
    mask = result.get("mask") or {}
    sources = {"t1": "the T1 without fat saturation", "pre": "the pre-contrast phase", "subtractions": "the subtractions"}
    pairs = [("Mask from", sources.get(mask.get("source"), mask.get("source", "unknown")))]
    if mask.get("volume_ml") is not None:
        pairs.append(("Mask volume", f"{float(mask['volume_ml']):.0f} ml"))
    if result.get("t1"):
        pairs.append(("T1", result["t1"].get("name", "")))
    grid = (result.get("input") or {}).get("grid") or {}
    if grid.get("size"):
        pairs.append(("Grid of the exam", " × ".join(str(number) for number in grid["size"]) + " voxels"))
    return f"<section><h2>Breast mask</h2>{_pairs(pairs)}</section>"


def _model(result: Mapping) -> str:
    model = result.get("model") or {}
    pairs = [("Name", model.get("name", "")), ("Trained on", model.get("training_data", "simulated exams"))]
    lines = evidence_lines(model.get("evidence"))
    told = [("Evidence" if n == 0 else "", line) for n, line in enumerate(lines)]
    pairs += told or [(f"Evidence: {key}", value) for key, value in _flatten(model.get("evidence"))]
    hash_row = f'<tr><th scope="row">SHA-256</th><td><code>{_text(model.get("sha256"))}</code></td></tr>'
    return f"<section><h2>Model</h2>{_pairs(pairs, extra=hash_row)}</section>"


def _provenance(result: Mapping) -> str:
    """What reproduces the run: identifiers, device, versions, timings."""
    source = result.get("input") or {}
    why = f": {result['device_reason']}" if result.get("device_reason") else ""
    pairs = [
        ("Exam, result schema", f"{result.get('exam_id', '')}, {result.get('schema_version', '')}"),
        ("Computed on", f"{result.get('device', '')} ({result.get('precision', '')}){why}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())),
        ("Seconds", ", ".join(f"{stage} {_number(seconds)}" for stage, seconds in (result.get("timings_s") or {}).items())),
    ]
    if source.get("study_instance_uid"):
        pairs.append(("Study instance UID", source["study_instance_uid"]))
    if source.get("series_instance_uids"):
        pairs.append(("Series instance UIDs", ", ".join(str(uid) for uid in source["series_instance_uids"])))
    return f"<section><h2>Provenance</h2>{_pairs((name, value) for name, value in pairs if value)}</section>"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]], numbers: set[int] | frozenset[int] = frozenset()) -> str:
    def cell(tag: str, column: int, value: object) -> str:
        style = ' class="number"' if column in numbers else ""
        return f"<{tag}{style}>{_text(value)}</{tag}>"

    header = "".join(cell("th", column, value) for column, value in enumerate(head))
    lines = "".join("<tr>" + "".join(cell("td", column, value) for column, value in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table>"


def _pairs(pairs: Iterable[tuple[str, object]], extra: str = "") -> str:
    lines = "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in pairs)
    return f'<table class="pairs"><tbody>{lines}{extra}</tbody></table>'


def _flatten(evidence: object, prefix: str = "") -> list[tuple[str, str]]:
    if evidence is None or evidence == {}:
        return []
    if isinstance(evidence, Mapping):
        return [entry for key, value in evidence.items() for entry in _flatten(value, f"{prefix}{str(key).replace('_', ' ')} ")]
    if isinstance(evidence, (list, tuple)):
        return [(prefix.strip() or "evidence", ", ".join(_number(value) for value in evidence))]
    return [(prefix.strip() or "evidence", _number(evidence))]


def axis_ticks(low: float, high: float) -> list[float]:
    """About four round numbers between the limits."""
    from math import ceil, floor, log10

    raw = (high - low) / 4
    power = 10 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [round(index * step, 10) for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _finite(number: float) -> bool:
    return number == number and abs(number) != float("inf")


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(value: object) -> str:
    return escape("" if value is None else str(value), quote=True)
