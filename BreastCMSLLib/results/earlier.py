"""What an output folder holds already: earlier results, which are replaced, and the user's files, which stay.

A file is a result when the ``result.json`` beside it names it, and only then. Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.errors import OutputError
from ..kinetics.names import NAMES
from ..models.maps import LESION_MAP, NETWORK_MAPS

RESULT = "result.json"  # what readers look for
OUTLINE_FILE = "outline.seg.nrrd"  # only of a suspicious exam; Slicer opens it as a segmentation
# further maps, where they are asked for
MAP_FILES = {name: f"map_{name}.nrrd" for name in (LESION_MAP, *NETWORK_MAPS)}
KINETIC_FILES = {name: f"kinetic_{name}.nrrd" for name in NAMES}  # likewise
PDF_FILE = "report.pdf"
VIEWER_FILE = "viewer.html"  # where it is asked for
SCENE_FILES = ("scene.mrb", "overlay.png", "report.html", PDF_FILE)
_MAPS = (*MAP_FILES.values(), *KINETIC_FILES.values())
FILES = (RESULT, "heatmap.nrrd", OUTLINE_FILE, *SCENE_FILES, VIEWER_FILE, *_MAPS)


def earlier_files(folder: Path) -> tuple[str, ...]:
    """The files of a folder that are earlier results.

    Parameters
    ----------
    folder : Path
        The output; it need not exist.

    Returns
    -------
    tuple of str
        ``result.json`` and the files that it names; () when there is none. Where it is damaged, or of another
        program, that file alone.
    """
    try:
        content = _content(folder)
    except FileNotFoundError:
        return ()
    if content.get("kind") != "breastcmsl.result":
        return (RESULT,)
    names = content.get("files", FILES)  # a version before 0.1.0 did not list them
    listed = names if isinstance(names, (list, tuple)) else ()
    return (RESULT, *(name for name in FILES[1:] if name in listed and (folder / name).is_file()))


def check_other_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write over files of the user.

    Parameters
    ----------
    folder : Path
        The output; it need not exist.
    names : iterable of str
        Of the files that are to be written.

    Raises
    ------
    OutputError
        A file that is no earlier result has one of the names.
    """
    ours = earlier_files(folder)
    others = [name for name in names if name not in ours and os.path.lexists(folder / name)]
    if others:
        raise OutputError(
            f"{folder} holds {', '.join(others)}, which no {RESULT} there names as a result; "
            "choose another folder, or move what is there away."
        )


def check_earlier_results(folder: Path, exam_id: str, *, overwrite: bool) -> str:
    """What becomes of results that are in the output folder already.

    Parameters
    ----------
    folder : Path
        The output; it need not exist.
    exam_id : str
        Of the new results.
    overwrite : bool
        Replace another exam's.

    Returns
    -------
    str
        A sentence for the user, "" when there are none.

    Raises
    ------
    OutputError
        They are another exam's, and were not to be replaced.
    """
    try:
        earlier = _content(folder).get("exam_id")  # None where damaged: nobody can say whose they are
    except FileNotFoundError:
        return ""
    if earlier == exam_id:
        return f"The earlier results of this exam in {folder} were replaced."
    if not overwrite:
        raise OutputError(
            f"{folder} holds the results of another exam; choose another folder, or add --overwrite."
        )
    return f"The results of another exam in {folder} were replaced."


def _content(folder: Path) -> dict[str, Any]:
    """Of a folder's result.json; {} of a damaged one. Raises FileNotFoundError where there is none."""
    path = folder / RESULT
    try:
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError):
        content = {}
    return content if isinstance(content, dict) else {}
