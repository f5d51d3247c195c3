"""Simulated exams: deterministic, physical, the same on every grid, no shortcut to the label.

The cohort of 300 exams takes most of the time (30 s on one core). A larger version:
BREASTCMSL_SIMULATED_EXAMS=2000 pytest …
"""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.readers import read
from training import simulate as simulate_command
from training.data.exams import load_exam, truth
from training.data.manifest import read_cohort
from training.evaluation.bayes import bayes_bound, bayes_lines
from training.evaluation.metrics import auc, auc_interval
from training.evaluation.oracle import FIRST_SEED, ask_oracle, lesion_curves
from training.simulation import anatomy, cohorts, demo, implants, kinetics, lesions, simulate, vessel_painting
from training.simulation.anatomy import TISSUES, Grid
from training.simulation.cohorts import COHORTS, cohort_manifest
from training.simulation.demo import DEMO_SEED
from training.simulation.exam import LESION_NUMBERS
from training.simulation.grid import sheet, unit_variance
from training.simulation.nodes import draw_nodes
from training.simulation.subtypes import MARKS, PATTERNS, SUBTYPES, draw_many, log_likelihood
from training.simulation.vessels import Vessel, draw_vessels
from training.simulation.woman import draw_woman

EXAMS = int(os.environ.get("BREASTCMSL_SIMULATED_EXAMS", "300"))
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    ),
]


@pytest.fixture(scope="module")
def made():
    return simulate(11, True, voxel_mm=2.2)


# ---------------------------------------------------------------- one exam


def test_same_seed_same_exam(made):
    again = simulate(11, True, voxel_mm=2.2)
    assert again.facts == made.facts and again.lesions == made.lesions
    for a, b in zip(
        made.exam.post, again.exam.post, strict=True
    ):  # libraries may round differently by alignment
        difference = np.abs(a.volume.array.astype(int) - b.volume.array.astype(int))
        assert (difference > 0).mean() < 1e-3 and difference.max() <= 2
    other = simulate(12, True, voxel_mm=2.2)
    assert other.exam.grid.shape != made.exam.grid.shape or not np.array_equal(
        other.exam.post[0].volume.array, made.exam.post[0].volume.array
    )


def test_truth_mask_lies_where_the_list_says_and_enhances(made):
    grid = made.exam.grid
    assert made.truth.shape == grid.shape
    lesion = next(x for x in made.lesions if x["malignant"])
    points = apply_affine(grid.affine, np.argwhere(made.truth == 2))
    assert len(points) and np.linalg.norm(points.mean(0) - lesion["ras_mm"]) < max(
        4.4, 0.5 * lesion["radius_mm"]
    )
    assert (lesion["side"] == "right") == (
        lesion["ras_mm"][0]
        > np.median(apply_affine(grid.affine, np.argwhere(made.exam.pre.volume.array > 50))[:, 0])
    )
    subtraction = made.exam.subtraction(1).array
    assert subtraction[made.truth == 2].mean() > 3 * abs(subtraction[made.truth == 0].mean())


def test_every_tensor_is_made_on_the_device_asked_for(made):
    """With a default device that holds no data, what forgets to name the device fails or spoils the exam."""
    with torch.device("meta"):
        again = simulate(11, True, voxel_mm=2.2, device="cpu")
    assert np.abs(again.exam.pre.volume.array.astype(int) - made.exam.pre.volume.array.astype(int)).max() <= 2
    assert again.facts == made.facts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", [3, 4])
