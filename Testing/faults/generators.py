"""Our own generators of bad inputs: damaged volume files and DICOM studies, odd folders, requests, bundles,
manifests.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import struct
from pathlib import Path

from . import damage
from .cases import (
    NEVER,
    SAME,
    VALID,
    Case,
    exam_of_dicom,
    exam_of_files,
    files_in,
    generator,
    linked,
    names_of,
    original,
    put,
)

# ---------------------------------------------------------------- volume files

_VOLUMES = ["nrrd", "nrrd-gz", "nhdr", "nii", "nii-gz", "mha", "mha-z", "mhd", "4d-nrrd", "4d-nii", "mimbcd"]
_HEADER = {
    "nrrd": 420,
    "nrrd-gz": 420,
    "nhdr": 420,
    "nii": 352,
    "mha": 330,
    "mha-z": 360,
    "mhd": 330,
    "4d-nrrd": 450,
    "mimbcd": 640,
}


def _volume_bases(bases: Path) -> list[str]:
    return [name for name in _VOLUMES if (bases / name).is_dir()]


def _pick_bytes(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(_volume_bases(bases))
    file = rng.choice(files_in(bases / base))
    size = (bases / base / file).stat().st_size
    reach = _HEADER.get(base) if rng.random() < 0.7 and not file.endswith(".raw") else None
    return {
        "base": base,
        "file": file,
        "operations": [damage.damage_bytes(rng, size, reach) for _ in range(rng.choice([1, 1, 1, 2, 4, 12]))],
    }


@generator("volume-bytes", _pick_bytes, weight=14)
def _volume_bytes(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    put(folder / "exam" / parameters["file"], damage.apply_bytes(data, parameters["operations"]))
    return case


def _pick_truncated(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(_volume_bases(bases))
    file = rng.choice(files_in(bases / base))
    size = (bases / base / file).stat().st_size
    return {
        "base": base,
        "file": file,
        "keep": rng.choice(
            [0, 1, size - 1, size - 4, size - 8, size - 9, rng.randrange(size), rng.randrange(size)]
        ),
    }


@generator("volume-truncated", _pick_truncated, weight=6)
def _volume_truncated(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder, SAME)
    put(folder / "exam" / parameters["file"], original(parameters, bases)[: parameters["keep"]])
    return case


def _pick_text(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(
        [
            "nrrd",
            "nrrd-gz",
            "nhdr",
            "4d-nrrd",
            "mha",
            "mha-z",
            "mhd",
            *(["mimbcd"] if (bases / "mimbcd").is_dir() else []),
        ]
    )
    kind = "mha" if base.startswith("mh") else "nrrd"
    file = rng.choice([f for f in files_in(bases / base) if not f.endswith(".raw")])
    return {
        "base": base,
        "kind": kind,
        "file": file,
        "operations": [damage.damage_text(rng, kind) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
    }


@generator("header-text", _pick_text, weight=14)
def _header_text(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    put(
        folder / "exam" / parameters["file"],
        damage.apply_text(data, parameters["kind"], parameters["operations"]),
    )
    os.mkfifo(folder / "exam" / "pipe")  # a data file that never answers
    return case


def _pick_nifti(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(["nii", "nii-gz", "4d-nii"])
    file = rng.choice(files_in(bases / base))
    return {
        "base": base,
        "file": file,
        "operations": [damage.damage_nifti(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
    }


@generator("header-nifti", _pick_nifti, weight=10)
def _header_nifti(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    packed = parameters["base"] != "nii"
    data = damage.apply_nifti(gzip.decompress(data) if packed else data, parameters["operations"])
    put(folder / "exam" / parameters["file"], gzip.compress(data, 1) if packed else data)
    return case


_ODD_VOXELS = [
    "nan",
    "inf",
    "-inf",
    "constant",
    "complex",
    "bool",
    "vector",
    "2d",
    "5 values",
    "int64",
    "uint64",
    "huge",
    "tiny",
    "label",
    "one slice",
]


@generator(
    "voxels",
    lambda rng, bases: {
        "what": rng.choice(_ODD_VOXELS),
        "extension": rng.choice([".nrrd", ".mha", ".nii", ".nii.gz"]),
    },
    weight=3,
)
def _voxels(parameters: dict, bases: Path, folder: Path) -> Case:
    """Values and types that are no grey image."""
    import numpy as np
    import SimpleITK as sitk

    case = exam_of_files(bases, "mha", folder)
    image = sitk.ReadImage(str(bases / "real.mha"))
    array = sitk.GetArrayFromImage(image)
    what = parameters["what"]
    if what in ("nan", "inf", "-inf"):
        array[3, 4, 5] = float(what)
    odd_array = {
        "constant": lambda: np.full_like(array, 3),
        "complex": lambda: array.astype(np.complex64),
        "bool": lambda: (array > 200).astype(np.uint8),
        "int64": lambda: (array * 10**15).astype(np.int64),
        "uint64": lambda: (array * 10**15).astype(np.uint64),
        "huge": lambda: array * np.float32(1e36),
        "tiny": lambda: array * np.float32(1e-44),
        "label": lambda: (array > 250).astype(np.int16),
        "2d": lambda: array[0],
        "one slice": lambda: array[:1],
    }.get(what, lambda: array)()
    odd = sitk.GetImageFromArray(odd_array)
    if what in ("vector", "5 values"):
        odd = sitk.Compose([odd] * (3 if what == "vector" else 5))
    if odd.GetDimension() == 3 and what != "one slice":
        odd.CopyInformation(image)
    target = folder / "exam" / f"ax dyn pass 1{parameters['extension']}"
    (folder / "exam" / "ax dyn pass 1.mha").unlink()
    try:
        sitk.WriteImage(odd, str(target))
    except RuntimeError:  # a format that cannot hold it
        target = target.with_name("ax dyn pass 1.nrrd")
        sitk.WriteImage(odd, str(target))
    case.paths = [p for p in case.paths if p.name != "ax dyn pass 1.mha"] + [target]
    case.names.append(target.name)
    if what in ("nan", "inf", "-inf", "constant", "complex", "vector", "5 values", "2d", "one slice"):
        case.accept = NEVER
    return case


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
    import zlib

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


_ODDITIES = [
    "loop", "loop up", "dangling", "folder called volume", "pipe", "empty files", "bytes in name",
    "newline in name", "long name", "root", "deep", "same file twice", "many", "no extension", "device",
    "wrong extension", "given pipe", "given folder twice", "nul in name",
]  # fmt: skip


def _pick_folder(rng: random.Random, bases: Path) -> dict:
    return {
        "what": rng.choice(_ODDITIES),
        "base": rng.choice(["nrrd", "nii-gz", "dicom"]),
        "seed": rng.randrange(1000),
    }


@generator("folder", _pick_folder, weight=3)
def _folder(parameters: dict, bases: Path, folder: Path) -> Case:
    """Folders as file systems allow them."""
    base, what = parameters["base"], parameters["what"]
    place = folder / "exam"
    linked(bases / base, place)
    case = Case("exam", [place], [*names_of(bases / base), "exam", "ax dyn"], SAME, [bases / base])
    volume = next((f for f in files_in(bases / base) if not f.endswith(".raw")), "")
    if what == "loop":
        (place / "again").symlink_to(place)
    elif what == "loop up":
        (place / "sub").mkdir()
        (place / "sub" / "up").symlink_to(folder)
    elif what == "dangling":
        (place / "gone.nrrd").symlink_to(folder / "nowhere")
        (place / "self.nrrd").symlink_to(place / "self.nrrd")
        case.names += ["gone.nrrd", "self.nrrd"]
    elif what == "folder called volume":
        (place / "volume.nrrd").mkdir()
        (place / "image.dcm").mkdir()
    elif what == "pipe":
        os.mkfifo(place / "pipe.nrrd")
        os.mkfifo(place / "pipe.dcm")
    elif what == "empty files":
        for name in ("a.nrrd", "b.dcm", "c"):
            (place / name).touch()
        case.names += ["a.nrrd", "b.dcm"]
        case.accept = VALID
    elif what in ("bytes in name", "newline in name"):
        with open(
            os.fsencode(place) + (b"/\xff\xfe\x80.nrrd" if what[0] == "b" else b"/a\nb.nrrd"), "wb"
        ) as file:
            file.write((bases / base / volume).read_bytes()[:200])
        case.names += ["a b", "nrrd"]
        case.accept = VALID
    elif what == "long name":
        case.paths = [Path(str(place) + "/" + "x" * 5000 + ".nrrd")]
        case.names, case.accept = ["xxx"], NEVER
    elif what == "nul in name":
        case.paths = [Path(str(place) + "/a\0b.nrrd")]
        case.names, case.accept = ["b.nrrd"], NEVER
    elif what == "root":
        (place / "elsewhere").symlink_to("/usr/share/zoneinfo")
    elif what == "deep":
        deep = place
        for _ in range(60):
            deep = deep / "d"
        deep.mkdir(parents=True)
        shutil.copy(bases / base / volume, deep / Path(volume).name)
        case.accept = VALID
    elif what == "same file twice":
        case.paths = [place / volume, place / volume]
        case.accept = NEVER
    elif what == "many":
        for n in range(60):
            shutil.copy(bases / "nrrd" / "ax dyn pre.nrrd", place / f"{n}.nrrd")
        case.accept = VALID
    elif what == "no extension":
        case.paths = [place / "plain"]
        shutil.copy(bases / base / volume, place / "plain")
        case.names.append("plain")
        case.accept = VALID
    elif what == "device":
        (place / "zero.nrrd").symlink_to("/dev/zero")
        (place / "zero.dcm").symlink_to("/dev/urandom")
    elif what == "wrong extension":
        case.paths = [place / "a.nrrd", place / "b.nii.gz"]
        shutil.copy(bases / "mha" / "ax dyn pre.mha", place / "a.nrrd")
        shutil.copy(bases / "nrrd" / "ax dyn pass 1.nrrd", place / "b.nii.gz")
        case.names += ["a.nrrd", "b.nii.gz"]
        case.accept = VALID
    elif what == "given pipe":
        os.mkfifo(place / "p.nrrd")
        case.paths = [place / "p.nrrd", place / "p.nrrd"]
        case.names, case.accept = ["p.nrrd"], NEVER
    elif what == "given folder twice":
        case.paths = [place, place]
    return case


# ---------------------------------------------------------------- DICOM

_EVIL_TEXT = [
    "", " ", "abc", "-1", "0", "1", "2", "3", "4", "7", "8", "12", "16", "24", "32", "64", "255", "32767",
    "65535", "4294967295", "1e10", "1e300", "-1e300", "nan", "inf", "-inf", "0\\0", "0\\0\\0", "-1\\-1",
    "1e-9\\1e-9", "1e9\\1e9", "nan\\nan", "1\\0\\0\\1\\0\\0", "0\\0\\0\\0\\0\\0", "2\\0\\0\\0\\2\\0",
    "1\\0\\0\\0\\1\\0", "1\\0\\0\\0\\nan\\0", "1e300\\1e300\\1e300", "99\\99\\99", "9" * 5000, "\\" * 300,
    "240000", "235959.999999", "99999999", "20000229", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5",
    "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.66.4", "RGB", "MONOCHROME1", "CT", "MR",
    "DERIVED\\SECONDARY\\SUBTRACT", "ax dyn pre", "<script>alert(1)</script>", "\x1b$B", "\x00\x01\x02",
    "é€\udc80",
]  # fmt: skip
_ELEMENTS = {
    "SOPClassUID": "UI", "SOPInstanceUID": "UI", "StudyInstanceUID": "UI", "SeriesInstanceUID": "UI",
    "SeriesNumber": "IS", "AcquisitionNumber": "IS", "InstanceNumber": "IS", "SeriesDescription": "LO",
    "Modality": "CS", "ImageType": "CS", "Rows": "US", "Columns": "US", "ImageOrientationPatient": "DS",
    "ImagePositionPatient": "DS", "PixelSpacing": "DS", "AcquisitionDateTime": "DT", "AcquisitionDate": "DA",
    "AcquisitionTime": "TM", "ContentTime": "TM", "SeriesTime": "TM", "TriggerTime": "DS",
    "TemporalPositionIdentifier": "IS", "TemporalResolution": "DS", "ScanOptions": "CS", "EchoTime": "DS",
    "RepetitionTime": "DS", "ScanningSequence": "CS", "DiffusionBValue": "FD", "ContrastBolusAgent": "LO",
    "BitsAllocated": "US", "BitsStored": "US", "HighBit": "US", "PixelRepresentation": "US",
    "RescaleSlope": "DS", "RescaleIntercept": "DS", "SamplesPerPixel": "US",
    "PhotometricInterpretation": "CS", "NumberOfFrames": "IS", "SpecificCharacterSet": "CS",
    "MagneticFieldStrength": "DS", "PlanarConfiguration": "US", "PixelData": "OW", "TransferSyntaxUID": "UI",
}  # fmt: skip
_DICOM_BASES = ["dicom", "dicom", "dicom", "recoded", "enhanced", "duke", "duke"]


def _dicom_base(rng: random.Random, bases: Path) -> str:
    return rng.choice([b for b in _DICOM_BASES if (bases / b).is_dir()])


def _targets(rng: random.Random, bases: Path, base: str) -> list[str]:
    """One file, a whole series, or all files of a study."""
    files = files_in(bases / base)
    scope = rng.choice(["file", "file", "series", "all"])
    one = rng.choice(files)
    if scope == "file":
        return [one]
    return [f for f in files if Path(f).parent == Path(one).parent] if scope == "series" else files


def _pick_elements(rng: random.Random, bases: Path) -> dict:
    base = _dicom_base(rng, bases)
    changes = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        keyword = rng.choice(list(_ELEMENTS))
        changes.append(
            [
                keyword,
                rng.choice([_ELEMENTS[keyword]] * 4 + ["UN", "LO", "SQ", "FD", "OB"]),
                rng.randrange(-1, len(_EVIL_TEXT)),
            ]
        )
    return {"base": base, "files": _targets(rng, bases, base), "changes": changes}


def _raw_value(vr: str, text: str) -> bytes:
    if vr in ("US", "FD"):
        try:
            numbers = [float(v) for v in text.split("\\")]
            value = b"".join(
                struct.pack("<H", int(n) % 65536) if vr == "US" else struct.pack("<d", n) for n in numbers
            )
        except (ValueError, OverflowError):
            value = text.encode("utf-8", "surrogateescape")
    else:
        value = text.encode("utf-8", "surrogateescape")
    return value + b" " * (len(value) % 2)


@generator("dicom-elements", _pick_elements, weight=16)
def _dicom_elements(parameters: dict, bases: Path, folder: Path) -> Case:
    """Elements with impossible values or types, missing ones, in one file, a series or all."""
    import pydicom
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    case = exam_of_dicom(bases, parameters["base"], folder)
    for file in parameters["files"]:
        data = pydicom.dcmread(bases / parameters["base"] / file)
        for keyword, vr, number in parameters["changes"]:
            holder = data.file_meta if keyword == "TransferSyntaxUID" else data
            if number < 0:
                if keyword in holder:
                    del holder[keyword]
                continue
            value = _raw_value(vr, _EVIL_TEXT[number])
            if keyword == "TransferSyntaxUID":
                holder.TransferSyntaxUID = pydicom.uid.UID(
                    _EVIL_TEXT[number].encode("ascii", "ignore").decode().replace("\\", "")[:64]
                )
            else:
                tag = Tag(tag_for_keyword(keyword))
                dict.__setitem__(
                    holder._dict,
                    tag,
                    RawDataElement(tag, vr, len(value), value, 0, data.original_encoding[0], True),
                )
        target = folder / "exam" / file
        target.unlink()
        implicit, little = data.original_encoding
        try:
            pydicom.dcmwrite(
                target, data, implicit_vr=implicit, little_endian=little, enforce_file_format=False
            )
        except Exception:  # what the writer will not write is no input
            target.unlink(missing_ok=True)
            os.symlink(bases / parameters["base"] / file, target)
    # a series may be told by the description it was given here
    described = [
        _EVIL_TEXT[number]
        for keyword, _, number in parameters["changes"]
        if keyword == "SeriesDescription" and number >= 0
    ]
    case.names.extend(
        text[:20] if len(text) > 2 else f"{text} phase"
        for text in described
        if text.strip() and text.isprintable()
    )
    return case


def _pick_dicom_bytes(rng: random.Random, bases: Path) -> dict:
    base = _dicom_base(rng, bases)
    files = [rng.choice(files_in(bases / base)) for _ in range(rng.choice([1, 1, 3]))]
    size = (bases / base / files[0]).stat().st_size
    reach = 1800 if rng.random() < 0.8 else None
    return {
        "base": base,
        "files": files,
        "operations": [damage.damage_bytes(rng, size, reach) for _ in range(rng.choice([1, 1, 1, 2, 4, 12]))],
    }


@generator("dicom-bytes", _pick_dicom_bytes, weight=12)
def _dicom_bytes(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_dicom(bases, parameters["base"], folder)
    for file in set(parameters["files"]):
        put(
            folder / "exam" / file,
            damage.apply_bytes((bases / parameters["base"] / file).read_bytes(), parameters["operations"]),
        )
    return case


_STUDY_FAULTS = [
    "missing slice", "missing slices", "doubled slice", "copied slice", "contradicted slice", "mixed series",
    "mixed studies", "one slice moved", "truncated pixels", "negative length", "pixels too long",
    "swapped phases",
    "all one series", "undefined length", "deep sequences", "long sequences", "huge rows",
    "other orientation", "half a phase",
]  # fmt: skip


def _pick_study(rng: random.Random, bases: Path) -> dict:
    return {
        "what": rng.choice(_STUDY_FAULTS),
        "base": rng.choice([b for b in ("dicom", "duke") if (bases / b).is_dir()]),
        "seed": rng.randrange(100000),
    }


@generator("dicom-study", _pick_study, weight=8)
def _dicom_study(parameters: dict, bases: Path, folder: Path) -> Case:
    """Whole studies that are wrong: slices missing, doubled, misplaced, series mixed."""
    import pydicom

    base, what, rng = parameters["base"], parameters["what"], random.Random(parameters["seed"])
    case = exam_of_dicom(bases, base, folder)
    files = [f for f in files_in(bases / base) if "t1" not in f]
    one = rng.choice(files)
    series = [f for f in files if Path(f).parent == Path(one).parent]
    place = folder / "exam"

    def rewrite(file: str, change) -> None:
        data = pydicom.dcmread(bases / base / file)
        change(data)
        put(place / file, b"")
        data.save_as(place / file, enforce_file_format=False)

    if what == "missing slice":
        (place / one).unlink()
        case.accept = NEVER
    elif what == "missing slices":
        for file in rng.sample(series, rng.randint(2, len(series) - 1)):
            (place / file).unlink()
    elif what in ("doubled slice", "copied slice", "contradicted slice"):
        data = pydicom.dcmread(bases / base / one)
        if what != "copied slice":
            data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(parameters["seed"])])
        if what == "contradicted slice":  # two images of one place and time that differ
            data.PixelData = bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]
        data.save_as(place / (one + ".copy"))
        case.accept = NEVER if what == "contradicted slice" else SAME
    elif what in ("mixed series", "mixed studies", "all one series"):
        keyword = "StudyInstanceUID" if what == "mixed studies" else "SeriesInstanceUID"
        chosen = files if what == "all one series" else rng.sample(files, rng.randint(1, len(files)))
        value = pydicom.dcmread(bases / base / rng.choice(files))[keyword].value
        for file in chosen:
            rewrite(file, lambda data: setattr(data, keyword, value))
    elif what == "one slice moved":
        shift = rng.choice([0.01, 0.3, 1.0, 50.0, -1e6])
        rewrite(
            one,
            lambda data: setattr(
                data, "ImagePositionPatient", [float(v) + shift for v in data.ImagePositionPatient]
            ),
        )
    elif what == "truncated pixels":
        data = (bases / base / one).read_bytes()
        put(place / one, data[: -rng.randint(1, 60)])
        case.accept = NEVER
    elif what == "pixels too long":
        rewrite(one, lambda data: setattr(data, "PixelData", data.PixelData + bytes(64)))
    elif what == "swapped phases":
        other = rng.choice(files)
        put(place / one, (bases / base / other).read_bytes())
    elif what in ("negative length", "undefined length", "huge rows"):
        data = bytearray((bases / base / one).read_bytes())
        at = data.rfind(b"\xe0\x7f\x10\x00") if what != "huge rows" else data.find(b"\x28\x00\x10\x00US")
        if what == "huge rows":
            data[at + 8 : at + 10] = b"\xff\xff"
        else:
            data[at + 8 : at + 12] = b"\xfe\xff\xff\xff" if what == "negative length" else b"\xff\xff\xff\xff"
        put(place / one, bytes(data))
    elif what in ("deep sequences", "long sequences"):
        count = rng.choice([50, 900, 3000])
        data = (bases / base / one).read_bytes()
        at = data.find(b"\x20\x00\x0d\x00UI")
        tag = struct.pack("<HH2sHI", 0x0019, 0x1099, b"SQ", 0, 0xFFFFFFFF)
        item, end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
        close = b"\xfe\xff\xdd\xe0\0\0\0\0"
        if what == "deep sequences":
            extra = (tag + item) * count + (end + close) * count
        else:
            extra = tag + (item + end) * count * 10 + close
        put(place / one, data[:at] + extra + data[at:])
    elif what == "other orientation":
        rewrite(one, lambda data: setattr(data, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]))
    elif what == "half a phase":
        for file in series[len(series) // 2 :]:
            (place / file).unlink()
    return case


# ---------------------------------------------------------------- requests, bundles, manifests


def _pick_request(rng: random.Random, bases: Path) -> dict:
    value = json.loads((bases / "request" / "REQUEST.json").read_text())
    if rng.random() < 0.25:
        size = (bases / "request" / "REQUEST.json").stat().st_size
        return {
            "operations": [],
            "bytes": [damage.damage_bytes(rng, size) for _ in range(rng.choice([1, 3]))],
        }
    return {
        "operations": [damage.damage_json(rng, value) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
        "bytes": [],
    }


def _evil_names() -> list[str]:
    """Names that a damaged request gives its files: a message rightly repeats them."""
    return [
        Path(text).name
        for text in damage.EVIL_JSON
        if isinstance(text, str) and Path(text).name.isprintable() and Path(text).name
    ]


@generator("request", _pick_request, weight=8)
def _request(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, "request", folder)
    value = json.loads((bases / "request" / "REQUEST.json").read_text())
    text = damage.apply_json(value, parameters["operations"]).encode("utf-8", "surrogatepass")
    put(folder / "exam" / "REQUEST.json", damage.apply_bytes(text, parameters["bytes"]))
    return Case(
        "request",
        [folder / "exam" / "REQUEST.json"],
        [*case.names, "node", "REQUEST.json", folder.name, *_evil_names()],
        VALID,
    )


_ARCHITECTURE = {
    "channels": [0, -1, 1, 5, 10**6, 2.5], "width": [0, -1, 2, 4096, 10**9, 1.5, "1"],
    "blocks": [[], [0], [10**6], [1], [1, 1, 1], [-1, 1], ["1", "1"], [[1], [1]]],
    "strides": [[], [0, 2], [-1, 2], [10**6, 1], [1], [1, 2, 3]], "stem_kernel": [0, -1, 2, 8, 10001],
    "stem_stride": [0, -4, 10**9], "stem_pool": [1, "yes", None], "head": ["", "cosine", "mlp", None, []],
    "pooling": ["", "max", "mean", None, {}], "scale": [0, -1, 1e400, "20", float("nan")],
}  # fmt: skip
_CONTRACT = {
    "size": [
        [0, 0, 0], [-1, 40, 24], [10**5, 10**5, 10**5], [48, 40], [48.5, 40, 24], 5, [2048] * 3, [1, 1, 1],
        ["a", 1, 2],
    ],
    "spacing_mm": [0, -1, 1e-9, 1e9, float("nan"), float("inf"), "1.1", None],
    "phases": [0, -1, 5, 10**9, 6.5], "scale_percentile": [-1, 101, float("nan"), "99"],
    "clip": [[1, -1], [0, 0], [float("nan"), 1], [-1], "x", [-1, float("inf")]],
    "mask": [
        5, [], {"unknown": 1}, {"sigmas_mm": []}, {"sigmas_mm": [0]}, {"sigmas_mm": [1e9]}, {"skin_mm": "x"},
        {"smooth_mm": -1}, {"edge_threshold": float("nan")}, {"chest_half_width_mm": 0},
    ],
}  # fmt: skip


def _pick_bundle(rng: random.Random, bases: Path) -> dict:
    card = json.loads((bases / "bundle" / "small.json").read_text())
    what = rng.choice(
        ["card", "card", "settings", "settings", "settings", "weights", "tensors", "tensors", "bytes", "file"]
    )
    parameters: dict = {"what": what, "operations": [], "rehash": True}
    if what == "card":
        parameters["operations"] = [damage.damage_json(rng, card) for _ in range(rng.choice([1, 1, 2]))]
    elif what == "settings":
        group, table = rng.choice([("architecture", _ARCHITECTURE), ("input", _CONTRACT)])
        name = rng.choice(list(table))
        parameters.update(group=group, name=name, value=rng.choice(table[name]))
    elif what in ("weights", "bytes"):
        size = (bases / "bundle" / "small.safetensors").stat().st_size
        parameters["operations"] = [
            damage.damage_bytes(rng, size, rng.choice([8, 2000, None])) for _ in range(rng.choice([1, 2]))
        ]
        parameters["rehash"] = what == "weights"
    elif what == "tensors":
        parameters["tensor"] = rng.choice(
            [
                "length",
                "nesting",
                "shape",
                "dtype",
                "offsets",
                "overlap",
                "huge",
                "nan",
                "missing",
                "more",
                "empty",
                "metadata",
            ]
        )
    else:
        parameters["file"] = rng.choice(
            [
                "../small.safetensors",
                "/dev/zero",
                "",
                ".",
                "missing",
                "pipe",
                "small.json",
                "a/b",
                "..",
                "zero.safetensors",
                "\0",
            ]
        )
    return parameters


def _safetensors(data: bytes, what: str) -> bytes:
    """Weights whose header lies."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    key = next(k for k in header if k != "__metadata__")
    if what == "length":
        return (2**63 - 1).to_bytes(8, "little") + data[8:]
    if what == "nesting":
        text = b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"
        return len(text).to_bytes(8, "little") + text + body
    if what == "shape":
        header[key]["shape"] = [2**40]
    elif what == "dtype":
        header[key]["dtype"] = "F8_E5M2"
    elif what == "offsets":
        header[key]["data_offsets"] = [0, 2**50]
    elif what == "overlap":
        for entry in header.values():
            if "data_offsets" in entry:
                entry["data_offsets"] = header[key]["data_offsets"]
    elif what == "huge":
        header["extra"] = {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [len(body), len(body)]}
    elif what == "nan":
        body = b"\xff" * len(body)
    elif what == "missing":
        header.pop(key)
    elif what == "more":
        header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(body), len(body)]}
    elif what == "empty":
        header, body = {}, b""
    elif what == "metadata":
        header["__metadata__"] = {"a": "b" * 10**6}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@generator("bundle", _pick_bundle, weight=8, needs_torch=True)
