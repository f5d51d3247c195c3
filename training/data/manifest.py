"""Manifests: CSV tables of exams with their label, split and files.

The columns are explained, with an example, in docs/datasets.md. A line names volume files, DICOM folders or
the seed of a simulated exam. Everything is checked before anything is used; an error is one sentence that
names the manifest and the line.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import InputError, OutputError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.core.text import one_line
from training.simulation.cohorts import cohort_manifest
from training.simulation.exam import POPULATIONS

from .files import write_rows

COLUMNS = (
    "patient exam label split kind pre post t1 times_s "
    "box_ras_mm box_voxels box_label mask mask_label mask_grid "
    "seed voxel_mm population birads"
).split()
REQUIRED = COLUMNS[:3]
SIMULATED = "simulated"  # simulated:NAME is a cohort of simulation/cohorts.py
LABELS = {"malignant": 1, "benign": 0, "1": 1, "0": 0}
SPLITS = ("train", "validate", "test", "")
KINDS = ("phases", "subtractions")
MASK_GRIDS = ("file", "exam")
_NAMES = {1: "malignant", 0: "benign"}

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
Fail = Callable[[str], None]


@dataclass(frozen=True)
class Lesion:
    """What is known of one lesion, or of all lesions of one class in a label map.

    Parameters
    ----------
    malignant : bool
        Its class.
    box_ras_mm : Box, optional
        Opposite corners in RAS mm.
    ras_mm, radius_mm
        The box's centre and half its mean edge.
    mask : str, optional
        A label volume.
    values : tuple of int
        Those of its values that mean this class (none given: all but 0).
    mask_grid : {"file", "exam"}
        "file" when the mask's header tells where it lies, "exam" when its voxels are those of the exam,
        whatever its header says.
    box_voxels : Box, optional
        The box as voxel ranges of the exam's grid, ((i0, j0, k0), (i1, j1, k1)), 0-based, half-open.
    """

    malignant: bool
    box_ras_mm: Box | None = None
    ras_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None
    mask: str | None = None
    values: tuple[int, ...] = ()
    mask_grid: str = "file"
    box_voxels: Box | None = None


@dataclass(frozen=True)
class Row:
    """One exam of a manifest.

    Parameters
    ----------
    patient : str
        Groups exams that must stay in one split.
    exam : str
        Unique, usable as a file name.
    label : int
        1 malignant, 0 benign.
    split : {"train", "validate", "test", ""}
        "" where it has none yet.
    pre, post, t1
        Volume files or DICOM folders, relative to ``folder`` or absolute; a whole exam in one DICOM folder,
        or in one 4-D file, is the only entry of ``post``.
    kind : {"phases", "subtractions"}
        Subtractions have no ``pre``.
    times_s : tuple of float, optional
        Seconds of each dynamic volume, pre first.
    lesions : tuple of Lesion
        What is known of the truth.
    seed, voxel_mm
        Of a simulated exam, which has no files.
    population : str
        How the lesions of a simulated exam are drawn, one of ``POPULATIONS``.
    birads : str
        A reader's grade: 1 to 6, or 4A to 4C; "" where it is not known.
    folder : Path
        Of the manifest.
    where : str
        Manifest and line it was read from, for messages.
    """

    patient: str
    exam: str
    label: int
    split: str = ""
    pre: str | None = None
    post: tuple[str, ...] = ()
    kind: str = "phases"
    t1: str | None = None
    times_s: tuple[float, ...] | None = None
    lesions: tuple[Lesion, ...] = ()
    seed: int | None = None
    voxel_mm: float | None = None
    population: str = POPULATIONS[0]
    birads: str = ""
    folder: Path = Path()
    where: str = ""

    def path(self, name: str) -> Path:
        return Path(self.folder) / name

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file and folder the exam and its truth are read from."""
        masks = dict.fromkeys(lesion.mask for lesion in self.lesions if lesion.mask)
        return tuple(self.path(name) for name in (self.pre, *self.post, self.t1, *masks) if name)


