"""The module's self-test: cases that click the panel. They run inside Slicer and, the same, on the stand-ins outside it.

A case is a function ``case_…(panel)``. The analysis itself is replaced by ``self_test_child.py``, so that no model and no
torch are needed; what the network computes is tested with the library.
"""

import gc
import json
import os
import tempfile
import time
from pathlib import Path

import qt
import slicer

from .child_process import processAlive, pythonExecutable
from .common import present
from .self_test_child import PEAK_IJK

CHILD = Path(__file__).resolve().parent / "self_test_child.py"
# i runs towards the patient's left, j backwards: the usual orientation of a scanner's axial series
AFFINE = ((-2.0, 0, 0, 40), (0, -1.5, 0, 30), (0, 0, 3.0, -20), (0, 0, 0, 1))
SHAPE_KJI = (12, 20, 16)


def cases():
    """(name, function) of every case."""
    return [(name.removeprefix("case_"), value) for name, value in sorted(globals().items()) if name.startswith("case_")]


def run(case):
    panel = Panel()
    try:
        case(panel)
    finally:
        panel.close()


class Panel:
    """The module's panel with what a user does, and the child process that stands in for the analysis."""

    def __init__(self):
        import BreastCMSL

        self.scene = slicer.mrmlScene
        self.widget = BreastCMSL.BreastCMSLWidget()
        self.ui, self.logic = self.widget.ui, self.widget.logic
        self._folder = tempfile.TemporaryDirectory()
        self.log = Path(self._folder.name) / "child.json"
        os.environ["BREASTCMSL_SELF_TEST_LOG"] = str(self.log)
        self.behave("ok")
        self.widget.parent.resize(430, 900)

    def close(self):
        os.environ.pop("BREASTCMSL_SELF_TEST_LOG", None)
        self.widget.cleanup()
        self.widget.parent.close()
        self.widget.parent.deleteLater()
        self.events()
        self._folder.cleanup()
        gc.collect()

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
                raise AssertionError(f"waited {seconds} s in vain; the panel says: {self.ui.statusLabel.text}")
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
            wrong = [n for n, row in enumerate(self.widget.inputs.rows) if row.use != any(row.node is node for node in nodes)]
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
        found = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return {node.GetID() for node in found if not node.IsA("vtkMRMLSubjectHierarchyNode")}  # made when first asked for

    def results(self, className):
        from BreastCMSLLib.scene.results import EXAM_ID

        return [node for node in slicer.util.getNodesByClass(className) if node.GetAttribute(EXAM_ID)]

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
    """A sequence with its browser, as the DICOM module makes them of a dynamic series."""
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


def peakRAS(affine=AFFINE):
    import numpy as np

    return (np.array(affine, dtype=float) @ [*PEAK_IJK, 1])[:3]


def case_analysis_shows_results(panel):
    import numpy as np

    makeExam()
    panel.settle()
    panel.analyze()
    assert "93 %" in panel.ui.resultLabel.text, panel.ui.statusLabel.text
    heatmap = panel.heatmap()
    array = slicer.util.arrayFromVolume(heatmap)
    assert np.unravel_index(array.argmax(), array.shape) == PEAK_IJK[::-1]
    points = panel.results("vtkMRMLMarkupsFiducialNode")[0]
    assert np.allclose(points.GetNthControlPointPositionWorld(0), peakRAS(), atol=1e-3)
    assert panel.ui.peaksTable.rowCount == 2 and panel.results("vtkMRMLPlotChartNode")
    assert panel.child()["request"]["kind"] == "phases"
    assert not Path(panel.child()["folder"]).exists()


def case_cancel_stops_within_a_second(panel):
    makeExam()
    panel.settle()
    before = panel.nodeIDs()
    panel.start("slow", "Stage mask")
    child = panel.child()
    start = time.monotonic()
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running)
    took = time.monotonic() - start
    panel.until(lambda: os.name == "nt" or not (processAlive(child["pid"]) or processAlive(child["grandchild"])), 5)
    assert panel.nodeIDs() == before and "Cancelled" in panel.ui.statusLabel.text
    assert took < 5, took  # under a second on a machine that is not busy; the test of the child process measures it


