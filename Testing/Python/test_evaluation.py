"""Evaluation, comparison, figures and model card, on a tiny network and tiny cached exams."""

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from builders import TINY

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Prediction, Predictor
from BreastCMSLLib.network.attention import MAPS
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput
from BreastCMSLLib.scoring import ExamScore
from training import card as card_command
from training import compare as compare_command
from training import evaluate as evaluate_command
from training.data import cache
from training.data.files import read_rows, write_rows
from training.evaluation import (
    calibration,
    card,
    comparison,
    difference,
    evaluation,
    figures,
    method_runs,
    metrics,
    records,
    run_figures,
    splits,
)
from training.evaluation.angles import angles_of
from training.evaluation.evaluation import evaluate
from training.evaluation.lesions import miss
from training.evaluation.records import column, read_evaluation, read_predictions
from training.evaluation.scored_exams import ScoredExam, peak_of, score_exams
from training.evaluation.texts import with_interval
from training.methods.loop import train
from training.recipes import Config
from training.runs.folder import save_weights

SIZE = (24, 20, 16)
CONTRACT = InputContract(size=SIZE, spacing_mm=4.4)
SPLITS = {"train": 4, "validate": 16, "test": 16}
AFFINE = np.array([[4.4, 0, 0, -50.0], [0, 4.4, 0, -40.0], [0, 0, 4.4, -30.0], [0, 0, 0, 1.0]])


def store_exam(folder, exam, label, seed, *, patient=None, with_truth=True):
    """A noisy exam with one bright lesion, the brighter the likelier malignant; the classes overlap."""
    rng = np.random.default_rng(seed)
    array = rng.normal(0.3, 0.1, (6, *SIZE)).astype(np.float32)
    inside = np.zeros(SIZE, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    array *= inside
    corner = rng.integers(4, 10, 3)
    window = tuple(slice(c, c + 4) for c in corner)
    array[(slice(None), *window)] += rng.normal(1.5 + 1.5 * label, 0.8)
    truth = np.zeros(SIZE, np.uint8)
    truth[window] = 2 if label else 1
    centre = AFFINE[:3, :3] @ (corner + 1.5) + AFFINE[:3, 3]
    lesions = [{"ras_mm": centre.tolist(), "radius_mm": 8.8, "malignant": bool(label), "box_ras_mm": None}]
    model_input = ModelInput(array, AFFINE, inside, 1.0, 12.0, "pre", 500.0, ())
    meta = {"exam": exam, "patient": patient or exam, "label": label, "lesions": lesions}
    cache.store(cache.exam_path(folder, exam), model_input, meta, truth if with_truth else None)


def make_cache(folder, splits=SPLITS, first_seed=0):
    rows = []
    for split, count in splits.items():
        for n in range(count):
            row = {"exam": f"{split}-{n}", "patient": f"p-{split}-{n}", "label": n % 2, "split": split}
            store_exam(folder, row["exam"], row["label"], first_seed + len(rows), patient=row["patient"])
            rows.append(row)
    cache.write_cache(folder, CONTRACT, "simulated:tiny")
    cache.write_index(folder, rows)
    return rows


def make_run(folder, cache_folder, rows, *, method="bce", seed=0, noise=0.0, **changes):
    """A run's folder as training leaves it, with a network that answers by the exam's brightest cells."""
    head = "linear" if method == "bce" else "cosine"
    settings = NetworkSettings(
        width=4, blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_stride=1, pooling="max", head=head
    )
    torch.manual_seed(0)
    network = BreastNet(settings).eval()
    with torch.no_grad():
        network.weight.copy_(torch.linspace(0.2, 1, settings.features))
        network.weight += noise * torch.randn(
            settings.features, generator=torch.Generator().manual_seed(seed)
        )
        if head == "linear":
            paths = [cache.exam_path(cache_folder, r["exam"]) for r in rows if r["split"] == "validate"]
            network.bias.fill_(
                -float(network(torch.stack([cache.load(path).array.float() for path in paths])).median())
            )
    folder.mkdir(parents=True)
    save_weights(network, folder / "best.safetensors")
    config = {
        "recipe": "smoke",
        "method": method,
        "seed": seed,
        "epochs": 2,
        "margin": 0.35,
        "margin_warmup": 0,
        "init": None,
    }
    config |= {
        "output": str(folder),
        "cache": str(cache_folder),
        "network": asdict(settings),
        "input": asdict(CONTRACT),
    }
    config |= {"simulated": True, "supervision": "image-level labels only", **changes}
    (folder / "config.json").write_text(json.dumps(config))
    write_rows(folder / "split.csv", rows)
    epochs = [
        {"epoch": n, "train_loss": 0.7 / n, "validation_loss": 0.8 / n, "validation_auc": 0.6 + 0.1 * n}
        for n in (1, 2)
    ]
    write_rows(folder / "metrics.csv", epochs)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "ROUNDS", 100)
        yield


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, make_cache(folder)


