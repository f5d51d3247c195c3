"""Layer-CAM of every stage of the network, by hooks and automatic differentiation (Jiang et al. 2021)."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

import numpy as np
import torch

from BreastCMSLLib.network.attention import upsample
from BreastCMSLLib.network.gradients import layer_cam
from BreastCMSLLib.network.resnet import BreastNet

GAMMA = 2.0  # of the scaling of shallow layers, eq. 10
SHALLOW = 3  # stages that are scaled


def stage_gradients(
    network: BreastNet, array: torch.Tensor, pooled: torch.Tensor | None = None
) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Features of every stage and the logit's gradient with respect to them.

    Parameters
    ----------
    network : BreastNet
        In evaluation mode, float32.
    array : torch.Tensor, shape (phases, LR, AP, SI)
    pooled : torch.Tensor, shape (LR, AP, SI), bool, optional
        The cells that the logit is pooled over; None for all.

    Returns
    -------
    list of (features, gradients, stride)
        Each (C, LR, AP, SI) float32; the stride in voxels of the input.
    """
    stages: list[torch.Tensor] = []
    hooks = [s.register_forward_hook(lambda _, __, output: stages.append(output)) for s in network.stages]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            own = array[None].detach().to(torch.float32, copy=True).requires_grad_()
            features = network.feature_map(own)
            logit = network.logit(features if pooled is None else features[:, :, pooled])
            gradients = torch.autograd.grad(logit.sum(), stages)
    finally:
        for hook in hooks:
            hook.remove()
    s = network.settings
    strides = accumulate(s.strides, mul, initial=s.stem_stride * (2 if s.stem_pool else 1))
    return [(x[0].detach(), g[0], n) for x, g, n in zip(stages, gradients, list(strides)[1:], strict=True)]


def fused_layer_cam(
    network: BreastNet, array: torch.Tensor, affine: np.ndarray, pooled: torch.Tensor | None = None
) -> np.ndarray:
    """The highest of the stages' Layer-CAMs, shallow ones scaled by tanh(γ M / max M) first (eq. 10).

    Parameters are those of :func:`stage_gradients`; the affine, (4, 4), takes a voxel to RAS mm.

    Returns
    -------
    ndarray, shape (LR, AP, SI), float32
    """
    fused = np.zeros(tuple(array.shape[1:]), dtype=np.float32)
    for number, (features, gradients, stride) in enumerate(stage_gradients(network, array, pooled)):
        cells = layer_cam(features, gradients)
        cells = cells / cells.max().clamp_min(1e-12)
        if number < SHALLOW and number + 1 < len(network.stages):
            cells = torch.tanh(GAMMA * cells)
        np.maximum(fused, upsample(cells, affine, stride, fused.shape), out=fused)
    return fused
