"""Lesions of a drawn subtype, laid on a grid: masses here, non-mass enhancement in nonmass.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from . import nonmass
from .anatomy import Anatomy, Grid
from .kinetics import T1_MS
from .points import Window, evenly_spread, fine_points, voxel_means
from .subtypes import DrawnMarks, draw_marks

_RIM_BEGINS, _CORE_ENDS = 0.85, 0.60  # shares of the way to the surface; between them the rim fades
_SPICULE_WIDTH = 0.96  # cosine of half the opening angle of a spicule: 16°


@dataclass(frozen=True)
class MassShape:
    """Random numbers of a mass's outline and inside, in radii.

    Attributes
    ----------
    bumps, grain : tuple of numpy.ndarray
        Amplitudes (n,), directions (n, 3), frequencies (n,), phases (n,) of waves in the outline and inside.
    spicules : tuple of numpy.ndarray
        Directions (n, 3) and lengths (n,) around 1.
    core : numpy.ndarray
        (3,) middle of the dark centre.
    """

    bumps: tuple[np.ndarray, ...]
    grain: tuple[np.ndarray, ...]
    spicules: tuple[np.ndarray, np.ndarray]
    core: np.ndarray


@dataclass
class Lesion:
    """A lesion of known subtype and marks.

    Attributes
    ----------
    marks : DrawnMarks
        Subtype, pattern and marks as drawn.
    radius_mm : float
        Of the sphere of equal volume.
    stretch : numpy.ndarray
        (3,) factors of the radius of a mass along x, y, z.
    vp : float
        Share of plasma. Ktrans (1/min) and ve are those of the body of the lesion; rim and heterogeneity
        modulate the concentration.
    shape : MassShape or nonmass.Clumps
        By the pattern.
    centre, towards : numpy.ndarray
        (3,) mm in the anatomy's frame, and the direction to the nipple.
    side : int
        −1 left, +1 right.
    """

    marks: DrawnMarks
    radius_mm: float
    stretch: np.ndarray
    t1_ms: float
    vp: float
    shape: MassShape | nonmass.Clumps
    centre: np.ndarray = field(default_factory=lambda: np.zeros(3))
    towards: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    side: int = 0

    @property
    def malignant(self) -> bool:
        return self.marks.subtype.malignant

    @property
    def ktrans(self) -> float:
        return self.marks["ktrans"]

    @property
    def ve(self) -> float:
        return self.marks["ve"]


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


def draw(
    malignant: bool,
    rng: np.random.Generator,
    own: np.random.Generator,
    *,
    apart: bool = False,
    subtype: str | None = None,
) -> Lesion:
    """A lesion without a place.

    Parameters
    ----------
    malignant : bool
        Its class.
    rng, own : numpy.random.Generator
        For what does not depend on the class, and for what does.
    apart : bool
        Whether sizes differ by subtype.
    subtype : str, optional
        A key of ``subtypes.SUBTYPES``; None draws one of the class.
    """
    size = float(rng.standard_normal())
    stretch = np.exp(rng.normal(0, 0.16, 3))
    # sd chosen; Chen et al., Radiology 2019;290:33–40 found 256 at 3 T
    t1_ms = float(np.clip(rng.normal(T1_MS["lesion"], 130), 800, 1500))
    vp = float(np.clip(rng.normal(0.03, 0.015), 0.0, 0.10))  # chosen
    marks = draw_marks(malignant, size, own, apart=apart, subtype=subtype)
    shape = _draw_mass(own) if marks.pattern == "mass" else nonmass.draw_clumps(marks, own)
    return Lesion(marks, marks["size"], stretch / stretch.prod() ** (1 / 3), t1_ms, vp, shape)


def _draw_mass(rng: np.random.Generator) -> MassShape:
    def directions(count: int) -> np.ndarray:
        drawn = rng.normal(size=(count, 3))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def waves(amplitudes: np.ndarray, low: float, high: float) -> tuple[np.ndarray, ...]:
        n = len(amplitudes)
        return amplitudes, directions(n), rng.uniform(low, high, n), rng.uniform(0, 2 * np.pi, n)

    spicules = int(rng.integers(6, 17))  # chosen
    return MassShape(
        bumps=waves(rng.normal(size=14), 2.0, 6.0),
        grain=waves(np.ones(10), 1.5 * np.sqrt(3), 5.0 * np.sqrt(3)),
        spicules=(directions(spicules), rng.uniform(0.5, 1.5, spicules)),
        core=directions(1)[0] * rng.uniform(0.0, 0.2),
    )


def _waves(waves: tuple[np.ndarray, ...], points: np.ndarray) -> np.ndarray:
    """Sum of waves at points (n, 3), of about unit variance."""
    total = sum(a * np.cos(f * (points @ d) + p) for a, d, f, p in zip(*waves))
    return total / np.sqrt(len(waves[0]) / 2)


def _outline(lesion: Lesion, unit: np.ndarray) -> np.ndarray:
    """Radii from the centre to the surface towards unit vectors (n, 3), before the volume is set right."""
    outline = np.exp(lesion.marks["irregularity"] * _waves(lesion.shape.bumps, unit))
    tips = np.zeros(len(unit))
    for direction, length in zip(*lesion.shape.spicules):
        tapered = np.clip((unit @ direction - _SPICULE_WIDTH) / (1 - _SPICULE_WIDTH), 0, 1)
        tips = np.maximum(tips, length * tapered**1.5)
    return outline + lesion.marks["spiculation"] * tips


def rasterise(lesion: Lesion, grid: Grid) -> tuple[Window, np.ndarray, np.ndarray]:
    """A lesion at its centre on a grid; its fractions add up to its volume on a grid of any spacing.

    Returns
    -------
    window : tuple of slice
        Of the grid.
    fraction, modulation : numpy.ndarray
        float32 on the window: share of the voxel that is lesion, and factor of the concentration there.
    """
    if lesion.marks.pattern != "mass":
        return nonmass.rasterise(lesion.shape, lesion.radius_mm, lesion.centre, lesion.towards, grid)
    around = evenly_spread(4000)
    surface = _outline(lesion, around)
    shrink = float((surface**3).mean() ** (-1 / 3))  # an irregular lesion keeps the volume of its sphere
    surface *= shrink
    # its centroid, ∫ r⁴/4 u dΩ / ∫ r³/3 dΩ, lies at its centre
    middle = 0.75 * (surface[:, None] ** 4 * around).mean(0) / (surface**3).mean()
    farthest, scale = float(surface.max()), lesion.radius_mm * lesion.stretch
    # points finer than the voxels, in radii from where the outline is seen from
    reach = farthest * float(scale.max()) + grid.spacing[0]
    window, points, blocks = fine_points(lesion.centre - middle * scale, reach, grid)
    points = [p / s for p, s in zip(points, scale)]
    edge = grid.spacing[0] / blocks[1] / lesion.radius_mm
    x, y, z = points
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    # fraction and modulation of the points inside
    near = np.argwhere(distance < farthest + edge)
    at = np.stack([points[axis][near[:, axis]] for axis in range(3)], 1).astype(np.float64)
    q = np.linalg.norm(at, axis=1) + 1e-6
    outline = _outline(lesion, at / q[:, None]) * shrink
    filled = np.clip((outline - q) / edge + 0.5, 0, 1)
    inside = filled > 0
    near, at, outline, filled = near[inside], at[inside], outline[inside], filled[inside]
    depth = np.linalg.norm(at - lesion.shape.core, axis=1) / outline
    core = np.clip((_RIM_BEGINS - depth) / (_RIM_BEGINS - _CORE_ENDS), 0, 1)
    mixed = lesion.marks["heterogeneity"]
    factor = np.exp(mixed * _waves(lesion.shape.grain, at) - mixed**2 / 2 - lesion.marks["rim"] * core)
    # their means over voxels
    fraction, weighted = np.zeros(distance.shape, np.float32), np.zeros(distance.shape, np.float32)
    fraction[tuple(near.T)], weighted[tuple(near.T)] = filled, filled * factor
    return window, *voxel_means(fraction, weighted, blocks)


def paint(lesions: Sequence[Lesion], body: Anatomy, grid: Grid) -> tuple[np.ndarray, PaintedLesions]:
    """Lay lesions on a grid; where two meet, the one that fills more of a voxel has it.

    A lesion ends at the skin and at the chest wall.

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
        for behind in (body.depth[window] - 2.0, body.front[window]):
            fraction = fraction * (behind / grid.spacing[0] + 0.5).clamp(0, 1)
        mine = fraction > total[window]
        total[window] = torch.where(mine, fraction, total[window])
        modulation[window] = torch.where(mine, torch.as_tensor(factor, device=device), modulation[window])
        number[window] = torch.where(mine, torch.full_like(number[window], n), number[window])
        inside = fraction.cpu().numpy()
        # one smaller than a voxel keeps one
        truth[window][inside >= min(0.5, inside.max())] = 2 if lesion.malignant else 1
    return truth, PaintedLesions(total, modulation, number)
