"""The candidate places of a cohort as numbers: what the second reading learns from, without keeping the exams' voxels.

    python -m training.places simulated:large --output PLACES --spacing 2.2
    python training/train_candidates.py RUN --more PLACES

Exams are made or read, preprocessed as everywhere, described and forgotten: 11 kB an exam, where its voxels take 5 MB. A folder
holds ``places.json`` (input contract, settings, source) and parts of ``PART`` exams, ``part-0000.npz`` and so on, each written whole.
The same command goes on where it stopped; several computers can each make some of the parts (``--parts 0 12``).
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from BreastCMSLLib.candidates.classifier import CandidateSettings, propose
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from training.command import ends_in_a_sentence
from training.data import cache
from training.data.manifest import Row, load_exam, truth
from training.prepare import one_core, rows_of

PART = 500


@dataclass(frozen=True)
class Places:
    """The places of one exam.

    measures: float32 (places, numbers). ras_mm: float32 (places, 3), where each lies. minutes: that it lasted.
    lesions_mm: float32 (n, 3), centres of the malignant lesions in RAS mm, to judge by and not to learn from.
    """

    exam: str
    patient: str
    label: int
    split: str
    measures: np.ndarray
    ras_mm: np.ndarray
    minutes: float | None
    lesions_mm: np.ndarray


def of_exam(row: Row, contract: InputContract, settings: CandidateSettings) -> Places:
    """Read or simulate, preprocess and describe one exam. Raises InputError naming it."""
    exam = load_exam(row)
    made = preprocess(exam, contract)
    found = propose(made.array.astype(np.float16), made.inside, made.affine, made.minutes, settings)  # half precision, as caches keep exams
    centres = [lesion["ras_mm"] for lesion in truth(row, exam)[0] if lesion["malignant"]]
    where = np.array([peak.ras_mm for peak in found.peaks], np.float32).reshape(-1, 3)
    lesions = np.array(centres, np.float32).reshape(-1, 3)
    return Places(row.exam, row.patient, row.label, row.split, found.measures, where, made.minutes, lesions)


def card(source: str, contract: InputContract, settings: CandidateSettings) -> dict:
    """What decides the numbers, as ``places.json`` holds it."""
    told = {k: v for k, v in asdict(settings).items() if k in ("phases", "grid_mm", "count", "separation_mm")}
    return json.loads(json.dumps({"source": source, "contract": asdict(contract), "settings": told, "part": PART}))


def _write(path: Path, found: Sequence[Places]) -> None:
    parts = {name: np.array([getattr(p, name) for p in found]) for name in ("exam", "patient", "label", "split")}
    for name in ("measures", "ras_mm", "lesions_mm"):
        parts[name] = np.concatenate([getattr(p, name) for p in found])
    parts["minutes"] = np.array([p.minutes for p in found], np.float64)  # None becomes not a number
    parts["places"] = np.array([len(p.measures) for p in found])
    parts["lesions"] = np.array([len(p.lesions_mm) for p in found])
    stream = io.BytesIO()
    np.savez_compressed(stream, **parts)
    cache.write_atomically(path, stream.getvalue())


def _read(path: Path) -> list[Places]:
    try:
        with np.load(path, allow_pickle=False) as parts:
            held = {name: parts[name] for name in parts.files}
        places, lesions = held["places"].cumsum()[:-1], held["lesions"].cumsum()[:-1]
        minutes = [None if np.isnan(value) else float(value) for value in held["minutes"]]
        columns = [np.split(held["measures"], places), np.split(held["ras_mm"], places), minutes, np.split(held["lesions_mm"], lesions)]
        names = [held["exam"].tolist(), held["patient"].tolist(), held["label"].tolist(), held["split"].tolist()]
        return [Places(*row) for row in zip(*names, *columns, strict=True)]
    except Exception as error:  # zip, header and array errors alike: the file is not what _write() wrote
        raise InputError(f"{path} is damaged ({type(error).__name__}); delete it and run training.places again.") from error


def make(
    source: str,
    output: Path,
    spacing_mm: float,
    settings: CandidateSettings | None = None,
    workers: int | None = None,
    parts: Iterable[int] | None = None,
) -> int:
    """Make the parts of a cohort that are not there yet; returns how many exams were described. parts: only these (None: all).

    Raises InputError with the first exam that cannot be used, or when the folder holds another cohort's places.
    """
    from rich.progress import track

    contract, rows, settings = cache.contract_at(spacing_mm), rows_of(source), settings or CandidateSettings()
    about, path = card(source, contract, settings), output / "places.json"
    if path.exists() and json.loads(path.read_text()) != about:
        raise InputError(f"{output} holds places of another cohort, or found with other settings; choose another folder.")
    cache.write_atomically(path, json.dumps(about, indent=1) + "\n")
    every = range(-(-len(rows) // PART))
    wanted = [n for n in (every if parts is None else parts) if n in every and not _part(output, n).exists()]
    done = 0
    with ProcessPoolExecutor(workers or os.cpu_count(), initializer=one_core) as pool:
        for number in wanted:
            chosen = rows[number * PART : (number + 1) * PART]
            work = pool.map(partial(of_exam, contract=contract, settings=settings), chosen, chunksize=2)
            found = list(track(work, f"places of {source}, part {number}", total=len(chosen)))
            _write(_part(output, number), found)
            done += len(found)
    return done


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:04d}.npz"


def load(folder: Path, split: str | None = None) -> tuple[dict, list[Places]]:
    """What the folder says of itself, and its places in the order of the cohort. split: only these exams (None: all).

    Raises InputError when it is not a folder of places, or a part is damaged. Parts that were never made are left out.
    """
    try:
        about = json.loads((folder / "places.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no places; make them with python -m training.places.") from error
    found = [places for path in sorted(folder.glob("part-*.npz")) for places in _read(path)]
    chosen = [places for places in found if split in (None, places.split)]
    if not chosen:
        raise InputError(f"{folder} has no {split or ''} exams yet; run training.places again.")
    return about, chosen


def of_this_code(source: str, found: Sequence[Places], contract: InputContract, settings: CandidateSettings, count: int = 3) -> bool:
    """Whether any of the first few exams, described again, comes out as it is kept; yes where the exams themselves are not at hand.

    Another processor rounds otherwise, which may cost an exam one of its places, but not every exam.
    """
    try:
        rows = {row.exam: row for row in rows_of(source)}
        again = [(exam.measures, of_exam(rows[exam.exam], contract, settings).measures) for exam in found[:count]]
    except (InputError, KeyError):
        return True
    return any(kept.shape == made.shape and np.allclose(kept, made, atol=1e-2) for kept, made in again)


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a manifest (CSV), or simulated:NAME")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--spacing", type=float, default=2.2, help="voxel size in mm of the exams that are read (2.2 or 1.1)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    parser.add_argument("--parts", nargs=2, type=int, metavar=("FIRST", "END"), help="only the parts FIRST to END − 1 (default: all)")
    o = parser.parse_args(arguments)
    made = make(o.source, o.output, o.spacing, workers=o.workers, parts=None if o.parts is None else range(*o.parts))
    print(f"{made} exams described in {o.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
