"""The loop that trains a network on image-level labels; an interrupted run goes on, to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from sklearn.metrics import roc_auc_score

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.losses import sigmoid_loss
from training.recipes import Config
from training.runs import folder as runs
from training.runs.log import Epoch, Log, Progression

from .loaders import loaders, open_cohort
from .norms import synchronise_norms
from .objective import margin_at, objective, optimiser_and_schedule
from .start import pick_precision, starting_network

LARGEST_GRADIENT = 5.0  # norm; larger ones are shortened to it


def train(recipe: str, config: Config) -> Path:
    """Train as configured.

    Parameters
    ----------
    recipe : str
        Name of the recipe, for the record.
    config : Config
        All settings.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    InputError
        For data that cannot be used.
    """
    precision = pick_precision(config.precision)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=not torch.cuda.is_available(),
        gradient_accumulation_steps=config.accumulation,
    )
    _check_batch(config, accelerator.num_processes)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # inputs of one size: the fastest convolution is looked for once
    exams, paths = open_cohort(config, accelerator)
    network, ancestry = starting_network(config, exams)
    config = replace(config, network=network.settings)
    network = synchronise_norms(network, accelerator.num_processes, accelerator.device.type)
    network = network.to(memory_format=torch.channels_last_3d)
    training, validation = loaders(paths["train"], paths["validate"], config, accelerator)
    sampler = training.sampler
    steps = config.epochs * (len(paths["train"]) // config.batch)
    optimiser, schedule = optimiser_and_schedule(network, config, steps)
    network, optimiser, training, validation = accelerator.prepare(network, optimiser, training, validation)
    log = Log(recipe, config, exams, ancestry, accelerator, precision)
    progression = log.resume(network, optimiser, schedule)
    if config.epochs == 0:
        loss, area = validate(accelerator, network, validation)
        log.epoch(Epoch(0, math.nan, loss, area, 0.0, 0.0, 0, math.nan))
        log.save(network, optimiser, schedule, Progression(0, area), True)
        runs.carry_candidates(config.init, config.output)
    for epoch in range(progression.epochs, config.epochs):
        if config.patience and progression.waited >= config.patience:
            break
        sampler.epoch, start = epoch, time.perf_counter()
        with log.progress(epoch, len(training) * config.batch) as progress:
            loss, seen = train_epoch(
                accelerator, network, training, optimiser, schedule, config, epoch, progress
            )
        seconds = time.perf_counter() - start
        validation_loss, area = validate(accelerator, network, validation)
        if config.schedule == "plateau":
            schedule.step(loss)
        better = area > progression.best
        waited = 0 if better else progression.waited + 1
        progression = Progression(epoch + 1, max(area, progression.best), waited)
        rate = optimiser.param_groups[0]["lr"]
        log.epoch(
            Epoch(epoch + 1, loss, validation_loss, area, rate, margin_at(config, epoch), seen, seconds)
        )
        log.save(network, optimiser, schedule, progression, better)
    log.close()
    return config.output


def train_epoch(
    accelerator: Accelerator,
    network: torch.nn.Module,
    loader,
    optimiser,
    schedule,
    config: Config,
    epoch: int,
    progress: Callable[[int, float], None],
) -> tuple[float, int]:
    """One epoch.

    Returns
    -------
    loss : float
        Mean over the exams of all processes.
    exams : int
        Their number.
    """
    network.train()
    total = torch.zeros(2, device=accelerator.device)
    for arrays, labels, _ in loader:
        with accelerator.accumulate(network):
            loss = objective(network(_as_input(arrays, accelerator)), labels, config, epoch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimiser.step()
            if accelerator.sync_gradients and config.schedule == "cosine":
                schedule.step()
            optimiser.zero_grad(set_to_none=True)
        count = torch.tensor(len(labels), device=loss.device)
        total += torch.stack([loss.detach() * len(labels), count])
        progress(len(labels) * accelerator.num_processes, float(loss.detach()))
    total = accelerator.reduce(total)
    return float(total[0] / total[1]), int(total[1])


@torch.inference_mode()
def validate(accelerator: Accelerator, network: torch.nn.Module, loader) -> tuple[float, float]:
    """Loss without margin and AUC over all validation exams, each counted once."""
    network.eval()
    logits, labels = [], []
    for arrays, target, _ in loader:
        output = network(_as_input(arrays, accelerator)).float()
        output, target = accelerator.gather_for_metrics((output, target))
        logits.append(output.cpu())
        labels.append(target.cpu())
    logits, labels = torch.cat(logits), torch.cat(labels)
    if not logits.isfinite().all():
        raise InputError(
            "The network's answers are no numbers any more; train with a lower --rate, or --precision no."
        )
    return float(sigmoid_loss(logits, labels)), float(roc_auc_score(labels.numpy(), logits.numpy()))


def _as_input(arrays: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """Half-precision exams as the convolutions want them; autocast takes them as they are."""
    arrays = arrays.float() if accelerator.mixed_precision == "no" else arrays
    return arrays.contiguous(memory_format=torch.channels_last_3d)


def _check_batch(config: Config, processes: int) -> None:
    if config.batch % (processes * config.accumulation):
        raise InputError(
            f"A batch of {config.batch} cannot be divided by "
            f"{processes} processes × {config.accumulation} parts."
        )
