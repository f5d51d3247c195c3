"""Train and evaluate every method of the comparison that is not there yet, on one cohort.

For each seed a base, the 3-D ResNet, is trained until its loss is as good as 0 or flat; every method goes on
from how it ended, all for as many passes. A method that cannot start from it gets the passes of both. All
read the same exams, and nothing is done twice: a folder is gone on with where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.files import read_rows
from training.methods.convergence import converged
from training.methods.loop import train
from training.methods.registry import METHODS, method_named
from training.recipes import RECIPES, Config

from .method_run import evaluate_method

# without a part of shen, and what needs a teacher first
ALL = tuple(
    name for name, one in METHODS.items() if name != "shen_patches" and "soft labels" not in one.needs
)
BASELINE = "bce"


@dataclass(frozen=True)
class Plan:
    """What is compared, and for how long each trains.

    Parameters
    ----------
    output : Path
        Folder of the runs.
    cohort : str
        A manifest, or simulated:NAME.
    cache : Path
        Of its exams; made when it is not there.
    recipe : str
        Whose settings the networks have.
    methods : tuple of str
        In the order of the table.
    seeds : int
        Of a method whose interval overlaps with another's; of all others one.
    base_epochs, epochs : int
        At most of the base, and of each method after it.
    converge : int
        Epochs over which the base's loss is flat.
    rate : float
        Of a method after the base, as a share of the recipe's; new networks learn at the whole.
    changes : dict
        Further fields of :class:`Config`.
    """

    output: Path
    cohort: str
    cache: Path
    recipe: str = "small_cpu"
    methods: tuple[str, ...] = ALL
    seeds: int = 3
    base_epochs: int = 200
    epochs: int = 20
    converge: int = 8
    rate: float = 0.25
    changes: dict | None = None


def run_plan(plan: Plan) -> dict[str, list[Path]]:
    """Train and evaluate what is missing.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    dict
        Method → its evaluated runs, by seed.

    Raises
    ------
    InputError
        When the cohort does not suit a method.
    """
    for name in plan.methods:
        method_named(name)
    runs = {name: [_evaluated(plan, name, 0)] for name in plan.methods}
    for name in overlapping({name: _interval(folders[0]) for name, folders in runs.items()}):
        runs[name] += [_evaluated(plan, name, seed) for seed in range(1, plan.seeds)]
    return runs


def overlapping(intervals: dict[str, tuple[float, float]]) -> list[str]:
    """The methods whose interval of the AUC overlaps with that of another."""
    return [
        name
        for name, (low, high) in intervals.items()
        if any(low <= above and below <= high for other, (below, above) in intervals.items() if other != name)
    ]


def _interval(folder: Path) -> tuple[float, float]:
    low, high = evaluate_method(folder)["evidence"]["classification"]["auc_95"]
    return (0.0, 1.0) if low is None or high is None else (low, high)


def _evaluated(plan: Plan, name: str, seed: int) -> Path:
    folder = _trained(plan, name, seed)
    evaluate_method(folder)
    return folder


def _trained(plan: Plan, name: str, seed: int) -> Path:
    """The run of a method; those that it starts from are trained before it."""
    if name == "base":
        return train(plan.recipe, _base(plan, seed))
    method = method_named(name)
    config = replace(_config(plan, name, seed), method=name, schedule="cosine")
    if not method.start:
        passes = len(read_rows(_trained(plan, "base", seed) / "metrics.csv"))
        return train(plan.recipe, replace(config, epochs=passes + plan.epochs))
    start = _trained(plan, method.start, seed)
    epochs = plan.epochs
    if "shen_patches" in (name, method.start):  # two runs share the passes
        epochs = max(1, epochs // 2 if name == "shen_patches" else epochs - epochs // 2)
    rate = config.rate * (1.0 if method.fresh else plan.rate)
    weights = "last" if method.start == "base" else "best"
    return train(plan.recipe, replace(config, init=start, init_weights=weights, rate=rate, epochs=epochs))


def _base(plan: Plan, seed: int) -> Config:
    config = _config(plan, "base", seed)
    return replace(config, schedule="plateau", epochs=plan.base_epochs, converge=plan.converge)


def _config(plan: Plan, name: str, seed: int) -> Config:
    config = RECIPES[plan.recipe](plan.output / f"{name}-{seed}")
    common = {"cohort": plan.cohort, "cache": plan.cache, "seed": seed, "patience": 0, "margin_warmup": 0}
    return replace(config, **common, **(plan.changes or {}))


def bases(plan: Plan, seeds: Sequence[int]) -> list[dict]:
    """How the bases ended: epochs, training loss, and whether that was convergence."""
    ends = []
    for seed in seeds:
        losses = [float(row["train_loss"]) for row in read_rows(plan.output / f"base-{seed}" / "metrics.csv")]
        if losses:
            ends.append(
                {
                    "seed": seed,
                    "epochs": len(losses),
                    "train_loss": losses[-1],
                    "converged": converged(losses, plan.converge),
                }
            )
    return ends