def case_failure_is_one_sentence(panel):
    makeExam()
    panel.settle()
    before = panel.nodeIDs()
    panel.analyze("error")
    assert "post 2 is constant" in panel.ui.statusLabel.text and "\n" not in panel.ui.statusLabel.text
    assert panel.nodeIDs() == before and panel.ui.analyzeButton.enabled


def case_inputs_are_suggested_ordered_and_editable(panel):
    makeVolume("t1 non fat saturated", 8)
    pre, first, second = makeExam(("dyn pre", "dyn 1st pass", "dyn 2nd pass"))
    makeVolume("localizer", 9, shape=(4, 5, 6))
    panel.settle()
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"], panel.names()
    assert panel.widget.inputs.t1.GetName() == "t1 non fat saturated"
    assert panel.roles()[:3] == ["pre", "post", "post"] and set(panel.roles()[3:]) == {"t1", "unused"}
    panel.setRole(2, "pre")
    assert panel.names() == ["dyn 2nd pass", "dyn pre", "dyn 1st pass"]
    panel.click(panel.ui.sortButton)
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"]
    panel.ui.phaseTable.setCurrentCell(2, 1)
    panel.click(panel.ui.moveUpButton)
    assert panel.names() == ["dyn pre", "dyn 2nd pass", "dyn 1st pass"]
    for row, text in enumerate(("0", "90,5", "nonsense")):
        panel.setTime(row, text)
    assert [row.timeS for row in panel.widget.inputs.rows if row.use] == [0.0, 90.5, None]
    panel.setTime(2, "180")
    panel.analyze()
    asked = panel.child()["request"]
    assert [(d["name"], d["time_s"]) for d in asked["dynamics"]] == [("dyn pre", 0.0), ("dyn 2nd pass", 90.5), ("dyn 1st pass", 180.0)]
    assert asked["t1"]["name"] == "t1 non fat saturated"
    assert second.GetName() == "dyn 2nd pass" and pre is not first


def case_input_check_names_what_is_wrong(panel):
    import numpy as np

    _pre, post, _second = makeExam()
    text = panel.checked()
    assert "Acquisition times are unknown" in text and "✓" in text, text
    slicer.util.updateVolumeFromArray(post, np.zeros(SHAPE_KJI, np.int16))
    panel.widget.inputs.refresh()
    assert "dyn 1st pass is constant" in panel.checked().replace("Dyn", "dyn")
    assert not panel.ui.analyzeButton.enabled and "constant" in panel.ui.analyzeButton.toolTip


def case_outline_follows_the_chosen_peak(panel):
    makeExam()
    panel.settle()
    panel.analyze()
    (outline,) = panel.results("vtkMRMLSegmentationNode")
    display = outline.GetDisplayNode()

    def shown():
        return [n for n in (1, 2) if display.GetVisibility() and display.GetSegmentVisibility(f"Peak_{n}")]

    assert shown() == [1] and panel.ui.outlineButton.checked
    panel.ui.peaksTable.setCurrentCell(1, 0)
    panel.events()
    assert shown() == [2]
    panel.click(panel.ui.outlineButton)
    assert shown() == [] and not panel.ui.outlineButton.checked


def case_peaks_jump_and_show_their_curve(panel):
    view = slicer.vtkMRMLSliceNode()
    view.SetSingletonTag("BreastCMSLSelfTest")
    view.SetLayoutName("BreastCMSLSelfTest")
    view.SetName("BreastCMSLSelfTest")
    slicer.mrmlScene.AddNode(view)
    for seed, name in enumerate(("dyn pre", "dyn 1st pass", "dyn 2nd pass")):
        makeVolume(name, seed)
    panel.settle()
    for row, text in enumerate(("0", "80", "160")):
        panel.setTime(row, text)
    panel.analyze()
    assert abs(view.GetSliceOffset() - peakRAS()[2]) < 0.01
    assert "washout" in panel.ui.curveLabel.text and "wash-in 120 %" in panel.ui.curveLabel.text
    panel.ui.peaksTable.setCurrentCell(1, 0)
    panel.events()
    second = panel.widget.results.result["peaks"][1]["ras_mm"]
    assert abs(view.GetSliceOffset() - second[2]) < 0.01 and "persistent" in panel.ui.curveLabel.text
    series = panel.results("vtkMRMLPlotSeriesNode")[0]
    assert series.GetYColumnName() == "Peak 2" and series.GetXColumnName() == "Time (s)"
    slicer.mrmlScene.RemoveNode(view)


