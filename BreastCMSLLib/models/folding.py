"""A network as inference runs it: norms folded into convolutions, the stem's stride folded into channels.

The same function as ``BreastNet`` in evaluation mode, to rounding, with fewer passes over memory: a batch
norm is a factor and an offset of each channel, which the convolution before it can carry, and on CPUs oneDNN
applies ReLU and addition while it still holds the sums. A stem of 6 channels and stride 2 keeps few of a
CPU's or GPU's lanes busy; neighbours along AP and SI taken as channels (24 of stride 1) compute the same sums
on full ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..network.resnet import BasicBlock, BreastNet


def folded(network: BreastNet, device: torch.device, dtype: torch.dtype) -> BreastNet | None:
    """The network for inference on a device.

    Parameters
    ----------
    network : BreastNet
    device : torch.device
    dtype : torch.dtype
        Of the convolutions; the head stays in float32.

    Returns
    -------
    BreastNet or None
        Without gradients. Its ``stem`` and ``stages`` are made of other modules; ``feature_map`` and
        ``logit`` are called alike. None where norms depend on the exam (group norm).
    """
    if network.settings.norm != "batch":
        return None
    with torch.device("meta"):
        fast = BreastNet(network.settings)
    conv, norm, _, *pool = network.stem
    fast.stem = nn.Sequential(FoldedStem(conv, norm, device, dtype), *pool)
    stages = [[FoldedBlock(block, device, dtype) for block in stage] for stage in network.stages]
    fast.stages = nn.Sequential(*[nn.Sequential(*blocks) for blocks in stages])
    head = {
        name: tensor.detach().to(device) for name, tensor in network.state_dict().items() if "." not in name
    }
    fast.load_state_dict(head, assign=True)
    return fast.eval().requires_grad_(False)


class FoldedConv(nn.Module):
    """A convolution with its norm in it, then perhaps an addition, then perhaps ReLU.

    Parameters
    ----------
    weight : torch.Tensor, shape (outputs, inputs, LR, AP, SI)
    bias : torch.Tensor, shape (outputs,)
    stride, padding : sequence of int
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.weight = weight.to(dtype).to(device).contiguous(memory_format=torch.channels_last_3d)
        self.bias = bias.to(dtype).to(device)
        self.stride, self.padding = list(stride), list(padding)
        self.fuses = device.type == "cpu" and _onednn_fuses()

    def forward(self, x: torch.Tensor, relu: bool = True, other: torch.Tensor | None = None) -> torch.Tensor:
        """``other`` is added before ReLU; its memory may hold the result."""
        if self.fuses:
            given = (x, self.weight, self.bias, self.padding, self.stride, [1, 1, 1], 1)
            after = ("relu" if relu else "none", [], "")
            if other is None:
                return torch.ops.mkldnn._convolution_pointwise(*given, *after)
            return torch.ops.mkldnn._convolution_pointwise_.binary(other, *given, "add", 1.0, *after)
        y = nn.functional.conv3d(x, self.weight, self.bias, self.stride, self.padding)
        if other is not None:
            y += other
        return y.relu_() if relu else y


class FoldedBlock(nn.Module):
    """A ``BasicBlock``; its input may be overwritten."""

    def __init__(self, block: BasicBlock, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.first = _fold(block.conv1, block.norm1, device, dtype)
        self.second = _fold(block.conv2, block.norm2, device, dtype)
        self.shortcut = None if block.shortcut is None else _fold(*block.shortcut, device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = x if self.shortcut is None else self.shortcut(x, relu=False)
        return self.second(self.first(x), other=other)


class FoldedStem(nn.Module):
    """Convolution, norm and ReLU of the stem. Reads (B, phases, LR, AP, SI) of any layout.

    With stride s and kernel 2p + 1, tap t − p = s·q + r reads remainder r of cell q, so along AP and SI the s
    remainders are channels and the cells q, from −⌈p/s⌉ to ⌊p/s⌋, a kernel of stride 1.
    """

    def __init__(self, conv: nn.Conv3d, norm: nn.BatchNorm3d, device: torch.device, dtype: torch.dtype):
        super().__init__()
        weight, bias = _with_norm(conv, norm)
        self.step, reach = conv.stride[0], conv.padding[0]
        # cells that the kernel reaches before and after its own
        self.before, self.after = -(-reach // self.step), reach // self.step
        taps = self.before + 1 + self.after
        # the kernel among zeros, from the first voxel of the first cell to the last voxel of the last
        outputs, inputs, length = weight.shape[:3]
        wide = weight.new_zeros(outputs, inputs, length, taps * self.step, taps * self.step)
        first = self.before * self.step - reach
        wide[..., first : first + length, first : first + length] = weight
        # remainders become channels, in the order of ``gather``
        wide = wide.reshape(outputs, inputs, length, taps, self.step, taps, self.step).permute(
            0, 4, 1, 6, 2, 3, 5
        )
        wide = wide.reshape(outputs, -1, length, taps, taps)
        self.conv = FoldedConv(wide, bias, (self.step, 1, 1), (reach, 0, 0), device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.gather(x))

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """Neighbours as channels, by AP remainder, phase and SI remainder, with the kernel's margin."""
        step, before, after = self.step, self.before * self.step, self.after * self.step
        # whole cells along AP and SI, and the margin
        x = nn.functional.pad(x, (before, after + -x.shape[4] % step, before, after + -x.shape[3] % step))
        batch, phases, depth, rows, columns = x.shape
        cells = x.reshape(batch, phases, depth, rows // step, step, columns // step, step)
        # (batch, LR, AP cell, SI cell, AP remainder, phase, SI remainder): the last three are channels
        return cells.permute(0, 2, 3, 5, 4, 1, 6).flatten(4).permute(0, 4, 1, 2, 3)


def _fold(conv: nn.Conv3d, norm: nn.BatchNorm3d, device: torch.device, dtype: torch.dtype) -> FoldedConv:
    return FoldedConv(*_with_norm(conv, norm), conv.stride, conv.padding, device, dtype)


def _with_norm(conv: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias (float32) of a convolution without bias and the evaluated norm after it."""
    factor = norm.weight.detach().double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.detach().double() - norm.running_mean.double() * factor
    return conv.weight.detach() * factor.float().view(-1, 1, 1, 1, 1), bias.float()


def _onednn_fuses() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
