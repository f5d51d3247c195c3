"""Headers of NRRD files."""

from __future__ import annotations

import math
import re
from pathlib import Path

from ...core.errors import InputError
from ...core.text import one_line
from .header import (
    Header,
    check_dimensions,
    data_beside,
    data_start,
    foreign,
    need,
    no_grey_values,
    set_once,
    sizes_of,
    text_header,
    whole_of,
    words,
)
from .nrrd_fields import check_fields, check_place, field_of

# names of a voxel's type, words joined, by what NumPy calls it
_NAMES = {
    "i1": "signed_char int8 int8_t char signed",
    "u1": "uchar unsigned_char uint8 uint8_t",
    "i2": "short short_int signed_short signed_short_int int16 int16_t",
    "u2": "ushort unsigned_short unsigned_short_int uint16 uint16_t",
    "i4": "int signed_int int32 int32_t",
    "u4": "uint unsigned_int uint32 uint32_t",
    "i8": "longlong long_long long_long_int signed_long_long signed_long_long_int int64 int64_t",
    "u8": "ulonglong unsigned_long_long unsigned_long_long_int uint64 uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: numpy for numpy, names in _NAMES.items() for name in names.split()}
_TAKEN_AS_THEY_ARE = ("i1", "u1", "i2", "u2", "f4")
_ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip"}
_ORDERS = {"little": "<", "big": ">"}


def nrrd_header(path: Path) -> Header:
    """The checked header of a NRRD file.

    Parameters
    ----------
    path
        A .nrrd or .nhdr file.

    Returns
    -------
    Header
        Of the voxels in it or beside it.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    text, offset = text_header(path, lambda text: text.partition("\n\n")[0] if "\n\n" in text else None)
    fields = _fields(path, text)
    kind = _TYPES.get("_".join(words(fields["type"].lower())))
    if kind is None:
        raise no_grey_values(path, f"of type “{one_line(fields['type'], 40)}”")
    size = int(kind[1])
    sizes = sizes_of(path, fields["sizes"])
    check_dimensions(path, fields["dimension"], sizes)
    check_fields(path, fields, len(sizes))
    check_place(path, fields, len(sizes))
    skip = whole_of(path, "byte skip", fields.get("byte skip", "0"))
    lines_skipped = whole_of(path, "line skip", fields.get("line skip", "0"))
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        stored = one_line(fields["encoding"], 20)
        raise InputError(
            f"{path.name}: its voxels are stored as “{stored}”, which is not supported; "
            "export it as raw or gzip."
        )
    if lines_skipped or skip < (-1 if encoding == "raw" else 0) or (encoding == "gzip" and skip):
        raise InputError(
            f"{path.name}: its header skips a part of the data; export it again without skipping."
        )
    total = math.prod(sizes) * size
    detached = fields.get("data file")
    data = path if detached is None else data_beside(path, detached)
    start = data_start(data, offset if detached is None else 0, skip, total)
    order = _ORDERS.get(fields.get("endian", "").lower(), "|" if size == 1 else None)
    taken = encoding == "gzip" and len(sizes) == 3 and kind in _TAKEN_AS_THEY_ARE and order is not None
    return Header(sizes, total, data, start, encoding, voxel=f"{order}{kind}" if taken else None)


def _fields(path: Path, text: str) -> dict[str, str]:
    """Field → value; all names are known, and those that every file has to have are there."""
    magic, *lines = text.split("\n")
    if not re.fullmatch(r"NRRD000[1-5]", magic):
        raise foreign(path)
    fields: dict[str, str] = {}
    for line in filter(None, lines):
        if (field := field_of(path, line)) is not None:
            set_once(path, fields, *field)
    need(path, fields, "type", "dimension", "sizes", "encoding")
    return fields
