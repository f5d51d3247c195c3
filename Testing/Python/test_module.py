"""The module's own source, on the stand-ins: real MRML scene, real Qt widgets (PySide6), real clicks, a real child process."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("slicer", reason="slicer-core is not installed")

ROOT = Path(__file__).resolve().parents[2]
STANDINS = ROOT / "Testing" / "standins"
MODULE = ROOT / "BreastCMSL" / "BreastCMSL.py"
for folder in (ROOT, STANDINS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import desktop  # noqa: E402
import qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402

# i decreases towards R, j towards A: the usual orientation of a scanner's axial series
AFFINE = np.array([[-2.0, 0, 0, 40], [0, -1.5, 0, 30], [0, 0, 3, -20], [0, 0, 0, 1]])
PEAK_IJK = (6, 9, 5)

# Stands in for "python -m BreastCMSLLib": speaks the same protocol, needs NumPy alone, and misbehaves on demand.
FAKE_CHILD = """
import json, os, pathlib, subprocess, sys, time
import numpy as np

mode, arguments = sys.argv[1], sys.argv[2:]
assert arguments[0] == "analyze" and "--no-scene" in arguments, arguments
option = lambda name: arguments[arguments.index(name) + 1]
assert option("--progress") == "json"
request = json.loads(pathlib.Path(option("--request")).read_text(encoding="utf-8"))
output = pathlib.Path(option("--output"))
log = pathlib.Path(__file__).with_suffix(".log")
log.write_text(json.dumps({"request": request, "folder": str(output.parent), "pid": os.getpid(), "mode": os.stat(output.parent).st_mode}))

def say(**event):
    print(json.dumps(event), flush=True)

say(event="progress", stage="read", fraction=0.1, text="Reading the exam")
if mode == "error":
    say(event="error", message="post 2 is constant (every voxel is 0); it holds no image: choose another volume.")
    sys.exit(2)
if mode == "crash":
    print("Traceback (most recent call last):\\nMemoryError: out of memory", file=sys.stderr)
    os._exit(9)
if mode in ("slow", "stubborn"):
    if mode == "stubborn":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    log.write_text(json.dumps({**json.loads(log.read_text()), "grandchild": grandchild.pid}))
    say(event="progress", stage="mask", fraction=0.25, text="Finding the breasts")
    time.sleep(60)
if mode == "pause":
    say(event="progress", stage="mask", fraction=0.25, text="Finding the breasts")
    time.sleep(1.0)

# one event in two pieces, and a line that is no event
event = {"event": "progress", "stage": "network", "fraction": 0.7, "text": "Läuft durch das Netz"}
line = json.dumps(event, ensure_ascii=False).encode() + b"\\n"
cut = line.index("ä".encode()) + 1
sys.stdout.buffer.write(b"some library greets\\n" + line[:cut]); sys.stdout.buffer.flush()
time.sleep(0.15)
sys.stdout.buffer.write(line[cut:]); sys.stdout.buffer.flush()

