"""Keys and buttons for reading a result: next and previous candidate, map, outline, layouts of the views."""

import qt
import slicer
from slicer.i18n import tr as _

from . import inputs, layouts, views
from .common import describe, present

KEYS = {"next": "N", "previous": "P", "map": "M", "outline": "O"}


class ViewsPanel:
    """Acts on the results shown while the panel is on the screen.

    inputsPanel: knows the phases. onStatus(text, error=False): shows a sentence.
    """

    def __init__(self, ui, root, inputsPanel, resultsPanel, onStatus):
        self.ui, self._inputs, self._results, self._onStatus = ui, inputsPanel, resultsPanel, onStatus
        actions = {
            "next": lambda: self._results.step(1),
            "previous": lambda: self._results.step(-1),
            "map": lambda: ui.overlayCheckBox.click(),
            "outline": lambda: ui.outlineButton.click(),
        }
        self._shortcuts = [self._shortcut(root, KEYS[name], action) for name, action in actions.items()]
        ui.fourUpButton.connect("clicked(bool)", lambda checked=False: layouts.showFourUp())
        ui.phasesButton.connect("clicked(bool)", self._onPhases)
        ui.priorButton.connect("clicked(bool)", self._onPrior)
        for button in (ui.fourUpButton, ui.phasesButton, ui.priorButton):
            button.enabled = slicer.app.layoutManager() is not None

    def _shortcut(self, root, key, action):
        """A key that works wherever in the window the user is, as long as the panel is on the screen."""
        shortcut = qt.QShortcut(qt.QKeySequence(key), root)
        shortcut.connect("activated()", lambda: action() if self._results.result is not None else None)
        return shortcut

    def _onPhases(self, checked=False):
        nodes = [node for node, frame in inputs.items(self._inputs.rows) if frame is None]
        if len(nodes) < 2:
            text = _("The phases are frames of one node; browse them with the Sequences module.")
            self._onStatus(text, error=True)
            return
        try:
            layouts.showPhases(nodes, self._results.position)
        except Exception as error:
            self._onStatus(describe(error), error=True)

    def _onPrior(self, checked=False):
        nodes = self._results.nodes
        if nodes is None or present(nodes.prior) is None:
            self._onStatus(
                _("The scene does not hold the earlier exam any more; press Analyze again."), error=True
            )
            return
        current = present(nodes.subtraction) or views.shownUnder(nodes.heatmap)
        if current is None:
            self._onStatus(
                _("Show the exam under the map first; its volume is not in the views."), error=True
            )
            return
        try:
            layouts.showPrior(nodes.prior, current, self._results.position)
        except Exception as error:
            self._onStatus(describe(error), error=True)
