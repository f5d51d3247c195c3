"""Optional guidance by lesion positions, which simulated exams know: where a lesion is, and whether it is malignant.

The paper trains with image-level labels only, and that stays the default. From a few hundred exams such training has too
little to go by: vessels and glandular tissue enhance in every exam. A second, auxiliary head on the feature map is then
told, for every cell, whether it belongs to a lesion and to a malignant one; it is dropped from the exported model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def centres_of(meta: dict, half: bool) -> torch.Tensor:
    """(n, 5): voxel index i, j, k of each lesion's centre on the input's grid, its radius in voxels, and 1 if malignant."""
    inverse = np.linalg.inv(np.array(meta["affine"]))
    scale = 0.5 if half else 1.0
    rows = []
    for lesion in meta["lesions"]:
        index = (inverse @ [*lesion["ras_mm"], 1.0])[:3]
        radius = lesion["radius_mm"] * np.linalg.norm(inverse[:3, 0])
        rows.append([*((index + 0.5) * scale - 0.5), radius * scale, float(lesion["malignant"])])
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def move(centres: torch.Tensor, size, flips: list[int], shifts: list[int]) -> torch.Tensor:
    """Lesion centres after the flips and cyclic shifts of augmentation (axes counted without the channel)."""
    moved = centres.clone()
    for axis in flips:
        moved[:, axis] = size[axis] - 1 - moved[:, axis]
    for axis, shift in enumerate(shifts):
        moved[:, axis] = (moved[:, axis] + shift) % size[axis]
    return moved


def targets(centres: list[torch.Tensor], cells, stride: int) -> torch.Tensor:
    """(B, 2, cells…): 1 where a cell's centre lies in a lesion (channel 0), in a malignant one (channel 1).

    The cell nearest to a lesion's centre always counts, however small the lesion.
    """
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) * stride for n in cells], indexing="ij"), -1)
    out = torch.zeros(len(centres), 2, *cells)
    for b, lesions in enumerate(centres):
        for *centre, radius, malignant in lesions.tolist():
            distance = (grid - torch.tensor(centre)).norm(dim=-1)
            inside = (distance <= radius) | (distance == distance.min())
            out[b, 0][inside] = 1.0
            if malignant:
                out[b, 1][inside] = 1.0
    return out


class GuidanceHead(nn.Module):
    """Two logits per cell of the feature map: whether it is a lesion, and if so whether a malignant one."""

    def __init__(self, features: int):
        super().__init__()
        self.conv = nn.Conv3d(features, 2, 1)
        with torch.no_grad():
            self.conv.bias.copy_(torch.tensor([-4.0, 0.0]))  # few cells are lesions; lesions are as often benign

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.conv(features.float())


def guidance_loss(logits: torch.Tensor, wanted: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Focal loss of the lesion logit (Lin et al., ICCV 2017) per lesion cell, plus cross-entropy of the malignant logit.

    The second is taken in lesion cells only: telling cancers from benign lesions is then not drowned by finding either.
    """
    lesion, malignant = wanted[:, 0], wanted[:, 1]
    plain = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], lesion, reduction="none")
    wrong = torch.where(lesion > 0, 1 - torch.sigmoid(logits[:, 0]), torch.sigmoid(logits[:, 0]))
    finding = (wrong**gamma * plain).sum() / lesion.sum().clamp_min(1.0)
    inside = lesion > 0
    if not inside.any():
        return finding
    return finding + 2.0 * nn.functional.binary_cross_entropy_with_logits(logits[:, 1][inside], malignant[inside])
