"""One analysis: the volumes are written, the child process is run and watched, its results go into the scene in one go."""

import json
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from BreastCMSLLib.core.errors import BreastCMSLError

from .child_process import ChildProcess, processAlive, pythonExecutable
from .common import describe, present

FOLDER_PREFIX = "BreastCMSL-"
_FRAME = re.compile(r'\s*File "(?:.*[/\\])?(.*)", line (\d+), in (\S+)')
_KIND = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))\b")
_GPU_TROUBLE = re.compile(r"cuda|cudnn|cublas|hip error|mps backend|out of memory|gpu", re.IGNORECASE)


@dataclass
class Outcome:
    """How an analysis ended: with a result and its nodes, or with one sentence of error."""

    result: dict | None = None
    nodes: object = None
    background: object = None
    error: str = ""
    cancelled: bool = False


@dataclass
class Failure:
    """What "Copy diagnostics" tells of the last analysis that failed; nothing of the patient."""

    stage: str = ""
    exitCode: int | None = None
    trace: list = field(default_factory=list)


class AnalysisRun(VTKObservationMixin):
    """Runs once. ``finished(outcome)`` is called exactly once, also after :meth:`cancel`, but not after :meth:`stopNow`.

    items: (volume node, None) or (sequence or multivolume node, frame index), see ``scene.reading``.
    options: of the request ("model", "map", "device"), those that are not at their default.
    """

    def __init__(self, items, t1, kind, times, keepOrder, options, command=None, progress=None, finished=None):
        VTKObservationMixin.__init__(self)
        self._items, self._t1, self._kind, self._times, self._keepOrder = list(items), t1, kind, times, keepOrder
        self._options, self._command = {**options, "all_maps": True}, command  # the panel lets the user choose among them
        self._progress, self._finished = progress, finished
        self.stage, self.outcome, self.failure = "prepare", None, Failure()
        self._stopReason, self._error, self._done, self._retried = "", "", False, ""
        self._process, self._waiting = None, []
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=str(slicer.app.temporaryPath)))
        self._inputIDs = [node.GetID() for node in dict.fromkeys(node for node, _index in self._items)]
        self._placement = placement(self._items[0])
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)

    @property
    def running(self):
        return self.outcome is None

    def start(self):
        """Returns at once; the work is done piece by piece from the event loop, so that the window answers meanwhile."""
        self._stepwise(self._preparation())

    def wait(self, milliseconds):
        """Give the child process time; used by scripts that wait for the result."""
        if self._process is not None:
            self._process.wait(milliseconds)

    def cancel(self, reason=""):
        """Stop the child process and all it started."""
        if self.running:
            self._stopReason = self._stopReason or reason or _("Cancelled; nothing was changed.")
            if self._process is not None:
                self._process.stop()

    def stopNow(self):
        """Stop without telling anyone, and wait until the process is gone: the module is being unloaded."""
        self._progress = self._finished = None
        self.cancel()
        if self._process is not None:
            self._process.kill()
        if self.running:
            self._end(Outcome(error=self._stopReason, cancelled=True))

    # Before the child process

    def _preparation(self):
        """A generator: after each step the user may have cancelled."""
        from BreastCMSLLib.scene.reading import exam_from_items

        yield _("Reading the volumes")
        exam = exam_from_items(self._items, t1=self._t1, kind=self._kind, times_s=self._times, keep_order=self._keepOrder)
        phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]
        self._sources, self._offsets = [phase.source for phase in phases], exam.offsets
        written = []
        for number, phase in enumerate(phases):
            yield _("Handing over volume {number} of {count}").format(number=number + 1, count=len(phases))
            written.append(self._write(phase, f"dynamic{number:02d}"))
        t1 = {k: v for k, v in self._write(exam.t1, "t1").items() if k != "time_s"} if exam.t1 is not None else None
        request = {
            "schema_version": 1,
            "kind": "phases" if exam.pre is not None else "subtractions",
            "dynamics": written,
            "t1": t1,
            "identifiers": {**exam.identifiers, "exam_id": exam.exam_id},  # the files are temporary: their names say nothing
            # what was noticed in ordering the phases; what concerns subtractions the child notices itself
            "warnings": list(exam.warnings) if exam.pre is not None else [],
            "options": self._options,
        }
        self._writeRequest(request)
        self._startChild()

    def _stepwise(self, work):
        """Do the steps of a generator of texts one by one from the event loop, until it or the run has ended."""
        self._waiting = work
        qt.QTimer.singleShot(0, self._nextStep)

    def _nextStep(self):
        if not self.running:
            return
        if self._stopReason:
            self._end(Outcome(error=self._stopReason, cancelled=True))
            return
        try:
            text = next(self._waiting)
        except StopIteration:
            return
        except Exception as error:
            if self._process is not None:
                self.failure = Failure("results", 0, anonymousTrace(self._process.errorText))
            self._end(Outcome(error=describe(error)))
            return
        self._tell(0.0 if self._process is None else 0.98, text)
        qt.QTimer.singleShot(0, self._nextStep)

    def _write(self, phase, name):
        import SimpleITK as sitk

        from BreastCMSLLib.core.geometry import to_sitk

        path = self._folder / f"{name}.nrrd"
        sitk.WriteImage(to_sitk(phase.volume), str(path), False)
        return {"file": str(path), "name": phase.name, "time_s": phase.time_s}

    def _writeRequest(self, request):
        (self._folder / "REQUEST.json").write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")

    # The child process

    def _startChild(self):
        self.stage, self._error, self._done = "start", "", False
        self._process = ChildProcess(onLine=self._onLine, onFinished=self._onChildFinished)
        self._tell(0.01, _("Starting the analysis"))
        self._process.start(
            [
                *(self._command or [pythonExecutable(), "-m", "BreastCMSLLib"]),
                "analyze",
                *("--request", str(self._folder / "REQUEST.json")),
                *("--output", str(self._folder / "output")),
                "--no-scene",
                *("--progress", "json"),
                *("--parent", str(os.getpid())),
            ]
        )

    def _onLine(self, line):
        """One line of the child's standard output: a JSON event, or something a library printed."""
        try:
            event = json.loads(line)
            kind = event["event"]
            fraction = min(max(float(event.get("fraction", 0.0)), 0.0), 1.0)
        except (ValueError, TypeError, KeyError):
            logging.debug("BreastCMSL: a library wrote a line of %d characters", len(line))  # not its text: it may name the patient
            return
        if kind == "progress":
            self.stage = str(event.get("stage") or "")
            self._tell(fraction, str(event.get("text") or self.stage))
        elif kind == "error":
            self._error = str(event.get("message") or _("The analysis failed without saying why."))
        elif kind == "done":
            self._done = True

    def _tell(self, fraction, text):
        if self._progress is not None and not self._stopReason:
            self._progress(fraction, text)

    def _onChildFinished(self, exitCode, failure):
        if not self.running:
            return
        try:
            if self._stopReason:
                outcome = Outcome(error=self._stopReason, cancelled=True)
            elif self._done and exitCode == 0 and not failure:
                self._stepwise(self._collection())
                return
            elif self._onGpu() and self._gpuTrouble(exitCode, failure):
                self._retryOnCpu()
                return
            elif self._error:
                outcome = Outcome(error=self._error)
            else:
                outcome = Outcome(error=self._failureSentence(exitCode, failure))
        except Exception as error:
            outcome = Outcome(error=describe(error))
        if outcome.error and not outcome.cancelled:
            self.failure = Failure(self.stage, exitCode, anonymousTrace(self._process.errorText))
        self._end(outcome)

    def _onGpu(self):
        return not self._retried and self._options.get("device", "auto") != "cpu"

    def _gpuTrouble(self, exitCode, failure):
        """True when the child failed in a way that it may not fail on the CPU. A sentence about the input is no such way."""
        if self._error and exitCode == 2:
            return False
        return bool(_GPU_TROUBLE.search(f"{self._error}\n{self._process.errorText}"))

    def _retryOnCpu(self):
        self._retried = _("The GPU could not finish this exam, so the analysis was repeated on the CPU.")
        self._options["device"] = "cpu"
        request = json.loads((self._folder / "REQUEST.json").read_text(encoding="utf-8"))
        self._writeRequest({**request, "options": self._options})
        shutil.rmtree(self._folder / "output", ignore_errors=True)
        self._startChild()
        self._tell(0.01, _("The GPU could not finish this exam; repeating on the CPU"))

    def _failureSentence(self, exitCode, failure):
        lines = [line for line in self._process.errorText.splitlines() if line.strip()]
        if lines:
            logging.error("BreastCMSL child process:\n%s", "\n".join(anonymousTrace(self._process.errorText)))
        reason = failure or (lines[-1].strip() if lines else _("exit status {code}").format(code=exitCode))
        return _("The analysis stopped unexpectedly ({reason}); Copy diagnostics gives what a problem report needs.").format(reason=reason)

    # After the child process

    def _collection(self):
        """A generator: reads what the child left, file by file, and last writes it into the scene, all at once."""
        import SimpleITK as sitk

        from BreastCMSLLib.core.geometry import from_sitk

        yield _("Taking over the results")
        output = self._folder / "output"
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
        if result.get("kind") != "breastcmsl.result" or result.get("schema_version") != 1:
            raise BreastCMSLError(_("The analysis wrote results of another version; install the BreastCMSL extension again."))
        if self._retried:
            result["warnings"] = [*result.get("warnings", []), self._retried]

        def volume(name):
            return from_sitk(sitk.ReadImage(str(output / Path(name).name)))  # never a path out of the folder

        heatmap, maps = volume("heatmap.nrrd"), {}
        further = result.get("maps") if isinstance(result.get("maps"), dict) else {}
        for name, entry in further.items():
            if isinstance(entry, dict) and entry.get("file"):
                yield _("Taking over the results")
                maps[name] = volume(entry["file"])
        outlines = volume(result["outline"]["file"]) if result.get("outline") else None
        yield _("Showing the results")
        self._end(self._showResults(result, heatmap, maps, outlines))

    def _showResults(self, result, heatmap, maps, outlines):
        import numpy as np

        from BreastCMSLLib.scene import results

        left = [node for node in (slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self._inputIDs) if node is not None]
        if not left:
            return Outcome(error=_("The input volumes were removed meanwhile, so no results were added."), cancelled=True)
        first = next((item for item in self._items if present(item[0]) is not None), None)
        if not np.allclose(placement(first), self._placement, atol=1e-3):
            raise BreastCMSLError(_("The volumes were moved while they were analysed; press Analyze again."))
        reference, subtraction = self._background(left)
        with renderingPaused():
            nodes = results.write_results(
                slicer.mrmlScene, result, heatmap, reference_node=reference, maps=maps, subtraction=subtraction, outlines=outlines
            )
        return Outcome(result=result, nodes=nodes, background=nodes.subtraction or reference)

    def _background(self, left):
        """The input node the results belong to, and the subtraction to show under the map where no input is one.

        It is that of the second post-contrast phase, when cancers enhance most. left: inputs that are still in the scene.
        """
        from BreastCMSLLib.scene.reading import item_facts, phases_from_items

        present_ = [item for item in self._items if present(item[0]) is not None]
        known = {item_facts(*item).source: item for item in present_}
        ordered = [known.get(source) for source in self._sources]
        subtracted = len(self._sources) == len(self._offsets)  # no phase before contrast among them
        place = min(1 if subtracted else 2, len(ordered) - 1)
        shown = ordered[place] or next(item for item in reversed(ordered) if item is not None)
        node, index = shown
        if index is not None and node.IsA("vtkMRMLSequenceBrowserNode"):
            node.SetSelectedItemNumber(index)
        reference = shownNode(node) or next((found for found in map(shownNode, left) if found is not None), None)
        if shown is not ordered[place] or (subtracted and index is None and not self._offsets[place]):
            return reference, None
        wanted = [shown] if subtracted else [shown, ordered[0]]
        if None in wanted:
            return reference, None
        phases = phases_from_items(wanted, copy=False)
        change = phases[0].volume.array.astype("f4")
        change -= self._offsets[place] if subtracted else phases[1].volume.array.astype("f4")
        return reference, phases[0].volume.with_array(compact(change))

    def _onSceneStartClose(self, caller, event):
        self.cancel(_("The scene was closed, so the analysis was stopped."))

    def _end(self, outcome):
        self.removeObservers()
        shutil.rmtree(self._folder, ignore_errors=True)
        self.outcome = outcome
        if self._finished is not None:
            self._finished(outcome)


