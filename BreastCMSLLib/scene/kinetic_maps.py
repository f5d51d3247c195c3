"""Kinetic maps and projections as volumes of a scene, with their colours and legends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.geometry import Volume, check_affine
from ..results.kinetic_colors import KineticColors, kinetic_colors
from ..results.wording import map_title
from .nodes import MAP, add_node
from .volumes import add_legend, fill_grey, set_voxels

_LARGEST = float(np.finfo(np.float32).max)


def add_kinetic_map(scene, name: str, volume: Volume, result: Mapping) -> list:
    """Add a kinetic map in its own colours; voxels without a value are transparent.

    Parameters
    ----------
    scene : vtkMRMLScene
    name : str
        As in ``kinetics.names``.
    volume : Volume
        Affine to the frame of the node.
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    list of vtkMRMLNode
        The volume, and its colour table where it has one of its own.
    """
    node = add_node(scene, "vtkMRMLScalarVolumeNode", map_title(name), result, "kinetic")
    node.SetAttribute(MAP, name)
    check_affine(volume.affine, map_title(name))
    shown = kinetic_colors(name, result)
    if shown is None:
        fill_grey(node, volume)
        return [node]
    colors = _add_colors(scene, name, shown, result)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetInterpolate(0)  # between types of curves there is nothing
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(shown.low, shown.high)
    # no number is within a threshold
    display.AutoThresholdOff()
    display.SetThreshold(max(shown.shown_from, -_LARGEST), _LARGEST)
    display.SetApplyThreshold(1)
    set_voxels(node, volume)
    legend = add_legend(node, map_title(name), shown.label_format, result)
    if legend is not None:
        legend.SetVisibility(False)  # until the map is chosen
    return [node, colors]


def _add_colors(scene, name: str, shown: KineticColors, result: Mapping):
    """The colour table of one map, each colour called after the least value it stands for."""
    node = add_node(scene, "vtkMRMLColorTableNode", f"{map_title(name)} colors", result, "kinetic_colors")
    node.SetTypeToUser()
    node.SetNumberOfColors(len(shown.table))
    step = (shown.high - shown.low) / len(shown.table)
    for index, (red, green, blue) in enumerate(shown.table.tolist()):
        node.SetColor(index, shown.label_format % (shown.low + index * step), red, green, blue, 1.0)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    return node
