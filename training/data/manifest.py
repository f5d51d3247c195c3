"""Manifests: a CSV table of exams with their label, split and files, and the way from one of its lines to an Exam and its truth.

The columns are explained, with an example, in docs/datasets.md. A line names volume files, DICOM folders or the seed of a
simulated exam. Everything is checked before anything is used; an error is one sentence that names the manifest and the line.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import BreastCMSLError, InputError, OutputError
from BreastCMSLLib.core.geometry import Volume, apply_affine, resample
from BreastCMSLLib.core.text import one_line
from BreastCMSLLib.exam.exam import Exam, make_exam

COLUMNS = (
    "patient exam label split kind pre post t1 times_s box_ras_mm box_voxels box_label mask mask_label mask_grid seed voxel_mm"
).split()
REQUIRED = COLUMNS[:3]
LABELS = {"malignant": 1, "benign": 0, "1": 1, "0": 0}
SPLITS = ("train", "validate", "test", "")
KINDS = ("phases", "subtractions")
MASK_GRIDS = ("file", "exam")
_NAMES = {1: "malignant", 0: "benign"}
_SPECK_MM = 2.0  # parts of a label map with a smaller radius are taken for strokes of the pen, unless there is nothing larger

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
Fail = Callable[[str], None]


@dataclass(frozen=True)
class Lesion:
    """What is known of one lesion, or of all lesions of one class in a label map.

    box_ras_mm: opposite corners in RAS mm. ras_mm, radius_mm: its centre and half its mean edge.
    box_voxels: the same as voxel ranges of the exam's grid, ((i0, j0, k0), (i1, j1, k1)), 0-based, half-open.
    mask: a label volume; values: those of its values that mean this class (none given: all but 0); mask_grid: "file" when
    its header tells where it lies, "exam" when its voxels are those of the exam, whatever its header says.
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

    patient: groups exams that must stay in one split. exam: unique, usable as a file name. label: 1 malignant, 0 benign.
    pre, post, t1: volume files or DICOM folders, relative to ``folder`` or absolute; a whole exam in one DICOM folder, or in
    one 4-D file, is the only entry of ``post``. kind: "phases", or "subtractions" without ``pre``.
    times_s: seconds of each dynamic volume, pre first. seed, voxel_mm: of a simulated exam, which has no files.
    where: manifest and line it was read from, for messages.
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
    folder: Path = Path()
    where: str = ""

    def path(self, name: str) -> Path:
        return Path(self.folder) / name

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file and folder the exam and its truth are read from."""
        masks = dict.fromkeys(lesion.mask for lesion in self.lesions if lesion.mask)
        return tuple(self.path(name) for name in (self.pre, *self.post, self.t1, *masks) if name)


def read_manifest(path: Path | str) -> list[Row]:
    """The exams of a manifest, checked as ``validate`` does. Raises InputError naming the manifest and the line."""
    path = Path(path)
    rows = [_parse(cells, path, line) for line, cells in _lines(path)]
    validate(rows, path.name)
    return rows


def write_manifest(path: Path | str, rows: Sequence[Row]) -> None:
    """Check the rows and write them, all or nothing; files below the manifest's folder become relative to it.

    Raises InputError for rows that ``read_manifest`` would refuse, OutputError when the file cannot be written.
    """
    path = Path(path)
    validate(rows, path.name)
    table = [_cells(row, Path(os.path.abspath(path)).parent) for row in rows]
    used = [c for c in COLUMNS if c in REQUIRED or any(cells.get(c) for cells in table)]
    text = io.StringIO()
    writer = csv.DictWriter(text, used, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputError(f"The manifest {path} could not be written ({error.strerror}); choose another place.") from error


def validate(rows: Sequence[Row], name: str = "manifest") -> None:
    """Check every row and all together: keys, labels, splits, files, patients in one split. Raises InputError."""
    if not rows:
        raise InputError(f"{name} lists no exams; add one line for each.")
    exams: dict[str, str] = {}
    patients: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows):
        where = row.where or f"{name}, line {number + 2} ({row.exam})"

        def fail(text: str, where: str = where) -> None:
            raise _error(where, text)

        _check(row, fail)
        key = row.exam.lower()  # it becomes a file name, and some disks do not tell case apart
        if key in exams:
            fail(f"the exam is listed already in {exams[key]}; give each exam once, under a name of its own.")
        exams[key] = where
        split, other = patients.setdefault(row.patient, (row.split, where))
        if split != row.split:
            fail(
                f"patient {row.patient} is in the split {row.split or '(none)'} here and in {split or '(none)'} in {other}; "
                "keep all exams of a patient in one split."
            )


def split_by_patient(rows: Sequence[Row], fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0) -> list[Row]:
    """The rows with new splits: shares for train, validate and test of the patients of each label; patients stay whole.

    A patient counts as malignant when any exam is. The same patients and seed give the same splits in any order of rows.
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
        for place, index in enumerate(order):
            splits[patients[index]] = SPLITS[int(np.searchsorted(ends, place, side="right"))]
    return [replace(row, split=splits[row.patient]) for row in rows]


