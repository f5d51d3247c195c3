"""Train the network on image-level labels.

    python training/train.py small_cpu --output RUN
    python training/train.py small_cpu --output RUN2 --method cmsl --init RUN --epochs 4
    torchrun --nproc-per-node 4 training/train.py paper --output RUN --cohort manifest.csv

A run that was interrupted goes on from RUN/last, to the same weights it would have had.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import tyro

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence
from training.evaluation.figures import training_curves
from training.methods.loop import train
from training.recipes import RECIPES, Config


def parse(arguments: list[str] | None = None) -> tuple[str, Config]:
    """Name of the recipe, and the configuration, from ``RECIPE --output RUN [--field value …]``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    choices = {
        name: (recipe.__doc__, replace(recipe(Path()), output=tyro.MISSING))
        for name, recipe in RECIPES.items()
    }
    config = tyro.extras.overridable_config_cli(choices, args=arguments)
    return next(word for word in arguments if word in RECIPES), config


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    folder = train(*parse(arguments))
    if os.environ.get("RANK", "0") == "0":
        training_curves(folder)
        print(folder)


if __name__ == "__main__":
    status = main()
    if (
        "RANK" in os.environ
    ):  # one of several processes: what communicated between them may abort when torn down
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise SystemExit(status)
