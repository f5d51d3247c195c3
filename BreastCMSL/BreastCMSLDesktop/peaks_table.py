"""The table of a result's peaks, most suspicious first."""

import qt
from slicer.i18n import tr as _

from .common import fitColumns, fitRows, plainTip, signalsBlocked

_COLUMNS, _POSITION, _CHANGE = 7, 2, 6
_LENGTHS = {4: "depth_mm", 5: "size_mm"}  # columns that are hidden when no peak has the length
_LENGTHS_COMPARED = (5,)  # those that leave room for the change


class PeaksTable:
    """Shows peaks in a QTableWidget. onPeak(): one was chosen, for the first time or again."""

    def __init__(self, table, onPeak):
        self._table = table
        table.setColumnCount(_COLUMNS)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", onPeak)
        table.connect("cellClicked(int,int)", lambda row, column: onPeak())

    @property
    def current(self):
        """Number of the chosen peak, from 0."""
        return max(0, self._table.currentRow())

    def choose(self, row):
        self._table.setCurrentCell(row, 0)

    def show(self, result, changes=None):
        """result: None for no peaks. changes: number of a peak, from 1 → what became of it."""
        peaks = result["peaks"] if result is not None else []
        inRange = bool(peaks) and not result.get("out_of_range")  # else no probability means anything
        scored = inRange and all(peak.get("probability") is not None for peak in peaks)
        judged = scored and all(peak.get("suspicion") for peak in peaks)
        value = _("Suspicion") if judged else _("Probability") if scored else _("Map value")
        self._table.setHorizontalHeaderLabels(
            ["#", value, _("Position (mm)"), _("Side"), _("Depth"), _("Size"), _("Change")]
        )
        with signalsBlocked(self._table):
            self._table.setRowCount(len(peaks))
            for row, peak in enumerate(peaks):
                self._fillRow(row, peak, scored, judged, (changes or {}).get(row + 1, ""))
        self._table.setColumnHidden(_CHANGE, changes is None)
        self._layOut(peaks, _LENGTHS if changes is None else _LENGTHS_COMPARED)

    def _fillRow(self, row, peak, scored, judged, change):
        from BreastCMSLLib.results.wording import (
            moved_text,
            percent,
            position_text,
            probability_percent,
            size_text,
        )
        from BreastCMSLLib.results.wording_finding import place_text, region_text

        height = probability_percent(peak["probability"]) if scored else percent(peak["value"])
        texts = [
            str(row + 1),
            peak["suspicion"] if judged else height,
            position_text(peak["ras_mm"]).removesuffix(" mm"),
            sideText(peak.get("side")),
            *("" if peak.get(key) is None else f"{float(peak[key]):.0f} mm" for key in _LENGTHS.values()),
            change,
        ]
        click = _("Candidate {number}: click to move all views there").format(number=row + 1)
        tip = [click, place_text(peak), region_text(peak), position_text(peak["ras_mm"], 1)]
        tip += [size_text(peak), moved_text(peak)]
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip(plainTip("\n".join(filter(None, tip))))
            self._table.setItem(row, column, item)

    def _layOut(self, peaks, lengths):
        for column, key in _LENGTHS.items():
            absent = all(peak.get(key) is None for peak in peaks)
            self._table.setColumnHidden(column, absent or column not in lengths)
        needed = fitColumns(self._table, stretched=_POSITION)
        self._table.setMinimumWidth(needed)  # positions are short, and read as a whole
        fitRows(self._table, fewest=1, most=len(peaks))
        self._table.visible = bool(peaks)


def sideText(side):
    return {"left": _("left"), "right": _("right")}.get(side, str(side or ""))
