"""The loop that trains a network on image-level labels; an interrupted run goes on, to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from sklearn.metrics import roc_auc_score

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.losses import sigmoid_loss
from training.recipes import Config
from training.runs import folder as runs
from training.runs.log import Epoch, Log, Progression, epochs_so_far

from .convergence import converged
from .loaders import loaders, open_cohort
from .method import Method
from .norms import synchronise_norms
from .optimiser import optimiser_and_schedule
from .registry import method_named
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
        # one process may prepare a cohort while the others wait for it
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )
    _check_batch(config, accelerator.num_processes)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # inputs of one size: the fastest convolution is looked for once
    method = method_named(config.method)
    exams, rows = open_cohort(config, accelerator)
    network, ancestry = starting_network(config, exams)
    config = replace(config, network=network.settings)
    if _ended(epochs_so_far(recipe, config, exams), config):
        return config.output
    network = synchronise_norms(network, accelerator.num_processes, accelerator.device.type)
    network = network.to(memory_format=torch.channels_last if method.planar else torch.channels_last_3d)
    training, validation = loaders(method, exams, rows, config, accelerator)
    sampler = training.sampler
    steps = config.epochs * (len(rows["train"]) // config.batch)
    optimiser, schedule = optimiser_and_schedule(network, method, config, steps)
    network, optimiser, training, validation = accelerator.prepare(network, optimiser, training, validation)
    log = Log(recipe, config, exams, ancestry, accelerator, precision)
    progression = log.resume(network, optimiser, schedule)
    if config.epochs == 0:
        loss, area = validate(accelerator, network, method, validation)
        log.epoch(Epoch(0, math.nan, loss, area, 0.0, 0.0, 0, math.nan))
        if accelerator.is_main_process:
            runs.carry_candidates(config.init, config.output)
        log.save(network, optimiser, schedule, Progression(0, area), True)  # last: with it the run has ended
    for epoch in range(progression.epochs, config.epochs):
        if config.patience and progression.waited >= config.patience:
            break
        if converged([row["train_loss"] for row in log.rows], config.converge):
            break
        sampler.epoch, start = epoch, time.perf_counter()
        with log.progress(epoch, len(sampler)) as progress:
            loss, seen = train_epoch(
                accelerator, network, method, training, optimiser, schedule, config, epoch, progress
            )
        seconds = time.perf_counter() - start
        validation_loss, area = validate(accelerator, network, method, validation)
        if config.schedule == "plateau":
            schedule.step(loss)
        complete = method.complete(config, epoch)
        better = complete and not area <= progression.best  # also the first where there is no AUC
        waited = progression.waited + 1 if complete and not better else 0
        progression = Progression(epoch + 1, area if better else progression.best, waited)
        rate = optimiser.param_groups[0]["lr"]
        log.epoch(
            Epoch(epoch + 1, loss, validation_loss, area, rate, method.margin(config, epoch), seen, seconds)
        )
        log.save(network, optimiser, schedule, progression, better)
    log.close()
    return config.output


def _ended(rows: list[dict], config: Config) -> bool:
    """Whether a run needs no further epoch, told without reading its exams."""
    losses = [float(row["train_loss"]) for row in rows]
    ended = config.epochs <= len(losses) if config.epochs else bool(losses)
    return ended or converged(losses, config.converge)


def train_epoch(
    accelerator: Accelerator,
    network: torch.nn.Module,
    method: Method,
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
    for arrays, targets, _ in loader:
        with accelerator.accumulate(network):
            loss = method.loss(network(_as_input(arrays, accelerator)), targets, config, epoch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimiser.step()
            if accelerator.sync_gradients and config.schedule == "cosine":
                schedule.step()
            optimiser.zero_grad(set_to_none=True)
        count = torch.tensor(len(arrays), device=loss.device)
        total += torch.stack([loss.detach() * len(arrays), count])
        progress(len(arrays) * accelerator.num_processes, float(loss.detach()))
    total = accelerator.reduce(total)
    return float(total[0] / total[1]), int(total[1])


@torch.inference_mode()
def validate(
    accelerator: Accelerator, network: torch.nn.Module, method: Method, loader
) -> tuple[float, float]:
    """Cross-entropy of the logits and AUC over all validation exams, each counted once."""
    network.eval()
    logits, labels = [], []
    for arrays, targets, _ in loader:
        judged = method.judged(network(_as_input(arrays, accelerator)), targets)
        output, target = accelerator.gather_for_metrics(judged)
        logits.append(output.float().cpu().flatten())
        labels.append(target.cpu().flatten())
    logits, labels = torch.cat(logits), torch.cat(labels)
    if not logits.isfinite().all():
        raise InputError(
            "The network's answers are no numbers any more; train with a lower --rate, or --precision no."
        )
    return float(sigmoid_loss(logits, labels)), float(roc_auc_score(labels.numpy(), logits.numpy()))


def _as_input(arrays: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """Half-precision exams as the convolutions want them; autocast takes them as they are."""
    arrays = arrays.float() if accelerator.mixed_precision == "no" else arrays
    arrays = arrays.flatten(0, 1) if arrays.ndim == 6 else arrays  # patches of exams
    return arrays.contiguous(memory_format=torch.channels_last_3d)


def _check_batch(config: Config, processes: int) -> None:
    if config.batch % (processes * config.accumulation):
        raise InputError(
            f"A batch of {config.batch} cannot be divided by "
            f"{processes} processes × {config.accumulation} parts."
        )
