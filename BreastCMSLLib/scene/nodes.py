"""The nodes of results: by ``BreastCMSL.ExamID`` and ``BreastCMSL.Role`` each is found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.errors import OutputError

EXAM_ID = "BreastCMSL.ExamID"
ROLE = "BreastCMSL.Role"
MAP = "BreastCMSL.Map"
HEADLINE = "BreastCMSL.Headline"
ROLES = (
    *("heatmap", "map", "kinetic", "kinetic_colors", "subtraction", "prior", "colors", "legend"),
    *("peaks", "outline", "table", "curves", "curve", "mean", "chart", "record"),
)


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of one exam's results; those that an exam does not have are None.

    Parameters
    ----------
    heatmap : vtkMRMLScalarVolumeNode
    colors : vtkMRMLColorTableNode
    peaks : vtkMRMLMarkupsFiducialNode
    table : vtkMRMLTableNode
    maps : mapping of str to vtkMRMLScalarVolumeNode
        The heatmap and kinetic maps among them.
    curves : vtkMRMLTableNode
        Of the enhancement.
    curve, mean : vtkMRMLPlotSeriesNode
        The curve on show, and the mean curve of the finding's outline.
    chart : vtkMRMLPlotChartNode
    record : vtkMRMLTextNode
        The result as JSON.
    outline : vtkMRMLSegmentationNode
        A segment ``Peak_n`` for each outline.
    subtraction : vtkMRMLScalarVolumeNode
        Grey, under the maps.
    prior : vtkMRMLScalarVolumeNode
        Likewise of the prior exam, as it lies on this one.
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
    prior: object = None


def all_nodes(scene) -> list:
    """All nodes of a scene."""
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def is_result(node) -> bool:
    """Whether a node belongs to the results of an exam."""
    return bool(node.GetAttribute(EXAM_ID)) and node.GetAttribute(ROLE) in ROLES


def nodes_of(scene, exam_id: str) -> list:
    """The nodes of an exam's results."""
    return [node for node in all_nodes(scene) if is_result(node) and node.GetAttribute(EXAM_ID) == exam_id]


def add_node(scene, class_name: str, name: str, result: Mapping, role: str):
    """Add a node of an exam's results.

    Parameters
    ----------
    scene : vtkMRMLScene
    class_name, name : str
    result : mapping
        The content of ``result.json``, which names the exam.
    role : str
        One of `ROLES`.

    Returns
    -------
    vtkMRMLNode

    Raises
    ------
    OutputError
        This Slicer has no such class.
    """
    node = scene.AddNewNodeByClass(class_name, name)
    if node is None:
        raise OutputError(f"The scene cannot hold a {class_name}; use Slicer 5.10 or newer.")
    tag_node(node, result, role)
    node.SetUndoEnabled(True)
    return node


def tag_node(node, result: Mapping, role: str) -> None:
    """Mark a node as part of an exam's results."""
    node.SetAttribute(EXAM_ID, str(result["exam_id"]))
    node.SetAttribute(ROLE, role)


def companions(node) -> list:
    """The display and storage nodes of a node."""
    getters = (
        ("GetNthDisplayNode", "GetNumberOfDisplayNodes"),
        ("GetNthStorageNode", "GetNumberOfStorageNodes"),
    )
    nodes = []
    for getter, count in getters:
        if hasattr(node, getter):
            nodes += [getattr(node, getter)(index) for index in range(getattr(node, count)())]
    return [companion for companion in nodes if companion is not None]
