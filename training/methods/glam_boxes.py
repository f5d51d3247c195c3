"""The boxes that GLAM's local network looks at: taken greedily off a map, cut out, and pasted back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def boxes_of(
    saliency: torch.Tensor,
    inside: torch.Tensor,
    stride: int,
    edge: int,
    count: int,
    size: Sequence[int],
) -> torch.Tensor:
    """Greedily the boxes of greatest mean saliency; a box that was taken counts 0 from then on.

    Parameters
    ----------
    saliency : torch.Tensor, shape (B, classes, …)
        On the feature grid; each class is scaled to 0–1 and all are summed.
    inside : torch.Tensor, shape (B, …), bool
        Cells in the breasts; a box has its middle on one.
    stride, edge : int
        Voxels from one cell to the next, and along a box.
    count : int
        Boxes of an exam.
    size : sequence of int
        Voxels of the exam.

    Returns
    -------
    torch.Tensor, shape (B, count, 3), int
        First voxel of each box. Boxes lie inside the exam as far as it is large enough.
    """
    low, high = saliency.amin((2, 3, 4), keepdim=True), saliency.amax((2, 3, 4), keepdim=True)
    total = ((saliency - low) / (high - low).clamp_min(1e-6)).sum(1) * inside
    cells = max(1, round(edge / stride)) | 1  # an odd number, so that a box has a middle cell
    reach, starts = cells // 2, []
    highest = torch.tensor([max(0, n - edge) for n in size], device=saliency.device)
    for _ in range(count):
        mean = F.avg_pool3d(total[:, None], cells, 1, reach)[:, 0]
        best = mean.masked_fill(~inside, -1.0).flatten(1).argmax(1)
        middle = torch.stack(torch.unravel_index(best, mean.shape[1:]), 1)
        starts.append((middle * stride - edge // 2).clamp_min(0).minimum(highest))
        for exam, at in enumerate(middle.tolist()):
            total[(exam, *(slice(max(0, a - reach), a + reach + 1) for a in at))] = 0
    return torch.stack(starts, 1)


def cut_boxes(x: torch.Tensor, starts: torch.Tensor, edge: int) -> torch.Tensor:
    """(B, phases, …) → (B, K, phases, n, n, n); 0 beyond an exam that is smaller than a box."""
    boxes = x.new_zeros(*starts.shape[:2], x.shape[1], edge, edge, edge)
    for exam, places in enumerate(starts.tolist()):
        for number, at in enumerate(places):
            box = x[exam][(slice(None), *(slice(a, a + edge) for a in at))]
            boxes[(exam, number, slice(None), *(slice(0, n) for n in box.shape[1:]))] = box
    return boxes


def pasted(boxes: torch.Tensor, starts: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps of boxes (K, n, n, n) at their places in an exam, 0 elsewhere; the larger value where two meet."""
    whole = boxes.new_zeros([max(n, boxes.shape[1]) for n in size])
    for box, at in zip(boxes, starts.tolist()):
        window = tuple(slice(a, a + n) for a, n in zip(at, box.shape))
        whole[window] = torch.maximum(whole[window], box)
    return whole[tuple(slice(0, n) for n in size)]
