"""Training parts: figures against scikit-learn, the step from 2.2 to 1.1 mm, the cache, and the loop itself on a tiny cohort."""

import csv
import json

import numpy as np
import pytest
import torch

from BreastCMSLLib.network import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing import ModelInput
from training import cache, evaluate, metrics, train
from training.transfer import full_from_half, half_settings


def test_auc_and_threshold_figures_agree_with_scikit_learn():
    from sklearn import metrics as sk

    rng = np.random.default_rng(2)
    labels = rng.random(200) < 0.6
    scores = np.round(rng.normal(labels * 0.8, 1), 1)  # with ties
    assert metrics.auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    figures = metrics.at_threshold(labels, scores, 0.3)
    called = scores >= 0.3
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(labels, called))
    assert figures["sensitivity"] == pytest.approx(sk.recall_score(labels, called))
    assert figures["specificity"] == pytest.approx(sk.recall_score(~labels, ~called))
    assert figures["f1"] == pytest.approx(sk.f1_score(labels, called))


def test_delong_interval_covers_the_truth():
    """Over repeated samples of a known AUC (0.714 for a shift of 0.8 σ) about 95 % of intervals hold it."""
    rng = np.random.default_rng(3)
    truth, held = 0.71420, 0
    for _ in range(300):
        labels = np.arange(120) < 60
        low, high = metrics.auc_interval(labels, rng.normal(labels * 0.8, 1))
        held += low <= truth <= high
    assert 0.90 <= held / 300 <= 0.99


def test_threshold_keeps_the_sensitivity_and_no_more():
    rng = np.random.default_rng(4)
    labels = rng.random(300) < 0.5
    scores = 1 / (1 + np.exp(-rng.normal(labels * 1.0, 1)))
    threshold = metrics.threshold_at_sensitivity(labels, scores, 0.857)
    called = metrics.at_threshold(labels, scores, threshold)["sensitivity"]
    assert 0.857 <= called < 0.857 + 1.5 / labels.sum()
    assert metrics.threshold_at_sensitivity(np.array([0, 1]), np.array([0.2, 0.8]), 0.9) == pytest.approx(0.5)


def test_half_resolution_weights_carry_over():
    """On an exam that is smooth at 2.2 mm the 1.1 mm network answers as the 2.2 mm one did."""
    torch.manual_seed(0)
    settings = NetworkSettings(width=4)
    half = BreastNet(half_settings(settings)).eval()
    full = BreastNet(settings).eval()
    full.load_state_dict(full_from_half(half.state_dict()))
    coarse = torch.nn.functional.interpolate(torch.randn(1, 6, 6, 6, 4), size=(48, 48, 32), mode="trilinear", align_corners=True)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="trilinear")
    with torch.no_grad():
        a, b = half.feature_map(coarse), full.feature_map(fine)
    assert a.shape == b.shape
    inner = (..., slice(1, -1), slice(1, -1), slice(None))
    assert float((a - b)[inner].abs().mean() / a[inner].abs().mean()) < 0.25
    assert full.settings.total_stride == 2 * half.settings.total_stride


def small_input(label: int, seed: int) -> ModelInput:
    rng = np.random.default_rng(seed)
    array = np.zeros((6, 48, 32, 32), np.float32)
    array[:, 8:40, 4:28, 4:28] = rng.normal(0.3, 0.1, (6, 32, 24, 24))
    i, j, k = rng.integers(8, 12, 3)
    array[:, i : i + 20, j : j + 12, k : k + 12] += (np.linspace(4, 2, 6) if label else np.linspace(0.2, 0.5, 6))[:, None, None, None]
    return ModelInput(array, np.diag([1.1, 1.1, 1.1, 1.0]), (array != 0).all(0), 1.0, 24.0, "pre", 100.0, ())


def test_cache_returns_what_was_stored(tmp_path):
    made = small_input(1, 0)
    cache.store(tmp_path / "000001.npz", made, {"seed": 1, "label": 1})
    exam = cache.load(tmp_path / "000001.npz")
    assert torch.allclose(exam.array.float(), torch.from_numpy(made.array), atol=2e-3) and exam.meta["label"] == 1
    assert np.allclose(exam.meta["affine"], made.affine)
    half = cache.load(tmp_path / "000001.npz", "half").array.float()
    assert torch.allclose(half, cache.halve(torch.from_numpy(made.array)), atol=2e-3)


@pytest.mark.parametrize("objective, guidance, pooling", [("bce", "1", "power"), ("cmsl", "0", "average")])
def test_the_loop_learns_resumes_and_exports(tmp_path, capsys, objective, guidance, pooling):
    """The real loop on exams where the classes differ plainly: it must learn, stop, go on, and write its files."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for seed in range(1, 25):
        meta = {"seed": seed, "label": seed % 2, "lesions": [{"ras_mm": [24.0, 18.0, 18.0], "radius_mm": 5.0, "malignant": bool(seed % 2)}]}
        cache.store(folder / f"{seed:06d}.npz", small_input(seed % 2, seed), meta)

    def run_training(epochs):
        command = ["--cache", str(folder), "--output", str(tmp_path / "run"), "--train", "1:16", "--validate", "17:20"]
        command += ["--width", "4", "--blocks", "1", "1", "1", "1", "--epochs", str(epochs), "--rate", "0.004"]
        train.main([*command, "--objective", objective, "--guidance", guidance, "--pooling", pooling])
        with open(tmp_path / "run" / "metrics.csv") as stream:
            return list(csv.DictReader(stream))

    assert len(run_training(2)) == 2
    rows = run_training(10)
    assert [int(r["epoch"]) for r in rows] == list(range(1, 11))
    assert max(float(r["validation_auc"]) for r in rows) == 1.0
    written = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"config.json", "metrics.csv", "last.pt", "best.safetensors", "final.safetensors"} <= written
    command = [str(tmp_path / "run"), "--cache", str(folder), "--validate", "17:20", "--name", "tiny", "--export", str(tmp_path / "model")]
    evaluate.main([*command, "--test", "21:24"])
    card = json.loads((tmp_path / "model" / "tiny.json").read_text())
    assert card["evidence"]["classification"]["n"] == 4 and "command" in card["evidence"]
    assert {"COAM.all_malignant", "CAM.all_malignant"} <= set(card["evidence"]["localisation"])
    with pytest.raises(SystemExit):
        evaluate.main([*command, "--test", "15:18"])
    assert "test exams were used" in capsys.readouterr().err