def test_noise_is_rician_of_the_level_in_the_facts(seed, device):
    exam = simulate(seed, False, voxel_mm=2.2, device=device)
    white = exam.facts["gain"] / exam.facts["snr"] * (1.25 / 2.2) ** 1.5
    air = np.stack([p.volume.array[:, :5] for p in (exam.exam.pre, *exam.exam.post)]).astype(
        float
    )  # rows in front of the breasts
    noise = air.mean() / np.sqrt(np.pi / 2)
    assert 0.8 * white < noise < 1.02 * white  # what lies outside the acquired k-space is missing
    assert air.std() == pytest.approx(noise * np.sqrt(2 - np.pi / 2), rel=0.03)
    voxels = air.reshape(len(air), -1)
    assert np.abs(np.corrcoef(voxels) - np.eye(len(air))).max() < 0.04  # phases are independent


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_devices_differ_in_the_noise_only():
    here, there = simulate(5, True, voxel_mm=2.2), simulate(5, True, voxel_mm=2.2, device="cuda")
    assert here.facts == pytest.approx(there.facts, rel=1e-3) and here.lesions == there.lesions
    noise = here.exam.pre.volume.array[:, :5].mean() / np.sqrt(np.pi / 2)  # in air
    inside = here.exam.pre.volume.array > 5 * noise
    difference = (here.exam.post[0].volume.array.astype(float) - there.exam.post[0].volume.array)[inside]
    assert abs(difference.mean()) < 0.02 * noise + 0.05 and difference.std() == pytest.approx(
        np.sqrt(2) * noise, rel=0.05
    )


# ---------------------------------------------------------------- physics


def test_arterial_input_is_parkers_and_then_weinmanns():
    """Parker's curve peaks near 6 mM of blood at 10 s and falls to 0.4 mM at 6 min; Weinmann's plasma falls
    from 0.61 mM at 6 min to 0.49 mM at 12 min after 0.1 mmol/kg, where Parker's exponential would have left a
    third of that."""
    t = np.linspace(0, 6, 3601)
    blood = kinetics.arterial_input(t) * (1 - kinetics.HAEMATOCRIT)
    assert blood.max() == pytest.approx(6.0, rel=0.05) and t[blood.argmax()] * 60 == pytest.approx(10, abs=2)
    assert (
        blood[-1] == pytest.approx(1.05 * np.exp(-0.1685 * 6), rel=1e-6)
        and kinetics.arterial_input(np.array([-1.0]))[0] == 0
    )
    around = kinetics.arterial_input(np.array([5.9999, 6.0001, 12.0]))
    assert around[0] == pytest.approx(around[1], rel=1e-3)
    weinmann = [0.1 * (3.99 * np.exp(-0.144 * m) + 4.78 * np.exp(-0.0111 * m)) for m in (6.0, 12.0)]
    assert around[2] / around[1] == pytest.approx(weinmann[1] / weinmann[0], rel=1e-3)
    assert around[2] == pytest.approx(weinmann[1], rel=0.1)


def test_tofts_obeys_its_differential_equation():
    t = np.linspace(0, 8, 961)
    ktrans, ve = 0.25, 0.4
    c = kinetics.tofts(t, [ktrans], [ve], [0.0], step=1 / 240)[0]
    slope = np.gradient(c, t)
    expected = ktrans * kinetics.arterial_input(t) - ktrans / ve * c
    assert np.abs(slope - expected)[60:-2].max() < 0.02


def test_gradient_echo_limits():
    assert kinetics.spoiled_gradient_echo(np.array(1e6), 5.0, 12.0) == pytest.approx(np.sin(np.deg2rad(12)))
    assert kinetics.spoiled_gradient_echo(np.array(2.0), 5.0, 12.0) > kinetics.spoiled_gradient_echo(
        np.array(1.0), 5.0, 12.0
    )


# ---------------------------------------------------------------- coarse grids hold the averages of fine ones


