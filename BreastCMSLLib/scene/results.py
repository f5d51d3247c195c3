"""Results of an analysis as MRML nodes: maps with their colours and legend, peaks, table, enhancement curves, and a record.

Each node carries ``BreastCMSL.ExamID`` and ``BreastCMSL.Role``: writing the same exam again replaces its earlier nodes
and nobody else's. The scene changes in one batch, completely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import numpy as np

from ..core.errors import InputError, OutputError
from ..core.geometry import Volume, apply_affine, check_affine
from ..findings.kinetics import curve_points, peak_curve
from ..results.report import (
    chance,
    curve_facts,
    finding_text,
    moved_text,
    outline_names,
    percent,
    size_text,
)
from ..results.wording import title_of
from .colors import fill_heat_table
from .transforms import from_vtk, ijk_to_ras, local_to_world, to_vtk

EXAM_ID = "BreastCMSL.ExamID"
ROLE = "BreastCMSL.Role"
MAP = "BreastCMSL.Map"
ROLES = ("heatmap", "map", "subtraction", "colors", "legend", "peaks", "table", "curves", "curve", "mean", "chart", "record", "outline")
HEADLINE = "BreastCMSL.Headline"
NOT_MEANINGFUL = "not meaningful at this score"
MEAN_CURVE = "Mean of the outline"
MARKER_COLOR = (0.10, 1.00, 1.00)  # cyan: in neither the heat ramp nor the grey image


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of one exam's results: scalar volume, colour table, markups fiducial, table.

    maps: map name → scalar volume, the heatmap among them. curves, curve, chart: table, plot series and plot chart of the
    enhancement, or None. mean: plot series of the mean curve of the finding's outline, or None. record: text node with the
    result as JSON, or None. outline: segmentation with a segment ``Peak_n`` for each outline, the finding's on show, or None.
    subtraction: grey volume that the maps lie over, or None.
    """

    heatmap: object
    colors: object
    peaks: object
    table: object
    maps: Mapping[str, object] = field(default_factory=dict)
    curves: object = None
    curve: object = None
    mean: object = None
    chart: object = None
    record: object = None
    outline: object = None
    subtraction: object = None