def read_cohort(source: Path | str) -> list[Row]:
    """The exams of a manifest, or of a simulated cohort.

    Parameters
    ----------
    source : Path or str
        A CSV file, or simulated:NAME; simulated:NAME+OTHER joins cohorts.

    Returns
    -------
    list of Row
        Checked as ``validate`` does.

    Raises
    ------
    InputError
        Naming the manifest and the line, or the cohorts that there are.
    """
    kind, _, name = str(source).partition(":")
    if kind == SIMULATED:
        cohorts = [_rows(cohort_manifest(part), Path(f"{part}.csv")) for part in name.split("+")]
        rows = [row for cohort in cohorts for row in cohort]
        if len(cohorts) > 1:
            validate(rows, name)
        return rows
    return read_manifest(source)


def read_manifest(path: Path | str) -> list[Row]:
    """The exams of a manifest file; see :func:`read_cohort`."""
    path = Path(path)
    return _rows(_text(path), path)


def _rows(text: str, path: Path) -> list[Row]:
    rows = [_parse(cells, path, line) for line, cells in _lines(text, path.name)]
    validate(rows, path.name)
    return rows


def write_manifest(path: Path | str, rows: Sequence[Row]) -> None:
    """Check the rows and write them, all or nothing; files below the manifest's folder become relative to it.

    Raises InputError for rows that ``read_manifest`` would refuse, and OutputError when the file cannot be
    written.
    """
    path = Path(path)
    validate(rows, path.name)
    table = [_cells(row, Path(os.path.abspath(path)).parent) for row in rows]
    used = [c for c in COLUMNS if c in REQUIRED or any(cells.get(c) for cells in table)]
    try:
        write_rows(path, table, used)
    except OSError as error:
        raise OutputError(
            f"The manifest {path} could not be written ({error.strerror}); choose another place."
        ) from error


def validate(rows: Sequence[Row], name: str = "manifest") -> None:
    """Check rows alone and together: keys, labels, splits, files, patients. Raises InputError.

    Spellings of a patient that differ by case or by the form of an accent alone, and images that two exams
    name, are refused: either would put one patient into two splits.
    """
    if not rows:
        raise InputError(f"{name} lists no exams; add one line for each.")
    exams: dict[str, str] = {}
    patients: dict[str, tuple[Row, str]] = {}
    images: dict[str, str] = {}
    for number, row in enumerate(rows):
        where = row.where or f"{name}, line {number + 2} ({row.exam})"

        def fail(text: str, where: str = where) -> None:
            raise row_error(where, text)

        _check(row, fail)
        key = row.exam.lower()  # it becomes a file name, and some disks do not tell case apart
        if key in exams:
            fail(f"the exam is listed already in {exams[key]}; give each exam once, under a name of its own.")
        exams[key] = where
        first, other = patients.setdefault(_alike(row.patient), (row, where))
        if first.patient != row.patient:
            fail(
                f"the patient {row.patient} is spelled {first.patient} in {other}; "
                "spell a patient alike in all lines, or give two patients names that differ by more."
            )
        if first.split != row.split:
            fail(
                f"patient {row.patient} is in the split {row.split or '(none)'} "
                f"here and in {first.split or '(none)'} in {other}; "
                "keep all exams of a patient in one split."
            )
        for image in filter(None, (row.pre, *row.post)):
            # links are followed: they name the same images
            other = images.setdefault(os.path.normcase(os.path.realpath(row.path(image))), where)
            if other != where:
                fail(
                    f"{_shown(image)} belongs to {other} already; "
                    "give one line an exam: both breasts, and all of its lesions, are one exam."
                )


def _alike(patient: str) -> str:
    """What spellings of one patient have in common, in capitals or small, composed accents or not."""
    folded = unicodedata.normalize("NFC", " ".join(patient.split())).casefold()
    return unicodedata.normalize("NFC", folded)


