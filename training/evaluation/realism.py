"""How far simulated exams are from real ones: one number an exam for each property that shows.

Every number is measured in the same way on simulated and real exams, from what *Analyze* makes of them: mask,
model input, candidates and their features at 2.2 mm, and from the exam's own voxels for noise and motion. No
model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.covariance import LedoitWolf

from BreastCMSLLib.candidates.proposals import propose_candidates
from BreastCMSLLib.candidates.regions import VESSEL
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.moments import half_axes, tubularity
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.preprocessing.enhancement import early_phases, mean_enhancement
from BreastCMSLLib.preprocessing.model_input import ModelInput, preprocess
from training.data import cache

SPACING_MM = 2.2  # of the model input
_BRIGHT = 0.5  # of the exam's scale
_SMALLEST = 4  # voxels of a bright component that has a shape
_SMOOTH_MM = 4.0  # what is slower than this is no noise

PROPERTIES = {
    "last over first": "mean enhancement inside the mask, last ÷ first phase",
    "surroundings at phase 1": "of the ordinary candidate, as a share of their maximum",
    "fat at first": "commonest enhancement inside the mask at the first phase, in shares of the scale",
    "bright per 1000": "voxels of the mask with early enhancement above half of the scale",
    "tubular share": "of these voxels, in components that are elongated as vessels are",
    "noise correlation": "between neighbours on the exam's own grid, mean of the axes",
    "noise": "standard deviation of a phase on the exam's own grid, in shares of the scale",
    "below −3 σ, %": "voxels of the mask that lose signal in the first subtraction",
    "to the nipple, mm": "of the ordinary candidate",
    "to the chest wall, mm": "of the ordinary candidate",
    "breasts, l": "volume of the mask",
    "background": "median early enhancement inside the mask, in shares of the scale",
    "background, 95 %": "its 95th percentile",
}


@dataclass(frozen=True)
class Realism:
    """What was measured of an exam.

    Attributes
    ----------
    properties : dict of str to float
        By ``PROPERTIES``; not a number where an exam cannot tell.
    features : dict of str to float
        Median of each feature over the exam's candidates, the context they are judged in.
    """

    properties: dict[str, float]
    features: dict[str, float]


def measure_realism(exam: Exam) -> Realism:
    """Measure an exam.

    Parameters
    ----------
    exam : Exam
        Simulated or real.

    Returns
    -------
    Realism
        Its properties and feature medians.

    Raises
    ------
    InputError
        For an exam that cannot be preprocessed.
    """
    settings = CandidateSettings()
    model_input = preprocess(exam, cache.contract_at(SPACING_MM))
    described = propose_candidates(
        model_input.array,
        model_input.inside,
        model_input.affine,
        model_input.duration_min,
        settings,
        model_input.landmarks,
    )
    names, features = settings.features, described.features
    medians = np.median(features, axis=0) if len(features) else np.full(len(names), np.nan)
    ordinary = dict(zip(names, medians.astype(float).tolist()))
    properties = {
        **_enhancement(model_input),
        **_noise_and_motion(exam, model_input),
        "surroundings at phase 1": ordinary["surroundings at phase 1"],
        "to the nipple, mm": 50 * ordinary["distance to the nipple"],
        "to the chest wall, mm": 50 * ordinary["distance to the chest wall"],
        "breasts, l": model_input.mask_volume_ml / 1000,
    }
    return Realism({name: float(properties[name]) for name in PROPERTIES}, ordinary)


def _enhancement(model_input: ModelInput) -> dict[str, float]:
    array, inside = model_input.array, model_input.inside
    first, last = (float(array[n][inside].mean()) for n in (0, -1))
    early = mean_enhancement(array, early_phases(len(array)))
    values = early[inside]
    bright = inside & (early > _BRIGHT)
    return {
        "last over first": last / first if first > 0 else np.nan,
        "fat at first": _mode(array[0][ndimage.binary_erosion(inside)]),
        "bright per 1000": 1000 * float(bright.sum() / inside.sum()),
        "tubular share": _tubular_share(bright),
        "background": float(np.median(values)),
        "background, 95 %": float(np.percentile(values, 95)),
    }


def _mode(values: np.ndarray) -> float:
    """Commonest value, from a smooth histogram."""
    counts, edges = np.histogram(values, np.arange(-1, 1.001, 0.01))
    top = int(ndimage.gaussian_filter1d(counts.astype(float), 3).argmax())
    return float(edges[top : top + 2].mean())


def _tubular_share(bright: np.ndarray) -> float:
    """Share of the bright voxels in elongated components; components of few voxels are left out."""
    labels, count = ndimage.label(bright, np.ones((3, 3, 3)))
    tubular = total = 0
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        points = np.argwhere(labels[window] == number) * SPACING_MM
        if len(points) < _SMALLEST:
            continue
        total += len(points)
        axes = half_axes(np.cov(points.T, bias=True), np.full(3, SPACING_MM))
        tubular += len(points) * (tubularity(axes) > VESSEL)
    return tubular / total if total else np.nan


def _noise_and_motion(exam: Exam, model_input: ModelInput) -> dict[str, float]:
    """From the second difference of the last three phases, in which steady enhancement cancels."""
    names = ("noise correlation", "noise", "below −3 σ, %")
    inside, window = _on_own_grid(exam, model_input)
    count = len(exam.post)
    if count + (exam.pre is not None) < 3 or not inside.any():
        return dict.fromkeys(names, np.nan)
    volumes = [phase.volume.array[window].astype(np.float32) for phase in exam.phases[-3:]]
    difference = volumes[0] - 2 * volumes[1] + volumes[2]
    spacing = np.linalg.norm(exam.grid.affine[:3, :3], axis=0)
    difference -= ndimage.gaussian_filter(difference, _SMOOTH_MM / spacing)
    spread = _robust_spread(difference[inside])
    usual = inside & (np.abs(difference) < 3 * spread)
    neighbours = []
    for axis in range(3):
        low, high = (tuple(s if n == axis else slice(None) for n in range(3)) for s in _PAIR)
        both = usual[low] & usual[high]
        neighbours.append(np.corrcoef(difference[low][both], difference[high][both])[0, 1])
    noise = spread / np.sqrt(6)
    first = exam.subtraction(0).array[window][inside]
    below = first < -3 * np.sqrt(2) * noise
    values = (np.mean(neighbours), noise / model_input.scale, 100 * below.mean())
    return {name: float(value) for name, value in zip(names, values)}


_PAIR = (slice(None, -1), slice(1, None))


def _robust_spread(values: np.ndarray) -> float:
    """Standard deviation of a normal distribution with the same median absolute value."""
    return 1.4826 * float(np.median(np.abs(values)))


def _on_own_grid(exam: Exam, model_input: ModelInput) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The mask on the exam's own voxels, cut to a window."""
    to_model = np.linalg.inv(model_input.affine) @ exam.grid.affine
    mask = ndimage.affine_transform(
        model_input.inside.astype(np.uint8),
        to_model[:3, :3],
        to_model[:3, 3],
        output_shape=exam.grid.shape,
        order=0,
    )
    window = (ndimage.find_objects(mask) or [None])[0] or tuple(slice(0, 1) for _ in range(3))
    return mask[window] > 0, window


