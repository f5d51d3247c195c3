"""ODELIA breast MRI: ``<INST>/data/<UID>/{Pre,Post_1…,Sub_1…,T2}.nii.gz``, or each breast alone in
``data_unilateral``.

``metadata[_unilateral]/annotation.csv`` has the lesion of each side, ``split.csv`` the published five folds.
"""

from __future__ import annotations

import re
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Row

from .common import Collection, Table, check_phases, each, label_of, read_table, safe

LABELS = {"0": None, "1": 0, "2": 1}  # no lesion, benign, malignant (ductal carcinoma in situ included)
SPLITS = {"train": "train", "val": "validate", "validation": "validate", "test": "test"}
FOLD = "0"


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    metadata = [
        p
        for depth in ("", "*/", "*/*/")
        for name in ("metadata", "metadata_unilateral")
        for p in folder.glob(depth + name)
    ]
    institutions = sorted({p.parent for p in metadata if p.is_dir()})
    if not institutions:
        raise InputError(
            f"{folder} has no INSTITUTION/metadata or metadata_unilateral folder; "
            "give the folder of the ODELIA data."
        )
    for institution in institutions:
        # both breasts together where they are there: the breast mask and the model's field of view are made
        # for that
        side = (
            "" if (institution / "data").is_dir() and (institution / "metadata").is_dir() else "_unilateral"
        )
        _institution(folder, institution, side, labels, collection, negatives)


def _institution(
    folder: Path, institution: Path, side: str, labels: Path | None, collection: Collection, negatives: bool
) -> None:
    exams = sorted(p for p in (institution / f"data{side}").glob("*") if p.is_dir())
    annotation = labels or institution / f"metadata{side}" / "annotation.csv"
    if not annotation.exists():
        for exam in exams:
            collection.leave_out(
                f"{institution.name}_{exam.name}", f"{institution.name} has no annotation.csv"
            )
        return
    table = read_table(annotation, "uid")
    by_uid = table.by("uid")
    columns = _lesion_columns(table)
    patient = table.column("patientid", required=False)
    splits = _splits(institution / f"metadata{side}" / "split.csv")
    for exam in each(exams, institution.name):
        key = safe(f"{institution.name}_{exam.name}")
        entry = by_uid.get(exam.name)
        if entry is None:
            collection.leave_out(key, f"{annotation.name} does not list it")
            continue
        label, why = label_of([row[c] for row in entry for c in columns], LABELS, negatives)
        if label is None:
            collection.leave_out(key, why)
            continue
        try:
            pre, post, kind = _phases(exam)
        except InputError as error:
            collection.leave_out(key, error)
            continue
        name = (entry[0][patient] if patient else "") or re.sub(r"_(left|right)$", "", exam.name)
        collection.rows.append(
            Row(
                patient=f"{institution.name}_{name}",
                exam=key,
                label=label,
                split=splits.get(exam.name, splits.get(re.sub(r"_(left|right)$", "", exam.name), "")),
                pre=pre and pre.relative_to(folder).as_posix(),
                post=tuple(p.relative_to(folder).as_posix() for p in post),
                kind=kind,
                folder=folder,
            )
        )


def _lesion_columns(table: Table) -> list[str]:
    sides = [table.column(name, required=False) for name in ("lesion_left", "lesion_right")]
    return sides if all(sides) else [table.column("lesion")]


def _splits(path: Path) -> dict[str, str]:
    """UID → split in the first of the published folds; empty without a split.csv."""
    if not path.exists():
        return {}
    table = read_table(path, "uid")
    uid, split, fold = table.column("uid"), table.column("split"), table.column("fold", required=False)
    return {
        row[uid]: SPLITS.get(row[split].lower(), "")
        for row in table.rows
        if not fold or row[fold] in ("", FOLD)
    }


def _phases(exam: Path) -> tuple[Path | None, list[Path], str]:
    def numbered(prefix: str) -> list[Path]:
        files = [(re.fullmatch(rf"{prefix}_(\d+)\.nii(\.gz)?", p.name, re.I), p) for p in exam.iterdir()]
        return [p for _, p in sorted((int(match.group(1)), p) for match, p in files if match)]

    pre = next((p for p in exam.iterdir() if re.fullmatch(r"pre\.nii(\.gz)?", p.name, re.I)), None)
    post, subtractions = numbered("post"), numbered("sub")
    if pre is not None and post:
        check_phases([pre, *post])
        return pre, post, "phases"
    if len(subtractions) >= 2:
        check_phases(subtractions)
        return None, subtractions, "subtractions"
    raise InputError("neither Pre with Post_1 nor two subtractions are there")
