"""An earlier exam in the panel: chosen, compared, listed beside the candidates, shown beside the exam."""

from __future__ import annotations

import json

import pytest
from module_case import makeExam, makeSequence, report_page
from test_module_views import layouts_of

from BreastCMSLLib.core.errors import InputError

BEFORE = ("before pre", "before 1st pass", "before 2nd pass")


@pytest.fixture
def earlier(panel, exam):
    """Three phases of another grid, listed as an earlier exam."""
    volumes = makeExam(BEFORE, shape=(12, 22, 16))
    panel.tick(*exam)
    assert titles(panel) == ["None", "3 volumes: before pre … before 2nd pass"]
    return volumes


def titles(panel):
    box = panel.ui.priorComboBox
    return [box.itemText(number) for number in range(box.count)]


def test_exams_of_the_scene_that_share_nothing_with_the_chosen_one_are_offered(panel, exam):
    assert titles(panel) == ["None"]
    makeExam(BEFORE)  # on the same grid
    makeSequence()
    panel.settle()
    panel.ui.sourceComboBox.activated.emit(panel.ui.sourceComboBox.count - 1)  # single volumes
    panel.tick(*exam)
    assert sorted(titles(panel)) == [
        "3 volumes: before pre … before 2nd pass",
        "Dynamic (sequence of 4)",
        "None",
    ]
    panel.choosePrior(titles(panel).index("Dynamic (sequence of 4)"))
    assert [row.index for row in panel.widget.prior.rows] == [0, 1, 2, 3]


def test_an_earlier_exam_is_read_with_the_corrections_made_when_it_was_the_exam_itself(panel, exam):
    import qt

    makeSequence()
    panel.settle()
    panel.ui.sourceComboBox.activated.emit(0)
    panel.settle()
    item = panel.ui.phaseTable.item(3, 0)
    item.setCheckState(qt.Qt.Unchecked)
    panel.settle()
    panel.ui.phaseTable.selectRow(2)
    panel.click(panel.ui.moveUpButton)
    panel.settle()
    panel.setTime(2, "200")
    expected = [(row.index, row.timeS) for row in panel.widget.inputs.rows if row.use]
    assert [index for index, _time in expected] == [0, 2, 1] and expected[2][1] == 200.0
    panel.ui.sourceComboBox.activated.emit(panel.ui.sourceComboBox.count - 1)  # single volumes
    panel.tick(*exam)
    panel.choosePrior(titles(panel).index("Dynamic (sequence of 4)"))
    panel.analyze()
    dynamics = panel.child()["prior"]["dynamics"]
    assert len(dynamics) == 3 and [phase["time_s"] for phase in dynamics] == [time for _i, time in expected]
    assert [row.index for row in panel.widget.prior.rows if row.use] == [0, 2, 1]


def test_times_of_volumes_that_were_edited_order_an_earlier_exam(panel, earlier):
    from BreastCMSLDesktop.inputs import TIME_ATTRIBUTE

    for volume, time in zip(earlier, ("0.0", "180.0", "90.0")):
        volume.SetAttribute(TIME_ATTRIBUTE, time)
    panel.choosePrior(1)
    panel.analyze()
    phases = [(phase["name"], phase["time_s"]) for phase in panel.child()["prior"]["dynamics"]]
    assert phases == [(BEFORE[0], 0.0), (BEFORE[2], 90.0), (BEFORE[1], 180.0)]


def test_an_earlier_exam_whose_frames_are_all_unticked_is_not_left_out_in_silence(panel, exam):
    from BreastCMSLDesktop.inputs import FRAMES_ATTRIBUTE

    browser = makeSequence()
    panel.settle()
    panel.ui.sourceComboBox.activated.emit(panel.ui.sourceComboBox.count - 1)
    panel.tick(*exam)
    unused = [{"index": index, "use": False} for index in range(4)]
    browser.SetAttribute(FRAMES_ATTRIBUTE, json.dumps(unused))
    panel.choosePrior(titles(panel).index("Dynamic (sequence of 4)"))
    assert panel.ui.hintLabel.text.startswith("The earlier exam: Select the dynamic volumes")
    assert not panel.ui.analyzeButton.enabled


def test_changes_are_listed_beside_the_candidates_and_lead_there(panel, earlier):
    import slicer

    panel.analyze()
    assert not panel.ui.comparisonLabel.visible and not panel.ui.priorButton.visible
    assert panel.ui.peaksTable.isColumnHidden(6) and panel.child()["prior"] is None
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    panel.choosePrior(1)
    panel.analyze()
    request = panel.child()
    assert [phase["name"] for phase in request["prior"]["dynamics"]] == list(BEFORE)
    assert request["prior"]["identifiers"]["exam_id"] != request["request"]["identifiers"]["exam_id"]
    changes = [panel.ui.peaksTable.item(row, 6).text() for row in (0, 1)]
    assert changes == ["grown?", "new"] and not panel.ui.peaksTable.isColumnHidden(6)
    text = panel.ui.comparisonLabel.text
    assert "Prior exam 71 %" in text and text.index("New:") < text.index("Vanished:") < text.index("voxels")
    for number, (peak, name) in enumerate(((1, "new"), (0, "grown"), (0, "vanished"))):
        panel.ui.comparisonLabel.linkActivated.emit(str(number))
        finding = panel.widget.results.result["comparison"]["findings"][number]
        assert panel.widget.results.peak == peak and finding["change"] == name
        place = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        assert place == pytest.approx(finding["ras_mm"], abs=1e-3)
    assert "Compared with a prior exam" in report_page(panel)


