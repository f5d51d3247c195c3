"""All of both breasts is read, however long they are, and a lesion weighs the same in an exam of any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import body_exam

from BreastCMSLLib.candidates.proposals import propose_candidates
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.models.pooling import pooled_cells
from BreastCMSLLib.network.attention import attention_map, cam, upsample
from BreastCMSLLib.network.resnet import BreastNet
from BreastCMSLLib.preprocessing import model_input as of_model
from BreastCMSLLib.preprocessing.breast_mask import BreastMask, MaskSettings
from BreastCMSLLib.preprocessing.model_input import InputContract, model_grid, preprocess
from BreastCMSLLib.results import record
from training.data import cache
from training.methods.exams import Exams
from training.recipes import Config

COARSE = InputContract(size=(85, 55, 32), spacing_mm=4.4, mask=MaskSettings(sigmas_mm=(4.4, 8.8)))
SPACING = (3.0, 3.0, 4.0)


def body_of(height_mm: float, lesion_ras=None):
    """A phantom whose breasts, 120 mm long as drawn, are as long as its field of view."""
    affine = np.diag([*SPACING, 1.0])
    shape = (112, 86, 40)
    drawn = body_exam(affine, shape, lesion_ras)
    stretched = affine.copy()
    stretched[2, 2] *= height_mm / (shape[2] * SPACING[2])
    phases = [
        replace(phase, volume=Volume(phase.volume.array, stretched)) for phase in (drawn.pre, *drawn.post)
    ]
    return replace(drawn, pre=phases[0], post=tuple(phases[1:]))


def mask_of(shape, box) -> BreastMask:
    weights = np.zeros(shape, np.float32)
    weights[box] = 1.0
    return BreastMask(Volume(weights, np.diag([4.4, 4.4, 4.4, 1.0])), shape[0] / 2, None)


@pytest.fixture(scope="module")
def long_input():
    return preprocess(body_of(260.0), COARSE)


def test_all_of_a_long_exam_lies_on_the_grid(long_input):
    lr, ap, si = long_input.array.shape[1:]
    assert (lr, ap) == COARSE.size[:2] and si * 4.4 > 180
    assert long_input.share_read == 1.0
    voxel_ml = 4.4**3 / 1000
    assert long_input.inside.sum() * voxel_ml == pytest.approx(long_input.mask_volume_ml, rel=1e-6)
    assert not any("not read" in warning for warning in long_input.warnings)


def test_what_is_too_large_is_cut_and_said(monkeypatch):
    monkeypatch.setattr(of_model, "LARGEST", (1.0, 1.0, 1.0))
    model_input = preprocess(body_of(260.0), COARSE)
    assert model_input.array.shape[1:] == COARSE.size and 0.4 < model_input.share_read < 0.95
    said = [warning for warning in model_input.warnings if "of the breast region was not read" in warning]
    assert len(said) == 1 and "374 × 242 × 141 mm" in said[0]
    assert f"{100 * (1 - model_input.share_read):.1f} %" in said[0]


def test_the_result_says_the_share_read(long_input):
    exam = body_of(260.0)
    assert record.exam_record(exam, long_input)["breast_region_read"] == 1.0
    assert record.exam_record(exam, replace(long_input, share_read=0.8))["breast_region_read"] == 0.8


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_the_grid_holds_the_whole_mask_or_as_much_as_it_may(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(20, (150, 100, 90))
    low = [int(rng.integers(0, n - 4)) for n in shape]
    box = tuple(slice(a, int(rng.integers(a + 2, n + 1))) for a, n in zip(low, shape))
    start, size, affine = model_grid(mask_of(shape, box), COARSE)
    assert np.allclose(affine[:3, 3], start * 4.4)
    for axis, (part, usual) in enumerate(zip(box, COARSE.size)):
        most = int(of_model.LARGEST[axis] * usual)
        assert usual <= size[axis] <= most
        if part.stop - part.start <= usual:
            assert size[axis] == usual, "no larger than needed"
        if part.stop - part.start <= most - 4:
            assert start[axis] <= part.start and part.stop <= start[axis] + size[axis]
        elif axis == 1:
            assert part.stop == start[axis] + size[axis], "cut at the back"


def test_the_window_follows_the_breasts_and_not_their_weight():
    """More tissue at one end does not draw the grid away from the other."""
    even = mask_of((90, 60, 60), np.s_[10:70, 10:50, 5:35])
    weights = even.weights.array.copy()
    weights[0:90, 5:58, 28:35] = 1.0
    heavy = replace(even, weights=even.weights.with_array(weights))
    assert model_grid(even, COARSE)[0][2] == model_grid(heavy, COARSE)[0][2]


# --- the network ---


@pytest.fixture(scope="module", params=["shipped", "power"])
def predictor(request) -> Predictor:
    """The shipped network on a small field of view, and its weights under power pooling."""
    bundle = load_bundle()
    if request.param == "power":
        settings = replace(bundle.network.settings, order="pool-classify", pooling="power")
        network = BreastNet(settings).eval()
        network.load_state_dict(bundle.network.state_dict())
        bundle = replace(bundle, network=network)
    return Predictor(replace(bundle, contract=replace(bundle.contract, size=(128, 96, 64))), "cpu", "float32")


def small_exam(size) -> torch.Tensor:
    """A ball of tissue with a brighter one in it that washes out."""
    grid = np.indices(size).astype(np.float32) - np.reshape(size, (3, 1, 1, 1)) / 2
    distance = np.sqrt((grid**2).sum(0))
    tissue = 0.3 * (distance < 24) * (1 + 0.2 * np.sin(grid.sum(0)))
    lesion = np.sqrt(((grid - np.reshape([6, 4, -3], (3, 1, 1, 1))) ** 2).sum(0)) < 8
    curve = np.linspace(3.0, 2.0, 6, dtype=np.float32)
    return torch.from_numpy(np.stack([tissue + height * lesion for height in curve]).astype(np.float32))


def placed(exam: torch.Tensor, size, offset) -> torch.Tensor:
    large = torch.zeros(len(exam), *size)
    large[(slice(None), *(slice(o, o + n) for o, n in zip(offset, exam.shape[1:])))] = exam
    return large


def test_a_small_exam_in_a_large_grid_gives_the_same_logit_and_map(predictor):
    size, offset, larger = predictor.bundle.contract.size, (16, 0, 48), (160, 96, 144)
    exam = small_exam(size)
    alone, within = predictor.predict(exam), predictor.predict(placed(exam, larger, offset))
    assert alone.pooled is None and int(within.pooled.sum()) == alone.features[0].numel()
    assert within.logit == pytest.approx(alone.logit, rel=0.05, abs=0.1)
    settings = predictor.bundle.network.settings
    with torch.inference_mode():
        of_all_cells = float(predictor.bundle.network.logit(within.features[None])[0])
    diluted = of_all_cells / predictor.bundle.temperature
    if settings.pooling != "max":  # of which empty cells take nothing
        assert abs(diluted - alone.logit) > 3 * abs(within.logit - alone.logit), "the test can fail"
    maps = [
        upsample(
            attention_map("COAMxCAM", p.features, p.cell_weight, settings.pooling, p.pooled),
            np.eye(4),
            settings.total_stride,
            shape,
        )
        for p, shape in ((alone, size), (within, larger))
    ]
    peak = np.unravel_index(maps[0].argmax(), size)
    assert np.array_equal(np.unravel_index(maps[1].argmax(), larger), np.add(peak, offset)), (
        "the map lies where the exam does"
    )


def test_an_exam_of_the_contracts_size_is_read_as_before(predictor):
    exam = small_exam(predictor.bundle.contract.size)
    network = predictor.bundle.network.eval()
    with torch.inference_mode():
        expected = float(network(exam[None])[0]) / predictor.bundle.temperature
    assert predictor.predict(exam).logit == pytest.approx(expected, abs=1e-3)
    assert predictor.predict(exam[:, :, :, :48]).pooled is None


def test_cam_is_the_logit_over_the_pooled_cells(predictor):
    network = predictor.bundle.network
    prediction = predictor.predict(placed(small_exam((128, 96, 64)), (128, 96, 128), (0, 0, 32)))
    share = cam(prediction.features, prediction.cell_weight, network.settings.pooling, prediction.pooled)
    logit = prediction.logit * predictor.bundle.temperature
    cells = share[prediction.pooled]
    pooled = cells.max() if network.settings.pooling == "max" else cells.mean()
    assert float((pooled + network.bias).detach()) == pytest.approx(logit, abs=1e-2)


def test_breasts_come_before_air_and_near_air_before_far():
    array = torch.zeros(1, 64, 64, 160)
    array[0, 8:40, 8:40, 30:100] = 1.0
    pooled = pooled_cells(array, (64, 64, 96), 16)
    assert int(pooled.sum()) == 4 * 4 * 6
    # cell i is centred on voxel 16·i
    assert pooled[1, 1, 2:7].all() and not pooled[:, :, 9].any()
    array[:] = 1.0
    assert pooled_cells(array, (64, 64, 96), 16).all(), "breasts that fill more are pooled whole"


# --- training ---


def test_the_cache_keeps_the_whole_exam_and_training_takes_a_window(long_input, tmp_path):
    short = preprocess(body_of(120.0), COARSE)
    paths = [tmp_path / "long.npz", tmp_path / "short.npz"]
    for path, model_input in zip(paths, (long_input, short)):
        cache.store(path, model_input, {"exam": path.stem, "label": 1}, size=COARSE.size)
    exam = cache.load(paths[0])
    assert exam.array.shape == long_input.array.shape and np.array_equal(exam.inside, long_input.inside)
    exams = Exams(paths, Config(tmp_path, spacing_mm=4.4))
    long, short_again = exams[0][0], exams[1][0]
    assert long.shape == short_again.shape == (6, *COARSE.size)
    low, high = exam.meta["window"][2]
    assert torch.equal(long, exam.array[:, :, :, low:high])
    filled = (exam.array != 0).any(0).sum((0, 1))
    held = [int(filled[n : n + high - low].sum()) for n in range(len(filled) - (high - low) + 1)]
    assert held[low] == max(held)


def test_a_lesion_at_either_end_of_a_long_exam_is_described(long_input):
    """Candidates are looked for in all of the mask."""
    slices = np.flatnonzero(long_input.inside.any((0, 1)))
    for end in (slices[0] + 3, slices[-1] - 3):
        layer = np.argwhere(long_input.inside[:, :, end])
        index = (*layer[len(layer) // 4], end)
        array = long_input.array.copy()
        array[(slice(None), *(slice(n - 1, n + 2) for n in index))] = 5.0
        array *= long_input.inside
        described = propose_candidates(
            array, long_input.inside, long_input.affine, 6.0, CandidateSettings(grid_mm=4.4)
        )
        place = apply_affine(long_input.affine, np.array(index))
        nearest = min(np.linalg.norm(np.subtract(c.ras_mm, place)) for c in described.candidates)
        assert nearest < 10
