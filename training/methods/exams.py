"""Cached exams as training reads them, and how they are augmented: it follows from the seed alone.

What happens to an exam in an epoch depends on (seed, epoch, exam) and nothing else, so a run that was
interrupted, or is spread over several processes, sees the same exams with the same augmentation.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset

from training.data import cache
from training.recipes import Config

from .method import Targets


class Exams(Dataset):
    """Cached exams as (array, targets, index): array (phases, LR, AP, SI) float16, of the contract's size.

    A key is an index, or (epoch, index) for an augmented exam. Exams stay in memory, packed, where that is
    worth it: in a GPU's, where all of them fit (they are then unpacked and augmented there too). Others are
    read from disk each time, in a few per cent of the time that the network takes.

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
        own = {name: values[index] for name, values in self.targets.items()}
        array, targets = self._example(exam, own, generator, epoch is not None)
        return array, {"label": exam.meta["label"], **own, **targets}, index

    def _example(
        self, exam: cache.PackedExam, own: Targets, generator: torch.Generator, learned: bool
    ) -> tuple[torch.Tensor, Targets]:
        """What the network sees of an exam, augmented where it learns from it, and further targets.

        own: those of the exam that are known already.
        """
        array = exam.window()
        return draw_change(self.config, generator).apply(array) if learned else array, {}

    def _packed(self, index: int) -> cache.PackedExam:
        exam = self.kept.get(index)
        return cache.load_packed(self.paths[index]) if exam is None else exam


@dataclass(frozen=True)
class Change:
    """How an exam is augmented.

    Parameters
    ----------
    flips : tuple of int
        Axes of (…, LR, AP, SI) that it is mirrored along.
    shifts : tuple of int
        Voxels along each axis; what leaves at one edge comes back at the other: the canvas is empty there.
    factor : float
        Of the intensity.
    """

    flips: tuple[int, ...]
    shifts: tuple[int, int, int]
    factor: float

    def move(self, array: torch.Tensor) -> torch.Tensor:
        """Mirror and shift (channels, LR, AP, SI)."""
        return torch.roll(array.flip(self.flips) if self.flips else array, self.shifts, (1, 2, 3))

    def apply(self, array: torch.Tensor) -> torch.Tensor:
        """Mirror, shift and scale (phases, LR, AP, SI)."""
        return self.move(array) * self.factor


def draw_change(config: Config, generator: torch.Generator, shift: bool = True) -> Change:
    """Draw how an exam is mirrored left–right and head–foot, shifted and scaled.

    Parameters
    ----------
    config : Config
        ``shift_mm`` and ``intensity`` say how far.
    generator : torch.Generator
        Of the random numbers.
    shift : bool
        Whether it is shifted as well.
    """
    flips = tuple(axis for axis in (1, 3) if torch.rand((), generator=generator) < 0.5)
    reach = round(config.shift_mm / config.spacing_mm) if shift else 0
    shifts = tuple(torch.randint(-reach, reach + 1, (3,), generator=generator).tolist())
    low, high = 1 / (1 + config.intensity), 1 + config.intensity
    return Change(flips, shifts, low + (high - low) * float(torch.rand((), generator=generator)))
