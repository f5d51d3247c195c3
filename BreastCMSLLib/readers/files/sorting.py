"""Which files may hold volumes of an exam; all others get a stack at once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.errors import InputError
from ...exam import PlannedStack, holds_segmentations, looks_post_contrast, looks_pre_contrast
from ...exam.plan import LEFT_OUT, PROBLEM, T1
from ..folders import is_dead, is_pointer
from ..headers import check_header
from ..messages import counted, listing
from ..options import ReadOptions
from ..public import PublicFolders
from ..t1 import same_file
from ..volumes import is_volume_file, stem
from .draft import Draft

_SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")
_WITH_DATA_BESIDE = (".nhdr", ".mhd")
_FOREIGN_IMAGES = (".hdr", ".img", ".mgz", ".mgh", ".mnc", ".par", ".rec", ".nii.bz2", ".nii.zst", ".gipl")
_OTHERS, _AGAIN = "other files", "the same again"


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder in which all of the files lie."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))


def each_once(paths: Sequence[Path], draft: Draft, given: bool) -> list[Path]:
    """Files without those that lead to another of them.

    Parameters
    ----------
    paths
        In any order.
    draft
        Gets a stack of the others.
    given
        Whether the user named each, so that one that is there twice is an error.

    Returns
    -------
    list of Path
    """
    first: dict[str, Path] = {}
    again = []
    for path in paths:
        place = os.path.realpath(path)
        if place not in first:
            first[place] = path
            continue
        if given:
            draft.refuse(f"{path.name} is given twice; list each file once.")
        if path not in (first[place], *again):
            again.append(path)
    if again:
        draft.unsaid.add(_AGAIN)
        draft.stack(_AGAIN, LEFT_OUT, "they lead to files that are here already", again)
    return list(first.values())


def candidates(files: Sequence[Path], draft: Draft, options: ReadOptions, given: bool) -> list[Path]:
    """Files that may hold volumes of the exam.

    Parameters
    ----------
    files
        Of any kind, each once.
    draft
        Gets stacks of the others.
    options
        Its T1 and its phases matter here.
    given
        Whether the user named each, so that a T1 among them is named twice.

    Returns
    -------
    list of Path
    """
    kept, others = [], []
    t1 = options.t1
    for file in files:
        if not is_volume_file(file):
            others.append(file)
        elif t1 is not None and same_file(file, t1.source):
            if looks_pre_contrast(stem(file)) or looks_post_contrast(stem(file)):
                draft.refuse(f"{file.name} is named as the T1, but is a phase; name another T1, or none.")
            elif given:
                draft.refuse(f"{file.name} is named as the T1 and among the other volumes; name it once.")
            draft.stack(t1.name, T1, "named by the user", [file])
        elif file.name.lower().endswith(_SEGMENTATIONS):
            draft.stack(file.name, LEFT_OUT, "it is a segmentation", [file])
        else:
            kept.append(file)
    _stack_others(others, draft, options.keep_order)
    return kept if options.phases else _outside_of_segmentations(kept, draft)


def _stack_others(files: Sequence[Path], draft: Draft, keep_order: bool) -> None:
    """Stacks of files that are no volumes by their names."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        kinds[_kind_of_other(file)].append(file)
    if dead := kinds["dead"]:
        names = listing([file.name for file in dead])
        draft.stack("dead links", PROBLEM, "they lead to files that are not here", dead)
        draft.remarks.append(
            f"{counted(len(dead), 'link')} to files that are not here could not be read ({names}); "
            "fetch them where they belong to the exam."
        )
    if closed := kinds["closed"]:
        draft.stack("unreadable folders", PROBLEM, "this user may not read them", closed)
        draft.remarks.append(
            f"{counted(len(closed), 'folder')} may not be read by this user; change its permissions where "
            "the exam may lie there."
        )
    if foreign := kinds["foreign"]:
        sentence = (
            f"{listing([f.name for f in foreign])} could not be read: convert to NIfTI, NRRD or MetaImage."
        )
        draft.stack("other formats", PROBLEM, "their format is not supported", foreign)
        draft.remarks.append(sentence)
        if any(looks_pre_contrast(file.stem) for file in foreign) and not keep_order:
            draft.refuse(sentence)
    if kinds["plain"]:
        draft.unsaid.add(_OTHERS)
        draft.stack(_OTHERS, LEFT_OUT, "no image", kinds["plain"])


def _kind_of_other(file: Path) -> str:
    """A dead link or pointer, a closed folder, an image of a foreign format, or plain: no image."""
    if is_dead(file) or is_pointer(file):
        return "dead"
    if file.is_dir():
        return "closed"
    return "foreign" if file.name.lower().endswith(_FOREIGN_IMAGES) else "plain"


def _outside_of_segmentations(files: Sequence[Path], draft: Draft) -> list[Path]:
    """The files in no folder of segmentations, if there are any; a stack for each such folder."""
    root = common_folder(files) if files else Path()
    inside: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        folder = Path(os.path.relpath(os.path.abspath(file.parent), root))
        if any(map(holds_segmentations, folder.parts)):
            inside[folder.as_posix()].append(file)
    outside = [file for file in files if not any(file in own for own in inside.values())]
    if not outside:
        return list(files)
    names = PublicFolders(inside)
    for folder, own in inside.items():
        draft.stack(names.of(folder), LEFT_OUT, "it is a folder of segmentations", own)
    return outside


def data_beside(files: Sequence[Path]) -> dict[str, str]:
    """Data files → the detached header that names each.

    Parameters
    ----------
    files
        All that are there.

    Returns
    -------
    dict
        Paths as they are given.
    """
    found: dict[str, str] = {}
    places = {os.path.abspath(file): str(file) for file in files}
    for file in files:
        if file.name.lower().endswith(_WITH_DATA_BESIDE):
            with suppress(InputError):
                data = check_header(Path(os.path.abspath(file))).data
                if data.name != file.name and str(data) in places:
                    found.setdefault(places[str(data)], str(file))
    return found


def with_data(stacks: Sequence[PlannedStack], beside: dict[str, str]) -> tuple[PlannedStack, ...]:
    """The stacks, those of detached headers with the data, too.

    Parameters
    ----------
    stacks
        Of all other files.
    beside
        By :func:`data_beside`.

    Returns
    -------
    tuple of PlannedStack
    """
    data: dict[str, list[str]] = defaultdict(list)
    for file, header in beside.items():
        data[header].append(file)
    return tuple(
        replace(stack, files=tuple(f for file in stack.files for f in (file, *data.get(file, ()))))
        for stack in stacks
    )
