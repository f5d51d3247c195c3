"""Manifests from the folders of public collections, one module for each.

    python -m training.datasets NAME FOLDER --output manifest.csv [--labels FILE] [--seed 0]

Layouts, labels and splits of each collection are described in docs/datasets.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Row, split_by_patient, write_manifest

from .common import Found

COLLECTIONS = {
    "odelia": "ODELIA breast MRI",
    "ambl": "Advanced-MRI-Breast-Lesions",
    "fastmri": "fastMRI breast",
    "duke": "Duke-Breast-Cancer-MRI",
    "mama_mia": "MAMA-MIA",
    "ispy": "I-SPY 1 and 2 as NIfTI (BreastDCEDL, ISPY1-Tumor-SEG-Radiomics)",
    "breast_diagnosis": "BREAST-DIAGNOSIS",
}
_OF_TRAINING = (0.875, 0.125, 0.0)  # where only training and test are published: validation is an eighth of the training patients


def find(name: str, folder: Path, labels: Path | None = None, *, seed: int = 0, negatives: bool = False) -> Found:
    """The exams of a downloaded collection, with splits.

    labels: the collection's table of labels (or boxes, or splits), where it is not in the folder. negatives: exams without
    any lesion count as benign. Raises InputError when the folder is not the collection's, or holds no usable exam.
    """
    key = name.lower().replace("-", "_")
    if key not in COLLECTIONS:
        raise InputError(f"{name} is no known collection; choose one of {', '.join(COLLECTIONS)}, or write a manifest by hand.")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder the collection was downloaded to.")
    found = Found()
    import_module(f".{key}", __name__).find(folder, labels, found, negatives)
    if found.rows:
        _split(found, seed)
    if not found.rows:
        why = f" ({len(found.left_out)} were left out, {found.left_out[0][0]}: {found.left_out[0][1]})" if found.left_out else ""
        raise InputError(f"{folder} holds no usable exam of {COLLECTIONS[key]}{why}; check the folder and its layout.")
    return found


def make_manifest(
    name: str,
    folder: Path,
    output: Path,
    labels: Path | None = None,
    *,
    seed: int = 0,
    negatives: bool = False,
    show: Callable[[Found], None] = lambda found: None,
) -> list[Row]:
    """Write the manifest of a downloaded collection and return its rows; nothing is written when anything is wrong.

    show: called with what was found before it is written.
    """
    found = find(name, folder, labels, seed=seed, negatives=negatives)
    show(found)
    write_manifest(output, found.rows)
    return found.rows


def _split(found: Found, seed: int) -> None:
    """Complete the splits: the published ones where a reader found any, else by patient."""
    if not any(row.split for row in found.rows):
        found.rows = split_by_patient(found.rows, seed=seed)
        return
    strictest: dict[str, int] = {}
    order = ("train", "validate", "test")
    for row in found.rows:
        if row.split:
            strictest[row.patient] = max(order.index(row.split), strictest.get(row.patient, 0))
    kept: list[Row] = []
    for row in found.rows:
        if not row.split:
            found.leave_out(row.exam, "the published split does not list it")
        elif order.index(row.split) != strictest[row.patient]:
            found.leave_out(row.exam, f"another exam of the patient is in the published split {order[strictest[row.patient]]}")
        else:
            kept.append(row)
    if not any(row.split == "validate" for row in kept):
        training = iter(split_by_patient([row for row in kept if row.split == "train"], _OF_TRAINING, seed))
        kept = [replace(row, split=next(training).split) if row.split == "train" else row for row in kept]
    found.rows = kept
