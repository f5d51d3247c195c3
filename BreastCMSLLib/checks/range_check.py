"""Is this an exam the model was made for? Reasons why not, so that nothing out of range is scored in silence.

The checks look at what the network read and at the exam behind it, on a coarse grid: they cost a fraction of
a second. They cannot prove that an exam is in range; they catch what would make a score meaningless.
"""

from __future__ import annotations

import numpy as np

from ..core.geometry import spacing_of
from ..exam import Exam
from ..preprocessing.enhancement import mean_over_phases
from ..preprocessing.model_input import PLAUSIBLE_ML, ModelInput
from .acquisition import Reason, unknown_acquisition
from .contrast import coherence, loss_and_gain
from .implant import implants
from .motion import largest_displacement
from .shape import recess_mm, side_volumes_ml, sulcus_mm
from .sketch import glance

MIN_SIDE_ML = 40.0  # a breast after large surgery is smaller than that at most on one side
MIN_SIDE_SHARE = 0.15
MIN_SULCUS_MM = 6.0  # the skin over the sternum lies that far behind the breasts
MIN_COHERENCE = 0.15  # over about 9 mm: 0.0 for noise, about 0.5 in the two real exams
MIN_RECESS_MM = 15.0  # 32 mm and more in simulated and real exams, 0 in a pair of thighs
MAX_MOVED_MM = 4.0  # up to 2.8 mm in simulated and real exams, 9 mm and more between phases of two exams
# loss against gain of a phase's extreme hundredths (up to 0.66 in simulated and real exams, 1.07 and more
# with a wrong volume before contrast), and the least loss, on the model's scale
DARKER, MIN_LOSS = 0.9, 0.1
_BESIDE_IMPLANTS = {"spacing", "phases", "times", "one breast"}
_COARSE_MM = 4.4


def out_of_range(exam: Exam, model_input: ModelInput) -> list[Reason]:
    """Why the model's answer for this exam should not be trusted.

    Parameters
    ----------
    exam : Exam
    model_input : ModelInput
        What ``preprocess`` made of it.

    Returns
    -------
    list of Reason
        Empty when nothing speaks against the exam. Codes: "spacing", "extent", "phases", "times", "motion",
        "one breast", "mask volume", "not a breast", "order", "noise", "implant".
    """
    motion = _motion(exam)
    grid = exam.grid
    reasons = [*unknown_acquisition(grid.shape, grid.affine, len(exam.post), exam.times_s), *motion]
    spacing = spacing_of(model_input.affine)
    step = np.maximum(1, np.round(_COARSE_MM / spacing)).astype(int)
    coarse = tuple(slice(None, None, int(s)) for s in step)
    inside = model_input.inside[coarse]
    reasons += _mask(model_input, inside, step, any(reason.code == "one breast" for reason in reasons))
    mean = mean_over_phases(model_input.array)
    lag_mm = 2.0 * float(
        exam.grid.spacing.max()
    )  # voxels of the exam larger than a block have noise in common
    if coherence(mean, model_input.inside, step, lag_mm / float((spacing * step).min())) < MIN_COHERENCE:
        reasons.append(
            Reason(
                "noise",
                "The enhancement inside the breasts has no more structure than noise: was contrast given, "
                "are the phases right?",
            )
        )
    elif not motion:  # which darkens as much as it brightens
        reasons += _darkening(model_input.array[(slice(None), *coarse)][:, inside])
    # where breasts were found and read, whatever else is unusual
    codes = {reason.code for reason in reasons}
    if codes <= _BESIDE_IMPLANTS:
        reasons += _implant(exam, model_input, mean[coarse], inside, step, "one breast" in codes)
    return reasons


