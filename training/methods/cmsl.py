"""3D ResNet + CMSL (Luo et al. 2019, eq. 4): NSL with a margin m, cross-entropy of σ(s·(cos θ ∓ m)).

Follows the source, with its s = 20 and m = 0.35. Added: the margin can grow over the first epochs.
"""

from __future__ import annotations

import torch

from BreastCMSLLib.network.losses import cosine_margin_loss
from training.recipes import Config

from .method import Targets
from .nsl import NormalisedSigmoid


class CosineMargin(NormalisedSigmoid):
    """NSL with a cosine margin."""

    name, title = "cmsl", "3D ResNet + CMSL"

    def loss(self, output: torch.Tensor, targets: Targets, config: Config, epoch: int) -> torch.Tensor:
        scale = config.network.scale
        return cosine_margin_loss(output / scale, targets["label"], scale, self.margin(config, epoch))

    def margin(self, config: Config, epoch: int) -> float:
        """m in an epoch, while it is warmed up a part of it."""
        if not config.margin_warmup:
            return config.margin
        return config.margin * min(1.0, (epoch + 1) / config.margin_warmup)
