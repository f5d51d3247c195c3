"""Batch norms that see the batches of all processes."""

from __future__ import annotations

import torch
from torch import nn

from BreastCMSLLib.network.resnet import BreastNet


def synchronise_norms(network: BreastNet, processes: int, device: str) -> BreastNet:
    """Let a network's batch norms see the batches of all processes.

    Parameters
    ----------
    network : BreastNet
        Its norms may be replaced.
    processes : int
        That train it.
    device : str
        Kind of device, such as "cuda".

    Returns
    -------
    BreastNet
        The same parameters and state.
    """
    if processes == 1 or network.settings.norm != "batch":
        return network
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm3d:
            module.__class__ = SynchronisedBatchNorm3d  # the same parameters and state, another forward
    return network


class SynchronisedBatchNorm3d(nn.BatchNorm3d):
    """Batch norm over the exams of all processes, for CPUs: PyTorch's own works on GPUs only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.double()
            axes = (0, 2, 3, 4)
            # mean and variance over the exams of all processes
            count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
            sums = torch.stack([wide.sum(axes), wide.square().sum(axes)])
            mean, square = _SumOverProcesses.apply(sums) / count
            variance = (square - mean.square()).clamp_min(0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.float(), self.momentum)
                self.running_var.lerp_((variance * count / (count - 1)).float(), self.momentum)
                self.num_batches_tracked += 1
            factor = self.weight.double() * torch.rsqrt(variance + self.eps)
            offset = self.bias.double() - mean * factor
            return (wide * factor.view(1, -1, 1, 1, 1) + offset.view(1, -1, 1, 1, 1)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes, whose gradient is that of every process's loss."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total
