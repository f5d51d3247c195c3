"""What a network is trained to do, and how: loss, margin, optimiser and schedule."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from BreastCMSLLib.network.losses import cosine_margin_loss, sigmoid_loss
from BreastCMSLLib.network.resnet import BreastNet
from training.recipes import Config

WARM_UP = 0.15  # of all steps, before the cosine


def objective(logits: torch.Tensor, labels: torch.Tensor, config: Config, epoch: int) -> torch.Tensor:
    """Mean loss of a batch.

    Parameters
    ----------
    logits : torch.Tensor
        (exams,) of the network; for nsl and cmsl s·cos θ.
    labels : torch.Tensor
        (exams,) 1 malignant, 0 benign.
    config : Config
        bce: eq. 1–2, nsl: eq. 3, cmsl: eq. 4 of Luo et al. 2019.
    epoch : int
        Of which the margin depends while it is warmed up.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    if config.objective != "cmsl":
        return sigmoid_loss(logits, labels)
    scale = config.network.scale
    return cosine_margin_loss(logits / scale, labels, scale, margin_at(config, epoch))


def margin_at(config: Config, epoch: int) -> float:
    """The margin m of eq. 4 in an epoch, counted from 0; 0 for other objectives."""
    if config.objective != "cmsl":
        return 0.0
    if not config.margin_warmup:
        return config.margin
    return config.margin * min(1.0, (epoch + 1) / config.margin_warmup)


def optimiser_and_schedule(
    network: BreastNet, config: Config, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR | ReduceLROnPlateau]:
    """AdamW without decay of norms, biases and w.

    Parameters
    ----------
    network : BreastNet
        To be trained.
    config : Config
        Rate, decay and schedule.
    steps : int
        Of the whole run.

    Returns
    -------
    optimiser, schedule
        The schedule is one warm-up and a cosine over all steps, or division by 10 on a plateau of the
        training loss.
    """
    plain = [p for p in network.parameters() if p.ndim < 2]
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.rate)
    if config.schedule == "plateau":
        return optimiser, ReduceLROnPlateau(optimiser, factor=0.1, patience=3, threshold=0.01)
    warm = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))) + 1e-3

    return optimiser, LambdaLR(optimiser, factor)
