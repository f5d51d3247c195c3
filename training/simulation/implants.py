"""Breast implants: silicone or saline in a fibrous capsule, in front of the pectoral muscle or behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .woman import Woman

_SHARE = 0.03  # of the exams (chosen: rare, so that a model meets them)
CAPSULE_MM = 1.2


@dataclass(frozen=True)
class Implant:
    """An ellipsoid (mm) and the share of the signal of silicone that its filling gives."""

    centre: np.ndarray
    radii: np.ndarray
    turn: np.ndarray
    signal: float


def draw_implants(rng: np.random.Generator, woman: Woman) -> list[Implant]:
    """Both breasts' implants in a small share of women, else none; the same draws either way."""
    has, saline, cut = rng.random() < _SHARE, rng.random() < 0.3, rng.uniform(0.62, 0.85)
    implants = []
    for breast in woman.breasts:
        rx, ry, rz = breast.radii
        projection = ry + breast.centre[1]
        half = 0.5 * cut * float(np.clip(projection, 30, 80))
        back = -woman.cover + rng.uniform(-4, 2)
        own = np.array([0.0, back + half - breast.centre[1], rng.uniform(-4, 4)])
        tilt = rng.normal(0, 0.08)
        turn = (
            np.array([[1, tilt, 0], [-tilt, 1, 0], [0, 0, 1]]) / np.array([[np.hypot(1, tilt)] * 2 + [1]]).T
        )
        radii = np.array([cut * min(rx, 70.0), half, cut * min(rz, 72.0)])
        implants += [Implant(breast.placed(own), radii, turn, 0.4 if saline else 1.0)] * has
    return implants
