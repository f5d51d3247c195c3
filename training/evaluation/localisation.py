"""Ways to find the lesion, compared on the same features of the same malignant exams."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from BreastCMSLLib.candidates.candidate import Candidate, Region
from BreastCMSLLib.candidates.from_map import candidates_from_map, is_nipple
from BreastCMSLLib.candidates.peaks import find_peaks, normalise
from BreastCMSLLib.candidates.regions import is_vessel
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.findings.outline import outline
from BreastCMSLLib.models.inference import Prediction, Predictor
from BreastCMSLLib.models.maps import LESION_MAP, NETWORK_MAPS
from BreastCMSLLib.preprocessing.enhancement import early_phases, mean_enhancement
from BreastCMSLLib.preprocessing.landmarks import Landmarks
from BreastCMSLLib.scoring import ExamScore, lesion_map, saliency_map, score_exam
from training.data.cache import CachedExam

from . import metrics
from .lesion_kinds import KINDS, judge_kind
from .lesions import malignant_lesions, miss
from .method_run import MethodReader, map_on_grid
from .slow_maps import SLOW_MAPS, window_step

SIGNAL = "SIGNAL"  # no network at all: the early enhancement
SNAP = "+snap"  # what Analyze makes of a map of the network: its candidates
REACH_MM = 10.0  # of a lesion whose radius is not known


def methods(has_candidates: bool = False, slow: bool = False) -> list[str]:
    """Names of every method, in the order of the table; the lesion map, for models that have it, last."""
    names = [name + step for name in NETWORK_MAPS for step in ("", SNAP)]
    names += [SIGNAL, *(SLOW_MAPS if slow else ())]
    return [*names, *([LESION_MAP] if has_candidates else [])]


@dataclass
class Clock:
    """Processor seconds of named pieces of work: other programs on the machine do not count."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

    def sum(self, *names: str) -> float:
        return sum(self.seconds[name] for name in names)


@dataclass(frozen=True)
class Ways:
    """What lesions are looked for with.

    Parameters
    ----------
    predictor : Predictor
        Of the model: its maps, without a network the signal, and its candidates.
    slow : bool
        Whether by :data:`SLOW_MAPS` too.
    others : sequence of MethodReader
        Networks of other methods, whose maps take part.
    """

    predictor: Predictor
    slow: bool = False
    others: Sequence[MethodReader] = ()


@dataclass(frozen=True)
class Located:
    """Where a method says the lesion is.

    Parameters
    ----------
    candidate : Candidate
        The most suspicious.
    saliency : numpy.ndarray
        (LR, AP, SI) its map, 0–1.
    seconds : float
        Of the processor, network included.
    """

    candidate: Candidate
    saliency: np.ndarray
    seconds: float


def locate(ways: Ways, exam: CachedExam) -> tuple[float, dict[str, Located]]:
    """Locate the lesion of one exam by every method.

    Parameters
    ----------
    ways : Ways
        The model, and what takes part besides.
    exam : CachedExam
        The exam.

    Returns
    -------
    logit : float
        The exam's.
    located : dict
        By method.
    """
    clock, predictor = Clock(), ways.predictor
    array, inside, affine = exam.array.float().numpy(), exam.inside, exam.affine
    with clock.measure("network"):
        prediction = predictor.predict(array)
    with clock.measure(SIGNAL):
        early = mean_enhancement(array, early_phases(len(array)))
    score = ExamScore(prediction, prediction.logit, prediction.probability, None)
    settings = predictor.bundle.network.settings

    located = {}
    for name in NETWORK_MAPS:
        with clock.measure(name):
            saliency = saliency_map(name, score, settings, early, inside, affine)
            peak = _highest(saliency, exam)
        with clock.measure(name + SNAP):
            candidate = candidates_from_map(name, saliency, early, inside, affine)[0]
        located[name] = Located(peak, saliency, clock.sum("network", name))
        seconds = clock.sum("network", SIGNAL, name, name + SNAP)
        located[name + SNAP] = Located(candidate, saliency, seconds)
    with clock.measure(SIGNAL):
        saliency = normalise(early, inside)
        peak = _highest(saliency, exam)
    located[SIGNAL] = Located(peak, saliency, clock.sum(SIGNAL))
    if ways.slow:
        located |= {name: _by_slow_map(name, predictor, exam, prediction) for name in SLOW_MAPS}
    for reader in ways.others:
        located |= _by_other(reader, exam)
    if not predictor.bundle.has_candidates:
        return prediction.logit, located
    with clock.measure(LESION_MAP):
        score = score_exam(predictor, array, inside, affine, exam.duration_min, early, exam.landmarks)
        saliency = lesion_map(score.candidates, early, inside)
    candidate = score.candidates[0] if score.candidates else located[SIGNAL].candidate
    return score.logit, {**located, LESION_MAP: Located(candidate, saliency, clock.sum(LESION_MAP))}


