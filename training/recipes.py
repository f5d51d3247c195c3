"""The settings of a training, and the recipes: named starting points, each a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.network.losses import MARGIN
from BreastCMSLLib.network.resnet import NetworkSettings


@dataclass(frozen=True)
class Config:
    """One training run."""

    output: Path
    """Folder of the run; a run that was interrupted goes on from there."""
    cohort: str = "simulated:small"
    """A manifest (CSV), or simulated:NAME. Preprocessed into the cache when it is not there yet."""
    cache: Path | None = None
    """Folder of preprocessed exams (default: cache/COHORT-SPACING beside the run)."""
    spacing_mm: float = 1.1
    """Voxel size of the model's input."""
    method: str = "bce"
    """bce: cross-entropy (eq. 1-2), nsl: on the cosine (eq. 3), cmsl: with a margin (eq. 4). Others of the
    comparison: mil_2d, sparse_mil, dkmt, cosface, glam, shen_patches and shen. distilled: cells learn from a
    candidate classifier."""
    init: Path | None = None
    """Run, or card of a bundle, to start from: its weights, carried over to a finer grid where needed."""
    init_weights: Literal["best", "last"] = "best"
    """Of that run: best on validation, or as it ended."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Architecture; the head follows from the method, all else from the run that is started from."""
    margin: float = MARGIN
    margin_warmup: int = 0
    """Epochs over which the margin grows from 0."""
    epochs: int = 12
    batch: int = 16
    """Exams a step, over all processes."""
    accumulation: int = 1
    """Parts that a step's exams are read in, to save memory."""
    rate: float = 2e-3
    schedule: Literal["cosine", "plateau"] = "cosine"
    """One warm-up and a cosine, or divided by 10 when the training loss stagnates, as in the paper."""
    weight_decay: float = 0.02
    shift_mm: float = 13.2
    intensity: float = 0.25
    """Augmentation: random shifts, mirroring left-right and head-foot, scaling of the intensity."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    patience: int = 0
    """Stop after so many epochs without a better validation AUC (0: never)."""
    converge: int = 0
    """Stop when the training loss is as good as 0, or flat over so many epochs (0: never)."""
    alpha: float = 0.3
    """Weight of the grades in the loss (dkmt), not published."""
    sparsity: float = 1e-4
    """Weight of a cell's probability where there are 36 cells (sparse_mil), or of the maps' mean (glam)."""
    unfreeze: float = 0.5
    """Factor of the rate whenever more of the network begins to learn (shen_patches, shen; there 0.1)."""
    teacher: Path | None = None
    """Run, or card of a bundle, whose candidate classifier teaches the cells (distilled)."""
    described: Path | None = None
    """Folder of the described candidates of the training exams (distilled)."""
    limit: int = 0
    """Use only so many training exams (0: all), for learning curves."""
    workers: int = 0
    """Processes that read ahead."""
    seed: int = 0


@dataclass(frozen=True)
class CandidateConfig:
    """One training of a candidate classifier.

    Parameters
    ----------
    epochs : int
        Over all exams; the learning rate ends at 0.
    batch : int
        Exams a step.
    rate : float
        Largest learning rate.
    weight_decay : float
        Of AdamW.
    limit : int
        Use only so many of the run's training exams (0: all).
    seed : int
        Of weights, order, noise and dropout.
    settings : CandidateSettings
        How candidates are found and judged; phases, and a coarser grid, follow from the run.
    """

    epochs: int = 40
    batch: int = 32
    rate: float = 3e-3
    weight_decay: float = 0.3
    limit: int = 0
    seed: int = 0
    settings: CandidateSettings = field(default_factory=CandidateSettings)


def smoke(output: Path) -> Config:
    """The whole path on 40 small exams in about a minute; it works, but nothing is learned."""
    network = NetworkSettings(
        width=8,
        blocks=(1, 1, 1, 1),
        stem_kernel=1,
        stem_stride=1,
        stem_pool=True,
        strides=(1, 2, 1, 1),
        pooling="power",
    )
    return Config(output, cohort="simulated:smoke", spacing_mm=4.4, network=network, epochs=2, batch=4)


def small_cpu(output: Path) -> Config:
    """What a laptop can learn in an hour: 3,000 exams at 4.4 mm."""
    network = NetworkSettings(
        blocks=(2, 2, 2, 2),
        stem_kernel=1,
        stem_stride=1,
        stem_pool=True,
        strides=(1, 2, 1, 1),
        pooling="power",
    )
    return Config(output, cohort="simulated:small", spacing_mm=4.4, network=network)


def own(output: Path) -> Config:
    """A cohort of some hundred exams: 2.2 mm, where candidates are described, and cells as in small_cpu."""
    network = NetworkSettings(
        blocks=(2, 2, 2, 2),
        stem_kernel=3,
        stem_stride=2,
        stem_pool=True,
        strides=(1, 2, 1, 1),
        pooling="power",
    )
    return Config(output, spacing_mm=2.2, network=network, epochs=20, batch=8)


def gpu(output: Path) -> Config:
    """One GPU: the full input size, width 32, cells of 17.6 mm."""
    network = NetworkSettings(width=32, stem_pool=True, strides=(1, 2, 1, 1), pooling="power")
    return Config(
        output, cohort="simulated:paper", network=network, epochs=40, batch=8, workers=8, patience=12
    )


def paper(output: Path) -> Config:
    """Luo et al. 2019: full ResNet34, average pooling, 1e-4 divided by 10 on a plateau."""
    network = NetworkSettings(width=64, stem_stride=2, stem_pool=True, strides=(1, 2, 2, 2))
    return Config(
        output,
        cohort="simulated:paper",
        network=network,
        rate=1e-4,
        schedule="plateau",
        epochs=80,
        batch=8,
        accumulation=2,
        workers=8,
        patience=20,
    )


RECIPES = {"smoke": smoke, "small_cpu": small_cpu, "own": own, "gpu": gpu, "paper": paper}
