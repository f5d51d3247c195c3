"""The "Curve where I look" section: the curve at the crosshair, of a point, an ROI or a segment."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import inputs
from .common import describe, present, signalsBlocked
from .curve_picture import lookPixmap


class LookPanel(VTKObservationMixin):
    """Measures in the volumes chosen under "Exam", and at the mirror image in the other breast.

    inputsPanel: knows the volumes. resultsPanel: knows the landmarks, once the exam was analysed.
    """

    DELAY_MS = 80  # in which further movements are waited for

    def __init__(self, ui, inputsPanel, resultsPanel):
        VTKObservationMixin.__init__(self)
        self.ui, self._inputs, self._results = ui, inputsPanel, resultsPanel
        self._parameters, self._waiting = None, False
        ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onRegion)
        ui.segmentComboBox.connect("activated(int)", lambda index: self.measure())
        ui.measureButton.connect("clicked(bool)", lambda checked=False: self.measure())
        ui.followCheckBox.connect("toggled(bool)", self._onFollow)
        self._listSegments(None)
        self._clear()

    def setParameterNode(self, parameters):
        self._parameters = parameters
        if parameters is None:
            self.forget()
        else:
            self._observe()

    def forget(self):
        """The scene is being closed, or the panel left: keep nothing of it."""
        self.removeObservers()
        self._clear()

    # Choosing

    def _onRegion(self, node):
        self._listSegments(node)
        self._observe()
        if node is not None:
            self.measure()

    def _listSegments(self, node):
        from BreastCMSLLib.scene.looking import segments_of

        box, drawn = self.ui.segmentComboBox, node is not None and node.IsA("vtkMRMLSegmentationNode")
        with signalsBlocked(box):
            box.clear()
            for identifier, name in segments_of(node).items() if drawn else ():
                box.addItem(name, identifier)
        box.visible = self.ui.segmentLabel.visible = drawn

    def _onFollow(self, checked):
        self._observe()
        if checked:
            self.measure()

    def _observe(self):
        """Follow the crosshair, or what was chosen in its place."""
        self.removeObservers()
        node = self._node()
        if self._parameters is None or node is None or not self.ui.followCheckBox.checked:
            return
        events = [vtk.vtkCommand.ModifiedEvent]
        if node.IsA("vtkMRMLMarkupsNode"):
            events += [node.PointModifiedEvent, node.PointPositionDefinedEvent]
        for event in events:
            self.addObserver(node, event, self._onMoved)

    def _onMoved(self, caller, event):
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(self.DELAY_MS, self._afterMoves)

    def _afterMoves(self):
        self._waiting = False
        if self._parameters is not None and self.ui.followCheckBox.checked:
            self.measure()

    def _node(self):
        """What is looked at: the node chosen, or the crosshair."""
        chosen = present(self.ui.regionSelector.currentNode())
        return chosen or slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")

    # Measuring

    def measure(self):
        """Measure and show the curve, or say why there is none."""
        from BreastCMSLLib.kinetics.looking import curves_of

        if self._parameters is None:
            return
        try:
            exam = self._examNow()
            curve, other = curves_of(exam, self._region(exam), self._landmarks())
        except Exception as error:
            self._clear(describe(error))
            return
        pixmap = lookPixmap(curve, other)
        if pixmap is not None:
            self.ui.lookPicture.setPixmap(pixmap)
            self.ui.lookPicture.setMinimumHeight(pixmap.height())
        self.ui.lookPicture.visible = pixmap is not None
        self.ui.lookLabel.text = self._text(curve, other)

    def _examNow(self):
        """The exam of the chosen volumes as they are now; its voxels are the scene's own."""
        from BreastCMSLLib.exam import make_exam
        from BreastCMSLLib.scene.reading import phases_from_items

        rows = self._inputs.rows
        items, times = inputs.items(rows), inputs.times(rows)
        phases = phases_from_items(items, times_s=times, copy=False)
        return make_exam(phases, kind=self._parameters.volumeKind.value, keep_order=True)

    def _region(self, exam):
        from BreastCMSLLib.core.errors import InputError
        from BreastCMSLLib.kinetics.looking import ball_about
        from BreastCMSLLib.scene.looking import box_of, point_of, segment_region

        node = self._node()
        if node is None:
            raise InputError(_("Choose a point, an ROI or a segmentation."))
        if node.IsA("vtkMRMLMarkupsROINode"):
            return box_of(node)
        if not node.IsA("vtkMRMLSegmentationNode"):
            return ball_about(exam, point_of(node))
        box = self.ui.segmentComboBox
        region = segment_region(node, str(box.itemData(box.currentIndex) or ""))
        if region is None:
            raise InputError(_("The segment is empty; draw it first."))
        return region

    def _landmarks(self):
        from BreastCMSLLib.preprocessing.landmarks import Landmarks

        known = (self._results.result or {}).get("landmarks")
        return Landmarks.from_json(known) if known and known.get("sure") else None

    # Showing

    def _text(self, curve, other):
        from BreastCMSLLib.results.wording import curve_text, position_text

        lines = [_("{where}: {curve}").format(where=position_text(curve["ras_mm"]), curve=curve_text(curve))]
        if other is not None:
            text = _("Other breast, {where}: {curve}")
            lines.append(text.format(where=position_text(other["ras_mm"]), curve=curve_text(other)))
        elif self._landmarks() is None:
            lines.append(_("The other breast is measured too once the exam was analysed and both were seen."))
        else:
            lines.append(_("The same region of the other breast lies outside the exam."))
        return "\n".join(lines)

    def _clear(self, text=""):
        self.ui.lookPicture.visible = False
        self.ui.lookLabel.text = text or _(
            "Hold Shift and move over the images, or choose a point, an ROI or a segmentation."
        )