content = pathlib.Path(request["dynamics"][0]["file"]).read_bytes()
header = content[: content.index(b"\\n\\n")].decode()
fields = dict(row.split(": ", 1) for row in header.splitlines() if ": " in row)
assert fields["encoding"] == "raw", header
size = [int(n) for n in fields["sizes"].split()]
assert fields["space"] == "left-posterior-superior"
numbers = lambda text: np.array([float(v) for v in text.strip("() ").replace(") (", ",").split(",")])
directions, origin = numbers(fields["space directions"]).reshape(3, 3), numbers(fields["space origin"])
peak = np.array([6, 9, 5])
ras = (peak @ directions + origin) * (-1, -1, 1)
k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
heat = np.exp(-((i - peak[0]) ** 2 + (j - peak[1]) ** 2 + (k - peak[2]) ** 2) / 8.0).astype("<f4")
output.mkdir()
rows = [row for row in header.splitlines() if not row.startswith(("type:", "endian:"))] + ["type: float", "endian: little"]
(output / "heatmap.nrrd").write_bytes("\\n".join(rows).encode() + b"\\n\\n" + heat.tobytes())
malignant = mode != "benign"
affine = np.eye(4); affine[:3, :3] = directions.T; affine[:3, 3] = origin; affine[:2] *= -1
result = {
    "schema_version": 1, "kind": "breastcmsl.result", "research_use_only": True, "exam_id": "0123456789abcdef",
    "probability": 0.93 if malignant else 0.12, "logit": 2.6 if malignant else -2.0, "malignant": malignant, "threshold": 0.5,
    "map": "COAM", "map_meaningful": malignant, "map_threshold": 0.4,
    "peaks": [{"ras_mm": ras.tolist(), "value": 1.0, "side": "right"}, {"ras_mm": (ras + 20).tolist(), "value": 0.6, "side": "right"}],
    "phases": [{"name": d["name"], "role": "post" if n else "pre", "time_s": d["time_s"]} for n, d in enumerate(request["dynamics"])],
    "t1": request["t1"], "mask": {"source": "pre", "volume_ml": 812.5},
    "kinetics": {"times_s": None, "enhancement": [1.0, 1.8, 1.5], "unit": "a.u.", "wash_in": 1.2, "wash_out": -0.2, "type": "washout"},
    "device": "cpu", "precision": "float32",
    "model": {"name": "test", "sha256": "00" * 32, "training_data": "simulated exams", "evidence": {}},
    "timings_s": {"read": 1.0, "mask": 2.0, "network": 3.4},
    "warnings": ["No T1 was given; the breasts were found on the pre-contrast phase."],
    "versions": {"breastcmsl": "0.1.0"},
    "input": {"study_instance_uid": None, "series_instance_uids": [], "grid": {"size": size, "ijk_to_ras": affine.tolist()}},
}
(output / "result.json").write_text(json.dumps(result), encoding="utf-8")
say(event="done", result=str(output / "result.json"), heatmap=str(output / "heatmap.nrrd"))
"""


@pytest.fixture(scope="session")
def module():
    desktop.start()
    python, descriptor = desktop.load_module(MODULE)
    return python, descriptor


class Panel:
    """The module's widget with what a user does, and what must hold afterwards."""

    def __init__(self, descriptor, folder):
        import slicer

        self.scene = slicer.mrmlScene
        self.widget = descriptor.makeWidget()
        self.ui, self.logic = self.widget.ui, self.widget.logic
        self.script = folder / "child.py"
        self.script.write_text(textwrap.dedent(FAKE_CHILD), encoding="utf-8")
        self.behave("ok")
        self.widget.parent.resize(430, 760)
        self.widget.parent.show()

    def behave(self, mode):
        self.logic.childCommand = [sys.executable, str(self.script), mode]

    def child(self):
        return json.loads(self.script.with_suffix(".log").read_text())

    def tick(self, *nodes):
        ids = [node.GetID() for node in nodes]
        for index in range(self.ui.dynamicList.count):
            item = self.ui.dynamicList.item(index)
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in ids else qt.Qt.Unchecked)

    def click(self, button):
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        QTest.mouseClick(button, qt.Qt.LeftButton)

    def until(self, condition, seconds=15.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s in vain; the panel says: {self.ui.statusLabel.text}"
            QTest.qWait(10)

    def run(self, mode="ok"):
        self.behave(mode)
        self.click(self.ui.analyzeButton)
        self.until(lambda: not self.logic.running)

    def node_ids(self):
        nodes = self.scene.GetNodes()
        return {nodes.GetItemAsObject(i).GetID() for i in range(nodes.GetNumberOfItems())}

    def results(self, class_name):
        import slicer

        python = sys.modules["BreastCMSL"]
        return [node for node in slicer.util.getNodesByClass(class_name) if python.isResultNode(node)]


@pytest.fixture
def panel(module, tmp_path, monkeypatch):
    import slicer

    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda *exception: raised.append(exception))  # PySide6 reports failing slots here
    slicer.mrmlScene.Clear()
    temporary = Path(str(slicer.app.temporaryPath))
    before = set(temporary.iterdir())
    panel = Panel(module[1], tmp_path)
    yield panel
    panel.widget.cleanup()
    panel.widget.parent.close()
    panel.widget.parent.deleteLater()
    QTest.qWait(1)
    slicer.mrmlScene.Clear()
    assert not raised, raised
    assert set(temporary.iterdir()) == before, "a temporary folder was left behind"


