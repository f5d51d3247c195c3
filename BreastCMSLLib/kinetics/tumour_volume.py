"""Functional tumour volume (FTV): how much of a region enhances as tumours do.

As in the I-SPY trials (Hylton et al., Radiology 2012;263:663 and 2016;279:44; Li et al., Tomography
2016;2:378; thresholds as in UCSF's extension Breast_DCEMRI_FTV) a voxel counts whose early percent
enhancement is at least 70 %, whose SER is not negative, whose signal before contrast is at least 60 % of
the region's 95th percentile, and which stands with at least 4 of the 26 about it. The region is a reader's
box there, which leaves out skin and vessels.
"""

from __future__ import annotations

import numpy as np

from ..core.windows import Box, bounding_box
from ..exam import Exam
from .maps import NO_PRE, ONE_PHASE
from .phases import kinetic_phases
from .settings import DEFAULTS, KineticSettings

_PERCENTILE = 95.0  # of the signal before contrast, which the background is a share of


def missing_tumour_volume(exam: Exam) -> str:
    """Why an exam can have no functional tumour volume, in a sentence; "" where it can."""
    if exam.pre is None:
        return NO_PRE.format(what="the enhancement of tumour")
    return ONE_PHASE.format(what="functional tumour volume") if len(exam.post) == 1 else ""


def functional_tumour(
    exam: Exam, region: np.ndarray, settings: KineticSettings = DEFAULTS
) -> tuple[Box, np.ndarray]:
    """The voxels of a region that count as functional tumour.

    Parameters
    ----------
    exam : Exam
        With the phase before contrast and two after it, see :func:`missing_tumour_volume`.
    region : ndarray, shape (i, j, k), bool
        On the exam's own grid, at least one voxel.
    settings : KineticSettings

    Returns
    -------
    box : Box
        About the region.
    tumour : ndarray, bool
        In that box.
    """
    phases, box = kinetic_phases(exam, settings), bounding_box(region)
    inside = region[box]
    pre, early, late = (
        volume.array[box].astype(np.float32)
        for volume in (exam.pre.volume, exam.post[phases.early].volume, exam.post[phases.late].volume)
    )
    # bright enough before contrast to be tissue
    tumour = inside & (pre > 0) & (pre >= settings.background * np.percentile(pre[inside], _PERCENTILE))
    # enhances early, and keeps what it should of it
    early -= pre
    late -= pre
    tumour &= early * np.float32(100.0) >= settings.percent * pre
    tumour &= (late > 0) & (early >= settings.ser * late)
    # and stands with others
    return box, tumour & (_neighbours(tumour) >= settings.neighbours)


def tumour_volume_ml(exam: Exam, region: np.ndarray, settings: KineticSettings = DEFAULTS) -> float:
    """Functional tumour volume of a region in ml; parameters as of :func:`functional_tumour`."""
    if not region.any():
        return 0.0
    _, tumour = functional_tumour(exam, region, settings)
    return float(np.count_nonzero(tumour) * np.prod(exam.grid.spacing) / 1000.0)


def box_of_outline(
    outline: np.ndarray, breasts: np.ndarray, spacing: np.ndarray, margin_mm: float
) -> np.ndarray:
    """The box about an outline with a margin, as far as it lies in the breasts, in place of a reader's.

    Parameters
    ----------
    outline, breasts : ndarray, shape (i, j, k), bool
    spacing : ndarray, shape (3,)
        mm.
    margin_mm : float

    Returns
    -------
    ndarray, bool
        Of their shape.
    """
    region = np.zeros(outline.shape, dtype=bool)
    margins = np.round(margin_mm / np.asarray(spacing)).astype(int)
    box = tuple(
        slice(max(s.start - m, 0), min(s.stop + m, n))
        for s, m, n in zip(bounding_box(outline), margins, outline.shape)
    )
    region[box] = breasts[box]
    return region


def _neighbours(inside: np.ndarray) -> np.ndarray:
    """How many of the 26 voxels about each are true."""
    counts = inside.astype(np.uint8)
    for axis in range(3):
        counts = np.moveaxis(counts, axis, 0)
        summed = counts.copy()
        summed[1:] += counts[:-1]
        summed[:-1] += counts[1:]
        counts = np.moveaxis(summed, 0, axis)
    return counts - inside.astype(np.uint8)