def split_by_patient(
    rows: Sequence[Row], fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0
) -> list[Row]:
    """Split exams anew, so that patients stay whole.

    A patient counts as malignant when any exam is. The same patients and seed give the same splits in any
    order.

    Parameters
    ----------
    rows : sequence of Row
        Exams with or without splits.
    fractions : sequence of float
        Shares for train, validate and test of the patients of each label.
    seed : int
        Of the shuffling.

    Returns
    -------
    list of Row
        In the order given, with new splits.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or (shares < 0).any() or not shares.sum() > 0:
        raise InputError("Give three shares for train, validate and test, none negative.")
    labels: dict[str, int] = {}
    for row in rows:
        labels[row.patient] = max(row.label, labels.get(row.patient, 0))
    splits: dict[str, str] = {}
    for label in (0, 1):
        patients = sorted(p for p, of in labels.items() if of == label)
        order = np.random.default_rng([seed, label]).permutation(len(patients))
        ends = np.floor(np.cumsum(shares) / shares.sum() * len(patients) + 0.5)
        for rank, index in enumerate(order):
            splits[patients[index]] = SPLITS[int(np.searchsorted(ends, rank, side="right"))]
    return [replace(row, split=splits[row.patient]) for row in rows]


# ---------------------------------------------------------------- the table


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name of the manifest.") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give the manifest's CSV file."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not a CSV table; save the manifest as CSV in UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{path.name} is not a CSV table; save the manifest as CSV in UTF-8.")
    return text


def _lines(text: str, name: str) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by column) of each exam."""
    first = text.partition("\n")[0]
    # spreadsheets write semicolons where the comma is the decimal sign
    delimiter = next((d for d in ",;\t" if d in first), ",")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    result: list[tuple[int, dict[str, str]]] = []
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_header(header, name)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{name}, line {reader.line_num}: it has {len(cells)} cells "
                    f"but the header names {len(header)} columns; "
                    "put cells that contain a comma in quotes."
                )
            result.append(
                (reader.line_num, {key: cell.strip() for key, cell in zip(header, cells, strict=True)})
            )
    except csv.Error as error:
        raise InputError(
            f"{name}, line {reader.line_num}: it is not valid CSV ({error}); save the table again."
        ) from error
    return result


def row_error(where: str, text: object) -> InputError:
    """One sentence on one line, whatever cells and file names put into it."""
    return InputError(f"{one_line(where, 120)}: {one_line(text)}")


def _check_header(header: list[str], name: str) -> None:
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        raise InputError(
            f"{name} has no column {', '.join(missing)}; "
            "its first line must name the columns, as docs/datasets.md shows."
        )
    double = next((c for c in header if c and header.count(c) > 1), None)
    if double:
        raise InputError(f"{name} names the column {double} twice; remove one of them.")
    for column in header:
        meant = difflib.get_close_matches(column, [c for c in COLUMNS if c not in header], 1, 0.8)
        if column not in COLUMNS and meant:
            raise InputError(
                f"{name} has a column {column}; "
                f"write {meant[0]} if that is meant, or give it quite another name."
            )


def _parse(cells: dict[str, str], path: Path, line: int) -> Row:
    """The row of a line's cells; only what cannot be represented is refused here, the rest by ``_check``."""
    exam = " ".join(cells["exam"].split())
    where = f"{path.name}, line {line}" + (f" ({exam})" if exam else "")

    def fail(text: str) -> None:
        raise row_error(where, text)

    label = LABELS.get(cells["label"].lower())
    if label is None:
        fail(f'the label must be malignant or benign, not "{_shown(cells["label"])}"; correct it.')
    seed = cells.get("seed") or None
    if seed is not None and not re.fullmatch(r"\d{1,18}", seed):
        fail(f'the seed must be a whole number, not "{_shown(seed)}"; correct it.')
    times = tuple(_numbers(c, 1, "times_s", fail)[0] for c in _parts(cells.get("times_s")))
    voxel = cells.get("voxel_mm")
    return Row(
        patient=cells["patient"],
        exam=exam,
        label=label,
        split=cells.get("split", "").lower(),
        pre=cells.get("pre") or None,
        post=tuple(_parts(cells.get("post"))),
        kind=cells.get("kind", "").lower() or "phases",
        t1=cells.get("t1") or None,
        times_s=times or None,
        lesions=_parse_lesions(cells, label, fail),
        seed=None if seed is None else int(seed),
        voxel_mm=_numbers(voxel, 1, "voxel_mm", fail)[0] if voxel else None,
        population=cells.get("population", "").lower() or POPULATIONS[0],
        birads=cells.get("birads", "").upper(),
        folder=path.parent,
        where=where,
    )


