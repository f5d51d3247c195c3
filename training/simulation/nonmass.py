"""Non-mass enhancement: clumps along ducts, in a segment behind the nipple or scattered over a region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import Grid
from .points import Window, evenly_spread, fine_points, voxel_means
from .subtypes import DrawnMarks


@dataclass(frozen=True)
class Clumps:
    """Balls whose union has the volume of a sphere of radius 1 and its centroid at the origin.

    Attributes
    ----------
    places : numpy.ndarray
        (n, 3) along the direction to the nipple and two directions across it.
    radii, factors : numpy.ndarray
        (n,) of the balls, and of the concentration in them.
    """

    places: np.ndarray
    radii: np.ndarray
    factors: np.ndarray


def draw_clumps(marks: DrawnMarks, rng: np.random.Generator) -> Clumps:
    """The clumps of a lesion.

    Of the log radius of clumps the standard deviation is half of the irregularity; the
    heterogeneity is that of the log concentration.

    Parameters
    ----------
    marks : DrawnMarks
        Pattern and marks.
    rng : numpy.random.Generator
        Of the places.
    """
    places = {"ductal": _along_ducts, "segmental": _in_a_cone, "regional": _in_a_region}[marks.pattern](rng)
    uneven, mixed = marks["irregularity"], marks["heterogeneity"]
    radii = np.exp(0.5 * uneven * rng.standard_normal(len(places)))
    factors = np.exp(mixed * rng.standard_normal(len(places)) - mixed**2 / 2)
    volume, centroid = _union(places, radii)
    scale = (4 / 3 * np.pi / volume) ** (1 / 3)
    return Clumps((places - centroid) * scale, radii * scale, factors)


def _along_ducts(rng: np.random.Generator) -> np.ndarray:
    """A duct that leaves the nipple and branches, as a string of beads of radius 1."""
    places = []
    for branch in range(int(rng.integers(3, 6))):
        length = rng.uniform(14, 22)
        along = np.arange(0, length, 1.1)
        fans, roll = rng.uniform(0.10, 0.38) * (branch > 0), rng.uniform(0, 2 * np.pi)
        forks = rng.uniform(0.1, 0.5) * length * (branch > 0)  # on the trunk
        across = np.clip(along - forks, 0, None) * np.tan(fans)
        sway = rng.uniform(0.3, 1.0, 2)[:, None] * np.sin(
            along / rng.uniform(2.0, 4.0, (2, 1)) + rng.uniform(0, 2 * np.pi, (2, 1))
        )
        beads = np.stack([-along, across * np.cos(roll) + sway[0], across * np.sin(roll) + sway[1]], 1)
        places.append(beads[along >= forks])
    return np.concatenate(places) + rng.normal(0, 0.15, (sum(map(len, places)), 3))


def _in_a_cone(rng: np.random.Generator) -> np.ndarray:
    """A duct system: a cone with its apex towards the nipple, about half filled."""
    height, opening = rng.uniform(13, 18), rng.uniform(0.26, 0.40)
    # uniform over the volume of the cone, flattened a little
    count = int(rng.integers(60, 95))
    along = height * rng.uniform(0.02, 1, count) ** (1 / 3)
    across = along * opening * np.sqrt(rng.uniform(0, 1, count))
    roll, flat = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.6, 1.0)
    return np.stack([-along, across * np.cos(roll), flat * across * np.sin(roll)], 1)


def _in_a_region(rng: np.random.Generator) -> np.ndarray:
    """An area without regard to ducts, a third filled."""
    count = int(rng.integers(80, 130))
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    distance = rng.uniform(6.0, 8.0) * rng.uniform(0, 1, (count, 1)) ** (1 / 3)
    return direction * distance * np.exp(rng.normal(0, 0.25, 3))


def _union(places: np.ndarray, radii: np.ndarray) -> tuple[float, np.ndarray]:
    """Volume and centroid of the union of balls: every point counts by the number of balls that hold it."""
    depth = ((np.arange(96) + 0.5) / 96) ** (1 / 3)
    order = np.random.default_rng(96).permutation(96)  # the spiral's height must not go with the depth
    points = places[:, None] + radii[:, None, None] * evenly_spread(96) * depth[order, None]
    points = points.reshape(-1, 3)
    apart2 = (points**2).sum(1)[:, None] - 2 * points @ places.T + (places**2).sum(1)
    held = np.maximum((apart2 < radii**2).sum(1), 1)
    weights = np.repeat(4 / 3 * np.pi * radii**3 / 96, 96) / held
    return float(weights.sum()), (weights[:, None] * points).sum(0) / weights.sum()


def rasterise(
    clumps: Clumps, radius_mm: float, centre: np.ndarray, towards: np.ndarray, grid: Grid
) -> tuple[Window, np.ndarray, np.ndarray]:
    """Clumps on a grid.

    Parameters
    ----------
    clumps : Clumps
        Of the lesion.
    radius_mm : float
        Of the sphere of the lesion's volume.
    centre, towards : numpy.ndarray
        (3,) mm of its centroid, and the direction to the nipple.
    grid : Grid
        That it is laid on.

    Returns
    -------
    window : tuple of slice
        Of the grid.
    fraction, modulation : numpy.ndarray
        float32 on the window: share of the voxel that is lesion, and factor of the concentration there.
    """
    towards = towards / np.linalg.norm(towards)
    across = np.cross(towards, [0.0, 0.0, 1.0] if abs(towards[2]) < 0.9 else [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    places = radius_mm * clumps.places @ np.stack([towards, across, np.cross(towards, across)])
    radii = radius_mm * clumps.radii
    reach = float((np.abs(places).max(1) + radii).max()) + grid.spacing[0]
    window, points, blocks = fine_points(centre, reach, grid)
    edge = grid.spacing[0] / blocks[1]
    # a soft edge adds volume to a small ball; a smaller radius takes it away
    radii = radii - np.minimum(edge**2 / (12 * radii), 0.4 * radii)
    union = np.zeros([len(p) for p in points], np.float32)
    weight, weighted = np.zeros_like(union), np.zeros_like(union)
    for place, radius, factor in zip(places, radii, clumps.factors):
        near = radius + edge
        part = tuple(slice(*np.searchsorted(p, (c - near, c + near))) for p, c in zip(points, place))
        x, y, z = (p[w] - c for p, w, c in zip(points, part, place))
        distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
        filled = np.clip((radius - distance) / edge + 0.5, 0, 1)
        union[part] = np.maximum(union[part], filled)
        weight[part] += filled
        weighted[part] += factor * filled
    weighted *= union / np.maximum(weight, 1e-6)
    return window, *voxel_means(union, weighted, blocks)
