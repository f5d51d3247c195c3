"""Headers of NIfTI files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InputError
from .data import raw_blocks, unpacked_blocks
from .header import Header, check_spacing, damaged, foreign

_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}  # by datatype
_FLOATS = {16: "f4", 64: "f8"}
_OTHER = {
    1: "bits",
    32: "complex numbers",
    128: "colours",
    1536: "128-bit numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "colours",
}
_MAGIC = {348: slice(344, 348), 540: slice(4, 8)}
# format and byte of: dim, datatype and bitpix, pixdim, vox_offset, scl_slope and scl_inter, quatern and
# qoffset, srow; and of qform_code and sform_code
_LAYOUT = {
    348: (("8h", 40), ("2h", 70), ("8f", 76), ("f", 108), ("2f", 112), ("6f", 256), ("12f", 280)),
    540: (("8q", 16), ("2h", 12), ("8d", 104), ("q", 168), ("2d", 176), ("6d", 352), ("12d", 400)),
}
_FORMS = {348: ("2h", 252), 540: ("2i", 344)}
_LONGEST = 1 << 20  # bytes before the voxels
_MAX_EXTENSIONS = 1000  # ITK takes time that grows with the square of their number


@dataclass(frozen=True)
class _Fields:
    """Fields as the file has them, under the names of the format."""

    order: str
    length: int
    dim: tuple[int, ...]
    datatype: int
    bitpix: int
    pixdim: tuple[float, ...]
    vox_offset: float
    scale: tuple[float, float]
    quatern: tuple[float, ...]
    srow: tuple[float, ...]
    forms: tuple[int, int]


def nifti_header(path: Path) -> Header:
    """The checked header of a NIfTI file.

    Parameters
    ----------
    path
        A .nii or .nii.gz file.

    Returns
    -------
    Header
        Of the voxels in it.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    packed = path.name.lower().endswith(".gz")
    with closing(unpacked_blocks(path, 0, "gzip") if packed else raw_blocks(path)) as blocks:
        head = _beginning(blocks)
    fields = _fields(path, head)
    sizes = _sizes(path, fields.dim)
    if fields.datatype in _OTHER:
        kind = _OTHER[fields.datatype]
        raise InputError(
            f"{path.name}: its voxels are {kind}, not grey values; export it with plain numbers."
        )
    if _BITS.get(fields.datatype) != fields.bitpix:
        raise damaged(path, f"its voxels are of the unknown type {fields.datatype} with {fields.bitpix} bits")
    _check_place(path, fields, len(sizes))
    if any(
        math.isinf(value) or abs(value) > 1e30 for value in fields.scale
    ):  # NaN: some programs' word for no scale
        raise damaged(path, "the scale of its voxels is not a number")
    start = fields.vox_offset
    if not (math.isfinite(start) and fields.length <= start <= _LONGEST and start == int(start)):
        raise damaged(path, f"its voxels begin at byte {start:g}")
    _check_extensions(path, head[: int(start)], fields)
    kind = _FLOATS.get(fields.datatype)
    return Header(
        sizes,
        math.prod(sizes) * fields.bitpix // 8,
        path,
        int(start),
        "gzip" if packed else "raw",
        floats=None if kind is None else fields.order + kind,
    )


def _beginning(blocks: Iterator[bytes]) -> bytes:
    """The first bytes, as many as may lie before voxels."""
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) >= _LONGEST:
            break
    return bytes(head)


def _fields(path: Path, head: bytes) -> _Fields:
    """The first bytes of a file taken apart, in the byte order in which its length makes sense."""
    order, length = next(
        (
            (order, length)
            for order in "<>"
            for length in (348, 540)
            if len(head) >= length and struct.unpack_from(order + "i", head)[0] == length
        ),
        (None, 0),
    )
    if order is None or head[_MAGIC[length]] not in (b"n+1\0", b"n+2\0"):
        raise foreign(path)
    dim, (datatype, bitpix), pixdim, (vox_offset,), scale, quatern, srow, forms = (
        struct.unpack_from(order + code, head, offset) for code, offset in (*_LAYOUT[length], _FORMS[length])
    )
    return _Fields(order, length, dim, datatype, bitpix, pixdim, vox_offset, scale, quatern, srow, forms)


def _check_extensions(path: Path, head: bytes, fields: _Fields) -> None:
    """Refuse thousands of extensions between header and voxels."""
    place, count = fields.length + 4, 0
    while place + 8 <= len(head) and (size := struct.unpack_from(fields.order + "i", head, place)[0]) >= 16:
        place, count = place + size, count + 1
    if count > _MAX_EXTENSIONS:
        raise damaged(path, f"its header has {count} extensions")


def _sizes(path: Path, dim: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels along the axes, without trailing ones beyond the third."""
    if not 1 <= dim[0] <= 7:
        raise damaged(path, f"it has {dim[0]} dimensions")
    sizes = dim[1 : dim[0] + 1]
    if min(sizes) < 1:
        raise damaged(path, f"its size is {'×'.join(map(str, sizes))}")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return sizes


def _check_place(path: Path, fields: _Fields, dimensions: int) -> None:
    numbers = (*fields.pixdim[:4], *fields.quatern, *fields.srow)
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in numbers):
        raise damaged(path, "its place in the patient is not a number")
    if min(fields.pixdim[1 : 1 + min(3, dimensions)]) <= 0:
        check_spacing(path, min(fields.pixdim[1:4]))
    if dimensions > 2 and max(fields.forms) <= 0:
        raise InputError(
            f"{path.name} does not tell how it lies in the patient (neither qform nor sform is set), so left "
            "and right are unknown; convert it again from DICOM."
        )
