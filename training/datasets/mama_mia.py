"""MAMA-MIA: ``images/DUKE_001/duke_001_0000.nii.gz`` (0000 before contrast),
``segmentations/expert/duke_001.nii.gz``.

``train_test_splits.csv`` lists the patients of the published training and test sets in two columns.
"""

from __future__ import annotations

import re
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Lesion, Row

from .common import Collection, check_phases, each, folders_named, read_table, safe, table_file

LABELS = {"DUKE": 1, "ISPY1": 1, "ISPY2": 1, "NACT": 1}  # breast cancer before treatment in all four
SPLITS = {"train_split": "train", "test_split": "test"}


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    patients = folders_named(folder, rf"({'|'.join(LABELS)})_\d+")
    splits = _splits(table_file(folder, labels, "train_test_splits.csv"))
    masks = {p.name.lower(): p for p in (folder / "segmentations" / "expert").glob("*.nii*")}
    unmarked = 0
    for name, folders in each(list(patients.items()), "patients"):
        phases = sorted(
            p for p in folders[0].iterdir() if re.fullmatch(rf"{name}_\d{{4}}\.nii(\.gz)?", p.name, re.I)
        )
        try:
            check_phases(phases)
            if not re.search(r"_0000\.nii", phases[0].name):
                raise InputError(f"the pre-contrast phase {name.lower()}_0000 is missing")
        except InputError as error:
            collection.leave_out(name, error)
            continue
        # the boxes in patient_info_files are not used: in many of them x and z are exchanged
        mask = masks.get(f"{name.lower()}.nii.gz") or masks.get(f"{name.lower()}.nii")
        unmarked += mask is None
        collection.rows.append(
            Row(
                patient=name.upper(),
                exam=safe(name.upper()),
                label=LABELS[name.upper().partition("_")[0]],
                split=splits.get(name.upper(), ""),
                pre=phases[0].relative_to(folder).as_posix(),
                post=tuple(p.relative_to(folder).as_posix() for p in phases[1:]),
                lesions=(Lesion(True, mask=mask.relative_to(folder).as_posix()),) if mask else (),
                folder=folder,
            )
        )
    collection.count(unmarked, "no expert segmentation, so the place of the lesion is not known")


def _splits(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    table = read_table(path, "train_split")
    return {
        row[table.column(c)].upper(): split
        for c, split in SPLITS.items()
        for row in table.rows
        if row[table.column(c)]
    }
