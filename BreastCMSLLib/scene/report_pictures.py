"""The pictures of a report from what a scene holds: results, and the phases where they are still there."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.geometry import Volume
from ..kinetics.names import MIP_AXIAL, PROJECTIONS
from .first_picture import Views, first_picture
from .nodes import ResultNodes, all_nodes
from .outlines import outline_labels
from .pictures import peak_pictures, projection_pictures
from .reading import volume_from_node


def pictures_of_scene(scene, result: Mapping, nodes: ResultNodes, background=None) -> dict[str, bytes]:
    """Caption and PNG of each picture, in the order of the report.

    Parameters
    ----------
    scene : vtkMRMLScene
    result : mapping
        The content of ``result.json``.
    nodes : ResultNodes
    background : vtkMRMLScalarVolumeNode, optional
        The subtraction under the maps; without it there are projections alone.

    Returns
    -------
    dict of str to bytes
    """
    flat = {
        name: volume_from_node(nodes.maps[name], copy=False) for name in PROJECTIONS if name in nodes.maps
    }
    mips = projection_pictures(flat)
    if background is None:
        return mips
    subtraction, heatmap = (volume_from_node(node, copy=False) for node in (background, nodes.heatmap))
    outlines = outline_labels(nodes, result)
    before, after = _phases(scene, result, nodes.heatmap)
    views = Views(subtraction, before, after, flat.get(MIP_AXIAL))
    peaks = peak_pictures(subtraction, heatmap, result, outlines=outlines)
    return {**first_picture(views, result, outlines), **peaks, **mips}


def _phases(scene, result: Mapping, heatmap) -> tuple[Volume | None, Volume | None]:
    """The phase before contrast and the first one after it; None for each that the scene lost."""
    names = {phase.get("role"): phase["name"] for phase in reversed(result.get("phases") or ())}
    if "pre" not in names:
        return None, None
    return tuple(_volume_called(scene, names.get(role), heatmap) for role in ("pre", "post"))


def _volume_called(scene, name: str | None, heatmap) -> Volume | None:
    """The only volume of a name that has as many voxels as the heatmap."""
    size = heatmap.GetImageData().GetDimensions()
    nodes = [
        node
        for node in all_nodes(scene)
        if node.IsA("vtkMRMLScalarVolumeNode")
        and node.GetName() == name
        and node.GetImageData() is not None
        and node.GetImageData().GetDimensions() == size
    ]
    return volume_from_node(nodes[0], copy=False) if len(nodes) == 1 else None