def _motion(exam: Exam) -> list[Reason]:
    """Phases in which the breasts lie elsewhere than before contrast: moved, or another exam's."""
    if exam.pre is None:
        return []
    worst, moved_mm = largest_displacement(glance(exam.pre), [glance(phase) for phase in exam.post])
    if moved_mm <= MAX_MOVED_MM:
        return []
    text = (
        f"The breasts lie about {moved_mm:.0f} mm apart in {exam.pre.name} and {exam.post[worst].name}: "
        "the patient moved, or the volumes are of two exams; edges then look like enhancement."
    )
    return [Reason("motion", text)]


def _mask(model_input: ModelInput, inside: np.ndarray, step: np.ndarray, one_breast: bool) -> list[Reason]:
    """inside: the coarse mask. one_breast: whether the exam is known to be of one."""
    if one_breast:
        return _volume(model_input.mask_volume_ml, "breast", 0.5)
    size = spacing_of(model_input.affine) * step
    # the mask ends where breasts do, whatever the body: whether they end shows in its surface
    landmarks = model_input.landmarks
    recess = recess_mm(inside, size) if landmarks is None else landmarks.recess_mm
    shape = _two_breasts(inside, size, model_input.middle / step[0], recess)
    return [*_volume(model_input.mask_volume_ml, "pair of breasts"), *shape]


def _volume(volume_ml: float, what: str, share: float = 1.0) -> list[Reason]:
    low, high = PLAUSIBLE_ML
    if share * low <= volume_ml <= share * high:
        return []
    return [Reason("mask volume", f"The breast region found measures {volume_ml:.0f} ml, as no {what} does.")]


def _two_breasts(inside: np.ndarray, size: np.ndarray, middle: float, recess: float) -> list[Reason]:
    sides = side_volumes_ml(inside, size, middle)
    small, large = sorted(sides, key=sides.get)
    ends = recess >= MIN_RECESS_MM
    if ends and (sides[small] < MIN_SIDE_ML or sides[small] < MIN_SIDE_SHARE * sides[large]):
        text = (
            f"Only the {large} breast was found ({small} {sides[small]:.0f} ml, "
            f"{large} {sides[large]:.0f} ml); the model knows exams of both."
        )
        return [Reason("one breast", text)]
    if sulcus_mm(inside, size, middle) >= MIN_SULCUS_MM and ends:
        return []
    text = (
        "The body does not have the shape of two breasts, with a valley between them and an end towards "
        "head or foot: is this a breast MRI, and was the patient lying on her front?"
    )
    return [Reason("not a breast", text)]


def _darkening(values: np.ndarray) -> list[Reason]:
    """values: phases × voxels of the breasts, which contrast agent only makes brighter."""
    if not values.shape[1]:
        return []
    loss, gain = loss_and_gain(values, 1)
    if not (loss > DARKER * gain).any() or not loss.max() > MIN_LOSS:
        return []
    text = "The breasts get darker instead of brighter: is the volume before contrast the first one?"
    return [Reason("order", text)]


def _implant(
    exam: Exam,
    model_input: ModelInput,
    mean: np.ndarray,
    inside: np.ndarray,
    step: np.ndarray,
    one_breast: bool,
) -> list[Reason]:
    """mean, inside: on the coarse grid. one_breast: then there is no middle to be left or right of. Looks at
    T1 and phase before contrast: one may show what the other does not.
    """
    affine = model_input.affine.copy()
    affine[:3, :3] *= step
    phases = [phase for phase in (exam.t1, exam.pre) if phase is not None]
    seen = [implants(phase.volume, mean, inside, affine) for phase in phases]
    found = max(seen, key=lambda own: sum(implant.ml for implant in own), default=[])
    if not found:
        return []
    sides = {"right" if own.index[0] * step[0] > model_input.middle else "left" for own in found}
    if one_breast:
        where = "The breast holds"
    else:
        where = "Both breasts hold" if len(sides) == 2 else f"The {sides.pop()} breast holds"
    text = (
        f"{where} {sum(own.ml for own in found):.0f} ml without texture or enhancement, "
        f"{'brighter' if found[0].bright else 'darker'} than fat, as an implant does: "
        "the model has seen no implants."
    )
    return [Reason("implant", text)]
