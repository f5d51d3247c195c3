"""Mask, grids, phases and intensity: what the network reads, and where it lies in the patient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import body_exam, oblique_affine
from scipy import ndimage

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine, closest_canonical_axes, grid_distance
from BreastCMSLLib.core.itk import from_sitk, to_sitk
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings
from BreastCMSLLib.preprocessing.frangi import ridges
from BreastCMSLLib.preprocessing.model_input import (
    InputContract,
    canonical_grid,
    exam_duration_min,
    phase_weights,
    preprocess,
)

AXIAL = np.array([[-1.2, 0, 0, 170.0], [0, -1.2, 0, 130.0], [0, 0, 1.5, -100.0], [0, 0, 0, 1]])
SHAPE = (280, 220, 120)


@pytest.fixture(scope="module")
def exam():
    return body_exam(
        AXIAL,
        SHAPE,
        lesion_ras=apply_affine(AXIAL, (np.array(SHAPE) - 1) / 2) + [80, 20, 10],
        lesion_signal=250.0,
    )


@pytest.fixture(scope="module")
def model_input(exam):
    return preprocess(exam)


def test_input_is_the_contract(model_input):
    lr, ap, si = model_input.array.shape[1:]
    assert (len(model_input.array), lr, ap) == (6, 340, 220) and model_input.array.dtype == np.float32
    assert 128 <= si < 170  # as long as the body, which is longer than the contract
    assert np.allclose(np.linalg.norm(model_input.affine[:3, :3], axis=0), 1.1)
    assert (np.diag(model_input.affine)[:3] > 0).all()  # towards R, A, S
    assert (
        np.isfinite(model_input.array).all()
        and model_input.array.max() <= 10
        and model_input.array.min() >= -1
    )
    far = ndimage.distance_transform_edt(~model_input.inside) > 12
    assert far.any() and not model_input.array[:, far].any()
    assert any("interpolated" in w for w in model_input.warnings) and any(
        "No non-fat-saturated T1" in w for w in model_input.warnings
    )


def test_mask_holds_both_breasts_and_no_heart(exam, model_input):
    centre = apply_affine(AXIAL, (np.array(SHAPE) - 1) / 2)
    to_index = np.linalg.inv(model_input.affine)

    def inside(offset):
        return model_input.inside[tuple(np.round(apply_affine(to_index, centre + offset)).astype(int))]

    assert inside([80, 40, 0]) and inside([-80, 40, 0])
    for heart in ([-20, -75, 0], [0, -50, 10], [-45, -75, 0], [-20, -40, 0]):
        assert not inside(heart)
    assert 800 < model_input.mask_volume_ml < 2500
    assert abs(apply_affine(model_input.affine, np.array([model_input.middle, 0, 0]))[0] - centre[0]) < 6


def test_mask_edge_lies_just_under_the_skin(exam, model_input):
    """Measured where the breast's surface is known: the mask ends within 5 mm inside it."""
    centre = apply_affine(AXIAL, (np.array(SHAPE) - 1) / 2)
    column = apply_affine(np.linalg.inv(model_input.affine), centre + [80, 0, 0])
    line = model_input.inside[round(column[0]), :, round(column[2])]
    front = apply_affine(model_input.affine, np.array([0, np.flatnonzero(line).max(), 0]))[1]
    assert 0.0 < centre[1] + 75 - front < 5.0


@pytest.mark.slow
def test_a_t1_of_a_part_of_the_breasts_does_not_cut_the_mask(exam, model_input):
    """It would leave out, without a word, what it does not show."""
    t1 = exam.pre.volume
    for lacks, source in ((4, "t1"), (10, "pre"), (30, "pre")):
        part = Volume(t1.array[:, :, : SHAPE[2] - lacks], t1.affine)
        again = preprocess(replace(exam, t1=Phase(part, "short T1", source="t1")))
        assert again.mask_source == source
        assert again.mask_volume_ml > 0.93 * model_input.mask_volume_ml
    assert any(
        "short T1 shows 7" in warning and "from the pre-contrast phase instead" in warning
        for warning in again.warnings
    )


