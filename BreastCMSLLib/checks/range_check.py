"""Is this an exam the model was made for? Reasons why not, so that nothing out of range is scored in silence.

The checks look at what the network read and at the exam behind it, on a coarse grid: they cost a fraction of a second.
They cannot prove that an exam is in range; they catch what would make a score meaningless.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.geometry import extent_mm, resample
from ..exam.exam import Exam, wide_enough_for_both
from ..preprocessing.enhancement import mean_of
from ..preprocessing.model_input import PLAUSIBLE_ML, ModelInput
from .input_check import displacement_mm, glance

MAX_SPACING_MM = 4.0
MIN_SIDE_ML = 40.0  # a breast after large surgery is smaller than that at most on one side
MIN_SIDE_SHARE = 0.15
MIN_SULCUS_MM = 6.0  # the skin over the sternum lies that far behind the breasts
MIN_COHERENCE = 0.15  # of the mean subtraction over about 9 mm: 0.0 for noise, about 0.5 in the two real exams
SPAN_S = (60.0, 1800.0)  # from the first post-contrast phase to the last
MAX_STEP_S = 420.0
MAX_EXTENT_MM = 300.0  # from head to foot; a breast MRI takes in 140 to 260 mm
MIN_RECESS_MM = 15.0  # the breasts end towards head or foot: 32 mm and more in simulated and real exams, 0 in a pair of thighs
MAX_MOVED_MM = 4.0  # up to 2.8 mm in simulated and real exams, 9 mm and more between phases of two exams
# loss against gain of a phase's extreme hundredths (up to 0.66 in simulated and real exams, 1.07 and more with a wrong volume before
# contrast), and the least loss, on the model's scale
DARKER, MIN_LOSS = 0.9, 0.1
IMPLANT_ML = 120.0
_COARSE_MM = 4.4


@dataclass(frozen=True)
class Reason:
    """code: a stable word for programs. text: a sentence for people."""

    code: str
    text: str


def out_of_range(exam: Exam, made: ModelInput) -> list[Reason]:
    """Why the model's answer for this exam should not be trusted; empty when nothing was found.

    made: what ``preprocess`` made of the exam. codes: "spacing", "extent", "phases", "times", "motion", "one breast",
    "mask volume", "not a breast", "order", "noise", "implant".
    """
    motion = _motion(exam)
    reasons = [*_acquisition(exam), *motion]
    spacing = np.linalg.norm(made.affine[:3, :3], axis=0)
    step = np.maximum(1, np.round(_COARSE_MM / spacing)).astype(int)
    coarse = tuple(slice(None, None, int(s)) for s in step)
    inside = made.inside[coarse]
    affine = made.affine.copy()
    affine[:3, :3] *= step
    size = spacing * step
    if any(reason.code == "one breast" for reason in reasons):
        reasons += _volume(made, "breast", 0.5)
    else:
        reasons += _volume(made, "pair of breasts") + _breasts(inside, size, made.middle / step[0])
    mean = mean_of(made.array)
    if _coherence(mean, made.inside, spacing, exam) < MIN_COHERENCE:
        reasons.append(
            Reason(
                "noise", "The enhancement inside the breasts has no more structure than noise: was contrast given, are the phases right?"
            )
        )
    elif not motion and _darkens(made.array[(slice(None), *coarse)][:, inside]):  # motion darkens as much as it brightens
        reasons.append(Reason("order", "The breasts get darker instead of brighter: is the volume before contrast the first one?"))
    if not reasons and (volume := _implant_ml(exam, made, mean[coarse], inside, affine, size)) > IMPLANT_ML:
        reasons.append(
            Reason(
                "implant",
                f"A breast holds {volume:.0f} ml without texture or enhancement, as an implant does: the model has seen no implants.",
            )
        )
    return reasons


def _acquisition(exam: Exam) -> list[Reason]:
    reasons = []
    spacing = exam.grid.spacing
    if spacing.max() > MAX_SPACING_MM:
        reasons.append(
            Reason(
                "spacing",
                f"The voxels measure up to {spacing.max():.1f} mm, more than {MAX_SPACING_MM:g} mm: small lesions cannot be seen.",
            )
        )
    across, _, height = extent_mm(exam.grid.shape, exam.grid.affine)
    if not wide_enough_for_both(exam.grid.shape, exam.grid.affine):
        reasons.append(
            Reason(
                "one breast",
                f"The exam is {across:.0f} mm wide, too little for both breasts, which the model knows: is it of one breast, or of another "
                "part of the body?",
            )
        )
    if height > MAX_EXTENT_MM:
        reasons.append(
            Reason(
                "extent",
                f"The exam measures {height:.0f} mm from head to foot, more than a breast MRI does: "
                "does it hold two exams in one volume, or another part of the body?",
            )
        )
    if len(exam.post) < 2:
        reasons.append(Reason("phases", "There is only one post-contrast phase, so the model cannot see how enhancement goes on."))
    times = exam.times_s
    if times is not None and len(times) > 1:
        span, steps = float(times[-1] - times[0]), np.diff(times)
        if not SPAN_S[0] <= span <= SPAN_S[1] or steps.max() > MAX_STEP_S:
            reasons.append(
                Reason(
                    "times",
                    f"The post-contrast phases span {span:.0f} s in steps of up to {steps.max():.0f} s; the model knows spans of "
                    f"{SPAN_S[0]:.0f} to {SPAN_S[1]:.0f} s in steps below {MAX_STEP_S:.0f} s.",
                )
            )
    return reasons


def _motion(exam: Exam) -> list[Reason]:
    """Phases in which the breasts lie elsewhere than before contrast: moved, or another exam's."""
    if exam.pre is None:
        return []
    first = glance(exam.pre)
    moved = [displacement_mm(first, glance(phase)) for phase in exam.post]
    worst = int(np.argmax(moved))
    if moved[worst] <= MAX_MOVED_MM:
        return []
    return [
        Reason(
            "motion",
            f"The breasts lie about {moved[worst]:.0f} mm apart in {exam.pre.name} and {exam.post[worst].name}: the patient moved, or the "
            "volumes are of two exams; edges then look like enhancement.",
        )
    ]


