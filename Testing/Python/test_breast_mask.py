"""The breast mask on simulated bodies whose tissue is known: no air, no muscle, both breasts, landmarks."""

from functools import cache

import numpy as np
import pytest

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.preprocessing import body, limits, skin
from BreastCMSLLib.preprocessing.breast_mask import breast_mask
from BreastCMSLLib.preprocessing.landmarks import Landmarks, find_landmarks
from BreastCMSLLib.preprocessing.model_input import canonical_grid
from BreastCMSLLib.preprocessing.sternum import sternum_line
from training.simulation import anatomy
from training.simulation.exam import simulate

SEEDS = (9300001, 9300007)
MM = 2.2


@cache
def bodies(seed):
    """T1, pre and subtractions of an exam on the canonical grid, her tissue, and the true nipples."""
    drawn, women, build, draw = [], [], anatomy.build, anatomy.draw_woman
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "build", lambda *a: drawn.append(build(*a)) or drawn[-1])
        patch.setattr(anatomy, "draw_woman", lambda *a: women.append(draw(*a)) or women[-1])
        simulated = simulate(seed, True, voxel_mm=MM, with_t1=True)
    exam = simulated.exam
    size, affine = canonical_grid(exam.grid, MM)
    t1, pre, *posts = (
        np.asarray(resample(phase.volume, size, affine).array, dtype=np.float32)
        for phase in (exam.t1, exam.pre, *exam.post)
    )
    images = {"t1": t1, "pre": pre, "subtractions": np.maximum(sum(post - pre for post in posts), 0)}
    truth = {
        name: getattr(drawn[0], name).numpy()[: size[0], : size[1], : size[2]]
        for name in ("depth", "front", "breast")
    }
    # her frame lies in the scanner's by the same shift as the first lesion
    shift = np.array(simulated.lesions[0]["ras_mm"]) - np.array([simulated.facts[f"{a}_mm"] for a in "xyz"])
    nipples = np.array([np.array(breast.nipple) + shift for breast in women[0].breasts])
    return {name: Volume(image, affine) for name, image in images.items()}, truth, nipples


def mask_of(seed, source, window=np.s_[:, :, :]):
    """The mask of a part of an exam, and its tissue."""
    images, truth, _ = bodies(seed)
    image, affine = images[source], images[source].affine.copy()
    affine[:3, 3] = apply_affine(affine, np.array([part.start or 0 for part in window], float))
    mask = breast_mask(
        Volume(np.ascontiguousarray(image.array[window]), affine), tissue=source != "subtractions"
    )
    return mask, {name: values[window] for name, values in truth.items()}


