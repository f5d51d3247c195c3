"""The classes that Slicer looks up by name; what they do is in ``BreastCMSLDesktop``.

The analysis itself is ``BreastCMSLLib``, run in a child process: Slicer stays responsive, Cancel frees all
memory at once, and a crash cannot take the scene along. The scene changes once, after the child has finished.
"""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.append(str(Path(__file__).resolve().parent))

from BreastCMSLDesktop.common import libraryRoot, reloadLibrary  # noqa: E402

if str(libraryRoot()) not in sys.path:
    sys.path.append(str(libraryRoot()))

from BreastCMSLDesktop import sample_data  # noqa: E402
from BreastCMSLDesktop.logic import BreastCMSLLogic  # noqa: E402

from BreastCMSLLib import HOMEPAGE  # noqa: E402


class BreastCMSL(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Breast CMSL")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["BreastCMSL contributors"]
        self.parent.helpText = _(
            "Estimates the probability of malignancy from a breast DCE-MRI exam, and maps its origin. "
            "Load the exam, check the phases in the table, press Analyze. "
            "For research use only: not a medical device. "
            'Tutorial: <a href="{url}">{url}</a>'
        ).format(url=f"{HOMEPAGE}/blob/main/docs/module.md")
        self.parent.acknowledgementText = _(
            "Independent implementation of Luo et al., Deep Angular Embedding and Feature Correlation "
            "Attention for Breast MRI Cancer Analysis, MICCAI 2019 (cosine margin sigmoid loss, COAM), "
            "trained on simulated exams."
        )
        slicer.app.connect("startupCompleted()", sample_data.register)


class BreastCMSLWidget(ScriptedLoadableModuleWidget):
    """The module's place in Slicer's window. The panel itself is ``BreastCMSLDesktop.widget.Widget``."""

    def __init__(self, parent=None):
        self.logic = self.widget = None
        ScriptedLoadableModuleWidget.__init__(self, parent)  # last: without a parent it runs setup()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from BreastCMSLDesktop.widget import Widget

        self.logic = BreastCMSLLogic()
        # a panel in a window of its own is always open
        self.widget = Widget(self.logic, isOpen=lambda: getattr(self.parent, "isEntered", True))
        self.layout.addWidget(self.widget.root)

    def cleanup(self):
        """The module is unloaded or Slicer exits."""
        if self.widget is not None:
            self.widget.cleanup()

    def enter(self):
        self.widget.enter()

    def exit(self):
        self.widget.exit()

    def onReload(self):
        """Take changes of the library along when a developer reloads the module."""
        reloadLibrary()
        ScriptedLoadableModuleWidget.onReload(self)


class BreastCMSLTest(ScriptedLoadableModuleTest):
    """The self-test inside Slicer: needs no model, no torch and no main window.

    Each case of ``BreastCMSLDesktop.self_test`` gets a fresh scene and a panel to click.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from BreastCMSLDesktop import self_test

        for name, case in self_test.cases():
            self.setUp()
            self.delayDisplay(f"Breast CMSL self-test: {name}")
            self_test.run(case, BreastCMSLWidget)
        slicer.mrmlScene.Clear()
        self.delayDisplay("Breast CMSL self-test passed")
