"""The table of phases: which volumes are used, in which order, when they were taken, and as what."""

from dataclasses import replace

import qt
from slicer.i18n import tr as _

from . import inputs
from .common import signalsBlocked

PRE, POST, SUBTRACTION, T1, UNUSED = "pre", "post", "subtraction", "t1", "unused"
_USE, _NAME, _TIME, _ROLE = range(4)


class PhaseTable:
    """Shows rows in a QTableWidget and tells ``onRows(rows)``, ``onRole(row number, role)`` what the user changes."""

    def __init__(self, table, onRows, onRole):
        self._table, self._onRows, self._onRole = table, onRows, onRole
        self._rows, self._filling = [], False
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels(["#", _("Volume"), _("Time (s)"), _("Role")])
        header = table.horizontalHeader()
        header.setSectionResizeMode(_NAME, qt.QHeaderView.Stretch)
        for column, width in ((_USE, 40), (_TIME, 60), (_ROLE, 116)):
            header.setSectionResizeMode(column, qt.QHeaderView.Fixed)
            table.setColumnWidth(column, width)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    @property
    def rows(self):
        return list(self._rows)

    def show(self, rows, kind, t1=None):
        """kind: "phases" or "subtractions", what the used volumes are taken for. t1: the node chosen as T1, or None."""
        self._rows = list(rows)
        current = self._table.currentRow()
        self._filling = True
        try:
            with signalsBlocked(self._table):
                self._table.setRowCount(len(rows))
                place = 0
                for number, row in enumerate(rows):
                    place += row.use
                    self._fill(number, row, place, roleOf(row, place, kind, t1))
            if 0 <= current < len(rows):
                self._table.setCurrentCell(current, _NAME)
            height = min(max(len(rows), 2), 8) * 24 + 30
            self._table.setMinimumHeight(height)
            self._table.setMaximumHeight(height)
        finally:
            self._filling = False

    def _fill(self, number, row, place, role):
        tip = inputs.describe(row)
        use = qt.QTableWidgetItem(str(place) if row.use else "")
        use.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        use.setCheckState(qt.Qt.Checked if row.use else qt.Qt.Unchecked)
        name = qt.QTableWidgetItem(row.name)
        name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        time = qt.QTableWidgetItem("" if row.timeS is None or not row.use else f"{row.timeS:g}")
        editable = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        time.setFlags(editable | qt.Qt.ItemIsEditable if row.use else editable)
        time.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        if not row.use:
            name.setForeground(qt.QBrush(qt.QColor("gray")))
        for column, item in ((_USE, use), (_NAME, name), (_TIME, time)):
            item.setToolTip(tip)
            self._table.setItem(number, column, item)
        self._showRole(number, row, role)

    def _showRole(self, number, row, role):
        """Reuses the box of the line: one that is replaced while it speaks would still be on the screen for a moment."""
        choices = [(PRE, _("Pre-contrast")), (POST, _("Post-contrast")), (SUBTRACTION, _("Subtraction"))]
        if row.index is None:
            choices.append((T1, _("T1 (outline)")))
        choices.append((UNUSED, _("Not used")))
        box = self._table.cellWidget(number, _ROLE)
        if box is None or box.count != len(choices):
            if box is not None:
                box.hide()
            box = qt.QComboBox()
            for value, text in choices:
                box.addItem(text, value)
            box.setToolTip(_("What this volume is: before or after contrast, a subtraction, the T1 for the outline, or not used"))
            box.setFrame(False)
            box.connect("currentIndexChanged(int)", lambda index, number=number: self._onRoleChanged(number, choices[index][0]))
            self._table.setCellWidget(number, _ROLE, box)
        with signalsBlocked(box):
            box.setCurrentIndex([value for value, _text in choices].index(role))

    def _onRoleChanged(self, number, role):
        if not self._filling and number < len(self._rows):
            qt.QTimer.singleShot(0, lambda: self._onRole(number, role))  # what follows changes the box that speaks

    def _onItemChanged(self, item):
        if self._filling or item.row() >= len(self._rows):
            return
        number, row = item.row(), self._rows[item.row()]
        if item.column() == _USE:
            changed = replace(row, use=item.checkState() == qt.Qt.Checked)
        elif item.column() == _TIME:
            text = item.text().strip().replace(",", ".")
            try:
                changed = replace(row, timeS=float(text) if text else None)
            except ValueError:
                changed = row  # shown again as it was
        else:
            return
        rows = [*self._rows[:number], changed, *self._rows[number + 1 :]]
        qt.QTimer.singleShot(0, lambda: self._onRows(rows))

    def move(self, step):
        """Move the selected row up (-1) or down (1)."""
        number = self._table.currentRow()
        target = number + step
        if not (0 <= number < len(self._rows) and 0 <= target < len(self._rows)):
            return
        rows = list(self._rows)
        rows[number], rows[target] = rows[target], rows[number]
        self._table.setCurrentCell(target, _NAME)
        self._onRows(rows)


def roleOf(row, place, kind, t1):
    """The role a row has, given its place (from 1) among the rows in use."""
    if not row.use:
        return T1 if t1 is not None and row.index is None and row.node is t1 else UNUSED
    if kind == "subtractions":
        return SUBTRACTION
    return PRE if place == 1 else POST


def withRole(rows, number, role):
    """The rows after the row ``number`` was given a role; T1 is kept elsewhere and only leaves the dynamic volumes here."""
    rows = list(rows)
    row = rows.pop(number)
    used = [n for n, other in enumerate(rows) if other.use]
    if role in (UNUSED, T1):
        rows.insert(number, replace(row, use=False))
    elif role == PRE:
        rows.insert(0, replace(row, use=True))
    elif role == POST and used and number <= used[0]:
        rows.insert(used[0] + 1, replace(row, use=True))  # it was the first: another one becomes the one before contrast
    else:
        rows.insert(number, replace(row, use=True))
    return rows
