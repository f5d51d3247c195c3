"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import os

_BLOCK_BYTES = 1 << 20


def sha256_of(*paths: str | os.PathLike) -> str:
    """SHA-256 of the bytes of one file, or of several, one after another.

    Parameters
    ----------
    *paths
        The files, read in blocks.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        When a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
