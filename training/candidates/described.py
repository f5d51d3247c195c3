"""The candidates of a cohort as features: what the classifier learns from, without keeping the exams' voxels.

Exams are made or read, preprocessed as everywhere, described and forgotten: 17 kB an exam, where its voxels
take 5 MB. A folder holds ``candidates.json`` (input contract, settings, source, code) and parts of ``PART``
exams, ``part-0000.npz`` and so on, each written whole. The same command goes on where it stopped; several
computers can each make some of the parts. Exams of a cache are described as they are kept there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from BreastCMSLLib.alignment import register
from BreastCMSLLib.candidates.proposals import ExamCandidates
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from training.data import cache
from training.data.exams import load_exam, truth
from training.data.files import write_arrays, write_json
from training.data.manifest import Row, read_cohort
from training.data.moved_grids import drawn_grid
from training.data.preparation import keep_exam
from training.data.processes import worker_processes

from .bags import (
    all_are_known,
    candidates_of_cached,
    described_candidates,
    known_lesions,
    places_of,
    truth_of,
)

PART = 500
COARSE_MM = 4.4  # of the exams that the network learns from
CARD = "candidates.json"
SETTINGS = ("phases", "grid_mm", "count", "separation_mm", "features")  # those that decide the features


@dataclass(frozen=True)
class DescribedExam:
    """The candidates of one exam.

    Parameters
    ----------
    exam, patient, label, split
        As in its manifest.
    features : numpy.ndarray
        (candidates, features) float32.
    ras_mm : numpy.ndarray
        (candidates, 3) float32, where each lies, in RAS mm.
    duration_min : float or None
        From the first phase after contrast to the last.
    lesions_mm : numpy.ndarray
        (lesions, 3) float32, centres of the known lesions in RAS mm.
    radius_mm : numpy.ndarray
        (lesions,) float32, of spheres of their volumes.
    malignant : numpy.ndarray
        (lesions,) bool.
    complete : bool
        Whether these are all its lesions, as of a simulated exam. Only then are they learned from.
    """

    exam: str
    patient: str
    label: int
    split: str
    features: np.ndarray
    ras_mm: np.ndarray
    duration_min: float | None
    lesions_mm: np.ndarray
    radius_mm: np.ndarray
    malignant: np.ndarray
    complete: bool

    @property
    def truth(self) -> np.ndarray:
        """(candidates,) int64 of ``bags.truth_of``."""
        return truth_of(self.ras_mm, self.lesions_mm, self.radius_mm, self.malignant, self.complete)


def describe_exam(
    row: Row,
    contract: InputContract,
    settings: CandidateSettings,
    copy: int = 0,
    coarse: Path | None = None,
) -> DescribedExam:
    """Read or simulate, preprocess and describe one exam. Raises InputError naming it.

    Of copy 1, 2, … the grid is moved by a part of a voxel and turned by up to ``MOST_TURN_DEG``, drawn from
    the exam's name and the number: a classifier that learns from copies as well depends less on the grid.
    """
    exam = load_exam(row)
    registered = register(exam)[0]
    over = drawn_grid(registered, contract.spacing_mm, row.exam, copy) if copy else None
    model_input = preprocess(registered, contract, over=over)
    if coarse is not None and not copy:
        wide = cache.contract_at(COARSE_MM)
        keep_exam(row, exam, preprocess(registered, wide), wide, coarse)
    # half precision, as caches keep exams
    array = model_input.array.astype(np.float16)
    described = described_candidates(
        row.exam,
        array,
        model_input.inside,
        model_input.affine,
        model_input.duration_min,
        settings,
        model_input.landmarks,
    )
    return _described(row, described, truth(row, exam)[0], row.seed is not None)


def describe_kept(row: Row, folder: Path, settings: CandidateSettings, copy: int = 0) -> DescribedExam:
    """Describe one exam of a cache. Raises InputError where it is damaged."""
    exam, described = candidates_of_cached(cache.exam_path(folder, row.exam), settings)
    return _described(row, described, exam.meta["lesions"], all_are_known(exam))


def _described(row: Row, described: ExamCandidates, lesions: Sequence[dict], complete: bool) -> DescribedExam:
    return DescribedExam(
        row.exam,
        row.patient,
        row.label,
        row.split,
        described.features,
        places_of(described),
        described.duration_min,
        *known_lesions(lesions),
        complete,
    )


def describe_cohort(
    source: str,
    output: Path,
    spacing_mm: float,
    settings: CandidateSettings | None = None,
    workers: int | None = None,
    parts: Iterable[int] | None = None,
    copies: int = 0,
    coarse: Path | None = None,
) -> int:
    """Make the parts of a cohort that are not there yet.

    Parameters
    ----------
    source : str
        A manifest (CSV), simulated:NAME, or the folder of a cache.
    output : Path
        Folder of the parts.
    spacing_mm : float
        Voxel size of the exams that are described; a cache has its own.
    settings : CandidateSettings, optional
        How candidates are found and described.
    workers : int, optional
        Processes (default: ``usual_workers``).
    parts : iterable of int, optional
        Only these (None: all).
    copies : int
        So often every training exam is described again, see :func:`describe_exam`.
    coarse : Path, optional
        Cache that the exams are also written into at ``COARSE_MM``; ``training/prepare.py`` completes it.

    Returns
    -------
    int
        How many exams were described, copies included.

    Raises
    ------
    InputError
        With the first exam that cannot be used, or when the folder holds other candidates.
    """
    settings = settings or CandidateSettings()
    if (Path(source) / "cache.json").exists():
        if copies or coarse is not None:
            raise InputError(
                f"{source} is a cache, which keeps each exam once; name the exams' source instead."
            )
        store = cache.open_cache(source)
        if store.of_other_code:  # its candidates would pass for those of exams as they are read now
            raise InputError(
                f"The exams in {store.folder} were prepared by another version of the code; "
                "run python training/prepare.py with the same source and folder first."
            )
        source, contract = store.source, store.contract
        rows = [Row(**{name: row[name] for name in cache.INDEX}) for row in store.rows]
        simulated = store.simulated
        describe = partial(describe_kept, folder=store.folder, settings=settings)
    else:
        contract, rows = cache.contract_at(spacing_mm), read_cohort(source)
        simulated = all(row.seed is not None for row in rows)
        describe = partial(describe_exam, contract=contract, settings=settings, coarse=coarse)
    card, path = card_of(source, contract, settings) | {"copies": copies}, output / CARD
    if path.exists() and _without_kind(json.loads(path.read_text(encoding="utf-8"))) != card:
        raise InputError(
            f"{output} holds candidates of another cohort, or described otherwise; choose another folder."
        )
    write_json(path, card | {"simulated": simulated})
    every = range(-(-len(rows) // PART))
    missing = [n for n in (every if parts is None else parts) if n in every and not _part(output, n).exists()]
    count = 0
    with worker_processes(workers) as pool:
        for number in missing:
            of_part = rows[number * PART : (number + 1) * PART]
            chosen = [(row, n) for row in of_part for n in range(1 + (copies if row.split == "train" else 0))]
            work = pool.map(partial(_describe_pair, describe=describe), chosen, chunksize=2 * (1 + copies))
            title = f"candidates of {source}, part {number}"
            _write(_part(output, number), list(track(work, title, total=len(chosen))))
            count += len(chosen)
    return count


def _without_kind(card: dict) -> dict:
    """A card without what it says of the exams' kind, which earlier ones do not."""
    return {key: value for key, value in card.items() if key != "simulated"}


