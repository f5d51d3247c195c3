"""Changes to a scene that happen completely or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..core.errors import BreastCMSLError, OutputError
from . import tree
from .nodes import all_nodes, companions


@contextmanager
def scene_transaction(scene) -> Iterator[None]:
    """One batch, one undo step; when the block fails, what it added is removed again.

    The block must add first and remove last: a removal that succeeded is not brought back.

    Parameters
    ----------
    scene : vtkMRMLScene

    Raises
    ------
    OutputError
        In place of an unexpected error of the block; a :class:`BreastCMSLError` passes through.
    """
    if scene.GetUndoFlag():
        scene.SaveStateForUndo()
    node_ids = {node.GetID() for node in all_nodes(scene)}
    items = set(tree.items(scene))
    scene.StartState(scene.BatchProcessState)
    try:
        yield
    except Exception as error:
        tree.remove_items(scene, set(tree.items(scene)) - items)
        _remove_present(scene, reversed([node for node in all_nodes(scene) if node.GetID() not in node_ids]))
        if isinstance(error, BreastCMSLError):
            raise
        raise OutputError(
            f"The scene could not take the results ({error}); it was left as it was."
        ) from error
    finally:
        scene.EndState(scene.BatchProcessState)


def remove_nodes(scene, nodes: Iterable, exam_id: str) -> None:
    """Remove nodes of an exam's results with display and storage nodes, items and the folder."""
    leaving = [each for node in nodes for each in (*companions(node), node)]
    unique = {node.GetID(): node for node in leaving}.values()
    tree.drop_nodes(scene, unique)
    _remove_present(scene, unique)
    tree.drop_empty_folders(scene, exam_id)


def _remove_present(scene, nodes: Iterable) -> None:
    """Remove nodes of which some may go with others."""
    for node in nodes:
        if scene.IsNodePresent(node):
            scene.RemoveNode(node)
