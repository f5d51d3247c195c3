"""Train the candidate classifier of a run, from labels of whole exams, and from simulated lesions.

    python training/train_candidates.py RUN
    python training/train_candidates.py RUN --epochs 20 --seed 1
    python training/train_candidates.py RUN --more CANDIDATES      # also learn from described candidates
    python training/train_candidates.py RUN --init MODEL --epochs 20 --rate 1e-3    # learn on

Learns from RUN's exams (training and validation) and the training exams of CANDIDATES, into RUN/candidates. A
training that was interrupted goes on, to the same weights. ``training/evaluate.py RUN`` then scores exams
with both.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from BreastCMSLLib.candidates.settings import CandidateSettings
from training.candidates.training import train
from training.command import ends_in_a_sentence, parser_of
from training.data.processes import usual_workers
from training.recipes import CandidateConfig


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    usual, settings = CandidateConfig(), CandidateSettings()
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--cache", type=Path, help="cache of the exams (default: the one the run was trained on)"
    )
    parser.add_argument(
        "--more", type=Path, help="described candidates whose training exams are learned from as well"
    )
    parser.add_argument(
        "--init", type=Path, metavar="MODEL", help="run, or card of a bundle, whose classifier is learned on"
    )
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--batch", type=int, default=usual.batch, help="exams a step")
    parser.add_argument("--rate", type=float, default=usual.rate)
    parser.add_argument(
        "--grid",
        type=float,
        default=settings.grid_mm,
        help="voxel size in mm that candidates are described at (coarser where the run's is)",
    )
    parser.add_argument(
        "--limit", type=int, default=usual.limit, help="use only so many training exams (0: all)"
    )
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument(
        "--workers", type=int, default=usual_workers(), help="processes that describe candidates"
    )
    o = parser.parse_args(arguments)
    config = CandidateConfig(
        o.epochs, o.batch, o.rate, usual.weight_decay, o.limit, o.seed, replace(settings, grid_mm=o.grid)
    )
    print(train(o.run, config, cache_folder=o.cache, more=o.more, init=o.init, workers=o.workers))


if __name__ == "__main__":
    raise SystemExit(main())
