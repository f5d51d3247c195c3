"""DICOM objects on disk: telling them from other files, and reading headers so that no bad one does harm."""

from __future__ import annotations

import logging
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

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
    "DiffusionBValue ContrastBolusAgent BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope "
    "RescaleIntercept SamplesPerPixel PhotometricInterpretation NumberOfFrames Manufacturer "
    "MagneticFieldStrength SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()


def is_dicom(path: Path) -> bool:
    """True for a DICOM file, also an old one without the 128-byte preamble."""
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    if len(head) < 132:
        return False
    # without preamble: the first element is of group 2 (file meta) or 8 (identification), its number small
    bare = head[:2] in (b"\x02\x00", b"\x08\x00") and head[2] <= 0x18 and head[3] == 0
    return head[128:] == b"DICM" or bare


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


def read_header(path: Path) -> tuple:
    """pydicom's dataset up to the pixels, and where these begin."""
    import pydicom

    with open(path, "rb") as file:
        if _DEFLATED in file.read(2048):
            _refuse_inflation(file)
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
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


def transfer_syntax(dataset) -> str:
    """From the file meta information, else as pydicom has read it."""
    implicit, little_endian = dataset.original_encoding
    as_read = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little_endian else EXPLICIT_BIG
    return str(getattr(dataset.file_meta, "TransferSyntaxUID", as_read))
