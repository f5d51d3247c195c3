"""The parts of result.json: plain values, each key documented in docs/architecture.md."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..candidates.candidate import Candidate
from ..checks.range_check import Reason
from ..core.geometry import Volume
from ..exam import Exam
from ..exam.coverage import wide_enough_for_both
from ..findings.kinetics import region_curve
from ..findings.outline import outline_candidates
from ..kinetics.phases import kinetic_phases
from ..kinetics.regions import Breasts
from ..kinetics.settings import KineticSettings
from ..kinetics.tumour_volume import box_of_outline, missing_tumour_volume, tumour_volume_ml
from ..models.bundle import Bundle
from ..models.decision import Decision
from ..models.inference import Predictor
from ..preprocessing.landmarks import Skin, side
from ..preprocessing.model_input import ModelInput
from ..scoring import ExamScore, probability_of
from .descriptor_record import descriptor_record
from .plan_table import stack_records
from .reader_record import cutoff_record, region_record

SCHEMA_VERSION = 1
MAP_THRESHOLD = 0.4
_BOX_MARGIN_MM = 5.0  # about an outline, in which its functional tumour volume is measured


def score_record(score: ExamScore, malignant: bool, decision: Decision, bundle: Bundle) -> dict[str, Any]:
    """The probabilities of exam and breasts, restated; whether it is suspicious, and what that rests on."""
    return {
        "probability": round(score.probability, 6),
        "logit": round(score.logit, 6),
        "malignant": malignant,
        "threshold": decision.threshold,
        "operating_point": decision.operating_point,
        "prevalence": decision.prevalence,
        "assumed_prevalence": decision.assumed_prevalence,
        "breasts": {
            name: {"probability": round(probability_of(logit), 6), "logit": round(logit, 6)}
            for name, logit in score.breasts.items()
        },
        "candidates_calibrated": bundle.candidate_calibration is not None,
        "cutoff": cutoff_record(decision, bundle),
    }


def map_record(name: str, meaningful: bool, bundle: Bundle) -> dict[str, Any]:
    """The saliency map's name and how to show it; meaningful: of a suspicious exam that is in range."""
    return {
        "map": name,
        "map_meaningful": bool(meaningful),
        "map_threshold": MAP_THRESHOLD,
        "map_cell_mm": round(bundle.network.settings.total_stride * bundle.contract.spacing_mm, 2),
    }


def peak_records(
    candidates: Sequence[Candidate], exam: Exam, model_input: ModelInput, skin_mm: float
) -> list[dict[str, Any]]:
    """Each candidate's position, side, depth and estimate."""
    skin = Skin.of(model_input.inside, model_input.affine, skin_mm)
    # in an exam of one breast there is no sternum to be left or right of
    both = wide_enough_for_both(exam.grid.shape, exam.grid.affine)
    records = []
    for candidate in candidates:
        record = {
            "ras_mm": [round(c, 3) for c in candidate.ras_mm],
            "map_ras_mm": [round(c, 3) for c in candidate.map_ras_mm],
            "value": round(candidate.value, 4),
            "side": side(model_input.affine, candidate.ras_mm, model_input.middle) if both else "",
            "depth_mm": round(skin.depth(candidate.ras_mm), 1),
        }
        if candidate.probability is not None:
            reasons = {group: round(share, 2) for group, share in candidate.reasons}
            own = round(candidate.probability, 4) or round(candidate.probability, 6)
            record |= {"probability": own, "reasons": reasons}
        records.append(record)
    return records


def add_outlines(peaks: list[dict[str, Any]], exam: Exam, model_input: ModelInput) -> Volume:
    """Outline the candidates: each record gets its label and size.

    Returns
    -------
    Volume
        uint8 on the exam's own grid, the labels.
    """
    positions = [peak["ras_mm"] for peak in peaks]
    inside = Volume(model_input.inside, model_input.affine)
    labels, outlines = outline_candidates(exam, inside, positions, len(model_input.array))
    for peak, (label, _) in zip(peaks, outlines):
        if label:
            outline = outlines[label - 1][1]
            diameters = [round(extent, 1) for extent in outline.diameters_mm]
            size = {"size_mm": diameters[0], "diameters_mm": diameters}
            peak |= {"outline": label, **size, "volume_ml": round(outline.volume_ml, 2)}
    return labels


