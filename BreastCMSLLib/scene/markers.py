"""The candidates' positions as markers."""

from __future__ import annotations

from collections.abc import Mapping

from ..results.colors import MARKER_COLOR
from ..results.wording import marker_labels, meaning_note, moved_text
from .nodes import add_node
from .transforms import Frame


def add_markers(scene, result: Mapping, frame: Frame):
    """Add one locked marker for each candidate, hidden where they mean nothing.

    Parameters
    ----------
    scene : vtkMRMLScene
    result : mapping
        The content of ``result.json``.
    frame : Frame
        Where the node is placed.

    Returns
    -------
    vtkMRMLMarkupsFiducialNode
    """
    import vtk

    note = meaning_note(result)
    name = f"Peaks ({note})" if note else "Peaks"
    node = add_node(scene, "vtkMRMLMarkupsFiducialNode", name, result, "peaks")
    for peak, label in zip(result["peaks"], marker_labels(result)):
        position = (float(value) for value in frame.point(peak["ras_mm"]))
        index = node.AddControlPoint(vtk.vtkVector3d(*position), label)
        node.SetNthControlPointDescription(index, ". ".join(filter(None, (label, moved_text(peak)))))
        node.SetNthControlPointLocked(index, True)
    node.SetLocked(True)  # a result, not a drawing: dragging it by accident would falsify it
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    for setter in (display.SetSelectedColor, display.SetColor):
        setter(*MARKER_COLOR)
    # leaves more of the lesion in view than a disc or a thick cross
    display.SetGlyphTypeFromString("Cross2D")
    display.SetGlyphScale(4.0)
    display.SetTextScale(4.0)
    display.SetPointLabelsVisibility(True)
    display.SetVisibility(not note)
    return node
