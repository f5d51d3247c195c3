"""GLAM (Liu et al., MIDL 2021, arXiv 2106.07049): a global network says where, a local one looks closely.

Follows the source: 1×1×1 convolutions and sigmoids on the last three levels give saliency maps of both
classes, and a class scores the mean over levels of the mean of the highest 3 % of cells; S = 0.2 A₁ + 0.6 A₂
+ 0.2 A₃. The boxes of greatest mean saliency (classes normalised and summed) are taken greedily, and a
network without any stride reads them; its highest 30 % of voxels, of all boxes together, give the local
score. The final map is the mean of S and of the local map pasted back, and the global score of malignant is
the answer. Loss: cross-entropy of both scores plus λ times the mean of the maps; the source's code has
inference alone, so that the weights are chosen (``--sparsity`` times 36 for λ, as for sparse_mil).

Adapted: 3-D, boxes of 44 mm, K = 4; cells are counted inside the mask; the global network is the recipe's
ResNet and starts from the cross-entropy's; finer levels are brought to the last one's grid by a maximum over
each of its cells; the class benign is what is not malignant, since nothing else is known of an exam. In the
first half of a run the global network learns alone, then both do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from BreastCMSLLib.network.attention import upsample
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.recipes import Config

from .cells import cells_inside, top_mean
from .glam_boxes import boxes_of, cut_boxes, pasted
from .method import Method, Reading, Targets

BOX_MM, BOXES = 44.0, 4
LEVELS = (0.2, 0.6, 0.2)  # weights of the maps
GLOBAL_SHARE, LOCAL_SHARE = 0.03, 0.30  # of the cells, and of the boxes' voxels
CELLS = 36
ALONE = 0.5  # of a run, the global network
CLASSES = 2  # benign, malignant


class GlamOutput(NamedTuple):
    """Scores (B, 2) of the global and the local network, probabilities, and the mean of the maps."""

    wide: torch.Tensor
    close: torch.Tensor
    area: torch.Tensor


class Glam(Method):
    """Global and local network."""

    name, title = "glam", "GLAM"
    fresh = True

    def network(self, settings: NetworkSettings, spacing_mm: float) -> GlamNet:
        return GlamNet(replace(settings, head="linear"), round(BOX_MM / spacing_mm))

    def logit(self, output: GlamOutput) -> torch.Tensor:
        return torch.logit(output.wide[:, 1], eps=1e-6)

    def loss(self, output: GlamOutput, targets: Targets, config: Config, epoch: int) -> torch.Tensor:
        wanted = F.one_hot(targets["label"], CLASSES).float()
        loss = _cross_entropy(output.wide, wanted) + config.sparsity * CELLS * output.area
        if self.complete(config, epoch):
            return loss + _cross_entropy(output.close, wanted)
        return loss + 0.0 * output.close.sum()  # every parameter takes part, as several processes want it

    def complete(self, config: Config, epoch: int) -> bool:
        return epoch >= int(ALONE * config.epochs)

    def read(self, network: GlamNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        stride, voxels = network.settings.total_stride, tuple(array.shape[2:])
        maps, inside = network.saliency(array), cells_inside(array, stride)
        combined = network.combined(maps)
        fine, starts = network.look(array, combined, inside)
        close, wide = pasted(fine[0, :, 1], starts[0], voxels).cpu(), combined[0, 1].cpu()
        final = (close + torch.from_numpy(upsample(wide, np.eye(4), stride, voxels))) / 2
        logit = torch.logit(network.score(maps, inside)[0, 1], eps=1e-6)
        return Reading(float(logit), {"saliency": (wide, stride), "segmentation": (final, 1)})


class GlamNet(nn.Module):
    """Both networks: ``forward`` → :class:`GlamOutput`. ``edge``: voxels along a box."""

    def __init__(self, settings: NetworkSettings, edge: int):
        super().__init__()
        self.settings, self.edge, self.trunk = settings, edge, BreastNet(settings)
        count = len(settings.blocks)
        used = range(max(0, count - len(LEVELS)), count)
        self.levels = nn.ModuleDict({str(n): nn.Conv3d(settings.width * 2**n, CLASSES, 1) for n in used})
        still = replace(settings, stem_kernel=3, stem_stride=1, stem_pool=False, strides=(1,) * count)
        self.local = BreastNet(still)
        self.local_head = nn.Conv3d(settings.features, CLASSES, 1)

    def saliency(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the levels, probabilities (B, 2, …) on the grid of the last."""
        features, maps = self.trunk.stem(x), []
        for n, stage in enumerate(self.trunk.stages):
            features = stage(features)
            if str(n) in self.levels:
                maps.append((self.levels[str(n)](features).float(), self._coarser(n)))
        return [
            (F.max_pool3d(logits, factor | 1, factor, factor // 2) if factor > 1 else logits).sigmoid()
            for logits, factor in maps
        ]

    def _coarser(self, stage: int) -> int:
        """How many times coarser the last level's grid is than that of a stage."""
        return int(np.prod(self.settings.strides[stage + 1 :]))

    def combined(self, maps: list[torch.Tensor]) -> torch.Tensor:
        weights = LEVELS[-len(maps) :]
        return sum(w * a for w, a in zip(weights, maps)) / sum(weights)

    def score(self, maps: list[torch.Tensor], inside: torch.Tensor) -> torch.Tensor:
        """(B, 2) probabilities of the classes."""
        each = [top_mean(a.flatten(2), inside.flatten(1), GLOBAL_SHARE) for a in maps]
        return torch.stack(each).mean(0)

    def look(
        self, x: torch.Tensor, saliency: torch.Tensor, inside: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The local network's maps (B, K, 2, n, n, n), and where the boxes begin (B, K, 3), in voxels."""
        starts = boxes_of(
            saliency.detach(), inside, self.settings.total_stride, self.edge, BOXES, x.shape[2:]
        )
        boxes = cut_boxes(x, starts, self.edge)
        fine = self.local_head(self.local.feature_map(boxes.flatten(0, 1))).float().sigmoid()
        return fine.unflatten(0, boxes.shape[:2]), starts

    def forward(self, x: torch.Tensor) -> GlamOutput:
        inside, maps = cells_inside(x, self.settings.total_stride), self.saliency(x)
        fine, _ = self.look(x, self.combined(maps), inside)
        voxels = fine.movedim(2, 1).flatten(2)
        close = top_mean(voxels, torch.ones_like(voxels[:, 0], dtype=torch.bool), LOCAL_SHARE)
        area = torch.stack([(a * inside[:, None]).sum((1, 2, 3, 4)) for a in maps]).mean(0)
        area = area / (CLASSES * inside.flatten(1).sum(1))
        return GlamOutput(self.score(maps, inside), close, area.mean())


def _cross_entropy(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    with torch.autocast(scores.device.type, enabled=False):
        return F.binary_cross_entropy(scores.clamp(1e-6, 1 - 1e-6), wanted)