def tumour_volume_record(
    exam: Exam,
    breasts: Breasts,
    peaks: list[dict[str, Any]],
    outlines: Volume | None,
    settings: KineticSettings,
) -> dict[str, Any]:
    """Functional tumour volume of each breast with its thresholds, or why there is none.

    Each peak with an outline gets that of the box about it, as ``peak["ftv_ml"]``.
    """
    if missing := missing_tumour_volume(exam):
        return {"missing": missing}
    spacing = exam.grid.spacing
    for number, peak in enumerate(peaks, 1):
        if peak.get("outline") == number:
            box = box_of_outline(outlines.array == number, breasts.inside, spacing, _BOX_MARGIN_MM)
            peak["ftv_ml"] = round(tumour_volume_ml(exam, box, settings), 2)
    return {
        "percent": settings.percent,
        "ser": settings.ser,
        "background": settings.background,
        "neighbours": settings.neighbours,
        "phases": kinetic_phases(exam, settings).text,
        "breasts_ml": {
            name: round(tumour_volume_ml(exam, side, settings), 2) for name, side in breasts.sides.items()
        },
    }


def finding_record(
    exam: Exam, peaks: Sequence[Mapping[str, Any]], outlines: Volume, inside: np.ndarray
) -> dict[str, Any]:
    """The first candidate, its outline's mean curve, what that holds, and its words. inside: the breasts."""
    first = {key: value for key, value in peaks[0].items() if key not in ("value", "map_ras_mm")}
    if not first.get("outline"):
        return {"peak": 1, **first, "kinetics": None}
    region = outlines.with_array(outlines.array == 1)
    curve = region_curve(exam, region)
    own = {"kinetics": curve, **region_record(exam, region, inside), **descriptor_record(exam, region, curve)}
    return {"peak": 1, **first, **own}


def exam_record(exam: Exam, model_input: ModelInput) -> dict[str, Any]:
    """How the exam was understood: stacks of the input, phases in their order, T1, mask and share read."""
    return {
        "stacks": stack_records(exam.plan),
        "phases": _phase_records(exam),
        "t1": None if exam.t1 is None else {"name": exam.t1.name},
        "mask": {"source": model_input.mask_source, "volume_ml": round(model_input.mask_volume_ml, 1)},
        "breast_region_read": round(model_input.share_read, 6),
    }


def landmarks_record(model_input: ModelInput) -> dict[str, Any] | None:
    """Sternum, nipples and chest wall, RAS mm, as ``Landmarks.from_json`` reads them."""
    return None if model_input.landmarks is None else model_input.landmarks.as_json()


def _phase_records(exam: Exam) -> list[dict[str, Any]]:
    times = exam.times_s
    records = []
    if exam.pre is not None:
        records.append({"name": exam.pre.name, "role": "pre", "time_s": None if times is None else 0.0})
    role = "post" if exam.pre is not None else "subtraction"
    for number, phase in enumerate(exam.post):
        time_s = None if times is None else round(float(times[number]), 1)
        records.append({"name": phase.name, "role": role, "time_s": time_s})
    return records


def model_record(predictor: Predictor) -> dict[str, Any]:
    """What reproduces the run: device, precision and model."""
    bundle = predictor.bundle
    return {
        "device": predictor.device.type,
        "device_reason": predictor.device_reason,
        "precision": predictor.precision,
        "model": {
            "name": bundle.name,
            "sha256": bundle.sha256,
            "training_data": bundle.training_data,
            "evidence": bundle.evidence,
        },
    }


def warning_texts(
    exam: Exam,
    model_input: ModelInput,
    predictor: Predictor,
    reasons: Sequence[Reason],
    map_name: str,
    saliency: np.ndarray,
) -> list[str]:
    """Sentences to show to the user, the gravest first."""
    texts = [*(reason.text for reason in reasons), *exam.warnings, *model_input.warnings]
    if predictor.precision_note:
        texts.append(predictor.precision_note)
    if not saliency.any():
        texts.append(
            f"Nothing speaks for malignant in the {map_name} map; "
            "the strongest enhancement is listed instead."
        )
    return texts


def input_record(exam: Exam) -> dict[str, Any]:
    """Where the exam comes from, and its grid."""
    return {
        "study_instance_uid": exam.identifiers.get("study_instance_uid"),
        "series_instance_uids": list(exam.identifiers.get("series_instance_uids", [])),
        "subtraction_offsets": list(exam.offsets),
        "grid": {"size": list(exam.grid.shape), "ijk_to_ras": exam.grid.affine.tolist()},
    }


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import SimpleITK
    import torch

    return {
        "breastcmsl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "SimpleITK": SimpleITK.Version.VersionString(),
    }
