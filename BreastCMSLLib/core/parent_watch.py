"""Ends this process when the program that started it is gone: a crashed desktop leaves no analysis behind.

The program is watched by its number, not through the standard input: a launcher may lie between (Slicer's
Python has one), and on Windows a pending read of the standard input blocks libraries while they load.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from .processes import process_alive

EXIT_STATUS = 130
INTERVAL_S = 0.5


def end_with_parent(pid: int) -> None:
    """End this process, at once, when another is gone; a daemon thread watches.

    Parameters
    ----------
    pid
        Of the process to watch.
    """
    wait = _windows_waiter(pid) if sys.platform == "win32" else lambda: _posix_wait(pid)
    if wait is not None:
        threading.Thread(target=_run, args=(wait,), name="parent watch", daemon=True).start()


def _run(wait: Callable[[], object]) -> None:
    wait()
    os._exit(EXIT_STATUS)  # whatever the other threads do: nobody is left to take a result


def _posix_wait(pid: int) -> None:
    while process_alive(pid):
        time.sleep(INTERVAL_S)


def _windows_waiter(pid: int) -> Callable[[], object] | None:
    import ctypes

    synchronize, forever = 0x00100000, 0xFFFFFFFF
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.OpenProcess.argtypes = [ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32]
    kernel.WaitForSingleObject.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    handle = kernel.OpenProcess(synchronize, 0, pid)  # keeps the number from being given to another process
    return (lambda: kernel.WaitForSingleObject(handle, forever)) if handle else None
