"""The result as a DICOM structured report: TID 1500, measurements of exam, breasts and candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from highdicom import seg, sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ... import __version__
from ...core.geometry import LPS_FROM_RAS, apply_affine
from ...descriptors.names import CIRCUMSCRIBED, MARGIN
from ...findings.kinetics import peak_curve
from .. import wording
from .segmentation import tracking
from .stamp import MAKER, RESEARCH_USE, Stamp

_MILLILITRE = Code("mL", "UCUM", "milliliter")
_PROCEDURE = Code("241615005", "SCT", "MRI of breast")
_CURVE = Code("RID6058", "RADLEX", "Enhancement pattern")
_CURVE_TYPES = {
    "persistent": codes.DCM.PersistentDelayedPhaseType1Curve,
    "plateau": codes.DCM.PlateauDelayedPhaseType2Curve,
    "washout": codes.DCM.WashoutDelayedPhaseType3Curve,
}
# words that DICOM has no code for are left out, as of margins that are not circumscribed
_MARGINS = {CIRCUMSCRIBED: codes.SCT.CircumscribedLesion}
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}


def structured_report(
    stamp: Stamp, result: Mapping[str, Any], findings: seg.Segmentation | None, labels: Sequence[int]
) -> sr.Comprehensive3DSR:
    """The probabilities of exam and breasts and, of a suspicious exam, what was measured at its candidates.

    Out of range there is no verdict: comments say why, and nothing is measured.

    A candidate has a group for its segment (TID 1411) and one for its position (TID 1501, SCOORD3D in LPS
    mm) with the same tracking identifier, as TID 1411 takes no coordinates.

    Parameters
    ----------
    stamp : Stamp
    result : mapping
        The content of ``result.json``.
    findings : highdicom.seg.Segmentation, optional
        What the measurements of outlines refer to.
    labels : sequence of int
        The outline's label of each of its segments.

    Returns
    -------
    highdicom.sr.Comprehensive3DSR
    """
    segments = {label: number for number, label in enumerate(labels, 1)}
    groups = [*_exam_groups(stamp, result)]
    judged = result["malignant"] and not result.get("out_of_range")
    for index, peak in enumerate(result["peaks"] if judged else ()):
        groups += _candidate_groups(stamp, result, index, findings, segments.get(peak.get("outline")))
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=stamp.uid("device"), name=MAKER, model_name=MAKER, manufacturer_name=MAKER
    )
    report = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=None,  # a library of every image would be most of the object
    )
    for text in _comments(result):
        report[0].ContentSequence.append(
            sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)
        )
    identity = stamp.series("report")
    for key in ("manufacturer_model_name", "software_versions", "device_serial_number"):
        identity.pop(key)
    document = sr.Comprehensive3DSR(
        evidence=[*stamp.source.images, *([] if findings is None else [findings])],
        content=report[0],
        is_complete=True,
        **identity,
    )
    return stamp.finished(document, "Measurements")


def _comments(result: Mapping[str, Any]) -> list[str]:
    """What the numbers may be used for, and what speaks against them."""
    model = result.get("model") or {}
    reasons = [reason["text"] for reason in result.get("out_of_range") or ()]
    verdict = (
        f"{wording.verdict(result).capitalize()}: probability {wording.score_percent(result)}, "
        f"{wording.threshold_text(result)}."
    )
    return [
        f"{RESEARCH_USE}. Model {model.get('name', '')}, trained on {model.get('training_data', '')}.",
        f"{wording.OUT_OF_RANGE} {' '.join(reasons)}" if reasons else verdict,
    ]


def _exam_groups(stamp: Stamp, result: Mapping[str, Any]) -> Iterable[Any]:
    breasts = {"right": codes.SCT.Right, "left": codes.SCT.Left}
    probabilities = {"Exam": (result["probability"], None)}
    if result.get("out_of_range"):  # the template asks for a group, and a group for no measurement
        probabilities = {"Exam": (None, None)}
    for side, own in ({} if result.get("out_of_range") else result.get("breasts") or {}).items():
        probabilities[f"{side.capitalize()} breast"] = (own["probability"], breasts.get(side))
    for name, (probability, side) in probabilities.items():
        yield sr.MeasurementsAndQualitativeEvaluations(
            sr.TrackingIdentifier(uid=stamp.uid("tracking", name), identifier=name),
            finding_sites=[sr.FindingSite(codes.SCT.Breast, laterality=side)],
            algorithm_id=_algorithm(),
            measurements=None if probability is None else [_probability(probability)],
        )


def _candidate_groups(
    stamp: Stamp,
    result: Mapping[str, Any],
    index: int,
    findings: seg.Segmentation | None,
    segment: int | None,
) -> list[Any]:
    """The candidate's outline, where it has one, and its position."""
    peak = result["peaks"][index]
    uid, name = tracking(stamp, index + 1)
    common = {
        "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=name),
        "finding_type": codes.SCT.Lesion,
        "finding_sites": [sr.FindingSite(codes.SCT.Breast, laterality=_SIDES.get(peak.get("side")))],
        "algorithm_id": _algorithm(),
    }
    groups = []
    if findings is not None and segment is not None:
        words = _evaluations(result, index)
        groups.append(
            sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=_segment(stamp, findings, segment),
                measurements=_sizes(peak),
                qualitative_evaluations=words or None,
                **common,
            )
        )
    lps = apply_affine(LPS_FROM_RAS, np.array([peak["ras_mm"]]))
    point = sr.CoordinatesForMeasurement3D("POINT", lps, stamp.source.head.FrameOfReferenceUID)
    measurements = []
    # what is not calibrated is no probability of cancer
    if result.get("candidates_calibrated") and peak.get("probability") is not None:
        measurements.append(_probability(peak["probability"], referenced_coordinates=[point]))
    if peak.get("depth_mm") is not None:
        depth = round(float(peak["depth_mm"]), 1)
        measurements.append(
            sr.Measurement(codes.SCT.Depth, depth, codes.UCUM.Millimeter, referenced_coordinates=[point])
        )
    if measurements:
        groups.append(sr.MeasurementsAndQualitativeEvaluations(measurements=measurements, **common))
    return groups


