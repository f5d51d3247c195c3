"""Enhancement curves as a table, and as a chart of the curve at one candidate."""

from __future__ import annotations

from collections.abc import Mapping

from ..findings.kinetics import curve_points, peak_curve
from ..results.wording import curve_text
from .nodes import ResultNodes, add_node
from .tables import add_column

MEAN_CURVE = "Mean of the outline"
_CURVE_COLOR, _MEAN_COLOR = (0.64, 0.14, 0.11), (0.12, 0.37, 0.55)


def add_curves(scene, result: Mapping) -> dict[str, object]:
    """Add a table of the candidates' curves and a chart of the first one.

    Parameters
    ----------
    scene : vtkMRMLScene
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    dict of str to vtkMRMLNode
        ``curves`` (table), ``curve`` (plot series of a candidate), ``chart``, and ``mean`` (plot series of
        the mean curve of the finding's outline) where that was measured; empty where no curve was.
    """
    drawn = _drawn_curves(result)
    if not drawn:
        return {}
    first = next(iter(drawn))
    times, _, title = curve_points(drawn[first])
    time_name, unit = title[:1].upper() + title[1:], drawn[first].get("unit") or "a.u."
    columns = {time_name: times, **_columns(drawn, len(times))}
    mean = (result.get("finding") or {}).get("kinetics") or {}
    if mean.get("unit") == unit and len(curve_points(mean)[1]) == len(times):
        columns[MEAN_CURVE] = curve_points(mean)[1]

    table = add_node(scene, "vtkMRMLTableNode", "Enhancement curves", result, "curves")
    for name, values in columns.items():
        add_column(table, name, values)
    nodes = {"curves": table}
    nodes["curve"] = _add_series(scene, table, time_name, _column_name(first), result, "curve", _CURVE_COLOR)
    if MEAN_CURVE in columns:
        nodes["mean"] = _add_series(scene, table, time_name, MEAN_CURVE, result, "mean", _MEAN_COLOR)

    chart = add_node(scene, "vtkMRMLPlotChartNode", "Enhancement at the peaks", result, "chart")
    for role in ("curve", "mean"):
        if role in nodes:
            chart.AddAndObservePlotSeriesNodeID(nodes[role].GetID())
    chart.SetXAxisTitle(time_name)
    chart.SetYAxisTitle(f"Enhancement ({unit})")
    chart.SetLegendVisibility("mean" in nodes)
    chart.SetTitle(curve_title(result, first))
    return {**nodes, "chart": chart}


def _drawn_curves(result: Mapping) -> dict[int, Mapping]:
    """The curve of each candidate, by its index, as far as it was measured and can be drawn."""
    curves = {index: peak_curve(result, index) for index in range(max(1, len(result["peaks"])))}
    return {index: curve for index, curve in curves.items() if curve and curve_points(curve)[0]}


def _columns(curves: Mapping[int, Mapping], length: int) -> dict[str, list[float]]:
    values = {_column_name(index): curve_points(curve)[1] for index, curve in curves.items()}
    return {name: column for name, column in values.items() if len(column) == length}


def _column_name(index: int) -> str:
    return f"Peak {index + 1}"


def _add_series(scene, table, x_name: str, y_name: str, result: Mapping, role: str, color):
    series = add_node(scene, "vtkMRMLPlotSeriesNode", y_name, result, role)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(x_name)
    series.SetYColumnName(y_name)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(*color)
    series.SetLineWidth(2)
    return series


def show_curve(nodes: ResultNodes, result: Mapping, index: int) -> bool:
    """Let the chart draw the curve at a candidate, and beside the first one the mean of its outline.

    Parameters
    ----------
    nodes : ResultNodes
    result : mapping
        The content of ``result.json``.
    index : int
        Which candidate, from 0.

    Returns
    -------
    bool
        False when that curve was not measured.
    """
    column = _column_name(index)
    if None in (nodes.curve, nodes.chart, nodes.curves) or nodes.curves.GetColumnIndex(column) < 0:
        return False
    nodes.curve.SetName(column)
    nodes.curve.SetYColumnName(column)
    nodes.chart.SetTitle(curve_title(result, index))
    if nodes.mean is not None:
        nodes.chart.RemovePlotSeriesNodeID(nodes.mean.GetID())
        if index == 0:
            nodes.chart.AddAndObservePlotSeriesNodeID(nodes.mean.GetID())
        nodes.chart.SetLegendVisibility(index == 0)
    return True


def curve_title(result: Mapping, index: int = 0) -> str:
    """Title of the curve at a candidate (from 0): "Peak 1: washout, wash-in 150 %, delayed −13 %"."""
    return f"{_column_name(index)}: {curve_text(peak_curve(result, index) or {}, short=True)}"
