"""Kinetic maps, tumour volume, projections and curves where one looks, on signals known by hand."""

import numpy as np
import pytest
from phantom import body_exam, oblique_affine

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.findings.kinetics import region_curve
from BreastCMSLLib.kinetics.looking import ball_about, curves_of, mirrored
from BreastCMSLLib.kinetics.maps import kinetic_maps, missing_maps
from BreastCMSLLib.kinetics.names import MAPS, MIP_AXIAL, MIP_LEFT, MIP_RIGHT
from BreastCMSLLib.kinetics.phases import kinetic_phases
from BreastCMSLLib.kinetics.projections import projections
from BreastCMSLLib.kinetics.regions import Breasts, body_of, breasts_of
from BreastCMSLLib.kinetics.settings import KineticSettings
from BreastCMSLLib.kinetics.tumour_volume import (
    box_of_outline,
    functional_tumour,
    missing_tumour_volume,
    tumour_volume_ml,
)
from BreastCMSLLib.preprocessing.landmarks import Landmarks

SHAPE = (24, 20, 16)
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
TIMES = (0.0, 60.0, 150.0, 240.0, 450.0)
WASHOUT, PLATEAU, PERSISTENT = (5, 5, 4), (12, 10, 8), (18, 14, 11)  # corners of blocks of 4 × 4 × 4 voxels
CURVES = {  # signal at the five times above
    WASHOUT: (100, 220, 250, 200, 160),
    PLATEAU: (200, 380, 400, 405, 410),
    PERSISTENT: (100, 130, 160, 190, 240),
}


def block(corner):
    region = np.zeros(SHAPE, dtype=bool)
    region[tuple(slice(c, c + 4) for c in corner)] = True
    return region


def blocks_exam(times=TIMES, phases=slice(None), kind="phases", affine=AFFINE):
    """Tissue of signal 100 that does not enhance, with three blocks that do."""
    volumes = []
    for n in range(len(TIMES)):
        array = np.full(SHAPE, 100.0, dtype=np.float32)
        for corner, signal in CURVES.items():
            array[block(corner)] = signal[n]
        volumes.append(array)
    if kind == "subtractions":
        volumes = [array - volumes[0] for array in volumes[1:]]
        times = times and times[1:]
    volumes = volumes[phases]
    seconds = times[phases] if times else [None] * len(volumes)
    rng = np.random.default_rng(0)
    listed = [
        Phase(Volume((a + rng.normal(0, 1e-3, SHAPE)).astype(np.float32), affine), f"dyn {n}", time_s=time)
        for n, (a, time) in enumerate(zip(volumes, seconds))
    ]
    return make_exam(listed, kind=kind, keep_order=True)


def maps_of(exam, **settings):
    everywhere = np.ones(SHAPE, dtype=bool)
    return kinetic_maps(exam, everywhere, everywhere, KineticSettings(**settings))


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        # early: 150 s (90 s after the first), late: 450 s (390 s after it), last: 450 s
        (WASHOUT, {"PE": 150.0, "WASHIN": 150.0, "WASHOUT": -60.0, "SER": 2.5, "TTP": 1.5}),
        (PLATEAU, {"PE": 105.0, "WASHIN": 100.0, "WASHOUT": 5.0, "SER": 200 / 210, "TTP": 6.5}),
        (PERSISTENT, {"PE": 140.0, "WASHIN": 60.0, "WASHOUT": 100 * 80 / 60, "SER": 60 / 140, "TTP": 6.5}),
    ],
)
def test_every_map_has_the_value_computed_by_hand(corner, expected):
    maps = maps_of(blocks_exam())
    assert maps.missing == {} and set(maps.volumes) == set(MAPS)
    for name, value in expected.items():
        volume = maps.volumes[name]
        assert volume.array.dtype == np.float32 and volume.same_grid(blocks_exam().grid)
        assert volume.array[block(corner)] == pytest.approx(value, rel=0.01), name


def test_wash_out_of_a_voxel_is_the_delayed_change_of_its_curve():
    exam = blocks_exam()
    maps = maps_of(exam)
    for corner in CURVES:
        curve = region_curve(exam, exam.grid.with_array(block(corner)))
        assert np.median(maps.volumes["WASHOUT"].array[block(corner)]) == pytest.approx(
            curve["wash_out"], abs=0.2
        )


