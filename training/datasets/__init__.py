"""The exams of public collections, one module for each; layouts, labels and splits: docs/datasets.md."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Row, split_by_patient

from .common import Collection

COLLECTIONS = {
    "odelia": "ODELIA breast MRI",
    "ambl": "Advanced-MRI-Breast-Lesions",
    "fastmri": "fastMRI breast",
    "duke": "Duke-Breast-Cancer-MRI",
    "mama_mia": "MAMA-MIA",
    "ispy": "I-SPY 1 and 2 as NIfTI (BreastDCEDL, ISPY1-Tumor-SEG-Radiomics)",
    "breast_diagnosis": "BREAST-DIAGNOSIS",
}
_OF_TRAINING = (
    0.875,
    0.125,
    0.0,
)  # where only training and test are published: validation is an eighth of the training patients


def find(
    name: str, folder: Path, labels: Path | None = None, *, seed: int = 0, negatives: bool = False
) -> Collection:
    """The exams of a downloaded collection, with splits.

    Parameters
    ----------
    name : str
        A key of ``COLLECTIONS``.
    folder : Path
        Where it was downloaded to.
    labels : Path, optional
        The collection's table of labels (or boxes, or splits), where it is not in the folder.
    seed : int
        Of the split by patient, where none is published.
    negatives : bool
        Whether exams without any lesion count as benign.

    Returns
    -------
    Collection
        With at least one exam.

    Raises
    ------
    InputError
        When the folder is not the collection's, or holds no usable exam.
    """
    key = name.lower().replace("-", "_")
    if key not in COLLECTIONS:
        raise InputError(
            f"{name} is no known collection; "
            f"choose one of {', '.join(COLLECTIONS)}, or write a manifest by hand."
        )
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder the collection was downloaded to.")
    collection = Collection()
    import_module(f".{key}", __name__).find(folder, labels, collection, negatives)
    if collection.rows:
        _split(collection, seed)
    if not collection.rows:
        why = ""
        if collection.left_out:
            exam, reason = collection.left_out[0]
            why = f" ({len(collection.left_out)} were left out, {exam}: {reason})"
        raise InputError(
            f"{folder} holds no usable exam of {COLLECTIONS[key]}{why}; check the folder and its layout."
        )
    return collection


def _split(collection: Collection, seed: int) -> None:
    """Complete the splits: the published ones where a reader found any, else by patient."""
    if not any(row.split for row in collection.rows):
        collection.rows = split_by_patient(collection.rows, seed=seed)
        return
    strictest: dict[str, int] = {}
    order = ("train", "validate", "test")
    for row in collection.rows:
        if row.split:
            strictest[row.patient] = max(order.index(row.split), strictest.get(row.patient, 0))
    kept: list[Row] = []
    for row in collection.rows:
        if not row.split:
            collection.leave_out(row.exam, "the published split does not list it")
        elif order.index(row.split) != strictest[row.patient]:
            collection.leave_out(
                row.exam,
                f"another exam of the patient is in the published split {order[strictest[row.patient]]}",
            )
        else:
            kept.append(row)
    if not any(row.split == "validate" for row in kept):
        training = iter(split_by_patient([row for row in kept if row.split == "train"], _OF_TRAINING, seed))
        kept = [replace(row, split=next(training).split) if row.split == "train" else row for row in kept]
    collection.rows = kept
