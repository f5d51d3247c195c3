"""What an output folder holds of an earlier comparison. Imports nothing heavy."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import OutputError

RECORD, PAGE, LINKED = "comparison.json", "comparison.html", "prior_registered.nrrd"
FILES = (RECORD, PAGE, LINKED)


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
