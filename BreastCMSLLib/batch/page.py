"""``index.html`` of a batch: the table with thumbnails and links, sortable, with nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from ..results.pages import render
from ..results.wording import number_text, probability_text
from .job import THUMBNAILS, Job
from .records import DONE

TEMPLATES = Path(__file__).resolve().parent / "templates"
HEAD = (
    "",
    "Exam",
    "Status",
    "Probability",
    "Suspicious",
    "Right",
    "Left",
    "Size mm",
    "Out of range",
    "Warnings",
)
_OF_VERDICT = ("malignant", "probability", "probability_right", "probability_left", "finding_size_mm")
NUMBERS = (3, 5, 6, 7, 9)  # columns aligned to the right


def index_page(jobs: Sequence[Job], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The page of a batch.

    Parameters
    ----------
    jobs : sequence of Job
    rows : iterable of mapping
        Of ``summary.COLUMNS``, one a job.

    Returns
    -------
    bytes
        HTML in UTF-8. Pictures are files of the batch's folder, loaded as they come into view.
    """
    script = (TEMPLATES / "index.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # the page's own script alone, known by its hash
    policy = (
        f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    lines = [_line(job, row) for job, row in zip(jobs, rows)]
    text = render(
        "index.html.jinja",
        TEMPLATES,
        head=HEAD,
        numbers=NUMBERS,
        lines=lines,
        policy=policy,
        script=Markup(script),
        counts=_counts(lines),
    )
    return text.encode("utf-8")


def _line(job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of the table shows; each cell as text and as what it is sorted by."""
    done = row["status"] == DONE
    if row.get("out_of_range"):  # no verdict, nor what might be taken for one
        row = {name: value for name, value in row.items() if name not in _OF_VERDICT}
    suspicious = {True: "yes", False: "no"}.get(row.get("malignant"), "")
    probabilities = [row.get(f"probability{side}") for side in ("", "_right", "_left")]
    first, right, left = (
        ("" if value is None else probability_text(value), "" if value is None else value)
        for value in probabilities
    )
    size, warnings = row.get("finding_size_mm"), row.get("warnings")
    report = "report.html" if job.scene else "result.json"
    return {
        "exam": row["exam"],
        "status": row["status"],
        "sentence": row.get("sentence") or "",
        "link": quote(f"{row['folder']}/{report}") if done else "",
        "thumbnail": quote(f"{THUMBNAILS}/{job.thumbnail.name}") if done and job.thumbnail.exists() else "",
        "cells": [
            first,
            (suspicious, suspicious),
            right,
            left,
            ("" if size is None else number_text(size), "" if size is None else size),
            (row.get("out_of_range") or "",) * 2,
            ("" if warnings is None else warnings,) * 2,
        ],
    }


def _counts(lines: Sequence[Mapping[str, Any]]) -> str:
    statuses = [line["status"] for line in lines]
    words = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses))]
    return f"{len(lines)} exams: {', '.join(words)}"
