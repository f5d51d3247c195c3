"""Compare methods on the same test exams, over seeds, and say whether a gain is more than noise.

Runs that differ only in their seed are one method. Every run must have been evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import InputError

from . import metrics
from .angles import angles_of
from .records import column, read_config, read_evaluation, read_predictions, tidy

# settings that do not make another method: where, from which seed, on what machine, and what follows from the
# method
NOT_METHOD = frozenset(
    "output cache cohort seed init workers input simulated source supervision accumulation precision".split()
)
NOT_METHOD_NETWORK = frozenset({"head", "scale"})
AT_THRESHOLD = ("accuracy", "sensitivity", "specificity", "f1")
DISTANCES = {"median_mm": 1, "hit10": 2, "hit20": 2, "pointing": 2, "mean_mm": 1}  # and their decimals
MARGINS = (0.0, 0.1, 0.35)  # at which the pull of the loss is reckoned
ENOUGH_SEEDS = 3  # with two, methods that differ in luck alone were called different in 13 % of trials


@dataclass(frozen=True)
class Method:
    """Runs that differ only in their seed, in the order of their seeds.

    Parameters
    ----------
    name : str
        The method, and what sets it apart from others.
    folders, seeds : list
        Of the runs.
    rows : list of list of dict
        Test rows of each run's predictions.csv.
    evidence : list of dict
        Of each run's evaluation.json.
    """

    name: str
    folders: list[Path]
    seeds: list[int]
    rows: list[list[dict]]
    evidence: list[dict]

    @property
    def labels(self) -> np.ndarray:
        """(exams,)"""
        return column(self.rows[0], "label")

    @property
    def patients(self) -> np.ndarray:
        """(exams,)"""
        return column(self.rows[0], "patient")

    def scores(self) -> np.ndarray:
        """(seeds, exams) logits."""
        return np.stack([column(rows, "logit") for rows in self.rows])

    def called(self) -> np.ndarray:
        """(seeds, exams): called malignant at each run's own frozen threshold."""
        thresholds = [evidence["classification"]["threshold"] for evidence in self.evidence]
        return np.stack([column(rows, "probability") >= t for rows, t in zip(self.rows, thresholds)])


def compare(methods: Sequence[Method], baseline: Path) -> dict:
    """Figures of all methods and their differences to a baseline.

    Parameters
    ----------
    methods : sequence of Method
        Of :func:`group_runs`.
    baseline : Path
        A run of the method to compare with.

    Returns
    -------
    dict
        comparison.json.

    Raises
    ------
    InputError
        When the baseline is not among the runs.
    """
    base = next((m for m in methods if baseline.resolve() in {f.resolve() for f in m.folders}), None)
    if base is None:
        raise InputError(f"The baseline {baseline} is not among the runs compared; name it among them.")
    first = methods[0].evidence[0]
    return tidy(
        {
            "schema_version": 1,
            "kind": "breastcmsl.comparison",
            "cohort": first["cohort"],
            "simulated": first["simulated"],
            "baseline": base.name,
            "methods": {method.name: {"seeds": method.seeds, **summarise(method)} for method in methods},
            "differences": [difference(method, base) for method in methods if method is not base],
        }
    )


# --- which runs are one method ---


def group_runs(folders: Sequence[Path]) -> list[Method]:
    """Methods in the order in which they were named. Raises InputError for runs that cannot be compared."""
    runs = [_Evaluated.of(folder) for folder in folders]
    for run in runs[1:]:
        if run.exams != runs[0].exams:
            raise InputError(
                f"{run.folder} was tested on other exams than {folders[0]}; "
                "compare runs of one cohort and one split."
            )
    names = dict.fromkeys(name for run in runs for name in run.settings)
    keys = [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]
    groups: dict[tuple, list[_Evaluated]] = {}
    for run in runs:
        groups.setdefault(tuple(repr(run.settings.get(key)) for key in keys), []).append(run)
    names = _names([members[0].settings for members in groups.values()], keys)
    return [_method(name, members) for name, members in zip(names, groups.values(), strict=True)]


@dataclass(frozen=True)
class _Evaluated:
    """A run as it is compared; settings: what makes its method, by name."""

    folder: Path
    seed: int
    settings: dict[str, object]
    rows: list[dict]
    evidence: dict

    @classmethod
    def of(cls, folder: Path) -> _Evaluated:
        evidence, rows = read_evaluation(folder)["evidence"], read_predictions(folder)
        config = read_config(folder)
        return cls(folder, config["seed"], _settings(config), rows, evidence)

    @property
    def exams(self) -> list[tuple[str, int]]:
        return [(row["exam"], row["label"]) for row in self.rows]


def _settings(config: dict) -> dict[str, object]:
    chosen = {k: v for k, v in config.items() if k not in NOT_METHOD and not isinstance(v, dict)}
    network = config.get("network", {}).items()
    chosen |= {f"network.{k}": v for k, v in network if k not in NOT_METHOD_NETWORK}
    chosen["starts from another run"] = bool(config.get("init"))
    if config["method"] != "cmsl":
        chosen |= {"margin": None, "margin_warmup": None}
    return chosen


def _method(name: str, runs: Sequence[_Evaluated]) -> Method:
    runs = sorted(runs, key=lambda run: run.seed)
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise InputError(f"Two runs of {name} have the seed {twice}; name each run once.")
    folders, rows = [run.folder for run in runs], [run.rows for run in runs]
    return Method(name, folders, seeds, rows, [run.evidence for run in runs])


