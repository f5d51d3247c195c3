"""The comparison of ways to find the lesion over the exams of a run, and what it writes.

localisation.json, localisation.md and worst20.png, and rows.jsonl, from which a broken-off comparison goes
on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.inference import Predictor
from training.data import cache
from training.data.files import write_atomically, write_json
from training.runs.draft import draft_predictor
from training.runs.folder import Run, load_run

from . import lesion_kinds, records
from .coam_parts import by_stage
from .lesions import malignant_lesions
from .localisation import Ways, methods
from .localisation_figures import by_score, called_malignant, choose, summarise
from .localisation_page import markdown
from .localisation_rows import judged_rows
from .method_run import WEIGHTS
from .other_runs import read_others, weights_of
from .records import tidy
from .scored_exams import score_exams
from .splits import check_split, open_cache_of, read_split, split_paths
from .worst_exams import draw_worst

STAGED = 30  # exams that COAM is looked at by stage


def compare_methods(
    folder: Path,
    output: Path,
    *,
    cache_folder: Path | None = None,
    split: str = "validate",
    limit: int | None = None,
    choice: Path | None = None,
    weights: str = "best.safetensors",
    precision: str = "auto",
    slow: bool = False,
    beside: Sequence[Path] = (),
) -> dict:
    """Compare every method on the malignant exams of one split, and write the files.

    Parameters
    ----------
    folder : Path
        Of the run.
    output : Path
        Folder of the files.
    cache_folder : Path, optional
        Cache of the exams (default: the one the run was trained on).
    split : {"validate", "test"}
        Whose exams; RUN/evaluation.json notes that the test exams were read.
    limit : int, optional
        Only so many exams.
    choice : Path, optional
        Output of the comparison on validation exams, needed for the test exams: the best method is taken from
        there.
    weights : str
        Name of the weights' file in the run's folder.
    precision : str
        As of :class:`Predictor`.
    slow : bool
        Whether the maps that cost more than the reading take part (``slow_maps``).
    beside : sequence of Path
        Folders of other methods' runs, whose maps take part.

    Returns
    -------
    dict
        localisation.json.

    Raises
    ------
    InputError
        When there is no choice, or no exam that can be judged.
    """
    chosen = _read_choice(choice) if split == "test" else None
    run = load_run(folder, weights)
    store = open_cache_of(run, cache_folder)
    validation = _paths(folder, store, "validate", limit)
    paths = validation if split == "validate" else _paths(folder, store, split, limit)
    paths = [path for path in paths if malignant_lesions(cache.read_meta(path))]
    if not paths:
        raise InputError(
            f"No malignant {split} exam of the run has a lesion with a known place; use a cohort with truth."
        )
    benign = _paths(folder, store, split, limit, malignant=False)
    benign = [path for path in benign if cache.read_meta(path).get("lesions")]
    predictor = draft_predictor(run, "draft", "cpu", precision)
    sha256 = predictor.bundle.sha256
    if chosen is not None and chosen.get("sha256") != sha256:
        raise InputError(
            f"The method in {choice} was chosen for other weights than these; "
            "compare on the validation exams of this run first, and name that output with --choice."
        )
    others = read_others(beside, store, [*paths, *benign], split)
    further = "".join(f" --beside {path.name}" for path in beside) + (" --slow" if slow else "")
    limited = "" if limit is None else f" --limit {limit}"
    command = f"python training/localize.py RUN --split {split}{limited}{further} --output DIR"
    read = {run.folder: (weights, sha256)}
    read |= {other: (WEIGHTS, digest) for other, digest in weights_of(others).items()}
    for own, (name, digest) in read.items() if split == "test" else ():
        records.begin(own, {"weights": name, "sha256": digest, "command": command})
    ways = Ways(predictor, slow, others)
    rows = judged_rows(ways, paths, output, split)
    of_benign = judged_rows(ways, benign, output, split)
    logits = np.array([row["logit"] for row in rows])
    reference = logits
    if split == "test":
        reference = np.array([scored.score.logit for scored in score_exams(predictor, validation)])
    called = called_malignant(logits, reference)
    table = summarise(rows, called)
    result = {**_provenance(run, predictor, split, command), **_counts(rows, called)}
    own = methods(predictor.bundle.has_candidates)  # what every comparison of the run has
    picked = chosen["choice"] if chosen else choose({name: table[name] for name in own})
    result |= {"choice": picked, "methods": table}
    shown = dict.fromkeys(("COAM", *result["choice"].values()))
    result["by_score"] = {name: by_score(rows, name) for name in shown}
    result["kinds"] = lesion_kinds.summarise_kinds([*rows, *of_benign])
    result["coam_by_stage"] = by_stage(run, paths[:STAGED])
    result = tidy(result)
    write_json(output / "localisation.json", result)
    write_atomically(output / "localisation.md", markdown(result))
    draw_worst(rows, store, result["choice"]["best"], output / "worst20.png", result["simulated"])
    for own in read if split == "test" else ():
        records.end(own)
    return result


def _read_choice(folder: Path | None) -> dict:
    """localisation.json of a comparison on validation exams."""
    try:
        result = json.loads((folder / "localisation.json").read_text(encoding="utf-8"))
        if result["split"] != "validation" or not {"best", "default"} <= set(result["choice"]):
            raise ValueError
        return result
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "The method for the test exams is chosen on validation exams; compare there first, "
            "and name that output with --choice."
        ) from error


def _paths(
    folder: Path, store: cache.Cache, split: str, limit: int | None, malignant: bool = True
) -> list[Path]:
    rows = read_split(folder)
    check_split(rows)
    return split_paths(store, [row for row in rows if bool(row["label"]) == malignant], split)[:limit]


def _provenance(run: Run, predictor: Predictor, split: str, command: str) -> dict:
    return {
        "schema_version": 1,
        "kind": "breastcmsl.localisation",
        "research_use_only": True,
        "simulated": bool(run.config["simulated"]),
        **run.supervision,
        "seed": run.config["seed"],
        "split": "validation" if split == "validate" else split,
        "spacing_mm": run.contract.spacing_mm,
        "cell_mm": run.network.settings.total_stride * run.contract.spacing_mm,
        "precision": predictor.precision,
        "sha256": predictor.bundle.sha256,
        "command": command,
    }


def _counts(rows: Sequence[dict], called: np.ndarray) -> dict:
    outside = [row["in_mask"] == 0 for row in rows]
    return {
        "n": len(rows),
        "called": int(called.sum()),
        "outside_mask": sum(outside),
        "outside_mask_called": sum(flag for flag, is_called in zip(outside, called) if is_called),
    }
