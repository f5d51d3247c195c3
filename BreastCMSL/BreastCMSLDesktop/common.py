"""Small helpers that several parts of the module share."""

import importlib
import logging
import sys
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


def setting(key, default=""):
    """A value of the user's settings of this module, as text."""
    value = slicer.app.userSettings().value(f"BreastCMSL/{key}", default)
    return default if value is None else value


def setSetting(key, value):
    slicer.app.userSettings().setValue(f"BreastCMSL/{key}", value)


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
