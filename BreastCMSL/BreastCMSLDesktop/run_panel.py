"""The Analyze button and what is under it: hint, progress bar and status line."""

import qt
from slicer.i18n import tr as _

from .common import plainTip
from .progress import TimeLeft, durationText


class RunPanel:
    """Shows whether an analysis can start, how far it is and how it ended; locks the panel meanwhile."""

    def __init__(self, ui):
        self.ui = ui
        self._stage, self._timeLeft = "", None
        self._clock = qt.QTimer(ui.analyzeButton)
        self._clock.setInterval(1000)
        self._clock.connect("timeout()", self._showStage)

    def show(self, text, error=False):
        """Show a sentence in the status line."""
        self.ui.statusLabel.styleSheet = "color: #d32f2f;" if error else ""
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)

    def setProblem(self, problem, ready=True):
        """What stands in the way of an analysis, "" for nothing. ready: there is a scene to analyse."""
        self.ui.analyzeButton.enabled = ready and not problem
        usual = _("Estimate the probability of malignancy, and map its origin")
        self.ui.analyzeButton.toolTip = plainTip(problem or usual)
        self.ui.hintLabel.text = problem
        said = problem in self.ui.checkLabel.text  # once is enough
        self.ui.hintLabel.visible = bool(problem) and not said

    # While an analysis runs

    def start(self):
        """Nothing can be cancelled yet: clicks meanwhile must not start a second analysis."""
        self._setRunning(True)
        self.ui.analyzeButton.enabled = False
        self.ui.analyzeButton.toolTip = _("Stop the analysis; the scene stays as it is")
        self.ui.hintLabel.visible = False
        self._clock.start()

    def startClock(self, lastTotal):
        """Estimate the time left from now on. lastTotal: seconds of the last analysis, or 0."""
        self._timeLeft = TimeLeft(lastTotal)

    def progress(self, fraction, text):
        self.ui.progressBar.value = round(100 * fraction)
        self._stage = text
        if self._timeLeft is not None:
            self._timeLeft.update(fraction)
        self._showStage()

    def cancelling(self):
        self._stage = ""
        self.ui.analyzeButton.enabled = False
        self.show(_("Cancelling…"))

    def stop(self):
        """Back to what the panel is without an analysis; returns the seconds it took."""
        elapsed = self._timeLeft.elapsed if self._timeLeft is not None else 0.0
        self._timeLeft = None
        self._clock.stop()
        self._setRunning(False)
        return elapsed

    def _setRunning(self, running):
        ui = self.ui
        for section in (ui.inputsCollapsibleButton, ui.advancedCollapsibleButton, ui.removeButton):
            section.enabled = not running
        self.ui.analyzeButton.text = _("Cancel") if running else _("Analyze")
        self.ui.progressBar.value, self.ui.progressBar.visible = 0, running
        self._stage = ""

    def _showStage(self):
        if not self._stage:
            return
        seconds = self._timeLeft.seconds() if self._timeLeft is not None else None
        left = "" if seconds is None else _(" – about {duration} left").format(duration=durationText(seconds))
        self.show(self._stage + left)