def add_volume(name, seed=0, affine=AFFINE, shape=(12, 20, 16), transform=None):
    import slicer

    array = np.random.default_rng(seed).integers(0, 300, shape).astype(np.int16)
    node = slicer.util.addVolumeFromArray(array, affine, name)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


@pytest.fixture
def exam(panel):
    volumes = [add_volume(name, seed) for seed, name in enumerate(("dyn pre", "dyn 1st pass", "dyn 2nd pass"))]
    panel.tick(*volumes)
    return volumes


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def affine_of(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


# Loading


def test_loading_imports_nothing_heavy():
    code = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(STANDINS)!r}]
import desktop
desktop.start()
before, start = set(sys.modules), time.perf_counter()
python, descriptor = desktop.load_module({str(MODULE)!r})
descriptor.makeWidget()
seconds = time.perf_counter() - start
heavy = [n for n in ("torch", "SimpleITK", "pydicom", "skimage", "scipy", "matplotlib", "safetensors") if n in set(sys.modules) - before]
print(f"heavy={{heavy}} seconds={{seconds:.2f}}")
sys.exit(1 if heavy or seconds > 3 else 0)
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_module_describes_itself(module):
    _python, descriptor = module
    assert descriptor.title == "Breast CMSL"
    assert descriptor.categories and descriptor.contributors and "research use only" in descriptor.helpText
    image = qt.QImage(str(MODULE.parent / "Resources" / "Icons" / "BreastCMSL.png"))
    assert (image.width(), image.height()) == (128, 128)


def test_every_control_has_a_tooltip(panel):
    kinds = ("QPushButton", "QCheckBox", "QComboBox", "QListWidget", "QProgressBar", "ctkSliderWidget", "qMRMLNodeComboBox")
    ours = [w for w in vars(panel.ui).values() if type(w).__name__ in kinds and not w.name.startswith("qt_")]
    assert len(ours) >= 9
    assert not [w.name for w in ours if not w.toolTip]


def test_stand_ins_are_strict(panel):
    with pytest.raises(ValueError, match="no signal"):
        panel.ui.analyzeButton.connect("cliked(bool)", print)
    with pytest.raises(ValueError, match="but not"):
        panel.ui.opacitySlider.connect("valueChanged()", print)
    with pytest.raises(AttributeError):
        panel.ui.analyzeButton.tooltip = "typo"
    with pytest.raises(TypeError):
        panel.ui.statusLabel.text = None


def test_self_test_of_the_module(module, panel):
    module[0].BreastCMSLTest().runTest()


# Inputs


def test_analyze_waits_for_inputs_and_says_why(panel, tmp_path):
    assert not panel.ui.analyzeButton.enabled
    assert "Select the dynamic volumes" in panel.ui.analyzeButton.toolTip
    pre = add_volume("dyn pre")
    panel.tick(pre)
    assert "at least 2" in panel.ui.analyzeButton.toolTip
    small = add_volume("localizer", shape=(4, 5, 6))
    panel.tick(pre, small)
    assert not panel.ui.analyzeButton.enabled and "differ in size" in panel.ui.hintLabel.text
    post = add_volume("dyn 1st pass")
    panel.tick(pre, post)
    assert panel.ui.analyzeButton.enabled and not panel.ui.hintLabel.visible
    assert panel.ui.selectionLabel.text == "2 selected"
    panel.ui.t1Selector.setCurrentNode(post)
    assert not panel.ui.analyzeButton.enabled and "selected twice" in panel.ui.analyzeButton.toolTip
    panel.ui.t1Selector.setCurrentNode(None)
    panel.scene.RemoveNode(post)
    assert not panel.ui.analyzeButton.enabled
    QTest.qWait(1)
    assert panel.widget.parent.grab().save(str(tmp_path / "panel_inputs.png"))


