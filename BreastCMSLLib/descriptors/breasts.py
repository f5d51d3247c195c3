"""Amount of fibroglandular tissue, and how much of it enhances, in words of the BI-RADS lexicon.

Measured on the model's grid, a voxel below the surface of the breast mask, without the findings:

- **Amount**: share of the breast that is nearer to gland than to fat on the T1 without fat suppression (two
  classes, as Nie et al., Med Phys 2008;35:5253, there by fuzzy clustering). The T1 is divided by the signal
  of fat nearby, which takes the coil's shading away: fat is 1, and gland the
  second percentile, or a half where that is brighter.
- **Background enhancement**: share of that tissue whose early signal is 20 % or more above that before
  contrast (the threshold of Wu et al., Breast Cancer Res 2015;17:67).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, spacing_of
from ..core.resampling import resample
from ..exam import Exam
from ..preprocessing.model_input import ModelInput
from .lexicon import amount_word, background_word
from .names import AMOUNT, BACKGROUND

ENHANCES_PERCENT = 20.0
_SHADING_MM = 25.0  # σ over which the signal of fat is averaged
_ROUNDS = 8  # of telling fat by its nearby signal, and that signal by the fat
_ABOUT_MM = 6.0  # of a finding, left out
_GLAND = 0.5  # of the signal of fat: brighter than that, the darkest tissue is fat too
_LEAST_VOXELS = 500

NO_T1 = "The exam has no T1 without fat suppression: glandular tissue cannot be told from fat."
OTHER_T1 = "The T1 shows too little of the breasts: glandular tissue cannot be told from fat."
NO_PRE = "The exam holds subtractions alone: enhancement as a share of the signal before contrast is unknown."
LITTLE = "The breasts hold too little glandular tissue to say how it enhances."
SMALL = "The breast mask is too small to tell glandular tissue from fat."


def describe_breasts(exam: Exam, model_input: ModelInput, phase: int, findings: Volume | None) -> dict:
    """Amount of fibroglandular tissue and background enhancement of an exam.

    Parameters
    ----------
    exam : Exam
    model_input : ModelInput
    phase : int
        Of ``exam.post``, the early one.
    findings : Volume or None
        Labels on the exam's own grid, whose voxels are left out; None for none.

    Returns
    -------
    dict
        By ``names.AMOUNT`` and ``names.BACKGROUND``: ``word`` and ``share`` (0 to 1), or ``missing``, a
        sentence.
    """
    if exam.t1 is None:
        return _missing(NO_T1)
    if model_input.mask_source != "t1":
        return _missing(OTHER_T1)
    affine = model_input.affine
    # beyond its own grid a T1 shows neither gland nor fat
    t1 = resample(exam.t1.volume, model_input.inside.shape, affine, outside=np.nan).array.astype(np.float32)
    inside = model_input.inside & np.isfinite(t1)
    breast = ndimage.binary_erosion(inside)
    if findings is not None and findings.array.any():
        labels = resample(Volume(findings.array > 0, findings.affine), inside.shape, affine, nearest=True)
        away = ndimage.distance_transform_edt(~labels.array.astype(bool), sampling=spacing_of(affine))
        breast &= away > _ABOUT_MM
    if breast.sum() < _LEAST_VOXELS:
        return _missing(SMALL)
    gland = fibroglandular(np.nan_to_num(t1), inside, breast, spacing_of(affine))
    share = float(gland.sum() / breast.sum())
    amount = {"word": amount_word(share), "share": round(share, 3)}
    return {AMOUNT: amount, BACKGROUND: _background(exam, gland, affine, phase)}


def _missing(why: str) -> dict:
    return {AMOUNT: {"missing": why}, BACKGROUND: {"missing": why}}


def fibroglandular(t1: np.ndarray, inside: np.ndarray, breast: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Where a T1 without fat suppression shows glandular tissue.

    Parameters
    ----------
    t1 : ndarray, shape (LR, AP, SI)
    inside, breast : ndarray of bool, shape (LR, AP, SI)
        The breasts, from whose fat the shading is taken, and the part of them that is asked for.
    spacing : ndarray, shape (3,)
        mm.

    Returns
    -------
    ndarray of bool, shape (LR, AP, SI)
    """
    # the shading, on every second voxel
    few, own = t1[::2, ::2, ::2], inside[::2, ::2, ::2]
    if not own.any():  # a mask one plane thick
        return np.zeros_like(breast)
    most = (1.0 + _GLAND) / 2
    level = np.full(few.shape, np.percentile(few[own], 75), dtype=np.float32)
    for _ in range(_ROUNDS):
        relative = few / np.maximum(level, 1e-3)
        fat = own & (relative > min(_two_classes(np.clip(relative[own], 0, 2)), most))
        weight, total = (
            ndimage.gaussian_filter(values, _SHADING_MM / (2 * spacing))
            for values in (fat.astype(np.float32), np.where(fat, few, 0))
        )
        level = total / np.maximum(weight, 1e-4)
    level = level.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    level = level[tuple(slice(n) for n in t1.shape)]
    # what is nearer to gland than to fat
    relative = t1 / np.maximum(level, 1e-3)
    half = (1.0 + float(np.percentile(relative[inside], 2))) / 2
    return breast & (relative < min(half, most))


def _two_classes(values: np.ndarray) -> float:
    """The threshold that parts values best in two (Otsu, IEEE Trans Syst Man Cybern 1979;9:62)."""
    counts, ends = np.histogram(values, 128)
    centres = (ends[1:] + ends[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * centres)
    between = (sums[-1] * below / below[-1] - sums) ** 2 / np.maximum(below * (below[-1] - below), 1)
    return float(centres[np.argmax(between)])


def _background(exam: Exam, gland: np.ndarray, affine: np.ndarray, phase: int) -> dict[str, Any]:
    if exam.pre is None:
        return {"missing": NO_PRE}
    if gland.sum() < _LEAST_VOXELS:
        return {"missing": LITTLE}
    before, after = (
        resample(volume, gland.shape, affine).array[gland].astype(np.float32)
        for volume in (exam.pre.volume, exam.post[phase].volume)
    )
    seen = before > 0
    if not seen.any():
        return {"missing": LITTLE}
    share = float((after[seen] >= (1 + ENHANCES_PERCENT / 100) * before[seen]).mean())
    return {"word": background_word(share), "share": round(share, 3)}
