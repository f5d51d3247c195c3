"""Benign and malignant lesions: sizes from one distribution; outline, rim and kinetics overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .anatomy import Anatomy, Grid
from .kinetics import T1_MS

_SUB_VOXEL_MM = 1.25  # a coarse voxel holds the mean over points this far apart


@dataclass
class Lesion:
    """A lesion of known size and class.

    Attributes
    ----------
    radius_mm : float
        Of the sphere of equal volume.
    stretch : numpy.ndarray
        (3,) factors of the radius along x, y, z.
    ktrans, ve, vp : float
        Of the body of the lesion (Ktrans in 1/min); rim and heterogeneity modulate the concentration.
    bumps, grain : list of tuple
        Amplitude, direction, frequency and phase of the waves in the outline and inside.
    spicules : list of tuple
        Direction and height.
    centre : numpy.ndarray
        (3,) mm in the anatomy's frame.
    side : int
        −1 left, +1 right.
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


@dataclass(frozen=True)
class PaintedLesions:
    """Lesions on a grid: tensors (i, j, k).

    Attributes
    ----------
    fraction : torch.Tensor
        Share of the voxel that is lesion.
    modulation : torch.Tensor
        Factor of the concentration there.
    number : torch.Tensor
        uint8, which lesion it is.
    """

    fraction: torch.Tensor
    modulation: torch.Tensor
    number: torch.Tensor


def size(rng: np.random.Generator) -> float:
    """Radius in mm; the same distribution for both classes, lest size give the label away.

    Chosen: median 17 mm across, 5th to 95th percentile 9 to 32 mm, from T1a to the smaller T3 tumours.
    """
    return float(np.clip(rng.lognormal(np.log(8.5), 0.38), 3.5, 22))


# Curves. Chosen (with the arterial input of kinetics.py) to come near the types that Kuhl et al., Radiology
# 1999;211:101–110 found in 101 cancers and 165 benign lesions: washout 57 % and 6 %, plateau 34 % and 12 %,
# persistent 9 % and 83 %; Schnall et al., Radiology 2006;238:42–53 saw more overlap in a multicentre trial
# (washout: sensitivity 21 %, specificity 90 %). Ktrans then lies in the published range; in a fast protocol
# Ktrans and kep gave an AUC of 0.915 (Schabel et al., J Magn Reson Imaging 2010;31:1371–1378). Median and
# log-sd of Ktrans, mean and sd of ve:
_KINETICS = {True: (0.17, 0.65, 0.46, 0.14), False: (0.050, 0.60, 0.68, 0.13)}
# Outline and inside (chosen; irregular and spiculated margins, rim and heterogeneous enhancement are commoner
# in cancers, none is proof: Schnall 2006): range of irregularity, most spicules and how often there are any,
# mean and sd of rim, heterogeneity
_MORPHOLOGY = {
    True: ((0.10, 0.42), (16, 0.60), (0.35, 0.35), (0.10, 0.50)),
    False: ((0.02, 0.24), (8, 0.12), (0.00, 0.20), (0.02, 0.30)),
}


def draw(malignant: bool, radius_mm: float, rng: np.random.Generator, own: np.random.Generator) -> Lesion:
    """A lesion without a place.

    Parameters
    ----------
    malignant : bool
        Its class.
    radius_mm : float
        Of the sphere of its volume.
    rng, own : numpy.random.Generator
        For what does not depend on the class, and for what does.
    """
    stretch = np.exp(rng.normal(0, 0.16, 3))
    t1_ms = float(
        np.clip(rng.normal(T1_MS["lesion"], 130), 800, 1500)
    )  # sd chosen; Chen 2019 found 256 at 3 T
    vp = float(np.clip(rng.normal(0.03, 0.015), 0.0, 0.10))  # chosen
    median, spread, ve, ve_sd = _KINETICS[malignant]
    irregularity, (most, often), rim, heterogeneity = _MORPHOLOGY[malignant]

    def waves(count: int, low: float, high: float) -> list:
        directions = own.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return list(
            zip(
                own.normal(size=count),
                directions,
                own.uniform(low, high, count),
                own.uniform(0, 2 * np.pi, count),
            )
        )

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
        spicules=[
            (d, 1 + own.uniform(0.3, 1.1))
            for _, d, _, _ in waves(int(own.integers(0, most) * (own.random() < often)), 0, 1)
        ],
    )


