"""Volume files: NRRD, NIfTI and MetaImage, 3-D or with a time axis, and which of several files play which part.

Voxels keep their type and the axes the file gives them; positions come as ITK reads them (NIfTI sform or qform included).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, from_sitk
from ..exam.exam import Exam, Phase, make_exam
from ..exam.phase_order import looks_subtracted
from .detect import (
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_segmentation,
    looks_t1,
    missing_pre,
    says_fat_saturation,
)
from .headers import unpacked_voxels

EXTENSIONS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_MAX_FILES = 40


def is_volume_file(path: Path) -> bool:
    """True by extension alone."""
    return path.name.lower().endswith(EXTENSIONS)


def stem(path: Path) -> str:
    """The file name without its volume extension ("Pre.nii.gz" → "Pre")."""
    name = path.name
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.lower().endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)]
    return name


def read_files(
    paths: Sequence[Path], *, t1: Phase | None = None, kind: str = "auto", times_s: Sequence[float | None] | None = None, given: bool = True
) -> Exam:
    """The exam in volume files, in any order.

    t1: a T1 read already; without it one is recognised by its file name. kind: as in ``exam.make_exam``.
    times_s: seconds for each dynamic volume, in the order of the files (frames of a 4-D file one after another).
    given: the user named each file, so that a file given twice is an error rather than an accident of the folder.
    Raises InputError with one sentence naming the file.
    """
    if len(paths) > _MAX_FILES:
        raise InputError(f"{len(paths)} volume files in {paths[0].parent} are more than one exam; choose the files of one exam.")
    seen: set[Path] = set()
    wanted: list[Path] = []
    messages: list[str] = []
    for path in paths:
        identity = path.resolve()
        if identity in seen:
            if given:
                raise InputError(f"{path.name} is given twice; list each file once.")
            continue
        seen.add(identity)
        if path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")):
            messages.append(f"{path.name} was left out: it is a segmentation.")
        elif t1 is None or os.path.abspath(path) != t1.source:
            wanted.append(path)
    phases = [phase for frames in several(read_volume_file, wanted) for phase in frames]
    dynamics, found_t1, remarks = _parts(phases, t1 is not None, kind)
    messages += remarks
    t1 = t1 or found_t1
    if times_s is not None:
        if len(times_s) != len(dynamics):
            names = ", ".join(p.name for p in dynamics)
            raise InputError(f"{len(times_s)} times were given for {len(dynamics)} dynamic volumes ({names}); give one time for each.")
        dynamics = [replace(phase, time_s=None if time is None else float(time)) for phase, time in zip(dynamics, times_s, strict=True)]
    _refuse_copies(dynamics)
    exam = make_exam(dynamics, kind=kind, t1=t1, warnings=messages)
    if exam.pre is None:
        return exam
    remarks = missing_pre([p.name for p in (exam.pre, *exam.post)], kind, paths[0].parent.name or "the folder")
    return replace(exam, warnings=(*exam.warnings, *remarks))


def several(read: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """What ``read`` makes of each, two at a time: unpacking and ITK leave the interpreter free. The first failure in order is raised."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, things))


