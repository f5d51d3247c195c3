"""Parts of the Slicer module on their own: packages, models, time left, phases, reload, the input check."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from module_case import AFFINE, ROOT, dependencies, makeExam, makeSequence, makeVolume, shift

from BreastCMSLLib.core.errors import DependencyError

# Packages


def test_missing_packages_are_named_without_installing(panel, exam, monkeypatch):
    monkeypatch.setattr(dependencies, "missingPackages", lambda: ["torch", "safetensors>=0.4"])
    monkeypatch.setattr(dependencies, "installTorch", lambda: pytest.fail("must not install"))
    panel.logic.childCommand = None
    panel.click(panel.ui.analyzeButton)
    assert "torch, safetensors>=0.4" in panel.ui.statusLabel.text and not panel.logic.running
    assert panel.ui.analyzeButton.enabled


@pytest.fixture
def user(panel, monkeypatch):
    """Somebody sits before Slicer's window and can be asked."""
    import slicer

    monkeypatch.setattr(slicer.util, "mainWindow", lambda: panel.module.parent)
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: False))


def test_installation_is_asked_once_and_may_be_refused(user, monkeypatch):
    import slicer

    installed, questions, missing = [], [], ["torch", "scikit-image>=0.22"]
    monkeypatch.setattr(dependencies, "missingPackages", lambda: list(missing))

    def install(names):
        installed.extend(names)
        missing[:] = [name for name in missing if name not in names]

    def ask(text, **_options):
        questions.append(text)
        return len(questions) > 1

    monkeypatch.setattr(dependencies, "installTorch", lambda: install(["torch"]))
    monkeypatch.setattr(dependencies, "installPackages", install)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
    with pytest.raises(DependencyError, match="press Analyze again"):
        dependencies.ensureDependencies()
    assert not installed and "Without internet" in questions[0]
    dependencies.ensureDependencies()
    assert installed == ["torch", "scikit-image>=0.22"] and len(questions) == 2


def test_a_failed_download_names_proxy_and_folder(user, monkeypatch):
    import slicer

    def fail():
        raise RuntimeError("HTTPSConnectionPool: 407 Proxy Authentication Required\nand more")

    monkeypatch.setattr(dependencies, "missingPackages", lambda: ["torch"])
    monkeypatch.setattr(dependencies, "installTorch", fail)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: True)
    with pytest.raises(DependencyError, match="407 Proxy.*HTTPS_PROXY.*Install from folder") as raised:
        dependencies.ensureDependencies()
    assert "\n" not in str(raised.value)


def test_torch_comes_through_the_pytorch_extension(monkeypatch):
    asked = []
    logic = SimpleNamespace(installTorch=lambda askConfirmation: asked.append(askConfirmation) or "torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    dependencies.installTorch()
    assert asked == [False] and "PIP_CONSTRAINT" not in os.environ
    logic.installTorch = lambda askConfirmation: None
    with pytest.raises(DependencyError, match="PyTorch extension"):
        dependencies.installTorch()
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)  # not installed
    monkeypatch.setattr(dependencies, "installPackages", asked.append)
    dependencies.installTorch()
    assert asked[-1] == ["torch"]


def test_packages_from_a_folder_use_no_network(panel, monkeypatch, tmp_path):
    import slicer

    missing, commands = ["torch", "safetensors>=0.4"], []
    monkeypatch.setattr(dependencies, "missingPackages", lambda: list(missing))

    def install(arguments):
        commands.append(arguments)
        missing.clear()

    monkeypatch.setattr(slicer.util, "pip_install", install)
    monkeypatch.setattr(dependencies, "chooseFolder", lambda parent: None)
    panel.click(panel.ui.installButton)
    assert not commands
    monkeypatch.setattr(dependencies, "chooseFolder", lambda parent: str(tmp_path))
    panel.click(panel.ui.installButton)
    assert "holds no .whl files" in panel.ui.statusLabel.text and "pip download" in panel.ui.statusLabel.text
    (tmp_path / "torch-2.whl").touch()
    panel.click(panel.ui.installButton)
    ((*options, constraint, _file, torch, safetensors),) = commands
    assert options == ["--no-index", "--find-links", str(tmp_path)] and constraint == "-c"
    assert (torch, safetensors) == ("torch", "safetensors>=0.4")
    assert "Installed: torch, safetensors>=0.4" in panel.ui.statusLabel.text