def _names(settings: list[dict], keys: list[str]) -> list[str]:
    """The method, and what sets apart methods of one method.

    Where most have one value, only the others name theirs.
    """
    names = []
    for one in settings:
        rivals = [other for other in settings if other["method"] == one["method"]]
        apart = [k for k in keys if k != "method" and len({repr(other.get(k)) for other in rivals}) > 1]
        if "recipe" in apart and len({other["recipe"] for other in rivals}) == len(rivals):
            apart = ["recipe"]
        apart = [k for k in apart if repr(one.get(k)) != _usual([repr(other.get(k)) for other in rivals])]
        texts = [
            str(one[k]) if k == "recipe" else f"{k.removeprefix('network.')} {one.get(k)}" for k in apart
        ]
        names.append(", ".join([one["method"].upper(), *texts]))
    return names


def _usual(values: list[str]) -> str | None:
    """What more than half of them are."""
    return next((value for value in set(values) if 2 * values.count(value) > len(values)), None)


# --- figures of a method ---


def summarise(method: Method) -> dict:
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


def _distances(method: Method, protocol: str, name: str) -> dict:
    """Localisation figures of one map: over seeds, and for a single seed the interval of its exams."""
    runs = [evidence[protocol][name] for evidence in method.evidence]
    figures = {}
    for key in DISTANCES:
        figures[key] = _over_seeds([run[key] for run in runs])
        figures[key]["exams_95"] = runs[0].get(f"{key}_95") if len(runs) == 1 else None
    return figures


def _pull(method: Method) -> dict:
    """cos θ of the first seed's validation exams, and how the losses of eq. 3 and 4 would pull at them."""
    angles = angles_of(method.folders[0], split="validate")
    if not len(angles.labels):
        return {}
    spread = {
        label: np.percentile(angles.cosine[angles.labels == label], (5, 95)).tolist()
        for label in np.unique(angles.labels).tolist()
    }
    pulls = {margin: metrics.pull(angles.cosine, angles.labels, margin) for margin in MARGINS}
    return {"cosine": spread, "margins": pulls}


def _exams_interval(method: Method, key: str) -> tuple[float, float]:
    """Interval of a mean over these very seeds, by resampling patients (DeLong for the AUC)."""
    labels, patients = method.labels, method.patients
    if key == "auc":
        return metrics.mean_auc(labels, method.scores(), patients)[1]
    called = method.called()
    draws = metrics.bootstrap(lambda i: _mean_rate(called[:, i], labels[i], key), labels.size, patients)
    return metrics.percentile_interval(draws)


def _mean_rate(called: np.ndarray, labels: np.ndarray, key: str) -> float:
    return float(np.mean([metrics.rates(**metrics.counts(labels, row))[key] for row in called]))


# --- a method against the baseline ---


def difference(method: Method, baseline: Method) -> dict:
    """A method against the baseline on the same exams.

    Parameters
    ----------
    method, baseline : Method
        Of the same test exams.

    Returns
    -------
    dict
        AUC by paired DeLong and bootstrap, the rest by bootstrap; and a sentence.
    """
    labels, patients = method.labels, method.patients
    paired = method.seeds == baseline.seeds
    ours, theirs = method.scores(), baseline.scores()
    gain = metrics.auc_gain(labels, ours, theirs, patients, paired)

    def mean_area(scores: np.ndarray, index: np.ndarray) -> float:
        return float(np.mean([metrics.auc(labels[index], own[index]) for own in scores]))

    result = {
        "method": method.name,
        "baseline": baseline.name,
        "auc": gain,
        "auc_bootstrap": metrics.paired_bootstrap(
            lambda i: mean_area(ours, i) - mean_area(theirs, i), labels.size, patients
        ),
        "delong": [
            {"seed": seed, **metrics.paired_delong(labels, a, b, patients)}
            for seed, a, b in zip(method.seeds, ours, theirs if paired else theirs[:0])
        ],
    }
    called, other = method.called(), baseline.called()
    for key in AT_THRESHOLD:
        result[key] = metrics.paired_bootstrap(
            lambda i, key=key: (
                _mean_rate(called[:, i], labels[i], key) - _mean_rate(other[:, i], labels[i], key)
            ),
            labels.size,
            patients,
        )
    return {**result, "sentence": sentence(method.name, baseline.name, gain)}


def sentence(method: str, baseline: str, gain: dict) -> str:
    """Whether the AUCs of two methods differ by more than chance, in words."""
    value, (low, high), p = gain["difference"], gain["difference_95"], gain["p"]
    start = f"{method} against {baseline}: "
    if not np.isfinite(p):
        return start + "too few exams of one class to tell."
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    start += f"AUC {value:+.3f} (95 % {low:+.3f} to {high:+.3f}, {chance}); "
    if p >= 0.05:
        return start + "the difference cannot be told from noise."
    kind, fewest = "a gain" if value > 0 else "a loss", min(gain["seeds"])
    if fewest >= ENOUGH_SEEDS:
        return start + f"{kind} that neither the choice of exams nor that of the seeds explains."
    seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
    return start + (
        f"{kind} that the choice of exams does not explain, "
        f"but {seeds} each cannot tell it from luck in training."
    )
