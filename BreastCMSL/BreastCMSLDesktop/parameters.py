"""The user's choices, saved with the scene."""

import enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class VolumeKind(enum.Enum):
    """What the selected volumes are."""

    AUTO = "auto"
    PHASES = "phases"
    SUBTRACTIONS = "subtractions"

    def label(self):
        return {
            VolumeKind.AUTO: _("Detect automatically"),
            VolumeKind.PHASES: _("Phases (the first is before contrast)"),
            VolumeKind.SUBTRACTIONS: _("Subtractions (after − before)"),
        }[self]


class Device(enum.Enum):
    """Which processor does the work."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "cuda"

    def label(self):
        return {Device.AUTO: _("Automatic"), Device.CPU: _("CPU"), Device.GPU: _("NVIDIA GPU")}[self]


class OperatingPoint(enum.Enum):
    """For which sensitivity, in percent, an exam is called suspicious."""

    DEFAULT = ""
    P95 = "95"
    P90 = "90"
    P85 = "85"

    def label(self):
        if self is OperatingPoint.DEFAULT:
            return _("The model's own")
        return _("{number} % sensitivity").format(number=self.value)


class Registration(enum.Enum):
    """What is done about motion between the phases."""

    AUTO = "auto"
    RIGID = "rigid"
    DEFORMABLE = "deformable"
    OFF = "off"

    def label(self):
        return {
            Registration.AUTO: _("Automatic"),
            Registration.RIGID: _("Register each breast as a whole"),
            Registration.DEFORMABLE: _("Register and deform"),
            Registration.OFF: _("Leave as it is"),
        }[self]


@parameterNodeWrapper
class BreastCMSLParameterNode:
    """The dynamic volumes are node references beside these parameters, see ``inputs``.

    Attributes
    ----------
    suggestedT1 : ID of the T1 that the panel chose by itself.
    inputsChosen : the user has touched the inputs, so nothing is suggested any more.
    modelPath : a model's .json file, "" for the one that ships.
    resultExam : ID of the exam whose results are shown.
    kineticMaps : make the kinetic maps too.
    comparedMaps : make Layer-CAM, Grad-CAM and the feature norm too.
    browserViewer : make the page of the images for the browser too.
    heatmapVolume : the map over the images.
    overlayThreshold : fraction of the map's maximum below which it is transparent.
    """

    volumeKind: VolumeKind = VolumeKind.AUTO
    t1Volume: slicer.vtkMRMLScalarVolumeNode
    suggestedT1: str = ""
    inputsChosen: bool = False
    modelPath: str = ""
    device: Device = Device.AUTO
    operatingPoint: OperatingPoint = OperatingPoint.DEFAULT
    registration: Registration = Registration.AUTO
    kineticMaps: bool = True
    comparedMaps: bool = False
    browserViewer: bool = False
    resultExam: str = ""
    heatmapVolume: slicer.vtkMRMLScalarVolumeNode
    overlayVisible: bool = False
    legendVisible: bool = True
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    overlayThreshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.4
