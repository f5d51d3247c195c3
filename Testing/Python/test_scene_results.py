"""Results as MRML nodes: geometry, replacement, all or nothing, parent transforms, bundles."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from builders import printed_by
from scene_case import EXAM_ID, PEAK_IJK, case, flipped_oblique_affine, open_scene

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.core.errors import DependencyError, InputError, OutputError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume, apply_affine  # noqa: E402
from BreastCMSLLib.core.itk import from_sitk  # noqa: E402
from BreastCMSLLib.results.colors import heat_ramp  # noqa: E402
from BreastCMSLLib.scene import bundle, embedded, results, tree  # noqa: E402
from BreastCMSLLib.scene.curves import MEAN_CURVE, show_curve  # noqa: E402
from BreastCMSLLib.scene.outlines import outline_labels, outline_shown, show_outline  # noqa: E402
from BreastCMSLLib.scene.transforms import from_vtk, ijk_to_ras, to_vtk  # noqa: E402
from BreastCMSLLib.scene.volumes import add_volume  # noqa: E402


def node_ids(scene) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def data_ids(scene) -> set[str]:
    """The nodes that hold data: show_in_views adds the standard views, which stay."""
    return {
        identifier
        for identifier in node_ids(scene)
        if not any(word in identifier for word in ("Slice", "Layout", "View", "Plot"))
    }


def voxels(node) -> np.ndarray:
    import slicer.util

    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0)


def points(node) -> np.ndarray:
    return np.array(
        [node.GetNthControlPointPositionWorld(index) for index in range(node.GetNumberOfControlPoints())]
    )


def cells(node) -> list[list[str]]:
    return [[node.GetCellText(row, column) for column in range(2)] for row in range(node.GetNumberOfRows())]


def colors(node) -> np.ndarray:
    table = np.zeros((node.GetNumberOfColors(), 4))
    rgba = np.zeros(4)
    for index in range(len(table)):
        node.GetColor(index, rgba)
        table[index] = rgba
    return table


def items(scene) -> int:
    return scene.GetSubjectHierarchyNode().GetNumberOfItems()


def test_start_is_idempotent_and_util_works(tmp_path):
    import slicer

    scene = embedded.start()
    assert scene is embedded.start() is slicer.mrmlScene and embedded.is_embedded()
    assert embedded.version().startswith("slicer-core 5.")
    node = slicer.util.addVolumeFromArray(np.arange(60.0).reshape(3, 4, 5))
    slicer.util.saveNode(node, str(tmp_path / "volume.nrrd"))
    again = slicer.util.loadVolume(str(tmp_path / "volume.nrrd"))
    assert np.array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(node))


def test_a_missing_core_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(DependencyError, match=r"slicer is missing.*pip install breastcmsl\[slicer\]$"):
        embedded.import_slicer()


def test_start_load_and_save_without_a_warning(tmp_path):
    """Slicer's cache gets a folder of its own that says it may be emptied, else 5.12 warns at each step."""
    printed = printed_by(f"""
from pathlib import Path
import numpy as np
from BreastCMSLLib.scene import embedded
embedded.start()
import slicer.util
node = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5)))
slicer.util.saveNode(node, {str(tmp_path / "volume.nrrd")!r})
slicer.util.loadVolume({str(tmp_path / "volume.nrrd")!r})
cache = Path(slicer.app._remote_io.GetCacheManager().GetRemoteCacheDirectory())
assert cache.parent == Path(slicer.app.temporaryPath)
print(*[path.name for path in cache.iterdir()])
""")
    assert printed == ".slicer-cache"


@pytest.mark.parametrize("seed", range(4))
def test_geometry_voxels_and_marker_are_those_given(scene, seed):
    affine = flipped_oblique_affine(seed)
    _, heatmap, result = case(affine)
    nodes = results.write_results(scene, result, heatmap)
    assert np.allclose(ijk_to_ras(nodes.heatmap), affine, atol=1e-9)
    assert np.array_equal(voxels(nodes.heatmap), heatmap.array)
    assert np.allclose(points(nodes.peaks)[0], apply_affine(affine, PEAK_IJK), atol=1e-4)
    assert nodes.peaks.GetNthControlPointLabel(0) == "Suspicious 93 %"
    assert nodes.peaks.GetNthControlPointLabel(1) == "2: 71 % of peak"
    display = nodes.heatmap.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.4)
    assert display.GetColorNode() is nodes.colors
    table = colors(nodes.colors)
    assert np.array_equal(table[:, 3] > 0, np.arange(256) / 255 >= 0.4)
    rows = dict(cells(nodes.table))
    assert rows["Research use only"] and rows["Model trained on"] == "simulated exams"
    assert rows["Probability of malignancy"] == "0.930" and rows["Peak 1 side"] == "left"


