"""The second reading: candidate places, the network that judges them, its training from exam labels, and its way into a bundle."""

import json
import shutil

import numpy as np
import pytest
import torch

from BreastCMSLLib import scoring as reading
from BreastCMSLLib.candidates import regions as localisation
from BreastCMSLLib.candidates.classifier import (
    CandidateNetwork,
    CandidateSettings,
    Proposals,
    coarsen,
    context_of,
    exam_logit,
    propose,
    together,
)
from BreastCMSLLib.candidates.features import CURVE, GROUPS, Surroundings, describe, group_of, names
from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput
from BreastCMSLLib.scoring import NEARLY, lesion_map, read
from training import evaluate, train, train_candidates
from training.data import cache
from training.recipes import Config
from training.runs import folder as runs

SHAPE = (40, 28, 20)
MINUTES = 6.0
TOLD = len(names(6))
WASHOUT, PERSISTENT = np.linspace(4, 2, 6), np.linspace(1, 3, 6)
TINY = NetworkSettings(width=4, blocks=(1, 1), strides=(1, 2), stem_kernel=1, stem_stride=1, pooling="power")


def breast(spots, seed=0, spacing=4.4, shape=SHAPE):
    """array, inside, affine: noise inside a box and blobs (centre in mm from the grid's corner, radius in mm, curve)."""
    rng = np.random.default_rng(seed)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -60.0, -40.0, -30.0
    inside = np.zeros(shape, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    array = (rng.normal(0.3, 0.05, (6, *shape)) * inside).astype(np.float32)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) * spacing
    for centre, radius, curve in spots:
        ball = np.linalg.norm(at - np.array(centre), axis=-1) <= radius
        array[:, ball & inside] += np.asarray(curve, dtype=np.float32)[:, None]
    return array, inside, affine


@pytest.mark.parametrize("logits", [[0.0, -1.0], [-9.0], [3.0, 3.0, -2.0], [-4.0] * 12])
def test_an_exam_holds_a_cancer_if_any_place_is_one(logits):
    chance = 1.0 - np.prod(1.0 / (1.0 + np.exp(np.array(logits, dtype=np.float64))))
    assert float(together(torch.tensor(logits))) == pytest.approx(np.log(chance / (1 - chance)), abs=1e-4)
    padded = torch.tensor([*logits, -torch.inf])
    assert float(together(padded)) == pytest.approx(float(together(torch.tensor(logits))), abs=1e-5)


def test_no_places_speak_against_a_cancer_and_very_sure_ones_stay_finite():
    assert float(together(torch.zeros(0))) < -5
    sure = torch.tensor([200.0, -300.0], requires_grad=True)
    together(sure).backward()
    assert torch.isfinite(together(sure)) and torch.isfinite(sure.grad).all()
    assert exam_logit(2.0, np.zeros(1, np.float32), CandidateSettings(mix=(0.5, 2.0, -1.0))) == pytest.approx(0.0, abs=1e-6)


def test_averaging_keeps_every_place():
    affine = np.array([[1.1, 0.1, 0, 7.0], [0, 1.1, 0, -3.0], [0.2, 0, 1.1, 2.0], [0, 0, 0, 1.0]])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (9, 8, 12)], indexing="ij"), axis=-1)
    where = apply_affine(affine, index.reshape(-1, 3)).T.reshape(3, 9, 8, 12)
    small, inside, wide = coarsen(where, np.ones((9, 8, 12), bool), affine, 4)
    assert small.shape == (3, 2, 2, 3) and inside.all()
    for cell in np.ndindex(2, 2, 3):
        assert np.allclose(small[(slice(None), *cell)], apply_affine(wide, np.array(cell)), atol=1e-4)


def test_places_are_found():
    settings = CandidateSettings(grid_mm=4.4, count=4)
    spots = [((66, 48.4, 44), 9, WASHOUT), ((123.2, 74.8, 35.2), 9, PERSISTENT), ((110, 35.2, 66), 6, WASHOUT)]
    array, inside, affine = breast(spots)
    found = propose(array, inside, affine, MINUTES, settings)
    for centre, _, _ in spots:
        gaps = [np.linalg.norm(np.subtract(p.ras_mm, np.add(centre, affine[:3, 3]))) for p in found.peaks]
        assert min(gaps) < 4.4
    assert found.measures.shape == (len(found.peaks), len(names(6)))
    assert np.isfinite(found.measures).all()


