"""Preprocessed exams on disk: made once by the library's own preprocessing, read many times by training.

A cache is a folder: ``cache.json`` (input contract, source), ``index.csv`` (one line an exam, written when all are made)
and ``exams/NAME.npz``. Only voxels inside the smoothed mask are stored (about a fifth), in half precision.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from pathlib import Path

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput

INDEX = ("exam", "patient", "label", "split")


@dataclass(frozen=True)
class CachedExam:
    """array: float16 (phases, LR, AP, SI). inside: the breast mask on the same grid, where peaks may lie.

    meta: exam, patient, label (1 malignant), split, affine (index → RAS mm), scale, minutes, lesions, warnings, facts.
    truth: uint8 on the same grid, 1 benign and 2 malignant lesion, or None where it is not known.
    """

    array: torch.Tensor
    meta: dict
    inside: np.ndarray
    truth: np.ndarray | None


@dataclass(frozen=True)
class Cache:
    """rows: the index, dictionaries with the keys of ``INDEX`` (label as int)."""

    folder: Path
    contract: InputContract
    rows: list[dict]
    source: str

    def path(self, exam: str) -> Path:
        return exam_path(self.folder, exam)


def exam_path(folder: Path, exam: str) -> Path:
    return folder / "exams" / f"{exam}.npz"


def contract_at(spacing_mm: float) -> InputContract:
    """The shipped models' field of view on a coarser grid: 1.1 mm gives 340×220×128, 2.2 and 4.4 mm a half and a quarter."""
    full = InputContract()
    return InputContract(size=tuple(round(n * full.spacing_mm / spacing_mm) for n in full.size), spacing_mm=spacing_mm)


@once
def code_version() -> str:
    """Digest of the code that decides what a preprocessed exam holds; a cache made by other code is made again."""
    root = Path(__file__).resolve().parents[2]
    folders = [root / "BreastCMSLLib" / name for name in ("core", "exam", "preprocessing")] + [root / "training" / "simulation"]
    sources = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def write_atomically(path: Path, data: bytes | str) -> None:
    """All of the file or none of it, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(partial, path)


def store(path: Path, made: ModelInput, meta: dict, truth: np.ndarray | None = None) -> None:
    """Write one exam atomically. truth: uint8 on the grid of ``made``."""
    filled = (made.array != 0).any(axis=0)
    parts = {
        "filled": np.packbits(filled),
        "values": made.array[:, filled].astype(np.float16),
        "inside": np.packbits(made.inside),
        "shape": np.array(made.array.shape),
    }
    if truth is not None:
        parts["truth_at"] = np.flatnonzero(truth).astype(np.int32)
        parts["truth"] = truth[truth > 0].astype(np.uint8)
    meta = {**meta, "affine": made.affine.tolist(), "scale": made.scale, "minutes": made.minutes, "warnings": list(made.warnings)}
    stream = io.BytesIO()
    np.savez(stream, **parts, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    write_atomically(path, stream.getvalue())


def read_meta(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as parts:
        return json.loads(parts["meta"].tobytes())


@dataclass(frozen=True)
class PackedExam:
    """A cached exam as it lies on disk: a fifth of its voxels.

    filled: uint8, one bit for each voxel of ``shape[1:]``, the first voxel's the highest. values: float16 (phases, filled voxels).
    """

    filled: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, ...]
    meta: dict

    def to(self, device: torch.device) -> PackedExam:
        return replace(self, filled=self.filled.to(device), values=self.values.to(device))

    def dense(self) -> torch.Tensor:
        """float16 (phases, LR, AP, SI), on the device of the values; 0 where nothing is stored."""
        count = math.prod(self.shape[1:])
        bit = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.filled.device)
        at = ((self.filled[:, None] >> bit) & 1).flatten()[:count].nonzero()[:, 0]
        whole = torch.zeros(self.shape[0], count, dtype=torch.float16, device=self.values.device)
        whole[:, at] = self.values
        return whole.reshape(self.shape)


@contextmanager
def _opened(path: Path):
    """The arrays of a cached exam. Raises InputError naming a file that is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            yield parts
    except FileNotFoundError:
        raise InputError(f"{path} is missing from the cache; run training.prepare again.") from None
    except Exception as error:  # zip, header and array errors alike: the file is not what store() wrote
        raise InputError(f"{path} is damaged ({type(error).__name__}); delete it and run training.prepare again.") from error


def _packed(parts) -> PackedExam:
    filled, values = torch.from_numpy(parts["filled"]), torch.from_numpy(parts["values"])
    return PackedExam(filled, values, tuple(int(n) for n in parts["shape"]), json.loads(parts["meta"].tobytes()))


def load_packed(path: Path) -> PackedExam:
    """Read what the network sees of one exam, without unpacking it. Raises InputError naming a file that is missing or damaged."""
    with _opened(path) as parts:
        return _packed(parts)


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
    if "minutes" not in exam.meta:
        raise InputError(f"{path} was made before the times of its phases were kept; run training.prepare again.")
    return exam


def write_cache(folder: Path, contract: InputContract, source: str) -> None:
    card = {"contract": asdict(contract), "source": source, "code": code_version()}
    write_atomically(folder / "cache.json", json.dumps(card, indent=1) + "\n")


def write_index(folder: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, INDEX, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "index.csv", text.getvalue())


def open_cache(folder: Path | str) -> Cache:
    """A finished cache. Raises InputError when there is none in the folder, or its making was interrupted."""
    folder = Path(folder)
    try:
        card = json.loads((folder / "cache.json").read_text())
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in card["contract"].items() if k != "mask"}
        mask = {k: tuple(v) if isinstance(v, list) else v for k, v in card["contract"]["mask"].items()}
        contract = InputContract(**values, mask=MaskSettings(**mask))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not a cache of preprocessed exams; make one with python -m training.prepare.") from error
    try:
        with open(folder / "index.csv", newline="") as stream:
            rows = [{**row, "label": int(row["label"])} for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The cache {folder} is not finished; run the same python -m training.prepare command again.") from error
    return Cache(folder, contract, rows, str(card.get("source", "")))