def test_ramp_gets_lighter_evenly():
    luminance = heat_ramp() @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.003).all() and luminance[-1] > luminance[0] + 0.6


def test_again_replaces_and_leaves_other_exams_alone(scene):
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    other = results.write_results(scene, case(exam_id="ffff")[2], heatmap, background)
    empty = data_ids(scene), items(scene)
    first = results.write_results(scene, result, heatmap, background)
    bundle.show_in_views(scene, background, first, result["peaks"][0]["ras_mm"])
    first_ids, count, item_count = node_ids(scene), scene.GetNumberOfNodes(), items(scene)
    second = results.write_results(scene, result, heatmap, background)
    assert scene.GetNumberOfNodes() == count and items(scene) == item_count
    assert not {node.GetID() for node in vars(second).values() if hasattr(node, "GetID")} & first_ids
    assert (
        scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").GetForegroundVolumeID()
        == second.heatmap.GetID()
    )
    assert results.find_results(scene, EXAM_ID) == second
    assert all(scene.IsNodePresent(node) for node in vars(other).values() if hasattr(node, "GetID"))
    assert results.remove_results(scene, EXAM_ID) == 9
    assert data_ids(scene) == empty[0]
    assert items(scene) == empty[1]
    assert results.remove_results(scene, EXAM_ID) == 0


def test_failure_leaves_scene_as_it_was(scene, monkeypatch):
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    kept = results.write_results(scene, result, heatmap, background)
    before, before_items = node_ids(scene), items(scene)

    def broken(*_):
        raise RuntimeError("disk on fire")

    for name in ("add_table", "_redirect_views"):
        with monkeypatch.context() as patch:
            patch.setattr(results, name, broken)
            with pytest.raises(OutputError, match="left as it was"):
                results.write_results(scene, result, heatmap, background)
        assert node_ids(scene) == before and items(scene) == before_items
        assert results.find_results(scene, EXAM_ID) == kept
    bad = heatmap.with_array(np.full(heatmap.shape, np.nan, np.float32))
    with pytest.raises(InputError):
        results.write_results(scene, result, bad, background)
    assert node_ids(scene) == before and not scene.IsBatchProcessing()


def test_benign_result_marks_no_finding(scene):
    _, heatmap, result = case(malignant=False, map_meaningful=False, probability=0.12)
    nodes = results.write_results(scene, result, heatmap)
    assert "not meaningful" in nodes.heatmap.GetName()
    assert nodes.peaks.GetNthControlPointLabel(0) == "Peak of map (not meaningful at this score)"
    assert not nodes.peaks.GetDisplayNode().GetVisibility()
    assert dict(cells(nodes.table))["Verdict"] == "not suspicious"


def test_out_of_range_nothing_is_drawn_or_named_as_a_finding(scene):
    grey, heatmap, result, labels = outlined_case()
    result["out_of_range"] = [{"code": "x", "text": "It is odd."}]
    result["peaks"][0]["probability"] = 0.9
    nodes = results.write_results(scene, result, heatmap, outlines=labels)
    assert not nodes.outline.GetDisplayNode().GetVisibility() and not show_outline(nodes, result, 0)
    assert not nodes.peaks.GetDisplayNode().GetVisibility()
    assert nodes.outline.GetSegmentation().GetSegment("Peak_1").GetName().startswith("Peak 1: ")
    rows = dict(cells(nodes.table))
    assert "none" in rows["Finding"] and "means nothing" in rows["Probability of malignancy"]
    assert "Peak 1 probability" not in rows
    texts = [nodes.heatmap.GetName(), *(nodes.peaks.GetNthControlPointLabel(n) for n in (0, 1))]
    assert all("not meaningful: out of range" in text and "%" not in text for text in texts)


def test_no_peaks(scene):
    _, heatmap, result = case(peaks=[], kinetics=None)
    assert results.write_results(scene, result, heatmap).peaks.GetNumberOfControlPoints() == 0


