"""Reading exams from disk: a DICOM folder, or NRRD, NIfTI and MHA files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.text import one_line
from ..exam.exam import Exam, Phase

__all__ = ["read", "read_t1"]


def read(
    paths: Sequence[Path | str] | Path | str,
    *,
    t1: Path | str | None = None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
) -> Exam:
    """The exam in a folder or in files.

    paths: one folder (DICOM; or, without any DICOM in it, volume files), several folders of one exam, or the files.
    t1: the non-fat-saturated T1 (a volume file or the folder of one DICOM series); None looks for it among the paths.
    kind: "phases", "subtractions" or "auto".
    times_s: seconds for each dynamic volume: in the order of the files, or for a folder in the order of time found in it.
    Raises InputError with one sentence naming the file, series or folder, and the remedy.
    """
    with one_sentence():
        return _read(paths, t1=t1, kind=kind, times_s=times_s)


def _read(paths, *, t1, kind: str, times_s) -> Exam:
    from .dicom import read_dicom
    from .dicom_slices import is_dicom, walk_files
    from .files import is_volume_file, read_files

    given = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(p) for p in paths]
    if not given:
        raise InputError("No input was given; choose the folder or the files of an exam.")
    for path in given:
        if not os.path.exists(path):  # unlike Path.exists, also says so of names that no file can have
            raise InputError(f"{path} does not exist; check the name.")
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path} may not be read by this user; change its permissions or copy it.")
    t1_phase, t1_uids = (None, []) if t1 is None else read_t1(t1)
    folders = [p for p in given if p.is_dir()]
    where = given[0] if len(given) == 1 else Path(os.path.commonpath([os.path.abspath(p) for p in given]))
    if not folders:
        volumes = [p for p in given if is_volume_file(p)]
        if len(volumes) == len(given):
            return read_files(given, t1=t1_phase, kind=kind, times_s=times_s)
        other = next(p for p in given if not is_volume_file(p))
        if volumes or not is_dicom(other):
            raise InputError(f"{other.name} is not a NRRD, NIfTI or MHA volume; give the exam's volume files, or its DICOM folder.")
        return _with_times(read_dicom(given, where, kind=kind, t1=t1_phase, t1_uids=t1_uids), times_s)
    if len(folders) < len(given):
        raise InputError("Folders and files were mixed; give either the folder of the exam or its files.")
    files = [file for folder in folders for file in walk_files(folder)]
    volumes = [file for file in files if is_volume_file(file)]
    if volumes and not any(is_dicom(file) for file in files):
        return _with_times(read_files(volumes, t1=t1_phase, kind=kind, given=False), times_s)
    return _with_times(read_dicom(files, where, kind=kind, t1=t1_phase, t1_uids=t1_uids), times_s)


@contextmanager
def one_sentence():
    """Whatever a file's name or header put into a message, it stays one printable line; lack of memory is said, too."""
    try:
        yield
    except InputError as error:
        text = one_line(error, 100_000)
        raise InputError(text if len(text) <= 1200 else f"{text[:800]} … {text[-300:]}") from error
    except MemoryError as error:
        raise InputError("There is not enough memory to read this exam; close other programs, or give fewer or smaller volumes.") from error


def read_t1(path: Path | str) -> tuple[Phase, list[str]]:
    """The T1 the user points at (a 3-D volume file, or the folder of one DICOM series), and the UIDs of its series."""
    from .dicom import read_dicom_volume
    from .dicom_slices import walk_files
    from .files import read_volume_file

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


def _with_times(exam: Exam, times_s: Sequence[float | None] | None) -> Exam:
    if times_s is None:
        return exam
    phases = [*([exam.pre] if exam.pre else []), *exam.post]
    if len(times_s) != len(phases):
        names = ", ".join(p.name for p in phases)
        raise InputError(f"{len(times_s)} times were given for {len(phases)} dynamic volumes ({names}); give one time for each.")
    known = [t for t in times_s if t is not None]
    if not all(math.isfinite(t) for t in known):
        raise InputError("A time given is not a number; give the seconds of each phase.")
    if any(b <= a for a, b in zip(known, known[1:], strict=False)):
        raise InputError("The times given do not increase; give the seconds of each phase in the order of acquisition.")
    phases = [replace(phase, time_s=None if time is None else float(time)) for phase, time in zip(phases, times_s, strict=True)]
    return replace(exam, pre=phases[0] if exam.pre else None, post=tuple(phases[1:] if exam.pre else phases))
