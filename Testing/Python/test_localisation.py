"""From a coarse peak to the lesion: snapping, erasing, vessels, outlines, depth; and the comparison of methods."""

import json

import numpy as np
import pytest
import torch
from phantom import body_exam, oblique_affine
from test_evaluation import make_cache, make_run

from BreastCMSLLib.candidates import regions as localisation
from BreastCMSLLib.candidates.peaks import Peak
from BreastCMSLLib.candidates.regions import (
    candidates,
    component,
    erased_logits,
    find_lesions,
    is_vessel,
    rerank,
    snap,
    soft_ball,
    solid,
)
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.findings import outline as findings
from BreastCMSLLib.network.attention import (
    cam,
    coam,
    coam_by_cam,
    feature_affine,
    feature_norm,
    place_cells,
    upsample,
    weighted_coam,
)
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing import landmarks
from BreastCMSLLib.preprocessing.enhancement import signal_of
from BreastCMSLLib.preprocessing.landmarks import nipples
from training import localize
from training.data import cache
from training.evaluation import metrics

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


def places_of(shape, affine):
    return apply_affine(affine, np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


def blob(shape, affine, centre, radius_mm, noise=0.0, seed=0):
    """A bell-shaped bright spot on a low background."""
    squared = ((places_of(shape, affine) - centre) ** 2).sum(-1)
    return (0.2 + np.exp(-0.5 * squared / radius_mm**2) + noise * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def ball(shape, affine, centre, radius_mm):
    """A uniform ball as an imager sees it: each voxel holds the share of it that is filled."""
    distance = np.linalg.norm(places_of(shape, affine) - centre, axis=-1)
    return np.clip((radius_mm - distance) / np.linalg.norm(affine[:3, 0]) + 0.5, 0, 1).astype(np.float32)


def tube(shape, affine, point, direction, radius_mm):
    offset = places_of(shape, affine) - point
    direction = np.asarray(direction) / np.linalg.norm(direction)
    away = np.linalg.norm(offset - (offset @ direction)[..., None] * direction, axis=-1)
    return np.clip((radius_mm - away) / np.linalg.norm(affine[:3, 0]) + 0.5, 0, 1).astype(np.float32)


# --- snapping ---


@pytest.mark.parametrize("seed", range(6))
def test_snap_finds_a_place_between_voxels_on_an_oblique_anisotropic_grid(seed):
    rng = np.random.default_rng(seed)
    spacing = (1.4, 0.9, 2.6)
    affine, shape = oblique_affine(rng, spacing), (44, 60, 30)
    truth = apply_affine(affine, (np.array(shape) - 1) / 2 + rng.uniform(-2.5, 2.5, 3))
    signal = blob(shape, affine, truth, 5.0, noise=0.02, seed=seed)
    coarse = truth + rng.normal(size=3) * 4
    (moved, found), *others = snap([Peak(tuple(coarse), 1.0, (0, 0, 0))], signal, np.ones(shape, bool), affine)
    inverse = np.linalg.inv(affine)
    assert np.abs(apply_affine(inverse, np.array(moved.ras_mm)) - apply_affine(inverse, truth)).max() < 0.5
    assert moved.index == tuple(np.round(apply_affine(inverse, truth)).astype(int)) or np.linalg.norm(moved.ras_mm - truth) < 1.0
    assert not others and moved.value == 1.0 and found.tubularity < 0.3


def test_snap_stays_inside_the_mask_and_ignores_what_is_brighter_outside():
    shape, centre = (40, 40, 30), np.array([40.0, 40.0, 30.0])
    inside = np.zeros(shape, bool)
    inside[:, 15:, :] = True
    signal = blob(shape, GRID, centre, 4.0) + 5 * blob(shape, GRID, [40.0, 24.0, 30.0], 4.0)
    (moved, found), *_ = snap([Peak((42.0, 38.0, 30.0), 1.0, (21, 19, 15))], signal, inside, GRID, search_mm=8.0)
    assert inside[moved.index]
    window = tuple(slice(s, s + n) for s, n in zip(found.start, found.inside.shape))
    assert not (found.inside & ~inside[window]).any()


def test_a_crescent_is_given_a_place_of_its_own():
    """The centroid of a ring lies in its hole; outside the mask it is replaced by a voxel of the ring."""
    shape = (40, 40, 9)
    distance = np.linalg.norm(places_of(shape, GRID)[..., :2] - 40.0, axis=-1)
    ring = (distance > 8) & (distance < 14)
    (moved, found), *_ = snap([Peak((40.0, 51.0, 8.0), 1.0, (20, 25, 4))], ring.astype(np.float32), ring, GRID)
    assert found is None or ring[moved.index]  # a uniform mask holds nothing that stands out
    signal = np.where(ring, 1.0 + 0.1 * np.random.default_rng(0).random(shape), 0).astype(np.float32)
    signal[ring & (places_of(shape, GRID)[..., 0] < 40)] += 1.0
    (moved, found), *_ = snap([Peak((28.0, 40.0, 8.0), 1.0, (14, 20, 4))], signal, ring, GRID)
    assert found is not None and ring[moved.index]


def test_peaks_that_meet_are_one_and_the_strongest_stays():
    shape = (40, 40, 30)
    signal = blob(shape, GRID, [40.0, 40.0, 30.0], 4.0)
    peaks = [Peak((44.0, 40.0, 30.0), 1.0, (22, 20, 15)), Peak((34.0, 40.0, 30.0), 0.6, (17, 20, 15))]
    moved = snap(peaks, signal, np.ones(shape, bool), GRID)
    assert [p.value for p, _ in moved] == [1.0]


def test_where_nothing_stands_out_a_peak_stays():
    shape = (20, 20, 20)
    peak = Peak((20.0, 20.0, 20.0), 1.0, (10, 10, 10))
    for signal, inside in ((np.zeros(shape), np.ones(shape, bool)), (np.ones(shape), np.zeros(shape, bool))):
        assert snap([peak], signal.astype(np.float32), inside, GRID) == [(peak, None)]
    assert component(np.ones(shape), np.ones(shape, bool), GRID, (500.0, 0.0, 0.0)) is None


def test_empty_mask_and_dead_map_are_said_plainly():
    shape = (12, 12, 12)
    with pytest.raises(InputError, match="mask is empty"):
        candidates(np.zeros(shape), np.zeros(shape, bool), GRID)
    with pytest.raises(InputError, match="mask is empty"):
        landmarks.Skin.of(np.zeros(shape, bool), GRID)
    inside = np.zeros(shape, bool)
    inside[3:9, 3:9, 3:9] = True
    found = candidates(np.zeros(shape, np.float32), inside, GRID)  # features that are all zero
    assert found and all(inside[p.index] and p.value == 0 for p in found)


def test_signal_is_the_positive_mean_of_the_phases_asked_for():
    array = np.stack([np.full((2, 2, 2), v, np.float32) for v in (-4.0, 2.0, 5.0)])
    assert signal_of(array).max() == 1.0 and signal_of(torch.from_numpy(array), slice(0, 2)).max() == 0.0
    values = np.random.default_rng(0).standard_normal((7, 9, 8, 5)).astype(np.float32)
    for count in range(1, 8):  # places of earlier results hang on the last bit
        np.testing.assert_array_equal(signal_of(values, slice(count)), np.maximum(values[:count].mean(axis=0), 0.0), strict=True)


# --- vessels ---


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 2, -1)])
def test_a_vessel_is_told_from_a_lesion(direction):
    shape, middle = (48, 48, 48), np.array([47.0, 47.0, 47.0])
    inside = np.ones(shape, bool)
    vessel = component(0.2 + tube(shape, GRID, middle, direction, 3.0), inside, GRID, middle)
    mass = component(0.2 + ball(shape, GRID, middle, 9.0), inside, GRID, middle)
    assert is_vessel(vessel) and vessel.tubularity > 0.6
    assert not is_vessel(mass) and mass.tubularity < 0.15
    assert not is_vessel(None)