def test_ratios_have_no_value_where_nothing_enhances_and_none_has_outside_the_body():
    exam = blocks_exam()
    body = np.ones(SHAPE, dtype=bool)
    body[:, :3] = False
    maps = kinetic_maps(exam, body, body)
    still = body & ~np.any([block(corner) for corner in CURVES], axis=0)
    for name, volume in maps.volumes.items():
        assert np.isnan(volume.array[~body]).all()
        assert np.isnan(volume.array[still]).all() == (name in ("WASHOUT", "SER", "TTP"))
    assert np.isnan(maps_of(exam, shown_percent=145).volumes["SER"].array[block(PLATEAU)]).all()


def test_noise_alone_has_no_ratio_and_what_stands_out_of_it_has():
    """Subtractions: white noise of 10, and a block that enhances by 100."""
    rng = np.random.default_rng(0)
    shape = (40, 40, 12)
    phases = []
    for n in range(3):
        array = rng.normal(0, 10, shape).astype(np.float32)
        array[10:20, 10:20, 4:8] += 100
        phases.append(Phase(Volume(array, AFFINE), f"subtraction {n}", time_s=120.0 * n))
    whole = np.ones(shape, bool)
    ratio = kinetic_maps(make_exam(phases, kind="subtractions"), whole, whole).volumes["SER"].array
    block = np.zeros(shape, bool)
    block[10:20, 10:20, 4:8] = True
    assert np.isfinite(ratio[block]).mean() > 0.99
    assert np.isfinite(ratio[~block]).mean() < 0.001


def test_a_ratio_of_what_is_gone_at_the_late_phase_has_no_value():
    exam = blocks_exam()
    exam.post[-1].volume.array[block(WASHOUT)] = 90.0
    assert np.isnan(maps_of(exam).volumes["SER"].array[block(WASHOUT)]).all()


@pytest.mark.parametrize(
    ("exam", "absent"),
    [
        ({"kind": "subtractions"}, {"PE": "subtractions alone", "WASHIN": "subtractions alone"}),
        ({"times": None}, {"TTP": "times"}),
        ({"phases": slice(0, 2)}, dict.fromkeys(("WASHOUT", "SER", "TTP"), "one phase after contrast")),
    ],
)
def test_what_cannot_be_there_says_why(exam, absent):
    maps = maps_of(blocks_exam(**exam))
    assert set(maps.missing) == set(absent) and set(maps.volumes) == set(MAPS) - set(absent)
    for name, words in absent.items():
        assert words in maps.missing[name] and maps.missing[name].endswith(".")
    assert missing_maps(blocks_exam(**exam)) == maps.missing


def test_subtractions_alone_give_the_same_ratios():
    maps = maps_of(blocks_exam(kind="subtractions"))
    whole = maps_of(blocks_exam())
    for name in ("SER", "WASHOUT", "TTP"):
        for corner in CURVES:
            assert maps.volumes[name].array[block(corner)] == pytest.approx(
                whole.volumes[name].array[block(corner)], rel=0.01
            )


def test_early_and_late_are_the_phases_nearest_to_their_times():
    phases = kinetic_phases(blocks_exam())
    assert (phases.early, phases.late) == (1, 3) and "1.5 min" in phases.text and "6.5 min" in phases.text
    phases = kinetic_phases(blocks_exam(), KineticSettings(early_s=0, late_s=100))
    assert (phases.early, phases.late) == (0, 1)
    phases = kinetic_phases(blocks_exam(times=None))
    assert (phases.early, phases.late) == (1, 3) and "unknown" in phases.text
    phases = kinetic_phases(blocks_exam(phases=slice(0, 2)))
    assert (phases.early, phases.late) == (0, None)
    phases = kinetic_phases(blocks_exam(phases=slice(0, 3)))
    assert (phases.early, phases.late) == (0, 1)


def test_tumour_volume_counts_voxels_within_the_thresholds():
    exam, everywhere = blocks_exam(), np.ones(SHAPE, dtype=bool)
    voxel_ml = 12.0 / 1000
    # of the bright block and the other: 100 % and 150 % early; the third enhances by 60 % early
    settings = {"background": 0.5}
    assert tumour_volume_ml(exam, everywhere, KineticSettings(**settings)) == pytest.approx(128 * voxel_ml)
    low = KineticSettings(**settings, percent=50)
    assert tumour_volume_ml(exam, everywhere, low) == pytest.approx(192 * voxel_ml)
    washing_out = KineticSettings(**settings, ser=1.0)
    box, tumour = functional_tumour(exam, everywhere, washing_out)
    assert (tumour == block(WASHOUT)[box]).all()
    assert tumour_volume_ml(exam, np.zeros(SHAPE, dtype=bool)) == 0.0


