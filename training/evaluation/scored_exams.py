"""Cached exams as a model scores them, by the library's own code, and the maps that go with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from BreastCMSLLib.candidates.peaks import find_peaks
from BreastCMSLLib.models.inference import Prediction, Predictor
from BreastCMSLLib.models.maps import LESION_MAP, NETWORK_MAPS
from BreastCMSLLib.network.losses import cosine
from BreastCMSLLib.network.resnet import NetworkSettings
from BreastCMSLLib.preprocessing.enhancement import early_phases, mean_enhancement
from BreastCMSLLib.scoring import ExamScore, saliency_map, score_exam
from training.data import cache

NULL_MAP = "NORM"  # length of each cell's feature vector: what any map of the same features has to beat


@dataclass(frozen=True)
class ScoredExam:
    """What a model says of one cached exam.

    Parameters
    ----------
    exam : CachedExam
        The exam.
    score : ExamScore
        Logits divided by the bundle's temperature.
    pooled : numpy.ndarray
        (C,) float32, the feature of the network's last layer.
    cosine : float
        Of the angle between it and w.
    seconds : float
        Of the scoring.
    """

    exam: cache.CachedExam
    score: ExamScore
    pooled: np.ndarray
    cosine: float
    seconds: float

    @property
    def prediction(self) -> Prediction:
        return self.score.prediction


def score_exams(predictor: Predictor, paths: Iterable[Path]) -> Iterator[ScoredExam]:
    """Score cached exams one at a time, in the order given."""
    network = predictor.bundle.network
    for path in paths:
        exam = cache.load(path)
        start = time.perf_counter()
        array = exam.array.float().numpy()
        score = score_exam(
            predictor, array, exam.inside, exam.affine, exam.duration_min, landmarks=exam.landmarks
        )
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            pooled = network.pool(score.prediction.pooled_features[None])
            angle = float(cosine(pooled, network.weight)[0])
        yield ScoredExam(exam, score, pooled[0].numpy(), angle, seconds)


def evaluated_maps(has_candidates: bool = True) -> tuple[str, ...]:
    """Every map of the library, the null among them; the lesion map for models that judge candidates."""
    return (*((LESION_MAP,) if has_candidates else ()), *NETWORK_MAPS)


def map_of(name: str, scored: ScoredExam, settings: NetworkSettings) -> np.ndarray:
    """The named map on the model's grid, as *Analyze* makes it.

    Parameters
    ----------
    name : str
        One of :func:`evaluated_maps`.
    scored : ScoredExam
        The exam.
    settings : NetworkSettings
        Of the network that scored it.

    Returns
    -------
    numpy.ndarray
        (LR, AP, SI) float32, 0–1 inside the breast mask.
    """
    exam = scored.exam
    early = mean_enhancement(exam.array, early_phases(len(exam.array)))
    return saliency_map(name, scored.score, settings, early, exam.inside, exam.affine)


def peak_of(name: str, scored: ScoredExam, settings: NetworkSettings) -> tuple[float, float, float]:
    """RAS mm of the named map's maximum inside the breast mask; of the lesion map the first candidate."""
    if name == LESION_MAP and scored.score.candidates:
        return scored.score.candidates[0].ras_mm
    exam = scored.exam
    return find_peaks(map_of(name, scored, settings), exam.inside, exam.affine, count=1)[0].ras_mm
