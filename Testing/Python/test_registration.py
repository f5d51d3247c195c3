"""Registration of the phases to the one before contrast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from BreastCMSLLib.alignment import register
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.preprocessing.registration import displacement_field, volume_change
from training.simulation import scanner
from training.simulation.exam import simulate
from training.simulation.motion import ElasticMotion

SHIFT_MM = np.array([4.0, -5.0, 4.8])  # 8 mm


@pytest.fixture(scope="module")
def simulated():
    """A malignant exam of 2.2 mm whose phases do not move at all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "draw_rigid", lambda rng, posts: np.zeros((posts, 3)))
        patch.setattr(ElasticMotion, "apply", lambda self, volume, phase: volume)
        return simulate(1, True, voxel_mm=2.2, with_t1=False)


@pytest.fixture(scope="module")
def moved(simulated) -> Exam:
    """The same exam, shifted in both phases after contrast that are left."""
    exam = simulated.exam
    voxels = np.linalg.solve(exam.grid.affine[:3, :3], SHIFT_MM)
    post = []
    for phase in exam.post[:2]:
        array = ndimage.shift(phase.volume.array.astype(np.float32), voxels, order=3, mode="nearest")
        post.append(replace(phase, volume=phase.volume.with_array(np.rint(array.clip(0)).astype(np.uint16))))
    return replace(exam, post=tuple(post), offsets=exam.offsets[:2])


@pytest.fixture(scope="module")
def registered(moved):
    return register(moved)


def test_a_still_exam_is_the_same_object(simulated):
    exam, registration = register(simulated.exam)
    assert exam is simulated.exam and registration.mode == "off" and not registration.text


def test_a_shift_is_found_and_taken_back_to_within_a_millimetre(registered):
    _, registration = registered
    assert registration.mode == "rigid" and all(registration.applied)
    assert min(registration.before_mm) > 6 and max(registration.after_mm) < 1
    assert "registered to dynamic pre" in registration.text


def test_a_lesions_enhancement_comes_back_to_within_a_twentieth(simulated, moved, registered):
    lesion = ndimage.binary_erosion(simulated.truth == 2)

    def enhancement(exam: Exam) -> float:
        return float(exam.subtraction(1).array[lesion].mean())

    still = enhancement(simulated.exam)
    assert enhancement(moved) < 0.8 * still
    assert enhancement(registered[0]) == pytest.approx(still, rel=0.05)


def test_phases_before_contrast_and_grids_stay(moved, registered):
    exam, _ = registered
    assert exam.pre is moved.pre and exam.exam_id == moved.exam_id
    for new, old in zip(exam.post, moved.post):
        assert new.volume.array.dtype == old.volume.array.dtype
        assert np.array_equal(new.volume.affine, old.volume.affine)


def test_the_number_of_threads_does_not_matter(moved, registered):
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        again, _ = register(moved)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(registered[0].post, again.post):
        assert np.array_equal(one.volume.array, other.volume.array)


def test_off_leaves_a_moved_exam_as_it_is(moved):
    exam, registration = register(moved, "off")
    assert exam is moved and registration.before_mm is None


def test_subtractions_alone_cannot_be_registered_and_it_is_said(moved):
    subtractions = replace(moved, pre=None)
    exam, registration = register(subtractions, "rigid")
    assert exam is subtractions and "subtractions alone" in registration.text


def test_an_unknown_mode_is_refused(moved):
    with pytest.raises(InputError, match="Unknown registration"):
        register(moved, "affine")


def test_what_fits_no_better_is_read_as_it_is(moved, monkeypatch):
    def useless(fixed, moving, size_mm, *, deformable):
        return np.full((3, *fixed.shape), 9.0, dtype=np.float32)

    monkeypatch.setattr("BreastCMSLLib.alignment.displacement_field", useless)
    exam, registration = register(moved)
    assert all(new is old for new, old in zip(exam.post, moved.post))
    assert registration.after_mm == registration.before_mm and "read as they are" in registration.text


def test_the_deformable_part_keeps_the_volume():
    rng = np.random.default_rng(0)
    fixed = ndimage.gaussian_filter(rng.random((48, 30, 40)), 2).astype(np.float32)
    fixed = 100 * (fixed - fixed.min()) / np.ptp(fixed)
    grow = np.stack(np.meshgrid(*[(np.arange(n) - n / 2) * 0.9 + n / 2 for n in fixed.shape], indexing="ij"))
    moving = ndimage.map_coordinates(fixed, grow, order=1, mode="nearest")
    field, rigid = (
        displacement_field(fixed, moving, (2.5, 2.5, 2.5), deformable=deformable)
        for deformable in (True, False)
    )
    assert np.abs(volume_change(field - rigid, (2.5, 2.5, 2.5))).max() < 0.06
