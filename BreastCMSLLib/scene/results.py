"""Results of an analysis as MRML nodes: heatmap with its colours and legend, peaks, table.

Each node carries ``BreastCMSL.ExamID`` and ``BreastCMSL.Role``: writing the same exam again replaces its earlier nodes
and nobody else's. The scene changes in one batch, completely or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, OutputError
from ..geometry import Volume, apply_affine, check_affine
from .colors import fill_heat_table
from .transforms import ijk_to_ras, local_to_world, to_vtk

EXAM_ID = "BreastCMSL.ExamID"
ROLE = "BreastCMSL.Role"
ROLES = ("heatmap", "colors", "legend", "peaks", "table")
HEADLINE = "BreastCMSL.Headline"
NOT_MEANINGFUL = "not meaningful at this score"
MARKER_COLOR = (0.10, 1.00, 1.00)  # cyan: in neither the heat ramp nor the grey image


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of one exam's results: scalar volume, colour table, markups fiducial, table."""

    heatmap: object
    colors: object
    peaks: object
    table: object


def write_results(scene, result: dict, heatmap: Volume, reference_node=None) -> ResultNodes:
    """Put an analysis into the scene, in place of earlier results with the same ``result["exam_id"]``.

    heatmap: float 0..1, [i, j, k], affine voxel → world RAS mm, as are the peaks in ``result``.
    reference_node: the input volume. Its parent transform, when it has one, becomes the results' parent too, and their
    own coordinates are expressed in its frame, so they follow it; its subject-hierarchy folder receives the results.

    Raises InputError for an unusable map or a non-linear parent transform, OutputError when the scene refuses; either
    way the scene is as it was.
    """
    array, affine = _checked_map(heatmap)
    to_world = local_to_world(reference_node)
    to_local = np.linalg.inv(to_world)
    if reference_node is not None and reference_node.GetParentTransformNode() is not None:
        affine = _local_affine(to_local @ affine, reference_node)
    exam_id = str(result["exam_id"])
    points = [(apply_affine(to_local, peak["ras_mm"]), label) for peak, label in zip(result["peaks"], peak_labels(result))]
    rows = result_rows(result)
    earlier = _nodes_of(scene, exam_id)
    parent_id = reference_node.GetTransformNodeID() if reference_node is not None else None

    with scene_transaction(scene):
        colors = _add(scene, "vtkMRMLColorTableNode", f"{map_title(result, short=True)} colors", exam_id, "colors")
        fill_heat_table(colors, float(result["map_threshold"]))
        volume = _add(scene, "vtkMRMLScalarVolumeNode", map_title(result), exam_id, "heatmap")
        volume.SetAttribute(HEADLINE, headline(result))
        _set_voxels(volume, array, affine)
        _show_heatmap(volume, colors, result)
        legend = _add_legend(volume, result)
        if legend is not None:
            _tag(legend, exam_id, "legend")
        peaks_name = "Peaks" if result["map_meaningful"] else f"Peaks ({NOT_MEANINGFUL})"
        peaks = _add(scene, "vtkMRMLMarkupsFiducialNode", peaks_name, exam_id, "peaks")
        _fill_peaks(peaks, points, visible=bool(result["map_meaningful"]))
        table = _add(scene, "vtkMRMLTableNode", "BreastCMSL results", exam_id, "table")
        _fill_table(table, rows)
        for node in (volume, peaks):
            if parent_id:
                node.SetAndObserveTransformNodeID(parent_id)
        _group(scene, (volume, peaks, table), reference_node, exam_id)
        _redirect_views(scene, earlier, volume)
        _remove(scene, earlier, exam_id)
    return ResultNodes(volume, colors, peaks, table)


def find_results(scene, exam_id: str) -> ResultNodes | None:
    """The results of an exam in the scene, or None when it has none or some of its nodes were deleted."""
    found = {node.GetAttribute(ROLE): node for node in _nodes_of(scene, exam_id)}
    if not all(role in found for role in ("heatmap", "colors", "peaks", "table")):
        return None
    return ResultNodes(found["heatmap"], found["colors"], found["peaks"], found["table"])


