"""Frangi's ridge filter in two dimensions, for a stack of slices at once (Frangi et al., MICCAI 1998)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..core.threads import for_each, parts

_BLOCK = 16  # voxels of a line that one product makes
_BATCH, _BATCH_GPU = 2, 32  # slices at a time: on a CPU, what they need stays in its cache
_TINY = 1e-12


def gaussian_derivative(sigma: float, order: int, truncate: float = 4.0) -> torch.Tensor:
    """A Gaussian, its first or its second derivative, sampled at integer voxels.

    Moments are corrected on the discrete grid, so that a constant has no derivative and x² has 2.

    Parameters
    ----------
    sigma : float
        Voxels.
    order : {0, 1, 2}
    truncate : float
        Reach of the kernel in sigmas.

    Returns
    -------
    torch.Tensor, 1-D of odd length, float32
    """
    radius = max(1, int(np.ceil(truncate * sigma)))
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    g = np.exp(-0.5 * (x / sigma) ** 2)
    g /= g.sum()
    if order == 1:
        g = x * g
        g /= (x * g).sum()
    elif order == 2:
        g = (x**2 / sigma**2 - 1) * g
        g -= g.mean()
        g /= 0.5 * (x**2 * g).sum()
    return torch.from_numpy(g).float()


class Derivatives:
    """Second derivatives of slices at one scale, times sigma²; beyond the edge a slice goes on as it ends.

    A block of a line, with what the kernel reaches on both sides, times a small band matrix: a few dozen
    products a voxel, as a convolution, but run as matrix products, which are many times faster than
    one-channel convolutions.

    Parameters
    ----------
    sigma : float
        Voxels.
    device : torch.device
        Of the slices.
    """

    def __init__(self, sigma: float, device: torch.device):
        kernels = [gaussian_derivative(sigma, order) * sigma**order for order in (0, 1, 2)]
        self.radius = kernels[0].numel() // 2
        width = _BLOCK + 2 * self.radius
        bands = torch.zeros(3, _BLOCK, width)
        for n in range(_BLOCK):
            bands[:, n, n : n + kernels[0].numel()] = torch.stack(kernels)
        # (width, 3·block): along a row, all three orders at once
        self.across = bands.reshape(-1, width).T.contiguous().to(device)
        # (3, block, width): along a column, the second derivative where the row was smoothed, and so on
        self.down = bands.flip(0).to(device)

    def __call__(self, slices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Derivatives along rows twice, mixed, and along columns twice.

        Parameters
        ----------
        slices : torch.Tensor, shape (n, rows, columns), float32

        Returns
        -------
        tuple of three torch.Tensor, each of the shape of ``slices``
        """
        n, rows, columns = slices.shape
        radius, width = self.radius, _BLOCK + 2 * self.radius
        # whole blocks with a margin on every side
        more_rows, more_columns = -rows % _BLOCK, -columns % _BLOCK
        high, wide = rows + more_rows, columns + more_columns
        edges = (radius, radius + more_columns, radius, radius + more_rows)
        padded = torch.nn.functional.pad(slices[:, None], edges, mode="replicate")[:, 0]
        # along rows: (n, rows + margin, blocks, 3·block), then order first and blocks side by side
        lines = padded.unfold(2, width, _BLOCK) @ self.across
        lines = lines.view(n, high + 2 * radius, wide // _BLOCK, 3, _BLOCK)
        lines = lines.permute(3, 0, 1, 2, 4).reshape(3, n, -1, wide)
        # along columns: (3, n, blocks, width, columns), overlapping
        by_order, by_slice, by_row, _ = lines.stride()
        blocks = lines.as_strided(
            (3, n, high // _BLOCK, width, wide), (by_order, by_slice, _BLOCK * by_row, by_row, 1)
        )
        along_rows, mixed, along_columns = (
            (self.down[order] @ blocks[order]).view(n, high, wide)[:, :rows, :columns] for order in (0, 1, 2)
        )
        return along_rows, mixed, along_columns


def ridges(
    slices: torch.Tensor, threshold: float, sigmas: Sequence[float] = (1.0, 2.0), beta: float = 0.5
) -> np.ndarray:
    """Where Frangi's measure (eq. 15), largest over scales, is above a threshold, on bright and dark ridges.

    Frangi's c is half of the largest Hessian norm of the whole stack at a scale, one value for all slices, so
    that an empty slice gives no edges of noise. The measure is worked out only where the Hessian is strong
    enough for it, a few voxels in a hundred.

    Parameters
    ----------
    slices : torch.Tensor, shape (n, rows, columns)
        Square voxels, on any device.
    threshold : float
        0 ≤ threshold < 1.
    sigmas : sequence of float
        Scales in voxels.
    beta : float
        Sensitivity to blobs.

    Returns
    -------
    ndarray, of the shape of ``slices``, bool
    """
    stack = _scaled(slices)
    above = torch.zeros(stack.numel(), dtype=torch.bool, device=stack.device)
    least = -0.5 * math.log1p(-threshold)  # of norm² / largest norm², since c² is a quarter of that
    for sigma in sigmas:
        strong, largest = _strong_hessians(stack, sigma, least)
        c2 = largest / 4 or 1.0
        for voxels, squared, mean, half in strong:
            measure = torch.exp(_ratio(mean, half) / (-2 * beta**2)) * (1 - torch.exp(squared / (-2 * c2)))
            above[voxels[measure > threshold]] = True
    return above.view(stack.shape).cpu().numpy()


def _scaled(slices: torch.Tensor) -> torch.Tensor:
    """float32, the largest absolute value 1."""
    stack = slices.float()
    low, high = torch.aminmax(stack)
    return stack / max(abs(float(low)), abs(float(high)), _TINY)


def _strong_hessians(
    stack: torch.Tensor, sigma: float, least: float
) -> tuple[list[tuple[torch.Tensor, ...]], float]:
    """Voxels whose squared norm is above ``least`` of the largest, in pieces, and the largest.

    A piece holds the flat indices, the Hessians' squared norms, half their traces, and half the differences
    of their eigenvalues squared. There are some too many in it, as larger norms may have come later.
    """
    derivatives = Derivatives(sigma, stack.device)
    norms, strong = [0.0], []

    def work(part: slice) -> None:
        along_rows, mixed, along_columns = derivatives(stack[part])
        mean = (along_rows + along_columns) * 0.5
        half = along_columns.sub(mean).square_().addcmul_(mixed, mixed)
        squared = (mean.square() + half).mul_(2.0)
        norms.append(float(squared.max()))
        voxels = (squared > least * max(norms)).view(-1).nonzero()[:, 0]
        values = [values.reshape(-1)[voxels] for values in (squared, mean, half)]
        strong.append((voxels + part.start * stack[0].numel(), *values))

    if stack.device.type == "cpu":
        for_each(work, parts(len(stack), _BATCH))
    else:
        for part in parts(len(stack), _BATCH_GPU):
            work(part)
    return strong, max(norms)


def _ratio(mean: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """(λ1 / λ2)², |λ1| ≤ |λ2| (R_B²): 0 on a line, 1 in a blob."""
    mean, half = mean.abs(), half.sqrt()
    return ((mean - half) / (mean + half).clamp_min_(_TINY)).square_()