def test_vessels_and_nipples_go_behind_the_others():
    """Two half balls side by side on a chest: their tips are the nipples, and a bright one does not win."""
    shape = (80, 40, 50)
    places = places_of(shape, GRID)
    inside = (places[..., 1] >= 6) & (places[..., 1] < 14)
    for middle in ((40.0, 10.0, 50.0), (118.0, 10.0, 54.0)):
        inside |= (np.linalg.norm(places - middle, axis=-1) <= 36) & (places[..., 1] >= 6)
    tips = nipples(inside, GRID)
    assert tips == pytest.approx(np.array([[40.0, 46.0, 50.0], [118.0, 46.0, 54.0]]), abs=2.0)
    vessel = component(0.2 + tube(shape, GRID, [40.0, 20, 50], (0, 0, 1), 3.0), inside, GRID, (40.0, 20, 50))
    pairs = [
        (Peak((118.0, 42.0, 53.0), 1.0, (59, 21, 26)), None),
        (Peak((40.0, 20.0, 50.0), 0.9, (20, 10, 25)), vessel),
        (Peak((110.0, 20.0, 50.0), 0.5, (55, 10, 25)), None),
    ]
    assert [p.value for p, _ in solid(pairs)] == [1.0, 0.5, 0.9]
    assert [p.value for p, _ in solid(pairs, tips)] == [0.5, 1.0, 0.9]
    with pytest.raises(InputError, match="mask is empty"):
        nipples(np.zeros(shape, bool), GRID)