def _volume(made: ModelInput, what: str, share: float = 1.0) -> list[Reason]:
    low, high = PLAUSIBLE_ML
    if share * low <= made.mask_volume_ml <= share * high:
        return []
    return [Reason("mask volume", f"The breast region found measures {made.mask_volume_ml:.0f} ml, as no {what} does.")]


def _breasts(inside: np.ndarray, size: np.ndarray, middle: float) -> list[Reason]:
    """Two breasts, with a valley over the sternum between them."""
    reasons = []
    columns = np.arange(inside.shape[0])
    voxel_ml = float(np.prod(size)) / 1000.0
    sides = {"left": inside[columns < middle].sum() * voxel_ml, "right": inside[columns > middle].sum() * voxel_ml}
    small, large = sorted(sides, key=sides.get)
    if sides[small] < MIN_SIDE_ML or sides[small] < MIN_SIDE_SHARE * sides[large]:
        reasons.append(
            Reason(
                "one breast",
                f"Only the {large} breast was found ({small} {sides[small]:.0f} ml, {large} {sides[large]:.0f} ml); "
                "the model knows exams of both.",
            )
        )
    elif _sulcus_mm(inside, size, middle) < MIN_SULCUS_MM or _recess_mm(inside, size) < MIN_RECESS_MM:
        reasons.append(
            Reason(
                "not a breast",
                "The body does not have the shape of two breasts, with a valley between them and an end towards head or foot: is this a "
                "breast MRI, and was the patient lying on her front?",
            )
        )
    return reasons


def _sulcus_mm(inside: np.ndarray, size: np.ndarray, middle: float) -> float:
    """How far the front of the mask at the midline lies behind its most anterior places on both sides (the lesser side counts)."""
    met = inside.any(axis=1)
    front = np.where(met, inside.shape[1] - 1 - np.argmax(inside[:, ::-1, :], axis=1), np.nan) * size[1]
    columns = np.arange(inside.shape[0])
    central = front[np.abs(columns - middle) * size[0] < 15]
    between = float(np.nanmedian(central)) if np.isfinite(central).any() else -np.inf  # no tissue at all over the sternum
    peaks = [
        np.nanpercentile(side, 95) if np.isfinite(side := front[choice]).any() else -np.inf
        for choice in (columns < middle, columns > middle)
    ]
    return min(peaks) - between