# ---------------------------------------------------------------- the table


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by column) of each exam."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name of the manifest.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the manifest's CSV file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not a CSV table; save the manifest as CSV in UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{path.name} is not a CSV table; save the manifest as CSV in UTF-8.")
    first = text.partition("\n")[0]
    delimiter = next((d for d in ",;\t" if d in first), ",")  # spreadsheets write semicolons where the comma is the decimal sign
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    result: list[tuple[int, dict[str, str]]] = []
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_header(header, path.name)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path.name}, line {reader.line_num}: it has {len(cells)} cells but the header names {len(header)} columns; "
                    "put cells that contain a comma in quotes."
                )
            result.append((reader.line_num, {key: cell.strip() for key, cell in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise InputError(f"{path.name}, line {reader.line_num}: it is not valid CSV ({error}); save the table again.") from error
    return result


def _error(where: str, text: object) -> InputError:
    """One sentence on one line, whatever cells and file names put into it."""
    return InputError(f"{one_line(where, 120)}: {one_line(text)}")


def _check_header(header: list[str], name: str) -> None:
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)}; its first line must name the columns, as docs/datasets.md shows.")
    double = next((c for c in header if c and header.count(c) > 1), None)
    if double:
        raise InputError(f"{name} names the column {double} twice; remove one of them.")
    for column in header:
        meant = difflib.get_close_matches(column, [c for c in COLUMNS if c not in header], 1, 0.8)
        if column not in COLUMNS and meant:
            raise InputError(f"{name} has a column {column}; write {meant[0]} if that is meant, or give it quite another name.")


def _parse(cells: dict[str, str], path: Path, line: int) -> Row:
    """The row of a line's cells; only what cannot be represented is refused here, the rest by ``_check``."""
    exam = " ".join(cells["exam"].split())
    where = f"{path.name}, line {line}" + (f" ({exam})" if exam else "")

    def fail(text: str) -> None:
        raise _error(where, text)

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
        lesions.append(box_lesion(malignant, (low, high)) if ras else Lesion(malignant, box_voxels=(low, high)))
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
    return Lesion(
        malignant, (tuple(low.tolist()), tuple(high.tolist())), tuple(((low + high) / 2).tolist()), float((high - low).mean() / 2)
    )


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split("|") if part.strip()]