def wheel(folder, name, version, needs=""):
    """A package with one module, as pip installs it."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{module}.py", "ANSWER = 42\n")
        needs = f"Requires-Dist: {needs}\n" if needs else ""
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", "")


def replace_pip(monkeypatch, run):
    """Call run(module, arguments) where this version of Slicer would start pip."""
    import slicer

    new = hasattr(slicer.util, "executePythonModule")  # from 5.12
    monkeypatch.setattr(slicer.util, "executePythonModule" if new else "_executePythonModule", run)


class Pip:
    """The real pip with further options, in place of what Slicer starts; ``output`` of the last one."""

    def __init__(self, monkeypatch, *options):
        self._options, self.output = options, ""
        replace_pip(monkeypatch, self.run)

    def run(self, module, arguments, *_, **__):
        command = [sys.executable, "-m", module, *arguments, *self._options]
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PATH": ""}
        environment.update((name, value) for name, value in os.environ.items() if name == "PIP_CONSTRAINT")
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        self.output = done.stdout + done.stderr
        done.check_returncode()


def test_a_package_from_a_folder_is_really_installed_by_pip_without_network(panel, monkeypatch, tmp_path):
    """Slicer's own pip_install and the real pip, into a folder of the test, from a wheel made here."""
    wheels, target = tmp_path / "Räder und Pakete", tmp_path / "site"
    wheels.mkdir()
    wheel(wheels, "breastcmsl-offline-probe", "1.0")
    Pip(monkeypatch, "--target", str(target), "--no-warn-script-location")
    monkeypatch.setattr(dependencies, "requirements", lambda: ["breastcmsl-offline-probe>=1.0"])
    monkeypatch.setattr(dependencies, "chooseFolder", lambda parent: str(wheels))
    monkeypatch.syspath_prepend(str(target))
    panel.click(panel.ui.installButton)
    assert "Installed: breastcmsl-offline-probe" in panel.ui.statusLabel.text, panel.ui.statusLabel.text
    assert importlib.import_module("breastcmsl_offline_probe").ANSWER == 42
    panel.click(panel.ui.installButton)
    assert "Everything the analysis needs is installed" in panel.ui.statusLabel.text


def use_interface(monkeypatch, version):
    """Let Slicer install packages as this version of it does."""
    import slicer

    run = getattr(slicer.util, "executePythonModule", None) or slicer.util._executePythonModule
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        packaging = importlib.import_module("slicer_packaging")
    if version == "5.10":
        packaging, install = None, lambda requirements: run("pip", ["install", *requirements])
    else:
        install = packaging.pip_install
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer.util, "pip_install", install)


PROBE = "breastcmsl-probe"


@pytest.mark.parametrize("version", ["5.10", "5.12"])
@pytest.mark.parametrize("way", ["packages", "the PyTorch extension", "a folder"])
def test_no_package_replaces_what_slicer_ships(user, monkeypatch, tmp_path, version, way):
    """The real pip, asked for a package that wants an older numpy, would install both, were it not told."""
    import slicer

    wheels, temporary = tmp_path / "wheels", tmp_path / "Jörg Doe"
    for folder in (wheels, temporary):
        folder.mkdir()
    wheel(wheels, PROBE, "1.0", needs="numpy<1")
    wheel(wheels, "numpy", "0.9")
    pip = Pip(monkeypatch, "--dry-run", "--no-index", "--find-links", str(wheels))
    own = tmp_path / "own.txt"  # the user's constraints
    own.touch()
    monkeypatch.setenv("PIP_CONSTRAINT", str(own))
    pip.run("pip", ["install", PROBE])
    assert f"Would install {PROBE}-1.0 numpy-0.9" in pip.output
    use_interface(monkeypatch, version)
    extension = SimpleNamespace(installTorch=lambda askConfirmation: slicer.util.pip_install([PROBE]))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: extension))
    monkeypatch.setattr(dependencies, "missingPackages", lambda: [PROBE])
    monkeypatch.setattr(slicer.app, "temporaryPath", str(temporary))
    install = {
        "packages": lambda: dependencies.installPackages([PROBE]),
        "the PyTorch extension": dependencies.installTorch,
        "a folder": lambda: dependencies.installFromFolder(wheels),
    }
    with pytest.raises((subprocess.CalledProcessError, DependencyError)):
        install[way]()
    assert "Would install" not in pip.output and "numpy<1" in pip.output, pip.output
    assert not list(temporary.iterdir()) and os.environ["PIP_CONSTRAINT"] == str(own)


