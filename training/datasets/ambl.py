"""Advanced-MRI-Breast-Lesions: ``AMBL-NNN/<study>/<series>``, series ``AX Sen Vibrant MASK`` and ``…
MultiPhase``, and an xlsx table.

The MultiPhase series holds all its phases one after another; the library's DICOM reader takes them apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from training.data.manifest import Row

from .common import (
    Collection,
    Series,
    dynamics,
    each,
    folders_named,
    label_of,
    number_at_end,
    read_table,
    safe,
    series_of,
    studies,
    table_file,
)

LABELS = {"1": 1, "0": 0}  # tumour, benign
MISSING = ("", "-1")  # of the six columns, those of lesions that the patient does not have
SHEET = "MRI BREASTS with Delay"
LESION_COLUMNS = tuple(f"tumor/benign{n}" for n in range(1, 7))


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    patients = folders_named(folder, r"AMBL-\d+")
    path = table_file(folder, labels, "Advanced-MRI-Breast-Lesions*.xlsx", "*linical*.xlsx")
    if path is None:
        raise InputError(
            f"{folder} holds no clinical xlsx table of Advanced-MRI-Breast-Lesions; give it with --labels."
        )
    table = read_table(path, "tumor/benign1", sheet=SHEET if path.suffix.lower() == ".xlsx" else None)
    id_column = "patient id" if table.column("patient id", required=False) else "subject id"
    entries = table.by(id_column, number_at_end)
    columns = [c for name in LESION_COLUMNS if (c := table.column(name, required=False))]
    registered = 0
    for name, folders in each(list(patients.items()), "patients"):
        entry = entries.get(number_at_end(name))
        if entry is None:
            collection.leave_out(name, f"{path.name} does not list it")
            continue
        label, why = label_of(
            [row[c] for row in entry for c in columns if row[c] not in MISSING] or [""], LABELS, negatives
        )
        if label is None:
            collection.leave_out(name, why)
            continue
        try:
            pre, post, was_registered = _phases(
                [s for own in folders for study in studies(own) for s in series_of(study)]
            )
            dynamics([p for p in (pre, post) if p])
        except BreastCMSLError as error:
            collection.leave_out(name, error)
            continue
        registered += was_registered
        collection.rows.append(
            Row(
                patient=name,
                exam=safe(name),
                label=label,
                pre=pre and pre.relative_to(folder).as_posix(),
                post=(post.relative_to(folder).as_posix(),),
                folder=folder,
            )
        )
    collection.count(registered, "only the registered MultiPhase series was there and is used")


def _phases(series: Sequence[Series]) -> tuple[Path | None, Path, bool]:
    """The folders of the pre-contrast series and of the phases, and whether the latter is the registered
    series.

    The series as acquired come first: only some patients have a registered one, and a difference between
    patients that goes along with their choice must not become a sign of malignancy.
    """

    def named(pattern: str, *, registered: bool) -> list[Path]:
        chosen = [s for s in series if s.modality in ("MR", "") and re.search(pattern, s.description, re.I)]
        return [s.folder for s in chosen if bool(re.search("registered", s.description, re.I)) is registered]

    masks, phases = (
        named(r"vibrant.*mask", registered=False),
        named(r"vibrant.*multi.?phase", registered=False),
    )
    aligned = named(r"vibrant.*multi.?phase", registered=True)
    if len(phases) == 1 and len(masks) <= 1:
        return (masks[0] if masks else None), phases[0], False
    if len(phases) > 1 or len(masks) > 1:
        raise InputError(
            f"{len(masks)} MASK and {len(phases)} MultiPhase series are there, "
            "and nothing tells which belong together"
        )
    if len(aligned) == 1:
        return None, aligned[0], True
    raise InputError("no MultiPhase series is there")