def test_tumour_volume_leaves_out_what_is_dark_before_contrast_and_what_stands_alone():
    exam = blocks_exam()
    near = box_of_outline(block(PLATEAU) | block(WASHOUT), np.ones(SHAPE, dtype=bool), exam.grid.spacing, 0)
    near &= block(PLATEAU) | block(WASHOUT)
    # 60 % of the bright block's 200 is more than the other block has
    assert tumour_volume_ml(exam, near) == pytest.approx(64 * 0.012)
    single = (20, 3, 3)
    for phase, signal in zip(exam.phases, CURVES[PLATEAU]):
        phase.volume.array[single] = signal
    beside = np.ones(SHAPE, dtype=bool)
    assert not functional_tumour(exam, beside)[1][single]
    assert functional_tumour(exam, beside, KineticSettings(neighbours=0))[1][single]


def test_tumour_volume_says_why_it_is_not_there():
    assert missing_tumour_volume(blocks_exam()) == ""
    assert "subtractions alone" in missing_tumour_volume(blocks_exam(kind="subtractions"))
    assert "one phase" in missing_tumour_volume(blocks_exam(phases=slice(0, 2)))


def test_the_box_of_an_outline_ends_with_the_breasts():
    breasts = np.ones(SHAPE, dtype=bool)
    breasts[:6] = False
    box = box_of_outline(block(WASHOUT), breasts, np.array([2.0, 2.0, 3.0]), 4.0)
    assert box.sum() == 5 * 8 * 6 and not box[:6].any()


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="background"):
        KineticSettings(background=60)


def two_breasts():
    right = np.zeros(SHAPE, dtype=bool)
    right[:11] = True
    return Breasts(np.ones(SHAPE, dtype=bool), {"right": right, "left": ~right})


def test_projections_hold_the_highest_early_change_along_their_axis():
    exam, breasts = blocks_exam(), two_breasts()
    flat = projections(exam, breasts)
    assert set(flat) == {MIP_AXIAL, MIP_RIGHT, MIP_LEFT}
    axial = flat[MIP_AXIAL]
    assert axial.shape == (24, 20, 1)
    assert axial.array[:, :, 0] == pytest.approx(
        np.maximum(exam.subtraction(1).array.max(axis=2), 0), abs=1e-4
    )
    # one side's projection shows nothing of the other's
    assert flat[MIP_RIGHT].shape == (1, 20, 16)
    assert flat[MIP_RIGHT].array.max() == pytest.approx(150, rel=0.01)  # the washing-out block
    assert flat[MIP_LEFT].array.max() == pytest.approx(200, rel=0.01)


def test_a_projection_lies_over_the_whole_exam():
    exam = blocks_exam(affine=oblique_affine(np.random.default_rng(3), (2.0, 2.5, 3.0)))
    for volume in projections(exam, two_breasts()).values():
        corners = np.array([(-0.5, -0.5, -0.5), np.array(volume.shape) - 0.5])
        expected = np.array([(-0.5, -0.5, -0.5), np.array(SHAPE) - 0.5])
        assert apply_affine(volume.affine, corners) == pytest.approx(apply_affine(exam.grid.affine, expected))


def test_body_and_breasts_lie_where_the_phantom_has_them():
    from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess

    affine = oblique_affine(np.random.default_rng(1), (3.0, 3.0, 4.0), largest_deg=8)
    shape = [0, 0, 0]
    for axis in range(3):
        world = int(np.abs(affine[:3, axis]).argmax())
        shape[axis] = int((380, 300, 240)[world] / np.linalg.norm(affine[:3, axis]))
    exam = body_exam(affine, shape)
    model_input = preprocess(exam, InputContract(size=(128, 96, 64), spacing_mm=3.0))
    breasts = breasts_of(exam, model_input)
    body = body_of(exam, breasts)
    tissue = exam.pre.volume.array > 100
    assert (body & tissue).sum() > 0.95 * tissue.sum() and (body & ~tissue).sum() < 0.08 * tissue.sum()
    assert breasts.inside.any() and not (breasts.inside & ~body).any()
    # the middle of the grid is that of the body
    middle = apply_affine(affine, (np.array(shape) - 1) / 2.0)
    for name, sign in (("right", 1), ("left", -1)):
        centre = apply_affine(affine, np.argwhere(breasts.sides[name]).mean(axis=0)) - middle
        assert sign * centre[0] > 30
    assert (breasts.sides["right"] ^ breasts.sides["left"] == breasts.inside).all()


