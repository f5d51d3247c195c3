"""The module on the stand-ins: real MRML scene, real Qt widgets (PySide6), real clicks, real child processes.

The cases of the module's self-test run here as they do in Slicer; ``test_module_parts.py`` tests its parts.
"""

import ast
import gc
import os
import re
import subprocess
import sys
import time
from html import escape
from pathlib import Path

import numpy as np
import pytest
from module_case import (
    MODULE,
    ROOT,
    Panel,
    alive,
    analysis,
    delete_now,
    descriptor,
    desktop,
    makeExam,
    peakRAS,
    processes_gone,
    python,
    report_page,
    run_on_standins,
    self_test,
    shift,
)
from scene_case import open_scene

from BreastCMSLLib.results.wording_verdict import verdict_line


@pytest.mark.parametrize("name", [name for name, _case in self_test.cases()])
def test_self_test_case(panel, name):
    dict(self_test.cases())[name](panel)


def test_self_test_runs_as_slicer_runs_it(monkeypatch):
    """Slicer's Self Tests panel, CTest and Reload-and-Test all come through slicer.selfTests."""
    import slicer

    seen = []
    monkeypatch.setattr(
        self_test, "cases", lambda: [("one", seen.append), ("two", lambda panel: seen.append("again"))]
    )
    slicer.selfTests["BreastCMSL"]()
    assert isinstance(seen[0], Panel) and seen[1] == "again"

    def failing(panel):
        raise AssertionError("as it should")

    monkeypatch.setattr(self_test, "cases", lambda: [("bad", failing)])
    with pytest.raises(AssertionError, match="as it should"):
        slicer.selfTests["BreastCMSL"]()


# Loading


def test_loading_imports_nothing_heavy():
    run_on_standins("""
heavy = {"torch", "SimpleITK", "pydicom", "skimage", "scipy", "matplotlib", "safetensors"}
late = {"BreastCMSLDesktop.widget", "BreastCMSLDesktop.self_test", "BreastCMSLLib.scene.results"}
assert not (heavy | late) & added, (heavy | late) & added
before = set(sys.modules)
descriptor.makeWidget()
assert not heavy & (set(sys.modules) - before), heavy & (set(sys.modules) - before)
""")


def test_module_describes_itself():
    import qt

    assert descriptor.title == "Breast CMSL"
    assert descriptor.categories and descriptor.contributors and "research use only" in descriptor.helpText
    assert "docs/module.md" in descriptor.helpText and "Luo" in descriptor.acknowledgementText
    image = qt.QImage(str(MODULE.parent / "Resources" / "Icons" / "BreastCMSL.png"))
    assert (image.width(), image.height()) == (128, 128)


def test_every_control_has_a_tooltip(panel):
    kinds = (
        "QPushButton",
        "QToolButton",
        "QCheckBox",
        "QComboBox",
        "QTableWidget",
        "QProgressBar",
        "ctkSliderWidget",
        "qMRMLNodeComboBox",
    )
    ours = [w for w in vars(panel.ui).values() if type(w).__name__ in kinds and not w.name.startswith("qt_")]
    assert len(ours) >= 22
    assert not [w.name for w in ours if not w.toolTip]


SHOWING = re.compile(  # calls whose arguments the user sees
    r"(setText|addItem|setToolTip|setHorizontalHeaderLabels|errorDisplay|confirmOkCancelDisplay|_write"
    r"|_onStatus|_onError|_showError|_report|run\.show|[pP]rogress)$"
)


def test_every_text_of_the_panel_can_be_translated():
    """Sentences shown to the user go through slicer.i18n; those of the .ui file Slicer translates itself."""

    def bare(node):
        """Text written here that no function translates."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str) and any(letter.isalpha() for letter in node.value)
        parts = (ast.List, ast.Tuple, ast.BinOp, ast.IfExp)
        return isinstance(node, parts) and any(map(bare, ast.iter_child_nodes(node)))

    folder, shown = MODULE.parent / "BreastCMSLDesktop", 0
    for path in (MODULE, *(p for p in folder.glob("*.py") if not p.name.startswith("self_test"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            texts = []
            if isinstance(node, ast.Assign):
                targets = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
                texts = [node.value] if {"text", "toolTip", "title"} & targets else []
            elif isinstance(node, ast.Call) and SHOWING.search(ast.unparse(node.func)):
                texts = node.args
            shown += len(texts)
            assert not any(map(bare, texts)), f"{path.name}:{node.lineno} shows an untranslated text"
    assert shown > 60, "the calls that show texts are called otherwise now"


def test_the_panel_speaks_another_language():
    """With a translator that puts every text into « », what the panel shows in its states stands in « »."""
    run_on_standins(
        """
from BreastCMSLDesktop.self_test_panel import Panel, makeExam
panel = Panel(python.BreastCMSLWidget)
ui, texts = panel.ui, []
def look(*more):
    texts.extend(more)