def test_kinetics_survive_the_scale(exam, model_input):
    """One scale for all phases: the ratio of two phases in the lesion is that of the exam."""
    spot = np.array(apply_affine(AXIAL, (np.array(SHAPE) - 1) / 2) + [80, 20, 10])
    index = tuple(np.round(apply_affine(np.linalg.inv(model_input.affine), spot)).astype(int))
    native = tuple(np.round(apply_affine(np.linalg.inv(AXIAL), spot)).astype(int))
    ours = model_input.array[0][index] / model_input.array[-1][index]
    theirs = exam.subtraction(0).array[native] / exam.subtraction(2).array[native]
    assert ours == pytest.approx(theirs, rel=0.05)


def test_oblique_flipped_and_anisotropic_agrees_with_axial(model_input):
    """The same body scanned in another orientation gives the same input wherever both see it."""
    rng = np.random.default_rng(5)
    affine = oblique_affine(rng, (1.4, 1.1, 1.2), 8.0)
    axes, _ = closest_canonical_axes(affine)
    extent = np.array([330.0, 260.0, 176.0])
    shape = np.zeros(3, int)
    for world, axis in enumerate(axes):
        shape[axis] = int(extent[world] / np.linalg.norm(affine[:3, axis]))
    oblique = preprocess(body_exam(affine, tuple(int(n) for n in shape)))
    assert (np.diag(oblique.affine)[:3] > 0.9).all()
    assert oblique.mask_volume_ml == pytest.approx(model_input.mask_volume_ml, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_canonical_grid_covers_the_volume_right_way_up(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(8, 40, 3))
    volume = Volume(np.zeros(shape, np.float32), oblique_affine(rng, rng.uniform(0.5, 4, 3), 44))
    size, affine = canonical_grid(volume, 1.1)
    assert (np.diag(affine)[:3] > 0.5).all() and np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1.1)
    corners = np.array([[0, 0, 0], [size[0] - 1, size[1] - 1, size[2] - 1]])
    index = apply_affine(np.linalg.inv(volume.affine), apply_affine(affine, corners))
    assert (index > -1e-6).all() and (index < np.array(shape) - 1 + 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_itk_and_our_affines_agree(seed):
    rng = np.random.default_rng(seed)
    volume = Volume(
        rng.normal(size=(5, 6, 7)).astype(np.float32), oblique_affine(rng, rng.uniform(0.4, 5, 3))
    )
    back = from_sitk(to_sitk(volume))
    assert (
        np.array_equal(back.array, volume.array)
        and grid_distance(volume.shape, back.affine, volume.affine) < 1e-4
    )
    image, index = to_sitk(volume), (2, 3, 4)
    assert np.allclose(
        np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1],
        apply_affine(volume.affine, np.array(index)),
        atol=1e-4,
    )
    same = resample(volume, volume.shape, volume.affine)
    assert np.allclose(same.array, volume.array, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 2000), min_size=1, max_size=11, unique=True), st.integers(1, 9))
def test_phase_weights_are_a_linear_interpolation(times, wanted):
    times = np.sort(np.array(times))
    if times.size > 1 and np.diff(times).min() < 1e-3:
        return
    weights = phase_weights(times, times.size, wanted)
    assert weights.shape == (wanted, times.size) and np.allclose(weights.sum(1), 1)
    assert np.allclose(weights @ times, np.linspace(times[0], times[-1], wanted), atol=1e-6)


def test_as_many_phases_as_the_model_takes_are_passed_through():
    assert np.allclose(phase_weights(None, 6, 6), np.eye(6))
    assert np.allclose(phase_weights(np.array([0, 0, 0.0]), 3, 3), np.eye(3))


def timed(exam, times_s):
    """The exam with other times: of the phase before contrast and of those after it."""
    phases = [
        replace(phase, time_s=time) for phase, time in zip((exam.pre, *exam.post), times_s, strict=True)
    ]
    return replace(exam, pre=phases[0], post=tuple(phases[1:]))


