"""Every field that a header may hold, with a value of extreme length, or one that is none."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

from .. import damage
from ..cases import VALID, Case, exam_of_files, files_in, generator, original, put

# all that ITK's parsers look for, whether our own need it or not
NRRD_FIELDS = (
    "content,number,type,block size,blocksize,dimension,space,space dimension,sizes,spacings,thicknesses,"
    "axis mins,axis maxs,axismins,axismaxs,centers,centerings,labels,units,kinds,min,max,old min,old max,"
    "oldmin,oldmax,endian,encoding,line skip,lineskip,byte skip,byteskip,data file,datafile,sample units,"
    "sampleunits,space units,space origin,space directions,measurement frame,no such field"
).split(",")
MHA_FIELDS = (
    "Comment,ObjectType,ObjectSubType,TransformType,NDims,Name,ID,ParentID,AcquisitionDate,CompressedData,"
    "CompressedDataSize,CompressionLevel,BinaryData,ElementByteOrderMSB,BinaryDataByteOrderMSB,Color,Position,"
    "Origin,Offset,TransformMatrix,Rotation,Orientation,CenterOfRotation,DistanceUnits,AnatomicalOrientation,"
    "ElementSpacing,DimSize,HeaderSize,Modality,SequenceID,ElementMin,ElementMax,ElementNumberOfChannels,"
    "ElementSize,ElementNBits,ElementToIntensityFunctionSlope,ElementToIntensityFunctionOffset,ElementType,"
    "ElementDataFile,NoSuchField"
).split(",")
FIELDS = {"nrrd": NRRD_FIELDS, "mha": MHA_FIELDS}
BASES = {"nrrd": ["nrrd", "nrrd-gz", "nhdr", "4d-nrrd"], "mha": ["mha", "mha-z", "mhd"]}
LENGTHS = [200, 511, 513, 900, 1023, 1025, 1100, 2048, 4097, 9000, 33000, 70000, 300000]
PATTERNS = [
    "A",
    "9",
    "1 ",
    "-1 ",
    '"',
    '"x" ',
    "(",
    "(1,0,0) ",
    "none ",
    "%s%n",
    "\u00e9",
    "\\",
    ",",
    "nan ",
    "1e",
]


def _value(rng: random.Random) -> list:
    """[pattern, characters] of a long value, or [a short one that means nothing, 0]."""
    if rng.random() < 0.75:
        return [rng.choice(PATTERNS), rng.choice(LENGTHS)]
    return [rng.choice([*damage.WORDS, "middle", "???", "cell node up", "-1", "17", "0 0 0"]), 0]


def _text(value: list) -> str:
    pattern, length = value
    return (pattern * (length // len(pattern) + 1))[:length] if length else pattern


def _pick_text(rng: random.Random, bases: Path) -> dict:
    kind = rng.choice(list(FIELDS))
    base = rng.choice(BASES[kind])
    file = rng.choice([f for f in files_in(bases / base) if not f.endswith(("raw", "raw.gz"))])
    fields = [[rng.choice(FIELDS[kind]), _value(rng)] for _ in range(rng.choice([1, 1, 1, 2, 5]))]
    return {"base": base, "kind": kind, "file": file, "fields": fields, "after_key": rng.random() < 0.2}


@generator("header-extremes", _pick_text, weight=14)
def _extremes(parameters: dict, bases: Path, folder: Path) -> Case:
    """NRRD and MetaImage; sometimes as NRRD's pairs of key and value, which end in ``:=``."""
    case = exam_of_files(bases, parameters["base"], folder)
    fields = [(name, _text(value)) for name, value in parameters["fields"]]
    if parameters["after_key"] and parameters["kind"] == "nrrd":
        fields = [(name, f"={text}") for name, text in fields]
    operations = [["field", name, text] for name, text in fields]
    data = damage.apply_text(original(parameters, bases), parameters["kind"], operations)
    put(folder / "exam" / parameters["file"], data)
    return case


