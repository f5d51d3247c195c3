"""Slices drawn from arrays: sides, place of the marker, threshold, scale."""

from __future__ import annotations

import numpy as np
import pytest
from scene_case import case, flipped_oblique_affine

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.results.pictures import MARKER, ORIENTATIONS, Layers, sample, slice_picture


def body(affine=None):
    """A volume bright in the patient's left front upper corner only, and its centre."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    index = np.indices((40, 30, 20)).astype(float)
    world = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    centre = world.reshape(3, -1).mean(1)
    right, front, up = world - centre.reshape(3, 1, 1, 1)
    return Volume(100.0 * ((right < -20) & (front > 10) & (up > 5)).astype(np.float32), affine), centre


def quadrants(picture):
    """Brightness of the picture's quarters, [row][column]."""
    grey = picture.astype(float).mean(2)
    h, w = grey.shape
    return [
        [grey[: h // 2, : w // 2].mean(), grey[: h // 2, w // 2 :].mean()],
        [grey[h // 2 :, : w // 2].mean(), grey[h // 2 :, w // 2 :].mean()],
    ]


def test_names_of_the_edges():
    assert {name: view.edges for name, view in ORIENTATIONS.items()} == {
        "axial": "RLAP",
        "sagittal": "APSI",
        "coronal": "RLSI",
    }
    assert [view.normal for view in ORIENTATIONS.values()] == [2, 0, 1]


@pytest.mark.parametrize("affine", [np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-2.0, -2.0, 2.0, 1.0])])
def test_sides_are_those_of_a_radiologist(affine):
    volume, centre = body(affine)
    heatmap = volume.with_array(np.zeros(volume.shape, np.float32))
    layers = Layers(volume, (0, 100), heatmap, marked=True)
    # the left breast on the right, its front up or left
    for name, brightest in (("axial", (0, 1)), ("coronal", (0, 1)), ("sagittal", (0, 0))):
        picture, _ = slice_picture(layers, ORIENTATIONS[name], centre + [-30, 20, 12], (240, 200))
        quarters = np.array(quadrants(picture))
        assert np.unravel_index(int(quarters.argmax()), (2, 2)) == brightest, name


def middle_of_marker(picture):
    """The pixels that the marker leaves free, as (25, 3)."""
    rows, columns = np.nonzero((picture == MARKER).all(2))
    row, column = int(rows.mean().round()), int(columns.mean().round())
    return picture[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).astype(int)


def test_marker_is_at_the_position_and_the_map_over_it_above_its_threshold_only():
    grey, heatmap, result = case(flipped_oblique_affine(3))
    position = np.array(result["peaks"][0]["ras_mm"])

    def middle(threshold):
        layers = Layers(grey, (0, 130), heatmap, threshold, marked=True)
        return middle_of_marker(slice_picture(layers, ORIENTATIONS["axial"], position, (260, 240))[0])

    warm = middle(0.4)
    assert (warm[:, 0] > warm[:, 2] + 20).mean() > 0.8, "the map's colours lie under the marker's free middle"
    assert np.ptp(middle(1.1), axis=1).max() < 3, "nothing is drawn below the threshold"


def test_sampling_is_exact_at_voxels_and_zero_outside():
    affine = flipped_oblique_affine(1)
    volume = Volume(np.random.default_rng(0).normal(size=(6, 7, 5)), affine)
    index = np.array([[0, 0, 0], [5, 6, 4], [2, 3, 1]])
    points = index @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(sample(volume, points), volume.array[tuple(index.T)])
    assert sample(volume, points[:1] + 1000) == 0


def test_a_close_up_is_centred_to_scale_and_shows_the_outline():
    volume, _ = body()
    labels = np.zeros(volume.shape, np.uint8)
    labels[15:25, 10:20, 8:12] = 1  # 20 mm wide in R and A
    position = np.array([39.0, 29.0, 19.0])  # the middle of those voxels
    layers = Layers(volume, (0, 100), outlines=volume.with_array(labels))
    picture, mm_per_pixel = slice_picture(layers, ORIENTATIONS["axial"], position, (400, 300), width_mm=80.0)
    assert mm_per_pixel == pytest.approx(0.2)
    for pixels, middle in zip(np.nonzero((picture == MARKER).all(2)), (149.5, 199.5)):
        assert np.ptp(pixels) * mm_per_pixel == pytest.approx(20, abs=1)
        assert (pixels.max() + pixels.min()) / 2 == pytest.approx(middle, abs=3)
