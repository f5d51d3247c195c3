"""Volume files whose header fields lie."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

from .. import damage
from ..cases import Case, exam_of_files, files_in, generator, original, put


def _pick_text(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(
        [
            "nrrd",
            "nrrd-gz",
            "nhdr",
            "4d-nrrd",
            "mha",
            "mha-z",
            "mhd",
            *(["mimbcd"] if (bases / "mimbcd").is_dir() else []),
        ]
    )
    kind = "mha" if base.startswith("mh") else "nrrd"
    file = rng.choice([f for f in files_in(bases / base) if not f.endswith(".raw")])
    return {
        "base": base,
        "kind": kind,
        "file": file,
        "operations": [damage.damage_text(rng, kind) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
    }


@generator("header-text", _pick_text, weight=14)
def _header_text(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    put(
        folder / "exam" / parameters["file"],
        damage.apply_text(data, parameters["kind"], parameters["operations"]),
    )
    os.mkfifo(folder / "exam" / "pipe")  # a data file that never answers
    return case


def _pick_nifti(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(["nii", "nii-gz", "4d-nii"])
    file = rng.choice(files_in(bases / base))
    return {
        "base": base,
        "file": file,
        "operations": [damage.damage_nifti(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
    }


@generator("header-nifti", _pick_nifti, weight=10)
def _header_nifti(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    packed = parameters["base"] != "nii"
    data = damage.apply_nifti(gzip.decompress(data) if packed else data, parameters["operations"])
    put(folder / "exam" / parameters["file"], gzip.compress(data, 1) if packed else data)
    return case
