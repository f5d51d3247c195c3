"""Runs the input check while the user goes on choosing: one volume is sketched per turn of the event loop."""

from dataclasses import dataclass, replace

import qt
from slicer.i18n import tr as _

from .common import describe, present


@dataclass(frozen=True)
class Inputs:
    """What would be analysed. items: (node, frame index or None) in order. times: seconds of each."""

    items: tuple
    times: tuple | None
    t1: object
    kind: str

    @property
    def volumes(self):
        return [*self.items, *([(self.t1, None)] if self.t1 is not None else [])]


class InputChecker:
    """``onCheck(check, problem)`` is called with the check, or with None and why there is none.

    A volume is sketched again only when it has changed.
    """

    DELAY_MS = 150

    def __init__(self, onCheck):
        self._onCheck = onCheck
        self._inputs, self._state, self._number = None, None, 0
        self._sketches = {}  # key of a volume: (its state, its sketch)

    def start(self, inputs):
        """Check these inputs soon, in place of others under way. False when nothing has changed."""
        # IDs, not nodes, which would be kept from being freed
        volumes = tuple((_key(item), _state(item)) for item in inputs.volumes)
        state = (volumes, inputs.times, inputs.t1 is not None, inputs.kind)
        if state == self._state:
            return False
        self.stop()
        self._state, self._inputs = state, inputs
        self._later(self.DELAY_MS)
        return True

    def stop(self):
        self._number += 1
        self._inputs = self._state = None

    def forget(self):
        """The scene was closed: keep nothing of it."""
        self.stop()
        self._sketches = {}

    @property
    def busy(self):
        return self._inputs is not None

    def _later(self, milliseconds):
        number = self._number
        qt.QTimer.singleShot(milliseconds, lambda: self._next() if number == self._number else None)

    def _next(self):
        """Sketch the next volume; the check itself comes when all are sketched."""
        inputs = self._inputs
        if any(present(node) is None for node, _index in inputs.volumes):
            self.stop()  # what removed it starts another check
            return
        try:
            if any(self._sketch(item) for item in inputs.volumes):
                self._later(0)
                return
            check, problem = self._check(inputs), ""
        except Exception as error:  # it must never be in the way of the analysis, which checks for itself
            check, problem = None, _("The inputs could not be checked: {error}").format(error=describe(error))
        kept = {_key(item) for item in inputs.volumes}
        self._sketches = {key: value for key, value in self._sketches.items() if key in kept}
        self._inputs = None
        self._onCheck(check, problem)

    def _sketch(self, item):
        """Look at one volume unless that was done; True when there was work."""
        from BreastCMSLLib.checks.sketch import Sketch, sketch
        from BreastCMSLLib.core.errors import BreastCMSLError
        from BreastCMSLLib.scene.reading import item_facts, phases_from_items

        key, state = _key(item), _state(item)
        if key in self._sketches and self._sketches[key][0] == state:
            return False
        try:
            result = sketch(phases_from_items([item], copy=False)[0])
        except BreastCMSLError as error:
            result = Sketch(item_facts(*item).name, str(error))
        self._sketches[key] = (state, result)
        return True

    def _check(self, inputs):
        from BreastCMSLLib.checks.input_check import check
        from BreastCMSLLib.scene.reading import item_facts

        times = inputs.times or [None] * len(inputs.items)
        facts = [replace(item_facts(*item), time_s=time) for item, time in zip(inputs.items, times)]
        sketches = [self._sketches[_key(item)][1] for item in inputs.volumes]
        t1 = {"t1": item_facts(inputs.t1), "t1_sketch": sketches.pop()} if inputs.t1 is not None else {}
        return check(facts, sketches, kind=inputs.kind, **t1)


def _key(item):
    return (item[0].GetID(), item[1])


def _state(item):
    """What changes when the voxels, their place or the name change."""
    node, index = item
    stored = node
    if index is not None and not node.IsA("vtkMRMLVolumeNode"):
        sequence = node.GetMasterSequenceNode() if node.IsA("vtkMRMLSequenceBrowserNode") else node
        stored = sequence.GetNthDataNode(index)
    if stored is None:
        return ()
    image, bounds = None, [0.0] * 6
    if stored.IsA("vtkMRMLVolumeNode"):
        image = stored.GetImageData()
        stored.GetRASBounds(bounds)
    parent = node.GetParentTransformNode() if node.IsA("vtkMRMLTransformableNode") else None
    times = [changed.GetMTime() for changed in (image, parent) if changed is not None]
    return (*times, *bounds, stored.GetName())
