"""The main job: an exam in, probability, maps, peaks and kinetics out. Everything that analyses an exam comes through here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import __version__
from .candidates.peaks import Peak
from .checks.range_check import out_of_range
from .core.geometry import Volume, resample
from .core.stages import Stopwatch
from .exam.exam import Exam, wide_enough_for_both
from .findings.kinetics import curve_at
from .findings.outline import outline_places, region_curve
from .models.bundle import Bundle, load_bundle
from .models.inference import Predictor, Preparing
from .preprocessing.enhancement import early, signal_of
from .preprocessing.landmarks import Skin, side
from .preprocessing.model_input import ModelInput, preprocess
from .scoring import check_map, default_map, heat_of, map_names, places_of, read

SCHEMA_VERSION = 1
MAP_THRESHOLD = 0.4

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Analysis:
    """result: what result.json holds. heatmap: float32 0–1 on the exam's own grid. model_input: what the network read.

    further_maps: the other maps by name, like the heatmap, when they were asked for. outlines: uint8 on the exam's own
    grid, n inside the outline of the n-th peak; None when the exam is not called suspicious.
    """

    result: dict[str, Any]
    heatmap: Volume
    model_input: ModelInput
    further_maps: Mapping[str, Volume] = field(default_factory=dict)
    outlines: Volume | None = None


def analyze(
    exam: Exam,
    model: Any = None,
    *,
    device: str = "auto",
    map_name: str | None = None,
    all_maps: bool = False,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> Analysis:
    """Analyse one exam.

    model: a bundle or its JSON file, or a Predictor to use again; None takes the shipped model. map_name: a name in
    ``reading.map_names``; None takes the model's best. all_maps: make the other maps too, to choose from in the viewer.
    progress: called with a stage of ``stages.STAGES`` and the fraction done of it; raise from it to stop.
    Raises InputError, ModelError.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()
    report("model", 0.0)
    with watch.stage("model"):
        if not isinstance(model, Predictor):
            model = Preparing(model if isinstance(model, Bundle) else load_bundle(model), device)
    bundle = model.bundle
    map_name = default_map(bundle) if map_name is None else map_name
    check_map(map_name, bundle)
    with watch.stage("preprocess"):
        made = preprocess(exam, bundle.contract, report)
    report("network", 0.0)
    with watch.stage("model"):
        predictor = model.predictor() if isinstance(model, Preparing) else model
    with watch.stage("network"):
        signal = signal_of(made.array, early(len(made.array)))
        reading = read(predictor, made.array, made.inside, made.affine, made.minutes, signal)
    malignant = reading.probability >= bundle.threshold
    report("map", 0.0)
    beside = ThreadPoolExecutor(1)  # for what asks neither the network nor its map; most of all these steps use one core
    unlike = beside.submit(out_of_range, exam, made)
    beside.shutdown(wait=False)
    with watch.stage("map"):
        heat = heat_of(map_name, reading, bundle.network.settings, signal, made.inside, made.affine)
        peaks = places_of(map_name, heat, reading, signal, made.inside, made.affine)
    report("map", 0.4)
    with watch.stage("heatmaps"):
        heatmap = _on_exam(heat, made, exam)
        further = {}
        for name in map_names(bundle) if all_maps else ():
            if name != map_name:
                other = heat_of(name, reading, bundle.network.settings, signal, made.inside, made.affine)
                further[name] = _on_exam(other, made, exam)
    report("map", 0.7)
    with watch.stage("findings"):
        kinetics = curve_at(exam, peaks[0].ras_mm)
        skin = Skin.of(made.inside, made.affine, bundle.contract.mask.skin_mm)
        both = wide_enough_for_both(exam.grid.shape, exam.grid.affine)  # else there is no sternum to be left or right of
        listed = [_peak_record(peak, made, skin, both) for peak in peaks]
        outlines = _outline(exam, made, listed) if malignant else None
        reasons = unlike.result()
    result = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": exam.exam_id,
        "probability": round(reading.probability, 6),
        "logit": round(reading.logit, 6),
        "malignant": bool(malignant),
        "threshold": bundle.threshold,
        "map": map_name,
        "map_meaningful": bool(malignant),
        "map_threshold": MAP_THRESHOLD,
        "map_cell_mm": round(bundle.network.settings.total_stride * bundle.contract.spacing_mm, 2),
        "peaks": listed,
        "finding": _finding(exam, listed, outlines) if malignant else None,
        "out_of_range": [vars(reason) for reason in reasons],
        "phases": _phases(exam),
        "t1": None if exam.t1 is None else {"name": exam.t1.name},
        "mask": {"source": made.mask_source, "volume_ml": round(made.mask_volume_ml, 1)},
        "kinetics": kinetics,
        "device": predictor.device.type,
        "device_reason": predictor.device_reason,
        "precision": predictor.precision,
        "model": {"name": bundle.name, "sha256": bundle.sha256, "training_data": bundle.training_data, "evidence": bundle.evidence},
        "timings_s": watch.seconds,
        "warnings": [
            *[reason.text for reason in reasons],
            *exam.warnings,
            *made.warnings,
            *([predictor.precision_note] if predictor.precision_note else []),
            *([] if heat.any() else [f"No place speaks for malignant in the {map_name} map; the strongest enhancement is listed instead."]),
        ],
        "versions": versions(),
        "input": {
            "study_instance_uid": exam.identifiers.get("study_instance_uid"),
            "series_instance_uids": list(exam.identifiers.get("series_instance_uids", [])),
            "subtraction_offsets": list(exam.offsets),
            "grid": {"size": list(exam.grid.shape), "ijk_to_ras": exam.grid.affine.tolist()},
        },
    }
    report("map", 1.0)
    return Analysis(result, heatmap, made, further, outlines)


