"""BreastCMSL in 3D Slicer: choose the volumes of a breast DCE-MRI exam, press Analyze, see where and how suspicious.

The analysis itself is ``BreastCMSLLib``, run in a child process (``PythonSlicer -m BreastCMSLLib analyze …``) so that
Slicer stays responsive, Cancel frees all memory at once, and a crash cannot take the scene along. The scene changes
once, after the child has finished. The parts of the panel and of the logic are in ``BreastCMSLDesktop``.
"""

import enum
import json
import sys
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

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.append(str(Path(__file__).resolve().parent))

from BreastCMSLDesktop.common import describe, libraryRoot, present, reloadLibrary, setSetting, setting  # noqa: E402

if str(libraryRoot()) not in sys.path:
    sys.path.append(str(libraryRoot()))

from BreastCMSLDesktop import analysis, dependencies, inputs  # noqa: E402

from BreastCMSLLib.core.errors import BreastCMSLError, Cancelled, InputError  # noqa: E402

HOMEPAGE = "https://github.com/BreastCMSL/BreastCMSL"


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
            "Load the exam, check the phases in the table, press Analyze. "
            "For research use only: not a medical device. "
            'Tutorial: <a href="{url}">{url}</a>'
        ).format(url=f"{HOMEPAGE}/blob/main/docs/module.md")
        self.parent.acknowledgementText = _(
            "The method follows Luo et al., Deep Angular Embedding and Feature Correlation Attention for Breast MRI Cancer "
            "Analysis, MICCAI 2019 (cosine margin sigmoid loss, COAM). This is an independent implementation, trained on simulated exams."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """A simulated exam in the Sample Data module; fetched from the project's release page when the user asks for it."""
    from BreastCMSLDesktop import sample_data

    sample_data.register(Path(__file__).resolve().parent / "Resources")


class VolumeKind(enum.Enum):
    """What the selected volumes are."""

    AUTO = "auto"
    PHASES = "phases"
    SUBTRACTIONS = "subtractions"

    def label(self):
        return {
            VolumeKind.AUTO: _("Detect automatically"),
            VolumeKind.PHASES: _("Phases (the first is before contrast)"),
            VolumeKind.SUBTRACTIONS: _("Subtractions (after − before)"),
        }[self]


class Device(enum.Enum):
    """Which processor does the work."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "cuda"

    def label(self):
        return {Device.AUTO: _("Automatic"), Device.CPU: _("CPU"), Device.GPU: _("NVIDIA GPU")}[self]


@parameterNodeWrapper
class BreastCMSLParameterNode:
    """The user's choices, saved with the scene. The dynamic volumes are node references, see ``BreastCMSLDesktop.inputs``.

    inputsChosen: the user has touched the inputs, so nothing is suggested any more. resultExam: whose results are shown.
    heatmapVolume: the map over the images. modelPath: a model's .json file, "" for the one that ships. suggestedT1: ID of the T1 that
    the panel chose by itself.
    """

    volumeKind: VolumeKind = VolumeKind.AUTO
    t1Volume: slicer.vtkMRMLScalarVolumeNode
    suggestedT1: str = ""
    inputsChosen: bool = False
    modelPath: str = ""
    device: Device = Device.AUTO
    resultExam: str = ""
    heatmapVolume: slicer.vtkMRMLScalarVolumeNode
    overlayVisible: bool = True
    legendVisible: bool = True
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    overlayThreshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.4


#
# Widget
#


class BreastCMSLWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module panel. Holds no analysis: it shows what the logic says, and passes on what the user asks."""

    def __init__(self, parent=None):
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._timeLeft = None
        ScriptedLoadableModuleWidget.__init__(self, parent)  # last: without a parent it runs setup()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from BreastCMSLDesktop.inputs_panel import InputsPanel
        from BreastCMSLDesktop.models_panel import ModelsPanel
        from BreastCMSLDesktop.results_panel import ResultsPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BreastCMSL.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = BreastCMSLLogic()
        self.inputs = InputsPanel(self.ui, VolumeKind, self._updateControls)
        self.models = ModelsPanel(self.ui, self._onModelChosen, lambda text: self._showStatus(text, error=True))
        self.results = ResultsPanel(self.ui, self.logic, self._showStatus)
        self._clock = qt.QTimer(uiWidget)
        self._clock.setInterval(1000)
        self._clock.connect("timeout()", self._showTimeLeft)

        self.ui.analyzeButton.connect("clicked(bool)", self.onAnalyzeButton)
        self.ui.installButton.connect("clicked(bool)", self.onInstallButton)
        self.ui.diagnosticsButton.connect("clicked(bool)", self.onDiagnosticsButton)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self.onSceneNodesChanged)
        for event in (scene.EndImportEvent, scene.EndUndoEvent, scene.EndRedoEvent):
            self.addObserver(scene, event, self.onSceneReplaced)

        self.results.forget()
        self._showStatus("")
        self._setRunning(False)
        self.initializeParameterNode()

    def cleanup(self):
        """The module is unloaded or Slicer exits."""
        if self.logic is not None:
            self.logic.stopNow()
            self.results.cleanup()
            self._clock.stop()
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
            if not self.models.show(parameterNode.modelPath):
                self._showStatus(_("The model of this scene was not found; the one that ships is used."), error=True)
                parameterNode.modelPath = ""
        if self.logic is not None:
            self.inputs.setParameterNode(parameterNode)
            self.results.setParameterNode(parameterNode)
            self._updateControls()

    def onParameterNodeModified(self, caller=None, event=None):
        self.inputs.refresh()
        p = self._parameterNode
        if p is not None and present(p.heatmapVolume) is not None:
            self.logic.setOverlay(p.heatmapVolume, p.overlayOpacity, p.overlayThreshold, p.overlayVisible, p.legendVisible)

    def _onModelChosen(self, path):
        if self._parameterNode is not None:
            self._parameterNode.modelPath = path

    # Scene

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.inputs.forget()
        self.results.forget()

    def onSceneEndClose(self, caller, event):
        if getattr(self.parent, "isEntered", True):  # a panel in a window of its own is always open
            self.initializeParameterNode()

    def onSceneNodesChanged(self, caller, event):
        scene = slicer.mrmlScene
        if self._parameterNode is None or scene.IsClosing() or scene.IsImporting() or scene.IsBatchProcessing():
            return
        if scene.IsUndoing() or scene.IsRedoing():
            return
        self.inputs.refresh()
        self.results.refresh()

    def onSceneReplaced(self, caller, event):
        """Something was imported, undone or redone: results may be there that no analysis of this panel made."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsClosing():
            self.inputs.refresh()
            self.results.refresh(adopt=True)

    # Analysis

    def onAnalyzeButton(self, checked=False):
        if self.logic.running:
            self._showStatus(_("Cancelling…"))
            self.ui.analyzeButton.enabled = False
            self.logic.cancel()
            return
        from BreastCMSLDesktop.progress import TimeLeft

        p, rows = self._parameterNode, self.inputs.rows
        self._setRunning(True)
        self.ui.analyzeButton.enabled = False  # nothing to cancel yet: clicks meanwhile must not start a second analysis
        try:
            if self.logic.childCommand is None:
                self._showProgress(0.0, _("Checking what is installed…"))
                dependencies.ensureDependencies()
            self._timeLeft = TimeLeft(float(setting("SecondsOfLastAnalysis", 0) or 0))
            self.logic.analyze(
                inputs.items(rows),
                t1=self.inputs.t1,
                kind=p.volumeKind.value,
                times=inputs.times(rows),
                keepOrder=True,
                model=p.modelPath or None,
                device=p.device.value,
                wait=False,
                progress=self._showProgress,
                finished=self.onFinished,
            )
            self.ui.analyzeButton.enabled = self.logic.running
        except Exception as error:
            self.onFinished(analysis.Outcome(error=describe(error)))

    def onFinished(self, outcome):
        elapsed = self._timeLeft.elapsed if self._timeLeft is not None else 0.0
        self._timeLeft = None
        self._setRunning(False)
        if outcome.error:
            self.ui.progressBar.value = 0
            self._showStatus(outcome.error, error=not outcome.cancelled)
            if not outcome.cancelled and self.logic.lastFailure.trace:
                self.ui.advancedCollapsibleButton.collapsed = False  # where "Copy diagnostics" is
            if not outcome.cancelled and slicer.util.mainWindow() is not None:
                slicer.util.errorDisplay(outcome.error)
        else:
            self._showResult(outcome, elapsed)
        self._updateControls()

    def _showResult(self, outcome, elapsed):
        result = outcome.result
        setSetting("SecondsOfLastAnalysis", round(elapsed, 1))
        self.ui.progressBar.value = 100
        device = result.get("device_reason") or result.get("device") or ""
        self._showStatus(_("Done in {seconds:.0f} s on: {device}.").format(seconds=elapsed, device=device))
        p = self._parameterNode or self.logic.getParameterNode()  # the user may have gone to another module meanwhile
        p.overlayVisible = bool(result.get("map_meaningful", True))
        p.overlayThreshold = min(max(float(result.get("map_threshold", p.overlayThreshold)), 0.0), 1.0)
        p.resultExam, p.heatmapVolume = str(result["exam_id"]), outcome.nodes.heatmap
        self.logic.showInViews(outcome.nodes.heatmap, outcome.background)
        self.logic.setOverlay(p.heatmapVolume, p.overlayOpacity, p.overlayThreshold, p.overlayVisible, p.legendVisible)
        if self._parameterNode is not None:
            self.results.showExam(str(result["exam_id"]), outcome.nodes.heatmap)
        elif result["peaks"]:
            self.logic.jumpTo(result["peaks"][0]["ras_mm"])

    def onInstallButton(self, checked=False):
        folder = dependencies.chooseFolder(self.ui.installButton)
        if not folder:
            return
        try:
            installed = dependencies.installFromFolder(folder)
        except Exception as error:
            self._showStatus(describe(error), error=True)
            return
        names = ", ".join(installed)
        self._showStatus(_("Installed: {names}.").format(names=names) if installed else _("Everything the analysis needs is installed."))

    def onDiagnosticsButton(self, checked=False):
        slicer.app.clipboard().setText(self.logic.diagnostics(self.results.result))
        self._showStatus(_("Diagnostics copied: paste them into your report. They hold no patient data."))

    # What the panel shows

    def _updateControls(self):
        if self.logic.running:
            return
        problem = self.inputs.problem() if self._parameterNode is not None else ""
        self.ui.analyzeButton.enabled = self._parameterNode is not None and not problem
        self.ui.analyzeButton.toolTip = problem or _("Estimate the probability of malignancy, and where it comes from")
        listed = problem and problem in self.ui.checkLabel.text  # said once is enough
        self.ui.hintLabel.text = problem
        self.ui.hintLabel.visible = bool(problem) and not listed

    def _setRunning(self, running):
        for section in (self.ui.inputsCollapsibleButton, self.ui.advancedCollapsibleButton, self.ui.removeButton):
            section.enabled = not running
        self.ui.analyzeButton.enabled = running
        self.ui.analyzeButton.text = _("Cancel") if running else _("Analyze")
        if running:
            self.ui.analyzeButton.toolTip = _("Stop the analysis; the scene stays as it is")
            self.ui.hintLabel.visible = False
            self._clock.start()
        else:
            self._clock.stop()
        self._stage = ""
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running

    def _showProgress(self, fraction, text):
        self.ui.progressBar.value = round(100 * fraction)
        self._stage = text
        if self._timeLeft is not None:
            self._timeLeft.update(fraction)
        self._showTimeLeft()

    def _showTimeLeft(self):
        from BreastCMSLDesktop.progress import durationText

        if not self._stage:
            return
        seconds = self._timeLeft.seconds() if self._timeLeft is not None else None
        left = "" if seconds is None else " – " + _("about {duration} left").format(duration=durationText(seconds))
        if self.ui.analyzeButton.enabled or seconds is None:  # not while it says that it is being cancelled
            self._showStatus(self._stage + left)

    def _showStatus(self, text, error=False):
        self.ui.statusLabel.styleSheet = "color: #d32f2f;" if error else ""
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)


#
# Logic
#


class BreastCMSLLogic(ScriptedLoadableModuleLogic, VTKObservationMixin):
    """Runs the analysis and puts its results into the scene; needs no widget and no main window. See docs/scripting.md.

    >>> result = slicer.util.getModuleLogic("BreastCMSL").analyze([pre, post1, post2])
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        VTKObservationMixin.__init__(self)
        # Replaces "PythonSlicer -m BreastCMSLLib": a list of program and arguments. With it set, dependencies are not checked.
        self.childCommand = None
        self._run = None

    def getParameterNode(self):
        return BreastCMSLParameterNode(super().getParameterNode())

    # Analysis

    @property
    def running(self):
        return self._run is not None and self._run.running

    @property
    def lastFailure(self):
        """What is known of the failure of the latest analysis (``analysis.Failure``); empty when it did not fail."""
        return self._run.failure if self._run is not None else analysis.Failure()

    def analyze(
        self,
        source,
        t1=None,
        kind="auto",
        times=None,
        keepOrder=False,
        model=None,
        device="auto",
        mapName=None,
        wait=True,
        progress=None,
        finished=None,
    ):
        """Analyse an exam, and write the results into the scene.

        source: a list of volume nodes (phases or subtractions, in any order, or as given with ``keepOrder``); or one
        sequence browser, sequence or multivolume node; or a list of (such a node, frame index).
        t1: optional volume for the outline of the breasts. kind: "auto", "phases" or "subtractions".
        times: seconds of each volume. model: a bundle's .json file. device: "auto", "cpu", "cuda", "mps". mapName: "COAMxCAM", …
        progress(fraction, text) and finished(Outcome) are called meanwhile.
        With ``wait`` returns the result dictionary; else returns None at once and ``finished`` tells the end.
        Raises BreastCMSLError with one sentence; the scene is then as it was.
        """
        if self.running:
            raise InputError(_("An analysis is already running; wait for it, or cancel it first."))
        items = self.itemsOf(source)
        if any(node is None for node, _index in items):
            raise InputError(_("A volume is missing from the selection; choose one for every phase."))
        rows = [inputs.PhaseRow(node, index, node.GetName(), None, True) for node, index in items]
        problem = inputs.problem(rows, t1)
        if problem:
            raise InputError(problem)
        if self.childCommand is None:
            dependencies.ensureDependencies()
            if self.running:  # installing lets events through
                raise InputError(_("An analysis is already running; wait for it, or cancel it first."))
        analysis.removeLeftovers()
        options = {"device": device, "model": None if model is None else str(model), **({"map": mapName} if mapName else {})}
        run = self._run = analysis.AnalysisRun(
            items, t1, kind, times, keepOrder, options, command=self.childCommand, progress=progress, finished=finished
        )
        run.start()
        if not wait:
            return None
        while run.running:
            run.wait(50)
            slicer.app.processEvents()
        if run.outcome.cancelled:
            raise Cancelled(run.outcome.error)
        if run.outcome.error:
            raise BreastCMSLError(run.outcome.error)
        return run.outcome.result

    @staticmethod
    def itemsOf(source):
        """(node, frame index or None) of what :meth:`analyze` accepts."""
        from BreastCMSLLib.scene.reading import frame_count

        if hasattr(source, "IsA"):
            if source.IsA("vtkMRMLScalarVolumeNode"):
                return [(source, None)]
            return [(source, index) for index in range(frame_count(source))]
        return [item if isinstance(item, tuple) else (item, None) for item in source]

    def cancel(self, reason=""):
        """Stop the child process and all it started. ``finished`` is called once it is gone."""
        if self.running:
            self._run.cancel(reason)

    def stopNow(self):
        """Stop without telling anyone, and wait until the process is gone: the module is being unloaded."""
        if self.running:
            self._run.stopNow()

    # Results

    @staticmethod
    def results(examID):
        """The nodes of an exam's results (``BreastCMSLLib.scene.results.ResultNodes``), or None."""
        from BreastCMSLLib.scene import results

        return results.find_results(slicer.mrmlScene, examID)

    @staticmethod
    def removeResults(examID):
        """Remove an exam's results with all that belongs to them; returns how many nodes there were."""
        from BreastCMSLLib.scene import results

        return results.remove_results(slicer.mrmlScene, examID)

    def writeReport(self, path, examID):
        """Write the one-page HTML report of an exam's results in the scene; returns the path. Raises BreastCMSLError."""
        from BreastCMSLLib.results.report import write_report
        from BreastCMSLLib.scene import results
        from BreastCMSLLib.scene.pictures import peak_pictures
        from BreastCMSLLib.scene.reading import volume_from_node

        result, nodes = results.find_records(slicer.mrmlScene).get(examID), results.find_results(slicer.mrmlScene, examID)
        if result is None or nodes is None:
            raise InputError(_("The scene does not hold the results of this exam any more; press Analyze again."))
        background = nodes.subtraction or self.shownUnder(nodes.heatmap)
        pictures = {}
        if background is not None:
            images = [volume_from_node(node, copy=False) for node in (background, nodes.heatmap)]
            pictures = peak_pictures(*images, result, outlines=results.outline_labels(nodes, result))
        write_report(path, result, pictures)
        return path

    # Views

    @staticmethod
    def showInViews(heatmap, background):
        """The exam's volume in the background of all slice views, the map in front."""
        if heatmap is not None:
            slicer.util.setSliceViewerLayers(background=background, foreground=heatmap, fit=slicer.app.layoutManager() is not None)

    @staticmethod
    def shownUnder(heatmap):
        """The volume node that some slice view shows under a map; None when none does."""
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
            if composite.GetForegroundVolumeID() == heatmap.GetID() and node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
                return node
        return None

    @staticmethod
    def replaceForeground(old, new):
        """Show another map wherever one is shown."""
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if old is not None and composite.GetForegroundVolumeID() == old.GetID():
                composite.SetForegroundVolumeID(new.GetID())

    @staticmethod
    def setOverlay(heatmap, opacity, threshold, visible, legendVisible=True):
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
                legend.SetVisibility(visible and legendVisible)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if composite.GetForegroundVolumeID() == heatmap.GetID():
                composite.SetForegroundOpacity(opacity if visible else 0.0)

    @staticmethod
    def lookOf(heatmap):
        """How a map is drawn now, by the names of the parameter node; what the scene does not tell is left out."""
        look = {}
        display = heatmap.GetDisplayNode()
        if display is not None and display.GetApplyThreshold():
            look["overlayThreshold"] = min(max(display.GetLowerThreshold(), 0.0), 1.0)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if composite.GetForegroundVolumeID() == heatmap.GetID():
                opacity = composite.GetForegroundOpacity()
                look["overlayVisible"] = opacity > 0
                if opacity > 0:
                    look["overlayOpacity"] = min(opacity, 1.0)
                break
        return look  # not the legend: where it is hidden, that may be because the map is

    @staticmethod
    def jumpTo(ras):
        """Move all slice views to a point (RAS mm)."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(float(v) for v in ras), slicer.vtkMRMLSliceNode.CenteredJumpSlice)

    def diagnostics(self, result=None):
        """Text for a problem report: versions, device, model, timings and the last failure, and nothing of the patient."""
        result = result or {}
        report = {
            "slicer": str(getattr(slicer.app, "applicationVersion", "")),
            "python": sys.version.split()[0],
            "platform": sys.platform,
            "missing_packages": dependencies.missingPackages(),
            **{key: result.get(key) for key in ("schema_version", "versions", "device", "device_reason", "precision", "map", "timings_s")},
            "model": {key: (result.get("model") or {}).get(key) for key in ("name", "sha256")},
            "phases": len(result.get("phases", [])),
            "grid": ((result.get("input") or {}).get("grid") or {}).get("size"),
            "last_failure": vars(self.lastFailure),
        }
        return json.dumps(report, indent=1, ensure_ascii=False)


def isResultNode(node):
    """True for nodes an analysis wrote."""
    from BreastCMSLLib.scene.results import EXAM_ID

    return node.GetAttribute(EXAM_ID) is not None


#
# Test
#


class BreastCMSLTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer, and the same outside it: needs no model, no torch and no main window.

    Its cases are the functions of ``BreastCMSLDesktop.self_test``; each gets a fresh scene and a panel to click.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from BreastCMSLDesktop import self_test

        for name, case in self_test.cases():
            self.setUp()
            self.delayDisplay(f"Breast CMSL self-test: {name}")
            self_test.run(case)
        slicer.mrmlScene.Clear()
        self.delayDisplay("Breast CMSL self-test passed")
