"""Headers of MetaImage files."""

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
    is_number,
    need,
    no_grey_values,
    number_of,
    said,
    set_once,
    sizes_of,
    text_header,
    whole_of,
    words,
)

_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_VECTORS = ("elementspacing", "elementsize", "offset", "position", "origin", "centerofrotation")
_MATRICES = ("transformmatrix", "rotation", "orientation")
_FLAGS = ("compresseddata", "binarydata", "binarydatabyteordermsb", "elementbyteordermsb")
_NUMBERS = {  # how many there are; None: one for each axis
    "id": 1,
    "parentid": 1,
    "compresseddatasize": 1,
    "compressionlevel": 1,
    "elementmin": 1,
    "elementmax": 1,
    "elementnbits": 1,
    "elementtointensityfunctionslope": 1,
    "elementtointensityfunctionoffset": 1,
    "color": 4,
    "sequenceid": None,
}
_BY_AXES = ("dimsize", "sequenceid", *_VECTORS, *_MATRICES)
_NAMES = (
    "Comment,ObjectType,ObjectSubType,TransformType,NDims,Name,ID,ParentID,AcquisitionDate,CompressedData,"
    "CompressedDataSize,CompressionLevel,BinaryData,BinaryDataByteOrderMSB,Color,Position,Offset,Origin,"
    "Orientation,Rotation,TransformMatrix,CenterOfRotation,DistanceUnits,AnatomicalOrientation,ElementSpacing,"
    "DimSize,HeaderSize,Modality,SequenceID,ElementMin,ElementMax,ElementNumberOfChannels,ElementSize,"
    "ElementNBits,ElementType,ElementByteOrderMSB,ElementToIntensityFunctionSlope,"
    "ElementToIntensityFunctionOffset,ElementDataFile"
).split(",")
_FIELDS = {name.lower(): name for name in _NAMES}
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_TEXT = 200, 499, 30_000  # less than ITK has room for
_MAX_CHANNELS = 4096


def metaimage_header(path: Path) -> Header:
    """The checked header of a MetaImage file.

    Parameters
    ----------
    path
        A .mha or .mhd file.

    Returns
    -------
    Header
        Of the voxels in it or beside it.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    text, offset = text_header(path, _until_data_file)
    fields = _fields(path, text)
    sizes = sizes_of(path, fields["dimsize"])
    check_dimensions(path, fields["ndims"], sizes)
    voxel_bytes = _voxel_bytes(path, fields)
    _check_place(path, fields, len(sizes))
    _check_numbers(path, fields, len(sizes))
    flags = {name: _flag(path, name, fields[name]) for name in _FLAGS if name in fields}
    if not flags.get("binarydata", True):
        raise InputError(
            f"{path.name}: its voxels are stored as text, which is not supported; export it as binary data."
        )
    skip = whole_of(path, "header size", fields.get("headersize", "0"))
    local = fields["elementdatafile"].lower() == "local"
    data = path if local else data_beside(path, fields["elementdatafile"])
    packing = "zlib" if flags.get("compresseddata") else "raw"
    packed = None
    if packing == "zlib":
        packed = whole_of(path, "compressed size", fields.get("compresseddatasize", "0")) or None
        if (packed or 0) < 0 or skip:
            raise damaged(path, "its header skips a part of the packed data")
        if local and packed is None:  # ITK would take the header itself for voxels
            raise damaged(path, "its header does not tell how many bytes its packed voxels take")
    elif skip < -1 or (local and skip):
        raise damaged(path, f"its header size is {skip}")
    total = math.prod(sizes) * voxel_bytes
    start = data_start(data, offset if local else 0, skip, total)
    if packed is not None and packed > data.stat().st_size - start:
        raise damaged(path, "its packed data end early")
    return Header(sizes, total, data, start, packing, packed=packed)


def _until_data_file(text: str) -> str | None:
    """The header ends with the line that names the data."""
    match = re.search(r"^\s*ElementDataFile\s*[=:].*$", text, re.M | re.I)
    return text[: match.end()] if match and match.end() < len(text) else None


def _fields(path: Path, text: str) -> dict[str, str]:
    """Field in lower case → value; those that every image has to have are there."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*([A-Za-z0-9_\- .()]+?)\s*[=:]\s*(.*)", line)
        if match is None:
            raise (
                damaged(path, f"its header has the line “{one_line(line, 60)}”") if fields else foreign(path)
            )
        name, value = match.groups()
        _check_field(path, name, value)
        set_once(path, fields, name.lower(), value)
    if fields.get("objecttype", "Image").lower() != "image" or "elementdatafile" not in fields:
        raise foreign(path)
    need(path, fields, "ndims", "dimsize", "elementtype")
    return fields


def _check_field(path: Path, name: str, value: str) -> None:
    """Refuse what ITK would read otherwise than we do, or has no room for."""
    known = _FIELDS.get(name.lower())
    if known not in (None, name):  # ITK passes it over
        raise damaged(path, f"its header spells {known} as {name}")
    if len(name) > _LONGEST_NAME or len(value) > (_LONGEST_TEXT if known is None else _LONGEST_VALUE):
        raise damaged(path, f"its field {said(name)} has {len(value)} characters")


def _voxel_bytes(path: Path, fields: dict[str, str]) -> int:
    channels = whole_of(path, "number of channels", fields.get("elementnumberofchannels", "1"))
    kind = fields["elementtype"].upper()
    size = _BYTES.get(kind.removesuffix("_ARRAY"))
    if size is None or not 1 <= channels <= _MAX_CHANNELS:
        raise no_grey_values(path, f"{channels} of type “{one_line(kind, 40)}”")
    return size * channels


def _check_place(path: Path, fields: dict[str, str], dimensions: int) -> None:
    """Refuse spacing, origin and directions that are no numbers, too few or too many, or collapse an axis."""
    for name in (*_VECTORS, *_MATRICES):
        if name not in fields:
            continue
        values = [number_of(path, name, value) for value in words(fields[name])]
        if len(values) != (dimensions**2 if name in _MATRICES else dimensions):
            raise damaged(path, f"its {name} has {len(values)} values for {dimensions} dimensions")
        if name == "elementspacing":
            check_spacing(path, min(values))


def _check_numbers(path: Path, fields: dict[str, str], dimensions: int) -> None:
    """Refuse other numbers that are none, and lists before the number of axes."""
    for name, count in _NUMBERS.items():
        values = words(fields.get(name, ""))
        count = count or dimensions
        if name in fields and not (len(values) == count and all(is_number(v, finite=True) for v in values)):
            raise damaged(path, f"its {_FIELDS[name]} is {said(fields[name])}")
    before = list(fields)[: list(fields).index("ndims")]
    if any(name in before for name in _BY_AXES):
        raise damaged(path, "its NDims comes too late")


def _flag(path: Path, name: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "0", "1"):
        raise damaged(path, f"its {name} is “{one_line(text, 20)}”")
    return text.lower() in ("true", "1")
