"""One job done: the same function for a process of this computer and for a cluster's."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.checksum import sha256_of
from ..core.errors import NO_MEMORY, BreastCMSLError, DependencyError, InputError, lacks_memory
from ..core.text import one_line
from ..one_exam import analysis_settings, analyze_exam, check_output, load_model, reading_options
from .job import Job
from .records import (
    DONE,
    FAILED,
    REFUSED,
    claim,
    done_record,
    read_record,
    refused_record,
    start_record,
    write_record,
)
from .thumbnail import write_thumbnail

_ONE_AT_A_TIME = threading.Lock()  # threads of PyTorch and the scene belong to the whole process


def do(values: Mapping[str, Any]) -> dict[str, Any]:
    """Analyse one exam and remember what became of it.

    Parameters
    ----------
    values : mapping
        Of :meth:`Job.as_json`.

    Returns
    -------
    dict
        The record (``records``): plain values. Nothing is raised but KeyboardInterrupt.
    """
    job = Job.from_json(values)
    with _ONE_AT_A_TIME, claim(job):
        start, known = time.monotonic(), job.record.exists()
        try:
            earlier = read_record(job)
            if earlier is not None and earlier["status"] == DONE:  # by a process that outlived its batch
                return earlier
            _check_version(job)
            start_record(job)
            _analyze(job, overwrite=known)
            record = done_record(job, time.monotonic() - start)
        except Exception as error:  # a failing exam never stops the others
            record = _refusal(job, error, time.monotonic() - start)
        try:
            write_record(job, record)
        except BreastCMSLError as error:
            return refused_record(job, FAILED, str(error))
        return record


def _check_version(job: Job) -> None:
    if job.version != __version__:
        raise DependencyError(
            f"This worker runs BreastCMSL {__version__}, the batch {job.version}; install the same on both."
        )


def _analyze(job: Job, overwrite: bool) -> None:
    """Read, analyse and write; results of another exam are replaced only where a record is theirs."""
    if job.problem:
        raise InputError(job.problem)
    use_threads(job.threads)
    check_output(job.folder, scene=job.scene)
    settings = analysis_settings(**job.settings)
    analyze_exam(
        lambda: _read(job),
        lambda: predictor(job.model, job.card_sha256, settings["device"]),
        job.folder,
        settings,
        scene=job.scene,
        dicom=None if job.dicom is None else Path(job.dicom),
        overwrite=overwrite,
        progress=lambda stage, fraction: None,
        before_writing=lambda analysis: write_thumbnail(analysis, job.thumbnail),
    )


def _read(job: Job):
    from ..readers import read

    return read([Path(path) for path in job.input], reading_options(**job.reading))


@lru_cache(maxsize=1)
def predictor(model: str | None, card_sha256: str, device: str):
    """The model, loaded once a process.

    Parameters
    ----------
    model : str, optional
        A bundle's card; None: the shipped one.
    card_sha256 : str
        Of the card that the batch began with.
    device : str
        As for ``models.inference.choose_device``.

    Returns
    -------
    Predictor

    Raises
    ------
    BreastCMSLError
        The model or the device cannot be used, or the card is another one by now.
    """
    bundle = load_model(model)
    if sha256_of(bundle.path) != card_sha256:
        raise DependencyError(f"{bundle.path} is not the model that the batch began with; run it again.")
    from ..models.inference import Predictor

    return Predictor(bundle, device)


@lru_cache(maxsize=1)
def use_threads(count: int) -> None:
    """Let PyTorch and ITK take so many threads, in this process from now on."""
    import SimpleITK
    import torch

    torch.set_num_threads(count)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(count)


def _refusal(job: Job, error: Exception, seconds: float) -> dict[str, Any]:
    """REFUSED where the exam cannot be used; FAILED where another try may bring results."""
    if lacks_memory(error):
        return refused_record(job, FAILED, NO_MEMORY, seconds)
    if isinstance(error, BreastCMSLError):
        status = REFUSED if isinstance(error, InputError) else FAILED
        return refused_record(job, status, " ".join(str(error).split()), seconds)
    sentence = (
        f"Unforeseen {type(error).__name__}: {one_line(error)}; analyse this exam alone with "
        "breastcmsl --debug analyze … and report it."
    )
    return {**refused_record(job, FAILED, sentence, seconds), "traceback": traceback.format_exc()}