def _outline(lesion: Lesion, unit: np.ndarray) -> np.ndarray:
    """Radii from the centre to the surface towards unit vectors (n, 3), before the volume is set right."""
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
    """A lesion at its centre on a grid; its fractions add up to its volume on a grid of any spacing.

    Returns
    -------
    window : tuple of slice
        Of the grid.
    fraction, modulation : numpy.ndarray
        float32 on the window: share of the voxel that is lesion, and factor of the concentration there.
    """
    surface = _outline(lesion, _directions())
    shrink = float((surface**3).mean() ** (-1 / 3))  # an irregular lesion keeps the volume of its sphere
    farthest = float(surface.max()) * shrink
    # points finer than the voxels, in radii from the centre
    reach = farthest * lesion.radius_mm * float(lesion.stretch.max()) + grid.spacing[0]
    window, points, blocks = _fine_points(lesion, grid, reach)
    edge = grid.spacing[0] / blocks[1] / lesion.radius_mm
    x, y, z = points
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    # fraction and modulation of the points inside
    near = np.argwhere(distance < farthest + edge)
    at = np.stack([points[axis][near[:, axis]] for axis in range(3)], 1).astype(np.float64)
    q = np.linalg.norm(at, axis=1) + 1e-6
    filled = np.clip((_outline(lesion, at / q[:, None]) * shrink - q) / edge + 0.5, 0, 1)
    inside = filled > 0
    near, at, q, filled = near[inside], at[inside], q[inside], filled[inside]
    grain = sum(a * np.cos(f * (at @ d) + p) for a, d, f, p in lesion.grain)
    core = np.clip(1 - q / 0.75, 0, 1)
    factor = np.clip((1 + lesion.heterogeneity * grain / 2.2) * (1 - lesion.rim * core), 0.05, 2.5)
    # their means over voxels
    fraction, modulation = np.zeros(distance.shape, np.float32), np.zeros(distance.shape, np.float32)
    fraction[tuple(near.T)], modulation[tuple(near.T)] = filled, filled * factor
    fraction, modulation = (a.reshape(blocks).mean((1, 3, 5)) for a in (fraction, modulation))
    modulation = np.where(fraction > 0, modulation / np.maximum(fraction, 1e-6), 1.0).astype(np.float32)
    return window, fraction, modulation


def _fine_points(lesion: Lesion, grid: Grid, reach_mm: float):
    """Window of the grid, points along its axes in radii, and the shape that splits them into voxels."""
    window, points, blocks = [], [], []
    for axis in range(3):
        centres, spacing, middle = grid.centres(axis), grid.spacing[axis], lesion.centre[axis]
        window.append(slice(*np.searchsorted(centres, (middle - reach_mm, middle + reach_mm))))
        n = max(1, round(spacing / _SUB_VOXEL_MM))
        fine = centres[window[axis], None] + ((np.arange(n) + 0.5) / n - 0.5) * spacing
        points.append((fine.ravel() - middle).astype(np.float32) / (lesion.radius_mm * lesion.stretch[axis]))
        blocks += [fine.shape[0], n]
    return tuple(window), points, blocks


def paint(lesions: Sequence[Lesion], body: Anatomy, grid: Grid) -> tuple[np.ndarray, PaintedLesions]:
    """Lay lesions on a grid; where two meet, the one that fills more of a voxel has it.

    Returns
    -------
    truth : numpy.ndarray
        uint8 (i, j, k): 1 benign, 2 malignant.
    painted : PaintedLesions
        On the body's device.
    """
    device = body.depth.device
    truth = np.zeros(grid.shape, dtype=np.uint8)
    total = torch.zeros(grid.shape, device=device)
    modulation = torch.ones(grid.shape, device=device)
    number = torch.zeros(grid.shape, dtype=torch.uint8, device=device)
    for n, lesion in enumerate(lesions):
        window, fraction, factor = rasterise(lesion, grid)
        fraction = torch.as_tensor(fraction, device=device)
        fraction = fraction * body.fractions[(slice(None), *window)].sum(0).clamp_max(1)  # none of it in air
        mine = fraction > total[window]
        total[window] = torch.where(mine, fraction, total[window])
        modulation[window] = torch.where(mine, torch.as_tensor(factor, device=device), modulation[window])
        number[window] = torch.where(mine, torch.full_like(number[window], n), number[window])
        inside = fraction.cpu().numpy()
        # one smaller than a voxel keeps one
        truth[window][inside >= min(0.5, inside.max())] = 2 if lesion.malignant else 1
    return truth, PaintedLesions(total, modulation, number)
