"""BreastCMSL in 3D Slicer: choose the volumes of a breast DCE-MRI exam, press Analyze, see where and how suspicious.

The analysis itself is ``BreastCMSLLib``, run in a child process (``PythonSlicer -m BreastCMSLLib analyze …``) so that
Slicer stays responsive, Cancel frees all memory at once, and a crash cannot take the scene along. The scene changes
once, after the child has finished.
"""

import enum
import importlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


def libraryRoot():
    """The folder that holds ``BreastCMSLLib`` and ``Resources``: this one when installed, the one above in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here, here.parent):
        if (folder / "BreastCMSLLib" / "__init__.py").is_file():
            return folder
    raise ImportError("BreastCMSLLib is not next to BreastCMSL.py; install the BreastCMSL extension again.")


if str(libraryRoot()) not in sys.path:
    sys.path.append(str(libraryRoot()))

from BreastCMSLLib.errors import BreastCMSLError, Cancelled, DependencyError, InputError  # noqa: E402


class BreastCMSL(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Breast CMSL")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["BreastCMSL contributors"]
        self.parent.helpText = _(
            "Estimates from a breast DCE-MRI exam how probable a malignant lesion is, and shows where the estimate comes from. "
            "For research use only: not a medical device."
        )
        self.parent.acknowledgementText = _("The method follows Luo et al. 2019 (cosine margin sigmoid loss, COAM).")


class VolumeKind(enum.Enum):
    """What the selected volumes are."""

    AUTO = "auto"
    PHASES = "phases"
    SUBTRACTIONS = "subtractions"

    def label(self):
        return {
            VolumeKind.AUTO: _("Detect automatically"),
            VolumeKind.PHASES: _("Phases (the first is pre-contrast)"),
            VolumeKind.SUBTRACTIONS: _("Subtractions (post − pre)"),
        }[self]


@parameterNodeWrapper
class BreastCMSLParameterNode:
    """The user's choices, saved with the scene.

    The dynamic volumes are n-th node references of role ``DYNAMIC_ROLE`` on the same MRML node (see the logic): MRML
    itself keeps them valid when nodes are removed, renamed or imported with new IDs.
    """

    volumeKind: VolumeKind = VolumeKind.AUTO
    t1Volume: slicer.vtkMRMLScalarVolumeNode
    heatmapVolume: slicer.vtkMRMLScalarVolumeNode
    overlayVisible: bool = True
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    overlayThreshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.4


DYNAMIC_ROLE = "DynamicVolume"


#
# Widget
#


class BreastCMSLWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module panel. Holds no analysis: it shows what the logic says, and passes on what the user asks."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._result = None
        self._fillingList = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BreastCMSL.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = BreastCMSLLogic()

        self.ui.dynamicList.connect("itemChanged(QListWidgetItem*)", self.onDynamicItemChanged)
        self.ui.analyzeButton.connect("clicked(bool)", self.onAnalyzeButton)
        self.ui.jumpButton.connect("clicked(bool)", self.onJumpButton)
        self.ui.diagnosticsButton.connect("clicked(bool)", self.onDiagnosticsButton)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self.onSceneNodesChanged)

        self._showResult(None)
        self._showStatus("")
        self._setRunning(False)
        self.initializeParameterNode()

    def cleanup(self):
        """The module is unloaded or Slicer exits."""
        if self.logic is not None:
            self.logic.stopNow()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onReload(self):
        """Take changes of the library along when a developer reloads the module."""
        reloadLibrary()
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameter node

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            # not connectGui: in some versions of Slicer it returns no tag, and the panel could never be disconnected
            widgets = [w for w in vars(self.ui).values() if hasattr(w, "property") and w.property("SlicerParameterName")]
            self._guiTag = parameterNode.connectParametersToGui({w.property("SlicerParameterName"): w for w in widgets})
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified)
            self._fillDynamicList()
            self._updateControls()

    def onParameterNodeModified(self, caller=None, event=None):
        self._tickDynamicList()
        self._updateControls()
        p = self._parameterNode
        if p is not None and present(p.heatmapVolume) is not None:
            self.logic.setOverlay(p.heatmapVolume, p.overlayOpacity, p.overlayThreshold, p.overlayVisible)

    # Scene

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self._showResult(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneNodesChanged(self, caller, event):
        scene = slicer.mrmlScene
        if self._parameterNode is None or scene.IsClosing() or scene.IsImporting() or scene.IsBatchProcessing():
            return
        self._fillDynamicList()
        self._updateControls()

    # List of dynamic volumes

    def _fillDynamicList(self):
        listed = self.logic.candidateVolumes()
        self._fillingList = True
        self.ui.dynamicList.clear()
        for index, node in enumerate(listed):
            self.ui.dynamicList.addItem(node.GetName())
            item = self.ui.dynamicList.item(index)
            item.setData(qt.Qt.UserRole, node.GetID())
            item.setToolTip(self.logic.describe(node))
            item.setCheckState(qt.Qt.Unchecked)
        self._fillingList = False
        self._tickDynamicList()

    def _tickDynamicList(self):
        if self._parameterNode is None:
            return
        selected = {node.GetID() for node in self.logic.dynamicVolumes(self._parameterNode)}
        self._fillingList = True
        for index in range(self.ui.dynamicList.count):
            item = self.ui.dynamicList.item(index)
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in selected else qt.Qt.Unchecked)
        self._fillingList = False

    def onDynamicItemChanged(self, item):
        if self._fillingList or self._parameterNode is None:
            return
        items = [self.ui.dynamicList.item(index) for index in range(self.ui.dynamicList.count)]
        ids = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
        self.logic.setDynamicVolumes(self._parameterNode, [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in ids])

    # Analysis

    def onAnalyzeButton(self, checked=False):
        if self.logic.running:
            self._showStatus(_("Cancelling…"))
            self.ui.analyzeButton.enabled = False
            self.logic.cancel()
            return
        p = self._parameterNode
        self._showResult(None)
        self._setRunning(True)
        self.ui.analyzeButton.enabled = False  # nothing to cancel yet: clicks meanwhile must not start a second analysis
        try:
            if self.logic.childCommand is None:
                self._showProgress(0.0, _("Checking what is installed…"))
                ensureDependencies()
            self._showProgress(0.0, _("Preparing the volumes…"))
            slicer.app.processEvents()  # shows the state above while the volumes are written
            with waitCursor():
                self.logic.analyze(
                    self.logic.dynamicVolumes(p),
                    t1=present(p.t1Volume),
                    kind=p.volumeKind.value,
                    wait=False,
                    progress=self._showProgress,
                    finished=self.onFinished,
                )
            self.ui.analyzeButton.enabled = self.logic.running
        except Exception as error:
            self.onFinished(Outcome(error=_describe(error)))

    def onFinished(self, outcome):
        self._setRunning(False)
        if outcome.error:
            self.ui.progressBar.value = 0
            self._showStatus(outcome.error, error=not outcome.cancelled)
            if not outcome.cancelled and slicer.util.mainWindow() is not None:
                slicer.util.errorDisplay(outcome.error)
        else:
            self.ui.progressBar.value = 100
            self._showStatus(_("Done in {seconds:.0f} s.").format(seconds=sum(outcome.result.get("timings_s", {}).values())))
            self._showResult(outcome.result)
            p = self._parameterNode or self.logic.getParameterNode()  # the user may have gone to another module meanwhile
            p.heatmapVolume = outcome.heatmap
            p.overlayVisible = bool(outcome.result.get("map_meaningful", True))
            p.overlayThreshold = min(max(float(outcome.result.get("map_threshold", p.overlayThreshold)), 0.0), 1.0)
            self.logic.showInViews(outcome.heatmap, outcome.background)
            self.logic.setOverlay(p.heatmapVolume, p.overlayOpacity, p.overlayThreshold, p.overlayVisible)
            self.onJumpButton()
        self._updateControls()

    def onJumpButton(self, checked=False):
        if self._result is not None and self._result["peaks"]:
            self.logic.jumpTo(self._result["peaks"][0]["ras_mm"])

    def onDiagnosticsButton(self, checked=False):
        slicer.app.clipboard().setText(self.logic.diagnostics(self._result))
        self._showStatus(_("Diagnostics copied: paste them into your report. They hold no patient data."))

    # What the panel shows

    def _updateControls(self):
        p = self._parameterNode
        volumes = self.logic.dynamicVolumes(p) if p is not None else []
        self.ui.selectionLabel.text = _("{count} selected").format(count=len(volumes))
        if not self.logic.running:
            problem = self.logic.inputProblem(volumes, present(p.t1Volume) if p is not None else None)
            self.ui.analyzeButton.enabled = not problem
            self.ui.analyzeButton.toolTip = problem or _("Estimate the probability of malignancy, and where it comes from")
            self.ui.hintLabel.text = problem
            self.ui.hintLabel.visible = bool(problem)
        self.ui.overlayCollapsibleButton.enabled = p is not None and present(p.heatmapVolume) is not None
        self.ui.jumpButton.enabled = bool(self._result and self._result["peaks"])

    def _setRunning(self, running):
        self.ui.inputsCollapsibleButton.enabled = not running
        self.ui.analyzeButton.enabled = running
        self.ui.analyzeButton.text = _("Cancel") if running else _("Analyze")
        if running:
            self.ui.analyzeButton.toolTip = _("Stop the analysis; the scene stays as it is")
            self.ui.hintLabel.visible = False
        self.ui.progressBar.visible = running

    def _showProgress(self, fraction, text):
        self.ui.progressBar.value = round(100 * fraction)
        self._showStatus(text)

    def _showStatus(self, text, error=False):
        self.ui.statusLabel.styleSheet = "color: #d32f2f;" if error else ""
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)

    def _showResult(self, result):
        self._result = result
        self.ui.resultCollapsibleButton.visible = result is not None
        self.ui.resultLabel.text = resultHtml(result) if result is not None else ""
        warnings = result.get("warnings", []) if result is not None else []
        self.ui.warningsLabel.text = "\n".join(f"⚠ {warning}" for warning in warnings)
        self.ui.warningsLabel.visible = bool(warnings)


def resultHtml(result):
    """The result line of the panel: probability, verdict, where the strongest peak lies, kinetic type."""
    from BreastCMSLLib.scene.results import percent

    colour = "#c62828" if result["malignant"] else "#2e7d32"
    verdict = _("suspicious") if result["malignant"] else _("not suspicious")
    lines = [
        f"<span style='font-size:20pt; font-weight:600; color:{colour}'>{escape(percent(result['probability']))}</span>&nbsp;&nbsp;"
        f"<b>{escape(verdict)}</b> ({escape(_('threshold'))} {escape(percent(result['threshold']))})"
    ]
    if not result.get("map_meaningful", True):
        lines.append(escape(_("The map is not meaningful at this score.")))
    elif result["peaks"]:
        peak = result["peaks"][0]
        side = {"left": _("left breast"), "right": _("right breast")}.get(peak["side"], peak["side"])
        lines.append(f"{escape(_('Strongest peak'))}: {rasText(peak['ras_mm'])}, {escape(side)}")
        if len(result["peaks"]) > 1:
            lines.append(escape(_("{count} peaks in the results table").format(count=len(result["peaks"]))))
    if result.get("kinetics"):
        kind = result["kinetics"]["type"] or _("unknown")
        lines.append(escape(_("Kinetic curve at the peak: {type}").format(type=kind)))
    training = (result.get("model") or {}).get("training_data")
    if training:
        lines.append(f"<i>{escape(_('Model trained on {data}').format(data=training))}</i>")
    return "<br>".join(lines)


def rasText(ras):
    """A point as a radiologist reads it, e.g. "L 45.2, A 31.0, I 12.4 mm"."""
    return ", ".join(f"{pair[value < 0]} {abs(value):.1f}" for pair, value in zip(("RL", "AP", "SI"), ras)) + " mm"


class waitCursor:
    """Shows the wait cursor, and gives it back whatever happens."""

    def __enter__(self):
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)

    def __exit__(self, *_exception):
        slicer.app.restoreOverrideCursor()


def reloadLibrary():
    """Import every loaded part of BreastCMSLLib again, so that changed source takes effect without a restart."""
    # starting slicer-core twice in one process is not possible, so what embeds it stays
    names = [n for n in sys.modules if n.split(".")[0] == "BreastCMSLLib" and not n.endswith(".embedded")]
    importlib.invalidate_caches()
    for name in names:
        del sys.modules[name]
    for name in sorted(names):
        importlib.import_module(name)


#
# Logic
#


@dataclass
class Outcome:
    """How an analysis ended: with a result and its nodes, or with one sentence of error."""

    result: dict | None = None
    heatmap: object = None
    background: object = None
    error: str = ""
    cancelled: bool = False


@dataclass
class _Run:
    """One analysis under way."""

    folder: Path
    process: "ChildProcess"
    inputIDs: list
    placement: object
    progress: object
    finished: object
    outcome: Outcome | None = None
    doneReceived: bool = False
    errorReceived: str = ""
    stopReason: str = ""


class BreastCMSLLogic(ScriptedLoadableModuleLogic, VTKObservationMixin):
    """Runs the analysis and puts its results into the scene; needs no widget.

    >>> result = slicer.modules.breastcmsl.widgetRepresentation().self().logic.analyze([pre, post1, post2])
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        VTKObservationMixin.__init__(self)
        # Replaces "PythonSlicer -m BreastCMSLLib": a list of program and arguments. With it set, dependencies are not checked.
        self.childCommand = None
        self._run = None

    def getParameterNode(self):
        return BreastCMSLParameterNode(super().getParameterNode())

    # Inputs

    @staticmethod
    def dynamicVolumes(parameterNode):
        """The selected dynamic volumes that still exist, in order."""
        node = parameterNode.parameterNode
        volumes = [node.GetNthNodeReference(DYNAMIC_ROLE, n) for n in range(node.GetNumberOfNodeReferences(DYNAMIC_ROLE))]
        return [volume for volume in volumes if volume is not None]

    @staticmethod
    def setDynamicVolumes(parameterNode, volumes):
        node = parameterNode.parameterNode
        with slicer.util.NodeModify(node):
            node.RemoveNodeReferenceIDs(DYNAMIC_ROLE)
            for volume in volumes:
                node.AddNodeReferenceID(DYNAMIC_ROLE, volume.GetID())

    @staticmethod
    def candidateVolumes():
        """Volumes of the scene that could be part of an exam: grey values, not hidden, not our own maps."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [v for v in volumes if v.GetClassName() == "vtkMRMLScalarVolumeNode" and not v.GetHideFromEditors() and not isResultNode(v)]

    @staticmethod
    def describe(node):
        """Size and spacing of a volume, for its tooltip."""
        if node.GetImageData() is None:
            return _("holds no image")
        size = " × ".join(str(n) for n in node.GetImageData().GetDimensions())
        spacing = " × ".join(f"{s:.2f}" for s in node.GetSpacing())
        return _("{size} voxels of {spacing} mm").format(size=size, spacing=spacing)

    @staticmethod
    def inputProblem(volumes, t1=None):
        """Why these volumes cannot be analysed, as one sentence; empty when they can. Looks at no voxel."""
        from BreastCMSLLib.exam import MAX_PHASES, MIN_PHASES

        if not volumes:
            return _("Select the dynamic volumes of one exam: pre- and post-contrast phases, or subtractions.")
        if len(volumes) < MIN_PHASES:
            return _("Select at least {count} dynamic volumes.").format(count=MIN_PHASES)
        if len(volumes) > MAX_PHASES:
            return _("Select at most {count} dynamic volumes.").format(count=MAX_PHASES)
        for volume in (*volumes, *((t1,) if t1 is not None else ())):
            if volume.GetImageData() is None:
                return _("{name} holds no image; select another volume.").format(name=volume.GetName())
        first = volumes[0]
        for volume in volumes[1:]:
            if volume.GetImageData().GetDimensions() != first.GetImageData().GetDimensions():
                return _("{name} and {first} differ in size; select volumes of one acquisition.").format(
                    name=volume.GetName(), first=first.GetName()
                )
        if t1 is not None and t1 in volumes:
            return _("{name} is selected twice; the T1 must be a volume of its own.").format(name=t1.GetName())
        return ""

    # Analysis

    @property
    def running(self):
        return self._run is not None

    def analyze(self, nodes, t1=None, kind="auto", wait=True, progress=None, finished=None):
        """Analyse the exam these volume nodes hold, and write the results into the scene.

        nodes: dynamic volumes (phases or subtractions, in any order). t1: optional volume for the breast mask.
        kind: "auto", "phases" or "subtractions". progress(fraction, text) and finished(Outcome) are called meanwhile.
        With ``wait`` returns the result dictionary; else returns None at once and ``finished`` tells the end.
        Raises BreastCMSLError with one sentence; the scene is then as it was.
        """
        if self.running:
            raise InputError(_("An analysis is already running; wait for it, or cancel it first."))
        nodes = list(nodes)
        problem = self.inputProblem(nodes, t1)
        if problem:
            raise InputError(problem)
        if self.childCommand is None:
            ensureDependencies()
            if self.running:  # installing lets events through
                raise InputError(_("An analysis is already running; wait for it, or cancel it first."))
        folder = Path(tempfile.mkdtemp(prefix="BreastCMSL-", dir=str(slicer.app.temporaryPath)))
        try:
            self._writeRequest(folder, nodes, t1, kind)
            process = ChildProcess(onLine=self._onLine, onFinished=self._onFinished)
            run = self._run = _Run(folder, process, [node.GetID() for node in nodes], self._placement(nodes[0]), progress, finished)
            scene = slicer.mrmlScene
            self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
            process.start(
                [
                    *(self.childCommand or [pythonExecutable(), "-m", "BreastCMSLLib"]),
                    "analyze",
                    *("--request", str(folder / "REQUEST.json")),
                    *("--output", str(folder / "output")),
                    "--no-scene",
                    *("--progress", "json"),
                ]
            )
        except BaseException:
            self._endRun(folder)
            raise
        if not wait:
            return None
        while self._run is run:
            process.wait(100)
            slicer.app.processEvents()
        if run.outcome.cancelled:
            raise Cancelled(run.outcome.error)
        if run.outcome.error:
            raise BreastCMSLError(run.outcome.error)
        return run.outcome.result

    def cancel(self, reason=""):
        """Stop the child process and all it started. ``finished`` is called once it is gone."""
        if self.running:
            self._run.stopReason = self._run.stopReason or reason or _("Cancelled; nothing was changed.")
            self._run.process.stop()

    def stopNow(self):
        """Stop without telling anyone, and wait until the process is gone: the module is being unloaded."""
        run = self._run
        if run is not None:
            run.progress = run.finished = None
            self.cancel()
            run.process.kill()

    def _writeRequest(self, folder, nodes, t1, kind):
        """Writes the volumes in RAS world coordinates (parent transforms applied) and the request that names them."""
        import SimpleITK as sitk

        from BreastCMSLLib.geometry import to_sitk
        from BreastCMSLLib.scene.reading import exam_from_nodes

        exam = exam_from_nodes(nodes, t1=t1, kind=kind)

        def write(phase, name):
            path = folder / f"{name}.nrrd"
            sitk.WriteImage(to_sitk(phase.volume), str(path), False)
            return {"file": str(path), "name": phase.name, "time_s": phase.time_s}

        phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]
        request = {
            "schema_version": 1,
            "kind": "phases" if exam.pre is not None else "subtractions",
            "dynamics": [write(phase, f"dynamic{n:02d}") for n, phase in enumerate(phases)],
            "t1": {key: value for key, value in write(exam.t1, "t1").items() if key != "time_s"} if exam.t1 is not None else None,
            "identifiers": {**exam.identifiers, "exam_id": exam.exam_id},  # the files are temporary: their names say nothing
            # what was noticed in ordering the phases; what concerns subtractions the child notices itself
            "warnings": list(exam.warnings) if exam.pre is not None else [],
            "options": {"map": "COAM", "device": "auto", "model": None},
        }
        (folder / "REQUEST.json").write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")

    def _onLine(self, line):
        """One line of the child's standard output: a JSON event, or something a library printed."""
        run = self._run
        try:
            event = json.loads(line)
            kind = event["event"]
            fraction = min(max(float(event.get("fraction", 0.0)), 0.0), 1.0)
        except (ValueError, TypeError, KeyError):
            logging.debug("BreastCMSL: %s", line)
            return
        if kind == "progress":
            if run.progress is not None and not run.stopReason:
                run.progress(fraction, str(event.get("text") or event.get("stage") or ""))
        elif kind == "error":
            run.errorReceived = str(event.get("message") or _("The analysis failed without saying why."))
        elif kind == "done":
            run.doneReceived = True

    def _onFinished(self, exitCode, failure):
        run = self._run
        try:
            if run.stopReason:
                run.outcome = Outcome(error=run.stopReason, cancelled=True)
            elif run.errorReceived:
                run.outcome = Outcome(error=run.errorReceived)
            elif failure or exitCode != 0 or not run.doneReceived:
                run.outcome = Outcome(error=self._failureSentence(run, exitCode, failure))
            else:
                run.outcome = self._takeResults(run)
        except Exception as error:
            run.outcome = Outcome(error=_describe(error))
        finally:
            self._endRun(run.folder)
        if run.finished is not None:
            run.finished(run.outcome)

    @staticmethod
    def _placement(node):
        """Where a volume's voxels are in the world (IJK to RAS mm), its parent transform included."""
        from BreastCMSLLib.scene.transforms import ijk_to_ras, local_to_world

        return local_to_world(node) @ ijk_to_ras(node)

    def _failureSentence(self, run, exitCode, failure):
        lines = [line for line in run.process.errorText.splitlines() if line.strip()]
        if lines:
            logging.error("BreastCMSL child process:\n%s", "\n".join(lines))
        reason = failure or (lines[-1].strip() if lines else _("exit status {code}").format(code=exitCode))
        return _("The analysis stopped unexpectedly ({reason}); the application log has the details.").format(reason=reason)

    def _endRun(self, folder):
        self._run = None
        self.removeObservers(self._onSceneStartClose)
        shutil.rmtree(folder, ignore_errors=True)

    def _takeResults(self, run):
        """Read what the child left and write it into the scene, all at once."""
        inputs = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in run.inputIDs]
        inputs = [node for node in inputs if node is not None]
        if not inputs:
            return Outcome(error=_("The input volumes were removed meanwhile, so no results were added."), cancelled=True)
        import numpy as np
        import SimpleITK as sitk

        from BreastCMSLLib.geometry import from_sitk
        from BreastCMSLLib.scene import results

        if not np.allclose(self._placement(inputs[0]), run.placement, atol=1e-3):
            raise BreastCMSLError(_("The volumes were moved while they were analysed; press Analyze again."))
        output = run.folder / "output"
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
        if result.get("kind") != "breastcmsl.result" or result.get("schema_version") != 1:
            raise BreastCMSLError(_("The analysis wrote results of another version; install the BreastCMSL extension again."))
        heatmap = from_sitk(sitk.ReadImage(str(output / "heatmap.nrrd")))
        # the map is shown on the second post-contrast phase, when cancers enhance most
        shown = [phase["name"] for phase in result["phases"] if phase["role"] != "pre"][:2][-1]
        background = next((node for node in inputs if node.GetName() == shown), inputs[-1])
        written = results.write_results(slicer.mrmlScene, result, heatmap, reference_node=background)
        return Outcome(result=result, heatmap=written.heatmap, background=background)

    def _onSceneStartClose(self, caller, event):
        self.cancel(_("The scene was closed, so the analysis was stopped."))

    # Views

    @staticmethod
    def showInViews(heatmap, background):
        """The exam's volume in the background of all slice views, the map in front."""
        if heatmap is not None:
            slicer.util.setSliceViewerLayers(background=background, foreground=heatmap, fit=slicer.app.layoutManager() is not None)

    @staticmethod
    def setOverlay(heatmap, opacity, threshold, visible):
        """How the map is drawn: opacity 0..1, transparent below ``threshold`` (0..1 of its maximum), or hidden."""
        display = heatmap.GetDisplayNode()
        if display is not None:
            with slicer.util.NodeModify(display):
                display.SetThreshold(threshold, max(1.0, display.GetUpperThreshold()))
                display.ApplyThresholdOn()
            colors = display.GetColorNode()
            if colors is not None and isResultNode(colors):  # its own transparency must not outlive the threshold it was made for
                with slicer.util.NodeModify(colors):
                    last = max(colors.GetNumberOfColors() - 1, 1)
                    for index in range(last + 1):
                        colors.SetOpacity(index, 1.0 if index / last >= threshold else 0.0)
        for index in range(heatmap.GetNumberOfDisplayNodes()):
            legend = heatmap.GetNthDisplayNode(index)
            if legend is not None and legend.IsA("vtkMRMLColorLegendDisplayNode"):
                legend.SetVisibility(visible)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if composite.GetForegroundVolumeID() == heatmap.GetID():
                composite.SetForegroundOpacity(opacity if visible else 0.0)

    @staticmethod
    def jumpTo(ras):
        """Move all slice views to a point (RAS mm)."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(float(v) for v in ras), slicer.vtkMRMLSliceNode.CenteredJumpSlice)

    @staticmethod
    def diagnostics(result):
        """Text for a problem report: versions, device, model and timings, and nothing of the patient."""
        result = result or {}
        report = {
            "slicer": str(getattr(slicer.app, "applicationVersion", "")),
            "python": sys.version.split()[0],
            "platform": sys.platform,
            **{key: result.get(key) for key in ("schema_version", "versions", "device", "device_reason", "precision", "map", "timings_s")},
            "model": {key: (result.get("model") or {}).get(key) for key in ("name", "sha256")},
            "phases": len(result.get("phases", [])),
            "grid": ((result.get("input") or {}).get("grid") or {}).get("size"),
        }
        return json.dumps(report, indent=1, ensure_ascii=False)


def present(node):
    """The node, or None when it is not (or no longer) in the scene."""
    return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None


def isResultNode(node):
    """True for nodes an analysis wrote."""
    names = node.GetAttributeNames() or ()
    return any(name.startswith("BreastCMSL.") for name in names)


def _describe(error):
    """The sentence a user sees; unexpected failures also go to the log with their traceback."""
    if isinstance(error, BreastCMSLError):
        return str(error)
    logging.error("BreastCMSL: unexpected failure", exc_info=error)
    return _("The analysis failed ({error}); the application log has the details.").format(error=f"{type(error).__name__}: {error}")


#
# Child process
#


def pythonExecutable():
    """Slicer's Python; outside the desktop, the Python that runs this."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    home = str(getattr(slicer.app, "slicerHome", "") or "")
    candidates = [os.path.join(home, "bin", name) if home else None, shutil.which("PythonSlicer"), sys.executable]
    return next(path for path in candidates if path and os.path.isfile(path))


