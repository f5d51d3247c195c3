"""What in a scene may be an exam: sequences, multivolumes, and sets of single volumes on one grid. Looks at no voxel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import InputError
from ..core.geometry import breasts_covered
from ..exam.exam import MAX_PHASES, WHOLE_T1, t1_share_needed
from ..exam.phase_order import looks_subtracted, order_phases
from ..readers.clock import across_midnight
from ..readers.detect import (
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_segmentation,
    looks_t1,
    says_fat_saturation,
)
from .reading import frame_count, item_affine, item_facts, item_image, study_of
from .results import EXAM_ID
from .transforms import ijk_to_ras, local_to_world


@dataclass(frozen=True)
class Source:
    """A suggestion. kind: "sequence", "multivolume" or "volumes". title: what a list shows.

    items: (node, frame index or None) in time order, as :func:`reading.exam_from_items` takes them. The node of a
    sequence is its browser where it has one.
    """

    kind: str
    title: str
    items: tuple[tuple, ...]

    @property
    def nodes(self) -> tuple:
        return tuple(dict.fromkeys(node for node, _ in self.items))


def volume_candidates(scene) -> list:
    """Single grey volumes that could be part of an exam: not hidden, not our own maps, not the frame a browser shows."""
    shown = {proxy.GetID() for browser in _nodes(scene, "vtkMRMLSequenceBrowserNode") for proxy in _proxies(browser)}
    return [
        node
        for node in _nodes(scene, "vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"  # no label maps, vectors, tensors
        and not node.GetHideFromEditors()
        and node.GetAttribute(EXAM_ID) is None
        and node.GetID() not in shown
    ]


def find_sources(scene) -> list[Source]:
    """Everything that looks like a dynamic exam, likeliest first: sequences, multivolumes, then sets of volumes."""
    return [*_sequences(scene), *_multivolumes(scene), *_sets(scene)]


def in_time_order(items) -> tuple[tuple, ...]:
    """(node, frame index or None) pairs as they were acquired, as far as times, numbers and names tell; see ``order_phases``."""
    facts = [item_facts(*item) for item in items]
    if facts and all(fact.time_s is not None for fact in facts):
        facts = [replace(fact, time_s=time) for fact, time in zip(facts, across_midnight([fact.time_s for fact in facts]))]
    ordered = order_phases(facts)
    return tuple(next(item for fact, item in zip(facts, items) if fact is one) for one in ordered)


def suggest_t1(scene, items, current=None):
    """The volume whose name says T1 without fat saturation, before contrast, and that shows the breasts of ``items``; else None.

    ``items`` are excluded, and so is a volume of another study, as far as the DICOM database tells. Of several the one of the same
    study comes first, then one that shows all of the breasts, then the one whose name says that fat is not saturated; where two are
    equal ``current`` if it is one of them, else None: either may be another exam's.
    """
    taken = {node.GetID() for node, index in items if index is None}
    rest = [n for n in volume_candidates(scene) if n.GetID() not in taken and looks_t1(n.GetName()) and not looks_derived(n.GetName())]
    rest = [node for node in rest if says_fat_saturation(node.GetName()) is not True and not looks_post_contrast(node.GetName())]
    needed = t1_share_needed(all(looks_subtracted(item_facts(*item).name) for item in items))
    shares = {node: _share_shown(node, items) for node in rest}
    study = next((found for item in items if (image := item_image(*item)) is not None and (found := study_of(image))), None)
    ranks = {}
    for node, share in shares.items():
        own = study_of(node)
        if share < needed or (study and own and own != study):
            continue
        rank = (not (study and own), share < WHOLE_T1, says_fat_saturation(node.GetName()) is None)
        ranks.setdefault(rank, []).append(node)
    best = ranks[min(ranks)] if ranks else []
    return best[0] if len(best) == 1 else next((node for node in best if node is current), None)


def _share_shown(t1, items) -> float:
    """Share of where the breasts lie in the dynamic volumes that a volume shows; 1 where they cannot be compared."""
    if not items or (image := item_image(*items[0])) is None or t1.GetImageData() is None:
        return 1.0
    try:
        other, own = item_affine(*items[0]), item_affine(t1, None)
    except InputError:
        return 1.0  # under a bending transform: the analysis says so
    return breasts_covered(image.GetImageData().GetDimensions(), other, t1.GetImageData().GetDimensions(), own)


def _sequences(scene) -> list[Source]:
    browsers = _nodes(scene, "vtkMRMLSequenceBrowserNode")
    browsed = {browser.GetMasterSequenceNode().GetID() for browser in browsers if browser.GetMasterSequenceNode() is not None}
    lonely = [node for node in _nodes(scene, "vtkMRMLSequenceNode") if node.GetID() not in browsed]
    found = []
    for node in (*browsers, *lonely):
        sequence = node.GetMasterSequenceNode() if node.IsA("vtkMRMLSequenceBrowserNode") else node
        if sequence is None or not (sequence.GetDataNodeClassName() or "").endswith("VolumeNode"):
            continue
        count = frame_count(node)
        if 2 <= count <= 4 * MAX_PHASES:  # a film of hundreds of frames is no breast exam
            found.append(Source("sequence", f"{sequence.GetName()} (sequence of {count})", tuple((node, n) for n in range(count))))
    return found


def _multivolumes(scene) -> list[Source]:
    found = []
    for node in _nodes(scene, "vtkMRMLMultiVolumeNode"):
        try:
            count = frame_count(node)
        except InputError:
            continue  # still empty
        if count >= 2:
            found.append(Source("multivolume", f"{node.GetName()} (multivolume of {count})", tuple((node, n) for n in range(count))))
    return found


def _sets(scene) -> list[Source]:
    groups: dict[tuple, list] = {}
    for node in volume_candidates(scene):
        key = _grid(node)
        name = node.GetName() or ""
        odd = looks_derived(name) or looks_other_contrast(name) or (looks_segmentation(name) and "mask" not in name.lower())
        if key is None or odd or (looks_t1(name) and says_fat_saturation(name) is False):
            continue
        groups.setdefault((*key, looks_subtracted(name)), []).append(node)
    found = []
    for nodes in groups.values():
        if len(nodes) < 2:
            continue
        items = in_time_order([(node, None) for node in nodes])
        first, last = items[0][0].GetName(), items[-1][0].GetName()
        found.append(Source("volumes", f"{len(items)} volumes: {first} … {last}", items))
    return sorted(found, key=lambda source: (len(source.items) < 3, -len(source.items)))


def _grid(node) -> tuple | None:
    image = node.GetImageData()
    if image is None or min(image.GetDimensions()) < 4:
        return None
    try:
        affine = local_to_world(node) @ ijk_to_ras(node)
    except InputError:
        return None  # under a bending transform
    return (image.GetDimensions(), *np.round(affine, 1).ravel().tolist())


def _proxies(browser) -> list:
    import vtk

    found = vtk.vtkCollection()
    browser.GetAllProxyNodes(found)
    return [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]


def _nodes(scene, class_name: str) -> list:
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]
