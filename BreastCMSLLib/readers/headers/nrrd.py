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
    check_spacing,
    damaged,
    data_beside,
    data_start,
    foreign,
    need,
    no_grey_values,
    number_of,
    set_once,
    sizes_of,
    text_header,
    whole_of,
)

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
_FIELDS = set(
    "dimension,type,sizes,encoding,endian,content,space,space dimension,space directions,space "
    "origin,space units,spacings,thicknesses,axis mins,axismins,axis "
    "maxs,axismaxs,centers,centerings,labels,units,kinds,old min,oldmin,old max,oldmax,min,max,number,data "
    "file,datafile,line skip,lineskip,byte skip,byteskip,measurement frame,"
    "sample units,sampleunits".split(",")
)


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
    kind = _TYPES.get("_".join(fields["type"].lower().split()))
    if kind is None:
        raise no_grey_values(path, f"of type “{one_line(fields['type'], 40)}”")
    size = int(kind[1])
    sizes = sizes_of(path, fields["sizes"])
    check_dimensions(path, fields["dimension"], sizes)
    _check_place(path, fields, len(sizes))
    skip = whole_of(path, "byte skip", fields.get("byte skip", fields.get("byteskip", "0")))
    lines_skipped = whole_of(path, "line skip", fields.get("line skip", fields.get("lineskip", "0")))
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
    detached = fields.get("data file", fields.get("datafile"))
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
    for line in lines:
        if line.startswith("#") or not line or ":=" in line:  # a comment, or a key with free text
            continue
        name, colon, value = line.partition(": ")
        name = name.strip().lower()
        if not colon or name not in _FIELDS:
            raise damaged(path, f"its header has the line “{one_line(line, 60)}”")
        set_once(path, fields, name, value)
    need(path, fields, "type", "dimension", "sizes", "encoding")
    return fields


def _check_place(path: Path, fields: dict[str, str], dimensions: int) -> None:
    """Refuse directions, origin and spacing that are no numbers or collapse an axis."""
    for name in ("space directions", "space origin", "measurement frame"):
        vectors = _vectors(path, name, fields.get(name, ""))
        if name == "space directions" and vectors and len(vectors) != dimensions:
            raise damaged(path, f"it has {len(vectors)} space directions for {dimensions} axes")
        if name == "space directions" and any(vector is not None and not any(vector) for vector in vectors):
            raise damaged(path, "a space direction is zero")
    for text in fields.get("spacings", "").split():
        check_spacing(path, number_of(path, "spacing", text, nan=True))


def _vectors(path: Path, name: str, text: str) -> list[tuple[float, ...] | None]:
    """NRRD vectors: "(1,0,0) none (0,0,1)"."""
    words = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|\s", "", text):
        raise damaged(path, f"its {name} is “{one_line(text, 40)}”")
    vectors = [
        None if word == "none" else tuple(number_of(path, name, value) for value in word[1:-1].split(","))
        for word in words
    ]
    if len({len(vector) for vector in vectors if vector is not None}) > 1:
        raise damaged(path, f"its {name} mixes dimensions")
    return vectors
