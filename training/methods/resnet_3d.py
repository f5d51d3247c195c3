"""3D ResNet (He et al. 2016, in 3-D; Luo et al. 2019, eq. 1–2): pooled features, one weight, cross-entropy.

Follows the source: the ResNet, global pooling before the logit, binary cross-entropy. Adapted: width, strides
and pooling are the recipe's, so that it can be trained without a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from BreastCMSLLib.models.pooling import pooled_cells
from BreastCMSLLib.network.attention import MAPS, attention_map
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings

from .method import Method, Reading


class ResNet3d(Method):
    """Cross-entropy of σ(w·x + b)."""

    name, title = "bce", "3D ResNet"
    head = "linear"

    def network(self, settings: NetworkSettings, spacing_mm: float) -> BreastNet:
        return BreastNet(replace(settings, head=self.head))

    def read(self, network: BreastNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        features = network.feature_map(array)
        cells = pooled_cells(array[0].cpu(), size, network.settings.total_stride)
        counted = features if cells is None else features[:, :, cells.to(features.device)]
        logit = float(network.logit(counted)[0])
        maps = feature_maps(features[0], network.weight, network.settings, cells)
        return Reading(logit, maps, network.pool(counted)[0], network.weight)


def feature_maps(
    features: torch.Tensor, weight: torch.Tensor, settings: NetworkSettings, cells: torch.Tensor | None
) -> dict[str, tuple[torch.Tensor, int]]:
    """Every map of a pooled feature map (C, LR, AP, SI), for :class:`Reading`; cells: those pooled over."""
    features, weight, stride = features.float().cpu(), weight.detach().float().cpu(), settings.total_stride
    own = (settings.pooling, cells, settings.head, settings.order)
    return {name: (attention_map(name, features, weight, *own), stride) for name in MAPS}
