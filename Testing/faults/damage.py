"""Damage to bytes, header fields and JSON values, described by plain values so that every input can be kept
and made again.
"""

from __future__ import annotations

import json
import random
import re
import struct
from typing import Any

# values that a header field or a JSON entry may be given; JSON itself can hold all of them (NaN and huge
# integers in Python's dialect)
NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    7,
    127,
    255,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32,
    2**63,
    10**30,
    -(2**31),
    0.0,
    0.5,
    -0.001,
    1e-30,
    1e30,
    1e308,
]
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf")]
WORDS = [
    "",
    " ",
    "x",
    "nan",
    "inf",
    "-0",
    "0x10",
    "1e999",
    "1" * 400,
    "a" * 3000,
    "\u00e4\u4e2d",
    "<script>alert(1)</script>",
    "%s%n",
    "; rm -rf x",
    "\t",
]


def damage_bytes(rng: random.Random, size: int, reach: int | None = None) -> list:
    """One operation on ``size`` bytes: [name, position, …].

    Parameters
    ----------
    reach
        Only the first so many bytes, as those of a header.
    """

    def here() -> int:
        return rng.randrange(max(1, min(size, reach or size)))

    name = rng.choice(["flip", "flip", "flip", "set", "zero", "cut", "double", "delete", "swap", "shuffle"])
    if name == "flip":
        return [name, here(), rng.randrange(8)]
    if name == "set":
        return [
            name,
            here(),
            bytes(
                rng.choice([0, 255, 127, 10, 32, rng.randrange(256)]) for _ in range(rng.randint(1, 8))
            ).hex(),
        ]
    if name == "cut":
        return [name, here()]
    return [name, here(), rng.choice([1, 2, 4, 8, 64, 512])]


def apply_bytes(data: bytes, operations: list) -> bytes:
    data = bytearray(data)
    for name, position, *rest in operations:
        if not data:
            break
        position = min(position, len(data) - 1)
        if name == "flip":
            data[position] ^= 1 << rest[0]
        elif name == "set":
            value = bytes.fromhex(rest[0])
            data[position : position + len(value)] = value
        elif name == "cut":
            del data[position:]
        elif name == "zero":
            data[position : position + rest[0]] = bytes(len(data[position : position + rest[0]]))
        elif name == "double":
            data[position:position] = data[position : position + rest[0]]
        elif name == "delete":
            del data[position : position + rest[0]]
        elif name == "swap":
            data[position : position + rest[0]] = data[position : position + rest[0]][::-1]
        elif name == "shuffle":
            block = bytearray(data[position : position + rest[0]])
            random.Random(position).shuffle(block)
            data[position : position + rest[0]] = block
    return bytes(data)


def text_fields(data: bytes, separator: bytes, end: bytes) -> tuple[list[bytes], bytes]:
    """Header lines and the rest of a file whose header is text."""
    head, mark, rest = data.partition(end)
    return head.split(b"\n"), mark + rest


