"""What the readers of collections share: tables, patient folders, and what images are, from headers alone."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
import SimpleITK as sitk

from BreastCMSLLib.core.errors import BreastCMSLError, DependencyError, InputError
from BreastCMSLLib.readers.dicom import find_dynamics, is_dicom
from BreastCMSLLib.readers.folders import walk_files
from training.data.manifest import Row

Item = TypeVar("Item")


@dataclass
class Collection:
    """What is found in a downloaded collection.

    Parameters
    ----------
    rows : list of Row
        Its usable exams.
    left_out : list of (str, str)
        Exams, and why each is not usable.
    notes : list of str
        For the user.
    """

    rows: list[Row] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, exam: str, why: object) -> None:
        self.left_out.append((exam, str(why).rstrip(".")))

    def count(self, number: int, text: str) -> None:
        """A note about a number of exams, if there are any."""
        if number:
            self.notes.append(f"{_count(number, 'exam')}: {text}")

    def remarks(self) -> list[str]:
        """What was left out, and the notes, as lines."""
        lines = [f"left out: {exam}: {why}." for exam, why in self.left_out]
        lines += [f"note: {note}." for note in self.notes]
        return [*lines, f"left out: {_count(len(self.left_out), 'exam')} in all."]

    def summary(self) -> str:
        """The numbers of exams and patients, by label and split."""
        splits = Counter(row.split for row in self.rows)
        patients, malignant = len({row.patient for row in self.rows}), sum(row.label for row in self.rows)
        parts = ", ".join(f"{split} {splits[split]}" for split in ("train", "validate", "test"))
        return (
            f"{_count(len(self.rows), 'exam')} of {_count(patients, 'patient')} "
            f"({malignant} malignant, {len(self.rows) - malignant} benign; {parts})"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Table:
    """Rows of a CSV or xlsx file.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Their names, in lower case, spaces collapsed.
    rows : tuple of dict
        Cells by column, as text.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def column(self, start: str, *, required: bool = True) -> str | None:
        """The column of this name, or else the first that starts so."""
        exact = [name for name in self.columns if name == start]
        column = next(iter([*exact, *(name for name in self.columns if name.startswith(start))]), None)
        if column is None and required:
            raise InputError(
                f'{self.path.name} has no column "{start}"; give the collection\'s own table with --labels.'
            )
        return column

    def by(self, start: str, key=lambda text: text) -> dict[object, list[dict[str, str]]]:
        """Rows by the key made of a column; rows without one are passed over."""
        column, rows = self.column(start), {}
        for row in self.rows:
            if row[column]:
                rows.setdefault(key(row[column]), []).append(row)
        return rows


