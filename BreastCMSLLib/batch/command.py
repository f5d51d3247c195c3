"""``breastcmsl batch``: what is left of a worklist is done, and the tables of all of it are written."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.checksum import sha256_of
from ..core.errors import InputError, OutputError
from ..models.cards import default_model, read_card
from ..one_exam import analysis_settings, check_dicom, check_model, check_output
from .job import EXAMS, RECORDS, THUMBNAILS, Job
from .page import index_page
from .progress import BatchProgress
from .records import DONE, REFUSED, read_record, write_file
from .summary import csv_table, parquet_table
from .worklist import read_worklist

ENGINES = ("local", "dask")
WAITING = "waiting"  # of a table: neither done nor refused so far
TABLE, PARQUET, PAGE = "results.csv", "results.parquet", "index.html"
_MEMORY_BYTES = 3 << 30  # room for one process; 1.2 to 1.8 GB were measured (docs/benchmark.md)
_TABLES_S = 60.0  # how often the tables are renewed meanwhile
_LEFT_S = 60.0  # after which an unfinished file is one of a killed process


@dataclass(frozen=True)
class BatchOptions:
    """What to do, beside the worklist.

    Parameters
    ----------
    output : Path
        The batch's folder.
    settings : mapping
        Keywords of ``one_exam.analysis_settings``.
    archive, model, dicom : Path, optional
        Where studies lie; a bundle's card; where DICOM results go.
    scene : bool
        Scene, pictures and report too.
    engine : {"local", "dask"}
    scheduler : str, optional
        Of Dask.
    workers, threads : int, optional
        Processes on this computer, and threads of each.
    retry : bool
        Do refused exams again.
    """

    output: Path
    settings: Mapping[str, Any]
    archive: Path | None = None
    model: Path | None = None
    dicom: Path | None = None
    scene: bool = True
    engine: str = "local"
    scheduler: str | None = None
    workers: int | None = None
    threads: int | None = None
    retry: bool = False


def run_batch(
    worklist: Path, options: BatchOptions, report: Callable[[BatchProgress], None]
) -> BatchProgress:
    """Do what is left of a worklist.

    Parameters
    ----------
    worklist : Path
        A folder, table or list of studies.
    options : BatchOptions
    report : callable
        Called at the start and after each exam.

    Returns
    -------
    BatchProgress
        With the counts of all exams, those of earlier runs too.

    Raises
    ------
    BreastCMSLError
        The batch cannot begin, or go on. An exam that cannot be used is no reason.
    """
    _check(options)
    jobs = _jobs(worklist, options)
    _clear(options.output)
    records = {job.exam: record for job in jobs if (record := read_record(job)) is not None}
    finished = {DONE} if options.retry else {DONE, REFUSED}
    left = [job for job in jobs if records.get(job.exam, {}).get("status") not in finished]
    for job in left:
        records.pop(job.exam, None)
    progress = BatchProgress(len(jobs), Counter(record["status"] for record in records.values()))
    report(progress)
    try:
        renewed = time.monotonic()
        with closing(_engine(left, options)) as engine:
            for record in engine:
                records[record["exam"]] = record
                progress.add(record["status"])
                report(progress)
                if time.monotonic() - renewed > _TABLES_S:
                    write_tables(jobs, records, options.output)
                    renewed = time.monotonic()
    finally:
        write_tables(jobs, records, options.output)
    return progress


def write_tables(jobs: Sequence[Job], records: Mapping[str, Mapping[str, Any]], output: Path) -> list[Path]:
    """Write ``results.csv``, ``index.html`` and, where pyarrow is installed, ``results.parquet``.

    Parameters
    ----------
    jobs : sequence of Job
        A row each, in this order.
    records : mapping of str to mapping
        By the exams' names; those of others are waiting.
    output : Path

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
    """
    rows = [_row(job, records.get(job.exam)) for job in jobs]
    tables = {TABLE: csv_table(rows), PARQUET: parquet_table(rows), PAGE: index_page(jobs, rows)}
    for name, content in tables.items():
        if content is not None:
            write_file(output / name, content)
    return [output / name for name, content in tables.items() if content is not None]


def _row(job: Job, record: Mapping[str, Any] | None) -> dict[str, Any]:
    name = job.exam.encode("utf-8", "backslashreplace").decode()
    if record is None:
        return {"exam": name, "status": WAITING}
    folder = f"{EXAMS}/{job.folder_name}" if record["status"] == DONE else None
    shown = {key: record[key] for key in ("status", "sentence", "seconds")}
    return {"exam": name, **shown, **record["row"], "folder": folder}


def _check(options: BatchOptions) -> None:
    """What would stop every exam stops the batch before it begins."""
    local = options.engine == "local"
    if local == (options.scheduler is not None):
        raise InputError("--scheduler and --engine dask belong together; give both, or neither.")
    for name, value in (("workers", options.workers), ("threads", options.threads)):
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; give 1 or more.")
    check_output(options.output / EXAMS, scene=options.scene and local)
    if options.dicom is not None and local:
        check_dicom(options.dicom)
    check_model(options.model, analysis_settings(**options.settings))


def _jobs(worklist: Path, options: BatchOptions) -> list[Job]:
    card = read_card(default_model() if options.model is None else options.model).path
    of_each = shares(options.workers, options.threads)[1]
    common = {
        "output": os.path.abspath(options.output),
        "settings": dict(options.settings),
        "model": None if options.model is None else os.path.abspath(card),
        "card_sha256": sha256_of(card),
        "version": __version__,
        "scene": options.scene,
        "dicom": None if options.dicom is None else os.path.abspath(options.dicom),
        "threads": of_each if options.engine == "local" else options.threads or 1,
    }
    entries = read_worklist(worklist, options.archive, options.output, again=options.retry)
    return [
        Job(entry.exam, entry.input, reading=entry.reading, problem=entry.problem, **common)
        for entry in entries
    ]


def shares(workers: int | None = None, threads: int | None = None) -> tuple[int, int]:
    """How many processes at once, and threads for each, so that processor and memory are used and not more.

    Parameters
    ----------
    workers, threads : int, optional
        As a user asked for them.

    Returns
    -------
    workers, threads : int
        By default a process for each core that has 3 GiB of memory, with its share of the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        room = cores
        with suppress(AttributeError, ValueError, OSError):  # Windows does not say
            room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MEMORY_BYTES
        workers = max(1, min(cores // (threads or 1), room))
    return workers, threads or max(1, cores // workers)


def _engine(jobs: Sequence[Job], options: BatchOptions) -> Iterator[dict[str, Any]]:
    if options.engine == "dask" and jobs:
        from .cluster import run_dask

        return run_dask(jobs, options.scheduler)
    from .local import run_local

    return run_local(jobs, shares(options.workers, options.threads)[0])


def _clear(output: Path) -> None:
    """Make the folders, and remove the files that killed processes did not finish."""
    try:
        for name in (EXAMS, RECORDS, THUMBNAILS):
            folder = output / name
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(".*.part"):
                if time.time() - part.stat().st_mtime > _LEFT_S:
                    part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror}); choose another folder.") from error
