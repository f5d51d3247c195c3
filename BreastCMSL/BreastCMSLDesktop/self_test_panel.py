"""What the self-test clicks: the module's panel with what a user does, and exams to analyse.

The analysis itself is replaced by ``self_test_child.py``, so that no model and no torch are needed.
"""

import gc
import json
import os
import tempfile
import time
from pathlib import Path

import qt
import slicer

from .child_process import pythonExecutable
from .common import present
from .self_test_child import PEAK_IJK

CHILD = Path(__file__).resolve().parent / "self_test_child.py"
# i runs towards the patient's left, j backwards: the usual orientation of a scanner's axial series
AFFINE = ((-2.0, 0, 0, 40), (0, -1.5, 0, 30), (0, 0, 3.0, -20), (0, 0, 0, 1))
SHAPE_KJI = (12, 20, 16)


class Panel:
    """The module's panel with what a user does, and the child process that stands in for the analysis.

    makeWidget: the class that Slicer makes the module's panel with.
    """

    def __init__(self, makeWidget):
        self.scene = slicer.mrmlScene
        self.module = makeWidget()
        self.widget = self.module.widget
        self.ui, self.logic = self.widget.ui, self.widget.logic
        self._folder = tempfile.TemporaryDirectory()
        self.log = Path(self._folder.name) / "child.json"
        os.environ["BREASTCMSL_SELF_TEST_LOG"] = str(self.log)
        self.behave("ok")
        self.module.parent.resize(430, 900)

    def close(self):
        os.environ.pop("BREASTCMSL_SELF_TEST_LOG", None)
        self.module.cleanup()
        self.module.parent.close()
        self.module.parent.deleteLater()
        self.events()
        self._folder.cleanup()
        gc.collect()

    def reopen(self):
        """Go to another module and come back."""
        self.module.exit()
        self.module.enter()

    def behave(self, mode):
        self.logic.childCommand = [pythonExecutable(), str(CHILD), mode]

    def child(self):
        """What the child process wrote down about itself and the request it got."""
        return json.loads(self.log.read_text(encoding="utf-8"))

    def events(self):
        slicer.app.processEvents()

    def until(self, condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(
                    f"waited {seconds} s in vain; the panel says: {self.ui.statusLabel.text}"
                )
            self.events()
            time.sleep(0.005)

    def click(self, button):
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        button.click()
        self.events()

    def tick(self, *nodes):
        """Use exactly these volumes: a click on each box that is not as wanted."""
        for _turn in range(2 * self.ui.phaseTable.rowCount + 2):
            self.settle()
            rows = enumerate(self.widget.inputs.rows)
            wrong = [n for n, row in rows if row.use != any(row.node is node for node in nodes)]
            if not wrong:
                return
            item = self.ui.phaseTable.item(wrong[0], 0)
            item.setCheckState(qt.Qt.Unchecked if item.checkState() == qt.Qt.Checked else qt.Qt.Checked)
        raise AssertionError("the boxes do not stay as clicked")

    def settle(self):
        """Let what clicks have put off happen."""
        for _turn in range(3):
            self.events()
            time.sleep(0.002)

    def checked(self):
        """Wait for the input check; returns its text."""
        self.settle()
        self.until(lambda: not self.widget.inputs.checker.busy)
        return self.ui.checkLabel.text

    def setTime(self, row, text):
        self.ui.phaseTable.item(row, 2).setText(text)
        self.settle()

    def setRole(self, row, role):
        box = self.ui.phaseTable.cellWidget(row, 3)
        box.setCurrentIndex([box.itemData(n) for n in range(box.count)].index(role))
        self.settle()

    def names(self, used=True):
        return [row.name for row in self.widget.inputs.rows if row.use or not used]

    def roles(self):
        boxes = [self.ui.phaseTable.cellWidget(n, 3) for n in range(self.ui.phaseTable.rowCount)]
        return [box.itemData(box.currentIndex) for box in boxes]

    def choosePrior(self, index):
        """Choose an earlier exam by its number in the list; 0 for none."""
        self.ui.priorComboBox.setCurrentIndex(index)
        self.widget.prior._onChosen(index)
        self.settle()

    def analyze(self, mode="ok"):
        self.behave(mode)
        self.click(self.ui.analyzeButton)
        self.until(lambda: not self.logic.running)
        self.events()

    def start(self, mode, says):
        """Press Analyze and wait until the panel says so much."""
        self.behave(mode)
        self.click(self.ui.analyzeButton)
        self.until(lambda: says in self.ui.statusLabel.text)

    def nodeIDs(self):
        nodes = self.scene.GetNodes()
        every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        # the subject hierarchy is added when something first asks for it
        return {node.GetID() for node in every if not node.IsA("vtkMRMLSubjectHierarchyNode")}

    def results(self, className):
        from BreastCMSLLib.scene.nodes import is_result

        return [node for node in slicer.util.getNodesByClass(className) if is_result(node)]

    def outlinesShown(self):
        """Numbers of the peaks whose outline the views show."""
        (outline,) = self.results("vtkMRMLSegmentationNode")
        display = outline.GetDisplayNode()
        return [n for n in (1, 2) if display.GetVisibility() and display.GetSegmentVisibility(f"Peak_{n}")]

    def heatmap(self):
        return present(self.logic.getParameterNode().heatmapVolume)


def makeVolume(name, seed=0, affine=AFFINE, shape=SHAPE_KJI, transform=None):
    import numpy as np

    array = np.random.default_rng(seed).integers(1, 300, shape).astype(np.int16)
    node = slicer.util.addVolumeFromArray(array, np.array(affine, dtype=float), name)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def makeExam(names=("dyn pre", "dyn 1st pass", "dyn 2nd pass"), **options):
    return [makeVolume(name, seed, **options) for seed, name in enumerate(names)]


def makeSequence(name="Dynamic", times=("0", "75", "150", "225")):
    """A sequence with its browser, as the DICOM module reads a dynamic series."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for seed, when in enumerate(times):
        volume = makeVolume(f"{name} frame", seed)
        sequence.SetDataNodeAtValue(volume, when)
        slicer.mrmlScene.RemoveNode(volume)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser


def shift(transform, mm):
    """Let a linear transform move what is under it to the patient's right."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, mm)
    transform.SetMatrixTransformToParent(matrix)


def peakRAS(affine=AFFINE):
    import numpy as np

    return (np.array(affine, dtype=float) @ [*PEAK_IJK, 1])[:3]