def write_results(
    scene,
    result: dict,
    heatmap: Volume,
    reference_node=None,
    *,
    maps: Mapping[str, Volume] | None = None,
    subtraction: Volume | None = None,
    outlines: Volume | None = None,
) -> ResultNodes:
    """Put an analysis into the scene, in place of earlier results with the same ``result["exam_id"]``.

    heatmap: float 0..1, [i, j, k], affine voxel → world RAS mm, as are the peaks in ``result``.
    reference_node: the input volume. Its parent transform, when it has one, becomes the results' parent too, and their
    own coordinates are expressed in its frame, so they follow it; its subject-hierarchy folder receives the results.
    maps: further maps by name, to choose from. subtraction: what the maps are to lie over, when the scene does not hold it.
    outlines: labels of the peaks' outlines (``peak["outline"]``), world RAS mm; of a suspicious exam only.

    Raises InputError for an unusable map or a non-linear parent transform, OutputError when the scene refuses; either
    way the scene is as it was.
    """
    main = str(result["map"])
    checked = {
        name: _checked_map(volume) for name, volume in {main: heatmap, **{k: v for k, v in (maps or {}).items() if k != main}}.items()
    }
    to_world = local_to_world(reference_node)
    to_local = np.linalg.inv(to_world)
    moved = reference_node is not None and reference_node.GetParentTransformNode() is not None
    if moved:
        checked = {name: (array, _local_affine(to_local @ affine, reference_node)) for name, (array, affine) in checked.items()}
    exam_id = str(result["exam_id"])
    points = [
        (apply_affine(to_local, peak["ras_mm"]), label, ". ".join(filter(None, (label, moved_text(peak)))))
        for peak, label in zip(result["peaks"], peak_labels(result))
    ]
    rows = result_rows(result)
    record_text = json.dumps(result, ensure_ascii=False)
    earlier = _nodes_of(scene, exam_id)
    _watch_undo(scene)
    parent_id = reference_node.GetTransformNodeID() if reference_node is not None else None

    with scene_transaction(scene):
        colors = _add(scene, "vtkMRMLColorTableNode", f"{map_title(result, short=True)} colors", exam_id, "colors")
        fill_heat_table(colors, float(result["map_threshold"]))
        volumes = {}
        for name, (array, affine) in checked.items():
            node = _add(scene, "vtkMRMLScalarVolumeNode", map_title({**result, "map": name}), exam_id, "heatmap" if name == main else "map")
            node.SetAttribute(MAP, name)
            node.SetAttribute(HEADLINE, headline({**result, "map": name}))
            _show_heatmap(node, colors, result)
            _set_voxels(node, array, affine)
            volumes[name] = node
            legend = _add_legend(node, {**result, "map": name})
            if legend is not None:
                _tag(legend, exam_id, "legend")
        volume = volumes[main]
        grey = None
        if subtraction is not None:
            grey = _add(scene, "vtkMRMLScalarVolumeNode", "Subtraction", exam_id, "subtraction")
            own = _local_affine(to_local @ subtraction.affine, reference_node) if moved else subtraction.affine
            _show_grey(grey, subtraction.array)
            _set_voxels(grey, subtraction.array, check_affine(own, "subtraction"))
        peaks_name = "Peaks" if result["map_meaningful"] else f"Peaks ({NOT_MEANINGFUL})"
        peaks = _add(scene, "vtkMRMLMarkupsFiducialNode", peaks_name, exam_id, "peaks")
        _fill_peaks(peaks, points, visible=bool(result["map_meaningful"]))
        outline = None
        if outlines is not None and outline_names(result):
            own = _local_affine(to_local @ outlines.affine, reference_node) if moved else outlines.affine
            outline = _add(scene, "vtkMRMLSegmentationNode", "Outline", exam_id, "outline")
            _fill_outlines(outline, Volume(outlines.array, own), outline_names(result), volume)
        table = _add(scene, "vtkMRMLTableNode", "BreastCMSL results", exam_id, "table")
        _fill_table(table, rows)
        curves, curve, mean, chart = _add_curves(scene, result, exam_id)
        record = _add(scene, "vtkMRMLTextNode", "BreastCMSL record", exam_id, "record")
        record.SetText(record_text)
        record.SetHideFromEditors(True)
        placed = [node for node in (grey, *volumes.values(), peaks, outline) if node is not None]
        for node in placed:
            if parent_id:
                node.SetAndObserveTransformNodeID(parent_id)
        shown = [*placed, table, *(node for node in (curves, curve, mean, chart) if node is not None)]
        for node in (*shown, colors):
            for helper in _helpers(node):
                helper.SetUndoEnabled(True)
        _group(scene, shown, reference_node, exam_id)
        _redirect_views(scene, earlier, volume, volumes)
        _remove(scene, earlier, exam_id)
    return ResultNodes(volume, colors, peaks, table, volumes, curves, curve, mean, chart, record, outline, grey)


def find_results(scene, exam_id: str) -> ResultNodes | None:
    """The results of an exam in the scene, or None when it has none or one of its main nodes was deleted."""
    nodes = _nodes_of(scene, exam_id)
    found = {node.GetAttribute(ROLE): node for node in nodes}
    if not all(role in found for role in ("heatmap", "colors", "peaks", "table")):
        return None
    maps = {node.GetAttribute(MAP): node for node in nodes if node.GetAttribute(MAP)}
    optional = {role: found.get(role) for role in ("curves", "curve", "mean", "chart", "record", "outline", "subtraction")}
    return ResultNodes(found["heatmap"], found["colors"], found["peaks"], found["table"], maps, **optional)