def test_measures_say_what_a_place_looks_like():
    """A round lesion that washes out, one with a dark centre that goes on rising, and a tube, told apart by the numbers' names."""
    spots = [((66, 48.4, 44), 10, WASHOUT), ((132, 74.8, 44), 14, PERSISTENT), ((132, 74.8, 44), 7, -0.8 * PERSISTENT)]
    spots += [((26.4 + 4.4 * n, 96.8, 66.0), 2, WASHOUT) for n in range(10)]
    array, inside, affine = breast(spots)
    found = propose(array, inside, affine, MINUTES, CandidateSettings(grid_mm=4.4, count=4))
    told = names(6)
    assert len(set(told)) == len(told)

    def at(centre):
        gaps = [np.linalg.norm(np.subtract(p.ras_mm, np.add(centre, affine[:3, 3]))) for p in found.peaks]
        return dict(zip(told, found.measures[int(np.argmin(gaps))].tolist()))

    washes, rises, tube = at((66, 48.4, 44)), at((132, 74.8, 44)), at((46, 96.8, 66.0))
    assert washes["wash-out of the curve"] > 0.2 and washes["share that washes out"] > 0.8
    assert rises["wash-out of the curve"] < 0 and rises["share that goes on rising"] > 0.8
    assert rises["rim"] < 0.8 < washes["rim"]
    assert tube["tubularity"] > 0.5 > washes["tubularity"], (tube, washes)
    assert rises["volume (log)"] > washes["volume (log)"] > tube["volume (log)"] or rises["extent"] > washes["extent"]
    assert washes["signal at 0-4.5 mm"] > 3 * washes["signal at 13.5-18 mm"]
    assert np.isfinite(found.measures).all()
    assert {group_of(name) for name in told} == set(GROUPS)


def test_measures_say_how_far_a_place_stands_out_from_what_lies_about_it():
    """One lesion in quiet tissue, in tissue that varies, and in tissue that enhances later than it: only the number meant answers."""
    index, centre = (15, 11, 10), (66, 48.4, 44)
    late = np.linspace(0.2, 1.2, 6)

    def told(noise, background):
        array, inside, affine = breast([(centre, 9, WASHOUT)])
        array += (np.random.default_rng(1).normal(0, noise, (1, *SHAPE)) * inside).astype(np.float32)
        far = np.linalg.norm((np.stack(np.indices(SHAPE), -1) - index) * 4.4, axis=-1) > 13.5
        array[:, far & inside] += background[:, None].astype(np.float32)
        around = Surroundings.of(array, inside, affine)
        return dict(zip(names(6), describe(around, index, apply_affine(affine, np.array(index)), None, 0.0).tolist()))

    quiet, varied, later = told(0.0, np.zeros(6)), told(0.5, np.zeros(6)), told(0.0, late)
    assert quiet["stands out early from 9-18 mm"] > 8 and 3 < varied["stands out on average from 9-18 mm"] < 7
    assert quiet["share of the exam that is brighter"] < -2 and quiet["share of the exam that stands out more"] < -2
    for shell in ("9-13.5 mm", "13.5-18 mm", "18-24 mm"):
        assert varied[f"spread at {shell}"] > 3 * quiet[f"spread at {shell}"]
        high = (varied[f"95th percentile at {shell}"] - varied[f"signal at {shell}"]) / varied[f"spread at {shell}"]
        assert high == pytest.approx(1.64, abs=0.6)
    curve = np.array([later[f"surroundings at phase {n + 1}"] for n in range(6)])
    assert np.allclose(curve, (0.3 + late) / 1.5, atol=0.02)
    both = told(0.5, late)
    assert both["stands out at last from 13.5-24 mm"] < both["stands out early from 13.5-24 mm"] - 1 < 8