def test_choices_live_in_the_parameter_node(panel, exam):
    import slicer

    node = slicer.mrmlScene.GetSingletonNode("BreastCMSL", "vtkMRMLScriptedModuleNode")
    panel.ui.kindComboBox.currentIndex = 2
    assert node.GetParameter("volumeKind") == "SUBTRACTIONS"
    panel.widget.exit()
    panel.ui.kindComboBox.currentIndex = 0
    assert node.GetParameter("volumeKind") == "SUBTRACTIONS", "a closed module must not write"
    panel.widget.enter()
    assert panel.ui.kindComboBox.currentIndex == 2
    assert panel.ui.selectionLabel.text == "3 selected"
    panel.logic.setDynamicVolumes(panel.logic.getParameterNode(), exam[:2])
    assert panel.ui.selectionLabel.text == "2 selected"


# Analysis


def test_click_analyzes_and_shows_results(panel, exam, tmp_path):
    import slicer

    seen = []
    show = panel.widget._showProgress
    panel.widget._showProgress = lambda fraction, text: (seen.append((fraction, text)), show(fraction, text))
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel.behave("pause")
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    assert panel.ui.analyzeButton.text == "Cancel" and panel.ui.analyzeButton.enabled
    assert panel.ui.progressBar.value == 25 and panel.ui.progressBar.visible
    assert not panel.ui.inputsCollapsibleButton.enabled
    assert panel.widget.parent.grab().save(str(tmp_path / "panel_running.png"))
    panel.until(lambda: not panel.logic.running)
    assert [text for _fraction, text in seen][-2:] == ["Finding the breasts", "Läuft durch das Netz"]
    assert panel.ui.analyzeButton.text == "Analyze" and panel.ui.analyzeButton.enabled

    text = panel.ui.resultLabel.text
    assert "93 %" in text and ">suspicious<" in text and "right breast" in text and "washout" in text
    assert panel.ui.researchLabel.visible and "research use only" in panel.ui.researchLabel.text
    (heatmap,) = panel.results("vtkMRMLScalarVolumeNode")
    assert np.allclose(affine_of(heatmap), AFFINE)
    array = slicer.util.arrayFromVolume(heatmap)
    assert np.unravel_index(array.argmax(), array.shape) == PEAK_IJK[::-1]
    (points,) = panel.results("vtkMRMLMarkupsFiducialNode")
    peak = (AFFINE @ [*PEAK_IJK, 1])[:3]
    assert np.allclose(points.GetNthControlPointPositionWorld(0), peak, atol=1e-3)
    assert panel.results("vtkMRMLTableNode")
    assert composite.GetBackgroundVolumeID() == exam[-1].GetID()
    assert composite.GetForegroundVolumeID() == heatmap.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    assert heatmap.GetName() not in [panel.ui.dynamicList.item(i).text() for i in range(panel.ui.dynamicList.count)]
    QTest.qWait(1)
    assert panel.widget.parent.grab().save(str(tmp_path / "panel_result.png"))

    child = panel.child()
    assert child["mode"] & 0o077 == 0, "the temporary folder must be private"
    assert [d["name"] for d in child["request"]["dynamics"]] == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"]
    assert child["request"]["kind"] == "phases" and child["request"]["t1"] is None


def test_parent_transform_is_applied(panel, exam):
    import slicer
    import vtk

    oblique = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform = vtk.vtkTransform()
    transform.Translate(15, -7, 4)
    transform.RotateZ(20)
    oblique.SetMatrixTransformToParent(transform.GetMatrix())
    for node in exam:
        node.SetAndObserveTransformNodeID(oblique.GetID())
    panel.run()
    (points,) = panel.results("vtkMRMLMarkupsFiducialNode")
    world = transform.TransformPoint((AFFINE @ [*PEAK_IJK, 1])[:3])
    assert np.allclose(points.GetNthControlPointPositionWorld(0), world, atol=1e-3)
    (heatmap,) = panel.results("vtkMRMLScalarVolumeNode")
    bounds, expected = [0.0] * 6, [0.0] * 6
    heatmap.GetRASBounds(bounds)
    exam[0].GetRASBounds(expected)
    assert np.allclose(bounds, expected, atol=1e-2)


