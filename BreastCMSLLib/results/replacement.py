"""New files take the place of a folder's earlier ones: the old or the new are there, never a mixture.

New files are made in a private folder (:func:`private_folder`) and put in place by :func:`put_in_place`, in
one step where the file system has one. Else the files change places one by one, and :func:`recover` undoes
what a killed process left half done. ``names`` are the files that belong together, the first of them the one
that readers look for: it goes first and comes last, so that a folder that has it is whole at any time.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_MARK = "breastcmsl"
_DAY_S = 86400.0
_EARLIER, _MOVES = "earlier", "moving.json"  # in a private folder, while files change places


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user may enter, on the disk of ``folder``: beside it, or else inside it.

    Its name tells machine and process, so that what a killed process left can be told from what another is
    writing.

    Parameters
    ----------
    folder : Path
        The output; it need not exist.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        No folder can be made there.
    """
    label = f"{_MARK}-{_host()}-{os.getpid()}-"
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(target):
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.{label}", dir=target.parent))
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{label}", dir=folder))


def put_in_place(new: Path, folder: Path, names: Sequence[str]) -> None:
    """Let the files of a finished folder take the place of those of ``folder``, whose other files stay.

    Parameters
    ----------
    new : Path
        A folder in a private folder.
    folder : Path
        The output.
    names : sequence of str
        All files that belong together, whether they are there or not.

    Raises
    ------
    OSError
        The files cannot be moved; then the earlier ones are back.
    """
    target = Path(os.path.realpath(folder))
    beside = new.parent.parent == target.parent
    if beside and not target.exists():
        os.rename(new, target)
        return
    # a shell that stands in the old folder would be left in a folder that is gone
    if not (beside and not _is_working_folder(target) and _exchange_folders(new, target, names)):
        _exchange_files(new, target, names)


def recover(folder: Path, names: Sequence[str]) -> None:
    """Clear away what killed processes left beside or in an output; half-exchanged files become the old ones.

    Parameters
    ----------
    folder : Path
        The output; it need not exist.
    names : sequence of str
        See :func:`put_in_place`.
    """
    target = Path(os.path.realpath(folder))
    beside = target.parent.glob(f".{glob.escape(target.name[:100])}.{_MARK}-*")
    for private in [*beside, *target.glob(f".{_MARK}-*")]:
        if private.is_dir() and _is_abandoned(private):
            if not (target / names[0]).exists():
                with suppress(OSError):
                    _roll_back(private, target, names)
            shutil.rmtree(private, ignore_errors=True)


# ---------------------------------------------------------------- in one step


def _is_working_folder(target: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(os.curdir, target)
    return False


def _exchange_folders(new: Path, target: Path, names: Sequence[str]) -> bool:
    """False, and nothing has changed, where folders cannot be swapped or the old one has folders in it."""
    links: list[Path] = []
    try:
        for (
            entry
        ) in target.iterdir():  # the files that are not ours stay: they are in both folders for a moment
            if entry.name in names:
                continue
            if entry.is_dir() and not entry.is_symlink():
                raise OSError(errno.EISDIR, "a folder cannot be in two places")
            os.link(entry, new / entry.name, follow_symlinks=False)
            links.append(new / entry.name)
        shutil.copystat(target, new)
        with suppress(PermissionError):  # only root may give folders away
            os.chown(new, target.stat().st_uid, target.stat().st_gid)
        _swap(new, target)
    except (OSError, NotImplementedError, AttributeError):
        for link in links:
            link.unlink(missing_ok=True)
        return False
    for entry in new.iterdir():  # now the old folder: what came into it meanwhile is not ours to delete
        if entry.name not in names and not os.path.lexists(target / entry.name):
            with suppress(OSError):
                os.replace(entry, target / entry.name)
    return True


def _swap(a: Path, b: Path) -> None:
    """Exchange two folders in one step.

    Raises OSError, NotImplementedError or AttributeError where there is no such step.
    """
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if sys.platform == "darwin":
        failed = library.renamex_np(os.fsencode(a), os.fsencode(b), 2)
    elif sys.platform == "linux":
        failed = library.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2)
    else:
        raise NotImplementedError
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


# ---------------------------------------------------------------- file by file


def _exchange_files(new: Path, target: Path, names: Sequence[str]) -> None:
    """Move the earlier files aside and the new ones in; on failure the earlier ones return."""
    private = new.parent
    aside = private / _EARLIER
    aside.mkdir()
    leaving = [name for name in names if (target / name).exists()]
    coming = [path.name for path in new.iterdir()]
    leaving.sort(key=lambda name: name != names[0])
    coming.sort(key=lambda name: name == names[0])
    (private / _MOVES).write_text(json.dumps({"old": leaving, "new": coming}), encoding="utf-8")
    try:
        for name in leaving:
            os.replace(target / name, aside / name)
        for name in coming:
            os.replace(new / name, target / name)
    except BaseException:
        _roll_back(private, target, names)
        raise


def _roll_back(private: Path, target: Path, names: Sequence[str]) -> None:
    """Bring the earlier files back that an exchange had moved aside."""
    try:
        moves = json.loads((private / _MOVES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in names:
        if name in moves["new"] and name not in moves["old"]:
            (target / name).unlink(missing_ok=True)
    for name in reversed([name for name in moves["old"] if name in names]):
        if (private / _EARLIER / name).exists():
            os.replace(private / _EARLIER / name, target / name)


# ---------------------------------------------------------------- whose private folder


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_abandoned(private: Path) -> bool:
    """True when the process that made the folder has ended; for other machines, when it is a day old."""
    host, _, rest = private.name.rpartition(f"{_MARK}-")[2].partition("-")
    process = rest.partition("-")[0]
    try:
        if time.time() - private.stat().st_mtime > _DAY_S:
            return True
    except OSError:
        return False
    if host != _host() or not process.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