look(ui.analyzeButton.text, ui.analyzeButton.toolTip, ui.outlineButton.toolTip)
look(ui.hintLabel.text, ui.selectionLabel.text)
makeExam()
panel.settle()
panel.checked()
box = ui.phaseTable.cellWidget(0, 3)
look(ui.sourceComboBox.itemText(ui.sourceComboBox.count - 1), *(box.itemText(n) for n in range(box.count)))
look(*(ui.kindComboBox.itemText(n) for n in range(3)), *(ui.deviceComboBox.itemText(n) for n in range(2)))
look(*(ui.phaseTable.horizontalHeaderItem(n).text() for n in range(1, 4)))
panel.start("slow", "Stage mask")
look(ui.analyzeButton.text, ui.analyzeButton.toolTip)
ui.analyzeButton.click()
look(ui.statusLabel.text)
panel.until(lambda: not panel.logic.running)
look(ui.statusLabel.text)
panel.analyze()
look(ui.statusLabel.text, ui.resultLabel.text, ui.resultLabel.toolTip, ui.curveLabel.text)
look(*(ui.peaksTable.horizontalHeaderItem(n).text() for n in range(1, 6)))
look(ui.peaksTable.item(0, 3).text(), ui.peaksTable.item(0, 0).toolTip())
panel.click(ui.outlineButton)
look(ui.statusLabel.text)
panel.click(ui.diagnosticsButton)
look(ui.statusLabel.text)
panel.click(ui.removeButton)
look(ui.statusLabel.text)
panel.analyze("crash")
look(ui.statusLabel.text)
panel.close()
wrong = [text for text in texts if "«" not in text]
assert not wrong and len(texts) > 30, (len(texts), wrong)
""",
        before="import slicer\nslicer.i18n.tr = lambda text: '«' + text + '»'",
    )


def test_stand_ins_are_strict(panel):
    with pytest.raises(ValueError, match="no signal"):
        panel.ui.analyzeButton.connect("cliked(bool)", print)
    with pytest.raises(ValueError, match="but not"):
        panel.ui.opacitySlider.connect("valueChanged()", print)
    with pytest.raises(AttributeError):
        panel.ui.analyzeButton.tooltip = "typo"
    with pytest.raises(TypeError):
        panel.ui.statusLabel.text = None
    with pytest.raises(ValueError, match="kwargs"):
        panel.ui.statusLabel.setText(text="not in PythonQt")


def test_stand_ins_return_what_pythonqt_returns(panel):
    import qt

    assert panel.ui.t1Selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert isinstance(panel.widget.root.findChildren(qt.QLabel), tuple)
    label = panel.ui.statusLabel
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert type(label.alignment) is int and label.alignment == qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert type(panel.ui.phaseTable.selectionMode) is int
    assert panel.ui.phaseTable.horizontalHeader().sectionResizeMode(1) == qt.QHeaderView.Stretch


def test_stand_ins_refuse_what_is_destroyed():
    import qt

    parent = qt.QWidget()
    label = qt.QLabel("text", parent)
    assert label
    parent.deleteLater()
    delete_now()
    assert not label
    with pytest.raises(ValueError, match="read property 'text' from a destroyed"):
        _ = label.text
    with pytest.raises(ValueError, match="call 'setText' on a destroyed"):
        label.setText("more")
    with pytest.raises(AttributeError, match="set property 'text' on a destroyed"):
        label.text = "more"


def test_another_folder_can_stand_in_for_the_desktop(tmp_path):
    """One setting for everything that runs the module outside Slicer."""
    (tmp_path / "desktop.py").write_text("raise SystemExit('the other folder')")
    environment = {**os.environ, "BREASTCMSL_STANDINS": str(tmp_path)}
    for code in (
        "import module_case",
        "from Testing.faults import module_kills; module_kills.start_desktop()",
        "import runpy; runpy.run_path('scripts/measure_import.py')['main'](1)",
        "import runpy; runpy.run_path('scripts/measure_cancel.py'); import desktop",
    ):
        code = f"import sys; sys.path[:0] = ['.', 'Testing/Python', 'scripts']; {code}"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert "the other folder" in done.stderr, (code, done.stderr)
    programs = (*ROOT.glob("scripts/*.py"), *ROOT.glob("Testing/**/*.py"))
    named = [path for path in programs if '"standins"' in path.read_text(encoding="utf-8")]
    assert sorted(path.name for path in named) == ["standins_folder.py", "test_module.py"]


def test_sample_data_is_offered_without_the_network(monkeypatch):
    import json
    import socket

    import SampleData

    monkeypatch.setattr(SampleData, "registered", [])
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("registering must not use the network"))
    desktop.startup_completed()
    assert SampleData.registered
    for entry in SampleData.registered:
        assert entry["category"] == "Breast CMSL" and Path(entry["thumbnailFileName"]).is_file()
        assert all(uri.startswith(f"{python.HOMEPAGE}/releases/") for uri in entry["uris"])
        assert all(checksum.startswith("SHA256:") and len(checksum) == 71 for checksum in entry["checksums"])
    listed = json.loads((MODULE.parent / "Resources" / "sample_data.json").read_text(encoding="utf-8"))
    assert listed["simulated"] is True


# Analysis


def test_while_it_runs_the_panel_shows_stage_and_time_left_and_can_be_cancelled(panel, exam):
    import slicer

    composite = panel.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    slicer.app.userSettings().setValue("BreastCMSL/SecondsOfLastAnalysis", 40)
    panel.start("pause", "Finding the breasts")
    assert "left" in panel.ui.statusLabel.text
    assert panel.ui.analyzeButton.text == "Cancel" and panel.ui.analyzeButton.enabled
    assert panel.ui.progressBar.value == 25 and panel.ui.progressBar.visible
    assert not panel.ui.inputsCollapsibleButton.enabled and not panel.ui.advancedCollapsibleButton.enabled
    panel.until(lambda: not panel.logic.running)
    assert panel.ui.analyzeButton.text == "Analyze" and panel.ui.analyzeButton.enabled
    assert "Done in" in panel.ui.statusLabel.text and "no usable NVIDIA GPU" in panel.ui.statusLabel.text
    assert composite.GetForegroundVolumeID() == panel.heatmap().GetID()
    assert composite.GetForegroundOpacity() == 0, "a map would hide the lesion"
    background = panel.scene.GetNodeByID(composite.GetBackgroundVolumeID())
    assert background.GetName() == "Subtraction"
    expected = slicer.util.arrayFromVolume(exam[2]).astype(int) - slicer.util.arrayFromVolume(exam[0])
    assert np.array_equal(slicer.util.arrayFromVolume(background), expected)
    assert panel.child()["mode"] & 0o077 == 0, "the temporary folder must be private"


def test_parent_transform_counts_and_results_follow_it(panel):
    import slicer
    import vtk

    oblique = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform = vtk.vtkTransform()
    transform.Translate(15, -7, 4)
    transform.RotateZ(20)
    oblique.SetMatrixTransformToParent(transform.GetMatrix())
    volumes = makeExam(transform=oblique)
    panel.settle()
    panel.analyze()
    (points,) = panel.results("vtkMRMLMarkupsFiducialNode")
    position = points.GetNthControlPointPositionWorld(0)
    assert np.allclose(position, transform.TransformPoint(peakRAS()), atol=1e-3)
    for node in panel.results("vtkMRMLScalarVolumeNode"):
        bounds, expected = [0.0] * 6, [0.0] * 6
        node.GetRASBounds(bounds)
        volumes[0].GetRASBounds(expected)
        assert np.allclose(bounds, expected, atol=1e-2), node.GetName()


def test_volumes_moved_while_running(panel):
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    makeExam(transform=transform)
    panel.settle()
    panel.start("pause", "Finding the breasts")
    shift(transform, 10.0)
    panel.until(lambda: not panel.logic.running)
    assert "were moved" in panel.ui.statusLabel.text and not panel.results("vtkMRMLScalarVolumeNode")


def test_again_replaces_the_earlier_results(panel, exam):
    panel.analyze()
    panel.analyze()
    first = len(panel.nodeIDs())
    panel.analyze()
    assert len(panel.nodeIDs()) == first and len(panel.results("vtkMRMLMarkupsFiducialNode")) == 1
    panel.analyze("benign")
    assert not panel.results("vtkMRMLSegmentationNode") and len(panel.results("vtkMRMLPlotSeriesNode")) == 1
    assert len(panel.nodeIDs()) == first - 3, "only the outline, its display and its curve are gone"
    assert "12 %" in panel.ui.resultLabel.text and "does not exclude cancer" in panel.ui.resultLabel.text
    assert not panel.ui.overlayCheckBox.checked


def test_results_deleted_by_hand_then_analyzed_again(panel, exam):
    kinds = (
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLMarkupsFiducialNode",
        "vtkMRMLTableNode",
        "vtkMRMLTextNode",
        "vtkMRMLPlotChartNode",
    )
    panel.analyze()
    count = [len(panel.results(kind)) for kind in kinds]
    panel.scene.RemoveNode(panel.heatmap())
    panel.settle()
    assert not panel.ui.overlayCollapsibleButton.enabled and not panel.ui.reportButton.enabled
    panel.analyze()
    assert [len(panel.results(kind)) for kind in kinds] == count and panel.ui.overlayCollapsibleButton.enabled
    for kind in kinds:
        for node in panel.results(kind):
            panel.scene.RemoveNode(node)
    panel.settle()
    assert not panel.ui.resultCollapsibleButton.visible
    panel.analyze()
    assert "93 %" in panel.ui.resultLabel.text


def test_two_exams_one_after_the_other(panel, exam):
    panel.analyze()
    first = panel.widget.results.result["exam_id"]
    others = makeExam(("second pre", "second post 1", "second post 2"))
    panel.tick(*others)
    panel.analyze("benign")
    second = panel.widget.results.result["exam_id"]
    assert first != second and len(panel.results("vtkMRMLMarkupsFiducialNode")) == 2
    assert panel.ui.resultComboBox.visible and panel.ui.resultComboBox.count == 2
    assert "12 %" in panel.ui.resultLabel.text
    composite = panel.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel.ui.resultComboBox.setCurrentIndex(0)
    panel.ui.resultComboBox.activated.emit(0)
    assert "93 %" in panel.ui.resultLabel.text
    assert composite.GetForegroundVolumeID() == panel.logic.results(first).heatmap.GetID()
    assert composite.GetBackgroundVolumeID() == panel.logic.results(first).subtraction.GetID()
    panel.click(panel.ui.removeButton)
    assert panel.logic.results(first) is None and panel.logic.results(second) is not None
    assert panel.heatmap() is panel.logic.results(second).heatmap, "what the overlay's controls act on"
    assert not panel.ui.resultComboBox.visible and "12 %" in panel.ui.resultLabel.text


def test_results_come_back_with_the_scene(panel, exam, tmp_path):
    from BreastCMSLLib.scene import bundle

    panel.analyze()
    bundle.save_scene(panel.scene, tmp_path / "Prüfung Ärztin.mrb")
    panel.scene.Clear()
    panel.settle()
    assert not panel.ui.resultCollapsibleButton.visible
    open_scene(tmp_path / "Prüfung Ärztin.mrb")
    panel.reopen()
    assert "93 %" in panel.ui.resultLabel.text and panel.ui.peaksTable.rowCount == 2
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"]


def test_the_overlay_of_a_scene_from_elsewhere_obeys_the_panel(panel, exam):
    """A scene that the command line wrote has results and no choices of the panel."""
    import slicer

    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel.analyze()
    heatmap = panel.heatmap()
    panel.logic.getParameterNode().heatmapVolume = None
    for each in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):  # other tests' views are there, too
        each.SetForegroundOpacity(0.5)
    heatmap.GetDisplayNode().SetThreshold(0.25, 1.0)
    panel.reopen()
    assert panel.heatmap() is heatmap
    assert composite.GetForegroundOpacity() == pytest.approx(0.5) == panel.ui.opacitySlider.value, "as it was"
    threshold = heatmap.GetDisplayNode().GetLowerThreshold()
    assert threshold == pytest.approx(0.25) == panel.ui.thresholdSlider.value
    panel.ui.opacitySlider.value = 0.1
    assert composite.GetForegroundOpacity() == pytest.approx(0.1)


def test_a_map_hidden_for_its_low_score_hides_no_later_legend(panel, exam):

    panel.analyze("benign")
    panel.logic.getParameterNode().heatmapVolume = None  # as in a scene from elsewhere
    panel.reopen()
    legend = legend_of(panel)
    assert not panel.ui.overlayCheckBox.checked and not legend.GetVisibility()
    panel.tick(*makeExam(("second pre", "second post 1", "second post 2")))
    panel.analyze()
    panel.click(panel.ui.overlayCheckBox)
    assert panel.ui.legendCheckBox.checked and legend_of(panel).GetVisibility()


def test_undo_of_a_second_analysis_leaves_the_overlay_to_the_panel(panel, exam):
    panel.scene.SetUndoOn()
    try:
        panel.analyze()
        panel.ui.thresholdSlider.value = 0.7
        panel.analyze("benign")
        panel.scene.Undo()
        panel.settle()
        assert "93 %" in panel.ui.resultLabel.text and panel.heatmap() is not None
        panel.ui.thresholdSlider.value = 0.3
        assert panel.heatmap().GetDisplayNode().GetLowerThreshold() == pytest.approx(0.3)
    finally:
        panel.scene.SetUndoOff()


def test_undo_takes_the_results_away_in_one_step(panel, exam):
    panel.scene.SetUndoOn()
    try:
        panel.analyze()
        assert panel.scene.GetNumberOfUndoLevels() == 1
        panel.scene.Undo()
        panel.settle()
        assert not panel.results("vtkMRMLScalarVolumeNode") and not panel.results("vtkMRMLTextNode")
    finally:
        panel.scene.SetUndoOff()
    panel.reopen()
    assert not panel.ui.resultCollapsibleButton.visible


def test_crash_is_one_sentence_and_diagnostics_hold_no_patient_data(panel, exam):
    import json

    import qt

    exam[0].SetName("DOE^JANE pre")
    before = panel.nodeIDs()
    assert panel.ui.advancedCollapsibleButton.collapsed
    panel.analyze("crash")
    assert not panel.ui.advancedCollapsibleButton.collapsed and panel.ui.diagnosticsButton.visible
    assert "stopped unexpectedly" in panel.ui.statusLabel.text and "\n" not in panel.ui.statusLabel.text
    assert panel.nodeIDs() == before and panel.ui.analyzeButton.enabled
    panel.click(panel.ui.diagnosticsButton)
    text = qt.QApplication.clipboard().text()
    trace = ["pipeline.py:7 analyze", "MemoryError"]
    assert json.loads(text)["last_failure"] == {"stage": "read", "exitCode": 9, "trace": trace}
    assert "DOE" not in text
    panel.analyze()  # and a failure does not spoil the next run
    panel.click(panel.ui.diagnosticsButton)
    text = qt.QApplication.clipboard().text()
    assert json.loads(text)["model"]["name"] == "test" and "DOE" not in text and "ras_mm" not in text


def test_gpu_trouble_is_repeated_on_the_cpu(panel, exam):
    panel.analyze("gpu")
    assert "93 %" in panel.ui.resultLabel.text, panel.ui.statusLabel.text
    assert "repeated on the CPU" in panel.ui.warningsLabel.text
    assert panel.child()["request"]["options"]["device"] == "cpu"
    panel.ui.deviceComboBox.setCurrentIndex(1)
    panel.analyze()
    assert panel.child()["request"]["options"]["device"] == "cpu"
    assert "repeated" not in panel.ui.warningsLabel.text


def test_program_that_cannot_start(panel, exam):
    panel.logic.childCommand = ["/nonexistent/PythonSlicer"]
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running)
    assert "could not be started" in panel.ui.statusLabel.text


# Cancel


STAGES = ["prepare", "start", "read", "model", "mask", "resample", "network", "map", "save"]


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_in_each_stage_leaves_no_process_and_no_nodes(panel, exam, stage):
    before = panel.nodeIDs()
    child = {}
    if stage == "prepare":
        panel.behave("silent")
        panel.ui.analyzeButton.click()
    elif stage == "start":
        panel.start("silent", "Starting the analysis")
    else:
        panel.start(f"slow-{stage}", f"Stage {stage}")
        child = panel.child()
        assert alive(child["pid"]) and alive(child["grandchild"])
    assert panel.logic.running and panel.ui.analyzeButton.enabled
    panel.ui.analyzeButton.click()
    assert "Cancelling" in panel.ui.statusLabel.text and not panel.ui.analyzeButton.enabled
    panel.until(lambda: not panel.logic.running)
    processes_gone(panel, child)
    assert panel.ui.statusLabel.text == "Cancelled; nothing was changed."
    assert panel.nodeIDs() == before
    assert panel.ui.analyzeButton.text == "Analyze" and panel.ui.analyzeButton.enabled


@pytest.mark.parametrize("says", ["Taking over the results", "Showing the results"])
def test_cancel_while_the_results_are_taken_over(panel, exam, monkeypatch, says):
    """The child has ended, the scene has not changed yet."""
    before = panel.nodeIDs()
    report = analysis.AnalysisRun._report

    def report_and_click(self, fraction, text):
        report(self, fraction, text)
        if text == says and panel.ui.analyzeButton.enabled:
            panel.ui.analyzeButton.click()

    monkeypatch.setattr(analysis.AnalysisRun, "_report", report_and_click)
    panel.analyze()
    assert panel.ui.statusLabel.text == "Cancelled; nothing was changed." and panel.nodeIDs() == before
    monkeypatch.undo()
    panel.analyze()
    assert "93 %" in panel.ui.resultLabel.text


def test_a_process_that_does_not_want_to_end_is_killed_within_a_second(panel, exam):
    panel.start("stubborn", "Stage mask")
    child = panel.child()
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    start = time.monotonic()
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running)
    seconds = time.monotonic() - start
    processes_gone(panel, child)
    assert seconds < max(1.0, load), f"{seconds:.2f} s at a load of {load:.1f}"


def test_closing_the_module_ends_a_running_analysis(panel, exam):
    panel.start("slow", "Stage mask")
    child = panel.child()
    panel.widget.cleanup()
    assert not panel.logic.running
    processes_gone(panel, child)


@pytest.mark.parametrize("removed", [1, 3])
def test_inputs_removed_while_running(panel, exam, removed):
    panel.start("pause", "Finding the breasts")
    for node in exam[-removed:]:
        panel.scene.RemoveNode(node)
    panel.until(lambda: not panel.logic.running)
    if removed == 1:
        assert panel.heatmap() is not None and "93 %" in panel.ui.resultLabel.text
    else:
        assert not panel.results("vtkMRMLScalarVolumeNode") and "were removed" in panel.ui.statusLabel.text


def test_results_arrive_while_another_module_is_open(panel, exam):
    panel.behave("pause")
    panel.click(panel.ui.analyzeButton)
    panel.widget.exit()
    panel.until(lambda: not panel.logic.running)
    panel.widget.enter()
    assert panel.heatmap() is not None and panel.ui.overlayCollapsibleButton.enabled
    assert "93 %" in panel.ui.resultLabel.text and panel.ui.analyzeButton.enabled


# Observers and size


def observers(node):
    """How many observers a node has."""
    newest = node.AddObserver("ModifiedEvent", lambda caller, event: None)
    node.RemoveObserver(newest)
    return sum(node.GetCommand(tag) is not None for tag in range(1, newest))


def test_no_observer_is_left_on_the_parameter_node(panel, exam):
    """Those that Slicer 5.10 leaves end it: they act on a panel that is gone, once the scene changes."""
    node = panel.scene.GetSingletonNode("BreastCMSL", "vtkMRMLScriptedModuleNode")
    panel.widget.exit()
    gc.collect()
    left = observers(node)
    panel.widget.enter()
    gc.collect()
    entered = observers(node)
    assert entered > left
    for _turn in range(3):
        panel.reopen()
    gc.collect()
    assert observers(node) == entered
    panel.analyze()
    panel.widget.cleanup()
    gc.collect()
    assert observers(node) == left


@pytest.fixture(params=[9, 12, 16])
def font_size(request):
    """The size of the letters in points."""
    import qt

    before = qt.QApplication.font()
    font = qt.QApplication.font()
    font.setPointSize(request.param)
    qt.QApplication.setFont(font)
    yield request.param
    qt.QApplication.setFont(before)


def test_the_tables_show_all_at_any_font_size(font_size, panel):
    makeExam()
    panel.settle()
    panel.setTime(1, "12345.5")
    panel.analyze()
    panel.settle()
    for table in (panel.ui.phaseTable, panel.ui.peaksTable):
        header = table.horizontalHeader()
        for column in (n for n in range(table.columnCount) if not table.isColumnHidden(n)):
            needed = max(header.sectionSizeHint(column), table.sizeHintForColumn(column))
            assert header.sectionSize(column) >= needed, (font_size, header.objectName, column)
        heights = [table.rowHeight(row) for row in range(table.rowCount)]
        assert all(height >= table.sizeHintForRow(row) for row, height in enumerate(heights))
        assert sum(heights) <= table.viewport().height, "all rows are in sight"


def test_the_table_says_why_a_volume_is_left_out(panel, exam):
    """Greyed; a volume that the user takes out, and the T1, have no reason."""
    import qt
    import slicer

    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.scene.volumes import add_volume

    add_volume(slicer.mrmlScene, Volume(np.zeros((6, 6, 6), np.int16), np.eye(4)), "dyn MIP")
    panel.settle()
    table = panel.ui.phaseTable
    texts = [table.item(row, 1).text() for row in range(table.rowCount)]
    (row,) = [row for row, text in enumerate(texts) if text.startswith("dyn MIP")]
    item = table.item(row, 1)
    assert item.text() == "dyn MIP: it is no dynamic phase by its name"
    assert item.foreground().color() == qt.QColor("gray") and "by its name" in item.toolTip()
    assert not any(": it" in text for text in texts[:row])


@pytest.mark.parametrize("name", ["<b>dyn</b> MIP", "<img src='x'> MIP"])
def test_a_tooltip_shows_a_name_with_markup_as_text(panel, exam, name):
    import slicer
    from BreastCMSLDesktop.common import plainTip
    from BreastCMSLDesktop.run_panel import RunPanel

    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.scene.volumes import add_volume

    add_volume(slicer.mrmlScene, Volume(np.zeros((6, 6, 6), np.int16), np.eye(4)), name)
    panel.settle()
    table = panel.ui.phaseTable
    tags = {"<qt>", "</qt>", "<br>"}
    tips = [table.item(row, 1).toolTip() for row in range(table.rowCount)]
    assert tips and all(tip.startswith("<qt>") and set(re.findall("<[^>]*>", tip)) <= tags for tip in tips)
    assert plainTip(f"{name}\nx") == f"<qt>{escape(name)}<br>x</qt>"
    RunPanel(panel.ui).setProblem(f"{name} is constant.")
    assert escape(name) in panel.ui.analyzeButton.toolTip


# Overlay


def legend_of(panel):
    """The colour legend's node of the map that is shown."""
    import slicer

    return slicer.modules.colors.logic().GetColorLegendDisplayNode(panel.heatmap())


