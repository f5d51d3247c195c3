"""Which objects the node takes: MR images, in the transfer syntaxes that the reader decodes without loss."""

from __future__ import annotations

import io
import zlib

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, register_uid
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from ..batch.identifiers import Identifiers, read_identifiers

IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
# of scanners' makers, as their conformance statements name them; they come with MR studies
_PRIVATE = {
    "1.3.12.2.1107.5.9.1": "SiemensCSANonImageStorage",
    "1.3.46.670589.11.0.0.12.1": "PhilipsPrivateMRSpectrumStorage",
    "1.3.46.670589.11.0.0.12.2": "PhilipsPrivateMRSeriesDataStorage",
    "1.3.46.670589.11.0.0.12.4": "PhilipsPrivateMRExamcardStorage",
}


def add_contexts(entity: AE) -> None:
    """Let callers send images, and whatever else a study holds.

    Many archives send a study as a whole, and break off where an object of it is not wanted.

    Parameters
    ----------
    entity : pynetdicom.AE
    """
    others = {str(context.abstract_syntax) for context in AllStoragePresentationContexts} - set(IMAGES)
    for uid, name in _PRIVATE.items():
        register_uid(uid, name, StorageServiceClass)
    for image in IMAGES:
        entity.add_supported_context(image, list(TRANSFER_SYNTAXES))
    for other in sorted(others | set(_PRIVATE)):
        entity.add_supported_context(other, ALL_TRANSFER_SYNTAXES)


def file_content(event, largest: float) -> bytes | None:
    """The DICOM file of an object that a caller sends.

    A deflated object is kept inflated: a small one may be gigabytes, and a file's reader should not be the
    one who finds out.

    Parameters
    ----------
    event : pynetdicom.events.Event
        Of C-STORE.
    largest : float
        Bytes of an object.

    Returns
    -------
    bytes or None
        None: it is damaged, or larger.
    """
    if event.request.DataSet is None:
        return None
    meta = event.file_meta
    if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        return event.encoded_dataset()
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(event.encoded_dataset(include_meta=False), int(largest))
    except zlib.error:
        return None
    if not unpacker.eof:
        return None
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return b"\0" * 128 + b"DICM" + encode_file_meta(meta) + content


def identifiers(content: bytes) -> Identifiers | None:
    """Those of a DICOM file; None where one of them is missing or is none."""
    uids = read_identifiers(io.BytesIO(content))
    return uids if all(0 < len(uid) <= 64 and set(uid) <= set("0123456789.") for uid in uids) else None
