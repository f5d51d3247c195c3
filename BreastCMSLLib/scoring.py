"""The score of one exam, from its network and its candidates, and the saliency maps and candidates that
explain it.

Slicer, the command line and evaluation score exams here and nowhere else. Arrays lie on the model's grid:
``array`` (phases, LR, AP, SI), ``inside`` (boolean breast mask) and ``early`` (mean early enhancement), both
(LR, AP, SI); ``affine`` takes a voxel index to RAS mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from .candidates.candidate import Candidate
from .candidates.classifier import exam_logit
from .candidates.from_map import candidates_from_map
from .candidates.grids import JudgedCandidates, judge_candidates
from .candidates.peaks import COUNT, normalise
from .candidates.proposals import SNAP_MM
from .candidates.regions import FAR_MM, snap
from .core.geometry import apply_affine
from .models.bundle import Bundle
from .models.decision import restate
from .models.inference import Prediction, Predictor
from .models.maps import LESION_MAP
from .network.attention import attention_map, upsample
from .network.resnet import NetworkSettings
from .preprocessing.enhancement import early_phases, mean_enhancement
from .preprocessing.landmarks import Landmarks, side

EDGE = 2  # voxels over which a region's edge may fall off
NEARLY = 0.95  # of the highest probability: between candidates this close the larger is the index lesion
LEAST_PROBABILITY = 0.02  # candidates below are not listed, unless they come first
LEAST_HEIGHT = 0.1  # nor those where their map is lower than this


@dataclass(frozen=True)
class ExamScore:
    """What a model says of one exam.

    Parameters
    ----------
    prediction : Prediction
        Of the network that reads the whole exam.
    logit, probability : float
        The exam's, from network and candidates, calibrated.
    candidates : list of Candidate or None
        Most suspicious first, each at the centre of its bright region. Their probabilities are calibrated
        where the bundle has a ``candidate_calibration``, else the candidate classifier's own. None when the
        model has no candidate classifier.
    breasts : dict of str to float
        "right" and "left" → logit, from the candidates of that side alone and the network, calibrated as the
        exam's; empty where the sides are not known.
    ordinary : ndarray of float32, shape (features,), or None
        Median of each feature over the exam's candidates.
    """

    prediction: Prediction
    logit: float
    probability: float
    candidates: list[Candidate] | None
    breasts: dict[str, float] = field(default_factory=dict)
    ordinary: np.ndarray | None = None


def probability_of(logit: float) -> float:
    """σ(logit)."""
    return float(1.0 / (1.0 + np.exp(-logit)))


def restated(score: ExamScore, shift: float) -> ExamScore:
    """The exam's score and its breasts' where another share of exams is malignant, see ``models.decision``.

    Candidates stay what they are: which are listed is decided by their own probabilities.
    """
    if not shift:
        return score
    logit = score.logit + shift
    breasts = {side: own + shift for side, own in score.breasts.items()}
    return replace(score, logit=logit, probability=probability_of(logit), breasts=breasts)


def restated_candidates(candidates: Sequence[Candidate], shift: float, bundle: Bundle) -> list[Candidate]:
    """Candidates to show where another share of exams is malignant.

    Those without a calibrated probability stay what they are.
    """
    if not shift or bundle.candidate_calibration is None:
        return list(candidates)
    return [
        c if c.probability is None else replace(c, probability=restate(c.probability, shift))
        for c in candidates
    ]


def score_exam(
    predictor: Predictor,
    array: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    duration_min: float | None,
    early: np.ndarray | None = None,
    landmarks: Landmarks | None = None,
    middle: float | None = None,
) -> ExamScore:
    """Score a preprocessed exam.

    Parameters
    ----------
    predictor : Predictor
    array, inside, affine
        As in the module's docstring.
    duration_min : float or None
        From the first phase after contrast to the last; None where not known.
    early : ndarray, optional
        Where it is known already.
    landmarks : Landmarks, optional
        None looks for them in the mask.
    middle : float, optional
        Index i of the sternum, which parts the breasts; None where there is no telling.

    Returns
    -------
    ExamScore

    Raises
    ------
    InputError
        The network's answer is not a number, or the grid is not the model's.
    """
    bundle = predictor.bundle
    prediction = predictor.predict(array)
    if bundle.candidates is None:
        return ExamScore(prediction, prediction.logit, prediction.probability, None)
    judged = judge_candidates(array, inside, affine, duration_min, bundle.candidates, landmarks)

    def mixed(chosen: slice | np.ndarray) -> float:
        """The calibrated logit of the network and some of the candidates."""
        network = prediction.logit * bundle.temperature
        return exam_logit(network, judged.of_exam[chosen], bundle.candidates.settings) / bundle.temperature

    logit, breasts = mixed(slice(None)), {}
    if middle is not None:
        sides = [side(affine, candidate.ras_mm, middle) for candidate in judged.candidates]
        breasts = {
            name: mixed(np.array([own == name for own in sides], dtype=bool)) for name in ("right", "left")
        }
    ranked = _rank_candidates(judged, bundle, affine)
    if early is None:
        early = mean_enhancement(array, early_phases(len(array)))
    # to the model's own grid, which is finer than the candidates'
    snapped = snap(ranked, early, inside, affine, search_mm=SNAP_MM, within_mm=FAR_MM)
    candidates = [replace(candidate, map_ras_mm=candidate.ras_mm) for candidate in snapped]
    return ExamScore(prediction, logit, probability_of(logit), candidates, breasts, judged.ordinary())


def _rank_candidates(judged: JudgedCandidates, bundle: Bundle, affine: np.ndarray) -> list[Candidate]:
    """Candidates on the model's grid with their estimates, most suspicious first.

    Those that would neither be listed nor seen on the map are left out.
    """
    to_index = np.linalg.inv(affine)
    slope, offset = bundle.candidate_calibration or (1.0, 0.0)
    probabilities = 1.0 / (1.0 + np.exp(-(slope * judged.of_candidates + offset)))
    highest = max(float(probabilities.max(initial=0.0)), 1e-6)
    ranked = []
    for rank, number in enumerate(_order(probabilities, judged.candidates)):
        value = min(float(probabilities[number]) / highest / NEARLY, 1.0)
        if rank >= COUNT and value < LEAST_HEIGHT:
            continue
        reasons = judged.reasons(bundle.candidates, number) if rank < COUNT else {}
        candidate = judged.candidates[number]
        ranked.append(
            replace(
                candidate,
                index=tuple(int(n) for n in np.round(apply_affine(to_index, candidate.ras_mm))),
                region=None,
                value=value,
                probability=float(probabilities[number]),
                reasons=tuple(reasons.items()),
            )
        )
    return ranked


def _order(probabilities: np.ndarray, candidates: Sequence[Candidate]) -> list[int]:
    """Candidates by probability, but the largest of those within ``NEARLY`` of the highest first."""
    order = [int(n) for n in np.argsort(-probabilities, kind="stable")]
    close = [n for n in order if probabilities[n] >= NEARLY * probabilities[order[0]]]
    volumes_ml = [0.0 if candidate.region is None else candidate.region.volume_ml for candidate in candidates]
    first = max(close, key=lambda n: volumes_ml[n], default=None)
    return order if first is None else [first, *(n for n in order if n != first)]


def lesion_map(candidates: Sequence[Candidate], early: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Each candidate's bright region, as high as its probability relative to the highest.

    Beyond a region's edge the height falls off with the enhancement, from half of the region's height to its
    background.

    Parameters
    ----------
    candidates : sequence of Candidate
    early : ndarray, shape (LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)

    Returns
    -------
    ndarray of float32, shape (LR, AP, SI)
        0 to 1.
    """
    saliency = np.zeros(inside.shape, dtype=np.float32)
    for candidate in candidates:
        region = candidate.region
        if region is None:
            window = tuple(slice(max(n - 1, 0), n + 2) for n in candidate.index)
            saliency[window] = np.maximum(saliency[window], candidate.value * inside[window])
            continue
        ends = [(start, start + count) for start, count in zip(region.start, region.inside.shape)]
        window = tuple(slice(max(low - EDGE, 0), high + EDGE) for low, high in ends)
        # the region on a window that is wider by its edge; a dark centre belongs to the lesion
        filled = np.zeros(saliency[window].shape, dtype=bool)
        filled[tuple(slice(low - s.start, high - s.start) for (low, high), s in zip(ends, window))] = (
            region.inside
        )
        filled = ndimage.binary_fill_holes(filled)
        near = ndimage.binary_dilation(filled, iterations=EDGE) & inside[window]
        # 1 in the region, falling off with the enhancement beyond it
        height = 2.0 * (early[window] - region.background) / max(region.peak - region.background, 1e-6)
        height = np.clip(height, 0.0, 1.0)
        height[filled] = 1.0
        saliency[window] = np.maximum(saliency[window], candidate.value * height * near)
    return saliency


