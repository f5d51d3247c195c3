"""2D MIL (Wu et al., CVPR 2015, as Luo et al. compare it): an exam is malignant when one of its slices is.

Follows the source: every axial slice, its phases as channels, goes through a 2-D ResNet, and the exam's logit
is the highest of its slices; binary cross-entropy of the exam. Adapted: only slices that hold breast count;
the features of a slice are pooled as the recipe says. It cannot start from the 3-D network, so that it is
trained for as many passes as that one and the method after it together. mil_2d_attention weighs slices by
gated attention (Ilse et al., ICML 2018, eq. 9) instead.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from BreastCMSLLib.network.resnet import POOLINGS, NetworkSettings

from .cells import OUTSIDE
from .method import Method, Reading
from .resnet_2d import resnet_2d

ATTENDED = 64  # hidden units of the gated attention


class SliceNet(nn.Module):
    """Axial slices through a 2-D ResNet: ``forward`` → logit (B,)."""

    def __init__(self, settings: NetworkSettings, attention: bool):
        super().__init__()
        self.settings, self.layers = settings, resnet_2d(settings)
        self.head = nn.Linear(settings.features, 1)
        self.gates = None
        if attention:
            names = {"value": ATTENDED, "gate": ATTENDED}
            self.gates = nn.ModuleDict({n: nn.Linear(settings.features, size) for n, size in names.items()})
            self.gates["weight"] = nn.Linear(ATTENDED, 1, bias=False)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, phases, LR, AP, SI) → (B, SI, C, cells along LR, AP)."""
        slices = x.movedim(4, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.layers(slices).unflatten(0, (len(x), x.shape[4]))

    def slices(self, features: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the slices (B, SI), and how much each counts in the exam's (B, SI), float32."""
        with torch.autocast(features.device.type, enabled=False):
            pooled = POOLINGS[self.settings.pooling](features.float().flatten(0, 1).flatten(2))
            pooled = pooled.unflatten(0, features.shape[:2])
            logits = self.head(pooled)[..., 0]
            if self.gates is None:
                best = logits.masked_fill(~inside, OUTSIDE).argmax(1)
                return logits, nn.functional.one_hot(best, logits.shape[1]).float()
            score = self.gates["value"](pooled).tanh() * self.gates["gate"](pooled).sigmoid()
            return logits, self.gates["weight"](score)[..., 0].masked_fill(~inside, OUTSIDE).softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits, weights = self.slices(self.features(x), slices_inside(x))
        return (logits * weights).sum(1)


def slices_inside(x: torch.Tensor) -> torch.Tensor:
    """Which slices hold breast: (B, phases, LR, AP, SI) → (B, SI); all of an exam that is empty."""
    inside = (x != 0).any(1).any(1).any(1)
    return inside | ~inside.any(1, keepdim=True)


class Mil2d(Method):
    """The most suspicious slice decides."""

    name, title = "mil_2d", "2D MIL"
    start = ""
    planar = fresh = True
    attention = False

    def network(self, settings: NetworkSettings, spacing_mm: float) -> SliceNet:
        return SliceNet(replace(settings, head="linear", norm="batch"), self.attention)

    def read(self, network: SliceNet, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        features = network.features(array)
        logits, weights = network.slices(features, slices_inside(array))
        # the map of a slice is its CAM; slices count as in the logit
        cam = torch.einsum("c,kcxy->xyk", network.head.weight[0].float(), features[0].float()).clamp_min(0)
        fine = _spread(cam * weights[0], array.shape[2:], network.settings.total_stride)
        return Reading(float((logits * weights).sum()), {"slice CAM": (fine.cpu(), 1)})


class AttendedMil2d(Mil2d):
    """Slices count by gated attention."""

    name, title = "mil_2d_attention", "2D MIL, gated attention"
    attention = True


def _spread(cells: torch.Tensor, size: tuple[int, ...], stride: int) -> torch.Tensor:
    """(cells along LR, AP, slices) → (LR, AP, SI), bilinear within each slice, cell i on voxel stride · i."""
    fine = cells
    for axis in (0, 1):
        at = (torch.arange(size[axis], device=cells.device) / stride).clamp_max(cells.shape[axis] - 1)
        low = at.floor().long()
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = (low + 1).clamp_max(cells.shape[axis] - 1)
        fine = fine.index_select(axis, low) * (1 - share) + fine.index_select(axis, high) * share
    return fine
