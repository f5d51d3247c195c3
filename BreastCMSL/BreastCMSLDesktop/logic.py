"""Runs the analysis and puts its results into the scene; needs no widget and no main window."""

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from BreastCMSLLib.core.errors import BreastCMSLError, Cancelled, InputError
from BreastCMSLLib.models.maps import LESION_MAP, NETWORK_MAPS, USUAL_MAPS

from . import dependencies, diagnostics, inputs, views
from .analysis import AnalysisRun, removeLeftovers
from .parameters import BreastCMSLParameterNode
from .prior import problem as priorProblem


class BreastCMSLLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, for scripts; see docs/scripting.md.

    >>> result = slicer.util.getModuleLogic("BreastCMSL").analyze([pre, post1, post2])

    Attributes
    ----------
    childCommand : list of str or None
        Replaces ``PythonSlicer -m BreastCMSLLib``; dependencies are then not checked.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.childCommand = None
        self._run = None

    def getParameterNode(self):
        return BreastCMSLParameterNode(super().getParameterNode())

    # Analysis

    @property
    def running(self):
        return self._run is not None and self._run.running

    @property
    def lastFailure(self):
        """The ``diagnostics.Failure`` of the latest analysis; empty when it did not fail."""
        return self._run.failure if self._run is not None else diagnostics.Failure()

    def analyze(
        self,
        source,
        t1=None,
        kind="auto",
        times=None,
        keepOrder=False,
        model=None,
        device="auto",
        register="auto",
        kinetics=True,
        comparedMaps=False,
        viewer=False,
        mapName=None,
        operatingPoint=None,
        prior=None,
        priorTimes=None,
        priorKeepOrder=False,
        wait=True,
        progress=None,
        finished=None,
    ):
        """Analyse an exam, and write the results into the scene.

        Parameters
        ----------
        source : list or node
            Volume nodes; one sequence browser, sequence or multivolume node; or pairs of such a node and a
            frame index.
        t1 : vtkMRMLScalarVolumeNode, optional
            T1 without fat saturation, for the breast mask.
        kind : {"auto", "phases", "subtractions"}
        times : list of float, optional
            Seconds of each volume.
        keepOrder : bool
            Take the volumes in the order given, not in that of their times and names.
        model : str or Path, optional
            A model's .json file; the one that ships by default.
        device : {"auto", "cpu", "cuda", "mps"}
        register : {"auto", "rigid", "deformable", "off"}
            Registration of the phases to the one before contrast.
        kinetics : bool
            Make the kinetic maps too.
        comparedMaps : bool
            Make Layer-CAM, Grad-CAM and the feature norm too.
        viewer : bool
            Make the page of the images for the browser too; ``Outcome.viewer`` is its path.
        mapName : str, optional
            The map to show, such as "COAMxCAM"; the model's own by default.
        operatingPoint : str, optional
            "95", "90" or "85" (% sensitivity); the model's own by default.
        prior : list or node, optional
            A prior exam of the same woman, likewise as ``source``: it is analysed too and compared.
        priorTimes, priorKeepOrder
            Of the prior exam, as ``times`` and ``keepOrder``.
        wait : bool
            Return only when the analysis has ended.
        progress : callable, optional
            Called with the fraction done and what is being done.
        finished : callable, optional
            Called once, with the ``analysis.Outcome``.

        Returns
        -------
        dict or None
            The result as in ``result.json``; None without ``wait``.

        Raises
        ------
        BreastCMSLError
            One sentence; the scene is then as it was.
        """
        self._refuseSecondRun()
        items = self.itemsOf(source)
        self._checkItems(items, t1)
        priorItems = self._priorItems(prior, items)
        self.ensureDependencies()
        self._refuseSecondRun()  # installing lets events through
        removeLeftovers()
        options = {"device": device, "model": None if model is None else str(model), "register": register}
        options["kinetics"] = bool(kinetics)
        # the panel lets the user choose among them
        options["maps"] = [LESION_MAP, *(NETWORK_MAPS if comparedMaps else USUAL_MAPS)]
        options["viewer"] = bool(viewer)
        if mapName:
            options["map"] = mapName
        if operatingPoint:
            options["operating_point"] = operatingPoint
        exam = {"t1": t1, "kind": kind, "times_s": times, "keep_order": keepOrder}
        priorExam = {"times_s": priorTimes, "keep_order": priorKeepOrder}
        self._run = AnalysisRun(
            items, exam, priorItems, priorExam, options, self.childCommand, progress, finished
        )
        self._run.start()
        return self._resultOf(self._run) if wait else None

    @staticmethod
    def itemsOf(source):
        """(node, frame index or None) of what :meth:`analyze` accepts."""
        from BreastCMSLLib.scene.reading import frame_count

        if hasattr(source, "IsA"):
            if source.IsA("vtkMRMLScalarVolumeNode"):
                return [(source, None)]
            return [(source, index) for index in range(frame_count(source))]
        return [item if isinstance(item, tuple) else (item, None) for item in source]

    def ensureDependencies(self, forReport=False):
        """Install what is needed, after asking. Raises DependencyError when something stays missing."""
        if self.childCommand is None:
            dependencies.ensureDependencies(forReport)

    def cancel(self, reason=""):
        """Stop the child process and all it started. ``finished`` is called once it is gone."""
        if self.running:
            self._run.cancel(reason)

    def stopNow(self):
        """Stop without a call of ``finished``, and wait until the process is gone: the module is unloaded."""
        if self.running:
            self._run.stopNow()

    def _refuseSecondRun(self):
        if self.running:
            raise InputError(_("An analysis is already running; wait for it, or cancel it first."))

    @staticmethod
    def _checkItems(items, t1):
        if any(node is None for node, _index in items):
            raise InputError(_("A volume is missing from the selection; choose one for every phase."))
        rows = [inputs.PhaseRow(node, index, node.GetName(), None, True) for node, index in items]
        problem = inputs.problem(rows, t1)
        if problem:
            raise InputError(problem)

    def _priorItems(self, source, items):
        """(node, frame index or None) of the prior exam; [] for none. Raises InputError."""
        if source is None:
            return []
        priorItems = self.itemsOf(source)
        problem = priorProblem(priorItems, items)
        if problem:
            raise InputError(problem)
        return priorItems

    @staticmethod
    def _resultOf(run):
        """Wait for a run while Slicer answers, and return its result."""
        while run.running:
            run.wait(50)
            slicer.app.processEvents()
        if run.outcome.cancelled:
            raise Cancelled(run.outcome.error)
        if run.outcome.error:
            raise BreastCMSLError(run.outcome.error)
        return run.outcome.result

    # Results

    @staticmethod
    def results(examID):
        """The nodes of an exam's results (``BreastCMSLLib.scene.nodes.ResultNodes``), or None."""
        from BreastCMSLLib.scene import results

        return results.find_results(slicer.mrmlScene, examID)

    @staticmethod
    def removeResults(examID):
        """Remove an exam's results with all that belongs to them; returns how many nodes there were."""
        from BreastCMSLLib.scene import results

        return results.remove_results(slicer.mrmlScene, examID)

    def writeReport(self, path, examID):
        """Write the one-page HTML report of an exam's results; returns the path. Raises BreastCMSLError."""
        self.ensureDependencies(forReport=True)
        from BreastCMSLLib.results.report import write_report

        result, pictures = self._resultOfExam(examID), self._pictures(examID)
        write_report(path, result, pictures)
        return path

    def writeDicom(self, folder, examID):
        """Write an exam's results as DICOM objects of its own study; returns the files.

        The exam must have come from Slicer's DICOM database. Raises BreastCMSLError.
        """
        dependencies.ensureDicomDependencies()
        from BreastCMSLLib.scene.dicom import write_dicom

        result = self._resultOfExam(examID)
        return write_dicom(folder, result, self.results(examID), self._pictures(examID))

    def _resultOfExam(self, examID):
        """What the scene holds of an exam's results, as in ``result.json``. Raises InputError."""
        from BreastCMSLLib.scene import results

        result = results.find_records(slicer.mrmlScene).get(examID)
        if result is None or self.results(examID) is None:
            raise InputError(_("The scene does not hold this exam's results any more; press Analyze again."))
        return result

    def _pictures(self, examID):
        """The pictures of an exam's report: caption and PNG; few where what is under the map is gone."""
        from BreastCMSLLib.scene.report_pictures import pictures_of_scene

        result, nodes = self._resultOfExam(examID), self.results(examID)
        background = nodes.subtraction or views.shownUnder(nodes.heatmap)
        return pictures_of_scene(slicer.mrmlScene, result, nodes, background)

    def diagnostics(self, result=None):
        """Versions, device, model, timings and the last failure as text; nothing of the patient."""
        return diagnostics.diagnosticsText(result, self.lastFailure)