# name → offset and length of a text, which need not end in a zero
_NIFTI_TEXTS = {"data_type": (4, 10), "db_name": (14, 18), "descrip": (148, 80), "aux_file": (228, 24)}
_NIFTI_TEXTS["intent_name"] = (328, 16)
# name → offset and struct format of a number that our reader has no need of
_NIFTI_NUMBERS = {
    "extents": (32, "<i"), "session_error": (36, "<h"), "regular": (38, "<B"), "dim_info": (39, "<B"),
    "intent_p1": (56, "<f"), "intent_code": (68, "<h"), "slice_start": (74, "<h"), "slice_end": (120, "<h"),
    "slice_code": (122, "<B"), "xyzt_units": (123, "<B"), "cal_max": (124, "<f"), "cal_min": (128, "<f"),
    "slice_duration": (132, "<f"), "toffset": (136, "<f"), "glmax": (140, "<i"), "glmin": (144, "<i"),
    "qform_code": (252, "<h"), "sform_code": (254, "<h"),
}  # fmt: skip


def _pick_nifti(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(["nii", "nii-gz", "4d-nii"])
    numbers = [[rng.choice(list(_NIFTI_NUMBERS)), rng.choice([-1, 0, 1, 7, 127, 255, 999, 2**31 - 1])]]
    return {
        "base": base,
        "file": rng.choice(files_in(bases / base)),
        "texts": [[rng.choice(list(_NIFTI_TEXTS)), rng.choice([0x41, 0xFF, 0x25, 0])] for _ in range(2)],
        "numbers": numbers * rng.choice([0, 1, 1]),
        # size and code of an extension that follows the header, and whether voxels begin after it
        "extension": rng.choice([None, [0, 4], [8, 6], [15, 4], [2**31 - 1, 44], [-16, 4], [1 << 20, 6]]),
        "moved": rng.random() < 0.5,
    }


@generator("nifti-extremes", _pick_nifti, weight=6)
def _nifti_extremes(parameters: dict, bases: Path, folder: Path) -> Case:
    """Texts without an end, numbers that are no enumeration, extensions whose size lies."""
    case = exam_of_files(bases, parameters["base"], folder, VALID)
    data = original(parameters, bases)
    packed = parameters["base"] != "nii"
    head = bytearray(gzip.decompress(data) if packed else data)
    for name, byte in parameters["texts"]:
        offset, length = _NIFTI_TEXTS[name]
        head[offset : offset + length] = bytes([byte]) * length
    for name, number in parameters["numbers"]:
        offset, form = _NIFTI_NUMBERS[name]
        size = struct.calcsize(form)
        value = struct.pack("<f", number) if form == "<f" else (number % 256**size).to_bytes(size, "little")
        head[offset : offset + size] = value
    if parameters["extension"]:
        head[348:352] = b"\1\0\0\0"
        head[352:352] = struct.pack("<ii", *parameters["extension"]) + bytes(24)
        if parameters["moved"]:
            struct.pack_into("<f", head, 108, 352 + 32)
    put(folder / "exam" / parameters["file"], gzip.compress(bytes(head), 1) if packed else bytes(head))
    return case


def _pick_members(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(["nii-gz", "nrrd-gz"])
    return {
        "base": base,
        "file": rng.choice(files_in(bases / base)),
        "members": rng.choice([1, 100, 5000, 50000, 300000]),
        "where": rng.choice(["before", "after", "within"]),
    }


@generator("gzip-members", _pick_members, weight=2)
def _members(parameters: dict, bases: Path, folder: Path) -> Case:
    """A packed file with thousands of empty gzip members before, after or amid the voxels."""
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    start = data.index(b"\n\n") + 2 if parameters["base"] == "nrrd-gz" else 0
    head, whole = data[:start], gzip.decompress(data[start:])
    empty = gzip.compress(b"") * parameters["members"]
    half = len(whole) // 2
    parts = {
        "before": [empty, gzip.compress(whole)],
        "after": [gzip.compress(whole), empty],
        "within": [gzip.compress(whole[:half]), empty, gzip.compress(whole[half:])],
    }[parameters["where"]]
    put(folder / "exam" / parameters["file"], head + b"".join(parts))
    return case
