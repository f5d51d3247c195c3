"""What of an analysed exam is compared: its candidates with an outline of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..findings.kinetics import region_curve
from ..findings.names import LOW
from ..kinetics.regions import breasts_of
from ..kinetics.settings import DEFAULTS, KineticSettings
from ..results.analysis import Analysis
from ..results.record import add_outlines, tumour_volume_record
from .registration import ExamRegistration

MATCH_MM = 15.0  # between the middles of one lesion in two registered exams; large ones: half their diameter


@dataclass(frozen=True)
class Lesion:
    """An outlined candidate.

    Parameters
    ----------
    number : int
        Of the candidate, from 1.
    peak : mapping
        Its record, as in ``result["peaks"]``, with size and tumour volume of a negative exam too.
    curve : mapping
        The mean curve of its outline.
    reported : bool
        Whether it is worth telling that it is new or vanished: of moderate suspicion at least. Where
        suspicion is not known, the first candidate of a suspicious exam.
    """

    number: int
    peak: Mapping[str, Any]
    curve: Mapping[str, Any]
    reported: bool

    @property
    def centre(self) -> np.ndarray:
        """Middle of the outline, RAS mm."""
        return np.array(self.curve["ras_mm"])


def lesions_of(analysis: Analysis, settings: KineticSettings = DEFAULTS) -> list[Lesion]:
    """The outlined candidates of an analysis, in its order.

    Parameters
    ----------
    analysis : Analysis
        Unchanged; candidates of a negative exam are outlined here.
    settings : KineticSettings
        Thresholds of functional tumour volume, as the analysis had them.

    Returns
    -------
    list of Lesion
    """
    exam, result = analysis.exam, analysis.result
    peaks, outlines = deepcopy(result["peaks"]), analysis.outlines
    if outlines is None:
        outlines = add_outlines(peaks, exam, analysis.model_input)
        tumour_volume_record(exam, breasts_of(exam, analysis.model_input), peaks, outlines, settings)
    lesions = []
    for number, peak in enumerate(peaks, 1):
        if peak.get("outline") != number:  # nothing stands out, or an earlier candidate's outline
            continue
        curve = region_curve(exam, outlines.with_array(outlines.array == number))
        first = number == 1 and result["malignant"]
        reported = peak["suspicion"] != LOW if "suspicion" in peak else first
        lesions.append(Lesion(number, peak, curve, reported))
    return lesions


def pairs_of(
    current: Sequence[Lesion], prior: Sequence[Lesion], registration: ExamRegistration
) -> list[tuple[Lesion, Lesion, float]]:
    """Lesions of the two exams that are one and the same: the nearest first, each once, in the same breast.

    Parameters
    ----------
    current, prior : sequence of Lesion
    registration : ExamRegistration

    Returns
    -------
    list of (Lesion, Lesion, float)
        In the order of ``current``; mm between their middles after registration.
    """
    near = []
    for now, lesion in enumerate(current):
        expected = registration.to_prior(lesion.centre)
        for then, other in enumerate(prior):
            distance = float(np.linalg.norm(expected - other.centre))
            longest = max(lesion.peak["size_mm"], other.peak["size_mm"])
            if lesion.peak["side"] == other.peak["side"] and distance <= max(MATCH_MM, longest / 2):
                near.append((distance, now, then))
    pairs: dict[int, tuple[int, float]] = {}
    for distance, now, then in sorted(near):
        if now not in pairs and then not in {known for known, _ in pairs.values()}:
            pairs[now] = (then, distance)
    return [(current[now], prior[then], distance) for now, (then, distance) in sorted(pairs.items())]


def is_certain(
    current: Lesion, prior: Lesion, distance_mm: float, residual_mm: float | None, voxel_mm: float
) -> bool:
    """Whether two lesions lie no farther apart than a single one may.

    The middle of one lesion lies off by the registration's residual, by half the change of its diameter where
    it grew on one side, and by a voxel, of which outlines are made.

    Parameters
    ----------
    current, prior : Lesion
    distance_mm : float
        Between their middles after registration.
    residual_mm : float or None
        Of the registration; None where it is not known, and then nothing is certain.
    voxel_mm : float
        Longest edge of a voxel of the two exams.
    """
    if residual_mm is None:
        return False
    change_mm = abs(current.peak["size_mm"] - prior.peak["size_mm"])
    return distance_mm <= residual_mm + change_mm / 2 + voxel_mm