def _on_exam(heat: np.ndarray, made: ModelInput, exam: Exam) -> Volume:
    """A 0–1 map of the model's grid on the exam's own."""
    placed = resample(Volume(heat, made.affine), exam.grid.shape, exam.grid.affine)
    np.clip(placed.array, 0.0, 1.0, out=placed.array)
    return placed


def _peak_record(peak: Peak, made: ModelInput, skin: Skin, both: bool) -> dict[str, Any]:
    record = {
        "ras_mm": [round(c, 3) for c in peak.ras_mm],
        "map_ras_mm": [round(c, 3) for c in peak.map_ras_mm],
        "value": round(peak.value, 4),
        "side": side(made.affine, peak.ras_mm, made.middle) if both else "",
        "depth_mm": round(skin.depth(peak.ras_mm), 1),
    }
    if peak.probability is not None:
        record |= {"probability": round(peak.probability, 4), "reasons": {what: round(share, 2) for what, share in peak.reasons}}
    return record


def _outline(exam: Exam, made: ModelInput, peaks: list[dict[str, Any]]) -> Volume:
    """Labels of the peaks' outlines; each peak is told its own label, and the size of its outline."""
    places = [peak["ras_mm"] for peak in peaks]
    labels, outlines = outline_places(exam, Volume(made.inside, made.affine), places, len(made.array))
    for peak, (label, _) in zip(peaks, outlines):
        if label:
            outline = outlines[label - 1][1]
            peak |= {"outline": label, "size_mm": round(outline.diameter_mm, 1), "volume_ml": round(outline.volume_ml, 2)}
    return labels


def _finding(exam: Exam, peaks: list[dict[str, Any]], outlines: Volume) -> dict[str, Any]:
    """What a reader is shown of a suspicious exam: the first peak, and the mean curve of its outline."""
    first = {key: value for key, value in peaks[0].items() if key not in ("value", "map_ras_mm")}
    region = outlines.with_array(outlines.array == 1) if first.get("outline") else None
    return {"peak": 1, **first, "kinetics": None if region is None else region_curve(exam, region)}


def _phases(exam: Exam) -> list[dict[str, Any]]:
    times = exam.times_s
    listed = []
    if exam.pre is not None:
        listed.append({"name": exam.pre.name, "role": "pre", "time_s": None if times is None else 0.0})
    role = "post" if exam.pre is not None else "subtraction"
    for index, phase in enumerate(exam.post):
        listed.append({"name": phase.name, "role": role, "time_s": None if times is None else round(float(times[index]), 1)})
    return listed


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