def test_reasons_are_what_the_logit_owes_each_group():
    torch.manual_seed(0)
    network = CandidateNetwork().eval()
    told = np.array([group_of(name) for name in names(6)])
    with torch.no_grad():  # a network that looks at the curve alone, and at the exam's other places
        for judge in network.judges:
            judge[0].weight[:, : len(told)][:, torch.from_numpy(told != "curve and wash-out")] = 0
    measures = np.random.default_rng(0).normal(size=(3, len(told))).astype(np.float32)
    found = Proposals([], [], measures, np.eye(4), MINUTES)
    reasons = network.reasons(found, 1)
    assert next(iter(reasons)) == "curve and wash-out" and set(reasons) == set(GROUPS)
    assert all(abs(value) < 1e-6 for group, value in reasons.items() if group != "curve and wash-out")
    with torch.no_grad():
        place, nothing = network.standard(torch.from_numpy(measures[1:2]))[0], torch.zeros(len(told))
        around = network.standard(context_of(measures, MINUTES))[0]
        views = [
            [float(judge(torch.cat([of, around]) * shown)) for judge, shown in zip(network.judges, network.shown)]
            for of in (place, nothing)
        ]
        alone, rest = (float(np.mean(view)) for view in views)
        whole = float(network.logits(found)[1][1])
    assert whole == pytest.approx(alone, abs=1e-5)
    assert reasons["curve and wash-out"] == pytest.approx(alone - rest, abs=1e-5)


def test_an_exam_of_unknown_length_counts_as_one_of_ordinary_length():
    """And a length that is known changes what a wash-out is worth."""
    torch.manual_seed(0)
    network = CandidateNetwork().eval()
    network.mean[-1], network.spread[-1] = float(np.log(MINUTES)), 0.4
    measures = np.random.default_rng(0).normal(size=(3, len(names(6)))).astype(np.float32)

    def logits(minutes):
        return np.stack(network.logits(Proposals([], [], measures, np.eye(4), minutes)))

    assert np.allclose(logits(None), logits(MINUTES), atol=1e-6)
    assert not np.allclose(logits(12.0), logits(MINUTES), atol=1e-3)
    assert np.array_equal(logits(5000.0), logits(50.0)), "farther out than any training exam: as the farthest"


def test_judges_learn_each_for_itself_and_speak_together():
    torch.manual_seed(0)
    network = CandidateNetwork(CandidateSettings(judges=3, blind=2))
    made = [np.random.default_rng(n).normal(size=(4, TOLD)).astype(np.float32) for n in range(6)]
    data = train_candidates.as_bags([(measures, n % 2, MINUTES) for n, measures in enumerate(made)])
    exams = torch.arange(6)
    assert train_candidates.exam_logits(network, data, exams).shape == (5, 6)
    network.eval()
    each = network.each(data.measures, data.context[data.exam]).detach()
    sighted = each[:3].mean(0)
    assert torch.allclose(network(data.measures, data.context[data.exam]), sighted) and float(each.std(0).min()) > 0
    assert train_candidates.exam_logits(network, data, exams).shape == (1, 6)
    assert np.allclose(train_candidates.validate(network, data), [float(together(sighted[4 * n : 4 * n + 4])) for n in range(6)], atol=1e-5)
    of_exam, of_places = network.logits(Proposals([], [], made[1], np.eye(4), MINUTES))
    assert np.allclose(of_exam, sighted[4:8], atol=1e-5) and np.allclose(of_places, each.mean(0)[4:8], atol=1e-5)


def test_blind_judges_do_not_see_the_curve_and_the_others_do():
    torch.manual_seed(0)
    network = CandidateNetwork(CandidateSettings(judges=2, blind=2)).eval()
    curve = torch.tensor([group_of(name) == CURVE for name in names(6)])
    assert 20 < int(curve.sum()) < TOLD / 2
    place, context = torch.randn(1, TOLD), torch.randn(1, TOLD + 1)
    before = network.each(place, context)
    changed = (network.each(place + curve, context), network.each(place, context + torch.cat([curve, torch.tensor([False])])))
    for after in changed:
        assert torch.equal(after[2:], before[2:]) and not torch.isclose(after[:2], before[:2], atol=1e-4).any()
    assert not torch.isclose(network.each(place + ~curve, context)[2:], before[2:], atol=1e-4).any()
    network.train()  # nor the noise that stands in its place
    torch.manual_seed(1)
    network.each(place, context)[2].sum().backward()
    pull = network.judges[2][0].weight.grad
    assert not pull[:, :TOLD][:, curve].any() and pull[:, :TOLD][:, ~curve].any()


