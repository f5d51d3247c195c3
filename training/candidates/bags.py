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

Described = tuple[np.ndarray, int, float | None]  # features, label and duration in minutes of one exam


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
    """

    features: torch.Tensor
    context: torch.Tensor
    exam: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, exams: Sequence[Described]) -> Bags:
        """Bags of described exams."""
        counts = torch.tensor([len(features) for features, _, _ in exams])
        return cls(
            torch.from_numpy(np.concatenate([features for features, _, _ in exams])),
            torch.cat([context_of(features, duration_min) for features, _, duration_min in exams]),
            torch.repeat_interleave(torch.arange(len(exams)), counts),
            torch.tensor([label for _, label, _ in exams], dtype=torch.float32),
        )

    def __add__(self, other: Bags) -> Bags:
        """The exams of both."""
        return Bags(
            torch.cat([self.features, other.features]),
            torch.cat([self.context, other.context]),
            torch.cat([self.exam, other.exam + len(self.labels)]),
            torch.cat([self.labels, other.labels]),
        )

    def candidates_of(self, exams: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features of some exams' candidates, and where each goes in a table.

        Parameters
        ----------
        exams : torch.Tensor
            Indices of exams.

        Returns
        -------
        features : torch.Tensor
            (n, features).
        row, column : torch.Tensor
            (n,) position in ``exams``, and number within the exam.
        """
        first = torch.searchsorted(self.exam, exams)
        count = torch.searchsorted(self.exam, exams, right=True) - first
        row = torch.repeat_interleave(torch.arange(len(exams)), count)
        column = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return self.features[first[row] + column], row, column

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
    return described.features, exam.meta["label"], exam.duration_min