def test_overlay_controls_change_the_display(panel, exam):
    import slicer

    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel.analyze()
    display = panel.heatmap().GetDisplayNode()
    legend = legend_of(panel)
    assert not legend.GetVisibility() and composite.GetForegroundOpacity() == 0.0, "the map waits for its key"
    panel.click(panel.ui.overlayCheckBox)
    assert display.GetLowerThreshold() == pytest.approx(0.4) and legend.GetVisibility()
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    panel.ui.thresholdSlider.value = 0.55
    panel.ui.opacitySlider.value = 0.3
    assert display.GetLowerThreshold() == pytest.approx(0.55) and display.GetApplyThreshold()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    color = [0.0] * 4
    for threshold, expected in ((0.55, 0.0), (0.2, 1.0)):
        panel.ui.thresholdSlider.value = threshold
        display.GetColorNode().GetColor(round(255 * 0.4), color)
        assert color[3] == expected, "a lower threshold shows more"
    panel.click(panel.ui.legendCheckBox)
    assert not legend.GetVisibility() and composite.GetForegroundOpacity() > 0
    panel.click(panel.ui.overlayCheckBox)
    assert not panel.ui.overlayCheckBox.checked and composite.GetForegroundOpacity() == 0.0


def test_another_map_can_be_chosen(panel, exam):
    import qt
    import slicer

    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel.analyze()
    box = panel.ui.mapComboBox
    assert [box.itemText(n) for n in range(box.count)] == ["Lesion map", "COAM × CAM", "COAM", "CAM"]
    assert "all candidates" in box.toolTip and "activation" in box.itemData(3, qt.Qt.ToolTipRole)
    assert legend_of(panel).GetTitleText() == "Lesion map"
    box.setCurrentIndex(3)
    panel.settle()
    cam = panel.scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert cam.GetName() == "CAM" and panel.heatmap() is cam and "activation" in box.toolTip
    panel.click(panel.ui.overlayCheckBox)
    panel.ui.opacitySlider.value = 0.2
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_maps_to_compare_with_are_made_when_they_are_asked_for(panel, exam):
    panel.analyze()
    usual = ["LESION", "COAMxCAM", "COAM", "CAM"]
    assert panel.child()["request"]["options"]["maps"] == usual
    panel.click(panel.ui.comparedMapsCheckBox)
    panel.analyze()
    assert panel.child()["request"]["options"]["maps"] == [*usual, "LayerCAM", "GradCAM", "NORM"]


