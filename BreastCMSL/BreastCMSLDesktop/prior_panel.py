"""The list "Earlier exam": which exam of the scene the chosen one is compared with."""

import slicer
from slicer.i18n import tr as _

from . import inputs, prior
from .common import signalsBlocked


class PriorPanel:
    """Shows and changes the prior exam of a parameter node.

    inputsPanel: knows the exam. onChanged(): another one was chosen.
    """

    def __init__(self, ui, inputsPanel, onChanged):
        self._box, self._inputs, self._onChanged = ui.priorComboBox, inputsPanel, onChanged
        self._parameters, self._choices = None, [()]
        ui.priorComboBox.connect("activated(int)", self._onChosen)

    def setParameterNode(self, parameters):
        self._parameters = parameters
        self.refresh()

    @property
    def rows(self):
        """The prior exam's phases, as the user changed them when it was the exam itself; empty for none."""
        return prior.priorRows(self._parameters) if self._parameters is not None else []

    def problem(self):
        """Why it cannot be compared, as one sentence; "" when it can, or when none is chosen."""
        if self._parameters is None or not prior.priorNodes(self._parameters):
            return ""
        if not prior.isWhole(self._parameters):
            return prior.missingText()
        return prior.problem(inputs.items(self.rows), inputs.items(self._inputs.rows))

    def refresh(self):
        """List the exams of the scene that share nothing with the one to analyse."""
        from BreastCMSLLib.scene import sources

        titles, self._choices = [_("None")], [()]
        if self._parameters is not None:
            own = {node for node, _index in inputs.items(self._inputs.rows)}
            for source in sources.find_sources(slicer.mrmlScene, own):
                titles.append(source.title)
                self._choices.append(source.nodes)
            chosen = tuple(prior.priorNodes(self._parameters))
            if chosen not in self._choices:
                titles.append(_("{count} volumes chosen earlier").format(count=len(chosen)))
                self._choices.append(chosen)
        with signalsBlocked(self._box):
            self._box.clear()
            for title in titles:
                self._box.addItem(title)
            shown = self._choices.index(chosen) if self._parameters is not None else 0
            self._box.setCurrentIndex(shown)

    def _onChosen(self, index):
        if self._parameters is not None and index < len(self._choices):
            prior.setPriorNodes(self._parameters, self._choices[index])
            self._onChanged()
