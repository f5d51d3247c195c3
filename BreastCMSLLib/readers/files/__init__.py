"""From volume files to an exam: what each file is, by its name, folder and header, and then its voxels."""

from .exam import load_files
from .plan import FilePlan, plan_files

__all__ = ["FilePlan", "load_files", "plan_files"]
