"""Of which study a DICOM file is, and which object: from its header, whatever its bytes are."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple


class Identifiers(NamedTuple):
    """Of a DICOM object, as they stand in its file; "" where one is missing.

    Parameters
    ----------
    study, image, kind : str
        StudyInstanceUID, SOPInstanceUID and SOPClassUID.
    """

    study: str
    image: str
    kind: str


def read_identifiers(file: str | BinaryIO) -> Identifiers:
    """Those of a file.

    Parameters
    ----------
    file : str or file
        A path, or a file that is open for reading.

    Returns
    -------
    Identifiers
        All "" for a file that is damaged or no DICOM file.
    """
    from pydicom import dcmread

    from ..readers.dicom.objects import quiet_pydicom

    tags = ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"]
    try:
        with quiet_pydicom():
            data = dcmread(file, stop_before_pixels=True, specific_tags=tags)
            return Identifiers(*(str(data.get(tag) or "").strip("\0 ") for tag in tags))
    except Exception:  # pydicom's parsers raise whatever damaged bytes lead them to
        return Identifiers("", "", "")
