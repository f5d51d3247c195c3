"""Frangi's ridge filter in two dimensions, for a whole stack of slices at once (Frangi et al., MICCAI 1998, eqs. 13–15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..core.threads import for_each, parts

_BLOCK = 16  # voxels of a line that one product makes
_BATCH = 2  # slices at a time on a CPU: what they need stays in its cache


def gaussian_derivative(sigma: float, order: int, truncate: float = 4.0) -> torch.Tensor:
    """The 1-D Gaussian (order 0), its first or second derivative, sampled at integer voxels, float32.

    sigma in voxels. Moments are corrected on the discrete grid, so that a constant has no derivative and x² has 2.
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
    """Second derivatives of slices at one scale, times sigma²; beyond the edge a slice is taken to go on as it ends.

    A block of a line, with what the kernel reaches on both sides, times a small band matrix: a few dozen products a voxel, as
    a convolution, but run as matrix products, which are many times faster than one-channel convolutions.
    """

    def __init__(self, sigma: float, device: torch.device):
        kernels = [gaussian_derivative(sigma, order) * sigma**order for order in (0, 1, 2)]
        self.radius = kernels[0].numel() // 2
        width = _BLOCK + 2 * self.radius
        bands = torch.zeros(3, _BLOCK, width)
        for n in range(_BLOCK):
            bands[:, n, n : n + kernels[0].numel()] = torch.stack(kernels)
        self.across = bands.reshape(-1, width).T.contiguous().to(device)  # (width, 3·block): along a row, all three at once
        self.down = bands.flip(0).to(device)  # along a column: second where the row was smoothed, and so on

    def __call__(self, slices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(n, rows, columns) → along rows twice, mixed, along columns twice: each of the same shape."""
        n, rows, columns = slices.shape
        radius, width = self.radius, _BLOCK + 2 * self.radius
        more_rows, more_columns = -rows % _BLOCK, -columns % _BLOCK
        edges = (radius, radius + more_columns, radius, radius + more_rows)
        padded = torch.nn.functional.pad(slices[:, None], edges, mode="replicate")[:, 0]
        high, wide = rows + more_rows, columns + more_columns
        lines = padded.unfold(2, width, _BLOCK) @ self.across  # (n, rows + margin, blocks, 3·block)
        lines = lines.view(n, high + 2 * radius, wide // _BLOCK, 3, _BLOCK).permute(3, 0, 1, 2, 4).reshape(3, n, -1, wide)
        stride = lines.stride()
        blocks = lines.as_strided(  # (3, n, blocks, width, columns), overlapping
            (3, n, high // _BLOCK, width, wide), (stride[0], stride[1], _BLOCK * stride[2], stride[2], 1)
        )
        made = [(self.down[order] @ blocks[order]).view(n, high, wide)[:, :rows, :columns] for order in (0, 1, 2)]
        return made[0], made[1], made[2]


def _measures(stack: torch.Tensor, sigma: float, use: Callable[[slice, torch.Tensor, torch.Tensor, torch.Tensor], None]) -> None:
    """Give ``use``, for a few slices at a time, which they are, and of their Hessians half the trace, half the difference of the
    eigenvalues squared, and the norm squared.
    """
    derivatives = Derivatives(sigma, stack.device)

    def work(part: slice) -> None:
        along_rows, mixed, along_columns = derivatives(stack[part])
        mean = (along_rows + along_columns) * 0.5
        half = along_columns.sub(mean).square_().addcmul_(mixed, mixed)
        use(part, mean, half, (mean.square() + half).mul_(2.0))

    if stack.device.type == "cpu":
        for_each(work, parts(len(stack), _BATCH))
    else:
        for part in parts(len(stack), 32):
            work(part)


def _ratio(mean: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """(λ1 / λ2)², |λ1| ≤ |λ2|: 0 on a line, 1 in a blob."""
    mean, half = mean.abs(), half.sqrt()
    return ((mean - half) / (mean + half).clamp_min_(1e-12)).square_()


def _scaled(slices: np.ndarray | torch.Tensor) -> torch.Tensor:
    stack = torch.as_tensor(np.ascontiguousarray(slices) if isinstance(slices, np.ndarray) else slices).float()
    low, high = torch.aminmax(stack)
    return stack / max(abs(float(low)), abs(float(high)), 1e-12)


def ridgeness(
    slices: np.ndarray | torch.Tensor,
    sigmas: Sequence[float] = (1.0, 2.0),
    beta: float = 0.5,
    structure: float | None = None,
) -> torch.Tensor:
    """Frangi's measure, largest over scales, for bright and dark ridges alike.

    slices: (n, rows, columns), any real dtype; in-plane voxels must be square (sigma is in voxels).
    beta: sensitivity to blobs. structure: Frangi's c, sensitivity to contrast; None takes half of the largest Hessian
    norm of the whole stack, one value for all slices, so that an empty slice gives no edges of noise.
    Returns float32 (n, rows, columns) in [0, 1].
    """
    stack = _scaled(slices)
    best = torch.zeros_like(stack)
    for sigma in sigmas:
        ratio, norm = torch.empty_like(best), torch.empty_like(best)

        def keep(part, mean, half, squared, ratio=ratio, norm=norm) -> None:
            ratio[part], norm[part] = _ratio(mean, half), squared

        _measures(stack, sigma, keep)
        c2 = (float(norm.max()) / 4 if structure is None else structure**2) or 1.0
        best = torch.maximum(best, torch.exp(ratio / (-2 * beta**2)) * (1 - torch.exp(norm / (-2 * c2))))
    return best


def structure(slices: np.ndarray | torch.Tensor, sigma: float) -> float:
    """Frangi's c at one scale as ``ridgeness`` takes it: half of the stack's largest Hessian norm, its largest value being 1."""
    norms: list[float] = []
    _measures(_scaled(slices), sigma, lambda part, mean, half, squared: norms.append(float(squared.max())))
    return max(norms) ** 0.5 / 2


def ridges(slices: np.ndarray | torch.Tensor, threshold: float, sigmas: Sequence[float] = (1.0, 2.0), beta: float = 0.5) -> np.ndarray:
    """Where ``ridgeness`` is above a threshold in [0, 1): boolean (n, rows, columns).

    The measure is worked out only where the Hessian is strong enough for it, a few voxels in a hundred.
    """
    stack = _scaled(slices)
    found = torch.zeros(stack.shape, dtype=torch.bool, device=stack.device)
    flat = found.view(-1)
    least = -0.5 * math.log1p(-threshold)  # of norm / largest norm, since c² is a quarter of that
    for sigma in sigmas:
        norms, kept = [0.0], []

        def keep(part, mean, half, squared, norms=norms, kept=kept) -> None:
            norms.append(float(squared.max()))
            place = (squared > least * max(norms)).view(-1).nonzero()[:, 0]  # too many while larger norms are still to come
            values = [values.reshape(-1)[place] for values in (squared, mean, half)]
            kept.append((place + part.start * stack[0].numel(), *values))

        _measures(stack, sigma, keep)
        c2 = max(norms) / 4 or 1.0
        for place, squared, mean, half in kept:
            measure = torch.exp(_ratio(mean, half) / (-2 * beta**2)) * (1 - torch.exp(squared / (-2 * c2)))
            flat[place[measure > threshold]] = True
    return found.cpu().numpy()
