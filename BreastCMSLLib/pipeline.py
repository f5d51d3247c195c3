"""The main job: an exam in, its score, saliency maps, candidates and kinetics out. Everything that analyses
an exam comes here.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .alignment import check_mode
from .alignment import register as register_phases
from .checks.range_check import out_of_range
from .checks.unlike import unlike
from .core.geometry import Volume
from .core.resampling import resample
from .core.stages import Progress, Stopwatch
from .exam import Exam, wide_enough_for_both
from .findings.kinetics import curve_at
from .kinetics.maps import kinetic_maps, missing_maps
from .kinetics.projections import projections
from .kinetics.regions import body_of, breasts_of
from .kinetics.settings import DEFAULTS, KineticSettings
from .models.bundle import Bundle, load_bundle
from .models.decision import decide
from .models.inference import Predictor, Preparing
from .models.maps import check_map, map_names
from .preprocessing.enhancement import early_phases, mean_enhancement
from .preprocessing.model_input import ModelInput, preprocess
from .results.analysis import Analysis
from .results.descriptor_record import breasts_record
from .results.reader_record import add_places, add_suspicion, not_analysed, routine
from .results.record import (
    SCHEMA_VERSION,
    add_outlines,
    exam_record,
    finding_record,
    input_record,
    landmarks_record,
    map_record,
    model_record,
    peak_records,
    score_record,
    tumour_volume_record,
    versions,
    warning_texts,
)
from .scoring import candidates_of_map, restated, restated_candidates, saliency_map, score_exam


def analyze(
    exam: Exam,
    model: Any = None,
    *,
    device: str = "auto",
    map_name: str | None = None,
    further_maps: Collection[str] = (),
    operating_point: str | None = None,
    prevalence: float | None = None,
    register: str = "auto",
    kinetics: bool = False,
    kinetic_settings: KineticSettings = DEFAULTS,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> Analysis:
    """Analyse one exam.

    Parameters
    ----------
    exam : Exam
    model : path, Bundle or Predictor, optional
        A bundle or its JSON file, or a Predictor to use again; the shipped model by default.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps"; of a Predictor its own.
    map_name : str, optional
        A name in ``models.maps.map_names``; the model's default map by default.
    further_maps : collection of str
        Names of other maps to make too, to choose from in the viewer; what the model cannot make is left out.
    operating_point : str, optional
        The wanted sensitivity in percent, a name in the bundle's ``operating_points`` (None: its default).
    prevalence : float, optional
        Share of malignant exams for which the probability is restated (None: the bundle's own).
    register : {"auto", "rigid", "deformable", "off"}
        Of the phases to the one before contrast, as ``alignment.register`` does it.
    kinetics : bool
        Make the kinetic maps too; tumour volume and projections are always made.
    kinetic_settings : KineticSettings
        Their times and thresholds.
    progress : callable, optional
        Called with a stage of ``core.stages.STAGES`` and the fraction done of it; raise from it to stop.
    stopwatch : Stopwatch, optional
        Gets the seconds of each stage.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        The exam, the device or the map cannot be used.
    ModelError
        The model cannot be used, or has no such operating point or no prevalence to restate from.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()

    # what the model expects
    report("model", 0.0)
    with watch.stage("model"):
        if not isinstance(model, Predictor):
            model = Preparing(model if isinstance(model, Bundle) else load_bundle(model), device)
    bundle = model.bundle
    map_name = map_name or map_names(bundle)[0]
    check_map(map_name, bundle)
    decision = decide(bundle, operating_point, prevalence)
    check_mode(register)
    with watch.stage("register"):
        exam, motion = register_phases(exam, register, report)
    with watch.stage("preprocess"):
        model_input = preprocess(exam, bundle.contract, report)

    # the score
    report("network", 0.0)
    with watch.stage("model"):
        predictor = model.predictor() if isinstance(model, Preparing) else model
    inside, affine = model_input.inside, model_input.affine
    with watch.stage("network"):
        early = mean_enhancement(model_input.array, early_phases(len(model_input.array)))
        # in an exam of one breast there is no sternum to part them
        both = wide_enough_for_both(exam.grid.shape, exam.grid.affine)
        score = score_exam(
            predictor,
            model_input.array,
            inside,
            affine,
            model_input.duration_min,
            early,
            landmarks=model_input.landmarks,
            middle=model_input.middle if both else None,
        )
    malignant = bool(score.probability >= decision.assumed_threshold)

    # saliency maps and candidates; beside them, as these steps mostly use one core, the range check
    report("map", 0.0)
    pool = ThreadPoolExecutor(1)
    range_check = pool.submit(out_of_range, exam, model_input)
    pool.shutdown(wait=False)
    with watch.stage("map"):
        settings = bundle.network.settings
        saliency = saliency_map(map_name, score, settings, early, inside, affine)
        candidates = candidates_of_map(map_name, saliency, score, early, inside, affine)
    report("map", 0.4)
    with watch.stage("heatmaps"):
        heatmap = _on_exam(saliency, model_input, exam)
        others = {
            name: _on_exam(saliency_map(name, score, settings, early, inside, affine), model_input, exam)
            for name in map_names(bundle)
            if name in further_maps and name != map_name
        }

    # what there is to see at the candidates
    report("map", 0.7)
    with watch.stage("findings"):
        curve = curve_at(exam, candidates[0].ras_mm)
        shown = restated_candidates(candidates, decision.shift, bundle)
        peaks = peak_records(shown, exam, model_input, bundle.contract.mask.skin_mm)
        outlines = add_outlines(peaks, exam, model_input) if malignant else None
        reasons = [*range_check.result(), *unlike(bundle, score.ordinary)]
        add_places(peaks, exam, model_input.landmarks, registered=any(motion.applied))
        if not reasons:  # out of range no candidate is judged, as the exam is not
            add_suspicion(peaks, candidates, decision, bundle, malignant)
        breast_words = breasts_record(exam, model_input, outlines)
    with watch.stage("kinetics"):
        breasts = breasts_of(exam, model_input)
        tumour_volume = tumour_volume_record(exam, breasts, peaks, outlines, kinetic_settings)
        mips, maps, missing = projections(exam, breasts, kinetic_settings), {}, missing_maps(exam)
        if kinetics:
            body = body_of(exam, breasts)
            maps = kinetic_maps(exam, body, breasts.inside, kinetic_settings).volumes | mips
    warnings = warning_texts(exam, model_input, predictor, reasons, map_name, saliency)
    warnings = [*filter(None, [motion.text]), *warnings]
    result = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": exam.exam_id,
        **score_record(restated(score, decision.shift), malignant, decision, bundle),
        **map_record(map_name, malignant and not reasons, bundle),
        "peaks": peaks,
        "finding": finding_record(exam, peaks, outlines, breasts.inside) if malignant else None,
        "out_of_range": [vars(reason) for reason in reasons],
        **exam_record(exam, model_input),
        "breast_descriptors": breast_words,
        "landmarks": landmarks_record(model_input),
        "not_analysed": not_analysed(exam, model_input.share_read, both),
        "kinetics": curve,
        "tumour_volume": tumour_volume,
        "kinetic_maps": {name: {"missing": text} for name, text in missing.items()},
        **model_record(predictor),
        "registration": motion.as_json(),
        "timings_s": watch.seconds,
        "warnings": warnings,
        "remarks": routine(warnings),
        "versions": versions(),
        "input": input_record(exam),
    }
    report("map", 1.0)
    return Analysis(result, heatmap, model_input, others, outlines, exam, mips, maps)


def _on_exam(saliency: np.ndarray, model_input: ModelInput, exam: Exam) -> Volume:
    """A 0–1 map of the model's grid on the exam's own."""
    placed = resample(Volume(saliency, model_input.affine), exam.grid.shape, exam.grid.affine)
    np.clip(placed.array, 0.0, 1.0, out=placed.array)
    return placed
