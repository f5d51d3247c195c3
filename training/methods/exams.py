"""Cached exams as training reads them, and how they are augmented: it follows from the seed alone.

What happens to an exam in an epoch depends on (seed, epoch, exam) and nothing else, so a run that was
interrupted, or is spread over several processes, sees the same exams with the same augmentation.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import Dataset

from training.data import cache
from training.recipes import Config

from .method import Targets

KEEP_BELOW = 2 * 2**20  # voxels of an input: those of 2.2 mm are fewer, a thousand such exams take about 3 GB


class Exams(Dataset):
    """Cached exams as (array, targets, index): array (phases, LR, AP, SI) float16, of the contract's size.

    A key is an index, or (epoch, index) for an augmented exam. Exams stay in memory, packed, where that is
    worth it: in a GPU's, where all of them fit (they are then unpacked and augmented there too); small inputs
    in main memory, unless worker processes read them. Others are read from disk each time.

    Parameters
    ----------
    paths : list of Path
        Of the exams.
    config : Config
        Of the run.
    device : torch.device, optional
        A GPU that the exams are kept on, all of them read at once (None: none is).
    targets : dict, optional
        Name → a tensor with a value for each exam; its label is always among the targets.
    """

    def __init__(
        self,
        paths: list[Path],
        config: Config,
        device: torch.device | None = None,
        targets: Targets | None = None,
    ):
        self.paths, self.config, self.targets = paths, config, targets or {}
        self.kept: dict[int, cache.PackedExam] = {}
        if device is not None:
            with ThreadPoolExecutor(8) as pool:
                self.kept = dict(enumerate(pool.map(lambda path: cache.load_packed(path).to(device), paths)))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, dict, int]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        exam = self._packed(index)
        generator = torch.Generator().manual_seed(hash((self.config.seed, epoch or 0, index)) % 2**63)
        array, targets = self._example(exam, generator, epoch is not None)
        own = {name: values[index] for name, values in self.targets.items()}
        return array, {"label": exam.meta["label"], **own, **targets}, index

    def _example(
        self, exam: cache.PackedExam, generator: torch.Generator, learned: bool
    ) -> tuple[torch.Tensor, Targets]:
        """What the network sees of an exam, augmented where it learns from it, and further targets."""
        array = exam.window()
        return augment(array, self.config, generator) if learned else array, {}

    def _packed(self, index: int) -> cache.PackedExam:
        exam = self.kept.get(index)
        if exam is None:
            exam = cache.load_packed(self.paths[index])
            if self.config.workers == 0 and math.prod(exam.shape[1:]) < KEEP_BELOW:
                self.kept[index] = exam
        return exam


def augment(
    array: torch.Tensor, config: Config, generator: torch.Generator, shift: bool = True
) -> torch.Tensor:
    """Mirror left–right and head–foot, shift, and scale the intensity of an exam.

    Shifts wrap around: the canvas is empty at its edges.

    Parameters
    ----------
    array : torch.Tensor
        (phases, LR, AP, SI).
    config : Config
        ``shift_mm`` and ``intensity`` say how far.
    generator : torch.Generator
        Of the random numbers.
    shift : bool
        Whether it is shifted as well.

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    flips = [axis for axis in (1, 3) if torch.rand((), generator=generator) < 0.5]
    reach = round(config.shift_mm / config.spacing_mm) if shift else 0
    shifts = torch.randint(-reach, reach + 1, (3,), generator=generator).tolist()
    low, high = 1 / (1 + config.intensity), 1 + config.intensity
    factor = low + (high - low) * float(torch.rand((), generator=generator))
    return torch.roll(array.flip(flips) if flips else array, shifts, (1, 2, 3)) * factor
