"""Over which cells of an exam the network's logit is pooled, so that a lesion weighs the same in any exam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage


def cells_of(shape: Sequence[int], stride: int) -> tuple[int, ...]:
    """Cells of the feature map of an exam of so many voxels; ``stride``: total stride of the network."""
    return tuple(-(-n // stride) for n in shape)


def pooled_cells(array: torch.Tensor, size: Sequence[int], stride: int) -> torch.Tensor | None:
    """The cells of the logit: as many as an exam of ``size`` has, those of the breasts first.

    A network learns what its pooled feature means from exams of one size, breasts and air together. A larger
    grid brings more air, which would dilute a lesion's share. So the air beyond what fills an ordinary exam
    is left out, the farthest from the breasts first.

    Parameters
    ----------
    array : torch.Tensor, shape (phases, LR, AP, SI)
        The exam; 0 outside the breasts.
    size : sequence of int
        Of the input contract.
    stride : int
        Total stride of the network.

    Returns
    -------
    torch.Tensor, shape (LR, AP, SI), bool, or None
        On the feature grid; None for all cells, in an exam that is not larger. More cells than an ordinary
        exam has only where the breasts alone fill more.
    """
    cells, count = cells_of(array.shape[1:], stride), int(np.prod(cells_of(size, stride)))
    if np.prod(cells) <= count:
        return None
    filled = (array != 0).any(0).numpy()
    # cell i holds the voxels nearest to its centre, S·i
    for axis, number in enumerate(cells):
        starts = np.maximum(np.arange(number) * stride - stride // 2, 0)
        filled = np.logical_or.reduceat(filled, starts, axis)
    order = np.argsort(ndimage.distance_transform_edt(~filled), axis=None, kind="stable")
    chosen = np.zeros(filled.size, dtype=bool)
    chosen[order[: max(count, int(filled.sum()))]] = True
    return torch.from_numpy(chosen.reshape(filled.shape))
