"""Preprocessed exams on disk: made once by the library's own preprocessing, read many times by training.

A cache is a folder: ``cache.json`` (input contract, source), ``index.csv`` (one line an exam, written when
all are made) and ``exams/NAME.npz``. Only voxels inside the smoothed mask are stored (about a fifth), in half
precision. An exam is kept whole, on the grid its breasts need; a network in training takes a window of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.landmarks import Landmarks
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput

from .files import read_rows, write_arrays, write_json, write_rows

# and birads, where a manifest has it; and seed, where it has simulated exams beside others
INDEX = ("exam", "patient", "label", "split")
# what decides how an exam is read or made, and preprocessed
CODE = (
    "BreastCMSLLib/core",
    "BreastCMSLLib/exam",
    "BreastCMSLLib/readers",
    "BreastCMSLLib/preprocessing",
    "BreastCMSLLib/checks",
    "BreastCMSLLib/alignment.py",
    "training/simulation",
    "training/data/exams.py",
)


@dataclass(frozen=True)
class CachedExam:
    """A preprocessed exam and its truth.

    Parameters
    ----------
    array : torch.Tensor
        (phases, LR, AP, SI) float16.
    meta : dict
        exam, patient, label (1 malignant), affine (index → RAS mm), scale, duration_min, lesions, warnings,
        facts, window (see :func:`store`).
    inside : numpy.ndarray
        (LR, AP, SI) bool: the breast mask, where peaks may lie.
    truth : numpy.ndarray or None
        (LR, AP, SI) uint8: 1 benign and 2 malignant lesion; None where it is not known.
    """

    array: torch.Tensor
    meta: dict
    inside: np.ndarray
    truth: np.ndarray | None

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index → RAS mm."""
        return np.array(self.meta["affine"])

    @property
    def landmarks(self) -> Landmarks | None:
        """Of the breast mask, where they were kept."""
        kept = self.meta.get("landmarks")
        return None if kept is None else Landmarks.from_json(kept)

    @property
    def duration_min(self) -> float | None:
        """Minutes from the first phase after contrast to the last, where known."""
        return self.meta["duration_min"]


@dataclass(frozen=True)
class PackedExam:
    """What the network sees of a cached exam, as it lies on disk: a fifth of its voxels.

    Parameters
    ----------
    filled : torch.Tensor
        uint8, one bit for each voxel of ``shape[1:]``, the first voxel's the highest.
    values : torch.Tensor
        (phases, filled voxels) float16.
    shape : tuple of int
        (phases, LR, AP, SI).
    meta : dict
        As of :class:`CachedExam`.
    """

    filled: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, ...]
    meta: dict

    def to(self, device: torch.device) -> PackedExam:
        return replace(self, filled=self.filled.to(device), values=self.values.to(device))

    def dense(self) -> torch.Tensor:
        """(phases, LR, AP, SI) float16 on the device of the values; 0 where nothing is stored."""
        count = math.prod(self.shape[1:])
        bit = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.filled.device)
        at = ((self.filled[:, None] >> bit) & 1).flatten()[:count].nonzero()[:, 0]
        whole = torch.zeros(self.shape[0], count, dtype=torch.float16, device=self.values.device)
        whole[:, at] = self.values
        return whole.reshape(self.shape)

    def window(self) -> torch.Tensor:
        """What a network in training takes of :meth:`dense`, of one size for all exams of a cache."""
        return self.dense()[(slice(None), *(slice(*ends) for ends in self.meta["window"]))]


@dataclass(frozen=True)
class Cache:
    """A finished cache.

    Parameters
    ----------
    folder : Path
        Where it lies.
    contract : InputContract
        Of its exams.
    rows : list of dict
        The index, with the keys of ``INDEX`` (label as int).
    source : str
        The manifest, or simulated:NAME.
    simulated : bool
        Whether all exams are, also those of a manifest.
    code : str
        ``code_version`` that its exams were made by; "" where it is not known.
    """

    folder: Path
    contract: InputContract
    rows: list[dict]
    source: str
    simulated: bool = False
    code: str = ""

    @property
    def of_other_code(self) -> bool:
        """Whether its exams were made by other code than that which reads exams now."""
        return self.code not in ("", code_version())

    @property
    def title(self) -> str:
        """What its exams are, for a reader."""
        kind, _, name = self.source.partition(":")
        if kind == "simulated":
            return f"simulated cohort {name}"
        name = Path(self.source).name
        return f"simulated exams of {name}" if self.simulated else name

    def path(self, exam: str) -> Path:
        return exam_path(self.folder, exam)


def exam_path(folder: Path, exam: str) -> Path:
    return folder / "exams" / f"{exam}.npz"


def contract_at(spacing_mm: float) -> InputContract:
    """The shipped models' window on a grid: 340×220×128 at 1.1 mm, a quarter of that at 4.4 mm."""
    full = InputContract()
    size = tuple(round(n * full.spacing_mm / spacing_mm) for n in full.size)
    return InputContract(size=size, spacing_mm=spacing_mm)