@pytest.mark.parametrize("version", ["5.10", "5.12"])
def test_the_constraints_are_the_versions_that_are_installed(user, monkeypatch, version):
    seen = []

    def run(module, arguments, *_, **__):
        file = arguments[arguments.index("-c") + 1]
        seen.append((arguments[: arguments.index("-c")], Path(file).read_text(encoding="utf-8").split()))

    replace_pip(monkeypatch, run)
    use_interface(monkeypatch, version)
    dependencies.installPackages([PROBE, "scipy>=1000"])
    ((command, pins),) = seen
    assert command == ["install", PROBE, "scipy>=1000"]
    for name in ("numpy", "SimpleITK", "pydicom"):
        assert f"{name}=={metadata.version(name)}" in pins
    assert all("==" in pin for pin in pins)


def test_a_report_of_a_saved_scene_installs_only_what_it_needs(user, panel, exam, monkeypatch):
    import qt
    import slicer

    panel.analyze()
    opened, installed, missing = [], [], ["torch", "safetensors>=0.4", "jinja2>=3.1"]

    def install(names):
        installed.extend(names)
        missing.remove("jinja2>=3.1")

    monkeypatch.setattr(dependencies, "missingPackages", lambda: list(missing))
    monkeypatch.setattr(dependencies, "installPackages", install)
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    answers = [False, True]
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: answers.pop(0))
    panel.logic.childCommand = None
    panel.click(panel.ui.reportButton)
    assert panel.ui.statusLabel.text == "Not installed: jinja2>=3.1; press Report again to install them."
    assert not opened
    panel.click(panel.ui.reportButton)
    assert installed == ["jinja2>=3.1"] and len(opened) == 1


def test_requirements_are_importable_here():
    needed = {dependencies.importName(line) for line in dependencies.requirements()}
    assert {"scipy", "safetensors", "jinja2"} <= needed
    assert dependencies.importName("scikit-image[data] >= 0.22; python_version > '3'") == "scikit_image"
    assert dependencies.missingPackages() == []


# Models


@pytest.fixture
def own_model(tmp_path):
    """A copy of the shipped bundle under another name, with a card of its own."""
    folder = tmp_path / "Modèle"
    folder.mkdir()
    card = json.loads((ROOT / "Resources" / "Models" / "breastcmsl.json").read_text(encoding="utf-8"))
    weights = ROOT / "Resources" / "Models" / card["weights"]["file"]
    (folder / weights.name).write_bytes(weights.read_bytes())
    card |= {"name": "own", "evidence": {"classification": {"auc": 0.91, "auc_95": [0.85, 0.96], "n": 80}}}
    path = folder / "own.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


def test_models_are_listed_with_evidence_and_checksum(panel):
    import qt

    box = panel.ui.modelComboBox
    assert box.count >= 1 and "breastcmsl" in box.itemText(0)
    tip = box.itemData(0, qt.Qt.ToolTipRole)
    assert "AUC" in tip and "SHA-256" in tip and "SHA-256" in panel.ui.modelLabel.text