def test_kinetic_maps_are_chosen_beside_the_saliency_maps(panel, exam):
    panel.analyze("kinetic")
    assert panel.child()["request"]["options"]["kinetics"] is True
    box = panel.ui.mapComboBox
    names = [box.itemText(n) for n in range(box.count)]
    assert names[4:] == ["Signal enhancement ratio", "MIP, axial"]
    assert "Time to peak is not there" in box.toolTip and panel.ui.thresholdSlider.enabled
    box.setCurrentIndex(4)
    panel.settle()
    ratio = panel.heatmap()
    assert ratio.GetName() == "Signal enhancement ratio" and "0.9" in box.toolTip
    display = ratio.GetDisplayNode()
    limits, colors = display.GetLowerThreshold(), display.GetColorNode().GetNumberOfColors()
    assert not panel.ui.thresholdSlider.enabled and limits < 0 and colors == 60
    panel.click(panel.ui.overlayCheckBox)
    panel.ui.opacitySlider.value = 0.9
    assert display.GetLowerThreshold() == limits and legend_of(panel).GetVisibility()
    assert "Maximum intensity projections" in report_page(panel)
    panel.click(panel.ui.kineticMapsCheckBox)
    panel.analyze("kinetic")
    assert panel.ui.mapComboBox.count == 4