def test_volumes_moved_while_running(panel, exam):
    import slicer
    import vtk

    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for node in exam:
        node.SetAndObserveTransformNodeID(shift.GetID())
    panel.behave("pause")
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 10.0)
    shift.SetMatrixTransformToParent(matrix)
    panel.until(lambda: not panel.logic.running)
    assert "were moved" in panel.ui.statusLabel.text and not panel.results("vtkMRMLScalarVolumeNode")


def test_again_replaces_the_earlier_results(panel, exam):
    panel.run()
    first = len(panel.node_ids())
    panel.run("benign")
    assert len(panel.node_ids()) == first
    assert len(panel.results("vtkMRMLScalarVolumeNode")) == 1
    assert "12 %" in panel.ui.resultLabel.text and "not meaningful" in panel.ui.resultLabel.text
    assert not panel.ui.overlayCheckBox.checked


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [("error", "post 2 is constant (every voxel is 0); it holds no image: choose another volume."), ("crash", "out of memory")],
)
def test_failure_is_one_sentence_and_the_scene_stays(panel, exam, mode, sentence, tmp_path):
    before = panel.node_ids()
    panel.run(mode)
    assert sentence in panel.ui.statusLabel.text and "\n" not in panel.ui.statusLabel.text
    assert panel.ui.analyzeButton.text == "Analyze" and panel.ui.analyzeButton.enabled
    assert panel.node_ids() == before
    assert not panel.ui.resultCollapsibleButton.visible
    QTest.qWait(1)
    assert panel.widget.parent.grab().save(str(tmp_path / f"panel_{mode}.png"))
    panel.run()  # and a failure does not spoil the next run
    assert "93 %" in panel.ui.resultLabel.text


def test_program_that_cannot_start(panel, exam):
    panel.logic.childCommand = ["/nonexistent/PythonSlicer"]
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running)
    assert "could not be started" in panel.ui.statusLabel.text


def test_unusable_volume_is_named(panel, exam):
    import slicer

    slicer.util.updateVolumeFromArray(exam[1], np.zeros((12, 20, 16), np.int16))
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running)
    assert "dyn 1st pass is constant" in panel.ui.statusLabel.text


@pytest.mark.parametrize("mode", ["slow", "stubborn"])
def test_cancel_leaves_no_process_and_no_nodes(panel, exam, mode):
    before = panel.node_ids()
    panel.behave(mode)
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    child = panel.child()
    assert alive(child["pid"]) and alive(child["grandchild"])
    panel.click(panel.ui.analyzeButton)
    assert "Cancelling" in panel.ui.statusLabel.text and not panel.ui.analyzeButton.enabled
    panel.until(lambda: not panel.logic.running)
    panel.until(lambda: not alive(child["pid"]) and not alive(child["grandchild"]), seconds=3)
    assert panel.ui.statusLabel.text == "Cancelled; nothing was changed."
    assert panel.node_ids() == before and not Path(child["folder"]).exists()
    assert panel.ui.analyzeButton.text == "Analyze" and panel.ui.analyzeButton.enabled


def test_scene_closed_while_running(panel, exam):
    panel.behave("slow")
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    child = panel.child()
    panel.scene.Clear()
    panel.until(lambda: not panel.logic.running)
    assert "scene was closed" in panel.ui.statusLabel.text
    panel.until(lambda: not alive(child["pid"]) and not alive(child["grandchild"]), seconds=3)
    assert not panel.results("vtkMRMLScalarVolumeNode")
    assert panel.ui.dynamicList.count == 0 and not panel.ui.analyzeButton.enabled


@pytest.mark.parametrize("removed", [1, 3])
def test_inputs_removed_while_running(panel, exam, removed):
    panel.behave("pause")
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    for node in exam[-removed:]:
        panel.scene.RemoveNode(node)
    panel.until(lambda: not panel.logic.running)
    found = panel.results("vtkMRMLScalarVolumeNode")
    if removed == 1:
        assert len(found) == 1 and "93 %" in panel.ui.resultLabel.text
    else:
        assert not found and "were removed" in panel.ui.statusLabel.text


def test_unloading_ends_a_running_analysis(panel, exam):
    panel.behave("slow")
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: "Finding the breasts" in panel.ui.statusLabel.text)
    child = panel.child()
    panel.widget.cleanup()
    assert not panel.logic.running and not alive(child["pid"])
    panel.until(lambda: not alive(child["grandchild"]), seconds=3)


