"""The exams of a run, their order and their batches, which follow from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Sampler

from BreastCMSLLib.core.errors import InputError
from training.data import cache
from training.data.manifest import read_cohort
from training.data.preparation import prepare
from training.data.splits import check_classes
from training.recipes import Config

from .exams import Exams
from .method import Method, Targets
from .patches import Patches
from .targets import graded
from .teacher import SoftLabels, soft_labels

SHARE = 0.7  # of a GPU's free memory, for exams


class EpochSampler(Sampler):
    """(epoch, index) of a permutation that depends on the seed and the epoch; whole batches of it."""

    def __init__(self, count: int, seed: int, batch: int = 1):
        self.count, self.seed, self.batch, self.epoch = count, seed, batch, 0

    def __len__(self) -> int:
        return self.count - self.count % self.batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator)[: len(self)]
        return iter([(self.epoch, int(n)) for n in order])


def fits(paths: list[Path], device: torch.device) -> bool:
    """Whether the exams take less than ``SHARE`` of a GPU's free memory; the rest is for the network."""
    if device.type != "cuda":
        return False
    return sum(path.stat().st_size for path in paths) < SHARE * torch.cuda.mem_get_info(device)[0]


def loaders(
    method: Method,
    exams: cache.Cache,
    rows: dict[str, list[dict]],
    config: Config,
    accelerator: Accelerator,
) -> tuple[DataLoader, DataLoader]:
    """Batches of training and validation exams of one process; accelerate deals them out.

    Incomplete training batches are left out, validation is complete. ``rows``: of "train" and "validate".
    """
    paths = {split: [exams.path(row["exam"]) for row in chosen] for split, chosen in rows.items()}
    training, validation = paths["train"], paths["validate"]
    targets: dict[str, Targets] = {"train": {}, "validate": {}}
    if "grade" in method.needs:
        targets = graded(exams, rows)
    if "soft labels" in method.needs and config.epochs:
        targets["train"] = {"soft": soft_labels(rows["train"], config)}
    kinds = {"patches": Patches, "soft labels": SoftLabels}
    kind = next((kinds[need] for need in method.needs if need in kinds), Exams)
    device = accelerator.device
    size = config.batch // (accelerator.num_processes * config.accumulation)
    options = {"batch_size": size, "num_workers": config.workers, "pin_memory": device.type == "cuda"}
    keep = device if fits([*training, *validation], device) else None
    if keep is not None:
        options |= {"num_workers": 0, "pin_memory": False}
    options["persistent_workers"] = options["num_workers"] > 0
    sampler = EpochSampler(len(training), config.seed, config.batch)
    return (
        DataLoader(
            kind(training, config, keep, targets["train"]), sampler=sampler, drop_last=True, **options
        ),
        DataLoader(kind(validation, config, keep, targets["validate"]), **options),
    )


def open_cohort(config: Config, accelerator: Accelerator) -> tuple[cache.Cache, dict[str, list[dict]]]:
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
    rows : dict
        Of the index by split, "train" and "validate".

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
    return exams, _chosen_rows(exams.rows, config, exams.source)


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
