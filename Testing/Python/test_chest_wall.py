"""Where the mask ends behind: compared with walls that are known, and left alone where nothing shows one."""

import numpy as np
import pytest
from scipy import ndimage

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.preprocessing import chest_wall
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings, breast_mask
from BreastCMSLLib.preprocessing.model_input import InputContract, canonical_grid, preprocess
from training.simulation import anatomy
from training.simulation.exam import simulate

SHAPE, MIDDLE = (150, 110, 40), 74.5
SPACING = 2.2
LATERAL = np.abs(np.arange(SHAPE[0]) - MIDDLE) * SPACING
SKIN = 95.0  # index j over the sternum
SUPPRESSED, BRIGHT = (40.0, 110.0, 15.0), (200.0, 90.0, 15.0)  # fat, muscle, lung


def ellipse(behind_mm, half_width_mm, depth_mm):
    """Index j of a wall that begins so far behind the skin over the sternum, (i,)."""
    return (
        SKIN
        - (behind_mm + depth_mm * (1 - np.sqrt(1 - np.clip(LATERAL / half_width_mm, 0, 1) ** 2))) / SPACING
    )


def chest(wall, tissues, muscle_mm=12.0):
    """Fat down to the wall, muscle, then lung; noise of a twentieth of fat."""
    j = np.arange(SHAPE[1])[None, :, None]
    fat, muscle, lung = tissues
    image = np.where(
        j > wall[:, None, None], fat, np.where(j > wall[:, None, None] - muscle_mm / SPACING, muscle, lung)
    )
    noise = np.random.default_rng(0).normal(0, fat / 20, SHAPE)
    return np.maximum(np.where(j > SKIN + 20, 0.0, image + noise), 0).astype(np.float32)


def ordinary():
    """(i, k) the limit of an exam that shows no wall."""
    settings = MaskSettings()
    return chest_wall.ordinary(
        np.full(SHAPE[2], SKIN),
        LATERAL,
        SPACING,
        sternum_depth_mm=settings.sternum_depth_mm,
        half_width_mm=settings.chest_half_width_mm,
        depth_mm=settings.chest_depth_mm,
    )


SHAPES = [(12, 130, 110), (16, 145, 95), (20, 128, 90), (10, 160, 90), (18, 150, 120)]
OVER = (LATERAL > 25) & (LATERAL < 110)


def error_mm(image, true):
    """How far the exam's wall lies from the true one over the breasts, (i,)."""
    fitted = ordinary()[:, 0] + chest_wall.fit(image, ordinary(), MIDDLE, SPACING).moved_mm(LATERAL) / SPACING
    return np.abs(fitted - true)[OVER] * SPACING


@pytest.mark.parametrize("tissues", [SUPPRESSED, BRIGHT])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_wall_of_an_exam_is_found(tissues, shape):
    """In all women, fat suppressed or not: within 3 mm, where the ordinary wall is off by 4 to 11 mm."""
    true = ellipse(*shape)
    error = error_mm(chest(true, tissues), true)
    assert np.median(error) < 1.5 and error.max() < 3
    assert np.median(np.abs(ordinary()[:, 0] - true)[OVER] * SPACING) > 4


@pytest.mark.parametrize("tissues", [SUPPRESSED, BRIGHT])
def test_the_end_of_a_volume_is_not_the_wall(tissues):
    """A T1 that ends 45 mm behind the sternum is zero on the rest of the grid: before zeros is no lung."""
    for shape in SHAPES:
        true = ellipse(*shape)
        image = chest(true, tissues)
        image[:, : round(SKIN - 45 / SPACING)] = 0
        error = error_mm(image, true)
        assert np.median(error) < 2 and error.max() < 6  # up to 32 if zeros were taken for lung


def test_nothing_to_see_leaves_the_ordinary_wall():
    """An even image; one that darkens to the back, as far from a coil; fine and coarse noise; few rays."""
    behind = np.maximum(SKIN - np.arange(SHAPE[1]), 0)[None, :, None] * SPACING * np.ones(SHAPE)
    noises = [np.random.default_rng(seed).normal(size=SHAPE) for seed in range(4)]
    even = np.full(SHAPE, 50.0)
    darker = [300 - 2 * behind, 200 / (1 + behind / 120), 200 / (1 + behind / 120) + 10 * noises[0]]
    noisy = [200 + 20 * noise for noise in noises] + [
        200 + 80 * ndimage.gaussian_filter(noise, 2) for noise in noises
    ]
    for image in [even, -even, *darker, *noisy]:
        assert chest_wall.fit(image.astype(np.float32), ordinary(), MIDDLE, SPACING) is None
    few = slice(60, 90)
    clear = chest(ellipse(*SHAPES[0]), BRIGHT)
    assert chest_wall.fit(clear, ordinary(), MIDDLE, SPACING) is not None
    assert chest_wall.fit(clear[few], ordinary()[few], MIDDLE - 60, SPACING) is None