def test_overlay_controls_change_the_display(panel, exam):
    import slicer

    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    assert not panel.ui.overlayCollapsibleButton.enabled
    panel.run()
    (heatmap,) = panel.results("vtkMRMLScalarVolumeNode")
    display = heatmap.GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.4) and panel.ui.overlayCollapsibleButton.enabled
    panel.ui.thresholdSlider.value = 0.55
    panel.ui.opacitySlider.value = 0.3
    assert display.GetLowerThreshold() == pytest.approx(0.55) and display.GetApplyThreshold()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    QTest.mouseClick(panel.ui.overlayCheckBox, qt.Qt.LeftButton, pos=qt.QPoint(8, panel.ui.overlayCheckBox.height // 2))
    assert not panel.ui.overlayCheckBox.checked
    assert composite.GetForegroundOpacity() == 0.0
    panel.scene.RemoveNode(heatmap)
    assert not panel.ui.overlayCollapsibleButton.enabled


def test_lowering_the_threshold_shows_more(panel, exam):
    panel.run()
    colors = panel.results("vtkMRMLScalarVolumeNode")[0].GetDisplayNode().GetColorNode()

    def alpha(value):
        color = [0.0] * 4
        colors.GetColor(round(255 * value), color)
        return color[3]

    assert (alpha(0.3), alpha(0.5)) == (0.0, 1.0)
    panel.ui.thresholdSlider.value = 0.2
    assert (alpha(0.1), alpha(0.3)) == (0.0, 1.0)


def test_results_arrive_while_another_module_is_open(panel, exam):
    panel.behave("pause")
    panel.click(panel.ui.analyzeButton)
    panel.widget.exit()
    panel.until(lambda: not panel.logic.running)
    panel.widget.enter()
    assert panel.results("vtkMRMLScalarVolumeNode") and panel.ui.overlayCollapsibleButton.enabled
    assert "93 %" in panel.ui.resultLabel.text and panel.ui.analyzeButton.enabled


def test_jump_moves_the_slices_to_the_peak(panel, exam):
    import slicer

    view = slicer.vtkMRMLSliceNode()
    view.SetSingletonTag("Test")
    view.SetLayoutName("Test")
    view.SetName("Test")
    slicer.mrmlScene.AddNode(view)
    panel.run()
    view.JumpSliceByOffsetting(0, 0, 0)
    panel.click(panel.ui.jumpButton)
    peak = (AFFINE @ [*PEAK_IJK, 1])[:3]
    assert view.GetSliceOffset() == pytest.approx(peak[2], abs=0.01)


def test_diagnostics_hold_no_patient_data(panel, exam):
    exam[0].SetName("DOE^JANE pre")
    panel.run()
    panel.click(panel.ui.diagnosticsButton)
    text = qt.QApplication.clipboard().text()
    assert json.loads(text)["model"]["name"] == "test"
    assert "DOE" not in text and "ras_mm" not in text


# Scripts


def test_logic_from_a_script(module, panel, exam):
    from BreastCMSLLib.errors import BreastCMSLError, InputError

    progress = []
    result = panel.logic.analyze(exam[::-1], kind="phases", progress=lambda fraction, text: progress.append(fraction))
    assert result["probability"] == 0.93 and progress == sorted(progress) and len(progress) == 2
    assert panel.results("vtkMRMLScalarVolumeNode")
    with pytest.raises(InputError, match="at least 2"):
        panel.logic.analyze(exam[:1])
    panel.behave("error")
    with pytest.raises(BreastCMSLError, match="post 2 is constant"):
        panel.logic.analyze(exam)


def test_t1_is_handed_over(panel, exam):
    t1 = add_volume("t1 nonfs", 9, affine=np.diag([1.0, 1.0, 2.0, 1.0]), shape=(9, 8, 7))
    panel.ui.t1Selector.setCurrentNode(t1)
    panel.run()
    assert panel.child()["request"]["t1"]["name"] == "t1 nonfs"


# Dependencies


def test_missing_packages_are_named_without_installing(module, panel, exam, monkeypatch):
    monkeypatch.setattr(module[0], "missingPackages", lambda: ["torch", "safetensors>=0.4"])
    monkeypatch.setattr(module[0], "installTorch", lambda: pytest.fail("must not install"))
    panel.logic.childCommand = None
    panel.click(panel.ui.analyzeButton)
    assert "torch, safetensors>=0.4" in panel.ui.statusLabel.text and not panel.logic.running


def test_installation_is_asked_once_and_may_be_refused(module, panel, monkeypatch):
    import slicer

    from BreastCMSLLib.errors import DependencyError

    python, installed, missing = module[0], [], ["torch", "scikit-image>=0.22"]
    monkeypatch.setattr(python, "missingPackages", lambda: list(missing))
    monkeypatch.setattr(python, "installTorch", lambda: (installed.append("torch"), missing.remove("torch")))
    monkeypatch.setattr(python, "installPackages", lambda names: (installed.extend(names), missing.clear()))
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: panel.widget.parent)
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))
    questions = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: questions.append(text) or len(questions) > 1)
    with pytest.raises(DependencyError, match="press Analyze again"):
        python.ensureDependencies()
    assert not installed
    python.ensureDependencies()
    assert installed == ["torch", "scikit-image>=0.22"] and len(questions) == 2


