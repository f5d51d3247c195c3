"""The table of phases: which volumes are used, in which order, when they were acquired, and as what."""

from dataclasses import replace

import qt
from slicer.i18n import tr as _

from . import inputs
from .common import fitColumns, fitRows, plainTip, signalsBlocked

PRE, POST, SUBTRACTION, T1, UNUSED = "pre", "post", "subtraction", "t1", "unused"
_USE, _NAME, _TIME, _ROLE = range(4)
_FEWEST, _MOST = 2, 8  # rows that are in sight


class PhaseTable:
    """Shows rows in a QTableWidget.

    onRows(rows): the user changed use, time or order. onRole(row number, role): the user chose a role.
    """

    def __init__(self, table, onRows, onRole):
        self._table, self._onRows, self._onRole = table, onRows, onRole
        self._rows, self._filling = [], False
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels(["#", _("Volume"), _("Time (s)"), _("Role")])
        table.verticalHeader().hide()
        fitColumns(table, stretched=_NAME)
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    @property
    def rows(self):
        return list(self._rows)

    def show(self, rows, kind, t1=None):
        """kind: "phases" or "subtractions", what the used volumes are. t1: the node chosen as T1."""
        self._rows = list(rows)
        current = self._table.currentRow()
        self._filling = True
        try:
            with signalsBlocked(self._table):
                self._table.setRowCount(len(rows))
                order = 0
                for number, row in enumerate(rows):
                    order += row.use
                    role = roleOf(row, order, kind, t1)
                    self._fillRow(number, row, order, role)
                    self._showRole(number, row, role)
            if 0 <= current < len(rows):
                self._table.setCurrentCell(current, _NAME)
            fitRows(self._table, _FEWEST, _MOST)
        finally:
            self._filling = False

    def _fillRow(self, number, row, order, role):
        shown = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        use = qt.QTableWidgetItem(str(order) if row.use else "")
        use.setFlags(shown | qt.Qt.ItemIsUserCheckable)
        use.setCheckState(qt.Qt.Checked if row.use else qt.Qt.Unchecked)
        why = row.reason if role == UNUSED else ""
        name = qt.QTableWidgetItem(f"{row.name}: {why}" if why else row.name)
        name.setFlags(shown)
        if not row.use:
            name.setForeground(qt.QBrush(qt.QColor("gray")))
        time = qt.QTableWidgetItem("" if row.timeS is None or not row.use else f"{row.timeS:g}")
        time.setFlags(shown | qt.Qt.ItemIsEditable if row.use else shown)
        time.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        tip = inputs.describe(row) + (f"\n{why[:1].upper()}{why[1:]}" if why else "")
        for column, item in ((_USE, use), (_NAME, name), (_TIME, time)):
            item.setToolTip(plainTip(tip))
            self._table.setItem(number, column, item)

    def _showRole(self, number, row, role):
        """Reuses the line's box: one replaced while it sends its signal would stay visible for a moment."""
        choices = [(PRE, _("Pre-contrast")), (POST, _("Post-contrast")), (SUBTRACTION, _("Subtraction"))]
        if row.index is None:
            choices.append((T1, _("T1 (outline)")))
        choices.append((UNUSED, _("Not used")))
        box = self._table.cellWidget(number, _ROLE)
        if box is None or box.count != len(choices):
            if box is not None:
                box.hide()
            box = self._newRoleBox(number, choices)
        with signalsBlocked(box):
            box.setCurrentIndex([value for value, _text in choices].index(role))

    def _newRoleBox(self, number, choices):
        box = qt.QComboBox()
        for value, text in choices:
            box.addItem(text, value)
        box.setToolTip(_("Pre-contrast, post-contrast, subtraction, T1 for the breast mask, or not used"))
        box.setFrame(False)
        box.connect("currentIndexChanged(int)", lambda index: self._onRoleChanged(number, choices[index][0]))
        self._table.setCellWidget(number, _ROLE, box)
        return box

    def _onRoleChanged(self, number, role):
        if not self._filling and number < len(self._rows):
            qt.QTimer.singleShot(0, lambda: self._onRole(number, role))  # what follows changes the box itself

    def _onItemChanged(self, item):
        if self._filling or item.row() >= len(self._rows):
            return
        number, row = item.row(), self._rows[item.row()]
        if item.column() == _USE:
            row = replace(row, use=item.checkState() == qt.Qt.Checked)
        elif item.column() == _TIME:
            text = item.text().strip().replace(",", ".")
            try:
                row = replace(row, timeS=float(text) if text else None)
            except ValueError:
                pass  # shown again as it was
        else:
            return
        rows = [*self._rows[:number], row, *self._rows[number + 1 :]]
        qt.QTimer.singleShot(0, lambda: self._onRows(rows))

    def move(self, step):
        """Move the selected row up (-1) or down (1)."""
        number = self._table.currentRow()
        target = number + step
        if not (0 <= number < len(self._rows) and 0 <= target < len(self._rows)):
            return
        rows = self.rows
        rows[number], rows[target] = rows[target], rows[number]
        self._table.setCurrentCell(target, _NAME)
        self._onRows(rows)


def roleOf(row, order, kind, t1):
    """The role of a row. order: its number among the rows in use, from 1."""
    if not row.use:
        return T1 if t1 is not None and row.index is None and row.node is t1 else UNUSED
    if kind == "subtractions":
        return SUBTRACTION
    return PRE if order == 1 else POST


def withRole(rows, number, role):
    """The rows after row ``number`` was given a role; the T1 is kept elsewhere, and no dynamic volume."""
    rows = list(rows)
    row = rows.pop(number)
    used = [n for n, other in enumerate(rows) if other.use]
    if role in (UNUSED, T1):
        rows.insert(number, replace(row, use=False))
    elif role == PRE:
        rows.insert(0, replace(row, use=True))
    elif role == POST and used and number <= used[0]:
        # it was the first: another one becomes the one before contrast
        rows.insert(used[0] + 1, replace(row, use=True))
    else:
        rows.insert(number, replace(row, use=True))
    return rows
