"""Cached exams as training reads them: order, augmentation and batches follow from the seed alone.

What happens to an exam in an epoch depends on (seed, epoch, exam) and nothing else, so a run that was
interrupted, or is spread over several processes, sees the same exams in the same order with the same
augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Sampler

from BreastCMSLLib.core.errors import InputError
from training.data import cache
from training.data.manifest import read_cohort
from training.data.preparation import prepare
from training.data.splits import check_classes
from training.recipes import Config

SHARE = 0.7  # of a GPU's free memory, for exams
KEEP_BELOW = 2 * 2**20  # voxels of an input: those of 2.2 mm are fewer, a thousand such exams take about 3 GB


class Exams(Dataset):
    """Cached exams as (array, label, index): array (phases, LR, AP, SI) float16, of the contract's size.

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
    """

    def __init__(self, paths: list[Path], config: Config, device: torch.device | None = None):
        self.paths, self.config = paths, config
        self.kept: dict[int, cache.PackedExam] = {}
        if device is not None:
            with ThreadPoolExecutor(8) as pool:
                self.kept = dict(enumerate(pool.map(lambda path: cache.load_packed(path).to(device), paths)))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        exam = self._packed(index)
        array = exam.window()
        if epoch is not None:
            seed = hash((self.config.seed, epoch, index)) % 2**63
            array = augment(array, self.config, torch.Generator().manual_seed(seed))
        return array, exam.meta["label"], index

    def _packed(self, index: int) -> cache.PackedExam:
        exam = self.kept.get(index)
        if exam is None:
            exam = cache.load_packed(self.paths[index])
            if self.config.workers == 0 and math.prod(exam.shape[1:]) < KEEP_BELOW:
                self.kept[index] = exam
        return exam


def augment(array: torch.Tensor, config: Config, generator: torch.Generator) -> torch.Tensor:
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

    Returns
    -------
    torch.Tensor
        Of the same shape.
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
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        return iter([(self.epoch, int(n)) for n in torch.randperm(self.count, generator=generator)])


def fits(paths: list[Path], device: torch.device) -> bool:
    """Whether the exams take less than ``SHARE`` of a GPU's free memory; the rest is for the network."""
    if device.type != "cuda":
        return False
    return sum(path.stat().st_size for path in paths) < SHARE * torch.cuda.mem_get_info(device)[0]


def loaders(
    training: list[Path], validation: list[Path], config: Config, accelerator: Accelerator
) -> tuple[DataLoader, DataLoader]:
    """Batches of training and validation exams of one process; accelerate deals them out.

    Incomplete training batches are left out, validation is complete.
    """
    device = accelerator.device
    size = config.batch // (accelerator.num_processes * config.accumulation)
    options = {"batch_size": size, "num_workers": config.workers, "pin_memory": device.type == "cuda"}
    keep = device if fits([*training, *validation], device) else None
    if keep is not None:
        options |= {"num_workers": 0, "pin_memory": False}
    options["persistent_workers"] = options["num_workers"] > 0
    sampler = EpochSampler(len(training), config.seed)
    return (
        DataLoader(Exams(training, config, keep), sampler=sampler, drop_last=True, **options),
        DataLoader(Exams(validation, config, keep), **options),
    )


def open_cohort(config: Config, accelerator: Accelerator) -> tuple[cache.Cache, dict[str, list[Path]]]:
    """The cache of a run's cohort; made first, by one process, when it is not complete.

    Parameters
    ----------
    config : Config
        Of the run.
    accelerator : Accelerator
        Of this process.

    Returns
    -------
    exams : Cache
        Of the cohort.
    paths : dict
        Exams by split, "train" and "validate".

    Raises
    ------
    InputError
        When the cache or the cohort does not suit the run.
    """
    folder = config.cache or config.output.parent / "cache" / f"{_stem(config.cohort)}-{config.spacing_mm}mm"
    if accelerator.is_main_process and not (folder / "index.csv").exists():
        listed = [asdict(row) for row in read_cohort(config.cohort)]
        _chosen_rows(listed, config, config.cohort)  # what is missing is said before hours of work
        splits = () if config.epochs else ("validate", "test")
        prepare(config.cohort, folder, config.spacing_mm, splits=splits)
    accelerator.wait_for_everyone()
    exams = cache.open_cache(folder)
    if exams.contract.spacing_mm != config.spacing_mm:
        raise InputError(
            f"{folder} holds exams at {exams.contract.spacing_mm} mm, not {config.spacing_mm} mm; "
            f"choose another --cache, or --spacing {config.spacing_mm} of python training/prepare.py."
        )
    rows = _chosen_rows(exams.rows, config, exams.source)
    return exams, {split: [exams.path(row["exam"]) for row in chosen] for split, chosen in rows.items()}


def _chosen_rows(rows: list[dict], config: Config, source: str) -> dict[str, list[dict]]:
    """Exams by split, "train" and "validate". Raises InputError where one lacks a class or fills no batch."""
    chosen = {split: [row for row in rows if row["split"] == split] for split in ("train", "validate")}
    chosen["train"] = chosen["train"][: config.limit or None]
    needed = ("train", "validate") if config.epochs else ("validate",)
    check_classes([(row["split"], row["label"]) for part in chosen.values() for row in part], source, needed)
    if len(chosen["train"]) < config.batch and config.epochs:
        raise InputError(
            f"{len(chosen['train'])} training exams do not fill a batch of {config.batch}; lower --batch."
        )
    return chosen


def _stem(cohort: str) -> str:
    kind, _, name = cohort.partition(":")
    return name if kind == "simulated" else Path(cohort).stem