def test_requirements_are_importable_here(module):
    assert {"scipy", "safetensors"} <= {module[0].IMPORT_NAMES.get(r.split(">")[0], r.split(">")[0]) for r in module[0].requirements()}
    assert module[0].missingPackages() == []


# Reload


@pytest.fixture
def kept_library():
    """Other tests hold the library's classes: put the modules that a reload replaces back afterwards."""
    kept = {name: value for name, value in sys.modules.items() if name.split(".")[0] in ("BreastCMSLLib", "BreastCMSL")}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("BreastCMSLLib", "BreastCMSL")]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_reload_takes_the_library_along(kept_library, module, panel):
    import BreastCMSLLib.errors as before

    panel.widget.onReload()
    import BreastCMSLLib.errors as after

    assert after is not before and sys.modules["BreastCMSL"].InputError is after.InputError


# The real thing


def test_real_child_process(panel):
    pre, post = small_exam()
    panel.logic.childCommand = None
    panel.tick(pre, *post)
    panel.click(panel.ui.analyzeButton)
    panel.until(lambda: not panel.logic.running, seconds=120)
    assert "suspicious" in panel.ui.resultLabel.text, panel.ui.statusLabel.text
    assert panel.results("vtkMRMLScalarVolumeNode") and panel.results("vtkMRMLMarkupsFiducialNode")


def small_exam():
    """Two breasts as half-spheres on a chest, 4.4 mm voxels; one bright washing-out spot in the left breast."""
    import slicer

    rng = np.random.default_rng(3)
    shape = (40, 56, 84)  # k, j, i
    affine = np.array([[-4.4, 0, 0, 184.8], [0, -4.4, 0, 120.0], [0, 0, 4.4, -88.0], [0, 0, 0, 1]])
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    r, a, s = (affine[n, 0] * i + affine[n, 1] * j + affine[n, 2] * k + affine[n, 3] for n in range(3))
    breasts = sum(((r - c) ** 2 / 65**2 + (a - 10) ** 2 / 90**2 + s**2 / 70**2) < 1 for c in (-75, 75)) * (a > 0)
    chest = (a <= 0) & ((r / 165) ** 2 + ((a + 60) / 70) ** 2 < 1)
    tissue = 180.0 * (breasts > 0) + 140.0 * chest
    lesion = np.exp(-((r + 80) ** 2 + (a - 40) ** 2 + (s - 5) ** 2) / (2 * 8.0**2))
    nodes = []
    for n, gain in enumerate((0.0, 250.0, 220.0, 200.0)):
        array = tissue + gain * lesion + 0.1 * gain * (breasts > 0) + rng.normal(0, 4, shape)
        name = "dyn pre" if n == 0 else f"dyn post {n}"
        nodes.append(slicer.util.addVolumeFromArray(np.abs(array).astype(np.int16), affine, name))
    return nodes[0], nodes[1:]
