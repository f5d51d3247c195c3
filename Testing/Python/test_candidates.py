"""Candidates: where they are found, their features, the classifier, its training from exam labels, its way
into a bundle."""

import json

import numpy as np
import pytest
import torch
from builders import TINY

from BreastCMSLLib import scoring
from BreastCMSLLib.candidates.candidate import Candidate, Region
from BreastCMSLLib.candidates.classifier import (
    NO_CANDIDATE,
    CandidateClassifier,
    aggregate,
    context_of,
    exam_logit,
    noisy_or,
)
from BreastCMSLLib.candidates.features import CURVE, GROUPS, ExamContext, feature_groups, measure_features
from BreastCMSLLib.candidates.peaks import find_peaks
from BreastCMSLLib.candidates.proposals import coarsen, propose_candidates
from BreastCMSLLib.candidates.regions import FAR_MM, snap
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.resnet import BreastNet
from BreastCMSLLib.preprocessing.model_input import InputContract
from BreastCMSLLib.scoring import NEARLY, lesion_map, score_exam

SHAPE = (40, 28, 20)
DURATION_MIN = 6.0
FEATURES = tuple(feature_groups(6))
COUNT = len(FEATURES)
WASHOUT, PERSISTENT = np.linspace(4, 2, 6), np.linspace(1, 3, 6)


def breast(spots, seed=0, spacing=4.4, shape=SHAPE):
    """array, inside, affine: noise inside a box and blobs (centre in mm from the grid's corner, radius in mm,
    curve)."""
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
def test_an_exam_holds_a_cancer_if_any_candidate_is_one(logits):
    chance = 1.0 - np.prod(1.0 / (1.0 + np.exp(np.array(logits, dtype=np.float64))))
    assert float(noisy_or(torch.tensor(logits))) == pytest.approx(np.log(chance / (1 - chance)), abs=1e-4)
    padded = torch.tensor([*logits, -torch.inf])
    assert float(noisy_or(padded)) == pytest.approx(float(noisy_or(torch.tensor(logits))), abs=1e-5)


def test_no_candidates_speak_against_a_cancer_and_very_sure_ones_stay_finite():
    assert float(noisy_or(torch.zeros(0))) < -5
    sure = torch.tensor([200.0, -300.0], requires_grad=True)
    noisy_or(sure).backward()
    assert torch.isfinite(noisy_or(sure)) and torch.isfinite(sure.grad).all()
    assert exam_logit(2.0, np.zeros(1, np.float32), CandidateSettings(mix=(0.5, 2.0, -1.0))) == pytest.approx(
        0.0, abs=1e-6
    )


@pytest.mark.parametrize("sharpness", [2.0, 3.0, 20.0])
def test_many_mild_candidates_are_no_suspicion_and_one_strong_one_is(sharpness):
    def exam(*probabilities):
        logits = torch.logit(torch.tensor(probabilities))
        return float(torch.sigmoid(aggregate(logits, sharpness)))

    assert (
        exam(*[0.03] * 40) < 0.2 < 0.6 < float(torch.sigmoid(noisy_or(torch.logit(torch.full((40,), 0.03)))))
    )
    assert exam(0.9, *[0.03] * 39) == pytest.approx(0.9, abs=0.01)
    assert exam(0.5, 0.5) > 0.5, "two suspicions are more than one"


def test_the_gradient_of_the_aggregation_reaches_every_candidate_and_the_sharpness():
    table = torch.tensor([[1.0, -1.0, -torch.inf], [-torch.inf] * 3], requires_grad=True)
    sharpness = torch.tensor(2.0, requires_grad=True)
    logits = aggregate(table, sharpness)
    logits.sum().backward()
    nothing = float(aggregate(torch.zeros(0), 2.0))
    assert float(logits[1].detach()) == nothing == pytest.approx(NO_CANDIDATE)
    assert torch.isfinite(table.grad).all() and float(sharpness.grad) < 0
    assert float(table.grad[0, 0]) > float(table.grad[0, 1]) > 0
    assert float(table.grad[0].sum()) == pytest.approx(1.0)


