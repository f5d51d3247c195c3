"""3-D ResNet (He et al. 2016) with the strides of every stage stated, and the two heads of Luo et al. 2019.

Every convolution and pooling has an odd kernel and symmetric padding, so cell i of the feature map is centred on input
voxel S·i, S being the product of all strides (``NetworkSettings.total_stride``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..core.errors import ModelError
from .losses import SCALE, cosine


@dataclass(frozen=True)
class NetworkSettings:
    """width: channels of the first stage (64 in the paper), doubled at each of the stages.

    strides: of the stages, after the stem's stride (stem_stride, then 2 if stem_pool).
    head: "linear" (w·x + b, eq. 2) or "cosine" (s·cos θ, eq. 3–4).
    order: "pool-classify" classifies one pooled feature vector; "classify-pool" gives every cell a logit and pools those.
    The two agree only for a linear head under average pooling. pooling: a name in ``POOLINGS``.
    centred: the cosine is taken of x − c, c being the mean pooled feature of the training exams when CMSL began: features
    after a ReLU are non-negative, so their angles to any w span little more than a right angle without it.
    norm: "batch", or "group" where batches are too small for statistics.
    """

    channels: int = 6
    width: int = 16
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 1)
    stem_kernel: int = 7
    stem_stride: int = 4
    stem_pool: bool = False
    head: str = "linear"
    order: str = "pool-classify"
    pooling: str = "average"
    centred: bool = False
    norm: str = "batch"
    scale: float = SCALE

    def __post_init__(self) -> None:
        for name, known in (("head", HEADS), ("order", ORDERS), ("pooling", POOLINGS), ("norm", NORMS)):
            if getattr(self, name) not in known:
                raise ModelError(f"Unknown {name} {getattr(self, name)!r}; use {' or '.join(known)}.")
        if len(self.blocks) != len(self.strides):
            raise ModelError(f"{len(self.blocks)} stages need {len(self.blocks)} strides, not {len(self.strides)}.")
        if self.order == "classify-pool" and (self.pooling == "power" or self.centred):
            raise ModelError("With the order classify-pool, power pooling and a centred cosine are not defined; choose others.")

    @property
    def total_stride(self) -> int:
        return self.stem_stride * (2 if self.stem_pool else 1) * math.prod(self.strides)

    @property
    def features(self) -> int:
        return self.width * 2 ** (len(self.blocks) - 1)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = norm(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class BreastNet(nn.Module):
    """Input (B, phases, LR, AP, SI) → feature map (B, C, …) with ``feature_map``, → logit (B,) with ``forward``."""

    def __init__(self, settings: NetworkSettings | None = None):
        super().__init__()
        self.settings = s = settings or NetworkSettings()
        norm = NORMS[s.norm]
        stem = [
            nn.Conv3d(s.channels, s.width, s.stem_kernel, s.stem_stride, s.stem_kernel // 2, bias=False),
            norm(s.width),
            nn.ReLU(),
        ]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool3d(3, 2, 1)] if s.stem_pool else []))
        stages, inputs = [], s.width
        for stage, (count, stride) in enumerate(zip(s.blocks, s.strides)):
            outputs = s.width * 2**stage
            stages.append(
                nn.Sequential(*[BasicBlock(inputs if b == 0 else outputs, outputs, stride if b == 0 else 1, norm) for b in range(count)])
            )
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.weight = nn.Parameter(torch.empty(s.features))
        self.bias = nn.Parameter(torch.zeros(())) if s.head == "linear" else None
        if s.centred:
            self.register_buffer("centre", torch.zeros(s.features))
        if not self.weight.is_meta:  # a frame for weights to come; drawing random numbers for it would load half of PyTorch
            self._initialise()

    def _initialise(self) -> None:
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.settings.features) / math.sqrt(self.settings.features))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock):
                nn.init.zeros_(module.norm2.weight)  # each block starts as the identity

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        """The last activation X of eq. 5: (B, C, LR, AP, SI) on cells ``total_stride`` voxels apart."""
        x = self.stem(x)
        if self.settings.stem_pool and x.device.type == "cpu":  # pooling forgets the layout that CPU convolutions are fast in
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return self.stages(x)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map (B, C, …) → feature x (B, C) of the last layer, float32."""
        return POOLINGS[self.settings.pooling](features.flatten(2).float())

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (…,) of features (…, C): w·x + b, or s·cos θ. No margin: that belongs to the loss. Float32, also in autocast."""
        with torch.autocast(x.device.type, enabled=False):
            if self.settings.head == "cosine":
                return self.settings.scale * cosine(x.float() - self.centre if self.settings.centred else x, self.weight)
            return x.float() @ self.weight.float() + self.bias.float()

    def logit(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map (B, C, …) → logit (B,), in the order of the settings."""
        if self.settings.order == "pool-classify":
            return self.classify(self.pool(features))
        cells = self.classify(features.flatten(2).transpose(1, 2))
        return POOLINGS[self.settings.pooling](cells[:, None])[:, 0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logit(self.feature_map(x))


def power_mean(cells: torch.Tensor, exponent: float = 3.0) -> torch.Tensor:
    """Generalised mean over cells of non-negative features (B, C, N) (Radenović et al., TPAMI 2019): between mean and maximum.

    A lesion fills a few of thousands of cells; under a plain mean it hardly moves the feature, under a maximum only one
    cell learns.
    """
    return cells.clamp_min(1e-4).pow(exponent).mean(2).pow(1.0 / exponent)


def top_mean(cells: torch.Tensor, fraction: float = 1 / 256) -> torch.Tensor:
    """Mean of the highest cells of each channel (B, C, N): 10 of the 2,464 cells at stride 16."""
    return cells.topk(max(1, round(cells.shape[2] * fraction)), dim=2).values.mean(2)


HEADS = ("linear", "cosine")
ORDERS = ("pool-classify", "classify-pool")
NORMS = {"batch": nn.BatchNorm3d, "group": lambda channels: nn.GroupNorm(max(1, channels // 8), channels)}
POOLINGS = {
    "average": lambda cells: cells.mean(2),
    "power": power_mean,
    "top-k": top_mean,
    "max": lambda cells: cells.amax(2),
    "log-sum-exp": lambda cells: torch.logsumexp(cells, 2) - math.log(cells.shape[2]),
}