def find_records(scene) -> dict[str, dict]:
    """exam_id → result of every analysis the scene holds, oldest first; records that cannot be read are left out."""
    records = {}
    for node in _all_nodes(scene):
        if node.GetAttribute(ROLE) == "record" and node.IsA("vtkMRMLTextNode"):
            try:
                result = json.loads(node.GetText() or "")
                known = result["kind"] == "breastcmsl.result" and result["schema_version"] == 1
            except (ValueError, TypeError, KeyError):
                continue
            if known and result.get("exam_id") == node.GetAttribute(EXAM_ID):
                records[result["exam_id"]] = result
    return records


def show_curve(nodes: ResultNodes, result: dict, place: int) -> bool:
    """Let the chart draw the curve at a peak (0: the strongest); False when that was not measured.

    The mean curve of the finding's outline is drawn beside that of the first peak only.
    """
    column = f"Peak {place + 1}"
    if nodes.curve is None or nodes.chart is None or nodes.curves is None or nodes.curves.GetColumnIndex(column) < 0:
        return False
    nodes.curve.SetName(column)
    nodes.curve.SetYColumnName(column)
    nodes.chart.SetTitle(curve_title(result, place))
    if nodes.mean is not None:
        nodes.chart.RemovePlotSeriesNodeID(nodes.mean.GetID())
        if place == 0:
            nodes.chart.AddAndObservePlotSeriesNodeID(nodes.mean.GetID())
        nodes.chart.SetLegendVisibility(place == 0)
    return True


def curve_title(result: dict, place: int = 0) -> str:
    """Title of a peak's curve: its type, and how much it rises and changes later."""
    curve = peak_curve(result, place) or {}
    facts = ", ".join([curve.get("type") or "type unknown", *curve_facts(curve, short=True)])
    return f"Peak {place + 1}: {facts}"


def show_outline(nodes: ResultNodes, result: dict, place: int | None) -> bool:
    """Show the outline of a peak (0: the first) and no other; None hides all. True when one shows now: not every peak has one."""
    if nodes.outline is None:
        return False
    label = None if place is None else result["peaks"][place].get("outline")
    display = nodes.outline.GetDisplayNode()
    for number in outline_names(result):
        display.SetSegmentVisibility(f"Peak_{number}", number == label)
    display.SetVisibility(bool(label))
    return bool(label)


def outline_shown(nodes: ResultNodes, result: dict) -> bool:
    """Whether the views show any outline."""
    display = nodes.outline.GetDisplayNode() if nodes.outline is not None else None
    return bool(display and display.GetVisibility() and any(display.GetSegmentVisibility(f"Peak_{n}") for n in outline_names(result)))


def outline_labels(nodes: ResultNodes, result: dict) -> Volume | None:
    """The outlines that the scene holds as labels on the heatmap's grid (affine to world RAS mm); None when it holds none."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    if nodes.outline is None:
        return None
    grid = ijk_to_ras(nodes.heatmap)
    labels = np.zeros(nodes.heatmap.GetImageData().GetDimensions(), dtype=np.uint8)
    for label in outline_names(result):
        image = slicer.vtkOrientedImageData()
        if not nodes.outline.GetBinaryLabelmapRepresentation(f"Peak_{label}", image) or not image.GetNumberOfPoints():
            continue  # the user has removed it
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F")
        places = apply_affine(from_vtk(matrix), np.argwhere(voxels) + np.array(image.GetExtent()[::2]))
        index = np.round(apply_affine(np.linalg.inv(grid), places)).astype(int)
        index = index[((index >= 0) & (index < labels.shape)).all(axis=1)]
        labels[tuple(index.T)] = label
    return Volume(labels, local_to_world(nodes.heatmap) @ grid)


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
        _show_grey(node, volume.array)
        _set_voxels(node, volume.array, affine)
    return node


def map_title(result: dict, short: bool = False) -> str:
    """The map's name for a reader ("COAM × CAM"), with a warning when the score gives it no meaning."""
    name = title_of(result["map"])
    return name if short or result["map_meaningful"] else f"{name} ({NOT_MEANINGFUL})"


