"""Slices through the peaks, drawn from arrays: sides, place of the marker, threshold, and agreement with Slicer's own views."""

from __future__ import annotations

import numpy as np
import pytest
from scene_case import case, flipped_oblique_affine

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.core.geometry import Volume  # noqa: E402
from BreastCMSLLib.scene import pictures  # noqa: E402


def body(affine=None):
    """A volume bright in the patient's left front upper corner only; RAS directions from its affine."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    index = np.indices((40, 30, 20)).astype(float)
    world = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    centre = world.reshape(3, -1).mean(1)
    offset = world - centre.reshape(3, 1, 1, 1)
    return Volume(100.0 * ((offset[0] < -20) & (offset[1] > 10) & (offset[2] > 5)).astype(np.float32), affine), centre


def quadrants(picture):
    """Brightness of the picture's quarters, [row][column], without the letters at its edges."""
    grey = picture.astype(float).mean(2)[30:-30, 30:-30]
    h, w = grey.shape
    return [
        [grey[: h // 2, : w // 2].mean(), grey[: h // 2, w // 2 :].mean()],
        [grey[h // 2 :, : w // 2].mean(), grey[h // 2 :, w // 2 :].mean()],
    ]


@pytest.mark.parametrize("affine", [np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-2.0, -2.0, 2.0, 1.0])])
def test_sides_are_those_of_a_radiologist(affine):
    volume, centre = body(affine)
    at = centre + [-30, 20, 12]
    for name, brightest in (("axial", (0, 1)), ("coronal", (0, 1)), ("sagittal", (0, 0))):  # left breast on the right, front up or left
        picture = pictures._slice(name, at, volume, volume.with_array(np.zeros(volume.shape, np.float32)), (0, 100), 0.4, 0.5, (240, 200))
        quarters = np.array(quadrants(picture))
        assert np.unravel_index(int(quarters.argmax()), (2, 2)) == brightest, name


def test_marker_is_at_the_peak_and_the_map_over_it():
    affine = flipped_oblique_affine(3)
    grey, heatmap, result = case(affine)
    made = pictures.peak_pictures(grey, heatmap, result)
    assert len(made) == 3 and all(png.startswith(b"\x89PNG") for png in made.values())
    whole, near, second = made
    assert "Peak 1, with the COAM" in whole and "(left)" in whole and "from near, 80 mm" in near and "Peak 2" in second
    assert list(pictures.peak_pictures(grey, heatmap, result, first=1)) == [near, second]
    low = pictures.peak_pictures(grey, heatmap, {**result, "map_meaningful": False})
    assert len(low) == 1 and "not meaningful" in next(iter(low))
    ras = np.array(result["peaks"][0]["ras_mm"])
    picture = pictures._slice("axial", ras, grey, heatmap, (0, 130), 0.4, 0.5, (260, 240))
    rows, columns = np.nonzero((picture == pictures._MARKER).all(2))
    row, column = int(rows.mean().round()), int(columns.mean().round())
    warm = picture[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).astype(int)
    assert (warm[:, 0] > warm[:, 2] + 20).mean() > 0.8, "the map's colours lie under the marker's free middle"
    bare = pictures._slice("axial", ras, grey, heatmap, (0, 130), 1.1, 0.5, (260, 240))
    middle = bare[row - 2 : row + 3, column - 2 : column + 3].astype(int)
    assert np.ptp(middle, axis=2).max() < 3, "nothing is drawn below the threshold"


def test_sampling_is_exact_at_voxels_and_zero_outside():
    affine = flipped_oblique_affine(1)
    volume = Volume(np.random.default_rng(0).normal(size=(6, 7, 5)), affine)
    index = np.array([[0, 0, 0], [5, 6, 4], [2, 3, 1]])
    points = index @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(pictures._sample(volume, points), volume.array[tuple(index.T)])
    assert pictures._sample(volume, points[:1] + 1000) == 0


def test_a_picture_from_near_is_centred_to_scale_and_shows_the_outline():
    volume, _ = body()
    labels = np.zeros(volume.shape, np.uint8)
    labels[15:25, 10:20, 8:12] = 1  # 20 mm wide in R and A
    at = np.array([39.0, 29.0, 19.0])  # the middle of those voxels
    outlines = volume.with_array(labels)
    heat = volume.with_array(np.zeros(volume.shape, np.float32))
    picture = pictures._slice("axial", at, volume, heat, (0, 100), 2.0, 0.0, (400, 300), outlines=outlines, marked=False, near=True)
    rows, columns = np.nonzero((picture == pictures._MARKER).all(2))
    per_pixel = pictures.NEAR_MM / 400
    assert np.ptp(columns) * per_pixel == pytest.approx(20, abs=1) and np.ptp(rows) * per_pixel == pytest.approx(20, abs=1)
    assert (rows.max() + rows.min()) / 2 == pytest.approx(149.5, abs=3) and (columns.max() + columns.min()) / 2 == pytest.approx(
        199.5, abs=3
    )
