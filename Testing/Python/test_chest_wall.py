"""Where the mask ends behind: found in each exam, held to walls that are known, and left alone where nothing shows one."""

import numpy as np
import pytest

from BreastCMSLLib import chest_wall
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.geometry import Volume, apply_affine, resample
from BreastCMSLLib.masking import MaskSettings, breast_mask
from BreastCMSLLib.preprocessing import InputContract, canonical_grid, preprocess
from training.simulation import anatomy
from training.simulation.exam import simulate

SHAPE, MIDDLE = (150, 110, 40), 74.5
SPACING = 2.2
LATERAL = np.abs(np.arange(SHAPE[0]) - MIDDLE) * SPACING
SKIN = 95.0  # index j over the sternum
SUPPRESSED, BRIGHT = (40.0, 110.0, 15.0), (200.0, 90.0, 15.0)  # fat, muscle, lung


def ellipse(behind_mm, half_width_mm, depth_mm):
    """Index j of a wall that begins so far behind the skin over the sternum, (i,)."""
    return SKIN - (behind_mm + depth_mm * (1 - np.sqrt(1 - np.clip(LATERAL / half_width_mm, 0, 1) ** 2))) / SPACING


def chest(wall, tissues, muscle_mm=12.0):
    """Fat down to the wall, muscle, then lung; noise of a twentieth of fat."""
    j = np.arange(SHAPE[1])[None, :, None]
    fat, muscle, lung = tissues
    image = np.where(j > wall[:, None, None], fat, np.where(j > wall[:, None, None] - muscle_mm / SPACING, muscle, lung))
    noise = np.random.default_rng(0).normal(0, fat / 20, SHAPE)
    return np.maximum(np.where(j > SKIN + 20, 0.0, image + noise), 0).astype(np.float32)


def ordinary():
    s = MaskSettings()
    front = np.full((SHAPE[0], SHAPE[2]), SKIN)
    return chest_wall.ordinary(
        front,
        MIDDLE,
        SPACING,
        sternum_depth_mm=s.sternum_depth_mm,
        half_width_mm=s.chest_half_width_mm,
        depth_mm=s.chest_depth_mm,
    )


@pytest.mark.parametrize("tissues", [SUPPRESSED, BRIGHT])
@pytest.mark.parametrize("shape", [(12, 130, 110), (16, 145, 95), (20, 128, 90), (10, 160, 90), (18, 150, 120)])
def test_the_wall_of_an_exam_is_found(tissues, shape):
    """Ordinary and other women, fat suppressed or not: within 4 mm (median 2) over the breasts, where the ordinary one errs by 20."""
    true, usual = ellipse(*shape), ordinary()
    found = usual[:, 0] + chest_wall.fit(chest(true, tissues), usual, MIDDLE, SPACING).moved_mm(LATERAL) / SPACING
    over = (LATERAL > 25) & (LATERAL < 110)
    error = np.abs(found - true)[over] * SPACING
    assert np.median(error) < 2 and error.max() < 5


def test_an_ordinary_wall_errs_by_centimetres():
    """What the test above would let through if nothing were fitted."""
    errors = [np.abs(ordinary()[:, 0] - ellipse(*shape))[LATERAL < 110].max() * SPACING for shape in [(20, 128, 90), (10, 160, 90)]]
    assert min(errors) > 8


def test_nothing_to_see_leaves_the_ordinary_wall():
    assert chest_wall.fit(np.full(SHAPE, 50.0, np.float32), ordinary(), MIDDLE, SPACING) is None
    narrow = slice(70, 80)  # 11 mm to either side of the sternum
    assert chest_wall.fit(np.ones(SHAPE, np.float32)[narrow], ordinary()[narrow], 4.5, SPACING) is None


def test_noise_is_no_wall():
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(200, 20, SHAPE).astype(np.float32)
        assert chest_wall.fit(noise, ordinary(), MIDDLE, SPACING) is None


CONTRACT = InputContract(size=(170, 110, 64), spacing_mm=2.2)


def test_the_mask_goes_no_further_forward_than_allowed():
    """A woman whose wall lies in front of the ordinary one: muscle is left in the mask rather than breast taken from it."""
    exam = simulate(60007083, True, voxel_mm=2.2).exam
    size, affine = canonical_grid(exam.grid, 2.2)
    image = Volume(np.asarray(resample(exam.pre.volume, size, affine).array), affine)
    usual = breast_mask(image, tissue=False).inside
    volumes = [breast_mask(image, MaskSettings(wall_forward_mm=forward)).inside.sum() / usual.sum() for forward in (0.0, 4.0, 20.0)]
    assert volumes[0] > 0.999 and volumes[0] > volumes[1] + 0.005 and volumes[1] > volumes[2] + 0.005


@pytest.mark.parametrize("seed, with_t1", [(60003288, False), (60005764, True), (60005921, True)])
def test_a_cancer_at_the_chest_wall_is_looked_at(seed, with_t1, monkeypatch):
    """Simulated exams whose cancer an ordinary wall cuts off by 8 to 9 mm: inside the mask with the exam's own."""
    made = simulate(seed, True, voxel_mm=2.2)
    assert (made.exam.t1 is not None) == with_t1

    def seen():
        given = preprocess(made.exam, CONTRACT)
        place = apply_affine(np.linalg.inv(given.affine), np.array(made.lesions[0]["ras_mm"]))
        return given.inside[tuple(np.rint(place).astype(int))]

    assert seen()
    monkeypatch.setattr(chest_wall, "fit", lambda *_: None)
    assert not seen()


def test_subtractions_show_no_wall(monkeypatch):
    """Enhancement shows heart and muscle, not fat: the mask of an exam without other volumes ends at the ordinary wall."""
    exam = simulate(60005237, True, voxel_mm=2.2).exam
    posts = [Phase(p.volume.with_array(p.volume.array - exam.pre.volume.array), p.name, p.source, p.time_s) for p in exam.post]
    bare = make_exam(posts, kind="subtractions")
    given = preprocess(bare, CONTRACT)
    assert given.mask_source == "subtractions"
    monkeypatch.setattr(chest_wall, "fit", lambda *_: None)
    assert np.array_equal(preprocess(bare, CONTRACT).inside, given.inside)


@pytest.mark.parametrize("seed", [60003288, 60005764, 60007083, 60002341])
def test_simulated_walls_are_met(seed, monkeypatch):
    """The mask ends a voxel before to 12 mm behind the true wall (median of each 20 mm); farther where that lies far in front."""
    bodies = []
    build = anatomy.build
    monkeypatch.setattr(anatomy, "build", lambda *args: bodies.append(build(*args)) or bodies[-1])
    exam = simulate(seed, True, voxel_mm=2.2).exam
    size, affine = canonical_grid(exam.grid, 2.2)
    image = resample((exam.t1 or exam.pre).volume, size, affine)
    mask = breast_mask(Volume(np.asarray(image.array, dtype=np.float32), affine))
    front = bodies[0].front.numpy()[: size[0], : size[1], : size[2]] > 0
    ends, wall = (np.where(seen.any(axis=1), seen.argmax(axis=1), np.nan) for seen in (mask.inside, front))
    behind = (wall - ends) * 2.2
    lateral = np.abs(np.arange(size[0]) - mask.middle) * 2.2
    bands = [np.nanmedian(behind[(lateral >= low) & (lateral < low + 20)]) for low in (40, 60, 80)]
    forward = seed in (60007083, 60002341)
    assert min(bands) > -2.3 and max(bands) < (25 if forward else 12), bands