def _evaluations(result: Mapping[str, Any], index: int) -> list[sr.QualitativeEvaluation]:
    """Type of curve of a candidate and, of the first one, its margin where that is clear."""
    words = ((result.get("finding") or {}).get("descriptors") or {}) if index == 0 else {}
    pairs = [
        (_CURVE, _CURVE_TYPES.get((peak_curve(result, index) or {}).get("type"))),
        (codes.DCM.Margins, _MARGINS.get((words.get(MARGIN) or {}).get("word"))),
    ]
    return [sr.QualitativeEvaluation(name, value) for name, value in pairs if value is not None]


def _segment(stamp: Stamp, findings: seg.Segmentation, number: int) -> sr.ReferencedSegment:
    """A segment, and the series it was drawn on. (highdicom's own way fails on a segmentation of one.)"""
    return sr.ReferencedSegment(
        findings.SOPClassUID,
        findings.SOPInstanceUID,
        number,
        source_series=sr.SourceSeriesForSegmentation(stamp.source.head.SeriesInstanceUID),
    )


def _sizes(peak: Mapping[str, Any]) -> list[sr.Measurement]:
    """Diameter and volume of an outlined candidate."""
    return [
        sr.Measurement(codes.SCT.Diameter, float(peak["size_mm"]), codes.UCUM.Millimeter),
        sr.Measurement(codes.SCT.Volume, float(peak["volume_ml"]), _MILLILITRE),
    ]


def _probability(probability: float, **more: Any) -> sr.Measurement:
    value = 100 * float(probability)
    value = round(value, 2 if value >= 1 else 4)
    return sr.Measurement(codes.DCM.ProbabilityOfCancer, value, codes.UCUM.Percent, **more)


def _algorithm() -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(MAKER, __version__)