def test_results_follow_the_parent_transform(scene):
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    matrix[:3, 3] = [11, -7, 3]
    parent.SetMatrixTransformToParent(to_vtk(matrix))
    background.SetAndObserveTransformNodeID(parent.GetID())
    world = Volume(heatmap.array, matrix @ grey.affine)
    for peak in result["peaks"]:
        peak["ras_mm"] = apply_affine(matrix, peak["ras_mm"]).tolist()
    nodes = results.write_results(scene, result, world, background)
    assert nodes.heatmap.GetParentTransformNode() is parent and nodes.peaks.GetParentTransformNode() is parent
    assert np.array_equal(ijk_to_ras(nodes.heatmap), ijk_to_ras(background))  # one grid, exactly
    assert np.allclose(points(nodes.peaks)[0], result["peaks"][0]["ras_mm"], atol=1e-4)
    bending = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Bent")
    background.SetAndObserveTransformNodeID(bending.GetID())
    with pytest.raises(InputError, match="Bent"):
        results.write_results(scene, result, world, background)


def test_one_undo_step(scene):
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    scene.SetUndoOn()
    try:
        levels = scene.GetNumberOfUndoLevels()
        results.write_results(scene, result, heatmap, background)
        assert scene.GetNumberOfUndoLevels() == levels + 1
    finally:
        scene.ClearUndoStack()
        scene.SetUndoOff()


def test_folder_stands_beside_the_input(scene):
    hierarchy = scene.GetSubjectHierarchyNode()
    grey, heatmap, result = case()
    background = add_volume(scene, grey, "Subtraction")
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.CreateItem(study, background)
    nodes = results.write_results(scene, result, heatmap, background)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.heatmap))
    assert hierarchy.GetItemName(folder) == "BreastCMSL results" and hierarchy.GetItemParent(folder) == study


def test_bundle_round_trip(scene, tmp_path, capfd):
    grey, heatmap, result = case(flipped_oblique_affine(5, right_handed=True))
    background = add_volume(scene, grey, "Subtraction")
    nodes = results.write_results(scene, result, heatmap, background)
    ras = result["peaks"][0]["ras_mm"]
    bundle.show_in_views(scene, background, nodes, ras)
    before = (
        voxels(nodes.heatmap).copy(),
        ijk_to_ras(nodes.heatmap),
        points(nodes.peaks),
        cells(nodes.table),
        colors(nodes.colors),
    )
    labels = [nodes.peaks.GetNthControlPointLabel(index) for index in range(2)]
    grey_before = voxels(background).copy()
    path = tmp_path / "Ünïcode folder" / "scene.mrb"
    bundle.save_scene(scene, path)
    assert capfd.readouterr().out == ""
    assert [entry.name for entry in path.parent.iterdir()] == ["scene.mrb"]

    import zipfile

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        scene_text = archive.read(next(name for name in names if name.endswith(".mrml"))).decode()
    assert any(name.endswith(".ctbl") for name in names) and not any(name.endswith(".csv") for name in names)
    assert 'version="Slicer 5.10' in scene_text

    open_scene(path)
    again = results.find_results(scene, EXAM_ID)
    assert np.array_equal(voxels(again.heatmap), before[0])
    assert np.allclose(ijk_to_ras(again.heatmap), before[1], atol=1e-9)
    assert np.allclose(points(again.peaks), before[2], atol=1e-4)
    assert cells(again.table) == before[3]
    assert np.array_equal(colors(again.colors), before[4])
    assert [again.peaks.GetNthControlPointLabel(index) for index in range(2)] == labels
    assert again.heatmap.GetDisplayNode().GetColorNode() is again.colors
    composite = scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert (
        composite.GetForegroundVolumeID() == again.heatmap.GetID()
        and composite.GetForegroundOpacity() == pytest.approx(0.5)
    )
    assert np.array_equal(voxels(scene.GetNodeByID(composite.GetBackgroundVolumeID())), grey_before)
    for tag, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
        view = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        assert from_vtk(view.GetSliceToRAS())[axis, 3] == pytest.approx(ras[axis], abs=1e-3)
    count = scene.GetNumberOfNodes()
    results.write_results(scene, result, heatmap)
    assert scene.GetNumberOfNodes() <= count  # storage nodes of files on disk went with the earlier results


