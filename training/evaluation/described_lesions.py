"""Simulated lesions as the analysis would describe them, beside what was drawn.

Each lesion is outlined from its drawn centre, as a candidate is: what the words are worth once a lesion is
seen, not how often it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.moments import half_axes
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.descriptors.breasts import describe_breasts
from BreastCMSLLib.descriptors.measures import measure_region
from BreastCMSLLib.descriptors.names import AMOUNT, BACKGROUND
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.findings.kinetics import region_curve
from BreastCMSLLib.findings.outline import outline_candidates
from BreastCMSLLib.kinetics.phases import kinetic_phases
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from training.data.files import write_arrays
from training.simulation import simulate
from training.simulation.subtypes import MORPHOLOGY, SUBTYPES

from .metrics import dice

FIRST_SEED = 193_000_000  # outside every cohort
CHOSEN_ON = 42  # exams from there on, on which the cut-offs of descriptors were chosen
VOXEL_MM = 1.6
PIXEL_MM, PIXELS = 0.625, 64  # of a picture: 40 mm across


@dataclass(frozen=True)
class DescribedExam:
    """What was measured on a simulated exam, and what was drawn.

    Parameters
    ----------
    exam : dict
        ``seed``, shares of the breasts as ``amount`` and ``background`` (None where not measured), the drawn
        ``density``, ``true_background`` (factor of the glandular tissue's Ktrans) and ``dose``.
    lesions : list of dict
        Of each outlined lesion: ``seed``, ``number``, the drawn ``malignant``, ``subtype``, ``pattern`` and
        ``true_…`` marks, ``dice`` of outline and truth, all measures, ``wash_in``, ``wash_out``.
    pictures : list of ndarray, shape (64, 128), uint8
        Of each of these lesions: axial slices of the first and the last subtraction, on one grey scale.
    """

    exam: dict[str, Any]
    lesions: list[dict[str, Any]]
    pictures: list[np.ndarray]


def describe_simulated(seed: int, voxel_mm: float | None, contract: InputContract) -> DescribedExam:
    """Make, outline and measure the exam of a seed; subtypes of the first lesion take turns.

    Parameters
    ----------
    seed : int
    voxel_mm : float or None
        Of the exam; None: as drawn.
    contract : InputContract
        Of the model, whose breast mask and early phases are used.
    """
    subtype = list(SUBTYPES)[seed % len(SUBTYPES)]
    malignant = SUBTYPES[subtype].malignant
    simulated = simulate(seed, malignant, voxel_mm=voxel_mm, subtype=subtype, with_t1=True)
    exam, model_input = simulated.exam, preprocess(simulated.exam, contract)
    points = [lesion["ras_mm"] for lesion in simulated.lesions]
    breast = Volume(model_input.inside, model_input.affine)
    labels, outlines = outline_candidates(exam, breast, points, contract.phases)
    rows, pictures = [], []
    for number, (lesion, (label, _)) in enumerate(zip(simulated.lesions, outlines), 1):
        if label != number:
            continue  # nothing stands out, or it runs into an earlier one
        region = labels.with_array(labels.array == number)
        truth = own_truth(Volume(simulated.truth > 0, exam.grid.affine), points, number - 1)
        row = {"seed": seed, "number": number, **drawn(lesion, truth), **measured(exam, region)}
        rows.append({**row, "dice": round(dice(region.array, truth.array), 3)})
        pictures.append(picture(exam, region))
    breasts = describe_breasts(exam, model_input, kinetic_phases(exam).early, labels)
    facts = {
        "seed": seed,
        "amount": breasts[AMOUNT].get("share"),
        "background": breasts[BACKGROUND].get("share"),
        "density": simulated.facts["density"],
        "true_background": simulated.facts["background"],
        "dose": simulated.facts["dose"],
    }
    return DescribedExam(facts, rows, pictures)


def own_truth(truth: Volume, points: Sequence[Sequence[float]], number: int) -> Volume:
    """The voxels of a boolean truth that lie nearer to one lesion's centre than to the others'."""
    if len(points) == 1:
        return truth
    places = np.argwhere(truth.array)
    away = np.linalg.norm(apply_affine(truth.affine, places)[:, None] - np.array(points), axis=-1)
    own = np.zeros_like(truth.array)
    own[tuple(places[away.argmin(axis=1) == number].T)] = True
    return truth.with_array(own)


def drawn(lesion: Mapping[str, Any], truth: Volume) -> dict[str, Any]:
    """Class, subtype, pattern, radius and marks of a lesion, and the elongation of its truth."""
    marks = {f"true_{name}": round(float(lesion[name]), 4) for name in ("radius_mm", *MORPHOLOGY)}
    places = np.argwhere(truth.array) * truth.spacing
    covariance = np.cov(places.T, bias=True) if len(places) > 1 else np.zeros((3, 3))
    axes = half_axes(covariance, truth.spacing)
    marks["true_elongation"] = round(float(axes[0] / axes[2]), 3)
    return {**{name: lesion[name] for name in ("malignant", "subtype", "pattern")}, **marks}


def measured(exam: Exam, region: Volume) -> dict[str, Any]:
    """Measures and curve of a region on the exam's grid."""
    curve = region_curve(exam, region)
    measures = measure_region(exam, region, kinetic_phases(exam).early)
    return {**measures, "wash_in": curve["wash_in"], "wash_out": curve["wash_out"], "unit": curve["unit"]}


def picture(exam: Exam, region: Volume) -> np.ndarray:
    """The axial slices through a region's middle in the first and last subtraction, side by side."""
    middle = apply_affine(region.affine, np.argwhere(region.array).mean(axis=0))
    # towards the picture's right the patient's left, towards its foot the back
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, PIXEL_MM, 1.0])
    affine[:3, 3] = middle + np.array([0.5, 0.5, 0]) * PIXEL_MM * (PIXELS - 1)
    slices = [
        resample(_subtraction(exam, n), (PIXELS, PIXELS, 1), affine).array[:, :, 0].T
        for n in (0, len(exam.post) - 1)
    ]
    white = max(float(np.percentile(part, 99.5)) for part in slices)
    return np.round(255 * np.clip(np.hstack(slices) / max(white, 1e-6), 0, 1) ** 0.8).astype(np.uint8)


def _subtraction(exam: Exam, phase: int) -> Volume:
    after = exam.post[phase].volume
    return after.with_array(after.array.astype(np.float32) - exam.pre.volume.array)


# --- kept on disk, one file an exam ---


def write_described(folder: Path, seed: int, describe: Callable[[int], DescribedExam]) -> bool:
    """Describe the exam of a seed and keep it, unless the folder has it; returns whether it was made."""
    path = folder / f"{seed}.npz"
    if path.exists():
        return False
    described = describe(seed)
    text = json.dumps({"exam": described.exam, "lesions": described.lesions})
    shape = (len(described.pictures), PIXELS, 2 * PIXELS)
    pictures = np.array(described.pictures, dtype=np.uint8).reshape(shape)
    write_arrays(path, text=np.array(text), pictures=pictures)
    return True


def read_described(folder: Path) -> list[DescribedExam]:
    """The exams of a folder in the order of their seeds. Raises InputError where there are none."""
    exams = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as kept:
            texts = json.loads(str(kept["text"]))
            exams.append(DescribedExam(texts["exam"], texts["lesions"], list(kept["pictures"])))
    if not exams:
        raise InputError(
            f"{folder} holds no measured exams; run python training/descriptors.py measure first."
        )
    return exams