def verdict(result: dict) -> str:
    """What the score says in one word: "suspicious" or "not suspicious"."""
    return "suspicious" if result["malignant"] else "not suspicious"


def headline(result: dict) -> str:
    """One line over a picture: verdict, probability, threshold, map."""
    word = verdict(result).capitalize()
    return f"{word}: probability {percent(result['probability'])} (threshold {percent(result['threshold'])}), {map_title(result)}"


def peak_labels(result: dict) -> list[str]:
    """What stands beside each peak in the views, most suspicious first; no peak of an exam below the threshold is a finding."""
    peaks = result["peaks"]
    if not peaks:
        return []
    top = max(float(peak["value"]) for peak in peaks) or 1.0
    heights = [
        f"{percent(peak['value'] / top)} of peak" if peak.get("probability") is None else percent(peak["probability"]) for peak in peaks
    ]
    if not result["map_meaningful"]:
        return [f"Peak of map ({NOT_MEANINGFUL})", *(f"{n}: {text} ({NOT_MEANINGFUL})" for n, text in enumerate(heights[1:], 2))]
    if peaks[0].get("probability") is not None:
        return [f"{n}: {text}" for n, text in enumerate(heights, 1)]
    return [f"Suspicious {percent(result['probability'])}", *(f"{n}: {text}" for n, text in enumerate(heights[1:], 2))]


def result_rows(result: dict) -> list[tuple[str, str]]:
    """Name and value of each row of the results table."""
    rows = [
        ("Research use only", "not for diagnosis"),
        ("Model trained on", str(result["model"].get("training_data", "simulated exams"))),
        ("Verdict", verdict(result)),
        ("Probability of malignancy", chance(result["probability"])),
        ("Threshold", f"{float(result['threshold']):.3f}"),
        ("Map", map_title(result)),
        ("Finding", finding_text(result)),
    ]
    for place, peak in enumerate(result["peaks"], 1):
        ras = ", ".join(f"{value:.1f}" for value in peak["ras_mm"])
        rows.append((f"Peak {place} RAS (mm)", ras))
        if peak.get("side"):
            rows.append((f"Peak {place} side", str(peak["side"])))
        if peak.get("probability") is not None:
            rows.append((f"Peak {place} probability", chance(peak["probability"])))
        rows.append((f"Peak {place} value", f"{float(peak['value']):.3f}"))
        if peak.get("size_mm") is not None:
            rows.append((f"Peak {place} outline", size_text(peak)))
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
    from ..core.errors import BreastCMSLError

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
    node.SetUndoEnabled(True)
    return node


def _tag(node, exam_id: str, role: str) -> None:
    node.SetAttribute(EXAM_ID, exam_id)
    node.SetAttribute(ROLE, role)


def _set_voxels(node, array: np.ndarray, affine: np.ndarray) -> None:
    node.SetIJKToRASMatrix(to_vtk(affine))
    node.SetAndObserveImageData(_image(array))


def _image(array: np.ndarray):
    """vtkImageData with the voxels of an array [i, j, k]."""
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
    return image


