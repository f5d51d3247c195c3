"""Benign and malignant lesions: sizes, places and numbers from one distribution; outline, rim and kinetics overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .anatomy import Grid
from .kinetics import T1_MS

_SUB_VOXEL_MM = 1.25  # a coarse voxel holds the mean over points this far apart


@dataclass
class Lesion:
    """A lesion of known size and class. radius_mm: of the sphere of equal volume; centre: mm in the anatomy's frame.

    ktrans (1/min), ve, vp: of the body of the lesion; rim and heterogeneity modulate the concentration.
    bumps, grain: (amplitude, direction, frequency, phase) of the waves in the outline and inside; spicules: (direction, height).
    """

    malignant: bool
    radius_mm: float
    stretch: np.ndarray
    t1_ms: float
    vp: float
    ktrans: float
    ve: float
    irregularity: float
    rim: float
    heterogeneity: float
    bumps: list
    grain: list
    spicules: list
    centre: np.ndarray = field(default_factory=lambda: np.zeros(3))
    side: int = 0


def size(rng: np.random.Generator) -> float:
    """Radius in mm; the same distribution for both classes, lest size give the label away.

    Chosen: median 17 mm across, 5th to 95th percentile 9 to 32 mm, from T1a to the smaller T3 tumours.
    """
    return float(np.clip(rng.lognormal(np.log(8.5), 0.38), 3.5, 22))


# Curves. Chosen (with the arterial input of kinetics.py) to come near the types that Kuhl et al., Radiology 1999;211:101–110
# found in 101 cancers and 165 benign lesions: washout 57 % and 6 %, plateau 34 % and 12 %, persistent 9 % and 83 %; Schnall et
# al., Radiology 2006;238:42–53 saw more overlap in a multicentre trial (washout: sensitivity 21 %, specificity 90 %). Ktrans then
# lies in the published range; in a fast protocol Ktrans and kep gave an AUC of 0.915 (Schabel et al., J Magn Reson Imaging
# 2010;31:1371–1378). Median and log-sd of Ktrans, mean and sd of ve:
_KINETICS = {True: (0.17, 0.65, 0.46, 0.14), False: (0.050, 0.60, 0.68, 0.13)}
# Outline and inside (chosen; irregular and spiculated margins, rim and heterogeneous enhancement are commoner in cancers, none
# is proof: Schnall 2006): range of irregularity, most spicules and how often there are any, mean and sd of rim, heterogeneity
_MORPHOLOGY = {
    True: ((0.10, 0.42), (16, 0.60), (0.35, 0.35), (0.10, 0.50)),
    False: ((0.02, 0.24), (8, 0.12), (0.00, 0.20), (0.02, 0.30)),
}


def draw(malignant: bool, radius_mm: float, rng: np.random.Generator, own: np.random.Generator) -> Lesion:
    """A lesion without a place. rng: for what does not depend on the class; own: for what does."""
    stretch = np.exp(rng.normal(0, 0.16, 3))
    t1_ms = float(np.clip(rng.normal(T1_MS["lesion"], 130), 800, 1500))  # sd chosen; Chen 2019 found 256 at 3 T
    vp = float(np.clip(rng.normal(0.03, 0.015), 0.0, 0.10))  # chosen
    median, spread, ve, ve_sd = _KINETICS[malignant]
    irregularity, (most, often), rim, heterogeneity = _MORPHOLOGY[malignant]

    def waves(count: int, low: float, high: float) -> list:
        directions = own.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return list(zip(own.normal(size=count), directions, own.uniform(low, high, count), own.uniform(0, 2 * np.pi, count)))

    return Lesion(
        malignant,
        radius_mm,
        stretch / stretch.prod() ** (1 / 3),
        t1_ms,
        vp,
        ktrans=float(np.clip(own.lognormal(np.log(median), spread), 0.01, 1.2)),
        ve=float(np.clip(own.normal(ve, ve_sd), 0.15, 0.9)),
        irregularity=float(own.uniform(*irregularity)),
        rim=float(np.clip(own.normal(*rim), 0.0, 0.9)),
        heterogeneity=float(own.uniform(*heterogeneity)),
        bumps=waves(14, 2.0, 6.0),
        grain=[(1.0, d, f * np.sqrt(3), p) for _, d, f, p in waves(10, 1.5, 5.0)],
        spicules=[(d, 1 + own.uniform(0.3, 1.1)) for _, d, _, _ in waves(int(own.integers(0, most) * (own.random() < often)), 0, 1)],
    )


def _outline(lesion: Lesion, unit: np.ndarray) -> np.ndarray:
    """Distance of the surface from the centre, in radii, towards unit vectors (n, 3), before the volume is set right."""
    bumps = sum(a * np.cos(f * (unit @ d) + p) for a, d, f, p in lesion.bumps)
    outline = 1 + lesion.irregularity * bumps / 2.6
    for direction, height in lesion.spicules:
        along = unit @ direction
        outline = np.maximum(outline, height * np.sqrt(np.clip((along - 0.955) / 0.045, 0, 1)))
    return np.maximum(outline, 0.4)


def _directions(count: int = 4000) -> np.ndarray:
    """Unit vectors spread evenly over the sphere (a golden spiral)."""
    n = np.arange(count) + 0.5
    height, turn = 1 - 2 * n / count, np.pi * (1 + np.sqrt(5)) * n
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(turn), level * np.sin(turn), height], 1)


def rasterise(lesion: Lesion, grid: Grid) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """Window in the grid, volume fraction and modulation of the concentration (float32) of a lesion at its centre.

    Voxels hold means over finer points: the fractions add up to the lesion's volume on a grid of any spacing.
    """
    surface = _outline(lesion, _directions())
    shrink = float((surface**3).mean() ** (-1 / 3))  # an irregular lesion keeps the volume of its sphere
    reach = float(surface.max()) * shrink * lesion.radius_mm * float(lesion.stretch.max()) + grid.spacing[0]
    window, points, parts = [], [], []
    for axis in range(3):
        centres, spacing = grid.centres(axis), grid.spacing[axis]
        window.append(slice(*np.searchsorted(centres, (lesion.centre[axis] - reach, lesion.centre[axis] + reach))))
        n = max(1, round(spacing / _SUB_VOXEL_MM))
        fine = centres[window[axis], None] + ((np.arange(n) + 0.5) / n - 0.5) * spacing
        points.append((fine.ravel() - lesion.centre[axis]).astype(np.float32) / (lesion.radius_mm * lesion.stretch[axis]))
        parts += [fine.shape[0], n]
    distance = np.sqrt(points[0][:, None, None] ** 2 + points[1][None, :, None] ** 2 + points[2][None, None, :] ** 2)
    edge = grid.spacing[0] / parts[1] / lesion.radius_mm
    near = np.argwhere(distance < float(surface.max()) * shrink + edge)
    at = np.stack([points[axis][near[:, axis]] for axis in range(3)], 1).astype(np.float64)
    q = np.linalg.norm(at, axis=1) + 1e-6
    fraction, modulated = np.zeros(distance.shape, np.float32), np.zeros(distance.shape, np.float32)
    here = np.clip((_outline(lesion, at / q[:, None]) * shrink - q) / edge + 0.5, 0, 1)
    inside = here > 0
    near, at, q, here = near[inside], at[inside], q[inside], here[inside]
    grain = sum(a * np.cos(f * (at @ d) + p) for a, d, f, p in lesion.grain)
    core = np.clip(1 - q / 0.75, 0, 1)
    modulation = np.clip((1 + lesion.heterogeneity * grain / 2.2) * (1 - lesion.rim * core), 0.05, 2.5)
    fraction[tuple(near.T)], modulated[tuple(near.T)] = here, here * modulation
    fraction, modulated = (a.reshape(parts).mean((1, 3, 5)) for a in (fraction, modulated))
    return tuple(window), fraction, np.where(fraction > 0, modulated / np.maximum(fraction, 1e-6), 1.0).astype(np.float32)