def test_the_earlier_exam_is_shown_beside_the_current_one(panel, earlier, monkeypatch):
    import xml.etree.ElementTree as ElementTree

    import slicer

    panel.choosePrior(1)
    panel.analyze()
    nodes = panel.widget.results.nodes
    tags = [f"BreastCMSL{exam}{plane}" for plane in ("Axial", "Sagittal") for exam in ("Prior", "Current")]
    described, shown = layouts_of(monkeypatch, tags)
    panel.ui.priorButton.enabled = True
    panel.click(panel.ui.priorButton)
    (description,) = described.values()
    views = ElementTree.fromstring(description).iter("view")
    assert [view.get("singletontag") for view in views] == tags and len(shown) == 1
    for tag in tags:
        composite = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        expected = nodes.prior if "Prior" in tag else nodes.subtraction
        assert composite.GetBackgroundVolumeID() == expected.GetID() and composite.GetLinkedControl()
    panel.scene.RemoveNode(nodes.prior)
    panel.click(panel.ui.priorButton)
    assert "does not hold the earlier exam any more" in panel.ui.statusLabel.text and len(shown) == 1


def test_the_registered_exam_goes_with_the_results(panel, earlier):
    panel.analyze()
    alone = len(panel.nodeIDs())
    panel.choosePrior(1)
    panel.analyze()
    assert len(panel.nodeIDs()) == alone + 2, "the volume and its display"
    assert titles(panel)[1:] == ["3 volumes: before pre … before 2nd pass"], "it is no exam to analyse"
    panel.choosePrior(0)
    panel.analyze()
    assert len(panel.nodeIDs()) == alone and not panel.ui.comparisonLabel.visible


@pytest.mark.parametrize("mode", ["slow", "error", "crash"])
def test_the_scene_stays_as_it_was_where_a_comparison_ends_early(panel, earlier, mode):
    panel.choosePrior(1)
    before = panel.nodeIDs()
    if mode == "slow":
        panel.start("slow", "Stage mask")
        panel.click(panel.ui.analyzeButton)
        panel.until(lambda: not panel.logic.running)
    else:
        panel.analyze(mode)
    assert panel.nodeIDs() == before and "\n" not in panel.ui.statusLabel.text
    says = {"slow": "Cancelled", "error": "post 2 is constant", "crash": "stopped unexpectedly"}
    assert says[mode] in panel.ui.statusLabel.text and panel.ui.analyzeButton.enabled


def test_an_earlier_exam_that_cannot_be_compared_is_said_before_analyze(panel, exam, earlier):
    panel.choosePrior(1)
    assert panel.ui.analyzeButton.enabled
    panel.tick(*earlier)
    assert "shares volumes with the exam itself" in panel.ui.hintLabel.text
    assert not panel.ui.analyzeButton.enabled and titles(panel)[-1] == "3 volumes chosen earlier"
    panel.tick(*exam)
    panel.scene.RemoveNode(earlier[2])  # the two that are left would be an exam too
    panel.settle()
    assert panel.ui.hintLabel.text == "A volume of the earlier exam is missing; choose the exam again."
    assert not panel.ui.analyzeButton.enabled
    panel.choosePrior(0)
    assert panel.ui.analyzeButton.enabled and not panel.ui.hintLabel.visible


def test_a_closed_scene_leaves_no_earlier_exam_behind(panel, earlier):
    panel.choosePrior(1)
    panel.scene.Clear()
    panel.settle()
    assert titles(panel) == ["None"] and "earlier exam" not in panel.ui.hintLabel.text


def test_a_script_is_told_in_one_sentence_why_nothing_is_compared(panel, exam, earlier):
    before = panel.nodeIDs()
    for prior, why in (
        (exam, "shares volumes with the exam itself"),
        (earlier[:1], "The earlier exam: Select at least 2"),
        ([earlier[0], None], "A volume of the earlier exam is missing"),
        ([earlier[0], makeExam(("odd",), shape=(6, 7, 8))[0]], "The earlier exam: .* differ in size"),
    ):
        with pytest.raises(InputError, match=why):
            panel.logic.analyze(exam, prior=prior)
    assert len(panel.nodeIDs()) == len(before) + 2, "the odd volume alone"


def test_the_choice_and_the_changes_come_back_with_the_panel(panel, earlier):
    panel.choosePrior(1)
    panel.analyze()
    panel.reopen()
    assert panel.ui.priorComboBox.currentIndex == 1
    assert "Grown (uncertain match)" in panel.ui.comparisonLabel.text
