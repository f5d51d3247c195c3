"""From a row of a manifest to its exam and its truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from BreastCMSLLib import readers
from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.exam import Exam, Phase, make_exam
from BreastCMSLLib.readers.volumes import is_volume_file, read_volume_file
from training.simulation import SimulatedExam, simulate

from .manifest import Lesion, Row, ras_box, row_error

# lesions of a label map with a smaller radius are taken for strokes of the pen, unless there is nothing
# larger
_SPECK_MM = 2.0


@lru_cache(maxsize=1)
def _simulated(seed: int, malignant: bool, voxel_mm: float | None, device: str) -> SimulatedExam:
    """The simulated exam that both ``load_exam`` and ``truth`` need; kept until the next one."""
    return simulate(seed, malignant, voxel_mm=voxel_mm, device=device)


def load_exam(row: Row, device: str = "cpu") -> Exam:
    """The exam of a row, by the library's own readers or simulated.

    Files are taken in the order of the row; in DICOM folders the headers tell the order, but ``pre`` comes
    first.

    Parameters
    ----------
    row : Row
        Of a manifest.
    device : str
        That a simulated exam is made on.

    Returns
    -------
    Exam
        Without phases that repeat the one before contrast.

    Raises
    ------
    InputError
        Naming the row and the file.
    """
    if row.seed is not None:
        return _simulated(row.seed, bool(row.label), row.voxel_mm, device).exam
    try:
        return _without_copies(_read(row))
    except BreastCMSLError as error:
        raise row_error(row.where or row.exam, error) from error


def _read(row: Row) -> Exam:
    paths = [row.path(name) for name in (row.pre, *row.post) if name]
    t1 = row.path(row.t1) if row.t1 else None
    if not all(path.is_file() and is_volume_file(path) for path in paths):
        t1_phase, t1_uids = (None, ()) if t1 is None else readers.read_t1(t1)
        # a row that names the phase before contrast settles what headers leave in doubt
        options = readers.ReadOptions(
            row.kind, t1_phase, tuple(t1_uids), row.times_s, keep_order=bool(row.pre)
        )
        exam = readers.read(paths, options)
        several = len(paths) > 1 and all(path.is_dir() for path in paths)
        return _with_pre_first(exam, paths, paths[0] if row.pre else None) if several else exam
    # the reader of a folder goes by file names; here the row says what each file is
    phases = [phase for path in paths for phase in read_volume_file(path)]
    if row.times_s is not None:
        if len(row.times_s) != len(phases):
            raise InputError(
                f"{len(row.times_s)} times are given for {len(phases)} dynamic volumes; "
                "give one time for each."
            )
        phases = [replace(phase, time_s=time) for phase, time in zip(phases, row.times_s, strict=True)]
    return make_exam(
        phases, kind=row.kind, t1=None if t1 is None else readers.read_t1(t1)[0], keep_order=True
    )


def _with_pre_first(exam: Exam, paths: Sequence[Path], pre: Path | None) -> Exam:
    """The exam, provided that every folder gave a phase, with the phase of the folder ``pre`` first."""
    phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]

    def of(folder: Path) -> list[Phase]:
        return [p for p in phases if folder in (Path(p.source), *Path(p.source).parents)]

    for path in paths:
        if not of(path):
            raise InputError(
                f"{path.name} is no phase of the same acquisition as the others: "
                "its grid or protocol differs; correct the path."
            )
    first = [] if pre is None else of(pre)
    if pre is None or (len(first) == 1 and first[0] is exam.pre):
        return exam
    if len(first) > 1:
        raise InputError(
            f"{pre.name} holds {len(first)} phases; name the folder of the pre-contrast series alone in pre."
        )
    remark = f"{first[0].name} is the pre-contrast phase by the manifest, though its headers place it later."
    rest = [p for p in phases if p is not first[0]]
    return make_exam(
        [first[0], *rest],
        kind="phases",
        t1=exam.t1,
        identifiers=exam.identifiers,
        warnings=(*exam.warnings, remark),
        keep_order=True,
    )


def _without_copies(exam: Exam) -> Exam:
    """Leave out phases that repeat the one before contrast: some scanners store it twice."""
    if exam.pre is None:
        return exam
    copies = [np.array_equal(p.volume.array, exam.pre.volume.array) for p in exam.post]
    if not any(copies):
        return exam
    if all(copies):
        raise InputError(
            f"{exam.post[0].name} holds the same voxels as {exam.pre.name}; name a phase after contrast."
        )
    repeated = [phase for phase, copy in zip(exam.post, copies, strict=True) if copy]
    remarks = [f"{phase.name} was left out: it repeats {exam.pre.name}." for phase in repeated]
    kept = tuple(phase for phase, copy in zip(exam.post, copies, strict=True) if not copy)
    return replace(exam, post=kept, offsets=exam.offsets[: len(kept)], warnings=(*exam.warnings, *remarks))


def truth(row: Row, exam: Exam, device: str = "cpu") -> tuple[tuple[dict, ...], np.ndarray | None]:
    """What is known of the lesions of a row's exam.

    Parameters
    ----------
    row : Row
        Of a manifest.
    exam : Exam
        As :func:`load_exam` gives it.
    device : str
        That a simulated exam is made on.

    Returns
    -------
    lesions : tuple of dict
        "ras_mm" the centre, "radius_mm" that of a sphere of its volume (of a box: half its mean edge),
        "malignant", "box_ras_mm" opposite corners or None. Malignant ones first, each class by size.
    labels : numpy.ndarray or None
        uint8 on the exam's grid, 1 benign and 2 malignant, where there is a mask.

    Raises
    ------
    InputError
        Naming the row.
    """
    if row.seed is not None:
        simulated = _simulated(row.seed, bool(row.label), row.voxel_mm, device)
        return tuple({"box_ras_mm": None, **lesion} for lesion in simulated.lesions), simulated.truth
    try:
        lesions = [_boxed(lesion, exam.grid) for lesion in row.lesions if not lesion.mask]
        masked = [lesion for lesion in row.lesions if lesion.mask]
        labels = None
        if masked:
            outlined, labels = _masked(row.path(masked[0].mask), masked, exam.grid)
            lesions += outlined
        for lesion in lesions:
            _check_inside(lesion["ras_mm"], exam.grid)
    except BreastCMSLError as error:
        raise row_error(row.where or row.exam, error) from error
    return tuple(sorted(lesions, key=lambda lesion: (not lesion["malignant"], -lesion["radius_mm"]))), labels


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
            f"the lesion at {place} mm (RAS) lies outside the exam; "
            "check its coordinates (RAS, not LPS) and the mask's header."
        )


def _masked(path: Path, lesions: Sequence[Lesion], grid: Volume) -> tuple[list[dict], np.ndarray]:
    """The lesions of a label volume, and its classes on the exam's grid."""
    labels = _classes(_read_mask(path, lesions[0].mask_grid, grid), lesions, path.name)
    regions = _regions(labels)
    for region in regions:
        _check_inside(region["ras_mm"], grid)
    if not labels.same_grid(grid):
        labels = resample(labels, grid.shape, grid.affine, nearest=True)
    classes = np.array(labels.array, dtype=np.uint8)
    for region in regions:
        value = 2 if region["malignant"] else 1
        if not (classes == value).any():  # a class smaller than the exam's voxels
            index = np.round(apply_affine(np.linalg.inv(grid.affine), np.array(region["ras_mm"]))).astype(int)
            classes[tuple(index)] = value
    return regions, classes


