"""What a user reads about a result, in report, scene, panel and command line alike. Imports nothing heavy.

``result`` is always the dictionary of ``result.json``. Files and results keep the short names of maps
("LESION").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..models.maps import COMPARED_MAPS

MAP_NOTE = "The map shows where to look; it does not outline a lesion."
OUTLINE_NOTE = (
    "Outline: the region that enhances early, above half of its maximum over the surroundings. "
    "Drawn by the program, checked by no reader."
)
MOVED_NOTE = (
    "Moved: distance from the map's maximum to the enhancement beside it, which is the candidate's position."
)
CURVE_NOTE = (
    "Curves: the brightest 4 mm within 9 mm of the candidate, and the mean of the outline. "
    "Delayed change: last phase against early peak (first two minutes)."
)
NOT_MEANINGFUL = "not meaningful at this score"
NO_FINDING = f"No finding: the score is below the threshold, and the map is {NOT_MEANINGFUL}."
NOT_IN_RANGE = "not meaningful: out of range"
NO_EVIDENCE = "no evidence is recorded in its card"
LEGEND = "Colours: dark red at {least:g} of the map's maximum, yellow at the maximum; transparent below."
OUT_OF_RANGE = "No result: outside what the model was made for."

# of the world axes R, A, S: letters towards their positive and negative end
AXIS_LETTERS = ("RL", "AP", "SI")

_MAP_TITLES = {
    "LESION": "Lesion map",
    "COAMxCAM": "COAM × CAM",
    "COAM": "COAM",
    "CAM": "CAM",
    "LayerCAM": "Layer-CAM",
    "GradCAM": "Grad-CAM",
    "NORM": "Feature norm",
    "PE": "Percent enhancement",
    "WASHIN": "Wash-in",
    "WASHOUT": "Wash-out",
    "SER": "Signal enhancement ratio",
    "TTP": "Time to peak",
    "MIP_AXIAL": "MIP, axial",
    "MIP_RIGHT": "MIP, sagittal, right breast",
    "MIP_LEFT": "MIP, sagittal, left breast",
    "MIP_SAGITTAL": "MIP, sagittal",
}
PROJECTIONS = "Maximum intensity projections of the early subtraction"  # how their caption begins
_PROJECTED = "Maximum intensity projection of the early subtraction, the breasts alone."
_MAP_NOTES = {
    "LESION": "Lesion map: the regions of all candidates. Colour: suspicion relative to the first candidate.",
    "COAMxCAM": "COAM × CAM: regions that speak for malignant (CAM) and agree with the whole exam (COAM).",
    "COAM": (
        "COAM, correlation attention map: regions whose features agree with the whole exam. "
        "It does not tell malignant from benign."
    ),
    "CAM": "CAM, class activation map: what each region adds to the score for malignant.",
    "LayerCAM": "Layer-CAM: features that would raise the score for malignant if they grew there.",
    "GradCAM": "Grad-CAM: features that would raise the score for malignant if they grew in the whole exam.",
    "NORM": "Feature norm: how strongly the network responds. It does not tell malignant from benign.",
    "PE": "Percent enhancement: the highest of all phases, % of the signal before contrast. Shown from 50 %.",
    "WASHIN": (
        "Wash-in: enhancement at the early phase, % of the signal before contrast. "
        "Yellow: medium (50 to 100 %), red: fast; slow is not shown."
    ),
    "WASHOUT": (
        "Wash-out: last phase against the early peak, % of that. "
        "Red: washout (below −10 %), yellow: plateau, blue: persistent (above +10 %)."
    ),
    "SER": (
        "Signal enhancement ratio: early against late enhancement. "
        "Blue to 0.9, purple to 1.0, green to 1.3, red to 1.75, yellow above."
    ),
    "TTP": "Time to peak: minutes from the first phase after contrast to the highest one.",
    "MIP_AXIAL": _PROJECTED,
    "MIP_RIGHT": _PROJECTED,
    "MIP_LEFT": _PROJECTED,
    "MIP_SAGITTAL": _PROJECTED,
}
_MASK_SOURCES = {
    "t1": "the T1 without fat saturation",
    "pre": "the pre-contrast phase",
    "subtractions": "the subtractions",
}


# ---------------------------------------------------------------- numbers


def probability_text(probability: float) -> str:
    """A probability with three digits: "0.934"; never "0.000" or "1.000", which no model can know."""
    value = float(probability)
    return "<0.001" if value < 0.0005 else ">0.999" if value >= 0.9995 else f"{value:.3f}"


def percent(fraction: float) -> str:
    """A fraction in percent: "93 %"; never "0 %" or "100 %" for one that is not exactly that."""
    value = 100 * float(fraction)
    if 0 < value < 0.5:
        return "<1 %"
    if 99.5 <= value < 100:
        return ">99 %"
    return f"{value:.0f} %"


def probability_percent(probability: float, decimals: int | None = None) -> str:
    """A probability in percent: "93 %"; below 10 % with two digits: "4.2 %", "0.47 %".

    Parameters
    ----------
    probability : float
    decimals : int, optional
        Other ones, where two probabilities must be told apart.
    """
    value = 100 * float(probability)
    if decimals is not None:
        return f"{value:.{decimals}f} %"
    if value >= 10:
        return percent(probability)
    return "<0.0001 %" if 0 < value < 1e-4 else f"{value:.2g} %"


def number_text(value: object) -> str:
    """A number with three digits: "0.884", "1234"; what is no number as it is."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def amount_text(value: float | None, unit: str) -> str:
    """A number of a curve with its unit and a true minus sign: "−13 %"; "" for None."""
    if value is None:
        return ""
    number = f"{float(value):.0f}" if unit == "%" else number_text(value)
    return f"{'0' if number == '-0' else number.replace('-', '−')} {unit}".rstrip()