def test_plot_shows_the_chart_in_a_plot_view(panel, exam):
    panel.analyze()
    panel.click(panel.ui.plotButton)
    (chart,) = panel.results("vtkMRMLPlotChartNode")
    assert panel.scene.GetFirstNodeByClass("vtkMRMLSelectionNode").GetActivePlotChartID() == chart.GetID()
    assert "washout" in chart.GetTitle() and "wash-in 120 %" in chart.GetTitle()
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    panel.ui.peaksTable.setCurrentCell(1, 0)
    assert chart.GetNumberOfPlotSeriesNodes() == 1, "the mean of the outline belongs to the first peak"
    assert panel.ui.curvePicture.pixmap.width() > 100


def test_outline_of_the_finding_and_of_the_chosen_peak(panel, exam):
    import slicer

    panel.analyze()
    (outline,) = panel.results("vtkMRMLSegmentationNode")
    shown = panel.outlinesShown
    assert shown() == [1] and "12 mm, 0.24 ml" in panel.ui.resultLabel.text
    table = panel.ui.peaksTable
    assert table.horizontalHeaderItem(5).text() == "Size" and table.item(0, 5).text() == "12 mm"
    image = slicer.vtkOrientedImageData()
    outline.GetBinaryLabelmapRepresentation("Peak_1", image)
    bounds = [0.0] * 6
    image.GetBounds(bounds)
    assert all(bounds[2 * a] < peakRAS()[a] < bounds[2 * a + 1] for a in range(3))
    assert panel.ui.outlineButton.checked
    panel.ui.peaksTable.setCurrentCell(1, 0)
    assert shown() == [2], "the outline follows the choice"
    panel.click(panel.ui.outlineButton)
    assert shown() == [] and "hidden" in panel.ui.statusLabel.text and not panel.ui.outlineButton.checked
    panel.ui.peaksTable.setCurrentCell(0, 0)
    assert shown() == [], "once hidden it stays hidden"
    panel.ui.peaksTable.setCurrentCell(1, 0)
    panel.click(panel.ui.outlineButton)
    assert shown() == [2] and "candidate 2: 6 mm, 0.24 ml" in panel.ui.statusLabel.text
    panel.reopen()
    assert panel.ui.outlineButton.checked and shown() == [2]
    panel.scene.RemoveNode(outline)
    panel.settle()
    panel.widget.results.refresh()
    assert not panel.ui.outlineButton.enabled