def _parse_lesions(cells: dict[str, str], label: int, fail: Fail) -> tuple[Lesion, ...]:
    lesions: list[Lesion] = []
    ras, voxels = _parts(cells.get("box_ras_mm")), _parts(cells.get("box_voxels"))
    if ras and voxels:
        fail("boxes are given both in mm and in voxels; keep one of the columns box_ras_mm and box_voxels.")
    labels = [LABELS.get(c.lower()) for c in _parts(cells.get("box_label"))]
    if None in labels or (labels and len(labels) != len(ras) + len(voxels)):
        fail("box_label must say malignant or benign once for each box, separated by |.")
    for number, text in enumerate(ras or voxels):
        malignant = bool(labels[number] if labels else label)
        n = _numbers(text, 6, "box_ras_mm" if ras else "box_voxels", fail)
        low, high = tuple(map(min, n[:3], n[3:])), tuple(map(max, n[:3], n[3:]))
        lesions.append(
            box_lesion(malignant, (low, high)) if ras else Lesion(malignant, box_voxels=(low, high))
        )
    mask, meanings = cells.get("mask"), _parts(cells.get("mask_label"))
    if not mask and (meanings or cells.get("mask_grid")):
        fail("mask_label or mask_grid is given without a mask; name the label volume in the column mask.")
    if mask:
        grid = cells.get("mask_grid", "").lower() or "file"
        by_class: dict[int, list[int]] = {}
        for text in meanings:
            value, _, meaning = text.partition("=")
            if not value.strip().isdigit() or LABELS.get(meaning.strip().lower()) is None:
                fail(f'mask_label must be like 1=malignant|2=benign, not "{_shown(text)}"; correct it.')
            by_class.setdefault(LABELS[meaning.strip().lower()], []).append(int(value))
        for of, values in (by_class or {label: []}).items():
            lesions.append(Lesion(bool(of), mask=mask, values=tuple(values), mask_grid=grid))
    return tuple(lesions)


def box_lesion(malignant: bool, box: Box) -> Lesion:
    """A lesion from the opposite corners of its box in RAS mm."""
    low, high = np.array(box, dtype=np.float64)
    centre, radius = tuple(((low + high) / 2).tolist()), float((high - low).mean() / 2)
    return Lesion(malignant, (tuple(low.tolist()), tuple(high.tolist())), centre, radius)


def ras_box(affine: np.ndarray, low: Sequence[float], high: Sequence[float]) -> Box:
    """A box of voxels in RAS mm.

    Parameters
    ----------
    affine : numpy.ndarray
        (4, 4) voxel index → RAS mm; may be oblique, the box is upright.
    low, high : sequence of float
        Half-open voxel ranges.

    Returns
    -------
    Box
        Opposite corners, at the outer faces of the voxels.
    """
    edges = np.array([low, high], dtype=np.float64) - 0.5
    corners = np.array(np.meshgrid(*edges.T, indexing="ij")).reshape(3, -1).T
    placed = apply_affine(affine, corners)
    return tuple(placed.min(axis=0).tolist()), tuple(placed.max(axis=0).tolist())


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split("|") if part.strip()]