def test_averaging_keeps_every_point():
    affine = np.array([[1.1, 0.1, 0, 7.0], [0, 1.1, 0, -3.0], [0.2, 0, 1.1, 2.0], [0, 0, 0, 1.0]])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (9, 8, 12)], indexing="ij"), axis=-1)
    where = apply_affine(affine, index.reshape(-1, 3)).T.reshape(3, 9, 8, 12)
    small, inside, wide = coarsen(where, np.ones((9, 8, 12), bool), affine, 4)
    assert small.shape == (3, 2, 2, 3) and inside.all()
    for cell in np.ndindex(2, 2, 3):
        assert np.allclose(small[(slice(None), *cell)], apply_affine(wide, np.array(cell)), atol=1e-4)


def test_candidates_are_found():
    settings = CandidateSettings(grid_mm=4.4, count=4)
    spots = [
        ((66, 48.4, 44), 9, WASHOUT),
        ((123.2, 74.8, 35.2), 9, PERSISTENT),
        ((110, 35.2, 66), 6, WASHOUT),
    ]
    array, inside, affine = breast(spots)
    described = propose_candidates(array, inside, affine, DURATION_MIN, settings)
    for centre, _, _ in spots:
        gaps = [
            np.linalg.norm(np.subtract(p.ras_mm, np.add(centre, affine[:3, 3]))) for p in described.candidates
        ]
        assert min(gaps) < 4.4
    assert described.features.shape == (len(described.candidates), len(FEATURES))
    assert np.isfinite(described.features).all()


def test_features_say_what_a_candidate_looks_like():
    """A round lesion that washes out, one with a dark centre that goes on rising, and a tube, told apart by
    the features' names."""
    spots = [
        ((66, 48.4, 44), 10, WASHOUT),
        ((132, 74.8, 44), 14, PERSISTENT),
        ((132, 74.8, 44), 7, -0.8 * PERSISTENT),
    ]
    spots += [((26.4 + 4.4 * n, 96.8, 66.0), 2, WASHOUT) for n in range(10)]
    array, inside, affine = breast(spots)
    described = propose_candidates(
        array, inside, affine, DURATION_MIN, CandidateSettings(grid_mm=4.4, count=4)
    )

    def at(centre):
        gaps = [
            np.linalg.norm(np.subtract(p.ras_mm, np.add(centre, affine[:3, 3]))) for p in described.candidates
        ]
        return dict(zip(FEATURES, described.features[int(np.argmin(gaps))].tolist()))

    washes, rises, tube = at((66, 48.4, 44)), at((132, 74.8, 44)), at((46, 96.8, 66.0))
    assert washes["wash-out of the curve"] > 0.2 and washes["share that washes out"] > 0.8
    assert rises["wash-out of the curve"] < 0 and rises["share that goes on rising"] > 0.8
    assert rises["rim"] < 0.8 < washes["rim"]
    assert tube["tubularity"] > 0.5 > washes["tubularity"], (tube, washes)
    assert rises["volume (log)"] > washes["volume (log)"] and rises["extent"] > washes["extent"]
    assert washes["signal at 0-4.5 mm"] > 3 * washes["signal at 13.5-18 mm"]
    assert np.isfinite(described.features).all()
    assert set(feature_groups(6).values()) == set(GROUPS)


def test_features_say_how_far_a_candidate_stands_out_from_what_lies_about_it():
    """One lesion in quiet tissue, in tissue that varies, and in tissue that enhances later than it: only the
    feature meant answers."""
    index, centre = (15, 11, 10), (66, 48.4, 44)
    late = np.linspace(0.2, 1.2, 6)

    def features(noise, background):
        array, inside, affine = breast([(centre, 9, WASHOUT)])
        array += (np.random.default_rng(1).normal(0, noise, (1, *SHAPE)) * inside).astype(np.float32)
        far = np.linalg.norm((np.stack(np.indices(SHAPE), -1) - index) * 4.4, axis=-1) > 13.5
        array[:, far & inside] += background[:, None].astype(np.float32)
        candidate = Candidate(tuple(apply_affine(affine, np.array(index))), 1.0, index)
        return measure_features(ExamContext.of(array, inside, affine), candidate, 0.0)

    quiet, varied, later = features(0.0, np.zeros(6)), features(0.5, np.zeros(6)), features(0.0, late)
    assert quiet["stands out early from 9-18 mm"] > 8 and 3 < varied["stands out on average from 9-18 mm"] < 7
    assert (
        quiet["share of the exam that is brighter"] < -2
        and quiet["share of the exam that stands out more"] < -2
    )
    for shell in ("9-13.5 mm", "13.5-18 mm", "18-24 mm"):
        assert varied[f"spread at {shell}"] > 3 * quiet[f"spread at {shell}"]
        high = (varied[f"95th percentile at {shell}"] - varied[f"signal at {shell}"]) / varied[
            f"spread at {shell}"
        ]
        assert high == pytest.approx(1.64, abs=0.6)
    curve = np.array([later[f"surroundings at phase {n + 1}"] for n in range(6)])
    assert np.allclose(curve, (0.3 + late) / 1.5, atol=0.02)
    both = features(0.5, late)
    assert both["stands out at last from 13.5-24 mm"] < both["stands out early from 13.5-24 mm"] - 1 < 8