def marker_labels(panel):
    (points,) = panel.results("vtkMRMLMarkupsFiducialNode")
    return [points.GetNthControlPointLabel(n) for n in range(points.GetNumberOfControlPoints())]


def test_below_the_threshold_nothing_is_a_finding(panel, exam):
    panel.analyze("benign")
    text = panel.ui.resultLabel.text
    assert "Not suspicious" in text and "does not exclude cancer" in text and "#2e7d32" not in text
    assert not panel.results("vtkMRMLSegmentationNode") and not panel.ui.outlineButton.enabled
    assert "No finding" in panel.ui.outlineButton.toolTip
    labels = marker_labels(panel)
    assert len(labels) == 2 and all("not meaningful" in label for label in labels)
    assert not panel.results("vtkMRMLMarkupsFiducialNode")[0].GetDisplayNode().GetVisibility()
    page = report_page(panel)
    assert "<h2>Finding" not in page and "does not exclude cancer" in page
    assert page.count("data:image/png") == 0, "no map"


def test_results_with_and_without_a_candidate_classifier(panel, exam):
    def table():
        column = panel.ui.peaksTable.horizontalHeaderItem(1).text()
        return column, [panel.ui.peaksTable.item(row, 1).text() for row in (0, 1)]

    panel.analyze()
    assert table() == ("Probability", ["91 %", "34 %"]) and marker_labels(panel) == ["1: 91 %", "2: 34 %"]
    page = report_page(panel)
    assert "Lesion map" in page and "34 %" not in page, "one probability is enough"
    panel.analyze("no-classifier")
    assert table() == ("Map value", ["100 %", "60 %"])
    assert marker_labels(panel) == ["Suspicious 93 %", "2: 60 % of peak"]
    page = report_page(panel)
    assert "COAM × CAM" in page
    panel.analyze("calibrated")
    assert table() == ("Suspicion", ["high", "moderate"]) and marker_labels(panel) == [
        "1: high",
        "2: moderate",
    ]