class renderingPaused:
    """Views are drawn once, after all changes."""

    def __enter__(self):
        slicer.app.pauseRender()

    def __exit__(self, *_exception):
        slicer.app.resumeRender()


def shownNode(node):
    """The volume node that stands for an input in the views: the one a browser shows, or the volume itself; else None."""
    if node.IsA("vtkMRMLSequenceBrowserNode"):
        return node.GetProxyNode(node.GetMasterSequenceNode()) if node.GetMasterSequenceNode() is not None else None
    return node if node.IsA("vtkMRMLVolumeNode") else None


def placement(item):
    """Where an input's voxels are in the world (IJK to RAS mm), its parent transform included."""
    from BreastCMSLLib.scene.reading import phases_from_items

    return phases_from_items([item], copy=False)[0].volume.affine


def compact(array):
    """A float32 array of whole numbers as int16 where that holds them: half the memory for a picture's background."""
    import numpy as np

    if abs(array).max() < 32000 and not (array - array.round()).any():
        return array.astype(np.int16)
    return array


def anonymousTrace(text):
    """The frames and the kind of error of a Python traceback: file names without folders, no values, no messages."""
    lines = []
    for line in text.splitlines():
        frame, kind = _FRAME.match(line), _KIND.match(line)
        if frame:
            lines.append(":".join(frame.groups()[:2]) + f" {frame.group(3)}")
        elif kind:
            lines.append(kind.group(1))
    return lines[-40:]


def removeLeftovers():
    """Delete the temporary folders of analyses whose Slicer is gone: they hold volumes of patients."""
    for folder in Path(str(slicer.app.temporaryPath)).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name[len(FOLDER_PREFIX) :].split("-")[0]
        if owner.isdigit() and int(owner) != os.getpid() and not processAlive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
