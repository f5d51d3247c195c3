"""The outline of a candidate's body along rays from its middle, and its inside under that outline.

Whether a lesion is smooth, lobed or spiculated is a matter of a millimetre, and voxels are two of them wide.
But a voxel at the surface is lesion in part, and how bright it is tells what part: radii that integrate this
share are known to a fraction of a voxel. Their deviations from an ellipsoid are taken apart into waves of few
or many bumps around the lesion, and their percentiles tell of spicules, which are rare and long. Inside,
brightness is compared with what is usual at the same share of the way to the surface: a rim is one feature,
unevenness another.
"""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
from scipy import ndimage

RAYS = 128
STEP_MM = 0.5
FARTHEST_MM = 24.0
ELLIPSOID = 2  # degree of the waves up to which they only move, stretch or turn the outline
WAVES = ((1, 2), (3, 4), (5, 8))  # degrees whose powers are features
SHARES = (2, 10, 90, 98)  # percentiles of the deviations
TIPS = (0.25, 0.5)  # heights at which a ray leaves the lesion: spicules are thinner than voxels
BEYOND = ((1.1, 1.4), (1.4, 1.8))  # shells outside the ellipsoid, in its radii
UNDER = (0.7, 0.95)  # likewise, the shell under its surface
WAY = (0.0, 0.3, 0.5, 0.65, 0.8, 0.95)  # borders of the layers, shares of the way to the surface
INNER = 0.8  # likewise, how far in voxels tell how uneven it is
FEWEST = 12  # of those voxels
_LEAST = 0.05  # of the exam's scale: no division by less enhancement
_LEAST_POWER = 1e-4  # of the logarithm of the radius
_FACES = ndimage.generate_binary_structure(3, 1)


class Outline:
    """A candidate's body seen from its middle.

    Parameters
    ----------
    early, late : ndarray of float32, shape (LR, AP, SI)
        Mean enhancement of the early and of the late phases, on a window.
    body : ndarray of bool, shape (LR, AP, SI)
        Its bright region, a dark middle filled; not empty.
    allowed : ndarray of bool, shape (LR, AP, SI)
        The breast mask.
    spacing : ndarray, shape (3,)
        mm.
    background : float
        Early enhancement around it.
    """

    def __init__(
        self,
        early: np.ndarray,
        late: np.ndarray,
        body: np.ndarray,
        allowed: np.ndarray,
        spacing: np.ndarray,
        background: float,
    ):
        self.early, self.late, self.spacing = early, late, np.asarray(spacing, dtype=np.float64)
        self.middle = np.argwhere(body).mean(axis=0)
        self.along = np.arange(STEP_MM / 2, FARTHEST_MM, STEP_MM)
        # the share of each voxel that is lesion: all of it under the surface
        self.height = max(float(np.percentile(early[body], 75)) - background, _LEAST)
        share = np.clip((early - background) / self.height, 0, 1)
        share[ndimage.binary_erosion(body, _FACES)] = 1
        share *= allowed
        self.share = self.on_rays(share)
        # radii of the same volume, r³/3 = ∫ share r² dr, of what lies at the body
        own = self.on_rays(share * ndimage.binary_dilation(body, _FACES, iterations=2))
        self.radii = np.cbrt(np.maximum(3 * own @ self.along**2 * STEP_MM, STEP_MM**3))
        self.radius = float(np.cbrt((self.radii**3).mean()))
        # and of the ellipsoid nearest to them
        functions, degrees = waves()
        low = functions[:, degrees <= ELLIPSOID]
        self.ellipsoid = self.radius * np.exp(low @ (low.T @ np.log(self.radii / self.radius)))

    def on_rays(self, image: np.ndarray) -> np.ndarray:
        """(rays, steps) values of an image of the window, 0 outside it."""
        steps = directions().T[:, :, None] * self.along / self.spacing[:, None, None]
        points = (self.middle[:, None, None] + steps).reshape(3, -1)
        values = ndimage.map_coordinates(image.astype(np.float32), points, order=1, mode="constant")
        return values.reshape(RAYS, -1)

    @cached_property
    def shape(self) -> dict[str, float]:
        """Features of the surface and of what lies at it."""
        features = {"radius of the outline (log)": float(np.log(self.radius / 10.0))}
        features |= _wave_powers("outline", self.radii / self.radius)
        features |= _percentiles("outline against an ellipsoid", np.log(self.radii / self.ellipsoid))
        for level in TIPS:
            name, tips = f"tips at {level:g} of the height", self._tips(level)
            features |= _wave_powers(name, tips / self.radius)
            features |= _percentiles(f"{name} against an ellipsoid", np.log(tips / self.ellipsoid))
            features[f"{name}, farthest"] = float(np.log(np.percentile(tips, SHARES[-1]) / self.radius))
        way, volume = self.along / self.ellipsoid[:, None], float((self.ellipsoid**3).sum()) / 3

        def part(values: np.ndarray, shell: tuple[float, float]) -> float:
            held = values * ((way >= shell[0]) & (way < shell[1]))
            return float((held @ self.along**2).sum()) * STEP_MM / volume

        features |= {f"lesion from {shell[0]:g} radii on": part(self.share, shell) for shell in BEYOND}
        features["missing under the surface"] = part(1 - self.share, UNDER)
        edge = self._steepness()
        return features | {"steepness of the edge": float(edge.mean()), "its spread": float(edge.std())}

    def _tips(self, level: float) -> np.ndarray:
        """(rays,) mm at which each ray first falls below a share of the height, seen from inside."""
        below = (self.share < level) & (self.along >= 0.6 * self.radii[:, None])
        first = np.where(below.any(axis=1), below.argmax(axis=1), len(self.along) - 1)
        # between two steps
        rows, before = np.arange(RAYS), np.maximum(first - 1, 0)
        above, under = self.share[rows, before], self.share[rows, first]
        part = (above - level) / np.maximum(above - under, 1e-6)
        return self.along[before] + STEP_MM * np.clip(part, 0, 1)

    def _steepness(self) -> np.ndarray:
        """(rays,) fall of the early enhancement at the surface, shares of the height per mm."""
        early, rows = self.on_rays(self.early), np.arange(RAYS)
        at = np.clip((self.radii / STEP_MM).astype(int), 2, len(self.along) - 3)
        return (early[rows, at - 2] - early[rows, at + 2]) / (4 * STEP_MM * self.height)

    @cached_property
    def inside(self) -> dict[str, float]:
        """Features of the inside: brightness by layer, and how uneven it is beside rim and slope."""
        offsets = (np.indices(self.early.shape).reshape(3, -1).T - self.middle) * self.spacing
        distance = np.linalg.norm(offsets, axis=1)
        near = distance < WAY[-1] * self.radii.max()
        offsets, distance = offsets[near], distance[near]
        way = distance / self.radii[(offsets @ directions().T).argmax(axis=1)]
        images = {"early": self.early.reshape(-1)[near], "late": self.late.reshape(-1)[near]}
        features: dict[str, float] = {}
        for name, values in images.items():
            features |= _layers(name, values, way)
        names = ("unevenness", "unevenness of the late phases", "unevenness that lasts")
        inner = way < INNER
        if inner.sum() < FEWEST:
            return features | dict.fromkeys(names, 0.0)
        # logarithms less a cubic along the way out and a slope across
        trend = [way[inner] ** n for n in range(4)] + [*(offsets[inner] / self.radius).T]
        trend = np.linalg.qr(np.stack(trend, axis=1))[0]
        logs = [np.log(np.maximum(values[inner], _LEAST)) for values in images.values()]
        early, late = (values - trend @ (trend.T @ values) for values in logs)
        # noise differs between phases, tissue does not
        lasting = float(np.sqrt(max(float((early * late).mean()), 0.0)))
        return features | dict(zip(names, (float(early.std()), float(late.std()), lasting)))


