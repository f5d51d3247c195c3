"""CosFace (Wang et al., CVPR 2018): a margin between the cosines to one weight vector of each class.

Follows the source: features and weights are normalised, and the loss is the softmax cross-entropy of s (cos
θ_j − m·1[j = y]). Adapted: two classes of exams, s and m those of Luo et al. (20 and 0.35) so that the losses
can be compared. Started from the cross-entropy's network, the malignant class takes its w and the benign one
−w.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from BreastCMSLLib.models.pooling import pooled_cells
from BreastCMSLLib.network.losses import SCALE
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.recipes import Config

from .method import Method, Reading, Targets
from .resnet_3d import feature_maps


class TwoWeights(nn.Module):
    """A 3-D ResNet with a weight vector for each class: ``forward`` → cos θ (B, 2), benign first."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings, self.trunk = settings, BreastNet(settings)
        weight = self.trunk.weight.detach()
        self.weights = nn.Parameter(torch.stack([-weight, weight]))

    def cosines(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, C) → (B, 2), float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            return F.linear(F.normalize(pooled.float(), dim=-1), F.normalize(self.weights.float(), dim=-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cosines(self.trunk.pool(self.trunk.feature_map(x)))


class CosFace(Method):
    """Large margin cosine loss."""

    name, title = "cosface", "CosFace"

    def network(self, settings: NetworkSettings, spacing_mm: float) -> TwoWeights:
        return TwoWeights(replace(settings, head="cosine", scale=SCALE, order="pool-classify"))

    def take_over(self, network: TwoWeights, other: nn.Module, trunk: dict[str, torch.Tensor]) -> None:
        super().take_over(network, other, trunk)
        with torch.no_grad():
            network.weights.copy_(torch.stack([-network.trunk.weight, network.trunk.weight]))

    def logit(self, output: torch.Tensor) -> torch.Tensor:
        return SCALE * (output[:, 1] - output[:, 0])

    def loss(self, output: torch.Tensor, targets: Targets, config: Config, epoch: int) -> torch.Tensor:
        own = F.one_hot(targets["label"], 2)
        return F.cross_entropy(SCALE * (output - config.margin * own), targets["label"])

    def margin(self, config: Config, epoch: int) -> float:
        return config.margin

    def read(self, network: TwoWeights, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        features = network.trunk.feature_map(array)
        cells = pooled_cells(array[0].cpu(), size, network.settings.total_stride)
        counted = features if cells is None else features[:, :, cells.to(features.device)]
        pooled = network.trunk.pool(counted)
        # the direction along which the logit grows
        benign, malignant = F.normalize(network.weights, dim=-1)
        maps = feature_maps(features[0], malignant - benign, network.settings, cells)
        return Reading(float(self.logit(network.cosines(pooled))[0]), maps, pooled[0], network.weights[1])