def position_text(ras_mm: Iterable[float], digits: int = 0) -> str:
    """A position (RAS, mm) as a reader says it: "L 37, A 7, S 53 mm"."""
    return ", ".join(coordinate_text(axis, value, digits) for axis, value in enumerate(ras_mm)) + " mm"


def coordinate_text(axis: int, value: float, digits: int = 0) -> str:
    """One coordinate (mm) of a position: "L 37" for -37 along axis 0."""
    return f"{AXIS_LETTERS[axis][value < 0]} {abs(value):.{digits}f}"


# ---------------------------------------------------------------- the score


def verdict(result: Mapping) -> str:
    """What the score says: "suspicious" or "not suspicious"; out of range it says nothing."""
    if result.get("out_of_range"):
        return "no result"
    return "suspicious" if result["malignant"] else "not suspicious"


def score_percent(result: Mapping) -> str:
    """The exam's probability in percent, never the same text as that of a threshold it is not at."""
    return probability_percent(result["probability"], _decimals(result, probability_percent, 1))


def threshold_percent(result: Mapping) -> str:
    """The threshold in percent, beside :func:`score_percent`."""
    return probability_percent(result["threshold"], _decimals(result, probability_percent, 1))


def score_text(result: Mapping) -> str:
    """The exam's probability with three digits, or with as many as tell it from the threshold."""
    decimals = _decimals(result, probability_text, 4)
    score = result["probability"]
    return probability_text(score) if decimals is None else f"{float(score):.{decimals}f}"


def _decimals(result: Mapping, text: Callable[[float], str], least: int) -> int | None:
    """How many decimals tell probability and threshold apart; None where the usual text does."""
    score, threshold = result.get("probability"), result.get("threshold")
    if score is None or threshold is None or score == threshold or text(score) != text(threshold):
        return None
    # in percent there are two fewer
    scale = 100.0 if text is probability_percent else 1.0
    apart = (n for n in range(least, 7) if f"{scale * score:.{n}f}" != f"{scale * threshold:.{n}f}")
    return next(apart, None)


def threshold_text(result: Mapping) -> str:
    """The threshold, and the sensitivity it was chosen for: "threshold 27 %, for 90 % sensitivity"."""
    point = result.get("operating_point")
    return f"threshold {threshold_percent(result)}" + (f", for {point} % sensitivity" if point else "")


def breasts_text(result: Mapping) -> str:
    """The probability of either breast: "right breast 93 %, left breast 4 %"; "" where it is not known."""
    breasts = {name: own["probability"] for name, own in (result.get("breasts") or {}).items()}
    return ", ".join(f"{name} breast {probability_percent(own)}" for name, own in breasts.items())


