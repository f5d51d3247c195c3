"""What an evaluation leaves in a run's folder: evaluation.json, predictions.csv, features.npz."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from BreastCMSLLib.core.errors import InputError
from training.data.files import read_rows, write_arrays, write_json, write_rows

_TEXTS = ("exam", "patient", "split")  # columns of predictions.csv that are no numbers


def column(rows: Sequence[dict], name: str) -> np.ndarray:
    """One column of a table as an array."""
    return np.array([row[name] for row in rows])


def read_config(folder: Path) -> dict:
    """RUN/config.json. Raises InputError when there is none."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no config.json; choose the folder of a training run.") from error


def read_evaluation(folder: Path) -> dict:
    """RUN/evaluation.json of a finished evaluation. Raises InputError when there is none."""
    try:
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        evaluation["evidence"]["classification"]["auc"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The run {folder} was not evaluated; run python training/evaluate.py {folder} first."
        ) from error
    return evaluation


def read_predictions(folder: Path, split: str = "test") -> list[dict]:
    """The lines of RUN/predictions.csv of one split; numbers as numbers, absent peaks left out."""
    if not (folder / "predictions.csv").exists():
        raise InputError(
            f"The run {folder} has no predictions.csv; run python training/evaluate.py {folder} first."
        )
    lines = [row for row in read_rows(folder / "predictions.csv") if row["split"] == split]
    rows = [
        {key: value if key in _TEXTS else float(value) for key, value in line.items() if value != ""}
        for line in lines
    ]
    return [{**row, "label": int(row["label"])} for row in rows]


def write_predictions(folder: Path, rows: Sequence[dict]) -> None:
    write_rows(folder / "predictions.csv", rows)


def write_features(
    folder: Path, rows: Sequence[dict], pooled: Sequence[np.ndarray], weight: np.ndarray
) -> None:
    """RUN/features.npz, from which angles and logits can be reckoned.

    Parameters
    ----------
    folder : Path
        Of the run.
    rows : sequence of dict
        Exams: exam, split, label, logit and cos_theta.
    pooled : sequence of numpy.ndarray
        (C,) of each exam.
    weight : numpy.ndarray
        (C,) of the head.
    """
    arrays = {name: column(rows, name) for name in ("exam", "split", "label", "logit", "cos_theta")}
    pooled = np.stack(pooled).astype(np.float32)
    write_arrays(folder / "features.npz", **arrays, pooled=pooled, weight=weight)


def begin(folder: Path, entry: dict) -> int:
    """Note in RUN/evaluation.json that the test exams are about to be read.

    It is noted beforehand, so that an evaluation that breaks off counts too. Earlier figures stay until there
    are new ones.

    Parameters
    ----------
    folder : Path
        Of the run.
    entry : dict
        weights, sha256 and command.

    Returns
    -------
    int
        How often that has now happened.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    path = folder / "evaluation.json"
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        history = [*evaluation.get("history", []), {"started": _now(), "finished": None, **entry}]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is damaged, so it is not known how often the test exams were read; repair or remove it."
        ) from error
    write_json(path, {**evaluation, "evaluations": len(history), "history": history})
    return len(history)


def end(folder: Path) -> None:
    """Note that what :func:`begin` noted came to its end, and leave the figures as they are."""
    path = folder / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    evaluation["history"][-1]["finished"] = _now()
    write_json(path, evaluation)


def finish(folder: Path, result: dict) -> dict:
    """Write RUN/evaluation.json with the history that :func:`begin` began; returns what was written."""
    path = folder / "evaluation.json"
    history = json.loads(path.read_text(encoding="utf-8"))["history"]
    history[-1]["finished"] = _now()
    head = {
        "schema_version": 1,
        "kind": "breastcmsl.evaluation",
        "evaluations": len(history),
        "history": history,
    }
    write_json(path, head | result)
    return head | result


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def tidy(value: Any) -> Any:
    """Figures for JSON: plain numbers to six decimals (thresholds and temperatures whole), NaN as null."""
    if isinstance(value, dict):
        return {k: v if k in ("threshold", "temperature") else tidy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
