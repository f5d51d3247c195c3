"""The images under a map: the input node it belongs to, and the subtraction in which cancers enhance most."""

from .common import present


def placement(item):
    """Where an input's voxels are in the world (IJK to RAS mm), its parent transform included."""
    from BreastCMSLLib.scene.reading import phases_from_items

    return phases_from_items([item], copy=False)[0].volume.affine


class Background:
    """Chooses among an exam's input nodes, some of which may have been removed meanwhile.

    items: (node, frame index or None) of each input. exam: what was read of them.
    """

    def __init__(self, items, exam):
        self._items = items
        self._sources = [phase.source for phase in exam.phases]
        self._offsets = exam.offsets if exam.pre is None else None  # None: no subtractions yet

    def choose(self):
        """(the input node that the results belong to, the subtraction to show under the map or None).

        The subtraction is that of the second post-contrast phase; None where an input shows it itself.
        """
        item, order = self._shown()
        node, index = item
        if index is not None and node.IsA("vtkMRMLSequenceBrowserNode"):
            node.SetSelectedItemNumber(index)
        volumes = [shownNode(node), *(shownNode(other) for other, _index in self._left())]
        reference = next((volume for volume in volumes if volume is not None), None)
        return reference, self._subtraction(item, order)

    def _left(self):
        return [item for item in self._items if present(item[0]) is not None]

    def _inOrder(self):
        """The inputs in the exam's order, None for those that are gone."""
        from BreastCMSLLib.scene.reading import item_facts

        known = {item_facts(*item).source: item for item in self._left()}
        return [known.get(source) for source in self._sources]

    def _shown(self):
        """The input of the second post-contrast phase and its number; or the last input left, and None."""
        items = self._inOrder()
        order = min(1 if self._offsets is not None else 2, len(items) - 1)
        if items[order] is not None:
            return items[order], order
        return next(item for item in reversed(items) if item is not None), None

    def _subtraction(self, item, order):
        from BreastCMSLLib.scene.reading import phases_from_items

        if order is None:
            return None
        if self._offsets is not None:
            offset, index = self._offsets[order], item[1]
            if index is None and not offset:
                return None  # the volume is the subtraction
            volume = phases_from_items([item], copy=False)[0].volume
            return volume.with_array(compact(volume.array.astype("f4") - offset))
        pre = self._inOrder()[0]
        if pre is None:
            return None
        post, before = (phase.volume for phase in phases_from_items([item, pre], copy=False))
        return post.with_array(compact(post.array.astype("f4") - before.array.astype("f4")))


def shownNode(node):
    """The volume node of an input in the views: a browser's current one, or the volume itself; else None."""
    if node.IsA("vtkMRMLSequenceBrowserNode"):
        sequence = node.GetMasterSequenceNode()
        return node.GetProxyNode(sequence) if sequence is not None else None
    return node if node.IsA("vtkMRMLVolumeNode") else None


def compact(array):
    """A float32 array of whole numbers as int16 where they fit: half the memory."""
    import numpy as np

    if abs(array).max() < 32000 and not (array - array.round()).any():
        return array.astype(np.int16)
    return array