def _read_mask(path: Path, mask_grid: str, grid: Volume) -> Volume:
    frames = read_volume_file(path)
    if len(frames) != 1:
        raise InputError(f"{path.name} holds {len(frames)} volumes; give one label volume as the mask.")
    volume = frames[0].volume
    if mask_grid != "exam":
        return volume
    if volume.shape != grid.shape:
        sizes = ["×".join(map(str, v.shape)) for v in (volume, grid)]
        raise InputError(
            f"{path.name} has {sizes[0]} voxels but the exam {sizes[1]}; "
            "its own header must tell where it lies."
        )
    return grid.with_array(volume.array)


def _classes(volume: Volume, lesions: Sequence[Lesion], name: str) -> Volume:
    """1 benign, 2 malignant, which wins where both are meant."""
    array = volume.array
    present = np.unique(array)
    if not np.isfinite(present).all() or (present < 0).any() or (present != np.round(present)).any():
        raise InputError(
            f"{name} is no label volume: its voxels are not whole numbers from 0; give the segmentation."
        )
    classes = np.zeros(array.shape, np.uint8)
    for lesion in sorted(lesions, key=lambda lesion: lesion.malignant):
        meant = np.isin(array, lesion.values) if lesion.values else array != 0
        classes[meant] = 2 if lesion.malignant else 1
    if not classes.any():
        raise InputError(f"{name} marks no lesion; correct mask_label or leave the mask out.")
    return volume.with_array(classes)


def _regions(labels: Volume) -> list[dict]:
    """The connected regions of each class, largest first."""
    cell = abs(float(np.linalg.det(labels.affine[:3, :3])))
    regions: list[tuple[int, dict]] = []
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
            regions.append((len(at), lesion))
    largest = {
        malignant: max((size for size, lesion in regions if lesion["malignant"] is malignant), default=0)
        for malignant in (True, False)
    }
    return [
        lesion
        for size, lesion in regions
        if lesion["radius_mm"] >= _SPECK_MM or size == largest[lesion["malignant"]]
    ]
