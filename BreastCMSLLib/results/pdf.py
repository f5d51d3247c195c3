"""The report of an exam as PDF: what the HTML report says, for paper and archives, in black and white too.

The same result gives the same bytes: neither the date of writing nor seconds stand in it. reportlab is
imported only when a report is made.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..core.text import one_line
from ..findings.kinetics import peak_curve
from . import wording
from . import wording_descriptors as described
from . import wording_finding as words
from .curve_plot import BRIGHTEST, MEAN, CurvePlot, curve_plot
from .plan_table import HEAD, joined_left_out, plan_rows
from .report_parts import (
    COMPARED,
    FOLDED,
    FOLDED_UNSCORED,
    Figures,
    SortedFigures,
    candidate_table,
    comparison_lines,
    curve_rows,
    finding_rows,
    similar_lesions,
    sorted_figures,
    verdict_place,
)
from .wording_verdict import (
    cautions,
    cutoff_text,
    is_in_range,
    not_analysed_text,
    range_reasons,
    verdict_line,
    verdict_note,
)

TITLE = "Breast DCE-MRI analysis"
BANNER = "Research use only, not for diagnosis. Model trained on {data}."
_FONT, _BOLD = "Vera", "VeraBd"  # come with reportlab; DejaVu's forerunner, free to embed
_WIDTH_MM, _MARGIN_MM = 174.0, 18.0
_LONGEST = 1000  # characters of a text from an exam


def pdf_report(result: Mapping[str, Any], images: Mapping[str, bytes]) -> bytes:
    """The report as PDF.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.
    images : mapping of str to bytes
        Caption → PNG, in the order of ``report.write_report``.

    Returns
    -------
    bytes
    """
    from reportlab import rl_config
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    _register_fonts()
    # letters in place of bytes make pictures a quarter larger, and take longer than all the rest
    rl_config.useA85 = 0
    banner = BANNER.format(data=(result.get("model") or {}).get("training_data") or "simulated exams")

    def declare(canvas, document) -> None:
        """The banner at the head of every page, exam and page number at its foot."""
        canvas.setFont(_BOLD, 9)
        canvas.rect(_MARGIN_MM * mm, 280 * mm, _WIDTH_MM * mm, 7 * mm)
        canvas.drawCentredString(105 * mm, 282.3 * mm, _legible(banner))
        canvas.setFont(_FONT, 7)
        canvas.drawString(_MARGIN_MM * mm, 9 * mm, _legible(f"Exam {result.get('exam_id', '')}"))
        canvas.drawRightString((_MARGIN_MM + _WIDTH_MM) * mm, 9 * mm, f"page {document.page}")

    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN_MM * mm - 6,  # the frame has 6 points inside
        rightMargin=_MARGIN_MM * mm - 6,
        topMargin=20 * mm,
        bottomMargin=15 * mm,
        title=TITLE,
        author="BreastCMSL",
        subject=banner,
        lang="en",
        invariant=1,
    )
    document.build(_story(result, sorted_figures(images)), onFirstPage=declare, onLaterPages=declare)
    return file.getvalue()


def _story(result: Mapping[str, Any], figures: SortedFigures) -> list:
    """All parts in the order of the HTML report; without a verdict or a finding the candidates come last."""
    from reportlab.platypus import PageBreak

    head = [*_verdict(result), *_cautions(result), *_pictures(figures.first, 84.0), *_comparison(result)]
    if not (result["malignant"] and is_in_range(result)):
        title = FOLDED if is_in_range(result) else FOLDED_UNSCORED
        folded = [
            _text(title, "title"),
            *_candidates(result),
            *_volumes(result, figures.projections),
            *_tissue(result),
        ]
        return [*head, PageBreak(), *folded, *_appendix(result)]
    legend = wording.LEGEND.format(least=float(result.get("map_threshold", 0.4)))
    map_parts = [
        _text(wording.map_label(result), "heading"),
        *_pictures(figures.map, 46.0),
        _text(legend, "small"),
    ]
    return [
        *head,
        *_finding(result),
        PageBreak(),
        *_candidates(result),
        *(map_parts if figures.map else []),
        *_volumes(result, figures.projections),
        PageBreak(),
        *_similar(result),
        *_tissue(result),
        *_pictures(figures.further),
        *_appendix(result),
    ]


# ---------------------------------------------------------------- sections


def _verdict(result: Mapping[str, Any]) -> list:
    head = [_text(TITLE, "title")]
    if not is_in_range(result):
        reasons = [*range_reasons(result), verdict_note(result), not_analysed_text(result)]
        return [*head, _boxed([verdict_line(result), *filter(None, reasons)])]
    breasts = wording.breasts_text(result)
    lines = [
        verdict_note(result),
        verdict_place(result) if result["malignant"] else "",
        f"Probability of malignancy {wording.score_text(result)}" + (f"; {breasts}." if breasts else "."),
    ]
    below = [cutoff_text(result), wording.prevalence_text(result), not_analysed_text(result)]
    return [
        *head,
        _text(verdict_line(result), "verdict"),
        *(_text(line) for line in lines if line),
        _scale(float(result["probability"]), float(result["threshold"])),
        *(_text(line, "small") for line in below if line),
    ]


def _cautions(result: Mapping[str, Any]) -> list:
    return [_text(f"• {text}") for text in cautions(result)]


def _comparison(result: Mapping[str, Any]) -> list:
    lines = comparison_lines(result)
    return [_text(COMPARED, "heading"), *(_text(f"• {line}") for line in lines)] if lines else []


def _finding(result: Mapping[str, Any]) -> list:
    finding, curve = result.get("finding") or {}, peak_curve(result)
    mean, shares = finding.get("kinetics"), words.voxel_types_text(finding)
    reasons = words.reason_rows(finding, mean or curve)
    rows = [
        *finding_rows(result),
        *((f"Curve: {title}", text) for title, text in curve_rows(result)),
        ("Voxels of the outline", shares),
        ("Not known", words.curve_unknowns(result, curve) if curve else ""),
        (words.REASONS_TITLE, "; ".join(f"{text} ({_sign(share)})" for text, share in reasons)),
        ("", words.REASONS_NOTE if reasons else ""),
    ]
    plot = curve_plot(curve, mean, width=480, height=125) if curve else None
    return [_text("Finding", "heading"), _pairs(rows), *([_curve(plot)] if plot else [])] if finding else []


def _sign(share: float) -> str:
    """A share of a logit with its sign: "+2.1"."""
    return f"{share:+.1f}".replace("-", "−")


def _candidates(result: Mapping[str, Any]) -> list:
    table, parts = candidate_table(result), [_text("Candidates", "heading")]
    widths = {"#": 8, "Where": 76, "Suspicion": 20, "Size": 34, "Depth": 14, "Curve": 22}
    for title, rows in table["groups"]:
        parts += [
            *([_text(title)] if title else []),
            _table([table["head"], *rows], [widths[n] for n in table["head"]]),
        ]
    low, note = words.low_text(result), words.suspicion_note(result)
    return [*parts, *([_text(low)] if low else []), *([_text(note, "small")] if note else [])]


def _volumes(result: Mapping[str, Any], figures: Figures) -> list:
    rows = wording.tumour_volume_rows(result)
    if not rows and not figures:
        return []
    return [_text("Functional tumour volume", "heading"), _pairs(rows), *_pictures(figures, 42.0)]


def _similar(result: Mapping[str, Any]) -> list:
    """The simulated lesions that the finding looks like."""
    text, figures = similar_lesions(result)
    note = [_text(described.SIMILAR_NOTE, "small")] if figures else []
    return (
        [_text(described.SIMILAR_TITLE, "heading"), _text(text), *_pictures(figures, 20.0), *note]
        if text
        else []
    )


def _tissue(result: Mapping[str, Any]) -> list:
    rows = described.breast_rows(result)
    return [_text("Breast tissue", "heading"), _pairs(rows)] if rows else []


def _pictures(figures: Figures, height_mm: float = 110.0) -> list:
    from reportlab.lib.units import mm
    from reportlab.platypus import Image, KeepTogether

    pictures = []
    for caption, png in figures:
        picture = Image(io.BytesIO(png), width=_WIDTH_MM * mm, height=height_mm * mm, kind="proportional")
        picture.hAlign = "LEFT"
        pictures.append(KeepTogether([picture, _text(caption, "small")]))
    return pictures


def _appendix(result: Mapping[str, Any]) -> list:
    """How the exam was understood, mask and model, what the words mean."""
    model, source = result.get("model") or {}, result.get("input") or {}
    size = (source.get("grid") or {}).get("size") or ()
    peaks = result.get("peaks") or ()
    facts = [
        *((f"Candidate {n}", words.coordinates_text(peak)) for n, peak in enumerate(peaks, 1)),
        ("Mask from", wording.mask_text(result)),
        ("Read", wording.share_read_text(result)),
        ("Motion", wording.registration_text(result)),
        ("Grid of the exam", " × ".join(map(str, size)) + " voxels" if size else ""),
        ("Model", f"{model.get('name', '')}, SHA-256 {model.get('sha256', '')}"),
        ("Evidence", ". ".join(wording.evidence_lines(model.get("evidence"))) or wording.NO_EVIDENCE),
        *(("Remark", text) for text in result.get("remarks") or ()),
    ]
    notes = [wording.map_note(result.get("map")), wording.MAP_NOTE, wording.OUTLINE_NOTE, wording.CURVE_NOTE]
    if (result.get("finding") or {}).get("descriptors") or result.get("breast_descriptors"):
        notes.append(described.NOTE)
    stacks = plan_rows(joined_left_out(result.get("stacks") or ()))
    understood = [
        _text("How the exam was understood", "heading"),
        _table([HEAD, *stacks], (8, 14, 52, 20, 16, 64)),
    ]
    return [
        *(understood if stacks else []),
        _text("Mask and model", "heading"),
        _pairs(facts),
        _text("How to read it", "heading"),
        *(_text(f"• {note}", "small") for note in notes if note),
    ]


# ---------------------------------------------------------------- parts


@cache
def _register_fonts() -> Any:
    """Fonts that hold the signs of measurements; the plain one, to ask which letters it has."""
    import reportlab
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(reportlab.__file__).parent / "fonts"
    fonts = [TTFont(name, str(folder / f"{name}.ttf")) for name in (_FONT, _BOLD)]
    for font in fonts:
        pdfmetrics.registerFont(font)
    return fonts[0]


def _legible(text: str) -> str:
    """One line of text, with a question mark for every letter that the font lacks."""
    known = _register_fonts().face.charToGlyph
    return "".join(letter if ord(letter) in known else "?" for letter in one_line(text, _LONGEST))


@cache
def _style(name: str) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    sizes = {"title": 15, "verdict": 13, "heading": 10.5, "body": 8.5, "small": 7.5}
    bold, size = name in ("title", "verdict", "heading"), sizes[name]
    return ParagraphStyle(
        name,
        fontName=_BOLD if bold else _FONT,
        fontSize=size,
        leading=1.35 * size,
        spaceBefore=6 if bold else 1,
        spaceAfter=3,
        keepWithNext=bold,
        wordWrap="LTR",
        splitLongWords=True,
    )


def _text(text: str, style: str = "body") -> Any:
    """A paragraph; nothing in the text is taken for markup."""
    from reportlab.platypus import Paragraph

    return Paragraph(escape(_legible(text)), _style(style))


def _boxed(texts: Sequence[str]) -> Any:
    """A thick frame about what must not be overlooked."""
    from reportlab.lib.colors import black

    style = [("BOX", (0, 0), (-1, -1), 2, black)]
    return _grid([[[_text(texts[0], "heading"), *(_text(f"• {text}") for text in texts[1:])]]], None, style)


def _pairs(rows: Sequence[tuple[str, str]]) -> Any:
    return _table([row for row in rows if row[1]], (42, 132), head=False)


def _table(rows: Sequence[Sequence[str]], widths_mm: Sequence[float], *, head: bool = True) -> Any:
    from reportlab.lib.colors import black, grey

    style = [("LINEBELOW", (0, 0), (-1, -1), 0.3, grey)]
    if head:
        style.append(("LINEBELOW", (0, 0), (-1, 0), 0.8, black))
    return _grid([[_text(cell, "small") for cell in row] for row in rows], widths_mm, style, head)


def _grid(cells: list, widths_mm: Sequence[float] | None, style: list, head: bool = False) -> Any:
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    widths = None if widths_mm is None else [width * mm for width in widths_mm]
    padding = [("TOPPADDING", (0, 0), (-1, -1), 1), ("BOTTOMPADDING", (0, 0), (-1, -1), 1)]
    table = Table(cells, widths, repeatRows=int(head), hAlign="LEFT", spaceBefore=4, spaceAfter=4)
    table.setStyle([*padding, ("VALIGN", (0, 0), (-1, -1), "TOP"), *style])
    return table


def _scale(probability: float, threshold: float) -> Any:
    """The probability as a bar from 0 to 1, the threshold as a line across it."""
    from reportlab.graphics.shapes import Drawing, Line, Rect, String
    from reportlab.lib.colors import black, white

    drawing = Drawing(320, 34)
    drawing.add(Rect(5, 18, 300, 8, fillColor=white, strokeColor=black, strokeWidth=0.6))
    drawing.add(Rect(5, 18, 300 * min(max(probability, 0.0), 1.0), 8, fillColor=black, strokeColor=black))
    at = 5 + 300 * threshold
    drawing.add(Line(at, 12, at, 32, strokeColor=black, strokeWidth=1.2))
    for x, label, anchor in (
        (5, "0", "start"),
        (at, f"cut-off {threshold:.2f}", "middle"),
        (305, "1", "end"),
    ):
        drawing.add(String(x, 3, label, fontName=_FONT, fontSize=7, textAnchor=anchor))
    return drawing


def _curve(plot: CurvePlot) -> Any:
    """The curves, told apart by dashes and by their names."""
    from reportlab.graphics.shapes import Drawing, Line, PolyLine, String
    from reportlab.lib.colors import black, lightgrey

    drawing = Drawing(plot.width, plot.height)
    bottom = plot.bottom
    for y, label in plot.y_ticks:
        level = plot.height - y
        drawing.add(Line(plot.left, level, plot.width - plot.right, level, strokeColor=lightgrey))
        drawing.add(String(plot.left - 4, level - 2.5, label, fontName=_FONT, fontSize=7, textAnchor="end"))
    for x, label in plot.x_ticks:
        drawing.add(String(x, bottom - 11, label, fontName=_FONT, fontSize=7, textAnchor="middle"))
    drawing.add(String(plot.width / 2, bottom - 23, _legible(plot.title), fontName=_FONT, fontSize=7))
    unit = _legible(f"enhancement ({plot.unit})")
    drawing.add(String(plot.left, plot.height - 8, unit, fontName=_FONT, fontSize=7))
    for line in plot.lines:
        dashes = [4, 3] if line.title == MEAN else None
        points = [part for x, y in line.points for part in (x, plot.height - y)]
        drawing.add(PolyLine(points, strokeColor=black, strokeWidth=1.4, strokeDashArray=dashes))
    if len(plot.lines) > 1:
        key = f"full line: {BRIGHTEST}; dashes: {MEAN}"
        drawing.add(
            String(
                plot.width - plot.right, plot.height - 8, key, fontName=_FONT, fontSize=7, textAnchor="end"
            )
        )
    return drawing
