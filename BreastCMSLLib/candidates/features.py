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

from ..core.geometry import apply_affine, extent
from ..core.threads import for_each
from ..preprocessing.enhancement import early, signal_of
from ..preprocessing.landmarks import Skin, nipples
from .regions import Component

SHELLS_MM = (0.0, 4.5, 9.0, 13.5, 18.0, 24.0)  # borders of the shells about a place
HIGH_MM, OUTER_MM = 9.0, 13.5  # from where on shells tell their high values, and all else in the window its curve
STANDS_MM = ((4.5, 9.0, 18.0), (9.0, 13.5, 24.0))  # radius of a ball, and borders of the shell that it is held against
LAYERS_MM = (0.0, 2.3, 4.5, 6.7, 100.0)  # borders of the layers of its body, from the surface inwards
BRIGHTEST = (1, 4, 8, 16)  # numbers of voxels whose means are taken
FALLS = (0.2, 0.3)  # of the early signal, by which a voxel washes out strongly
LEVELS = (0.25, 0.7)  # of the height above the background, at which the size is taken again
MIRROR_MM = 9.0  # radius of the ball in the other breast
_LEAST = 0.05  # of the exam's scale: enhancement below is not divided by
_QUIET = 0.02  # likewise, a spread
_FACES = ndimage.generate_binary_structure(3, 1)
_EDGES = ndimage.generate_binary_structure(3, 2)


def names(phases: int) -> tuple[str, ...]:
    """Names of the numbers, in their order, for inputs of so many phases."""
    shells = [f"{low:g}-{high:g} mm" for low, high in zip(SHELLS_MM, SHELLS_MM[1:])]
    layers = [f"from {low:g} mm inwards" for low in LAYERS_MM[:-1]]
    return (
        # _curve
        *(f"curve at phase {n + 1}" for n in range(phases)),
        "height of the curve (log)",
        "wash-out of the curve",
        *(f"early signal of the brightest {n}" for n in BRIGHTEST),
        *(f"wash-out of the brightest {n}" for n in BRIGHTEST),
        "share that washes out",
        "share that goes on rising",
        *(f"share that washes out by {100 * fall:g} %" for fall in FALLS),
        *(f"wash-out, percentile {n}" for n in (10, 50, 90)),
        "spread of the wash-out",
        # _inside
        "heterogeneity",
        "heterogeneity of the last phase",
        "skewness",
        "texture",
        "texture of the last phase",
        "rim",
        *(f"layer {layer}" for layer in layers),
        *(f"wash-out {layer}" for layer in layers),
        # _shape
        "sharpness of the border",
        "volume (log)",
        *(f"volume at {level:g} of the height (log)" for level in LEVELS),
        "volume left by an opening",
        "tubularity",
        "flatness",
        "compactness",
        "extent",
        "thickness",
        "roundness",
        "radius, spread",
        *(f"radius, percentile {n}" for n in (10, 90, 100)),
        # _about
        *(f"signal at {shell}" for shell in shells),
        *(f"wash-out at {shell}" for shell in shells),
        *(f"spread at {shell}" for shell in shells),
        *(f"95th percentile at {shell}" for shell, low in zip(shells, SHELLS_MM) if low >= HIGH_MM),
        *(f"surroundings at phase {n + 1}" for n in range(phases)),
        *(f"stands out {when} from {low:g}-{high:g} mm" for _, low, high in STANDS_MM for when in ("early", "on average", "at last")),
        "share of the exam that is brighter",
        "share of the exam that stands out more",
        "peak",
        "background",
        "contrast",
        "share of the exam's brightest",
        "median signal of the exam",
        "95th percentile of the exam",
        "99.5th percentile of the exam",
        "wash-out of the exam",
        "signal in the other breast",
        # _position
        "depth below the skin",
        "distance to the nipple",
        "distance to the chest wall",
        "distance to the midline",
        "height in the field of view",
        "rank among the places",
    )


