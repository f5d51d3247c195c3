"""From what a user points at to an exam: a folder or files, DICOM or volume files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..exam import Exam, Phase
from .dicom import is_dicom, read_dicom, read_dicom_volume
from .files import is_volume_file, read_files, read_volume_file, timed
from .folders import walk_files
from .messages import one_sentence


def read(
    paths: Sequence[Path | str] | Path | str,
    *,
    t1: Path | str | None = None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
) -> Exam:
    """The exam in a folder or in files.

    Parameters
    ----------
    paths
        One folder (DICOM; or, without any DICOM in it, volume files), several folders of one exam, or the
        files.
    t1
        The non-fat-saturated T1: a volume file or the folder of one DICOM series. None looks for it among the
        paths.
    kind
        "phases", "subtractions" or "auto".
    times_s
        Seconds for each dynamic volume: in the order of the files, or for a folder in the order of time found
        in it.

    Returns
    -------
    Exam
        With remarks on what was left out among its warnings.

    Raises
    ------
    InputError
        One sentence that names the file, series or folder, and the remedy.
    """
    with one_sentence():
        paths = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
        _check_paths(paths)
        t1_phase, t1_uids = (None, []) if t1 is None else read_t1(t1)
        folders = [path for path in paths if path.is_dir()]
        if folders and len(folders) < len(paths):
            raise InputError("Folders and files were mixed; give either the folder of the exam or its files.")
        if not folders and all(map(is_volume_file, paths)):
            return read_files(paths, t1=t1_phase, kind=kind, times_s=times_s)
        if folders:
            files = [file for folder in folders for file in walk_files(folder)]
            volumes = [file for file in files if is_volume_file(file)]
            if volumes and not any(map(is_dicom, files)):
                exam = read_files(volumes, t1=t1_phase, kind=kind, given=False)
                return exam if times_s is None else _with_times(exam, times_s)
        else:
            files = paths
            _check_dicom(files)
        exam = read_dicom(files, _name_of(paths), kind=kind, t1=t1_phase, t1_uids=t1_uids)
        return exam if times_s is None else _with_times(exam, times_s)


def read_t1(path: Path | str) -> tuple[Phase, list[str]]:
    """The T1 that a user points at.

    Parameters
    ----------
    path
        A 3-D volume file, or the folder of one DICOM series.

    Returns
    -------
    t1 : Phase
        Without a time.
    series_uids : list of str
        Of its DICOM series; none for a file.

    Raises
    ------
    InputError
        One sentence that names the file or folder, and the remedy.
    """
    path = Path(path)
    with one_sentence():
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist; check the name of the T1.")
        if path.is_dir():
            phase, uid = read_dicom_volume(walk_files(path), path)
            return phase, [uid]
        frames = read_volume_file(path)
    if len(frames) != 1:
        raise InputError(f"{path.name} holds {len(frames)} volumes; choose a 3-D volume for the T1.")
    return frames[0], []


def _check_paths(paths: Sequence[Path]) -> None:
    if not paths:
        raise InputError("No input was given; choose the folder or the files of an exam.")
    for path in paths:
        if not os.path.exists(path):  # unlike Path.exists, also says so of names that no file can have
            raise InputError(f"{path} does not exist; check the name.")
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path} may not be read by this user; change its permissions or copy it.")


def _check_dicom(files: Sequence[Path]) -> None:
    """Refuse files among which there are volume files, or whose first is no DICOM."""
    other = next(file for file in files if not is_volume_file(file))
    if any(map(is_volume_file, files)) or not is_dicom(other):
        raise InputError(
            f"{other.name} is not a NRRD, NIfTI or MHA volume; "
            "give the exam's volume files, or its DICOM folder."
        )


def _name_of(paths: Sequence[Path]) -> Path:
    """What to call the input in messages."""
    return (
        paths[0] if len(paths) == 1 else Path(os.path.commonpath([os.path.abspath(path) for path in paths]))
    )


def _with_times(exam: Exam, times_s: Sequence[float | None]) -> Exam:
    """The exam with times that the user knows."""
    phases = timed(exam.phases, times_s)
    known = [time for time in times_s if time is not None]
    if not all(math.isfinite(time) for time in known):
        raise InputError("A time given is not a number; give the seconds of each phase.")
    if any(later <= earlier for earlier, later in zip(known, known[1:])):
        raise InputError(
            "The times given do not increase; give the seconds of each phase in the order of acquisition."
        )
    pre, post = (None, phases) if exam.pre is None else (phases[0], phases[1:])
    return replace(exam, pre=pre, post=tuple(post))