@pytest.mark.parametrize("slices", [72, 73, 74, 75])
def test_the_body_reaches_the_last_slice(slices):
    rng = np.random.default_rng(2)
    array = np.abs(rng.normal(0, 3, (60, 50, slices))).astype(np.float32)
    array[12:48, 8:40] += 200.0
    affine = np.diag([4.0, 4.0, 1.0, 1.0])
    phases = [Phase(Volume(array * share, affine), f"dyn {n}") for n, share in enumerate((1.0, 1.5, 1.4))]
    exam = make_exam(phases, kind="phases", keep_order=True)
    body = body_of(exam, Breasts(np.zeros(array.shape, dtype=bool), {}))
    assert body[20:40, 15:30].all(axis=(0, 1)).all()


# --- a curve where one looks ---


def landmarks(middle_mm, turn=0.0):
    axes = np.array([[np.cos(turn), np.sin(turn), 0.0], [-np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
    point = np.array([middle_mm, 0.0, 0.0])
    return Landmarks(
        np.array([point, point + [0, 0, 40]]), np.zeros((2, 3)), np.zeros((2, 9)), axes, sure=True
    )


def test_a_curve_at_a_point_is_that_of_the_voxels_about_it():
    exam = blocks_exam()
    centre = apply_affine(AFFINE, np.array(WASHOUT) + 1.5)
    ball = ball_about(exam, centre, radius_mm=3.0)
    curve, other = curves_of(exam, ball)
    assert curve["enhancement"] == pytest.approx([120, 150, 100, 60], abs=0.1) and other is None
    assert curve["type"] == "washout" and curve["ras_mm"] == pytest.approx(centre, abs=0.1)


def test_a_ball_smaller_than_a_voxel_is_the_nearest_voxel():
    exam = blocks_exam()
    ball = ball_about(exam, apply_affine(AFFINE, [7.3, 8.4, 5.2]), radius_mm=0.1)
    assert ball.array.sum() == 1
    assert region_curve(exam, ball)["ras_mm"] == pytest.approx(apply_affine(AFFINE, [7, 8, 5]), abs=0.01)
    with pytest.raises(InputError, match="outside the exam"):
        ball_about(exam, [500, 0, 0])


def test_the_other_breast_is_measured_at_the_mirror_image():
    exam = blocks_exam()
    # right of the middle of the grid by as much as the block lies left of it
    middle = -2.0 * 11.5
    curve, other = curves_of(exam, exam.grid.with_array(block(WASHOUT)), landmarks(middle))
    assert curve["type"] == "washout" and other["ras_mm"][0] - middle == pytest.approx(
        middle - curve["ras_mm"][0]
    )
    assert other["ras_mm"][1:] == pytest.approx(curve["ras_mm"][1:])
    assert max(abs(value) for value in other["enhancement"]) < 0.1


def test_a_mirror_image_outside_the_exam_has_no_curve():
    exam = blocks_exam()
    curve, other = curves_of(exam, exam.grid.with_array(block(WASHOUT)), landmarks(400.0))
    assert curve["type"] == "washout" and other is None


def test_mirroring_twice_changes_nothing():
    region = Volume(block(WASHOUT), oblique_affine(np.random.default_rng(2), (2.0, 2.0, 3.0)))
    marks = landmarks(12.0, turn=0.1)
    there = mirrored(region, marks)
    assert mirrored(there, marks).affine == pytest.approx(region.affine)
    points = apply_affine(region.affine, np.argwhere(region.array))
    images = apply_affine(there.affine, np.argwhere(there.array))
    assert [marks.from_midline_mm(p) for p in images] == pytest.approx(
        [-marks.from_midline_mm(p) for p in points]
    )


def test_a_region_on_another_grid_is_measured_where_it_lies():
    exam = blocks_exam()
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = apply_affine(AFFINE, np.array(WASHOUT) + [3.5, 3.5, -0.5]) + [0.5, 0.5, 0.5]
    curve = region_curve(exam, Volume(np.ones((8, 8, 12), dtype=bool), fine))
    assert curve["enhancement"] == pytest.approx([120, 150, 100, 60], abs=0.1)
    with pytest.raises(InputError, match="no voxel"):
        region_curve(exam, Volume(np.zeros((8, 8, 12), dtype=bool), fine))