def test_left_handed_voxels_keep_their_place(scene, tmp_path):
    """Slicer's file reader turns the third axis of a left-handed grid round; every voxel must stay there."""
    _, heatmap, result = case(flipped_oblique_affine(5, right_handed=False))
    results.write_results(scene, result, heatmap)
    bundle.save_scene(scene, tmp_path / "scene.mrb")
    open_scene(tmp_path / "scene.mrb")
    again = results.find_results(scene, EXAM_ID)
    assert np.linalg.det(ijk_to_ras(again.heatmap)[:3, :3]) > 0
    turned = heatmap.array[:, :, ::-1]
    assert np.array_equal(voxels(again.heatmap), turned)
    last = heatmap.affine @ [0, 0, heatmap.shape[2] - 1, 1]
    assert np.allclose(ijk_to_ras(again.heatmap)[:, 3], last, atol=1e-4)
    assert np.allclose(points(again.peaks)[0], apply_affine(heatmap.affine, PEAK_IJK), atol=1e-4)


def test_bundle_errors(scene, tmp_path):
    with pytest.raises(OutputError, match=".mrb"):
        bundle.save_scene(scene, tmp_path / "scene.mrml")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        bundle.save_scene(scene, tmp_path / "file" / "scene.mrb")
    (tmp_path / "not.mrb").write_text("no archive")
    before = os.getcwd()
    with pytest.raises(RuntimeError, match="not.mrb"):
        open_scene(tmp_path / "not.mrb")
    assert os.getcwd() == before  # MRML leaves the process in a removed folder


def test_saved_heatmap_read_elsewhere_has_its_peak_at_the_marker(scene, tmp_path):
    import SimpleITK as sitk
    import slicer.util

    _, heatmap, result = case()
    nodes = results.write_results(scene, result, heatmap)
    slicer.util.saveNode(nodes.heatmap, str(tmp_path / "heatmap.nrrd"))
    read = from_sitk(sitk.ReadImage(str(tmp_path / "heatmap.nrrd")))
    peak = np.unravel_index(read.array.argmax(), read.shape)
    assert np.allclose(apply_affine(read.affine, peak), points(nodes.peaks)[0], atol=1e-3)
    assert np.allclose(read.affine, heatmap.affine, atol=1e-5)


# Maps, record, curves, outline, undo


def full_case():
    """A result with a second map and a curve at both peaks."""
    grey, heatmap, result = case()
    second = dict(result["kinetics"], enhancement=[40.0, 60.0, 90.0], type="persistent")
    result["peaks"][0]["kinetics"], result["peaks"][1]["kinetics"] = result["kinetics"], second
    other = Volume(np.clip(heatmap.array[::-1], 0, 1).copy(), heatmap.affine)
    return grey, heatmap, result, {"CAM": other}


def test_further_maps_are_volumes_to_choose_from_and_go_with_the_rest(scene):
    grey, heatmap, result, maps = full_case()
    background = add_volume(scene, grey, "Subtraction")
    before = data_ids(scene)
    nodes = results.write_results(scene, result, heatmap, background, maps=maps)
    assert list(nodes.maps) == ["COAM", "CAM"] and nodes.maps["COAM"] is nodes.heatmap
    assert nodes.maps["CAM"].GetDisplayNode().GetColorNodeID() == nodes.colors.GetID()
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetForegroundVolumeID(nodes.maps["CAM"].GetID())
    again = results.write_results(scene, result, heatmap, background, maps=maps)
    assert composite.GetForegroundVolumeID() == again.maps["CAM"].GetID(), (
        "the view keeps the map the user chose"
    )
    assert results.find_results(scene, result["exam_id"]).maps.keys() == {"COAM", "CAM"}
    scene.RemoveNode(composite)
    results.remove_results(scene, result["exam_id"])
    assert data_ids(scene) == before


def test_the_record_brings_results_back(scene, tmp_path):
    grey, heatmap, result, _ = full_case()
    nodes = results.write_results(scene, result, heatmap, add_volume(scene, grey, "Subtraction"))
    assert nodes.record.GetHideFromEditors()
    bundle.save_scene(scene, tmp_path / "with record.mrb")
    scene.Clear(0)
    assert results.find_records(scene) == {}
    open_scene(tmp_path / "with record.mrb")
    assert results.find_records(scene) == {result["exam_id"]: result}
    again = results.find_results(scene, result["exam_id"])
    assert again.record is not None and again.chart is not None and list(again.maps) == ["COAM"]
    again.record.SetText("not JSON")
    assert results.find_records(scene) == {}


