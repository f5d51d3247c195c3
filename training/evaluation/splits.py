"""Which exams a run may be evaluated on: its split, checked, and their files in a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data import cache
from training.data.files import read_rows
from training.runs.folder import Run


def read_split(folder: Path) -> list[dict]:
    """The lines of RUN/split.csv: exam, patient, label (int), split; seed of simulated exams among others."""
    try:
        if not (rows := read_rows(folder / "split.csv")):
            raise OSError
        return [
            {
                "exam": row["exam"],
                "patient": row["patient"],
                "label": int(row["label"]),
                "split": row["split"],
                **({"seed": row["seed"]} if row.get("seed") else {}),
            }
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'split.csv'} cannot be read; train the run again, or copy its folder whole."
        ) from error


def check_split(rows: Sequence[dict], ancestry: Sequence[dict] = ()) -> None:
    """Refuse test patients that the run has seen, and validation patients that it was trained on.

    Parameters
    ----------
    rows : sequence of dict
        As of :func:`read_split`.
    ancestry : sequence of dict
        patient and split of what was seen by the runs that this one started from.

    Raises
    ------
    InputError
        Naming a patient, or what is missing.
    """
    patients = _patients(rows)
    for seen, whose in (
        (patients, "the run's"),
        (_patients(ancestry), "an earlier run's, from which this one started,"),
    ):
        for part, used in (("test", "train"), ("test", "validate"), ("validate", "train")):
            if shared := sorted(patients[part] & seen[used]):
                raise InputError(
                    f"Patient {shared[0]} has {part} exams and is also among {whose} {used} patients "
                    f"({len(shared)} such patients); split the cohort by patient and train again."
                )
    for part in ("validate", "test"):
        if not patients[part]:
            raise InputError(
                f"The run's split.csv names no {part} exams; prepare a cohort that has some and train again."
            )
    if {row["label"] for row in rows if row["split"] == "validate"} != {0, 1}:
        raise InputError(
            "Thresholds need malignant and benign validation exams, and the run has only one kind; "
            "split the cohort again."
        )


def _patients(rows: Sequence[dict]) -> dict[str, set[str]]:
    return {
        part: {row["patient"] for row in rows if row["split"] == part}
        for part in ("train", "validate", "test")
    }


def open_cache_of(run: Run, folder: Path | None = None) -> cache.Cache:
    """The cache of a run's exams.

    Parameters
    ----------
    run : Run
        Whose input contract the cache must have.
    folder : Path, optional
        Of the cache (default: the one the run was trained on).

    Returns
    -------
    Cache

    Raises
    ------
    InputError
        When it holds exams of another kind.
    """
    store = cache.open_cache(folder or run.config["cache"])
    if store.contract != run.contract:
        raise InputError(
            f"The cache {store.folder} holds exams at {_described(store.contract)}, or scaled otherwise, "
            f"and the run reads {_described(run.contract)}; name the cache it was trained on."
        )
    return store


def _described(contract) -> str:
    return f"{contract.spacing_mm:g} mm of {'×'.join(str(n) for n in contract.size)} voxels"


def simulated_among(store: cache.Cache, rows: Sequence[dict]) -> str:
    """How many of some exams are simulated, to end a sentence with, where a cache has both kinds."""
    simulated = {row["exam"] for row in store.rows if row.get("seed")}
    count = sum(row["exam"] in simulated for row in rows)
    return f", {count} of them simulated" if simulated else ""


def split_paths(store: cache.Cache, rows: Sequence[dict], split: str) -> list[Path]:
    """The cached exams of one split. Raises InputError for one that is absent or labelled otherwise."""
    labels = {row["exam"]: row["label"] for row in store.rows}
    chosen = [row for row in rows if row["split"] == split]
    for row in chosen:
        if row["exam"] not in labels:
            raise InputError(
                f"Exam {row['exam']} of the run's split.csv is not in the cache {store.folder}; "
                "name the cache it was trained on."
            )
        if labels[row["exam"]] != row["label"]:
            raise InputError(
                f"Exam {row['exam']} has another label in the cache {store.folder} than in the run; "
                "name the cache it was trained on."
            )
    return [store.path(row["exam"]) for row in chosen]