def test_find_lesions_goes_from_a_coarse_map_to_the_lesion_behind_the_nipple():
    """The map is highest over the nipple and 12 mm beside the lesion; the lesion comes out first, at its centre."""
    shape = (80, 40, 50)
    places = places_of(shape, GRID)
    inside = (places[..., 1] >= 6) & (places[..., 1] < 14)
    for middle in ((40.0, 10.0, 50.0), (118.0, 10.0, 50.0)):
        inside |= (np.linalg.norm(places - middle, axis=-1) <= 36) & (places[..., 1] >= 6)
    lesion = np.array([112.7, 20.4, 49.1])
    signal = (blob(shape, GRID, lesion, 4.0) + 2 * blob(shape, GRID, [40.0, 44.0, 50.0], 2.5)) * inside
    heat = np.maximum(blob(shape, GRID, lesion + [8.0, 6.0, -6.0], 14.0), 1.2 * blob(shape, GRID, [40.0, 44.0, 50.0], 10.0))
    (first, part), *others = find_lesions(heat / heat.max(), signal, inside, GRID, count=2)
    assert np.linalg.norm(first.ras_mm - lesion) < 1.0 and inside[first.index] and part is not None
    assert len(others) == 1 and others[0][0].value == 1.0


# --- erasing ---

NETWORKS = [
    {"stem_kernel": 7, "stem_stride": 4, "strides": (1, 2), "blocks": (2, 2)},
    {"stem_kernel": 3, "stem_stride": 2, "stem_pool": True, "strides": (1, 2, 1), "blocks": (1, 2, 1), "pooling": "power"},
    {"stem_kernel": 1, "stem_stride": 1, "stem_pool": True, "strides": (2, 1), "blocks": (1, 1), "head": "cosine", "pooling": "max"},
    {"stem_kernel": 1, "stem_stride": 2, "strides": (1, 2), "blocks": (1, 1), "norm": "group"},
]


