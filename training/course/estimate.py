"""How long a course takes: measured on the first exams, by the steps' own functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import BreastCMSLError, InputError
from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.candidates.bags import describe_cached
from training.data import cache
from training.data.manifest import Row
from training.data.preparation import MOST_NAMED, is_prepared, prepare_exam, problem_of, problems_text
from training.data.processes import worker_processes
from training.methods.start import starting_network
from training.recipes import Config

FIRST = 2  # exams that are measured: the second one without what only a beginning takes
GRIDS = 4  # on which candidates are described in an evaluation; once in training


@dataclass(frozen=True)
class Seconds:
    """Seconds that one exam takes.

    Parameters
    ----------
    prepare : float
        To read, register and preprocess.
    describe : float
        To find its candidates and their features.
    learn : float
        Of one pass of the network in training.
    megabytes : float
        On disk, prepared.
    """

    prepare: float
    describe: float
    learn: float
    megabytes: float

    def left(self, rows: Sequence[Row], missing: int, epochs: int, workers: int) -> dict[str, float]:
        """Seconds of each step of a course.

        Parameters
        ----------
        rows : sequence of Row
            Its exams.
        missing : int
            Of them not prepared yet.
        epochs : int
            Of the network.
        workers : int
            Processes that prepare, describe and evaluate.

        Returns
        -------
        dict of str to float
            By the names of the steps.
        """
        train, validate, test = (
            sum(row.split == part for row in rows) for part in ("train", "validate", "test")
        )
        third = self.learn / 3  # a pass without learning
        return {
            "prepare": missing * self.prepare / workers,
            "network": epochs * (train * self.learn + validate * third),
            "candidates": (train + validate) * self.describe / workers + validate * third,
            "evaluate": (validate + test) * (GRIDS * self.describe + self.learn) / workers,
        }


def measure(rows: Sequence[Row], config: Config, settings: CandidateSettings, folder: Path) -> Seconds:
    """Prepare, describe and learn from the first exams that are not prepared yet, and time it.

    What cannot be used is printed and passed over: the step that prepares names all such exams at once.

    Parameters
    ----------
    rows : sequence of Row
        Of the cohort.
    config : Config
        Of the network.
    settings : CandidateSettings
        Of the candidates.
    folder : Path
        Cache of the exams: what is prepared here need not be prepared again.

    Returns
    -------
    Seconds
        Means for ``prepare``, the fastest for what repeats itself.

    Raises
    ------
    InputError
        When no exam can be used, or the network cannot start.
    """
    contract = cache.contract_at(config.spacing_mm)
    listed = cache.Cache(folder, contract, [asdict(row) for row in rows], config.cohort)
    network, _ = starting_network(config, listed)
    work = partial(_prepare_and_describe, contract=contract, folder=folder, settings=settings)
    with worker_processes(1) as pool:
        measured = _first_usable(pool, work, missing_exams(rows, folder, contract) or rows)
    prepare, describe = zip(*measured.values())
    paths = [cache.exam_path(folder, exam) for exam in measured]
    network = network.to("cuda" if torch.cuda.is_available() else "cpu").train()
    learn = min(_seconds(partial(_learn, network, path)) for path in paths)
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    return Seconds(sum(prepare) / len(prepare), min(describe), learn, size)


def _first_usable(
    pool: Executor, work: Callable[[Row], tuple[float, float]], rows: Sequence[Row]
) -> dict[str, tuple[float, float]]:
    """What the work says of the first ``FIRST`` exams that can be used, by exam."""
    measured: dict[str, tuple[float, float]] = {}
    problems: list[str] = []
    for row in rows:
        try:
            measured[row.exam] = pool.submit(work, row).result()
        except BreastCMSLError as error:
            problems.append(problem_of(row, error))
            print(f"Cannot be used: {problems[-1]}", flush=True)
        if len(measured) == FIRST or len(problems) == MOST_NAMED:
            break
    if not measured:
        raise InputError(problems_text(problems))
    return measured


def _prepare_and_describe(
    row: Row, contract: InputContract, folder: Path, settings: CandidateSettings
) -> tuple[float, float]:
    path = cache.exam_path(folder, row.exam)
    return _seconds(partial(prepare_exam, row, contract, folder)), _seconds(
        partial(describe_cached, path, settings)
    )


def missing_exams(rows: Sequence[Row], folder: Path, contract: InputContract) -> list[Row]:
    """Exams that are not in a cache yet, or were made of other files or by other code."""
    return [row for row in rows if not is_prepared(row, contract, folder)]


def _learn(network: torch.nn.Module, path: Path) -> None:
    device = next(network.parameters()).device
    array = cache.load_packed(path).window().float()[None].to(device)
    sigmoid_loss(network(array), torch.ones(1, device=device)).backward()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
