"""From a coarse maximum to the bright region beside it; what is a vessel or a nipple."""

import numpy as np
import pytest
import torch
from phantom import oblique_affine
from shapes import GRID, ball, blob, points_of, tube

from BreastCMSLLib.candidates import regions
from BreastCMSLLib.candidates.candidate import Candidate
from BreastCMSLLib.candidates.from_map import candidates_from_map, doubtful_last
from BreastCMSLLib.candidates.peaks import find_peaks
from BreastCMSLLib.candidates.regions import is_vessel, region_at, snap
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.preprocessing.enhancement import mean_enhancement
from BreastCMSLLib.preprocessing.landmarks import Landmarks, Skin


@pytest.mark.parametrize("seed", range(6))
def test_snap_finds_a_place_between_voxels_on_an_oblique_anisotropic_grid(seed):
    rng = np.random.default_rng(seed)
    spacing = (1.4, 0.9, 2.6)
    affine, shape = oblique_affine(rng, spacing), (44, 60, 30)
    truth = apply_affine(affine, (np.array(shape) - 1) / 2 + rng.uniform(-2.5, 2.5, 3))
    signal = blob(shape, affine, truth, 5.0, noise=0.02, seed=seed)
    coarse = truth + rng.normal(size=3) * 4
    moved, *others = snap([Candidate(tuple(coarse), 1.0, (0, 0, 0))], signal, np.ones(shape, bool), affine)
    inverse = np.linalg.inv(affine)
    assert np.abs(apply_affine(inverse, np.array(moved.ras_mm)) - apply_affine(inverse, truth)).max() < 0.5
    assert moved.index == tuple(np.round(apply_affine(inverse, np.array(moved.ras_mm))).astype(int))
    assert not others and moved.value == 1.0 and moved.region.tubularity < 0.3


def test_snap_stays_inside_the_mask_and_ignores_what_is_brighter_outside():
    shape, centre = (40, 40, 30), np.array([40.0, 40.0, 30.0])
    inside = np.zeros(shape, bool)
    inside[:, 15:, :] = True
    signal = blob(shape, GRID, centre, 4.0) + 5 * blob(shape, GRID, [40.0, 24.0, 30.0], 4.0)
    moved, *_ = snap([Candidate((42.0, 38.0, 30.0), 1.0, (21, 19, 15))], signal, inside, GRID, search_mm=8.0)
    assert inside[moved.index]
    window = tuple(slice(s, s + n) for s, n in zip(moved.region.start, moved.region.inside.shape))
    assert not (moved.region.inside & ~inside[window]).any()


def test_a_crescent_is_given_a_place_of_its_own():
    """The centroid of a ring lies in its hole; outside the mask it is replaced by a voxel of the ring."""
    shape = (40, 40, 9)
    distance = np.linalg.norm(points_of(shape, GRID)[..., :2] - 40.0, axis=-1)
    ring = (distance > 8) & (distance < 14)
    moved, *_ = snap([Candidate((40.0, 51.0, 8.0), 1.0, (20, 25, 4))], ring.astype(np.float32), ring, GRID)
    assert moved.region is None and ring[moved.index]  # a uniform mask holds nothing that stands out
    signal = np.where(ring, 1.0 + 0.1 * np.random.default_rng(0).random(shape), 0).astype(np.float32)
    signal[ring & (points_of(shape, GRID)[..., 0] < 40)] += 1.0
    moved, *_ = snap([Candidate((28.0, 40.0, 8.0), 1.0, (14, 20, 4))], signal, ring, GRID)
    assert moved.region is not None and ring[moved.index]


def test_peaks_that_meet_are_one_and_the_strongest_stays():
    shape = (40, 40, 30)
    signal = blob(shape, GRID, [40.0, 40.0, 30.0], 4.0)
    peaks = [
        Candidate((44.0, 40.0, 30.0), 1.0, (22, 20, 15)),
        Candidate((34.0, 40.0, 30.0), 0.6, (17, 20, 15)),
    ]
    moved = snap(peaks, signal, np.ones(shape, bool), GRID)
    assert [candidate.value for candidate in moved] == [1.0]


def test_where_nothing_stands_out_a_peak_stays():
    shape = (20, 20, 20)
    peak = Candidate((20.0, 20.0, 20.0), 1.0, (10, 10, 10))
    for signal, inside in ((np.zeros(shape), np.ones(shape, bool)), (np.ones(shape), np.zeros(shape, bool))):
        assert snap([peak], signal.astype(np.float32), inside, GRID) == [peak]
    assert region_at(np.ones(shape), np.ones(shape, bool), GRID, (500.0, 0.0, 0.0)) is None


def test_empty_mask_and_dead_map_are_said_plainly():
    shape = (12, 12, 12)
    with pytest.raises(InputError, match="mask is empty"):
        find_peaks(np.zeros(shape), np.zeros(shape, bool), GRID)
    with pytest.raises(InputError, match="mask is empty"):
        Skin.of(np.zeros(shape, bool), GRID)
    inside = np.zeros(shape, bool)
    inside[3:9, 3:9, 3:9] = True
    peaks = find_peaks(np.zeros(shape, np.float32), inside, GRID)  # features that are all zero
    assert peaks and all(inside[peak.index] and peak.value == 0 for peak in peaks)


