"""The files of a comparison: record, page and registered prior exam, put in place in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.geometry import Volume
from ..core.interruption import signals_wait
from ..results.files import write_volume
from ..results.new_folder import check_whole, new_folder
from ..results.replacement import exclusive, put_in_place
from .earlier import FILES, LINKED, PAGE, RECORD, check_earlier
from .page import comparison_page


def write_comparison(
    record: Mapping[str, Any],
    folder: Path,
    *,
    pictures: Sequence[tuple[str, bytes] | None] = (),
    linked: Volume | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a comparison; an earlier one of the same two exams is replaced.

    Parameters
    ----------
    record : mapping
        Of ``compare.compare``.
    folder : Path
        Made where it does not exist.
    pictures : sequence of (str, bytes) or None
        Caption and PNG, one a finding.
    linked : Volume, optional
        Of the prior exam, on the grid of the current one.
    overwrite : bool
        Replace a comparison of other exams too.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        The files cannot be written, or would take the place of others.
    """
    exams = [record[name]["exam_id"] for name in ("current", "prior")]
    with new_folder(folder, FILES) as new:
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        (new / RECORD).write_text(text, encoding="utf-8")
        (new / PAGE).write_text(comparison_page(record, pictures), encoding="utf-8")
        if linked is not None:
            write_volume(linked, new / LINKED)
        names = [name for name in FILES if (new / name).exists()]
        for name in names:
            check_whole(new / name)
        with signals_wait(), exclusive(folder):
            check_earlier(folder, exams, overwrite=overwrite)
            put_in_place(new, folder, FILES)
    return [folder / name for name in names]
