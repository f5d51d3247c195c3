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

    Blocks of 44 mm are looked for within 14 mm by correlation of edges; three of four lie no farther off.

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
        mm; None where the breasts are smaller than a block.
    """
    one, other = (edges(part, size_mm) for part in (fixed, moving))
    block, step, reach = (
        [max(1, round(mm / size)) for size in size_mm] for mm in (_BLOCK_MM, _STEP_MM, _REACH_MM)
    )
    starts = [range(0, max(0, n - b) + 1, s) for n, b, s in zip(inside.shape, block, step)]
    off_mm = []
    for corner in product(*starts):
        part = tuple(slice(c, c + b) for c, b in zip(corner, block))
        if inside[part].mean() >= _LEAST_INSIDE and one[part].std() > 0:
            off_mm.append(np.linalg.norm(_offset(one, other, part, reach) * size_mm))
    return float(np.percentile(off_mm, _SHARE)) if off_mm else None


def _offset(one: np.ndarray, other: np.ndarray, part: tuple[slice, ...], reach: Sequence[int]) -> np.ndarray:
    """Where a block of one lies in the other, in voxels from its own place."""
    # the other about the block, and the block with its border faded out and no mean
    wide = [(slice(max(0, s.start - r), s.stop + r), max(0, r - s.start)) for s, r in zip(part, reach)]
    around = other[tuple(s for s, _ in wide)]
    size = [s.stop - s.start + 2 * r for s, r in zip(part, reach)]
    around = np.pad(around, [(low, n - low - m) for (_, low), n, m in zip(wide, size, around.shape)], "edge")
    fading = [np.hanning(s.stop - s.start + 2)[1:-1] for s in part]
    weight = np.einsum("i,j,k->ijk", *fading)
    block = one[part] - np.average(one[part], weights=weight)
    # correlation for shifts within reach, the highest
    spectrum = np.fft.rfftn(around) * np.conj(np.fft.rfftn(block * weight, s=size, axes=(0, 1, 2)))
    near = np.fft.irfftn(spectrum, s=size, axes=(0, 1, 2))[tuple(slice(0, 2 * r + 1) for r in reach)]
    top = np.array(np.unravel_index(int(near.argmax()), near.shape))
    return top + [_vertex(np.moveaxis(near, axis, 0), top, axis) for axis in range(3)] - np.array(reach)


def _vertex(near: np.ndarray, top: np.ndarray, axis: int) -> float:
    """From the highest value along the first axis to the vertex of the parabola through its neighbours."""
    along = near[(slice(None), *np.delete(top, axis))]
    place = top[axis]
    if not 0 < place < len(along) - 1:
        return 0.0
    low, mid, high = (float(v) for v in along[place - 1 : place + 2])
    curve = low - 2 * mid + high
    return 0.5 * (low - high) / curve if curve else 0.0