@pytest.mark.parametrize("changes", NETWORKS)
def test_erasing_a_part_equals_the_whole_forward_pass(changes):
    """By the crop that changes, by all layers anew, and by the network itself on an erased exam; also at the borders."""
    torch.manual_seed(0)
    network = BreastNet(NetworkSettings(width=8, **changes)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm3d):  # every block takes part, every norm shifts
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.2, 0.2)
    size = (47, 38, 33)
    x = torch.rand(6, *size)
    affine = np.diag([1.1, 1.1, 1.1, 1.0])
    places = [apply_affine(affine, np.array(index)) for index in [(23, 19, 16), (0, 0, 0), (46, 37, 32), (30.5, 3.2, 20.1), (400, 0, 0)]]
    base, part = erased_logits(network, x, affine, places, radius_mm=5.0, edge_mm=2.0)
    _, whole = erased_logits(network, x, affine, places, radius_mm=5.0, edge_mm=2.0, whole=True)
    expected = []
    with torch.no_grad():
        for place in places:
            window, weights = soft_ball(size, affine, place, 5.0, 2.0)
            erased = x.clone()
            erased[(slice(None), *window)] *= torch.from_numpy(1 - weights)
            expected.append(float(network(erased[None])[0]))
        assert base == pytest.approx(float(network(x[None])[0]), abs=1e-4)
    assert part == pytest.approx(np.array(expected), abs=2e-4) and whole == pytest.approx(np.array(expected), abs=2e-4)
    assert part[-1] == pytest.approx(base) and np.abs(part[:-1] - base).max() > 1e-4


def test_soft_ball_is_whole_inside_and_nothing_outside():
    window, weights = soft_ball((40, 40, 40), GRID, (40.3, 39.1, 38.0), 10.0, 3.0)
    distance = np.linalg.norm(places_of((40, 40, 40), GRID)[window] - (40.3, 39.1, 38.0), axis=-1)
    assert (weights[distance <= 7] == 1).all() and (weights[distance >= 13] == 0).all()
    assert (np.diff(weights.ravel()[np.argsort(distance.ravel())]) <= 1e-6).all()
    outside = np.ones((40, 40, 40), bool)
    outside[window] = False
    assert np.linalg.norm(places_of((40, 40, 40), GRID)[outside] - (40.3, 39.1, 38.0), axis=-1).min() > 12.9


def test_rerank_puts_first_what_the_score_rests_on():
    network = BreastNet(NetworkSettings(width=4, blocks=(1,), strides=(1,), stem_kernel=1, stem_stride=2)).eval()
    with torch.no_grad():
        network.stem[0].weight.fill_(0)
        network.stem[0].weight[0, 5] = 1.0  # only the last phase is looked at
        network.weight.copy_(torch.tensor([1000.0, 0, 0, 0]))
    x = torch.zeros(6, 40, 40, 40)
    x[:5, 8:12, 8:12, 8:12], x[5, 28:32, 28:32, 28:32] = 9.0, 2.0
    peaks = [Peak((19.0,) * 3, 1.0, (9, 9, 9)), Peak((59.0,) * 3, 0.4, (29, 29, 29))]
    ordered = rerank(network, x, GRID, peaks, radius_mm=10.0)
    assert [p.value for p, _ in ordered] == [0.4, 1.0]
    assert ordered[0][1] > 0.1 and ordered[1][1] == pytest.approx(0, abs=1e-5)


# --- outlines ---


@pytest.mark.parametrize("radius_mm", [6.0, 12.0])
def test_outline_of_a_ball_has_its_volume_and_diameter(radius_mm):
    affine = oblique_affine(np.random.default_rng(3), (1.1, 1.1, 1.1))
    shape = (50, 48, 46)
    centre = apply_affine(affine, np.array([24.6, 23.2, 22.9]))
    signal = 0.3 + 2 * ball(shape, affine, centre, radius_mm)
    found = findings.outline(signal, np.ones(shape, bool), affine, centre + 2.0)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.15)
    assert found.diameter_mm == pytest.approx(2 * radius_mm, rel=0.1)
    truth = np.linalg.norm(places_of(shape, affine) - centre, axis=-1) <= radius_mm
    assert metrics.dice(found.region.array, truth) > 0.95


def test_outline_fills_a_rim_and_drops_the_vessel_that_feeds_it():
    affine, shape = np.diag([1.1, 1.1, 1.1, 1.0]), (60, 50, 50)
    centre = np.array([33.0, 27.0, 27.0])
    rim = ball(shape, affine, centre, 11.0) - 0.9 * ball(shape, affine, centre, 6.0)
    vessel = tube(shape, affine, centre, (1, 0, 0), 1.6) * (places_of(shape, affine)[..., 0] > 40)
    found = findings.outline(0.2 + np.maximum(rim, vessel), np.ones(shape, bool), affine, centre, search_mm=12.0)
    assert found.region.array[30, 25, 25], "the dark middle belongs to the lesion"
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 11.0**3 / 1000, rel=0.15)
    assert found.diameter_mm < 30, "the vessel is 26 mm long beside the lesion"