def test_duration_is_from_the_first_to_the_last_phase(exam, model_input):
    count = len(exam.post)
    even = [0.0, *(1000.0 + 90.0 * n for n in range(count))]
    assert exam_duration_min(timed(exam, even)) == pytest.approx(
        1.5 * (count - 1)
    )  # however long before the first one stood
    assert exam_duration_min(timed(exam, [None] * (count + 1))) is None
    assert exam_duration_min(timed(exam, even[::-1])) is None, "a clock that runs backwards"
    assert exam_duration_min(replace(timed(exam, even), post=timed(exam, even).post[:1])) is None, (
        "one phase lasts no time"
    )
    assert model_input.duration_min == exam_duration_min(exam)


def test_unknown_times_are_said(exam):
    small = InputContract(
        size=(85, 55, 32), spacing_mm=4.4, phases=3, mask=MaskSettings(sigmas_mm=(4.4, 8.8))
    )
    for each, warned in ((timed(exam, [None] * 4), True), (exam, False)):
        warnings = preprocess(each, small).warnings
        assert any("times of the phases are unknown" in warning for warning in warnings) == warned


@pytest.mark.parametrize("threshold", [0.12, 0.3, 0.7])
def test_ridges_are_where_the_formula_is_above_the_threshold(threshold):
    """For all slices at once, against Hessians from scipy and eigenvalues from numpy."""
    rng = np.random.default_rng(1)
    slices = ndimage.gaussian_filter(rng.normal(size=(3, 48, 40)), (0, 2, 2))
    slices[1] /= 3  # a slice with less contrast is not model_input equal to the others
    measure = np.zeros(slices.shape)
    for sigma in (1.5, 2.5):
        # Hessians, (slice, row, column, 2, 2), and their eigenvalues, the smaller first
        hessian = np.empty((*slices.shape, 2, 2))
        for n, plane in enumerate(slices):
            for (row, column), order in zip(
                ((0, 0), (0, 1), (1, 0), (1, 1)), ((2, 0), (1, 1), (1, 1), (0, 2))
            ):
                derivative = ndimage.gaussian_filter(plane, sigma, order=order, mode="nearest", truncate=8)
                hessian[n, :, :, row, column] = sigma**2 * derivative
        values = np.linalg.eigvalsh(hessian)
        values = np.take_along_axis(values, np.abs(values).argsort(-1), -1)
        # Frangi et al. 1998, eq. 15
        squared = (values**2).sum(-1)
        blobness = (values[..., 0] / values[..., 1]) ** 2
        c = np.sqrt(squared.max()) / 2
        measure = np.maximum(measure, np.exp(-blobness / 0.5) * (1 - np.exp(-squared / (2 * c**2))))
    is_ridge = ridges(torch.from_numpy(slices), threshold, (1.5, 2.5))
    sure = np.abs(measure - threshold) > 0.03
    assert is_ridge.dtype == bool and is_ridge.any() and not is_ridge.all() and sure.mean() > 0.7
    assert np.array_equal(is_ridge[sure], (measure > threshold)[sure])


def test_no_body_and_no_enhancement_are_said(exam):
    dot = np.zeros((80, 60, 40), np.float32)
    dot[40, 30, 20] = 100.0
    empty = [Phase(Volume(dot * n, np.diag([4.0, 4, 4, 1])), f"empty {n}") for n in (1, 2, 3)]
    with pytest.raises(InputError, match="No body outline"):
        preprocess(make_exam(empty, kind="phases"))
    same = [Phase(exam.pre.volume, f"phase {n}") for n in range(3)]
    with pytest.raises(InputError, match="No enhancement"):
        preprocess(make_exam(same, kind="phases"))


def test_a_smaller_contract_is_obeyed(exam):
    model_input = preprocess(exam, InputContract(size=(170, 110, 64), spacing_mm=2.2, phases=3))
    assert model_input.array.shape[:3] == (3, 170, 110) and 64 <= model_input.array.shape[3] <= 84
