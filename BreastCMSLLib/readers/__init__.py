"""Reading exams from disk: a DICOM folder, or NRRD, NIfTI and MHA files."""

from .inputs import plan, read, read_t1
from .options import ReadOptions
from .request import read_options, read_request

__all__ = ["ReadOptions", "plan", "read", "read_options", "read_request", "read_t1"]