def test_outline_stays_inside_the_mask_and_within_reach():
    affine, shape = np.diag([1.1, 1.1, 1.1, 1.0]), (60, 50, 50)
    centre = np.array([33.0, 27.0, 27.0])
    inside = places_of(shape, affine)[..., 1] > 25.0
    found = findings.outline(0.2 + ball(shape, affine, centre, 20.0), inside, affine, centre, reach_mm=12.0)
    assert found.region.array.any() and not (found.region.array & ~inside).any()
    assert found.diameter_mm < 2 * 12.0 + 7.0  # within 12 mm of the strongest voxel, which is within 6 mm of the place
    assert findings.outline(np.zeros(shape), inside, affine, centre) is None


def test_curve_of_a_region_is_its_mean_and_its_grid_does_not_matter():
    affine = oblique_affine(np.random.default_rng(1), (2.0, 2.0, 2.5), largest_deg=5)
    exam = body_exam(affine, (60, 60, 50))
    lesion = apply_affine(affine, np.array([30.0, 30.0, 25.0]))
    exam = body_exam(affine, (60, 60, 50), lesion)
    region = np.linalg.norm(places_of((60, 60, 50), affine) - lesion, axis=-1) <= 6.0
    curve = findings.region_curve(exam, Volume(region, affine))
    before = exam.pre.volume.array[region].mean()
    expected = [100 * (p.volume.array[region].mean() - before) / before for p in exam.post]
    assert curve["enhancement"] == pytest.approx(expected, abs=0.02) and curve["unit"] == "%"
    assert curve["type"] == "washout" and curve["ras_mm"] == pytest.approx(list(lesion), abs=0.5)
    finer = affine.copy()
    finer[:3, :3] /= 2
    region = np.linalg.norm(places_of((120, 120, 100), finer) - lesion, axis=-1) <= 6.0
    assert findings.region_curve(exam, Volume(region, finer))["enhancement"] == pytest.approx(expected, rel=0.1)
    with pytest.raises(InputError, match="no voxel of the exam"):
        findings.region_curve(exam, Volume(np.zeros((4, 4, 4), bool), affine))


# --- depth and side ---


def test_depth_is_the_shortest_way_to_the_skin():
    """Half a ball in front of a chest wall: from its middle line the skin is a radius away on all sides, the chest is not skin."""
    shape, radius = (60, 40, 60), 50.0
    middle = np.array([59.0, 4.0, 59.0])
    places = places_of(shape, GRID)
    inside = (np.linalg.norm(places - middle, axis=-1) <= radius) & (places[..., 1] >= 4)
    assert landmarks.Skin.of(inside, GRID).depth(middle + [0, 30.0, 0]) == pytest.approx(20.0, abs=2.0)
    assert landmarks.Skin.of(inside, GRID).depth(middle + [30.0, 20.0, 0]) == pytest.approx(radius - np.hypot(30, 20), abs=2.0)
    assert landmarks.Skin.of(inside, GRID).depth(middle + [0, 1.0, 0]) > 40.0, "the back of the mask is no skin"
    assert landmarks.Skin.of(inside, GRID).depth(middle + [0, 60.0, 0]) == 0.0
    deeper = landmarks.Skin.of(inside, GRID, skin_mm=4.4).depth(middle + [0, 30.0, 0])
    assert deeper == pytest.approx(24.4, abs=2.0)


def test_side_is_the_patients():
    affine = oblique_affine(np.random.default_rng(0), (1.1, 1.1, 1.1))
    assert landmarks.side(affine, apply_affine(affine, np.array([30.0, 5, 5])), 20.0) == "right"
    assert landmarks.side(affine, apply_affine(affine, np.array([10.0, 5, 5])), 20.0) == "left"


# --- maps ---


