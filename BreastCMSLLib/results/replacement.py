"""New files take the place of a folder's earlier ones: the old or the new are there, never a mixture.

New files are made in a private folder (:func:`private_folder`) and put in place by :func:`put_in_place`, in
one step where the file system has one. Else the files change places one by one, and :func:`recover` undoes
what a killed process left half done. ``names`` are the files that belong together, the first of them the one
that readers look for: it goes first and comes last, so that a folder that has it is whole at any time.
Whoever changes a folder does so within :func:`exclusive`.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.processes import MARK, is_abandoned, make_folder, release
from .locks import lock

_EARLIER, _MOVES = "earlier", "moving.json"  # in a private folder, while files change places
_PATIENCE_S = 10.0  # an exchange takes milliseconds


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user may enter, on the disk of ``folder``: beside it, or else inside it.

    Its name tells machine and process, so that what a killed process left can be told from what another is
    writing. In the end :func:`discard` takes it.

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
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(target):
        with suppress(OSError):
            return make_folder(target.parent, f".{target.name[:100]}.")
    folder.mkdir(exist_ok=True)
    return make_folder(folder, ".")


def discard(private: Path) -> None:
    """Remove a private folder, unless earlier files are in it that could not be brought back.

    Then it stays, for :func:`recover` to bring them back.

    Parameters
    ----------
    private : Path
        Of :func:`private_folder`.
    """
    release(private)
    if not _holds_earlier_files(private):
        shutil.rmtree(private, ignore_errors=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Within, no other process changes the folder, where the system has locks for folders (Linux, macOS).

    Parameters
    ----------
    folder : Path
        The output; it need not exist.

    Raises
    ------
    OSError
        EBUSY, when another process does not come to an end.
    """
    try:
        descriptor = os.open(os.path.dirname(os.path.realpath(folder)), os.O_RDONLY)
    except OSError:  # Windows opens no folder
        yield
        return
    try:
        limit = time.monotonic() + _PATIENCE_S
        while not lock(descriptor):
            if time.monotonic() > limit:
                raise OSError(errno.EBUSY, "another run is writing there")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def put_in_place(new: Path, folder: Path, names: Sequence[str]) -> None:
    """Let the files of a finished folder take the place of the earlier ones, and keep all others.

    Parameters
    ----------
    new : Path
        A folder in a private folder.
    folder : Path
        The output.
    names : sequence of str
        The earlier files, which go, whether they are there or not.

    Raises
    ------
    OSError
        The files cannot be moved, or a file that stays has the name of a new one. Then the earlier ones are
        back; where they could not be brought back, the message says where they are.
    """
    target = Path(os.path.realpath(folder))
    beside = new.parent.parent == target.parent
    if beside and not target.exists():
        os.rename(new, target)
        return
    _refuse_others(new, target, names)
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
        All files that may belong together.

    Raises
    ------
    OSError
        Earlier files cannot be brought back; nothing is lost.
    """
    target = Path(os.path.realpath(folder))
    beside = target.parent.glob(f".{glob.escape(target.name[:100])}.{MARK}-*")
    privates = [private for private in [*beside, *target.glob(f".{MARK}-*")] if is_abandoned(private)]
    if not privates:
        return
    with exclusive(folder):
        for private in privates:
            if not (target / names[0]).exists():
                _roll_back(private, target, names)
            shutil.rmtree(private, ignore_errors=True)


def _refuse_others(new: Path, target: Path, names: Sequence[str]) -> None:
    for path in new.iterdir():
        if path.name not in names and os.path.lexists(target / path.name):
            raise FileExistsError(errno.EEXIST, f"{path.name} is there already")


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
    moves = {"old": leaving, "new": coming, "made_in": new.name}
    (private / _MOVES).write_text(json.dumps(moves), encoding="utf-8")
    try:
        for name in leaving:
            os.replace(target / name, aside / name)
        for name in coming:
            os.replace(new / name, target / name)
    except BaseException:
        _roll_back(private, target, [*names, *coming])
        raise
    (private / _MOVES).unlink(missing_ok=True)  # from now on the earlier files are superseded


def _roll_back(private: Path, target: Path, names: Sequence[str]) -> None:
    """Bring the earlier files back that an exchange had moved aside, each of which that can be brought back.

    The first of ``names`` comes last, and only when all others are back. Raises OSError when some are not.
    """
    try:
        moves = json.loads((private / _MOVES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    made_in, aside = private / Path(moves.get("made_in", "new")).name, private / _EARLIER
    old, coming = ([name for name in moves[key] if name in names] for key in ("old", "new"))
    came = [name for name in coming if name not in old and not (made_in / name).exists()]
    back = [(target / name, made_in / name) for name in came]
    back += [(aside / name, target / name) for name in reversed(old)]
    failure = None
    for source, place in back:
        if not source.exists():
            continue
        if source.name == names[0] and failure is not None:
            break
        try:
            os.replace(source, place)
        except BaseException as error:  # a signal too: the others are brought back all the same
            failure = error
    if failure is not None:
        reason = getattr(failure, "strerror", None) or type(failure).__name__
        raise OSError(
            errno.EIO,
            f"{reason}; some of the earlier results are in {private}, and the next run brings them back",
        ) from failure


def _holds_earlier_files(private: Path) -> bool:
    """True while an exchange is neither complete nor undone."""
    with suppress(OSError):
        return (private / _MOVES).exists() and any((private / _EARLIER).iterdir())
    return False
