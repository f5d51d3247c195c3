"""The main job on exams with known truth: geometry through the real network, and what the result says."""

import json

import numpy as np
import pytest
from builders import save_model
from phantom import body_exam, oblique_affine, smoothing_network

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine, closest_canonical_axes
from BreastCMSLLib.core.stages import STAGES, overall_progress
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.findings.kinetics import curve_at, describe
from BreastCMSLLib.kinetics.names import MAPS
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.attention import feature_affine
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing.model_input import preprocess


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """The shipped architecture with weights that only smooth: its map is a blurred image of enhancement."""
    card = save_model(tmp_path_factory.mktemp("model"), smoothing_network(), name="impulse")
    return Predictor(load_bundle(card), "cpu", "float32")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_lesion_in_an_oblique_flipped_anisotropic_exam_comes_back_in_its_place(predictor, seed):
    """On a cell's centre at a known RAS point: the peak on the exam's own grid is within a voxel of it."""
    rng = np.random.default_rng(seed)
    affine = oblique_affine(rng, (1.7, 1.3, 2.1), 12.0)
    axes, _ = closest_canonical_axes(affine)
    shape = np.zeros(3, int)
    for world, extent in enumerate((330.0, 250.0, 170.0)):
        shape[axes[world]] = int(extent / np.linalg.norm(affine[:3, axes[world]]))
    shape = tuple(int(n) for n in shape)
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    grid = preprocess(body_exam(affine, shape)).affine
    cells = feature_affine(grid, predictor.bundle.network.settings.total_stride)
    wanted = np.round(apply_affine(np.linalg.inv(cells), centre + [80.0, 20.0, 5.0]))
    lesion = apply_affine(cells, wanted)

    exam = body_exam(affine, shape, lesion)
    analysis = analyze(exam, predictor)
    assert np.allclose(grid, analysis.model_input.affine)  # the mask does not depend on the lesion
    heat = analysis.heatmap
    assert heat.shape == exam.grid.shape and np.array_equal(heat.affine, exam.grid.affine)
    peak = np.array(np.unravel_index(int(heat.array.argmax()), heat.shape))
    true = apply_affine(np.linalg.inv(affine), lesion)
    assert np.abs(peak - true).max() <= 1.0, (peak, true)
    assert np.linalg.norm(np.array(analysis.result["peaks"][0]["ras_mm"]) - lesion) < 1.2
    assert analysis.result["peaks"][0]["side"] == "right"


