"""From DICOM files to an exam: which images form volumes, which of these are the phases and the T1."""

from .exam import find_dynamics, load_dicom, read_dicom_volume
from .objects import is_dicom
from .plan import DicomPlan, plan_dicom
from .stacks import Stack

__all__ = [
    "DicomPlan",
    "Stack",
    "find_dynamics",
    "is_dicom",
    "load_dicom",
    "plan_dicom",
    "read_dicom_volume",
]
