"""Volume files: NRRD, NIfTI and MetaImage, 3-D or with a time axis.

Voxels keep their type and the axes the file gives them; positions come as ITK reads them (NIfTI sform or
qform included).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume
from ..core.itk import from_sitk
from ..exam import Exam, Phase, make_exam, missing_pre
from .headers import unpacked_voxels
from .roles import assign_roles, refuse_copies

EXTENSIONS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")
_MAX_FILES = 40
_INTERVAL_S = (2.0, 1800.0)  # plausible ones between phases

Thing, Result = TypeVar("Thing"), TypeVar("Result")


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
    paths: Sequence[Path],
    *,
    t1: Phase | None = None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
    given: bool = True,
) -> Exam:
    """The exam in volume files.

    Parameters
    ----------
    paths
        In any order.
    t1
        A T1 read already; without it one is recognised by its file name.
    kind
        "auto", "phases" or "subtractions" as for ``make_exam``.
    times_s
        Seconds for each dynamic volume, in the order of the files, frames of a 4-D file one after another.
    given
        Whether the user named each file, so that a file given twice is an error rather than an accident of
        the folder.

    Returns
    -------
    Exam
        With remarks on files that were left out among its warnings.

    Raises
    ------
    InputError
        One sentence that names the file and the remedy.
    """
    if len(paths) > _MAX_FILES:
        raise InputError(
            f"{len(paths)} volume files in {paths[0].parent} are more than one exam; "
            "choose the files of one exam."
        )
    wanted, remarks = _wanted(paths, t1, given)
    phases = [phase for frames in several(read_volume_file, wanted) for phase in frames]
    dynamics, own_t1, left_out = assign_roles(phases, t1 is not None, kind)
    if times_s is not None:
        dynamics = timed(dynamics, times_s)
    refuse_copies(dynamics)
    exam = make_exam(dynamics, kind=kind, t1=t1 or own_t1, warnings=remarks + left_out)
    if exam.pre is None:
        return exam
    folder = paths[0].parent.name or "the folder"
    unsure = missing_pre([phase.name for phase in exam.phases], kind, folder)
    return replace(exam, warnings=(*exam.warnings, *unsure))


def _wanted(paths: Sequence[Path], t1: Phase | None, given: bool) -> tuple[list[Path], list[str]]:
    """The files to read, each once, and remarks on segmentations."""
    seen: set[Path] = set()
    wanted: list[Path] = []
    remarks: list[str] = []
    for path in paths:
        identity = path.resolve()
        if identity in seen:
            if given:
                raise InputError(f"{path.name} is given twice; list each file once.")
            continue
        seen.add(identity)
        if path.name.lower().endswith(_SEGMENTATIONS):
            remarks.append(f"{path.name} was left out: it is a segmentation.")
        elif t1 is None or os.path.abspath(path) != t1.source:
            wanted.append(path)
    return wanted, remarks


def several(read: Callable[[Thing], Result], things: Iterable[Thing]) -> list[Result]:
    """Read several things, two at a time: unpacking and ITK leave the interpreter free.

    Parameters
    ----------
    read
        What reads one; what it raises is raised, of several the first in order.
    things
        Paths, for one.

    Returns
    -------
    list
        What ``read`` makes of each.
    """
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, things))


def timed(phases: Sequence[Phase], times_s: Sequence[float | None]) -> list[Phase]:
    """Phases with other times.

    Parameters
    ----------
    phases
        The dynamic volumes.
    times_s
        Seconds of each, None where unknown.

    Returns
    -------
    list of Phase
        In the same order.

    Raises
    ------
    InputError
        When there are more or fewer times than phases.
    """
    if len(times_s) != len(phases):
        names = ", ".join(phase.name for phase in phases)
        raise InputError(
            f"{len(times_s)} times were given for {len(phases)} dynamic volumes ({names}); "
            "give one time for each."
        )
    return [
        replace(phase, time_s=None if time is None else float(time))
        for phase, time in zip(phases, times_s, strict=True)
    ]


# ---------------------------------------------------------------- one file


def read_volume_file(path: Path) -> list[Phase]:
    """The volumes in one file.

    Parameters
    ----------
    path
        A NRRD, NIfTI or MetaImage file.

    Returns
    -------
    list of Phase
        The one of a 3-D file, those of a 4-D file in the order of its time axis.

    Raises
    ------
    InputError
        Names the file: missing, not a volume format, damaged, colour or vector voxels, two-dimensional.
    """
    import SimpleITK as sitk

    path = Path(os.path.abspath(path))
    _check_name(path)
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
        raise InputError(
            f"{path.name} has {image.GetDimension()} dimensions; "
            "choose a 3-D volume, or a 4-D one whose last axis is time."
        )
    name = stem(path)
    if len(frames) == 1:
        return [Phase(frames[0], name, str(path), times[0])]
    return [
        Phase(frame, f"{name} phase {number}", f"{path}#{number}", time)
        for number, (frame, time) in enumerate(zip(frames, times, strict=True), 1)
    ]


def _check_name(path: Path) -> None:
    """Refuse what is no volume file without reading it."""
    if not os.path.exists(path):  # unlike Path.exists, also says so of names that no file can have
        raise InputError(f"{path} does not exist; check the name.")
    if not path.is_file() or not is_volume_file(path):
        extensions = ", ".join(EXTENSIONS)
        raise InputError(
            f"{path.name} is not a NRRD, NIfTI or MHA volume; choose a file ending in {extensions}."
        )
    if not path.stat().st_size:
        raise InputError(f"{path.name} is empty; copy or export it again.")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} cannot be read: its name is not valid text; rename it.") from None


def _known_volume(path: Path, voxels: np.ndarray) -> Volume | None:
    """Unpacked voxels at the place that ITK reads from the header; None when ITK sees others there."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() != 1 or reader.GetSize() != voxels.shape:
        return None
    grid = sitk.Image([1, 1, 1], reader.GetPixelID())
    if sitk.GetArrayViewFromImage(grid).dtype != voxels.dtype:
        return None
    grid.SetSpacing(reader.GetSpacing())
    grid.SetOrigin(reader.GetOrigin())
    grid.SetDirection(reader.GetDirection())
    return Volume(voxels, from_sitk(grid).affine)


