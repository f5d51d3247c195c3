"""What became of each exam of a batch, on disk: what is done is done once, whatever is killed, and when.

A record is written as *started* before an exam is read, with a stamp of the result that was there. Results
come into their place in one step (``results.replacement``). So a started record whose folder has got another
``result.json`` since is of an exam that is done, and only its record was not written any more; one without is
of an exam that is not.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core.checksum import sha256_of
from ..core.errors import OutputError
from ..core.interruption import signals_wait
from ..results.earlier import FILES, RESULT
from ..results.locks import lock
from ..results.replacement import recover
from .job import RECORDS, Job
from .summary import row_of

STARTED, DONE, REFUSED, FAILED = "started", "done", "refused", "failed"
KIND, SCHEMA_VERSION = "breastcmsl.batch.record", 1
_LOOK_S = 0.1  # how often one looks whether another process has finished an exam
os.umask(_UMASK := os.umask(0o077))  # can only be read so: once, before there are threads


def read_record(job: Job) -> dict[str, Any] | None:
    """What became of a job.

    Parameters
    ----------
    job : Job

    Returns
    -------
    dict or None
        None where it is not known, or of another job for an exam of this name.

    Raises
    ------
    OutputError
        The record cannot be written.
    """
    record = _read(job.record)
    if record is None or record["job"] != job.key:
        return None
    if record["status"] == STARTED and stamp(job) not in (None, record["earlier"]):
        try:
            record = done_record(job, seconds=None)
        except (OSError, ValueError, AttributeError, TypeError, LookupError):  # damaged: it is done again
            return None
        with suppress(OSError):
            recover(job.folder, FILES)  # what the killed process left beside
        write_record(job, record)
    if record["status"] == DONE and not (job.folder / RESULT).exists():  # somebody took the results away
        return None
    return record


def start_record(job: Job) -> None:
    """Remember that an exam is being read. Raises OutputError."""
    write_record(job, {"status": STARTED, "earlier": stamp(job)})


def done_record(job: Job, seconds: float | None) -> dict[str, Any]:
    """The record of an exam whose results are in their place, from these."""
    result = json.loads((job.folder / RESULT).read_text(encoding="utf-8"))
    return _record(job, DONE, "", seconds, row_of(result))


def refused_record(job: Job, status: str, sentence: str, seconds: float | None = None) -> dict[str, Any]:
    """The record of an exam without results: REFUSED, as it cannot be used, or FAILED, as something broke."""
    return _record(job, status, sentence, seconds, {})


def _record(job: Job, status: str, sentence: str, seconds: float | None, row: Mapping) -> dict[str, Any]:
    return {
        "status": status,
        "exam": job.exam,
        "sentence": sentence,
        "seconds": None if seconds is None else round(seconds, 2),
        "row": dict(row),
    }


def write_record(job: Job, record: Mapping[str, Any]) -> None:
    """Write a record, all or nothing.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    content = {"schema_version": SCHEMA_VERSION, "kind": KIND, "job": job.key, **record}
    write_file(job.record, json.dumps(content, indent=1).encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, all or nothing, and make its folder.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    new = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with signals_wait():
            descriptor, new = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(new, 0o666 & ~_UMASK)
            os.replace(new, path)
    except OSError as error:
        if new is not None:
            with suppress(OSError):
                os.unlink(new)
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{path} cannot be written ({reason}); free space there.") from error


def stamp(job: Job) -> str | None:
    """What tells one ``result.json`` of an exam from the next, also in a copy; None where there is none."""
    try:
        return sha256_of(job.folder / RESULT)
    except OSError:
        return None


@contextmanager
def claim(job: Job) -> Iterator[None]:
    """Within, no other process reads this exam for this batch; one that does is waited for.

    The claim is a lock on one byte of a file, which ends with its process, however that ends. Where the disk
    or the system has no such locks, two processes may do the same exam twice.
    """
    try:
        Path(job.output, RECORDS).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(Path(job.output, RECORDS, ".claims"), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    place = zlib.crc32(job.folder_name.encode("utf-8", "surrogateescape"))
    try:
        while not lock(descriptor, place):
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    """None for a file that is missing, damaged or something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and record.get("kind") == KIND
    if not whole or record.get("schema_version") != SCHEMA_VERSION or "job" not in record:
        return None
    needed = {"earlier"} if record.get("status") == STARTED else {"exam", "sentence", "seconds", "row"}
    return record if needed <= set(record) else None
