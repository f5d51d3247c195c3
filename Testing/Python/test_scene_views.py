"""Pictures: marker at the projected peak, map only above its threshold, radiological sides, no traces."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from scene_case import PEAK_IJK, case, flipped_oblique_affine

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.core.errors import DependencyError, OutputError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume, apply_affine  # noqa: E402
from BreastCMSLLib.results.pictures import ORIENTATIONS  # noqa: E402
from BreastCMSLLib.scene import drawing, results, views  # noqa: E402
from BreastCMSLLib.scene.volumes import add_volume  # noqa: E402

SIZE = (300, 320)
AXES = {
    "axial": (0, 1),
    "sagittal": (1, 2),
    "coronal": (0, 2),
}  # world axes across and up; all run towards the image's left and top


def pixel(background, name, ras) -> np.ndarray:
    """Column and row where a view shows a world position."""
    centre, scale = views.view_scale(background, name, SIZE)
    across, up = AXES[name]
    column = SIZE[0] / 2 - (ras[across] - centre[across]) / scale
    row = SIZE[1] / 2 - (ras[up] - centre[up]) / scale
    return np.array([column, row])


def centre_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def test_marker_and_overlay_are_where_they_should_be(scene):
    affine = flipped_oblique_affine(3)
    grey, heatmap, result = case(affine)
    result["peaks"] = result["peaks"][:1]
    background = add_volume(scene, grey, "Subtraction")
    nodes = results.write_results(scene, result, heatmap, background)
    nodes.peaks.GetDisplayNode().SetPointLabelsVisibility(False)
    ras = np.array(result["peaks"][0]["ras_mm"])
    count = scene.GetNumberOfNodes()
    pictures = views.render_views(scene, background, nodes, ras, size=SIZE, labels=False, legend=None)
    bare = views.render_views(
        scene, background, nodes, ras, size=SIZE, labels=False, legend=None, peaks=False
    )
    plain = views.render_views(
        scene, background, nodes, ras, size=SIZE, labels=False, legend=None, peaks=False, opacity=0
    )
    assert scene.GetNumberOfNodes() == count
    inverse = np.linalg.inv(affine)
    for name in ORIENTATIONS:
        picture = pictures[name].astype(int)
        cyan = (picture[..., 0] < 120) & (picture[..., 1] > 180) & (picture[..., 2] > 180)
        assert cyan.sum() > 20
        assert np.linalg.norm(centre_of(cyan) - pixel(background, name, ras)) < 2.5, name

        changed = (bare[name] != plain[name]).any(-1)
        # the map's value under each pixel, from the affine alone
        centre, scale = views.view_scale(background, name, SIZE)
        across, up = AXES[name]
        column, row = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        world = np.empty((SIZE[1], SIZE[0], 3))
        world[:] = ras
        world[..., across] = centre[across] - (column - SIZE[0] / 2) * scale
        world[..., up] = centre[up] - (row - SIZE[1] / 2) * scale
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        distance = np.linalg.norm((apply_affine(inverse, world) - PEAK_IJK) * spacing, axis=-1)
        value = np.exp(-(distance**2) / (2 * 12.0**2))
        inside = (
            (apply_affine(inverse, world) > 0.5) & (apply_affine(inverse, world) < np.array(grey.shape) - 1.5)
        ).all(-1)
        assert not (changed & (value < 0.3)).any(), name
        assert changed[(value > 0.5) & inside].mean() > 0.98, name
        colored = bare[name].astype(int)
        assert (colored[changed][:, 0] - colored[changed][:, 2] > 10).mean() > 0.95  # reds and yellows


def test_orientation_is_radiological(scene):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    array = np.zeros((40, 40, 40), np.float32)
    array[30:34, 30:34, 30:34] = 100  # to the patient's right, anterior, superior
    background = add_volume(scene, Volume(array, affine), "Block")
    _, _, result = case(map_meaningful=False, malignant=False)
    nodes = results.write_results(scene, result, Volume(np.zeros_like(array), affine))
    pictures = views.render_views(
        scene, background, nodes, (63, 63, 63), size=SIZE, labels=False, legend=None
    )
    for name, picture in pictures.items():
        column, row = centre_of(picture[..., 0] > 100)
        assert column < SIZE[0] / 2 and row < SIZE[1] / 2, name
        assert np.linalg.norm([column, row] - pixel(background, name, (63, 63, 63))) < 3


def test_overlay_picture(scene, tmp_path):
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    nodes = results.write_results(scene, result, heatmap, background)
    path = tmp_path / "overlay.png"
    picture = views.render_overlay(scene, background, nodes, result["peaks"][0]["ras_mm"], path)
    assert picture.shape == (700, 1800, 3) and picture[:50].max() > 200  # the text line
    bare = views.render_overlay(scene, background, nodes, result["peaks"][0]["ras_mm"], path, opacity=0.0)
    colour = [int((np.ptp(each.astype(int), axis=-1) > 60).sum()) for each in (picture[-34:], bare[-34:])]
    assert bare.shape == picture.shape and colour[0] > 1000 and colour[1] == 0, "the legend has a strip below"
    picture = bare
    import SimpleITK as sitk

    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), picture)
    assert drawing.encode_png(picture) == path.read_bytes()
    with pytest.raises(OutputError, match="cannot be written"):
        drawing.write_png(tmp_path / "none" / "overlay.png", picture)


def test_hidden_markers_stay_hidden(scene):
    grey, heatmap, result = case(malignant=False, map_meaningful=False)
    background = add_volume(scene, grey, "Subtraction")
    nodes = results.write_results(scene, result, heatmap, background)
    ras = result["peaks"][0]["ras_mm"]
    hidden = views.render_views(scene, background, nodes, ras, size=SIZE)
    shown = views.render_views(scene, background, nodes, ras, size=SIZE, peaks=True)
    assert not nodes.peaks.GetDisplayNode().GetVisibility()
    assert all((hidden[name] != shown[name]).any() for name in hidden)


def test_missing_opengl_is_said_plainly(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DependencyError, match="apt-get install libegl1"):
        views.check_rendering()