def test_a_tenth_of_the_exams_is_learned_from_without_their_length():
    data = train_candidates.as_bags([(np.zeros((2, TOLD), np.float32), 1, MINUTES)] * 1000)
    lasted = train_candidates.forgetting(data, 0).context[:, -1]
    assert 0.07 < float(lasted.isnan().float().mean()) < 0.13
    assert torch.equal(data.context[:, -1], torch.full((1000,), float(np.log(MINUTES)))), "the exams given are not changed"


@pytest.mark.parametrize("lengths", [[None] * 6, [6.0] * 6])
def test_a_length_that_taught_nothing_decides_nothing(lengths):
    """No exam told it, or all lasted as long: the weights of it are as random as they were made."""
    data = train_candidates.as_bags(
        [(np.random.default_rng(n).normal(size=(4, TOLD)).astype(np.float32), n % 2, minutes) for n, minutes in enumerate(lengths)]
    )
    network = train_candidates._new(CandidateSettings(), 0, data).eval()
    measures = np.random.default_rng(9).normal(size=(3, TOLD)).astype(np.float32)
    unknown, known = (np.stack(network.logits(Proposals([], [], measures, np.eye(4), minutes))) for minutes in (None, 6.1))
    assert np.allclose(unknown, known, atol=0.01)


def test_a_finer_input_gives_the_same_places():
    spots = [((66, 48.4, 44), 12, WASHOUT), ((123.2, 74.8, 35.2), 10, PERSISTENT)]
    coarse = propose(*breast(spots), MINUTES, CandidateSettings(grid_mm=4.4, count=2))
    fine = propose(*breast(spots, spacing=1.1, shape=tuple(4 * n for n in SHAPE)), MINUTES, CandidateSettings(grid_mm=4.4, count=2))
    for (centre, _, curve), name in zip(spots, "ab"):
        place = np.add(centre, (-60.0, -40.0, -30.0))
        for found in (coarse, fine):
            nearest = int(np.argmin([np.linalg.norm(np.subtract(p.ras_mm, place)) for p in found.peaks]))
            assert np.linalg.norm(np.subtract(found.peaks[nearest].ras_mm, place)) < 4.4, name
            assert np.allclose(found.measures[nearest, :6], np.add(curve, 0.3) / max(np.add(curve, 0.3)), atol=0.12)


def test_grids_that_do_not_fit_and_empty_masks():
    array, inside, affine = breast([], spacing=3.0)
    with pytest.raises(InputError, match="2.2 mm"):
        propose(array, inside, affine, MINUTES, CandidateSettings())
    array, inside, affine = breast([])
    none = propose(array, np.zeros_like(inside), affine, MINUTES, CandidateSettings(grid_mm=4.4))
    assert none.peaks == [] and CandidateNetwork().eval().logits(none)[1].shape == (0,)