CURVE = "curve and wash-out"
# words by which a number belongs to a group, the first that fits
_WORDS = {
    CURVE: ("curve at", "wash", "rising"),
    "brightness": (
        "height of the curve",
        "early signal",
        "peak",
        "contrast",
        "brightest",
        "percentile of the exam",
        "median signal",
        "stands out",
        "share of the exam",
    ),
    "inside and rim": ("heterogeneity", "rim", "skewness", "texture", "layer"),
    "size and shape": ("volume", "tubularity", "flatness", "compactness", "extent", "sharpness", "thickness", "roundness", "radius"),
    "surroundings": ("signal at", "spread at", "percentile at", "surroundings", "background", "other breast"),
    "position": ("depth", "distance", "field of view", "rank"),
}
GROUPS = tuple(_WORDS)


def group_of(name: str) -> str:
    """The group of a number, by its name."""
    return next(group for group, words in _WORDS.items() if any(word in name for word in words))


@dataclass(frozen=True)
class Surroundings:
    """What the places of an exam share. signal: early enhancement; gradient: its steepness per mm; middle: index i of the midline.

    smooth, background: means of the signal over 3 and 13 voxels; excess: over 5, less the background. average: of all phases.
    ranked: smooth and excess inside the mask, rising.
    """

    array: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    signal: np.ndarray
    fall: np.ndarray
    gradient: np.ndarray
    levels: tuple[float, float, float]
    wash_out: float
    tips: np.ndarray
    skin: Skin
    middle: float
    smooth: np.ndarray
    background: np.ndarray
    excess: np.ndarray
    average: np.ndarray
    ranked: tuple[np.ndarray, np.ndarray]

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
        placed = np.asarray(affine, dtype=np.float64)
        smooth, excess, background = for_each(lambda width: ndimage.uniform_filter(signal, width), (3, 5, 13))
        excess -= background
        return cls(
            array, inside, placed, signal, fall, gradient, levels, wash_out, tips, Skin.of(inside, affine), middle,
            smooth, background, excess, array.mean(axis=0), (np.sort(smooth[inside]), np.sort(excess[inside])),
        )  # fmt: skip

    def brighter(self, index: Sequence[int]) -> list[float]:
        """Shares of the exam that are as bright as a voxel or brighter, and that stand out as much (log10)."""
        maps = zip(self.ranked, (self.smooth, self.excess))
        return [float(np.log10(1 - np.searchsorted(ranked, values[tuple(index)]) / len(ranked) + 1e-4)) for ranked, values in maps]


