"""Which transfer syntaxes the node takes: those that the reader decodes without loss."""

from __future__ import annotations

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
from pynetdicom.dsutils import encode_file_meta

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
