"""Small helpers that several parts of the module share."""

import importlib
import logging
import sys
from html import escape
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

MODULE_FOLDER = Path(__file__).resolve().parents[1]
RESOURCES = MODULE_FOLDER / "Resources"  # the module's own; the library's are in libraryRoot()


def libraryRoot():
    """The folder of ``BreastCMSLLib`` and its ``Resources``: the module's, or one above in a checkout."""
    for folder in (MODULE_FOLDER, MODULE_FOLDER.parent):
        if (folder / "BreastCMSLLib" / "__init__.py").is_file():
            return folder
    raise ImportError("BreastCMSLLib is not next to BreastCMSL.py; install the BreastCMSL extension again.")


def reloadLibrary():
    """Import all loaded parts of the library and of this package again, so that changes take effect."""
    names = [name for name in sys.modules if name.split(".")[0] in ("BreastCMSLLib", "BreastCMSLDesktop")]
    # slicer-core cannot be started twice in one process, so what embeds it stays
    names = [name for name in names if not name.endswith(".embedded")]
    importlib.invalidate_caches()
    for name in names:
        del sys.modules[name]
    for name in sorted(names):
        importlib.import_module(name)


def present(node):
    """The node, or None when it is not (or no longer) in the scene."""
    return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None


def describe(error):
    """The sentence a user sees; unexpected failures also go to the log with their traceback."""
    from BreastCMSLLib.core.errors import BreastCMSLError

    if isinstance(error, BreastCMSLError):
        return str(error)
    logging.error("BreastCMSL: unexpected failure", exc_info=error)
    reason = f"{type(error).__name__}: {error}"
    return _("The analysis failed ({error}); the application log has the details.").format(error=reason)


def plainTip(text):
    """A tooltip that wraps and shows a text as it is: Qt takes one with tags for HTML."""
    return f"<qt>{escape(text)}</qt>".replace("\n", "<br>")


def setting(key, default=""):
    """A value of the user's settings of this module, as text."""
    value = slicer.app.userSettings().value(f"BreastCMSL/{key}", default)
    return default if value is None else value


def setSetting(key, value):
    slicer.app.userSettings().setValue(f"BreastCMSL/{key}", value)


def fitColumns(table, stretched):
    """Let a table's columns be as wide as what they show, at any font size; one takes the rest.

    Returns the table's width, in pixels, at which all show all.
    """
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    needed = header.length() + 2 * table.frameWidth
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    return needed


def fitRows(table, fewest, most):
    """Let a table's rows be as high as what they show, and the table as high as its rows.

    fewest, most: how many rows are in sight, of a table with fewer or with more.
    """
    table.resizeRowsToContents()
    rows = [table.rowHeight(row) for row in range(min(table.rowCount, most))]
    empty = max(0, fewest - len(rows)) * table.verticalHeader().defaultSectionSize
    header = table.horizontalHeader().sizeHint.height()
    table.setFixedHeight(sum(rows) + empty + header + 2 * table.frameWidth)


class GuiConnection:
    """Widgets that show a parameter node and change it, until :meth:`undo`.

    Up to Slicer 5.10 ``disconnectGui`` leaves an observer on the node, which may end Slicer when the panel is
    gone: what ``connectParametersToGui`` observes is remembered here.

    parameterNode: the wrapped node. widgets: parameter name → widget.
    """

    def __init__(self, parameterNode, widgets):
        self._parameterNode, self._observers = parameterNode, []
        add = parameterNode.AddObserver

        def addAndRemember(*arguments):
            self._observers.append(add(*arguments))
            return self._observers[-1]

        parameterNode.AddObserver = addAndRemember  # before the method of the class
        try:
            self._tag = parameterNode.connectParametersToGui(widgets)
        finally:
            del parameterNode.AddObserver

    def undo(self):
        self._parameterNode.disconnectGui(self._tag)
        for observer in self._observers:  # Slicer 5.12 has removed them: no harm is done
            self._parameterNode.parameterNode.RemoveObserver(observer)


class waitCursor:
    """Shows the wait cursor, and gives it back whatever happens."""

    def __enter__(self):
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)

    def __exit__(self, *_exception):
        slicer.app.restoreOverrideCursor()


class renderingPaused:
    """Views are drawn once, after all changes."""

    def __enter__(self):
        slicer.app.pauseRender()

    def __exit__(self, *_exception):
        slicer.app.resumeRender()


class signalsBlocked:
    """Widgets change without a signal: the code that changes them knows already."""

    def __init__(self, *widgets):
        self._widgets = widgets

    def __enter__(self):
        self._before = [widget.blockSignals(True) for widget in self._widgets]

    def __exit__(self, *_exception):
        for widget, before in zip(self._widgets, self._before):
            widget.blockSignals(before)
