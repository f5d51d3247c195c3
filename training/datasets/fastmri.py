"""fastMRI breast: a folder of DICOM images for each patient, one file a slice and time; and an xlsx table."""

from __future__ import annotations

import re
from pathlib import Path

from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from training.data.manifest import Row

from .common import (
    Collection,
    dynamics,
    each,
    folders_named,
    label_of,
    number_at_end,
    read_table,
    safe,
    table_file,
)

LABELS = {"0": None, "1": 1, "2": 0}  # negative, malignancy, benign: not the order of other collections
SPLITS = {"0": "train", "1": "test"}


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    folders = folders_named(folder, r"fastMRI_breast_\d+(_\d+)?")
    path = table_file(
        folder, labels, "breast_fastMRI*.xlsx", "fastMRI*breast*.xlsx", "fastMRI*breast*label*.csv"
    )
    if path is None:
        raise InputError(f"{folder} holds no xlsx table of fastMRI breast; give it with --labels.")
    table = read_table(path, "patient coded name")
    lesion, split, repeat = (
        table.column("lesion status"),
        table.column("data split", required=False),
        table.column("repeated scan", required=False),
    )
    entries = table.by("patient coded name", number_at_end)
    patients: dict[int, list[Path]] = {}
    for name, several in folders.items():
        patients.setdefault(int(name.split("_")[2]), []).extend(several)
    for number, several in each(sorted(patients.items()), "patients"):
        name = f"fastMRI_breast_{number:03d}"
        entry = entries.get(number)
        if entry is None:
            collection.leave_out(name, f"{path.name} does not list it")
            continue
        label, why = label_of([row[lesion] for row in entry], LABELS, negatives)
        if label is None:
            collection.leave_out(name, why)
            continue
        chosen = _dynamic(several, name, collection)
        if chosen is None:
            continue
        # the same woman may have been scanned twice, under two names: the table counts those pairs from 1
        group = entry[0][repeat] if repeat else ""
        collection.rows.append(
            Row(
                patient=f"fastMRI_breast_repeated_{group}" if re.fullmatch(r"[1-9]\d*", group) else name,
                exam=safe(name),
                label=label,
                split=SPLITS.get(entry[0][split], "") if split else "",
                post=(chosen.relative_to(folder).as_posix(),),
                folder=folder,
            )
        )


def _dynamic(folders: list[Path], name: str, collection: Collection) -> Path | None:
    """The last folder with dynamic images: ``_1`` is the scan before the contrast agent, ``_2`` after."""
    reason: object = ""
    for folder in sorted(folders, key=lambda p: p.name, reverse=True):
        try:
            dynamics([folder])
            return folder
        except BreastCMSLError as error:
            reason = error
    collection.leave_out(name, reason)
    return None
