"""All figures of one evaluated run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from training.data import cache

from .angles import angles_of, draw_angles
from .figures import Curve, note_of, reliability, roc, save, training_curves
from .lesions import malignant_lesions
from .map_sheet import map_example, map_sheet
from .records import column, read_evaluation, read_predictions
from .scored_exams import score_exams

POINT_NAMES = {
    "youden": "Youden",
    "paper_sensitivity": "the paper's sensitivity",
    "sensitivity_95": "95 % sensitivity",
    "sensitivity_90": "90 % sensitivity (default)",
    "sensitivity_85": "85 % sensitivity",
}


def draw_run(
    folder: Path,
    output: Path,
    cache_folder: Path | None = None,
    exams: Sequence[str] = (),
    device: str = "auto",
) -> list[Path]:
    """Draw all figures of one evaluated run.

    The maps need the cache; where it is no longer at hand, and none is named, they are left out.

    Parameters
    ----------
    folder : Path
        Of the run.
    output : Path
        Folder of the pictures.
    cache_folder : Path, optional
        Cache of the exams (default: the one that was evaluated).
    exams : sequence of str
        Test exams shown with their maps (default: even ranks of the error of COAM).
    device : str
        As of :class:`Predictor`.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    InputError
        When the run was not evaluated, or an exam cannot be shown.
    """
    evaluation, rows, note = read_evaluation(folder), read_predictions(folder), note_of(folder)
    figures = {
        "roc.png": _roc(evaluation, rows, note),
        "reliability.png": _reliability(evaluation, rows, note),
    }
    figures["angles.png"] = draw_angles([angles_of(folder)], note)
    paths = [save(figure, output / name) for name, figure in figures.items() if figure is not None]
    if (folder / "metrics.csv").exists():
        paths.append(training_curves(folder, output / "curves.png"))
    if cache_folder is not None or Path(evaluation["cache"]).is_dir():
        sheet = _maps(folder, cache_folder or Path(evaluation["cache"]), exams, device)
        paths += [save(sheet, output / "maps.png")] if sheet is not None else []
    return paths


def _roc(evaluation: dict, rows: Sequence[dict], note: str) -> Figure | None:
    """None where the test exams are of one class."""
    labels = column(rows, "label")
    if np.unique(labels).size < 2:
        return None
    evidence = evaluation["evidence"]
    points = [
        {"name": POINT_NAMES.get(name, name), **point["test"]}
        for name, point in evidence["operating_points"].items()
    ]
    points = [p for p in points if p["sensitivity"] is not None and p["specificity"] is not None]
    scores = column(rows, "logit")[None]
    return roc([Curve(evidence["method"].upper(), scores, labels, column(rows, "patient"))], note, points)


def _reliability(evaluation: dict, rows: Sequence[dict], note: str) -> Figure:
    bins, figures = evaluation["reliability_bins"], evaluation["evidence"]["calibration"]
    exams = column(rows, "probability"), column(rows, "label")
    return reliability(bins["calibrated"], bins["uncalibrated"], *exams, figures, note)


def _maps(folder: Path, cache_folder: Path, exams: Sequence[str], device: str) -> Figure | None:
    """The maps of test exams; None when no malignant test exam was called malignant."""
    evaluation, rows = read_evaluation(folder), {row["exam"]: row for row in read_predictions(folder)}
    maps = [name for name in ("LESION", "CAM", "COAM") if name in evaluation["maps"]] or evaluation["maps"][
        :2
    ]
    threshold = evaluation["evidence"]["classification"]["threshold"]
    chosen = [(exam, "") for exam in exams] or typical_exams(list(rows.values()), threshold, by=maps[-1])
    for exam, _ in chosen:
        if exam not in rows:
            raise InputError(
                f"{exam} is not a test exam of {folder}; choose one named in its predictions.csv."
            )
    bundle = Path(evaluation["bundle"]["file"])
    predictor = Predictor(load_bundle(bundle if bundle.exists() else folder / bundle.name), device)
    store = cache.open_cache(cache_folder)
    examples = []
    for scored, (exam, why) in zip(score_exams(predictor, [store.path(exam) for exam, _ in chosen]), chosen):
        if not malignant_lesions(scored.exam.meta):
            raise InputError(f"{exam} has no malignant lesion of known place; choose another exam.")
        title = f"{exam}, p = {rows[exam]['probability']:.2f}" + (f"\n{why}" if why else "")
        examples.append(map_example(scored, maps, predictor.bundle.network.settings, title))
    return map_sheet(examples, maps, note_of(folder)) if examples else None


def typical_exams(
    rows: Sequence[dict], threshold: float, count: int = 4, by: str = "COAM"
) -> list[tuple[str, str]]:
    """Test exams called malignant at even ranks of a map's distance, so that nobody picks them.

    Parameters
    ----------
    rows : sequence of dict
        Of predictions.csv.
    threshold : float
        At and above which an exam is called malignant.
    count : int
        At most.
    by : str
        The map.

    Returns
    -------
    list of (str, str)
        The exam, and what it stands for.
    """
    called = [row for row in rows if row["label"] and row["probability"] >= threshold and f"{by}_mm" in row]
    called.sort(key=lambda row: row[f"{by}_mm"])
    if not called:
        return []
    shares = np.linspace(10, 90, min(count, len(called))) if len(called) > 1 else np.array([50.0])
    chosen = {}
    for share in shares:
        row = called[round(share / 100 * (len(called) - 1))]
        chosen[row["exam"]] = f"{by} error, {share:.0f}th percentile"
    return list(chosen.items())