def test_a_model_from_a_file_is_verified_remembered_and_used(panel, exam, own_model, monkeypatch):
    from BreastCMSLDesktop import models_panel

    monkeypatch.setattr(models_panel, "chooseModelFile", lambda parent: str(own_model))
    panel.click(panel.ui.loadModelButton)
    assert "own" in panel.ui.modelComboBox.currentText
    assert "AUC 0.91 (95 % interval 0.85–0.96) on 80 exams" in panel.ui.modelLabel.text
    panel.analyze()
    assert panel.child()["request"]["options"]["model"] == str(own_model)
    panel.ui.modelComboBox.setCurrentIndex(0)
    panel.analyze()
    assert panel.child()["request"]["options"]["model"] is None
    assert str(own_model) in models_panel.userFiles()
    own_model.unlink()
    assert [card.name for card in models_panel.cards()] == ["breastcmsl"], "one that is gone is not offered"


@pytest.mark.parametrize(
    ("damage", "says"),
    [("card", "not a readable model card"), ("weights", "SHA-256 differs"), ("absent", "was not found")],
)
def test_a_damaged_model_is_refused_with_one_sentence(panel, own_model, damage, says):
    if damage == "card":
        own_model.write_text("{", encoding="utf-8")
    elif damage == "weights":
        weights = next(own_model.parent.glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    else:
        own_model.unlink()
    panel.widget.models.load(str(own_model))
    assert says in panel.ui.statusLabel.text and "breastcmsl" in panel.ui.modelComboBox.currentText


def test_cards_of_other_versions_are_read_as_far_as_they_can_be():
    from BreastCMSLLib.results.wording import evidence_lines, evidence_short

    old = {
        "classification": {"auc": 0.79},
        "localisation": {"COAM.called_malignant": {"hit10": 0.4}, "COAM.all_malignant": {"hit10": 1}},
    }
    assert evidence_lines(old) == ["AUC 0.79", "COAM: 40 % within 10 mm"]
    for odd in (
        None,
        [],
        {"classification": 5},
        {"classification": {"auc": "high"}},
        {"localisation": {"CAM": 3}},
        {"auc": True},
    ):
        assert evidence_lines(odd) == [] and "no evidence" in evidence_short(odd)


# Time left


def test_time_left_counts_down_and_learns_from_the_last_analysis():
    from BreastCMSLDesktop.progress import TimeLeft, durationText

    now = [100.0]
    first = TimeLeft(clock=lambda: now[0])
    assert first.update(0.05) is None
    now[0] += 10
    assert first.update(0.5) == pytest.approx(10)
    now[0] += 4
    assert first.seconds() == pytest.approx(6) and first.elapsed == pytest.approx(14)
    now[0] += 60
    assert first.seconds() == 0
    again = TimeLeft(40, clock=lambda: now[0])
    assert again.update(0.0) == pytest.approx(40)
    now[0] += 10
    assert again.update(0.25) == pytest.approx(30)
    assert [durationText(s) for s in (0.2, 8.4, 23, 200)] == ["1 s", "8 s", "25 s", "3 min"]


# Phase table


def test_roles_move_rows():
    from BreastCMSLDesktop.inputs import PhaseRow
    from BreastCMSLDesktop.phase_table import POST, PRE, T1, UNUSED, roleOf, withRole

    a, b, c = (PhaseRow(object(), None, name, None, True) for name in "abc")

    def names(rows):
        return [row.name for row in rows if row.use]

    assert names(withRole([a, b, c], 2, PRE)) == ["c", "a", "b"]
    assert names(withRole([a, b, c], 0, POST)) == ["b", "a", "c"]
    assert names(withRole([a, b, c], 1, UNUSED)) == ["a", "c"] == names(withRole([a, b, c], 1, T1))
    off = replace(b, use=False)
    assert names(withRole([a, off, c], 1, POST)) == ["a", "b", "c"]
    assert roleOf(a, 1, "phases", None) == PRE and roleOf(off, 0, "phases", off.node) == T1


def test_t1_can_be_chosen_in_the_table_and_given_back(panel):
    makeExam()
    t1 = makeVolume("weighted", 8)  # on the same grid: suggested as a phase, because its name does not say T1
    panel.settle()
    row = panel.names(used=False).index("weighted")
    panel.setRole(row, "t1")
    assert panel.widget.inputs.t1 is t1 and panel.ui.t1Selector.currentNode() is t1
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"]
    panel.setRole(panel.names(used=False).index("weighted"), "post")
    assert panel.widget.inputs.t1 is None and "weighted" in panel.names()
    panel.ui.t1Selector.setCurrentNode(t1)
    assert not panel.ui.analyzeButton.enabled and "selected twice" in panel.ui.analyzeButton.toolTip


def test_each_exam_gets_its_own_t1_unless_one_was_chosen(panel):
    import numpy as np
    import slicer

    away = np.array(AFFINE, dtype=float)
    away[2, 3] += 400
    first = makeVolume("a t1 nonfs", 8)
    makeExam(("a pre", "a 1st pass", "a 2nd pass"))
    makeExam(("b pre", "b 1st pass"), affine=away)
    panel.settle()
    choose = panel.widget.inputs._onSource
    assert panel.widget.inputs.t1 is first
    choose(1)
    assert panel.names() == ["b pre", "b 1st pass"]
    assert panel.widget.inputs.t1 is None, "another exam's T1 would outline these breasts"
    own = makeVolume("b t1 nonfs", 9, affine=away)
    choose(1)
    assert panel.widget.inputs.t1 is own
    panel.reopen()
    choose(0)
    assert panel.widget.inputs.t1 is first, "the panel remembers that it chose the other by itself"
    second = makeVolume("a t1 nonfs sagittal", 12)
    panel.settle()
    assert panel.widget.inputs.t1 is first
    slicer.mrmlScene.RemoveNode(second)
    chosen = makeVolume("weighted", 10)
    panel.ui.t1Selector.setCurrentNode(chosen)
    choose(1)
    assert panel.widget.inputs.t1 is chosen


def test_choosing_subtraction_changes_all(panel, exam):
    panel.setRole(1, "subtraction")
    assert set(panel.roles()) == {"subtraction"} and panel.ui.kindComboBox.currentIndex == 2
    panel.analyze()
    assert panel.child()["request"]["kind"] == "subtractions"
    panel.setRole(0, "pre")
    assert panel.roles() == ["pre", "post", "post"]


def test_analyze_waits_for_inputs_and_says_why(panel):
    assert not panel.ui.analyzeButton.enabled
    assert "Select the dynamic volumes" in panel.ui.analyzeButton.toolTip
    pre = makeVolume("dyn pre")
    panel.tick(pre)
    assert "at least 2" in panel.ui.analyzeButton.toolTip
    small = makeVolume("dyn other", shape=(4, 5, 6))
    panel.tick(pre, small)
    assert not panel.ui.analyzeButton.enabled and "differ in size" in panel.ui.analyzeButton.toolTip
    post = makeVolume("dyn 1st pass", 1)
    panel.tick(pre, post)
    assert panel.ui.analyzeButton.enabled and panel.ui.selectionLabel.text == "2 selected"
    panel.scene.RemoveNode(post)
    panel.settle()
    assert not panel.ui.analyzeButton.enabled


def test_choices_live_in_the_scene(panel, exam):
    node = panel.scene.GetSingletonNode("BreastCMSL", "vtkMRMLScriptedModuleNode")
    panel.ui.kindComboBox.currentIndex = 2
    assert node.GetParameter("volumeKind") == "SUBTRACTIONS"
    panel.widget.exit()
    panel.ui.kindComboBox.currentIndex = 0
    assert node.GetParameter("volumeKind") == "SUBTRACTIONS", "a closed module must not write"
    panel.widget.enter()
    assert panel.ui.kindComboBox.currentIndex == 2 and panel.ui.selectionLabel.text == "3 selected"


def test_another_source_can_be_chosen(panel):
    makeExam()
    makeExam(("sub 1", "sub 2"), shape=(8, 9, 10))
    browser = makeSequence()
    panel.settle()
    box = panel.ui.sourceComboBox
    titles = [box.itemText(n) for n in range(box.count)]
    assert titles[0] == "Dynamic (sequence of 4)" and titles[-1].startswith("Single volumes")
    box.activated.emit(titles.index("3 volumes: dyn pre … dyn 2nd pass"))
    panel.settle()
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"] and "3 volumes" in box.currentText
    panel.scene.RemoveNode(browser)
    panel.settle()
    assert panel.names() == ["dyn pre", "dyn 1st pass", "dyn 2nd pass"], "what the user chose stays"


def test_times_of_day_become_seconds(panel, monkeypatch):
    import slicer

    volumes = makeExam()

    class Database:
        isOpen = True

        def instanceValue(self, uid, tag):
            return {"0008,0032": {"1.0": "235930", "1.1": "000100.5", "1.2": "000230.5"}[uid]}.get(tag, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    for number, volume in enumerate(volumes):
        volume.SetAttribute("DICOM.instanceUIDs", f"1.{number}")
    panel.widget.inputs.refresh()
    assert [row.timeS for row in panel.widget.inputs.rows] == [0.0, 90.5, 180.5]
    panel.setTime(1, "75")
    assert [row.timeS for row in panel.widget.inputs.rows] == [0.0, 75.0, 180.5]
    panel.click(panel.ui.sortButton)
    assert [row.timeS for row in panel.widget.inputs.rows] == [0.0, 90.5, 180.5]


def test_no_main_window_no_dialogue(panel, exam, monkeypatch):
    import slicer

    assert slicer.util.mainWindow() is None
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text: pytest.fail("a dialogue without a window"))
    panel.analyze("error")
    assert "post 2 is constant" in panel.ui.statusLabel.text
    shown = []
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: panel.module.parent)
    monkeypatch.setattr(slicer.util, "errorDisplay", shown.append)
    panel.analyze("error")
    assert len(shown) == 1 and "post 2 is constant" in shown[0]