def _cube(spacing: float, edge: float = 176.0) -> Grid:
    return Grid((-edge / 2,) * 3, (edge,) * 3, (spacing,) * 3)


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("radius", [3.5, 8.5, 15.0])
def test_a_lesion_keeps_its_volume_and_its_enhancement_on_every_grid(radius, subtype):
    rng = np.random.default_rng(int(radius * 10))
    for _ in range(3):
        lesion = lesions.draw(SUBTYPES[subtype].malignant, rng, rng.spawn(1)[0], subtype=subtype)
        lesion.radius_mm, lesion.centre = radius, rng.uniform(-4, 4, 3)
        volumes, enhancing = [], []
        for spacing in (1.1, 2.2, 4.4):
            window, fraction, modulation = lesions.rasterise(lesion, _cube(spacing))
            assert fraction.shape == tuple(s.stop - s.start for s in window) and fraction.max() <= 1
            volumes.append(fraction.sum() * spacing**3)
            enhancing.append((fraction * modulation).sum() * spacing**3)
        # irregular or not; clumps of a small lesion are smaller than the points
        within = 0.06 if lesion.marks.pattern == "mass" or radius > 4 else 0.25
        assert volumes == pytest.approx([4 / 3 * np.pi * radius**3] * 3, rel=within)
        # and the centroid lies at the centre
        axes = [_cube(4.4).centres(axis)[window[axis]] for axis in range(3)]
        centroid = [
            (fraction.sum(tuple({0, 1, 2} - {n})) * at).sum() / fraction.sum() for n, at in enumerate(axes)
        ]
        assert np.linalg.norm(centroid - lesion.centre) < max(0.5, 0.12 * radius)
        assert volumes + enhancing == pytest.approx([volumes[0]] * 3 + [enhancing[0]] * 3, rel=0.02)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ducts_and_segments_run_to_the_nipple_and_regions_and_masses_do_not(pattern):
    """How much longer a lesion is along the direction to the nipple than across it, in the mean."""
    longer, grid = [], _cube(2.2)
    subtypes_ = [s for s in SUBTYPES.values() if s.patterns[PATTERNS.index(pattern)] > 0.05]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        subtype = subtypes_[seed % len(subtypes_)]
        lesion = lesions.draw(subtype.malignant, rng, rng.spawn(1)[0], subtype=subtype.name)
        if lesion.marks.pattern != pattern or len(longer) == 12:
            continue
        lesion.radius_mm, lesion.towards = 9.0, np.array([0.0, 1.0, 0.0])
        window, fraction, _ = lesions.rasterise(lesion, grid)
        axes = [grid.centres(axis)[window[axis]] for axis in range(3)]
        weights = fraction / fraction.sum()
        spread = [
            np.sqrt((weights.sum(tuple({0, 1, 2} - {n})) * (at - 0) ** 2).sum()) for n, at in enumerate(axes)
        ]
        longer.append(2 * spread[1] / (spread[0] + spread[2]))
    ratio = np.median(longer)
    low, high = {"ductal": (2.0, 10), "segmental": (1.15, 2.5)}.get(pattern, (0.8, 1.2))
    assert len(longer) == 12 and low < ratio < high, ratio


def test_tissues_keep_their_volume_on_every_grid():
    """Skin and vessels thinner than a voxel too; and the woman of a seed is the same on every grid."""
    volumes = {}
    for spacing in (1.5, 3.0, 4.5):
        body = anatomy.build(_cube(spacing, 270.0), np.random.default_rng(2))
        assert body.fractions.min() >= 0 and (body.fractions.sum(0) * (body.front > 0)).max() < 1.001
        in_front = body.fractions * (body.front > 5)
        volumes[spacing] = dict(zip(TISSUES, (in_front.sum((1, 2, 3)) * spacing**3 / 1000).tolist()))
    assert volumes[1.5]["blood"] > 0.5 and volumes[1.5]["skin"] > 30
    for spacing in (3.0, 4.5):
        within = {
            "fat": 0.02,
            "skin": 0.01,
            "muscle": 0.02,
            "glandular": 0.06,
            "fibrous": 0.06,
            "blood": 0.06,
        }
        for name, rel in within.items():
            assert volumes[spacing][name] == pytest.approx(volumes[1.5][name], rel=rel), (name, spacing)


