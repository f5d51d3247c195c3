"""Preprocess a cohort once, with the library's own preprocessing, into a cache that training reads.

It goes on where it stopped: an exam is made again only when its input, the input contract or the code has
changed. The index is written last, so that a cache is either complete or not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from BreastCMSLLib.alignment import register
from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput, preprocess

from . import cache
from .exams import load_exam, truth
from .manifest import Row, read_cohort
from .processes import worker_processes

MOST_NAMED = 10  # exams that cannot be used, in one message


def prepare(
    source: str,
    output: Path,
    spacing_mm: float = 1.1,
    workers: int | None = None,
    splits: Sequence[str] = (),
    device: str = "cpu",
) -> cache.Cache:
    """Make or complete a cache and open it.

    Parameters
    ----------
    source : str
        A manifest (CSV), or simulated:NAME.
    output : Path
        Folder of the cache.
    spacing_mm : float
        Voxel size of the model's input.
    workers : int, optional
        Processes (default: ``usual_workers``).
    splits : sequence of str
        Only these (none given: all exams).
    device : str
        That simulated exams are made on.

    Returns
    -------
    Cache
        With all exams of the splits.

    Raises
    ------
    InputError
        Naming the exams that cannot be used, when all others are prepared; or when the folder holds another
        cache.
    """
    contract = cache.contract_at(spacing_mm)
    rows = [row for row in read_cohort(source) if not splits or row.split in splits]
    _refuse_another(output, source, spacing_mm)
    (output / "index.csv").unlink(missing_ok=True)
    cache.write_cache(output, contract, source, all(row.seed is not None for row in rows))
    _prepare_exams(rows, contract, output, workers, device, f"{source} at {spacing_mm} mm")
    cache.write_index(output, [asdict(row) for row in rows])
    return cache.open_cache(output)


def prepare_exam(row: Row, contract: InputContract, folder: Path, device: str = "cpu") -> None:
    """Preprocess one exam into the cache, unless it is there already.

    Parameters
    ----------
    row : Row
        Of a manifest.
    contract : InputContract
        Of the cache.
    folder : Path
        Of the cache.
    device : str
        That a simulated exam is made on.

    Raises
    ------
    InputError
        When the exam cannot be used.
    """
    if is_prepared(row, contract, folder, device):
        return
    exam = load_exam(row, device)
    keep_exam(row, exam, preprocess(register(exam)[0], contract), contract, folder, device)


def is_prepared(row: Row, contract: InputContract, folder: Path, device: str = "cpu") -> bool:
    """Whether a cache holds an exam as :func:`prepare_exam` would make it now."""
    try:
        kept = cache.read_meta(cache.exam_path(folder, row.exam)).get("fingerprint")
    except Exception:  # absent or damaged: made anew
        return False
    return kept == fingerprint(row, contract, device)


def keep_exam(
    row: Row, exam: Exam, model_input: ModelInput, contract: InputContract, folder: Path, device: str = "cpu"
) -> None:
    """Write a preprocessed exam and its truth into a cache.

    Parameters
    ----------
    row, contract, folder, device
        As of :func:`prepare_exam`.
    exam : Exam
        As ``load_exam`` gives it.
    model_input : ModelInput
        As ``preprocess`` makes it of the exam, registered.
    """
    digest = fingerprint(row, contract, device)
    lesions, classes = truth(row, exam, device)
    on_grid = None if classes is None else _on_model_grid(classes, exam.grid.affine, model_input)
    meta = {"exam": row.exam, "patient": row.patient, "label": row.label, "lesions": list(lesions)}
    meta |= {"fingerprint": digest, "mask_source": model_input.mask_source}
    meta["complete"] = row.seed is not None  # these are all its lesions: it is simulated
    cache.store(cache.exam_path(folder, row.exam), model_input, meta, on_grid, contract.size)


def fingerprint(row: Row, contract: InputContract, device: str = "cpu") -> str:
    """Digest of all that decides the exam's cached form.

    Parameters
    ----------
    row : Row
        Its files count by name, size and time, a simulated exam by its seed.
    contract : InputContract
        Of the cache.
    device : str
        That a simulated exam is made on, whose random numbers its noise is drawn from.

    Returns
    -------
    str
        24 hexadecimal digits.
    """
    files = []
    for path in row.files:
        inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        files += [(str(p.relative_to(path.parent)), p.stat().st_size, p.stat().st_mtime_ns) for p in inner]
    facts = {k: v for k, v in asdict(row).items() if k not in ("folder", "split", "where", "birads")}
    simulated_on = [device] if row.seed is not None and device != "cpu" else []
    text = json.dumps([facts, files, asdict(contract), cache.code_version(), *simulated_on], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _refuse_another(output: Path, source: str, spacing_mm: float) -> None:
    path = output / "cache.json"
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    size = before["contract"]["spacing_mm"]
    if size != spacing_mm or before["source"] != source:
        raise InputError(f"{output} holds a cache of {before['source']} at {size} mm; choose another folder.")


def _prepare_exams(
    rows: Sequence[Row], contract: InputContract, output: Path, workers: int | None, device: str, title: str
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    columns += (TimeElapsedColumn(), TimeRemainingColumn())
    context = get_context(None if device == "cpu" else "spawn")  # CUDA does not survive a fork
    with worker_processes(workers, context) as pool, Progress(*columns) as progress:
        task = progress.add_task(title, total=len(rows))
        jobs = {pool.submit(_problem, row, contract, output, device): n for n, row in enumerate(rows)}
        problems: dict[int, str] = {}
        for job in as_completed(jobs):
            if problem := job.result():
                problems[jobs[job]] = problem
            progress.advance(task)
    if problems:
        raise InputError(problems_text([problems[n] for n in sorted(problems)]))


def _problem(row: Row, contract: InputContract, folder: Path, device: str) -> str:
    """Prepare an exam in a worker process; why it cannot be used, "" when it can."""
    try:
        prepare_exam(row, contract, folder, device)
    except BreastCMSLError as error:
        return problem_of(row, error)
    return ""


def problem_of(row: Row, error: BreastCMSLError) -> str:
    """Why an exam cannot be used, with its name."""
    return str(error) if row.exam in str(error) else f"{row.exam}: {error}"


def problems_text(problems: Sequence[str]) -> str:
    """What all problems have to say, the first ``MOST_NAMED`` of them in full; one alone is said as it is."""
    if len(problems) == 1:
        return problems[0]
    further = len(problems) - MOST_NAMED
    return " ".join(
        [
            f"{len(problems)} exams cannot be used; correct their lines or leave them out, "
            "and the same command goes on.",
            *problems[:MOST_NAMED],
            *([f"And {further} more."] if further > 0 else []),
        ]
    )


def _on_model_grid(classes: np.ndarray, affine: np.ndarray, model_input: ModelInput) -> np.ndarray:
    """uint8 classes on the model's grid: a voxel is of the class that fills more than half of it."""
    on_grid = np.zeros(model_input.array.shape[1:], np.uint8)
    for value in (1, 2):
        share = Volume((classes == value).astype(np.float32), affine)
        on_grid[resample(share, on_grid.shape, model_input.affine).array > 0.5] = value
    return on_grid