def test_reasons_are_what_the_logit_owes_each_group():
    torch.manual_seed(0)
    network = CandidateClassifier().eval()
    curve = torch.from_numpy(network.groups == CURVE)
    with torch.no_grad():  # a network that looks at the curve alone, and at the exam's other candidates
        for member in network.members:
            member[0].weight[:, :COUNT][:, ~curve] = 0
    features = np.random.default_rng(0).normal(size=(3, COUNT)).astype(np.float32)
    reasons = network.reasons(features, DURATION_MIN, 1)
    assert next(iter(reasons)) == CURVE and set(reasons) == set(GROUPS)
    assert all(abs(value) < 1e-6 for group, value in reasons.items() if group != CURVE)
    with torch.no_grad():
        own, mean = network.standardise(torch.from_numpy(features[1:2]))[0], torch.zeros(COUNT)
        context = network.standardise(context_of(features, DURATION_MIN))[0]

        def logit_of(view):
            members = zip(network.members, network.seen)
            return float(
                np.mean([float(member(torch.cat([view, context]) * seen)) for member, seen in members])
            )

        whole = float(network.logits(features, DURATION_MIN)[1][1])
        assert whole == pytest.approx(logit_of(own), abs=1e-5)
        assert reasons[CURVE] == pytest.approx(logit_of(own) - logit_of(mean), abs=1e-5)


def test_an_exam_of_unknown_duration_counts_as_one_of_ordinary_duration():
    """And a duration that is known changes what a wash-out is worth."""
    torch.manual_seed(0)
    network = CandidateClassifier().eval()
    network.mean[-1], network.spread[-1] = float(np.log(DURATION_MIN)), 0.4
    features = np.random.default_rng(0).normal(size=(3, COUNT)).astype(np.float32)

    def logits(duration_min):
        return np.stack(network.logits(features, duration_min))

    assert np.allclose(logits(None), logits(DURATION_MIN), atol=1e-6)
    assert not np.allclose(logits(12.0), logits(DURATION_MIN), atol=1e-3)
    assert np.array_equal(logits(5000.0), logits(50.0)), "farther out than any training exam: as the farthest"


def test_members_without_curve_do_not_see_it_and_the_others_do():
    torch.manual_seed(0)
    network = CandidateClassifier(CandidateSettings(members=2, members_without_curve=2)).eval()
    curve = torch.from_numpy(network.groups == CURVE)
    assert 20 < int(curve.sum()) < COUNT / 2
    place, context = torch.randn(1, COUNT), torch.randn(1, COUNT + 1)
    before = network.member_logits(place, context)
    changed = (
        network.member_logits(place + curve, context),
        network.member_logits(place, context + torch.cat([curve, torch.tensor([False])])),
    )
    for after in changed:
        assert (
            torch.equal(after[2:], before[2:]) and not torch.isclose(after[:2], before[:2], atol=1e-4).any()
        )
    assert not torch.isclose(network.member_logits(place + ~curve, context)[2:], before[2:], atol=1e-4).any()
    network.train()  # nor the noise that stands in its place
    torch.manual_seed(1)
    network.member_logits(place, context)[2].sum().backward()
    pull = network.members[2][0].weight.grad
    assert not pull[:, :COUNT][:, curve].any() and pull[:, :COUNT][:, ~curve].any()