TIMES = "Minutes from the first phase after contrast"


def test_curves_are_in_minutes_and_follow_the_chosen_peak(scene):
    grey, heatmap, result, _ = full_case()
    nodes = results.write_results(scene, result, heatmap, add_volume(scene, grey, "Subtraction"))
    columns = [nodes.curves.GetColumnName(n) for n in range(nodes.curves.GetNumberOfColumns())]
    assert columns == [TIMES, "Peak 1", "Peak 2"]
    table = nodes.curves.GetTable()
    assert [table.GetColumn(0).GetValue(n) for n in range(4)] == [-1.5, 0, 1.5, 3]
    assert [table.GetColumn(2).GetValue(n) for n in range(4)] == [0, 40, 60, 90]
    assert nodes.chart.GetXAxisTitle() == TIMES and "washout" in nodes.chart.GetTitle()
    assert show_curve(nodes, result, 1)
    assert nodes.curve.GetYColumnName() == "Peak 2" and "persistent" in nodes.chart.GetTitle()
    assert not show_curve(nodes, result, 4)
    assert nodes.mean is None
    finding = {**result["peaks"][0], "kinetics": dict(result["kinetics"], enhancement=[100.0, 110.0, 90.0])}
    both = results.write_results(scene, {**result, "finding": finding}, heatmap)
    mean = both.curves.GetTable().GetColumnByName(MEAN_CURVE)
    assert [mean.GetValue(n) for n in range(4)] == [0, 100, 110, 90]
    assert both.chart.GetNumberOfPlotSeriesNodes() == 2
    assert results.find_results(scene, EXAM_ID).mean is both.mean
    assert show_curve(both, result, 1) and both.chart.GetNumberOfPlotSeriesNodes() == 1
    assert show_curve(both, result, 0) and both.chart.GetNumberOfPlotSeriesNodes() == 2
    bare = case(kinetics=None, exam_id="bare")[2]
    assert results.write_results(scene, bare, heatmap).chart is None


def outlined_case(affine=None):
    """Two peaks with outlines: label 1 where the map is high, label 2 a small box about the second peak."""
    grey, heatmap, result = case(affine)
    labels = (heatmap.array >= 0.5).astype(np.uint8)
    second = np.round(apply_affine(np.linalg.inv(heatmap.affine), result["peaks"][1]["ras_mm"])).astype(int)
    labels[tuple(slice(n - 1, n + 2) for n in second)] = 2
    for label, peak in enumerate(result["peaks"], 1):
        ml = (labels == label).sum() * abs(np.linalg.det(heatmap.affine[:3, :3])) / 1000
        peak |= {"outline": label, "size_mm": 28.2 / label, "volume_ml": float(ml)}
    finding = {"peak": 1, "kinetics": dict(result["kinetics"]), "depth_mm": 18.0, **result["peaks"][0]}
    return grey, heatmap, result | {"finding": finding}, heatmap.with_array(labels)


def segment_bounds(node, name):
    import slicer

    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(name, image)
    bounds = np.zeros(6)
    image.GetBounds(bounds)
    return bounds


def test_outlines_are_segments_the_findings_on_show(scene, tmp_path):
    grey, heatmap, result, labels = outlined_case()
    background = add_volume(scene, grey, "Subtraction")
    before = data_ids(scene)
    nodes = results.write_results(scene, result, heatmap, background, outlines=labels)
    names = [nodes.outline.GetSegmentation().GetSegment(f"Peak_{n}").GetName() for n in (1, 2)]
    assert names[0].startswith("Finding: 28 mm, ") and names[1].startswith("Peak 2: 14 mm, ")
    for index in (0, 1):
        ras = result["peaks"][index]["ras_mm"]
        bounds = segment_bounds(nodes.outline, f"Peak_{index + 1}")
        assert all(bounds[2 * a] < ras[a] < bounds[2 * a + 1] for a in range(3))
    display = nodes.outline.GetDisplayNode()

    def shown():
        return [n for n in (1, 2) if display.GetVisibility() and display.GetSegmentVisibility(f"Peak_{n}")]

    assert shown() == [1]
    assert show_outline(nodes, result, 1) and shown() == [2] and outline_shown(nodes, result)
    assert not show_outline(nodes, result, None) and shown() == [] and not outline_shown(nodes, result)
    assert show_outline(nodes, result, 0) and shown() == [1]
    bundle.save_scene(scene, tmp_path / "outlined.mrb")
    open_scene(tmp_path / "outlined.mrb")
    again = results.find_results(scene, EXAM_ID)
    assert again.outline.GetSegmentation().GetSegment("Peak_1").GetName() == names[0]
    second = results.write_results(scene, result, heatmap, outlines=labels)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert second.outline is not again.outline
    plain = {
        **result,
        "peaks": [{k: v for k, v in peak.items() if k != "outline"} for peak in result["peaks"]],
    }
    assert not show_outline(second, plain, 0), "a peak without an outline shows none"
    assert results.write_results(scene, plain, heatmap).outline is None, (
        "the earlier outline goes with the earlier results"
    )
    results.remove_results(scene, EXAM_ID)
    assert not {i for i in data_ids(scene) - before if "Segment" in i}


