"""One volume file: NRRD, NIfTI or MetaImage, 3-D or with a time axis.

Voxels keep their type and the axes the file gives them; positions come as ITK reads them (NIfTI sform or
qform included).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..core.errors import NO_MEMORY, InputError, lacks_memory
from ..core.geometry import Volume
from ..core.itk import from_sitk
from ..exam import Phase
from .headers import check_header, unpacked_voxels

EXTENSIONS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_INTERVAL_S = (2.0, 1800.0)  # plausible ones between phases

Thing, Result = TypeVar("Thing"), TypeVar("Result")


class NoVolume(InputError):
    """A file that is whole, but holds no grey volume."""


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


def volumes_in(path: Path) -> list[Phase]:
    """The volumes in one file, by its header alone.

    Parameters
    ----------
    path
        A NRRD, NIfTI or MetaImage file.

    Returns
    -------
    list of Phase
        As :func:`read_volume_file` returns them, but their ``volume`` is None.

    Raises
    ------
    InputError
        Names the file.
    """
    import SimpleITK as sitk

    path = Path(os.path.abspath(path))
    _check_name(path)
    check_header(path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    try:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(_itk_sentence(path, error)) from error
    times = _frame_times(path, reader, reader.GetNumberOfComponents())
    return _phases(path, [None] * len(times), times)


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
    except RuntimeError as error:
        raise InputError(_itk_sentence(path, error)) from error
    components = image.GetNumberOfComponentsPerPixel()
    times = _frame_times(path, image, components)
    if components > 1:
        frames = [from_sitk(sitk.VectorIndexSelectionCast(image, index)) for index in range(components)]
    else:
        frames = [from_sitk(image)] if image.GetDimension() == 3 else _frames_of_time_axis(image)
    return _phases(path, frames, times)


def _phases(path: Path, frames: Sequence[Volume | None], times: Sequence[float | None]) -> list[Phase]:
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
        raise InputError(
            f"{path} cannot be read: its name is not valid text, or holds letters that this system's "
            "language setting (LANG) lacks; rename it, or set LANG=C.UTF-8."
        ) from None


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


def _itk_sentence(path: Path, error: RuntimeError) -> str:
    text = str(error)
    if lacks_memory(error):
        return NO_MEMORY
    if "Unable to determine ImageIO" in text or "no reader" in text.lower():
        return f"{path.name} is not what its name says: no volume format reads it; export it again."
    if "orthonormal" in text.lower():
        return (
            f"{path.name}: the voxel axes in its header are not perpendicular (a sheared sform); resample it "
            "to a regular grid, or correct its header."
        )
    return f"{path.name} cannot be read: it is damaged or incomplete; copy or export it again."


def _frame_times(path: Path, image, components: int) -> list[float | None]:
    """A time for each volume in a file, by an image or its reader; what holds no volumes is refused."""
    dimension = image.GetDimension()
    if components > 1:
        return _times_of_components(path, image, components)
    if dimension not in (3, 4):
        raise NoVolume(
            f"{path.name} has {dimension} dimensions; "
            "choose a 3-D volume, or a 4-D one whose last axis is time."
        )
    if dimension == 3:
        return [None]
    count, step = image.GetSize()[3], float(image.GetSpacing()[3])  # 1 means unset
    known = _INTERVAL_S[0] <= step <= _INTERVAL_S[1]
    return [round(index * step, 3) if known else None for index in range(count)]


def _times_of_components(path: Path, image, count: int) -> list[float | None]:
    """The times of a NRRD whose voxels hold a list over time (sequences); other vectors are refused."""
    keys = {key.lower(): image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    labels = next((v for k, v in keys.items() if "framelabels" in k or "index values" in k), None)
    is_sequence = labels is not None or any(k.startswith("multivolume.") or "index type" in k for k in keys)
    if not is_sequence or image.GetDimension() != 3:
        raise NoVolume(
            f"{path.name} has {count} values per voxel (a colour or vector image); choose a grey-value "
            "volume, or store phases as a 4-D file or as files of their own."
        )
    milliseconds = any("ms" == v.strip().lower() or "trigger" in v.lower() for v in keys.values())
    return _times_of_labels(labels or "", count, 1000.0 if milliseconds else 1.0)


def _frames_of_time_axis(image) -> list[Volume]:
    """Split a 4-D image along its last axis."""
    import SimpleITK as sitk

    *size, count = image.GetSize()
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
    return frames


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