def distances(simulated: Sequence[Realism], others: Sequence[Realism]) -> tuple[np.ndarray, np.ndarray]:
    """Squared Mahalanobis distances of feature medians to the simulated distribution.

    With a covariance shrunk as Ledoit and Wolf do (J Multivar Anal 2004;88:365–411), since exams are not many
    more than features. A simulated exam is compared with those of the other four fifths.

    Parameters
    ----------
    simulated, others : sequence of Realism
        The exams that make the distribution, and any others.

    Returns
    -------
    of_simulated, of_others : numpy.ndarray
        One for each exam.
    """
    table, new = (np.array([list(e.features.values()) for e in exams]) for exams in (simulated, others))
    new = new.reshape(len(others), table.shape[1])
    # a feature that is the same in nearly all exams has no scale to measure by
    varying = np.ptp(np.percentile(table, (5, 95), axis=0), axis=0) > 1e-6
    table, new = table[:, varying], new[:, varying]
    fold = np.arange(len(table)) % 5
    own = np.zeros(len(table))
    for number in range(5):
        own[fold == number] = _distance(table[fold != number], table[fold == number])
    return own, _distance(table, new)


def _distance(table: np.ndarray, new: np.ndarray) -> np.ndarray:
    mean, spread = table.mean(0), table.std(0) + 1e-6
    fitted = LedoitWolf(assume_centered=True).fit((table - mean) / spread)
    return fitted.mahalanobis((new - mean) / spread) if len(new) else np.zeros(0)