@cache
def code_version(*further: str) -> str:
    """Digest of the code that decides what a preprocessed exam holds; what other code made is made anew.

    Parameters
    ----------
    *further : str
        Folders from the checkout's root that decide what is made of it.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    root = Path(__file__).resolve().parents[2]
    sources: list[Path] = []
    for name in (*CODE, *further):
        sources += [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def store(
    path: Path,
    model_input: ModelInput,
    meta: dict,
    truth: np.ndarray | None = None,
    size: tuple[int, int, int] | None = None,
) -> None:
    """Write one exam.

    Parameters
    ----------
    path : Path
        :func:`exam_path`.
    model_input : ModelInput
        As ``preprocess`` makes it.
    meta : dict
        What is known besides; see :class:`CachedExam`.
    truth : numpy.ndarray, optional
        uint8 on the same grid.
    size : tuple of int, optional
        Of the window that a network in training takes, where the breasts fill most of it (None: all).
    """
    filled = (model_input.array != 0).any(axis=0)
    parts = {
        "filled": np.packbits(filled),
        "values": model_input.array[:, filled].astype(np.float16),
        "inside": np.packbits(model_input.inside),
        "shape": np.array(model_input.array.shape),
    }
    if truth is not None:
        parts["truth_at"] = np.flatnonzero(truth).astype(np.int32)
        parts["truth"] = truth[truth > 0].astype(np.uint8)
    meta = {
        **meta,
        "affine": model_input.affine.tolist(),
        "scale": model_input.scale,
        "duration_min": model_input.duration_min,
        "warnings": list(model_input.warnings),
        "landmarks": None if model_input.landmarks is None else model_input.landmarks.as_json(),
        "window": fullest_window(filled, size or filled.shape),
    }
    write_arrays(path, compressed=False, **parts, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))


def fullest_window(filled: np.ndarray, size: tuple[int, int, int]) -> list[list[int]]:
    """Start and stop along every axis of a window that holds the most; of several alike the middle one."""
    ends = []
    for axis, length in enumerate(size):
        profile = filled.sum(axis=tuple(a for a in range(3) if a != axis))
        length = min(length, profile.size)
        held = np.convolve(profile, np.ones(length, dtype=profile.dtype), "valid")
        fullest = np.flatnonzero(held == held.max())
        start = int(fullest[len(fullest) // 2])
        ends.append([start, start + length])
    return ends


def read_meta(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as parts:
        return json.loads(parts["meta"].tobytes())


def load(path: Path) -> CachedExam:
    """Read one exam. Raises InputError naming a file that is missing or damaged."""
    with _opened(path) as parts:
        packed = _packed(parts)
        size, count = packed.shape[1:], math.prod(packed.shape[1:])
        inside = np.unpackbits(parts["inside"], count=count).view(bool).reshape(size)
        truth = None
        if "truth" in parts:
            truth = np.zeros(count, np.uint8)
            truth[parts["truth_at"]] = parts["truth"]
            truth = truth.reshape(size)
        exam = CachedExam(packed.dense(), packed.meta, inside, truth)
    _check_version(path, exam.meta)
    return exam


def load_packed(path: Path) -> PackedExam:
    """Read what the network sees of one exam, packed. Raises InputError as :func:`load` does."""
    with _opened(path) as parts:
        packed = _packed(parts)
    _check_version(path, packed.meta)
    return packed


def _check_version(path: Path, meta: dict) -> None:
    if not {"duration_min", "window"} <= meta.keys():
        raise InputError(f"{path} was made by an earlier version; run training/prepare.py again.")


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a cached exam."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            yield parts
    except FileNotFoundError:
        raise InputError(f"{path} is missing from the cache; run training/prepare.py again.") from None
    except Exception as error:  # zip, header and array errors alike: the file is not what store() wrote
        reason = type(error).__name__
        raise InputError(
            f"{path} is damaged ({reason}); delete it and run training/prepare.py again."
        ) from error


def _packed(parts) -> PackedExam:
    filled, values = torch.from_numpy(parts["filled"]), torch.from_numpy(parts["values"])
    shape = tuple(int(n) for n in parts["shape"])
    return PackedExam(filled, values, shape, json.loads(parts["meta"].tobytes()))


def write_cache(folder: Path, contract: InputContract, source: str, simulated: bool | None = None) -> None:
    """Write cache.json. ``simulated``: whether all exams are (None: by the source's name)."""
    simulated = source.startswith("simulated:") if simulated is None else simulated
    card = {"contract": asdict(contract), "source": source, "simulated": simulated, "code": code_version()}
    write_json(folder / "cache.json", card)


def write_index(folder: Path, rows: Sequence[dict]) -> None:
    graded = ("birads",) if any(row.get("birads") for row in rows) else ()
    simulated = [row.get("seed") is not None for row in rows]
    mixed = ("seed",) if any(simulated) and not all(simulated) else ()
    write_rows(folder / "index.csv", rows, INDEX + graded + mixed)


def open_cache(folder: Path | str) -> Cache:
    """A finished cache. Raises InputError when there is none in the folder, or its making was interrupted.

    Where its exams were made by other code than that which reads exams now, stderr says so. A run that was
    trained on them can still be used.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        contract, source = InputContract.from_json(card["contract"]), str(card.get("source", ""))
        simulated = bool(card.get("simulated", source.startswith("simulated:")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not a cache of preprocessed exams; make one with python training/prepare.py."
        ) from error
    try:
        rows = [{**row, "label": int(row["label"])} for row in read_rows(folder / "index.csv")]
        if not (folder / "index.csv").exists():
            raise FileNotFoundError
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"The cache {folder} is not finished; run the same python training/prepare.py command again."
        ) from error
    found = Cache(folder, contract, rows, source, simulated, str(card.get("code", "")))
    if found.of_other_code:
        _say_other_code(folder.resolve())
    return found


@cache
def _say_other_code(folder: Path) -> None:
    """Once for each folder."""
    print(
        f"The exams in {folder} were prepared by another version of the code, which may have read them "
        "otherwise; python training/prepare.py with the same source and folder makes them anew.",
        file=sys.stderr,
    )
