"""What cannot be compared: an exam with itself, and into a folder of another comparison. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError, OutputError

RECORD, PAGE, LINKED = "comparison.json", "comparison.html", "prior_registered.nrrd"
FILES = (RECORD, PAGE, LINKED)


def check_two(current_id: str, prior_id: str) -> None:
    """Refuse to compare an exam, known by its ``exam_id``, with itself. Raises InputError."""
    if current_id == prior_id:
        raise InputError("The two exams are one and the same; name another one as the prior exam.")


def check_earlier(folder: Path, exams: Sequence[str] | None, *, overwrite: bool) -> None:
    """Refuse to write over what is no comparison, or one of other exams.

    Parameters
    ----------
    folder : Path
        It need not exist.
    exams : sequence of str, optional
        Current and prior ``exam_id``; None where they are not known yet.
    overwrite : bool
        Whether a comparison of other exams may go.

    Raises
    ------
    OutputError
    """
    there = [name for name in FILES if os.path.lexists(folder / name)]
    if not there:
        return
    try:
        earlier = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        is_ours = earlier["kind"] == "breastcmsl.comparison"
        same = [earlier[name]["exam_id"] for name in ("current", "prior")] == list(exams or ())
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        is_ours = same = False
    if not is_ours:
        raise OutputError(
            f"{folder} holds {', '.join(there)}, which is no comparison; "
            "choose another folder, or move what is there away."
        )
    if exams is not None and not (same or overwrite):
        raise OutputError(
            f"{folder} holds the comparison of other exams; choose another folder, or add --overwrite."
        )
