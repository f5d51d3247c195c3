"""The network a run starts from, its precision, and what several processes need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.resnet import BreastNet
from training.data import cache
from training.methods.transfer import to_spacing
from training.recipes import Config
from training.runs import folder as runs


def pick_precision(wanted: str) -> str:
    """ "no", "bf16" or "fp16"; auto takes bf16 where the device computes in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"


def starting_network(config: Config, exams: cache.Cache, splits: dict[str, list[Path]]) -> tuple[BreastNet, list[dict]]:
    """The network, and the patients that runs before it have seen (see ``runs.check_ancestry``).

    A run that starts from another takes its architecture; only the head is changed to the objective's.
    """
    head = "linear" if config.objective == "bce" else "cosine"
    if config.init is None:
        return BreastNet(replace(config.network, head=head)), []
    ancestry = runs.check_ancestry(exams.rows, config.init)
    run = runs.load_run(config.init)
    state, settings = to_spacing(run.network.state_dict(), run.network.settings, run.contract.spacing_mm, config.spacing_mm)
    if head == "linear" and settings.head == "cosine":
        raise InputError(f"{config.init} has a cosine head; train --objective bce from a run that was trained so.")
    settings = replace(settings, head=head, centred=settings.centred or (config.network.centred and head == "cosine"))
    network = BreastNet(settings)
    missing, _ = network.load_state_dict(state, strict=False)  # a cosine head has no bias
    if "centre" in missing or config.head == "means":
        means = class_means(network, splits["train"])
        with torch.no_grad():
            if "centre" in missing:
                network.centre.copy_(means.mean(0))
            if config.head == "means":
                network.weight.copy_(means[1] - means[0])
    return network, ancestry


@torch.no_grad()
def class_means(network: BreastNet, paths: list[Path], most: int = 400) -> torch.Tensor:
    """(2, C): mean pooled feature of benign and of malignant training exams (the first ``most`` of them)."""
    network = network.eval().to(memory_format=torch.channels_last_3d)
    sums, counts = torch.zeros(2, network.settings.features), torch.zeros(2)
    for path in paths[:most]:
        exam = cache.load(path)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = network.feature_map(exam.array.float()[None].contiguous(memory_format=torch.channels_last_3d))
        sums[exam.meta["label"]] += network.pool(features)[0]
        counts[exam.meta["label"]] += 1
    return sums / counts[:, None].clamp_min(1)


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


class SynchronisedBatchNorm3d(nn.BatchNorm3d):
    """Batch norm over the exams of all processes, for CPUs: PyTorch's own works on GPUs only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.double()
            axes = (0, 2, 3, 4)
            count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
            mean, square = _SumOverProcesses.apply(torch.stack([wide.sum(axes), wide.square().sum(axes)])) / count
            variance = (square - mean.square()).clamp_min(0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.float(), self.momentum)
                self.running_var.lerp_((variance * count / (count - 1)).float(), self.momentum)
                self.num_batches_tracked += 1
            factor = self.weight.double() * torch.rsqrt(variance + self.eps)
            offset = self.bias.double() - mean * factor
            return (wide * factor.view(1, -1, 1, 1, 1) + offset.view(1, -1, 1, 1, 1)).to(x.dtype)


def synchronise_norms(network: BreastNet, processes: int, device: str) -> BreastNet:
    """Batch norms that see the batches of all processes."""
    if processes == 1 or network.settings.norm != "batch":
        return network
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm3d:
            module.__class__ = SynchronisedBatchNorm3d  # the same parameters and state, another forward
    return network
