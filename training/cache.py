"""Preprocessed exams on disk: made once by the library's own preprocessing, read many times by training.

Only voxels inside the smoothed mask are stored (about a fifth), in half precision.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from BreastCMSLLib.preprocessing import InputContract, ModelInput


@dataclass(frozen=True)
class CachedExam:
    """array: float16 (phases, LR, AP, SI). meta: label, seed, affine, lesions, … as JSON keeps them.

    inside: the breast mask at full resolution, where peaks may lie.
    """

    array: torch.Tensor
    meta: dict
    inside: np.ndarray


def _pack(array: np.ndarray) -> dict[str, np.ndarray]:
    filled = (array != 0).any(axis=0)
    return {"bits": np.packbits(filled), "shape": np.array(array.shape), "values": array[:, filled].astype(np.float16)}


def _unpack(parts, prefix: str) -> torch.Tensor:
    shape = tuple(int(n) for n in parts[prefix + "shape"])
    filled = torch.from_numpy(np.unpackbits(parts[prefix + "bits"], count=int(np.prod(shape[1:]))).view(bool))
    index = filled.nonzero()[:, 0]
    dense = torch.zeros(shape[0], filled.numel(), dtype=torch.float16)
    dense[:, index] = torch.from_numpy(parts[prefix + "values"])
    return dense.reshape(shape)


def halve(array: torch.Tensor) -> torch.Tensor:
    """Mean over 2×2×2 voxels of (phases, LR, AP, SI): the 2.2 mm input of the first stage of training."""
    return torch.nn.functional.avg_pool3d(array.float()[None], 2)[0]


def store(path: Path, made: ModelInput, meta: dict) -> None:
    """Write one exam atomically, at full and at half resolution."""
    full, half = _pack(made.array), _pack(halve(torch.from_numpy(made.array)).numpy())
    meta = {**meta, "affine": made.affine.tolist(), "scale": made.scale, "mask_source": made.mask_source}
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with open(partial, "wb") as stream:
        np.savez(
            stream,
            **{f"full_{k}": v for k, v in full.items()},
            **{f"half_{k}": v for k, v in half.items()},
            inside=np.packbits(made.inside),
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        )
    os.replace(partial, path)


def load(path: Path, resolution: str = "full") -> CachedExam:
    """Read one exam; resolution "full" (1.1 mm) or "half" (2.2 mm)."""
    with np.load(path, allow_pickle=False) as parts:
        size = tuple(int(n) for n in parts["full_shape"][1:])
        inside = np.unpackbits(parts["inside"], count=int(np.prod(size))).view(bool).reshape(size)
        return CachedExam(_unpack(parts, resolution + "_"), json.loads(parts["meta"].tobytes()), inside)


def contract() -> InputContract:
    """The input contract every shipped model is trained with."""
    return InputContract()
