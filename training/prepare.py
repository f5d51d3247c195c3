"""Preprocess a cohort once, with the library's own preprocessing, into a cache that training reads.

    python -m training.prepare simulated:small --output CACHE --spacing 4.4
    python -m training.prepare manifest.csv --output CACHE

Goes on where it stopped: an exam is made again only when its input, the input contract or the code has changed. The index
is written last, so that a cache is either complete or not used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from BreastCMSLLib.core.geometry import Volume, resample
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from training.command import ends_in_a_sentence
from training.data import cache
from training.data.manifest import Row, load_exam, read_manifest, truth


def rows_of(source: str) -> list[Row]:
    """The exams of a simulated cohort ("simulated:NAME") or of a manifest."""
    if source.startswith("simulated:"):
        from training.simulation.cohorts import cohort

        return cohort(source.partition(":")[2])
    return read_manifest(Path(source))


def fingerprint(row: Row, contract: InputContract, device: str = "cpu") -> str:
    """Digest of all that decides the exam's cached form: its files (name, size, time) or seed, the contract and the code.

    device: that a simulated exam is made on, whose random numbers its noise is drawn from.
    """
    files = []
    for path in row.files:
        inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        files += [(str(p.relative_to(path.parent)), p.stat().st_size, p.stat().st_mtime_ns) for p in inner]
    facts = {k: v for k, v in asdict(row).items() if k not in ("folder", "split", "where")}
    made_on = [device] if row.seed is not None and device != "cpu" else []
    text = json.dumps([facts, files, asdict(contract), cache.code_version(), *made_on], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def make(row: Row, contract: InputContract, folder: Path, device: str = "cpu") -> None:
    """Preprocess one exam into the cache, unless it is there already. device: that simulated exams are made on."""
    path, print_ = cache.exam_path(folder, row.exam), fingerprint(row, contract, device)
    try:
        if cache.read_meta(path).get("fingerprint") == print_:
            return
    except Exception:  # absent or damaged: made anew
        pass
    exam = load_exam(row, device)
    made = preprocess(exam, contract)
    lesions, mask = truth(row, exam, device)
    on_grid = None
    if mask is not None:
        # a label grid coarser than the lesions would lose the small ones: the largest label of the neighbourhood stays
        on_grid = np.zeros(made.array.shape[1:], np.uint8)
        for value in (1, 2):
            part = resample(Volume((mask == value).astype(np.float32), exam.grid.affine), on_grid.shape, made.affine).array
            on_grid[part > 0.5] = value
    facts = {"exam": row.exam, "patient": row.patient, "label": row.label, "lesions": list(lesions), "fingerprint": print_}
    cache.store(path, made, {**facts, "mask_source": made.mask_source}, on_grid)


def one_core() -> None:
    """Begin a worker process: one exam a core, since threads would only wait for each other."""
    import torch

    torch.set_num_threads(1)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # read when SimpleITK is imported


def _worker(row: Row, contract: InputContract, folder: Path, device: str) -> str:
    try:
        make(row, contract, folder, device)
    except BreastCMSLError as error:
        return str(error) if row.exam in str(error) else f"{row.exam}: {error}"
    return ""


def prepare(
    source: str,
    output: Path,
    spacing_mm: float = 1.1,
    workers: int | None = None,
    splits: Sequence[str] = (),
    device: str = "cpu",
) -> cache.Cache:
    """Make or complete a cache and open it. splits: only these (none given: all exams). device: that simulated exams are made on.

    Raises InputError with the first exam that cannot be used.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    contract = cache.contract_at(spacing_mm)
    rows = [row for row in rows_of(source) if not splits or row.split in splits]
    if (output / "cache.json").exists():
        have = json.loads((output / "cache.json").read_text())
        if have["contract"]["spacing_mm"] != spacing_mm or have["source"] != source:
            raise InputError(f"{output} holds a cache of {have['source']} at {have['contract']['spacing_mm']} mm; choose another folder.")
    (output / "index.csv").unlink(missing_ok=True)
    cache.write_cache(output, contract, source)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    context = get_context(None if device == "cpu" else "spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(workers or os.cpu_count(), context, one_core) as pool, Progress(*columns) as progress:
        task = progress.add_task(f"{source} at {spacing_mm} mm", total=len(rows))
        jobs = [pool.submit(_worker, row, contract, output, device) for row in rows]
        for job in as_completed(jobs):
            if problem := job.result():
                pool.shutdown(cancel_futures=True)
                raise InputError(problem)
            progress.advance(task)
    cache.write_index(output, [{"exam": r.exam, "patient": r.patient, "label": r.label, "split": r.split} for r in rows])
    return cache.open_cache(output)


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a manifest (CSV), or simulated:NAME")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--spacing", type=float, default=1.1, help="voxel size in mm of the model's input (1.1, 2.2 or 4.4)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    parser.add_argument("--splits", nargs="+", default=(), choices=("train", "validate", "test"), help="only these (default: all exams)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, to make simulated exams on (another noise, as real as the first)")
    o = parser.parse_args(arguments)
    done = prepare(o.source, o.output, o.spacing, o.workers, o.splits, o.device)
    print(f"{len(done.rows)} exams in {o.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
