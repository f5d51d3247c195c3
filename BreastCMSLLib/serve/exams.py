"""The exams that the page offers: those of a worklist, one exam alone, or the demo."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..batch.identifiers import read_identifiers
from ..batch.worklist import Entry, read_worklist
from ..core.errors import InputError
from ..readers.dicom.objects import is_dicom
from ..readers.volumes import EXTENSIONS

DEMO = Path("demo", "exam")  # where make demo puts it
_LOOKED_AT = 200  # files of a folder, in search of one that names its study


def offered_exams(source: Path | None) -> list[Entry]:
    """The exams to choose from.

    Parameters
    ----------
    source : Path, optional
        A worklist as ``breastcmsl batch`` takes it, or the folder of one exam; None for the demo.

    Returns
    -------
    list of Entry

    Raises
    ------
    InputError
        There is none; one sentence says what to do.
    """
    if source is None:
        if not DEMO.is_dir():
            raise InputError(
                f"There is no demo in {DEMO}; name a folder of exams, or make the demo with make demo."
            )
        source = DEMO
    if source.is_dir() and is_one_exam(source):
        return [Entry(source.resolve().name or str(source), (os.path.abspath(source),))]
    # results are written nowhere: no folder is to be left out for them
    entries = read_worklist(source, None, source / ".no-output")
    return [entry for entry in entries if not _holds_results(entry)] or entries


def is_one_exam(folder: Path) -> bool:
    """Whether a folder is an exam itself: it holds images, files alone, or series of one study in folders.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    bool
    """
    try:
        entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be looked into ({error.strerror}); choose another.") from error
    files = [entry for entry in entries if entry.is_file()]
    # what is no image, such as Thumbs.db, may lie beside folders of exams
    if files and (len(files) == len(entries) or any(map(_may_be_image, files))):
        return True
    studies = (study for entry in entries if (study := _study_of(entry)))
    first = next(studies, None)
    return first is not None and next(studies, None) == first


def _may_be_image(path: Path) -> bool:
    """Whether a file can be part of an exam; a DICOMDIR only lists others."""
    if path.name.upper() == "DICOMDIR":
        return False
    return path.name.lower().endswith(EXTENSIONS) or is_dicom(path)


def _study_of(folder: Path) -> str | None:
    """StudyInstanceUID of the first DICOM file in a folder."""
    for _, path in zip(range(_LOOKED_AT), _files(folder)):
        if uid := read_identifiers(str(path)).study:
            return uid
    return None


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if os.path.isfile(os.path.join(place, name)))


def _holds_results(entry: Entry) -> bool:
    """Whether a folder is no exam, but the results of one."""
    for place in entry.input:
        try:
            content = json.loads(Path(place, "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return isinstance(content, dict) and content.get("kind") == "breastcmsl.result"
    return False
