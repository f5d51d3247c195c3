"""The main job: an exam in, probability, maps, peaks and kinetics out. Everything that analyses an exam comes through here."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import __version__
from .attention import MAPS, attention_map, check_map, find_peaks, normalise, upsample
from .exam import Exam
from .findings import skin_depth
from .geometry import Volume, resample
from .inference import Predictor
from .kinetics import curve_at
from .preprocessing import ModelInput, preprocess
from .range_check import out_of_range
from .weights import load_bundle

SCHEMA_VERSION = 1
MAP_THRESHOLD = 0.4

STAGES = {
    "read": "Reading the exam",
    "model": "Loading the model",
    "mask": "Finding the breasts",
    "resample": "Subtracting and resampling",
    "network": "Reading the exam with the network",
    "map": "Making the map",
    "scene": "Building the scene",
    "save": "Saving",
}
# share of the whole time each stage takes on a CPU, for one steady progress bar
_WEIGHTS = {"read": 0.2, "model": 0.05, "mask": 0.25, "resample": 0.15, "network": 0.1, "map": 0.1, "scene": 0.1, "save": 0.05}

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Analysis:
    """result: what result.json holds. heatmap: float32 0–1 on the exam's own grid. model_input: what the network read.

    further_maps: the other maps by name, like the heatmap, when they were asked for.
    """

    result: dict[str, Any]
    heatmap: Volume
    model_input: ModelInput
    further_maps: Mapping[str, Volume] = field(default_factory=dict)


def overall_progress(stage: str, fraction: float) -> float:
    """Progress of the whole analysis (0–1) at a fraction of one stage."""
    names = list(_WEIGHTS)
    done = sum(_WEIGHTS[n] for n in names[: names.index(stage)])
    return min(1.0, (done + _WEIGHTS[stage] * min(max(fraction, 0.0), 1.0)) / sum(_WEIGHTS.values()))


class Stopwatch:
    """Seconds per stage, in the order they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def analyze(
    exam: Exam,
    model: Any = None,
    *,
    device: str = "auto",
    map_name: str = "COAM",
    all_maps: bool = False,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> Analysis:
    """Analyse one exam.

    model: a bundle's JSON file, or a Predictor to use again; None takes the shipped model. map_name: a name in ``attention.MAPS``.
    all_maps: make the other maps too, to choose from in the viewer.
    progress: called with a stage of ``STAGES`` and the fraction done of it; raise from it to stop.
    Raises InputError, ModelError.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()
    check_map(map_name)
    report("model", 0.0)
    with watch.stage("model"):
        predictor = model if isinstance(model, Predictor) else Predictor(load_bundle(model), device)
    bundle = predictor.bundle
    with watch.stage("preprocess"):
        made = preprocess(exam, bundle.contract, report)
    report("network", 0.0)
    with watch.stage("network"):
        prediction = predictor.predict(made.array)
    report("map", 0.0)
    with watch.stage("map"):
        settings = bundle.network.settings
        stride = settings.total_stride

        def heat_of(name: str) -> np.ndarray:
            cells = attention_map(name, prediction.features, prediction.cell_weight, settings.pooling)
            return normalise(upsample(cells, made.affine, stride, made.inside.shape), made.inside)

        def on_exam(heat: np.ndarray) -> Volume:
            placed = resample(Volume(heat, made.affine), exam.grid.shape, exam.grid.affine)
            np.clip(placed.array, 0.0, 1.0, out=placed.array)
            return placed

        heat = heat_of(map_name)
        peaks = find_peaks(heat, made.inside, made.affine, least=MAP_THRESHOLD)  # none that the overlay does not show
        heatmap = on_exam(heat)
        further = {name: on_exam(heat_of(name)) for name in MAPS if all_maps and name != map_name}
    report("map", 0.7)
    with watch.stage("kinetics"):
        kinetics = curve_at(exam, peaks[0].ras_mm)
        depths = [skin_depth(made.inside, made.affine, p.ras_mm, bundle.contract.mask.skin_mm) for p in peaks]
        reasons = out_of_range(exam, made)
    malignant = prediction.probability >= bundle.threshold
    result = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": exam.exam_id,
        "probability": round(prediction.probability, 6),
        "logit": round(prediction.logit, 6),
        "malignant": bool(malignant),
        "threshold": bundle.threshold,
        "map": map_name,
        "map_meaningful": bool(malignant),
        "map_threshold": MAP_THRESHOLD,
        "map_cell_mm": round(stride * bundle.contract.spacing_mm, 2),
        "peaks": [
            {
                "ras_mm": [round(c, 3) for c in p.ras_mm],
                "value": round(p.value, 4),
                "side": "right" if p.index[0] > made.middle else "left",
                "depth_mm": round(depth, 1),
            }
            for p, depth in zip(peaks, depths)
        ],
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
    return Analysis(result, heatmap, made, further)


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
