"""Sigmoid losses of Luo et al. 2019: plain (eq. 1–2), normalised (eq. 3), with a cosine margin (eq. 4).

Stateless: the weight w lives in the network's head. Computed in float32, whatever the features' precision.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

SCALE, MARGIN = 20.0, 0.35


def cosine(features: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Cosine of the angle between features and the weight of the head (eq. 3).

    Parameters
    ----------
    features : torch.Tensor, shape (..., C)
    weight : torch.Tensor, shape (C,)
    eps : float
        Least length that a vector is divided by.

    Returns
    -------
    torch.Tensor, shape (...), float32
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.float(), dim=-1, eps=eps) @ F.normalize(weight.float(), dim=-1, eps=eps)


def sigmoid_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of σ(logit), mean over the batch (eq. 1).

    Parameters
    ----------
    logits : torch.Tensor, shape (B,)
    labels : torch.Tensor, shape (B,)
        1 malignant, 0 benign.

    Returns
    -------
    torch.Tensor, scalar, float32
    """
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


def cosine_margin_loss(
    cos: torch.Tensor, labels: torch.Tensor, scale: float = SCALE, margin: float = MARGIN
) -> torch.Tensor:
    """Cross-entropy of σ(s·(cos θ − I(y)·m)), I = ±1 (CMSL, eq. 4); with m = 0 NSL (eq. 3).

    Parameters
    ----------
    cos : torch.Tensor, shape (B,)
        As from :func:`cosine`.
    labels : torch.Tensor, shape (B,)
        1 malignant (I = 1), 0 benign (I = −1).
    scale, margin : float
        s and m.

    Returns
    -------
    torch.Tensor, scalar, float32

    Raises
    ------
    ValueError
        m ≥ 1/√2: pooled features after a ReLU are not negative, so both classes cannot reach such a margin.
    """
    if not 0 <= margin < math.sqrt(0.5):
        raise ValueError(f"margin must lie in [0, 0.707), not {margin}")
    sign = 2.0 * labels.float() - 1.0
    return F.binary_cross_entropy_with_logits(scale * (cos.float() - sign * margin), labels.float())
