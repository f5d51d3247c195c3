"""Runs in processes that are forked from this one, which has loaded the libraries already: a kill then
strikes the work, not the loading, and costs a fraction of the time. What the process does is what the command
does, with a session of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Forked:
    """A running process.

    Parameters
    ----------
    work
        Gives the exit status.
    scratch
        Folder for the process's temporary files.
    under_a_parent
        A process that only waits comes between, as the one that started an analysis.

    Attributes
    ----------
    pid
        It leads a session.
    output
        Its standard output, to read from.
    errors
        What it wrote to standard error, once it has ended.
    """

    def __init__(self, work: Callable[[], int], scratch: Path, *, under_a_parent: bool = False):
        scratch.mkdir(parents=True, exist_ok=True)
        near, far = os.pipe()
        near_errors, far_errors = os.pipe()  # no file: its size may be limited
        with suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(far_errors, fcntl.F_SETPIPE_SZ, 1 << 20)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.setsid()
                signal.signal(
                    signal.SIGINT, signal.default_int_handler
                )  # a shell's background job ignores it
                os.dup2(far, 1)
                os.dup2(far_errors, 2)
                for descriptor in (near, far, near_errors, far_errors):
                    os.close(descriptor)
                if under_a_parent and (child := os.fork()):
                    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
                os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
                status = work()
                sys.stdout.flush()
                os._exit(status)
            except BaseException as error:
                with suppress(BaseException):
                    import traceback

                    traceback.print_exception(error, file=sys.stderr)
                    sys.stderr.flush()
            finally:
                os._exit(1)
        os.close(far)
        os.close(far_errors)
        self._near_errors = open(near_errors, encoding="utf-8", errors="replace")  # noqa: SIM115 (closed by ``wait``)
        self.output = open(near, encoding="utf-8", errors="replace")  # noqa: SIM115 (closed by ``wait``)
        self.status: int | None = None
        self.errors = ""

    def kill(self, whole_session: bool = True, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if whole_session else os.kill)(self.pid, number)

    def wait(self, seconds: float = 600.0) -> int:
        """Exit status of the leading process (-9 when killed), after everything in its session has ended."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with suppress(OSError, ValueError):
            self.output.close()  # who goes on writes to nobody
        limit = time.monotonic() + seconds
        while session_alive(self.pid) and time.monotonic() < limit:
            time.sleep(0.02)
        if not self._near_errors.closed:
            self.errors = "" if session_alive(self.pid) else self._near_errors.read()
            self._near_errors.close()
        return self.status

    def run(self, seconds: float = 600.0) -> int:
        """Read the output to its end and wait."""
        for _line in self.output:
            pass
        return self.wait(seconds)


def session_alive(leader: int) -> bool:
    """True while a process runs in the session (and group) that ``leader`` began."""
    try:
        os.killpg(leader, 0)
        return True
    except (ProcessLookupError, PermissionError):
        return False
