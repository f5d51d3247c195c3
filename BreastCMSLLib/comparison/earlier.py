"""What cannot be compared: an exam with itself, and into a folder of another comparison. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError, OutputError
from ..exam import Exam, wide_enough_for_both

RECORD, PAGE, LINKED = "comparison.json", "comparison.html", "prior_registered.nrrd"
FILES = (RECORD, PAGE, LINKED)


def check_two(current: Exam, prior: Exam) -> None:
    """Refuse two exams that cannot be compared, before either is analysed.

    Raises
    ------
    InputError
        They are one and the same, of two patients, in the wrong order, or one shows one breast and the other
        both.
    """
    if current.exam_id == prior.exam_id:
        raise InputError("The two exams are one and the same; name another one as the prior exam.")
    now, then = current.identifiers, prior.identifiers
    if now.get("patient") and then.get("patient") and now["patient"] != then["patient"]:
        raise InputError(
            "The two exams have different patient IDs (0010,0020); compare exams of one woman, under one ID."
        )
    if now.get("acquired_s") and then.get("acquired_s") and then["acquired_s"] > now["acquired_s"]:
        raise InputError("The prior exam was taken after the current one; name them the other way round.")
    if shows_both(current) != shows_both(prior):
        raise InputError(
            "One of the two exams shows one breast, the other both; compare exams that show the same."
        )


def shows_both(exam: Exam) -> bool:
    """Whether the exam is wide enough for both breasts."""
    return wide_enough_for_both(exam.grid.shape, exam.grid.affine)


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