def test_outlines_follow_the_parent_transform(scene):
    grey, heatmap, result, labels = outlined_case()
    background = add_volume(scene, grey, "Subtraction")
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    matrix = np.eye(4)
    matrix[:3, 3] = [11, -7, 3]
    parent.SetMatrixTransformToParent(to_vtk(matrix))
    background.SetAndObserveTransformNodeID(parent.GetID())
    nodes = results.write_results(
        scene,
        result,
        Volume(heatmap.array, matrix @ grey.affine),
        background,
        outlines=Volume(labels.array, matrix @ grey.affine),
    )
    assert nodes.outline.GetParentTransformNode() is parent
    again = outline_labels(nodes, result)
    assert np.array_equal(again.array, labels.array) and np.allclose(again.affine, matrix @ grey.affine)
    still = results.write_results(scene, result | {"exam_id": "other"}, heatmap, outlines=labels)
    assert np.allclose(
        segment_bounds(nodes.outline, "Peak_1"), segment_bounds(still.outline, "Peak_1"), atol=1e-3
    )


def test_the_segmentation_file_opens_as_a_segmentation(scene, tmp_path):
    """What ``analyze`` leaves as outline.seg.nrrd, read by Slicer's own reader and by SimpleITK."""
    import SimpleITK as sitk
    import slicer

    from BreastCMSLLib.results.files import write_outlines

    _, heatmap, result, labels = outlined_case(flipped_oblique_affine(5, right_handed=True))
    path = tmp_path / "outline.seg.nrrd"
    write_outlines(labels, result, path)
    read = from_sitk(sitk.ReadImage(str(path)))
    assert np.array_equal(read.array, labels.array) and read.same_grid(labels, 1e-4)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())] == [
        "Peak_1",
        "Peak_2",
    ]
    assert segmentation.GetSegment("Peak_1").GetName().startswith("Finding: 28 mm, ")
    scene_node = results.write_results(scene, result, heatmap, outlines=labels).outline
    for name in ("Peak_1", "Peak_2"):
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(name, image)
        written = slicer.vtkOrientedImageData()
        scene_node.GetBinaryLabelmapRepresentation(name, written)
        volumes = [count_of(picture) for picture in (image, written)]
        assert volumes[0] == volumes[1] == np.count_nonzero(labels.array == int(name[-1]))


def count_of(image) -> int:
    from vtk.util.numpy_support import vtk_to_numpy

    return int(np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars())))


def test_one_undo_step_takes_all_results_away(scene):
    grey, heatmap, result, maps = full_case()
    background = add_volume(scene, grey, "Subtraction")
    scene.SetUndoOn()
    try:
        before, items_before = data_ids(scene), items(scene)
        results.write_results(scene, result, heatmap, background, maps=maps)
        assert scene.GetNumberOfUndoLevels() == 1 and results.find_results(scene, result["exam_id"])
        hierarchy = scene.GetSubjectHierarchyNode()
        assert [hierarchy.GetItemName(item) for item in tree.folders(scene, EXAM_ID)] == [
            "BreastCMSL results"
        ]
        listed = items(scene)
        scene.Undo()
        assert data_ids(scene) == before
        assert tree.folders(scene, EXAM_ID) == [] and items(scene) == items_before, (
            "no empty folder is left in the tree"
        )
        scene.Redo()
        (folder,) = tree.folders(scene, EXAM_ID)
        back = results.find_results(scene, EXAM_ID)
        assert back is not None and items(scene) == listed
        assert all(
            hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder
            for node in (back.heatmap, back.peaks, back.table)
        )
    finally:
        scene.SetUndoOff()
