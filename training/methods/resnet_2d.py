"""A 2-D ResNet with the settings of a 3-D one, for methods that read axial slices."""

from __future__ import annotations

import torch
from torch import nn

from BreastCMSLLib.network.resnet import NetworkSettings


class FlatBlock(nn.Module):
    """Two convolutions of 3² beside a shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def resnet_2d(settings: NetworkSettings) -> nn.Sequential:
    """(B, phases, LR, AP) → (B, C, cells): stem and stages, cell i centred on pixel total stride · i."""
    s, kernel = settings, settings.stem_kernel
    layers: list[nn.Module] = [
        nn.Conv2d(s.channels, s.width, kernel, s.stem_stride, kernel // 2, bias=False),
        nn.BatchNorm2d(s.width),
        nn.ReLU(),
        *([nn.MaxPool2d(3, 2, 1)] if s.stem_pool else []),
    ]
    inputs = s.width
    for stage, (count, stride) in enumerate(zip(s.blocks, s.strides)):
        outputs = s.width * 2**stage
        layers += [FlatBlock(inputs, outputs, stride)]
        layers += [FlatBlock(outputs, outputs, 1) for _ in range(count - 1)]
        inputs = outputs
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, FlatBlock):
            nn.init.zeros_(module.norm2.weight)  # each block starts as the identity
    return network
