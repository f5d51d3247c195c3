"""Generators that nobody on this project wrote: radamsa (``pyradamsa``) over all formats, and
``dicom-fuzzer`` over DICOM.

Both are optional. A generator that is not installed is skipped, and the report says why.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
from functools import cache
from pathlib import Path

from .cases import Case, exam_of_dicom, exam_of_files, files_in, generator, put


def _no_radamsa(bases: Path) -> str:
    return (
        "" if importlib.util.find_spec("pyradamsa") else "pyradamsa is not installed (pip install pyradamsa)"
    )


def _no_dicom_fuzzer(bases: Path) -> str:
    return "" if shutil.which("dicom-fuzzer") else "dicom-fuzzer is not installed (pip install dicom-fuzzer)"


@cache
def _radamsa():
    import pyradamsa

    return pyradamsa.Radamsa()


def _pick_radamsa(rng: random.Random, bases: Path) -> dict:
    names = [
        "nrrd",
        "nhdr",
        "nii",
        "mha",
        "mhd",
        "mimbcd",
        "dicom",
        "recoded",
        "enhanced",
        "duke",
        "duke",
        "request",
    ]
    base = rng.choice([b for b in names if (bases / b).is_dir()])
    return {"base": base, "file": rng.choice(files_in(bases / base)), "seed": rng.randrange(2**31)}


@generator("radamsa", _pick_radamsa, weight=8, unavailable=_no_radamsa)
def _mutated(parameters: dict, bases: Path, folder: Path) -> Case:
    base, file = parameters["base"], parameters["file"]
    data = (bases / base / file).read_bytes()
    if base in ("dicom", "recoded", "enhanced", "duke", "request"):
        case = exam_of_dicom(bases, base, folder)
    else:
        case = exam_of_files(bases, base, folder)
    put(folder / "exam" / file, _radamsa().fuzz(data, seed=parameters["seed"], max_mut=len(data) + 4096))
    if base == "request":
        return Case("request", [folder / "exam" / "REQUEST.json"], [*case.names, "node"])
    return case


def _pick_dicom_fuzzer(rng: random.Random, bases: Path) -> dict:
    base = "duke" if (bases / "duke").is_dir() else "dicom"
    return {"base": base, "file": rng.choice(files_in(bases / base)), "number": rng.randrange(50)}


@generator("dicom-fuzzer", _pick_dicom_fuzzer, weight=8, unavailable=_no_dicom_fuzzer)
def _fuzzed(parameters: dict, bases: Path, folder: Path) -> Case:
    """One of fifty files that dicom-fuzzer makes of a slice, once for each slice; kept beside the bases."""
    base, file = parameters["base"], parameters["file"]
    store = bases / "dicom-fuzzer" / base / file
    if not (store / "complete").exists():
        store.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["dicom-fuzzer", str(bases / base / file), "-c", "50", "-o", str(store)],
            check=True,
            capture_output=True,
            timeout=300,
        )
        (store / "complete").touch()
    variants = sorted(p for p in store.rglob("*.dcm") if p.is_file())
    case = exam_of_dicom(bases, base, folder)
    put(folder / "exam" / file, variants[parameters["number"] % len(variants)].read_bytes())
    return case