def test_a_vessel_keeps_its_volume_on_every_grid_whatever_its_width():
    way = np.linspace(0, 1, 40)[:, None] * [60.0, 45.0, 30.0] - 30.0
    for radius in (0.3, 1.0, 3.0):
        vessel = Vessel(way, np.full(40, radius))
        volume = np.pi * radius**2 * np.linalg.norm(way[-1] - way[0])
        for spacing in (1.1, 2.2, 4.4):
            grid = _cube(spacing)
            painted = vessel_painting.paint([vessel], grid, [torch.zeros(grid.shape)] * 3)
            assert float(painted.sum()) * spacing**3 == pytest.approx(volume, rel=0.15), (radius, spacing)


def test_sheets_thinner_than_a_voxel_keep_their_volume():
    volumes = []
    for spacing in (1.1, 2.2, 4.4):
        field = anatomy.smooth_noise(_cube(spacing), 14.0, np.random.default_rng(3), "cpu")
        volumes.append(float(sheet(unit_variance(field), 2.6 / 14, 0.6, spacing).mean()))
    assert volumes == pytest.approx([volumes[0]] * 3, rel=0.06) and 0.02 < volumes[0] < 0.08


def test_random_fields_of_a_coarse_grid_are_averages():
    fine, coarse = (anatomy.smooth_noise(_cube(s), 12.0, np.random.default_rng(7), "cpu") for s in (1.1, 4.4))
    assert torch.allclose(torch.nn.functional.avg_pool3d(fine[None], 4)[0], coarse, atol=1e-4)
    assert 0.9 < fine.std() < 1.1
    thin = anatomy.smooth_noise(_cube(4.4), 2.2, np.random.default_rng(7), "cpu")
    assert (
        thin.std() < 0.5
    )  # structure finer than a voxel averages out instead of turning into noise between voxels


# ---------------------------------------------------------------- women


@pytest.fixture(scope="module")
def body():
    return anatomy.build(_cube(3.0, 330.0), np.random.default_rng(3))


@pytest.fixture(scope="module")
def women():
    return [draw_woman(np.random.default_rng(seed)) for seed in range(400)]


def test_older_women_are_less_dense_and_heavier_ones_have_larger_breasts(women):
    age, bmi, density = (np.array([getattr(w, name) for w in women]) for name in ("age", "bmi", "density"))
    size = np.array([np.prod(w.breasts[0].radii) for w in women])
    assert np.corrcoef(age, density)[0, 1] < -0.2 and np.corrcoef(bmi, size)[0, 1] > 0.3


def test_some_breasts_are_flat_and_some_long(women):
    projection = np.array([b.centre[1] + b.radii[1] for w in women for b in w.breasts])
    low, middle, high = np.percentile(projection, (2, 50, 98))
    assert low < 50 < 70 < middle < 110 < 150 < high


def test_most_vessels_begin_on_another_one_and_none_runs_through_air(body):
    drawn = draw_vessels(np.random.default_rng(6), draw_woman(np.random.default_rng(5)))
    points = np.concatenate([vessel.points for vessel in drawn])
    begins = [(np.linalg.norm(points - vessel.points[0], axis=1) < 0.01).sum() > 1 for vessel in drawn]
    assert len(drawn) > 100 and np.mean(begins) > 0.5
    assert float((body.fractions[TISSUES.index("blood")] * (body.depth < -5)).sum()) == 0


def test_lymph_nodes_lie_outside_breast_and_lung_and_hold_fat(body):
    node, lung = (body.fractions[TISSUES.index(name)] for name in ("node", "lung"))
    assert float(node.sum()) * 0.027 > 0.5 and float((node * lung).max()) < 0.05
    assert float(node[body.breast == 0].sum()) > 0.5 * float(node.sum())
    for seed in range(5):
        for each in draw_nodes(np.random.default_rng(seed), draw_woman(np.random.default_rng(seed))):
            centre, radii = each.hilum_of()
            assert np.linalg.norm(centre - each.centre) < each.radii[1] and (radii < each.radii).all()


