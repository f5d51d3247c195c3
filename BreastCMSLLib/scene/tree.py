"""The folders of results in the subject hierarchy, the tree of the Data module."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakSet

from .nodes import EXAM_ID, all_nodes, is_result

# the plugins that own items; the desktop's claim them themselves, the embedded Slicer has none
_OWNERS = {
    "vtkMRMLScalarVolumeNode": "Volumes",
    "vtkMRMLMarkupsFiducialNode": "Markups",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLPlotSeriesNode": "Plots",
    "vtkMRMLPlotChartNode": "Plots",
    "vtkMRMLSegmentationNode": "Segmentations",
}
_WATCHED = WeakSet()  # scenes whose undo and redo are followed


def items(scene) -> list[int]:
    """All items of the tree."""
    hierarchy = scene.GetSubjectHierarchyNode()
    return [] if hierarchy is None else _children(hierarchy, hierarchy.GetSceneItemID(), recursive=True)


def folders(scene, exam_id: str) -> list[int]:
    """The folders that hold the results of an exam: one, or none."""
    hierarchy = scene.GetSubjectHierarchyNode()
    return [item for item in items(scene) if hierarchy.GetItemAttribute(item, EXAM_ID) == exam_id]


def group(scene, nodes: Iterable, reference_node, exam_id: str) -> None:
    """Put results into a folder of their own.

    Parameters
    ----------
    scene : vtkMRMLScene
    nodes : iterable of vtkMRMLNode
        The colours are not among them: they are no data that a user looks for in the tree.
    reference_node : vtkMRMLNode or None
        The input volume; a new folder stands beside it.
    exam_id : str
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    reference = hierarchy.GetItemByDataNode(reference_node) if reference_node is not None else 0
    parent = hierarchy.GetItemParent(reference) if reference else hierarchy.GetSceneItemID()
    earlier = folders(scene, exam_id)
    folder = earlier[0] if earlier else hierarchy.CreateFolderItem(parent, "BreastCMSL results")
    hierarchy.SetItemAttribute(folder, EXAM_ID, exam_id)
    if not hierarchy.GetItemOwnerPluginName(folder):
        hierarchy.SetItemOwnerPluginName(folder, "Folder")
    for node in nodes:
        item = hierarchy.CreateItem(folder, node)
        hierarchy.SetItemParent(item, folder)
        if not hierarchy.GetItemOwnerPluginName(item):
            hierarchy.SetItemOwnerPluginName(item, _OWNERS[node.GetClassName()])


def remove_items(scene, item_ids: Iterable[int]) -> None:
    """Remove items of the tree, but neither their nodes nor their children."""
    for item in item_ids:
        scene.GetSubjectHierarchyNode().RemoveItem(item, False, False)


def drop_nodes(scene, nodes: Iterable) -> None:
    """Remove the items of nodes that are about to go."""
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is not None:
        remove_items(scene, [item for item in map(hierarchy.GetItemByDataNode, nodes) if item])


def drop_empty_folders(scene, exam_id: str) -> None:
    """Remove an exam's folder, unless the user has put something of theirs in it."""
    hierarchy = scene.GetSubjectHierarchyNode()
    remove_items(scene, [item for item in folders(scene, exam_id) if not _children(hierarchy, item)])


def follow_undo(scene) -> None:
    """Tidy the folders of a scene after each undo and redo from now on."""
    if scene not in _WATCHED:
        _WATCHED.add(scene)
        for event in (scene.EndUndoEvent, scene.EndRedoEvent):
            scene.AddObserver(event, lambda caller, event: tidy_folders(caller))


def tidy_folders(scene) -> None:
    """Bring the tree in line after undo and redo, which know nodes but no folders.

    No folder of results is left empty, and no result is outside of one.
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return
    for folder in [item for item in items(scene) if hierarchy.GetItemAttribute(item, EXAM_ID)]:
        children = _children(hierarchy, folder)
        stale = [child for child in children if _is_stale(scene, hierarchy, child)]
        remove_items(scene, stale if len(stale) < len(children) else [*stale, folder])
    results = [node for node in all_nodes(scene) if is_result(node)]
    for exam_id in dict.fromkeys(node.GetAttribute(EXAM_ID) for node in results):
        if not folders(scene, exam_id):
            own = [node for node in results if node.GetAttribute(EXAM_ID) == exam_id]
            group(scene, [node for node in own if node.GetClassName() in _OWNERS], None, exam_id)


def _is_stale(scene, hierarchy, item: int) -> bool:
    """Whether an item's node is gone; it may be one that undo has just taken out."""
    if hierarchy.GetItemLevel(item) == "Folder":
        return False
    node = hierarchy.GetItemDataNode(item)
    return node is None or not scene.IsNodePresent(node)


def _children(hierarchy, item: int, recursive: bool = False) -> list[int]:
    import vtk

    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids, recursive)
    return [ids.GetId(index) for index in range(ids.GetNumberOfIds())]