def prevalence_text(result: Mapping) -> str:
    """For which share of malignant exams the probability holds, in a sentence; "" where it is not known."""
    share, assumed = result.get("prevalence"), result.get("assumed_prevalence")
    if share is None:
        return ""
    text = f"The probability assumes that {probability_percent(share)} of the exams are malignant"
    if share != assumed:
        text += f" (restated, as asked; {probability_percent(assumed)} were where the model was calibrated)"
    return text + "."


def headline(result: Mapping) -> str:
    """One line over a picture: verdict, probability, threshold, map; out of range no score."""
    if result.get("out_of_range"):
        return f"{OUT_OF_RANGE} {map_label(result)}"
    score = f"probability {score_percent(result)} ({threshold_text(result)})"
    return f"{verdict(result).capitalize()}: {score}, {map_label(result)}"


# ---------------------------------------------------------------- maps


def map_title(name: object) -> str:
    """The map's name for a reader: "Lesion map" for LESION; an unknown name as it is."""
    return _MAP_TITLES.get(str(name), str(name))


def map_note(name: object) -> str:
    """What the map shows, in a sentence or two; "" for an unknown one."""
    return _MAP_NOTES.get(str(name), "")


def meaning_note(result: Mapping) -> str:
    """Why map and candidates mean nothing: the exam is out of range or not suspicious; else ""."""
    if result.get("out_of_range"):
        return NOT_IN_RANGE
    return "" if result.get("map_meaningful", True) else NOT_MEANINGFUL


def map_label(result: Mapping) -> str:
    """The title of a result's map, with a warning where it means nothing."""
    title, note = map_title(result["map"]), meaning_note(result)
    return f"{title} ({note})" if note else title


def mask_text(result: Mapping) -> str:
    """What the breast mask was made from."""
    source = (result.get("mask") or {}).get("source", "unknown")
    return _MASK_SOURCES.get(source, str(source))


def share_read_text(result: Mapping) -> str:
    """How much was read: "100 % of the breast region"; "unknown" in results that do not say."""
    share = result.get("breast_region_read")
    return "unknown" if share is None else f"{percent(share)} of the breast region"


def registration_text(result: Mapping) -> str:
    """What was done about motion; "" in results that do not say, and where it was not looked at."""
    done = result.get("registration") or {}
    roles = [phase.get("role") for phase in result.get("phases") or ()]
    if done and roles and "pre" not in roles:
        return "cannot be judged nor registered: the exam holds subtractions alone"
    if not done.get("before_mm"):
        return ""
    before = max(done["before_mm"])
    if not any(done.get("applied") or ()):
        return f"up to {before:.1f} mm from the phase before contrast, not registered"
    after = max(done["after_mm"])
    return (
        f"{done['mode']} registration to the phase before contrast, to which positions refer: "
        f"up to {before:.1f} mm before, {after:.1f} mm after it"
    )


# ---------------------------------------------------------------- functional tumour volume


def tumour_volume_rows(result: Mapping) -> list[tuple[str, str]]:
    """Name and value of each row on functional tumour volume; none of results that do not say."""
    volume = result.get("tumour_volume") or {}
    if volume.get("missing"):
        return [("Functional tumour volume", volume["missing"])]
    return [*_tumour_volumes(result), ("Counted", _counted_text(volume))] if volume else []


def tumour_volume_text(result: Mapping) -> str:
    """Functional tumour volumes in one line: "whole right breast 16.2 ml, …"; "" where there are none."""
    return ", ".join(f"{name[0].lower()}{name[1:]} {value}" for name, value in _tumour_volumes(result))


def _tumour_volumes(result: Mapping) -> list[tuple[str, str]]:
    """Region and volume: the box about the finding, and each whole breast."""
    own = (result.get("finding") or {}).get("ftv_ml")
    breasts = (result.get("tumour_volume") or {}).get("breasts_ml") or {}
    names = {"breast": "Whole breast", "right": "Whole right breast", "left": "Whole left breast"}
    about = "candidate 1" if result.get("out_of_range") else "the finding"
    rows = [] if own is None else [(f"Box about {about}", f"{float(own):.2f} ml")]
    return rows + [(names.get(name, name), f"{float(ml):.1f} ml") for name, ml in breasts.items()]


def _counted_text(volume: Mapping) -> str:
    """What counts as functional tumour."""
    return (
        f"early enhancement from {float(volume['percent']):g} %, SER from {float(volume['ser']):g}, "
        f"before contrast from {percent(volume['background'])} of the bright tissue; {volume['phases']}. "
        "Vessels, skin and glands that enhance alike count too."
    )