def test_weighted_maps_keep_what_speaks_for_malignant():
    x = torch.rand(5, 4, 3, 2)
    assert torch.allclose(weighted_coam(x, torch.ones(5)), coam(x), rtol=1e-5)
    mixed = torch.tensor([1.0, -2.0, 0.5, -0.1, 0.0])
    assert torch.allclose(weighted_coam(x, mixed), coam(x * mixed.clamp_min(0).sqrt()[:, None, None, None]), rtol=1e-4)
    assert (coam_by_cam(x, mixed)[cam(x, mixed) <= 0] == 0).all()
    assert torch.allclose(feature_norm(x), x.square().sum(0).sqrt())


def test_shifted_cells_come_to_the_same_place():
    """A map of the exam moved by half a cell, placed by its own affine, agrees with the plain one where both are smooth."""
    affine = oblique_affine(np.random.default_rng(5), (4.4, 4.4, 4.4))
    size, stride = (32, 28, 24), 4

    def ramp(cell_affine, count):
        return (places_of(count, cell_affine) @ [0.3, -0.2, 0.5]).astype(np.float32)

    plain = upsample(ramp(feature_affine(affine, stride), (8, 7, 6)), affine, stride, size)
    moved = feature_affine(affine, stride)
    moved[:3, 3] = apply_affine(affine, np.full(3, -2.0))
    again = place_cells(ramp(moved, (9, 8, 7)), moved, size, affine)
    assert np.abs(plain - again)[2:-6, 2:-6, 2:-6].max() < 1e-3


# --- the comparison ---


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "ROUNDS", 50)
        top = tmp_path_factory.mktemp("localize")
        rows = make_cache(top / "cache")
        run = make_run(top / "run", top / "cache", rows)
        assert localize.main([str(run), "--output", str(top / "out"), "--precision", "float32"]) == 0
        yield top, run


def test_every_method_is_measured_on_the_same_exams(compared):
    top, _ = compared
    result = json.loads((top / "out" / "localisation.json").read_text())
    assert set(result["methods"]) == set(localize.methods())
    assert result["n"] == 8 and result["split"] == "validation" and result["simulated"]
    for figures in result["methods"].values():
        assert figures["all"]["n"] == 8 and figures["called"]["n"] == result["called"] < 8
        assert 0 <= figures["all"]["dice_outline"] <= 1 and figures["seconds"] >= 0
    # a bright cube is all there is: snapped to it, every map finds it, to a fraction of its 17.6 mm
    assert result["methods"]["COAM+snap"]["all"]["hit10"] == 1 and result["methods"]["COAM+snap"]["all"]["mean_mm"] < 3.0
    assert result["methods"]["COAM+snap"]["all"]["mean_mm"] < result["methods"]["COAM"]["all"]["mean_mm"]
    text = (top / "out" / "localisation.md").read_text()
    assert "simulated" in text and all(text.count(f"| {name} |") >= 2 for name in localize.methods())  # one table a protocol
    assert (top / "out" / "worst20.png").stat().st_size > 10_000


def test_a_broken_off_comparison_goes_on(compared, monkeypatch):
    top, run = compared
    before = (top / "out" / "localisation.md").read_text()
    rows = (top / "out" / "rows.jsonl").read_text().splitlines()
    (top / "out" / "rows.jsonl").write_text("\n".join([*rows[:6], rows[6][:40]]) + "\n")
    read = []
    plain = cache.load
    monkeypatch.setattr(
        localize, "judge", lambda predictor, exam, real=localize.judge: read.append(exam.meta["exam"]) or real(predictor, exam)
    )
    monkeypatch.setattr(localize, "draw_worst", lambda *a, **k: None)
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    localize.compare(run, top / "out", precision="float32")
    assert len(read) == 2 and cache.load is plain

    def places(text):  # the tables of methods without their seconds
        return [line.rsplit("|", 2)[0] for line in text.splitlines() if line.count("|") == 10]

    assert places((top / "out" / "localisation.md").read_text()) == places(before)
    known = cache.read_meta
    monkeypatch.setattr(cache, "read_meta", lambda path: {**known(path), "fingerprint": "other" if path.stem == read[0] else ""})
    localize.compare(run, top / "out", precision="float32")
    assert read[2:] == read[:1], "an exam that was made anew is read anew"


