"""One analysis: a child process gets the exam and is watched; its results go into the scene at once."""

import json
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from BreastCMSLLib.core.errors import BreastCMSLError

from . import child_output, handover
from .background import Background, placement
from .child_process import ChildProcess, processAlive, pythonExecutable
from .common import describe, present, renderingPaused
from .diagnostics import Failure, anonymousTrace

FOLDER_PREFIX = "BreastCMSL-"
_GPU_TROUBLE = re.compile(r"cuda|cudnn|cublas|hip error|mps backend|out of memory|gpu", re.IGNORECASE)


@dataclass
class Outcome:
    """How an analysis ended: with a result and its nodes, or with one sentence of error.

    viewer: the page for the browser, in a folder of its own, where one was asked for.
    """

    result: dict | None = None
    nodes: object = None
    background: object = None
    error: str = ""
    cancelled: bool = False
    viewer: Path | None = None


class AnalysisRun(VTKObservationMixin):
    """Runs once. ``finished`` is called once, also after :meth:`cancel`, but not after :meth:`stopNow`.

    Parameters
    ----------
    items : list of (node, int or None)
        Volume nodes; or sequence or multivolume nodes with a frame index, see ``scene.reading``.
    options : dict
        Of the request: "model", "map", "device".
    command : list of str or None
        Replaces ``PythonSlicer -m BreastCMSLLib``.
    prior : list of (node, int or None)
        Likewise of the prior exam to compare with; empty for none.
    t1, kind, times, keepOrder, progress, finished
        See ``BreastCMSLLogic.analyze``.
    """

    def __init__(self, items, t1, kind, times, keepOrder, prior, options, command, progress, finished):
        VTKObservationMixin.__init__(self)
        self._items, self._prior = list(items), list(prior)
        self._examOptions = {"t1": t1, "kind": kind, "times_s": times, "keep_order": keepOrder}
        self._options = options
        self._command = command or [pythonExecutable(), "-m", "BreastCMSLLib"]
        self._progress, self._finished = progress, finished
        self.stage, self.outcome, self.failure = "prepare", None, Failure()
        self._stopReason, self._error, self._done, self._retried = "", "", False, ""
        self._process, self._steps, self._background = None, None, None
        prefix = f"{FOLDER_PREFIX}{os.getpid()}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=str(slicer.app.temporaryPath)))
        self._output = self._folder / "output"
        self._placement = placement(self._items[0])
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)

    @property
    def running(self):
        return self.outcome is None

    def start(self):
        """Returns at once: the work is done step by step from the event loop, so that the window answers."""
        self._begin(self._preparation())

    def wait(self, milliseconds):
        """Give the child process time; for scripts that wait for the result."""
        if self._process is not None:
            self._process.wait(milliseconds)

    def cancel(self, reason=""):
        """Stop the child process and all it started."""
        if self.running:
            self._stopReason = self._stopReason or reason or _("Cancelled; nothing was changed.")
            if self._process is not None:
                self._process.stop()

    def stopNow(self):
        """Stop without calling anyone, and wait until the process is gone: the module is being unloaded."""
        self._progress = self._finished = None
        self.cancel()
        if self._process is not None:
            self._process.kill()
        if self.running:
            self._endCancelled()

    # Steps

    def _begin(self, steps):
        """Do the steps of a generator of texts from the event loop; the user may cancel between them."""
        self._steps = steps
        qt.QTimer.singleShot(0, self._nextStep)

    def _nextStep(self):
        if not self.running:
            return
        if self._stopReason:
            self._endCancelled()
            return
        try:
            text = next(self._steps)
        except StopIteration:
            return
        except Exception as error:
            if not self.running:
                raise  # what was called at the end failed, not the analysis
            if self._process is not None:
                self.failure = Failure("results", 0, anonymousTrace(self._process.errorText))
            self._end(Outcome(error=describe(error)))
            return
        self._report(0.0 if self._process is None else 0.98, text)
        qt.QTimer.singleShot(0, self._nextStep)

    def _preparation(self):
        from BreastCMSLLib.scene.reading import exam_from_items

        yield _("Reading the volumes")
        exam = exam_from_items(self._items, **self._examOptions)
        self._background = Background(self._items, exam)
        yield from handover.writeExam(exam, self._folder, self._options)
        if self._prior:
            t1 = self._examOptions["t1"]
            yield from handover.writePrior(self._prior, exam, t1, self._folder, self._options)
        self._startChild()

    def _collection(self):
        yield _("Taking over the results")
        folder = child_output.resultFolder(self._output)
        output = child_output.readResult(folder)
        if self._retried:
            output.result["warnings"] = [*output.result.get("warnings", []), self._retried]
        for _pause in child_output.readVolumes(output, folder):
            yield _("Taking over the results")
        yield _("Showing the results")
        self._end(self._showResults(output))

    def _showResults(self, output):
        import numpy as np

        from BreastCMSLLib.scene import results

        first = next((item for item in self._items if present(item[0]) is not None), None)
        if first is None:
            text = _("The input volumes were removed meanwhile, so no results were added.")
            return Outcome(error=text, cancelled=True)
        if not np.allclose(placement(first), self._placement, atol=1e-3):
            raise BreastCMSLError(_("The volumes were moved while they were analysed; press Analyze again."))
        reference, subtraction = self._background.choose()
        with renderingPaused():
            nodes = results.write_results(
                slicer.mrmlScene,
                output.result,
                output.heatmap,
                reference_node=reference,
                maps=output.maps,
                subtraction=subtraction,
                outlines=output.outlines,
                kinetics=output.kinetics,
                prior=output.prior,
            )
        background = nodes.subtraction or reference
        return Outcome(output.result, nodes, background, viewer=self._keptViewer(output.result))

    def _keptViewer(self, result):
        """The child's page for the browser, where it outlives this analysis; None where there is none."""
        page = child_output.resultFolder(self._output) / "viewer.html"
        if not page.is_file():
            return None
        prefix = f"{FOLDER_PREFIX}{os.getpid()}-viewer-"
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=str(slicer.app.temporaryPath)))
        return Path(shutil.move(str(page), str(folder / f"BreastCMSL viewer {result['exam_id']}.html")))

    # The child process

    def _startChild(self):
        self.stage, self._error, self._done = "start", "", False
        self._process = ChildProcess(onLine=self._onLine, onFinished=self._onChildFinished)
        self._report(0.01, _("Starting the analysis"))
        what = handover.arguments(self._folder, self._output, viewer=bool(self._options.get("viewer")))
        self._process.start([*self._command, *what], self._folder)

    def _onLine(self, line):
        """One line of the child's standard output: a JSON event, or something a library printed."""
        try:
            event = json.loads(line)
            kind = event["event"]
            fraction = min(max(float(event.get("fraction", 0.0)), 0.0), 1.0)
        except (ValueError, TypeError, KeyError):
            # not its text: it may name the patient
            logging.debug("BreastCMSL: a library wrote a line of %d characters", len(line))
            return
        if kind == "progress":
            self.stage = str(event.get("stage") or "")
            self._report(fraction, str(event.get("text") or self.stage))
        elif kind == "error":
            self._error = str(event.get("message") or _("The analysis failed without saying why."))
        elif kind == "done":
            self._done = True

    def _report(self, fraction, text):
        if self._progress is not None and not self._stopReason:
            self._progress(fraction, text)

    def _onChildFinished(self, exitCode, failure):
        if not self.running:
            return
        if self._stopReason:
            self._endCancelled()
        elif self._done and exitCode == 0 and not failure:
            self._begin(self._collection())
        else:
            self._retryOrFail(exitCode, failure)

    def _retryOrFail(self, exitCode, failure):
        try:
            if self._isGpuTrouble(exitCode):
                self._retryOnCpu()
                return
            sentence = self._error or self._failureSentence(exitCode, failure)
        except Exception as error:
            sentence = describe(error)
        self.failure = Failure(self.stage, exitCode, anonymousTrace(self._process.errorText))
        self._end(Outcome(error=sentence))

    def _isGpuTrouble(self, exitCode):
        """True when the child may not fail on the CPU; it would on a bad input (exit code 2)."""
        if self._retried or self._options.get("device", "auto") == "cpu" or (self._error and exitCode == 2):
            return False
        return bool(_GPU_TROUBLE.search(f"{self._error}\n{self._process.errorText}"))

    def _retryOnCpu(self):
        self._retried = _("The GPU could not finish this exam, so the analysis was repeated on the CPU.")
        self._options["device"] = "cpu"
        handover.changeOptions(self._folder, self._options)
        shutil.rmtree(self._output, ignore_errors=True)
        self._startChild()
        self._report(0.01, _("The GPU could not finish this exam; repeating on the CPU"))

    def _failureSentence(self, exitCode, failure):
        lines = [line for line in self._process.errorText.splitlines() if line.strip()]
        if lines:
            logging.error("BreastCMSL child process:\n%s", "\n".join(anonymousTrace(self._process.errorText)))
        reason = failure or (lines[-1].strip() if lines else _("exit status {code}").format(code=exitCode))
        text = _(
            "The analysis stopped unexpectedly ({reason}); "
            "Copy diagnostics gives what a problem report needs."
        )
        return text.format(reason=reason)

    # The end

    def _onSceneStartClose(self, caller, event):
        self.cancel(_("The scene was closed, so the analysis was stopped."))

    def _endCancelled(self):
        self._end(Outcome(error=self._stopReason, cancelled=True))

    def _end(self, outcome):
        self.removeObservers()
        self._steps = None  # with the volumes it has read
        shutil.rmtree(self._folder, ignore_errors=True)
        self.outcome = outcome
        if self._finished is not None:
            self._finished(outcome)


def removeLeftovers():
    """Delete the temporary folders of analyses whose Slicer is gone: they hold volumes of patients."""
    for folder in Path(str(slicer.app.temporaryPath)).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name[len(FOLDER_PREFIX) :].split("-")[0]
        if owner.isdigit() and int(owner) != os.getpid() and not processAlive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
