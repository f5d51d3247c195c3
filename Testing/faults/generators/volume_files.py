"""Volume files with damaged bytes, or cut off."""

from __future__ import annotations

import random
from pathlib import Path

from .. import damage
from ..cases import SAME, Case, exam_of_files, files_in, generator, original, put

_VOLUMES = ["nrrd", "nrrd-gz", "nhdr", "nii", "nii-gz", "mha", "mha-z", "mhd", "4d-nrrd", "4d-nii", "mimbcd"]
_HEADER = {
    "nrrd": 420,
    "nrrd-gz": 420,
    "nhdr": 420,
    "nii": 352,
    "mha": 330,
    "mha-z": 360,
    "mhd": 330,
    "4d-nrrd": 450,
    "mimbcd": 640,
}


def _volume_bases(bases: Path) -> list[str]:
    return [name for name in _VOLUMES if (bases / name).is_dir()]


def _pick_bytes(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(_volume_bases(bases))
    file = rng.choice(files_in(bases / base))
    size = (bases / base / file).stat().st_size
    reach = _HEADER.get(base) if rng.random() < 0.7 and not file.endswith(".raw") else None
    return {
        "base": base,
        "file": file,
        "operations": [damage.damage_bytes(rng, size, reach) for _ in range(rng.choice([1, 1, 1, 2, 4, 12]))],
    }


@generator("volume-bytes", _pick_bytes, weight=14)
def _volume_bytes(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder)
    data = original(parameters, bases)
    put(folder / "exam" / parameters["file"], damage.apply_bytes(data, parameters["operations"]))
    return case


def _pick_truncated(rng: random.Random, bases: Path) -> dict:
    base = rng.choice(_volume_bases(bases))
    file = rng.choice(files_in(bases / base))
    size = (bases / base / file).stat().st_size
    return {
        "base": base,
        "file": file,
        "keep": rng.choice(
            [0, 1, size - 1, size - 4, size - 8, size - 9, rng.randrange(size), rng.randrange(size)]
        ),
    }


@generator("volume-truncated", _pick_truncated, weight=6)
def _volume_truncated(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, parameters["base"], folder, SAME)
    put(folder / "exam" / parameters["file"], original(parameters, bases)[: parameters["keep"]])
    return case