def _show_grey(node, array: np.ndarray) -> None:
    """Before the voxels are set: MRML would look through all of them for a window that is not wanted."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*grey_window(array))


def grey_window(array: np.ndarray) -> tuple[float, float]:
    """The limits between which a grey volume is shown: its 1st to 99.7th percentile, a subtraction from 0."""
    sample = array.ravel(order="K")[:: max(1, array.size // 1_000_000)].astype(np.float64)
    low, high = np.percentile(sample, (1.0, 99.7))
    if low < 0 < high:  # a subtraction: no enhancement is black, loss of signal is of no interest
        low = 0.0
    return (float(low), float(high)) if high > low else (float(sample.min()), float(max(sample.max(), sample.min() + 1)))


def _show_heatmap(node, colors, result: dict) -> None:
    """Before the voxels are set, see :func:`_show_grey`."""
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

    for position, label, description in points:
        index = node.AddControlPoint(vtk.vtkVector3d(*(float(value) for value in position)), label)
        node.SetNthControlPointDescription(index, description)
        node.SetNthControlPointLocked(index, True)
    node.SetLocked(True)  # a result, not a drawing: dragging it by accident would falsify it
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    for setter in (display.SetSelectedColor, display.SetColor):
        setter(*MARKER_COLOR)
    display.SetGlyphTypeFromString("Cross2D")  # leaves more of the lesion in view than a disc or a thick cross
    display.SetGlyphScale(4.0)
    display.SetTextScale(4.0)
    display.SetPointLabelsVisibility(True)
    display.SetVisibility(visible)


def _fill_outlines(node, labels: Volume, names: Mapping[int, str], heatmap) -> None:
    """A segment for each label, drawn as a line, the finding's on show; ``labels`` in the frame of the heatmap's node."""
    import slicer

    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(heatmap)
    display = node.GetDisplayNode()
    for label, name in names.items():
        region = labels.array == label
        limits = [np.flatnonzero(region.any(axis=tuple(b for b in range(3) if b != a)))[[0, -1]] for a in range(3)]
        box = tuple(slice(int(low), int(high) + 1) for low, high in limits)
        affine = np.array(labels.affine)
        affine[:3, 3] = apply_affine(affine, np.array([low - 1.0 for low, _ in limits]))
        image = slicer.vtkOrientedImageData()
        image.ShallowCopy(_image(np.pad(region[box].astype(np.uint8), 1)))  # so that the surface closes at the box
        image.SetImageToWorldMatrix(to_vtk(affine))
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*MARKER_COLOR)
        segment.AddRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(), image)
        node.GetSegmentation().AddSegment(segment, f"Peak_{label}")
        display.SetSegmentVisibility(f"Peak_{label}", label == 1)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)


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


def _add_curves(scene, result: dict, exam_id: str) -> tuple:
    """Table, series of a peak, series of the finding's mean curve, and chart; None for each that was not measured."""
    import vtk

    measured = [(place, peak_curve(result, place)) for place in range(max(1, len(result["peaks"])))]
    drawn = [(place, curve, curve_points(curve)) for place, curve in measured if curve]
    drawn = [entry for entry in drawn if entry[2][0]]
    if not drawn:
        return None, None, None, None
    table = _add(scene, "vtkMRMLTableNode", "Enhancement curves", exam_id, "curves")
    places, _, title = drawn[0][2]
    x_name, unit = title[:1].upper() + title[1:], drawn[0][1].get("unit") or "a.u."
    columns = {x_name: places, **{f"Peak {place + 1}": points[1] for place, _, points in drawn if len(points[1]) == len(places)}}
    mean_curve = (result.get("finding") or {}).get("kinetics") or {}
    mean_values = curve_points(mean_curve)[1] if mean_curve.get("unit") == unit else []
    if len(mean_values) == len(places):
        columns[MEAN_CURVE] = mean_values
    for name, values in columns.items():
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    place = drawn[0][0]
    series = _add_series(scene, table, x_name, f"Peak {place + 1}", exam_id, "curve", (0.64, 0.14, 0.11))
    mean = _add_series(scene, table, x_name, MEAN_CURVE, exam_id, "mean", (0.12, 0.37, 0.55)) if MEAN_CURVE in columns else None
    chart = _add(scene, "vtkMRMLPlotChartNode", "Enhancement at the peaks", exam_id, "chart")
    for node in (series, mean):
        if node is not None:
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
    chart.SetXAxisTitle(x_name)
    chart.SetYAxisTitle(f"Enhancement ({unit})")
    chart.SetLegendVisibility(mean is not None)
    chart.SetTitle(curve_title(result, place))
    return table, series, mean, chart


