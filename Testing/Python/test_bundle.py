"""Model bundles: what is saved comes back, and nothing altered is loaded."""

import json
import math
import re

import pytest
import torch
from builders import save_model
from phantom import smoothing_network

from BreastCMSLLib.core.errors import ModelError
from BreastCMSLLib.models import inference
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.cards import read_card, read_weights
from BreastCMSLLib.models.folding import FoldedConv
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings
from BreastCMSLLib.preprocessing.model_input import InputContract


@pytest.fixture
def card(tmp_path):
    about = {"threshold": 0.4, "description": "test", "evidence": {"n": 3}}
    return save_model(tmp_path, smoothing_network(NetworkSettings(width=4)), **about)


def test_round_trip(card):
    bundle = load_bundle(card)
    assert bundle.name == "small" and bundle.threshold == 0.4 and bundle.evidence == {"n": 3}
    assert bundle.contract == InputContract() and bundle.network.settings == NetworkSettings(width=4)
    for name, tensor in smoothing_network(NetworkSettings(width=4)).state_dict().items():
        loaded = bundle.network.state_dict()[name].float()
        assert torch.allclose(loaded, tensor.float(), rtol=1e-3, atol=1e-4), name
    assert load_bundle(card.with_suffix(".safetensors")).sha256 == bundle.sha256


def test_altered_weights_are_refused(card):
    path = card.with_suffix(".safetensors")
    data = bytearray(path.read_bytes())
    assert read_weights(read_card(card)) == data
    data[-1] ^= 1
    path.write_bytes(data)
    for read in (load_bundle, lambda path: read_weights(read_card(path))):
        with pytest.raises(ModelError, match=r"small\.safetensors.*SHA-256"):
            read(card)


def test_missing_files_are_named(card, tmp_path):
    card.with_suffix(".safetensors").unlink()
    with pytest.raises(ModelError, match=r"small\.safetensors are missing"):
        load_bundle(card)
    with pytest.raises(ModelError, match="nowhere.json was not found"):
        load_bundle(tmp_path / "nowhere.json")


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
        lambda c: c["architecture"].update(centred=False),  # of older versions
        lambda c: c.update(input=5),
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
        load_bundle(card)
    assert "\n" not in str(caught.value) and "small" in str(caught.value)


def test_wrong_settings_are_named():
    """Each setting with a value of a wrong type, or just outside of its limits."""
    wrong = {
        NetworkSettings: {
            "channels": (0, 25, 6.0, True, "6", None),
            "width": (0, 257),
            "blocks": ((), (1,) * 7, (0, 1, 1, 1), (65, 1, 1, 1), [1, 1, 1, 1], 1, ((1,), 1, 1, 1)),
            "strides": ((9, 1, 1, 1), (1, 1, 1, 0.5)),
            "stem_kernel": (0, 2, 17),
            "stem_stride": (0, 17),
            "stem_pool": (1, "yes", None),
            "scale": (0, 1001, math.nan, math.inf, "20"),
        },
        InputContract: {
            "size": ((7, 40, 24), (1025, 40, 24), (48, 40), (48.5, 40, 24), (1024, 1024, 1024), 5),
            "spacing_mm": (0.1, 21, math.nan, "1.1", None),
            "phases": (0, 25),
            "scale_percentile": (0, 101),
            "clip": ((1, -1), (0, 0), (math.nan, 1), (-1,), "x", (-1, math.inf)),
        },
        MaskSettings: {
            "sigmas_mm": ((), (0,), (51,), (1.0,) * 9),
            "skin_mm": ("x", -1, 1001),
            "smooth_mm": (0, -1),
            "chest_half_width_mm": (0,),
            "edge_threshold": (math.nan,),
        },
    }
    for kind, settings in wrong.items():
        for name, values in settings.items():
            for value in values:
                with pytest.raises(ValueError, match=name):
                    kind(**{name: value})
    whole = NetworkSettings(scale=20), InputContract(spacing_mm=1, clip=(0, 10)), MaskSettings(skin_mm=0)
    assert [w.__class__ for w in whole] == list(wrong), "a whole number will do for any other"


def test_a_card_that_is_not_json(card):
    card.write_bytes(b"\xff\xfe not json")
    with pytest.raises(ModelError, match=r"small\.json is not a readable model card"):
        load_bundle(card)


def test_shipped_model_is_whole_and_small():
    bundle = load_bundle()
    files = list(bundle.path.parent.iterdir())
    assert sum(f.stat().st_size for f in files) < 20_000_000
    assert bundle.path.with_suffix(".safetensors").stat().st_size <= 10_000_000
    assert "simulated" in bundle.training_data
    assert bundle.contract.size == (170, 110, 64) and bundle.contract.spacing_mm == 2.2
    assert {"cohort", "seed", "command"} <= set(bundle.evidence)


def test_half_precision_answers_like_float32():
    """Probability pinned across precisions, on the shipped weights and a full-size input."""
    bundle = load_bundle()
    generator = torch.Generator().manual_seed(5)
    x = torch.rand((6, *bundle.contract.size), generator=generator).numpy()
    x[:, :, :, :30] = 0
    full = Predictor(bundle, "cpu", "float32").predict(x)
    auto = Predictor(bundle, "cpu", "auto").predict(x)
    assert abs(full.probability - auto.probability) < 0.05
    again = Predictor(bundle, "cpu", "auto").predict(x)
    assert again.logit == auto.logit and torch.equal(again.features, auto.features)


def test_a_processor_that_emulates_bfloat16_computes_in_float32(monkeypatch):
    """oneDNN says that it supports bfloat16 wherever there is AVX-512."""
    monkeypatch.setattr(inference.torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(inference.torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(inference.platform, "machine", lambda: "x86_64")
    for native, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native, raising=False
        )
        assert inference.fast_precision(torch.device("cpu")) == dtype


@pytest.mark.parametrize(
    "wrong, note",
    [
        (lambda y: y * 3 + 1, r"bfloat16 changed a test logit by \d+\.\d\d, so float32 is used\."),
        (lambda y: y * math.nan, r"bfloat16 gave no number for a test input, so float32 is used\."),
    ],
)
def test_wrong_half_precision_falls_back(card, monkeypatch, wrong, note):
    """A library that computes bfloat16 wrongly is noticed at load and not used."""
    monkeypatch.setattr("BreastCMSLLib.models.inference.fast_precision", lambda device: torch.bfloat16)
    # the fused convolutions are refused on processors without AVX-512
    monkeypatch.setattr("BreastCMSLLib.models.folding._onednn_fuses", lambda: False)
    honest = BreastNet.feature_map

    def broken(self, x):
        y = honest(self, x)
        return wrong(y) if x.dtype == torch.bfloat16 else y

    monkeypatch.setattr(BreastNet, "feature_map", broken)
    predictor = Predictor(load_bundle(card), "cpu")
    assert predictor.precision == "float32" and re.fullmatch(note, predictor.precision_note)


def test_missing_half_precision_falls_back(card, monkeypatch):
    """As on processors without AVX-512, where the convolutions that inference uses raise an error."""
    honest = FoldedConv.forward

    def refusing(self, x, *rest, **options):
        if x.dtype == torch.bfloat16:
            raise RuntimeError("bf16 path needs the cpu support avx512")
        return honest(self, x, *rest, **options)

    monkeypatch.setattr(FoldedConv, "forward", refusing)
    predictor = Predictor(load_bundle(card), "cpu", "bfloat16")
    reason = "bfloat16 is not computed by this processor and PyTorch"
    assert predictor.precision == "float32" and predictor.precision_note == f"{reason}, so float32 is used."