def case_removed_inputs_while_running(panel):
    volumes = makeExam()
    panel.settle()
    panel.start("pause", "Finding the breasts")
    for node in volumes:
        slicer.mrmlScene.RemoveNode(node)
    panel.until(lambda: not panel.logic.running)
    assert not panel.results("vtkMRMLScalarVolumeNode") and "were removed" in panel.ui.statusLabel.text


def case_remove_takes_all_results_away(panel):
    volumes = makeExam()
    panel.settle()
    before = panel.nodeIDs()
    panel.analyze()
    assert panel.results("vtkMRMLSegmentationNode")
    panel.click(panel.ui.removeButton)
    assert panel.nodeIDs() == before, panel.nodeIDs() ^ before
    assert all(present(volume) for volume in volumes)
    assert panel.ui.resultLabel.text == ""


def case_report_is_one_complete_page(panel):
    makeExam()
    panel.settle()
    panel.analyze()
    path = panel.widget.results.writeReport()
    page = Path(path).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3 and "Research use only" in page and "washout" in page
    assert "dyn 2nd pass" in page and "</html>" in page


def case_scene_closed_while_running(panel):
    makeExam()
    panel.settle()
    panel.start("slow", "Stage mask")
    slicer.mrmlScene.Clear()
    panel.until(lambda: not panel.logic.running)
    assert "scene was closed" in panel.ui.statusLabel.text and not panel.ui.analyzeButton.enabled
    assert not panel.results("vtkMRMLScalarVolumeNode")


def case_scripts_need_no_panel(panel):
    import BreastCMSL
    from BreastCMSLLib.core.errors import InputError

    volumes = makeExam()
    logic = BreastCMSL.BreastCMSLLogic()
    logic.childCommand = [pythonExecutable(), str(CHILD), "ok"]
    seen = []
    result = logic.analyze(volumes[::-1], progress=lambda fraction, text: seen.append(fraction))
    assert result["probability"] == 0.93 and seen == sorted(seen) and seen
    assert [phase["name"] for phase in result["phases"]][0] == "dyn pre"
    nodes = logic.results(result["exam_id"])
    assert nodes is not None and list(nodes.maps) == ["LESION", "COAMxCAM", "COAM", "CAM"]
    try:
        logic.analyze(volumes[:1])
    except InputError as error:
        assert "at least 2" in str(error)
    else:
        raise AssertionError("one volume is no exam")
    assert logic.removeResults(result["exam_id"]) > 0


def case_sequence_is_an_exam(panel):
    browser = makeSequence()
    panel.settle()
    assert "Dynamic (sequence of 4)" in panel.ui.sourceComboBox.currentText
    assert [row.timeS for row in panel.widget.inputs.rows] == [0, 75, 150, 225]
    item = panel.ui.phaseTable.item(3, 0)
    item.setCheckState(qt.Qt.Unchecked)
    panel.settle()
    panel.analyze()
    asked = panel.child()["request"]["dynamics"]
    assert [d["time_s"] for d in asked] == [0, 75, 150] and asked[0]["name"] == "Dynamic 1 of 4"
    assert panel.results("vtkMRMLScalarVolumeNode") and present(browser)


def case_volumes_are_handed_over_where_they_are_in_the_patient(panel):
    import numpy as np
    import vtk

    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    shift.SetMatrixTransformToParent(matrix)
    makeExam(transform=shift)
    panel.settle()
    panel.analyze()
    points = panel.results("vtkMRMLMarkupsFiducialNode")[0]
    assert np.allclose(points.GetNthControlPointPositionWorld(0), peakRAS() + (25, 0, 0), atol=1e-3)