def test_implants_are_no_breast(monkeypatch):
    monkeypatch.setattr(implants, "_SHARE", 1.0)
    body = anatomy.build(_cube(3.0, 330.0), np.random.default_rng(3))
    filling = body.fractions[TISSUES.index("implant")]
    assert float(filling.sum()) * 0.027 > 50 and not (body.breast[filling > 0.6] != 0).any()


# ---------------------------------------------------------------- classes: no shortcut, overlapping kinetics


@pytest.fixture(scope="module")
def many():
    """Labels by a fair coin of their own, nuisance features and curves of the first lesion of many exams."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    labels = np.random.default_rng(20240229).random(EXAMS) < 0.5
    nuisance, curve = [], []
    for n, label in enumerate(labels):
        exam = simulate(FIRST_SEED + 1_000_000 + n, bool(label), voxel_mm=4.4, with_t1=None)
        phase = exam.exam.pre.volume.array
        seen = {  # what a reader of one phase sees of lesions, beside what was drawn
            "pre_contrast": phase[exam.truth > 0].mean() / exam.facts["gain"],
            "brightest": np.percentile(phase, 99) / exam.facts["gain"],
        }
        nuisance.append(exam.facts | seen)
        curve.append(list(lesion_curves(exam)[0].values()))
    torch.set_num_threads(threads)
    return (
        labels,
        {name: np.array([f[name] for f in nuisance], dtype=float) for name in nuisance[0]},
        np.array(curve),
    )


def _classifiers():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
        RandomForestClassifier(150, min_samples_leaf=5, random_state=0),
    )


def _cross_validated(labels, features, classifier):
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return auc_interval(
        labels, cross_val_predict(classifier, features, labels, cv=folds, method="predict_proba")[:, 1]
    )


@pytest.mark.timeout(1800)
def test_nuisance_does_not_tell_the_label_and_curves_do(many):
    labels, nuisance, curve = many
    assert len(nuisance) >= 27
    features = np.stack(list(nuisance.values()), 1)
    assert np.isfinite(features).all() and (features.std(0) > 0).sum() >= len(nuisance) - 1
    for classifier in _classifiers():
        low, high = _cross_validated(labels, features, classifier)
        assert low < 0.5 and high < 0.6, (classifier, low, high)
        low, _ = _cross_validated(labels, curve, classifier)  # so that the check above could fail
        assert low > 0.65, (classifier, low)


@pytest.mark.timeout(1800)
def test_no_single_nuisance_feature_tells_the_label(many):
    """At a confidence that some 30 features together pass 19 times in 20."""
    labels, nuisance, curve = many
    for name, values in nuisance.items():
        low, high = auc_interval(labels, values, confidence=1 - 0.05 / len(nuisance))
        assert low <= 0.5 <= high, (name, low, high)
    assert auc_interval(labels, -curve[:, 1])[0] > 0.65


def test_the_label_changes_nothing_but_the_lesions_class():
    """The same seed with either label: the same woman, protocol, places and sizes, to the last bit."""
    for seed in (21, 22, 23):
        malignant, benign = simulate(seed, True, voxel_mm=4.4), simulate(seed, False, voxel_mm=4.4)
        assert malignant.facts == benign.facts
        same = ("ras_mm", "radius_mm", "side", "vp")
        assert [[x[k] for k in same] for x in malignant.lesions] == [
            [x[k] for k in same] for x in benign.lesions
        ]
        assert malignant.lesions[1:] == benign.lesions[1:]
        assert [x["malignant"] for x in malignant.lesions] == [True] + [False] * (len(benign.lesions) - 1)
        assert not any(x["malignant"] for x in benign.lesions) and set(np.unique(benign.truth)) == {0, 1}
        away = [max(2.5 * x["radius_mm"], 30) for x in benign.lesions]
        points = apply_affine(benign.exam.grid.affine, np.argwhere(benign.truth >= 0))
        far = np.all(
            [np.linalg.norm(points - x["ras_mm"], axis=1) > r for x, r in zip(benign.lesions, away)], axis=0
        )
        a, b = (x.exam.pre.volume.array.astype(int).ravel() for x in (malignant, benign))
        assert (a[far] != b[far]).mean() < 0.01


def test_an_exam_without_lesions_is_the_same_woman_and_benign():
    bare, benign = (simulate(21, False, voxel_mm=4.4, population=p) for p in ("lesion-free", "alike"))
    assert not bare.malignant and bare.lesions == () and not bare.truth.any()
    assert bare.facts["lesions"] == 0 and bare.facts["breast_ml"] == benign.facts["breast_ml"]
    away = benign.truth == 0
    a, b = (x.exam.post[-1].volume.array.astype(int)[away] for x in (bare, benign))
    assert (a != b).mean() < 0.02


def test_exams_of_the_papers_population_have_six_phases_a_t1_and_larger_cancers():
    for label in (True, False):
        exam = simulate(31, label, voxel_mm=4.4, population="paper")
        assert len(exam.exam.post) == 6 and exam.exam.t1 is not None
    rng = np.random.default_rng(5)
    medians = [2 * np.exp(np.median(draw_many(label, 20_000, rng, apart=True)[1][:, 0])) for label in (1, 0)]
    assert medians == pytest.approx([22, 15], abs=0.6)


@pytest.mark.parametrize(
    "label, options, part",
    [
        (True, {"population": "lesion-free"}, "label it benign"),
        (True, {"population": "all"}, "alike, paper, lesion-free"),
        (False, {"subtype": "mucinous"}, "is malignant"),
        (False, {"subtype": "wart"}, 'no subtype "wart"'),
    ],
)
def test_an_exam_that_cannot_be_is_refused_in_a_sentence(label, options, part):
    with pytest.raises(InputError, match=part):
        simulate(1, label, voxel_mm=4.4, **options)


# ---------------------------------------------------------------- subtypes and the Bayes bound


def test_shares_of_subtypes_and_patterns_add_up_and_their_marks_have_a_density():
    for malignant in (True, False):
        of_class = [s for s in SUBTYPES.values() if s.malignant == malignant]
        assert sum(s.share for s in of_class) == pytest.approx(1)
        assert all(sum(s.patterns) == pytest.approx(1) for s in of_class)
        rng = np.random.default_rng(3)
        patterns, marks = draw_many(malignant, 4000, rng)
        assert np.isfinite(log_likelihood(malignant, marks, patterns)).all()


def test_marks_of_an_exams_lesions_follow_the_density_that_the_bound_is_computed_from():
    """Draws one by one, as exams are made, against the mixture: medians, patterns, correlation."""
    rng = np.random.default_rng(8)
    one_by_one = [lesions.draw(True, rng, rng.spawn(1)[0]).marks for _ in range(1500)]
    values = np.array([m.values for m in one_by_one])
    patterns, many_marks = draw_many(True, 40_000, rng)
    scale = many_marks.std(0)
    assert (np.abs(np.median(values, 0) - np.median(many_marks, 0)) < 0.12 * scale).all()
    assert np.abs(np.corrcoef(values.T) - np.corrcoef(many_marks.T)).max() < 0.12
    seen = [np.mean([m.pattern == p for m in one_by_one]) for p in PATTERNS]
    assert seen == pytest.approx(np.bincount(patterns) / 40_000, abs=0.04)


def test_the_likelihood_ratio_is_one_in_the_mean_over_benign_lesions():
    """∫ f_benign · f_malignant / f_benign = 1: both densities are normalised and on the same scale. Kinetics
    alone, whose ratio has the shortest tail."""
    patterns, marks = draw_many(False, 100_000, np.random.default_rng(4))
    use = MARKS[1:3]
    ratio = np.exp(log_likelihood(True, marks, None, use=use) - log_likelihood(False, marks, None, use=use))
    assert ratio.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("population", ["alike", "paper"])
def test_the_best_reader_is_neither_perfect_nor_poor(population):
    bounds = bayes_bound(population, 30_000)
    assert 0.93 < bounds["all marks"][0] < 0.95
    assert bounds["all marks"][0] > bounds["morphology alone"][0] > 0.8 < bounds["kinetics alone"][0] < 0.9
    size = bounds["size alone"]
    assert size[1] < 0.5 < size[2] if population == "alike" else 0.65 < size[0] < 0.8


def test_no_learned_reader_of_the_marks_beats_the_bound():
    from sklearn.ensemble import HistGradientBoostingClassifier

    assert LESION_NUMBERS[1] > 0.5
    rng = np.random.default_rng(6)
    drawn = [draw_many(label, 6000, rng) for label in (True, False)]
    marks, labels = np.concatenate([m for _, m in drawn]), np.arange(12_000) < 6000
    patterns = np.concatenate([p for p, _ in drawn])
    best = log_likelihood(True, marks, patterns) - log_likelihood(False, marks, patterns)
    test = rng.random(12_000) < 0.5
    known = np.column_stack([marks, patterns])
    model = HistGradientBoostingClassifier(max_iter=60).fit(known[~test], labels[~test])
    learned = auc(labels[test], model.predict_proba(known[test])[:, 1])
    assert auc(labels[test], best[test]) - 0.03 < learned < auc(labels[test], best[test])


def test_the_bound_rises_with_exams_without_lesions_and_is_printed(capsys):
    with_lesions, all_exams = bayes_bound("alike", 10_000), bayes_bound("alike", 10_000, 0.4)
    for reader, (value, *_) in with_lesions.items():
        assert all_exams[reader][0] == pytest.approx(0.4 + 0.6 * value, abs=0.015)
    assert simulate_command.main(["bayes", "--cohort", "unread", "--draws", "2000"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == bayes_lines("unread", 2000) and "free of lesions" in printed


# ---------------------------------------------------------------- cohorts


@pytest.mark.parametrize("name", COHORTS)
def test_a_cohort_is_the_frozen_one_or_none(name, tmp_path, monkeypatch):
    assert simulate_command.main(["cohort", name, "--output", str(tmp_path / "cohort.csv")]) == 0
    text = (tmp_path / "cohort.csv").read_bytes()
    assert (
        hashlib.sha256(text).hexdigest() == COHORTS[name].sha256
        and text.count(b"\n") == COHORTS[name].count + 1
    )
    other = np.random.default_rng
    monkeypatch.setattr(cohorts.np.random, "default_rng", lambda seed: other([*seed, 1]))
    with pytest.raises(RuntimeError, match=f"the cohort {name} is not the frozen one"):
        cohort_manifest(name)


def test_cohorts_have_the_sizes_they_name_and_share_no_seed():
    sizes = {  # train, validate, test; of those without lesions; voxels
        "smoke": ((24, 8, 8), 6, 4.4),
        "small": ((3000, 500, 1000), 900, 4.4),
        "large": ((12000, 1000, 0), 2600, 2.2),
        "calibration": ((0, 1500, 0), 300, 2.2),
        "unread": ((0, 0, 2000), 400, 2.2),
        "untouched": ((0, 0, 1000), 200, 2.2),
        "scanner": ((0, 0, 640), 128, None),
        "paper": ((1204, 165, 346), 0, None),
    }
    assert sizes.keys() == COHORTS.keys()
    used: set[int] = {DEMO_SEED, 9_000_002}
    for name, (counts, lesion_free, voxel) in sizes.items():
        rows = read_cohort(f"simulated:{name}")
        assert tuple(sum(r.split == part for r in rows) for part in ("train", "validate", "test")) == counts
        seeds = {r.seed for r in rows}
        assert len(seeds) == len(rows) == len({r.patient for r in rows}) and not used & seeds
        assert min(seeds) >= FIRST_SEED + 30_000_000, "the oracle's and the first edition's"
        used |= seeds
        assert {r.voxel_mm for r in rows} == {voxel} and all(
            r.patient == r.exam == f"sim-{r.seed}" for r in rows
        )
        assert sum(r.population == "lesion-free" for r in rows) == lesion_free
        others = {r.population for r in rows} - {"lesion-free"}
        assert others == {"paper" if name == "paper" else "alike"}
        labels = np.array([r.label for r in rows])
        assert abs(auc(labels, [r.seed for r in rows]) - 0.5) < 3 * np.sqrt(
            1 / 3 / len(rows)
        )  # no run of one label
        assert name == "paper" or 2 * labels.sum() == len(labels)
    paper = read_cohort("simulated:paper")
    test = [r.label for r in paper if r.split == "test"]
    assert (sum(test), len(test) - sum(test)) == (231, 115) and sum(r.label for r in paper) == 1137


def test_cohorts_may_be_joined():
    joined = read_cohort("simulated:calibration+unread")
    assert [r.split for r in joined] == ["validate"] * 1500 + ["test"] * 2000


def test_a_row_of_a_cohort_is_the_exam_of_its_seed():
    row = read_cohort("simulated:smoke")[0]
    direct = simulate(row.seed, bool(row.label), voxel_mm=row.voxel_mm, population=row.population).exam
    assert load_exam(row).exam_id == direct.exam_id
    bare = next(r for r in read_cohort("simulated:smoke") if r.population == "lesion-free")
    lesions_of, mask = truth(bare, load_exam(bare))
    assert lesions_of == () and not mask.any()
    with pytest.raises(
        InputError, match='"huge".*smoke, small, large, calibration, unread, untouched, scanner, paper'
    ):
        read_cohort("simulated:huge")


# ---------------------------------------------------------------- commands


def test_one_exam_as_dicom_is_read_back_and_its_truth_stands_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "simulate", lambda *a, **k: simulate(*a, voxel_mm=4.4, **k))
    assert simulate_command.main(["demo", "--output", str(tmp_path / "exam"), "--seed", "5", "--benign"]) == 0
    exam = read(tmp_path / "exam")
    truth = json.loads((tmp_path / "exam_truth.json").read_text())
    assert exam.t1 is not None and len(exam.post) >= 4 and not truth["malignant"] and truth["simulated"]
    assert truth["seed"] == 5 and all(not lesion["malignant"] for lesion in truth["lesions"])


def test_the_oracle_tells_the_label_better_than_chance():
    answer = ask_oracle(40, 4.4)
    assert max(low for _, low, _ in answer["auc"].values()) > 0.5
    for figures in answer["types"].values():
        assert figures["washout"] + figures["plateau"] + figures["persistent"] == pytest.approx(1.0)


def test_a_sheet_of_lesions_shows_every_subtype(tmp_path):
    path = tmp_path / "lesions.png"
    command = ["lesions", "--output", str(path), "--each", "1", "--voxel", "6"]
    assert simulate_command.main(command) == 0
    rows = np.array_split(np.asarray(Image.open(path)), len(SUBTYPES))
    assert all(row.max() > 200 for row in rows)


def test_a_sheet_shows_the_exams_asked_for(tmp_path):
    path = tmp_path / "sheet.png"
    assert simulate_command.main(["sheet", "--output", str(path), "--seeds", "1", "2", "--voxel", "4.4"]) == 0
    one = tmp_path / "one.png"
    assert simulate_command.main(["sheet", "--output", str(one), "--seeds", "1", "--voxel", "4.4"]) == 0
    (width, height), (same, less) = (Image.open(p).size for p in (path, one))
    assert width == same and height == less + (less - 16)
    assert simulate_command.main(["sheet", "--output", str(tmp_path), "--seeds", "--voxel", "4.4"]) == 2