def read_table(path: Path, key: str, *, sheet: str | None = None) -> Table:
    """A CSV or xlsx table.

    Parameters
    ----------
    path : Path
        The file.
    key : str
        How the name of one of its columns starts; the first line that has it is the header.
    sheet : str, optional
        Of an xlsx file (None: the first).

    Returns
    -------
    Table

    Raises
    ------
    InputError
        Naming the file.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name of the table.")
    lines = [
        [_clean(cell) for cell in line]
        for line in (_xlsx(path, sheet) if path.suffix.lower() == ".xlsx" else _csv(path))
    ]
    for number, line in enumerate(lines[:20]):
        header = [cell.lower() for cell in line]
        if any(cell.startswith(key) for cell in header):
            body = [
                dict(zip(header, [*cells, *[""] * len(header)]))
                for cells in lines[number + 1 :]
                if any(cells)
            ]
            return Table(path, tuple(c for c in header if c), tuple(body))
    raise InputError(f'{path.name} has no column "{key}"; give the collection\'s own table with --labels.')


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return list(csv.reader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a CSV table; download it again.") from error


def _xlsx(path: Path, sheet: str | None) -> list[list[object]]:
    try:
        import openpyxl
    except ImportError as error:
        raise DependencyError(
            f"{path.name} needs openpyxl to be read; install it with: pip install openpyxl."
        ) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"{path.name} cannot be read as an xlsx table; download it again.") from error
    try:
        named = {name.strip().lower(): name for name in book.sheetnames}
        if sheet is not None and sheet.lower() not in named:
            raise InputError(
                f'{path.name} has no sheet "{sheet}"; give the collection\'s own table with --labels.'
            )
        return [
            list(line)
            for line in book[named[sheet.lower()] if sheet else book.sheetnames[0]].iter_rows(
                values_only=True
            )
        ]
    finally:
        book.close()


def _clean(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = "" if cell is None else " ".join(str(cell).split())
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)  # codes that a spreadsheet has turned into decimal numbers


def table_file(folder: Path, given: Path | None, *patterns: str) -> Path | None:
    """The table of a collection.

    Parameters
    ----------
    folder : Path
        Of the collection.
    given : Path or None
        The table that the user gave.
    *patterns : str
        Of names, tried in turn in the folder and one level below.

    Returns
    -------
    Path or None
        The given table, or the only one that matches; None where none does.

    Raises
    ------
    InputError
        When several match.
    """
    if given is not None:
        return given
    for pattern in patterns:
        matches = [path for name in (pattern, f"*/{pattern}") for path in folder.glob(name)]
        tables = sorted(path for path in matches if not path.name.startswith(("~", ".")))
        if len(tables) > 1:
            names = ", ".join(path.name for path in tables)
            raise InputError(f"{folder} holds several tables ({names}); choose one with --labels.")
        if tables:
            return tables[0]
    return None


def label_of(
    codes: Sequence[str], labels: Mapping[str, int | None], negatives: bool
) -> tuple[int | None, str]:
    """The label of an exam from the codes of its lesions or sides.

    Parameters
    ----------
    codes : sequence of str
        One malignant makes the exam malignant.
    labels : mapping
        Code → 1 malignant, 0 benign, None no lesion.
    negatives : bool
        Whether exams without a lesion count as benign instead of being left out.

    Returns
    -------
    label : int or None
        None: the exam is left out.
    why : str
        The reason.
    """
    known = [labels[code] for code in codes if code in labels]
    if 1 in known:
        return 1, ""
    strange = next((code for code in codes if code not in labels), None)
    if strange is not None:
        return (
            None,
            f'the label "{strange}" is not one of {", ".join(labels)}' if strange else "the label is missing",
        )
    if 0 in known:
        return 0, ""
    return (0, "") if negatives else (None, "no lesion (--negatives counts it as benign)")


def number_at_end(text: str) -> int | None:
    """The number of a patient in its identifier, so that "AMBL-007", "AMBL-7" and "7" agree."""
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits else None


def safe(text: str) -> str:
    """Text as a part of an exam's key."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80]


