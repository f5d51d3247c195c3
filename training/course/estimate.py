"""How long a course takes: measured on the first exams, by the steps' own functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.candidates.bags import describe_cached
from training.data import cache
from training.data.manifest import Row
from training.data.preparation import prepare_exam, use_one_core
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
        When an exam cannot be used, or the network cannot start.
    """
    contract = cache.contract_at(config.spacing_mm)
    listed = cache.Cache(folder, contract, [asdict(row) for row in rows], config.cohort)
    network, _ = starting_network(config, listed)
    chosen = (missing_exams(rows, folder) or rows)[:FIRST]
    work = partial(_prepare_and_describe, contract=contract, folder=folder, settings=settings)
    with ProcessPoolExecutor(1, initializer=use_one_core) as pool:
        prepare, describe = zip(*pool.map(work, chosen))
    paths = [cache.exam_path(folder, row.exam) for row in chosen]
    network = network.to("cuda" if torch.cuda.is_available() else "cpu").train()
    learn = min(_seconds(partial(_learn, network, path)) for path in paths)
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    return Seconds(sum(prepare) / len(prepare), min(describe), learn, size)


def _prepare_and_describe(
    row: Row, contract: InputContract, folder: Path, settings: CandidateSettings
) -> tuple[float, float]:
    path = cache.exam_path(folder, row.exam)
    return _seconds(partial(prepare_exam, row, contract, folder)), _seconds(
        partial(describe_cached, path, settings)
    )


def missing_exams(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Exams that are not in a cache yet."""
    return [row for row in rows if not cache.exam_path(folder, row.exam).exists()]


def _learn(network: torch.nn.Module, path: Path) -> None:
    device = next(network.parameters()).device
    array = cache.load_packed(path).window().float()[None].to(device)
    sigmoid_loss(network(array), torch.ones(1, device=device)).backward()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
