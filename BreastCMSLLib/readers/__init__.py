"""Reading exams from disk: a DICOM folder, or NRRD, NIfTI and MHA files."""

from .inputs import read, read_t1
from .request import read_options, read_request

__all__ = ["read", "read_options", "read_request", "read_t1"]
