"""What a place looks like, in numbers with names: its curve, how it washes out, its rim, shape, surroundings and position.

Radiologists judge a lesion by such signs (curve type, rim, margin, homogeneity; Schnall et al., Radiology 2006;238:42). The second
reading (``candidates.py``) learns from labels of exams what they are worth. All of it is read on one grid: ``array`` (phases, LR,
AP, SI), ``inside`` (boolean breast mask), ``affine`` (index → RAS mm, i towards R, j towards A, k towards S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .findings import skin_depth
from .geometry import apply_affine
from .localisation import Component, early, nipples, signal_of

SHELLS_MM = (0.0, 4.5, 9.0, 13.5, 18.0, 24.0)  # borders of the shells about a place
BRIGHTEST = (1, 4, 8, 16)  # numbers of voxels whose means are taken
MIRROR_MM = 9.0  # radius of the ball in the other breast
_LEAST = 0.05  # of the exam's scale: enhancement below is not divided by
_FACES = ndimage.generate_binary_structure(3, 1)


def names(phases: int) -> tuple[str, ...]:
    """Names of the numbers, in their order, for inputs of so many phases."""
    shells = [f"{low:g}-{high:g} mm" for low, high in zip(SHELLS_MM, SHELLS_MM[1:])]
    return (
        *(f"curve at phase {n + 1}" for n in range(phases)),
        "height of the curve (log)",
        "wash-out of the curve",
        *(f"early signal of the brightest {n}" for n in BRIGHTEST),
        *(f"wash-out of the brightest {n}" for n in BRIGHTEST),
        "share that washes out",
        "share that goes on rising",
        *(f"wash-out, percentile {n}" for n in (10, 50, 90)),
        "heterogeneity",
        "rim",
        *(f"signal at {shell}" for shell in shells),
        *(f"wash-out at {shell}" for shell in shells),
        "sharpness of the border",
        "volume (log)",
        "tubularity",
        "flatness",
        "compactness",
        "extent",
        "peak",
        "background",
        "contrast",
        "share of the exam's brightest",
        "median signal of the exam",
        "95th percentile of the exam",
        "99.5th percentile of the exam",
        "wash-out of the exam",
        "signal in the other breast",
        "depth below the skin",
        "distance to the nipple",
        "distance to the chest wall",
        "distance to the midline",
        "height in the field of view",
        "rank among the places",
    )


# words by which a number belongs to a group, the first that fits
_WORDS = {
    "curve and wash-out": ("curve at", "wash", "rising"),
    "brightness": ("height of the curve", "early signal", "peak", "contrast", "brightest", "percentile of the exam", "median signal"),
    "inside and rim": ("heterogeneity", "rim"),
    "size and shape": ("volume", "tubularity", "flatness", "compactness", "extent", "sharpness"),
    "surroundings": ("signal at", "background", "other breast"),
    "position": ("depth", "distance", "field of view", "rank"),
}
GROUPS = tuple(_WORDS)


def group_of(name: str) -> str:
    """The group of a number, by its name."""
    return next(group for group, words in _WORDS.items() if any(word in name for word in words))


@dataclass(frozen=True)
class Surroundings:
    """What the places of an exam share. signal: early enhancement; gradient: its steepness per mm; middle: index i of the midline."""

    array: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    signal: np.ndarray
    fall: np.ndarray
    gradient: np.ndarray
    levels: tuple[float, float, float]
    wash_out: float
    tips: np.ndarray
    middle: float

    @classmethod
    def of(cls, array: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> Surroundings:
        """Raises InputError for an empty mask."""
        spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        tips = nipples(inside, affine)
        signal = signal_of(array, early(len(array)))
        fall = array[: len(array) // 2].max(axis=0) - array[-1]
        slopes = np.gradient(signal, *spacing.tolist())
        gradient = np.sqrt(sum(slope**2 for slope in slopes))
        values = signal[inside]
        levels = tuple(float(level) for level in np.percentile(values, (50, 95, 99.5)))
        middle = float(apply_affine(np.linalg.inv(affine), tips)[:, 0].mean())
        wash_out = float(fall[inside].sum() / max(float(values.sum()), 1e-6))
        return cls(array, inside, np.asarray(affine, dtype=np.float64), signal, fall, gradient, levels, wash_out, tips, middle)


def describe(around: Surroundings, index: Sequence[int], ras_mm: Sequence[float], part: Component | None, rank: float) -> np.ndarray:
    """The numbers of ``names`` for one place, float32. index: its voxel; part: the bright region there; rank: 0 first to 1 last."""
    spacing = np.linalg.norm(around.affine[:3, :3], axis=0)
    reach = np.ceil(SHELLS_MM[-1] / spacing).astype(int)
    window = tuple(slice(max(n - r, 0), n + r + 1) for n, r in zip(index, reach))
    start = [s.start for s in window]
    signal, fall, allowed, array = around.signal[window], around.fall[window], around.inside[window], around.array[(slice(None), *window)]
    offsets = [(np.arange(n) + s - c) * step for n, s, c, step in zip(signal.shape, start, index, spacing)]
    distance = np.sqrt(offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2)
    region = _region(part, start, signal.shape)
    if not region.any():
        region = distance < 1.5 * spacing.max()
    curve = array[:, region].mean(axis=1)
    top = max(float(curve.max()), _LEAST)
    half = len(curve) // 2
    own, falls = signal[region], fall[region]
    share = np.clip(falls / np.maximum(own, _LEAST), -2, 2)
    weight = own / max(float(own.sum()), 1e-6)
    near = allowed & (distance <= 11.5)
    order = np.argsort(-signal[near], kind="stable")
    bright, bright_falls = signal[near][order], fall[near][order]
    early_means = [float(bright[:n].mean()) if bright.size else 0.0 for n in BRIGHTEST]
    falls_means = [float(bright_falls[:n].mean()) if bright.size else 0.0 for n in BRIGHTEST]
    body = ndimage.binary_fill_holes(region)  # a dark centre belongs to it
    inner = ndimage.binary_erosion(body, _FACES)
    border = body & ~inner
    rim = float(signal[inner].mean() / max(float(signal[border].mean()), _LEAST)) if inner.any() and border.any() else 1.0
    shells, washed = [], []
    for low, high in zip(SHELLS_MM, SHELLS_MM[1:]):
        there = allowed & (distance >= low) & (distance < high)
        total = float(signal[there].sum())
        shells.append(total / max(int(there.sum()), 1) / top)
        washed.append(float(np.clip(fall[there].sum() / max(total, _LEAST), -2, 2)))
    voxels = int(body.sum())
    volume_ml = voxels * abs(float(np.linalg.det(around.affine[:3, :3]))) / 1000.0
    peak, background = (part.peak, part.background) if part is not None else (early_means[0], around.levels[0])
    long, tubularity, flatness = _form(body, spacing)
    i, j, k = index
    column = np.flatnonzero(around.inside[i, :, k])
    mirrored = np.array([2 * around.middle - i, j, k])
    return np.array(
        [
            *(curve / top),
            np.log(top),
            (float(curve[:half].max()) - float(curve[-1])) / top,
            *(mean / top for mean in early_means),
            *(np.clip(f / max(e, _LEAST), -2, 2) for f, e in zip(falls_means, early_means)),
            float(weight[share > 0.1].sum()),
            float(weight[share < -0.1].sum()),
            *np.percentile(share, (10, 50, 90)),
            float(own.std() / max(float(own.mean()), _LEAST)),
            rim,
            *shells,
            *washed,
            float(around.gradient[window][border].mean() * 10.0 / top) if border.any() else 0.0,
            np.log1p(10 * volume_ml),
            tubularity,
            flatness,
            float(border.sum()) / voxels ** (2 / 3),
            long / 10.0,
            peak,
            background,
            peak / max(background, _LEAST),
            top / max(around.levels[2], _LEAST),
            *around.levels,
            around.wash_out,
            _mean_in_ball(around.signal, around.inside, mirrored, spacing) / top,
            skin_depth(around.inside, around.affine, ras_mm) / 50.0,
            float(np.linalg.norm(around.tips - np.asarray(ras_mm), axis=1).min()) / 50.0,
            float(j - column[0]) * spacing[1] / 50.0 if column.size else 0.0,
            abs(i - around.middle) * spacing[0] / 50.0,
            (k / around.inside.shape[2] - 0.5) * 2.0,
            rank,
        ],
        dtype=np.float32,
    )


def _region(part: Component | None, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """The bright region on a window of the grid; what reaches beyond the window is left out."""
    region = np.zeros(shape, dtype=bool)
    if part is None:
        return region
    low = np.maximum(np.array(part.start) - start, 0)
    high = np.minimum(np.array(part.start) - start + part.inside.shape, shape)
    if (high > low).all():
        taken = np.array(start) - part.start
        source = tuple(slice(a + t, b + t) for a, b, t in zip(low, high, taken))
        region[tuple(slice(a, b) for a, b in zip(low, high))] = part.inside[source]
    return region


def _form(region: np.ndarray, spacing: np.ndarray) -> tuple[float, float, float]:
    """Longest half-axis in mm, tubularity and flatness (0 round to 1) of a region, from its second moments."""
    points = np.argwhere(region) * spacing
    spread = np.cov(points.T, bias=True) if len(points) > 1 else np.zeros((3, 3))
    first, second, third = np.sqrt(np.sort(np.linalg.eigvalsh(spread + np.diag(spacing**2) / 12))[::-1])
    return float(first), float(1 - second / first), float(1 - third / second)


def _mean_in_ball(signal: np.ndarray, inside: np.ndarray, index: np.ndarray, spacing: np.ndarray) -> float:
    reach = MIRROR_MM / spacing
    low = np.maximum(np.ceil(index - reach), 0).astype(int)
    high = np.minimum(np.floor(index + reach) + 1, signal.shape).astype(int)
    if (high <= low).any():
        return 0.0
    window = tuple(slice(a, b) for a, b in zip(low, high))
    offsets = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, index, spacing)]
    ball = offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2 <= MIRROR_MM**2
    ball &= inside[window]
    return float(signal[window][ball].mean()) if ball.any() else 0.0