def remove_results(scene, exam_id: str) -> int:
    """Remove an exam's results with all that belongs to them; returns how many tagged nodes there were."""
    nodes = _nodes_of(scene, exam_id)
    if nodes:
        with scene_transaction(scene):
            _remove(scene, nodes, exam_id)
    return len(nodes)


def add_volume(scene, volume: Volume, name: str):
    """A scalar volume node with the volume's voxels and affine (world RAS mm), grey, window over its 1st to 99.7th percentile."""
    affine = check_affine(volume.affine, name)
    with scene_transaction(scene):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        _set_voxels(node, volume.array, affine)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*_window(volume.array))
    return node


def map_title(result: dict, short: bool = False) -> str:
    """The map's name ("COAM"), with a warning when the score gives it no meaning."""
    name = str(result["map"])
    return name if short or result["map_meaningful"] else f"{name} ({NOT_MEANINGFUL})"


def verdict(result: dict) -> str:
    """What the score says in one word: "suspicious" or "not suspicious"."""
    return "suspicious" if result["malignant"] else "not suspicious"


def headline(result: dict) -> str:
    """One line over a picture: verdict, probability, threshold, map."""
    word = verdict(result).capitalize()
    return f"{word}: probability {float(result['probability']):.2f} (threshold {float(result['threshold']):.2f}), {map_title(result)}"


def peak_labels(result: dict) -> list[str]:
    """What stands beside each peak in the views, strongest first."""
    peaks = result["peaks"]
    if not peaks:
        return []
    top = float(peaks[0]["value"]) or 1.0
    first = f"Suspicious {percent(result['probability'])}" if result["map_meaningful"] else f"Peak of map ({NOT_MEANINGFUL})"
    return [first, *(f"{place}: {percent(float(peak['value']) / top)} of peak" for place, peak in enumerate(peaks[1:], 2))]


def percent(fraction: float) -> str:
    """ "93 %"; never "0 %" or "100 %" for a probability that is not exactly that."""
    value = 100 * float(fraction)
    if 0 < value < 0.5:
        return "<1 %"
    if 99.5 <= value < 100:
        return ">99 %"
    return f"{value:.0f} %"


def result_rows(result: dict) -> list[tuple[str, str]]:
    """Name and value of each row of the results table."""
    rows = [
        ("Research use only", "not for diagnosis"),
        ("Model trained on", str(result["model"].get("training_data", "simulated exams"))),
        ("Verdict", verdict(result)),
        ("Probability of malignancy", f"{float(result['probability']):.3f}"),
        ("Threshold", f"{float(result['threshold']):.3f}"),
        ("Map", map_title(result)),
    ]
    for place, peak in enumerate(result["peaks"], 1):
        ras = ", ".join(f"{value:.1f}" for value in peak["ras_mm"])
        rows.append((f"Peak {place} RAS (mm)", ras))
        rows.append((f"Peak {place} side", str(peak.get("side", ""))))
        rows.append((f"Peak {place} value", f"{float(peak['value']):.3f}"))
    kinetics = result.get("kinetics")
    if kinetics:
        unit = str(kinetics.get("unit", ""))
        rows.append(("Kinetics at the peak", str(kinetics.get("type") or "unknown")))
        for key, title, of in (("wash_in", "Wash-in", unit), ("wash_out", "Change after the early peak", "%")):
            if kinetics.get(key) is not None:
                rows.append((title, f"{float(kinetics[key]):.1f} {of}".rstrip()))
    rows.append(("Breast mask from", str((result.get("mask") or {}).get("source", "unknown"))))
    rows.append(("Model", str(result["model"]["name"])))
    rows.append(("Model SHA-256", str(result["model"]["sha256"])))
    rows.append(("Exam", str(result["exam_id"])))
    rows += [(f"Warning {place}", str(text)) for place, text in enumerate(result.get("warnings", ()), 1)]
    return rows


