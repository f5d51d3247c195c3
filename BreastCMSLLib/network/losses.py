"""Sigmoid losses of Luo et al. 2019 on the head's output: plain (eq. 1–2), normalised (eq. 3), cosine margin (eq. 4).

Stateless: the weight w lives in the network's head. All computed in float32 whatever the features' precision.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

SCALE, MARGIN = 20.0, 0.35


def cosine(features: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """cos θ between each row of features (B, C) and the weight (C,), float32 in [−1, 1]."""
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.float(), dim=-1, eps=eps) @ F.normalize(weight.float(), dim=-1, eps=eps)


def sigmoid_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of σ(logit) (eq. 1), mean over the batch; labels 1 malignant, 0 benign."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


def cosine_margin_loss(cos: torch.Tensor, labels: torch.Tensor, scale: float = SCALE, margin: float = MARGIN) -> torch.Tensor:
    """CMSL (eq. 4): cross-entropy of σ(s·(cos θ − I(y)·m)), I = +1 malignant, −1 benign. m = 0 is NSL (eq. 3).

    Refuses m ≥ 1/√2: after a ReLU the pooled features are non-negative, so both classes cannot reach such a margin.
    """
    if not 0 <= margin < math.sqrt(0.5):
        raise ValueError(f"margin must lie in [0, 0.707), not {margin}")
    sign = 2.0 * labels.float() - 1.0
    return F.binary_cross_entropy_with_logits(scale * (cos.float() - sign * margin), labels.float())
