"""The "Result" section: the score, the peaks, the curve at the chosen peak, and what to do with them."""

import os
import shutil
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import views
from .analysis import FOLDER_PREFIX
from .common import describe, present, signalsBlocked, waitCursor
from .curve_picture import curvePixmap
from .descriptors_panel import DescriptorsPanel
from .overlay_panel import OverlayPanel
from .peaks_table import PeaksTable
from .result_text import (
    changesOfPeaks,
    comparisonHtml,
    curveText,
    noFindingText,
    resultHtml,
    resultTip,
    warningsText,
)


class ResultsPanel:
    """Shows the results of one exam, which the scene holds. onStatus(text, error=False): shows a sentence."""

    def __init__(self, ui, logic, onStatus):
        self.ui, self._logic, self._onStatus = ui, logic, onStatus
        self._parameters, self.result, self.nodes = None, None, None
        self._exams, self._reports, self._viewers = [], None, {}
        self.table = PeaksTable(ui.peaksTable, self._onPeak)
        self.overlay = OverlayPanel(ui)
        self.descriptors = DescriptorsPanel(ui)
        ui.resultComboBox.connect("activated(int)", self._onResult)
        ui.comparisonLabel.connect("linkActivated(QString)", self._onChange)
        ui.plotButton.connect("clicked(bool)", self._onPlot)
        ui.outlineButton.connect("clicked(bool)", self._onOutline)
        ui.reportButton.connect("clicked(bool)", self._onReport)
        ui.viewerButton.connect("clicked(bool)", self._onViewer)
        ui.dicomButton.connect("clicked(bool)", self._onDicom)
        ui.removeButton.connect("clicked(bool)", self._onRemove)

    def setParameterNode(self, parameters):
        self._parameters = parameters
        self.overlay.setParameterNode(parameters)
        self.refresh(adopt=True)

    def cleanup(self):
        if self._reports is not None:
            shutil.rmtree(self._reports, ignore_errors=True)
            self._reports = None
        for exam in list(self._viewers):
            self.keepViewer(exam, None)

    def keepViewer(self, examID, path):
        """Keep the page for the browser of an exam's results, and no earlier one. path: None for none."""
        earlier = self._viewers.pop(examID, None)
        if earlier is not None:
            shutil.rmtree(earlier.parent, ignore_errors=True)
        if path is not None:
            self._viewers[examID] = path

    # Showing

    def refresh(self, adopt=False):
        """Show the results the parameter node names, or else the scene's latest; nothing when there are none.

        adopt: they may be none of this panel's; the overlay's controls then take over how they look.
        """
        from BreastCMSLLib.scene import results

        if self._parameters is None:
            return
        records = results.find_records(slicer.mrmlScene)
        chosen = self._parameters.resultExam
        exam = chosen if chosen in records else next(reversed(records), "")
        self._listExams(records, exam)
        result, nodes = records.get(exam), self._logic.results(exam) if exam else None
        if adopt and nodes is not None:
            self.overlay.adopt(result, nodes)
        self._show(result, nodes)

    def showExam(self, examID, heatmap):
        """After an analysis: its results, with the first peak chosen."""
        self._parameters.resultExam = examID
        self._parameters.heatmapVolume = heatmap
        self.result = None
        self.refresh()
        if self.result is not None and self.result["peaks"]:
            self.table.choose(0)
            self._onPeak()

    def forget(self):
        """The scene is being closed."""
        self._exams = []
        self._show(None, None)

    def _listExams(self, records, exam):
        from BreastCMSLLib.results.wording import score_percent, verdict

        self._exams = list(records)
        box = self.ui.resultComboBox
        with signalsBlocked(box):
            box.clear()
            for examID, result in records.items():
                name = next((phase["name"] for phase in result.get("phases", [])), examID)
                score = verdict(result) if result.get("out_of_range") else score_percent(result)
                box.addItem(f"{name}: {score}")
            box.setCurrentIndex(self._exams.index(exam) if exam in self._exams else -1)
        box.visible = len(self._exams) > 1

    def _show(self, result, nodes):
        same = result is not None and result == self.result
        self.result, self.nodes = result, nodes
        for section in (self.ui.resultCollapsibleButton, self.ui.overlayCollapsibleButton):
            section.visible = result is not None
        self.overlay.show(nodes.maps if nodes is not None else {}, result)
        self._showButtons()
        if not same:
            self._showScore()
            self.table.show(result, changesOfPeaks(result))
            self._showCurve(0)
            self.descriptors.show(result)

    def _showButtons(self):
        from BreastCMSLLib.scene.outlines import outline_shown

        nodes, result, button = self.nodes, self.result, self.ui.outlineButton
        self.ui.reportButton.enabled = nodes is not None
        self.ui.dicomButton.enabled = nodes is not None
        viewer = nodes is not None and result["exam_id"] in self._viewers
        self.ui.viewerButton.enabled = viewer
        self.ui.viewerButton.toolTip = (
            _("Open the images in the browser, to scroll through without Slicer, or to save")
            if viewer
            else _("None was made: choose it under Advanced, Browser, and press Analyze")
        )
        self.ui.plotButton.enabled = self._has("chart")
        missing = noFindingText(result) if result is not None else ""
        button.enabled = self._has("outline") and not missing
        button.checked = button.enabled and outline_shown(nodes, result)
        button.toolTip = missing or _("Show the outline of the chosen candidate (key O)")

    def _showScore(self):
        shown = self.result is not None
        self.ui.resultLabel.text = resultHtml(self.result) if shown else ""
        self.ui.resultLabel.toolTip = resultTip(self.result) if shown else ""
        self.ui.warningsLabel.text = warningsText(self.result) if shown else ""
        self.ui.warningsLabel.visible = bool(self.ui.warningsLabel.text)
        self.ui.comparisonLabel.text = comparisonHtml(self.result) if shown else ""
        self.ui.comparisonLabel.visible = bool(self.ui.comparisonLabel.text)
        self.ui.priorButton.visible = bool(self.ui.comparisonLabel.text)

    def _showCurve(self, peak):
        from BreastCMSLLib.findings.kinetics import peak_curve

        curve = peak_curve(self.result, peak) if self.result is not None else None
        pixmap = curvePixmap(self.result, peak) if curve else None
        self.ui.curvePicture.visible = pixmap is not None
        self.ui.curveLabel.visible = bool(curve)
        if pixmap is not None:
            self.ui.curvePicture.setPixmap(pixmap)
            self.ui.curvePicture.setMinimumHeight(pixmap.height())
        if curve:
            self.ui.curveLabel.text = curveText(curve, peak)

    def _has(self, role):
        """Whether the scene still holds a node of the results shown."""
        return self.nodes is not None and present(getattr(self.nodes, role)) is not None

    # Choosing

    @property
    def peak(self):
        """Number of the chosen peak, from 0."""
        return self.table.current

    @property
    def position(self):
        """Of the chosen candidate, RAS mm; None without one."""
        peaks = self.result["peaks"] if self.result is not None else []
        return peaks[self.peak]["ras_mm"] if self.peak < len(peaks) else None

    def step(self, by):
        """Choose the next or an earlier candidate, around the ends."""
        if self.result is not None and self.result["peaks"]:
            self.table.choose((self.peak + by) % len(self.result["peaks"]))

    def _onPeak(self):
        from BreastCMSLLib.scene.curves import show_curve
        from BreastCMSLLib.scene.outlines import show_outline

        if self.result is None or self.peak >= len(self.result["peaks"]):
            return
        views.jumpTo(self.result["peaks"][self.peak]["ras_mm"])
        self._showCurve(self.peak)
        if self._has("chart") and self._has("curve"):
            show_curve(self.nodes, self.result, self.peak)
        if self.ui.outlineButton.checked and self._has("outline"):
            show_outline(self.nodes, self.result, self.peak)

    def _onChange(self, number):
        """A change since the prior exam: move all views there, and choose its candidate where it has one."""
        findings = (self.result.get("comparison") or {}).get("findings") or []
        finding = findings[int(number)]
        if finding["peak"] is not None:
            self.table.choose(finding["peak"] - 1)
        views.jumpTo(finding["ras_mm"])

    def _onResult(self, index):
        if self._parameters is None or not 0 <= index < len(self._exams):
            return
        exam = self._exams[index]
        nodes = self._logic.results(exam)
        if nodes is None:
            self._parameters.resultExam = exam
            self.refresh()
        else:
            views.showInViews(nodes.heatmap, nodes.subtraction or views.shownUnder(nodes.heatmap))
            self.showExam(exam, nodes.heatmap)

    # Buttons

    def _onPlot(self, checked=False):
        if self._has("chart"):
            slicer.modules.plots.logic().ShowChartInLayout(self.nodes.chart)

    def _onOutline(self, checked=False):
        from BreastCMSLLib.results.wording import size_text
        from BreastCMSLLib.scene.outlines import show_outline

        if self.result is None or not self._has("outline"):
            return
        wanted, number = self.ui.outlineButton.checked, self.peak + 1
        shown = show_outline(self.nodes, self.result, self.peak if wanted else None)
        if not wanted:
            self._onStatus(_("The outline is hidden."))
        elif not shown:
            text = _("Candidate {number} has no outline: nothing stands out there.")
            self._onStatus(text.format(number=number))
        else:
            text = _("Outline at candidate {number}: {size}. Drawn by the program, checked by no reader.")
            self._onStatus(text.format(number=number, size=size_text(self.result["peaks"][self.peak])))

    def _onReport(self, checked=False):
        if self.result is None or self.nodes is None:
            return
        try:
            path = self.writeReport()
        except Exception as error:
            self._onStatus(describe(error), error=True)
            return
        self._open(path, _("The report is open in your browser: print it or save it there."))

    def _onViewer(self, checked=False):
        path = self._viewers.get(self.result["exam_id"]) if self.result is not None else None
        if path is not None:
            self._open(path, _("The images are open in your browser: save the page there to hand it on."))

    def _open(self, path, text):
        """Open a page in the browser and say so, or where it is."""
        if qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))):
            self._onStatus(text)
        else:
            text = _("No browser could be started; the page is {path}.")
            self._onStatus(text.format(path=path), error=True)

    def writeReport(self):
        """Write the report into a temporary folder that goes with this Slicer; returns its path."""
        if self._reports is None:
            prefix = f"{FOLDER_PREFIX}{os.getpid()}-report-"
            self._reports = Path(tempfile.mkdtemp(prefix=prefix, dir=str(slicer.app.temporaryPath)))
        exam = self.result["exam_id"]
        return self._logic.writeReport(self._reports / f"BreastCMSL report {exam}.html", exam)

    def _onDicom(self, checked=False):
        if self.result is None or self.nodes is None:
            return
        title = _("Folder for DICOM results")
        folder = qt.QFileDialog.getExistingDirectory(self.ui.dicomButton, title)
        if not folder:
            return
        try:
            with waitCursor():
                files = self._logic.writeDicom(folder, self.result["exam_id"])
        except Exception as error:
            self._onStatus(describe(error), error=True)
            return
        text = _("{count} DICOM objects were written to {folder}.")
        self._onStatus(text.format(count=len(files), folder=files[0].parent))

    def _onRemove(self, checked=False):
        if self.result is not None:
            exam = self.result["exam_id"]
            self._logic.removeResults(exam)
            self.keepViewer(exam, None)
            self.refresh(adopt=True)
            self._onStatus(_("The results were removed; the exam itself is untouched."))
