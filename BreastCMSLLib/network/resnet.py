"""3-D ResNet (He et al. 2016) with the strides of every stage stated, and the two heads of Luo et al. 2019.

Every convolution and pooling has an odd kernel and symmetric padding, so cell i of the feature map is centred
on input voxel S·i, S being the product of all strides (``NetworkSettings.total_stride``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..core.errors import ModelError
from ..core.ranges import check_ranges, ranged
from .losses import SCALE, cosine


@dataclass(frozen=True)
class NetworkSettings:
    """Architecture of a :class:`BreastNet`, as a model's card holds it.

    Parameters
    ----------
    channels : int
        Phases of the input.
    width : int
        Channels of the first stage (64 in the paper), doubled at each of the others.
    blocks, strides : tuple of int
        Residual blocks and stride of each stage.
    stem_kernel, stem_stride : int
        Of the convolution before the stages.
    stem_pool : bool
        Whether a maximum pooling of stride 2 follows it.
    head : {"linear", "cosine"}
        w·x + b (eq. 2), or s·cos θ (eq. 3–4).
    order : {"pool-classify", "classify-pool"}
        Classify one pooled feature vector, or give every cell a logit and pool those. The two agree only for
        a linear head under average pooling.
    pooling : str
        A name in ``POOLINGS``.
    norm : {"batch", "group"}
        "group" where batches are too small for statistics.
    scale : float
        s of the cosine head.

    Raises
    ------
    ModelError
        A name is unknown, or a combination is not defined.
    ValueError
        A number is one that no model of ours has: it would fill the memory or divide by zero.
    """

    channels: int = ranged(6, 1, 24)
    width: int = ranged(16, 1, 256)
    blocks: tuple[int, ...] = ranged((3, 4, 6, 3), 1, 64, count=(1, 6))
    strides: tuple[int, ...] = ranged((1, 2, 2, 1), 1, 8, count=(1, 6))
    stem_kernel: int = ranged(7, 1, 15)
    stem_stride: int = ranged(4, 1, 16)
    stem_pool: bool = ranged(False)
    head: str = "linear"
    order: str = "pool-classify"
    pooling: str = "average"
    norm: str = "batch"
    scale: float = ranged(SCALE, 1e-3, 1e3)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.stem_kernel % 2 == 0:
            raise ValueError("stem_kernel is even")
        for name, known in (("head", HEADS), ("order", ORDERS), ("pooling", POOLINGS), ("norm", NORMS)):
            if getattr(self, name) not in known:
                raise ModelError(f"Unknown {name} {getattr(self, name)!r}; use {' or '.join(known)}.")
        if len(self.blocks) != len(self.strides):
            raise ModelError(
                f"{len(self.blocks)} stages need {len(self.blocks)} strides, not {len(self.strides)}."
            )
        if self.order == "classify-pool" and self.pooling == "power":
            raise ModelError("With the order classify-pool, power pooling is not defined; choose another.")

    @property
    def total_stride(self) -> int:
        """S: input voxels from one cell of the feature map to the next."""
        return self.stem_stride * (2 if self.stem_pool else 1) * math.prod(self.strides)

    @property
    def features(self) -> int:
        """C: channels of the feature map."""
        return self.width * 2 ** (len(self.blocks) - 1)


class BasicBlock(nn.Module):
    """Two convolutions of 3³ beside a shortcut (He et al. 2016, fig. 2).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        Of the first convolution and of the shortcut.
    norm : callable
        From channels to a normalisation layer.
    """

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
    """From an exam, (B, phases, LR, AP, SI), to its logit, (B,).

    Parameters
    ----------
    settings : NetworkSettings, optional
        None takes the defaults.
    """

    def __init__(self, settings: NetworkSettings | None = None):
        super().__init__()
        self.settings = settings or NetworkSettings()
        self.stem = _stem(self.settings)
        self.stages = _stages(self.settings)
        self.weight = nn.Parameter(torch.empty(self.settings.features))
        self.bias = nn.Parameter(torch.zeros(())) if self.settings.head == "linear" else None
        # a frame for weights to come needs no random numbers: drawing them would load half of PyTorch
        if not self.weight.is_meta:
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
        """The last activation X of eq. 5.

        Parameters
        ----------
        x : torch.Tensor, shape (B, phases, LR, AP, SI)

        Returns
        -------
        torch.Tensor, shape (B, C, ...)
            On cells ``total_stride`` voxels apart.
        """
        x = self.stem(x)
        # pooling forgets the layout that CPU convolutions are fast in
        if self.settings.stem_pool and x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return self.stages(x)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Feature vector x of the last layer: (B, C, ...) → (B, C), float32."""
        return POOLINGS[self.settings.pooling](features.flatten(2).float())

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Logits w·x + b, or s·cos θ, without a margin, which belongs to the loss.

        Parameters
        ----------
        x : torch.Tensor, shape (..., C)

        Returns
        -------
        torch.Tensor, shape (...), float32
            Also within autocast.
        """
        with torch.autocast(x.device.type, enabled=False):
            if self.settings.head == "cosine":
                return self.settings.scale * cosine(x, self.weight)
            return x.float() @ self.weight.float() + self.bias.float()

    def logit(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map (B, C, ...) → logit (B,), float32, in the order of the settings."""
        if self.settings.order == "pool-classify":
            return self.classify(self.pool(features))
        cells = self.classify(features.flatten(2).transpose(1, 2))
        return POOLINGS[self.settings.pooling](cells[:, None])[:, 0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logit(self.feature_map(x))


def _stem(s: NetworkSettings) -> nn.Sequential:
    conv = nn.Conv3d(s.channels, s.width, s.stem_kernel, s.stem_stride, s.stem_kernel // 2, bias=False)
    pool = [nn.MaxPool3d(3, 2, 1)] if s.stem_pool else []
    return nn.Sequential(conv, NORMS[s.norm](s.width), nn.ReLU(), *pool)


def _stages(s: NetworkSettings) -> nn.Sequential:
    stages, inputs = [], s.width
    for stage, (count, stride) in enumerate(zip(s.blocks, s.strides)):
        outputs = s.width * 2**stage
        blocks = [BasicBlock(inputs, outputs, stride, NORMS[s.norm])]
        blocks += [BasicBlock(outputs, outputs, 1, NORMS[s.norm]) for _ in range(count - 1)]
        stages.append(nn.Sequential(*blocks))
        inputs = outputs
    return nn.Sequential(*stages)


def power_mean(cells: torch.Tensor, exponent: float = 3.0) -> torch.Tensor:
    """Generalised mean over cells (Radenović et al., TPAMI 2019), between mean and maximum.

    A lesion fills a few of thousands of cells. Under a plain mean it hardly moves the feature, under a
    maximum only one cell learns.

    Parameters
    ----------
    cells : torch.Tensor, shape (B, C, N)
        Not negative.
    exponent : float

    Returns
    -------
    torch.Tensor, shape (B, C)
    """
    return cells.clamp_min(1e-4).pow(exponent).mean(2).pow(1.0 / exponent)


def top_mean(cells: torch.Tensor, fraction: float = 1 / 256) -> torch.Tensor:
    """Mean of the highest cells of each channel, 10 of the 2,464 at stride 16: (B, C, N) → (B, C)."""
    return cells.topk(max(1, round(cells.shape[2] * fraction)), dim=2).values.mean(2)


HEADS = ("linear", "cosine")
ORDERS = ("pool-classify", "classify-pool")
NORMS = {
    "batch": nn.BatchNorm3d,
    "group": lambda channels: nn.GroupNorm(max(1, channels // 8), channels),
}
POOLINGS = {
    "average": lambda cells: cells.mean(2),
    "power": power_mean,
    "top-k": top_mean,
    "max": lambda cells: cells.amax(2),
    "log-sum-exp": lambda cells: torch.logsumexp(cells, 2) - math.log(cells.shape[2]),
}