def test_test_exams_need_a_choice_made_on_validation_and_are_counted(compared, tmp_path, monkeypatch, capsys):
    top, run = compared
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    assert localize.main([str(run), "--split", "test", "--output", str(tmp_path / "no")]) == 2
    assert "--choice" in capsys.readouterr().err and not (run / "evaluation.json").exists()
    found = localize.compare(run, tmp_path / "test", split="test", choice=top / "out", precision="float32")
    assert found["choice"] == json.loads((top / "out" / "localisation.json").read_text())["choice"] and found["split"] == "test"
    held = json.loads((run / "evaluation.json").read_text())
    assert held["evaluations"] == 1 and held["history"][-1]["finished"], "a reading that came to its end"
    assert localize.main([str(run), "--split", "test", "--choice", str(tmp_path / "test"), "--output", str(tmp_path / "no")]) == 2


def test_choice_keeps_to_twice_the_time_of_coam():
    def line(mean, seconds):
        return {"called": {"mean_mm": mean}, "seconds": seconds}

    table = {"COAM": line(20.0, 1.0), "CAM": line(30.0, 1.0), "slow": line(4.0, 2.1), "quick": line(6.0, 1.9)}
    assert localize.choose(table) == {"best": "slow", "default": "quick"}


def test_by_score_takes_the_most_suspicious_first():
    rows = [{"patient": n, "logit": n, "methods": {"COAM": {"mm": 100.0 - 10 * n, "inside": n > 7}}} for n in range(10)]
    top, whole = localize.by_score(rows, "COAM", (0.2, 1.0))
    assert (top["n"], top["mean_mm"], top["pointing"], top["lowest_logit"]) == (2, 15.0, 1.0, 8)
    assert (whole["n"], whole["mean_mm"]) == (10, 55.0)


def test_what_was_hit_is_read_off_the_truth_first():
    inside = np.zeros((40, 40, 40), bool)
    inside[4:36, 4:36, 4:36] = True
    lesions = [
        {"ras_mm": [40.0, 40, 40], "radius_mm": 6.0, "malignant": True},
        {"ras_mm": [20.0, 20, 20], "radius_mm": 5.0, "malignant": False},
    ]
    exam = cache.CachedExam(torch.zeros(1), {"affine": GRID.tolist(), "lesions": lesions}, inside, None)
    vessel = component(0.2 + tube(inside.shape, GRID, [60.0, 40, 40], (0, 0, 1), 3.0), inside, GRID, (60.0, 40, 40))
    assert localize.what_is_there(exam, (41.0, 40, 40), vessel) == "malignant lesion"
    assert localize.what_is_there(exam, (22.0, 20, 20), None) == "benign lesion"
    assert localize.what_is_there(exam, (60.0, 40, 40), vessel) == "vessel by its shape"
    assert localize.what_is_there(exam, (60.0, 40, 40), None) == "other tissue"
    assert localize.what_is_there(exam, (69.0, 40, 40), None) == "border of the mask"
    assert localize.what_is_there(exam, (22.0, 68.0, 40), None) == "nipple by its place"


@pytest.mark.parametrize("seed", range(12))
def test_a_region_is_that_of_labels_on_the_whole_grid(seed, monkeypatch):
    from scipy import ndimage

    monkeypatch.setattr(localisation, "_FIRST_BOX_MM", 2.0)  # many reach beyond it
    rng = np.random.default_rng(seed)
    bright = rng.random((19, 14, 11)) < (0.3, 0.5, 0.7)[seed % 3]
    voxels = np.argwhere(bright)
    seed_voxel = tuple(voxels[rng.integers(len(voxels))])
    labels, _ = ndimage.label(bright)
    region = localisation._connected(bright, seed_voxel, np.array([1.0, 2.0, 0.7]))
    assert np.array_equal(region, labels == labels[seed_voxel])
