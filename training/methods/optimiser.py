"""How a network is trained: optimiser and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from BreastCMSLLib.core.errors import InputError
from training.recipes import Config

from .method import Method

WARM_UP = 0.15  # of all steps, before the cosine


def optimiser_and_schedule(
    network: nn.Module, method: Method, config: Config, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR | ReduceLROnPlateau]:
    """AdamW without decay of norms, biases and w.

    Parameters
    ----------
    network : nn.Module
        To be trained.
    method : Method
        Whose parts may learn at rates of their own.
    config : Config
        Rate, decay and schedule.
    steps : int
        Of the whole run.

    Returns
    -------
    optimiser, schedule
        The schedule is one warm-up and a cosine over all steps, or the steps of the method's parts after the
        warm-up, or division by 10 on a plateau of the training loss.

    Raises
    ------
    InputError
        For parts with rates of their own on a plateau.
    """
    parts: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parts.setdefault((method.part(name, config.network), parameter.ndim >= 2), []).append(parameter)
    names = sorted(parts, key=lambda key: (key[0], not key[1]))  # decayed ones first
    groups = [{"params": parts[key], "weight_decay": config.weight_decay if key[1] else 0.0} for key in names]
    optimiser = torch.optim.AdamW(groups, lr=config.rate)
    if config.schedule == "plateau":
        if method.staged:
            raise InputError(f"The parts of {method.title} learn in turns; train it with --schedule cosine.")
        return optimiser, ReduceLROnPlateau(optimiser, factor=0.1, patience=3, threshold=0.01)
    warm = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if method.staged:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))) + 1e-3

    def factor_of(part: str) -> Callable[[int], float]:
        return lambda step: factor(step) * method.rate(part, step / max(1, steps), config)

    return optimiser, LambdaLR(optimiser, [factor_of(part) for part, _ in names])
