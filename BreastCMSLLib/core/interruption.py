"""Signals that ask a process to end: they act like Ctrl-C, and never in the middle of an exchange."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C; the system, a scheduler or the desktop; a terminal that was closed, which Windows does not tell
_REQUESTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_AGAIN = getattr(signal, "SIGALRM", None)  # Windows has none
_SOON_S = 0.02
_CLEARING_S = 5.0  # after a request, in which another one does not cut the clearing short
_put_off: list[int] = []  # signals that came during an import
_stopped_at = -math.inf  # by the monotonic clock


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does, so that everything is cleared away.

    A signal that the process was told to ignore (``nohup``) stays ignored. Other threads than the main one
    get no signals: there nothing changes. Who asks again at once is not heard: everything is being cleared.
    """
    global _stopped_at
    before, _stopped_at = {}, -math.inf
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _REQUESTS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = signal.signal(number, _stop)
        yield
    finally:
        if _AGAIN is not None and signal.getsignal(_AGAIN) is _stop_again:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(_AGAIN, signal.SIG_DFL)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """In an import it waits: cut off there, Python keeps its lock for ever, and libraries crash."""
    global _stopped_at
    if _AGAIN is not None and _imports(frame):
        _put_off.append(number)
        signal.signal(_AGAIN, _stop_again)
        signal.setitimer(signal.ITIMER_REAL, _SOON_S)
        return
    if time.monotonic() - _stopped_at >= _CLEARING_S:
        _stopped_at = time.monotonic()
        raise KeyboardInterrupt


def _stop_again(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(_put_off.pop() if _put_off else signal.SIGINT)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def signals_wait() -> Iterator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP wait; the first of them acts afterwards."""
    before, waiting = {}, []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _REQUESTS:
                if signal.getsignal(number) not in (None, signal.SIG_IGN):  # None: not Python's to change
                    before[number] = signal.getsignal(number)
                    signal.signal(number, lambda number, frame: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


def ignore_signals() -> None:
    """From now on nothing asks this process to end: it is ending."""
    if threading.current_thread() is threading.main_thread():
        for number in _REQUESTS:
            signal.signal(number, signal.SIG_IGN)