def _add_series(scene, table, x_name: str, y_name: str, exam_id: str, role: str, color):
    series = _add(scene, "vtkMRMLPlotSeriesNode", y_name, exam_id, role)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(x_name)
    series.SetYColumnName(y_name)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(*color)
    series.SetLineWidth(2)
    return series


def _redirect_views(scene, earlier, volume, volumes) -> None:
    names = {node.GetID(): node.GetAttribute(MAP) for node in earlier if node.GetAttribute(ROLE) in ("heatmap", "map")}
    old = set(names)
    for node in _all_nodes(scene):
        if node.IsA("vtkMRMLSliceCompositeNode"):
            if node.GetForegroundVolumeID() in old:
                node.SetForegroundVolumeID(volumes.get(names[node.GetForegroundVolumeID()], volume).GetID())
            if node.GetBackgroundVolumeID() in old:
                node.SetBackgroundVolumeID(volume.GetID())


def _remove(scene, nodes, exam_id: str) -> None:
    doomed = []
    for node in nodes:
        doomed += [*_helpers(node), node]
    unique = {node.GetID(): node for node in doomed}
    _drop_items(scene, unique.values())
    for node in unique.values():
        if scene.IsNodePresent(node):
            scene.RemoveNode(node)
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is not None:
        for item in _folders(hierarchy, exam_id):
            if not _children(hierarchy, item):  # the user may have put something of theirs in it
                hierarchy.RemoveItem(item, False, False)


_WATCHED = WeakSet()  # scenes whose undo and redo are followed


def _watch_undo(scene) -> None:
    if scene not in _WATCHED:
        _WATCHED.add(scene)
        for event in (scene.EndUndoEvent, scene.EndRedoEvent):
            scene.AddObserver(event, lambda caller, event: tidy_folders(caller))


def tidy_folders(scene) -> None:
    """Bring the tree in line after undo and redo, which know nodes but no folders: none is left empty, no result is outside."""
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    for item in [i for i in _items(scene) if hierarchy.GetItemAttribute(i, EXAM_ID)]:
        children = _children(hierarchy, item)
        gone = [child for child in children if hierarchy.GetItemLevel(child) != "Folder" and not _in_scene(scene, hierarchy, child)]
        for child in gone if len(gone) < len(children) else [*gone, item]:
            hierarchy.RemoveItem(child, False, False)
    shown = [node for node in _all_nodes(scene) if node.GetAttribute(EXAM_ID) and node.GetAttribute(ROLE) in ROLES]
    for exam_id in dict.fromkeys(node.GetAttribute(EXAM_ID) for node in shown):
        if not _folders(hierarchy, exam_id):
            own = [node for node in shown if node.GetAttribute(EXAM_ID) == exam_id and node.GetClassName() in _OWNERS]
            _group(scene, own, None, exam_id)


def _in_scene(scene, hierarchy, item: int) -> bool:
    node = hierarchy.GetItemDataNode(item)  # may be a node that undo has just taken out
    return node is not None and bool(scene.IsNodePresent(node))


def _helpers(node) -> list:
    """The display and storage nodes of a node."""
    found = []
    for getter, count in (("GetNthDisplayNode", "GetNumberOfDisplayNodes"), ("GetNthStorageNode", "GetNumberOfStorageNodes")):
        if hasattr(node, getter):
            found += [getattr(node, getter)(index) for index in range(getattr(node, count)())]
    return [helper for helper in found if helper is not None]


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


_OWNERS = {
    "vtkMRMLScalarVolumeNode": "Volumes",
    "vtkMRMLMarkupsFiducialNode": "Markups",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLPlotSeriesNode": "Plots",
    "vtkMRMLPlotChartNode": "Plots",
    "vtkMRMLSegmentationNode": "Segmentations",
}


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
