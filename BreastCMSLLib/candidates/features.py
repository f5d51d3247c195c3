"""Radiomic features of a candidate: its curve and wash-out, brightness, interior, shape, surroundings and
position.

Radiologists judge a lesion by such signs (curve type, rim, margin, homogeneity; Schnall et al., Radiology
2006;238:42). The candidate classifier learns what they are worth.

Each function of :data:`GROUPS` returns ``{name: value}`` and is a group of features: a new feature is a new
entry of its dictionary, and takes part in the next classifier that is trained. Arrays lie on one grid:
``array`` (phases, LR, AP, SI), ``inside`` (boolean breast mask), ``affine`` (voxel index → RAS mm; i towards
R, j towards A, k towards S).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import ndimage

from ..core.geometry import apply_affine
from ..core.moments import flatness, half_axes, tubularity
from ..core.threads import for_each
from ..core.windows import bounding_box, box_about, squared_distance
from ..preprocessing.enhancement import early_phases, mean_enhancement
from ..preprocessing.landmarks import Landmarks, Skin
from .candidate import Candidate, Region
from .outline import Outline

SHELLS_MM = (0.0, 4.5, 9.0, 13.5, 18.0, 24.0)  # borders of the shells about a candidate
HIGH_MM, OUTER_MM = 9.0, 13.5  # from where on shells give high values, and all the rest its curve
CONTRAST_MM = ((4.5, 9.0, 18.0), (9.0, 13.5, 24.0))  # radius of a ball, and the shell it is compared with
LAYERS_MM = (0.0, 2.3, 4.5, 6.7, 100.0)  # borders of the layers of its body, from the surface inwards
BRIGHTEST_MM = 11.5  # how far the brightest voxels are looked for
BRIGHTEST = (1, 4, 8, 16)  # numbers of voxels whose means are taken
FALLS = (0.2, 0.3)  # of the early enhancement, by which a voxel washes out strongly
LEVELS = (0.25, 0.7)  # of the height above the background, at which the size is taken again
MIRROR_MM = 9.0  # radius of the ball in the other breast
_LEAST = 0.05  # of the exam's scale: no division by less enhancement
_QUIET = 0.02  # likewise, by less spread
_FACES = ndimage.generate_binary_structure(3, 1)
_EDGES = ndimage.generate_binary_structure(3, 2)


@dataclass(frozen=True)
class ExamContext:
    """What the candidates of an exam share.

    Parameters
    ----------
    array : ndarray of float32, shape (phases, LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
        Voxel index → RAS mm.
    early, average : ndarray of float32, shape (LR, AP, SI)
        Mean positive enhancement of the early phases; mean of all phases.
    fall : ndarray of float32, shape (LR, AP, SI)
        Highest of the first half of the phases less the last.
    gradient : ndarray
        Steepness of ``early`` per mm.
    levels : tuple of float
        50th, 95th and 99.5th percentile of ``early`` inside the mask.
    wash_out : float
        Of the whole mask.
    landmarks : Landmarks
    skin : Skin
    middle : float
        Index i of the midline.
    smooth, background, excess : ndarray
        Means of ``early`` over 3 and 13 voxels; over 5, less the background.
    ranked : tuple of ndarray
        ``smooth`` and ``excess`` inside the mask, rising.
    """

    array: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    early: np.ndarray
    average: np.ndarray
    fall: np.ndarray
    gradient: np.ndarray
    levels: tuple[float, float, float]
    wash_out: float
    landmarks: Landmarks
    skin: Skin
    middle: float
    smooth: np.ndarray
    background: np.ndarray
    excess: np.ndarray
    ranked: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, array: np.ndarray, inside: np.ndarray, affine: np.ndarray, landmarks: Landmarks | None = None
    ) -> ExamContext:
        """The context of an exam; arrays as in the module's docstring. Landmarks that are not given are
        looked for in the mask. Raises InputError for an empty mask.
        """
        affine = np.asarray(affine, dtype=np.float64)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        landmarks = landmarks or Landmarks.of_mask(inside, affine)
        # enhancement of the early phases, how it falls, and how steep it is
        early = mean_enhancement(array, early_phases(len(array)))
        fall = array[: len(array) // 2].max(axis=0) - array[-1]
        slopes = np.gradient(early, *spacing.tolist())
        # the exam as a whole
        values = early[inside]
        levels = tuple(float(level) for level in np.percentile(values, (50, 95, 99.5)))
        wash_out = float(fall[inside].sum() / max(float(values.sum()), 1e-6))
        # what stands out from its surroundings
        smooth, excess, background = for_each(lambda width: ndimage.uniform_filter(early, width), (3, 5, 13))
        excess -= background
        return cls(
            array=array,
            inside=inside,
            affine=affine,
            early=early,
            average=array.mean(axis=0),
            fall=fall,
            gradient=np.sqrt(sum(slope**2 for slope in slopes)),
            levels=levels,
            wash_out=wash_out,
            landmarks=landmarks,
            skin=Skin.of(inside, affine),
            middle=float(apply_affine(np.linalg.inv(affine), landmarks.nipples)[:, 0].mean()),
            smooth=smooth,
            background=background,
            excess=excess,
            ranked=(np.sort(smooth[inside]), np.sort(excess[inside])),
        )

    @cached_property
    def spacing(self) -> np.ndarray:
        """Voxel size along each axis, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


class Neighbourhood:
    """A candidate on a window of the grid that reaches as far as the last shell.

    Parameters
    ----------
    context : ExamContext
    candidate : Candidate
        ``index`` on the context's grid.
    rank : float
        Among the candidates of its map, 0 first to 1 last.
    """

    def __init__(self, context: ExamContext, candidate: Candidate, rank: float):
        self.context, self.candidate, self.rank = context, candidate, rank
        self.spacing = context.spacing
        index, reach = candidate.index, np.ceil(SHELLS_MM[-1] / self.spacing).astype(int)
        window = box_about(index, reach, context.early.shape)
        self.array = context.array[(slice(None), *window)]
        self.early, self.average = context.early[window], context.average[window]
        self.fall, self.gradient = context.fall[window], context.gradient[window]
        self.allowed = context.inside[window]
        self.distance = np.sqrt(squared_distance(window, index, self.spacing))
        # the bright region; a small ball where nothing stands out
        self.region = _on_window(candidate.region, [s.start for s in window], self.early.shape)
        if not self.region.any():
            self.region = self.distance < 1.5 * self.spacing.max()
        # its body with a dark centre, the outermost voxels of that, and mm below its surface
        box = bounding_box(self.region, margin=1)
        self.body, self.border = np.zeros_like(self.region), np.zeros_like(self.region)
        self.depth = np.zeros(self.region.shape, dtype=np.float32)
        self.body[box] = ndimage.binary_fill_holes(self.region[box])
        self.border[box] = self.body[box] & ~ndimage.binary_erosion(self.body[box], _FACES)
        distance = ndimage.distance_transform_edt(np.pad(self.body[box], 1), sampling=self.spacing)
        self.depth[box] = distance[1:-1, 1:-1, 1:-1]
        # its mean curve, and the top of that
        self.curve = self.array[:, self.region].mean(axis=1)
        self.top = max(float(self.curve.max()), _LEAST)

    @cached_property
    def shells(self) -> list[tuple[str, float, np.ndarray]]:
        """Name, inner radius in mm and voxels of each shell inside the mask."""
        return [
            (f"{low:g}-{high:g} mm", low, self.allowed & (self.distance >= low) & (self.distance < high))
            for low, high in zip(SHELLS_MM, SHELLS_MM[1:])
        ]

    @cached_property
    def layers(self) -> list[tuple[str, np.ndarray]]:
        """Name and voxels of each layer of the body."""
        return [
            (f"from {low:g} mm inwards", self.body & (self.depth > low) & (self.depth <= high))
            for low, high in zip(LAYERS_MM, LAYERS_MM[1:])
        ]

    @cached_property
    def brightest(self) -> list[tuple[int, float, float]]:
        """Of the so many brightest voxels nearby: number, mean early enhancement and mean fall."""
        near = self.allowed & (self.distance <= BRIGHTEST_MM)
        order = np.argsort(-self.early[near], kind="stable")[: BRIGHTEST[-1]]
        early, fall = self.early[near][order], self.fall[near][order]
        if not early.size:
            return [(n, 0.0, 0.0) for n in BRIGHTEST]
        return [(n, float(early[:n].mean()), float(fall[:n].mean())) for n in BRIGHTEST]

    @cached_property
    def outline(self) -> Outline:
        """Its body seen along rays."""
        region = self.candidate.region
        background = self.context.levels[0] if region is None else region.background
        late = self.array[len(self.array) // 2 :].mean(axis=0)
        return Outline(self.early, late, self.body, self.allowed, self.spacing, background)

    def wash_out(self, where: np.ndarray) -> float:
        """Fall of some voxels as a share of their early enhancement, at most 2 either way."""
        return _share(float(self.fall[where].sum()), float(self.early[where].sum()))


def curve_and_wash_out(place: Neighbourhood) -> dict[str, float]:
    """The mean curve, and how the region, its parts and its surroundings wash out."""
    half = len(place.curve) // 2
    own = place.early[place.region]
    share = np.clip(place.fall[place.region] / np.maximum(own, _LEAST), -2, 2)
    weight = own / max(float(own.sum()), 1e-6)
    return {
        **{f"curve at phase {n}": value for n, value in enumerate(place.curve / place.top, 1)},
        "wash-out of the curve": (float(place.curve[:half].max()) - float(place.curve[-1])) / place.top,
        **{f"wash-out of the brightest {n}": _share(fall, mean) for n, mean, fall in place.brightest},
        "share that washes out": weight[share > 0.1].sum(),
        "share that goes on rising": weight[share < -0.1].sum(),
        **{f"share that washes out by {100 * fall:g} %": weight[share > fall].sum() for fall in FALLS},
        **_percentiles("wash-out", share, (10, 50, 90)),
        "spread of the wash-out": share.std(),
        **{f"wash-out {name}": place.wash_out(layer) if layer.any() else 0.0 for name, layer in place.layers},
        **{f"wash-out at {name}": place.wash_out(shell) for name, _, shell in place.shells},
        "wash-out of the exam": place.context.wash_out,
    }


def brightness(place: Neighbourhood) -> dict[str, float]:
    """How bright it is by itself, against its surroundings and against the whole exam."""
    context, region = place.context, place.candidate.region
    peak = place.brightest[0][1] if region is None else region.peak
    background = context.levels[0] if region is None else region.background
    brighter, outstanding = (
        float(np.log10(1 - np.searchsorted(ranked, values[place.candidate.index]) / len(ranked) + 1e-4))
        for ranked, values in zip(context.ranked, (context.smooth, context.excess))
    )
    median, high, highest = context.levels
    return {
        "height of the curve (log)": np.log(place.top),
        **{f"early signal of the brightest {n}": mean / place.top for n, mean, _ in place.brightest},
        **_contrasts(place),
        "share of the exam that is brighter": brighter,
        "share of the exam that stands out more": outstanding,
        "peak": peak,
        "contrast": peak / max(background, _LEAST),
        "share of the exam's brightest": place.top / max(highest, _LEAST),
        "median signal of the exam": median,
        "95th percentile of the exam": high,
        "99.5th percentile of the exam": highest,
    }


def inside_and_rim(place: Neighbourhood) -> dict[str, float]:
    """How even it is inside, and its rim against its centre."""
    last = place.array[-1]
    early, late, own = place.early[place.body], last[place.body], place.early[place.region]
    mean, spread = max(float(early.mean()), _LEAST), float(early.std())
    inner = place.body & ~place.border
    rim = 1.0
    if inner.any():
        rim = place.early[inner].mean() / max(float(place.early[place.border].mean()), _LEAST)
    layers = {
        f"layer {name}": float(place.early[layer].mean()) / mean if layer.any() else 1.0
        for name, layer in place.layers
    }
    return {
        "heterogeneity": float(own.std()) / max(float(own.mean()), _LEAST),
        "heterogeneity of the last phase": float(late.std()) / max(float(late.mean()), _LEAST),
        "skewness": float(((early - early.mean()) ** 3).mean()) / max(spread, 1e-3) ** 3,
        "texture": _texture(place.early, place.body) / mean,
        "texture of the last phase": _texture(last, place.body) / mean,
        "rim": float(rim),
        **layers,
        **place.outline.inside,
    }


def size_and_shape(place: Neighbourhood) -> dict[str, float]:
    """Volume at several heights, elongation, thickness, and how smooth and sharp its border is."""
    voxels = int(place.body.sum())
    volume_mm3 = voxels * float(np.prod(place.spacing))
    radius = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)  # of the ball of that volume
    points = np.argwhere(place.body) * place.spacing
    axes = half_axes(np.cov(points.T, bias=True) if len(points) > 1 else np.zeros((3, 3)), place.spacing)
    middle = np.argwhere(place.body).mean(axis=0)
    radii = np.linalg.norm((np.argwhere(place.border) - middle) * place.spacing, axis=1) / radius
    thick = float(place.depth.max())
    return {
        "sharpness of the border": float(place.gradient[place.border].mean()) * 10.0 / place.top,
        "volume (log)": np.log1p(10 * volume_mm3 / 1000.0),
        **{
            f"volume at {level:g} of the height (log)": np.log(max(_voxels_above(place, level), 1) / voxels)
            for level in LEVELS
        },
        "volume left by an opening": float(ndimage.binary_opening(place.body, _EDGES).sum()) / voxels,
        "tubularity": tubularity(axes),
        "flatness": flatness(axes),
        "compactness": float(place.border.sum()) / voxels ** (2 / 3),
        "extent": float(axes[0]) / 10.0,
        "thickness": thick / 10.0,
        "roundness": thick / radius,
        "radius, spread": float(radii.std()),
        **_percentiles("radius", radii, (10, 90, 100)),
        **place.outline.shape,
    }


def surroundings(place: Neighbourhood) -> dict[str, float]:
    """The shells about it, the curve of what lies farther out, and the same point of the other breast."""
    signals, spreads, highs = {}, {}, {}
    for name, low, shell in place.shells:
        values = place.early[shell]
        signals[f"signal at {name}"] = float(values.sum()) / max(values.size, 1) / place.top
        spreads[f"spread at {name}"] = float(values.std()) / place.top if values.size else 0.0
        if low >= HIGH_MM:
            high = float(np.percentile(values, 95)) / place.top if values.size else 0.0
            highs[f"95th percentile at {name}"] = high
    outer = place.allowed & (place.distance >= OUTER_MM)
    curve = place.array[:, outer].mean(axis=1) if outer.any() else np.zeros(len(place.array))
    region = place.candidate.region
    return {
        **signals,
        **spreads,
        **highs,
        **{f"surroundings at phase {n}": v for n, v in enumerate(curve / max(float(curve.max()), _LEAST), 1)},
        "background": place.context.levels[0] if region is None else region.background,
        "signal in the other breast": _mean_in_other_breast(place) / place.top,
    }


def position(place: Neighbourhood) -> dict[str, float]:
    """Where in the breast it lies."""
    context, candidate = place.context, place.candidate
    i, j, k = candidate.index
    column = np.flatnonzero(context.inside[i, :, k])
    landmarks, point = context.landmarks, candidate.ras_mm
    return {
        "depth below the skin": context.skin.depth(candidate.ras_mm) / 50.0,
        "distance to the nipple": float(
            np.linalg.norm(context.landmarks.nipples - np.asarray(candidate.ras_mm), axis=1).min()
        )
        / 50.0,
        "distance to the chest wall": float(j - column[0]) * place.spacing[1] / 50.0 if column.size else 0.0,
        "distance to the midline": abs(i - context.middle) * place.spacing[0] / 50.0,
        "height in the field of view": (k / context.inside.shape[2] - 0.5) * 2.0,
        "rank among the candidates": place.rank,
        "mm above the nipple": landmarks.above_nipple_mm(point) / 50.0,
        "mm from the midline": abs(landmarks.from_midline_mm(point)) / 50.0,
        "mm from the nipple": landmarks.from_nipple_mm(point) / 50.0,
        "mm in front of the chest wall": landmarks.in_front_of_wall_mm(point) / 50.0,
    }


CURVE = "curve and wash-out"
GROUPS: dict[str, Callable[[Neighbourhood], dict[str, float]]] = {
    CURVE: curve_and_wash_out,
    "brightness": brightness,
    "inside and rim": inside_and_rim,
    "size and shape": size_and_shape,
    "surroundings": surroundings,
    "position": position,
}


def measure_features(context: ExamContext, candidate: Candidate, rank: float) -> dict[str, float]:
    """All features of one candidate.

    Parameters
    ----------
    context : ExamContext
    candidate : Candidate
    rank : float
        Among the candidates of its map, 0 first to 1 last.

    Returns
    -------
    dict of str to float
        Feature name → value, without unit: lengths are shares of a breast's, signals shares of the exam's
        scale.
    """
    place = Neighbourhood(context, candidate, rank)
    return {name: value for group in GROUPS.values() for name, value in group(place).items()}


@cache
def feature_groups(phases: int) -> dict[str, str]:
    """Feature name → its group, for exams of so many phases.

    The names are those that the functions of ``GROUPS`` give to any candidate; here to a bright ball.
    """
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid = np.indices((24, 24, 24)) - 12
    ball = (grid**2).sum(axis=0) < 9
    array = np.stack([ball.astype(np.float32)] * phases)
    place = Neighbourhood(
        ExamContext.of(array, np.ones(ball.shape, dtype=bool), affine),
        Candidate((24.0, 24.0, 24.0), 1.0, (12, 12, 12)),
        0.0,
    )
    return {name: group for group, measure in GROUPS.items() for name in measure(place)}


def _percentiles(name: str, values: np.ndarray, percentiles: Sequence[int]) -> dict[str, float]:
    return {f"{name}, percentile {n}": v for n, v in zip(percentiles, np.percentile(values, percentiles))}


def _share(fall: float, signal: float) -> float:
    return float(np.clip(fall / max(signal, _LEAST), -2, 2))


def _contrasts(place: Neighbourhood) -> dict[str, float]:
    """How far a ball stands out from a shell about it, in the shell's spreads: one bright point among many is
    ordinary.
    """
    contrasts = {}
    for radius, low, high in CONTRAST_MM:
        ball = place.allowed & (place.distance < radius)
        shell = place.allowed & (place.distance >= low) & (place.distance < high)
        for when, values in (
            ("early", place.early),
            ("on average", place.average),
            ("at last", place.array[-1]),
        ):
            own, others = values[ball], values[shell]
            contrast = 0.0
            if own.size and others.size:
                contrast = float(np.clip((own.mean() - others.mean()) / (others.std() + _QUIET), -9, 9))
            contrasts[f"stands out {when} from {low:g}-{high:g} mm"] = contrast
    return contrasts


def _texture(values: np.ndarray, body: np.ndarray) -> float:
    """Standard deviation of what a mean over 3×3×3 voxels takes away."""
    box = bounding_box(body, margin=1)
    return float((values[box] - ndimage.uniform_filter(values[box], 3))[body[box]].std())


def _voxels_above(place: Neighbourhood, level: float) -> int:
    """Voxels above a share of the height: below a half, those connected to the body; above it, those of the
    body itself.
    """
    region = place.candidate.region
    if region is None:
        return int(place.body.sum())
    smooth = ndimage.uniform_filter(place.early, 3)
    above = smooth >= region.background + level * (region.peak - region.background)
    above = above & place.allowed & (place.distance <= SHELLS_MM[-1])
    if level >= 0.5:
        return int((above & place.body).sum())
    labels, count = ndimage.label(above, _FACES)
    connected = np.zeros(count + 1, dtype=bool)
    connected[labels[place.body]] = True
    connected[0] = False
    return int(connected[labels].sum())


def _on_window(region: Region | None, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """A region on a window of the grid; what reaches beyond the window is left out."""
    on_window = np.zeros(shape, dtype=bool)
    if region is None:
        return on_window
    offset = np.array(region.start) - start
    low, high = np.maximum(offset, 0), np.minimum(offset + region.inside.shape, shape)
    if (high > low).all():
        source = tuple(slice(a, b) for a, b in zip(low - offset, high - offset))
        on_window[tuple(slice(a, b) for a, b in zip(low, high))] = region.inside[source]
    return on_window


def _mean_in_other_breast(place: Neighbourhood) -> float:
    """Mean early enhancement about the mirrored point, 0 outside the mask."""
    context, (i, j, k) = place.context, place.candidate.index
    mirrored = np.array([2 * context.middle - i, j, k])
    window = box_about(mirrored, MIRROR_MM / place.spacing, context.early.shape)
    if window is None:
        return 0.0
    ball = squared_distance(window, mirrored, place.spacing) <= MIRROR_MM**2
    ball &= context.inside[window]
    return float(context.early[window][ball].mean()) if ball.any() else 0.0
