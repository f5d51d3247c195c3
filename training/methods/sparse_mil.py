"""3D Sparse MIL (Zhu et al., MICCAI 2017, arXiv 1705.08550): few cells of a malignant exam are malignant.

Follows the source: every cell has a probability r_j by a 1×1×1 convolution, the exam's is max_j r_j, and the
loss is −log p(y) + μ Σ_j r_j with μ = 1e-4. Adapted to 3-D: the source has 36 cells, an exam here thousands,
so that μ is divided by the cells inside the mask over 36; only those cells count. The term (λ/2)‖θ‖² is the
optimiser's weight decay. Unlike there the network starts from the cross-entropy's, as Luo et al. do.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.recipes import Config

from .cells import OUTSIDE, cells_inside
from .method import Method, Reading, Targets

CELLS = 36  # of the source


class CellNet(nn.Module):
    """A 3-D ResNet that gives every cell a logit: ``forward`` → logits (B, N), and which cells count."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings, self.trunk = settings, BreastNet(settings)

    def cells(self, x: torch.Tensor) -> torch.Tensor:
        """(B, …) logits on the feature grid, float32."""
        return self.trunk.classify(self.trunk.feature_map(x).movedim(1, -1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cells(x).flatten(1), cells_inside(x, self.settings.total_stride).flatten(1)


class SparseMil(Method):
    """The most suspicious cell decides, and all others cost."""

    name, title = "sparse_mil", "3D Sparse MIL"

    def network(self, settings: NetworkSettings, spacing_mm: float) -> CellNet:
        return CellNet(replace(settings, head="linear"))

    def logit(self, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        cells, inside = output
        return cells.masked_fill(~inside, OUTSIDE).amax(1)

    def loss(
        self, output: tuple[torch.Tensor, torch.Tensor], targets: Targets, config: Config, epoch: int
    ) -> torch.Tensor:
        cells, inside = output
        mean = (cells.sigmoid() * inside).sum(1) / inside.sum(1)
        return sigmoid_loss(self.logit(output), targets["label"]) + config.sparsity * CELLS * mean.mean()

    def read(self, network: CellNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        cells = network.cells(array)
        inside = cells_inside(array, network.settings.total_stride)
        logit = float(self.logit((cells.flatten(1), inside.flatten(1)))[0])
        return Reading(logit, {"r": (cells[0].sigmoid().cpu(), network.settings.total_stride)})
