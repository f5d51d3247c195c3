"""How a map lies over the images: what of it is transparent, and its legend."""

from __future__ import annotations

from .nodes import ROLE, is_result


def is_kinetic(node) -> bool:
    """Whether a map shows a measure of the curves in colours of its own, not where a score comes from."""
    return node is not None and node.GetAttribute(ROLE) == "kinetic"


def legends_of(volume) -> list:
    """The colour legends of a map's node."""
    displays = [volume.GetNthDisplayNode(index) for index in range(volume.GetNumberOfDisplayNodes())]
    return [node for node in displays if node is not None and node.IsA("vtkMRMLColorLegendDisplayNode")]


def set_map_threshold(heatmap, threshold: float) -> None:
    """Make a map transparent below a fraction of its maximum; a kinetic map has limits of its own.

    Parameters
    ----------
    heatmap : vtkMRMLScalarVolumeNode
    threshold : float
        0 to 1.
    """
    import slicer

    display = heatmap.GetDisplayNode()
    if display is None or is_kinetic(heatmap):
        return
    with slicer.util.NodeModify(display):
        display.SetThreshold(threshold, max(1.0, display.GetUpperThreshold()))
        display.ApplyThresholdOn()
    colors = display.GetColorNode()
    # an analysis writes a colour table with its threshold; other tables are the user's
    if colors is not None and is_result(colors):
        last = max(colors.GetNumberOfColors() - 1, 1)
        with slicer.util.NodeModify(colors):
            for index in range(last + 1):
                colors.SetOpacity(index, 1.0 if index / last >= threshold else 0.0)