def test_signal_is_the_positive_mean_of_the_phases_asked_for():
    array = np.stack([np.full((2, 2, 2), v, np.float32) for v in (-4.0, 2.0, 5.0)])
    assert (
        mean_enhancement(array).max() == 1.0
        and mean_enhancement(torch.from_numpy(array), slice(0, 2)).max() == 0.0
    )
    values = np.random.default_rng(0).standard_normal((7, 9, 8, 5)).astype(np.float32)
    for count in range(1, 8):  # places of earlier results hang on the last bit
        np.testing.assert_array_equal(
            mean_enhancement(values, slice(count)), np.maximum(values[:count].mean(axis=0), 0.0), strict=True
        )


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 2, -1)])
def test_a_vessel_is_told_from_a_lesion(direction):
    shape, middle = (48, 48, 48), np.array([47.0, 47.0, 47.0])
    inside = np.ones(shape, bool)
    vessel = region_at(0.2 + tube(shape, GRID, middle, direction, 3.0), inside, GRID, middle)
    mass = region_at(0.2 + ball(shape, GRID, middle, 9.0), inside, GRID, middle)
    assert is_vessel(vessel) and vessel.tubularity > 0.6
    assert not is_vessel(mass) and mass.tubularity < 0.15
    assert not is_vessel(None)


def test_vessels_and_nipples_go_behind_the_others():
    """Two half balls side by side on a chest: their tips are the nipples, and a bright one does not win."""
    shape = (80, 40, 50)
    places = points_of(shape, GRID)
    inside = (places[..., 1] >= 6) & (places[..., 1] < 14)
    for middle in ((40.0, 10.0, 50.0), (118.0, 10.0, 54.0)):
        inside |= (np.linalg.norm(places - middle, axis=-1) <= 36) & (places[..., 1] >= 6)
    tips = Landmarks.of_mask(inside, GRID).nipples
    assert tips == pytest.approx(np.array([[40.0, 46.0, 50.0], [118.0, 46.0, 54.0]]), abs=4.0)
    vessel = region_at(0.2 + tube(shape, GRID, [40.0, 20, 50], (0, 0, 1), 3.0), inside, GRID, (40.0, 20, 50))
    candidates = [
        Candidate((118.0, 42.0, 53.0), 1.0, (59, 21, 26)),
        Candidate((40.0, 20.0, 50.0), 0.9, (20, 10, 25), region=vessel),
        Candidate((110.0, 20.0, 50.0), 0.5, (55, 10, 25)),
    ]
    assert [candidate.value for candidate in doubtful_last(candidates, tips)] == [0.5, 1.0, 0.9]
    with pytest.raises(InputError, match="mask is empty"):
        Landmarks.of_mask(np.zeros(shape, bool), GRID)


def test_a_coarse_map_leads_to_the_lesion_behind_the_nipple():
    """The map is highest over the nipple and 12 mm beside the lesion; the lesion comes out first, at its
    centre."""
    shape = (80, 40, 50)
    places = points_of(shape, GRID)
    inside = (places[..., 1] >= 6) & (places[..., 1] < 14)
    for middle in ((40.0, 10.0, 50.0), (118.0, 10.0, 50.0)):
        inside |= (np.linalg.norm(places - middle, axis=-1) <= 36) & (places[..., 1] >= 6)
    lesion = np.array([112.7, 20.4, 49.1])
    signal = (blob(shape, GRID, lesion, 4.0) + 2 * blob(shape, GRID, [40.0, 44.0, 50.0], 2.5)) * inside
    heat = np.maximum(
        blob(shape, GRID, lesion + [8.0, 6.0, -6.0], 14.0), 1.2 * blob(shape, GRID, [40.0, 44.0, 50.0], 10.0)
    )
    first, *others = candidates_from_map("COAM", heat / heat.max(), signal, inside, GRID)
    assert np.linalg.norm(first.ras_mm - lesion) < 1.0 and inside[first.index] and first.region is not None
    assert [candidate.value for candidate in others if candidate.value > 0.5] == [1.0]


@pytest.mark.parametrize("seed", range(12))
def test_a_region_is_that_of_labels_on_the_whole_grid(seed, monkeypatch):
    from scipy import ndimage

    monkeypatch.setattr(regions, "_FIRST_BOX_MM", 2.0)  # many reach beyond it
    rng = np.random.default_rng(seed)
    bright = rng.random((19, 14, 11)) < (0.3, 0.5, 0.7)[seed % 3]
    voxels = np.argwhere(bright)
    seed_voxel = tuple(voxels[rng.integers(len(voxels))])
    labels, _ = ndimage.label(bright)
    region = regions._connected(bright, seed_voxel, np.array([1.0, 2.0, 0.7]))
    assert np.array_equal(region, labels == labels[seed_voxel])
