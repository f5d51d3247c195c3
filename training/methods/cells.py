"""Cells of a feature map that lie in the breasts, and figures over them alone.

Exams are 0 outside the breasts, so the mask is read off them and needs no file of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

OUTSIDE = -1e4  # a logit that no maximum takes, and a float16 still holds


def cells_inside(arrays: torch.Tensor, stride: int) -> torch.Tensor:
    """The cells within half a stride of whose centre there is a voxel of the breasts.

    Parameters
    ----------
    arrays : torch.Tensor, shape (B, phases, LR, AP, SI)
        0 outside the breasts.
    stride : int
        Voxels from one cell to the next; cell i is centred on voxel stride · i.

    Returns
    -------
    torch.Tensor, shape (B, cells along LR, AP, SI), bool
        All cells of an exam that is empty.
    """
    filled = (arrays != 0).any(1, keepdim=True).float()
    reach = stride // 2
    cells = F.max_pool3d(filled, 2 * reach + 1, stride, reach)[:, 0] > 0
    return cells | ~cells.flatten(1).any(1)[:, None, None, None]


def top_mean(values: torch.Tensor, inside: torch.Tensor, share: float) -> torch.Tensor:
    """Mean of the highest values of each exam.

    Parameters
    ----------
    values : torch.Tensor, shape (B, C, N)
    inside : torch.Tensor, shape (B, N), bool
        Which of them count.
    share : float
        Of those that count, rounded, at least one.

    Returns
    -------
    torch.Tensor, shape (B, C)
    """
    counts = (inside.sum(1) * share).round().clamp_min(1).long()
    highest = values.masked_fill(~inside[:, None], OUTSIDE).topk(int(counts.max()), 2).values
    taken = torch.arange(highest.shape[2], device=values.device) < counts[:, None]
    return (highest * taken[:, None]).sum(2) / counts[:, None]