# ---------------------------------------------------------------- candidates and the finding
# A record is an entry of ``result["peaks"]``, or ``result["finding"]``.


def finding_place(result: Mapping) -> str:
    """Breast and quadrant of the first candidate: "left breast, upper inner"; "" without candidates."""
    peaks = result.get("peaks") or ()
    quadrant = (peaks[0].get("place") or {}).get("quadrant", "") if peaks else ""
    return ", ".join(filter(None, (breast_text(peaks[0]), quadrant))) if peaks else ""


def breast_text(record: Mapping) -> str:
    """In which breast a candidate lies: "left breast"; "breast" in an exam of one."""
    return f"{record.get('side') or ''} breast".strip()


def size_text(record: Mapping) -> str:
    """Size of a candidate's outline: "24 × 17 × 13 mm, 3.6 ml"; "" where it has none."""
    if record.get("size_mm") is None:
        return ""
    ml = float(record["volume_ml"])
    lengths = " × ".join(f"{float(value):.0f}" for value in record.get("diameters_mm") or [record["size_mm"]])
    return f"{lengths} mm, {ml:.{1 if ml >= 1 else 2}f} ml"


def depth_text(record: Mapping) -> str:
    """Depth of a candidate: "18 mm below the skin"; "" where it is not known."""
    return "" if record.get("depth_mm") is None else f"{float(record['depth_mm']):.0f} mm below the skin"


def moved_mm(record: Mapping) -> float:
    """Distance (mm) from the map's maximum to the candidate; 0 when it was moved by less than 0.5 mm."""
    start = record.get("map_ras_mm") or record["ras_mm"]
    distance = sum((a - b) ** 2 for a, b in zip(record["ras_mm"], start)) ** 0.5
    return distance if distance >= 0.5 else 0.0


def moved_text(record: Mapping) -> str:
    """How far a candidate was moved from the map's maximum; "" when it was not."""
    distance = moved_mm(record)
    return f"Moved {distance:.0f} mm from the map's maximum to the enhancement beside it" if distance else ""


def finding_text(result: Mapping) -> str:
    """The finding in one line, or why there is none."""
    finding = result.get("finding")
    if result.get("out_of_range"):
        return "none: outside what the model was made for"
    if not result.get("map_meaningful", True):
        return "none: the score is below the threshold"
    if not finding:
        return "at the first candidate"
    kind = (finding.get("kinetics") or {}).get("type")
    curve = f"mean curve {kind}" if kind else ""
    return ", ".join(filter(None, (breast_text(finding), size_text(finding), depth_text(finding), curve)))


def outline_names(result: Mapping) -> dict[int, str]:
    """Label → name of each outline: "Finding: 24 mm, 3.6 ml", "Peak 2: 9 mm, 0.13 ml"."""
    names, first = {}, "Peak 1" if result.get("out_of_range") else "Finding"
    for label, peak in enumerate(result.get("peaks") or (), 1):
        if peak.get("outline") == label:  # a candidate may lie in an earlier one's outline
            names[label] = f"{first if label == 1 else f'Peak {label}'}: {size_text(peak)}"
    return names


def marker_labels(result: Mapping) -> list[str]:
    """What stands beside each candidate's marker; below the threshold or out of range none is a finding."""
    peaks: Sequence[Mapping] = result["peaks"]
    if not peaks:
        return []
    if note := meaning_note(result):
        return [f"Peak of map ({note})", *(f"{number} ({note})" for number in range(2, len(peaks) + 1))]
    highest = max(float(peak["value"]) for peak in peaks) or 1.0
    heights = [
        f"{percent(peak['value'] / highest)} of peak"
        if peak.get("probability") is None
        else probability_percent(peak["probability"])
        for peak in peaks
    ]
    further = [f"{number}: {height}" for number, height in enumerate(heights[1:], 2)]
    if all(peak.get("suspicion") for peak in peaks):
        return [f"{number}: {peak['suspicion']}" for number, peak in enumerate(peaks, 1)]
    if peaks[0].get("probability") is not None:
        return [f"1: {heights[0]}", *further]
    return [f"Suspicious {score_percent(result)}", *further]


# ---------------------------------------------------------------- enhancement curves


