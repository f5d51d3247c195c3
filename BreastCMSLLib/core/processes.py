"""Temporary folders that tell the process that made them: the next run clears away what dead ones left."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

MARK = "breastcmsl"
_OWNER = re.compile(rf"{MARK}-(?P<machine>[0-9a-f]{{8}})-(?P<process>[0-9]+)-[^-]*$")
_DAY_S = 86400.0
_in_use: set[str] = set()  # folders of this process


def make_folder(parent: Path, prefix: str = "") -> Path:
    """Make a folder that only this user may enter; its name tells machine and process.

    Parameters
    ----------
    parent : Path
        Where.
    prefix : str
        What the name begins with.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        No folder can be made there.
    """
    label = f"{prefix}{MARK}-{_machine()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=label, dir=parent))
    _in_use.add(folder.name)
    return folder


def release(folder: Path) -> None:
    """Let a folder of :func:`make_folder` be cleared away from now on, by this process too."""
    _in_use.discard(folder.name)


def is_abandoned(folder: Path) -> bool:
    """True when nobody uses a folder of :func:`make_folder` any more.

    Of this machine's processes it is known which have ended. Of another machine's nothing is known: their
    folders count as abandoned when nothing in them has changed for a day.
    """
    owner = _OWNER.search(folder.name)
    if owner is None or folder.is_symlink() or not folder.is_dir():
        return False
    if owner["machine"] == _machine():
        process = int(owner["process"])
        if process == os.getpid():
            return folder.name not in _in_use
        return not process_alive(process)
    with suppress(OSError):
        newest = max(entry.stat().st_mtime for entry in (folder, *folder.rglob("*")))
        return time.time() - newest > _DAY_S
    return False


def clear_temporary_folders() -> None:
    """Remove what dead processes of this user left in the system's temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{MARK}-*"):
        if is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def process_alive(pid: int) -> bool:
    """True while a process runs; one that has ended runs no more, collected or not.

    Parameters
    ----------
    pid : int
        Its number.

    Returns
    -------
    bool
    """
    if sys.platform == "win32":
        return _windows_alive(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True  # no /proc on this system


def _windows_alive(pid: int) -> bool:
    import ctypes

    synchronize, timeout, denied = 0x00100000, 0x102, 5
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.OpenProcess.argtypes = [ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32]
    kernel.WaitForSingleObject.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    kernel.CloseHandle.argtypes = [ctypes.c_void_p]
    handle = kernel.OpenProcess(synchronize, 0, pid & 0xFFFFFFFF)
    if not handle:
        return ctypes.get_last_error() == denied  # another user's
    try:
        return kernel.WaitForSingleObject(handle, 0) == timeout
    finally:
        kernel.CloseHandle(handle)


def _machine() -> str:
    """Of a container it differs from its host's: processes are numbered anew in it."""
    numbering = ""
    with suppress(OSError):
        numbering = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]
