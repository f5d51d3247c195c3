"""The child process of an analysis: it tells its progress, and is stopped with all it has started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..core.errors import BreastCMSLError, Cancelled

_GRACE_S = 3.0
_LINE = 1 << 20  # bytes; an event is far shorter
_KEPT = 4000  # characters of what a child that crashed wrote last
_CRASHED = "The analysis stopped unexpectedly ({reason}); run breastcmsl analyze on this exam to see more."

Progress = Callable[[float, str], None]  # share of the whole, and the stage in words


class Child:
    """Runs one command, once.

    Parameters
    ----------
    command : sequence of str
        Of :func:`.choices.command_of`.
    progress : callable
        Called with the share done (0 to 1) and the stage.
    folder : Path
        Private, absolute: where it works, since Python would run the files of a stranger's folder that are
        called like modules, and where its temporary files go, which it cannot remove when it is killed.
    """

    def __init__(self, command: Sequence[str], progress: Progress, folder: Path):
        self._command, self._progress, self._folder = list(command), progress, folder
        self._process: asyncio.subprocess.Process | None = None
        self._stopping: asyncio.Task | None = None
        self._error = ""

    async def run(self) -> None:
        """Start, and wait for the end.

        Raises
        ------
        Cancelled
            :meth:`stop` was called.
        BreastCMSLError
            In one sentence, why there is no result.
        """
        if self._stopping is not None:
            raise Cancelled("Stopped; nothing was written.")
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
            cwd=self._folder,
            env=_environment(self._folder),
            start_new_session=os.name != "nt",  # a group of its own: Ctrl-C is the server's
        )
        try:
            _, written = await asyncio.gather(self._read(), _last(self._process.stderr))
            status = await self._process.wait()
        except asyncio.CancelledError:
            self.kill()
            raise
        if self._stopping is not None:
            self._signal(force=True)  # what it has started may outlive it
            raise Cancelled("Stopped; nothing was written.")
        if status:
            last = written.strip().rpartition("\n")[2] or f"exit status {status}"
            raise BreastCMSLError(self._error or _CRASHED.format(reason=last))

    def stop(self) -> None:
        """Ask the process to end; what is left after a moment is killed."""
        if self._stopping is None:
            self._signal(force=False)
            self._stopping = asyncio.get_running_loop().create_task(self._kill_later())

    def kill(self) -> None:
        """End the process, and what it has started, now."""
        self._signal(force=True)

    async def _kill_later(self) -> None:
        await asyncio.sleep(_GRACE_S)
        if self._process is not None and self._process.returncode is None:
            self._signal(force=True)

    def _signal(self, *, force: bool) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "nt":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL if force else signal.SIGTERM)

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            with suppress(ValueError, KeyError, TypeError):  # a library printed something
                event = json.loads(line)
                if event["event"] == "progress":
                    self._progress(float(event["fraction"]), str(event["text"]))
                elif event["event"] == "error":
                    self._error = str(event["message"])


async def _last(stream: asyncio.StreamReader) -> str:
    """The end of what a stream says."""
    text = ""
    while piece := await stream.read(65536):
        text = (text + piece.decode(errors="replace"))[-_KEPT:]
    return text


def _environment(folder: Path) -> dict[str, str]:
    """The child finds the library where this process did; its temporary files go into the folder."""
    known = os.pathsep.join(os.path.abspath(place) for place in sys.path if place)
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    return {**os.environ, **temporary, "PYTHONPATH": known, "PYTHONIOENCODING": "utf-8"}
