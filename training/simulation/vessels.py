"""Vessels that branch: in the breasts, the axilla, along the breastbone, in muscle and lungs.

Arteries and veins are drawn as one. Courses follow anatomy: perforators of the internal mammary vessels come
through the muscle beside the breastbone and run below the skin of the inner breast; branches of the lateral
thoracic vessels come from the axilla over the outer one; both meet around the areola. Numbers and widths are
chosen by eye beside projections of public exams.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .woman import Breast, Woman

_STEP_MM, _POINTS, _WAVES = 4.0, 28, 6  # of the points a course is drawn with, and its waves
_THINNEST_MM = 0.3


@dataclass(frozen=True)
class Vessel:
    """Points (n, 3) along a vessel in mm and its radius at each."""

    points: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True)
class _Course:
    """A vessel over a breast: angle, share of the way to the nipple and depth below the skin along it."""

    angle: np.ndarray
    share: np.ndarray
    depth: np.ndarray
    radii: np.ndarray


def draw_vessels(rng: np.random.Generator, woman: Woman) -> list[Vessel]:
    """All vessels of a woman but those of the heart."""
    vessels = []
    for breast in woman.breasts:
        own = rng.spawn(1)[0]
        vessels += _of_breast(own, woman, breast) + _of_axilla(own, woman, breast.side)
        vessels += _beside_breastbone(own, woman, breast.side) + _of_lung(own, woman, breast.side)
    return vessels


def _sway(rng: np.random.Generator, points: int, amounts: Sequence[float]) -> np.ndarray:
    """(amounts, points) smooth random functions of the way, 0 at its start; shorter waves are smaller."""
    drawn = rng.normal(size=(2, len(amounts), _WAVES))
    sines, cosines = (np.asarray(amounts)[:, None] / np.arange(1, _WAVES + 1)) * drawn / np.sqrt(2)
    basis = _waves(points)
    return sines @ basis[0] + cosines @ basis[1]


@functools.cache
def _waves(points: int) -> np.ndarray:
    """(2, waves, points): sines, and cosines less one."""
    phase = 1.6 * np.pi * np.arange(1, _WAVES + 1)[:, None] * np.linspace(0, 1, points)
    return np.stack([np.sin(phase), np.cos(phase) - 1])


def _of_breast(rng: np.random.Generator, woman: Woman, breast: Breast) -> list[Vessel]:
    """Trunks over and through the breast, each with its branches."""
    u, side, many = rng.uniform, breast.side, woman.vascularity * np.exp(rng.normal(0, 0.2))
    vessels: list[Vessel] = []
    courses: list[_Course] = []

    def trunk(angle: float, depth: tuple[float, float], radius: float, root: np.ndarray) -> None:
        first = u(0.02, 0.25)
        course = _course(rng, (angle, u(-0.7, 0.7)), (first, u(0.65, 1.0)), depth, radius)
        vessels.append(_straight(rng, root, breast.point(angle, first, depth[0])[None][0], radius, radius))
        _branches(rng, course, many, 0, courses)

    for _ in range(rng.poisson(1.3 * many) + 1):  # lateral thoracic: outer, upper
        z = woman.middle_z + u(45, 90)
        trunk(
            u(-0.3, 1.2),
            (u(3, 8), u(3, 9)),
            u(0.5, 1.0) * many**0.5,
            woman.on_chest(side * u(0.9, 1.3), z, 14),
        )
    for _ in range(rng.poisson(1.3 * many) + 1):  # perforators beside the breastbone: inner
        root = np.array([side * u(18, 26), -woman.cover - u(2, 8), woman.middle_z + u(-30, 60)])
        trunk(np.pi + u(-0.9, 0.9), (u(3, 8), u(3, 9)), u(0.5, 1.0) * many**0.5, root)
    for _ in range(rng.poisson(2.0 * many)):  # from between the ribs, deep
        angle = u(-np.pi, np.pi)
        deep = u(14, 40)
        root = breast.point(angle, 0.0, deep + 5) - [0, woman.cover + u(4, 12), 0]
        trunk(angle, (deep, u(5, 25)), u(0.4, 0.8) * many**0.5, root)
    at = (np.stack([getattr(course, name) for course in courses]) for name in ("angle", "share", "depth"))
    return vessels + [Vessel(points, course.radii) for points, course in zip(breast.point(*at), courses)]


def _course(rng, angles, shares, depths, radius: float) -> _Course:
    """From a first angle by a turn, between two shares of the way and two depths, thinning."""
    t = np.linspace(0, 1, _POINTS)
    sway = _sway(rng, _POINTS, (0.16, 0.035, 1.5))
    angle = angles[0] + angles[1] * t + sway[0]
    share = shares[0] + (shares[1] - shares[0]) * t + sway[1]
    depth = np.maximum(depths[0] + (depths[1] - depths[0]) * t + sway[2], 2.2)
    return _Course(angle, share, depth, radius * (1 - 0.55 * t))


def _branches(
    rng: np.random.Generator, course: _Course, many: float, order: int, courses: list[_Course]
) -> None:
    """Add a course and, at random places along it, thinner ones that leave it to either side."""
    courses.append(course)
    if order == 3:
        return
    for _ in range(rng.poisson((2.8, 1.8, 0.7)[order] * many)):
        n = int(rng.integers(4, len(course.angle) - 4))
        radius = course.radii[n] * rng.uniform(0.55, 0.9)
        turn, way = rng.choice([-1, 1]) * rng.uniform(0.25, 1.1), rng.uniform(-0.1, 0.45)
        deeper = max(0.0, rng.normal(0, 7))
        if radius < _THINNEST_MM:
            continue
        angles, shares = (course.angle[n], turn), (course.share[n], min(course.share[n] + way, 0.97))
        depths = course.depth[n], course.depth[n] + deeper
        _branches(rng, _course(rng, angles, shares, depths, radius), many, order + 1, courses)


def _straight(
    rng: np.random.Generator, start: np.ndarray, end: np.ndarray, thick: float, thin: float, sway: float = 5.0
) -> Vessel:
    """A winding vessel from one point to another."""
    length = float(np.linalg.norm(end - start))
    t = np.linspace(0, 1, max(4, int(length / _STEP_MM)))
    winding = _sway(rng, len(t), [min(sway, 0.12 * length)] * 3).T
    winding -= t[:, None] * winding[-1]
    return Vessel(start + t[:, None] * (end - start) + winding, thick + (thin - thick) * t)


def _tree(rng, start, end, thick: float, order: int, count: float, vessels: list[Vessel], sway=5.0) -> None:
    """A vessel with branches that leave it at up to 70°, each shorter and thinner."""
    vessel = _straight(rng, start, end, thick, 0.55 * thick, sway)
    vessels.append(vessel)
    if order == 0:
        return
    along = end - start
    length = float(np.linalg.norm(along))
    for _ in range(rng.poisson(count)):
        n = int(rng.integers(1, len(vessel.points) - 1))
        aside = rng.normal(size=3)
        aside -= along * (aside @ along) / length**2
        way = along / length * rng.uniform(0.3, 1.0) + aside / np.linalg.norm(aside) * rng.uniform(0.3, 0.9)
        reach, radius = length * rng.uniform(0.35, 0.7), vessel.radii[n] * rng.uniform(0.5, 0.85)
        if radius >= _THINNEST_MM:
            branch_end = vessel.points[n] + reach * way
            _tree(rng, vessel.points[n], branch_end, radius, order - 1, count, vessels, sway)


def _of_axilla(rng: np.random.Generator, woman: Woman, side: int) -> list[Vessel]:
    """Axillary vessels towards the arm; lateral thoracic and thoracodorsal ones down the chest."""
    u, middle, vessels = rng.uniform, woman.middle_z, []
    top = middle + u(95, 125)
    arms = woman.arms
    inner = np.array([side * 30.0, -woman.cover - woman.muscle_mm - 45.0, top + 25.0])
    outer = np.array(arms.shoulder) * [side, 1, 1] + 0.3 * np.array(arms.way) * [side, 1, 1]
    for shift in (0.0, u(6, 10)):  # artery and vein
        vessels.append(
            _straight(rng, inner - [0, shift, shift], outer - [0, shift, shift], u(1.5, 2.4), 1.3, 4)
        )
    for angle in (u(0.85, 1.1), u(1.2, 1.6)):
        z = np.linspace(top, middle + u(-60, 20), 40)
        t, sway = np.linspace(0, 1, 40), _sway(rng, 40, (0.08, 3.0))
        course = woman.on_chest(side * (angle + sway[0]), z, 8 + sway[1])
        vessels.append(Vessel(course, u(0.8, 1.6) * (1 - 0.5 * t)))
        for _ in range(rng.poisson(3)):
            n = int(rng.integers(2, 36))
            aside = woman.on_chest(side * (angle + u(-0.5, 0.5)), z[n] - u(15, 50), u(4, 25))
            _tree(rng, course[n], aside, u(0.5, 0.9), 1, 1.5, vessels)
    return vessels


def _beside_breastbone(rng: np.random.Generator, woman: Woman, side: int) -> list[Vessel]:
    """The internal mammary vessels, and some of those that run from them between the ribs and into muscle."""
    u, vessels = rng.uniform, []
    z = np.linspace(woman.middle_z - 95, woman.middle_z + 130, 80)
    radius, x = u(0.8, 1.4), side * u(19, 25)
    front = woman.ribs(z)[1] - 9.0
    vessels.append(Vessel(np.stack([x + _sway(rng, 80, [1.5])[0], front, z], 1), np.full(80, radius)))
    for level in np.arange(-90, 120, 26.0):
        if rng.random() < 0.5:
            angles = side * np.linspace(0.15, u(0.5, 1.2), 30)
            way = woman.on_chest(angles, woman.middle_z + level + 12 * np.linspace(0, 1, 30), -4.0)
            vessels.append(Vessel(way, np.linspace(0.8, 0.4, 30)))
    for _ in range(rng.poisson(5)):  # in the pectoral muscle
        angle, level = side * u(0.2, 0.8), woman.middle_z + u(-20, 110)
        start = woman.on_chest(angle, level, 0.4 * woman.muscle_mm)
        end = woman.on_chest(angle - side * u(0.1, 0.4), level - u(10, 60), 0.7 * woman.muscle_mm)
        _tree(rng, start, end, u(0.5, 1.0), 1, 1.5, vessels, 3.0)
    return vessels


def _of_lung(rng: np.random.Generator, woman: Woman, side: int) -> list[Vessel]:
    """Branches that spread from the root of the lung."""
    root = np.array([side * 32.0, -woman.cover - woman.muscle_mm - 66.0, woman.middle_z + 38.0])
    vessels: list[Vessel] = []
    for _ in range(7):
        way = np.array([side * rng.uniform(0.2, 1.0), rng.normal(0, 0.6), rng.normal(-0.2, 0.9)])
        end = root + rng.uniform(45, 90) * way / np.linalg.norm(way)
        _tree(rng, root, end, rng.uniform(1.4, 2.8), 2, 3.5, vessels)
    return vessels