class ChildProcess:
    """A child process whose output arrives line by line through Qt's event loop; no Python threads.

    onLine(text) for each complete line of standard output, onFinished(exitCode, failure) exactly once, after the last
    line; ``failure`` is a phrase when the process could not start or crashed, else empty.
    """

    GRACE_MS = 2000
    ERROR_LIMIT = 64 * 1024

    def __init__(self, onLine, onFinished):
        self._onLine, self._onFinished = onLine, onFinished
        self._pending, self._errors = b"", b""
        self._tree, self._ended = {}, False
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._readOutput)
        self._process.connect("readyReadStandardError()", self._readErrors)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)

    @property
    def errorText(self):
        """The end of what the child wrote to standard error."""
        return self._errors.decode("utf-8", errors="replace")

    def start(self, command):
        environment = qt.QProcessEnvironment.systemEnvironment()
        paths = [str(libraryRoot()), *filter(None, [environment.value("PYTHONPATH")])]
        environment.insert("PYTHONPATH", os.pathsep.join(paths))
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        self._process.setProcessEnvironment(environment)
        self._process.start(command[0], command[1:])

    def wait(self, milliseconds):
        """Give the process time; its output is delivered meanwhile."""
        if not self._ended:
            self._process.waitForFinished(milliseconds)

    def stop(self):
        """Ask the process and its children to end; what is left after a moment is killed."""
        if not self._ended and not self._tree:
            self._tree = processTree(self._process.processId())
            signalProcesses(self._tree, force=False)
            qt.QTimer.singleShot(self.GRACE_MS, self._killTree)

    def kill(self):
        """End the process and its children now, and wait until it is gone."""
        if not self._ended:
            self._tree = self._tree or processTree(self._process.processId())
            self._killTree()
            self._process.kill()
            self._process.waitForFinished(5000)

    def _killTree(self):
        if os.name == "nt" and self._ended:
            return  # taskkill took the whole tree already, and the number may belong to another program by now
        signalProcesses(self._tree, force=True)

    def _readOutput(self):
        self._pending += bytes(self._process.readAllStandardOutput().data())
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._deliver(line)

    def _deliver(self, line):
        if line.strip():
            self._onLine(line.decode("utf-8", errors="replace"))

    def _readErrors(self):
        self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-self.ERROR_LIMIT :]

    def _failed(self, error):
        if error == qt.QProcess.FailedToStart:  # the one failure after which Qt does not also report the end
            self._end(-1, _("it could not be started"))

    def _finished(self, exitCode, exitStatus):
        self._readOutput()
        self._readErrors()
        self._deliver(self._pending)
        self._pending = b""
        if self._tree:
            self._killTree()  # children may outlive the process that was asked to end
        self._end(exitCode, _("it crashed") if exitStatus == qt.QProcess.CrashExit else "")

    def _end(self, exitCode, failure):
        if not self._ended:
            self._ended = True
            self._process.deleteLater()
            self._onFinished(exitCode, failure)