# Reload


OURS = ("BreastCMSLLib", "BreastCMSL", "BreastCMSLDesktop")


@pytest.fixture
def kept_library():
    """Other tests hold the library's classes: put the modules that a reload replaces back afterwards."""
    kept = {name: value for name, value in sys.modules.items() if name.split(".")[0] in OURS}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_reload_takes_the_library_along(panel, kept_library):
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in OURS}
    assert len(before) > 40, "sub-packages among them"
    panel.module.onReload()
    kept = [name for name, module in before.items() if sys.modules.get(name) is module]
    assert kept == ["BreastCMSLLib.scene.embedded"], "slicer-core cannot be started twice"
    errors = sys.modules["BreastCMSLLib.core.errors"]
    assert sys.modules["BreastCMSLDesktop.logic"].InputError is errors.InputError
    assert sys.modules["BreastCMSL"].BreastCMSLLogic is sys.modules["BreastCMSLDesktop.logic"].BreastCMSLLogic


def test_import_time_can_be_measured():
    spec = importlib.util.spec_from_file_location("measure_import", ROOT / "scripts" / "measure_import.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert Path(script.MODULE).is_file() and script.LIMIT_MS == 50


# Multivolumes


def test_a_multivolume_is_an_exam(panel, monkeypatch):
    """slicer-core has no multivolume node: a volume with one component for each frame stands in."""
    import numpy as np
    import slicer

    from BreastCMSLLib.scene import sources
    from BreastCMSLLib.scene.transforms import to_vtk
    from BreastCMSLLib.scene.volumes import to_image_data

    class MultiVolume(slicer.vtkMRMLVectorVolumeNode):
        def IsA(self, name):
            return name == "vtkMRMLMultiVolumeNode" or super().IsA(name)

        def GetClassName(self):
            return "vtkMRMLMultiVolumeNode"

        def GetNumberOfFrames(self):
            return self.GetImageData().GetNumberOfScalarComponents()

    frames = np.random.default_rng(5).integers(1, 300, (16, 20, 12, 4)).astype(np.int16)  # i, j, k, frame
    node = MultiVolume()
    node.SetName("dyn all")
    image = to_image_data(frames[..., 0])
    from vtk.util.numpy_support import numpy_to_vtk

    image.GetPointData().SetScalars(numpy_to_vtk(frames.reshape(-1, 4, order="F"), deep=True))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_vtk(np.array(AFFINE, float)))
    node.SetAttribute("MultiVolume.FrameLabels", "0,60000,120000,180000")
    node.SetAttribute("MultiVolume.FrameIdentifyingDICOMTagUnits", "ms")
    of_class = sources._nodes  # asks the scene, which knows C++ classes only

    def nodes(scene, name):
        return [node] if name == "vtkMRMLMultiVolumeNode" else of_class(scene, name)

    monkeypatch.setattr(sources, "_nodes", nodes)
    panel.scene.AddNode(node)
    panel.settle()
    assert "dyn all (multivolume of 4)" in panel.ui.sourceComboBox.currentText
    assert [row.timeS for row in panel.widget.inputs.rows] == [0, 60, 120, 180]
    panel.analyze()
    assert "93 %" in panel.ui.resultLabel.text, panel.ui.statusLabel.text
    asked = panel.child()["request"]
    assert asked["kind"] == "phases" and [d["time_s"] for d in asked["dynamics"]] == [0, 60, 120, 180]
    shown = panel.results("vtkMRMLScalarVolumeNode")
    subtraction = next(volume for volume in shown if volume.GetName() == "Subtraction")
    expected = frames[..., 2].astype(int) - frames[..., 0]
    assert np.array_equal(slicer.util.arrayFromVolume(subtraction).transpose(2, 1, 0), expected)


