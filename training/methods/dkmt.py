"""3D DK-MT (Liu et al., MICCAI 2018): malignancy and a reader's grade from one network.

Follows the source: a shared network with a head for malignancy and one for the domain knowledge, in Luo et
al. BI-RADS 3, 4 or 5; the loss is the cross-entropy of the one plus α times that of the other. α was not
published: ``--alpha``. Adapted: 3-D, grades of simulated exams are computed (training/data/grades.py), and an
exam without a grade, as one without a lesion, counts for malignancy alone. dkmt_balanced weighs grades by how
rare they are, since Luo et al. suspect that too many 4 and 5 cost the method its specificity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.data.grades import GRADES
from training.recipes import Config

from .method import Method, Reading, Targets
from .resnet_3d import ResNet3d
from .targets import UNKNOWN


class GradedNet(nn.Module):
    """A 3-D ResNet with a second head: ``forward`` → logit (B,), logits of the grades (B, 3)."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings, self.trunk = settings, BreastNet(settings)
        self.grade = nn.Linear(settings.features, len(GRADES))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.trunk.pool(self.trunk.feature_map(x))
        with torch.autocast(x.device.type, enabled=False):
            return self.trunk.classify(pooled), self.grade(pooled)


class DomainKnowledge(Method):
    """Cross-entropy of malignancy, and of the grade."""

    name, title = "dkmt", "3D DK-MT"
    needs = ("grade",)
    balanced = False

    def network(self, settings: NetworkSettings, spacing_mm: float) -> GradedNet:
        return GradedNet(replace(settings, head="linear", order="pool-classify"))

    def logit(self, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return output[0]

    def loss(
        self, output: tuple[torch.Tensor, torch.Tensor], targets: Targets, config: Config, epoch: int
    ) -> torch.Tensor:
        each = F.cross_entropy(output[1], targets["grade"], ignore_index=UNKNOWN, reduction="none")
        each = each * targets["grade_weight"] if self.balanced else each
        known = (targets["grade"] != UNKNOWN).sum().clamp_min(1)
        return sigmoid_loss(output[0], targets["label"]) + config.alpha * each.sum() / known

    def read(self, network: GradedNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        return ResNet3d().read(network.trunk, array, size)


class BalancedKnowledge(DomainKnowledge):
    """The same, every grade counting alike."""

    name, title = "dkmt_balanced", "3D DK-MT, balanced grades"
    balanced = True