_NRRD = {
    "type": [
        "block",
        "double",
        "float",
        "uchar",
        "int8",
        "longlong",
        "unsigned long long int",
        "string",
        "???",
        "",
    ],
    "dimension": ["0", "-1", "1", "2", "4", "5", "16", "17", "99999", "1e9", "nan"],
    "sizes": [
        "0 0 0",
        "-1 11 10",
        "12 11",
        "12 11 10 2",
        "100000 100000 100000",
        "2147483647 1 1",
        "4294967296 4294967296 4294967296",
        "12 11 100000000",
        "1 1 1320",
        "nan nan nan",
        "3037000500 3037000500 2",
        "12 11 11",
        "13 11 10",
        "",
        "65536 65536 65536",
        "2000 2000 2000",
    ],
    "space directions": [
        "(0,0,0) (0,0,0) (0,0,0)",
        "(1,0,0) (1,0,0) (0,0,1)",
        "(nan,0,0) (0,1,0) (0,0,1)",
        "(inf,0,0) (0,1,0) (0,0,1)",
        "none none none",
        "(1e300,0,0) (0,1e300,0) (0,0,1e300)",
        "(1e-300,0,0) (0,1e-300,0) (0,0,1e-300)",
        "(1,0,0) (0,1,0) (1,1,1e-9)",
        "(1,0) (0,1)",
        "(1,0,0)",
        "(-1,0,0) (0,-1,0) (0,0,-1)",
        "(1,1,0) (0,1,0) (0,0,1)",
        "(1,0,0) none (0,0,1)",
        "((((",
        "(1,0,0) (0,1,0) (0,0,1) (0,0,0)",
        "",
    ],
    "space origin": ["(nan,nan,nan)", "(inf,0,0)", "(1e300,1e300,1e300)", "(0,0)", "none", "", "(0,0,0,0,0)"],
    "space": [
        "left-posterior-superior-time",
        "scanner-xyz",
        "3D-left-handed",
        "right-anterior-superior",
        "",
        "nowhere",
    ],
    "kinds": [
        "list domain domain",
        "RGB-color domain domain",
        "time space space space",
        "3D-matrix domain domain",
        "domain",
        "vector vector vector",
    ],
    "endian": ["big", "middle", ""],
    "encoding": ["gzip", "gz", "bzip2", "hex", "ascii", "txt", "zrl", "raw", "unknown", ""],
    "byte skip": ["-1", "-2", "1", "999999999999", "2147483648", "nan"],
    "line skip": ["-1", "1", "1000000000"],
    "data file": [
        "/dev/zero",
        "/etc/hostname",
        "../nrrd/ax dyn pre.nrrd",
        "LIST",
        "x%d.raw 0 100000 1",
        "x%99999d.raw 0 1 1",
        "ax dyn pass 1.nrrd",
        "nowhere.raw",
        "pipe",
        "LIST 2\n/dev/zero\n/dev/zero",
        "%s%s%s%n 0 9 1",
        ".",
        "",
    ],
    "spacings": ["0 0 0", "-1 -1 -1", "nan nan nan", "inf 1 1", "1e300 1 1", "1 1"],
    "thicknesses": ["nan nan 0"],
    "centers": ["cell node ???"],
    "number": ["1320", "7"],
    "content": ["a" * 100000],
    "measurement frame": ["(nan,0,0) (0,0,0) (0,0,0)"],
}
_MHA = {
    "ObjectType": ["Scene", "Tube", ""],
    "NDims": ["0", "-1", "1", "2", "4", "11", "100", "nan", "2147483648"],
    "DimSize": [
        "0 0 0",
        "-12 11 10",
        "12 11",
        "100000 100000 100000",
        "2147483647 2147483647 2147483647",
        "13 11 10",
        "12 11 100000000",
        "nan",
        "",
        "2000 2000 2000",
        "65536 65536 65536",
    ],
    "ElementSpacing": ["0 0 0", "-1 -1 -1", "nan nan nan", "inf inf inf", "1e300 1 1", "1e-300 1 1", "1", ""],
    "ElementSize": ["0 0 0", "nan 1 1"],
    "TransformMatrix": [
        "0 0 0 0 0 0 0 0 0",
        "1 0 0 1 0 0 0 0 1",
        "nan 0 0 0 1 0 0 0 1",
        "2 0 0 0 2 0 0 0 2",
        "1 0 0",
        "inf 0 0 0 1 0 0 0 1",
        "1 0 0 0 1 0 1 1 0",
    ],
    "Offset": ["nan nan nan", "inf 0 0", "1e300 1e300 1e300", "1", ""],
    "ElementType": [
        "MET_NONE",
        "MET_DOUBLE",
        "MET_UCHAR",
        "MET_STRING",
        "MET_USHORT_ARRAY",
        "MET_LONG_LONG",
        "???",
        "",
    ],
    "ElementNumberOfChannels": ["0", "-1", "2", "3", "1000000", "2147483648"],
    "ElementDataFile": [
        "/dev/zero",
        "/etc/hostname",
        "../mha/ax dyn pre.mha",
        "LIST",
        "LIST 2",
        "x%d.raw 0 100000 1",
        "LOCAL",
        "nowhere.raw",
        "ax dyn pass 1.mha",
        "pipe",
        "",
        "x%s%n.raw 0 9 1",
        ".",
    ],
    "CompressedData": ["True", "False", "Maybe"],
    "CompressedDataSize": ["0", "-1", "1", "99999999999", "nan", "2147483648"],
    "BinaryData": ["False", "Maybe"],
    "BinaryDataByteOrderMSB": ["True", "Maybe"],
    "HeaderSize": ["-1", "-2", "100", "99999999999", "nan"],
    "CenterOfRotation": ["nan nan nan"],
    "Comment": ["a" * 100000],
}
TEXT_HEADERS = {"nrrd": (_NRRD, b": ", b"\n\n"), "mha": (_MHA, b" = ", b"ElementDataFile")}


def damage_text(rng: random.Random, kind: str) -> list:
    """One operation on a text header: ["field", name, value], or ["drop", "twice" or "move", name]."""
    fields = TEXT_HEADERS[kind][0]
    name = rng.choice(list(fields))
    action = rng.choice(["field"] * 8 + ["drop", "twice", "move"])
    return [action, name, rng.choice(fields[name])] if action == "field" else [action, name]


