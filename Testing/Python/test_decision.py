"""What an exam is called by: operating points, the prevalence assumed, breasts; exams unlike the others."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TINY, small_exam
from test_candidates import COUNT, DURATION_MIN, FEATURES, SHAPE, WASHOUT, breast

from BreastCMSLLib import pipeline
from BreastCMSLLib.candidates.classifier import CandidateClassifier
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.checks.unlike import unlike
from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.cards import read_card
from BreastCMSLLib.models.decision import decide
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.models.ordinary import OrdinaryExams
from BreastCMSLLib.network.resnet import BreastNet
from BreastCMSLLib.preprocessing.model_input import InputContract
from BreastCMSLLib.results.reader_record import cutoff_record
from BreastCMSLLib.results.record import score_record
from BreastCMSLLib.results.wording import (
    breasts_text,
    prevalence_text,
    score_percent,
    score_text,
    threshold_percent,
    threshold_text,
)
from BreastCMSLLib.results.wording_finding import suspicion_note
from BreastCMSLLib.results.wording_verdict import verdict_note
from BreastCMSLLib.scoring import probability_of, restated, restated_candidates, score_exam

POINTS = {"95": 0.1, "90": 0.2, "85": 0.4}
EXAM = breast([((40, 48.4, 44), 9, WASHOUT), ((130, 48.4, 44), 6, WASHOUT / 3)])


def ordinary(limit=200.0):
    return OrdinaryExams(
        np.zeros(COUNT, np.float32), np.ones(COUNT, np.float32), np.eye(COUNT, dtype=np.float32), limit, 1000
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(3)
    settings = CandidateSettings(grid_mm=4.4, hidden=8, count=4, mix=(0.0, 1.0, 0.0), sharpness=2.5)
    return save_bundle(
        tmp_path_factory.mktemp("bundle"),
        "calibrated",
        BreastNet(TINY).eval(),
        InputContract(size=SHAPE, spacing_mm=4.4),
        candidates=CandidateClassifier(settings).eval(),
        threshold=0.2,
        description="d",
        training_data="t",
        evidence={},
        operating_points=POINTS,
        operating_point="90",
        prevalence=0.5,
        candidate_calibration=(2.0, -1.0),
        ordinary=ordinary(),
    )


@pytest.fixture(scope="module")
def bundle(path):
    return load_bundle(path)


@pytest.fixture(scope="module")
def score(bundle):
    return score_exam(Predictor(bundle, "cpu", "float32"), *EXAM, DURATION_MIN, middle=SHAPE[0] / 2)


def test_a_bundle_keeps_what_it_decides_by(bundle):
    assert bundle.operating_points == POINTS and bundle.operating_point == "90" and bundle.prevalence == 0.5
    assert bundle.candidate_calibration == (2.0, -1.0) and bundle.candidates.settings.sharpness == 2.5
    assert np.array_equal(bundle.ordinary.whitening, np.eye(COUNT)) and bundle.ordinary.limit == 200.0


@pytest.mark.parametrize(
    "change",
    [
        {"operating_points": {"95": 1.5}},
        {"prevalence": 1},
        {"prevalence": 1e-310},
        {"threshold": 0.25},
        {"threshold": None},
        {"candidate_calibration": [-1, 0]},
        {"candidate_calibration": ["a"]},
        {"ordinary": {"limit": 3}},
        {"ordinary": {**ordinary().as_json(), "mean": "AAAA"}},
        {"ordinary": {**ordinary().as_json(), "limit": -1}},
    ],
)
def test_a_card_that_makes_no_sense_is_refused_in_a_sentence(path, tmp_path, change):
    other = tmp_path / path.name
    other.write_text(json.dumps(json.loads(path.read_text()) | change))
    (tmp_path / "calibrated.safetensors").write_bytes(path.with_suffix(".safetensors").read_bytes())
    with pytest.raises(ModelError, match="use a"):
        load_bundle(other)


@pytest.mark.parametrize(
    "change",
    [
        {"operating_point": ["90"]},
        {"operating_point": {}},
        {"operating_points": ["90"]},
        {"threshold": None},
        {"threshold": "high"},
        {"prevalence": None},
        {"prevalence": [0.5]},
        {"evidence": {"operating_points": [1], "classification": {"threshold": 0.3}}},
        {"evidence": {"operating_points": {"90": {"threshold": 0.2, "test": [1]}}, "classification": {}}},
    ],
    ids=str,
)
def test_a_foreign_card_is_read_or_refused_in_a_sentence(path, tmp_path, bundle, change):
    other = tmp_path / path.name
    other.write_text(json.dumps(json.loads(path.read_text()) | change))
    (tmp_path / "calibrated.safetensors").write_bytes(path.with_suffix(".safetensors").read_bytes())
    for model in (read_card, load_bundle):
        for asked in ({}, {"prevalence": 0.01}, {"operating_point": "90"}):
            try:
                decision = decide(model(other), **asked)
            except ModelError as error:
                assert str(error).endswith(".")
            else:
                evidence = replace(bundle, evidence=read_card(other).evidence)
                assert cutoff_record(decision, evidence) is None


def test_the_shipped_model_still_loads_and_says_what_it_lacks():
    shipped = load_bundle()
    if not shipped.operating_points:
        assert shipped.candidates.settings.sharpness == 0 and shipped.ordinary is None
        with pytest.raises(ModelError, match="no operating point for 95"):
            decide(read_card(None), "95")
        with pytest.raises(ModelError, match="cannot be restated"):
            decide(shipped, prevalence=0.1)
    assert decide(shipped).threshold == shipped.threshold and decide(shipped).shift == 0


@pytest.mark.parametrize("point", [None, "95", "90", "85"])
@pytest.mark.parametrize("prevalence", [0.003, 0.3, 0.9])
def test_another_prevalence_changes_the_probability_and_never_the_call(bundle, score, point, prevalence):
    plain = decide(bundle, point)
    assert plain.threshold == POINTS[point or "90"] and plain.operating_point == (point or "90")
    moved = decide(bundle, point, prevalence)
    other = restated(score, moved.shift)
    assert (score.probability >= plain.threshold) == (other.probability >= moved.threshold)
    odds = other.probability / (1 - other.probability) * (1 - score.probability) / score.probability
    assert odds == pytest.approx(prevalence / (1 - prevalence))
    first = restated_candidates(score.candidates, moved.shift, bundle)[0].probability
    assert np.log(first / (1 - first)) - moved.shift == pytest.approx(
        np.log(score.candidates[0].probability / (1 - score.candidates[0].probability)), abs=1e-4
    )


def test_another_prevalence_lists_the_same_candidates_and_calls_them_the_same(bundle, monkeypatch):
    monkeypatch.setattr(pipeline, "out_of_range", lambda exam, model_input: [])
    monkeypatch.setattr(pipeline, "unlike", lambda bundle, ordinary: [])

    def scored(*about, **more):
        score = score_exam(*about, **more)
        first, shares = score.candidates[0], (0.6, 0.25, 0.1, 0.03, 0.01)
        moved = [(first.ras_mm[0], first.ras_mm[1], first.ras_mm[2] - 9.0 * n) for n in range(len(shares))]
        candidates = [replace(first, ras_mm=at, probability=p) for at, p in zip(moved, shares)]
        return replace(score, logit=1.0, probability=probability_of(1.0), candidates=candidates)

    monkeypatch.setattr(pipeline, "score_exam", scored)
    predictor = Predictor(bundle, "cpu", "float32")
    plain, rare = (pipeline.analyze(small_exam(), predictor, prevalence=p).result for p in (None, 0.001))
    listed, known = rare["peaks"], plain["peaks"]
    assert [peak["suspicion"] for peak in known] == ["high", "high", "moderate", "low"]
    assert [(p["ras_mm"], p["suspicion"]) for p in listed] == [(p["ras_mm"], p["suspicion"]) for p in known]
    assert [p["probability"] for p in listed] == [0.0015, 0.0003, 0.0001, 0.000031]
    assert listed[0]["probability"] < 0.02 and rare["malignant"] == plain["malignant"]
    note = suspicion_note(rare)
    assert "moderate: from 0.0053 % on" in note and "moderate: from 5 % on" in suspicion_note(plain)


@pytest.mark.parametrize(
    ("probability", "threshold", "said"),
    [
        (0.934, 0.27, ("93 %", "27 %", "0.934")),
        (0.0424, 0.05, ("4.2 %", "5 %", "0.042")),
        (0.0047, 0.0044, ("0.47 %", "0.44 %", "0.005")),
        (0.3199, 0.32, ("31.99 %", "32.00 %", "0.3199")),
        (0.32, 0.32, ("32 %", "32 %", "0.320")),
        (0.99972, 0.9996, ("99.97 %", "99.96 %", "0.9997")),
        (0.000003, 0.000002, ("0.0003 %", "0.0002 %", "0.000003")),
    ],
)
def test_a_probability_is_never_the_text_of_a_threshold_that_it_is_not_at(probability, threshold, said):
    result = {"probability": probability, "threshold": threshold}
    assert (score_percent(result), threshold_percent(result), score_text(result)) == said


def test_where_the_other_breast_is_the_likelier_one_the_verdict_explains_it():
    result = {"malignant": True, "peaks": [{"side": "left"}]}
    result["breasts"] = {"right": {"probability": 0.6}, "left": {"probability": 0.56}}
    assert verdict_note(result).startswith("The first candidate lies in the left breast")
    result["breasts"]["left"]["probability"] = 0.7
    assert verdict_note(result) == verdict_note({**result, "breasts": {}}) == ""


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -2.0, 1e-310, float("nan")])
def test_a_prevalence_is_a_share(bundle, prevalence):
    with pytest.raises(InputError, match="between 0 and 1"):
        decide(bundle, prevalence=prevalence)


def test_each_breast_has_the_score_of_its_own_candidates(bundle, score):
    assert set(score.breasts) == {"right", "left"}
    assert max(score.breasts.values()) <= score.logit + 1e-5, "the exam's is that of both"
    array, inside, affine = EXAM
    without = score_exam(Predictor(bundle, "cpu", "float32"), array, inside, affine, DURATION_MIN)
    assert without.breasts == {} and without.logit == pytest.approx(score.logit)
    both = np.logaddexp(2.5 * score.breasts["right"], 2.5 * score.breasts["left"]) / 2.5
    assert both == pytest.approx(score.logit, abs=1e-4)


def test_a_result_says_what_the_score_rests_on(bundle, score):
    decision = decide(bundle, "85", 0.05)
    record = score_record(restated(score, decision.shift), True, decision, bundle)
    assert record["operating_point"] == "85" and record["prevalence"] == 0.05
    assert record["candidates_calibrated"] and set(record["breasts"]) == {"right", "left"}
    assert "for 85 % sensitivity" in threshold_text(record)
    assert breasts_text(record).startswith("right breast ")
    assert "5 % of the exams" in prevalence_text(record) and "50 %" in prevalence_text(record)
    older = {"threshold": 0.3}
    assert threshold_text(older) == "threshold 30 %" and breasts_text(older) == prevalence_text(older) == ""


def test_candidates_are_calibrated(bundle, score):
    plain = replace(bundle, candidate_calibration=None)
    raw = score_exam(Predictor(plain, "cpu", "float32"), *EXAM, DURATION_MIN).candidates[0].probability
    expected = 1 / (1 + np.exp(-(2 * np.log(raw / (1 - raw)) - 1)))
    assert score.candidates[0].probability == pytest.approx(expected, abs=1e-5)


def test_an_exam_unlike_the_others_is_told_with_the_features_that_lie_farthest_out(bundle):
    usual = np.full(COUNT, 0.5, np.float32)
    assert unlike(bundle, usual) == [] and unlike(bundle, None) == []
    odd = usual.copy()
    odd[FEATURES.index("rim")], odd[FEATURES.index("background")] = 9.9, -12.0
    (reason,) = unlike(bundle, odd)
    assert reason.code == "unlike" and reason.text.endswith(".")
    assert "background (below theirs by 10.0" in reason.text and "rim (above theirs by 9.9" in reason.text
    assert unlike(SimpleNamespace(ordinary=None), odd) == []