def held(mask, truth):
    """Share of the breasts, 5 mm away from skin and chest wall, that the mask holds."""
    breast = (truth["breast"] != 0) & (truth["depth"] > 5) & (truth["front"] > 5)
    return float((mask.inside & breast).sum() / breast.sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("source", ["t1", "pre"])
def test_a_mask_holds_the_breasts_and_no_air(seed, source):
    mask, truth = mask_of(seed, source)
    assert (truth["depth"][mask.inside] < -MM / 2).mean() <= 0.005
    assert (truth["front"][mask.inside] < -5).mean() <= 0.03, "muscle and what lies behind it"
    assert held(mask, truth) >= 0.95


def test_masks_of_one_exam_agree_whatever_they_are_made_from():
    """On the model's grid; the subtractions' mask holds the breasts as well, and hardly any air."""
    images, truth, _ = bodies(SEEDS[1])
    size, affine = canonical_grid(images["pre"], 1.1)
    masks = {}
    for source, image in images.items():
        fine = Volume(np.asarray(resample(image, size, affine).array, dtype=np.float32), affine)
        masks[source] = breast_mask(fine, tissue=source != "subtractions").inside
    for one, other in (("t1", "pre"), ("pre", "subtractions"), ("t1", "subtractions")):
        least = 0.85 if other == "subtractions" else 0.9  # they show no chest wall
        shared = (masks[one] & masks[other]).sum()
        assert 2 * shared / (masks[one].sum() + masks[other].sum()) >= least, (one, other)
    coarse = masks["subtractions"][::2, ::2, ::2]
    depth = truth["depth"][tuple(slice(0, n) for n in coarse.shape)]
    assert (depth[coarse] < -MM / 2).mean() <= 0.005


@pytest.mark.parametrize("source", ["t1", "pre", "subtractions"])
def test_nipples_and_midline_are_found(source):
    for seed in SEEDS:
        landmarks = mask_of(seed, source)[0].landmarks
        _, _, nipples = bodies(seed)
        assert landmarks.sure
        assert np.linalg.norm(landmarks.nipples - nipples, axis=1).max() < 15
        middle = nipples[:, 0].mean()
        assert abs(landmarks.from_midline_mm((middle, 0, 0))) < 12


def test_an_exam_that_cuts_the_breasts_keeps_what_it_shows():
    """The upper 40 %, or the lower, not acquired."""
    nk = bodies(SEEDS[1])[0]["pre"].array.shape[2]
    for part in (slice(round(0.4 * nk), nk), slice(0, round(0.6 * nk))):
        mask, truth = mask_of(SEEDS[1], "pre", np.s_[:, :, part])
        assert held(mask, truth) >= 0.9 and (truth["depth"][mask.inside] < -MM / 2).mean() <= 0.01


def test_an_exam_of_one_breast_is_read_and_not_called_sure():
    ni = bodies(SEEDS[1])[0]["pre"].array.shape[0]
    for part in (slice(0, ni // 2), slice(ni // 2, ni)):
        mask, truth = mask_of(SEEDS[1], "pre", np.s_[part, :, :])
        assert not mask.landmarks.sure
        assert held(mask, truth) >= 0.9
        end = ni // 2 if part.start == 0 else 0
        assert abs(mask.middle - end) * MM < 20, "the sternum lies at the end where the other breast would be"


def test_noise_is_no_body():
    noise = np.abs(np.random.default_rng(0).normal(0, 5, (80, 60, 40))).astype(np.float32)
    with pytest.raises(InputError, match="in the exam; check"):
        breast_mask(Volume(noise, np.diag([MM, MM, MM, 1.0])))


# --- the parts ---


def two_breasts(shape=(120, 70)):
    """Front of a chest with two half balls 60 mm high, in voxels of 2.2 mm; the nipples' indices."""
    i, k = np.indices(shape)
    front = np.full(shape, 30.0)
    tips = ((28, 30), (91, 38))
    for tip_i, tip_k in tips:
        front += np.sqrt(np.maximum(27.0**2 - (i - tip_i) ** 2 - (k - tip_k) ** 2, 0))
    return front, tips


def test_landmarks_of_a_plain_surface():
    front, tips = two_breasts()
    found = find_landmarks(front, MM)
    assert found.sure and found.middle == pytest.approx(59.5, abs=1)
    assert found.sternum == pytest.approx(np.full(70, 30.0), abs=1)
    assert found.nipples[:, [0, 2]] == pytest.approx(np.array(tips, float), abs=2)
    # a flat chest has none, and a breast at the end of the field is none to be sure of
    assert not find_landmarks(np.full((120, 70), 30.0), MM).sure
    assert not find_landmarks(front[:, 38:], MM).sure
    assert find_landmarks(np.full((120, 70), np.nan), MM) is None


def test_landmarks_measure_in_mm_and_survive_json():
    front, _ = two_breasts()
    affine = np.diag([MM, MM, MM, 1.0])
    found = find_landmarks(front, MM)
    landmarks = found.landmarks(np.full(front.shape, 20.0), affine)
    left, right = landmarks.nipples
    assert landmarks.from_nipple_mm(right) == 0 and landmarks.above_nipple_mm(right + [0, 0, 7]) == 7
    assert landmarks.from_midline_mm(right) > 60 and landmarks.from_midline_mm(left) < -60
    assert landmarks.in_front_of_wall_mm((60 * MM, 25 * MM, 30 * MM)) == pytest.approx(5 * MM, abs=1.5)
    again = Landmarks.from_json(landmarks.as_json())
    assert np.array_equal(again.nipples, landmarks.nipples) and again.sure == landmarks.sure


def test_the_skin_is_as_thick_on_a_slope_as_on_the_flat():
    i = np.arange(60)[:, None] * np.ones((1, 30))
    flat, steep = np.full((60, 30), 40.0), 2.0 * i
    assert skin.below_skin(flat, 3.0)[30, 15] == 37.0
    across = (steep - skin.below_skin(steep, 3.0))[30, 15] / np.sqrt(5)
    assert across == pytest.approx(3.0, abs=0.3)


def test_the_back_comes_forward_towards_the_shoulders():
    sternum, above = np.full(50, 60.0), np.tile(np.arange(50) * 4.0 - 100, (2, 1))
    back = limits.back_plane(sternum, above, 2.0, behind_mm=45, rises_from_mm=45, rise=1.0)
    assert (back[:, above[0] <= 45] == 60 - 22.5).all()
    assert back[0, above[0] == 92][0] == pytest.approx(60 + 1.0)


def test_the_mask_ends_at_an_arm_beside_the_breast():
    """Arms as high as the sternum, 12 voxels wide, at both sides of two breasts."""
    front, tips = two_breasts((160, 70))
    front[:, :] = np.where(front > 30, front, 20.0)  # the chest falls off beside the breasts
    front[35:90] = np.maximum(front[35:90], 30.0)
    front[-20:] = 32.0
    line = np.full(70, 30.0)
    nipples = np.array([[28, 57, 30], [91, 57, 38]], float)
    between = limits.between_arms(front, line, nipples, 59.5, MM)
    assert between[60:118, 38].all() and not between[-20:, 38].any()
    assert between[:28, 30].all(), "no arm on the left"


def test_the_mask_ends_at_the_fold_below_the_breast():
    front, _ = two_breasts()
    line = np.full(70, 30.0)
    nipples = np.array([[28, 57, 45], [91, 57, 45]], float)
    shifted = np.roll(front, 10, axis=1)
    shifted[:, :8] = 45.0  # a belly
    above = limits.above_folds(shifted, line, nipples, 59.5, MM)
    assert above[28, 20:].all() and not above[28, :6].any()


def test_a_bridge_of_touching_breasts_does_not_bend_the_sternum_line():
    front, _ = two_breasts()
    front[45:75, 12:45] = 60.0
    assert sternum_line(front, 59.5, MM, 34.5) == pytest.approx(np.full(70, 30.0), abs=0.5)


def test_arms_beside_the_body_leave_its_tissue_whole():
    """The back rows of a body that fills the field from side to side hold no air to compare with."""
    shape = (80, 60, 20)
    inside = np.zeros(shape, bool)
    inside[:, :30] = inside[20:60, :50] = True
    image = np.where(inside, 200.0, 5.0 * np.random.default_rng(0).rayleigh(0.8, shape))
    found = body.tissue(image.astype(np.float32), MM)
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.95


def test_air_that_is_brighter_near_a_coil_is_no_tissue():
    """A ball of 200 among air of 5 to 60, which rises to the front."""
    grid = np.indices((60, 60, 20)) - np.array([30, 30, 10])[:, None, None, None]
    ball = (grid[:2] ** 2).sum(axis=0) < 18**2
    air = np.linspace(5, 60, 60)[None, :, None] * np.random.default_rng(0).rayleigh(0.8, ball.shape)
    found = body.tissue(np.where(ball, 200.0, air).astype(np.float32), MM)
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.95
