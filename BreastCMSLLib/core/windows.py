"""Boxes of voxels on a grid, and distances in them.

A box is a tuple of slices, one an axis, with start and stop inside the grid: ``array[box]`` is a view of it.
Indices may be fractional. Grids have perpendicular axes: distances follow from the voxels' spacing alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[slice, ...]


def bounding_box(inside: np.ndarray, margin: int = 0) -> Box:
    """The smallest box that holds a mask's true voxels.

    Parameters
    ----------
    inside
        Boolean, of any number of axes; at least one voxel has to be true.
    margin
        Voxels more on every side, as far as the grid reaches.

    Returns
    -------
    Box
        One slice an axis.
    """
    box = []
    for axis, count in enumerate(inside.shape):
        occupied = np.flatnonzero(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
        box.append(slice(max(int(occupied[0]) - margin, 0), min(int(occupied[-1]) + 1 + margin, count)))
    return tuple(box)


def box_about(
    centre: Sequence[float], reach: Sequence[float] | float, shape: Sequence[int], *, clamp: bool = False
) -> Box | None:
    """The box of the voxels within ``reach`` voxels of an index along every axis.

    Parameters
    ----------
    centre
        Index, may be fractional.
    reach
        Voxels, for each axis or for all alike; may be fractional.
    shape
        Of the grid.
    clamp
        Whether a box outside the grid becomes the grid's nearest voxels instead of none.

    Returns
    -------
    Box or None
        None where no voxel of the grid is within reach.
    """
    low = np.maximum(np.ceil(np.subtract(centre, reach)), 0).astype(int)
    high = np.minimum(np.floor(np.add(centre, reach)) + 1, shape).astype(int)
    if clamp:
        low = np.minimum(low, np.subtract(shape, 1))
        high = np.maximum(high, low + 1)
    elif not (high > low).all():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high))


def whole(shape: Sequence[int]) -> Box:
    """The box that is all of a grid."""
    return tuple(slice(0, int(count)) for count in shape)


def squared_distance(box: Box, centre: Sequence[float], spacing: Sequence[float]) -> np.ndarray:
    """Squared distance of every voxel of a box from a point.

    Parameters
    ----------
    box
        Three slices with start and stop; the start may be negative.
    centre
        Index of the point on the grid that the box is of, may be fractional.
    spacing
        mm along each axis.

    Returns
    -------
    ndarray
        float64, of the box's shape, mm².
    """
    i, j, k = (((np.arange(s.start, s.stop) - c) * step) ** 2 for s, c, step in zip(box, centre, spacing))
    return i[:, None, None] + j[None, :, None] + k[None, None, :]


def distance(box: Box, centre: Sequence[float], spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm of every voxel of a box from a point; see :func:`squared_distance`."""
    return np.sqrt(squared_distance(box, centre, spacing))


def ball(radius_mm: float, spacing: Sequence[float]) -> np.ndarray:
    """A ball as a structuring element.

    Parameters
    ----------
    radius_mm
        A voxel belongs to the ball when its centre is no farther from the middle voxel's.
    spacing
        mm along each axis.

    Returns
    -------
    ndarray
        Boolean, of odd side lengths, the middle voxel in its centre.
    """
    reach = np.floor(radius_mm / np.asarray(spacing)).astype(int)
    box = tuple(slice(-int(r), int(r) + 1) for r in reach)
    return squared_distance(box, (0, 0, 0), spacing) <= radius_mm**2
