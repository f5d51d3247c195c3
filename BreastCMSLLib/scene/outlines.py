"""The candidates' outlines as a segmentation: one segment ``Peak_n`` for each, drawn as a line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.geometry import Volume, apply_affine
from ..results.colors import MARKER_COLOR
from ..results.wording import meaning_note, outline_names
from .looking import segment_region
from .nodes import ResultNodes, add_node
from .transforms import ijk_to_ras, local_to_world, to_vtk
from .volumes import to_image_data


def add_outlines(scene, labels: Volume, result: Mapping, heatmap):
    """Add a segment for each outline, the finding's on show; where it means nothing none is.

    Parameters
    ----------
    scene : vtkMRMLScene
    labels : Volume
        n inside the outline of the n-th candidate; affine to the frame of the node.
    result : mapping
        The content of ``result.json``.
    heatmap : vtkMRMLScalarVolumeNode
        On the same grid.

    Returns
    -------
    vtkMRMLSegmentationNode
    """
    node = add_node(scene, "vtkMRMLSegmentationNode", "Outline", result, "outline")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(heatmap)
    display = node.GetDisplayNode()
    for label, name in outline_names(result).items():
        node.GetSegmentation().AddSegment(_segment(labels, label, name), _segment_id(label))
        display.SetSegmentVisibility(_segment_id(label), label == 1)
    display.SetVisibility(not meaning_note(result))
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    return node


def _segment(labels: Volume, label: int, name: str):
    import slicer

    # only the box around the region, with a margin so that the surface closes at its sides
    region = labels.array == label
    limits = [
        np.flatnonzero(region.any(axis=tuple(b for b in range(3) if b != a)))[[0, -1]] for a in range(3)
    ]
    box = tuple(slice(int(low), int(high) + 1) for low, high in limits)
    affine = np.array(labels.affine)
    affine[:3, 3] = apply_affine(affine, np.array([low - 1.0 for low, _ in limits]))
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(to_image_data(np.pad(region[box].astype(np.uint8), 1)))
    image.SetImageToWorldMatrix(to_vtk(affine))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*MARKER_COLOR)
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segment.AddRepresentation(representation, image)
    return segment


def _segment_id(label: int) -> str:
    return f"Peak_{label}"


def show_outline(nodes: ResultNodes, result: Mapping, index: int | None) -> bool:
    """Show the outline of one candidate and no other.

    Parameters
    ----------
    nodes : ResultNodes
    result : mapping
        The content of ``result.json``.
    index : int or None
        Which candidate, from 0; None hides all.

    Returns
    -------
    bool
        Whether one shows now: not every candidate has one, and out of range none is drawn.
    """
    if nodes.outline is None:
        return False
    label = None if index is None or meaning_note(result) else result["peaks"][index].get("outline")
    display = nodes.outline.GetDisplayNode()
    for other in outline_names(result):
        display.SetSegmentVisibility(_segment_id(other), other == label)
    display.SetVisibility(bool(label))
    return bool(label)


def outline_shown(nodes: ResultNodes, result: Mapping) -> bool:
    """Whether the views show any outline."""
    display = nodes.outline.GetDisplayNode() if nodes.outline is not None else None
    if not display or not display.GetVisibility():
        return False
    return any(display.GetSegmentVisibility(_segment_id(label)) for label in outline_names(result))


def outline_labels(nodes: ResultNodes, result: Mapping) -> Volume | None:
    """The outlines that the scene holds, as labels.

    Parameters
    ----------
    nodes : ResultNodes
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    Volume or None
        uint8 on the heatmap's grid, affine to world RAS mm, n inside the outline of the n-th candidate; None
        when the scene holds none.
    """
    if nodes.outline is None:
        return None
    grid = local_to_world(nodes.heatmap) @ ijk_to_ras(nodes.heatmap)
    labels = np.zeros(nodes.heatmap.GetImageData().GetDimensions(), dtype=np.uint8)
    for label in outline_names(result):
        region = segment_region(nodes.outline, _segment_id(label))
        if region is None:
            continue  # the user has removed it
        # voxels of the segment → mm → voxels of the heatmap
        points = apply_affine(region.affine, np.argwhere(region.array))
        index = np.round(apply_affine(np.linalg.inv(grid), points)).astype(int)
        index = index[((index >= 0) & (index < labels.shape)).all(axis=1)]
        labels[tuple(index.T)] = label
    return Volume(labels, grid)
