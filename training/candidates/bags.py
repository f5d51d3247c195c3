"""Exams as bags of candidates, from which the classifier learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from BreastCMSLLib.candidates.classifier import UNKNOWN_DURATIONS, context_of
from BreastCMSLLib.candidates.proposals import ExamCandidates, propose_candidates
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.landmarks import Landmarks
from training.data import cache
from training.data.processes import worker_processes

NEAR_MM = 10.0  # a candidate closer than this to a lesion's centre is that lesion, as in the statistics
REACH = 1.6  # times its radius: where the nearest candidate is that lesion, if none is closer than NEAR_MM
UNKNOWN, NO_LESION, BENIGN, MALIGNANT = -1, 0, 1, 2  # what a candidate truly is

# of one exam: features, label, duration in minutes, and what its candidates truly are (None: not known)
Described = tuple[np.ndarray, int, float | None, np.ndarray | None]


def truth_of(
    ras_mm: np.ndarray, lesions_mm: np.ndarray, radius_mm: np.ndarray, malignant: np.ndarray, complete: bool
) -> np.ndarray:
    """What each candidate truly is, by the lesion whose centre is nearest.

    Parameters
    ----------
    ras_mm : ndarray, shape (candidates, 3)
        Places in RAS mm.
    lesions_mm : ndarray, shape (lesions, 3)
        Centres in RAS mm.
    radius_mm : ndarray, shape (lesions,)
        Of spheres of their volumes.
    malignant : ndarray of bool, shape (lesions,)
    complete : bool
        Whether these are all lesions of the exam: else nothing is known, since any candidate may be another.

    Returns
    -------
    ndarray of int64, shape (candidates,)
        ``UNKNOWN``, ``NO_LESION``, ``BENIGN`` or ``MALIGNANT``. Of a large lesion, outer parts are none: so
        that what lies near its centre comes first.
    """
    if not complete or not len(lesions_mm):
        return np.full(len(ras_mm), NO_LESION if complete else UNKNOWN)
    distances = np.linalg.norm(ras_mm[:, None] - lesions_mm[None], axis=2)
    near = distances <= NEAR_MM
    nearest = distances.argmin(axis=0)  # of a large lesion perhaps none lies near its centre
    near[nearest, np.arange(len(lesions_mm))] |= distances.min(axis=0) <= REACH * radius_mm
    kinds = np.where(malignant, MALIGNANT, BENIGN)[np.where(near, distances, np.inf).argmin(axis=1)]
    return np.where(near.any(axis=1), kinds, NO_LESION)


@dataclass(frozen=True)
class Bags:
    """The candidates of exams.

    Parameters
    ----------
    features : torch.Tensor
        (candidates, features) float32.
    context : torch.Tensor
        (exams, features + 1) float32, ``context_of`` each exam.
    exam : torch.Tensor
        (candidates,) index of each candidate's exam, rising.
    labels : torch.Tensor
        (exams,) float32.
    truth : torch.Tensor
        (candidates,) int64 of :func:`truth_of`.
    """

    features: torch.Tensor
    context: torch.Tensor
    exam: torch.Tensor
    labels: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def of(cls, exams: Sequence[Described]) -> Bags:
        """Bags of described exams."""
        features, labels, durations, truths = zip(*exams)
        counts = torch.tensor([len(each) for each in features])
        known = [np.full(len(f), UNKNOWN) if truth is None else truth for f, truth in zip(features, truths)]
        return cls(
            torch.from_numpy(np.concatenate(features)),
            torch.cat([context_of(each, duration_min) for each, duration_min in zip(features, durations)]),
            torch.repeat_interleave(torch.arange(len(exams)), counts),
            torch.tensor(labels, dtype=torch.float32),
            torch.from_numpy(np.concatenate(known)),
        )

    def __add__(self, other: Bags) -> Bags:
        """The exams of both."""
        return Bags(
            torch.cat([self.features, other.features]),
            torch.cat([self.context, other.context]),
            torch.cat([self.exam, other.exam + len(self.labels)]),
            torch.cat([self.labels, other.labels]),
            torch.cat([self.truth, other.truth]),
        )

    def candidates_of(self, exams: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The candidates of some exams, and where each goes in a table.

        Parameters
        ----------
        exams : torch.Tensor
            Indices of exams.

        Returns
        -------
        candidates : torch.Tensor
            (n,) indices of candidates.
        row, column : torch.Tensor
            (n,) position in ``exams``, and number within the exam.
        """
        first = torch.searchsorted(self.exam, exams)
        count = torch.searchsorted(self.exam, exams, right=True) - first
        row = torch.repeat_interleave(torch.arange(len(exams)), count)
        column = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return first[row] + column, row, column

    def withhold_durations(self, seed: int) -> Bags:
        """The same exams, some of them with an unknown duration (``UNKNOWN_DURATIONS``)."""
        generator = torch.Generator().manual_seed(seed)
        context = self.context.clone()
        context[torch.rand(len(self.labels), generator=generator) < UNKNOWN_DURATIONS, -1] = math.nan
        return replace(self, context=context)