@pytest.fixture(scope="module")
def evaluated(cohort, tmp_path_factory):
    """A run evaluated by the command, with all that it writes; 16 exams would leave it doubted."""
    folder = make_run(tmp_path_factory.mktemp("evaluated") / "run", *cohort)
    command = [str(folder), "--name", "tiny", "--export", str(folder / "models"), "--precision", "float32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "doubts_of", lambda mix, figures: [])
        assert evaluate_command.main(command) == 0
    return folder


@pytest.fixture
def run(cohort, tmp_path):
    return make_run(tmp_path / "run", *cohort)


def quick(folder, **options):
    return evaluate(folder, precision="float32", maps=("COAM",), **options)


def test_a_run_that_training_wrote_can_be_evaluated(cohort, tmp_path):
    """The real loop's folder, of the same exams: nothing here is a stand-in."""
    config = Config(
        tmp_path / "run",
        cache=cohort[0],
        spacing_mm=4.4,
        network=TINY,
        epochs=1,
        batch=4,
        precision="no",
        method="cmsl",
    )
    folder = train("smoke", config)
    found = quick(folder)["evidence"]
    assert (found["method"], found["seed"], found["n"], found["simulated"]) == ("cmsl", 0, 16, True)
    assert angles_of(folder).margin == pytest.approx(0.35)
    card.write_card(folder)


def test_evidence_has_the_agreed_keys(evaluated):
    evidence = json.loads((evaluated / "models" / "tiny.json").read_text())["evidence"]
    assert {
        "classification",
        "localisation",
        "localisation_all",
        "cohort",
        "seed",
        "n",
        "intervals",
        "command",
        "supervision",
    } <= set(evidence)
    assert set(evidence["localisation"]) == set(evidence["localisation_all"]) == set(MAPS)
    for protocol in ("localisation", "localisation_all"):
        for found in evidence[protocol].values():
            assert {"n", "mean_mm", "sd_mm", "median_mm", "hit10", "hit20", "pointing"} <= set(found)
            assert {"mean_mm_95", "median_mm_95", "hit10_95", "hit20_95", "pointing_95"} <= set(found)
    for name in ("auc", "accuracy", "sensitivity", "specificity", "f1"):
        low, high = evidence["classification"][f"{name}_95"]
        assert low <= evidence["classification"][name] <= high
    assert (
        evidence["n"] == 16
        and evidence["classification"]["malignant"] == 8
        and evidence["localisation_all"]["COAM"]["n"] == 8
    )
    assert evidence["localisation"]["COAM"]["n"] == evidence["classification"]["tp"]
    assert "simulated" in evidence["cohort"] and evidence["supervision"] == "image-level labels only"
    assert "NaN" not in (evaluated / "evaluation.json").read_text()


def test_figures_follow_from_the_predictions(evaluated):
    """The JSON can be reckoned again from predictions.csv; the bundle answers with those probabilities."""
    rows, evidence = read_predictions(evaluated), read_evaluation(evaluated)["evidence"]
    labels, probabilities = column(rows, "label"), column(rows, "probability")
    assert evidence["classification"]["auc"] == pytest.approx(metrics.auc(labels, probabilities), abs=1e-4)
    called = [
        r["COAM_mm"]
        for r in rows
        if r["label"] and r["probability"] >= evidence["classification"]["threshold"]
    ]
    assert evidence["localisation"]["COAM"]["mean_mm"] == pytest.approx(np.mean(called), abs=1e-4)
    bundle = load_bundle(evaluated / "models" / "tiny.json")
    assert (
        bundle.threshold
        == evidence["classification"]["threshold"]
        == evidence["operating_points"]["sensitivity_90"]["threshold"]
    )
    assert bundle.temperature == evidence["calibration"]["temperature"] != 1.0
    predictor = Predictor(bundle, "cpu", "float32")
    held = json.loads((evaluated / "evaluation.json").read_text())
    scored = next(score_exams(predictor, [cache.exam_path(Path(held["cache"]), rows[3]["exam"])]))
    assert scored.prediction.probability == pytest.approx(rows[3]["probability"], abs=1e-6)


def test_temperature_and_thresholds_never_look_at_test(cohort, tmp_path):
    """The same run on other test exams, even with their labels turned round: what is frozen stays."""
    first = quick(make_run(tmp_path / "a", *cohort))
    folder, rows = tmp_path / "cache", [dict(r) for r in cohort[1]]
    shutil.copytree(cohort[0], folder)
    for n, row in enumerate(r for r in rows if r["split"] == "test"):
        row["label"] = 1 - row["label"]
        store_exam(folder, row["exam"], row["label"], 900 + n, patient=row["patient"])
    cache.write_index(folder, rows)
    source = make_run(tmp_path / "b", *cohort)  # the same weights
    write_rows(source / "split.csv", rows)
    second = quick(source, cache_folder=folder)
    for one, other in zip(
        first["evidence"]["operating_points"].values(), second["evidence"]["operating_points"].values()
    ):
        assert one["threshold"] == other["threshold"] and one["validation"] == other["validation"]
    assert first["evidence"]["calibration"]["temperature"] == second["evidence"]["calibration"]["temperature"]
    assert first["validation"] == second["validation"]
    assert first["evidence"]["classification"]["auc"] != second["evidence"]["classification"]["auc"]


def test_a_run_can_be_calibrated_on_exams_of_another_cohort(cohort, tmp_path):
    """Temperature and thresholds are theirs; exams that the run has seen are refused."""
    run, other = make_run(tmp_path / "run", *cohort), tmp_path / "other"
    rows = []
    for n in range(12):
        row = {"exam": f"c-{n}", "patient": f"pc-{n}", "label": int(n > 3), "split": "validate"}
        store_exam(other, row["exam"], row["label"], 700 + n, patient=row["patient"])
        rows.append(row)
    cache.write_cache(other, CONTRACT, "simulated:other")
    cache.write_index(other, rows)
    result = quick(run, calibrate_on=other)
    bundle = load_bundle(result["bundle"]["file"])
    assert bundle.prevalence == pytest.approx(8 / 12)
    assert "12 exams of simulated cohort other" in result["evidence"]["cohort"]
    card.write_card(run)
    text = (run / "card.md").read_text()
    assert "Frozen on the exams of simulated cohort other" in text and "the validation exams" not in text
    assert list(bundle.operating_points) == ["95", "90", "85"]
    assert bundle.threshold == bundle.operating_points[bundle.operating_point]
    assert bundle.candidate_calibration is None and bundle.ordinary is None, "it judges no candidates"
    cache.write_index(other, [{**rows[0], "patient": "p-test-0"}, *rows[1:]])
    with pytest.raises(InputError, match="p-test-0"):
        quick(run, calibrate_on=other)
    cache.write_index(other, rows[4:])
    with pytest.raises(InputError, match="one label"):
        quick(run, calibrate_on=other)


def test_everything_is_frozen_before_the_first_test_exam_is_read(run, monkeypatch):
    order = []
    load, fit, points = cache.load, calibration.fit_temperature, calibration.operating_points
    monkeypatch.setattr(cache, "load", lambda path: order.append(path.stem.split("-")[0]) or load(path))
    monkeypatch.setattr(calibration, "fit_temperature", lambda *a: order.append("fit") or fit(*a))
    monkeypatch.setattr(calibration, "operating_points", lambda *a: order.append("points") or points(*a))
    quick(run)
    assert order == ["validate"] * 16 + ["fit", "points"] + ["test"] * 16


@pytest.mark.slow
def test_several_processes_read_the_same(run, cohort, tmp_path):
    alone, together = quick(run), quick(make_run(tmp_path / "other", *cohort), workers=2)
    assert alone["evidence"]["classification"] == together["evidence"]["classification"]
    assert alone["evidence"]["localisation"] == together["evidence"]["localisation"]
    ours, theirs = (read_rows(folder / "predictions.csv") for folder in (run, tmp_path / "other"))
    assert len(ours) == 32 and all(
        {**a, "seconds": 0} == {**b, "seconds": 0} for a, b in zip(ours, theirs, strict=True)
    )


def test_a_doubted_model_is_not_exported_and_says_so(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "doubts_of", lambda mix, figures: ["It was not shown to work."])
    out = tmp_path / "models"
    assert evaluate_command.main([str(run), "--export", str(out), "--maps", "COAM", "--no-figures"]) == 2
    printed = capsys.readouterr()
    assert "DO NOT RELY ON THIS MODEL.\nIt was not shown to work." in printed.out
    assert printed.err.startswith(
        f"Nothing was exported to {out}. It was not shown to work. The bundle stays"
    )
    bundle = load_bundle(run / "run.json")  # called after its run
    assert not out.exists() and bundle.name == "run" and bundle.description.endswith("not shown to work.")
    card.write_card(run)
    assert "DO NOT RELY ON THIS MODEL. It was not shown to work." in (run / "card.html").read_text()


def test_second_evaluation_is_recorded_and_said(run, capsys):
    first = quick(run)
    assert (
        first["evaluations"] == first["evidence"]["evaluations"] == 1
        and "Evaluation" not in capsys.readouterr().out
    )
    second = quick(run)
    assert "Evaluation 2 of this run" in capsys.readouterr().out
    held = json.loads((run / "evaluation.json").read_text())
    assert second["evaluations"] == held["evaluations"] == held["evidence"]["evaluations"] == 2
    assert [entry["finished"] is not None for entry in held["history"]] == [True, True]
    card.write_card(run)
    assert "read 2 times" in (run / "card.md").read_text()
    records.begin(run, {"command": "python training/localize.py RUN --split test"})
    records.end(run)
    records.begin(run, {"command": "python training/evaluate.py RUN"})  # and breaks off
    card.write_card(run)
    text = (run / "card.md").read_text()
    assert "read 4 times" in text and f"{held['history'][1]['finished']}, reading 2 of 4" in text


def test_evaluation_that_breaks_off_counts(run, monkeypatch):
    load = cache.load

    def failing(path):
        if path.stem == "test-5":
            raise InputError("damaged")
        return load(path)

    monkeypatch.setattr(cache, "load", failing)
    with pytest.raises(InputError):
        quick(run)
    monkeypatch.undo()
    with pytest.raises(InputError, match="was not evaluated"):
        read_evaluation(run)
    assert quick(run)["evaluations"] == 2
    history = json.loads((run / "evaluation.json").read_text())["history"]
    assert [entry["finished"] is None for entry in history] == [True, False]


@pytest.mark.parametrize("held, used", [("test", "train"), ("test", "validate"), ("validate", "train")])
def test_patient_in_two_splits_is_refused(run, cohort, held, used, capsys):
    rows = [dict(r) for r in cohort[1]]
    next(r for r in rows if r["split"] == used)["patient"] = f"p-{held}-1"
    write_rows(run / "split.csv", rows)
    assert evaluate_command.main([str(run)]) == 2
    message = capsys.readouterr().err
    assert f"p-{held}-1" in message and "split the cohort by patient" in message
    assert not (run / "evaluation.json").exists()


def test_patient_seen_by_an_earlier_run_is_refused(run):
    write_rows(run / "ancestry.csv", [{"patient": "someone", "split": "train"}])
    splits.check_split(splits.read_split(run), [{"patient": "someone", "split": "train"}])
    write_rows(run / "ancestry.csv", [{"patient": "p-test-3", "split": "validate"}])
    with pytest.raises(InputError, match="p-test-3 .*earlier run"):
        quick(run)


def test_a_half_trained_candidate_classifier_is_not_passed_over(run):
    (run / "candidates").mkdir()
    (run / "candidates" / "config.json").write_text('{"settings": {}}')
    with pytest.raises(InputError, match="is not trained to its end"):
        quick(run)
    assert not (run / "evaluation.json").exists()


def test_what_does_not_fit_together_is_refused_by_name(run, cohort, tmp_path):
    rows = [dict(r) for r in cohort[1]]
    write_rows(run / "split.csv", [*rows, {"exam": "absent", "patient": "x", "label": 1, "split": "test"}])
    with pytest.raises(InputError, match="absent"):
        quick(run)
    turned = [{**r, "label": 1 - r["label"]} if r["exam"] == "test-2" else r for r in rows]
    write_rows(run / "split.csv", turned)
    with pytest.raises(InputError, match="test-2 has another label"):
        quick(run)
    write_rows(run / "split.csv", [r for r in rows if r["split"] != "validate" or r["label"]])
    with pytest.raises(InputError, match="only one kind"):
        quick(run)
    write_rows(run / "split.csv", rows)
    with pytest.raises(InputError, match="no map called 'GUESS'"):
        evaluate(run, maps=("GUESS",))
    other = tmp_path / "finer"
    cache.write_cache(other, InputContract(size=SIZE, spacing_mm=2.2), "simulated:tiny")
    cache.write_index(other, rows)
    with pytest.raises(InputError, match="2.2 mm"):
        quick(run, cache_folder=other)
    assert not (run / "evaluation.json").exists() and not (run / "predictions.csv").exists()


def test_test_exams_of_one_kind_still_give_what_can_be_known(run, cohort):
    """A collection of cancers only: sensitivity and localisation, and no AUC."""
    write_rows(run / "split.csv", [r for r in cohort[1] if r["split"] != "test" or r["label"]])
    found = quick(run)["evidence"]
    assert found["classification"]["auc"] is None and found["classification"]["specificity"] is None
    assert found["classification"]["sensitivity"] > 0.5 and found["localisation_all"]["COAM"]["n"] == 8
    run_figures.draw_run(run, run / "figures")
    card.write_card(run)
    assert "| AUC | – |" in (run / "card.md").read_text()


# --- where a peak lies ---


def exam_with(lesions, truth=None, label=1):
    meta = {"exam": "e", "patient": "p", "label": label, "affine": AFFINE.tolist(), "lesions": lesions}
    return cache.CachedExam(torch.zeros(6, *SIZE), meta, np.ones(SIZE, bool), truth)


def test_distance_is_to_the_nearest_malignant_lesion():
    lesions = [
        {"ras_mm": [0.0, 0.0, 0.0], "radius_mm": 5.0, "malignant": True},
        {"ras_mm": [30.0, 0.0, 0.0], "radius_mm": 5.0, "malignant": True},
        {"ras_mm": [32.0, 0.0, 0.0], "radius_mm": 5.0, "malignant": False},
    ]
    assert miss(exam_with(lesions), (32.0, 0.0, 0.0)) == (2.0, True)
    assert miss(exam_with(lesions), (12.0, 0.0, 0.0)) == (12.0, False)
    with pytest.raises(InputError, match="no malignant lesion"):
        miss(exam_with(lesions[2:]), (0.0, 0.0, 0.0))


def test_inside_is_read_off_mask_then_box_then_sphere():
    lesion = {"ras_mm": [0.0, 0.0, 0.0], "radius_mm": 5.0, "malignant": True, "box_ras_mm": None}
    truth = np.zeros(SIZE, np.uint8)
    truth[5, 6, 7] = 2
    truth[9, 6, 7] = 1  # benign: not a hit
    at = {n: tuple(AFFINE[:3, :3] @ np.array([n, 6, 7]) + AFFINE[:3, 3]) for n in (5, 6, 9)}
    assert [miss(exam_with([lesion], truth), at[n])[1] for n in (5, 6, 9)] == [True, False, False]
    assert not miss(exam_with([lesion], truth), (500.0, 0.0, 0.0))[1]
    box = {**lesion, "box_ras_mm": [[20.0, -2.0, -2.0], [-20.0, 2.0, 2.0]]}
    assert miss(exam_with([box]), (18.0, 0.0, 0.0))[1] and not miss(exam_with([box]), (0.0, 4.0, 0.0))[1]
    assert miss(exam_with([lesion]), (0.0, 4.0, 0.0))[1] and not miss(exam_with([lesion]), (0.0, 6.0, 0.0))[1]


def test_null_map_peaks_where_the_features_are_longest():
    features = torch.rand(8, 6, 5, 4)
    features[:, 3, 2, 1] = 9.0
    score = ExamScore(Prediction(0.0, 0.5, features, torch.ones(8)), 0.0, 0.5, None)
    settings = NetworkSettings(width=4, blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_stride=2)
    scored = ScoredExam(exam_with([]), score, features.flatten(1).amax(1).numpy(), 0.0, 0.0)
    assert peak_of("NORM", scored, settings) == pytest.approx(
        tuple(AFFINE[:3, :3] @ np.array([12, 8, 4]) + AFFINE[:3, 3])
    )


# --- features ---


@pytest.mark.parametrize("method", ["bce", "cmsl"])
def test_features_reproduce_the_logits(cohort, tmp_path, method):
    folder = make_run(tmp_path / "run", *cohort, method=method)
    quick(folder)
    with np.load(folder / "features.npz", allow_pickle=False) as parts:
        held = {name: parts[name] for name in parts.files}
    x, w = held["pooled"].astype(np.float64), held["weight"].astype(np.float64)
    cosine = x @ w / np.linalg.norm(x, axis=1) / np.linalg.norm(w)
    assert held["cos_theta"] == pytest.approx(cosine, abs=1e-5)
    if method == "cmsl":
        assert held["logit"] == pytest.approx(20 * cosine, abs=1e-3)
    else:
        assert np.ptp(held["logit"] - x @ w) < 1e-3  # the bias
    assert held["split"].tolist().count("test") == 16 and held["pooled"].dtype == np.float32


# --- comparison ---


@pytest.fixture(scope="module")
def rivals(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    runs = []
    for method, noise in (("bce", 0.3), ("cmsl", 0.6)):
        for seed in (0, 1):
            run = make_run(folder / f"{method}-{seed}", *cohort, method=method, seed=seed, noise=noise)
            quick(run)
            runs.append(run)
    return runs


def test_compare_groups_by_method_and_sets_beside_the_paper(rivals, tmp_path, capsys):
    assert (
        compare_command.main([*map(str, rivals), "--baseline", str(rivals[1]), "--output", str(tmp_path)])
        == 0
    )
    held = json.loads((tmp_path / "comparison.json").read_text())
    assert held["baseline"] == "3D ResNet" and {n: m["seeds"] for n, m in held["methods"].items()} == {
        "3D ResNet": [0, 1],
        "3D ResNet + CMSL": [0, 1],
    }
    one = held["differences"][0]
    labels = column(read_predictions(rivals[0]), "label")
    scores = [column(read_predictions(folder), "logit") for folder in rivals]
    areas = [metrics.auc(labels, s) for s in scores]
    assert held["methods"]["3D ResNet + CMSL"]["figures"]["auc"]["mean"] == pytest.approx(
        np.mean(areas[2:]), abs=1e-4
    )
    assert one["auc"]["difference"] == pytest.approx(np.mean(areas[2:]) - np.mean(areas[:2]), abs=1e-4)
    assert one["auc_bootstrap"]["difference"] == pytest.approx(one["auc"]["difference"], abs=1e-4)
    for seed in (0, 1):
        expected = metrics.paired_delong(labels, scores[2 + seed], scores[seed])
        assert one["delong"][seed]["p"] == pytest.approx(expected["p"], abs=1e-4)
    text = (tmp_path / "comparison.md").read_text()
    assert "0.902 (0.871–0.933)" in text and "another cohort" in text and "research use only" in text
    assert one["sentence"] in capsys.readouterr().out
    assert (
        (tmp_path / "roc.png").exists()
        and (tmp_path / "angles.png").exists()
        and (tmp_path / "comparison.html").exists()
    )


def test_the_sentence_follows_the_interval():
    def say(value, p, seeds=3):
        gain = {
            "difference": value,
            "difference_95": (value - 0.02, value + 0.02),
            "p": p,
            "seeds": [seeds, 3],
        }
        return difference.sentence("CMSL", "BCE", gain)

    assert "cannot be told from noise" in say(
        0.005, 0.4
    ) and "+0.005 (95 % -0.015 to +0.025, p = 0.400)" in say(0.005, 0.4)
    assert (
        "a gain that neither" in say(0.05, 0.01)
        and "a loss" in say(-0.05, 0.0001)
        and "p < 0.001" in say(-0.05, 0.0001)
    )
    assert "one seed each cannot tell it from luck" in say(0.05, 0.01, 1) and "2 seeds each" in say(
        0.05, 0.01, 2
    )
    assert "too few exams" in say(float("nan"), float("nan"))


def test_runs_of_one_method_are_told_apart_by_what_differs(cohort, tmp_path):
    runs = [
        make_run(tmp_path / "cold", *cohort, method="cmsl"),
        make_run(tmp_path / "warm", *cohort, method="cmsl", margin_warmup=3),
        make_run(tmp_path / "again", *cohort, method="cmsl", margin_warmup=3, seed=7),
    ]
    for folder in runs:
        quick(folder)
    methods = method_runs.group_runs(runs)
    assert [(m.name, m.seeds) for m in methods] == [
        ("3D ResNet + CMSL, margin_warmup 0", [0]),
        ("3D ResNet + CMSL, margin_warmup 3", [0, 7]),
    ]
    with pytest.raises(InputError, match="name each run once"):
        method_runs.group_runs([runs[0], runs[0]])


def test_runs_that_learned_from_other_exams_are_two_methods(cohort, tmp_path):
    runs = [make_run(tmp_path / name, *cohort, seed=n) for n, name in enumerate(("all", "again", "fewer"))]
    write_rows(runs[2] / "split.csv", cohort[1][1:])  # without the first training exam
    for folder in runs:
        quick(folder)
    methods = method_runs.group_runs(runs)
    assert [m.seeds for m in methods] == [[0, 1], [2]]
    assert methods[1].name.startswith("3D ResNet, training exams 3 (")


def test_runs_on_other_exams_are_not_compared(rivals, tmp_path):
    folder = tmp_path / "cache"
    rows = make_cache(folder, {**SPLITS, "test": 12}, first_seed=300)
    stranger = make_run(tmp_path / "stranger", folder, rows)
    with pytest.raises(InputError, match="was not evaluated"):
        method_runs.group_runs([rivals[0], stranger])
    quick(stranger)
    with pytest.raises(InputError, match="other exams"):
        method_runs.group_runs([rivals[0], stranger])
    with pytest.raises(InputError, match="not among the runs"):
        comparison.compare(method_runs.group_runs(rivals[:2]), stranger)


# --- figures and card ---


def test_evaluation_draws_every_figure(evaluated):
    names = {"roc.png", "reliability.png", "angles.png", "maps.png", "curves.png"}
    assert {p.name for p in (evaluated / "figures").iterdir()} == names == set(card.FIGURES)
    for name in names:
        assert (evaluated / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_the_drawn_curve_encloses_the_auc():
    rng = np.random.default_rng(3)
    labels = rng.random(150) < 0.5
    scores = np.round(rng.normal(labels, 1), 1)
    figure = figures.roc([figures.Curve("x", scores[None], labels, np.arange(150))])
    x, y = figure.axes[0].lines[-1].get_data()
    plt.close(figure)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(metrics.auc(labels, scores))
    area = np.trapezoid(figures.sensitivity_at(labels, scores), figures.GRID)
    assert area == pytest.approx(metrics.auc(labels, scores), abs=0.01)


def test_simulated_exams_are_called_so_on_every_figure(evaluated, monkeypatch):
    seen = []

    def save(figure, path):
        seen.append((path.name, [text.get_text() for text in figure.texts]))
        return path

    for module in (figures, run_figures):
        monkeypatch.setattr(module, "save", save)
    run_figures.draw_run(evaluated, evaluated / "unused")
    assert len(seen) == 5 and all(figures.SIMULATED in texts for _, texts in seen)


def test_shown_exams_are_picked_by_rank():
    rows = [{"exam": f"e{n}", "label": 1, "probability": 0.9, "COAM_mm": float(n)} for n in range(101)]
    rows += [{"exam": "missed", "label": 1, "probability": 0.1, "COAM_mm": 0.0}]
    picked = run_figures.typical_exams(rows, 0.5, count=3)
    assert [exam for exam, _ in picked] == ["e10", "e50", "e90"] and "50th percentile" in picked[1][1]


def test_card_tells_figures_and_escapes_what_it_is_given(evaluated, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(evaluated, folder)
    nasty = '<script>alert("1")</script> | *bold* & `x`'
    for name in ("evaluation.json", "config.json"):
        held = json.loads((folder / name).read_text())
        (held["evidence"] if name == "evaluation.json" else held)["supervision"] = nasty
        if name == "evaluation.json":
            held["evidence"]["cohort"] = nasty
            held["evidence"]["command"] = "echo ``` </pre><b>"
            held["bundle"]["file"] = str(folder / "models" / "tiny.json")
        (folder / name).write_text(json.dumps(held))
    bundle = json.loads((folder / "models" / "tiny.json").read_text())
    (folder / "models" / "tiny.json").write_text(
        json.dumps({**bundle, "description": nasty, "training_data": nasty})
    )
    assert card_command.main([str(folder)]) == 0
    page, text = (folder / "card.html").read_text(), (folder / "card.md").read_text()
    assert "<script" not in page and "<b>" not in page and "&lt;script&gt;" in page
    assert (
        "<script" not in text
        and "<b>" not in text.replace("</pre><b>", "", 1)
        and "\\*bold\\*" in text
        and "````sh" in text
    )
    assert page.count("data:image/png;base64,") == 5 and "http" not in page.replace(
        'http-equiv="Content-Security-Policy"', ""
    )
    evidence = read_evaluation(folder)["evidence"]
    assert (
        with_interval(evidence["classification"], "auc") in page
        and read_evaluation(folder)["bundle"]["sha256"] in page
    )
    assert "figures/roc.png" in text and "0.902" in text


def test_card_of_a_run_that_was_not_evaluated_is_refused(run, capsys):
    assert card_command.main([str(run)]) == 2
    assert "was not evaluated" in capsys.readouterr().err and not (run / "card.md").exists()


def test_card_refuses_a_bundle_of_other_weights(evaluated, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(evaluated, folder)
    held = json.loads((folder / "evaluation.json").read_text())
    held["bundle"] = {**held["bundle"], "file": str(folder / "models" / "tiny.json"), "sha256": "00" * 32}
    (folder / "evaluation.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match="other weights"):
        card.write_card(folder)


def test_console_prints_table_1_and_distances(evaluated):
    text = card.console(read_evaluation(evaluated))
    assert "AUC" in text and "0.902 (0.871–0.933)" in text and "COAM" in text and "18.26 ± 13.65 mm" in text


def test_predictions_hold_one_line_an_exam(evaluated):
    with open(evaluated / "predictions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 32 and sum(r["split"] == "validate" for r in rows) == 16
    assert all((r["COAM_mm"] != "") == (r["split"] == "test" and r["label"] == "1") for r in rows)
