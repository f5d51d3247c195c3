"""Two analysed exams of one woman compared: a comparison's record, plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.geometry import apply_affine
from ..exam import Exam
from ..findings.kinetics import curve_at
from ..kinetics.settings import DEFAULTS, KineticSettings
from ..results.analysis import Analysis
from ..results.record import versions
from .changes import change_of, changes_of, kind_of
from .earlier import shows_both
from .lesions import Lesion, is_certain, lesions_of, pairs_of
from .names import ANCHORS, KINDS, NEW, VANISHED
from .registration import ExamRegistration, inside_of, register_exams

SCHEMA_VERSION = 1
_EXAM_KEYS = ("exam_id", "probability", "malignant", "threshold", "out_of_range")
_LESION_KEYS = (
    *("ras_mm", "side", "place", "image", "suspicion", "probability"),
    *("size_mm", "diameters_mm", "volume_ml", "ftv_ml", "depth_mm"),
)
_SEEN = {"in_field": True, "in_breasts": True}
_TIMES_APART_S = 30.0  # of the first or the last phases, from which on curves are hardly comparable
_VOXELS_APART = 1.5  # ratio of voxel volumes, likewise of outlines
_RESIDUAL_MM = 5.0  # from which on it is said that the exams lie badly on each other


def compare(
    current: Analysis, prior: Analysis, settings: KineticSettings = DEFAULTS
) -> tuple[dict[str, Any], ExamRegistration]:
    """Compare an exam with a prior one.

    Parameters
    ----------
    current, prior : Analysis
        Both analysed with one model and the same settings.
    settings : KineticSettings
        Thresholds of functional tumour volume, as the analyses had them.

    Returns
    -------
    record : dict
        What comparison.json holds; the keys are listed in docs/priors.md.
    registration : ExamRegistration

    Raises
    ------
    InputError
        They could not be laid on each other.
    """
    registration = register_exams(current, prior)
    findings = _findings(current, prior, registration, settings)
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.comparison",
        "research_use_only": True,
        "current": _exam(current),
        "prior": _exam(prior),
        "registration": registration.as_json(),
        "findings": findings,
        "breasts_ftv_ml": _breasts(current, prior),
        "model": current.result["model"],
        "remarks": _remarks(current, prior, registration, findings),
        "versions": versions(),
    }
    return record, registration


def _exam(analysis: Analysis) -> dict[str, Any]:
    return {key: analysis.result.get(key) for key in _EXAM_KEYS}


def _findings(
    current: Analysis, prior: Analysis, registration: ExamRegistration, settings: KineticSettings
) -> list[dict[str, Any]]:
    """Reported lesions of either exam: pairs, then what only one of them shows."""
    now, then = (lesions_of(analysis, settings) for analysis in (current, prior))
    pairs = pairs_of(now, then, registration)
    # middles of masks may lie a hand's breadth off, and look alike all the same
    residual_mm = registration.residual_mm if _sure(registration, current) else None
    voxel_mm = float(max(exam.grid.spacing.max() for exam in (current.exam, prior.exam)))
    findings = [
        _pair(*pair, is_certain(*pair, residual_mm, voxel_mm))
        for pair in pairs
        if pair[0].reported or pair[1].reported
    ]
    both = {id(lesion) for pair in pairs for lesion in pair[:2]}
    for lesion in now:
        if lesion.reported and id(lesion) not in both:
            place = registration.to_prior(lesion.centre)
            findings.append(_single(NEW, current=_lesion(lesion), prior=_place(prior, place)))
    for lesion in then:
        if lesion.reported and id(lesion) not in both:
            place = registration.to_current(lesion.centre)
            findings.append(_single(VANISHED, current=_place(current, place), prior=_lesion(lesion)))
    return sorted(findings, key=lambda finding: KINDS.index(finding["change"]))


def _pair(current: Lesion, prior: Lesion, distance_mm: float, certain: bool) -> dict[str, Any]:
    changes = changes_of(current.peak, prior.peak, (current.curve, prior.curve))
    return {
        "change": kind_of(changes["size_mm"]),
        "side": current.peak["side"],
        "distance_mm": round(distance_mm, 1),
        "certain": certain,
        "current": _lesion(current),
        "prior": _lesion(prior),
        "changes": changes,
    }


def _single(kind: str, *, current: dict[str, Any], prior: dict[str, Any]) -> dict[str, Any]:
    side = (current if kind == NEW else prior)["side"]
    return {
        "change": kind,
        "side": side,
        "distance_mm": None,
        "certain": None,
        "current": current,
        "prior": prior,
        "changes": None,
    }


def _lesion(lesion: Lesion) -> dict[str, Any]:
    own = {key: lesion.peak[key] for key in _LESION_KEYS if key in lesion.peak}
    return {"peak": lesion.number, **own, "kinetics": dict(lesion.curve), **_SEEN}


def _place(analysis: Analysis, ras_mm: np.ndarray) -> dict[str, Any]:
    """The same place of an exam without the lesion, and how it enhances there."""
    model_input = analysis.model_input
    seen = bool(inside_of(analysis.exam.grid, ras_mm))
    index = np.rint(apply_affine(np.linalg.inv(model_input.affine), ras_mm)).astype(int)
    within = bool((index >= 0).all() and (index < model_input.inside.shape).all())
    return {
        "peak": None,
        "ras_mm": [round(float(c), 3) for c in ras_mm],
        "kinetics": curve_at(analysis.exam, ras_mm) if seen else None,
        "in_field": seen,
        "in_breasts": seen and within and bool(model_input.inside[tuple(index)]),
    }


def _sure(registration: ExamRegistration, current: Analysis) -> bool:
    """Whether the start can be relied on: nipples, or the only breast."""
    return registration.by_nipples or not shows_both(current.exam)


def _breasts(current: Analysis, prior: Analysis) -> dict[str, Any]:
    """Change of each breast's functional tumour volume; {} where either was not measured."""
    now, then = (a.result["tumour_volume"].get("breasts_ml") or {} for a in (current, prior))
    return {name: change_of(now[name], then[name]) for name in now if name in then}


