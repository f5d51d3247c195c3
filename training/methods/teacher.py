"""What a candidate classifier teaches the cells of a network."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from training.candidates.described import SETTINGS, DescribedExam, load_described
from training.data import cache
from training.recipes import Config
from training.runs import folder as runs

from .cells import cells_inside
from .exams import Exams, draw_change
from .method import Targets

OUTSIDE = -1.0  # target of a cell outside the breasts


def soft_labels(rows: list[dict], config: Config) -> torch.Tensor:
    """The candidates of training exams, as the teacher judges them.

    Parameters
    ----------
    rows : list of dict
        Of the training exams.
    config : Config
        Names the teacher, and the folder of the described candidates.

    Returns
    -------
    torch.Tensor, shape (exams, candidates, 4), float32
        RAS mm and probability of each; where an exam has fewer, the probability is 0.

    Raises
    ------
    InputError
        The teacher or an exam's candidates are missing, or do not fit each other.
    """
    if config.teacher is None or config.described is None:
        raise InputError(
            "The method distilled needs --teacher, a run or the card of a bundle with a candidate "
            "classifier, and --described, the folder of the exams' described candidates."
        )
    classifier = runs.load_start(config.teacher).candidates
    if classifier is None:
        raise InputError(
            f"{config.teacher} has no candidate classifier; train one, or name another --teacher."
        )
    card, exams = load_described(config.described)
    described: dict[str, DescribedExam] = {}
    for exam in exams:
        described.setdefault(exam.exam, exam)  # copies on moved grids follow it
    own = asdict(classifier.settings)
    if other := [key for key in SETTINGS if key != "features" and card["settings"][key] != own[key]]:
        raise InputError(
            f"The candidates in {config.described} were found with another {other[0]} than {config.teacher} "
            "reads; describe them anew."
        )
    known, wanted = list(card["settings"]["features"]), classifier.settings.features
    if missing := [name for name in wanted if name not in known]:
        raise InputError(
            f"The candidates in {config.described} lack a feature of {config.teacher} ({missing[0]}); "
            "describe them anew."
        )
    columns = [known.index(name) for name in wanted]
    each = []
    for row in rows:
        exam = described.get(row["exam"])
        if exam is None or (exam.patient, exam.label) != (row["patient"], int(row["label"])):
            raise InputError(
                f"{config.described} does not describe {row['exam']} as the cohort has it; "
                "run python training/describe_candidates.py on the same cohort."
            )
        features = np.ascontiguousarray(exam.features[:, columns])
        logits = classifier.logits(features, exam.duration_min)[1]
        each.append(_placed(exam, probabilities_given(logits, exam.label)))
    most = max(map(len, each))
    return torch.stack([F.pad(one, (0, 0, 0, most - len(one))) for one in each])


def probabilities_given(logits: np.ndarray, label: int) -> np.ndarray:
    """Probability that each candidate is a cancer, given its exam's label.

    Independent candidates of probability p_i: given that at least one is a cancer, p_i / (1 − Π (1 − p_j));
    0 in an exam that is not malignant.

    Parameters
    ----------
    logits : ndarray, shape (candidates,)
    label : int
        1 malignant.

    Returns
    -------
    ndarray, shape (candidates,), float64
    """
    if not label:
        return np.zeros(len(logits))
    each = 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
    any_of_them = -np.expm1(np.log1p(-np.minimum(each, 1 - 1e-9)).sum())
    return np.minimum(each / max(any_of_them, 1e-9), 1.0)


def _placed(exam: DescribedExam, probabilities: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([exam.ras_mm, probabilities[:, None]], axis=1).astype(np.float32))


class SoftLabels(Exams):
    """Exams as (array, targets, index), in training with ``cells``: the target of each cell of the network.

    ``targets`` holds ``soft``, as of :func:`soft_labels`, for training exams.
    """

    def _example(
        self, exam: cache.PackedExam, own: Targets, generator: torch.Generator, learned: bool
    ) -> tuple[torch.Tensor, Targets]:
        array = exam.window()
        if not learned:
            return array, {}
        change = draw_change(self.config, generator)
        probabilities = change.move(_on_voxels(own["soft"], exam, tuple(array.shape[1:])))
        array = change.apply(array)
        # the highest probability in a cell, and none outside the breasts
        stride = self.config.network.total_stride
        reach = stride // 2
        cells = F.max_pool3d(probabilities, 2 * reach + 1, stride, reach)[0].flatten()
        inside = cells_inside(array[None], stride)[0].flatten()
        return array, {"cells": torch.where(inside, cells, torch.tensor(OUTSIDE))}


def _on_voxels(candidates: torch.Tensor, exam: cache.PackedExam, shape: tuple[int, ...]) -> torch.Tensor:
    """(1, LR, AP, SI): each candidate's probability at its voxel of the window."""
    probabilities = torch.zeros(1, *shape)
    index = apply_affine(np.linalg.inv(np.array(exam.meta["affine"])), candidates[:, :3].double().numpy())
    index = np.rint(index).astype(int) - [ends[0] for ends in exam.meta["window"]]
    within = ((index >= 0) & (index < shape)).all(axis=1)
    for (i, j, k), probability in zip(index[within], candidates[torch.from_numpy(within), 3]):
        probabilities[0, i, j, k] = torch.maximum(probabilities[0, i, j, k], probability)
    return probabilities
