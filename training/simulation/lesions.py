"""Benign and malignant lesions: sizes, places and numbers from one distribution; shape, rim and kinetics overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Lesion:
    """centre: mm in the anatomy's frame. radius_mm: of the sphere of equal size before irregularity.

    ktrans (1/min), ve, vp: of the body of the lesion; rim and heterogeneity modulate them.
    """

    malignant: bool
    centre: np.ndarray
    radius_mm: float
    stretch: np.ndarray
    irregularity: float
    spicules: np.ndarray
    rim: float
    heterogeneity: float
    ktrans: float
    ve: float
    vp: float
    side: int = 0
    fraction: np.ndarray | None = field(default=None, repr=False)
    window: tuple[slice, ...] | None = None
    modulation: np.ndarray | None = field(default=None, repr=False)


def draw(malignant: bool, rng: np.random.Generator) -> Lesion:
    """A lesion without a place. Kinetic means follow reviews of breast DCE-MRI (Ktrans of cancers about 2–3 times that of
    benign masses, washout from kep > 0.5 /min); widths are set so that the classes overlap."""
    radius = float(np.clip(rng.lognormal(np.log(8.5), 0.38), 3.5, 22))
    stretch = np.exp(rng.normal(0, 0.16, 3))
    stretch /= stretch.prod() ** (1 / 3)
    if malignant:
        ktrans, ve = rng.lognormal(np.log(0.27), 0.42), rng.normal(0.38, 0.10)
        irregularity, rim, spicules = rng.uniform(0.10, 0.42), max(0.0, rng.normal(0.35, 0.35)), rng.integers(0, 16) * (rng.random() < 0.6)
        heterogeneity = rng.uniform(0.1, 0.5)
    else:
        ktrans, ve = rng.lognormal(np.log(0.12), 0.45), rng.normal(0.52, 0.11)
        irregularity, rim, spicules = rng.uniform(0.02, 0.24), max(0.0, rng.normal(0.0, 0.2)), rng.integers(0, 8) * (rng.random() < 0.12)
        heterogeneity = rng.uniform(0.02, 0.3)
    directions = rng.normal(size=(int(spicules), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-9
    return Lesion(
        malignant,
        np.zeros(3),
        radius,
        stretch,
        irregularity,
        directions,
        rim,
        heterogeneity,
        float(np.clip(ktrans, 0.03, 1.2)),
        float(np.clip(ve, 0.12, 0.8)),
        float(np.clip(rng.normal(0.05, 0.02), 0.0, 0.15)),
    )


def place(
    lesion: Lesion, gx: np.ndarray, gy: np.ndarray, gz: np.ndarray, allowed: np.ndarray, voxel_mm: float, rng: np.random.Generator
) -> bool:
    """Put the lesion at a random allowed voxel and rasterise it with partial volume; False when there is no room."""
    # random voxels until one is allowed: unlike a draw from the list of allowed ones, this does not depend on how many there
    # are, which rounding changes from one computer to another
    tries = rng.integers(0, allowed.shape, size=(20_000, 3))
    found = np.flatnonzero(allowed[tuple(tries.T)])
    if not found.size:
        return False
    i, j, k = tries[found[0]]
    lesion.centre = np.array([gx[i], gy[j], gz[k]]) + rng.uniform(-0.5, 0.5, 3) * voxel_mm
    reach = lesion.radius_mm * 2.3 + 2 * voxel_mm
    window = tuple(
        slice(int(np.searchsorted(g, c - reach)), int(np.searchsorted(g, c + reach))) for g, c in zip((gx, gy, gz), lesion.centre)
    )
    dx, dy, dz = np.meshgrid(
        gx[window[0]] - lesion.centre[0], gy[window[1]] - lesion.centre[1], gz[window[2]] - lesion.centre[2], indexing="ij"
    )
    d = np.stack([dx, dy, dz]) / (lesion.radius_mm * lesion.stretch[:, None, None, None])
    q = np.sqrt((d**2).sum(0)) + 1e-6
    unit = d / q
    bumps = np.zeros_like(q)
    for _ in range(14):  # low-order bumps of the outline
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        bumps += rng.normal() * np.cos(rng.uniform(2, 6) * np.tensordot(direction, unit, 1) + rng.uniform(0, 2 * np.pi))
    outline = 1 + lesion.irregularity * bumps / 2.6
    for direction in lesion.spicules:
        along = np.tensordot(direction, unit, 1)
        outline = np.maximum(outline, (1 + rng.uniform(0.3, 1.1)) * np.clip((along - 0.955) / 0.045, 0, 1) ** 0.5 * (along > 0.955))
    lesion.fraction = np.clip((np.maximum(outline, 0.4) - q) * lesion.radius_mm / voxel_mm + 0.5, 0, 1).astype(np.float32)
    lesion.window = window
    grain = np.zeros_like(q)
    for _ in range(10):
        direction = rng.normal(size=3) * rng.uniform(1.5, 5)
        grain += np.cos(np.tensordot(direction, d, 1) + rng.uniform(0, 2 * np.pi))
    core = np.clip(1 - q / 0.75, 0, 1)
    lesion.modulation = np.clip((1 + lesion.heterogeneity * grain / 2.2) * (1 - min(lesion.rim, 0.9) * core), 0.05, 2.5).astype(np.float32)
    return True
