"""Enhancement over some of the phases of a model input."""

from __future__ import annotations

import numpy as np
import torch

EARLY_SHARE = 1 / 3  # of the dynamic phases: when cancers stand out most


def early_phases(phases: int) -> slice:
    """The early ones of so many phases after contrast, at least one."""
    return slice(0, max(1, round(EARLY_SHARE * phases)))


def mean_enhancement(array: np.ndarray | torch.Tensor, phases: slice = slice(None)) -> np.ndarray:
    """Mean positive enhancement of a model input over some of its phases.

    Parameters
    ----------
    array : ndarray or Tensor, shape (phases, LR, AP, SI)
    phases : slice

    Returns
    -------
    ndarray of float32, shape (LR, AP, SI)
        0 where the mean falls.
    """
    values = array.float().numpy() if isinstance(array, torch.Tensor) else np.asarray(array, dtype=np.float32)
    mean = mean_over_phases(values[phases])
    return np.maximum(mean, 0.0, out=mean)


def mean_over_phases(array: np.ndarray) -> np.ndarray:
    """``array.mean(axis=0)`` of float32 (phases, …), bit for bit but in place, which takes a fraction of the
    time.
    """
    first, *others = array
    mean = first.copy()
    for other in others:
        mean += other
    mean /= np.float32(len(array))
    return mean
