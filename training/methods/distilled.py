"""3D ResNet, distilled: its cells learn what a candidate classifier says of the candidates in them.

Not of Luo et al. One label an exam leaves a network to find a lesion of a few voxels among two hundred
thousand. A candidate classifier finds it sooner, and its probabilities teach the network's cells
(distillation, Hinton et al. 2015, arXiv 1503.02531). Where the classifier learned from labels of exams alone,
no lesion's place is ever told. A cell's target is the highest probability of the candidates in it, given the
exam's label (teacher.py); 0 where there is none. The exam's logit is that of its highest cell.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.recipes import Config

from .method import Targets
from .resnet_3d import ResNet3d

FIRST = math.log(0.01)  # bias to begin with: nearly no cell holds a cancer
WEIGHT = 0.25  # of the cells' cross-entropy beside the exam's


class CellNet(BreastNet):
    """A 3-D ResNet that also tells each cell's logit: ``forward`` → (B,) of the exams, (B, cells)."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.feature_map(x)
        return self.logit(features), self.classify(features.flatten(2).transpose(1, 2))


class Distilled(ResNet3d):
    """Cross-entropy of the exam, and of each cell in the breasts."""

    name, title, start = "distilled", "3D ResNet, distilled", ""
    needs = ("soft labels",)

    def network(self, settings: NetworkSettings, spacing_mm: float) -> CellNet:
        network = CellNet(replace(settings, head="linear", order="classify-pool", pooling="max"))
        nn.init.constant_(network.bias, FIRST)
        return network

    def logit(self, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return output[0]

    def loss(
        self, output: tuple[torch.Tensor, torch.Tensor], targets: Targets, config: Config, epoch: int
    ) -> torch.Tensor:
        logit, cells = output
        inside = targets["cells"] >= 0
        each = F.binary_cross_entropy_with_logits(cells, targets["cells"].clamp_min(0), reduction="none")
        return sigmoid_loss(logit, targets["label"]) + WEIGHT * (each * inside).sum() / len(logit)