@dataclass(frozen=True)
class _Place:
    """One place, on a window of the grid that reaches as far as the last shell.

    distance: mm from its voxel. region: the bright voxels; body: with a dark centre; border: its outermost voxels;
    depth: mm below its surface (0 outside). top: of the region's mean curve.
    """

    array: np.ndarray
    average: np.ndarray
    signal: np.ndarray
    fall: np.ndarray
    gradient: np.ndarray
    allowed: np.ndarray
    spacing: np.ndarray
    distance: np.ndarray
    region: np.ndarray
    body: np.ndarray
    border: np.ndarray
    depth: np.ndarray
    curve: np.ndarray
    top: float

    @classmethod
    def of(cls, around: Surroundings, index: Sequence[int], part: Component | None) -> _Place:
        spacing = np.linalg.norm(around.affine[:3, :3], axis=0)
        reach = np.ceil(SHELLS_MM[-1] / spacing).astype(int)
        window = tuple(slice(max(n - r, 0), n + r + 1) for n, r in zip(index, reach))
        array, signal, allowed = around.array[(slice(None), *window)], around.signal[window], around.inside[window]
        start = [s.start for s in window]
        offsets = [(np.arange(n) + s - c) * step for n, s, c, step in zip(signal.shape, start, index, spacing)]
        distance = np.sqrt(offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2)
        region = _region(part, start, signal.shape)
        if not region.any():
            region = distance < 1.5 * spacing.max()
        box = _box_with_margin(region)
        body, border, depth = np.zeros_like(region), np.zeros_like(region), np.zeros(region.shape, dtype=np.float32)
        body[box] = ndimage.binary_fill_holes(region[box])
        border[box] = body[box] & ~ndimage.binary_erosion(body[box], _FACES)
        depth[box] = ndimage.distance_transform_edt(np.pad(body[box], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        curve = array[:, region].mean(axis=1)
        return cls(
            array, around.average[window], signal, around.fall[window], around.gradient[window], allowed, spacing, distance,
            region, body, border, depth, curve, max(float(curve.max()), _LEAST),
        )  # fmt: skip


def describe(around: Surroundings, index: Sequence[int], ras_mm: Sequence[float], part: Component | None, rank: float) -> np.ndarray:
    """The numbers of ``names`` for one place, float32. index: its voxel; part: the bright region there; rank: 0 first to 1 last."""
    place = _Place.of(around, index, part)
    values = [*_curve(place), *_inside(place), *_shape(place, part), *_about(place, around, index, part)]
    return np.array([*values, *_position(around, index, ras_mm, rank)], dtype=np.float32)


def _brightest(place: _Place) -> tuple[list[float], list[float]]:
    """Mean early signal and mean fall of the brightest voxels near the place."""
    near = place.allowed & (place.distance <= 11.5)
    order = np.argsort(-place.signal[near], kind="stable")[: BRIGHTEST[-1]]
    signal, fall = place.signal[near][order], place.fall[near][order]
    if not signal.size:
        return [0.0] * len(BRIGHTEST), [0.0] * len(BRIGHTEST)
    return [float(signal[:n].mean()) for n in BRIGHTEST], [float(fall[:n].mean()) for n in BRIGHTEST]


def _wash_out(place: _Place, where: np.ndarray) -> float:
    return _fallen(float(place.fall[where].sum()), float(place.signal[where].sum()))


def _fallen(fall: float, signal: float) -> float:
    return float(np.clip(fall / max(signal, _LEAST), -2, 2))


def _curve(place: _Place) -> list[float]:
    half = len(place.curve) // 2
    own = place.signal[place.region]
    share = np.clip(place.fall[place.region] / np.maximum(own, _LEAST), -2, 2)
    weight = own / max(float(own.sum()), 1e-6)
    means, falls = _brightest(place)
    return [
        *(place.curve / place.top),
        np.log(place.top),
        (float(place.curve[:half].max()) - float(place.curve[-1])) / place.top,
        *(mean / place.top for mean in means),
        *(np.clip(fall / max(mean, _LEAST), -2, 2) for fall, mean in zip(falls, means)),
        weight[share > 0.1].sum(),
        weight[share < -0.1].sum(),
        *(weight[share > fall].sum() for fall in FALLS),
        *np.percentile(share, (10, 50, 90)),
        share.std(),
    ]


def _inside(place: _Place) -> list[float]:
    last = place.array[-1]
    early, late = place.signal[place.body], last[place.body]
    mean, spread = max(float(early.mean()), _LEAST), float(early.std())
    inner = place.body & ~place.border
    rim = place.signal[inner].mean() / max(float(place.signal[place.border].mean()), _LEAST) if inner.any() else 1.0
    layers, washed = [], []
    for low, high in zip(LAYERS_MM, LAYERS_MM[1:]):
        layer = place.body & (place.depth > low) & (place.depth <= high)
        layers.append(float(place.signal[layer].mean()) / mean if layer.any() else 1.0)
        washed.append(_wash_out(place, layer) if layer.any() else 0.0)
    own = place.signal[place.region]
    return [
        float(own.std()) / max(float(own.mean()), _LEAST),
        float(late.std()) / max(float(late.mean()), _LEAST),
        float(((early - early.mean()) ** 3).mean()) / max(spread, 1e-3) ** 3,
        _texture(place.signal, place.body) / mean,
        _texture(last, place.body) / mean,
        float(rim),
        *layers,
        *washed,
    ]


def _texture(values: np.ndarray, body: np.ndarray) -> float:
    """Standard deviation of what a mean over 3×3×3 voxels takes away."""
    box = _box_with_margin(body)
    return float((values[box] - ndimage.uniform_filter(values[box], 3))[body[box]].std())


def _shape(place: _Place, part: Component | None) -> list[float]:
    voxels = int(place.body.sum())
    volume_mm3 = voxels * float(np.prod(place.spacing))
    radius = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)  # of the ball of that volume
    long, tubularity, flatness = _form(place.body, place.spacing)
    middle = np.argwhere(place.body).mean(axis=0)
    radii = np.linalg.norm((np.argwhere(place.border) - middle) * place.spacing, axis=1) / radius
    thick = float(place.depth.max())
    return [
        float(place.gradient[place.border].mean()) * 10.0 / place.top,
        np.log1p(10 * volume_mm3 / 1000.0),
        *(np.log(max(count, 1) / voxels) for count in _sizes(place, part)),
        float(ndimage.binary_opening(place.body, _EDGES).sum()) / voxels,
        tubularity,
        flatness,
        float(place.border.sum()) / voxels ** (2 / 3),
        long / 10.0,
        thick / 10.0,
        thick / radius,
        float(radii.std()),
        *np.percentile(radii, (10, 90, 100)),
    ]


def _sizes(place: _Place, part: Component | None) -> list[int]:
    """Voxels above ``LEVELS`` of the height: below a half, those connected to the body, above it, those of the body itself."""
    if part is None:
        return [int(place.body.sum())] * len(LEVELS)
    smooth = ndimage.uniform_filter(place.signal, 3)
    found = []
    for level in LEVELS:
        above = (smooth >= part.background + level * (part.peak - part.background)) & place.allowed & (place.distance <= SHELLS_MM[-1])
        if level < 0.5:
            labels, count = ndimage.label(above, _FACES)
            met = np.zeros(count + 1, dtype=bool)
            met[labels[place.body]] = True
            met[0] = False
            above = met[labels]
        else:
            above &= place.body
        found.append(int(above.sum()))
    return found


def _about(place: _Place, around: Surroundings, index: Sequence[int], part: Component | None) -> list[float]:
    peak, background = (part.peak, part.background) if part is not None else (_brightest(place)[0][0], around.levels[0])
    mirrored = np.array([2 * around.middle - index[0], index[1], index[2]])
    return [
        *_shells(place),
        *_stands(place),
        *around.brighter(index),
        peak,
        background,
        peak / max(background, _LEAST),
        place.top / max(around.levels[2], _LEAST),
        *around.levels,
        around.wash_out,
        _mean_in_ball(around.signal, around.inside, mirrored, place.spacing) / place.top,
    ]


def _shells(place: _Place) -> list[float]:
    """Mean, wash-out, spread and high values of the shells about a place, and the curve of what lies farther out."""
    means, washed, spreads, highs = [], [], [], []
    for low, high in zip(SHELLS_MM, SHELLS_MM[1:]):
        there = place.allowed & (place.distance >= low) & (place.distance < high)
        values = place.signal[there]
        total = float(values.sum())
        means.append(total / max(values.size, 1) / place.top)
        washed.append(_fallen(float(place.fall[there].sum()), total))
        spreads.append(float(values.std()) / place.top if values.size else 0.0)
        if low >= HIGH_MM:
            highs.append(float(np.percentile(values, 95)) / place.top if values.size else 0.0)
    outer = place.allowed & (place.distance >= OUTER_MM)
    curve = place.array[:, outer].mean(axis=1) if outer.any() else np.zeros(len(place.array))
    return [*means, *washed, *spreads, *highs, *(curve / max(float(curve.max()), _LEAST))]


def _stands(place: _Place) -> list[float]:
    """How far a ball stands out from a shell about it, in the shell's spreads; a bright place among others is ordinary."""
    found = []
    for radius, low, high in STANDS_MM:
        ball = place.allowed & (place.distance < radius)
        shell = place.allowed & (place.distance >= low) & (place.distance < high)
        for values in (place.signal, place.average, place.array[-1]):
            own, others = values[ball], values[shell]
            known = own.size and others.size
            found.append(float(np.clip((own.mean() - others.mean()) / (others.std() + _QUIET), -9, 9)) if known else 0.0)
    return found


def _position(around: Surroundings, index: Sequence[int], ras_mm: Sequence[float], rank: float) -> list[float]:
    spacing = np.linalg.norm(around.affine[:3, :3], axis=0)
    i, j, k = index
    column = np.flatnonzero(around.inside[i, :, k])
    return [
        around.skin.depth(ras_mm) / 50.0,
        float(np.linalg.norm(around.tips - np.asarray(ras_mm), axis=1).min()) / 50.0,
        float(j - column[0]) * spacing[1] / 50.0 if column.size else 0.0,
        abs(i - around.middle) * spacing[0] / 50.0,
        (k / around.inside.shape[2] - 0.5) * 2.0,
        rank,
    ]


def _box_with_margin(mask: np.ndarray) -> tuple[slice, ...]:
    """The box of what is true, and a voxel more on every side."""
    return tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in extent(mask))


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
