"""DICOM objects on disk: telling them from other files, and reading headers so that no bad one does harm."""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ...core.errors import DependencyError
from ..folders import is_dead, is_pointer

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MAX_INFLATED = 256 << 20  # bytes of one deflated object
_BLOCK = 1 << 20
_TAGS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber AcquisitionNumber "
    "InstanceNumber SeriesDescription ProtocolName Modality ImageType Rows Columns "
    "ImageOrientationPatient ImagePositionPatient PixelSpacing AcquisitionDateTime AcquisitionDate "
    "AcquisitionTime ContentDate ContentTime SeriesDate SeriesTime TriggerTime TemporalPositionIdentifier "
    "TemporalResolution ScanOptions EchoTime RepetitionTime InversionTime ScanningSequence "
    "DiffusionBValue ContrastBolusAgent ContrastBolusStartTime BitsAllocated BitsStored HighBit "
    "PixelRepresentation RescaleSlope RescaleIntercept SamplesPerPixel PhotometricInterpretation "
    "NumberOfFrames Manufacturer MagneticFieldStrength FlipAngle FrameOfReferenceUID PatientID "
    "NumberOfTemporalPositions SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()
# Philips' scale slope is (2005,xx0E) in the block that its creator claims; in Enhanced objects in (2005,140F)
PHILIPS_GROUP, PHILIPS_CREATOR, PHILIPS_FRAME = 0x2005, b"Philips MR Imaging DD 001", 0x2005140F
_SCALE_SLOPE = 0x0E
_PHILIPS_BLOCKS = range(0x10, 0x18)


def is_dicom(path: Path) -> bool:
    """True for a DICOM file, also an old one without the 128-byte preamble."""
    return why_no_dicom(path) == ""


def why_no_dicom(path: Path) -> str:
    """What a file is instead of DICOM.

    Parameters
    ----------
    path
        Of a file or link.

    Returns
    -------
    str
        "" for a DICOM file; "missing" for a link to nothing and for the stand-in of a file that was not
        fetched; "unreadable"; "empty"; "other" for any other file.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return "missing" if is_dead(path) else "unreadable"
    if not head:
        return "empty"
    # without preamble: the first element is of group 2 (file meta) or 8 (identification), its number small
    bare = head[:2] in (b"\x02\x00", b"\x08\x00") and len(head) == 132 and head[2] <= 0x18 and head[3] == 0
    if head[128:] == b"DICM" or bare:
        return ""
    return "missing" if is_pointer(path) else "other"


@contextmanager
def quiet_pydicom():
    """No warnings about odd but harmless values: a user can do nothing about them."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@cache
def _tags() -> list:
    """The elements read, as pydicom's tags: it would look up each keyword anew for every file."""
    from pydicom.tag import Tag

    private = [PHILIPS_FRAME]
    for block in _PHILIPS_BLOCKS:
        private += [PHILIPS_GROUP << 16 | block, PHILIPS_GROUP << 16 | block << 8 | _SCALE_SLOPE]
    return [Tag(tag) for tag in (*_TAGS, *private)]


def read_header(path: Path) -> tuple:
    """pydicom's dataset up to the pixels, and where these begin."""
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError(
            "Reading DICOM needs pydicom, which is not installed; install it with: pip install pydicom"
        ) from error

    with open(path, "rb") as file:
        if _DEFLATED in file.read(2048):
            _refuse_inflation(file)
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_tags())
        return dataset, file.tell()


def _refuse_inflation(file) -> None:
    """Unpack a deflated object, keeping nothing, and raise ValueError where it would fill the memory.

    The stream follows the file meta information, whose length stands behind the prefix.
    """
    file.seek(132)
    meta = file.read(12)
    if meta[:4] != b"\x02\x00\x00\x00":
        raise ValueError("a deflated object without the length of its meta information")
    file.seek(144 + int.from_bytes(meta[8:12], "little"))
    unpacker, pending, count = zlib.decompressobj(-zlib.MAX_WBITS), b"", 0
    while not unpacker.eof and (pending := pending or file.read(_BLOCK)):
        count += len(unpacker.decompress(pending, _BLOCK))
        pending = unpacker.unconsumed_tail
        if count > _MAX_INFLATED:
            raise ValueError("a deflated object of impossible size")


def philips_scale(dataset) -> float | None:
    """Philips' scale slope of an image or frame, None where there is none.

    Parameters
    ----------
    dataset
        pydicom's, of the object, or the functional groups of a frame.

    Returns
    -------
    float or None
        SS of FP = DV / (RS · SS), where DV are rescaled values and FP those that images share.
    """
    frame = dataset.get(PHILIPS_FRAME)
    if frame is not None and frame.value:
        return philips_scale(frame.value[0])
    for block in _PHILIPS_BLOCKS:
        creator = dataset.get_item(PHILIPS_GROUP << 16 | block)
        if creator is None or _bytes(creator.value).strip(b"\0 ") != PHILIPS_CREATOR:
            continue
        slope = dataset.get_item(PHILIPS_GROUP << 16 | block << 8 | _SCALE_SLOPE)
        value = None if slope is None else slope.value
        if isinstance(value, bytes) and len(value) == 4:
            little_endian = getattr(slope, "is_little_endian", True)
            value = struct.unpack("<f" if little_endian else ">f", value)[0]
        with suppress(TypeError, ValueError):
            return float(value) if math.isfinite(float(value)) and float(value) > 0 else None
    return None


def _bytes(value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def transfer_syntax(dataset) -> str:
    """From the file meta information, else as pydicom has read it."""
    if hasattr(dataset, "original_encoding"):
        implicit, little_endian = dataset.original_encoding
    else:  # pydicom 2, which Slicer 5.10 has
        implicit, little_endian = dataset.read_implicit_vr, dataset.read_little_endian
    as_read = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little_endian else EXPLICIT_BIG
    return str(getattr(dataset.file_meta, "TransferSyntaxUID", as_read))
