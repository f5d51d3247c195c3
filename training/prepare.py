"""Simulate and preprocess a cohort: ``python -m training.prepare --output CACHE --count 600``. Resumes where it stopped."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np


def label_of(seed: int) -> bool:
    """The label of a seed: a fair coin of its own, so that any range of seeds is a balanced cohort."""
    return bool(np.random.default_rng([seed, 1137]).random() < 0.5)


def make(seed: int, folder: str) -> int:
    import torch

    torch.set_num_threads(1)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    from BreastCMSLLib.preprocessing import preprocess
    from training import cache
    from training.simulation import simulate

    path = Path(folder) / f"{seed:06d}.npz"
    if not path.exists():
        made = simulate(seed, label_of(seed))
        cache.store(
            path,
            preprocess(made.exam, cache.contract()),
            {"seed": seed, "label": int(made.malignant), "lesions": made.lesions, "facts": made.facts},
        )
    return seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    seeds = range(arguments.first, arguments.first + arguments.count)
    with ProcessPoolExecutor(arguments.workers) as pool:
        for done, seed in enumerate(pool.map(make, seeds, [str(arguments.output)] * len(seeds)), 1):
            print(f"{done}/{len(seeds)} exams (seed {seed})", flush=True)


if __name__ == "__main__":
    main()