def curve_facts(curve: Mapping, short: bool = False) -> list[str]:
    """Wash-in and delayed change of a curve, where they were measured. short: for a title."""
    delayed = "delayed" if short else "delayed change"
    measured = (("wash_in", "wash-in", str(curve.get("unit") or "")), ("wash_out", delayed, "%"))
    return [
        f"{title} {amount_text(curve[key], unit)}"
        for key, title, unit in measured
        if curve.get(key) is not None
    ]


def curve_text(curve: Mapping, short: bool = False) -> str:
    """Type, wash-in and delayed change of a curve: "washout, wash-in 150 %, delayed change −13 %"."""
    return ", ".join([curve.get("type") or "type unknown", *curve_facts(curve, short)])


# ---------------------------------------------------------------- the model's evidence


def evidence_lines(evidence: object) -> list[str]:
    """The evidence of a model card in plain lines; keys it does not know are left out."""
    lines: list[str] = []
    if not isinstance(evidence, Mapping):
        return lines
    classification = evidence.get("classification")
    if isinstance(classification, Mapping):
        lines += _classification_lines(classification)
    localisation = evidence.get("localisation")
    for name, errors in localisation.items() if isinstance(localisation, Mapping) else ():
        # what is there to compare with is for researchers
        if (
            name not in COMPARED_MAPS
            and not str(name).endswith(".all_malignant")
            and isinstance(errors, Mapping)
        ):
            lines += _localisation_lines(map_title(str(name).removesuffix(".called_malignant")), errors)
    cohort = evidence.get("cohort") or (
        classification.get("cohort") if isinstance(classification, Mapping) else None
    )
    if lines and isinstance(cohort, str) and cohort:
        lines.append(f"Measured on: {cohort}")
    return lines


def evidence_short(evidence: object) -> str:
    """The first of :func:`evidence_lines`, or that there is none."""
    return next(iter(evidence_lines(evidence)), NO_EVIDENCE)


def model_lines(bundle) -> list[str]:
    """The card of a loaded model (``models.bundle.Bundle``) as ``model show`` prints it."""
    evidence = evidence_lines(bundle.evidence) or [NO_EVIDENCE]
    return [
        f"Model {bundle.name}: {bundle.description}",
        f"Trained on {bundle.training_data}. Research use only.",
        f"Input: {bundle.contract.phases} phases of {' × '.join(map(str, bundle.contract.size))} voxels "
        f"of {bundle.contract.spacing_mm:g} mm",
        f"Default threshold: {bundle.threshold:.3f}",
        *_decision_lines(bundle),
        "Evidence:",
        *(f"  {line}" for line in evidence),
        f"Weights: SHA-256 {bundle.sha256}",
        f"File: {bundle.path}",
    ]


def _decision_lines(bundle) -> list[str]:
    """The other thresholds of a loaded model, and what its probabilities assume."""
    points = ", ".join(f"{name} % from {value:.3f}" for name, value in bundle.operating_points.items())
    lines = [f"Sensitivities to choose from: {points}"] if points else []
    if bundle.prevalence is not None:
        share = probability_percent(bundle.prevalence)
        lines.append(f"Malignant among the exams of its calibration: {share}")
    return lines


def _classification_lines(classification: Mapping) -> list[str]:
    lines = []
    auc, interval = _finite(classification.get("auc")), classification.get("auc_95")
    if auc is not None:
        text, count = f"AUC {auc:.2f}", classification.get("n")
        if isinstance(interval, (list, tuple)) and len(interval) == 2 and None not in map(_finite, interval):
            text += f" (95 % interval {interval[0]:.2f}–{interval[1]:.2f})"
        lines.append(text + (f" on {count} exams" if isinstance(count, int) else ""))
    rates = {name: _finite(classification.get(name)) for name in ("sensitivity", "specificity")}
    known = [f"{name} {rate:.2f}" for name, rate in rates.items() if rate is not None]
    return [*lines, "At its threshold: " + ", ".join(known)] if known else lines


def _localisation_lines(title: str, errors: Mapping) -> list[str]:
    median, hits = (_finite(errors.get(key)) for key in ("median_mm", "hit10"))
    parts = [] if median is None else [f"half of its peaks within {median:.1f} mm of the lesion's centre"]
    parts += [] if hits is None else [f"{100 * hits:.0f} % within 10 mm"]
    return [f"{title}: {', '.join(parts)}"] if parts else []


def _finite(value: object) -> float | None:
    """The value as a float; None for what is no number, or not a number."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return float(value) if known else None
