"""Damage to the fields of text headers: NRRD and MetaImage."""

from __future__ import annotations

import random
import re

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
    **{name: ['"mm" "mm" "mm"', '"mm"', "mm"] for name in ("units", "labels", "space units")},
    **{name: ["0 1 2", "nan nan nan", "0 1"] for name in ("axis mins", "axismaxs")},
    **{name: ["0", "nan", "zero"] for name in ("old min", "oldmax", "min", "sample units")},
    "space dimension": ["3", "0", "9", "4294967299"],
    "centerings": ["cell cell cell", "cell"],
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
    **{name: ["1", "-1", "x"] for name in ("ID", "ParentID", "CompressionLevel", "ElementNBits")},
    **{name: ["0", "nan", "x"] for name in ("ElementMin", "ElementMax")},
    **{name: ["1 0 0 1", "1"] for name in ("Color", "SequenceID")},
    **{name: ["RAI", "x", ""] for name in ("AnatomicalOrientation", "DistanceUnits", "Modality", "Name")},
}
_LONG = [  # longer than a parser may have room for
    "A" * 1100,
    "A" * 50_000,
    "1 " * 1500,
    "1" * 1100,
    '"x" ' * 1500,
    f'"{"x" * 2000}" "y" "z"',
    "(" + "1," * 1500 + "1)",
    "little" + " " * 3000,
    "A" * 1100 + ":=",
]
TEXT_HEADERS = {"nrrd": (_NRRD, b": ", b"\n\n"), "mha": (_MHA, b" = ", b"ElementDataFile")}


def damage_text(rng: random.Random, kind: str) -> list:
    """One operation on a text header: ["field", name, value], or ["drop", "twice" or "move", name]."""
    fields = TEXT_HEADERS[kind][0]
    name = rng.choice(list(fields))
    action = rng.choice(["field"] * 8 + ["drop", "twice", "move"])
    if action != "field":
        return [action, name]
    return [action, name, rng.choice(_LONG if rng.random() < 0.2 else fields[name])]


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
