"""Cached exams as training reads them: order, augmentation and batches follow from the seed alone.

What happens to an exam in an epoch depends on (seed, epoch, exam) and nothing else, so a run that was interrupted, or is
spread over several processes, sees the same exams in the same order with the same augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from BreastCMSLLib.errors import InputError
from training import cache
from training.recipes import Config


class Exams(Dataset):
    """(array float16 (phases, LR, AP, SI), label, index). keys: an index, or (epoch, index) for an augmented exam.

    Small inputs stay in memory, packed, unless worker processes read them; large ones are read from disk each time.
    """

    KEEP_BELOW = 2 * 2**20  # voxels: those of a 2.2 mm input are fewer, a thousand such exams take about 3 GB

    def __init__(self, paths: list[Path], config: Config):
        self.paths, self.config, self.kept = paths, config, {}

    def __len__(self) -> int:
        return len(self.paths)

    def _read(self, index: int) -> tuple[torch.Tensor, int]:
        if index in self.kept:
            at, values, shape, label = self.kept[index]
            dense = torch.zeros(shape[0], shape[1:].numel(), dtype=torch.float16)
            dense[:, at.long()] = values
            return dense.reshape(shape), label
        exam = cache.load(self.paths[index])
        array = exam.array
        if self.config.workers == 0 and array[0].numel() < self.KEEP_BELOW:
            flat = array.flatten(1)
            at = flat.any(0).nonzero()[:, 0]
            self.kept[index] = at.int(), flat[:, at], array.shape, exam.meta["label"]
        return array, exam.meta["label"]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        array, label = self._read(index)
        if epoch is not None:
            array = augment(array, self.config, torch.Generator().manual_seed(hash((self.config.seed, epoch, index)) % 2**63))
        return array, label, index


def augment(array: torch.Tensor, config: Config, generator: torch.Generator) -> torch.Tensor:
    """Mirror left–right and head–foot, shift by up to ``shift_mm``, scale the intensity.

    Shifts wrap around: the canvas is empty at its edges.
    """
    flips = [axis for axis in (1, 3) if torch.rand((), generator=generator) < 0.5]
    reach = round(config.shift_mm / config.spacing_mm)
    shifts = torch.randint(-reach, reach + 1, (3,), generator=generator).tolist()
    low, high = 1 / (1 + config.intensity), 1 + config.intensity
    factor = low + (high - low) * float(torch.rand((), generator=generator))
    return torch.roll(array.flip(flips) if flips else array, shifts, (1, 2, 3)) * factor


class EpochSampler(Sampler):
    """(epoch, index) of a permutation that depends on the seed and the epoch."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.seed * 100_003 + self.epoch))
        return iter([(self.epoch, int(n)) for n in order])


def loaders(train: list[Path], validate: list[Path], config: Config, processes: int) -> tuple[DataLoader, DataLoader]:
    """Batches of one process; accelerate deals them out. Incomplete training batches are left out, validation is complete."""
    size = config.batch // (processes * config.accumulation)
    options = {"batch_size": size, "num_workers": config.workers, "pin_memory": torch.cuda.is_available()}
    options["persistent_workers"] = config.workers > 0
    training = DataLoader(Exams(train, config), sampler=EpochSampler(len(train), config.seed), drop_last=True, **options)
    return training, DataLoader(Exams(validate, config), **options)


def open_cohort(config: Config, accelerator) -> tuple[cache.Cache, dict[str, list[Path]]]:
    """The cache of the cohort (made first, by one process, when it is not complete) and its exams for training and validation."""
    name = config.cohort.removeprefix("simulated:") if config.cohort.startswith("simulated:") else Path(config.cohort).stem
    folder = config.cache or config.output.parent / "cache" / f"{name}-{config.spacing_mm}mm"
    if accelerator.is_main_process and not (folder / "index.csv").exists():
        from training.prepare import prepare

        prepare(config.cohort, folder, config.spacing_mm, splits=() if config.epochs else ("validate", "test"))
    accelerator.wait_for_everyone()
    exams = cache.open_cache(folder)
    if exams.contract.spacing_mm != config.spacing_mm:
        raise InputError(f"{folder} holds exams at {exams.contract.spacing_mm} mm, not {config.spacing_mm} mm; choose another --cache.")
    rows = {split: [row for row in exams.rows if row["split"] == split] for split in ("train", "validate")}
    rows["train"] = rows["train"][: config.limit or None]
    for split, chosen in rows.items():
        if split == "train" and config.epochs == 0:
            continue
        if len({row["label"] for row in chosen}) < 2:
            raise InputError(f"{exams.source} has no benign or no malignant exams for {split}; correct the split column.")
    if len(rows["train"]) < config.batch and config.epochs:
        raise InputError(f"{len(rows['train'])} training exams do not fill a batch of {config.batch}; lower --batch.")
    return exams, {split: [exams.path(row["exam"]) for row in chosen] for split, chosen in rows.items()}
