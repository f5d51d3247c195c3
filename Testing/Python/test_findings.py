"""The outline of a lesion, its mean curve, and where it lies in the breast."""

import numpy as np
import pytest
from phantom import body_exam, oblique_affine
from shapes import GRID, ball, points_of, tube

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.findings.kinetics import region_curve
from BreastCMSLLib.findings.outline import outline
from BreastCMSLLib.preprocessing.landmarks import Skin, side
from training.evaluation.metrics import dice


@pytest.mark.parametrize("radius_mm", [6.0, 12.0])
def test_outline_of_a_ball_has_its_volume_and_diameter(radius_mm):
    affine = oblique_affine(np.random.default_rng(3), (1.1, 1.1, 1.1))
    shape = (50, 48, 46)
    centre = apply_affine(affine, np.array([24.6, 23.2, 22.9]))
    signal = 0.3 + 2 * ball(shape, affine, centre, radius_mm)
    outlined = outline(signal, np.ones(shape, bool), affine, centre + 2.0)
    assert outlined.volume_ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.15)
    assert outlined.diameter_mm == pytest.approx(2 * radius_mm, rel=0.1)
    truth = np.linalg.norm(points_of(shape, affine) - centre, axis=-1) <= radius_mm
    assert dice(outlined.region.array, truth) > 0.95


def test_outline_fills_a_rim_and_drops_the_vessel_that_feeds_it():
    affine, shape = np.diag([1.1, 1.1, 1.1, 1.0]), (60, 50, 50)
    centre = np.array([33.0, 27.0, 27.0])
    rim = ball(shape, affine, centre, 11.0) - 0.9 * ball(shape, affine, centre, 6.0)
    vessel = tube(shape, affine, centre, (1, 0, 0), 1.6) * (points_of(shape, affine)[..., 0] > 40)
    outlined = outline(0.2 + np.maximum(rim, vessel), np.ones(shape, bool), affine, centre, search_mm=12.0)
    assert outlined.region.array[30, 25, 25], "the dark middle belongs to the lesion"
    assert outlined.volume_ml == pytest.approx(4 / 3 * np.pi * 11.0**3 / 1000, rel=0.15)
    assert outlined.diameter_mm < 30, "the vessel is 26 mm long beside the lesion"


def test_outline_stays_inside_the_mask_and_within_reach():
    affine, shape = np.diag([1.1, 1.1, 1.1, 1.0]), (60, 50, 50)
    centre = np.array([33.0, 27.0, 27.0])
    inside = points_of(shape, affine)[..., 1] > 25.0
    outlined = outline(0.2 + ball(shape, affine, centre, 20.0), inside, affine, centre, reach_mm=12.0)
    assert outlined.region.array.any() and not (outlined.region.array & ~inside).any()
    assert (
        outlined.diameter_mm < 2 * 12.0 + 7.0
    )  # within 12 mm of the strongest voxel, which is within 6 mm of the place
    assert outline(np.zeros(shape), inside, affine, centre) is None


def test_curve_of_a_region_is_its_mean_and_its_grid_does_not_matter():
    affine = oblique_affine(np.random.default_rng(1), (2.0, 2.0, 2.5), largest_deg=5)
    exam = body_exam(affine, (60, 60, 50))
    lesion = apply_affine(affine, np.array([30.0, 30.0, 25.0]))
    exam = body_exam(affine, (60, 60, 50), lesion)
    region = np.linalg.norm(points_of((60, 60, 50), affine) - lesion, axis=-1) <= 6.0
    curve = region_curve(exam, Volume(region, affine))
    before = exam.pre.volume.array[region].mean()
    expected = [100 * (p.volume.array[region].mean() - before) / before for p in exam.post]
    assert curve["enhancement"] == pytest.approx(expected, abs=0.02) and curve["unit"] == "%"
    assert curve["type"] == "washout" and curve["ras_mm"] == pytest.approx(list(lesion), abs=0.5)
    finer = affine.copy()
    finer[:3, :3] /= 2
    region = np.linalg.norm(points_of((120, 120, 100), finer) - lesion, axis=-1) <= 6.0
    assert region_curve(exam, Volume(region, finer))["enhancement"] == pytest.approx(expected, rel=0.1)
    with pytest.raises(InputError, match="no voxel of the exam"):
        region_curve(exam, Volume(np.zeros((4, 4, 4), bool), affine))


def test_depth_is_the_shortest_way_to_the_skin():
    """Half a ball in front of a chest wall: from its middle line the skin is a radius away on all sides, the
    chest is not skin."""
    shape, radius = (60, 40, 60), 50.0
    middle = np.array([59.0, 4.0, 59.0])
    points = points_of(shape, GRID)
    inside = (np.linalg.norm(points - middle, axis=-1) <= radius) & (points[..., 1] >= 4)
    assert Skin.of(inside, GRID).depth(middle + [0, 30.0, 0]) == pytest.approx(20.0, abs=2.0)
    assert Skin.of(inside, GRID).depth(middle + [30.0, 20.0, 0]) == pytest.approx(
        radius - np.hypot(30, 20), abs=2.0
    )
    assert Skin.of(inside, GRID).depth(middle + [0, 1.0, 0]) > 40.0, "the back of the mask is no skin"
    assert Skin.of(inside, GRID).depth(middle + [0, 60.0, 0]) == 0.0
    deeper = Skin.of(inside, GRID, skin_mm=4.4).depth(middle + [0, 30.0, 0])
    assert deeper == pytest.approx(24.4, abs=2.0)


def test_side_is_the_patients():
    affine = oblique_affine(np.random.default_rng(0), (1.1, 1.1, 1.1))
    assert side(affine, apply_affine(affine, np.array([30.0, 5, 5])), 20.0) == "right"
    assert side(affine, apply_affine(affine, np.array([10.0, 5, 5])), 20.0) == "left"