def _darkens(values: np.ndarray) -> bool:
    """True when the breasts (phases × voxels) lose more than they gain in some phase: contrast agent only makes brighter."""
    if not values.shape[1]:
        return False
    lows, highs = np.percentile(values, (1, 99), axis=1)
    return bool((-lows > DARKER * np.maximum(highs, 0.0)).any() and (-lows).max() > MIN_LOSS)


def _recess_mm(inside: np.ndarray, size: np.ndarray) -> float:
    """How far the front of the mask in its first or last slices (about 7 mm; the larger counts) lies behind its most anterior place."""
    met = inside.any(axis=1)
    front = np.where(met, inside.shape[1] - 1 - np.argmax(inside[:, ::-1, :], axis=1), np.nan) * size[1]
    tops = np.array([np.percentile(line[np.isfinite(line)], 95) for line in front.T if np.isfinite(line).sum() > 5])
    if tops.size < 6:
        return 0.0
    ends = max(1, round(7 / size[2]))
    return float(tops.max() - min(tops[:ends].mean(), tops[-ends:].mean()))


def _coherence(mean: np.ndarray, inside: np.ndarray, spacing: np.ndarray, exam: Exam) -> float:
    """Correlation inside the mask of the mean subtraction, in blocks of about 4 mm, with itself two blocks further on.

    Voxels of the exam larger than a block are told by the noise of one voxel: then the shift is two such voxels.
    """
    step = np.maximum(1, np.round(_COARSE_MM / spacing)).astype(int)
    whole = tuple(slice(0, n // s * s) for n, s in zip(mean.shape, step, strict=True))
    split = [part for n, s in zip(mean.shape, step, strict=True) for part in (n // s, s)]
    blocks = mean[whole].reshape(split).mean(axis=(1, 3, 5), dtype=np.float64)
    full = inside[whole].reshape(split).all(axis=(1, 3, 5))
    lag = int(np.ceil(max(2.0, 2.0 * float(exam.grid.spacing.max()) / float((spacing * step).min())) - 1e-6))
    found = []
    for axis in range(3):
        one, other = np.moveaxis(blocks, axis, 0)[:-lag], np.moveaxis(blocks, axis, 0)[lag:]
        both = np.moveaxis(full, axis, 0)[:-lag] & np.moveaxis(full, axis, 0)[lag:]
        a, b = one[both], other[both]
        if a.size > 100 and a.std() > 0 and b.std() > 0:
            found.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.mean(found)) if found else 1.0


def _implant_ml(exam: Exam, made: ModelInput, mean: np.ndarray, inside: np.ndarray, affine: np.ndarray, size: np.ndarray) -> float:
    """Millilitres of the largest compact part of the breasts that has one grey value, unlike the fat under the skin, and does
    not enhance. 0 without a T1 that made the mask, or a pre-contrast phase, to look at.
    """
    from scipy import ndimage

    image = exam.t1 if made.mask_source == "t1" else exam.pre
    if image is None:
        return 0.0
    values = resample(image.volume, inside.shape, affine).array
    deep = [ndimage.binary_erosion(inside, iterations=max(1, round(mm / size.min()))) for mm in (4.0, 13.0)]
    under_skin = deep[0] & ~deep[1]
    if under_skin.sum() < 50:
        return 0.0
    fat = float(np.median(values[under_skin]))
    contrast = float(np.percentile(values[deep[0]], 95) - np.percentile(values[deep[0]], 5))
    values = ndimage.uniform_filter(values, 3)  # as implants are large, noise is in the way and edges are not
    texture = ndimage.generic_gradient_magnitude(values, ndimage.sobel) / 32.0
    unlike = inside & (np.abs(values - fat) > 0.3 * contrast)
    calm = unlike & (texture < 0.06 * contrast) & (np.abs(ndimage.uniform_filter(mean, 5)) < 0.05)
    opened = ndimage.binary_opening(calm, iterations=max(1, round(10 / size.min())))
    if not opened.any():
        return 0.0
    # smoothing made its rim look uneven
    labels, _ = ndimage.label(ndimage.binary_dilation(opened, iterations=max(1, round(9 / size.min())), mask=unlike))
    return float(np.bincount(labels.ravel())[1:].max() * np.prod(size) / 1000.0)
