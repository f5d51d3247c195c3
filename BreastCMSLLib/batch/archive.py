"""Which files of an archive belong to which study, by their headers, and remembered: they are read once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..core.errors import InputError
from .identifiers import read_identifiers
from .records import write_file

_MEMORY = "archive.json"  # in a batch's folder


def find_studies(
    archive: Path, wanted: Iterable[str], output: Path, *, again: bool = False
) -> dict[str, list[str]]:
    """The files of studies.

    Parameters
    ----------
    archive : Path
        A folder with DICOM files in folders of any kind.
    wanted : iterable of str
        StudyInstanceUIDs.
    output : Path
        The batch's folder; what was found there before is not looked for again.
    again : bool
        Look again for what was not found.

    Returns
    -------
    dict of str to list of str
        Absolute paths: folders that hold the study alone, or else its files. Studies without files are
        missing.

    Raises
    ------
    InputError
        There is no such folder.
    """
    if not archive.is_dir():
        raise InputError(f"The archive {archive} is no folder; name the one that holds the DICOM files.")
    place, wanted = os.path.abspath(archive), set(wanted)
    known = _known(output / _MEMORY, place)
    if not wanted <= {study for study, files in known.items() if files or not again}:
        found = _search(place)
        known = {study: found.get(study, []) for study in wanted}
        content = json.dumps({"archive": place, "studies": known})
        write_file(output / _MEMORY, content.encode())
    return {study: known[study] for study in wanted if known[study]}


def _known(memory: Path, place: str) -> dict[str, list[str]]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["archive"] == place:
            return dict(content["studies"])
    return {}


def _search(place: str) -> dict[str, list[str]]:
    """Folders, as near to the top as they hold one study alone; of studies in mixed folders, the files."""
    studies: dict[str, set[str]] = {}  # of a folder and all in it
    files: dict[str, dict[str, list[str]]] = {}  # study → its files, of a folder with several
    parents: dict[str, list[str]] = {}
    for folder, below, names in os.walk(place, topdown=False):
        here: dict[str, list[str]] = {}
        for name in sorted(names):
            path = os.path.join(folder, name)
            if study := _study_of(path):
                here.setdefault(study, []).append(path)
        parents[folder] = sorted(os.path.join(folder, name) for name in below)
        studies[folder] = set(here).union(*(studies.get(path, set()) for path in parents[folder]))
        if len(studies[folder]) > 1:
            files[folder] = here
    scattered = {study for here in files.values() for study in here}
    found: dict[str, list[str]] = {}
    for folder in sorted(studies):
        alone = studies[folder] if len(studies[folder]) == 1 else set()
        above = os.path.dirname(folder)
        if alone and (folder == place or len(studies[above]) > 1):
            found.setdefault(*alone, []).append(folder)
    for study in scattered:  # folders and files cannot be given together
        folders = found.pop(study, [])
        listed = [path for here in files.values() for path in here.get(study, ())]
        found[study] = sorted([*listed, *(path for folder in folders for path in _files_below(folder))])
    return found


def _files_below(folder: str) -> list[str]:
    below = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    return [path for path in below if _study_of(path)]


def _study_of(path: str) -> str:
    """The StudyInstanceUID of a DICOM file, "" of any other."""
    return read_identifiers(path).study if os.path.isfile(path) else ""