def read_volume_file(path: Path) -> list[Phase]:
    """The volume of a 3-D file, or the volumes of a 4-D file in the order of its time axis.

    Raises InputError naming the file: missing, not a volume format, damaged, colour or vector voxels, two-dimensional.
    """
    import SimpleITK as sitk

    path = Path(os.path.abspath(path))
    if not os.path.exists(path):  # unlike Path.exists, also says so of names that no file can have
        raise InputError(f"{path} does not exist; check the name.")
    if not path.is_file() or not is_volume_file(path):
        raise InputError(f"{path.name} is not a NRRD, NIfTI or MHA volume; choose a file ending in {', '.join(EXTENSIONS)}.")
    if not path.stat().st_size:
        raise InputError(f"{path.name} is empty; copy or export it again.")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} cannot be read: its name is not valid text; rename it.") from None
    voxels = unpacked_voxels(path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        if voxels is not None and (volume := _known_volume(path, voxels)) is not None:
            return [Phase(volume, stem(path), str(path), None)]
        image = sitk.ReadImage(str(path))
    except (RuntimeError, MemoryError) as error:
        raise InputError(_itk_sentence(path, str(error))) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        frames, times = _frames_of_components(image, path)
    elif image.GetDimension() == 4:
        frames, times = _frames_of_time_axis(image)
    elif image.GetDimension() == 3:
        frames, times = [from_sitk(image)], [None]
    else:
        raise InputError(f"{path.name} has {image.GetDimension()} dimensions; choose a 3-D volume, or a 4-D one whose last axis is time.")
    name = stem(path)
    if len(frames) == 1:
        return [Phase(frames[0], name, str(path), times[0])]
    return [Phase(v, f"{name} phase {n}", f"{path}#{n}", t) for n, (v, t) in enumerate(zip(frames, times, strict=True), 1)]


def _known_volume(path: Path, voxels: np.ndarray) -> Volume | None:
    """Voxels that are unpacked already, at the place that ITK reads from the header; None when ITK sees something else there."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() != 1 or reader.GetSize() != voxels.shape:
        return None
    place = sitk.Image([1, 1, 1], reader.GetPixelID())
    if sitk.GetArrayViewFromImage(place).dtype != voxels.dtype:
        return None
    place.SetSpacing(reader.GetSpacing())
    place.SetOrigin(reader.GetOrigin())
    place.SetDirection(reader.GetDirection())
    return Volume(voxels, from_sitk(place).affine)


def _itk_sentence(path: Path, text: str) -> str:
    if "Unable to determine ImageIO" in text or "no reader" in text.lower():
        return f"{path.name} is not what its name says: no volume format reads it; export it again."
    return f"{path.name} cannot be read: it is damaged or incomplete; copy or export it again."


def _frames_of_time_axis(image) -> tuple[list[Volume], list[float | None]]:
    """Split a 4-D image along its last axis; times only when the file tells a plausible interval (1 means unset)."""
    count = image.GetSize()[3]
    step = float(image.GetSpacing()[3])
    frames = []
    size = [*image.GetSize()[:3], 0]
    import SimpleITK as sitk

    for index in range(count):
        try:
            frames.append(from_sitk(sitk.Extract(image, size, [0, 0, 0, index], sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX)))
        except RuntimeError as error:
            raise InputError("A 4-D volume mixes its time axis with space; store its phases as separate 3-D files.") from error
    known = np.isfinite(step) and 2 <= step <= 1800
    return frames, [round(index * step, 3) if known else None for index in range(count)]


def _frames_of_components(image, path: Path) -> tuple[list[Volume], list[float | None]]:
    """The phases of a NRRD whose voxels hold a list over time (volume sequences); other vectors are refused."""
    import SimpleITK as sitk

    keys = {key.lower(): image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    labels = next((v for k, v in keys.items() if "framelabels" in k or "index values" in k), None)
    is_sequence = labels is not None or any(k.startswith("multivolume.") or "index type" in k for k in keys)
    count = image.GetNumberOfComponentsPerPixel()
    if not is_sequence or image.GetDimension() != 3:
        raise InputError(f"{path.name} has {count} values per voxel (a colour or vector image); choose a grey-value volume.")
    frames = [from_sitk(sitk.VectorIndexSelectionCast(image, index)) for index in range(count)]
    times: list[float | None] = [None] * count
    try:
        values = [float(v) for v in (labels or "").replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) == count and np.isfinite(values).all() and (np.diff(values) > 0).all():
        milliseconds = any("ms" == v.strip().lower() or "trigger" in v.lower() for v in keys.values())
        unit = 1000.0 if milliseconds else 1.0
        if (values[-1] - values[0]) / unit >= 2 * (count - 1):  # mere frame numbers are no times
            times = [round((v - values[0]) / unit, 3) for v in values]
    return frames, times


def _is_label_map(array: np.ndarray) -> bool:
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        return False
    return len(np.unique(array.ravel(order="K")[:: max(1, array.size // 500_000)])) <= 32


def _parts(phases: list[Phase], has_t1: bool, kind: str) -> tuple[list[Phase], Phase | None, list[str]]:
    """Dynamic volumes, the T1 among the files if any, and a remark for each file left out. Names decide, and only
    while at least two volumes remain: what a user selects is not taken away for its name alone.
    """
    remarks: list[str] = []
    rest = list(phases)

    def leave_out(why: str, matches: Callable[[Phase], bool]) -> list[Phase]:
        nonlocal rest
        out = [p for p in rest if matches(p)]
        kept = [p for p in rest if not matches(p)]
        if not out or len(kept) < 2:
            return []
        rest = kept
        if why:
            remarks.extend(f"{p.name} was left out: {why}." for p in out)
        return out

    labels = [p for p in rest if looks_segmentation(p.name) and _is_label_map(p.volume.array)]
    if labels:  # whatever remains: a label map is never a phase
        rest = [p for p in rest if not any(p is label for label in labels)]
        remarks.extend(f"{p.name} was left out: it is a segmentation." for p in labels)
    leave_out("it is no dynamic phase by its name", lambda p: looks_other_contrast(p.name) or looks_derived(p.name))
    t1s = leave_out("", lambda p: says_fat_saturation(p.name) is False and not looks_subtracted(p.name))
    t1s += leave_out("", lambda p: looks_t1(p.name) and not looks_subtracted(p.name))
    t1 = None
    for candidate in t1s:
        if looks_post_contrast(candidate.name):
            remarks.append(f"{candidate.name} was left out: its name says it was acquired after the contrast agent.")
        elif says_fat_saturation(candidate.name):
            remarks.append(f"{candidate.name} was left out: its name says its fat is suppressed.")
        elif has_t1 or t1 is not None:
            remarks.append(f"{candidate.name} was left out: there is another T1.")
        else:
            t1 = candidate
    is_subtraction = [looks_subtracted(p.name) for p in rest]
    if kind != "subtractions" and is_subtraction.count(False) >= 2:
        leave_out("it is a subtraction, and the phases themselves are here", lambda p: looks_subtracted(p.name))
    elif kind != "phases" and is_subtraction.count(True) >= 2:
        leave_out("the other volumes are subtractions already", lambda p: not looks_subtracted(p.name))
    return rest, t1, remarks


def _refuse_copies(phases: Sequence[Phase]) -> None:
    """Two phases with the very same voxels are one phase under two names."""
    known: dict[tuple, Phase] = {}
    for phase in phases:
        array = phase.volume.array
        sample = array.ravel(order="K")[:: max(1, array.size // 4096)]
        key = (array.shape, sample.tobytes())
        twin = known.setdefault(key, phase)
        if twin is not phase and array.min() != array.max() and np.array_equal(array, twin.volume.array):
            raise InputError(f"{phase.name} and {twin.name} hold the same voxels; give each phase once.")
