"""What in a scene may be an exam: sequences, multivolumes, sets of volumes on one grid. Looks at no voxel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import InputError
from ..core.geometry import voxels_apart
from ..exam import (
    MAX_PHASES,
    MAX_VOXELS_APART,
    WHOLE_T1,
    breasts_covered,
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_segmentation,
    looks_t1,
    order_phases,
    says_fat_saturation,
    subtracted_names,
    t1_share_needed,
)
from ..readers.clock import across_midnight
from ..readers.roles import Named, assign_roles
from .nodes import EXAM_ID
from .reading import frame_count, item_affine, item_facts, item_image, study_of
from .transforms import ijk_to_ras, local_to_world


@dataclass(frozen=True)
class Source:
    """A suggestion.

    Parameters
    ----------
    kind : {"sequence", "multivolume", "volumes"}
    title : str
        What a list shows.
    items : tuple of (vtkMRMLNode, int or None)
        In time order, as :func:`reading.exam_from_items` takes them. The node of a sequence is its browser
        where it has one.
    """

    kind: str
    title: str
    items: tuple[tuple, ...]

    @property
    def nodes(self) -> tuple:
        return tuple(dict.fromkeys(node for node, _ in self.items))


def volume_candidates(scene, besides: Collection = ()) -> list:
    """Single grey volumes that could be part of an exam.

    Parameters
    ----------
    scene : vtkMRMLScene
    besides : collection of vtkMRMLNode
        These are none.

    Returns
    -------
    list of vtkMRMLScalarVolumeNode
        Not hidden, none of our own, and not the frame that a browser shows.
    """
    browsers = _nodes(scene, "vtkMRMLSequenceBrowserNode")
    shown = {proxy.GetID() for browser in browsers for proxy in _proxies(browser)}
    return [
        node
        for node in _nodes(scene, "vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"  # no label maps, vectors, tensors
        and not node.GetHideFromEditors()
        and node.GetAttribute(EXAM_ID) is None
        and node.GetID() not in shown
        and node not in besides
    ]


def find_sources(scene, besides: Collection = ()) -> list[Source]:
    """Everything that looks like a dynamic exam.

    Parameters
    ----------
    scene : vtkMRMLScene
    besides : collection of vtkMRMLNode
        What belongs to another exam.

    Returns
    -------
    list of Source
        Likeliest first: sequences, multivolumes, then sets of volumes.
    """
    frames = [*_sequences(scene), *_multivolumes(scene)]
    return [*(source for source in frames if source.nodes[0] not in besides), *_sets(scene, besides)]


def why_left_out(used, others) -> list[str]:
    """Why volumes are none of an exam's, as far as names and grids tell.

    Parameters
    ----------
    used : sequence of vtkMRMLScalarVolumeNode
        The dynamic volumes.
    others : sequence of vtkMRMLScalarVolumeNode

    Returns
    -------
    list of str
        For each of the others words that go into a sentence; "" where nothing speaks against it.
    """
    nodes = [*used, *others]
    roles = assign_roles([Named(name) for name in dict.fromkeys(node.GetName() or "" for node in nodes)])
    grid = _grid(used[0]) if used else None
    reasons = []
    for node in others:
        own = _grid(node)
        elsewhere = grid is not None and (own is None or not _same_grid(own, grid))
        reason = roles.left_out.get(node.GetName() or "", "")
        reasons.append(reason or ("it lies on another grid" if elsewhere else ""))
    return reasons


def in_time_order(items) -> tuple[tuple, ...]:
    """Items as they were acquired, as far as times, numbers and names tell; see ``exam.order_phases``.

    Parameters
    ----------
    items : sequence of (vtkMRMLNode, int or None)

    Returns
    -------
    tuple of (vtkMRMLNode, int or None)
    """
    facts = [item_facts(*item) for item in items]
    if facts and all(fact.time_s is not None for fact in facts):
        times = across_midnight([fact.time_s for fact in facts])
        facts = [replace(fact, time_s=time) for fact, time in zip(facts, times)]
    ordered = order_phases(facts)
    return tuple(next(item for fact, item in zip(facts, items) if fact is one) for one in ordered)


def suggest_t1(scene, items, current=None):
    """The volume that may be the T1 of an exam: its name says T1 without fat saturation, before contrast.

    It shows the breasts of the items and is of no other study, as far as the DICOM database tells. Of several
    the one of the same study comes first, then one that shows all of the breasts, then the one whose name
    says that fat is not saturated.

    Parameters
    ----------
    scene : vtkMRMLScene
    items : sequence of (vtkMRMLNode, int or None)
        The dynamic volumes.
    current : vtkMRMLScalarVolumeNode, optional
        The one to keep where several are equal.

    Returns
    -------
    vtkMRMLScalarVolumeNode or None
        None also where several are equal: either may be another exam's.
    """
    used = {node.GetID() for node, index in items if index is None}
    candidates = [
        node for node in volume_candidates(scene) if node.GetID() not in used and _named_t1(node.GetName())
    ]
    needed = t1_share_needed(all(subtracted_names([item_facts(*item).name for item in items])))
    study = _study_of_items(items)
    ranks: dict[tuple, list] = {}
    for node in candidates:
        share, own = _share_shown(node, items), study_of(node)
        if share < needed or (study and own and own != study):
            continue
        rank = (not (study and own), share < WHOLE_T1, says_fat_saturation(node.GetName()) is None)
        ranks.setdefault(rank, []).append(node)
    best = ranks[min(ranks)] if ranks else []
    return best[0] if len(best) == 1 else next((node for node in best if node is current), None)


def _named_t1(name: str) -> bool:
    """Whether a name may be that of a T1 without fat saturation, before contrast."""
    excluded = looks_derived(name) or looks_post_contrast(name) or says_fat_saturation(name) is True
    return looks_t1(name) and not excluded


def _study_of_items(items) -> str | None:
    images = (item_image(*item) for item in items)
    return next((study for image in images if image is not None and (study := study_of(image))), None)


def _share_shown(t1, items) -> float:
    """Share of where the dynamic volumes show the breasts that a T1 shows; 1 where that is not known."""
    if not items or (image := item_image(*items[0])) is None or t1.GetImageData() is None:
        return 1.0
    try:
        dynamic, own = item_affine(*items[0]), item_affine(t1, None)
    except InputError:
        return 1.0  # under a bending transform: the analysis says so
    sizes = [node.GetImageData().GetDimensions() for node in (image, t1)]
    return breasts_covered(sizes[0], dynamic, sizes[1], own)


def _sequences(scene) -> list[Source]:
    browsers = _nodes(scene, "vtkMRMLSequenceBrowserNode")
    masters = {browser: browser.GetMasterSequenceNode() for browser in browsers}
    browsed = {sequence.GetID() for sequence in masters.values() if sequence is not None}
    lonely = [node for node in _nodes(scene, "vtkMRMLSequenceNode") if node.GetID() not in browsed]
    sources = []
    for node, sequence in {**masters, **{node: node for node in lonely}}.items():
        if sequence is None or not (sequence.GetDataNodeClassName() or "").endswith("VolumeNode"):
            continue
        count = frame_count(node)
        if 2 <= count <= 4 * MAX_PHASES:  # a film of hundreds of frames is no breast exam
            sources.append(_frames_source("sequence", node, sequence.GetName(), count))
    return sources


def _multivolumes(scene) -> list[Source]:
    sources = []
    for node in _nodes(scene, "vtkMRMLMultiVolumeNode"):
        try:
            count = frame_count(node)
        except InputError:
            continue  # still empty
        if count >= 2:
            sources.append(_frames_source("multivolume", node, node.GetName(), count))
    return sources


def _frames_source(kind: str, node, name: str, count: int) -> Source:
    return Source(kind, f"{name} ({kind} of {count})", tuple((node, index) for index in range(count)))


def _sets(scene, besides: Collection) -> list[Source]:
    sources = []
    for nodes in (part for group in _on_one_grid(scene, besides) for part in _phases_and_subtractions(group)):
        if len(nodes) < 2:
            continue
        items = in_time_order([(node, None) for node in nodes])
        first, last = items[0][0].GetName(), items[-1][0].GetName()
        sources.append(Source("volumes", f"{len(items)} volumes: {first} … {last}", items))
    return sorted(sources, key=lambda source: (len(source.items) < 3, -len(source.items)))


def _named_dynamic(name: str) -> bool:
    """Whether a name may be that of a dynamic volume."""
    other = looks_derived(name) or looks_other_contrast(name)
    segmentation = looks_segmentation(name) and "mask" not in name.lower()
    plain_t1 = looks_t1(name) and says_fat_saturation(name) is False
    return not (other or segmentation or plain_t1)


def _on_one_grid(scene, besides: Collection) -> list[list]:
    """Volumes that may be dynamic, in groups of one grid."""
    groups: list[tuple[tuple, list]] = []
    for node in volume_candidates(scene, besides):
        if (grid := _grid(node)) is None or not _named_dynamic(node.GetName() or ""):
            continue
        home = next((nodes for other, nodes in groups if _same_grid(grid, other)), None)
        if home is None:
            groups.append((grid, [node]))
        else:
            home.append(node)
    return [nodes for _, nodes in groups]


def _phases_and_subtractions(nodes: list) -> list[list]:
    """Nodes of one grid apart, each phase once and without what is none by its name."""
    names = [node.GetName() or "" for node in nodes]
    parts: dict[bool, list] = {}
    for node, subtracted in zip(nodes, subtracted_names(names)):
        parts.setdefault(subtracted, []).append(node)
    return [_dynamic(part) for part in parts.values()]


def _dynamic(nodes: list) -> list:
    names = [node.GetName() or "" for node in nodes]
    if len(set(names)) < len(names):
        return nodes
    dynamics = assign_roles([Named(name) for name in names]).dynamics
    return [node for node, name in zip(nodes, names) if name in dynamics]


def _grid(node) -> tuple[tuple[int, int, int], np.ndarray] | None:
    """Size and affine of a volume that may be one of an exam."""
    image = node.GetImageData()
    if image is None or min(image.GetDimensions()) < 4:
        return None
    try:
        affine = local_to_world(node) @ ijk_to_ras(node)
    except InputError:
        return None  # under a bending transform
    return (image.GetDimensions(), affine) if np.linalg.det(affine) else None


def _same_grid(a: tuple, b: tuple) -> bool:
    return a[0] == b[0] and voxels_apart(a[0], a[1], b[1]) <= MAX_VOXELS_APART


def _proxies(browser) -> list:
    import vtk

    proxies = vtk.vtkCollection()
    browser.GetAllProxyNodes(proxies)
    return [proxies.GetItemAsObject(n) for n in range(proxies.GetNumberOfItems())]


def _nodes(scene, class_name: str) -> list:
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]