def test_an_exam_the_model_was_not_made_for_says_so_beside_the_score(panel, exam):
    panel.analyze("odd")
    text = panel.ui.resultLabel.text
    assert (
        "No result: outside what the model was made for" in text and "The breasts fill only a tenth" in text
    )
    assert "Suspicious" not in text and "returned 0.93" in text
    assert panel.ui.peaksTable.horizontalHeaderItem(1).text() == "Map value"
    assert not panel.ui.outlineButton.enabled and "outside what" in panel.ui.outlineButton.toolTip
    assert "a tenth" not in panel.ui.warningsLabel.text, "said once"
    page = report_page(panel)
    assert page.count("The breasts fill only a tenth") == 1 and "Suspicious" not in page


def test_report_opens_in_the_browser(panel, exam, monkeypatch):
    import qt

    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    panel.analyze()
    panel.click(panel.ui.reportButton)
    assert "browser" in panel.ui.statusLabel.text
    assert Path(opened[0]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: False)
    panel.click(panel.ui.reportButton)
    assert "No browser" in panel.ui.statusLabel.text


def test_the_images_open_in_the_browser_where_that_was_asked_for(panel, exam, monkeypatch):
    import qt

    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    panel.analyze()
    assert not panel.ui.viewerButton.enabled and "under Advanced" in panel.ui.viewerButton.toolTip
    panel.click(panel.ui.browserViewerCheckBox)
    panel.analyze()
    panel.click(panel.ui.viewerButton)
    assert "browser" in panel.ui.statusLabel.text
    assert Path(opened[0]).read_text(encoding="utf-8") == "<!DOCTYPE html>"
    panel.click(panel.ui.browserViewerCheckBox)
    panel.analyze()
    assert not panel.ui.viewerButton.enabled and not Path(opened[0]).parent.exists(), "of the earlier results"


# The real thing


def small_exam(names=("dyn pre", "dyn post 1", "dyn post 2", "dyn post 3")):
    """Two breasts as half-spheres on a chest, 4.4 mm voxels; one bright washing-out spot in the left one."""
    import slicer

    rng = np.random.default_rng(3)
    shape = (40, 56, 84)  # k, j, i
    affine = np.array([[-4.4, 0, 0, 184.8], [0, -4.4, 0, 120.0], [0, 0, 4.4, -88.0], [0, 0, 0, 1]])
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    r, a, s = (affine[n, 0] * i + affine[n, 1] * j + affine[n, 2] * k + affine[n, 3] for n in range(3))
    breasts = sum(((r - c) ** 2 / 65**2 + (a - 10) ** 2 / 90**2 + s**2 / 70**2) < 1 for c in (-75, 75))
    breasts = (a > 0) & (breasts > 0)
    chest = (a <= 0) & ((r / 165) ** 2 + ((a + 60) / 70) ** 2 < 1)
    tissue = 180.0 * breasts + 140.0 * chest
    lesion = np.exp(-((r + 80) ** 2 + (a - 40) ** 2 + (s - 5) ** 2) / (2 * 8.0**2))
    nodes = []
    for name, gain in zip(names, (0.0, 250.0, 220.0, 200.0)):
        array = tissue + gain * lesion + 0.1 * gain * breasts + rng.normal(0, 4, shape)
        nodes.append(slicer.util.addVolumeFromArray(np.abs(array).astype(np.int16), affine, name))
    return nodes