def test_a_finer_input_gives_the_same_candidates():
    spots = [((66, 48.4, 44), 12, WASHOUT), ((123.2, 74.8, 35.2), 10, PERSISTENT)]
    coarse = propose_candidates(*breast(spots), DURATION_MIN, CandidateSettings(grid_mm=4.4, count=2))
    fine = propose_candidates(
        *breast(spots, spacing=1.1, shape=tuple(4 * n for n in SHAPE)),
        DURATION_MIN,
        CandidateSettings(grid_mm=4.4, count=2),
    )
    for (centre, _, curve), name in zip(spots, "ab"):
        point = np.add(centre, (-60.0, -40.0, -30.0))
        for described in (coarse, fine):
            nearest = int(
                np.argmin([np.linalg.norm(np.subtract(c.ras_mm, point)) for c in described.candidates])
            )
            assert np.linalg.norm(np.subtract(described.candidates[nearest].ras_mm, point)) < 4.4, name
            assert np.allclose(
                described.features[nearest, :6], np.add(curve, 0.3) / max(np.add(curve, 0.3)), atol=0.12
            )


def test_grids_that_do_not_fit_and_empty_masks():
    array, inside, affine = breast([], spacing=3.0)
    with pytest.raises(InputError, match="2.2 mm"):
        propose_candidates(array, inside, affine, DURATION_MIN, CandidateSettings())
    array, inside, affine = breast([])
    none = propose_candidates(
        array, np.zeros_like(inside), affine, DURATION_MIN, CandidateSettings(grid_mm=4.4)
    )
    assert none.candidates == [] and CandidateClassifier().eval().logits(none.features, None)[1].shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 0},
        {"members": 0},
        {"members_without_curve": -1},
        {"separation_mm": "far"},
        {"count": True},
        {"grid_mm": float("nan")},
        {"mix": (1, 2)},
        {"sharpness": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        CandidateSettings(**change)


def test_a_feature_is_known_by_its_name_not_by_its_place():
    """Exchanged in the list, the values are exchanged too; a feature of another version is refused."""
    exchanged = list(FEATURES)
    rim, tube = FEATURES.index("rim"), FEATURES.index("tubularity")
    exchanged[rim], exchanged[tube] = exchanged[tube], exchanged[rim]
    exam = breast([((66, 48.4, 44), 9, WASHOUT)])
    plain = propose_candidates(*exam, DURATION_MIN, CandidateSettings(grid_mm=4.4, count=2)).features
    other = propose_candidates(
        *exam, DURATION_MIN, CandidateSettings(grid_mm=4.4, count=2, features=tuple(exchanged))
    ).features
    assert np.array_equal(plain[:, rim], other[:, tube]) and np.array_equal(plain[:, tube], other[:, rim])
    assert not np.array_equal(plain, other)
    fewer = propose_candidates(
        *exam, DURATION_MIN, CandidateSettings(grid_mm=4.4, count=2, features=FEATURES[1:])
    ).features
    assert np.array_equal(fewer, plain[:, 1:]), "trained before a feature came"
    with pytest.raises(ValueError, match="spikes"):
        CandidateSettings(features=(*FEATURES, "spikes"))
    for features in ((*FEATURES, FEATURES[0]), ()):
        with pytest.raises(ValueError, match="once"):
            CandidateSettings(features=features)


def test_a_bundle_carries_network_and_candidates(tmp_path):
    torch.manual_seed(3)
    settings = CandidateSettings(grid_mm=4.4, hidden=8, count=4, mix=(0.25, 1.5, -0.5))
    candidates = CandidateClassifier(settings).eval()
    contract = InputContract(size=SHAPE, spacing_mm=4.4)
    about = {"threshold": 0.5, "temperature": 2.0, "description": "d", "training_data": "t", "evidence": {}}
    path = save_bundle(tmp_path, "both", BreastNet(TINY).eval(), contract, candidates=candidates, **about)
    bundle = load_bundle(path)
    assert bundle.candidates.settings == settings
    array, inside, affine = breast([((66, 48.4, 44), 9, WASHOUT), ((123.2, 74.8, 35.2), 9, PERSISTENT)])
    features = propose_candidates(array, inside, affine, DURATION_MIN, settings).features
    of_exam, of_candidates = bundle.candidates.logits(features, DURATION_MIN)
    assert np.allclose(
        (of_exam, of_candidates), np.stack(candidates.logits(features, DURATION_MIN)), atol=2e-2
    )

    score = score_exam(Predictor(bundle, "cpu", "float32"), array, inside, affine, DURATION_MIN)
    aggregated = float(noisy_or(torch.from_numpy(of_exam)))
    expected = (0.25 * 2.0 * score.prediction.logit + 1.5 * aggregated - 0.5) / 2.0
    assert score.logit == pytest.approx(expected, abs=1e-5)
    probabilities = [candidate.probability for candidate in score.candidates]
    assert max(probabilities) == pytest.approx(1 / (1 + np.exp(-of_candidates.max())), abs=1e-6)
    assert probabilities[1:] == sorted(probabilities[1:], reverse=True)
    assert probabilities[0] >= NEARLY * max(probabilities)
    saliency = lesion_map(score.candidates, array[:2].mean(0).clip(0), inside)
    assert saliency.max() == pytest.approx(1.0, abs=1e-6) and saliency[~inside].max() == 0
    assert saliency[score.candidates[0].index] == pytest.approx(1.0, abs=0.2)

    card = json.loads(path.read_text())
    for change in (
        {"hidden": 5},
        {"members": 6},
        {"members": 1},
        {"count": 0},
        {"phases": 4},
        {"mix": ["a", 1, 1]},
        {"unknown": 1},
        {"features": []},
    ):
        path.write_text(json.dumps({**card, "candidates": {**card["candidates"], **change}}))
        with pytest.raises(ModelError, match="both.json"):
            load_bundle(path)
    path.write_text(json.dumps({**card, "candidates": None}))
    with pytest.raises(ModelError, match="too many"):
        load_bundle(path)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_coarsening_is_bit_for_bit_the_mean_over_blocks(factor):
    rng = np.random.default_rng(factor)
    array, inside = rng.normal(size=(3, 22, 17, 13)).astype(np.float32), rng.random((22, 17, 13)) < 0.5
    size = [n // factor for n in inside.shape]
    kept = tuple(slice(0, n * factor) for n in size)
    blocks = [n for count in size for n in (count, factor)]
    small, filled, _ = coarsen(array, inside, np.eye(4), factor)
    assert np.array_equal(
        small, array[(slice(None), *kept)].reshape(3, *blocks).mean(axis=(2, 4, 6), dtype=np.float32)
    )
    assert np.array_equal(filled, inside[kept].reshape(blocks).mean(axis=(1, 3, 5)) >= 0.5)


def test_between_equally_probable_candidates_the_larger_comes_first():
    def order(probabilities, volumes_ml):
        regions = [
            Region((0, 0, 0), (0, 0, 0), np.ones((1, 1, 1), bool), ml, 1.0, 0.0, 0.0) for ml in volumes_ml
        ]
        candidates = [Candidate((0, 0, 0), 1.0, (0, 0, 0), region=region) for region in regions]
        return scoring._order(np.array(probabilities), candidates)

    assert order([0.2, 0.97, 0.98, 0.5], [9.0, 3.5, 0.5, 9.0]) == [1, 2, 3, 0]
    assert order([0.90, 0.98], [9.0, 0.5]) == [1, 0], "not so close"
    assert order([], []) == []


def test_a_lesion_that_runs_into_bright_tissue_is_told_from_it():
    """A ball against a long bar that is half as bright: at half the height they are one, and its centre lies
    in the bar."""
    affine = np.diag([2.2, 2.2, 2.2, 1.0])
    signal = np.zeros((60, 40, 40), np.float32)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in signal.shape], indexing="ij"), axis=-1)
    signal[12:40, 14:26, 14:26] = 0.65
    away = np.linalg.norm(at - (12, 20, 20), axis=-1)
    signal[away <= 4] = 1.0 - 0.02 * away[away <= 4]
    inside, place = np.ones(signal.shape, bool), np.array([12, 20, 20]) * 2.2
    peak = find_peaks(signal, inside, affine, count=1)[0]
    wide = snap([peak], signal, inside, affine, search_mm=6.0)[0]
    close = snap([peak], signal, inside, affine, search_mm=6.0, within_mm=FAR_MM)[0]
    assert np.linalg.norm(wide.ras_mm - place) > FAR_MM > 3 > np.linalg.norm(close.ras_mm - place)