def _numbers(text: str, count: int, column: str, fail: Fail) -> list[float]:
    try:
        values = [float(v) for v in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        fail(
            f"{column} needs {count} number{'s' * (count > 1)} with a decimal point, "
            f'not "{_shown(text)}"; correct it.'
        )
    return values


def _check(row: Row, fail: Fail) -> None:
    """Everything that can be wrong with one row by itself."""
    if not row.patient:
        fail("the patient is missing; name it, so that all exams of a patient stay in one split.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", row.exam):
        fail(
            "the exam needs a name of letters, digits, dots, "
            "dashes and underscores, since files are called by it."
        )
    if row.label not in (0, 1):
        fail(f"the label must be 1 (malignant) or 0 (benign), not {row.label}; correct it.")
    if row.split not in SPLITS:
        fail(f'the split must be train, validate, test or empty, not "{_shown(row.split)}"; correct it.')
    if row.birads and not re.fullmatch(r"[1-6]|4[ABC]", row.birads):
        fail(f'birads must be a number from 1 to 6, or 4A to 4C, not "{_shown(row.birads)}"; correct it.')
    if row.kind not in KINDS:
        fail(f'the kind must be phases or subtractions, not "{_shown(row.kind)}"; correct it.')
    if row.seed is not None:
        if row.files:
            fail("it has both a seed and files; a simulated exam has no files.")
    elif not row.post:
        fail("it names no images; fill in the column post, or seed for a simulated exam.")
    elif row.kind == "subtractions" and row.pre:
        fail("subtractions have no pre-contrast phase; leave pre empty, or say phases.")
    elif row.kind == "phases" and not row.pre and len(row.post) > 1:
        fail(
            "the column pre is empty; "
            "name the pre-contrast phase there, or give one folder with the whole exam in post."
        )
    if row.voxel_mm is not None and not 0.5 <= row.voxel_mm <= 10:
        fail(f"a voxel of {row.voxel_mm:g} mm cannot be simulated; give 0.5 to 10.")
    if row.population not in POPULATIONS:
        known = ", ".join(POPULATIONS)
        fail(f'the population must be one of {known}, not "{_shown(row.population)}"; correct it.')
    if row.population == "lesion-free" and row.label:
        fail("a lesion-free exam is labelled malignant; correct one of them.")
    if row.times_s is not None and any(b <= a for a, b in zip(row.times_s, row.times_s[1:], strict=False)):
        fail(
            "the times in times_s do not increase; "
            "give the seconds of each volume in the order of acquisition."
        )
    for lesion in row.lesions:
        if lesion.malignant and not row.label:
            fail("a lesion is malignant but the exam is labelled benign; correct one of them.")
        if lesion.mask_grid not in MASK_GRIDS:
            fail(f'mask_grid must be file or exam, not "{_shown(lesion.mask_grid)}"; correct it.')
    dynamics = [str(row.path(name)) for name in (row.pre, *row.post) if name]
    if len(set(dynamics)) < len(dynamics):
        fail("an image is named twice among pre and post; name each phase once.")
    for name in (row.pre, *row.post, row.t1, *(lesion.mask for lesion in row.lesions)):
        if name:
            _check_path(row, name, fail)


def _check_path(row: Row, name: str, fail: Fail) -> None:
    path, shown = row.path(name), _shown(name)
    if ".." in re.split(r"[\\/]", name):
        fail(f'the path {shown} contains ".."; give it from the manifest\'s folder downwards, or in full.')
    if "|" in name:
        fail(f"the path {shown} contains a |, which separates paths here; rename the file.")
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        is_empty = is_folder and not any(path.iterdir())
    except (OSError, ValueError):  # a name may also be too long, or hold what no name can
        fail(
            f"{shown} does not exist in {row.folder or Path('.')}, or cannot be read; "
            "correct the path or leave the exam out."
        )
    if is_empty:
        fail(f"the folder {shown} is empty; correct the path or leave the exam out.")


def _shown(text: str) -> str:
    """A cell inside a message, short enough to leave room for what to do about it."""
    return one_line(text, 80)


def _cells(row: Row, home: Path) -> dict[str, str]:
    """The cells of a row for a manifest that lies in the folder ``home``."""

    def relative(name: str | None) -> str:
        if not name:
            return ""
        path = Path(os.path.abspath(row.path(name)))
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)

    def number(value: float) -> str:
        return f"{value:.4f}".rstrip("0").rstrip(".")

    def boxes(items: list[Box]) -> str:
        return "|".join(" ".join(number(v) for corner in box for v in corner) for box in items)

    masks = [lesion for lesion in row.lesions if lesion.mask]
    boxed = [lesion for lesion in row.lesions if not lesion.mask]
    values = [f"{value}={_NAMES[lesion.malignant]}" for lesion in masks for value in lesion.values]
    if len({lesion.mask for lesion in masks}) > 1 or len({lesion.box_ras_mm is None for lesion in boxed}) > 1:
        raise InputError(
            f"{row.where or row.exam}: an exam may have one label volume and one kind of boxes; merge them."
        )
    return {
        "patient": row.patient,
        "exam": row.exam,
        "label": _NAMES[row.label],
        "split": row.split,
        "kind": "" if row.kind == "phases" else row.kind,
        "pre": relative(row.pre),
        "post": "|".join(relative(name) for name in row.post),
        "t1": relative(row.t1),
        "times_s": "|".join(number(t) for t in row.times_s or ()),
        "box_ras_mm": boxes([lesion.box_ras_mm for lesion in boxed if lesion.box_ras_mm]),
        "box_voxels": boxes([lesion.box_voxels for lesion in boxed if lesion.box_voxels]),
        "box_label": "|".join(_NAMES[lesion.malignant] for lesion in boxed),
        "mask": relative(masks[0].mask) if masks else "",
        "mask_label": "|".join(values),
        "mask_grid": masks[0].mask_grid if masks and masks[0].mask_grid != "file" else "",
        "seed": "" if row.seed is None else str(row.seed),
        "voxel_mm": "" if row.voxel_mm is None else number(row.voxel_mm),
        "population": "" if row.population == POPULATIONS[0] else row.population,
        "birads": row.birads,
    }
