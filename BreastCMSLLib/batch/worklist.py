"""What is to be analysed: a folder of exams, a table with a row an exam, or a list of DICOM studies."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import DependencyError, InputError
from ..core.text import one_line
from .archive import find_studies
from .job import folder_name

# of a table; pre and post, which a manifest has, are the input in two parts
COLUMNS = "exam input pre post t1 kind times_s phases leave_out study keep_order".split()
_UID = re.compile(r"[0-9.]{1,64}")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


@dataclass(frozen=True)
class Entry:
    """One exam of a worklist.

    Parameters
    ----------
    exam : str
        Its name.
    input : tuple of str
        Folders or files, absolute.
    reading : mapping
        Keywords of ``one_exam.reading_options``.
    problem : str
        Why it cannot even be read; "" as a rule.
    """

    exam: str
    input: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_worklist(source: Path, archive: Path | None, output: Path, *, again: bool = False) -> list[Entry]:
    """The exams of a worklist, in its order.

    Parameters
    ----------
    source : Path
        A folder of exams, each a folder in it; a table (.csv or .parquet); or a text file (.txt) of
        StudyInstanceUIDs, one a line.
    archive : Path, optional
        Where the files of studies lie that have no other input.
    output : Path
        The batch's folder, which is no exam; it keeps what was found in the archive.
    again : bool
        Look again for studies of which the archive had no file.

    Returns
    -------
    list of Entry

    Raises
    ------
    InputError
        One sentence that names file and line, and the remedy.
    """
    if not os.path.exists(source):
        raise InputError(f"{source} does not exist; check the name.")
    if source.is_dir():
        entries = _of_folder(source, output)
    else:
        rows = _study_rows(source) if source.suffix.lower() == ".txt" else _table_rows(source)
        entries = _of_rows(source, rows, archive, output, again)
    if not entries:
        raise InputError(f"{source} lists no exam.")
    _check_names(source, entries)
    return entries


def _of_folder(source: Path, output: Path) -> list[Entry]:
    folders = sorted(
        path
        for path in source.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and os.path.realpath(path) != os.path.realpath(output)
    )
    if not folders:
        raise InputError(
            f"{source} holds no folders; name the folder that holds a folder for each exam, "
            "or analyse a single exam with breastcmsl analyze."
        )
    return [Entry(path.name, (os.path.abspath(path),)) for path in folders]


def _check_names(source: Path, entries: Sequence[Entry]) -> None:
    """Refuse two exams of one name: their results would lie in one folder, on some systems."""
    seen: dict[str, str] = {}
    for entry in entries:
        name = folder_name(entry.exam).casefold()
        if name in seen:
            names = f"{one_line(seen[name], 60)} and {one_line(entry.exam, 60)}"
            raise InputError(
                f"{source} has two exams of one name, {names} "
                "(capitals do not count); give each a name of its own."
            )
        seen[name] = entry.exam


# ---------------------------------------------------------------- tables


def _study_rows(source: Path) -> list[dict[str, str]]:
    lines = [line.partition("#")[0].strip() for line in _text(source).splitlines()]
    return [{"study": line} for line in lines if line]


def _table_rows(source: Path) -> list[dict[str, str]]:
    """Rows with their cells as text, the names of the columns in small letters."""
    if source.suffix.lower() == ".parquet":
        return _parquet_rows(source)
    text = _text(source)
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{source} is not a CSV table ({error}); save it as CSV in UTF-8.") from error
    names = [name.strip().lower() for name in rows[0]] if rows else []
    return [dict(zip(names, (cell.strip() for cell in row))) for row in rows[1:]]


def _parquet_rows(source: Path) -> list[dict[str, str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError(
            f"{source} needs pyarrow, which is not installed; "
            "run pip install breastcmsl[parquet], or save the table as CSV."
        ) from error
    try:
        rows = parquet.read_table(source).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{source} is not a Parquet table ({one_line(error, 100)}).") from error
    return [
        {str(name).strip().lower(): "" if v is None else str(v).strip() for name, v in row.items()}
        for row in rows
    ]


def _text(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{source} is not text in UTF-8; save it so.") from error


def _of_rows(
    source: Path, rows: Sequence[Mapping[str, str]], archive: Path | None, output: Path, again: bool
) -> list[Entry]:
    if rows and not {"input", "post", "study"} & set().union(*rows):
        raise InputError(
            f"{source} has no column input, post or study; its columns may be {', '.join(COLUMNS)}."
        )
    entries = []
    for number, row in enumerate(rows, 2):
        if any(row.values()):
            entries.append(_entry(row, Path(os.path.abspath(source)).parent, f"{source}, row {number}"))
    searched = [entry.reading["study"] for entry in entries if not entry.input and not entry.problem]
    if not searched:
        return entries
    if archive is None:
        raise InputError(f"{source} names studies without an input; say where their files lie: --archive.")
    studies = find_studies(archive, searched, output, again=again)
    return [_in_archive(entry, studies, archive) for entry in entries]


def _entry(row: Mapping[str, str], folder: Path, where: str) -> Entry:
    """One row; what is wrong with it alone refuses this exam, not the others."""
    cells = {name: row.get(name) or "" for name in COLUMNS}
    paths = [str(folder / part) for name in ("input", "pre", "post") for part in _parts(cells[name])]
    study = cells["study"] or None
    name = cells["exam"] or study or (Path(paths[0]).name if paths else "")
    if not name:
        raise InputError(f"{where}: neither exam nor input nor study is given.")
    problem = ""
    if not paths and not (study and _UID.fullmatch(study)):
        problem = "It has neither files nor a StudyInstanceUID; give one of them in the worklist."
    keep_order = cells["keep_order"].lower()
    if keep_order not in (*_YES, *_NO):
        problem = f"keep_order is {one_line(keep_order, 40)}; write yes or no."
    kind = cells["kind"] or "auto"
    if kind not in ("auto", "phases", "subtractions"):
        problem = f"kind is {one_line(kind, 40)}; write phases or subtractions, or nothing."
    try:
        times = [float(part) for part in _parts(cells["times_s"])] or None
    except ValueError:
        times, problem = None, f"times_s is {one_line(cells['times_s'], 60)}; write seconds, as 0|90|180."
    reading = {
        "kind": kind,
        "t1": str(folder / cells["t1"]) if cells["t1"] else None,
        "times": times,
        "phases": _parts(cells["phases"]),
        "leave_out": _parts(cells["leave_out"]),
        "study": study,
        "keep_order": keep_order in _YES,
    }
    return Entry(name, tuple(paths), reading, problem)


def _in_archive(entry: Entry, studies: Mapping[str, Sequence[str]], archive: Path) -> Entry:
    """An entry without input, with that of its study; the study is then the only one in it."""
    if entry.input or entry.problem:
        return entry
    files = tuple(studies.get(entry.reading["study"], ()))
    problem = "" if files else f"{archive} holds no file of this study."
    return Entry(entry.exam, files, {**entry.reading, "study": None}, problem)


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split("|") if part.strip()]
