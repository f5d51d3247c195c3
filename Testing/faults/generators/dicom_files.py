"""DICOM files with damaged bytes, or elements that cannot be."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

from .. import damage
from ..cases import Case, exam_of_dicom, files_in, generator, put

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
