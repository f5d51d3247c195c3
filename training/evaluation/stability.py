"""Is the score of an exam that of the patient, or that of the grid? The same exam, read in other ways.

Every exam is read as it is, on grids moved by parts of a voxel, turned by 5°, without its last slices, and
where it is simulated with other draws of the noise. None of that changes the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput, preprocess
from BreastCMSLLib.scoring import ExamScore, score_exam
from training.data.moved_grids import moved_grid

MOST_SD, MOST_CHANGE = 0.3, 0.05  # of the logit, and of the probability
SAME_MM = 10.0  # between first candidates that are one
SLICES = 10
TURN_DEG = 5.0
WAYS = ("moved", "turned", "cropped", "noise")

Reading = tuple[str, ExamScore]


def readings(
    predictor: Predictor, exam: Exam, seed: int, times: int = 3, again: Callable[[int], Exam] | None = None
) -> Iterator[Reading]:
    """The exam's score as it is ("as it is"), and read in each of the ``WAYS``.

    Parameters
    ----------
    predictor : Predictor
    exam : Exam
    seed : int
        Of the parts of a voxel and the axes that are drawn.
    times : int
        Moved grids, turned grids and draws of the noise.
    again : callable, optional
        Number → the exam with another draw of its noise; None where it is not simulated.
    """
    contract = predictor.bundle.contract
    rng = np.random.default_rng(seed)

    def score(model_input: ModelInput) -> ExamScore:
        return score_exam(
            predictor,
            model_input.array,
            model_input.inside,
            model_input.affine,
            model_input.duration_min,
            landmarks=model_input.landmarks,
        )

    yield "as it is", score(preprocess(exam, contract))
    for shift in rng.uniform(0, 1, (times, 3)):
        yield "moved", score(_moved(exam, contract, shift=shift))
    for axis in rng.normal(size=(times, 3)):
        yield "turned", score(_moved(exam, contract, turn_deg=TURN_DEG * axis / np.linalg.norm(axis)))
    yield "cropped", score(preprocess(cropped(exam, SLICES), contract))
    for number in range(1, times + 1 if again is not None else 1):
        yield "noise", score(preprocess(again(number), contract))


def _moved(exam: Exam, contract: InputContract, **how: Sequence[float]) -> ModelInput:
    return preprocess(exam, contract, over=moved_grid(exam, contract.spacing_mm, **how))


def cropped(exam: Exam, slices: int) -> Exam:
    """The exam without so many slices, half of them at either end of the axis that runs from foot to head."""
    axis = int(np.abs(exam.grid.affine[2, :3]).argmax())
    kept = slice(slices // 2, exam.grid.shape[axis] - (slices - slices // 2))
    start = np.zeros(3)
    start[axis] = kept.start
    part = tuple(kept if n == axis else slice(None) for n in range(3))

    def crop(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        return Volume(np.ascontiguousarray(volume.array[part]), affine)

    post = tuple(replace(phase, volume=crop(phase.volume)) for phase in exam.post)
    pre = None if exam.pre is None else replace(exam.pre, volume=crop(exam.pre.volume))
    return replace(exam, pre=pre, post=post)


def row_of(name: str, label: int | None, scores: Sequence[Reading]) -> list[dict]:
    """A line for every reading: exam, label, way, logit, probability, and the first candidate's place."""
    rows = []
    for way, score in scores:
        row = {"exam": name, "label": label, "way": way}
        row |= {"logit": score.logit, "probability": score.probability}
        first = score.candidates[0].ras_mm if score.candidates else (float("nan"),) * 3
        rows.append(row | dict(zip("ras", first)))
    return rows


def summary(rows: Sequence[dict]) -> dict[str, dict]:
    """How much each way of reading changes, over exams.

    Parameters
    ----------
    rows : sequence of dict
        Of :func:`row_of`.

    Returns
    -------
    dict
        Way → exams; ``sd``, the root mean square over exams of the logit's standard deviation within one,
        its readings as it is and in that way taken together; ``sd_median``; ``within``, the share of exams
        whose probability never changes by more than ``MOST_CHANGE``; ``same_first``, the share whose first
        candidate stays.
    """
    by_exam: dict[str, list[dict]] = {}
    for row in rows:
        by_exam.setdefault(row["exam"], []).append(row)
    figures = {}
    for way in ("moved", "turned", "cropped", "noise", "all"):
        spreads, changes, misses = [], [], []
        for own in by_exam.values():
            first, *others = (row for row in own if row["way"] in ("as it is", way) or way == "all")
            if not others:
                continue
            spreads.append(np.std([row["logit"] for row in (first, *others)], ddof=1))
            changes.append(max(abs(row["probability"] - first["probability"]) for row in others))
            place = np.array([[row[axis] for axis in "ras"] for row in others])
            misses.append(np.linalg.norm(place - [first[axis] for axis in "ras"], axis=1).max())
        if spreads:
            figures[way] = {
                "exams": len(spreads),
                "sd": float(np.sqrt(np.mean(np.square(spreads)))),
                "sd_median": float(np.median(spreads)),
                "within": float(np.mean(np.array(changes) <= MOST_CHANGE)),
                "same_first": float(np.mean(np.array(misses) <= SAME_MM)),
            }
    return figures