def _highest(saliency: np.ndarray, exam: CachedExam) -> Candidate:
    return find_peaks(saliency, exam.inside, exam.affine, count=1)[0]


def _by_slow_map(name: str, predictor: Predictor, exam: CachedExam, prediction: Prediction) -> Located:
    clock = Clock()
    with clock.measure(name):
        saliency = SLOW_MAPS[name](predictor, exam, prediction)
        peak = _highest(saliency, exam)
    return Located(peak, saliency, clock.sum(name))


def _by_other(reader: MethodReader, exam: CachedExam) -> dict[str, Located]:
    """By the maps of another method's network."""
    clock, located = Clock(), {}
    with clock.measure("network"):
        reading, _ = reader.read(exam)
    for name in reading.maps:
        with clock.measure(name):
            saliency = map_on_grid(reading, name, exam)
            peak = _highest(saliency, exam)
        located[f"{reader.method.title}: {name}"] = Located(peak, saliency, clock.sum("network", name))
    return located


def judge(ways: Ways, exam: CachedExam) -> dict:
    """One line of rows.jsonl: what every method comes to on an exam.

    Parameters
    ----------
    ways : Ways
        As of :func:`locate`.
    exam : CachedExam
        With a malignant lesion of known place, or not malignant.

    Returns
    -------
    dict
        ``kinds``, of :func:`judge_kind`; of a malignant exam also ``methods``: by method the miss in mm,
        whether the point is inside, Dice of map and outline, and what was hit.
    """
    logit, located = locate(ways, exam)
    kind = "malignant" if malignant_lesions(exam.meta) else "benign"
    known = exam.truth is not None and (exam.truth == KINDS[kind]).any()
    maps = {name: own.saliency for name, own in located.items() if not name.endswith(SNAP)}
    kinds = {kind: judge_kind(exam, maps, kind, window_step(exam.affine))} if known else {}
    head = {"exam": exam.meta["exam"], "patient": exam.meta["patient"], "logit": logit, "kinds": kinds}
    if kind == "benign":
        return head
    early = mean_enhancement(exam.array, early_phases(len(exam.array)))
    truth = exam.truth == KINDS[kind] if known else None
    lines = {}
    for name, result in located.items():
        candidate = result.candidate
        distance, inside = miss(exam, candidate.ras_mm)
        line = {"ras_mm": list(candidate.ras_mm), "mm": distance, "inside": int(inside)}
        line["seconds"] = result.seconds
        if truth is not None:
            around = outline(early, exam.inside, exam.affine, candidate.ras_mm)
            line["dice_map"] = kinds[kind][name.removesuffix(SNAP)]["dice"]
            line["dice_outline"] = 0.0 if around is None else metrics.dice(around.region.array, truth)
        line["hit"] = what_is_there(exam, candidate.ras_mm, candidate.region)
        lines[name] = line
    in_mask = None if truth is None else float((truth & exam.inside).sum() / truth.sum())
    return {**head, "in_mask": in_mask, "methods": lines}


def what_is_there(exam: CachedExam, ras_mm: Sequence[float], region: Region | None) -> str:
    """What a point lies on.

    Parameters
    ----------
    exam : CachedExam
        With its truth.
    ras_mm : sequence of float
        The point, RAS mm.
    region : Region or None
        The bright region there.

    Returns
    -------
    str
        By the truth a malignant or a benign lesion (or within 3 mm of one), else by shape and place.
    """
    for lesion in sorted(exam.meta.get("lesions") or (), key=lambda lesion: not lesion["malignant"]):
        if lesion.get("ras_mm") is None:
            continue
        reach = float(lesion.get("radius_mm") or REACH_MM) + 3.0
        if np.linalg.norm(np.subtract(ras_mm, lesion["ras_mm"])) <= reach:
            return "malignant lesion" if lesion["malignant"] else "benign lesion"
    if is_nipple(ras_mm, (exam.landmarks or Landmarks.of_mask(exam.inside, exam.affine)).nipples):
        return "nipple by its place"
    if is_vessel(region):
        return "vessel by its shape"
    index = np.round(apply_affine(np.linalg.inv(exam.affine), ras_mm)).astype(int)
    index = np.clip(index, 0, np.array(exam.inside.shape) - 1)
    spacing = np.linalg.norm(exam.affine[:3, :3], axis=0)
    depth = ndimage.distance_transform_edt(np.pad(exam.inside, 1), sampling=spacing)
    return "border of the mask" if depth[tuple(index + 1)] <= 5.0 else "other tissue"
