"""Whether volumes get brighter after contrast, and whether enhancement has structure. Needs NumPy alone."""

from __future__ import annotations

import numpy as np

_FEWEST_BLOCKS = 100


def loss_and_gain(change: np.ndarray, percent: float) -> tuple[np.ndarray, np.ndarray]:
    """How much the voxels lose that darken most, and how much those gain that brighten most.

    Parameters
    ----------
    change : ndarray, shape (..., voxels)
        At least one voxel.
    percent : float
        Of the voxels, left out at either end.

    Returns
    -------
    loss, gain : ndarray, shape (...)
        The gain is not negative.
    """
    low, high = np.percentile(change, (percent, 100 - percent), axis=-1)
    return -low, np.maximum(high, 0.0)


def coherence(mean: np.ndarray, inside: np.ndarray, step: np.ndarray, lag_blocks: float) -> float:
    """How much neighbouring blocks enhance alike: 0 where there is nothing but noise.

    Parameters
    ----------
    mean : ndarray, shape (LR, AP, SI)
        Enhancement, mean over phases.
    inside : ndarray, shape (LR, AP, SI), bool
        Where to look.
    step : ndarray, shape (3,), int
        Voxels along each side of a block.
    lag_blocks : float
        Distance of the blocks that are compared; noise must not reach so far. At least two are taken.

    Returns
    -------
    float
        Correlation coefficient, mean over the axes; 1 where too few blocks lie inside.
    """
    # means of whole blocks, and which lie inside
    whole = tuple(slice(0, n // s * s) for n, s in zip(mean.shape, step, strict=True))
    split = [part for n, s in zip(mean.shape, step, strict=True) for part in (n // s, s)]
    blocks = mean[whole].reshape(split).mean(axis=(1, 3, 5), dtype=np.float64)
    full = inside[whole].reshape(split).all(axis=(1, 3, 5))
    # every block against the one further on along each axis
    lag = int(np.ceil(max(2.0, lag_blocks) - 1e-6))
    correlations = []
    for axis in range(3):
        one, other = np.moveaxis(blocks, axis, 0)[:-lag], np.moveaxis(blocks, axis, 0)[lag:]
        both = np.moveaxis(full, axis, 0)[:-lag] & np.moveaxis(full, axis, 0)[lag:]
        a, b = one[both], other[both]
        if a.size > _FEWEST_BLOCKS and a.std() > 0 and b.std() > 0:
            correlations.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.mean(correlations)) if correlations else 1.0