def _unseen(finding: Mapping[str, Any], kind: str) -> bool:
    """Whether a finding is of that kind, and the other exam was not read at its place."""
    other = "prior" if kind == NEW else "current"
    return finding["change"] == kind and not finding[other]["in_breasts"]


# ---------------------------------------------------------------- what makes them hard to compare


def _remarks(
    current: Analysis, prior: Analysis, registration: ExamRegistration, findings: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Sentences for the user."""
    remarks = [
        f"The {name} exam is outside what the model was made for; its candidates are not to be relied on."
        for name, analysis in (("current", current), ("prior", prior))
        if analysis.result["out_of_range"]
    ]
    remarks += _identity_remarks(current.exam, prior.exam)
    remarks += _acquisition_remarks(current.exam, prior.exam)
    if registration.mode == ANCHORS:
        start = "nipples" if registration.by_nipples else "middles of the breasts"
        remarks.append(
            f"The exams were laid on each other by their {start} alone; places may differ by centimetres."
        )
    elif not _sure(registration, current):
        remarks.append(
            "The nipples were not found with certainty in both exams, so that the registration may lie a "
            "hand's breadth off; look whether matches are right."
        )
    if (registration.residual_mm or 0.0) > _RESIDUAL_MM:
        remarks.append(
            f"The breasts could be laid on each other to within {registration.residual_mm:.0f} mm only: "
            "they were compressed otherwise, or have changed; look whether matches are right."
        )
    unseen = {kind for kind in (NEW, VANISHED) for finding in findings if _unseen(finding, kind)}
    if NEW in unseen:
        remarks.append("A new finding lies where the prior exam was not read: it may have been there before.")
    if VANISHED in unseen:
        remarks.append("A finding lies where the current exam was not read: it may still be there.")
    return remarks


def _identity_remarks(current: Exam, prior: Exam) -> list[str]:
    """What their headers leave open of two exams that ``earlier.check_two`` let pass."""
    said = {"patient": "both are of one woman", "acquired_s": "the prior one is the earlier"}
    exams = (current.identifiers, prior.identifiers)
    unknown = [text for key, text in said.items() if not all(known.get(key) for known in exams)]
    return [f"The exams do not tell that {' and that '.join(unknown)}: make sure of it."] if unknown else []


def _acquisition_remarks(current: Exam, prior: Exam) -> list[str]:
    """Differences between the acquisitions that change measures."""
    remarks = []
    if (current.pre is None) != (prior.pre is None):
        remarks.append(
            "One exam holds subtractions alone, so that enhancement cannot be compared in percent."
        )
    times = [exam.times_s for exam in (current, prior)]
    if any(of_exam is None for of_exam in times):
        remarks.append("The times of an exam's phases are unknown; curves may differ because of them.")
    else:
        rest = [float(of_exam[-1] - of_exam[0]) for of_exam in times]
        told = [(f"the last {rest[0]:.0f} s after the first (prior exam: {rest[1]:.0f} s)", rest)]
        # subtractions do not tell when the phase before contrast was taken
        if current.pre is not None and prior.pre is not None:
            first = [float(of_exam[0]) for of_exam in times]
            told.insert(0, (f"the first at {first[0]:.0f} s (prior exam: {first[1]:.0f} s)", first))
        if max(abs(now - then) for _, (now, then) in told) > _TIMES_APART_S:
            remarks.append(
                f"The phases after contrast were taken at other times: {', '.join(t for t, _ in told)}; "
                "curves and tumour volumes may differ because of it."
            )
    sizes = [float(np.prod(exam.grid.spacing)) for exam in (current, prior)]
    if max(sizes) > _VOXELS_APART * min(sizes):
        remarks.append("The exams' voxels differ in size; sizes and volumes may differ because of it.")
    return remarks
