"""Model bundles: what is saved comes back, and nothing altered is loaded."""

import json

import pytest
import torch
from phantom import smoothing_network

from BreastCMSLLib.core.errors import ModelError
from BreastCMSLLib.models import bundle as weights
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import InputContract


@pytest.fixture
def card(tmp_path):
    return weights.save_bundle(
        tmp_path,
        "small",
        smoothing_network(NetworkSettings(width=4)),
        InputContract(),
        threshold=0.4,
        description="test",
        training_data="nothing",
        evidence={"n": 3},
    )


def test_round_trip(card):
    bundle = weights.load_bundle(card)
    assert bundle.name == "small" and bundle.threshold == 0.4 and bundle.evidence == {"n": 3}
    assert bundle.contract == InputContract() and bundle.network.settings == NetworkSettings(width=4)
    for name, tensor in smoothing_network(NetworkSettings(width=4)).state_dict().items():
        assert torch.allclose(bundle.network.state_dict()[name].float(), tensor.float(), rtol=1e-3, atol=1e-4), name
    assert weights.load_bundle(card.with_suffix(".safetensors")).sha256 == bundle.sha256


def test_altered_weights_are_refused(card):
    path = card.with_suffix(".safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"small\.safetensors.*SHA-256"):
        weights.load_bundle(card)


def test_missing_files_are_named(card, tmp_path):
    card.with_suffix(".safetensors").unlink()
    with pytest.raises(ModelError, match=r"small\.safetensors are missing"):
        weights.load_bundle(card)
    with pytest.raises(ModelError, match="nowhere.json was not found"):
        weights.load_bundle(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.clear(),
        lambda c: c.update(schema_version=99),
        lambda c: c.update(weights="x"),
        lambda c: c["weights"].update(file="../../small.safetensors"),
        lambda c: c.update(architecture={"width": 8}),
        lambda c: c.update(architecture={"unknown": 8}),
        lambda c: c.update(architecture=[]),
        lambda c: c.update(input={"phases": 5}),
        lambda c: c.update(threshold=2),
        lambda c: c.update(threshold=None),
    ],
)
def test_wrong_cards_are_one_sentence(card, change):
    content = json.loads(card.read_text())
    change(content)
    card.write_text(json.dumps(content))
    with pytest.raises(ModelError) as caught:
        weights.load_bundle(card)
    assert "\n" not in str(caught.value) and "small" in str(caught.value)


def test_a_card_that_is_not_json(card):
    card.write_bytes(b"\xff\xfe not json")
    with pytest.raises(ModelError, match=r"small\.json is not a readable model card"):
        weights.load_bundle(card)


def test_shipped_model_is_whole_and_small():
    bundle = weights.load_bundle()
    files = list(bundle.path.parent.iterdir())
    assert sum(f.stat().st_size for f in files) < 20_000_000
    assert bundle.path.with_suffix(".safetensors").stat().st_size <= 10_000_000
    assert "simulated" in bundle.training_data
    assert bundle.contract.size == (340, 220, 128) and bundle.contract.spacing_mm == 1.1
    assert {"cohort", "seed", "command"} <= set(bundle.evidence)


def test_half_precision_answers_like_float32():
    """Probability pinned across precisions, on the shipped weights and a full-size input."""
    bundle = weights.load_bundle()
    generator = torch.Generator().manual_seed(5)
    x = torch.rand((6, *bundle.contract.size), generator=generator).numpy()
    x[:, :, :, :30] = 0
    full = Predictor(bundle, "cpu", "float32").predict(x)
    auto = Predictor(bundle, "cpu", "auto").predict(x)
    assert abs(full.probability - auto.probability) < 0.05
    again = Predictor(bundle, "cpu", "auto").predict(x)
    assert again.logit == auto.logit and torch.equal(again.features, auto.features)


def test_wrong_half_precision_falls_back(card, monkeypatch):
    """A library that computes bfloat16 wrongly is noticed at load and not used."""
    monkeypatch.setattr("BreastCMSLLib.models.inference._fast_precision", lambda device: torch.bfloat16)
    honest = BreastNet.feature_map

    def broken(self, x):
        y = honest(self, x)
        return y * 3 + 1 if x.dtype == torch.bfloat16 else y

    monkeypatch.setattr(BreastNet, "feature_map", broken)
    predictor = Predictor(weights.load_bundle(card), "cpu")
    assert predictor.precision == "float32" and "bfloat16" in predictor.precision_note
