"""Evaluated runs that differ only in their seed: one method of a comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import InputError
from training.methods.registry import METHODS

from .method_run import evidence_of
from .records import column, read_config, read_evaluation, read_predictions, tidy
from .splits import read_split

# settings that do not make another method: where, from which seed, on what machine, and what follows from the
# method
NOT_METHOD = frozenset(
    (
        "output cache cohort seed init teacher described workers input simulated source supervision "
        "accumulation precision"
    ).split()
)
NOT_METHOD_NETWORK = frozenset({"head", "scale"})


@dataclass(frozen=True)
class MethodRuns:
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


def group_runs(folders: Sequence[Path]) -> list[MethodRuns]:
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


def runs_of(name: str, folders: Sequence[Path]) -> MethodRuns:
    """Evaluated runs that are one method, whatever their settings."""
    return _method(name, [_Evaluated.of(folder) for folder in folders])


def averaged(name: str, method: MethodRuns) -> MethodRuns:
    """The mean of the logits of a method's runs, as one model: one seed, with thresholds of its own."""
    parts = {}
    for split in ("validate", "test"):
        runs = [read_predictions(folder, split) for folder in method.folders]
        logits = np.mean([column(rows, "logit") for rows in runs], axis=0)
        parts[split] = [{**row, "logit": z, "network_logit": z} for row, z in zip(runs[0], logits.tolist())]
    evidence = evidence_of(parts["validate"], parts["test"], ())
    evidence["seconds"] = float(np.sum([own["seconds"] for own in method.evidence]))
    kept = {key: method.evidence[0][key] for key in ("cohort", "simulated", "supervision")}
    return MethodRuns(name, method.folders[:1], method.seeds[:1], [parts["test"]], [tidy(evidence | kept)])


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
        return cls(folder, config["seed"], _settings(folder, config), rows, evidence)

    @property
    def exams(self) -> list[tuple[str, int]]:
        return [(row["exam"], row["label"]) for row in self.rows]


def _settings(folder: Path, config: dict) -> dict[str, object]:
    chosen = {k: v for k, v in config.items() if k not in NOT_METHOD and not isinstance(v, dict)}
    network = config.get("network", {}).items()
    chosen |= {f"network.{k}": v for k, v in network if k not in NOT_METHOD_NETWORK}
    chosen["starts from another run"] = bool(config.get("init"))
    chosen["training exams"] = _training_exams(folder)
    if config["method"] != "cmsl":
        chosen |= {"margin": None, "margin_warmup": None}
    return chosen


def _training_exams(folder: Path) -> str:
    """How many exams a run could learn from, and a digest of which: a cohort's name does not say."""
    rows = [row for row in read_split(folder) if row["split"] == "train"]
    text = repr(sorted((row["exam"], row["patient"], row["label"]) for row in rows))
    return f"{len(rows)} ({hashlib.sha256(text.encode()).hexdigest()[:6]})"


def _method(name: str, runs: Sequence[_Evaluated]) -> MethodRuns:
    runs = sorted(runs, key=lambda run: run.seed)
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise InputError(f"Two runs of {name} have the seed {twice}; name each run once.")
    folders, rows = [run.folder for run in runs], [run.rows for run in runs]
    return MethodRuns(name, folders, seeds, rows, [run.evidence for run in runs])


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
        names.append(", ".join([METHODS[one["method"]].title, *texts]))
    return names


def _usual(values: list[str]) -> str | None:
    """What more than half of them are."""
    return next((value for value in set(values) if 2 * values.count(value) > len(values)), None)
