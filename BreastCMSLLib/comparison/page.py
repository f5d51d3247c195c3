"""The page of a comparison: self-contained HTML, as the report of an exam is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..results.pages import render
from ..results.report_parts import NOTHING
from .wording import (
    NOTE,
    breast_rows,
    measure_rows,
    places_text,
    registration_text,
    title_of,
)

TEMPLATES = Path(__file__).resolve().parent / "templates"


def comparison_page(record: Mapping[str, Any], pictures: Sequence[tuple[str, bytes] | None] = ()) -> str:
    """The page of a comparison.

    Parameters
    ----------
    record : mapping
        The content of ``comparison.json``.
    pictures : sequence of (str, bytes) or None
        Caption and PNG, one a finding; without pictures none.

    Returns
    -------
    str
        HTML.
    """
    findings = record["findings"]
    shown = [*pictures, *[None] * (len(findings) - len(pictures))]
    model = record["model"]
    return render(
        "comparison.html.jinja",
        TEMPLATES,
        training_data=model.get("training_data") or "simulated exams",
        remarks=record["remarks"],
        nothing=NOTHING,
        findings=[
            {
                "title": title_of(finding),
                "rows": measure_rows(finding),
                "places": places_text(finding),
                "picture": picture,
            }
            for finding, picture in zip(findings, shown)
        ],
        breasts=breast_rows(record),
        facts=[
            ("Registration", registration_text(record)),
            ("Current exam", record["current"]["exam_id"]),
            ("Prior exam", record["prior"]["exam_id"]),
            ("Model", f"{model.get('name', '')}, SHA-256 {model.get('sha256', '')}"),
        ],
        note=NOTE,
    )