# The input check in the panel


def test_details_of_the_input_check_open_and_close(panel, exam):
    short = panel.checked()
    assert "details" in short and "one grid" not in short
    panel.ui.checkLabel.linkActivated.emit("details")
    long = panel.ui.checkLabel.text
    assert "one grid of 16 × 20 × 12 voxels" in long and "Acquisition times are unknown" in long
    assert "less" in long
    panel.setTime(1, "90")
    assert "one grid" in panel.checked(), "it stays open when the inputs change"
    panel.ui.checkLabel.linkActivated.emit("details")
    assert "one grid" not in panel.ui.checkLabel.text
    assert "one grid" in panel.ui.checkLabel.toolTip and "href" not in panel.ui.checkLabel.toolTip


@pytest.mark.parametrize(
    ("names", "change", "says", "stops"),
    [
        (("dyn pre", "dyn 1", "dyn 2"), "moved", "mm away", True),
        (("dyn 1", "dyn pre", "dyn 2"), "", "is called pre-contrast", False),
        (("dyn pre", "dyn 1"), "", "Only two dynamic volumes", False),
        (tuple(f"dyn {n}" for n in range(13)), "", "at most 12", True),
        (("dyn pre", "dyn 1", "dyn 2"), "coarse", "small lesions cannot be seen", False),
    ],
)
def test_what_is_wrong_with_the_inputs_is_said_before_analyze(panel, names, change, says, stops):
    import numpy as np
    import slicer

    affine = np.array(AFFINE, float)
    if change == "coarse":
        affine[:3, :3] *= 4
    volumes = [makeVolume(name, seed, affine=affine) for seed, name in enumerate(names)]
    from BreastCMSLDesktop import inputs

    panel.settle()
    parameters = panel.logic.getParameterNode()
    parameters.inputsChosen = True  # as after a click: nothing is suggested any more
    inputs.setDynamicVolumes(parameters, volumes)
    panel.widget.inputs.refresh()
    if change == "moved":
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shift(transform, 30.0)
        volumes[1].SetAndObserveTransformNodeID(transform.GetID())
        panel.widget.inputs.refresh()
    text = panel.checked() + panel.ui.hintLabel.text
    assert says in text, text
    assert panel.ui.analyzeButton.enabled is not stops
