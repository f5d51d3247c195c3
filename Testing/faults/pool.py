"""Worker processes with a time and a memory limit; one that hangs or dies costs one input, not the run."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .judge import CRASH, TIMEOUT, Outcome

_RECYCLE = 400  # inputs after which a worker is replaced, so that one slow leak cannot colour the figures
_LOOK_S = 0.1  # how often the time limit is looked at while nobody answers


class Worker:
    """One process. Those for bundles load PyTorch, which the readers' limit of memory need not cover."""

    def __init__(self, bases: Path, scratch: Path, with_torch: bool):
        self.arguments = (bases, scratch, with_torch)
        self.with_torch = with_torch
        self.process = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, *self.arguments), daemon=True)
        self.process.start()
        far.close()
        self.done = 0
        self.job = None
        self._expect(600.0)  # loading the libraries is not the input's time

    def _expect(self, seconds: float) -> None:
        if not self.pipe.poll(seconds):
            raise RuntimeError("a worker did not start")
        self.pipe.recv()

    def send(self, number: int, name: str, parameters: dict, limit_s: float) -> None:
        self.number, self.job, self.limit_s = number, (name, parameters), limit_s
        self.since = self.worked = time.monotonic()
        self.used = self.last_used = self._processor_s()
        self.pipe.send((name, parameters))

    def result(self) -> Outcome | None:
        """What became of the job, None while it runs."""
        ended = not self.process.is_alive()
        if self.pipe.poll(0):
            try:
                outcome = self.pipe.recv()
            except EOFError:
                ended = True
            else:
                self.job = None
                self.done += 1
                if self.done >= _RECYCLE:
                    self._renew()
                return outcome
        if ended:
            self.process.join(5)
            code = self.process.exitcode
            reason = signal.Signals(-code).name if code and code < 0 else code
            outcome = Outcome(CRASH, f"the process died ({reason})", *self.job)
        elif self._is_late():
            outcome = Outcome(TIMEOUT, "no answer in time", *self.job)
        else:
            return None
        self._renew()
        return outcome

    def _renew(self) -> None:
        self.stop()
        self._start()

    def _is_late(self) -> bool:
        """By processor time, as the computer may be busy; by the clock when the process only waits."""
        now, used = time.monotonic(), self._processor_s()
        if used > self.last_used:
            self.worked, self.last_used = now, used
        return (
            used - self.used > self.limit_s
            or now - self.worked > self.limit_s
            or now - self.since > 10 * self.limit_s
        )

    def _processor_s(self) -> float:
        try:
            with open(f"/proc/{self.process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return time.monotonic()

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join(10)


def _serve(pipe, bases: Path, scratch: Path, with_torch: bool) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    import pydicom  # noqa: F401
    import SimpleITK  # noqa: F401

    from BreastCMSLLib import readers  # noqa: F401

    from . import judge, memory

    if with_torch:
        import torch

        from BreastCMSLLib.models import bundle as weights  # noqa: F401

        torch.set_num_threads(1)
        # the kernels of a convolution claim memory at first use
        torch.nn.functional.conv3d(torch.ones(1, 1, 8, 8, 8), torch.ones(1, 1, 3, 3, 3))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries print about damaged files
    memory.limit_memory()
    pipe.send(None)
    while True:
        try:
            name, parameters = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(judge.run(name, parameters, bases, scratch))


class Pool:
    """Workers of both kinds, of which only so many work at a time."""

    def __init__(self, bases: Path, scratch: Path, size: int):
        self.bases, self.scratch, self.size = bases, scratch, size
        self.workers: list[Worker] = []

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job is not None]

    def free(self, with_torch: bool) -> Worker:
        """A worker that has nothing to do; there is one while fewer are busy than the pool's size."""
        for worker in self.workers:
            if worker.job is None and worker.with_torch == with_torch:
                return worker
        self.workers.append(Worker(self.bases, self.scratch, with_torch))
        return self.workers[-1]

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Wait a moment; what came of it."""
        multiprocessing.connection.wait([worker.pipe for worker in self.busy], _LOOK_S)
        pairs = [(worker.number, worker.result()) for worker in self.busy]
        return [(number, outcome) for number, outcome in pairs if outcome is not None]


def run_all(
    jobs: Iterable[tuple[str, dict, bool]], bases: Path, *, workers: int = 1, limit_s: float = 30.0
) -> Iterator[Outcome]:
    """Give inputs to the workers.

    Parameters
    ----------
    jobs
        (generator, parameters, whether its reader needs PyTorch).
    limit_s
        Processor time for one input, and how long it may wait without using any.

    Yields
    ------
    Outcome
        In the order of the jobs, so that those of a run that was cut short are the first so many.
    """
    scratch = Path(tempfile.mkdtemp(prefix="breastcmsl-faults-"))
    pool = Pool(bases, scratch, workers)
    early: dict[int, Outcome] = {}  # outcomes of jobs whose forerunners are not done
    due = 0
    try:
        waiting = enumerate(jobs)
        job = next(waiting, None)
        while job is not None or pool.busy:
            while job is not None and len(pool.busy) < pool.size:
                number, (name, parameters, with_torch) = job
                pool.free(with_torch).send(number, name, parameters, limit_s)
                job = next(waiting, None)
            early.update(pool.outcomes())
            while due in early:
                yield early.pop(due)
                due += 1
    finally:
        for worker in pool.workers:
            worker.stop()
        shutil.rmtree(scratch, ignore_errors=True)
