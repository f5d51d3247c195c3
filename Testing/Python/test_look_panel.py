"""The panel's curve where one looks: crosshair, point, ROI and segment, and the other breast."""

import json

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from module_case import AFFINE, fresh_panel, makeExam, shift  # noqa: E402

from BreastCMSLLib.core.geometry import apply_affine  # noqa: E402
from BreastCMSLLib.preprocessing.landmarks import Landmarks  # noqa: E402

pytestmark = pytest.mark.slicer

BLOCK = (slice(4, 8), slice(6, 12), slice(3, 7))  # of the array [k, j, i]: i 3 to 6, j 6 to 11, k 4 to 7
SIGNALS = {"dyn pre": 100, "dyn 1st pass": 250, "dyn 2nd pass": 200}
CENTRE = apply_affine(np.array(AFFINE, float), np.array([4.5, 8.5, 5.5]))


@pytest.fixture
def panel(monkeypatch):
    with fresh_panel(monkeypatch) as panel:
        yield panel


@pytest.fixture
def exam(panel):
    import slicer

    volumes = makeExam(tuple(SIGNALS))
    for volume, signal in zip(volumes, SIGNALS.values()):
        array = np.full((12, 20, 16), 100, dtype=np.int16)
        array[0, 0, 0] = 90  # no volume is constant
        array[BLOCK] = signal
        slicer.util.updateVolumeFromArray(volume, array)
    panel.tick(*volumes)
    return volumes


def text(panel):
    return panel.ui.lookLabel.text


def point_at(panel, ras):
    import slicer

    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*map(float, ras))


def test_the_curve_at_the_crosshair_is_measured_at_a_click(panel, exam):
    point_at(panel, CENTRE)
    panel.click(panel.ui.measureButton)
    assert "washout" in text(panel) and "wash-in 150 %" in text(panel)
    assert panel.ui.lookPicture.visible and panel.ui.lookPicture.pixmap.width() > 100
    point_at(panel, apply_affine(np.array(AFFINE, float), [13, 3, 9]))
    assert "washout" in text(panel), "it follows only when asked to"
    panel.click(panel.ui.measureButton)
    assert "type unknown" in text(panel) and "wash-in 0 %" in text(panel)


def test_it_follows_the_crosshair_when_asked_to(panel, exam):
    panel.click(panel.ui.followCheckBox)
    point_at(panel, CENTRE)
    panel.until(lambda: "wash-in 150 %" in text(panel))
    panel.reopen()
    point_at(panel, apply_affine(np.array(AFFINE, float), [13, 3, 9]))
    panel.until(lambda: "wash-in 0 %" in text(panel))


def test_what_lies_outside_says_so(panel, exam):
    point_at(panel, [900, 0, 0])
    panel.click(panel.ui.measureButton)
    assert "outside the exam" in text(panel) and not panel.ui.lookPicture.visible


def test_without_an_exam_it_says_what_to_choose(panel):
    point_at(panel, CENTRE)
    panel.click(panel.ui.measureButton)
    assert text(panel).endswith(".") and "failed" not in text(panel)


def test_the_last_point_of_markups_is_measured(panel, exam):
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    panel.ui.regionSelector.setCurrentNode(node)
    assert "no point yet" in text(panel)
    panel.click(panel.ui.followCheckBox)
    node.AddControlPoint(vtk.vtkVector3d(*CENTRE))
    panel.until(lambda: "wash-in 150 %" in text(panel))
    node.SetNthControlPointPosition(0, *apply_affine(np.array(AFFINE, float), [13, 3, 9]))
    panel.until(lambda: "wash-in 0 %" in text(panel))


def test_the_voxels_of_an_roi_are_measured_also_under_a_transform(panel, exam):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    panel.ui.regionSelector.setCurrentNode(node)
    assert "empty" in text(panel)
    # half of the block, and as much beside it
    node.SetCenter(*(CENTRE + [4.0, 0, 0]))
    node.SetSize(8.0, 9.0, 12.0)
    panel.click(panel.ui.measureButton)
    assert "wash-in 75 %" in text(panel)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    shift(transform, -4.0)
    node.SetAndObserveTransformNodeID(transform.GetID())
    panel.click(panel.ui.measureButton)
    assert "wash-in 150 %" in text(panel)


def test_a_segment_is_measured_and_can_be_chosen(panel, exam):
    import slicer

    labels = np.zeros((12, 20, 16), dtype=np.uint8)
    labels[BLOCK] = 1
    labels[1:3, 1:4, 10:14] = 2
    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label, labels)
    label.CopyOrientation(exam[0])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(label, node)
    panel.ui.regionSelector.setCurrentNode(node)
    box = panel.ui.segmentComboBox
    assert box.visible and box.count == 2 and "wash-in 150 %" in text(panel)
    box.setCurrentIndex(1)
    panel.click(panel.ui.measureButton)
    assert "wash-in 0 %" in text(panel)
    panel.ui.regionSelector.setCurrentNode(None)
    assert not box.visible


def test_the_other_breast_is_measured_once_its_landmarks_are_known(panel, exam, monkeypatch):
    middle = apply_affine(np.array(AFFINE, float), [7.5, 0, 0])
    marks = Landmarks(
        np.array([middle, middle + [0, 0, 30]]), np.zeros((2, 3)), np.zeros((2, 9)), np.eye(3), sure=True
    )
    point_at(panel, CENTRE)
    panel.click(panel.ui.measureButton)
    assert "Other breast" not in text(panel) and "once the exam was analysed" in text(panel)
    result = {"landmarks": json.loads(json.dumps(marks.as_json()))}
    monkeypatch.setattr(panel.widget.results, "result", result)
    panel.click(panel.ui.measureButton)
    first, other = text(panel).split("\n")
    assert "wash-in 150 %" in first and other.startswith("Other breast") and "wash-in 0 %" in other
    # a midline that was only guessed has no other side
    result["landmarks"]["sure"] = False
    panel.click(panel.ui.measureButton)
    assert "Other breast" not in text(panel)
