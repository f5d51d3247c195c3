"""A volume file's header checked against its data."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...core.text import one_line
from ..folders import check_regular, is_pointer
from .data import check_size, unpack
from .header import Header
from .metaimage import metaimage_header
from .nifti import nifti_header
from .nrrd import nrrd_header


def check_header(path: Path) -> Header:
    """Read and check a volume file's header alone.

    Parameters
    ----------
    path
        A NRRD, NIfTI or MetaImage file.

    Returns
    -------
    Header
        Tells nothing impossible; whether packed voxels are whole is not known.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    with _named(path):
        check_regular(path)
        if is_pointer(path):
            raise InputError(
                f"{path.name} is only a pointer of git-annex or Git LFS, its content is not here; "
                "fetch it (git annex get, git lfs pull)."
            )
        name = path.name.lower()
        if name.endswith((".nrrd", ".nhdr")):
            header = nrrd_header(path)
        elif name.endswith((".nii", ".nii.gz")):
            header = nifti_header(path)
        else:
            header = metaimage_header(path)
        check_size(path, header)
        return header


def check_file(path: Path) -> Header:
    """Read and check a volume file's header, and that its voxels are all there.

    Parameters
    ----------
    path
        A NRRD, NIfTI or MetaImage file.

    Returns
    -------
    Header
        Tells nothing impossible.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    header = check_header(path)
    with _named(path):
        unpack(path, header, keep=False)
    return header


def unpacked_voxels(path: Path) -> np.ndarray | None:
    """Check a file as :func:`check_file` does, and keep what had to be unpacked for that.

    Parameters
    ----------
    path
        A NRRD, NIfTI or MetaImage file.

    Returns
    -------
    ndarray or None
        The voxels in the file's order of axes; None where ``Header.voxel`` is: they are still to be read.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    header = check_header(path)
    with _named(path):
        return unpack(path, header, keep=True)


@contextmanager
def _named(path: Path):
    """What the system says of a file as a sentence that names it."""
    try:
        yield
    except OSError as error:
        reason = one_line(error.strerror or type(error).__name__)
        raise InputError(f"{path.name} cannot be read ({reason}); copy it again.") from error
