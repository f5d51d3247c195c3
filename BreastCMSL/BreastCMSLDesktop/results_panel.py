"""The "Result" and "Overlay" sections: the score, the peaks, the curve at the chosen peak, the maps, and what to do with them."""

import shutil
import tempfile
from html import escape
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .common import describe, present, sideText, signalsBlocked
from .curve_picture import curvePixmap

_WIDTHS = (24, 82, 0, 42, 50, 50)  # of the table's columns in pixels; 0 takes the rest
_DEPTH, _SIZE = 4, 5


class ResultsPanel:
    """Shows the results of one exam, which the scene holds. ``onStatus(text, error)`` shows a sentence."""

    def __init__(self, ui, logic, onStatus):
        self.ui, self._logic, self._onStatus = ui, logic, onStatus
        self._parameters, self.result, self.nodes = None, None, None
        self._listed, self._reports = [], None
        ui.peaksTable.setColumnCount(len(_WIDTHS))
        ui.peaksTable.verticalHeader().hide()
        ui.peaksTable.verticalHeader().setDefaultSectionSize(22)
        ui.peaksTable.connect("itemSelectionChanged()", self._onPeak)
        ui.peaksTable.connect("cellClicked(int,int)", lambda row, column: self._onPeak())  # again on the same row
        ui.resultComboBox.connect("activated(int)", self._onResult)
        ui.mapComboBox.connect("currentIndexChanged(int)", self._onMap)
        ui.plotButton.connect("clicked(bool)", self._onPlot)
        ui.outlineButton.connect("clicked(bool)", self._onOutline)
        ui.reportButton.connect("clicked(bool)", self._onReport)
        ui.removeButton.connect("clicked(bool)", self._onRemove)

    def setParameterNode(self, parameters):
        self._parameters = parameters
        if parameters is not None:
            self.refresh(adopt=True)

    def cleanup(self):
        if self._reports is not None:
            shutil.rmtree(self._reports, ignore_errors=True)
            self._reports = None

    # Showing

    def refresh(self, adopt=False):
        """Show the results the parameter node names, or else the scene's latest; nothing when there are none.

        adopt: they may be there without an analysis of this panel, so that the overlay's controls are to take their looks over.
        """
        from BreastCMSLLib.scene import results

        if self._parameters is None:
            return
        records = results.find_records(slicer.mrmlScene)
        exam = self._parameters.resultExam if self._parameters.resultExam in records else next(reversed(records), "")
        self._listResults(records, exam)
        nodes = results.find_results(slicer.mrmlScene, exam) if exam else None
        if adopt and nodes is not None:
            self._adoptMap(records.get(exam), nodes)
        self._show(records.get(exam), nodes)

    def _adoptMap(self, result, nodes):
        """Let the overlay's controls act on a map of the results shown, with its looks as they are."""
        maps = [node for node in nodes.maps.values() if present(node) is not None]
        if not maps or any(node is present(self._parameters.heatmapVolume) for node in maps):
            return
        heatmap = present(nodes.heatmap) or maps[0]
        with slicer.util.NodeModify(self._parameters.parameterNode):
            look = {"overlayVisible": bool(result.get("map_meaningful", True)), **self._logic.lookOf(heatmap)}
            for name, value in look.items():
                setattr(self._parameters, name, value)
            self._parameters.heatmapVolume = heatmap

    def showExam(self, examID, heatmap):
        """After an analysis: its results, with the strongest peak chosen."""
        self._parameters.resultExam = examID
        self._parameters.heatmapVolume = heatmap
        self.result = None
        self.refresh()
        if self.result is not None and self.result["peaks"]:
            self.ui.peaksTable.setCurrentCell(0, 0)
            self._onPeak()

    def forget(self):
        """The scene is being closed."""
        self._listed = []
        self._show(None, None)

    def _listResults(self, records, exam):
        from BreastCMSLLib.results.report import percent

        self._listed = list(records)
        box = self.ui.resultComboBox
        with signalsBlocked(box):
            box.clear()
            for examID, result in records.items():
                name = next((phase["name"] for phase in result.get("phases", [])), examID)
                box.addItem(_("{name}: {probability}").format(name=name, probability=percent(result["probability"])))
            box.setCurrentIndex(self._listed.index(exam) if exam in self._listed else -1)
        box.visible = len(self._listed) > 1

    def _show(self, result, nodes):
        from BreastCMSLLib.results.wording import note_of, title_of
        from BreastCMSLLib.scene.results import outline_shown

        same = result is not None and result == self.result
        self.result, self.nodes = result, nodes
        self.ui.resultCollapsibleButton.visible = result is not None
        self.ui.overlayCollapsibleButton.visible = result is not None
        maps = dict(nodes.maps) if nodes is not None else {}
        with signalsBlocked(self.ui.mapComboBox):
            self.ui.mapComboBox.clear()
            for number, name in enumerate(maps):
                self.ui.mapComboBox.addItem(title_of(name))
                self.ui.mapComboBox.setItemData(number, _tip(note_of(name)), qt.Qt.ToolTipRole)
            current = present(self._parameters.heatmapVolume) if self._parameters is not None else None
            self.ui.mapComboBox.setCurrentIndex(next((n for n, node in enumerate(maps.values()) if node is current), 0 if maps else -1))
        self._describeMap()
        self.ui.mapComboBox.enabled = len(maps) > 1
        self.ui.overlayCollapsibleButton.enabled = bool(maps)
        for button in (self.ui.plotButton, self.ui.outlineButton, self.ui.reportButton):
            button.enabled = nodes is not None
        self.ui.plotButton.enabled = nodes is not None and nodes.chart is not None
        self.ui.outlineButton.enabled = nodes is not None and present(nodes.outline) is not None
        self.ui.outlineButton.checked = self.ui.outlineButton.enabled and outline_shown(nodes, result)
        self.ui.outlineButton.toolTip = (
            _("Show the outline of the chosen peak in the views while pressed; it follows the choice")
            if result is None or result.get("map_meaningful", True)
            else _("At a score below the threshold the map marks no finding, so nothing is outlined")
        )
        if result is None:
            self.ui.resultLabel.text = ""
            self.ui.peaksTable.setRowCount(0)
            self.ui.warningsLabel.visible = False
        elif not same:
            self.ui.resultLabel.text = resultHtml(result)
            self.ui.resultLabel.toolTip = resultTip(result)
            odd = [reason["text"] for reason in result.get("out_of_range") or ()]
            warnings = [text for text in result.get("warnings") or () if text not in odd]
            self.ui.warningsLabel.text = "\n".join(f"⚠ {warning}" for warning in warnings)
            self.ui.warningsLabel.visible = bool(warnings)
            self._fillPeaks(result)
        if not same:
            self._showCurve(0)

    def _fillPeaks(self, result):
        from BreastCMSLLib.results.report import moved_text, percent, place_text, size_text

        peaks = result["peaks"]
        scored = bool(peaks) and all(peak.get("probability") is not None for peak in peaks)
        table = self.ui.peaksTable
        table.setHorizontalHeaderLabels(
            ["#", _("Probability") if scored else _("Map value"), _("Position (mm)"), _("Side"), _("Depth"), _("Size")]
        )
        with signalsBlocked(table):
            table.setRowCount(len(peaks))
            for row, peak in enumerate(peaks):
                texts = [
                    str(row + 1),
                    percent(peak["probability"] if scored else peak["value"]),
                    place_text(peak["ras_mm"]).removesuffix(" mm"),
                    sideText(peak.get("side")),
                    *("" if peak.get(key) is None else f"{float(peak[key]):.0f} mm" for key in ("depth_mm", "size_mm")),
                ]
                tip = [
                    _("Peak {number}: click to move all views there").format(number=row + 1),
                    place_text(peak["ras_mm"], 1),
                    size_text(peak),
                    moved_text(peak),
                ]
                for column, text in enumerate(texts):
                    item = qt.QTableWidgetItem(text)
                    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                    item.setToolTip("\n".join(filter(None, tip)))
                    table.setItem(row, column, item)
        header = table.horizontalHeader()
        for column, width in enumerate(_WIDTHS):
            header.setSectionResizeMode(column, qt.QHeaderView.Fixed if width else qt.QHeaderView.Stretch)
            if width:
                table.setColumnWidth(column, width)
        for column, key in ((_DEPTH, "depth_mm"), (_SIZE, "size_mm")):
            table.setColumnHidden(column, all(peak.get(key) is None for peak in peaks))
        height = 22 * max(1, len(peaks)) + 32
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        table.visible = bool(peaks)

    def _showCurve(self, place):
        from BreastCMSLLib.findings.kinetics import curve_points, peak_curve

        curve = peak_curve(self.result, place) if self.result is not None else None
        pixmap = curvePixmap(curve_points(curve), curve.get("unit") or "a.u.", mean=meanValues(self.result, place)) if curve else None
        self.ui.curvePicture.visible = pixmap is not None
        self.ui.curveLabel.visible = curve is not None
        if pixmap is not None:
            self.ui.curvePicture.setPixmap(pixmap)
            self.ui.curvePicture.setMinimumHeight(pixmap.height())
        if curve:
            self.ui.curveLabel.text = curveText(curve, place)

    # Choosing

    @property
    def peak(self):
        """Number of the chosen peak, from 0."""
        return max(0, self.ui.peaksTable.currentRow())

    def _onPeak(self):
        from BreastCMSLLib.scene import results

        if self.result is None or self.peak >= len(self.result["peaks"]):
            return
        self._logic.jumpTo(self.result["peaks"][self.peak]["ras_mm"])
        self._showCurve(self.peak)
        if self.nodes is not None and present(self.nodes.chart) is not None and present(self.nodes.curve) is not None:
            results.show_curve(self.nodes, self.result, self.peak)
        if self.ui.outlineButton.checked and self.nodes is not None and present(self.nodes.outline) is not None:
            results.show_outline(self.nodes, self.result, self.peak)

    def _onResult(self, index):
        from BreastCMSLLib.scene import results

        if self._parameters is None or not 0 <= index < len(self._listed):
            return
        found = results.find_results(slicer.mrmlScene, self._listed[index])
        self._parameters.resultExam = self._listed[index]
        if found is not None:
            self._parameters.heatmapVolume = found.heatmap
        self.refresh()
        if found is not None:
            self._logic.showInViews(found.heatmap, found.subtraction or self._logic.shownUnder(found.heatmap))
            self.ui.peaksTable.setCurrentCell(0, 0)
            self._onPeak()

    def _onMap(self, index):
        names = list(self.nodes.maps) if self.nodes is not None else []
        if self._parameters is None or not 0 <= index < len(names):
            return
        node = present(self.nodes.maps[names[index]])
        if node is not None:
            self._logic.replaceForeground(present(self._parameters.heatmapVolume), node)
            self._parameters.heatmapVolume = node
        self._describeMap()

    def _describeMap(self):
        """What the chosen map shows, on hover."""
        from BreastCMSLLib.results.wording import note_of

        names = list(self.nodes.maps) if self.nodes is not None else []
        index = self.ui.mapComboBox.currentIndex
        note = note_of(names[index]) if 0 <= index < len(names) else ""
        self.ui.mapComboBox.toolTip = _tip(note) if note else _("Which map lies over the images, of those the analysis made")

    # Buttons

    def _onPlot(self, checked=False):
        if self.nodes is not None and present(self.nodes.chart) is not None:
            slicer.modules.plots.logic().ShowChartInLayout(self.nodes.chart)

    def _onOutline(self, checked=False):
        from BreastCMSLLib.results.report import size_text
        from BreastCMSLLib.scene import results

        if self.result is None or self.nodes is None or present(self.nodes.outline) is None:
            return
        shown = results.show_outline(self.nodes, self.result, self.peak if self.ui.outlineButton.checked else None)
        if not self.ui.outlineButton.checked:
            self._onStatus(_("The outline is hidden."), False)
        elif not shown:
            self._onStatus(_("Peak {number} has no outline: nothing stands out there.").format(number=self.peak + 1), False)
        else:
            text = _("Outline at peak {number}: {size}. It follows the enhancement; no reader has checked it.")
            self._onStatus(text.format(number=self.peak + 1, size=size_text(self.result["peaks"][self.peak])), False)

    def _onReport(self, checked=False):
        if self.result is None or self.nodes is None:
            return
        try:
            path = self.writeReport()
        except Exception as error:
            self._onStatus(describe(error), True)
            return
        if qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))):
            self._onStatus(_("The report is open in your browser: print it or save it there."), False)
        else:
            self._onStatus(_("No browser could be started; the report is {path}.").format(path=path), True)

    def writeReport(self):
        """Write the report into a temporary folder that goes with this Slicer; returns its path."""
        import os

        from .analysis import FOLDER_PREFIX

        if self._reports is None:
            prefix = f"{FOLDER_PREFIX}{os.getpid()}-report-"
            self._reports = Path(tempfile.mkdtemp(prefix=prefix, dir=str(slicer.app.temporaryPath)))
        return self._logic.writeReport(self._reports / f"BreastCMSL report {self.result['exam_id']}.html", self.result["exam_id"])

    def _onRemove(self, checked=False):
        if self.result is not None:
            self._logic.removeResults(self.result["exam_id"])
            self.refresh(adopt=True)
            self._onStatus(_("The results were removed; the exam itself is untouched."), False)


