"""The engine of a cluster: the workers of a Dask scheduler, which reruns what a worker did that died.

Input, output and model have to have the same paths on every worker, which runs the same version.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ..core.errors import BreastCMSLError, DependencyError, OutputError
from ..core.text import one_line
from .job import Job
from .records import DONE, FAILED, refused_record, stamp, write_record
from .task import do

_AHEAD = 2  # exams waiting for each thread of the cluster: what is sent is bounded
_TIMEOUT_S = 30
_LAG_S = 60.0  # in which a shared disk shows everybody what one has written


def run_dask(jobs: Sequence[Job], scheduler: str) -> Iterator[dict[str, Any]]:
    """Do jobs on the workers of a Dask scheduler.

    Parameters
    ----------
    jobs : sequence of Job
    scheduler : str
        Its address, as ``tcp://HOST:8786``, or the path of a scheduler file.

    Yields
    ------
    dict
        The record of each job, in the order in which they are done.

    Raises
    ------
    DependencyError
        Dask is not installed, or the scheduler does not answer (any more).
    OutputError
        The workers write to another disk.
    """
    client = _client(scheduler)
    from distributed import as_completed

    waiting = iter(jobs)
    sent: dict[Any, Job] = {}

    def send() -> list[Any]:
        """As many as the cluster, which may grow and shrink, has room for."""
        room = max(1, _AHEAD * sum(client.nthreads().values())) - len(sent)
        new = []
        for _, job in zip(range(room), waiting):
            # pure: no result of another batch is taken for this one's
            future = client.submit(do, job.as_json(), pure=False)
            sent[future] = job
            new.append(future)
        return new

    try:
        completed = as_completed(send())
        for future in completed:
            record = _record(future, sent.pop(future), scheduler)
            future.release()
            completed.update(send())
            yield record
    except (OSError, TimeoutError) as error:
        raise _lost(scheduler) from error
    finally:
        with suppress(Exception):  # a scheduler that is gone has nothing to cancel
            client.cancel(list(sent))
        with suppress(Exception):
            client.close(timeout=5)


def _client(scheduler: str):
    try:
        from distributed import Client
    except ImportError as error:
        raise DependencyError(
            "--engine dask needs Dask, which is not installed; run pip install breastcmsl[cluster]."
        ) from error
    try:
        if scheduler.endswith(".json"):
            return Client(scheduler_file=scheduler, timeout=_TIMEOUT_S)
        return Client(scheduler, timeout=_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise DependencyError(
            f"No Dask scheduler answers at {one_line(scheduler, 100)}; start one, or correct --scheduler."
        ) from error


def _record(future, job: Job, scheduler: str) -> dict[str, Any]:
    """What a job returned; where its workers died over it, that it failed."""
    if future.status == "finished":
        record = future.result()
        if record["status"] == DONE:
            _check_shared(job)
        return record
    if future.status != "error":  # cancelled, lost
        raise _lost(scheduler)
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        sentence = "The workers that analysed it died, one after another; it may need more memory."
    else:
        sentence = f"The worker could not analyse it ({type(error).__name__}: {one_line(error, 200)})."
    record = refused_record(job, FAILED, sentence)
    with suppress(BreastCMSLError):  # it counts as started, which comes to the same
        write_record(job, record)
    return record


def _check_shared(job: Job) -> None:
    """Raises OutputError where a worker's results are not to be seen here, also after a while."""
    limit = time.monotonic() + _LAG_S
    while stamp(job) is None:
        if time.monotonic() > limit:
            raise OutputError(
                f"A worker wrote results that are not in {job.folder}; "
                "give an --output on a disk that this computer and all workers see."
            )
        time.sleep(0.5)


def _lost(scheduler: str) -> DependencyError:
    return DependencyError(
        f"The Dask scheduler at {one_line(scheduler, 100)} was lost; start it and run the same command again."
    )
