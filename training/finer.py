"""Finer feature maps from a network as it is: cells half as far apart, and the maps of all its stages.

Only compared with the network's own cells, in ``training/localize.py``; *Analyze* does not use them.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from BreastCMSLLib.network.resnet import BreastNet


def undecimated(network: BreastNet) -> tuple[BreastNet, int]:
    """The network without the step of its last stage that has one, and the voxels between its cells then.

    With a step of two every second cell, along all axes, is one of the network's own. What follows that step reads cells as far
    apart as before (à trous convolutions). Raises ValueError where no stage has a step.
    """
    last = max((n for n, stride in enumerate(network.settings.strides) if stride > 1), default=None)
    if last is None:
        raise ValueError("no stage of the network has a stride")
    finer = deepcopy(network)
    step = network.settings.strides[last]
    for stage in finer.stages[last:]:
        for block in stage:
            for conv in (block.conv1, block.conv2):
                if conv.stride[0] > 1:
                    conv.stride = (1, 1, 1)
                else:
                    conv.dilation = conv.padding = (step,) * 3
            if block.shortcut is not None:
                block.shortcut[0].stride = (1, 1, 1)
    return finer, network.settings.total_stride // step


def stage_features(network: BreastNet, x: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    """(features (C, …) float32 on the CPU, voxels between their cells) of every stage, for one exam x (1, phases, LR, AP, SI)."""
    made, settings = [], network.settings
    x = network.stem(x)
    stride = settings.stem_stride * (2 if settings.stem_pool else 1)
    for stage, step in zip(network.stages, settings.strides):
        x, stride = stage(x), stride * step
        made.append((x[0].float().cpu(), stride))
    return made
