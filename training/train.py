"""Train the network on image-level labels.

    python training/train.py small_cpu --output RUN
    python training/train.py small_cpu --output RUN2 --objective cmsl --init RUN --epochs 4
    torchrun --nproc-per-node 4 training/train.py paper --output RUN --cohort manifest.csv

A run that was interrupted goes on from RUN/last, to the same weights it would have had.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.network.losses import cosine_margin_loss, sigmoid_loss  # noqa: E402
from BreastCMSLLib.network.resnet import BreastNet  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.data.exams import loaders, open_cohort  # noqa: E402
from training.evaluation.metrics import auc  # noqa: E402
from training.methods.start import pick_precision, starting_network, synchronise_norms  # noqa: E402
from training.recipes import Config, parse  # noqa: E402
from training.runs import folder as runs  # noqa: E402
from training.runs.log import Log  # noqa: E402


def objective(logits: torch.Tensor, labels: torch.Tensor, config: Config, epoch: int) -> torch.Tensor:
    """Loss of a batch: eq. 1–2 for bce and nsl (whose logit is s·cos θ, eq. 3), eq. 4 for cmsl with its margin warmed up."""
    if config.objective != "cmsl":
        return sigmoid_loss(logits, labels)
    scale = config.network.scale
    return cosine_margin_loss(logits / scale, labels, scale, margin_at(config, epoch))


def margin_at(config: Config, epoch: int) -> float:
    if config.objective != "cmsl":
        return 0.0
    return config.margin * min(1.0, (epoch + 1) / config.margin_warmup) if config.margin_warmup else config.margin


def optimiser_and_schedule(network: BreastNet, config: Config, steps: int):
    """AdamW without decay of norms, biases and w; one warm-up and a cosine over all steps, or division by 10 on a plateau."""
    head = [network.weight]
    plain = [p for p in network.parameters() if p.ndim < 2 and p is not network.weight]
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
        {"params": head, "weight_decay": 0.0, "lr": config.rate * config.head_rate},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.rate)
    if config.schedule == "plateau":
        return optimiser, torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=3, threshold=0.01)
    warm = max(1, round(0.15 * steps))
    shape = lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * min(1.0, (s - warm) / max(1, steps - warm)))) + 1e-3  # noqa: E731
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, shape)


def as_input(arrays: torch.Tensor, accelerator) -> torch.Tensor:
    """Half-precision exams as the convolutions want them; autocast takes them as they are."""
    arrays = arrays.float() if accelerator.mixed_precision == "no" else arrays
    return arrays.contiguous(memory_format=torch.channels_last_3d)


def train_epoch(accelerator, network, loader, optimiser, schedule, config: Config, epoch: int, progress) -> tuple[float, int]:
    """Mean loss over the exams of all processes, and their number."""
    network.train()
    total = torch.zeros(2, device=accelerator.device)
    for arrays, labels, _ in loader:
        with accelerator.accumulate(network):
            loss = objective(network(as_input(arrays, accelerator)), labels, config, epoch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
            if accelerator.sync_gradients and config.schedule == "cosine":
                schedule.step()
            optimiser.zero_grad(set_to_none=True)
        total += torch.stack([loss.detach() * len(labels), torch.tensor(len(labels), device=loss.device)])
        progress(len(labels) * accelerator.num_processes, float(loss.detach()))
    total = accelerator.reduce(total)
    return float(total[0] / total[1]), int(total[1])


@torch.inference_mode()
def validate(accelerator, network, loader) -> tuple[float, float]:
    """Loss without margin and AUC over all validation exams, each counted once."""
    network.eval()
    logits, labels = [], []
    for arrays, target, _ in loader:
        out = network(as_input(arrays, accelerator)).float()
        out, target = accelerator.gather_for_metrics((out, target))
        logits.append(out.cpu())
        labels.append(target.cpu())
    logits, labels = torch.cat(logits), torch.cat(labels)
    return float(sigmoid_loss(logits, labels)), auc(labels.numpy(), logits.numpy())


def train(recipe: str, config: Config) -> Path:
    """Train as configured; returns the run's folder. Raises InputError for data that cannot be used."""
    precision = pick_precision(config.precision)
    accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available(), gradient_accumulation_steps=config.accumulation)
    if config.batch % (accelerator.num_processes * config.accumulation):
        raise InputError(
            f"A batch of {config.batch} cannot be divided by {accelerator.num_processes} processes × {config.accumulation} parts."
        )
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # inputs of one size: the fastest convolution is looked for once
    exams, splits = open_cohort(config, accelerator)
    network, ancestry = starting_network(config, exams, splits)
    config = replace(config, network=network.settings)
    network = synchronise_norms(network, accelerator.num_processes, accelerator.device.type).to(memory_format=torch.channels_last_3d)
    training, checking = loaders(splits["train"], splits["validate"], config, accelerator.num_processes, accelerator.device)
    sampler = training.sampler
    steps = config.epochs * (len(splits["train"]) // config.batch)
    optimiser, schedule = optimiser_and_schedule(network, config, steps)
    network, optimiser, training, checking = accelerator.prepare(network, optimiser, training, checking)
    log = Log(recipe, config, exams, ancestry, accelerator, precision)
    first, best, waited = log.resume(network, optimiser, schedule)
    if config.epochs == 0:  # only carry the weights of --init over to this input
        check_loss, check_auc = validate(accelerator, network, checking)
        log.epoch(-1, math.nan, check_loss, check_auc, 0.0, 0.0, 0, math.nan)
        log.save(network, optimiser, schedule, 0, check_auc, 0, True)
        runs.carry_candidates(config.init, config.output)
    for epoch in range(first, config.epochs):
        if config.patience and waited >= config.patience:
            break
        sampler.epoch, start = epoch, time.perf_counter()
        with log.progress(epoch, len(training) * config.batch) as progress:
            loss, seen = train_epoch(accelerator, network, training, optimiser, schedule, config, epoch, progress)
        took = time.perf_counter() - start
        check_loss, check_auc = validate(accelerator, network, checking)
        if config.schedule == "plateau":
            schedule.step(loss)
        better = not check_auc <= best  # also when there is only one class, and so no AUC
        best, waited = (check_auc, 0) if better else (best, waited + 1)
        log.epoch(epoch, loss, check_loss, check_auc, optimiser.param_groups[0]["lr"], margin_at(config, epoch), seen, took)
        log.save(network, optimiser, schedule, epoch + 1, best, waited, better)
    log.finish()
    return config.output


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    train(*parse(arguments))
    return 0


if __name__ == "__main__":
    status = main()
    if "RANK" in os.environ:  # one of several processes: all is written, and what communicated between them may abort when torn down
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise SystemExit(status)
