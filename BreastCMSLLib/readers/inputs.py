"""From what a user points at to an exam: a folder or files, DICOM or volume files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..exam import Exam, ExamPlan, Phase, PlannedStack
from ..exam.plan import LEFT_OUT, sorted_stacks
from .dicom import DicomPlan, is_dicom, load_dicom, plan_dicom, read_dicom_volume
from .files import FilePlan, load_files, plan_files
from .folders import check_regular, hidden_files, walk_files
from .given_times import with_times
from .messages import cleaned, one_sentence
from .options import ReadOptions, check_times
from .t1 import check_t1_is_no_phase
from .volumes import is_volume_file, read_volume_file


def plan(paths: Sequence[Path | str] | Path | str, options: ReadOptions | None = None) -> ExamPlan:
    """What every file of an input is, and why, from headers alone.

    Parameters
    ----------
    paths
        One folder (DICOM; or, without any DICOM in it, volume files), several folders of one exam, or the
        files.
    options
        What the user says of them.

    Returns
    -------
    ExamPlan
        With the sentence why there is no exam, where there is none. :func:`read` takes it.

    Raises
    ------
    InputError
        A path does not exist or may not be read, or the user's words do not fit the input.
    """
    with one_sentence():
        planned = _plan(_listed(paths), options or ReadOptions())
        return replace(planned.plan, source=planned, problem=cleaned(planned.plan.problem))


def read(
    source: Sequence[Path | str] | Path | str | ExamPlan,
    options: ReadOptions | None = None,
    *,
    t1: Path | str | None = None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
) -> Exam:
    """The exam in a folder or in files.

    Parameters
    ----------
    source
        Paths as for :func:`plan`, or a plan that it made.
    options
        What the user says of the paths, all at once; else by the following words.
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
        With its plan as voxels confirmed it, and remarks on what was left out among its warnings.

    Raises
    ------
    InputError
        One sentence that names the file, series or folder, and the remedy.
    """
    with one_sentence():
        if isinstance(source, ExamPlan):
            return _load(source.source)
        if options is None:
            t1_phase, t1_uids = (None, ()) if t1 is None else read_t1(t1)
            options = ReadOptions(kind, t1_phase, tuple(t1_uids), times_s)
        return _load(_plan(_listed(source), options))


def _load(planned: DicomPlan | FilePlan) -> Exam:
    options = planned.options
    if isinstance(planned, FilePlan):
        exam = load_files(planned)
    else:
        exam = load_dicom(planned)
        exam = exam if options.times_s is None else with_times(exam, options.times_s)
    if options.t1 is not None:
        check_t1_is_no_phase(exam)
    return exam


def _with_hidden(planned: DicomPlan | FilePlan, folders: Sequence[Path], files: Sequence[Path]):
    """The plan with the hidden files below the folders, as far as they are not among the files by a link."""
    hidden = dict.fromkeys(file for folder in folders for file in hidden_files(folder))
    if not hidden:
        return planned
    seen = set(map(os.path.realpath, files))
    names = [str(file) for file in hidden if os.path.realpath(file) not in seen]
    stack = PlannedStack("hidden files", LEFT_OUT, "hidden files, or in a hidden folder", tuple(names))
    plan = planned.plan
    return replace(planned, plan=replace(plan, stacks=sorted_stacks([*plan.stacks, stack])))


def _listed(paths: Sequence[Path | str] | Path | str) -> list[Path]:
    return [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]


def _plan(paths: Sequence[Path], options: ReadOptions) -> DicomPlan | FilePlan:
    _check_paths(paths)
    if options.times_s is not None:
        check_times(options.times_s)
    folders = [path for path in paths if path.is_dir()]
    if folders and len(folders) < len(paths):
        raise InputError("Folders and files were mixed; give either the folder of the exam or its files.")
    where = _name_of(paths)
    if not folders:
        if all(map(is_volume_file, paths)):
            return plan_files(paths, options)
        _check_dicom(paths)
        return plan_dicom(paths, where, options)
    files = list(dict.fromkeys(file for folder in folders for file in walk_files(folder)))
    if any(map(is_volume_file, files)) and not any(map(is_dicom, files)):
        planned = plan_files(files, options, given=False, where=where)
    else:
        planned = plan_dicom(files, where, options)
    return _with_hidden(planned, folders, files)


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
        check_regular(path)
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
        if not path.is_dir():
            check_regular(path)
        elif not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path} may not be read by this user; change its permissions or copy it.")
        if path.name.upper() == "DICOMDIR" and path.is_file():
            raise InputError(
                f"{path} is only the table of contents of a DICOM medium; give the folder it lies in, "
                f"{os.path.dirname(os.path.abspath(path))}."
            )


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