@contextmanager
def scene_transaction(scene) -> Iterator[None]:
    """One batch, one undo step; when the block fails, what it added is removed again.

    The block must add first and remove last: a removal that succeeded is not brought back. Expected errors pass
    through; others become OutputError.
    """
    from ..errors import BreastCMSLError

    if scene.GetUndoFlag():
        scene.SaveStateForUndo()
    before = {node.GetID() for node in _all_nodes(scene)}
    items_before = set(_items(scene))
    scene.StartState(scene.BatchProcessState)
    try:
        try:
            yield
        except Exception as error:
            for item in set(_items(scene)) - items_before:
                scene.GetSubjectHierarchyNode().RemoveItem(item, False, False)
            added = [node for node in _all_nodes(scene) if node.GetID() not in before]
            for node in reversed(added):
                if scene.IsNodePresent(node):
                    scene.RemoveNode(node)
            if isinstance(error, BreastCMSLError):
                raise
            raise OutputError(f"The scene could not take the results ({error}); it was left as it was.") from error
    finally:
        scene.EndState(scene.BatchProcessState)


def _checked_map(heatmap: Volume) -> tuple[np.ndarray, np.ndarray]:
    affine = check_affine(heatmap.affine, "heatmap")
    array = np.asarray(heatmap.array, dtype=np.float32)
    if array.ndim != 3 or not array.size or not np.isfinite(array).all():
        raise InputError("The heatmap is not a volume of finite values; run the analysis again.")
    return array, affine


def _local_affine(affine: np.ndarray, reference_node) -> np.ndarray:
    # inv(T)·(T·M) differs from M by rounding: where both are one grid, say so exactly
    own = ijk_to_ras(reference_node)
    return own if np.allclose(affine, own, rtol=0, atol=1e-6) else affine


def _all_nodes(scene) -> list:
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def _nodes_of(scene, exam_id: str) -> list:
    return [node for node in _all_nodes(scene) if node.GetAttribute(EXAM_ID) == exam_id and node.GetAttribute(ROLE) in ROLES]


def _add(scene, class_name: str, name: str, exam_id: str, role: str):
    node = scene.AddNewNodeByClass(class_name, name)
    if node is None:
        raise OutputError(f"The scene cannot hold a {class_name}; use Slicer 5.10 or newer.")
    _tag(node, exam_id, role)
    return node


def _tag(node, exam_id: str, role: str) -> None:
    node.SetAttribute(EXAM_ID, exam_id)
    node.SetAttribute(ROLE, role)