def _numbers(text: str, count: int, column: str, fail: Fail) -> list[float]:
    try:
        values = [float(v) for v in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        fail(f'{column} needs {count} number{"s" * (count > 1)} with a decimal point, not "{_shown(text)}"; correct it.')
    return values


def _check(row: Row, fail: Fail) -> None:
    """Everything that can be wrong with one row by itself."""
    if not row.patient:
        fail("the patient is missing; name it, so that all exams of a patient stay in one split.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", row.exam):
        fail("the exam needs a name of letters, digits, dots, dashes and underscores, since files are called by it.")
    if row.label not in (0, 1):
        fail(f"the label must be 1 (malignant) or 0 (benign), not {row.label}; correct it.")
    if row.split not in SPLITS:
        fail(f'the split must be train, validate, test or empty, not "{_shown(row.split)}"; correct it.')
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
        fail("the column pre is empty; name the pre-contrast phase there, or give one folder with the whole exam in post.")
    if row.voxel_mm is not None and not 0.5 <= row.voxel_mm <= 10:
        fail(f"a voxel of {row.voxel_mm:g} mm cannot be simulated; give 0.5 to 10.")
    if row.times_s is not None and any(b <= a for a, b in zip(row.times_s, row.times_s[1:], strict=False)):
        fail("the times in times_s do not increase; give the seconds of each volume in the order of acquisition.")
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
        fail(f"{shown} does not exist in {row.folder or Path('.')}, or cannot be read; correct the path or leave the exam out.")
    if is_empty:
        fail(f"the folder {shown} is empty; correct the path or leave the exam out.")


def _shown(text: str) -> str:
    """A cell inside a message, short enough to leave room for what to do about it."""
    return one_line(text, 80)


def _cells(row: Row, home: Path) -> dict[str, str]:
    """The cells of a row for a manifest that lies in the folder ``home``."""

    def place(name: str | None) -> str:
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
        raise InputError(f"{row.where or row.exam}: an exam may have one label volume and one kind of boxes; merge them.")
    return {
        "patient": row.patient,
        "exam": row.exam,
        "label": _NAMES[row.label],
        "split": row.split,
        "kind": "" if row.kind == "phases" else row.kind,
        "pre": place(row.pre),
        "post": "|".join(place(name) for name in row.post),
        "t1": place(row.t1),
        "times_s": "|".join(number(t) for t in row.times_s or ()),
        "box_ras_mm": boxes([lesion.box_ras_mm for lesion in boxed if lesion.box_ras_mm]),
        "box_voxels": boxes([lesion.box_voxels for lesion in boxed if lesion.box_voxels]),
        "box_label": "|".join(_NAMES[lesion.malignant] for lesion in boxed),
        "mask": place(masks[0].mask) if masks else "",
        "mask_label": "|".join(values),
        "mask_grid": masks[0].mask_grid if masks and masks[0].mask_grid != "file" else "",
        "seed": "" if row.seed is None else str(row.seed),
        "voxel_mm": "" if row.voxel_mm is None else number(row.voxel_mm),
    }


# ---------------------------------------------------------------- from a row to an exam


@lru_cache(maxsize=1)
def _simulated(seed: int, malignant: bool, voxel_mm: float | None, device: str):
    """The simulated exam that both ``load_exam`` and ``truth`` need; kept until the next one."""
    from training.simulation import simulate

    return simulate(seed, malignant, voxel_mm=voxel_mm, device=device)


def load_exam(row: Row, device: str = "cpu") -> Exam:
    """The exam of a row, by the library's own readers, or simulated on a device. Raises InputError naming the row and the file.

    Files are taken in the order of the row; in DICOM folders the headers tell the order, but ``pre`` comes first.
    """
    if row.seed is not None:
        return _simulated(row.seed, bool(row.label), row.voxel_mm, device).exam
    try:
        return _without_copies(_read(row))
    except BreastCMSLError as error:
        raise _error(row.where or row.exam, error) from error


def _read(row: Row) -> Exam:
    from BreastCMSLLib import readers
    from BreastCMSLLib.readers.files import is_volume_file, read_volume_file

    paths = [row.path(name) for name in (row.pre, *row.post) if name]
    t1 = row.path(row.t1) if row.t1 else None
    if not all(path.is_file() and is_volume_file(path) for path in paths):
        exam = readers.read(paths, t1=t1, kind=row.kind, times_s=row.times_s)
        several = len(paths) > 1 and all(path.is_dir() for path in paths)
        return _as_told(exam, paths, paths[0] if row.pre else None) if several else exam
    # the reader of a folder goes by file names; here the row says what each file is
    phases = [phase for path in paths for phase in read_volume_file(path)]
    if row.times_s is not None:
        if len(row.times_s) != len(phases):
            raise InputError(f"{len(row.times_s)} times are given for {len(phases)} dynamic volumes; give one time for each.")
        phases = [replace(phase, time_s=time) for phase, time in zip(phases, row.times_s, strict=True)]
    return make_exam(phases, kind=row.kind, t1=None if t1 is None else readers.read_t1(t1)[0], keep_order=True)


def _as_told(exam: Exam, paths: Sequence[Path], pre: Path | None) -> Exam:
    """The exam, provided that every folder gave a phase, with the phase of the folder ``pre`` first."""
    phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]

    def of(folder: Path) -> list:
        return [p for p in phases if folder in (Path(p.source), *Path(p.source).parents)]

    for path in paths:
        if not of(path):
            raise InputError(
                f"{path.name} is no phase of the same acquisition as the others: its grid or protocol differs; correct the path."
            )
    first = [] if pre is None else of(pre)
    if pre is None or (len(first) == 1 and first[0] is exam.pre):
        return exam
    if len(first) > 1:
        raise InputError(f"{pre.name} holds {len(first)} phases; name the folder of the pre-contrast series alone in pre.")
    remark = f"{first[0].name} is the pre-contrast phase by the manifest, though its headers place it later."
    rest = [p for p in phases if p is not first[0]]
    return make_exam(
        [first[0], *rest], kind="phases", t1=exam.t1, identifiers=exam.identifiers, warnings=(*exam.warnings, remark), keep_order=True
    )