def processTree(pid):
    """{pid: start time} of a process and all its descendants. PythonSlicer is a launcher: the work is in its child."""
    pid = int(pid)
    if pid <= 0 or os.name == "nt":
        return {pid: ""} if pid > 0 else {}
    table = _processTable()
    tree, waiting = {}, [pid]
    while waiting:
        current = waiting.pop()
        if current in table and current not in tree:
            tree[current] = table[current][1]
            waiting += [child for child, (parent, _start) in table.items() if parent == current]
    return tree


def _processTable():
    """{pid: (parent pid, start time)} of all processes of a POSIX system."""
    table = {}
    if os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
                except OSError:
                    continue  # ended meanwhile
                if fields[0] != "Z":
                    table[int(entry)] = (int(fields[1]), fields[19])
        return table
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,lstart="], capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        fields = line.split(None, 2)
        if len(fields) == 3:
            table[int(fields[0])] = (int(fields[1]), fields[2])
    return table


def signalProcesses(tree, force):
    """End the processes of :func:`processTree`; one whose number was given to another process since is left alone."""
    if os.name == "nt":
        for pid in tree:
            subprocess.run(["taskkill", "/PID", str(pid), "/T", "/F"], capture_output=True, check=False, creationflags=0x08000000)
        return
    table = _processTable()
    for pid, start in tree.items():
        if pid in table and table[pid][1] == start:
            try:
                os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
            except ProcessLookupError:
                pass


