"""Simulated exams: deterministic, physical, with a truth that lies where it says, and no shortcut to the label."""

import numpy as np
import pytest

from BreastCMSLLib.geometry import apply_affine
from training.metrics import auc
from training.simulation import kinetics, lesions, simulate


@pytest.fixture(scope="module")
def made():
    return simulate(11, True, voxel_mm=2.2)


def test_same_seed_same_exam(made):
    again = simulate(11, True, voxel_mm=2.2)
    assert np.allclose([x["ras_mm"] for x in made.lesions], [x["ras_mm"] for x in again.lesions], atol=1e-3)
    for a, b in zip(made.exam.post, again.exam.post, strict=True):  # libraries may round differently by alignment
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
    assert len(points) and np.linalg.norm(points.mean(0) - lesion["ras_mm"]) < max(4.4, 0.5 * lesion["radius_mm"])
    assert (lesion["side"] == "right") == (
        lesion["ras_mm"][0] > np.median(apply_affine(grid.affine, np.argwhere(made.exam.pre.volume.array > 50))[:, 0])
    )
    subtraction = made.exam.subtraction(1).array
    assert subtraction[made.truth == 2].mean() > 3 * abs(subtraction[made.truth == 0].mean())


def test_arterial_input_is_parkers():
    """The published curve peaks near 6 mM of blood (10.3 mM of plasma at a haematocrit of 0.42) at 10 s, and decays to about 1 mM."""
    t = np.linspace(0, 6, 3601)
    blood = kinetics.arterial_input(t) * (1 - kinetics.HAEMATOCRIT)
    assert blood.max() == pytest.approx(6.0, rel=0.05) and t[blood.argmax()] * 60 == pytest.approx(10, abs=2)
    assert 0.3 < blood[-1] < 1.0 and kinetics.arterial_input(np.array([-1.0]))[0] == 0


def test_tofts_obeys_its_differential_equation():
    t = np.linspace(0, 8, 961)
    ktrans, ve = 0.25, 0.4
    c = kinetics.tofts(t, [ktrans], [ve], [0.0], step=1 / 240)[0]
    slope = np.gradient(c, t)
    expected = ktrans * kinetics.arterial_input(t) - ktrans / ve * c
    assert np.abs(slope - expected)[60:-2].max() < 0.02


def test_gradient_echo_limits():
    assert kinetics.spoiled_gradient_echo(np.array(1e6), 5.0, 12.0) == pytest.approx(np.sin(np.deg2rad(12)))
    assert kinetics.spoiled_gradient_echo(np.array(2.0), 5.0, 12.0) > kinetics.spoiled_gradient_echo(np.array(1.0), 5.0, 12.0)


def test_size_does_not_tell_the_label():
    """Sizes come from one distribution: an AUC beyond chance would be a shortcut."""
    rng = np.random.default_rng(0)
    labels = rng.random(800) < 0.5
    sizes = np.array([lesions.draw(bool(label), rng).radius_mm for label in labels])
    assert abs(auc(labels, sizes) - 0.5) < 0.06


def test_kinetics_overlap_but_differ():
    rng = np.random.default_rng(1)
    malignant = [lesions.draw(True, rng) for _ in range(400)]
    benign = [lesions.draw(False, rng) for _ in range(400)]
    kep = np.array([x.ktrans / x.ve for x in malignant + benign])
    value = auc(np.arange(800) < 400, kep)
    assert 0.8 < value < 0.98
