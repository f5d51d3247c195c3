"""A few kilobytes that unpack to a gibibyte."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from pathlib import Path

from ..cases import NEVER, Case, exam_of_dicom, files_in, generator, put


def _bomb_sizes(rng: random.Random) -> list[int]:
    return rng.choice(
        [
            [1024, 1024, 1024],
            [1024, 1024, 512],
            [32767, 32767, 1],
            [4096, 4096, 64],
            [12, 11, 10],
            [1023, 1023, 1023],
            [100000, 100000, 100000],
        ]
    )


def _pick_bomb(rng: random.Random, bases: Path) -> dict:
    return {
        "format": rng.choice(["nrrd", "nii", "mha", "nrrd-tail", "nii-tail", "dicom", "members", "4d"]),
        "sizes": _bomb_sizes(rng),
        "bits": rng.choice([8, 8, 16, 64]),
    }


@generator("bomb", _pick_bomb, weight=3)
def _bomb(parameters: dict, bases: Path, folder: Path) -> Case:
    """A few kilobytes that unpack to a gibibyte, behind a header that says so, or one that hides it."""
    facts = json.loads((bases / "bombs" / "zeros.json").read_text())
    sizes, bits, kind = list(parameters["sizes"]), parameters["bits"], parameters["format"]
    if kind == "dicom":
        return _deflate_bomb(bases, folder)
    place = folder / "exam"
    place.mkdir(parents=True)
    packed = (bases / "bombs" / ("members.gz" if kind == "members" else "zeros.gz")).read_bytes()
    if kind == "4d":
        sizes = [*sizes[:2], 16, 64]
    if kind in ("nrrd", "nrrd-tail", "members", "4d"):
        word = {8: "uchar", 16: "short", 64: "double"}[bits]
        head = f"NRRD0004\ntype: {word}\ndimension: {len(sizes)}\nsizes: {' '.join(map(str, sizes))}\n"
        head += "endian: little\nencoding: gzip\n"
        head += "byte skip: -1\n" if kind == "nrrd-tail" else ""
        paths = [place / f"phase {n}.nrrd" for n in range(2)]
        content = head.encode() + b"\n" + packed
    elif kind == "mha":
        stream = (
            b"\x78\x9c"
            + (bases / "bombs" / "zeros.deflate").read_bytes()
            + facts["adler32"].to_bytes(4, "big")
        )
        word = {8: "MET_UCHAR", 16: "MET_SHORT", 64: "MET_DOUBLE"}[bits]
        head = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        head += f"CompressedData = True\nCompressedDataSize = {len(stream)}\n"
        head += f"DimSize = {' '.join(map(str, sizes))}\nElementType = {word}\nElementDataFile = LOCAL\n"
        paths = [place / f"phase {n}.mha" for n in range(2)]
        content = head.encode() + stream
    else:
        header = bytearray(352)
        clipped = [min(n, 32767) for n in sizes]
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<8h", header, 40, 3, *clipped, 1, 1, 1, 1)
        struct.pack_into("<2h", header, 70, {8: 2, 16: 4, 64: 64}[bits], bits)
        struct.pack_into("<8f", header, 76, *[1.0] * 8)
        struct.pack_into("<f", header, 108, 352)
        header[344:348] = b"n+1\0"
        paths = [place / f"phase {n}.nii.gz" for n in range(2)]
        content = gzip.compress(bytes(header)) + packed
    for path in paths:
        path.write_bytes(content)
    return Case("exam", paths, ["phase 0", "phase 1", "exam"], NEVER)


def _deflate_bomb(bases: Path, folder: Path) -> Case:
    """A deflated DICOM object whose private element unpacks to a gibibyte."""
    import pydicom

    case = exam_of_dicom(bases, "dicom", folder, NEVER)
    file = next(f for f in files_in(bases / "dicom") if "pass_1" in f)
    data = pydicom.dcmread(bases / "dicom" / file)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    shell = folder / "shell.dcm"
    data.save_as(shell)
    whole = shell.read_bytes()
    meta = 132 + 12 + struct.unpack("<I", whole[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    element = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 1 << 30)
    opened = packer.compress(
        struct.pack("<HH2sHI", 0x0008, 0x0016, b"UI", 26, 0)[:6]
        + b"\x1a\0"
        + b"1.2.840.10008.5.1.4.1.1.4\0"
        + element
    )
    body = opened + packer.flush(zlib.Z_FULL_FLUSH) + (bases / "bombs" / "zeros.deflate").read_bytes()
    shell.unlink()
    put(folder / "exam" / file, whole[:meta] + body)
    return case