def resultHtml(result):
    """The score, what it means at the model's threshold, and whether the map may be read."""
    from BreastCMSLLib.results.report import finding_text, percent, reasons_text

    colour = "#c62828" if result["malignant"] else "#2e7d32"
    verdict = _("suspicious") if result["malignant"] else _("not suspicious")
    lines = [
        f"<span style='font-size:20pt; font-weight:600; color:{colour}'>{escape(percent(result['probability']))}</span>&nbsp;&nbsp;"
        f"<b>{escape(verdict)}</b> ({escape(_('threshold'))} {escape(percent(result['threshold']))})"
    ]
    for reason in result.get("out_of_range") or ():
        odd = _("Outside what the model was made for, do not rely on the score: {reason}").format(reason=reason["text"])
        lines.append(f"<span style='color:#c62828'>■&nbsp;{escape(odd)}</span>")
    if not result.get("map_meaningful", True):
        lines.append(escape(_("The map is not meaningful at this score: its peaks are no findings.")))
    elif result.get("finding"):
        lines.append(escape(_("Finding: {text}").format(text=finding_text(result))))
        if why := reasons_text(result["finding"]):
            lines.append(escape(_("What speaks {text}").format(text=why)))
    training = (result.get("model") or {}).get("training_data")
    if training:
        lines.append(f"<i>{escape(_('Model trained on {data}').format(data=training))}</i>")
    return "<br>".join(lines)


