"""The steps of a course. Each goes on where it stopped, and does nothing where it is done."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from training.candidates import training as classifier
from training.data import cache
from training.data.files import read_rows, write_json
from training.data.manifest import Row
from training.data.preparation import prepare
from training.data.splits import fitting_batch
from training.evaluation.card import console, write_card
from training.evaluation.evaluation import evaluate
from training.evaluation.records import read_evaluation
from training.evaluation.run_figures import draw_run
from training.methods.loop import train
from training.methods.start import starting_network
from training.recipes import RECIPES, CandidateConfig, Config
from training.runs import folder as runs

from .cohort import cohort_text, freeze, frozen_cohort, frozen_rows, has_learned
from .estimate import Seconds, measure, missing_exams

CARD = "own.json"
EXAMS, MODEL = "exams", "model"  # folders of the cache and of the exported bundle
EPOCHS_ON, RATE_ON = 6, 0.25  # a network learns on for so many epochs, at this share of the recipe's rate
CANDIDATES_ON = {"epochs": 20, "rate": 1e-3}  # likewise the classifier
BATCH = 16  # exams a step of the classifier
FEW = 1000  # training exams: fewer teach a new classifier little, see docs/own_exams.md
EACH = 10  # exams to be worth a process of its own


@dataclass(frozen=True)
class Course:
    """What is made of a cohort.

    Parameters
    ----------
    source : str
        A manifest (CSV), or simulated:NAME.
    run : Path
        Folder of the run, after which the bundle is called.
    recipe : str
        A key of ``RECIPES``.
    init : Path, optional
        Run, or card of a bundle, to learn on from (None: anew).
    seed : int
        Of the split and of both trainings.
    workers : int
        Processes.
    """

    source: str
    run: Path
    recipe: str
    init: Path | None
    seed: int
    workers: int

    @property
    def exams(self) -> Path:
        """Cache of the exams."""
        return self.run / EXAMS

    def card(self) -> dict:
        """What RUN/own.json keeps, so that a folder holds one course."""
        init = None if self.init is None else str(self.init)
        return {"source": Path(self.source).name, "recipe": self.recipe, "init": init, "seed": self.seed}

    def processes(self, exams: int) -> int:
        return max(1, min(self.workers, exams // EACH))


def follow(course: Course) -> dict:
    """Take a course from its manifest to its bundle, or go on with it; prints a line a step.

    Parameters
    ----------
    course : Course

    Returns
    -------
    dict
        The evaluation.

    Raises
    ------
    InputError
        In one sentence, before the work where that can be known.
    """
    _refuse_another(course)
    source, rows = frozen_cohort(course.source, course.run, course.seed)
    plan = _plan(course, source, rows)
    freeze(source, rows)
    rows = frozen_rows(source, rows)
    write_json(course.run / CARD, course.card())
    print(f"1 of 5, split: {cohort_text(rows)}", flush=True)
    _advise(course, rows)
    seconds = measure(rows, plan.network, plan.candidates.settings, course.exams)
    steps: dict[str, Callable[[], str]] = {
        "prepare": lambda: _prepare(course, plan),
        "network": lambda: _network(course, plan),
        "candidates": lambda: _candidates(course, plan, len(rows)),
        "evaluate": lambda: _evaluate(course, len(rows)),
    }
    left = _left(course, plan, rows, seconds)
    print(_hours(left), flush=True)
    for number, (name, step) in enumerate(steps.items(), 2):
        start = time.perf_counter()
        text, left = step(), {later: left[later] for later in left if later != name}
        rest = f"; about {_duration(sum(left.values()))} left" if left else ""
        print(f"{number} of 5, {name}: {text} ({_duration(time.perf_counter() - start)}){rest}", flush=True)
    return read_evaluation(course.run)


def rehearse(course: Course) -> None:
    """Check all that can be known beforehand, and print the plan; leaves nothing behind.

    Raises InputError as :func:`follow` does.
    """
    _refuse_another(course)
    source, rows = frozen_cohort(course.source, course.run, course.seed)
    plan = _plan(course, source, rows)
    print(f"Split: {cohort_text(rows)}")
    _advise(course, rows)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(rows, plan.network, plan.candidates.settings, Path(folder))
    print(
        f"Exams at {plan.network.spacing_mm:g} mm: {seconds.megabytes * len(rows) / 1000:.1f} GB "
        f"in {course.exams}"
    )
    for name, settings, start in (
        ("Network", plan.network, course.init),
        ("Candidate classifier", plan.candidates, plan.start),
    ):
        origin = "anew" if start is None else f"on from {start}"
        print(f"{name}: learns {origin}, {settings.epochs} epochs, {settings.batch} exams a step")
    print(_hours(_left(course, plan, frozen_rows(source, rows), seconds)))
    print("Nothing was written.")


# --- what is decided beforehand ---


@dataclass(frozen=True)
class _Plan:
    """Settings of both trainings; ``start`` is what the classifier learns on from."""

    network: Config
    candidates: CandidateConfig
    start: Path | None


def _plan(course: Course, source: str, rows: Sequence[Row]) -> _Plan:
    """InputError where what is to be started from does not fit."""
    count = sum(row.split == "train" for row in rows)
    recipe = RECIPES[course.recipe](course.run)
    network = replace(
        recipe,
        cohort=source,
        cache=course.exams,
        seed=course.seed,
        init=course.init,
        batch=fitting_batch(recipe.batch, count),
    )
    settings = CandidateSettings(grid_mm=max(CandidateSettings().grid_mm, recipe.spacing_mm))
    candidates = CandidateConfig(batch=fitting_batch(BATCH, count), seed=course.seed, settings=settings)
    if course.init is None:
        return _Plan(network, candidates, None)
    network = replace(network, epochs=EPOCHS_ON, rate=recipe.rate * RATE_ON)
    listed = cache.Cache(
        course.exams, cache.contract_at(recipe.spacing_mm), [asdict(row) for row in rows], source
    )
    starting_network(network, listed)  # what it cannot start from is said before anything is written
    if runs.load_start(course.init).candidates is None:
        return _Plan(network, candidates, None)
    start = classifier.starting_classifier(course.init, cache.contract_at(recipe.spacing_mm))
    return _Plan(network, replace(candidates, settings=start.settings, **CANDIDATES_ON), course.init)


def _advise(course: Course, rows: Sequence[Row]) -> None:
    if course.init is None and sum(row.split == "train" for row in rows) < FEW:
        print(f"Fewer than {FEW} training exams teach little anew; --init MODEL learns on from a model.")


def _refuse_another(course: Course) -> None:
    path = course.run / CARD
    if not path.exists() and course.run.is_dir() and any(course.run.iterdir()):
        raise InputError(f"{course.run} holds something else; choose a new folder for --output.")
    runs.refuse_another(path, course.card(), () if has_learned(course.run) else ("init",))


def _left(course: Course, plan: _Plan, rows: Sequence[Row], seconds: Seconds) -> dict[str, float]:
    """Seconds of each step ahead."""
    missing = len(missing_exams(rows, course.exams, cache.contract_at(plan.network.spacing_mm)))
    epochs = max(0, plan.network.epochs - len(read_rows(course.run / "metrics.csv")))
    left = seconds.left(rows, missing, epochs, course.workers)
    if runs.load_candidates(course.run) is not None:
        left |= {"network": 0.0, "candidates": 0.0}
    if _finished_evaluation(course.run) is not None:
        left["evaluate"] = 0.0
    return left


def _hours(left: dict[str, float]) -> str:
    each = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in left.items())
    return f"About {_duration(sum(left.values()))} left: {each}"


# --- the steps ---


def _prepare(course: Course, plan: _Plan) -> str:
    spacing_mm = plan.network.spacing_mm
    exams = prepare(plan.network.cohort, course.exams, spacing_mm, course.workers)
    return f"{len(exams.rows)} exams at {spacing_mm:g} mm in {course.exams}"


def _network(course: Course, plan: _Plan) -> str:
    train(course.recipe, plan.network)
    return f"the best of {plan.network.epochs} epochs is in {course.run}"


def _candidates(course: Course, plan: _Plan, exams: int) -> str:
    if runs.load_candidates(course.run) is None:
        classifier.train(course.run, plan.candidates, init=plan.start, workers=course.processes(exams))
    a, b, c = runs.load_candidates(course.run).settings.mix
    return f"the exam's logit is {a:.2f} · network + {b:.2f} · candidates + {c:.2f}"


def _evaluate(course: Course, exams: int) -> str:
    evaluation = _finished_evaluation(course.run)
    if evaluation is None:
        workers = course.processes(exams)
        evaluation = evaluate(course.run, export=course.run / MODEL, workers=workers)
    print(console(evaluation))
    draw_run(course.run, course.run / "figures")
    _, page = write_card(course.run)
    return f"card {page}, bundle {evaluation['bundle']['file']}"


def _finished_evaluation(folder: Path) -> dict | None:
    """That of a course, which has one network and one classifier: test exams are read once."""
    try:
        return read_evaluation(folder)
    except InputError:
        return None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