def _set_voxels(node, array: np.ndarray, affine: np.ndarray) -> None:
    import vtk
    from vtk.util import numpy_support

    if array.dtype == bool or array.dtype == np.float16:
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape)
    scalars = numpy_support.numpy_to_vtk(array.ravel(order="F"), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    node.SetIJKToRASMatrix(to_vtk(affine))
    node.SetAndObserveImageData(image)


def _window(array: np.ndarray) -> tuple[float, float]:
    sample = array.ravel(order="K")[:: max(1, array.size // 1_000_000)].astype(np.float64)
    low, high = np.percentile(sample, (1.0, 99.7))
    if low < 0 < high:  # a subtraction: no enhancement is black, loss of signal is of no interest
        low = 0.0
    return (float(low), float(high)) if high > low else (float(sample.min()), float(max(sample.max(), sample.min() + 1)))


def _show_heatmap(node, colors, result: dict) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    # the threshold works voxel by voxel whatever colours the user chooses later
    display.AutoThresholdOff()
    display.SetThreshold(float(result["map_threshold"]), 1.0)
    display.SetApplyThreshold(1)


def _add_legend(volume, result: dict):
    import slicer

    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    legend = logic.AddDefaultColorLegendDisplayNode(volume) if hasattr(logic, "AddDefaultColorLegendDisplayNode") else None
    if legend is None:
        return None
    legend.SetTitleText(map_title(result).replace(" (", "\n("))
    legend.SetLabelFormat("%.1f")
    legend.SetNumberOfLabels(6)
    legend.SetPosition(0.98, 0.05)  # bottom right: outside the breasts in every standard view
    legend.SetSize(0.12, 0.32)
    legend.SetVisibility(bool(result["map_meaningful"]))
    return legend


def _fill_peaks(node, points, visible: bool) -> None:
    import vtk

    for position, label in points:
        index = node.AddControlPoint(vtk.vtkVector3d(*(float(value) for value in position)), label)
        node.SetNthControlPointDescription(index, label)
        node.SetNthControlPointLocked(index, True)
    node.SetLocked(True)  # a result, not a drawing: dragging it by accident would falsify it
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    for setter in (display.SetSelectedColor, display.SetColor):
        setter(*MARKER_COLOR)
    display.SetGlyphTypeFromString("ThickCross2D")  # leaves more of the lesion in view than a disc
    display.SetGlyphScale(4.0)
    display.SetTextScale(4.0)
    display.SetPointLabelsVisibility(True)
    display.SetVisibility(visible)


def _fill_table(node, rows) -> None:
    import vtk

    for column, title in enumerate(("Item", "Value")):
        values = vtk.vtkStringArray()
        values.SetName(title)
        for row in rows:
            values.InsertNextValue(" ".join(row[column].split()))  # a line break would end the row in a text file
        node.AddColumn(values)
    header = getattr(node, "SetUseColumnTitleAsColumnHeader", None) or node.SetUseColumnNameAsColumnHeader  # renamed after 5.8
    header(True)


def _redirect_views(scene, earlier, volume) -> None:
    old = {node.GetID() for node in earlier if node.GetAttribute(ROLE) == "heatmap"}
    for node in _all_nodes(scene):
        if node.IsA("vtkMRMLSliceCompositeNode"):
            if node.GetForegroundVolumeID() in old:
                node.SetForegroundVolumeID(volume.GetID())
            if node.GetBackgroundVolumeID() in old:
                node.SetBackgroundVolumeID(volume.GetID())


def _remove(scene, nodes, exam_id: str) -> None:
    doomed = []
    for node in nodes:
        for getter, count in (("GetNthDisplayNode", "GetNumberOfDisplayNodes"), ("GetNthStorageNode", "GetNumberOfStorageNodes")):
            if hasattr(node, getter):
                doomed += [getattr(node, getter)(index) for index in range(getattr(node, count)())]
        doomed.append(node)
    unique = {node.GetID(): node for node in doomed if node is not None}
    _drop_items(scene, unique.values())
    for node in unique.values():
        if scene.IsNodePresent(node):
            scene.RemoveNode(node)
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is not None:
        for item in _folders(hierarchy, exam_id):
            if not _children(hierarchy, item):  # the user may have put something of theirs in it
                hierarchy.RemoveItem(item, False, False)


def _drop_items(scene, nodes) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)


def _children(hierarchy, item: int, recursive: bool = False) -> list[int]:
    import vtk

    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids, recursive)
    return [ids.GetId(index) for index in range(ids.GetNumberOfIds())]


def _items(scene) -> list[int]:
    hierarchy = scene.GetSubjectHierarchyNode()
    return [] if hierarchy is None else _children(hierarchy, hierarchy.GetSceneItemID(), True)


def _folders(hierarchy, exam_id: str) -> list[int]:
    return [item for item in _children(hierarchy, hierarchy.GetSceneItemID(), True) if hierarchy.GetItemAttribute(item, EXAM_ID) == exam_id]


_OWNERS = {"vtkMRMLScalarVolumeNode": "Volumes", "vtkMRMLMarkupsFiducialNode": "Markups", "vtkMRMLTableNode": "Tables"}


def _group(scene, nodes, reference_node, exam_id: str) -> None:
    """A folder beside the input volume with the results in it (the colours are not data a user looks for in the tree)."""
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    reference = hierarchy.GetItemByDataNode(reference_node) if reference_node is not None else 0
    parent = hierarchy.GetItemParent(reference) if reference else hierarchy.GetSceneItemID()
    kept = _folders(hierarchy, exam_id)
    folder = kept[0] if kept else hierarchy.CreateFolderItem(parent, "BreastCMSL results")
    hierarchy.SetItemAttribute(folder, EXAM_ID, exam_id)
    if not hierarchy.GetItemOwnerPluginName(folder):  # the desktop's plugins claim items themselves, the embedded Slicer has none
        hierarchy.SetItemOwnerPluginName(folder, "Folder")
    for node in nodes:
        item = hierarchy.CreateItem(folder, node)
        hierarchy.SetItemParent(item, folder)
        if not hierarchy.GetItemOwnerPluginName(item):
            hierarchy.SetItemOwnerPluginName(item, _OWNERS[node.GetClassName()])
