"""The exams of a course: split by patient where they have no split yet, checked, and frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import (
    SIMULATED,
    Row,
    read_cohort,
    read_manifest,
    split_by_patient,
    write_manifest,
)
from training.data.splits import check_classes

# Some hundred exams: thresholds and the test's interval need more exams than a tenth
SHARES = (0.6, 0.2, 0.2)
PARTS = ("train", "validate", "test")
FEWEST = 4  # patients of a label that can be split so
FOLDER = "cohort"


def split_cohort(source: str, seed: int = 0) -> list[Row]:
    """The exams of a manifest, each with its split.

    Parameters
    ----------
    source : str
        A manifest (CSV), or simulated:NAME.
    seed : int
        Of the split, where there is none: ``SHARES`` of the patients of each label.

    Returns
    -------
    list of Row
        In the order given.

    Raises
    ------
    InputError
        When some exams have a split and some have none, or when a split would lack a class.
    """
    rows = read_cohort(source)
    without = [row for row in rows if not row.split]
    if without and len(without) < len(rows):
        raise InputError(
            f"{without[0].where or without[0].exam}: it has no split, and other exams have one; "
            "fill in the column split for all exams, or empty it for all."
        )
    if without:
        _check_patients(rows, source)
        rows = split_by_patient(rows, SHARES, seed)
    check_classes([(row.split, row.label) for row in rows], source, PARTS)
    return rows


def frozen_cohort(source: str, run: Path, seed: int = 0) -> tuple[str, list[Row]]:
    """The exams of a manifest with the splits that a run began with; at first as :func:`split_cohort`.

    Parameters
    ----------
    source, seed
        As of :func:`split_cohort`.
    run : Path
        Folder of the run.

    Returns
    -------
    source : str
        Where :func:`freeze` keeps them with their splits, RUN/cohort/NAME.csv; simulated:NAME as it is.
    rows : list of Row

    Raises
    ------
    InputError
        As :func:`split_cohort`, and when an exam, its patient, label or split is another than at first.
        Exams that are gone are no reason until the network has begun to learn: they could not be used.
    """
    if source.startswith(f"{SIMULATED}:"):
        return source, split_cohort(source, seed)
    path = run / FOLDER / f"{Path(source).stem}.csv"
    if not path.exists():
        return str(path), split_cohort(source, seed)
    rows = _as_before(read_cohort(source), path, source, may_lack=not has_learned(run))
    check_classes([(row.split, row.label) for row in rows], source, PARTS)
    return str(path), rows


def has_learned(run: Path) -> bool:
    """Whether a run's network has begun to learn from the exams, all of which are prepared then."""
    return (run / "split.csv").exists()


def freeze(source: str, rows: Sequence[Row]) -> None:
    """Keep exams and splits where :func:`frozen_cohort` says."""
    if not source.startswith(f"{SIMULATED}:"):
        Path(source).parent.mkdir(parents=True, exist_ok=True)
        write_manifest(source, rows)


def frozen_rows(source: str, rows: Sequence[Row]) -> list[Row]:
    """The rows as :func:`freeze` wrote them, if it did: paths written otherwise make an exam another one."""
    return read_manifest(source) if Path(source).is_file() else list(rows)


def _check_patients(rows: Sequence[Row], source: str) -> None:
    label_of = {row.patient: 0 for row in rows}
    label_of |= {row.patient: 1 for row in rows if row.label}
    counts = Counter(label_of.values())
    for label, name in ((1, "malignant"), (0, "benign")):
        if counts[label] < FEWEST:
            raise InputError(
                f"{source} has {counts[label]} patients with {name} exams, too few to split into training, "
                f"validation and test exams: {FEWEST} of each label are the fewest, hundreds teach something."
            )


def _as_before(rows: Sequence[Row], path: Path, source: str, may_lack: bool) -> list[Row]:
    """The rows with the splits they had; what else is told of an exam may have been corrected since."""
    before, now = {row.exam: row for row in read_manifest(path)}, {row.exam: row for row in rows}
    for exam in [*now, *before]:
        old, row = before.get(exam), now.get(exam)
        if row is None and may_lack:
            continue
        if (
            old is None
            or row is None
            or (row.patient, row.label) != (old.patient, old.label)
            or row.split not in ("", old.split)
        ):
            raise InputError(
                f"{source} says something else of the exam {exam} than when this run began ({path}); "
                "choose another --output for another cohort."
            )
    return [replace(row, split=before[row.exam].split) for row in rows]


def cohort_text(rows: Sequence[Row]) -> str:
    """Exams, patients and malignant exams of each part, as one sentence."""
    parts = []
    for part in PARTS:
        of_part = [row for row in rows if row.split == part]
        parts.append(f"{part} {len(of_part)} ({sum(row.label for row in of_part)} malignant)")
    patients = len({row.patient for row in rows})
    return f"{len(rows)} exams of {patients} patients: {', '.join(parts)}"
