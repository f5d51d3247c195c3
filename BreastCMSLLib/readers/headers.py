"""What the header of a volume file says, checked against what the file holds before ITK may allocate memory for it.

ITK's parsers trust headers: some lies end the process, others fill the missing voxels with zeros. Here each header is
read as text or fixed fields, every number in it must make sense, detached data must lie beside the header, and packed
data are unpacked once, block by block, to know their true size and that their check sum fits.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.text import one_line

MAX_HEADER_BYTES = 1 << 20
MAX_BYTES = 4 << 30  # of voxels in one file; a 4-D exam of 12 phases of 512×512×200 16-bit voxels has 1.3 GB
FREE_BYTES, MAX_RATIO = 256 << 20, 100  # more voxels than that must be packed less than hundredfold: images are
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Header:
    """sizes: along each axis, as stored. bytes: of all voxels. data: the file that holds them, from ``offset`` on.

    packing: "raw", "gzip" or "zlib"; packed_bytes: of the packed data where the header tells. floats: the type of
    voxels whose finiteness ITK does not keep (it reads NaN in NIfTI as 0), else None. voxel: the type of one, as NumPy writes
    it ("<i2"), where packed grey values of three axes can be taken as they are, first axis fastest; else None.
    """

    sizes: tuple[int, ...]
    bytes: int
    data: Path
    offset: int
    packing: str
    packed_bytes: int | None = None
    floats: str | None = None
    voxel: str | None = None


def check_file(path: Path) -> Header:
    """The header of a NRRD, NIfTI or MHA file that tells nothing impossible and whose voxels are all there.

    Raises InputError with one sentence naming the file.
    """
    return _checked(path, keep=False)[0]


def unpacked_voxels(path: Path) -> np.ndarray | None:
    """Check a file as :func:`check_file` does, and keep what had to be unpacked for that: its voxels, in the file's order of axes.

    None where ``Header.voxel`` is: they are still to be read. Raises InputError with one sentence naming the file.
    """
    return _checked(path, keep=True)[1]


def _checked(path: Path, keep: bool) -> tuple[Header, np.ndarray | None]:
    lower = path.name.lower()
    try:
        if lower.endswith((".nrrd", ".nhdr")):
            header = _nrrd(path)
        elif lower.endswith((".nii", ".nii.gz")):
            header = _nifti(path)
        else:
            header = _mha(path)
        _check_size(path, header)
        voxels = _check_data(path, header, keep)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({one_line(error.strerror or type(error).__name__)}); copy it again.") from error
    return header, voxels


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path.name} cannot be read: {what}; it is damaged or incomplete: copy or export it again.")


def _foreign(path: Path) -> InputError:
    return InputError(f"{path.name} is not what its name says: its beginning is that of no such volume; export it again.")


# ---------------------------------------------------------------- NRRD

_NRRD_TYPES = {
    1: "signed char int8 int8_t uchar unsigned_char uint8 uint8_t char signed_char",
    2: "short short_int signed_short signed_short_int int16 int16_t ushort unsigned_short unsigned_short_int uint16 uint16_t",
    4: "int signed_int int32 int32_t uint unsigned_int uint32 uint32_t float",
    8: "longlong long_long long_long_int signed_long_long signed_long_long_int int64 int64_t ulonglong unsigned_long_long "
    "unsigned_long_long_int uint64 uint64_t double",
}
_NRRD_BYTES = {name: size for size, names in _NRRD_TYPES.items() for name in names.split()}
_NRRD_SIGNED = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    "float": "f4",
}
_NRRD_FIELDS = set(
    "dimension,type,sizes,encoding,endian,content,space,space dimension,space directions,space origin,space units,spacings,thicknesses,"
    "axis mins,axismins,axis maxs,axismaxs,centers,centerings,labels,units,kinds,old min,oldmin,old max,oldmax,min,max,number,"
    "data file,datafile,line skip,lineskip,byte skip,byteskip,measurement frame,sample units,sampleunits".split(",")
)


def _nrrd(path: Path) -> Header:
    head, offset = _text_header(path, lambda text: text.partition("\n\n")[0] if "\n\n" in text else None)
    lines = head.split("\n")
    if not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise _foreign(path)
    fields: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("#") or not line:
            continue
        if ":=" in line:  # a key with a value, free text
            continue
        name, colon, value = line.partition(": ")
        name = name.strip().lower()
        if not colon or name not in _NRRD_FIELDS:
            raise _damaged(path, f"its header has the line “{one_line(line, 60)}”")
        if fields.setdefault(name, value.strip()) != value.strip():
            raise _damaged(path, f"its header tells its {name} twice")
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in fields:
            raise _damaged(path, f"its header tells no {name}")
    size = _NRRD_BYTES.get("_".join(fields["type"].lower().split()))
    if size is None:
        raise InputError(f"{path.name}: its voxels are of type “{one_line(fields['type'], 40)}”, not grey values; export it with numbers.")
    sizes = _sizes(path, fields["sizes"])
    if fields["dimension"] != str(len(sizes)):
        raise _damaged(path, f"it has {one_line(fields['dimension'], 20)} dimensions but {len(sizes)} sizes")
    for name in ("space directions", "space origin", "measurement frame"):
        vectors = _vectors(path, name, fields.get(name, ""))
        if name == "space directions" and vectors and len(vectors) != len(sizes):
            raise _damaged(path, f"it has {len(vectors)} space directions for {len(sizes)} axes")
        if name == "space directions" and any(v is not None and not any(v) for v in vectors):
            raise _damaged(path, "a space direction is zero")
    for number in fields.get("spacings", "").split():
        value = _number(path, "spacing", number, nan=True)
        if value <= 0:
            raise _damaged(path, f"it has the spacing {value:g}")
    skip = _whole(path, "byte skip", fields.get("byte skip", fields.get("byteskip", "0")))
    lines_skipped = _whole(path, "line skip", fields.get("line skip", fields.get("lineskip", "0")))
    encoding = {"raw": "raw", "gz": "gzip", "gzip": "gzip"}.get(fields["encoding"].lower())
    if encoding is None:
        kind = one_line(fields["encoding"], 20)
        raise InputError(f"{path.name}: its voxels are stored as “{kind}”, which is not supported; export it as raw or gzip.")
    if lines_skipped or skip < (-1 if encoding == "raw" else 0) or (encoding == "gzip" and skip):
        raise InputError(f"{path.name}: its header skips a part of the data; export it again without skipping.")
    total = math.prod(sizes) * size
    where = fields.get("data file", fields.get("datafile"))
    data = path if where is None else _beside(path, where)
    start = offset if where is None else 0
    if skip == -1:
        start = max(start, data.stat().st_size - total)
    kind = _NRRD_SIGNED.get(" ".join(fields["type"].lower().split()))
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "|" if size == 1 else None)
    known = encoding == "gzip" and len(sizes) == 3 and kind is not None and order is not None
    return Header(sizes, total, data, start + max(skip, 0), encoding, voxel=f"{order}{kind}" if known else None)


# ---------------------------------------------------------------- MetaImage

_MHA_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_MHA_VECTORS = {
    "elementspacing": 1, "elementsize": 1, "offset": 1, "position": 1, "origin": 1, "centerofrotation": 1,
    "transformmatrix": 2, "rotation": 2, "orientation": 2,
}  # fmt: skip


def _mha(path: Path) -> Header:
    head, offset = _text_header(path, _until_data_file)
    fields: dict[str, str] = {}
    for line in head.split("\n"):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*([A-Za-z0-9_\- .()]+?)\s*[=:]\s*(.*)", line)
        if match is None:
            raise _foreign(path) if not fields else _damaged(path, f"its header has the line “{one_line(line, 60)}”")
        name = match.group(1).lower()
        if fields.setdefault(name, match.group(2).strip()) != match.group(2).strip():
            raise _damaged(path, f"its header tells its {match.group(1)} twice")
    if fields.get("objecttype", "Image").lower() != "image" or "elementdatafile" not in fields:
        raise _foreign(path)
    for name in ("ndims", "dimsize", "elementtype"):
        if name not in fields:
            raise _damaged(path, f"its header tells no {name}")
    sizes = _sizes(path, fields["dimsize"])
    if fields["ndims"] != str(len(sizes)):
        raise _damaged(path, f"it has {one_line(fields['ndims'], 20)} dimensions but {len(sizes)} sizes")
    channels = _whole(path, "number of channels", fields.get("elementnumberofchannels", "1"))
    kind = fields["elementtype"].upper()
    size = _MHA_BYTES.get(kind.removesuffix("_ARRAY"))
    if size is None or not 1 <= channels <= 4096:
        raise InputError(f"{path.name}: its voxels are {channels} of type “{one_line(kind, 40)}”, not grey values; export it with numbers.")
    for name, power in _MHA_VECTORS.items():
        if name in fields:
            values = [_number(path, name, v) for v in fields[name].split()]
            if len(values) != len(sizes) ** power:
                raise _damaged(path, f"its {name} has {len(values)} values for {len(sizes)} dimensions")
            if name == "elementspacing" and min(values) <= 0:
                raise _damaged(path, f"it has the spacing {min(values):g}")
    flags = {
        name: _flag(path, name, fields[name])
        for name in ("compresseddata", "binarydata", "binarydatabyteordermsb", "elementbyteordermsb")
        if name in fields
    }
    if not flags.get("binarydata", True):
        raise InputError(f"{path.name}: its voxels are stored as text, which is not supported; export it as binary data.")
    skip = _whole(path, "header size", fields.get("headersize", "0"))
    local = fields["elementdatafile"].lower() == "local"
    data = path if local else _beside(path, fields["elementdatafile"])
    total = math.prod(sizes) * size * channels
    packed = None
    if flags.get("compresseddata"):
        packed = _whole(path, "compressed size", fields.get("compresseddatasize", "0")) or None
        if skip or (packed is not None and packed < 0):
            raise _damaged(path, "its header skips a part of the packed data")
    elif skip < -1 or (local and skip):
        raise _damaged(path, f"its header size is {skip}")
    start = offset if local else 0
    if skip == -1:
        start = max(start, data.stat().st_size - total)
    return Header(sizes, total, data, start + max(skip, 0), "zlib" if flags.get("compresseddata") else "raw", packed)


def _until_data_file(text: str) -> str | None:
    """The header ends with the line that names the data."""
    match = re.search(r"^\s*ElementDataFile\s*[=:].*$", text, re.M | re.I)
    return text[: match.end()] if match and match.end() < len(text) else None


def _flag(path: Path, name: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "0", "1"):
        raise _damaged(path, f"its {name} is “{one_line(text, 20)}”")
    return text.lower() in ("true", "1")


# ---------------------------------------------------------------- NIfTI

_NIFTI_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_NIFTI_OTHER = {
    1: "bits",
    32: "complex numbers",
    128: "colours",
    1536: "128-bit numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "colours",
}
# offsets of: dim, datatype and bitpix, pixdim, vox_offset, scl_slope and scl_inter, qform and sform codes, quatern and offsets, srow
_NIFTI_LAYOUT = {
    348: ("8h", 40, "2h", 70, "8f", 76, "f", 108, "2f", 112, "2h", 252, "6f", 256, "12f", 280),
    540: ("8q", 16, "2h", 12, "8d", 104, "q", 168, "2d", 176, "2i", 344, "6d", 352, "12d", 400),
}


def _nifti(path: Path) -> Header:
    packed = path.name.lower().endswith(".gz")
    with closing(_unpacked(path, 0, "gzip") if packed else _raw_blocks(path)) as blocks:
        head = next(blocks, b"")[:544]
    order, length = next(
        ((o, n) for o in "<>" for n in (348, 540) if len(head) >= n and struct.unpack_from(o + "i", head)[0] == n), (None, 0)
    )
    magic = head[344:348] if length == 348 else head[4:8]
    if order is None or magic not in (b"n+1\0", b"n+2\0"):
        raise _foreign(path)
    layout = _NIFTI_LAYOUT[length]
    dim, (datatype, bits), pixdim, (voxels_at,), scale, _, quatern, rows = (
        struct.unpack_from(order + code, head, offset) for code, offset in zip(layout[::2], layout[1::2], strict=True)
    )
    if not 1 <= dim[0] <= 7:
        raise _damaged(path, f"it has {dim[0]} dimensions")
    sizes = dim[1 : dim[0] + 1]
    if min(sizes) < 1:
        raise _damaged(path, f"its size is {'×'.join(map(str, sizes))}")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if datatype in _NIFTI_OTHER:
        raise InputError(f"{path.name}: its voxels are {_NIFTI_OTHER[datatype]}, not grey values; export it with plain numbers.")
    if _NIFTI_BITS.get(datatype) != bits:
        raise _damaged(path, f"its voxels are of the unknown type {datatype} with {bits} bits")
    if not all(math.isfinite(v) and abs(v) < 1e6 for v in (*pixdim[:4], *quatern, *rows)):
        raise _damaged(path, "its place in the patient is not a number")
    if min(pixdim[1 : 1 + min(3, len(sizes))]) <= 0:
        raise _damaged(path, f"it has the spacing {min(pixdim[1:4]):g}")
    if any(math.isinf(v) or abs(v) > 1e30 for v in scale):  # NaN is how some programs say that there is no scaling
        raise _damaged(path, "the scale of its voxels is not a number")
    if not (math.isfinite(voxels_at) and length <= voxels_at < 1 << 30 and voxels_at == int(voxels_at)):
        raise _damaged(path, f"its voxels begin at byte {voxels_at:g}")
    floats = {16: f"{order}f4", 64: f"{order}f8"}.get(datatype)
    return Header(sizes, math.prod(sizes) * bits // 8, path, int(voxels_at), "gzip" if packed else "raw", None, floats)


# ---------------------------------------------------------------- common


def _text_header(path: Path, find_end) -> tuple[str, int]:
    """The text of the header with unified line ends, and the number of bytes up to the data."""
    with open(path, "rb") as file:
        raw = file.read(MAX_HEADER_BYTES)
    text = raw.decode("latin-1")
    windows = "\r\n" in text[:200]
    head = find_end(text.replace("\r\n", "\n") if windows else text)
    if head is None:
        if len(raw) == MAX_HEADER_BYTES or path.name.lower().endswith((".nrrd", ".mha")):
            raise _foreign(path) if not re.match(r"NRRD000|\s*\w+\s*=", text) else _damaged(path, "its header has no end")
        head = text.replace("\r\n", "\n").rstrip("\n")  # a detached header may end with the file
    if not all(c.isprintable() or c in "\t\n\xa0\xad" or c > "\x7f" for c in head):
        raise _damaged(path, "its header is not text") if re.match(r"NRRD000|\s*\w+\s*=", head) else _foreign(path)
    end = len(head) + (head.count("\n") if windows else 0)
    line = 2 if windows else 1
    return head, end + (2 * line if path.name.lower().endswith((".nrrd", ".nhdr")) else line)


def _sizes(path: Path, text: str) -> tuple[int, ...]:
    words = text.split()
    if not 1 <= len(words) <= 7 or not all(re.fullmatch(r"\+?\d{1,9}", w) and int(w) > 0 for w in words):
        raise _damaged(path, f"its size is “{one_line(text, 40)}”")
    return tuple(int(w) for w in words)


def _number(path: Path, what: str, text: str, nan: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if nan and math.isnan(value):
        return 1.0
    if not math.isfinite(value) or abs(value) > 1e6:
        raise _damaged(path, f"its {what} is “{one_line(text, 20)}”")
    return value


def _whole(path: Path, what: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,15}", text):
        raise _damaged(path, f"its {what} is “{one_line(text, 20)}”")
    return int(text)


def _vectors(path: Path, name: str, text: str) -> list[tuple[float, ...] | None]:
    """NRRD vectors: "(1,0,0) none (0,0,1)"."""
    parts = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|\s", "", text):
        raise _damaged(path, f"its {name} is “{one_line(text, 40)}”")
    vectors = [None if part == "none" else tuple(_number(path, name, v) for v in part[1:-1].split(",")) for part in parts]
    if len({len(v) for v in vectors if v is not None}) > 1:
        raise _damaged(path, f"its {name} mixes dimensions")
    return vectors


def _beside(path: Path, name: str) -> Path:
    """The data file that a header names: one plain file in the header's own folder."""
    if not name or name != os.path.basename(name) or "\\" in name or "%" in name or name.upper().split()[0] == "LIST":
        raise InputError(
            f"{path.name} cannot be read: it keeps its voxels in “{one_line(name, 60)}”, not in one file beside it; export it as one file."
        )
    data = path.parent / name
    if not os.path.exists(data):
        raise InputError(f"{path.name} cannot be read: the data file it points to, {one_line(name, 60)}, is missing; copy both files.")
    if not stat.S_ISREG(os.stat(data).st_mode) or data.samefile(path):
        raise InputError(f"{path.name} cannot be read: {one_line(name, 60)}, which it points to, is no data file; export it again.")
    return data