def _without_copies(exam: Exam) -> Exam:
    """Leave out phases that repeat the pre-contrast phase: some scanners store it again at the head of the series."""
    if exam.pre is None:
        return exam
    copies = [np.array_equal(p.volume.array, exam.pre.volume.array) for p in exam.post]
    if not any(copies):
        return exam
    if all(copies):
        raise InputError(f"{exam.post[0].name} holds the same voxels as {exam.pre.name}; name a phase after contrast.")
    remarks = [f"{p.name} was left out: it repeats {exam.pre.name}." for p, copy in zip(exam.post, copies, strict=True) if copy]
    kept = tuple(p for p, copy in zip(exam.post, copies, strict=True) if not copy)
    return replace(exam, post=kept, offsets=exam.offsets[: len(kept)], warnings=(*exam.warnings, *remarks))


# ---------------------------------------------------------------- from a row to its truth


def truth(row: Row, exam: Exam, device: str = "cpu") -> tuple[tuple[dict, ...], np.ndarray | None]:
    """The lesions of a row's exam, and a label array (uint8: 1 benign, 2 malignant) on the exam's grid where there is a mask.

    Each lesion: "ras_mm" its centre, "radius_mm" that of a sphere of its volume (of a box: half its mean edge), "malignant",
    "box_ras_mm" opposite corners or None. Malignant ones first, each class by size. Raises InputError naming the row.
    """
    if row.seed is not None:
        made = _simulated(row.seed, bool(row.label), row.voxel_mm, device)
        return tuple({"box_ras_mm": None, **lesion} for lesion in made.lesions), made.truth
    try:
        found = [_boxed(lesion, exam.grid) for lesion in row.lesions if not lesion.mask]
        masked = [lesion for lesion in row.lesions if lesion.mask]
        labels = None
        if masked:
            parts, labels = _masked(row.path(masked[0].mask), masked, exam.grid)
            found += parts
        for lesion in found:
            _check_inside(lesion["ras_mm"], exam.grid)
    except BreastCMSLError as error:
        raise _error(row.where or row.exam, error) from error
    return tuple(sorted(found, key=lambda f: (not f["malignant"], -f["radius_mm"]))), labels


def ras_box(affine: np.ndarray, low: Sequence[float], high: Sequence[float]) -> Box:
    """Opposite corners in RAS mm of half-open voxel ranges: the outer faces of the voxels; upright also on an oblique grid."""
    edges = np.array([low, high], dtype=np.float64) - 0.5
    corners = np.array(np.meshgrid(*edges.T, indexing="ij")).reshape(3, -1).T
    placed = apply_affine(affine, corners)
    return tuple(placed.min(axis=0).tolist()), tuple(placed.max(axis=0).tolist())


