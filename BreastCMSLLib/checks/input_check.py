"""What is fine and what is not about an exam, before it is analysed: green, amber and red findings, each one sentence.

Red stops the analysis, amber is for the reader to judge. A volume is looked at once (:func:`sketch`, the only part that
reads every voxel); all findings come from these sketches, so that a panel can keep them while the user tries orders.
Needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from ..core.errors import BreastCMSLError
from ..core.geometry import breasts_covered, closest_canonical_axes, extent_mm, grid_distance
from ..exam.exam import (
    MAX_PHASES,
    MIN_PHASES,
    WHOLE_T1,
    Exam,
    Phase,
    _check_volume,
    _guess_kind,
    t1_share_needed,
    wide_enough_for_both,
)
from ..exam.phase_order import looks_pre_contrast
from ..exam.subtraction_offset import subtraction_offset
from ..readers.detect import looks_other_contrast, looks_post_contrast, says_fat_saturation

GOOD, FAIR, BAD = "good", "fair", "bad"

_SKETCH_MM = 2.5
_BREAST_DEPTH_MM = 90.0
_MOVED_MM = 2.0
_FAT_DARK = 0.55
_GLAND_DARK, _GLAND_BRIGHT = 0.92, 1.08


@dataclass(frozen=True)
class Finding:
    """level: GOOD, FAIR or BAD. topic: a word or two ("Order"). text: one sentence, with the remedy where there is one."""

    level: str
    topic: str
    text: str


@dataclass(frozen=True, eq=False)
class Sketch:
    """What the check keeps of one volume.

    problem: why it cannot be used, or "". shape, affine: of the volume (IJK → RAS mm). small: float32 block means with
    axes along R, A, S (flipped where needed), voxels of ``small_mm``. offset: a scanner's constant, were it a subtraction.
    kind_vote: "subtractions" or "phases", by name and values. darkest: its least value.
    """

    name: str
    problem: str
    shape: tuple[int, ...] = ()
    affine: np.ndarray | None = None
    small: np.ndarray | None = None
    small_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    kind_vote: str = "phases"
    darkest: float = 0.0


@dataclass(frozen=True)
class Check:
    """The findings, worst first, and what the volumes were taken for ("phases" or "subtractions")."""

    findings: tuple[Finding, ...]
    kind: str

    @property
    def worst(self) -> str:
        levels = {finding.level for finding in self.findings}
        return next((level for level in (BAD, FAIR) if level in levels), GOOD)


def sketch(phase: Phase) -> Sketch:
    """Look at one volume: is it usable, and a small copy of it."""
    try:
        _check_volume(phase)
    except BreastCMSLError as error:
        return Sketch(phase.name, str(error))
    volume = phase.volume
    axes, flips = closest_canonical_axes(volume.affine)
    steps = [max(1, int(_SKETCH_MM / volume.spacing[axis] + 0.5)) for axis in range(3)]
    small = _block_means(volume.array, steps).transpose(axes)
    small = small[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    size = tuple(float(volume.spacing[axis] * steps[axis]) for axis in axes)
    return Sketch(
        phase.name,
        "",
        volume.shape,
        volume.affine,
        np.ascontiguousarray(small),
        size,
        subtraction_offset(volume.array),
        _guess_kind([phase]),
        float(volume.array.min()),
    )


def glance(phase: Phase, step_mm: float = 4.0) -> Sketch:
    """A sketch of single voxels a step apart, of a volume known to be usable: rougher than ``sketch``, and made in no time."""
    volume = phase.volume
    axes, flips = closest_canonical_axes(volume.affine)
    steps = [max(1, int(step_mm / s + 0.5)) for s in volume.spacing]
    small = volume.array[tuple(slice(None, None, step) for step in steps)].astype(np.float32).transpose(axes)
    small = small[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    size = tuple(float(volume.spacing[axis] * steps[axis]) for axis in axes)
    return Sketch(phase.name, "", volume.shape, volume.affine, np.ascontiguousarray(small), size)


def _block_means(array: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Means of blocks of ``steps`` voxels, float32; what does not fill a block at the end is left out."""
    kept = [max(1, n // step) for n, step in zip(array.shape, steps)]
    steps = [min(step, n) for n, step in zip(array.shape, steps)]
    total = np.zeros(kept, dtype=np.float32)
    for i in range(steps[0]):
        for j in range(steps[1]):
            for k in range(steps[2]):
                part = array[i :: steps[0], j :: steps[1], k :: steps[2]]
                total += part[: kept[0], : kept[1], : kept[2]]
    return total / np.float32(np.prod(steps))


def check_exam(exam: Exam) -> Check:
    """The check of an exam that a reader has accepted, in the order it was given."""
    phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]
    kind = "phases" if exam.pre is not None else "subtractions"
    made = [sketch(phase) for phase in phases]
    return check(phases, made, t1=exam.t1, t1_sketch=sketch(exam.t1) if exam.t1 is not None else None, kind=kind)


def check(
    phases: Sequence[Phase],
    sketches: Sequence[Sketch],
    *,
    t1: Phase | None = None,
    t1_sketch: Sketch | None = None,
    kind: str = "auto",
) -> Check:
    """Findings for volumes in the order they will be analysed; looks at no voxel.

    phases: only names and times are used. sketches: one for each phase. kind: "auto", "phases" or "subtractions".
    """
    findings = [Finding(BAD, "Image", _sentence(s.problem)) for s in (*sketches, *((t1_sketch,) if t1_sketch else ())) if s.problem]
    findings += _number(phases)
    usable = [s for s in sketches if not s.problem]
    if kind == "auto":
        kind = _kind(phases, usable)
    if len(usable) == len(sketches) >= MIN_PHASES:
        geometry = _geometry(usable)
        findings += geometry + _spacing(usable[0]) + _coverage(usable[0])
        findings += _times(phases, kind)
        if not any(finding.level == BAD for finding in geometry):
            findings += _order(phases, usable, kind)
            motion = _motion(usable, kind)
            still = not any(finding.level != GOOD for finding in motion)
            findings += motion + _fat(phases[0], usable, kind, still)
        findings += _offset(usable, kind)
    if not (t1_sketch and t1_sketch.problem):
        findings += _t1(t1, t1_sketch, usable, kind)
    rank = {BAD: 0, FAIR: 1, GOOD: 2}
    return Check(tuple(sorted(findings, key=lambda finding: rank[finding.level])), kind)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _kind(phases: Sequence[Phase], sketches: Sequence[Sketch]) -> str:
    if any(looks_pre_contrast(phase.name) for phase in phases):
        return "phases"
    return "subtractions" if sketches and all(s.kind_vote == "subtractions" for s in sketches) else "phases"


def _number(phases: Sequence[Phase]) -> list[Finding]:
    count = len(phases)
    if count < MIN_PHASES:
        return [
            Finding(BAD, "Phases", f"{count or 'No'} dynamic volume{'s' if not count else ''} chosen; at least {MIN_PHASES} are needed.")
        ]
    if count > MAX_PHASES:
        return [Finding(BAD, "Phases", f"{count} dynamic volumes are chosen; leave out all but {MAX_PHASES}.")]
    if count == 2:
        return [Finding(FAIR, "Phases", "Only two dynamic volumes: the shape of the enhancement curve cannot be judged.")]
    return [Finding(GOOD, "Phases", f"{count} dynamic volumes.")]


def _geometry(sketches: Sequence[Sketch]) -> list[Finding]:
    first = sketches[0]
    for other in sketches[1:]:
        if other.shape != first.shape:
            sizes = [" × ".join(map(str, s.shape)) for s in (other, first)]
            text = f"{other.name} has {sizes[0]} voxels but {first.name} {sizes[1]}; choose volumes of one acquisition."
            return [Finding(BAD, "Geometry", text)]
        apart = grid_distance(first.shape, first.affine, other.affine)
        if apart > 0.1:
            text = f"{other.name} lies {apart:.1f} mm away from {first.name}; choose volumes of one acquisition, under one transform."
            return [Finding(BAD, "Geometry", text)]
    direction = first.affine[:3, :3] / np.linalg.norm(first.affine[:3, :3], axis=0)
    axes, _ = closest_canonical_axes(first.affine)
    angle = max(float(np.degrees(np.arccos(min(1.0, abs(direction[row, axis]))))) for row, axis in enumerate(axes))
    tilted = f", tilted by {angle:.0f}°" if angle >= 1 else ""
    return [Finding(GOOD, "Geometry", f"All volumes lie on one grid of {' × '.join(map(str, first.shape))} voxels{tilted}.")]


def _spacing(one: Sketch) -> list[Finding]:
    spacing = np.linalg.norm(one.affine[:3, :3], axis=0)
    size = " × ".join(f"{s:.2f}" for s in spacing)
    thickest, others = float(spacing.max()), float(np.sort(spacing)[1])
    if thickest > 4.0 or others > 2.0:
        return [Finding(FAIR, "Spacing", f"Voxels of {size} mm are coarse: small lesions may be missed and peaks be less exact.")]
    return [Finding(GOOD, "Spacing", f"Voxels of {size} mm.")]


def _coverage(one: Sketch) -> list[Finding]:
    across = extent_mm(one.shape, one.affine)[0]
    if not wide_enough_for_both(one.shape, one.affine):
        return [Finding(FAIR, "Coverage", f"The images are {across:.0f} mm wide: the method expects both breasts in one acquisition.")]
    return [Finding(GOOD, "Coverage", f"{across:.0f} mm wide, enough for both breasts.")]


def _times(phases: Sequence[Phase], kind: str) -> list[Finding]:
    times = [phase.time_s for phase in phases]
    if any(time is None for time in times):
        text = "Acquisition times are unknown: equally spaced ones of an ordinary exam are assumed. Enter them in the table."
        return [Finding(FAIR, "Times", text)]
    steps = np.diff(np.array(times, dtype=float))
    if not (steps > 0).all():
        return [Finding(FAIR, "Times", "The times do not increase in this order and are not used; correct the order or the times.")]
    after = times[-1] - times[1 if kind == "phases" and len(times) > 1 else 0]
    text = f"The dynamic volumes span {times[-1] - times[0]:.0f} s."
    if len(times) > 2 and after < 120:
        return [Finding(FAIR, "Times", text[:-1] + ": too short to judge wash-out, which needs some minutes.")]
    if float(steps.max()) > 1800:
        return [Finding(FAIR, "Times", text[:-1] + ": a gap of more than half an hour; do they belong to one injection?")]
    return [Finding(GOOD, "Times", text)]


def _order(phases: Sequence[Phase], sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    named = [index for index, phase in enumerate(phases) if looks_pre_contrast(phase.name)]
    odd = next((phase.name for phase in phases if looks_other_contrast(phase.name)), None)
    if odd is not None:
        return [Finding(FAIR, "Order", f"{odd} does not sound like a dynamic volume; take it out if it is none.")]
    if kind == "subtractions":
        return (
            [] if not named else [Finding(FAIR, "Order", f"{phases[named[0]].name} is called pre-contrast, yet counts as a subtraction.")]
        )
    if named and 0 not in named:
        return [Finding(FAIR, "Order", f"{phases[named[0]].name} is called pre-contrast but {phases[0].name} comes first.")]
    first, body = sketches[0].small, _body(sketches[0].small)
    rises, darker = [], None
    for phase, other in zip(phases[1:], sketches[1:]):
        change = (other.small - first)[body]
        low, high = np.percentile(change, (0.5, 99.5)) if change.size else (0.0, 0.0)
        rises.append((float(low), float(high)))
        if -low > 2 * max(high, 0.0) and -low > 0.1 * float(np.median(first[body])):
            darker = phase.name
    if darker is not None:  # contrast agent only makes brighter
        return [Finding(FAIR, "Order", f"{phases[0].name} is brighter than {darker}: is it really the one before contrast?")]
    scale = float(np.median(first[body])) if body.any() else 0.0
    if rises and max(high for _, high in rises) < 0.25 * scale and all(high < 2 * -low for low, high in rises):
        return [Finding(FAIR, "Order", "Hardly any enhancement is seen after the first volume: was contrast agent given?")]
    how = "by time" if all(phase.time_s is not None for phase in phases) else "by number or name"
    return [Finding(GOOD, "Order", f"{phases[0].name} comes before contrast (ordered {how}).")]


def _offset(sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if kind != "subtractions":
        return []
    clipped = [s.name for s in sketches if s.darkest >= s.offset]
    if clipped:
        return [Finding(FAIR, "Offset", f"{clipped[0]} holds no negative values: it was cut off when saved, so wash-out may be missed.")]
    offsets = sorted({round(s.offset, 2) for s in sketches if s.offset})
    if offsets:
        return [Finding(GOOD, "Offset", "The scanner's offset of " + ", ".join(f"{o:g}" for o in offsets) + " will be removed.")]
    return [Finding(GOOD, "Offset", "Signed subtractions without an offset.")]


def _fat(phase: Phase, sketches: Sequence[Sketch], kind: str, still: bool) -> list[Finding]:
    """still: nothing moved, so that a difference of the volumes is enhancement."""
    if kind == "subtractions":
        return []
    said, bright = says_fat_saturation(phase.name), fat_brightness(sketches[0])
    gland = gland_brightness(sketches) if said is None and still else None
    if said is False or (bright is not None and bright > _FAT_DARK and gland is not None and gland < _GLAND_DARK):
        return [Finding(FAIR, "Fat", "The dynamic volumes seem to be without fat saturation; the model was trained with it.")]
    if said is None and (gland is None or gland <= _GLAND_BRIGHT) and (bright is None or bright >= _FAT_DARK):
        return []  # cannot be told
    return [Finding(GOOD, "Fat", "The dynamic volumes are fat-saturated.")]


def _t1(t1: Phase | None, one: Sketch | None, sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if t1 is None or one is None:
        if kind == "subtractions":
            text = "No T1 is chosen, so the breasts are outlined on the subtractions, which is less exact."
            return [Finding(FAIR, "T1", text)]
        return [Finding(GOOD, "T1", "No T1 is chosen: the breasts are outlined on the volume before contrast.")]
    if sketches:
        share = breasts_covered(sketches[0].shape, sketches[0].affine, one.shape, one.affine)
        if share < WHOLE_T1:
            text = f"{t1.name} shows {100 * share:.0f} % of where the breasts lie in the dynamic volumes"
            if share >= t1_share_needed(kind == "subtractions"):
                return [Finding(FAIR, "T1", f"{text}; what it does not show is left out.")]
            return [Finding(FAIR, "T1", f"{text}, too little to outline them; choose the whole T1 of this exam, or none.")]
    said, seen = says_fat_saturation(t1.name), fat_brightness(one)
    if said is True or (said is None and seen is not None and seen < _FAT_DARK):
        return [Finding(FAIR, "T1", f"{t1.name} seems to be fat-saturated; the outline works best on a T1 without fat saturation.")]
    if looks_post_contrast(t1.name):
        return [Finding(FAIR, "T1", f"{t1.name} seems to be taken after contrast; one before contrast suits better.")]
    return [Finding(GOOD, "T1", f"{t1.name} outlines the breasts.")]


def _body(small: np.ndarray) -> np.ndarray:
    """Voxels well above the air, by the two-class threshold of the histogram of square roots (Otsu 1979)."""
    values = np.sqrt(np.clip(small - float(np.percentile(small, 1)), 0, None))
    top = float(np.percentile(values, 99.5))
    if not top > 0:
        return np.zeros(small.shape, bool)
    counts, edges = np.histogram(np.minimum(values, top), bins=128, range=(0, top))
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.sum(counts * middles) - np.cumsum(counts * middles)) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return values > edges[int(between.argmax()) + 1]


def _under_the_skin(one: Sketch) -> tuple[np.ndarray, np.ndarray] | None:
    """Depth in mm behind the front of the body, and where that is a breast (both broadcast to ``one.small``); None without a body."""
    body = _body(one.small)
    if not body.any():
        return None
    found = one.small > 0.5 * float(one.small[body].min())  # lower than tissue: suppressed fat counts as body
    last, step = found.shape[1] - 1, one.small_mm[1]
    front = np.where(found.any(axis=1), last - np.argmax(found[:, ::-1, :], axis=1), -1)
    breasts = (front >= 0) & (front > np.percentile(front[front >= 0], 90) - 60 / step)
    return (front[:, None, :] - np.arange(last + 1)[None, :, None]) * step, breasts[:, None, :]


def fat_brightness(one: Sketch) -> float | None:
    """Brightness of the layer 5 to 12 mm under the skin (fat), as a share of the bright tissue (90th percentile) down to 60 mm.

    0.60 to 0.96 in volumes without fat saturation. With it 0.1 to 0.6 where there is glandular tissue to compare with, but as
    high as without in breasts of fat alone. None when no body is found.
    """
    if (places := _under_the_skin(one)) is None:
        return None
    depth, breasts = places
    fat = one.small[(depth >= 5) & (depth < 12) & breasts]
    tissue = one.small[(depth >= 5) & (depth < 60) & breasts]
    if fat.size < 200 or not (top := float(np.percentile(tissue, 90))) > 0:
        return None
    return float(np.median(fat)) / top


def gland_brightness(sketches: Sequence[Sketch]) -> float | None:
    """Brightness before contrast of what enhances most in the breasts (the top tenth: glandular tissue, vessels), as a multiple
    of what enhances least (the lower half: fat), each relative to its surroundings, as coils light the front more.

    Fat is the darker of both only with fat saturation: 0.40 to 0.86 without it in 40 simulated exams; with it 0.61 to
    0.87 in the 5 of 120 that are taken for unsaturated; 1.26 (with) and 0.90 (without) in two public ones. About 1 where nothing
    enhances but noise. sketches: the volume before contrast and those after it, on one grid. None when no body is found.
    """
    first = sketches[0]
    if (places := _under_the_skin(first)) is None:
        return None
    depth, breasts = places
    inside = (depth >= 5) & (depth < 40) & breasts
    weight = inside.astype(np.float32)
    count = _box_means(weight, first.small_mm)

    def around(values: np.ndarray) -> np.ndarray:
        return _box_means(weight * values, first.small_mm) / np.maximum(count, 1e-3)

    rise = np.mean([s.small for s in sketches[1:4]], axis=0) - first.small
    level = np.maximum(around(first.small), 1e-6)
    rise = rise / level
    rise = (rise - around(rise))[inside]
    bright = (first.small / level)[inside]
    rise, bright = rise[bright > 0.05], bright[bright > 0.05]
    if bright.size < 1000:
        return None
    least, most = np.percentile(rise, (50, 90))
    return float(np.median(bright[rise >= most]) / max(np.median(bright[rise <= least]), 1e-6))


def _box_means(values: np.ndarray, size_mm: Sequence[float], reach_mm: float = 25.0) -> np.ndarray:
    """Means over boxes that reach so far to either side, zeros beyond the edges."""
    for axis, size in enumerate(size_mm):
        reach = max(1, round(reach_mm / size))
        padding = [(0, 0)] * values.ndim
        padding[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(values, padding), axis=axis, dtype=np.float64)
        ahead, behind = np.arange(values.shape[axis]) + 2 * reach + 1, np.arange(values.shape[axis])
        values = ((sums.take(ahead, axis) - sums.take(behind, axis)) / (2 * reach + 1)).astype(np.float32)
    return values


def _front_part(body: np.ndarray, step_mm: float) -> np.ndarray:
    """Boolean, the shape of ``body`` (axes R, A, S): from its front edge backwards by the depth of a breast."""
    along = body.sum(axis=(0, 2))
    found = np.flatnonzero(along > 0.01 * max(1, along.max()))
    mask = np.zeros(body.shape, bool)
    if found.size:
        front = int(found[-1])
        mask[:, max(0, front - int(_BREAST_DEPTH_MM / step_mm)) : front + 1, :] = True
    return mask


def _motion(sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if kind == "subtractions" or len(sketches) < 2:
        return []
    moved = [displacement_mm(sketches[0], other) for other in sketches[1:]]
    worst = int(np.argmax(moved))
    if moved[worst] >= _MOVED_MM:
        text = (
            f"The breasts moved by about {moved[worst]:.0f} mm between {sketches[0].name} and {sketches[worst + 1].name}: "
            "bright edges may be motion, not enhancement."
        )
        return [Finding(FAIR, "Motion", text)]
    return [Finding(GOOD, "Motion", f"The breasts moved by less than {_MOVED_MM:.0f} mm between the volumes.")]


_MOVED: WeakKeyDictionary[Sketch, WeakKeyDictionary[Sketch, float]] = WeakKeyDictionary()


def displacement_mm(a: Sketch, b: Sketch) -> float:
    """How far the breasts moved from one volume to the other, mm: the larger of both sides, by cross-correlation of edges.

    Edges, because contrast agent changes brightness; only the front of the body, because the heart beats. Remembered
    while both sketches live, because a user who tries orders asks for the same pairs again.
    """
    known = _MOVED.setdefault(a, WeakKeyDictionary())
    if b not in known:
        known[b] = _displacement_mm(a, b)
    return known[b]


def _displacement_mm(a: Sketch, b: Sketch) -> float:
    front = _front_part(_body(a.small), a.small_mm[1])
    rows = np.flatnonzero(front.any(axis=(0, 2)))
    if rows.size < 2 or min(front.shape) < 2:  # no edges to compare
        return 0.0
    found = 0.0
    edges = [_edges(s.small[:, rows[0] : rows[-1] + 1, :], s.small_mm) for s in (a, b)]
    middle = edges[0].shape[0] // 2
    for half in (slice(0, middle), slice(middle, None)):
        one, other = (e[half] for e in edges)
        if min(one.shape) >= 8:
            shift = _shift(one, other)
            found = max(found, float(np.linalg.norm(shift * np.array(a.small_mm))))
    return found


def _edges(small: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Gradient magnitude of the square root (which evens out bright vessels), faded out at the borders."""
    values = np.sqrt(np.clip(small, 0, None))
    magnitude = np.sqrt(sum(g * g for g in np.gradient(values, *size)))
    magnitude = np.minimum(magnitude, float(np.percentile(magnitude, 99)))
    for axis, n in enumerate(magnitude.shape):
        shape = [1, 1, 1]
        shape[axis] = n
        magnitude = magnitude * np.minimum(1.0, 8 * np.sin(np.pi * (np.arange(n) + 0.5) / n)).reshape(shape)
    return magnitude - magnitude.mean()


def _shift(one: np.ndarray, other: np.ndarray, reach: int = 8) -> np.ndarray:
    """Displacement in voxels (3,) at the maximum of the cross-correlation, to a fraction of a voxel by a parabola."""
    spectrum = np.fft.rfftn(other) * np.conj(np.fft.rfftn(one))
    correlation = np.fft.irfftn(spectrum, s=one.shape, axes=(0, 1, 2))
    window = np.ix_(*[np.arange(-min(reach, n // 2 - 1), min(reach, n // 2 - 1) + 1) for n in one.shape])
    near = correlation[window]
    top = np.array(np.unravel_index(int(near.argmax()), near.shape))
    centre = np.array([(n - 1) // 2 for n in near.shape])
    fine = np.zeros(3)
    for axis in range(3):
        if 0 < top[axis] < near.shape[axis] - 1:
            step = np.eye(3, dtype=int)[axis]
            low, mid, high = (float(near[tuple(top + k * step)]) for k in (-1, 0, 1))
            curve = low - 2 * mid + high
            fine[axis] = 0.5 * (low - high) / curve if curve else 0.0
    return top - centre + fine
