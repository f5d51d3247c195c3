"""The files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError

MAX_FILES = 100_000  # below one folder: more is an archive, or a link out of the exam


def walk_files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder in a stable order; links are followed once, hidden files are skipped.

    Parameters
    ----------
    folder
        Where to begin.

    Yields
    ------
    Path
        Folder by folder, sorted by name.

    Raises
    ------
    InputError
        At more than ``MAX_FILES``.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for root, folders, names in os.walk(folder, followlinks=True):
        try:
            status = os.stat(root)
        except OSError:
            folders.clear()
            continue
        if status.st_ino and (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                count += 1
                if count > MAX_FILES:
                    raise InputError(
                        f"{folder} holds more than {MAX_FILES} files; choose the folder of one exam."
                    )
                yield path
