"""A T1 that a user names is no phase as well."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..exam import Exam

_STEP = 7  # voxels: volumes that differ mostly differ in such a sample


def same_file(path: Path | str, other: Path | str) -> bool:
    """Whether two paths lead to one file.

    Parameters
    ----------
    path, other
        Of files.

    Returns
    -------
    bool
        True as well for links, hard links, and names that differ in how letters are composed alone.
    """
    if _composed(path) == _composed(other):
        return True
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _composed(path: Path | str) -> str:
    return unicodedata.normalize("NFC", os.path.abspath(path))


def check_t1_is_no_phase(exam: Exam) -> None:
    """Refuse an exam whose T1 has the voxels of a phase.

    Parameters
    ----------
    exam
        Its T1 was named by the user.

    Raises
    ------
    InputError
        One sentence that names both.
    """
    if exam.t1 is None:
        return
    t1 = exam.t1.volume.array
    sample = (slice(None, None, _STEP),) * 3
    for phase in exam.phases:
        array = phase.volume.array
        same_shape = array.shape == t1.shape
        if same_shape and np.array_equal(array[sample], t1[sample]) and np.array_equal(array, t1):
            raise InputError(
                f"{exam.t1.name} is named as the T1, but holds the same voxels as the phase {phase.name}; "
                "name another T1, or none."
            )
