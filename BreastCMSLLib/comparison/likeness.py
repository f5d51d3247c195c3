"""How alike two registered phases are: in all of the breasts, and how far tissue still lies off in places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from ..preprocessing.registration import edges

_BLOCK_MM, _STEP_MM = 44.0, 22.0  # edge of the blocks that are looked at one by one, and between them
_REACH_MM = 14.0  # farthest that a block is looked for
_LEAST_INSIDE = 0.5  # share of a block that lies in the breasts
_LEAST_CORRELATION = 0.5  # of a block where it lies now; less tells nothing
_LEAST_GAIN = 0.05  # by which it is higher there than at the block's own place, or it does not lie off
_FEWEST = 8  # blocks
_SHARE = 75  # percent of the blocks that lie no farther off than the residual; more of them are lost blocks


def likeness(fixed: np.ndarray, moving: np.ndarray, inside: np.ndarray, size_mm: Sequence[float]) -> float:
    """Correlation of edges inside the breasts, −1 to 1; −1 where one of them has none.

    Parameters
    ----------
    fixed, moving : ndarray, [R, A, S]
    inside : ndarray, [R, A, S], bool
        The breasts.
    size_mm : sequence of float
        Of the voxels.
    """
    near = ndimage.binary_dilation(inside, iterations=2)  # the skin, which tells most
    if not near.any():
        return -1.0
    one, other = (edges(part, size_mm)[near] for part in (fixed, moving))
    if not (one.std() > 0 and other.std() > 0):
        return -1.0
    return float(np.corrcoef(one, other)[0, 1])


def residual_mm(
    fixed: np.ndarray, moving: np.ndarray, inside: np.ndarray, size_mm: Sequence[float]
) -> float | None:
    """By how much tissue of the breasts still lies off.

    Blocks of 44 mm are looked for within 14 mm by correlation of edges; of those that are like something
    there, three of four lie no farther off.

    Parameters
    ----------
    fixed, moving : ndarray, [R, A, S]
        Registered to each other.
    inside : ndarray, [R, A, S], bool
        The breasts.
    size_mm : sequence of float
        Of the voxels.

    Returns
    -------
    float or None
        mm; None where too few blocks tell.
    """
    one, other = (edges(part, size_mm) for part in (fixed, moving))
    # voxels of a block, between blocks, and of the search
    block, step, reach = (
        [max(1, round(mm / size)) for size in size_mm] for mm in (_BLOCK_MM, _STEP_MM, _REACH_MM)
    )
    padded = np.pad(other, [(r, r) for r in reach], "edge")
    starts = [range(0, n - b + 1, s) for n, b, s in zip(inside.shape, block, step)]
    off_mm = []
    for corner in product(*starts):
        part = tuple(slice(c, c + b) for c, b in zip(corner, block))
        if inside[part].mean() >= _LEAST_INSIDE:
            offset, correlation = _offset(one[part], padded, corner, reach)
            if correlation >= _LEAST_CORRELATION:
                off_mm.append(float(np.linalg.norm(offset * size_mm)))
    return float(np.percentile(off_mm, _SHARE)) if len(off_mm) >= _FEWEST else None


def _offset(
    block: np.ndarray, padded: np.ndarray, corner: Sequence[int], reach: Sequence[int]
) -> tuple[np.ndarray, float]:
    """Where a block lies in a padded array, in voxels from its own place, and how alike it is there."""
    # what lies about its place, and the block with its border faded out and no mean
    around = padded[tuple(slice(c, c + n + 2 * r) for c, n, r in zip(corner, block.shape, reach))]
    weight = np.einsum("i,j,k->ijk", *(np.hanning(n + 2)[1:-1] for n in block.shape))
    block = block - np.average(block, weights=weight)
    # correlation for shifts within reach, the highest
    spectrum = np.fft.rfftn(around) * np.conj(np.fft.rfftn(block * weight, s=around.shape, axes=(0, 1, 2)))
    near = np.fft.irfftn(spectrum, s=around.shape, axes=(0, 1, 2))[tuple(slice(0, 2 * r + 1) for r in reach)]
    top = np.array(np.unravel_index(int(near.argmax()), near.shape))
    offset = top + [_vertex(near, top, axis) for axis in range(3)] - np.array(reach)

    def alike(place: Sequence[int]) -> float:
        there = around[tuple(slice(p, p + n) for p, n in zip(place, block.shape))]
        there = there - np.average(there, weights=weight)
        norm = np.sqrt(np.sum(weight * block**2) * np.sum(weight * there**2))
        return float(near[tuple(place)] / norm) if norm > 0 else 0.0

    # skin is alike all along itself
    best, here = alike(top), alike(reach)
    return (offset, best) if best - here >= _LEAST_GAIN or np.abs(offset).max() < 1 else (0 * offset, here)


def _vertex(near: np.ndarray, top: np.ndarray, axis: int) -> float:
    """From the highest value to the vertex of the parabola through it and its neighbours along an axis."""
    place = top[axis]
    if not 0 < place < near.shape[axis] - 1:
        return 0.0
    step = np.eye(3, dtype=int)[axis]
    low, mid, high = (float(near[tuple(top + n * step)]) for n in (-1, 0, 1))
    curve = low - 2 * mid + high
    return 0.5 * (low - high) / curve if curve else 0.0