@cache
def directions() -> np.ndarray:
    """(rays, 3) unit vectors, evenly spread on a golden spiral."""
    n = np.arange(RAYS) + 0.5
    height, turn = 1 - 2 * n / RAYS, n * np.pi * (1 + 5**0.5)
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)


@cache
def waves() -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal functions on the rays, (rays, functions), and the degree of each.

    Polynomials in the components of the direction, those of a degree orthogonal to all of lower ones: what
    spherical harmonics are on the whole sphere.
    """
    unit, functions, degrees = directions(), np.zeros((RAYS, 0)), []
    for degree in range(WAVES[-1][1] + 1):
        powers = [(a, b, degree - a - b) for a in range(degree + 1) for b in range(degree + 1 - a)]
        monomials = np.stack([(unit**power).prod(axis=1) for power in powers], axis=1)
        monomials -= functions @ (functions.T @ monomials)
        new = np.linalg.svd(monomials, full_matrices=False)[0][:, : 2 * degree + 1]
        functions, degrees = np.hstack([functions, new]), degrees + [degree] * (2 * degree + 1)
    return functions, np.array(degrees)


def _wave_powers(name: str, radii: np.ndarray) -> dict[str, float]:
    """Logarithm of the amplitude of the waves of some degrees in the logarithm of the radii."""
    functions, degrees = waves()
    squares = (functions.T @ np.log(radii)) ** 2 / RAYS
    return {
        f"{name}, waves of degree {low} to {high} (log)": 0.5
        * float(np.log(squares[(degrees >= low) & (degrees <= high)].sum() + _LEAST_POWER))
        for low, high in WAVES
    }


def _percentiles(name: str, values: np.ndarray) -> dict[str, float]:
    return {f"{name}, percentile {q}": float(v) for q, v in zip(SHARES, np.percentile(values, SHARES))}


def _layers(name: str, values: np.ndarray, way: np.ndarray) -> dict[str, float]:
    """Mean signal of the layers against the mean of all; 1 where a layer holds no voxel."""
    layer = np.digitize(way, WAY[1:])
    counts = np.bincount(layer, minlength=len(WAY))[: len(WAY) - 1]
    means = np.bincount(layer, values, minlength=len(WAY))[: len(WAY) - 1] / np.maximum(counts, 1)
    mean = max(float(means[counts > 0].mean()) if counts.any() else 0.0, _LEAST)
    return {
        f"{name} signal from {low:g} of the way out": float(value) / mean if count else 1.0
        for low, value, count in zip(WAY, means, counts)
    }