def resultTip(result):
    from BreastCMSLLib.models.cards import evidence_lines

    model = result.get("model") or {}
    lines = [f"{_('Model')} {model.get('name', '')}, SHA-256 {str(model.get('sha256', ''))[:16]}…", *evidence_lines(model.get("evidence"))]
    lines.append(_("Computed on: {device}").format(device=result.get("device_reason") or result.get("device") or ""))
    return "<br>".join(escape(line) for line in lines)


def curveText(curve, place):
    """Type, wash-in and wash-out in one line."""
    from BreastCMSLLib.results.report import curve_facts

    kind = curve.get("type") or _("type unknown")
    return _("Peak {number}, brightest 4 mm: {facts}").format(number=place + 1, facts=", ".join([kind, *curve_facts(curve)]))


def meanValues(result, place):
    """Values of the mean curve of the finding's outline, to draw beside the first peak's; None where there is none."""
    from BreastCMSLLib.findings.kinetics import curve_points, peak_curve

    mean = (result.get("finding") or {}).get("kinetics") if place == 0 else None
    own = peak_curve(result, place)
    if not mean or not own or mean.get("unit") != own.get("unit"):
        return None
    values = curve_points(mean)[1]
    return values if len(values) == len(curve_points(own)[1]) else None


def _tip(text):
    """A tooltip that wraps."""
    return f"<qt>{escape(text)}</qt>"
