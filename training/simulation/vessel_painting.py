"""Vessels on a grid: blood fractions that hold on grids coarser than the vessels."""

from __future__ import annotations

import numpy as np
import torch

from .grid import Grid, bent
from .vessels import Vessel


def paint(vessels: list[Vessel], grid: Grid, bend: list[torch.Tensor]) -> torch.Tensor:
    """Blood fraction of each voxel; a vessel's cross-section keeps its area on a grid of any spacing.

    Parameters
    ----------
    vessels : list of Vessel
        In the woman's straight frame.
    grid : Grid
        To paint on.
    bend : list of torch.Tensor
        (i, j, k) mm along each axis: by how much the woman is bent there.

    Returns
    -------
    torch.Tensor
        (i, j, k) float32 on the bend's device.
    """
    device, width, shape = bend[0].device, max(grid.spacing), np.array(grid.shape)
    points, radii, lengths = _close_points(vessels, width / 2)
    points = bent(points, grid, bend)
    near = np.all(
        (points > np.array(grid.start) - 5) & (points < np.array(grid.start) + grid.extent + 5.0), axis=1
    )
    points, radii, lengths = points[near], radii[near], lengths[near]
    thick, thin = (torch.zeros(int(shape.prod()), device=device) for _ in range(2))
    # those of like thickness together: as many voxels around each point
    drawn = np.maximum(radii, 0.4 * width)  # wide enough to meet the centre of a voxel
    reach = np.ceil((drawn + width / 2) / min(grid.spacing)).astype(int)
    for count in np.unique(reach):
        some = reach == count
        at, radius = points[some], radii[some][:, None]
        voxel = np.floor((at - grid.start) / grid.spacing).astype(np.int64)
        around = np.stack(np.meshgrid(*[np.arange(-count, count + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
        index = voxel[:, None] + around
        distance = np.linalg.norm(np.array(grid.start) + (index + 0.5) * grid.spacing - at[:, None], axis=2)
        share = np.clip((drawn[some][:, None] - distance) / width + 0.5, 0, 1)
        # a point of a vessel thinner than a voxel gives its volume to the voxels around, which adds up where
        # vessels meet; of a thicker one the soft edge makes a truncated cone, whose area is divided out
        is_thin = radii[some] < width / 2
        volume = np.pi * radii[some] ** 2 * lengths[some] / np.prod(grid.spacing)
        share *= np.where(
            is_thin[:, None],
            volume[:, None] / share.sum(1, keepdims=True),
            radius**2 / (radius**2 + width**2 / 12),
        )
        inside = (share > 0) & np.all((index >= 0) & (index < shape), axis=2)
        for out, way, which in ((thin, "sum", is_thin), (thick, "amax", ~is_thin)):
            own = inside & which[:, None]
            flat = torch.as_tensor(np.ravel_multi_index(tuple(index[own].T), grid.shape), device=device)
            out.scatter_reduce_(0, flat, torch.as_tensor(share[own].astype(np.float32), device=device), way)
    return torch.maximum(thick, thin.clamp_(max=1)).reshape(grid.shape)


def _close_points(vessels: list[Vessel], step_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points along all vessels at most a step apart, the radii there, and the length each stands for."""
    points, radii = (np.concatenate([getattr(v, name) for v in vessels]) for name in ("points", "radii"))
    sizes = np.array([len(v.points) for v in vessels])
    ends = np.cumsum(sizes) - 1
    # all vessels on one line, each from its own beginning to its end
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    first, last = along[ends - sizes + 1], along[ends]
    counts = ((last - first) / step_mm).astype(int) + 2
    number = np.repeat(np.arange(len(vessels)), counts)
    place = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first[number] + (last - first)[number] * place / (counts[number] - 1)
    close = np.stack([np.interp(at, along, axis) for axis in points.T], 1)
    return close, np.interp(at, along, radii), ((last - first) / counts)[number]