def each(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a count on a terminal."""
    for number, item in enumerate(items, 1):
        if sys.stderr.isatty():
            print(
                f"\r{what} {number}/{len(items)}",
                end="" if number < len(items) else "\n",
                file=sys.stderr,
                flush=True,
            )
        yield item


# ---------------------------------------------------------------- DICOM folders


def folders_named(folder: Path, pattern: str, depth: int = 4) -> dict[str, list[Path]]:
    """Folders by their whole name; what lies inside a match is not searched.

    Parameters
    ----------
    folder : Path
        Searched, and matched itself where nothing below it does.
    pattern : str
        Regular expression; the case does not matter.
    depth : int
        Levels below the folder.

    Returns
    -------
    dict
        Name → folders, sorted.

    Raises
    ------
    InputError
        When it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder the collection was downloaded to.")
    matches: dict[str, list[Path]] = {}
    level = [folder]
    for _ in range(depth):
        following: list[Path] = []
        for parent in level:
            for path in sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")):
                if re.fullmatch(pattern, path.name, re.I):
                    matches.setdefault(path.name, []).append(path)
                else:
                    following.append(path)
        level = following
    if re.fullmatch(pattern, folder.name, re.I) and not matches:
        matches[folder.name] = [folder]
    return dict(sorted(matches.items()))


def studies(patient: Path) -> list[Path]:
    """The folders of a patient's studies in the order of time: those that hold folders of series.

    The patient's own folder where there is no such level.
    """
    below = sorted((p for p in patient.iterdir() if p.is_dir()), key=_date)
    of_series = [p for p in below if any(q.is_dir() for q in p.iterdir())]
    return of_series or [patient]


def _date(study: Path) -> tuple[str, str]:
    """Sorts studies by the date that their folder begins with (month-day-year)."""
    date = re.match(r"(\d\d)-(\d\d)-(\d{4})", study.name)
    return ("".join(date.group(3, 1, 2)) if date else "", study.name)


@dataclass(frozen=True)
class Series:
    folder: Path
    description: str
    modality: str


def series_of(study: Path) -> list[Series]:
    """One entry for each folder with DICOM files, told from its first readable header."""
    result = []
    for root, _, names in os.walk(study, followlinks=True):
        folder = Path(root)
        first = next((file for name in sorted(names) if is_dicom(file := folder / name)), None)
        if first is None:
            continue
        try:
            head = pydicom.dcmread(
                first, stop_before_pixels=True, specific_tags=["SeriesDescription", "Modality"]
            )
        except Exception:  # a damaged file: the folder's own name still tells something
            result.append(Series(folder, folder.name, ""))
            continue
        result.append(
            Series(
                folder,
                str(head.get("SeriesDescription") or folder.name),
                str(head.get("Modality", "")).upper(),
            )
        )
    return result


def dynamics(folders: Sequence[Path]) -> tuple[list, str]:
    """The volumes that the library takes for the dynamic ones, from headers alone.

    Parameters
    ----------
    folders : sequence of Path
        Of one exam.

    Returns
    -------
    stacks : list of Stack
        Of ``readers.dicom``.
    kind : {"phases", "subtractions"}

    Raises
    ------
    InputError
        With the sentence that Analyze would show.
    """
    return find_dynamics((file for folder in folders for file in walk_files(folder)), folders[0])


def usable_study(
    patient: str, folders: Sequence[Path], collection: Collection
) -> tuple[Path, list, str] | None:
    """The first of a patient's MRI studies with a dynamic series; the others are listed as left out.

    Parameters
    ----------
    patient : str
        For the list.
    folders : sequence of Path
        The patient's folders.
    collection : Collection
        That lists what is left out.

    Returns
    -------
    tuple or None
        The study's folder, its volumes and their kind.
    """
    every = [study for folder in folders for study in studies(folder)]
    mri = [study for study in every if any(s.modality in ("MR", "") for s in series_of(study))]
    if not mri:
        collection.leave_out(patient, "no MR images are there")
    chosen = None
    for study in mri:
        name = patient if len(mri) == 1 else f"{patient}, {study.name}"
        if chosen is not None:
            collection.leave_out(name, "an earlier study of the patient is used")
            continue
        try:
            chosen = (study, *dynamics([study]))
        except BreastCMSLError as error:
            collection.leave_out(name, error)
    return chosen


# ---------------------------------------------------------------- volume files


def header(path: Path) -> tuple[tuple[int, ...], np.ndarray, bool]:
    """What a volume file says of its grid.

    Parameters
    ----------
    path : Path
        NIfTI or the like.

    Returns
    -------
    size : tuple of int
    spacing : numpy.ndarray
        mm.
    unset : bool
        Whether the geometry says nothing: unit voxels at the origin, as when none was set.

    Raises
    ------
    InputError
        For a damaged file.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"{path.name} cannot be read: it is damaged or incomplete; download it again."
        ) from error
    spacing = np.array(reader.GetSpacing())
    unset = bool(
        np.all(spacing == 1)
        and not any(reader.GetOrigin())
        and np.all(np.abs(np.abs(reader.GetDirection()).sum() - 3) < 1e-6)
    )
    return tuple(reader.GetSize()), spacing, unset


def check_phases(files: Sequence[Path]) -> None:
    """Raise InputError unless these are two or more readable volumes of one size with known voxels."""
    if len(files) < 2:
        raise InputError("fewer than two dynamic phases")
    first, _, unset = header(files[0])
    if unset:
        raise InputError(f"the header of {files[0].name} tells neither voxel size nor place")
    for file in files[1:]:
        if header(file)[0] != first:
            raise InputError(f"{file.name} has another size than {files[0].name}")