def _itk_sentence(path: Path, text: str) -> str:
    if "Unable to determine ImageIO" in text or "no reader" in text.lower():
        return f"{path.name} is not what its name says: no volume format reads it; export it again."
    return f"{path.name} cannot be read: it is damaged or incomplete; copy or export it again."


def _frames_of_time_axis(image) -> tuple[list[Volume], list[float | None]]:
    """Split a 4-D image along its last axis; times only where its interval is plausible (1 means unset)."""
    import SimpleITK as sitk

    *size, count = image.GetSize()
    step = float(image.GetSpacing()[3])
    frames = []
    for index in range(count):
        try:
            frame = sitk.Extract(
                image, [*size, 0], [0, 0, 0, index], sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX
            )
        except RuntimeError as error:
            raise InputError(
                "A 4-D volume mixes its time axis with space; store its phases as separate 3-D files."
            ) from error
        frames.append(from_sitk(frame))
    known = _INTERVAL_S[0] <= step <= _INTERVAL_S[1]
    return frames, [round(index * step, 3) if known else None for index in range(count)]


def _frames_of_components(image, path: Path) -> tuple[list[Volume], list[float | None]]:
    """The phases of a NRRD whose voxels hold a list over time (sequences); other vectors are refused."""
    import SimpleITK as sitk

    keys = {key.lower(): image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    labels = next((v for k, v in keys.items() if "framelabels" in k or "index values" in k), None)
    is_sequence = labels is not None or any(k.startswith("multivolume.") or "index type" in k for k in keys)
    count = image.GetNumberOfComponentsPerPixel()
    if not is_sequence or image.GetDimension() != 3:
        raise InputError(
            f"{path.name} has {count} values per voxel (a colour or vector image); "
            "choose a grey-value volume."
        )
    frames = [from_sitk(sitk.VectorIndexSelectionCast(image, index)) for index in range(count)]
    milliseconds = any("ms" == v.strip().lower() or "trigger" in v.lower() for v in keys.values())
    return frames, _times_of_labels(labels or "", count, 1000.0 if milliseconds else 1.0)


def _times_of_labels(labels: str, count: int, per_second: float) -> list[float | None]:
    """Seconds of the frames from their labels, None for each where these are no times."""
    unknown: list[float | None] = [None] * count
    try:
        values = [float(value) for value in labels.replace(",", " ").split()]
    except ValueError:
        return unknown
    if len(values) != count or not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        return unknown
    if (values[-1] - values[0]) / per_second < _INTERVAL_S[0] * (count - 1):  # mere frame numbers
        return unknown
    return [round((value - values[0]) / per_second, 3) for value in values]
