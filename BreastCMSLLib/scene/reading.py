"""Exams from the nodes of a scene."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..exam import Exam, Phase, make_exam
from ..geometry import Volume
from ..readers.clock import across_midnight, seconds_of_day
from .transforms import ijk_to_ras, local_to_world

_INSTANCES = "DICOM.instanceUIDs"
_UID = re.compile(r"^[0-9]+(\.[0-9]+)+$")

# what may be asked of the desktop's DICOM database; nothing here names the patient
_STUDY_UID, _SERIES_UID, _SERIES_NUMBER = "0020,000d", "0020,000e", "0020,0011"
_ACQUISITION_NUMBER, _ACQUISITION_TIME, _CONTENT_TIME = "0020,0012", "0008,0032", "0008,0033"


def exam_from_nodes(
    nodes: Sequence, *, t1=None, kind: str = "auto", times_s: Sequence[float | None] | None = None, keep_order: bool = False
) -> Exam:
    """The exam of a list of vtkMRMLScalarVolumeNode, in world RAS; voxels are copied.

    nodes: dynamic phases or subtractions, in any order (or as given with ``keep_order``).
    t1: a scalar volume node or None. kind: see :func:`BreastCMSLLib.exam.make_exam`.
    times_s: acquisition time of each node in seconds on one clock; by default what the nodes' DICOM files say, if known.
    Linear parent transforms count. Raises InputError naming the node that cannot be used.
    """
    nodes = list(nodes)
    if times_s is not None and len(times_s) != len(nodes):
        raise InputError(f"{len(times_s)} times were given for {len(nodes)} volumes; give one time per volume.")
    ids = [node.GetID() for node in nodes if node is not None]
    for node in nodes:
        if node is not None and ids.count(node.GetID()) > 1:
            raise InputError(f"{node.GetName()} was chosen twice; choose each phase once.")
    phases = [phase_from_node(node) for node in nodes]
    if times_s is None and phases and all(phase.time_s is not None for phase in phases):
        times_s = across_midnight([phase.time_s for phase in phases])
    if times_s is not None:
        phases = [replace(phase, time_s=None if time is None else float(time)) for phase, time in zip(phases, times_s)]
    t1_phase = phase_from_node(t1) if t1 is not None else None
    return make_exam(phases, kind=kind, t1=t1_phase, identifiers=_identifiers(nodes), keep_order=keep_order)


def exam_from_sequence(node, *, t1=None, kind: str = "auto") -> Exam:
    """The exam of a vtkMRMLSequenceBrowserNode (its master sequence), a vtkMRMLSequenceNode, or a vtkMRMLMultiVolumeNode.

    Phases keep the sequence's order; times come from its index when that is in seconds or milliseconds.
    """
    if node is None:
        raise InputError("No sequence was chosen; choose the dynamic series.")
    browser = None
    if node.IsA("vtkMRMLSequenceBrowserNode"):
        browser, sequence = node, node.GetMasterSequenceNode()
        if sequence is None:
            raise InputError(f"{node.GetName()} browses no sequence; choose the dynamic series.")
    else:
        sequence = node
    if sequence.IsA("vtkMRMLSequenceNode"):
        phases = _sequence_phases(sequence, browser)
    elif hasattr(sequence, "GetNumberOfFrames") and sequence.IsA("vtkMRMLVolumeNode"):
        phases = _multivolume_phases(sequence)
    else:
        raise InputError(f"{node.GetName()} is not a sequence of volumes; choose the dynamic series or single volumes.")
    t1_phase = phase_from_node(t1) if t1 is not None else None
    return make_exam(phases, kind=kind, t1=t1_phase, identifiers=_identifiers([sequence]), keep_order=True)


def phase_from_node(node) -> Phase:
    """One scalar volume node as a phase: voxels copied as [i, j, k] in their own dtype, affine voxel → world RAS mm."""
    volume = volume_from_node(node)
    tags = _database_tags(node)
    return Phase(
        volume,
        node.GetName() or "volume",
        source=next(iter(_instance_uids(node)), None) or str(node.GetID()),
        time_s=seconds_of_day(tags.get(_ACQUISITION_TIME) or tags.get(_CONTENT_TIME) or ""),
        acquisition_number=_integer(tags.get(_ACQUISITION_NUMBER)),
        series_number=_integer(tags.get(_SERIES_NUMBER)),
    )


def volume_from_node(node) -> Volume:
    """A copy of a scalar volume node's voxels [i, j, k] with its affine to world RAS, linear parent transforms included.

    Raises InputError when the node is no scalar volume, has no voxels, or is under a non-linear transform.
    """
    if node is None:
        raise InputError("A volume is missing from the selection; choose one for every phase.")
    name = node.GetName() or "The volume"
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name} is not a scalar volume; choose the image itself.")
    return _volume_of_image(node, name, local_to_world(node) @ ijk_to_ras(node))


def _volume_of_image(node, name: str, affine: np.ndarray) -> Volume:
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None and image.GetNumberOfPoints() else None
    if scalars is None:
        raise InputError(f"{name} has no voxels in memory; load it again.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(f"{name} has {scalars.GetNumberOfComponents()} values per voxel; choose a single-component (grey) volume.")
    return Volume(vtk_to_numpy(scalars).reshape(image.GetDimensions(), order="F").copy(order="F"), affine)


def _sequence_phases(sequence, browser) -> list[Phase]:
    proxy = browser.GetProxyNode(sequence) if browser is not None else None
    to_world = local_to_world(proxy) if proxy is not None else np.eye(4)  # stored volumes have no parent, the one on show may
    scale = {"s": 1.0, "sec": 1.0, "ms": 1e-3}.get((sequence.GetIndexUnit() or "").strip().lower())
    if "time" not in (sequence.GetIndexName() or "").lower():
        scale = None
    phases = []
    for index in range(sequence.GetNumberOfDataNodes()):
        node = sequence.GetNthDataNode(index)
        value = sequence.GetNthIndexValue(index)
        name = f"{sequence.GetName()} {index + 1} of {sequence.GetNumberOfDataNodes()}"
        if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
            raise InputError(f"{name} is not a scalar volume; choose a sequence of images.")
        number = _number(value)
        time = number * scale if scale is not None and number is not None else None
        phases.append(Phase(_volume_of_image(node, name, to_world @ ijk_to_ras(node)), name, f"{sequence.GetID()}#{index}", time))
    return phases


def _multivolume_phases(node) -> list[Phase]:
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        raise InputError(f"{node.GetName()} has no voxels in memory; load it again.")
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    frames = voxels.shape[1] if voxels.ndim == 2 else 1
    labels = [_number(text) for text in (node.GetAttribute("MultiVolume.FrameLabels") or "").split(",")]
    unit = {"s": 1.0, "ms": 1e-3}.get((node.GetAttribute("MultiVolume.FrameIdentifyingDICOMTagUnits") or "").strip().lower())
    timed = unit is not None and len(labels) == frames and None not in labels
    affine = local_to_world(node) @ ijk_to_ras(node)
    phases = []
    for frame in range(frames):
        array = (voxels[:, frame] if voxels.ndim == 2 else voxels).reshape(image.GetDimensions(), order="F").copy(order="F")
        name = f"{node.GetName()} {frame + 1} of {frames}"
        phases.append(Phase(Volume(array, affine), name, f"{node.GetID()}#{frame}", labels[frame] * unit if timed else None))
    return phases


def _instance_uids(node) -> list[str]:
    return [uid for uid in (node.GetAttribute(_INSTANCES) or "").split() if _UID.match(uid)]


def _identifiers(nodes) -> dict:
    """UIDs only: of the series where the DICOM database knows them, else of each volume's first instance."""
    identifiers: dict = {"node_ids": [node.GetID() for node in nodes if node is not None]}
    firsts = [uids[0] for uids in (_instance_uids(node) for node in nodes if node is not None) if uids]
    if firsts:
        identifiers["first_instance_uids"] = firsts
    tags = [_database_tags(node) for node in nodes if node is not None]
    series = list(dict.fromkeys(entry[_SERIES_UID] for entry in tags if entry.get(_SERIES_UID)))
    if series:
        identifiers["series_instance_uids"] = series
    studies = {entry[_STUDY_UID] for entry in tags if entry.get(_STUDY_UID)}
    if len(studies) == 1:
        identifiers["study_instance_uid"] = studies.pop()
    return identifiers


def _database_tags(node) -> Mapping[str, str]:
    """A few tags of the node's first instance from the desktop's DICOM database; empty without one."""
    import slicer

    database = getattr(slicer, "dicomDatabase", None)
    uids = _instance_uids(node)
    if database is None or not uids or not getattr(database, "isOpen", False):
        return {}
    tags = (_STUDY_UID, _SERIES_UID, _SERIES_NUMBER, _ACQUISITION_NUMBER, _ACQUISITION_TIME, _CONTENT_TIME)
    return {tag: value for tag in tags if (value := str(database.instanceValue(uids[0], tag) or "").strip())}


def _integer(text: str | None) -> int | None:
    return int(text) if text and re.match(r"^-?\d+$", text) else None


def _number(text) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