def _bundle(parameters: dict, bases: Path, folder: Path) -> Case:
    """Cards and weights that were altered, with a hash that fits where an attacker would have made it fit."""
    place = folder / "model"
    place.mkdir()
    data = (bases / "bundle" / "small.safetensors").read_bytes()
    card = json.loads((bases / "bundle" / "small.json").read_text())
    what = parameters["what"]
    accept = VALID
    if what in ("weights", "bytes"):
        changed = damage.apply_bytes(data, parameters["operations"])
        accept = NEVER if what == "bytes" and changed != data else VALID
        data = changed
    elif what == "tensors":
        data = _safetensors(data, parameters["tensor"])
    elif what == "settings":
        card[parameters["group"]][parameters["name"]] = parameters["value"]
    elif what == "file":
        card["weights"]["file"] = parameters["file"]
        accept = NEVER
        os.mkfifo(place / "pipe")
        (place / "zero.safetensors").symlink_to("/dev/zero")
    if parameters["rehash"]:
        card["weights"].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    text = damage.apply_json(card, parameters["operations"] if what == "card" else [])
    (place / "small.safetensors").write_bytes(data)
    (place / "small.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case("bundle", [place / "small.json"], ["small", "weights"], accept)


_MANIFEST_PATHS = [
    "../secret.nrrd",
    "/etc/passwd",
    "a/../../b.nrrd",
    "C:\\x.nrrd",
    "nowhere.nrrd",
    "",
    "\0",
    "~",
    "exam/../../nrrd/x.nrrd",
    "pipe",
]


def _pick_manifest(rng: random.Random, bases: Path) -> dict:
    what = rng.choice(["path", "path", "bytes", "cell", "columns"])
    return {
        "what": what,
        "path": rng.choice(_MANIFEST_PATHS),
        "cell": [
            rng.randrange(8),
            rng.choice(
                ["", "nan", "-1", "2", "maybe", "1e400", '"', "a,b", "\u202e", "x" * 5000, "[[", "0;0;0"]
            ),
        ],
        "operations": [damage.damage_bytes(rng, 400) for _ in range(rng.choice([1, 2, 5]))],
    }


@generator("manifest", _pick_manifest, weight=3, needs_torch=True)
def _manifest(parameters: dict, bases: Path, folder: Path) -> Case:
    """Lists of exams that name files elsewhere, or are no lists."""
    place = folder / "data"
    place.mkdir()
    for file in files_in(bases / "nrrd"):
        os.symlink(bases / "nrrd" / file, place / file)
    os.mkfifo(place / "pipe")
    columns = ["patient", "exam", "label", "split", "pre", "post", "kind", "times_s"]
    rows = [
        [
            f"p{n}",
            f"e{n}",
            str(n % 2),
            "train",
            "ax dyn pre.nrrd",
            "ax dyn pass 1.nrrd|ax dyn pass 2.nrrd",
            "phases",
            "0|90|180",
        ]
        for n in range(3)
    ]
    what = parameters["what"]
    if what == "path":
        rows[1][4] = parameters["path"]
    elif what == "cell":
        rows[1][parameters["cell"][0]] = parameters["cell"][1]
    elif what == "columns":
        columns = columns[: parameters["cell"][0]]
    import csv
    import io

    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    data = text.getvalue().encode()
    path = place / "manifest.csv"
    path.write_bytes(damage.apply_bytes(data, parameters["operations"]) if what == "bytes" else data)
    accept = NEVER if what == "path" and parameters["path"] not in ("",) else VALID
    return Case("manifest", [path], ["manifest.csv"], accept)