AXIAL = np.array([[-1.5, 0, 0, 165.0], [0, -1.5, 0, 120.0], [0, 0, 2.0, -88.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def analysed(predictor):
    exam = body_exam(AXIAL, (220, 170, 88), apply_affine(AXIAL, np.array([109.5, 84.5, 43.5])) + [-78, 15, 0])
    stages = []
    return (
        exam,
        analyze(
            exam,
            predictor,
            kinetics=True,
            further_maps=("LESION", "CAM", "NORM"),
            progress=lambda stage, fraction: stages.append((stage, fraction)),
        ),
        stages,
    )


def test_an_exam_of_one_breast_has_no_side_and_is_not_judged(predictor, analysed, monkeypatch):
    from BreastCMSLLib import pipeline
    from BreastCMSLLib.results.summary import summary_lines

    monkeypatch.setattr(pipeline, "add_suspicion", lambda peaks, *_: peaks[0].update(suspicion="high"))
    exam = analysed[0]
    half = [
        Phase(Volume(p.volume.array[110:], p.volume.affine), p.name, time_s=p.time_s)
        for p in (exam.pre, *exam.post)
    ]
    result = analyze(make_exam(half, kind="phases"), predictor).result
    assert result["malignant"] and not result["map_meaningful"] and "suspicion" not in result["peaks"][0]
    assert result["peaks"][0]["side"] == "" and "one breast" in {
        reason["code"] for reason in result["out_of_range"]
    }
    assert " in the breast at RAS" in summary_lines({**result, "out_of_range": []})[0]


def test_further_maps_are_those_that_were_asked_for_and_can_be_made(analysed):
    _, analysis, _ = analysed
    assert list(analysis.further_maps) == ["CAM", "NORM"], "without a candidate classifier there is no LESION"
    assert all(0.9 < map.array.max() <= 1.0 for map in analysis.further_maps.values())


def test_result_is_complete_and_json(analysed):
    exam, analysis, _ = analysed
    result = json.loads(json.dumps(analysis.result, allow_nan=False))
    assert {
        "probability",
        "logit",
        "malignant",
        "threshold",
        "peaks",
        "phases",
        "device",
        "model",
        "timings_s",
        "warnings",
        "versions",
        "input",
    } <= set(result)
    assert result["schema_version"] == 1 and result["research_use_only"] is True
    assert 0 <= result["probability"] <= 1 and result["malignant"] == (
        result["probability"] >= result["threshold"]
    )
    assert result["probability"] == pytest.approx(1 / (1 + np.exp(-result["logit"])), abs=1e-5)
    assert [p["role"] for p in result["phases"]] == ["pre", "post", "post", "post"]
    assert result["peaks"][0]["side"] == "left" and {"ras_mm", "value", "side"} <= set(result["peaks"][0])
    assert {"name", "sha256"} <= set(result["model"]) and result["exam_id"] == exam.exam_id
    assert analysis.heatmap.array.dtype == np.float32
    assert analysis.heatmap.array.min() >= 0 and analysis.heatmap.array.max() <= 1


def test_the_same_exam_gives_the_same_result(analysed, predictor):
    exam, first, _ = analysed
    second = analyze(exam, predictor)
    assert second.result["logit"] == first.result["logit"] and second.result["peaks"] == first.result["peaks"]
    assert np.array_equal(second.heatmap.array, first.heatmap.array)


def test_progress_only_goes_forward(analysed):
    _, _, stages = analysed
    fractions = [overall_progress(*s) for s in stages]
    assert fractions == sorted(fractions) and {s for s, _ in stages} <= set(STAGES) and fractions[-1] <= 1


def test_stopping_in_any_stage_ends_the_analysis(analysed, predictor):
    class Stop(Exception):
        pass

    for wanted in ("mask", "network", "map"):

        def stop(stage, fraction, wanted=wanted):
            if stage == wanted:
                raise Stop

        with pytest.raises(Stop):
            analyze(analysed[0], predictor, progress=stop)


def test_unknown_map_and_device_are_named(analysed, predictor):
    with pytest.raises(InputError, match="no map called 'HiResCAM'"):
        analyze(analysed[0], predictor, map_name="HiResCAM")
    with pytest.raises(InputError, match="device"):
        Predictor(predictor.bundle, "cuda:99")
    with pytest.raises(InputError, match="device cuda:x cannot be used"):
        Predictor(predictor.bundle, "cuda:x")
    with pytest.raises(InputError, match="device cuda:99 cannot be used"):  # before the work
        analyze(
            analysed[0],
            predictor.bundle,
            device="cuda:99",
            progress=lambda stage, _: pytest.fail(stage) if stage == "mask" else None,
        )


def test_the_network_is_prepared_beside_and_says_what_is_wrong(analysed, predictor, monkeypatch):
    """A bundle gives what its predictor gives; what goes wrong in preparing comes out as it would at once."""
    import torch

    exam, result, _ = analysed
    threads = torch.get_num_threads()
    by_bundle = analyze(exam, predictor.bundle, device="cpu").result
    assert torch.get_num_threads() == threads
    chosen = Predictor(predictor.bundle, "cpu")
    assert (by_bundle["device"], by_bundle["device_reason"], by_bundle["precision"]) == (
        "cpu",
        "CPU, as asked",
        chosen.precision,
    )
    assert by_bundle["probability"] == analyze(exam, chosen).result["probability"]

    def fails(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Predictor, "_prepare", fails)
    stages = []
    with pytest.raises(InputError, match="too little free memory"):
        analyze(exam, predictor.bundle, device="cpu", progress=lambda stage, _: stages.append(stage))
    assert "resample" in stages and torch.get_num_threads() == threads


def test_kinetic_maps_and_tumour_volume_of_the_lesion(analysed):
    exam, analysis, _ = analysed
    result, maps = analysis.result, analysis.kinetic_maps
    assert set(maps) == {*MAPS, "MIP_AXIAL", "MIP_RIGHT", "MIP_LEFT"} and result["kinetic_maps"] == {}
    index = tuple(np.round(apply_affine(np.linalg.inv(AXIAL), result["peaks"][0]["ras_mm"])).astype(int))
    # 200 before contrast; 450, 400 and 350 brighter after it, at 90, 180 and 270 s
    assert maps["SER"].array[index] == pytest.approx(400 / 350, rel=0.1)
    assert maps["PE"].array[index] > 150 and maps["TTP"].array[index] == 0
    volume = result["tumour_volume"]
    assert volume["percent"] == 70 and volume["breasts_ml"]["left"] > 1 > volume["breasts_ml"]["right"]
    assert result["landmarks"]["sure"] in (True, False) and len(result["landmarks"]["nipples"]) == 2
    if result["malignant"]:
        assert 1 < result["finding"]["ftv_ml"] <= volume["breasts_ml"]["left"]


def test_kinetics_at_the_lesion(analysed):
    """The phantom's lesion washes out by construction; its curve is read a few mm beside the marker."""
    exam, _, _ = analysed
    lesion = apply_affine(AXIAL, np.array([109.5, 84.5, 43.5])) + [-78, 15, 0]
    curve = curve_at(exam, tuple(lesion + [4, -3, 2]))
    assert np.linalg.norm(np.array(curve["ras_mm"]) - lesion) < 4
    assert curve["unit"] == "%" and curve["times_s"] == [90.0, 180.0, 270.0]
    assert curve["enhancement"][0] == pytest.approx(100 * (450 + 8) / 200, rel=0.1)
    assert (
        curve["enhancement"][0] > curve["enhancement"][2]
        and curve["wash_out"] < -10
        and curve["type"] == "washout"
    )


@pytest.mark.parametrize(
    "curve, kind",
    [
        ([100, 120, 140], "persistent"),
        ([100, 101, 99], "plateau"),
        ([150, 130, 100], "washout"),
        ([80], None),
        ([-4, -6, -9], None),
        ([0, 40, 80], None),
    ],
)
def test_curve_types(curve, kind):
    assert describe(np.array(curve, float), None)[2] == kind
    assert describe(np.array(curve, float), 200.0 * np.arange(len(curve)))[2] == kind
