"""How far the breasts moved between volumes. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from .sketch import Sketch
from .tissue import body_of

MOVED_MM = 2.0  # more than that is told, and registered
_BREAST_DEPTH_MM = 90.0
_FEWEST = 8  # voxels along each axis that are compared
_KNOWN: WeakKeyDictionary[Sketch, WeakKeyDictionary[Sketch, float]] = WeakKeyDictionary()
_FRONTS: WeakKeyDictionary[Sketch, _Front] = WeakKeyDictionary()  # of those that others were compared with


def largest_displacement(first: Sketch, others: Sequence[Sketch]) -> tuple[int, float]:
    """The volume in which the breasts moved farthest from the first: its index in ``others``, and mm."""
    moved = [displacement_mm(first, other) for other in others]
    farthest = int(np.argmax(moved))
    return farthest, moved[farthest]


def displacement_mm(a: Sketch, b: Sketch) -> float:
    """How far the breasts moved from one volume to the other, by cross-correlation of edges.

    The larger displacement of both sides counts. Edges, because contrast agent changes brightness; only the
    front of the body, because the heart beats. Remembered while both sketches live, because a user who tries
    orders asks for the same pairs again.

    Parameters
    ----------
    a, b : Sketch
        On one grid.

    Returns
    -------
    float
        mm.
    """
    known = _KNOWN.setdefault(a, WeakKeyDictionary())
    if b not in known:
        known[b] = _displacement_mm(a, b)
    return known[b]


@dataclass(frozen=True)
class _Front:
    """The front of a body, with which other volumes are compared.

    Parameters
    ----------
    rows : slice
        Of the sketch.
    sides : tuple of (slice, ndarray)
        Of each side that is large enough: where it lies, and the conjugate spectrum of its edges.
    """

    rows: slice
    sides: tuple[tuple[slice, np.ndarray], ...]

    @classmethod
    def of(cls, sketch: Sketch) -> _Front:
        rows = _front_rows(body_of(sketch.small), sketch.small_mm[1])
        front = sketch.small[:, rows, :]
        if min(front.shape) < 2:  # no edges to compare
            return cls(rows, ())
        edges, middle = _edges(front, sketch.small_mm), len(front) // 2
        halves = (slice(0, middle), slice(middle, None))
        sides = [half for half in halves if min(edges[half].shape) >= _FEWEST]
        return cls(rows, tuple((half, np.conj(np.fft.rfftn(edges[half]))) for half in sides))


def _displacement_mm(a: Sketch, b: Sketch) -> float:
    if (front := _FRONTS.get(a)) is None:
        front = _FRONTS[a] = _Front.of(a)
    moving = b.small[:, front.rows, :]
    if not front.sides or min(moving.shape) < 2:
        return 0.0
    edges = _edges(moving, a.small_mm)
    moved = [_shift(spectrum, edges[half]) * np.array(a.small_mm) for half, spectrum in front.sides]
    return max(float(np.linalg.norm(one)) for one in moved)


def _front_rows(body: np.ndarray, step_mm: float) -> slice:
    """Indices j from the front edge of a body backwards by the depth of a breast; none without a body."""
    along = body.sum(axis=(0, 2))
    occupied = np.flatnonzero(along > 0.01 * max(1, along.max()))
    if not occupied.size:
        return slice(0, 0)
    front = int(occupied[-1])
    return slice(max(0, front - int(_BREAST_DEPTH_MM / step_mm)), front + 1)


def _edges(small: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Gradient magnitude of the square root (which evens out bright vessels), faded out at the borders."""
    values = np.sqrt(np.clip(small, 0, None))
    magnitude = np.sqrt(sum(g * g for g in np.gradient(values, *size)))
    magnitude = np.minimum(magnitude, float(np.percentile(magnitude, 99)))
    for axis, n in enumerate(magnitude.shape):
        shape = [1, 1, 1]
        shape[axis] = n
        fading = np.minimum(1.0, 8 * np.sin(np.pi * (np.arange(n) + 0.5) / n))
        magnitude = magnitude * fading.reshape(shape)
    return magnitude - magnitude.mean()


def _shift(spectrum: np.ndarray, other: np.ndarray, reach: int = 8) -> np.ndarray:
    """Displacement (3,) at the maximum of the cross-correlation, in voxels and fractions of them.

    ``spectrum``: conjugate, of what the other has moved from.
    """
    # the correlation for shifts within reach
    correlation = np.fft.irfftn(np.fft.rfftn(other) * spectrum, s=other.shape, axes=(0, 1, 2))
    reaches = [min(reach, n // 2 - 1) for n in other.shape]
    near = correlation[np.ix_(*[np.arange(-r, r + 1) for r in reaches])]
    # its maximum, and the vertex of a parabola through it and its neighbours along each axis
    top = np.array(np.unravel_index(int(near.argmax()), near.shape))
    fine = np.zeros(3)
    for axis in range(3):
        if 0 < top[axis] < near.shape[axis] - 1:
            step = np.eye(3, dtype=int)[axis]
            low, mid, high = (float(near[tuple(top + k * step)]) for k in (-1, 0, 1))
            curve = low - 2 * mid + high
            fine[axis] = 0.5 * (low - high) / curve if curve else 0.0
    return top - np.array(reaches) + fine
