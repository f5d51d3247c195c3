"""The files below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError

MAX_FILES = 100_000  # below one folder: more is an archive, or a link out of the exam
_POINTERS = (b"/annex/objects/", b"version https://git-lfs", b"../.git/annex/", b".git/annex/")
_LARGEST_POINTER = 1024  # bytes


def walk_files(folder: Path) -> Iterator[Path]:
    """Every regular file and every dead link below a folder in a stable order; hidden ones are skipped.

    Links to folders are followed once. A folder that may not be read stands for what lies in it.

    Parameters
    ----------
    folder
        Where to begin.

    Yields
    ------
    Path
        Folder by folder, sorted by name; :func:`is_dead` tells links to nothing.

    Raises
    ------
    InputError
        At more than ``MAX_FILES``.
    """
    return _walk(folder, hidden=False)


def hidden_files(folder: Path) -> Iterator[Path]:
    """What :func:`walk_files` skips: files whose name, or a folder's on the way to them, is hidden.

    Parameters
    ----------
    folder
        Where to begin.

    Yields
    ------
    Path
        Regular files and dead links.
    """
    return _walk(folder, hidden=True)


def _walk(folder: Path, hidden: bool) -> Iterator[Path]:
    """The visible or the hidden files below a folder."""
    seen: set[tuple[int, int]] = set()
    below_hidden: set[str] = set()
    count = 0
    closed: list[OSError] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=closed.append):
        try:
            status = os.stat(root)
        except OSError:
            folders.clear()
            continue
        if status.st_ino and (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside = root in below_hidden
        if hidden:
            below_hidden.update(os.path.join(root, name) for name in folders if inside or _is_hidden(name))
        else:
            folders[:] = [name for name in folders if not _is_hidden(name)]
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if (inside or _is_hidden(name)) == hidden and _is_file_or_dead(path):
                count += 1
                if count > MAX_FILES:
                    raise InputError(
                        f"{folder} holds more than {MAX_FILES} files; choose the folder of one exam."
                    )
                yield path
    for error in closed:
        if (str(error.filename) in below_hidden) == hidden:
            yield Path(error.filename)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _is_file_or_dead(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def is_dead(path: Path) -> bool:
    """Whether a path is a link to nothing, as git-annex leaves where content was not fetched.

    Parameters
    ----------
    path
        Of a file.

    Returns
    -------
    bool
        True as well for links in a circle.
    """
    return path.is_symlink() and not os.path.exists(path)


def check_regular(path: Path) -> None:
    """Refuse what could keep its reader waiting.

    Parameters
    ----------
    path
        Of something that is no folder.

    Raises
    ------
    InputError
        A pipe, socket or device.
    """
    if not _is_file_or_dead(path):
        raise InputError(f"{path} is a pipe, socket or device, not a file; save its content in a file.")


def is_pointer(path: Path) -> bool:
    """Whether a file only says where git-annex or Git LFS keep its content.

    Parameters
    ----------
    path
        Of a file.

    Returns
    -------
    bool
        False where it cannot be read.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_POINTER:
            return False
        with open(path, "rb") as file:
            return file.read(64).startswith(_POINTERS)
    except OSError:
        return False
