"""The pixels of DICOM images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...core.errors import InputError, lacks_memory
from ...core.text import one_line
from .objects import EXPLICIT_LITTLE, IMPLICIT_LITTLE, quiet_pydicom
from .scales import factor_of
from .slices import Slice

_HEADER_BYTES = {
    IMPLICIT_LITTLE: 8,
    EXPLICIT_LITTLE: 12,
}  # of the pixel data's element, where pixels are stored plainly


def load_pixels(slices: Sequence[Slice], label: str, scale: float | None = None) -> np.ndarray:
    """The pixels of slices of one size.

    Parameters
    ----------
    slices
        In the order wanted.
    label
        What to call the series in messages.
    scale
        Philips' scale to bring values to, as :func:`~.scales.common_scale` gives it.

    Returns
    -------
    ndarray
        (columns, rows, slices), that is i, j, k; of the native integer type, or float32 where a rescale slope
        or intercept, or a scale, applies.

    Raises
    ------
    InputError
        For truncated files, slices that differ in type or size, and compression that no installed decoder
        knows.
    """
    first = slices[0]
    dtype = _native_dtype(first, label)
    _check_sizes(slices, dtype, label)
    rescale = scale is not None or any(item.slope != 1.0 or item.intercept != 0.0 for item in slices)
    stack = np.empty((len(slices), first.rows, first.columns), np.float32 if rescale else dtype)
    with quiet_pydicom():
        for target, item, plane in zip(stack, slices, _planes(slices, dtype, label)):
            target[...] = plane * np.float32(item.slope) + np.float32(item.intercept) if rescale else plane
            if scale is not None:
                target *= np.float32(factor_of(item, scale))
    return stack.transpose(2, 1, 0)


UNCOMPRESSED = tuple(_HEADER_BYTES)


def stored_bytes(item: Slice) -> bytes:
    """The pixels of an image as its file stores them, to be compared with another of the same encoding.

    Parameters
    ----------
    item
        An image; of a compressed object all frames are given.

    Returns
    -------
    bytes

    Raises
    ------
    InputError, OSError
        For a truncated or missing file, and for a deflated object.
    """
    if item.transfer_syntax in _HEADER_BYTES:
        return _read_plain(item, _native_dtype(item, ""), "").tobytes()
    with open(item.path, "rb") as file:
        file.seek(item.pixel_offset)
        stored = file.read()
    if not stored:  # a deflated object: no part of the file is its pixels alone
        raise InputError(f"{item.path.name}: its pixels cannot be told apart from the rest of the file.")
    return stored


def _native_dtype(item: Slice, label: str) -> np.dtype:
    if item.bits_allocated not in (8, 16, 32):
        raise InputError(
            f"{label}: {item.bits_allocated} bits per pixel are not supported; "
            "export the series as 16-bit MR images."
        )
    return np.dtype(f"<{'i' if item.signed else 'u'}{item.bits_allocated // 8}")


def _check_sizes(slices: Sequence[Slice], dtype: np.dtype, label: str) -> None:
    """Refuse files that hold less than they announce, before memory is claimed for it."""
    for item in slices:
        size = item.path.stat().st_size if os.path.exists(item.path) else 0
        if (
            item.transfer_syntax in _HEADER_BYTES
            and size < item.frames * item.rows * item.columns * dtype.itemsize
        ):
            raise _truncated(item, label)


def _planes(slices: Sequence[Slice], dtype: np.dtype, label: str) -> Iterator[np.ndarray]:
    """The stored values (rows, columns) of each slice; of compressed files one is kept at a time."""
    first = slices[0]
    decoded: dict[Path, np.ndarray] = {}
    for item in slices:
        if (item.bits_allocated, item.signed) != (first.bits_allocated, first.signed):
            raise InputError(
                f"{label}: its slices mix pixel types ({item.path.name} differs); export the series again."
            )
        if item.transfer_syntax in _HEADER_BYTES:
            plane = _read_plain(item, dtype, label)
        else:
            if item.path not in decoded:
                decoded.clear()
                decoded[item.path] = _decode(item, label)
            plane = decoded[item.path] if item.frame is None else decoded[item.path][item.frame]
        if plane.shape != (first.rows, first.columns):
            raise InputError(
                f"{label}: the pixels of {item.path.name} do not have the size its header tells; "
                "export the series again."
            )
        yield _stored_bits(plane, item)


def _read_plain(item: Slice, dtype: np.dtype, label: str) -> np.ndarray:
    """Uncompressed pixels. pydicom's ``pixel_array`` would parse each file anew: seven times slower."""
    count = item.rows * item.columns
    header = _HEADER_BYTES[item.transfer_syntax]
    start = item.pixel_offset + header + (item.frame or 0) * count * dtype.itemsize
    try:
        with open(item.path, "rb") as file:
            file.seek(item.pixel_offset)
            tag = file.read(header)
            file.seek(start)
            plane = np.fromfile(file, dtype, count)
    except OSError as error:
        raise InputError(f"{label}: {item.path.name} cannot be read ({one_line(error.strerror)}).") from error
    announced = int.from_bytes(tag[-4:], "little") if len(tag) == header else 0
    is_pixels = tag[:4] == b"\xe0\x7f\x10\x00"
    if not is_pixels or plane.size != count or announced < count * dtype.itemsize * item.frames:
        raise _truncated(item, label)
    return plane.reshape(item.rows, item.columns)


def _truncated(item: Slice, label: str) -> InputError:
    size = f"{item.rows}×{item.columns}" + (f"×{item.frames}" if item.frames > 1 else "")
    return InputError(
        f"{label}: {item.path.name} is truncated, it holds less than the {size} pixels it announces; "
        "copy or export it again."
    )


def _decode(item: Slice, label: str) -> np.ndarray:
    """Pixels of a compressed or big-endian object: by pydicom's decoders, else by those of ITK."""
    import pydicom

    with suppress(
        Exception
    ):  # no decoder for this syntax, or a damaged stream: the other library may do better
        return pydicom.dcmread(item.path, force=True).pixel_array
    try:
        values = _decode_with_itk(item.path)
    except Exception as error:
        if lacks_memory(error):
            raise
        name = pydicom.uid.UID(item.transfer_syntax).name
        raise InputError(
            f"{label}: {item.path.name} ({name}) cannot be decoded: it is damaged or needs a missing "
            "decoder; export it uncompressed."
        ) from error
    if item.slope != 1.0 or item.intercept != 0.0:  # this decoder has already rescaled
        values = np.round((values - item.intercept) / item.slope)
    values = values.astype(_native_dtype(item, label))
    return values[0] if item.frame is None and values.ndim == 3 else values


def _decode_with_itk(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return sitk.GetArrayFromImage(reader.Execute())


def _stored_bits(plane: np.ndarray, item: Slice) -> np.ndarray:
    """Only the stored bits count: old files keep overlays in the others."""
    unused = item.bits_allocated - item.bits_stored
    if not 0 < unused < item.bits_allocated:
        return plane
    if item.signed:
        return (plane << unused) >> unused
    return plane & plane.dtype.type((1 << item.bits_stored) - 1)
