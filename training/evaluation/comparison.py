"""Compare methods on the same test exams, over seeds, and say whether a gain is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import InputError

from . import metrics
from .angles import angles_of, has_angles
from .bayes import DRAWS
from .beside import bayes_of, size_alone
from .claims import judge_claims
from .difference import AT_THRESHOLD, difference, mean_rate
from .method_runs import MethodRuns
from .paper import PAPER, TABLE_1
from .records import read_config, tidy

DISTANCES = {"median_mm": 1, "hit10": 2, "hit20": 2, "pointing": 2, "mean_mm": 1}  # and their decimals
MARGINS = (0.0, 0.1, 0.35)  # at which the pull of the loss is reckoned


def compare(methods: Sequence[MethodRuns], baseline: Path, draws: int = DRAWS) -> dict:
    """Figures of all methods and their differences to a baseline.

    Parameters
    ----------
    methods : sequence of MethodRuns
        Of :func:`group_runs`.
    baseline : Path
        A run of the method to compare with.
    draws : int
        Exams drawn for the best AUC that a simulated cohort allows.

    Returns
    -------
    dict
        comparison.json; ``rows`` has a line a method.

    Raises
    ------
    InputError
        When the baseline is not among the runs.
    """
    base = next((m for m in methods if baseline.resolve() in {f.resolve() for f in m.folders}), None)
    if base is None:
        raise InputError(f"The baseline {baseline} is not among the runs compared; name it among them.")
    first = methods[0].evidence[0]
    size = size_alone(methods[0].rows[0])
    differences = [difference(method, base) for method in methods if method is not base]
    figures = {method.name: {"seeds": method.seeds, **summarise(method)} for method in methods}
    return tidy(
        {
            "schema_version": 2,
            "kind": "breastcmsl.comparison",
            "cohort": first["cohort"],
            "simulated": first["simulated"],
            "baseline": base.name,
            "size_alone": size,
            "bayes": bayes_of(str(read_config(base.folders[0]).get("source", "")), draws),
            "rows": [_row(method, figures[method.name], first["cohort"], size) for method in methods],
            "methods": figures,
            "differences": differences,
            "claims": judge_claims({method.name: method for method in methods}, differences),
        }
    )


def _row(method: MethodRuns, figures: dict, cohort: str, size: dict | None) -> dict:
    """A line of Table 1: means over seeds with the interval of the exams, and what stands beside them."""
    row = {"method": method.name, "cohort": cohort, "seeds": len(method.seeds)}
    for key, value in figures["figures"].items():
        row |= {key: value["mean"], f"{key}_95": value["exams_95"], f"{key}_sd": value.get("sd")}
    row["auc_of_size_alone"] = None if size is None else size["auc"]
    seconds = [evidence["seconds"] for evidence in method.evidence if "seconds" in evidence]
    row["seconds"] = float(np.median(seconds)) if seconds else None
    row["labels"] = method.evidence[0].get("supervision", "")
    row["paper"] = dict(zip(TABLE_1, PAPER[method.name])) if method.name in PAPER else None
    return row


def summarise(method: MethodRuns) -> dict:
    """Figures of a method: means over seeds with both kinds of interval, and every run's own."""
    figures = {}
    for key in ("auc", *AT_THRESHOLD):
        figures[key] = _over_seeds([evidence["classification"][key] for evidence in method.evidence])
        figures[key]["exams_95"] = _exams_interval(method, key)
    maps = [
        name
        for name in method.evidence[0]["localisation"]
        if all(name in evidence["localisation"] for evidence in method.evidence)
    ]
    ratios = [evidence.get("cam_over_coam", {}).get("ratio") for evidence in method.evidence]
    ratios = [ratio for ratio in ratios if ratio is not None]
    own = ("auc", "auc_95", *AT_THRESHOLD)
    return {
        "figures": figures,
        **{
            protocol: {name: _distances(method, protocol, name) for name in maps}
            for protocol in ("localisation", "localisation_all")
        },
        "dice": method.evidence[0].get("dice"),
        "pull": _pull(method),
        "cam_over_coam": metrics.over_seeds(ratios) if ratios else None,
        "runs": [
            {"folder": folder.name, "seed": seed, **{k: evidence["classification"].get(k) for k in own}}
            for folder, seed, evidence in zip(method.folders, method.seeds, method.evidence)
        ],
    }


def _over_seeds(values: Sequence[float | None]) -> dict:
    known = [value for value in values if value is not None]
    if known:
        return metrics.over_seeds(known)
    return {"seeds": 0, "mean": float("nan"), "sd": float("nan"), "mean_95": metrics.NOWHERE}


def _distances(method: MethodRuns, protocol: str, name: str) -> dict:
    """Localisation figures of one map: over seeds, and for a single seed the interval of its exams."""
    runs = [evidence[protocol][name] for evidence in method.evidence]
    figures = {}
    for key in DISTANCES:
        figures[key] = _over_seeds([run[key] for run in runs])
        figures[key]["exams_95"] = runs[0].get(f"{key}_95") if len(runs) == 1 else None
    return figures


def _pull(method: MethodRuns) -> dict:
    """cos θ of the first seed's validation exams, and how the losses of eq. 3 and 4 would pull at them."""
    if not has_angles(method.folders[0]):
        return {}
    angles = angles_of(method.folders[0], split="validate")
    if not len(angles.labels):
        return {}
    spread = {
        label: np.percentile(angles.cosine[angles.labels == label], (5, 95)).tolist()
        for label in np.unique(angles.labels).tolist()
    }
    pulls = {margin: metrics.pull(angles.cosine, angles.labels, margin) for margin in MARGINS}
    return {"cosine": spread, "margins": pulls}


def _exams_interval(method: MethodRuns, key: str) -> tuple[float, float]:
    """Interval of a mean over these very seeds, by resampling patients (DeLong for the AUC)."""
    labels, patients = method.labels, method.patients
    if key == "auc":
        return metrics.mean_auc(labels, method.scores(), patients)[1]
    called = method.called()
    draws = metrics.bootstrap(lambda i: mean_rate(called[:, i], labels[i], key), labels.size, patients)
    return metrics.percentile_interval(draws)
