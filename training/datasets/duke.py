"""Duke-Breast-Cancer-MRI: ``Breast_MRI_NNN/<study>/<series>/1-NNN.dcm``, and the table of annotation boxes.

The boxes count rows, columns and slices from 1, both ends included, and the slices in the order of the files,
which mostly runs from head to foot. They are placed in RAS mm here, by the headers of the series themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Box, Lesion, Row, box_lesion, ras_box

from .common import Collection, each, folders_named, number_at_end, read_table, safe, table_file, usable_study

LABEL = 1  # invasive breast cancer in all 922 patients
BOX_COLUMNS = ("start row", "end row", "start column", "end column", "start slice", "end slice")


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    patients = folders_named(folder, r"Breast_MRI_\d+")
    boxes = _boxes(table_file(folder, labels, "Annotation_Boxes*.csv", "Annotation_Boxes*.xlsx"))
    unmarked = 0
    for name, folders in each(list(patients.items()), "patients"):
        chosen = usable_study(name, folders, collection)
        if chosen is None:
            continue
        study, stacks, kind = chosen
        lesions: list[Lesion] = []
        for box in boxes.get(number_at_end(name), []):
            try:
                lesions.append(box_lesion(True, place_box(box, stacks[0])))
            except InputError as error:
                collection.notes.append(f"{name}: {str(error).rstrip('.')}")
        unmarked += not lesions
        post = (study.relative_to(folder).as_posix(),)
        collection.rows.append(
            Row(
                patient=name,
                exam=safe(name),
                label=LABEL,
                post=post,
                kind=kind,
                lesions=tuple(lesions),
                folder=folder,
            )
        )
    collection.count(
        unmarked,
        "no annotation box, "
        "so the place of the lesion is not known (Annotation_Boxes can be given with --labels)",
    )


def _boxes(path: Path | None) -> dict[object, list[tuple[int, ...]]]:
    """Patient number → boxes (first and last row, column and slice), as the table has them."""
    if path is None:
        return {}
    table = read_table(path, "patient id")
    columns = [table.column(c) for c in BOX_COLUMNS]
    entries = table.by("patient id", number_at_end).items()
    whole = re.compile(r"\d+").fullmatch
    return {
        patient: [tuple(int(row[c]) for c in columns) for row in rows if all(whole(row[c]) for c in columns)]
        for patient, rows in entries
    }


def place_box(box: Sequence[int], stack) -> Box:
    """RAS corners of an annotation box on the grid of a dynamic series (a ``readers.dicom.Stack``)."""

    def by_file(k: int) -> tuple:
        item = stack.slices[k]
        return [
            int(part) if part.isdigit() else part for part in re.split(r"(\d+)", item.path.name)
        ], item.frame or 0

    rows, columns, count = stack.head.rows, stack.head.columns, len(stack.slices)
    top, bottom, left, right, first, last = box
    if not (1 <= top <= bottom <= rows and 1 <= left <= right <= columns and 1 <= first <= last <= count):
        raise InputError(
            f"its annotation box does not fit into the {columns}×{rows}×{count} voxels of {stack.name}."
        )
    order = sorted(range(count), key=by_file)
    marked = order[first - 1 : last]
    return ras_box(stack.affine, (left - 1, top - 1, min(marked)), (right, bottom, max(marked) + 1))