@pytest.mark.slow
def test_real_analysis(panel):
    small_exam()
    panel.logic.childCommand = None
    panel.settle()
    for row, text in enumerate(("0", "80", "160", "240")):
        panel.setTime(row, text)
    assert "✓" in panel.checked()
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running, seconds=250)
    result = panel.widget.results.result
    assert result is not None, panel.ui.statusLabel.text
    assert verdict_line(result) in panel.ui.resultLabel.text
    assert all(peak["kinetics"]["times_s"] == [80.0, 160.0, 240.0] for peak in result["peaks"])
    assert panel.results("vtkMRMLScalarVolumeNode") and panel.results("vtkMRMLPlotChartNode")


@pytest.mark.slow
def test_real_analysis_from_a_read_only_install_with_long_non_ascii_paths(panel, tmp_path, monkeypatch):
    """The library lies where nobody may write, temporary files elsewhere; paths are long and not ASCII."""
    import shutil

    import slicer
    from BreastCMSLDesktop import child_process

    deep = ("Klinik für Radiologie – 放射線科 " * 3).strip() + "/" + "lang" * 12
    folder, temporary = tmp_path / "installation" / deep, tmp_path / "temporary" / deep
    folder.mkdir(parents=True)
    temporary.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "Screenshots")
    for name in ("BreastCMSLLib", "Resources"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    locked = [folder, *folder.rglob("*")]
    for path in locked:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(child_process, "libraryRoot", lambda: folder)
    monkeypatch.setattr(slicer.app, "temporaryPath", str(temporary))
    try:
        before = sorted(folder.rglob("*"))
        small_exam(("Voruntersuchung pre", "später 1", "später 2", "später 3 – 放射線"))
        panel.logic.childCommand = None
        panel.settle()
        panel.click(panel.ui.analyzeButton)
        panel.until(lambda: not panel.logic.running, seconds=250)
        assert panel.widget.results.result is not None, panel.ui.statusLabel.text
        assert sorted(folder.rglob("*")) == before, "nothing is written into the installation"
        assert not list(temporary.iterdir()), "temporary files are gone"
        panel.widget.results.writeReport()
        panel.widget.results.cleanup()
    finally:
        for path in locked:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert panel.widget.results.result["phases"][3]["name"] == "später 3 – 放射線"


def test_the_child_works_in_a_folder_of_its_own(panel, tmp_path):
    from BreastCMSLDesktop.child_process import ChildProcess

    lines, ended = [], []
    process = ChildProcess(onLine=lines.append, onFinished=lambda *end: ended.append(end))
    process.start([sys.executable, "-c", "import os; print(os.getcwd())"], tmp_path)
    panel.until(lambda: ended, seconds=60)
    assert lines == [str(tmp_path)]


def test_the_child_ends_when_slicer_is_killed(tmp_path):
    """A program starts an analysis as the module does, and is killed: the analysis must not live on."""
    log = tmp_path / "pid"
    child = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from BreastCMSLLib.core.parent_watch import end_with_parent
end_with_parent(int(sys.argv[1]))
open({str(log)!r}, "w").write(str(os.getpid()))
time.sleep(120)
"""
    parent = f"""
import os, subprocess, sys, time
# a launcher in between, as PythonSlicer is one
launcher = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
subprocess.Popen([sys.executable, "-c", launcher, {child!r}, str(os.getpid())], stdin=subprocess.PIPE)
time.sleep(120)
"""
    program = subprocess.Popen([sys.executable, "-c", parent])
    end = time.monotonic() + 60
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    pid = int(log.read_text())
    assert alive(pid)
    program.kill()
    program.wait()
    while alive(pid):
        assert time.monotonic() < end, "the analysis lives on"
        time.sleep(0.05)


def test_the_example_of_the_docs_runs(panel, exam, monkeypatch, capsys):
    """docs/scripting.md, as it stands, with the self-test's stand-in as the analysis."""
    import slicer

    page = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.S).group(1)
    monkeypatch.setattr(slicer.util, "getModuleLogic", lambda name: panel.logic)
    exec(compile(code, "docs/scripting.md", "exec"), {})
    said = capsys.readouterr().out
    assert "3 volumes: dyn pre … dyn 2nd pass" in said and "0.93" in said
    assert "Lesion map ['LESION', 'COAMxCAM', 'COAM', 'CAM']" in said
    assert "12.4 plateau 27" in said, "size, type of the mean curve, voxels of the outline"
    assert not panel.results("vtkMRMLScalarVolumeNode")


def test_undo_is_only_promised_where_it_is_on():
    """Slicer's scene starts with undo switched off."""
    pages = [*(ROOT / "docs").glob("m*.md"), ROOT / "README.md", MODULE.parent / "Resources/UI/BreastCMSL.ui"]
    pages += (MODULE.parent / "BreastCMSLDesktop").glob("*_panel.py")
    sentences = [s for page in pages for s in re.split(r"[.;<>|]\s", page.read_text(encoding="utf-8"))]
    promises = [" ".join(s.split()) for s in sentences if re.search(r"\bundo\b", s, re.IGNORECASE)]
    assert len(promises) >= 2
    assert not [promise for promise in promises if "undo is switched on" not in promise]


def test_pictures_named_in_the_docs_exist():
    for page in (ROOT / "docs").glob("*.md"):
        for address in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / address).is_file(), f"{page.name}: {address}"


def test_leftovers_of_a_killed_slicer_are_removed(panel, exam):
    import slicer

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    temporary = Path(str(slicer.app.temporaryPath))
    old, other = (temporary / f"{analysis.FOLDER_PREFIX}{pid}-abc" for pid in (ended.pid, os.getppid()))
    for folder in (old, other):
        folder.mkdir()
    try:
        panel.analyze()
        assert not old.exists() and other.exists(), "another Slicer that runs keeps its folder"
    finally:
        other.rmdir()
