"""What a training run can be told, and the recipes: named starting points, each a function; every field can be overridden."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

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
    objective: Literal["bce", "nsl", "cmsl"] = "bce"
    """Cross-entropy (eq. 1-2), on the cosine (eq. 3), or with a margin (eq. 4)."""
    init: Path | None = None
    """Run to start from: its best weights, carried over to a finer grid where needed."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Architecture; head and centring follow from the objective when the run starts from another."""
    head: Literal["keep", "means"] = "keep"
    """The w a cosine head starts from: that of --init, or the difference of the class means of its pooled features."""
    margin: float = MARGIN
    margin_warmup: int = 0
    """Epochs over which the margin grows from 0."""
    epochs: int = 12
    batch: int = 16
    """Exams a step, over all processes."""
    accumulation: int = 1
    """Parts that a step's exams are read in, to save memory."""
    rate: float = 2e-3
    head_rate: float = 1.0
    """Factor of the learning rate for w."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """One warm-up and a cosine, or divided by 10 when the training loss stagnates, as in the paper."""
    weight_decay: float = 0.02
    clip: float = 5.0
    """Largest norm of the gradient."""
    shift_mm: float = 13.2
    intensity: float = 0.25
    """Augmentation: random shifts, mirroring left-right and head-foot, scaling of the intensity."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    patience: int = 0
    """Stop after so many epochs without a better validation AUC (0: never)."""
    limit: int = 0
    """Use only so many training exams (0: all), for learning curves."""
    workers: int = 0
    """Processes that read ahead."""
    resident: bool = True
    """Keep all exams in the GPU's memory where they fit, and read nothing ahead."""
    seed: int = 0


def smoke(output: Path) -> Config:
    """The whole path on 40 small exams in about a minute: it shows that everything works, not that anything is learned."""
    network = NetworkSettings(
        width=8, blocks=(1, 1, 1, 1), stem_kernel=1, stem_stride=1, stem_pool=True, strides=(1, 2, 1, 1), pooling="power"
    )
    return Config(output, cohort="simulated:smoke", spacing_mm=4.4, network=network, epochs=2, batch=4)


def small_cpu(output: Path) -> Config:
    """What a laptop can learn in an hour: 3,000 exams at 4.4 mm."""
    network = NetworkSettings(blocks=(2, 2, 2, 2), stem_kernel=1, stem_stride=1, stem_pool=True, strides=(1, 2, 1, 1), pooling="power")
    return Config(output, cohort="simulated:small", spacing_mm=4.4, network=network)


def gpu(output: Path) -> Config:
    """One GPU: the full input size, width 32, cells of 17.6 mm."""
    network = NetworkSettings(width=32, stem_pool=True, strides=(1, 2, 1, 1), pooling="power")
    return Config(output, cohort="simulated:paper", network=network, epochs=40, batch=8, workers=8, patience=12)


def paper(output: Path) -> Config:
    """Luo et al. 2019: ResNet34 of full width, average pooling, rate 1e-4 divided by 10 on a plateau; stem and strides of He et al."""
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


RECIPES = {"smoke": smoke, "small_cpu": small_cpu, "gpu": gpu, "paper": paper}


def parse(arguments: list[str] | None = None) -> tuple[str, Config]:
    """Name of the recipe, and the configuration, from ``RECIPE --output RUN [--field value …]``."""
    import tyro

    given = sys.argv[1:] if arguments is None else arguments
    choices = {name: (recipe.__doc__, replace(recipe(Path()), output=tyro.MISSING)) for name, recipe in RECIPES.items()}
    config = tyro.extras.overridable_config_cli(choices, args=given)
    return next(word for word in given if word in RECIPES), config
