"""A small copy of a volume, all that measures need of its voxels. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import BreastCMSLError
from ..core.geometry import Volume, closest_canonical_axes
from ..exam import Phase, check_volume, guess_kind, subtraction_offset

_SKETCH_MM = 2.5
_GLANCE_MM = 4.0


@dataclass(frozen=True, eq=False)
class Sketch:
    """What the check keeps of one volume.

    Parameters
    ----------
    name : str
    problem : str
        Why the volume cannot be used, or "".
    shape, affine : tuple of int, ndarray of shape (4, 4)
        Of the volume; index → RAS mm.
    small : ndarray, [R, A, S], float32
        Block means, or single voxels of a :func:`glance`.
    small_mm : tuple of float
        Its voxel size.
    offset : float
        The scanner's constant, were the volume a subtraction.
    kind_vote : {"phases", "subtractions"}
        What the volume is by its name and values.
    darkest : float
        Its least value.
    """

    name: str
    problem: str
    shape: tuple[int, ...] = ()
    affine: np.ndarray | None = None
    small: np.ndarray | None = None
    small_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    kind_vote: str = "phases"
    darkest: float = 0.0


def sketch(phase: Phase) -> Sketch:
    """Look at every voxel of a volume: is it usable, and a small copy of it.

    Parameters
    ----------
    phase : Phase

    Returns
    -------
    Sketch
        Only its name and ``problem`` where it cannot be used.
    """
    try:
        check_volume(phase)
    except BreastCMSLError as error:
        return Sketch(phase.name, str(error))
    volume = phase.volume
    means = block_sketch(phase)
    return Sketch(
        phase.name,
        "",
        volume.shape,
        volume.affine,
        means.small,
        means.small_mm,
        subtraction_offset(volume.array),
        guess_kind([phase]),
        float(volume.array.min()),
    )


def block_sketch(phase: Phase) -> Sketch:
    """A sketch of a usable volume, of block means; without offset, kind and darkest value."""
    volume = phase.volume
    steps = _steps(volume, _SKETCH_MM)
    small, size = _turned(_block_means(volume.array, steps), volume, steps)
    return Sketch(phase.name, "", volume.shape, volume.affine, small, size)


def glance(phase: Phase) -> Sketch:
    """A rougher sketch, of single voxels, of a usable volume; without offset, kind and darkest value."""
    volume = phase.volume
    steps = _steps(volume, _GLANCE_MM)
    every = tuple(slice(None, None, step) for step in steps)
    small, size = _turned(volume.array[every].astype(np.float32), volume, steps)
    return Sketch(phase.name, "", volume.shape, volume.affine, small, size)


def _steps(volume: Volume, size_mm: float) -> list[int]:
    """Voxels along i, j, k that make about that size."""
    return [max(1, int(size_mm / spacing + 0.5)) for spacing in volume.spacing]


def _turned(
    small: np.ndarray, volume: Volume, steps: Sequence[int]
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A thinned volume with axes along R, A, S, and its voxel size in mm."""
    axes, flips = closest_canonical_axes(volume.affine)
    small = small.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    return np.ascontiguousarray(small), tuple(float(volume.spacing[axis] * steps[axis]) for axis in axes)


def _block_means(array: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Means of blocks of ``steps`` voxels, float32; what does not fill a block at the end is left out."""
    size = [max(1, n // step) for n, step in zip(array.shape, steps)]
    steps = [min(step, n) for n, step in zip(array.shape, steps)]
    total = np.zeros(size, dtype=np.float32)
    for i, j, k in np.ndindex(*steps):
        part = array[i :: steps[0], j :: steps[1], k :: steps[2]]
        total += part[: size[0], : size[1], : size[2]]
    return total / np.float32(np.prod(steps))
