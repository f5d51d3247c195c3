"""The candidates of an exam: where it enhances, washes out or stands out, each described by its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import apply_affine
from ..core.threads import for_each
from ..preprocessing.landmarks import Landmarks
from .candidate import Candidate
from .features import ExamContext, measure_features
from .peaks import find_peaks, normalise
from .regions import FAR_MM, TIGHT, snap
from .settings import CandidateSettings

SNAP_MM = 6.0  # these maps peak on a bright voxel already
SAME_MM = 6.0  # candidates of two maps this close are one
SCALE_PERCENTILE = 99.0  # of the mean enhancement inside the mask, as in preprocessing.model_input
_DARK = 0.1  # of the exam's scale, lest the darkest tissue stand out most


@dataclass(frozen=True)
class ExamCandidates:
    """The candidates of one exam, described.

    Parameters
    ----------
    candidates : list of Candidate
        ``index`` on the grid of ``affine``.
    features : ndarray of float32, shape (candidates, len(settings.features))
    affine : ndarray, shape (4, 4)
        Voxel index of the grid they were found on → RAS mm.
    duration_min : float or None
        From the first phase after contrast to the last; None where not known.
    """

    candidates: list[Candidate]
    features: np.ndarray
    affine: np.ndarray
    duration_min: float | None


def propose_candidates(
    array: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    duration_min: float | None,
    settings: CandidateSettings,
    landmarks: Landmarks | None = None,
) -> ExamCandidates:
    """The strongest local maxima of each of ``_MAPS``, moved to the bright regions beside them, and their
    features.

    Parameters
    ----------
    array : ndarray of float32, shape (phases, LR, AP, SI)
        As ``preprocess`` makes it.
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
        Voxel index → RAS mm.
    duration_min : float or None
    settings : CandidateSettings
    landmarks : Landmarks, optional
        None looks for them in the mask.

    Returns
    -------
    ExamCandidates
        None of them where the mask is empty.

    Raises
    ------
    InputError
        The voxels do not divide ``settings.grid_mm``.
    """
    array, inside, affine = coarsen(array, inside, affine, coarsening(affine, settings))
    if not inside.any():
        return ExamCandidates(
            [], np.zeros((0, len(settings.features)), dtype=np.float32), affine, duration_min
        )
    # averaging takes the height off the brightest voxels: scaled anew, inputs of any voxel size give the same
    # numbers
    array = array / np.float32(max(float(np.percentile(array.mean(axis=0)[inside], SCALE_PERCENTILE)), 1e-3))
    context = ExamContext.of(array, inside, affine, landmarks)
    ranked = _ranked_candidates(context, settings)

    def describe(pair: tuple[Candidate, int]) -> list[float]:
        features = measure_features(context, pair[0], pair[1] / settings.count)
        return [features[name] for name in settings.features]

    features = np.array(for_each(describe, ranked), dtype=np.float32).reshape(
        len(ranked), len(settings.features)
    )
    return ExamCandidates([candidate for candidate, _ in ranked], features, affine, duration_min)


def coarsening(affine: np.ndarray, settings: CandidateSettings) -> int:
    """How many voxels of an input make one of ``settings.grid_mm``; raises InputError where they do not."""
    spacing = float(np.linalg.norm(np.asarray(affine)[:3, 0]))
    factor = max(1, round(settings.grid_mm / spacing))
    if abs(factor * spacing - settings.grid_mm) > 0.02 * settings.grid_mm:
        raise InputError(
            f"Candidates are read at {settings.grid_mm:g} mm; "
            f"an input of {spacing:g} mm voxels does not divide it."
        )
    return factor


def _ranked_candidates(context: ExamContext, settings: CandidateSettings) -> list[tuple[Candidate, int]]:
    """Candidates of all maps, each with its rank in the first map that has it."""

    def peaks_of(saliency: Callable[[ExamContext], np.ndarray]) -> list[Candidate]:
        scaled = normalise(saliency(context), context.inside)
        return find_peaks(
            scaled, context.inside, context.affine, count=settings.count, separation_mm=settings.separation_mm
        )

    peaks = for_each(peaks_of, _MAPS)
    # maps often share a maximum: each is moved once
    distinct = {peak.index: peak for of_map in reversed(peaks) for peak in of_map}
    moved = dict(zip(distinct, for_each(lambda peak: _snapped(peak, context), list(distinct.values()))))
    ranked: list[tuple[Candidate, int]] = []
    for of_map in peaks:
        for rank, peak in enumerate(of_map):
            for candidate in moved[peak.index]:
                if all(_distance_mm(candidate, other) >= SAME_MM for other, _ in ranked):
                    ranked.append((candidate, rank))
    return ranked


def _mean(values: np.ndarray, width: int) -> np.ndarray:
    return ndimage.uniform_filter(values, width)


# each for cancers that the maps before it miss
_MAPS: tuple[Callable[[ExamContext], np.ndarray], ...] = (
    lambda exam: exam.smooth,
    lambda exam: exam.smooth * np.maximum(_mean(exam.fall, 3), 0.0),
    lambda exam: np.maximum(exam.smooth - _mean(exam.early, 9), 0.0),  # small ones among much background
    lambda exam: np.maximum(exam.excess, 0.0) / (exam.background + _DARK),  # weak ones in quiet tissue
    lambda exam: np.maximum(_mean(exam.array[0], 3) - 0.5 * _mean(exam.array[-1], 3), 0.0),  # bright at first
)


def _snapped(peak: Candidate, context: ExamContext) -> list[Candidate]:
    """A maximum moved to the centre of its bright region, and where that lies far off, of its higher part
    too.

    Such a region may hold more than the lesion.
    """
    snapped: list[Candidate] = []
    for level in (0.5, TIGHT):
        snapped += snap([peak], context.early, context.inside, context.affine, search_mm=SNAP_MM, level=level)
        if _distance_mm(snapped[-1], peak) <= FAR_MM:
            break
    return snapped


def _distance_mm(one: Candidate, other: Candidate) -> float:
    return float(np.linalg.norm(np.subtract(one.ras_mm, other.ras_mm)))


def coarsen(
    array: np.ndarray, inside: np.ndarray, affine: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average a model input over cubes of ``factor``³ voxels; an incomplete rest is dropped.

    Parameters
    ----------
    array : ndarray, shape (phases, LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
    affine : ndarray, shape (4, 4)
    factor : int

    Returns
    -------
    array : ndarray of float32, shape (phases, LR // factor, AP // factor, SI // factor)
    inside : ndarray of bool
        True where the mask fills half of the cube.
    affine : ndarray, shape (4, 4)
        Cube index → RAS mm of its centre.
    """
    if factor == 1:
        return np.asarray(array, dtype=np.float32), inside, np.array(affine, dtype=np.float64)
    size = [n // factor for n in inside.shape]
    whole = tuple(slice(0, n * factor) for n in size)
    means = np.empty((len(array), *size), dtype=np.float32)

    def average(phase: int) -> None:
        values = np.asarray(array[(phase, *whole)], dtype=np.float32)
        np.divide(_sums(values, factor), np.float32(factor**3), out=means[phase])

    for_each(average, range(len(array)))
    filled = 2 * _sums(inside[whole].astype(np.int32), factor) >= factor**3
    coarse = np.array(affine, dtype=np.float64)
    coarse[:3, :3] *= factor
    coarse[:3, 3] = apply_affine(affine, np.full(3, (factor - 1) / 2))
    return means, filled, coarse


def _sums(values: np.ndarray, factor: int) -> np.ndarray:
    """Sums over cubes of ``factor``³ voxels of (i, j, k), row by row in k, then j, then i: that order is part
    of the result.
    """
    total = None
    for i in range(factor):
        for j in range(factor):
            line = values[i::factor, j::factor]
            row = line[..., ::factor] + line[..., 1::factor]
            for k in range(2, factor):
                row += line[..., k::factor]
            if total is None:
                total = row
            else:
                total += row
    return total