@pytest.mark.parametrize(
    "change",
    [{"hidden": 0}, {"judges": 0}, {"blind": -1}, {"separation_mm": "far"}, {"count": True}, {"grid_mm": float("nan")}, {"mix": (1, 2)}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="of the candidates"):
        CandidateSettings(**change)


def test_a_bundle_carries_both_readings(tmp_path):
    torch.manual_seed(3)
    candidates = CandidateNetwork(CandidateSettings(grid_mm=4.4, hidden=8, count=4, mix=(0.25, 1.5, -0.5))).eval()
    contract = InputContract(size=SHAPE, spacing_mm=4.4)
    told = {"threshold": 0.5, "temperature": 2.0, "description": "d", "training_data": "t", "evidence": {}}
    path = save_bundle(tmp_path, "both", BreastNet(TINY).eval(), contract, candidates=candidates, **told)
    bundle = load_bundle(path)
    assert bundle.candidates.settings == candidates.settings
    array, inside, affine = breast([((66, 48.4, 44), 9, WASHOUT), ((123.2, 74.8, 35.2), 9, PERSISTENT)])
    found = propose(array, inside, affine, MINUTES, candidates.settings)
    assert np.allclose(np.stack(bundle.candidates.logits(found)), np.stack(candidates.logits(found)), atol=2e-2)

    reading = read(Predictor(bundle, "cpu", "float32"), array, inside, affine, MINUTES)
    logits, of_places = bundle.candidates.logits(found)
    expected = (0.25 * 2.0 * reading.prediction.logit + 1.5 * float(together(torch.from_numpy(logits))) - 0.5) / 2.0
    assert reading.logit == pytest.approx(expected, abs=1e-5)
    chances = [peak.probability for peak, _ in reading.places]
    assert max(chances) == pytest.approx(1 / (1 + np.exp(-of_places.max())), abs=1e-6)
    assert chances[1:] == sorted(chances[1:], reverse=True) and chances[0] >= NEARLY * max(chances)
    heat = lesion_map(reading.places, array[:2].mean(0).clip(0), inside)
    assert heat.max() == pytest.approx(1.0, abs=1e-6) and heat[~inside].max() == 0
    assert heat[reading.places[0][0].index] == pytest.approx(1.0, abs=0.2)

    card = json.loads(path.read_text())
    for change in ({"hidden": 5}, {"judges": 6}, {"judges": 1}, {"count": 0}, {"phases": 4}, {"mix": ["a", 1, 1]}, {"unknown": 1}):
        path.write_text(json.dumps({**card, "candidates": {**card["candidates"], **change}}))
        with pytest.raises(ModelError, match="both.json"):
            load_bundle(path)
    path.write_text(json.dumps({**card, "candidates": None}))
    with pytest.raises(ModelError, match="too many"):
        load_bundle(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a tiny network on exams with one lesion each: those that wash out are malignant."""
    root, rows = tmp_path_factory.mktemp("candidates"), []
    folder = root / "cache"
    contract = InputContract(size=SHAPE, spacing_mm=4.4)
    cache.write_cache(folder, contract, "simulated:tiny")
    for n in range(96):
        rng = np.random.default_rng(n)
        label, centre = n % 2, rng.uniform((30, 30, 25), (140, 90, 60))
        distractor = rng.uniform((30, 30, 25), (140, 90, 60))
        array, inside, affine = breast([(distractor, 7, 2 * PERSISTENT), (centre, 9, WASHOUT if label else PERSISTENT)], seed=n)
        row = {"exam": f"e{n}", "patient": f"p{n}", "label": label, "split": "train" if n < 48 else "validate" if n < 72 else "test"}
        lesion = {"ras_mm": np.add(centre, affine[:3, 3]).tolist(), "radius_mm": 9.0, "malignant": bool(label)}
        made = ModelInput(array, affine, inside, 1.0, float(SHAPE[0] / 2), "pre", 100.0, (), MINUTES)
        cache.store(cache.exam_path(folder, row["exam"]), made, {**row, "lesions": [lesion]})
        rows.append(row)
    cache.write_index(folder, rows)
    train.train("smoke", Config(root / "run", cache=folder, spacing_mm=4.4, network=TINY, epochs=1, batch=8, precision="no"))
    return root / "run"


ARGUMENTS = ["--epochs", "12", "--batch", "8", "--count", "4", "--workers", "1", "--rate", "0.01"]


def test_labels_of_exams_teach_which_place_is_the_cancer(run, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert runs.load_run(folder).candidates is None
    assert train_candidates.main([str(folder), *ARGUMENTS]) == 0
    history = runs.read_rows(folder / "candidates" / "metrics.csv")
    assert len(history) == 12 and float(history[-1]["validation_auc"]) > 0.9
    held = runs.load_run(folder)
    found = 0
    for n in range(73, 96, 2):
        exam = cache.load(cache.exam_path(run.parent / "cache", f"e{n}"))
        reading = read(evaluate.draft_predictor(held), exam.array.float().numpy(), exam.inside, np.array(exam.meta["affine"]), MINUTES)
        found += np.linalg.norm(np.subtract(reading.places[0][0].ras_mm, exam.meta["lesions"][0]["ras_mm"])) < 9
    assert found >= 10  # of 12, beside a brighter distractor

    result = evaluate.evaluate(folder)
    assert result["evidence"]["localisation"]["LESION"]["mean_mm"] < result["evidence"]["localisation"]["COAM"]["mean_mm"]
    assert set(result["evidence"]["network_alone"]) >= {"auc", "auc_95"}
    assert load_bundle(result["bundle"]["file"]).candidates is not None
    capsys.readouterr()
    assert train_candidates.main([str(folder), *ARGUMENTS, "--seed", "1"]) == 2
    assert "another seed" in capsys.readouterr().err

    # interrupted after the third epoch, it reaches the same weights
    again = shutil.copytree(run, tmp_path / "again")
    whole, calls = train_candidates.train_epoch, []

    def breaks(*arguments):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(train_candidates, "train_epoch", breaks)
    with pytest.raises(KeyboardInterrupt):
        train_candidates.main([str(again), *ARGUMENTS])
    assert runs.load_candidates(again) is None
    monkeypatch.setattr(train_candidates, "train_epoch", whole)
    assert train_candidates.main([str(again), *ARGUMENTS]) == 0
    first, second = runs.load_candidates(folder).state_dict(), runs.load_candidates(again).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)

    # a run on finer voxels that starts from this one takes its second reading along; a damaged one is named
    (again / "candidates" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="train_candidates"):
        runs.load_run(again)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_coarsening_is_bit_for_bit_the_mean_over_blocks(factor):
    rng = np.random.default_rng(factor)
    array, inside = rng.normal(size=(3, 22, 17, 13)).astype(np.float32), rng.random((22, 17, 13)) < 0.5
    size = [n // factor for n in inside.shape]
    kept = tuple(slice(0, n * factor) for n in size)
    blocks = [n for count in size for n in (count, factor)]
    small, filled, _ = coarsen(array, inside, np.eye(4), factor)
    assert np.array_equal(small, array[(slice(None), *kept)].reshape(3, *blocks).mean(axis=(2, 4, 6), dtype=np.float32))
    assert np.array_equal(filled, inside[kept].reshape(blocks).mean(axis=(1, 3, 5)) >= 0.5)


def test_between_equally_probable_places_the_larger_comes_first():
    assert reading._order(np.array([0.2, 0.97, 0.98, 0.5]), [9.0, 3.5, 0.5, 9.0]) == [1, 2, 3, 0]
    assert reading._order(np.array([0.90, 0.98]), [9.0, 0.5]) == [1, 0], "not so close"
    assert reading._order(np.zeros(0), []) == []


def test_a_lesion_that_runs_into_bright_tissue_is_told_from_it():
    """A ball against a long bar that is half as bright: at half the height they are one, and its centre lies in the bar."""
    affine = np.diag([2.2, 2.2, 2.2, 1.0])
    signal = np.zeros((60, 40, 40), np.float32)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in signal.shape], indexing="ij"), axis=-1)
    signal[12:40, 14:26, 14:26] = 0.65
    away = np.linalg.norm(at - (12, 20, 20), axis=-1)
    signal[away <= 4] = 1.0 - 0.02 * away[away <= 4]
    inside, place = np.ones(signal.shape, bool), np.array([12, 20, 20]) * 2.2
    peak = localisation.candidates(signal, inside, affine, count=1)[0]
    wide = localisation.snap([peak], signal, inside, affine, search_mm=6.0)[0][0]
    close = localisation.snap([peak], signal, inside, affine, search_mm=6.0, within_mm=localisation.FAR_MM)[0][0]
    assert np.linalg.norm(wide.ras_mm - place) > localisation.FAR_MM > 3 > np.linalg.norm(close.ras_mm - place)
