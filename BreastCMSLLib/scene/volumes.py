"""Volumes of a scene: maps with their colours and legends, and the grey images under them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, check_affine
from ..results.colors import grey_window, heat_ramp
from ..results.wording import headline, map_label, map_title, meaning_note
from .changes import scene_transaction
from .nodes import HEADLINE, MAP, add_node, tag_node
from .transforms import to_vtk


def add_volume(scene, volume: Volume, name: str):
    """Add a grey scalar volume, its window over the 1st to 99.7th percentile.

    Parameters
    ----------
    scene : vtkMRMLScene
    volume : Volume
        Its affine is to world RAS mm.
    name : str

    Returns
    -------
    vtkMRMLScalarVolumeNode

    Raises
    ------
    InputError
        The affine is unusable.
    OutputError
        The scene cannot take it.
    """
    check_affine(volume.affine, name)
    with scene_transaction(scene):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        fill_grey(node, volume)
    return node


def checked_map(volume: Volume) -> Volume:
    """A map as float32.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        Its affine is unusable, or a value is not finite.
    """
    affine = check_affine(volume.affine, "heatmap")
    array = np.asarray(volume.array, dtype=np.float32)
    if array.ndim != 3 or not array.size or not np.isfinite(array).all():
        raise InputError("The heatmap is not a volume of finite values; run the analysis again.")
    return Volume(array, affine)


def add_grey(scene, volume: Volume, name: str, result: Mapping, role: str):
    """Add a grey volume of the results, such as what the maps lie over; affine to the frame of the node."""
    node = add_node(scene, "vtkMRMLScalarVolumeNode", name, result, role)
    check_affine(volume.affine, role)
    fill_grey(node, volume)
    return node


def add_colors(scene, result: Mapping):
    """Add the table of the maps' colours over 0 to 1, transparent below the result's ``map_threshold``."""
    node = add_node(scene, "vtkMRMLColorTableNode", f"{map_title(result['map'])} colors", result, "colors")
    threshold = float(result["map_threshold"])
    colors = heat_ramp()
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    for index, (red, green, blue) in enumerate(colors.tolist()):
        value = index / (len(colors) - 1)
        node.SetColor(index, f"{value:.3f}", red, green, blue, 1.0 if value >= threshold else 0.0)
    # newer Slicer stores colours as .csv by default, which 5.8 and older cannot read
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    return node


def add_map(scene, name: str, volume: Volume, result: Mapping, colors):
    """Add a map with its legend.

    Parameters
    ----------
    scene : vtkMRMLScene
    name : str
        Which map; the result's own is the heatmap.
    volume : Volume
        0 to 1; affine to the frame of the node.
    result : mapping
        The content of ``result.json``.
    colors : vtkMRMLColorTableNode

    Returns
    -------
    vtkMRMLScalarVolumeNode
    """
    role = "heatmap" if name == result["map"] else "map"
    shown = {**result, "map": name}
    node = add_node(scene, "vtkMRMLScalarVolumeNode", map_label(shown), result, role)
    node.SetAttribute(MAP, name)
    node.SetAttribute(HEADLINE, headline(shown))
    # the display before the voxels: MRML would look through all of them for a window that is not wanted
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    # the threshold works voxel by voxel whatever colours the user chooses later
    display.AutoThresholdOff()
    display.SetThreshold(float(result["map_threshold"]), 1.0)
    display.SetApplyThreshold(1)
    set_voxels(node, volume)
    legend = add_legend(node, map_label(shown), "%.1f", result)
    if legend is not None:
        legend.SetVisibility(not meaning_note(result))
    return node


def add_legend(volume, title: str, label_format: str, result: Mapping):
    """Add the legend of a map's node, or return None where this Slicer has none."""
    import slicer

    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    if not hasattr(logic, "AddDefaultColorLegendDisplayNode"):
        return None
    legend = logic.AddDefaultColorLegendDisplayNode(volume)
    if legend is None:
        return None
    legend.SetTitleText(title.replace(" (", "\n("))
    legend.SetLabelFormat(label_format)
    legend.SetNumberOfLabels(6)
    legend.SetPosition(0.98, 0.05)  # bottom right: outside the breasts in every standard view
    legend.SetSize(0.12, 0.32)
    tag_node(legend, result, "legend")
    return legend


def fill_grey(node, volume: Volume) -> None:
    """Give a node voxels that are shown in grey, as :func:`add_volume` does."""
    # the display before the voxels, as above
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*grey_window(volume.array))
    set_voxels(node, volume)


def set_voxels(node, volume: Volume) -> None:
    """Give a node the voxels and the place of a volume."""
    node.SetIJKToRASMatrix(to_vtk(volume.affine))
    node.SetAndObserveImageData(to_image_data(volume.array))


def to_image_data(array: np.ndarray):
    """vtkImageData with the voxels of an array.

    Parameters
    ----------
    array : ndarray, shape (i, j, k)
        Boolean voxels become uint8, those of float16 float32.

    Returns
    -------
    vtkImageData
    """
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