def bags_of_cache(paths: Sequence[Path], settings: CandidateSettings, workers: int, title: str) -> Bags:
    """Find and describe the candidates of cached exams.

    Parameters
    ----------
    paths : sequence of Path
        Of the exams.
    settings : CandidateSettings
        How candidates are found and described.
    workers : int
        Processes.
    title : str
        Of the progress bar.

    Returns
    -------
    Bags
        In the order given.
    """
    with worker_processes(workers) as pool:
        work = pool.map(partial(describe_cached, settings=settings), paths, chunksize=8)
        return Bags.of(list(track(work, title, total=len(paths))))


def described_candidates(
    name: str,
    array: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    duration_min: float | None,
    settings: CandidateSettings,
    landmarks: Landmarks | None,
) -> ExamCandidates:
    """``propose_candidates`` of the exam ``name``. Raises InputError for a feature that a candidate lacks."""
    try:
        return propose_candidates(array, inside, affine, duration_min, settings, landmarks)
    except KeyError as error:
        feature = error.args[0] if error.args else ""
        if feature not in settings.features:
            raise
        raise InputError(
            f"No group of features measures {feature!r} of a candidate of {name}; "
            "let a function of GROUPS in BreastCMSLLib/candidates/features.py return it for every candidate."
        ) from error


def candidates_of_cached(path: Path, settings: CandidateSettings) -> tuple[cache.CachedExam, ExamCandidates]:
    """A cached exam and its candidates. Raises InputError where it is damaged."""
    exam = cache.load(path)
    return exam, described_candidates(
        exam.meta["exam"],
        exam.array.numpy(),
        exam.inside,
        exam.affine,
        exam.duration_min,
        settings,
        exam.landmarks,
    )


def describe_cached(path: Path, settings: CandidateSettings) -> Described:
    """Find and describe the candidates of one cached exam; see :func:`bags_of_cache`."""
    exam, described = candidates_of_cached(path, settings)
    truth = truth_of(places_of(described), *known_lesions(exam.meta["lesions"]), all_are_known(exam))
    return described.features, exam.meta["label"], exam.duration_min, truth


def all_are_known(exam: cache.CachedExam) -> bool:
    """Whether all lesions of a cached exam are known; earlier caches do not say."""
    return exam.meta.get("complete", False)


def known_lesions(lesions: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ``training.data.exams.truth``: centres (lesions, 3) in RAS mm and radii in mm as float32, and which
    lesions are malignant.
    """
    centres = np.array([lesion["ras_mm"] for lesion in lesions], np.float32).reshape(-1, 3)
    radii = np.array([lesion["radius_mm"] for lesion in lesions], np.float32)
    return centres, radii, np.array([lesion["malignant"] for lesion in lesions], bool)


def places_of(described: ExamCandidates) -> np.ndarray:
    """(candidates, 3) float32, where each lies, in RAS mm."""
    return np.array([candidate.ras_mm for candidate in described.candidates], np.float32).reshape(-1, 3)
