"""Runs the input check piece by piece while the user goes on choosing: one volume is looked at per turn of the event loop."""

import qt
from slicer.i18n import tr as _

from .common import describe, present


class InputChecker:
    """``onCheck(check, problem)`` tells the result; what was looked at once is not looked at again while it is unchanged."""

    DELAY_MS = 150

    def __init__(self, onCheck):
        self._onCheck = onCheck
        self._sketches, self._job, self._number = {}, None, 0

    def start(self, items, times, t1, kind):
        """Check these inputs soon; a check still under way for others is dropped."""
        self._number += 1
        self._job = (self._number, list(items), times, t1, kind)
        number = self._number
        qt.QTimer.singleShot(self.DELAY_MS, lambda: self._next(number))

    def stop(self):
        self._number += 1
        self._job = None

    def forget(self):
        """The scene was closed: keep nothing of it."""
        self.stop()
        self._sketches = {}

    @property
    def busy(self):
        return self._job is not None

    def _next(self, number):
        if self._job is None or number != self._job[0]:
            return
        _number, items, times, t1, kind = self._job
        wanted = [*items, *([(t1, None)] if t1 is not None else [])]
        if any(present(node) is None for node, _index in wanted):
            self.stop()  # what removed it starts another check
            return
        try:
            for item in wanted:
                if self._sketch(item):
                    qt.QTimer.singleShot(0, lambda: self._next(number))
                    return
            check = self._check(items, times, t1, kind)
        except Exception as error:  # a check must never be in the way of the analysis, which judges for itself
            self.stop()
            self._onCheck(None, _("The inputs could not be checked: {error}").format(error=describe(error)))
            return
        self.stop()
        self._sketches = {key: value for key, value in self._sketches.items() if key in {self._key(item) for item in wanted}}
        self._onCheck(check, "")

    def _sketch(self, item):
        """Look at one volume unless that was done; True when there was work."""
        from BreastCMSLLib.checks.input_check import Sketch, sketch
        from BreastCMSLLib.core.errors import BreastCMSLError
        from BreastCMSLLib.scene.reading import item_facts, phases_from_items

        key, state = self._key(item), self._state(item)
        if key in self._sketches and self._sketches[key][0] == state:
            return False
        try:
            made = sketch(phases_from_items([item], copy=False)[0])
        except BreastCMSLError as error:
            made = Sketch(item_facts(*item).name, str(error))
        self._sketches[key] = (state, made)
        return True

    def _check(self, items, times, t1, kind):
        from dataclasses import replace

        from BreastCMSLLib.checks.input_check import check
        from BreastCMSLLib.scene.reading import item_facts

        facts = [replace(item_facts(*item), time_s=None if times is None else times[n]) for n, item in enumerate(items)]
        t1Facts = item_facts(t1) if t1 is not None else None
        t1Sketch = self._sketches[self._key((t1, None))][1] if t1 is not None else None
        return check(facts, [self._sketches[self._key(item)][1] for item in items], t1=t1Facts, t1_sketch=t1Sketch, kind=kind)

    @staticmethod
    def _key(item):
        return (item[0].GetID(), item[1])

    @staticmethod
    def _state(item):
        """What changes when the voxels or their place change."""
        node, index = item
        image = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
        stored = node
        if index is not None and not node.IsA("vtkMRMLVolumeNode"):
            sequence = node.GetMasterSequenceNode() if node.IsA("vtkMRMLSequenceBrowserNode") else node
            stored = sequence.GetNthDataNode(index)
            image = stored.GetImageData() if stored is not None and stored.IsA("vtkMRMLVolumeNode") else None
        parent = node.GetParentTransformNode() if node.IsA("vtkMRMLTransformableNode") else None
        times = [n.GetMTime() for n in (image, parent) if n is not None]
        bounds = [0.0] * 6
        if stored is not None and stored.IsA("vtkMRMLVolumeNode"):
            stored.GetRASBounds(bounds)
        return (*times, *bounds, stored.GetName() if stored is not None else "")