def test_each_side_and_height_has_its_own_wall():
    """A chest that comes forward on one side, and towards the head: within 4 mm over the breasts."""
    shape = (SHAPE[0], SHAPE[1], 80)
    k = np.arange(shape[2])
    true = ellipse(*SHAPES[1])[:, None] + 5.0 / SPACING * np.sin((k - 40) / 40 * np.pi / 2)[None, :]
    true[: SHAPE[0] // 2] += 5.0 / SPACING
    j = np.arange(SHAPE[1])[None, :, None]
    fat, muscle, lung = SUPPRESSED
    image = np.where(j > true[:, None], fat, np.where(j > true[:, None] - 12 / SPACING, muscle, lung))
    image = np.maximum(image + np.random.default_rng(0).normal(0, 2, shape), 0).astype(np.float32)
    usual = np.repeat(ordinary()[:, :1], shape[2], axis=1)
    moved = chest_wall.moved(image, usual, MIDDLE, SPACING, forward_mm=15.0)
    error = np.abs(usual + moved / SPACING - true)[OVER][:, 12:-12] * SPACING
    assert np.percentile(error, 95) < 4 and np.median(error) < 2
    whole = chest_wall.fit(image, usual, MIDDLE, SPACING).moved_mm(LATERAL)[:, None]
    assert np.median(np.abs(usual + whole / SPACING - true)[OVER] * SPACING) > 1.3 * np.median(error)


CONTRACT = InputContract(size=(170, 110, 64), spacing_mm=2.2)


def test_the_mask_goes_no_further_forward_than_allowed():
    """A wall in front of the ordinary one: muscle is left in the mask rather than breast taken from it."""
    exam = simulate(9310022, True, voxel_mm=2.2).exam
    size, affine = canonical_grid(exam.grid, 2.2)
    image = Volume(np.asarray(resample(exam.pre.volume, size, affine).array), affine)
    usual = breast_mask(image, tissue=False).inside
    volumes = [
        breast_mask(image, MaskSettings(wall_forward_mm=forward)).inside.sum() / usual.sum()
        for forward in (0.0, 4.0, 20.0)
    ]
    assert volumes[0] > volumes[1] + 0.005 and volumes[1] > volumes[2] + 0.005


def test_subtractions_show_no_wall(monkeypatch):
    """Enhancement shows heart and muscle, not fat: in an exam without other volumes no wall is looked for."""
    exam = simulate(60005237, True, voxel_mm=2.2).exam
    posts = [
        Phase(p.volume.with_array(p.volume.array - exam.pre.volume.array), p.name, p.source, p.time_s)
        for p in exam.post
    ]
    asked = []
    monkeypatch.setattr(chest_wall, "fit", lambda *_: asked.append(1))
    assert (
        preprocess(make_exam(posts, kind="subtractions"), CONTRACT).mask_source == "subtractions"
        and not asked
    )
    assert preprocess(exam, CONTRACT).mask_source == "t1" and asked


def test_simulated_walls_are_met(monkeypatch):
    """Median of each 20 mm across, over three women: at most 6 mm off, and nearer than the ordinary wall."""
    bodies, build, fit = [], anatomy.build, chest_wall.fit
    monkeypatch.setattr(anatomy, "build", lambda *args: bodies.append(build(*args)) or bodies[-1])
    own, ordinary_wall = [], []
    for seed in (9310003, 9310022, 9310027):
        exam = simulate(seed, True, voxel_mm=2.2).exam
        size, affine = canonical_grid(exam.grid, 2.2)
        image = resample((exam.t1 or exam.pre).volume, size, affine)
        image = Volume(np.asarray(image.array, dtype=np.float32), affine)
        # first voxel in front of the wall, from the front: behind her there is air and an arm
        behind_wall = bodies[-1].front.numpy()[: size[0], : size[1], : size[2]] <= 0
        wall = np.where(behind_wall.any(axis=1), size[1] - behind_wall[:, ::-1].argmax(axis=1), np.nan)
        for errors, fitted in ((own, fit), (ordinary_wall, lambda *_: None)):
            monkeypatch.setattr(chest_wall, "fit", fitted)
            mask = breast_mask(image)
            ends = np.where(mask.inside.any(axis=1), mask.inside.argmax(axis=1), np.nan)
            lateral = np.abs(np.arange(size[0]) - mask.middle) * 2.2
            for low in (40, 60, 80):
                over = (lateral >= low) & (lateral < low + 20)
                errors.append(abs(np.nanmedian((wall - ends)[over])) * 2.2)
    assert max(own) < 6
    assert np.mean(own) < np.mean(ordinary_wall) - 2, (own, ordinary_wall)
