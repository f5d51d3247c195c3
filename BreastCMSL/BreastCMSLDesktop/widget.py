"""The module's panel. Its sections are parts of their own; this puts them together."""

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import dependencies, inputs, views
from .analysis import Outcome
from .common import RESOURCES, GuiConnection, describe, present, setSetting, setting
from .inputs_panel import InputsPanel
from .look_panel import LookPanel
from .models_panel import ModelsPanel
from .prior_panel import PriorPanel
from .results_panel import ResultsPanel
from .run_panel import RunPanel
from .views_panel import ViewsPanel


class Widget(VTKObservationMixin):
    """Shows what the logic says, and passes on what the user asks. Holds no analysis.

    Parameters
    ----------
    logic : BreastCMSLLogic
    isOpen : callable
        Whether the user has the module before them.

    Attributes
    ----------
    root : QWidget
        To be put into a layout.
    ui : namespace
        The widgets of ``BreastCMSL.ui`` by name.
    """

    def __init__(self, logic, isOpen=lambda: True):
        VTKObservationMixin.__init__(self)
        self.logic, self._isOpen = logic, isOpen
        self._parameterNode, self._connection = None, None
        self._exams = 1  # that the analysis under way reads
        self.root = slicer.util.loadUI(str(RESOURCES / "UI" / "BreastCMSL.ui"))
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.root.setMRMLScene(slicer.mrmlScene)
        self.run = RunPanel(self.ui)
        self.inputs = InputsPanel(self.ui, self._updateControls)
        self.prior = PriorPanel(self.ui, self.inputs, self._updateControls)
        self.models = ModelsPanel(self.ui, self._onModelChosen, self._showError)
        self.results = ResultsPanel(self.ui, logic, self.run.show)
        self.look = LookPanel(self.ui, self.inputs, self.results)
        self.views = ViewsPanel(self.ui, self.root, self.inputs, self.results, self.run.show)
        self.ui.analyzeButton.connect("clicked(bool)", self.onAnalyzeButton)
        self.ui.installButton.connect("clicked(bool)", self.onInstallButton)
        self.ui.diagnosticsButton.connect("clicked(bool)", self.onDiagnosticsButton)
        self._observeScene()
        self.results.forget()
        self.run.show("")
        self.run.stop()
        self.enter()

    def enter(self):
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self):
        self.setParameterNode(None)

    def cleanup(self):
        """The module is unloaded or Slicer exits."""
        self.logic.stopNow()
        self.results.cleanup()
        self.look.forget()
        self.run.stop()
        self.setParameterNode(None)
        self.removeObservers()

    # Parameter node

    def setParameterNode(self, parameterNode):
        """Show a parameter node, and write the user's choices into it; None while the module is not open."""
        modified = vtk.vtkCommand.ModifiedEvent
        if self._parameterNode is not None:
            self._connection.undo()
            self.removeObserver(self._parameterNode.parameterNode, modified, self.onParameterNodeModified)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            widgets = [widget for widget in vars(self.ui).values() if hasattr(widget, "property")]
            named = {widget.property("SlicerParameterName"): widget for widget in widgets}
            shown = {name: widget for name, widget in named.items() if name}
            self._connection = GuiConnection(parameterNode, shown)
            self.addObserver(parameterNode.parameterNode, modified, self.onParameterNodeModified)
            self._showModel()
        self.inputs.setParameterNode(parameterNode)
        self.prior.setParameterNode(parameterNode)
        self.results.setParameterNode(parameterNode)
        self.look.setParameterNode(parameterNode)
        self._updateControls()

    def onParameterNodeModified(self, caller=None, event=None):
        self.inputs.refresh()
        if self._parameterNode is not None and present(self._parameterNode.heatmapVolume) is not None:
            views.showOverlay(self._parameterNode)

    def _showModel(self):
        if not self.models.show(self._parameterNode.modelPath):
            self._showError(_("The model of this scene was not found; the one that ships is used."))
            self._parameterNode.modelPath = ""

    def _onModelChosen(self, path):
        if self._parameterNode is not None:
            self._parameterNode.modelPath = path

    # Scene

    def _observeScene(self):
        scene = slicer.mrmlScene
        for event, callback in (
            (scene.StartCloseEvent, self.onSceneStartClose),
            (scene.EndCloseEvent, self.onSceneEndClose),
            (scene.NodeAddedEvent, self.onSceneNodesChanged),
            (scene.NodeRemovedEvent, self.onSceneNodesChanged),
            (scene.EndBatchProcessEvent, self.onSceneNodesChanged),
            (scene.EndImportEvent, self.onSceneReplaced),
            (scene.EndUndoEvent, self.onSceneReplaced),
            (scene.EndRedoEvent, self.onSceneReplaced),
        ):
            self.addObserver(scene, event, callback)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.inputs.forget()
        self.results.forget()

    def onSceneEndClose(self, caller, event):
        if self._isOpen():
            self.enter()

    def onSceneNodesChanged(self, caller, event):
        scene = slicer.mrmlScene
        busy = scene.IsClosing() or scene.IsImporting() or scene.IsBatchProcessing()
        if self._parameterNode is not None and not (busy or scene.IsUndoing() or scene.IsRedoing()):
            self.inputs.refresh()
            self.results.refresh()

    def onSceneReplaced(self, caller, event):
        """Something was imported, undone or redone: there may be results that are none of this panel's."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsClosing():
            self.inputs.refresh()
            self.results.refresh(adopt=True)

    # Analysis

    def onAnalyzeButton(self, checked=False):
        if self.logic.running:
            self.run.cancelling()
            self.logic.cancel()
        else:
            self._analyze()

    def _analyze(self):
        p, rows, prior = self._parameterNode, self.inputs.rows, self.prior.rows
        self.run.start()
        try:
            self.run.progress(0.0, _("Checking what is installed…"))
            self.logic.ensureDependencies()
            self._exams = 2 if prior else 1
            self.run.startClock(self._exams * float(setting("SecondsOfLastAnalysis", 0) or 0))
            self.logic.analyze(
                inputs.items(rows),
                t1=self.inputs.t1,
                kind=p.volumeKind.value,
                times=inputs.times(rows),
                keepOrder=True,
                model=p.modelPath or None,
                device=p.device.value,
                operatingPoint=self._operatingPoint(),
                register=p.registration.value,
                kinetics=p.kineticMaps,
                comparedMaps=p.comparedMaps,
                viewer=p.browserViewer,
                prior=inputs.items(prior) or None,
                priorTimes=inputs.times(prior),
                # that of frames is the user's, that of single volumes was never shown
                priorKeepOrder=any(row.index is not None for row in prior),
                wait=False,
                progress=self.run.progress,
                finished=self.onFinished,
            )
            self.ui.analyzeButton.enabled = self.logic.running
        except Exception as error:
            self.onFinished(Outcome(error=describe(error)))

    def _operatingPoint(self):
        """The chosen sensitivity, None for the model's own or where the model has no others."""
        card, chosen = self.models.current(), self._parameterNode.operatingPoint.value
        return chosen or None if card is not None and chosen in card.operating_points else None

    def onFinished(self, outcome):
        elapsed = self.run.stop()
        if outcome.error:
            self._showFailure(outcome)
        else:
            self._showResult(outcome, elapsed)
        self._updateControls()

    def _showFailure(self, outcome):
        self.run.show(outcome.error, error=not outcome.cancelled)
        if outcome.cancelled:
            return
        if self.logic.lastFailure.trace:
            self.ui.advancedCollapsibleButton.collapsed = False  # where "Copy diagnostics" is
        if slicer.util.mainWindow() is not None:
            slicer.util.errorDisplay(outcome.error)

    def _showResult(self, outcome, elapsed):
        result, heatmap = outcome.result, outcome.nodes.heatmap
        setSetting("SecondsOfLastAnalysis", round(elapsed / self._exams, 1))
        device = result.get("device_reason") or result.get("device") or ""
        self.run.show(_("Done in {seconds:.0f} s on: {device}.").format(seconds=elapsed, device=device))
        # the user may have gone to another module meanwhile
        p = self._parameterNode or self.logic.getParameterNode()
        p.overlayVisible = False  # outline and marker show where; a map over the lesion would hide it
        p.overlayThreshold = min(max(float(result.get("map_threshold", p.overlayThreshold)), 0.0), 1.0)
        self.ui.inputsCollapsibleButton.collapsed = True  # so that the finding fits on one screen
        p.resultExam, p.heatmapVolume = str(result["exam_id"]), heatmap
        self.results.keepViewer(p.resultExam, outcome.viewer)
        views.showInViews(heatmap, outcome.background)
        views.showOverlay(p)
        if self._parameterNode is not None:
            self.results.showExam(p.resultExam, heatmap)
        elif result["peaks"]:
            views.jumpTo(result["peaks"][0]["ras_mm"])

    def _updateControls(self):
        if not self.logic.running:
            ready = self._parameterNode is not None
            self.prior.refresh()
            self.run.setProblem(self.inputs.problem() or self.prior.problem() if ready else "", ready)

    # Buttons under Advanced

    def onInstallButton(self, checked=False):
        folder = dependencies.chooseFolder(self.ui.installButton)
        if not folder:
            return
        try:
            installed = dependencies.installFromFolder(folder)
        except Exception as error:
            self._showError(describe(error))
            return
        if installed:
            self.run.show(_("Installed: {names}.").format(names=", ".join(installed)))
        else:
            self.run.show(_("Everything the analysis needs is installed."))

    def onDiagnosticsButton(self, checked=False):
        slicer.app.clipboard().setText(self.logic.diagnostics(self.results.result))
        self.run.show(_("Diagnostics copied: paste them into your report. They hold no patient data."))

    def _showError(self, text):
        self.run.show(text, error=True)
