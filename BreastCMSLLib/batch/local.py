"""The engine of this computer: worker processes, each with one exam at a time. One that dies costs a try."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.errors import BreastCMSLError, DependencyError
from .job import Job
from .records import FAILED, refused_record, write_record

TRIES = 2  # of an exam whose process dies
RENEWED = 100  # exams after which a process makes room for a new one: what leaks is bounded
_STARTS = 3  # of a process before the batch gives up
_CLEARING_S = 10.0  # in which a process that is asked to end may clear away
_LOOK_S = 0.5


def run_local(jobs: Sequence[Job], workers: int) -> Iterator[dict[str, Any]]:
    """Do jobs in processes of this computer.

    Parameters
    ----------
    jobs : sequence of Job
    workers : int
        How many at once.

    Yields
    ------
    dict
        The record of each job, in the order in which they are done.

    Raises
    ------
    BreastCMSLError
        No process can start: the others are stopped.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    answers: queue.SimpleQueue[dict[str, Any] | BaseException] = queue.SimpleQueue()
    servants = [_Servant(waiting, answers) for _ in range(min(workers, len(jobs)))]
    try:
        for servant in servants:
            servant.start()
        for _ in jobs:
            yield _next(answers)
    finally:
        for servant in servants:
            servant.stop()
        for servant in servants:
            servant.join(_CLEARING_S)
            servant.kill()


def _next(answers: queue.SimpleQueue) -> dict[str, Any]:
    """The next answer; Ctrl-C is heard meanwhile on every system."""
    while True:
        with suppress(queue.Empty):
            answer = answers.get(timeout=_LOOK_S)
            if isinstance(answer, BaseException):
                raise answer
            return answer


class _Servant(threading.Thread):
    """A thread that gives jobs to one process, and starts another where it died."""

    def __init__(self, waiting: queue.SimpleQueue, answers: queue.SimpleQueue):
        super().__init__(daemon=True)
        self.waiting, self.answers = waiting, answers
        self.process: subprocess.Popen | None = None
        self.stopping = False

    def run(self) -> None:
        try:
            for number in itertools.count(1):
                self.answers.put(self._record(self.waiting.get_nowait()))
                if number % RENEWED == 0:
                    self._end()
        except queue.Empty:
            pass
        except _Stopped:
            return
        except BaseException as error:  # the batch's own thread raises it
            self.answers.put(error)
        self._end()

    def _record(self, job: Job) -> dict[str, Any]:
        for _ in range(TRIES):
            record = self._ask(job)
            if record is not None:
                return record
            reason = self._end()
        record = refused_record(
            job,
            FAILED,
            f"The process that analysed it died {TRIES} times ({reason}); it may need more memory: "
            "use fewer --workers, or analyse this exam alone.",
        )
        with suppress(BreastCMSLError):  # it counts as started, which comes to the same
            write_record(job, record)
        return record

    def _ask(self, job: Job) -> dict[str, Any] | None:
        """The record of a job; None where the process died over it."""
        for _ in range(_STARTS):
            new = self.process is None
            if new:
                if self.stopping:
                    raise _Stopped
                self.process = _started(job.threads)
            self._say(job)
            answer = self._hear()
            if not new:
                return answer
            if answer is None:  # before it was ready: this is not the exam's doing
                reason = self._end()
            elif answer.get("ready"):
                return self._hear()
            else:
                raise DependencyError(answer["sentence"])
        raise DependencyError(
            f"The processes that analyse exams die as they start ({reason}); there may be too little memory: "
            "use fewer --workers, or see whether breastcmsl analyze works."
        )

    def _say(self, job: Job) -> None:
        with suppress(OSError):  # it died: there will be no answer
            self.process.stdin.write(json.dumps(job.as_json()) + "\n")
            self.process.stdin.flush()

    def _hear(self) -> dict[str, Any] | None:
        line = self.process.stdout.readline()
        if self.stopping:
            raise _Stopped
        return json.loads(line) if line.endswith("\n") else None

    def _end(self) -> str:
        """Let the process go, and say how it ended."""
        process, self.process = self.process, None
        if process is None:
            return ""
        with suppress(OSError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def stop(self) -> None:
        """Ask the process to clear away and end."""
        self.stopping = True
        process = self.process
        if process is not None:
            process.terminate()

    def kill(self) -> None:
        """End the process, if it has not ended by itself."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()


class _Stopped(Exception):
    """The batch is being stopped."""


def _started(threads: int) -> subprocess.Popen:
    """A process in a group of its own, so that a terminal's Ctrl-C goes to the batch alone, which asks it."""
    above = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": above if not known else above + os.pathsep + known,
        "OMP_NUM_THREADS": str(threads),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "BreastCMSLLib.batch.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=above,  # Python would run files of a stranger's folder that are called like modules
        env=environment,
        text=True,
        encoding="utf-8",
        start_new_session=os.name == "posix",
    )