def _describe_pair(pair: tuple[Row, int], describe: Callable[..., DescribedExam]) -> DescribedExam:
    return describe(pair[0], copy=pair[1])


def card_of(source: str, contract: InputContract, settings: CandidateSettings) -> dict:
    """What decides the features of a cohort, as ``candidates.json`` holds it."""
    card = {
        "source": source,
        "contract": asdict(contract),
        "settings": {name: value for name, value in asdict(settings).items() if name in SETTINGS},
        "part": PART,
        "code": cache.code_version("BreastCMSLLib/candidates"),
    }
    return json.loads(json.dumps(card))


def load_described(folder: Path, split: str | None = None) -> tuple[dict, list[DescribedExam]]:
    """Read a folder of described candidates. Parts that were never made are left out.

    Parameters
    ----------
    folder : Path
        Of the parts.
    split : str, optional
        Only these exams (None: all).

    Returns
    -------
    card : dict
        What the folder says of itself.
    exams : list of DescribedExam
        In the order of the cohort.

    Raises
    ------
    InputError
        When it is not such a folder, or a part is damaged.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no candidates; make them with python training/describe_candidates.py."
        ) from error
    every = [exam for path in sorted(folder.glob("part-*.npz")) for exam in _read(path)]
    exams = [exam for exam in every if split in (None, exam.split)]
    if not exams:
        raise InputError(
            f"{folder} has no {split or ''} exams yet; run python training/describe_candidates.py again."
        )
    return card, exams


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:04d}.npz"


def _write(path: Path, exams: Sequence[DescribedExam]) -> None:
    arrays = {
        name: np.array([getattr(exam, name) for exam in exams])
        for name in ("exam", "patient", "label", "split", "complete")
    }
    for name in ("features", "ras_mm", "lesions_mm", "radius_mm", "malignant"):
        arrays[name] = np.concatenate([getattr(exam, name) for exam in exams])
    arrays["duration_min"] = np.array([exam.duration_min for exam in exams], np.float64)  # None becomes NaN
    arrays["candidates"] = np.array([len(exam.features) for exam in exams])
    arrays["lesions"] = np.array([len(exam.lesions_mm) for exam in exams])
    write_arrays(path, **arrays)


def _read(path: Path) -> list[DescribedExam]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        # earlier parts hold the centres of malignant lesions alone, to judge by
        marked, exams = len(arrays["lesions_mm"]), len(arrays["exam"])
        earlier = {"radius_mm": np.full(marked, np.nan, np.float32), "malignant": np.ones(marked, bool)}
        arrays = {**earlier, "complete": np.zeros(exams, bool), **arrays}
        candidates, lesions = arrays["candidates"].cumsum()[:-1], arrays["lesions"].cumsum()[:-1]
        columns = [
            *(arrays[name].tolist() for name in ("exam", "patient", "label", "split")),
            np.split(arrays["features"], candidates),
            np.split(arrays["ras_mm"], candidates),
            [None if np.isnan(value) else float(value) for value in arrays["duration_min"]],
            np.split(arrays["lesions_mm"], lesions),
            np.split(arrays["radius_mm"], lesions),
            np.split(arrays["malignant"], lesions),
            arrays["complete"].tolist(),
        ]
        return [DescribedExam(*row) for row in zip(*columns, strict=True)]
    except Exception as error:  # zip, header and array errors alike: the file is not what _write() wrote
        raise InputError(
            f"{path} is damaged ({type(error).__name__}); "
            "delete it and run python training/describe_candidates.py again."
        ) from error
