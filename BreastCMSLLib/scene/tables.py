"""The table of an exam's results: name and value of each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..results.wording import (
    finding_text,
    map_label,
    mask_text,
    probability_text,
    share_read_text,
    size_text,
    tumour_volume_text,
    verdict,
)
from ..results.wording_finding import place_text
from .nodes import add_node


def add_table(scene, result: Mapping):
    """Add the table of a result.

    Parameters
    ----------
    scene : vtkMRMLScene
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    vtkMRMLTableNode
    """
    node = add_node(scene, "vtkMRMLTableNode", "BreastCMSL results", result, "table")
    # a line break would end the row in a file
    rows = [[" ".join(text.split()) for text in row] for row in result_rows(result)]
    for title, texts in zip(("Item", "Value"), zip(*rows)):
        add_column(node, title, texts)
    # renamed after 5.8
    header = getattr(node, "SetUseColumnTitleAsColumnHeader", None) or node.SetUseColumnNameAsColumnHeader
    header(True)
    return node


def add_column(table, name: str, values: Iterable) -> None:
    """Add a column of texts, or of numbers, to a table node."""
    import vtk

    values = list(values)
    column = vtk.vtkStringArray() if values and isinstance(values[0], str) else vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    table.AddColumn(column)


def result_rows(result: Mapping) -> list[tuple[str, str]]:
    """Name and value of each row of the table of a result."""
    model = result["model"]
    rows = [
        ("Research use only", "not for diagnosis"),
        ("Model trained on", model.get("training_data", "simulated exams")),
        ("Verdict", verdict(result)),
        ("Probability of malignancy", _probability(result)),
        ("Threshold", f"{float(result['threshold']):.3f}"),
        ("Map", map_label(result)),
        ("Finding", finding_text(result)),
    ]
    for number, peak in enumerate(result["peaks"], 1):
        rows += [(f"Peak {number} {name}", value) for name, value in _peak_rows(peak, result)]
    rows += _curve_rows(result.get("kinetics"))
    if volumes := tumour_volume_text(result):
        rows.append(("Functional tumour volume", volumes))
    rows += [
        ("Breast mask from", mask_text(result)),
        ("Read", share_read_text(result)),
        ("Model", model["name"]),
        ("Model SHA-256", model["sha256"]),
        ("Exam", result["exam_id"]),
    ]
    rows += [(f"Warning {number}", text) for number, text in enumerate(result.get("warnings", ()), 1)]
    return [(name, str(value)) for name, value in rows]


def _probability(result: Mapping) -> str:
    note = ", which means nothing for such an exam" if result.get("out_of_range") else ""
    return probability_text(result["probability"]) + note


def _peak_rows(peak: Mapping, result: Mapping) -> list[tuple[str, str]]:
    rows = [("RAS (mm)", ", ".join(f"{value:.1f}" for value in peak["ras_mm"]))]
    if peak.get("side"):
        rows.append(("side", peak["side"]))
    if peak.get("place") or peak.get("image"):
        rows.append(("place", place_text(peak)))
    if peak.get("suspicion"):
        rows.append(("suspicion", peak["suspicion"]))
    if peak.get("probability") is not None and not result.get("out_of_range"):
        rows.append(("probability", probability_text(peak["probability"])))
    rows.append(("value", f"{float(peak['value']):.3f}"))
    if size := size_text(peak):
        rows.append(("outline", size))
    return rows


def _curve_rows(curve: Mapping | None) -> list[tuple[str, str]]:
    if not curve:
        return []
    rows = [("Curve at the first peak", curve.get("type") or "unknown")]
    for key, title, unit in (
        ("wash_in", "Wash-in", curve.get("unit", "")),
        ("wash_out", "Delayed change", "%"),
    ):
        if curve.get(key) is not None:
            rows.append((title, f"{float(curve[key]):.1f} {unit}".rstrip()))
    return rows