#
# Dependencies
#

IMPORT_NAMES = {"scikit-image": "skimage"}


def requirements():
    """The lines of Resources/requirements.txt."""
    lines = (libraryRoot() / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def missingPackages():
    """Requirements that cannot be imported, "torch" among them. Imports nothing."""

    def absent(requirement):
        name = requirement
        for separator in "<>=!~;[ ":
            name = name.split(separator)[0]
        return importlib.util.find_spec(IMPORT_NAMES.get(name, name.replace("-", "_"))) is None

    importlib.invalidate_caches()
    return [requirement for requirement in ("torch", "SimpleITK", *requirements()) if absent(requirement)]


def ensureDependencies():
    """Install what is missing, after asking once. Raises DependencyError with one sentence when something stays missing."""
    missing = missingPackages()
    if not missing:
        return
    names = ", ".join(missing)
    if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
        raise DependencyError(_("Not installed in this Python: {names}; install them with pip and try again.").format(names=names))
    question = _(
        "The analysis needs Python packages that are not installed yet: {names}.\n\n"
        "Install them now? This is needed once, takes some minutes and up to a few GB."
    ).format(names=names)
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Breast CMSL")):
        raise DependencyError(_("Not installed: {names}; press Analyze again to install them.").format(names=names))
    try:
        with waitCursor():
            if "torch" in missing:
                installTorch()
            installPackages([name for name in missing if name != "torch"])
    except Exception as error:
        logging.error("BreastCMSL: installation failed", exc_info=error)
        raise DependencyError(
            _("Installing {names} failed ({error}); check the network and the proxy, then press Analyze again.").format(
                names=names, error=error
            )
        ) from error
    left = missingPackages()
    if left:
        raise DependencyError(_("Still not installed: {names}; restart Slicer and try again.").format(names=", ".join(left)))


def installTorch():
    """PyTorch as the PyTorch extension chooses it for this computer's GPU; without the extension, pip's default build."""
    try:
        import PyTorchUtils
    except ImportError:
        slicer.util.pip_install("torch")
        return
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False) is None:
        raise DependencyError(_("the PyTorch extension could not install torch"))


