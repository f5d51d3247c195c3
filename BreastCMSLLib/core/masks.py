"""Masks on a grid whose index j grows towards the front (A)."""

from __future__ import annotations

import numpy as np


def foremost(inside: np.ndarray) -> np.ndarray:
    """Index j of the foremost voxel of each column.

    Parameters
    ----------
    inside : ndarray, shape (LR, AP, SI), bool

    Returns
    -------
    ndarray, shape (LR, SI), int
        −1 where a column holds none.
    """
    front = np.full((inside.shape[0], inside.shape[2]), -1)
    for j in range(inside.shape[1]):  # the foremost is written last
        np.copyto(front, j, where=inside[:, j])
    return front
