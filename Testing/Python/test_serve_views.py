"""The scene of the page on real MRML nodes, with trame's server but without a browser."""

import asyncio
from importlib.util import find_spec

import numpy as np
import pytest
from builders import small_exam
from scene_case import case

from BreastCMSLLib.serve.output import Output

pytestmark = [
    pytest.mark.slicer,
    pytest.mark.skipif(find_spec("trame_slicer") is None, reason="trame_slicer is not installed"),
]


@pytest.fixture(scope="module")
def views():
    """Views that are not rendered, and where their slices were said to have moved."""
    from trame.app import get_server

    from BreastCMSLLib.serve.views import SceneViews

    moved = {}

    async def make():
        return SceneViews(get_server("test", client_type="vue3"), moved.__setitem__)

    views = asyncio.run(make())
    views.render = lambda: None  # nobody looks
    views.moved = moved
    return views


@pytest.fixture
def shown(views):
    """An exam and its results are shown; before and after the scene is empty of them."""
    exam = small_exam()
    _, heatmap, result = case(exam.grid.affine)
    views.show_exam(exam)
    maps = views.show_output(Output(result, heatmap))
    yield exam, result, maps
    views.clear()


def test_the_exam_and_its_maps_are_offered(views, shown):
    exam, result, maps = shown
    assert [entry["value"] for entry in maps] == [result["map"]] and not maps[0]["kinetic"]
    assert views.show_exam(exam) == ["Subtraction", "Before contrast", "First after contrast"]


def test_slices_go_to_a_candidate_and_their_sliders_follow(views, shown):
    _, result, _ = shown
    for index, peak in enumerate(result["peaks"]):
        views.go_to(index)
        for axis, tag in ((0, "Yellow"), (1, "Green"), (2, "Red")):
            node = views.slice_view(tag).get_view_node()
            assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(peak["ras_mm"][axis], abs=0.01)
            assert str(round(abs(peak["ras_mm"][axis]))) in views.moved[tag]["text"]
            assert views.moved[tag]["min"] <= views.moved[tag]["value"] <= views.moved[tag]["max"]


def test_a_map_lies_over_the_images_as_asked(views, shown):
    _, result, _ = shown
    views.show_map(result["map"], 0.7, 0.9)
    heatmap = views._nodes.heatmap
    for tag in ("Red", "Yellow", "Green"):
        assert views.slice_view(tag).get_foreground_volume_id() == heatmap.GetID()
        assert views.slice_view(tag).get_foreground_opacity() == pytest.approx(0.7)
    assert heatmap.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.9)
    views.show_map("nothing", 1.0, 0.0)  # of an earlier result
    assert heatmap.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.9)


def test_one_marker_shows_at_a_time(views, shown):
    views.go_to(1)
    markers = views._nodes.peaks
    assert [markers.GetNthControlPointVisibility(n) for n in range(2)] == [False, True]


def cyan(view):
    """Number of pixels of a view in the outline's colour."""
    from slicer import vtkMRMLLayerDisplayableManager
    from vtk import vtkImageData
    from vtk.util.numpy_support import vtk_to_numpy

    window, picture = view.render_window(), vtkImageData()
    window.SetSize(300, 300)
    window.Render()
    vtkMRMLLayerDisplayableManager.RenderWindowBufferToImage(window, picture)
    red, green, blue = vtk_to_numpy(picture.GetPointData().GetScalars()).astype(int).T
    return int(((red < 120) & (green > 150) & (blue > 150)).sum())


@pytest.mark.parametrize("in_range", [True, False])
def test_the_outline_of_a_finding_is_drawn_as_the_result_comes(views, in_range):
    exam = small_exam()
    _, heatmap, result = case(exam.grid.affine, out_of_range=[] if in_range else [{"code": "x", "text": "x"}])
    result["peaks"][0] |= {"outline": 1, "size_mm": 28.0, "volume_ml": 3.0}
    outlines = heatmap.with_array((heatmap.array >= 0.5).astype(np.uint8))
    views.show_exam(exam)
    try:
        for _ in range(2):  # a second analysis leaves the slices where they are
            views.show_output(Output(result, heatmap, outlines=outlines))
            for tag in ("Red", "Yellow", "Green"):
                assert (cyan(views.slice_view(tag)) > 0) is in_range, tag
            views.clear_output()
    finally:
        views.clear()


def test_results_and_exams_leave_nothing_in_the_scene(views):
    exam, counts = small_exam(), []
    _, heatmap, result = case(exam.grid.affine)
    for _ in range(4):
        views.show_exam(exam)
        for _ in range(2):
            views.show_output(Output(result, heatmap))
            views.show_map(result["map"], 0.5, 0.4)
            views.clear_output()
        views.clear()
        counts.append(views.scene.GetNumberOfNodes())
    assert len(set(counts[1:])) == 1, counts  # the first time layout and presets come too