def installPackages(packages):
    if not packages:
        return
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # before Slicer 5.12
        slicer.util.pip_install(packages)
    else:
        pip_ensure(packages, requester="BreastCMSL", prompt_install=False)


#
# Test
#


class BreastCMSLTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer: needs no model, no torch and no main window."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_inputs, self.test_request):
            self.setUp()
            test()
        self.delayDisplay("Breast CMSL self-test passed")

    def makeVolume(self, name, seed, transform=None):
        import numpy as np

        array = np.random.default_rng(seed).integers(0, 400, (8, 9, 10)).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(array, np.array([[-2.0, 0, 0, 9], [0, -1, 0, 8], [0, 0, 3, -12], [0, 0, 0, 1]]), name)
        if transform is not None:
            volume.SetAndObserveTransformNodeID(transform.GetID())
        return volume

    def test_inputs(self):
        logic = BreastCMSLLogic()
        pre, post = self.makeVolume("pre", 0), self.makeVolume("post 1", 1)
        self.assertTrue(logic.inputProblem([]))
        self.assertTrue(logic.inputProblem([pre]))
        self.assertTrue(logic.inputProblem([pre, post], t1=post))
        self.assertEqual(logic.inputProblem([pre, post]), "")
        parameters = logic.getParameterNode()
        logic.setDynamicVolumes(parameters, [pre, post])
        slicer.mrmlScene.RemoveNode(post)
        self.assertEqual([v.GetName() for v in logic.dynamicVolumes(parameters)], ["pre"])

    def test_request(self):
        """The volumes are handed over where they are in the patient, parent transform included."""
        import SimpleITK as sitk

        shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        shift.SetMatrixTransformToParent(matrix)
        volumes = [self.makeVolume("post 1", 1, shift), self.makeVolume("pre", 0, shift)]
        with tempfile.TemporaryDirectory() as folder:
            BreastCMSLLogic()._writeRequest(Path(folder), volumes, None, "auto")
            request = json.loads(Path(folder, "REQUEST.json").read_text(encoding="utf-8"))
            self.assertEqual([d["name"] for d in request["dynamics"]], ["pre", "post 1"])
            image = sitk.ReadImage(request["dynamics"][0]["file"])
        self.assertEqual([round(v, 3) for v in image.GetOrigin()], [-34.0, -8.0, -12.0])
        self.assertEqual(image.GetSize(), (10, 9, 8))