def saliency_map(
    name: str,
    score: ExamScore,
    settings: NetworkSettings,
    early: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
) -> np.ndarray:
    """The named map on the model's grid.

    Parameters
    ----------
    name : str
        One of :func:`models.maps.map_names`.
    score : ExamScore
    settings : NetworkSettings
        Of the network that made the score's features.
    early, inside, affine
        As in the module's docstring.

    Returns
    -------
    ndarray of float32, shape (LR, AP, SI)
        0 to 1 inside the breast mask, 0 outside.
    """
    if name == LESION_MAP:
        return lesion_map(score.candidates, early, inside)
    seen = score.prediction
    own = (settings.pooling, seen.pooled, settings.head, settings.order)
    cells = attention_map(name, seen.features, seen.cell_weight, *own)
    return normalise(upsample(cells, affine, settings.total_stride, inside.shape), inside)


def candidates_of_map(
    name: str,
    saliency: np.ndarray,
    score: ExamScore,
    early: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
) -> list[Candidate]:
    """The candidates to show beside a named map, most suspicious first, at least one.

    Of the lesion map those of the candidate classifier with their probabilities, of a network's map those it
    points at.

    Parameters
    ----------
    name : str
    saliency : ndarray, shape (LR, AP, SI)
        :func:`saliency_map` of that name.
    score : ExamScore
    early, inside, affine
        As in the module's docstring.

    Returns
    -------
    list of Candidate
    """
    if name == LESION_MAP and score.candidates:
        listed = score.candidates[:COUNT]
        return [c for n, c in enumerate(listed) if n == 0 or c.probability >= LEAST_PROBABILITY]
    listed = candidates_from_map(name, saliency, early, inside, affine)
    return [c for n, c in enumerate(listed) if n == 0 or c.value >= LEAST_HEIGHT]
