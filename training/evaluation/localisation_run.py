"""The comparison of ways to find the lesion over the exams of a run, and what it writes.

localisation.json, localisation.md and worst20.png, and rows.jsonl, from which a broken-off comparison goes
on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from BreastCMSLLib.core.checksum import sha256_of
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.inference import Predictor
from training.data import cache
from training.data.files import write_atomically, write_json
from training.runs.draft import draft_predictor
from training.runs.folder import Run, load_run

from . import lesion_kinds, localisation, metrics, records
from .coam_parts import by_stage, parts_table
from .lesions import malignant_lesions
from .localisation import by_score, called_malignant, choose, summarise
from .pages import Table, markdown_table
from .records import tidy
from .scored_exams import score_exams
from .splits import check_split, open_cache_of, read_split, split_paths
from .texts import interval, number
from .worst_exams import draw_worst

STAGED = 30  # exams that COAM is looked at by stage
CODE = ("correlax", "lesion_kinds", "lesions", "localisation", "metrics", "slow_maps", "stage_maps")


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
    predictor = draft_predictor(run, "draft", "cpu", precision)
    sha256 = predictor.bundle.sha256
    limited = ("" if limit is None else f" --limit {limit}") + (" --slow" if slow else "")
    command = f"python training/localize.py RUN --split {split}{limited} --output DIR"
    if split == "test":
        records.begin(folder, {"weights": weights, "sha256": sha256, "command": command})
    rows = _rows(predictor, paths, output, split, slow)
    others = [
        path
        for path in _paths(folder, store, split, limit, malignant=False)
        if cache.read_meta(path).get("lesions") and not malignant_lesions(cache.read_meta(path))
    ]
    others = _rows(predictor, others, output, split, slow)
    logits = np.array([row["logit"] for row in rows])
    reference = logits
    if split == "test":
        reference = np.array([scored.score.logit for scored in score_exams(predictor, validation)])
    called = called_malignant(logits, reference)
    table = summarise(rows, called)
    result = {**_provenance(run, predictor, split, command), **_counts(rows, called)}
    result |= {"choice": chosen or choose(table), "methods": table}
    shown = dict.fromkeys(("COAM", *result["choice"].values()))
    result["by_score"] = {name: by_score(rows, name) for name in shown}
    result["kinds"] = lesion_kinds.summarise_kinds([*rows, *others])
    result["coam_by_stage"] = by_stage(run, paths[:STAGED])
    result = tidy(result)
    write_json(output / "localisation.json", result)
    write_atomically(output / "localisation.md", markdown(result))
    draw_worst(rows, store, result["choice"]["best"], output / "worst20.png", result["simulated"])
    if split == "test":
        records.end(folder)
    return result


def _read_choice(folder: Path | None) -> dict[str, str]:
    try:
        result = json.loads((folder / "localisation.json").read_text())
        if result["split"] != "validation" or not {"best", "default"} <= set(result["choice"]):
            raise ValueError
        return result["choice"]
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


def _rows(
    predictor: Predictor,
    paths: Sequence[Path],
    folder: Path,
    split: str,
    slow: bool,
) -> list[dict]:
    """Rows of the exams in the order given.

    Those that DIR/rows.jsonl holds of the same model, code and cached exam are not computed again.
    """
    bundle = predictor.bundle
    mix = bundle.candidates.settings.mix if bundle.has_candidates else ""
    key = f"{bundle.sha256[:16]} {mix} {split} {predictor.precision} {'slow ' * slow}{_code()}"
    path = folder / "rows.jsonl"
    known = _known_rows(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with open(path, "a") as stream:
        for exam in track(paths, "exams", disable=not sys.stderr.isatty()):
            own = f"{key} {cache.read_meta(exam).get('fingerprint', '')}"
            row = known.get((exam.stem, own))
            if row is None:
                row = {"key": own, **localisation.judge(predictor, cache.load(exam), slow)}
                row = json.loads(json.dumps(row, default=float))
                stream.write(json.dumps(row) + "\n")
                stream.flush()
            rows.append(row)
    return rows


def _known_rows(path: Path) -> dict[tuple[str, str], dict]:
    known = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the line at which an earlier run was broken off
        known[row.get("exam"), row.get("key")] = row
    return known


def _code() -> str:
    """Digest of the code that decides what a row holds."""
    here = Path(__file__).parent
    own = sha256_of(*(here / f"{name}.py" for name in CODE))
    library = ("candidates", "findings", "models", "network", "scoring.py")
    return cache.code_version(*(f"BreastCMSLLib/{name}" for name in library)) + own[:8]


def _provenance(run: Run, predictor: Predictor, split: str, command: str) -> dict:
    return {
        "schema_version": 1,
        "kind": "breastcmsl.localisation",
        "research_use_only": True,
        "simulated": bool(run.config["simulated"]),
        "supervision": run.config["supervision"],
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


# --- the table ---


def markdown(result: dict) -> str:
    """localisation.md."""
    kind, choice = "simulated exams" if result["simulated"] else "exams", result["choice"]
    lines = [
        f"{result['n']} malignant {result['split']} {kind}, {result['called']} of them called malignant; "
        f"grid {result['spacing_mm']:g} mm, cells {result['cell_mm']:.1f} mm; {result['supervision']}; "
        f"seed {result['seed']}; {result['precision']}. Research use only.",
        "",
        f"`{result['command']}`",
        "",
        f"In {result['outside_mask']} exams ({result['outside_mask_called']} "
        "of those called malignant) no voxel of "
        "the lesion lies inside the breast mask: no method can point at it, and the network cannot see it.",
        "",
        "Distance in mm from the peak to the centre of the malignant lesion; "
        f"in brackets {metrics.CONFIDENCE:.0%} of a bootstrap over patients.",
        f"Best: {choice['best']}. Best within twice the time of COAM: {choice['default']}.",
    ]
    for protocol, title in (("called", "Malignant exams called malignant"), ("all", "All malignant exams")):
        lines += ["", f"**{title}**", "", markdown_table(_protocol_table(result["methods"], protocol))]
    lines += ["", "By the score, over the malignant exams that score highest:", ""]
    lines += [markdown_table(_score_table(result["by_score"])), ""]
    lines += [
        f"What was hit where the peak misses by more than {localisation.FAR_MM:g} mm (all malignant exams):",
        "",
    ]
    for name in dict.fromkeys(("COAM", "CAM", choice["default"], choice["best"])):
        hits = ", ".join(f"{what} {count}" for what, count in result["methods"][name]["hit_instead"].items())
        lines.append(f"- {name}: {hits or 'nothing'}")
    if result["kinds"]:
        lines += ["", "By the kind of lesion (the peak in its box, grown by a window's stride):", ""]
        lines.append(markdown_table(lesion_kinds.kinds_table(result["kinds"])))
    if result["coam_by_stage"]:
        lines += ["", "COAM by its parts, mean of the exams, and median distance of its peak:", ""]
        lines.append(markdown_table(parts_table(result["coam_by_stage"])))
    return "\n".join(lines) + "\n"


def _protocol_table(methods: dict[str, dict], protocol: str) -> Table:
    head = (
        "Method",
        "median",
        "≤ 10 mm",
        "≤ 20 mm",
        "pointing",
        "mean ± sd",
        "Dice map",
        "Dice outline",
        "s",
    )
    rows = []
    for name, figures in methods.items():
        of = figures[protocol]
        shares = (number(of[key]) for key in ("hit10", "hit20", "pointing"))
        dice = (number(of[key], 2) for key in ("dice_map", "dice_outline"))
        mean = f"{_mean(of)}{_brackets(of, 'mean_mm')}"
        median = f"{number(of['median_mm'], 1)}{_brackets(of, 'median_mm')}"
        rows.append((name, median, *shares, mean, *dice, number(figures["seconds"])))
    return Table(head, rows)


def _score_table(by_score: dict[str, list[dict]]) -> Table:
    rows = []
    for name, groups in by_score.items():
        for of in groups:
            shares = (number(of[key]) for key in ("hit10", "pointing"))
            rows.append(
                (name, f"{of['share']:.0%}", str(of["n"]), number(of["median_mm"], 1), *shares, _mean(of))
            )
    return Table(("Method", "share", "n", "median", "≤ 10 mm", "pointing", "mean ± sd"), rows)


def _mean(figures: dict) -> str:
    return f"{number(figures['mean_mm'], 1)} ± {number(figures['sd_mm'], 1)}"


def _brackets(figures: dict, key: str) -> str:
    between = interval(figures.get(f"{key}_95"), 1)
    return "" if between == "–" else f" ({between})"