def _boxed(lesion: Lesion, grid: Volume) -> dict:
    box, centre, radius = lesion.box_ras_mm, lesion.ras_mm, lesion.radius_mm
    if lesion.box_voxels is not None:
        low, high = np.array(lesion.box_voxels, dtype=np.float64)
        box, radius = ras_box(grid.affine, low, high), float(((high - low) * grid.spacing).mean() / 2)
        centre = tuple(apply_affine(grid.affine, (low + high - 1) / 2).tolist())
    return {"ras_mm": centre, "radius_mm": radius, "malignant": lesion.malignant, "box_ras_mm": box}


def _check_inside(ras: Sequence[float], grid: Volume) -> None:
    index = apply_affine(np.linalg.inv(grid.affine), np.array(ras))
    if (index < -0.5).any() or (index > np.array(grid.shape) - 0.5).any():
        place = ", ".join(f"{v:.0f}" for v in ras)
        raise InputError(
            f"the lesion at {place} mm (RAS) lies outside the exam; check its coordinates (RAS, not LPS) and the mask's header."
        )


def _masked(path: Path, lesions: Sequence[Lesion], grid: Volume) -> tuple[list[dict], np.ndarray]:
    """The lesions of a label volume, and its classes on the exam's grid."""
    from BreastCMSLLib.readers.files import read_volume_file

    frames = read_volume_file(path)
    if len(frames) != 1:
        raise InputError(f"{path.name} holds {len(frames)} volumes; give one label volume as the mask.")
    volume = frames[0].volume
    array = volume.array
    if lesions[0].mask_grid == "exam":
        if volume.shape != grid.shape:
            sizes = ["×".join(map(str, v.shape)) for v in (volume, grid)]
            raise InputError(f"{path.name} has {sizes[0]} voxels but the exam {sizes[1]}; its own header must tell where it lies.")
        volume = grid.with_array(array)
    present = np.unique(array)
    if not np.isfinite(present).all() or (present < 0).any() or (present != np.round(present)).any():
        raise InputError(f"{path.name} is no label volume: its voxels are not whole numbers from 0; give the segmentation.")
    labels = np.zeros(array.shape, np.uint8)
    for lesion in sorted(lesions, key=lambda lesion: lesion.malignant):
        labels[np.isin(array, lesion.values) if lesion.values else array != 0] = 2 if lesion.malignant else 1
    if not labels.any():
        raise InputError(f"{path.name} marks no lesion; correct mask_label or leave the mask out.")
    parts = _components(volume.with_array(labels))
    for part in parts:
        _check_inside(part["ras_mm"], grid)
    placed = labels if volume.same_grid(grid) else resample(volume.with_array(labels), grid.shape, grid.affine, nearest=True).array
    placed = np.array(placed, dtype=np.uint8)
    for part in parts:
        value = 2 if part["malignant"] else 1
        if not (placed == value).any():  # a class smaller than the exam's voxels
            index = np.round(apply_affine(np.linalg.inv(grid.affine), np.array(part["ras_mm"]))).astype(int)
            placed[tuple(index)] = value
    return parts, placed


def _components(labels: Volume) -> list[dict]:
    """The connected parts of each class, largest first."""
    from scipy import ndimage

    cell = abs(float(np.linalg.det(labels.affine[:3, :3])))
    parts: list[tuple[int, dict]] = []
    for value in (1, 2):
        numbered, _ = ndimage.label(labels.array == value, structure=np.ones((3, 3, 3)))
        for number, window in enumerate(ndimage.find_objects(numbered), 1):
            at = np.argwhere(numbered[window] == number) + [s.start for s in window]
            lesion = {
                "ras_mm": tuple(apply_affine(labels.affine, at.mean(axis=0)).tolist()),
                "radius_mm": float((0.75 * cell * len(at) / math.pi) ** (1 / 3)),
                "malignant": value == 2,
                "box_ras_mm": ras_box(labels.affine, at.min(axis=0), at.max(axis=0) + 1),
            }
            parts.append((len(at), lesion))
    largest = {kind: max((n for n, part in parts if part["malignant"] is kind), default=0) for kind in (True, False)}
    return [part for n, part in parts if part["radius_mm"] >= _SPECK_MM or n == largest[part["malignant"]]]