def apply_text(data: bytes, kind: str, operations: list) -> bytes:
    _, separator, end = TEXT_HEADERS[kind]
    for action, name, *value in operations:
        position = data.find(end)
        stop = data.find(b"\n", position) + 1 if kind == "mha" else position + 1
        lines = data[:stop].split(b"\n")[:-1]
        rest = data[stop:]
        key = name.encode()
        index = next(
            (n for n, line in enumerate(lines) if re.match(re.escape(key) + rb"\s*[:=]", line)), None
        )
        if action == "field":
            line = key + separator + value[0].encode()
            if index is None:
                lines.insert(len(lines) - (kind == "mha"), line)
            else:
                lines[index] = line
        elif index is not None and action == "drop":
            del lines[index]
        elif index is not None and action == "twice":
            lines.insert(index, lines[index])
        elif index is not None:
            lines.insert(1, lines.pop(index))
        data = b"\n".join(lines) + b"\n" + rest
    return data


# NIfTI-1: name → offset, struct format, number of values
NIFTI = {
    "sizeof_hdr": (0, "i", 1), "dim": (40, "h", 8), "datatype": (70, "h", 1), "bitpix": (72, "h", 1),
    "pixdim": (76, "f", 8), "vox_offset": (108, "f", 1), "scl_slope": (112, "f", 1),
    "scl_inter": (116, "f", 1), "xyzt_units": (123, "b", 1), "qform_code": (252, "h", 1),
    "sform_code": (254, "h", 1), "quatern": (256, "f", 6), "srow": (280, "f", 12), "magic": (344, "b", 4),
    "extension": (348, "b", 4),
}  # fmt: skip
_DATATYPES = [0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1]


def damage_nifti(rng: random.Random) -> list:
    """[field, index, value] of a NIfTI-1 header."""
    name = rng.choice(list(NIFTI))
    _, code, count = NIFTI[name]
    if name == "datatype":
        value = rng.choice(_DATATYPES)
    elif code == "f":
        value = rng.choice([0.0, -1.0, 1e-30, 1e30, -1e30, 352.0, 0.001, 3.0e38, *ODD_NUMBERS])
    else:
        value = rng.choice(
            [0, -1, 1, 2, 3, 4, 7, 8, 127, 16, 32, 64] + ([32767, -32768, 1000, 10000] if code != "b" else [])
        )
    return [name, rng.randrange(count), value]


def apply_nifti(data: bytes, operations: list) -> bytes:
    data = bytearray(data)
    for name, index, value in operations:
        offset, code, _ = NIFTI[name]
        struct.pack_into("<" + code, data, offset + index * struct.calcsize(code), value)
    return bytes(data)


EVIL_JSON: list[Any] = [
    None, True, False, *NUMBERS, *ODD_NUMBERS, 10**400, -(10**400), "", "\0", "a\0b", "\ud800",
    "../../etc/passwd", "/dev/zero", "a" * 5000, "x\ny", {}, [], [[]], {"": None}, [1, 2, 3], ["a"], "NaN",
    "1", "cuda:99", "mps", "<script>alert(1)</script>", "\u202e", "..", ".", "/", "~", "file:///etc/passwd",
    "a.nrrd",
]  # fmt: skip


def json_places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of every node of a JSON value."""
    places = [path]
    if isinstance(value, dict):
        places += [p for key, entry in value.items() for p in json_places(entry, (*path, key))]
    elif isinstance(value, list):
        places += [p for index, entry in enumerate(value) for p in json_places(entry, (*path, index))]
    return places


def damage_json(rng: random.Random, value: Any) -> list:
    """One operation on a JSON value: [name, path, index of EVIL_JSON or depth]."""
    places = json_places(value)
    path = list(rng.choice(places))
    name = rng.choice(["put"] * 6 + ["delete", "twice", "deep", "add"])
    return [name, path, rng.choice([5, 50, 900, 5000]) if name == "deep" else rng.randrange(len(EVIL_JSON))]


def apply_json(value: Any, operations: list) -> str:
    """The JSON text after the operations; nesting deeper than Python writes is put in as text."""
    marks: dict[str, str] = {}
    value = json.loads(json.dumps(value))
    for number, (name, path, argument) in enumerate(operations):
        holder, last = {"": value}, ""
        try:
            for key in path:
                holder, last = holder[last], key
                if not isinstance(holder, (dict, list)):
                    raise TypeError
                holder[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier operation took it away
        if name == "deep":
            marks[f"@deep{number}@"] = "[" * argument + "]" * argument
            evil: Any = f"@deep{number}@"
        else:
            evil = EVIL_JSON[argument]
        if name in ("put", "deep"):
            holder[last] = evil
        elif name == "delete" and path:
            del holder[last]
        elif name == "twice" and isinstance(holder, list):
            holder.append(holder[last])
        elif name == "add" and isinstance(holder, dict) and path:
            holder["unknown"] = evil
        if not path:
            value = holder.get("", value)
    text = json.dumps(value)
    for mark, deep in marks.items():
        text = text.replace(json.dumps(mark), deep)
    return text
