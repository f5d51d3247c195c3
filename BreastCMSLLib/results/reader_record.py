"""The keys of ``result.json`` for a reader: place, suspicion, image, cut-off, what was not analysed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..candidates.candidate import Candidate
from ..core.geometry import Volume
from ..exam import Exam
from ..exam.plan import LEFT_OUT
from ..findings.appearance import appearance
from ..findings.place import group_of, place_of
from ..findings.suspicion import suspicion
from ..findings.voxel_types import type_shares
from ..kinetics.phases import kinetic_phases
from ..models.bundle import Bundle
from ..models.decision import Decision
from ..preprocessing.landmarks import Landmarks
from .image_numbers import image_numbers

# parts of the warnings that tell how the exam was prepared, and do not speak against its result
_ROUTINE = ("were interpolated in time", "No non-fat-saturated T1 was given: the breast mask was made from")


EARLIER_EXAMS = "earlier exams"  # of what was not analysed
OTHER_EXAMS = "earlier exams but the one that this one was compared with"


def add_places(
    peaks: list[dict[str, Any]], exam: Exam, landmarks: Landmarks | None, registered: bool
) -> None:
    """Give each peak ``place``, ``group``, and ``image`` where the exam was read from DICOM files.

    Parameters
    ----------
    peaks : list of dict
    exam : Exam
    landmarks : Landmarks or None
    registered : bool
        Whether phases were moved to the one before contrast, on whose images positions lie then.
    """
    phase = exam.pre if registered and exam.pre is not None else exam.post[0]
    images = image_numbers(exam, phase, [peak["ras_mm"] for peak in peaks])
    for peak, image in zip(peaks, images):
        peak["place"] = place_of(peak["ras_mm"], landmarks)
        peak["group"] = group_of(peak, peaks[0])
        if image is not None:
            peak["image"] = image


def add_suspicion(
    peaks: list[dict[str, Any]],
    candidates: Sequence[Candidate],
    decision: Decision,
    bundle: Bundle,
    malignant: bool,
) -> None:
    """Give each peak ``suspicion``, where the candidates' probabilities are calibrated.

    Parameters
    ----------
    peaks : list of dict
    candidates : sequence of Candidate
        Those of the peaks, before restating: no prevalence makes another word of a candidate.
    decision : Decision
    bundle : Bundle
    malignant : bool
        Whether the exam is suspicious.
    """
    if bundle.candidate_calibration is None:
        return
    for peak, candidate in zip(peaks, candidates):
        if candidate.probability is not None:
            peak["suspicion"] = suspicion(
                candidate.probability,
                decision.assumed_threshold,
                malignant=malignant,
                first=peak is peaks[0],
            )


def region_record(exam: Exam, outline: Volume, inside: np.ndarray) -> dict[str, Any]:
    """What the finding's outline holds: ``appearance`` and ``voxel_types``.

    Parameters
    ----------
    exam : Exam
    outline : Volume
        Boolean, on the exam's own grid.
    inside : ndarray, shape (i, j, k), bool
        The breasts on that grid.
    """
    return {
        "appearance": appearance(exam, outline, kinetic_phases(exam).early, inside),
        "voxel_types": type_shares(exam, outline),
    }


def cutoff_record(decision: Decision, bundle: Bundle) -> dict[str, Any] | None:
    """What the cut-off gave on the test exams of the model's evidence; None where that does not say.

    Parameters
    ----------
    decision : Decision
        Of which prevalence the probabilities are does not matter: the same exams are called.
    bundle : Bundle

    Returns
    -------
    dict or None
        ``sensitivity``, ``false_positives`` (shares), ``malignant`` and ``others`` (numbers of exams).
    """
    evidence = bundle.evidence if isinstance(bundle.evidence, Mapping) else {}
    tested = evidence.get("classification")
    threshold = decision.assumed_threshold
    if not isinstance(tested, Mapping):
        return None
    if not _same(tested.get("threshold"), threshold):
        points = evidence.get("operating_points")
        points = points.values() if isinstance(points, Mapping) else ()
        known = [point for point in points if isinstance(point, Mapping)]
        other = next((point for point in known if _same(point.get("threshold"), threshold)), None)
        tested = {**tested, **other["test"]} if other and isinstance(other.get("test"), Mapping) else {}
    values = [tested.get(key) for key in ("sensitivity", "specificity", "n", "malignant")]
    if not all(_number(value) for value in values):
        return None
    sensitivity, specificity, count, malignant = values
    return {
        "sensitivity": sensitivity,
        "false_positives": round(1.0 - specificity, 6),
        "malignant": malignant,
        "others": count - malignant,
    }


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _same(value: object, threshold: float) -> bool:
    return _number(value) and math.isclose(value, threshold, rel_tol=1e-6)


def not_analysed(exam: Exam, share_read: float, both_breasts: bool) -> list[str]:
    """What the analysis did not look at, in short phrases.

    Parameters
    ----------
    exam : Exam
    share_read : float
        Of the breast region.
    both_breasts : bool
        Whether the exam is wide enough for both.
    """
    left_out = [] if exam.plan is None else [s.name for s in exam.plan.stacks if s.role == LEFT_OUT]
    names = list(dict.fromkeys(left_out))
    phrases = ["axilla, chest wall and skin", "T2, diffusion and other imaging", EARLIER_EXAMS]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        phrases.append(f"series of this exam: {', '.join(names[:3])}{more}")
    if not both_breasts:
        phrases.append("the other breast, which the exam does not show")
    if share_read < 1:
        phrases.append(f"{max(100 * (1 - share_read), 0.1):.1f} % of the breast region")
    return phrases


def add_comparison(result: dict[str, Any], section: dict[str, Any]) -> None:
    """Let a result say what a comparison with a prior exam gave, and that this exam was looked at."""
    result["comparison"] = section
    phrases = result.get("not_analysed") or ()
    result["not_analysed"] = [OTHER_EXAMS if phrase == EARLIER_EXAMS else phrase for phrase in phrases]


def routine(warnings: list[str]) -> list[str]:
    """The warnings that are routine remarks on how the exam was prepared."""
    return [text for text in warnings if any(part in text for part in _ROUTINE)]
