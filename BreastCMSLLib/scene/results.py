"""Results of an analysis as MRML nodes: maps, colours, legends, markers, outlines, table, curves, record.

Writing the same exam again replaces its earlier nodes and nobody else's. The scene changes in one batch,
completely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ..core.geometry import Volume
from ..results.wording import outline_names
from . import tree
from .changes import remove_nodes, scene_transaction
from .curves import add_curves
from .kinetic_maps import add_kinetic_map
from .markers import add_markers
from .nodes import EXAM_ID, MAP, ROLE, ResultNodes, add_node, all_nodes, companions, nodes_of
from .outlines import add_outlines
from .tables import add_table
from .transforms import Frame
from .volumes import add_colors, add_grey, add_map, checked_map


def write_results(
    scene,
    result: dict,
    heatmap: Volume,
    reference_node=None,
    *,
    maps: Mapping[str, Volume] | None = None,
    subtraction: Volume | None = None,
    outlines: Volume | None = None,
    kinetics: Mapping[str, Volume] | None = None,
    prior: Volume | None = None,
) -> ResultNodes:
    """Put an analysis into the scene, in place of earlier results of the same exam.

    Parameters
    ----------
    scene : vtkMRMLScene
    result : dict
        The content of ``result.json``; its positions, as the affines of all volumes, are in world RAS mm.
    heatmap : Volume
        The result's own map, 0 to 1.
    reference_node : vtkMRMLVolumeNode, optional
        The input volume. Its parent transform, when it has one, becomes the results' parent too, and their
        own coordinates are expressed in its frame, so they follow it; its folder receives the results.
    maps : mapping of str to Volume, optional
        Further maps, to choose from.
    subtraction : Volume, optional
        What the maps are to lie over, when the scene does not hold it.
    outlines : Volume, optional
        Labels of the candidates' outlines; of a suspicious exam only.
    kinetics : mapping of str to Volume, optional
        Kinetic maps and projections, by the names in ``kinetics.names``.
    prior : Volume, optional
        Subtraction of a prior exam, registered to this one.

    Returns
    -------
    ResultNodes

    Raises
    ------
    InputError
        A map is unusable, or the parent transform is not linear; the scene is as it was.
    OutputError
        The scene refuses; it is as it was.
    """
    main, exam_id = str(result["map"]), str(result["exam_id"])
    frame = Frame(reference_node)
    # the result's own first, whatever else is called so
    given = {main: heatmap} | dict(maps or {}) | {main: heatmap}
    checked = {name: frame.volume(checked_map(volume)) for name, volume in given.items()}
    earlier = nodes_of(scene, exam_id)
    tree.follow_undo(scene)
    with scene_transaction(scene):
        colors = add_colors(scene, result)
        volumes = {name: add_map(scene, name, volume, result, colors) for name, volume in checked.items()}
        kinetic = {
            name: add_kinetic_map(scene, name, frame.volume(volume), result)
            for name, volume in (kinetics or {}).items()
        }
        volumes |= {name: node for name, (node, *_) in kinetic.items()}
        greys = {
            role: add_grey(scene, frame.volume(volume), name, result, role)
            for role, name, volume in (
                ("subtraction", "Subtraction", subtraction),
                ("prior", "Prior exam, registered", prior),
            )
            if volume is not None
        }
        peaks = add_markers(scene, result, frame)
        outline = None
        if outlines is not None and outline_names(result):
            outline = add_outlines(scene, frame.volume(outlines), result, volumes[main])
        table = add_table(scene, result)
        curves = add_curves(scene, result)
        record = _add_record(scene, result)

        placed = [node for node in (*greys.values(), *volumes.values(), peaks, outline) if node is not None]
        for node in placed:
            frame.hold(node)
        listed = [*placed, table, *curves.values()]
        _allow_undo([*listed, colors, *(node for nodes in kinetic.values() for node in nodes)])
        tree.group(scene, listed, reference_node, exam_id)
        _redirect_views(scene, earlier, volumes, main)
        remove_nodes(scene, earlier, exam_id)
    further = {**curves, "record": record, "outline": outline, **greys}
    return ResultNodes(volumes[main], colors, peaks, table, volumes, **further)


def _add_record(scene, result: Mapping):
    node = add_node(scene, "vtkMRMLTextNode", "BreastCMSL record", result, "record")
    node.SetText(json.dumps(result, ensure_ascii=False))
    node.SetHideFromEditors(True)
    return node


def _allow_undo(nodes: Iterable) -> None:
    """Let undo take out what belongs to nodes, as it does the nodes themselves."""
    for node in nodes:
        for companion in companions(node):
            companion.SetUndoEnabled(True)


def _redirect_views(scene, earlier: Iterable, volumes: Mapping[str, object], main: str) -> None:
    """Let the views show the new maps where they showed the earlier ones."""
    names = {
        node.GetID(): node.GetAttribute(MAP)
        for node in earlier
        if node.GetAttribute(ROLE) in ("heatmap", "map", "kinetic")
    }
    for node in all_nodes(scene):
        if node.IsA("vtkMRMLSliceCompositeNode"):
            if node.GetForegroundVolumeID() in names:
                volume = volumes.get(names[node.GetForegroundVolumeID()], volumes[main])
                node.SetForegroundVolumeID(volume.GetID())
            if node.GetBackgroundVolumeID() in names:
                node.SetBackgroundVolumeID(volumes[main].GetID())


def find_results(scene, exam_id: str) -> ResultNodes | None:
    """Find the results of an exam.

    Parameters
    ----------
    scene : vtkMRMLScene
    exam_id : str

    Returns
    -------
    ResultNodes or None
        None when the scene has none, or one of their main nodes was deleted.
    """
    nodes = nodes_of(scene, exam_id)
    by_role = {node.GetAttribute(ROLE): node for node in nodes}
    if not all(role in by_role for role in ("heatmap", "colors", "peaks", "table")):
        return None
    maps = {node.GetAttribute(MAP): node for node in nodes if node.GetAttribute(MAP)}
    roles = [role for role in ResultNodes.__dataclass_fields__ if role != "maps"]
    return ResultNodes(maps=maps, **{role: by_role.get(role) for role in roles})


def find_records(scene) -> dict[str, dict]:
    """Find every analysis that the scene holds.

    Parameters
    ----------
    scene : vtkMRMLScene

    Returns
    -------
    dict of str to dict
        Exam id → content of ``result.json``, oldest first; records that cannot be read are left out.
    """
    records = {}
    for node in all_nodes(scene):
        if node.GetAttribute(ROLE) == "record" and node.IsA("vtkMRMLTextNode"):
            try:
                result = json.loads(node.GetText() or "")
                known = result["kind"] == "breastcmsl.result" and result["schema_version"] == 1
            except (ValueError, TypeError, KeyError):
                continue
            if known and result.get("exam_id") == node.GetAttribute(EXAM_ID):
                records[result["exam_id"]] = result
    return records


def remove_results(scene, exam_id: str) -> int:
    """Remove an exam's results with all that belongs to them.

    Parameters
    ----------
    scene : vtkMRMLScene
    exam_id : str

    Returns
    -------
    int
        How many nodes of results there were.
    """
    nodes = nodes_of(scene, exam_id)
    if nodes:
        with scene_transaction(scene):
            remove_nodes(scene, nodes, exam_id)
    return len(nodes)
