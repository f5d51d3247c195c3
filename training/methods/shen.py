"""Shen's end-to-end all-convolutional design (arXiv 1708.09427), from lesions' places: strong labels.

Follows the source: a classifier of patches (background, benign, malignant; as many of background as of
lesions) learns first, in three stages that unfreeze more of it at falling rates (head, last stage, all). Then
it is slid over the exam fully convolutionally, with two bottleneck blocks of [n, n, 2n] channels and global
average pooling on top; the new layers learn first, then all at a lower rate. Exams are read as they are and
mirrored; a comparison also averages three runs.

Adapted: 3-D patches of 44 mm around simulated lesions or boxes; the network starts from the cross-
entropy's, where the source has ImageNet's. A tenth of the rate from stage to stage, as there, leaves such a
trunk as it is: on a toy problem the patches' AUC was 0.64 with 0.1 and 1.00 with 0.5 (``--unfreeze``). n is
a quarter of the trunk's channels, as 512 of 2,048 there; the blocks do not stride, since an exam here has
fewer cells. Map: the patch classifier's probability of malignant, cell by cell.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from BreastCMSLLib.network.resnet import NORMS, BreastNet, NetworkSettings
from training.recipes import Config

from .method import Method, Reading, Targets
from .patches import MALIGNANT, PATCH_MM

CLASSES = 3
STAGES = (1 / 3, 2 / 3)  # of the patches' run: head alone, last stage too, all
ALL_FROM = 0.5  # of the exams' run: new layers alone before


class PatchNet(nn.Module):
    """A 3-D ResNet with an average over cells and a head of three classes: ``forward`` → logits (B, 3)."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings, self.trunk = settings, BreastNet(settings)
        self.head = nn.Linear(settings.features, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.trunk.feature_map(x).flatten(2).float().mean(2)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(pooled)


class ShenPatches(Method):
    """The classifier of patches."""

    name, title = "shen_patches", "Shen's patches"
    strong = fresh = staged = True
    needs = ("patches",)

    def network(self, settings: NetworkSettings, spacing_mm: float) -> PatchNet:
        return PatchNet(replace(settings, head="linear"))

    def loss(self, output: torch.Tensor, targets: Targets, config: Config, epoch: int) -> torch.Tensor:
        return F.cross_entropy(output, targets["patch"].flatten())

    def logit(self, output: torch.Tensor) -> torch.Tensor:
        """Of malignant against the other two classes."""
        return output[:, MALIGNANT] - output[:, :MALIGNANT].logsumexp(1)

    def judged(self, output: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        labels = (targets["patch"] == MALIGNANT).long()
        return self.logit(output).reshape(labels.shape), labels

    def part(self, name: str, settings: NetworkSettings) -> str:
        if not name.startswith("trunk."):
            return "head"
        return "last" if name.startswith(f"trunk.stages.{len(settings.blocks) - 1}.") else "trunk"

    def rate(self, part: str, progress: float, config: Config) -> float:
        stage = sum(progress >= begin for begin in STAGES)
        return config.unfreeze**stage if {"head": 0, "last": 1, "trunk": 2}[part] <= stage else 0.0


class Bottleneck(nn.Module):
    """1×1×1, 3×3×3 and 1×1×1 convolutions of n, n and 2n channels beside a shortcut."""

    def __init__(self, inputs: int, width: int, norm: str):
        super().__init__()
        layers: list[nn.Module] = []
        for kernel, a, b in ((1, inputs, width), (3, width, width), (1, width, 2 * width)):
            layers += [nn.Conv3d(a, b, kernel, 1, kernel // 2, bias=False), NORMS[norm](b), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Conv3d(inputs, 2 * width, 1, bias=False) if inputs != 2 * width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


class WholeNet(nn.Module):
    """The classifier of patches slid over an exam, with two blocks on top: ``forward`` → logit (B,)."""

    def __init__(self, settings: NetworkSettings, spacing_mm: float):
        super().__init__()
        self.settings, self.patches = settings, PatchNet(settings)
        self.across = max(1, round(PATCH_MM / spacing_mm / settings.total_stride)) | 1  # cells of a patch
        width = max(1, settings.features // 4)
        self.top = nn.Sequential(
            Bottleneck(settings.features, width, settings.norm), Bottleneck(2 * width, width, settings.norm)
        )
        self.last = nn.Linear(2 * width, 1)

    @property
    def trunk(self) -> BreastNet:
        return self.patches.trunk

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, …) of the trunk → logit (B,), float32."""
        pooled = self.top(features).flatten(2).float().mean(2)
        with torch.autocast(features.device.type, enabled=False):
            return self.last(pooled)[:, 0]

    def heat(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, …) → probability that the patch around a cell is malignant, (B, …)."""
        mean = F.avg_pool3d(features.float(), self.across, 1, self.across // 2)
        return self.patches.head(mean.movedim(1, -1)).softmax(-1)[..., MALIGNANT]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.trunk.feature_map(x))


class Shen(Method):
    """The classifier of exams; starts from a run of :class:`ShenPatches`."""

    name, title = "shen", "Shen, end to end (strong labels)"
    start = "shen_patches"
    strong = fresh = staged = True
    flips = ((), (2,), (4,), (2, 4))

    def network(self, settings: NetworkSettings, spacing_mm: float) -> WholeNet:
        return WholeNet(replace(settings, head="linear"), spacing_mm)

    def take_over(self, network: WholeNet, other: nn.Module, trunk: dict[str, torch.Tensor]) -> None:
        super().take_over(network, other, trunk)
        if isinstance(other, PatchNet):
            network.patches.head.load_state_dict(other.head.state_dict())

    def part(self, name: str, settings: NetworkSettings) -> str:
        return "patches" if name.startswith("patches.") else "new"

    def rate(self, part: str, progress: float, config: Config) -> float:
        return float(part == "new") if progress < ALL_FROM else config.unfreeze

    def read(self, network: WholeNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        features = network.trunk.feature_map(array)
        heat = network.heat(features)[0].cpu()
        logit = float(network.classify(features)[0])
        return Reading(logit, {"patches": (heat, network.settings.total_stride)})