def _check_size(path: Path, header: Header) -> None:
    held = header.data.stat().st_size
    if header.bytes > MAX_BYTES:
        size = "×".join(map(str, header.sizes))
        raise InputError(f"{path.name} announces {size} voxels, more than any breast MRI has; its header is damaged: export it again.")
    if header.packing == "raw":
        if held - header.offset < header.bytes:
            raise InputError(f"{path.name} is truncated: its header announces more voxels than the file holds; copy or export it again.")
    elif header.bytes > max(FREE_BYTES, MAX_RATIO * held):
        raise InputError(
            f"{path.name} would unpack to {header.bytes / 2**20:.0f} MB, {header.bytes // max(1, held)} times its size, as no image does; "
            "export it again."
        )


def _check_data(path: Path, header: Header, keep: bool) -> np.ndarray | None:
    """Unpack the data once: all there, no more than announced, its check sum right, its numbers finite. The voxels, to keep."""
    if header.packing == "raw" and header.floats is None:
        return None
    try:
        kept = np.empty(header.bytes, dtype=np.uint8) if keep and header.voxel is not None else None
    except MemoryError:
        raise InputError(f"{path.name} does not fit into memory; close other programs.") from None
    if header.packing == "raw":
        blocks = _raw_blocks(header.data)
        start = header.offset
    elif header.data == path and path.name.lower().endswith(".nii.gz"):
        blocks, start = _unpacked(header.data, 0, "gzip"), header.offset
    else:
        blocks, start = _unpacked(header.data, header.offset, header.packing), 0
    wanted, count, rest = start + header.bytes, 0, b""
    with closing(blocks):
        for block in blocks:
            if header.floats:
                low, high = max(0, start - count), max(0, wanted - count)
                values = rest + block[low:high]
                whole = len(values) - len(values) % np.dtype(header.floats).itemsize
                if not np.isfinite(np.frombuffer(values[:whole], header.floats)).all():
                    raise InputError(f"{path.name} contains NaN or infinite voxels; export it again from the scanner or PACS.")
                rest = values[whole:]
            if kept is not None and count < header.bytes:
                kept[count : count + len(block)] = np.frombuffer(block, dtype=np.uint8)[: header.bytes - count]
            count += len(block)
            if header.packing != "raw" and count > wanted + (1 << 16):
                raise InputError(f"{path.name} holds more data than its header announces; it is damaged: export it again.")
            if header.packing == "raw" and count >= wanted:
                break
    if count < wanted:
        raise InputError(f"{path.name} is truncated: its header announces more voxels than the file holds; copy or export it again.")
    if kept is None:
        return None
    voxels = kept.view(header.voxel)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False).reshape(header.sizes, order="F")


def _raw_blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _unpacked(path: Path, offset: int, packing: str) -> Iterator[bytes]:
    """The unpacked data from ``offset`` on, in blocks of bounded size. Raises InputError at damage, also of the check sum."""
    bits = 31 if packing == "gzip" else 15
    with open(path, "rb") as file:
        file.seek(offset)
        unpacker, pending = zlib.decompressobj(bits), b""
        while True:
            pending = pending or file.read(_BLOCK)
            if unpacker.eof:
                if not pending.strip(b"\0") or packing != "gzip":
                    return
                unpacker = zlib.decompressobj(bits)  # gzip allows several streams one after another
            if not pending:
                raise _damaged(path, "its packed data end early")
            try:
                block = unpacker.decompress(pending, _BLOCK)
            except zlib.error:
                raise _damaged(path, "its packed data are damaged") from None
            pending = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if block:
                yield block
