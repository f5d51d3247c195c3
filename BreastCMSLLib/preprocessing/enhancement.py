"""Enhancement over some of the phases of a model input."""

from __future__ import annotations

import numpy as np
import torch

EARLY_SHARE = 1 / 3  # of the dynamic phases: when cancers stand out most


def early(phases: int) -> slice:
    """The early ones of so many phases after contrast, at least one."""
    return slice(0, max(1, round(EARLY_SHARE * phases)))


def signal_of(array: np.ndarray | torch.Tensor, phases: slice = slice(None)) -> np.ndarray:
    """Mean positive enhancement of a model input (phases, LR, AP, SI) over some of its phases: float32 (LR, AP, SI)."""
    values = array.float().numpy() if isinstance(array, torch.Tensor) else np.asarray(array, dtype=np.float32)
    total = mean_of(values[phases])
    return np.maximum(total, 0.0, out=total)


def mean_of(phases: np.ndarray) -> np.ndarray:
    """``phases.mean(axis=0)`` of a float32 (phases, …), bit for bit but in place, which takes a fraction of the time."""
    first, *others = phases
    total = first.copy()
    for other in others:
        total += other
    total /= np.float32(len(phases))
    return total
