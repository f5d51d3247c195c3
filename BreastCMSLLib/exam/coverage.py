"""What of the breasts a grid shows: both of them, and as much as outlining them takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.geometry import apply_affine, closest_canonical_axes, extent_mm, spacing_of

WHOLE_T1 = 0.98  # share of where the breasts lie from which a T1 shows all of them
_LEAST_T1 = 0.9  # share that is accepted where the dynamic volumes are subtractions
_BOTH_BREASTS_MM = 230.0  # an exam that is less wide holds one
_AIR_MM = (20.0, 20.0, 5.0)  # around the breasts: at either side, in front, at either end
_SAMPLES = 40  # points along each axis at which the breasts are looked for


def wide_enough_for_both(shape: Sequence[int], affine: np.ndarray) -> bool:
    """Whether a grid (its size, and index → RAS mm) is wide enough for both breasts."""
    return extent_mm(shape, affine)[0] >= _BOTH_BREASTS_MM


def t1_share_needed(subtractions: bool) -> float:
    """Share of where the breasts lie that a T1 must show to outline them.

    What it does not show is left out of the mask. Subtractions alone outline the breasts worse, so that there
    a little less is accepted.

    Parameters
    ----------
    subtractions
        Whether the dynamic volumes are subtractions.

    Returns
    -------
    float
        0–1, to be compared with :func:`breasts_covered`.
    """
    return _LEAST_T1 if subtractions else WHOLE_T1


def breasts_covered(
    shape: Sequence[int], affine: np.ndarray, other_shape: Sequence[int], other_affine: np.ndarray
) -> float:
    """Share of where the breasts lie in a breast MRI that another grid reaches.

    They lie in the front half of the MRI's grid, but for the air around them. A T1 may well be narrower than
    the dynamic volumes, and need not reach to the back.

    Parameters
    ----------
    shape, affine
        Of the MRI's grid; index → RAS mm.
    other_shape, other_affine
        Of the other grid, the T1's for one.

    Returns
    -------
    float
        0–1.
    """
    axes, flips = closest_canonical_axes(affine)
    spacing = spacing_of(affine)
    ranges = [np.zeros(1)] * 3
    for role, (axis, flip) in enumerate(zip(axes, flips)):
        middle = (shape[axis] - 1) / 2
        reach = max(shape[axis] / 2 - _AIR_MM[role] / spacing[axis], 0.5)
        low, high = middle - reach, middle + reach
        if role == 1:  # the front half; an axis that is flipped runs from front to back
            low, high = (low, middle) if flip else (middle, high)
        ranges[axis] = low + (np.arange(_SAMPLES) + 0.5) / _SAMPLES * (high - low)
    points = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    index = apply_affine(np.linalg.inv(other_affine), apply_affine(affine, points))
    return float(np.mean(((index >= -0.5) & (index <= np.array(other_shape) - 0.5)).all(axis=1)))
