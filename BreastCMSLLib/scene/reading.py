"""Exams from the nodes of a scene.

An item is a pair: a volume node and None; or a sequence browser, sequence or multivolume node and the index
of a frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume
from ..exam import Exam, Phase, make_exam, with_times_of_names
from ..readers.clock import across_midnight, seconds_of_day, seconds_to_date
from ..readers.patient import patient_key
from .transforms import ijk_to_ras, local_to_world

_INSTANCES = "DICOM.instanceUIDs"
_UID = re.compile(r"^[0-9]+(\.[0-9]+)+$")
_SERIES_NAME = re.compile(r"(\d{1,9}): ")
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0}  # in the units of sequences and multivolumes

# what may be asked of the desktop's DICOM database; of the patient ID a digest is kept
_STUDY_UID, _SERIES_UID, _SERIES_NUMBER = "0020,000d", "0020,000e", "0020,0011"
_PATIENT_ID, _ACQUISITION_DATE = "0010,0020", "0008,0022"
_ACQUISITION_NUMBER, _ACQUISITION_TIME, _CONTENT_TIME = "0020,0012", "0008,0032", "0008,0033"


def exam_from_nodes(
    nodes: Sequence,
    *,
    t1=None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
    keep_order: bool = False,
) -> Exam:
    """The exam of single volumes; see :func:`exam_from_items`.

    Parameters
    ----------
    nodes : sequence of vtkMRMLScalarVolumeNode
        Dynamic phases or subtractions.
    t1, kind, times_s, keep_order
        See :func:`exam_from_items`.

    Returns
    -------
    Exam

    Raises
    ------
    InputError
        A node cannot be used.
    """
    items = [(node, None) for node in nodes]
    return exam_from_items(items, t1=t1, kind=kind, times_s=times_s, keep_order=keep_order)


def exam_from_items(
    items: Sequence[tuple],
    *,
    t1=None,
    kind: str = "auto",
    times_s: Sequence[float | None] | None = None,
    keep_order: bool = False,
) -> Exam:
    """The exam of items, in world RAS; linear parent transforms count, voxels are copied.

    Parameters
    ----------
    items : sequence of (vtkMRMLNode, int or None)
        Dynamic phases or subtractions, in any order.
    t1 : vtkMRMLScalarVolumeNode, optional
    kind : {"auto", "phases", "subtractions"}
    times_s : sequence of float, optional
        Acquisition times on one clock; by default what DICOM database, sequence or all names say.
    keep_order : bool
        Whether the items are in time order.

    Returns
    -------
    Exam

    Raises
    ------
    InputError
        An item cannot be used.
    """
    return make_exam(
        phases_from_items(items, times_s=times_s),
        kind=kind,
        t1=phase_from_node(t1) if t1 is not None else None,
        identifiers=_identifiers(list(dict.fromkeys(_holder(node) for node, _ in items))),
        keep_order=keep_order,
    )


def phases_from_items(
    items: Sequence[tuple], *, times_s: Sequence[float | None] | None = None, copy: bool = True
) -> list[Phase]:
    """The phases of items in the order given, nothing checked but that each can be read.

    Parameters
    ----------
    items : sequence of (vtkMRMLNode, int or None)
    times_s : sequence of float, optional
        See :func:`exam_from_items`.
    copy : bool
        False: the voxels are the scene's own. Only look at them, and at once.

    Returns
    -------
    list of Phase

    Raises
    ------
    InputError
        An item cannot be read, or was chosen twice.
    """
    items = list(items)
    if times_s is not None and len(times_s) != len(items):
        raise InputError(
            f"{len(times_s)} times were given for {len(items)} volumes; give one time per volume."
        )
    keys = [(node.GetID(), index) for node, index in items if node is not None]
    for node, index in items:
        if node is not None and keys.count((node.GetID(), index)) > 1:
            raise InputError(f"{node.GetName()} was chosen twice; choose each phase once.")
    phases = [
        phase_from_node(node, copy) if index is None else _frame(node, index, copy) for node, index in items
    ]
    single = all(index is None for _, index in items)
    if times_s is None and single and phases and all(phase.time_s is not None for phase in phases):
        times_s = across_midnight([phase.time_s for phase in phases])
    if times_s is None:
        return with_times_of_names(phases) if single else phases
    return [
        replace(phase, time_s=None if time is None else float(time)) for phase, time in zip(phases, times_s)
    ]


def item_facts(node, index: int | None = None) -> Phase:
    """Name, source, time and numbers of an item, without looking at voxels.

    Parameters
    ----------
    node : vtkMRMLNode
    index : int, optional
        Of the frame.

    Returns
    -------
    Phase
        Its ``volume`` is None.
    """
    if index is None:
        tags = _database_tags(node)
        return Phase(
            None,
            node.GetName() or "volume",
            source=next(iter(_instance_uids(node)), None) or str(node.GetID()),
            time_s=seconds_of_day(tags.get(_ACQUISITION_TIME) or tags.get(_CONTENT_TIME) or ""),
            acquisition_number=_integer(tags.get(_ACQUISITION_NUMBER)),
            series_number=_integer(tags.get(_SERIES_NUMBER)) if tags else _number_in_name(node.GetName()),
        )
    holder = _holder(node)
    name = f"{holder.GetName()} {index + 1} of {frame_count(node)}"
    sequence = holder.IsA("vtkMRMLSequenceNode")
    time_s = _sequence_time(holder, index) if sequence else _multivolume_time(holder, index)
    return Phase(None, name, f"{holder.GetID()}#{index}", time_s)


def _number_in_name(name: str | None) -> int | None:
    """The series number with which the desktop's DICOM plugins begin names ("5: ax dyn pre"), or None."""
    return int(match[1]) if (match := _SERIES_NAME.match(name or "")) else None


def frame_count(node) -> int:
    """How many volumes a sequence browser, sequence or multivolume node holds.

    Parameters
    ----------
    node : vtkMRMLNode

    Returns
    -------
    int

    Raises
    ------
    InputError
        Any other node.
    """
    holder = _holder(node)
    if holder.IsA("vtkMRMLSequenceNode"):
        return holder.GetNumberOfDataNodes()
    if hasattr(holder, "GetNumberOfFrames") and holder.IsA("vtkMRMLVolumeNode"):
        return _frames(holder)
    raise InputError(
        f"{node.GetName()} is not a sequence of volumes; choose the dynamic series or single volumes."
    )


def _holder(node):
    """The node that holds the frames: a browser's master sequence, else the node itself."""
    if node is None:
        raise InputError("No volume was chosen; choose the dynamic series.")
    if node.IsA("vtkMRMLSequenceBrowserNode"):
        if node.GetMasterSequenceNode() is None:
            raise InputError(f"{node.GetName()} browses no sequence; choose the dynamic series.")
        return node.GetMasterSequenceNode()
    return node


def phase_from_node(node, copy: bool = True) -> Phase:
    """One volume as a phase.

    Parameters
    ----------
    node, copy
        See :func:`volume_from_node`.

    Returns
    -------
    Phase

    Raises
    ------
    InputError
        The node cannot be used.
    """
    volume = volume_from_node(node, copy)
    return replace(item_facts(node), volume=volume)


def volume_from_node(node, copy: bool = True) -> Volume:
    """One scalar volume, linear parent transforms included.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
    copy : bool
        False: the voxels are the scene's own.

    Returns
    -------
    Volume
        Voxels [i, j, k] in their own dtype, affine to world RAS mm.

    Raises
    ------
    InputError
        The node is no scalar volume, has no voxels, or is under a non-linear transform.
    """
    if node is None:
        raise InputError("A volume is missing from the selection; choose one for every phase.")
    name = node.GetName() or "The volume"
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name} is not a scalar volume; choose the image itself.")
    return _volume_of_image(node, name, local_to_world(node) @ ijk_to_ras(node), copy)


def _volume_of_image(node, name: str, affine: np.ndarray, copy: bool) -> Volume:
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None and image.GetNumberOfPoints() else None
    if scalars is None:
        raise InputError(f"{name} has no voxels in memory; load it again.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(
            f"{name} has {scalars.GetNumberOfComponents()} values per voxel; "
            "choose a single-component (grey) volume."
        )
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions(), order="F")
    return Volume(array.copy(order="F") if copy else array, affine)


def _frame(node, index: int, copy: bool) -> Phase:
    """One frame of a sequence or multivolume."""
    facts, holder = item_facts(node, index), _holder(node)
    if not holder.IsA("vtkMRMLSequenceNode"):
        return replace(facts, volume=_multivolume_frame(holder, index))
    stored = holder.GetNthDataNode(index)
    if stored is None or not stored.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{facts.name} is not a scalar volume; choose a sequence of images.")
    return replace(facts, volume=_volume_of_image(stored, facts.name, item_affine(node, index), copy))


def item_image(node, index: int | None):
    """The node that holds the voxels of an item.

    Parameters
    ----------
    node : vtkMRMLNode
    index : int or None

    Returns
    -------
    vtkMRMLVolumeNode or None
        None when there are no voxels.
    """
    holder = _holder(node)
    stored = holder.GetNthDataNode(index) if holder.IsA("vtkMRMLSequenceNode") else holder
    if stored is None or not stored.IsA("vtkMRMLVolumeNode"):
        return None
    return stored if stored.GetImageData() is not None else None


def item_affine(node, index: int | None) -> np.ndarray:
    """Where the voxels of an item are.

    Parameters
    ----------
    node : vtkMRMLNode
    index : int or None

    Returns
    -------
    ndarray of float64, shape (4, 4)
        Voxel → world RAS mm.

    Raises
    ------
    InputError
        The node is under a bending transform.
    """
    holder = _holder(node)
    if not holder.IsA("vtkMRMLSequenceNode"):
        return local_to_world(holder) @ ijk_to_ras(holder)
    stored = holder.GetNthDataNode(index)
    proxy = node.GetProxyNode(holder) if node is not holder else None
    # stored volumes have no parent transform, the one on show may
    to_world = local_to_world(proxy) if proxy is not None else np.eye(4)
    return to_world @ ijk_to_ras(stored)


def _sequence_time(sequence, index: int) -> float | None:
    scale = _SECONDS.get((sequence.GetIndexUnit() or "").strip().lower())
    number = _number(sequence.GetNthIndexValue(index))
    timed = scale is not None and number is not None and "time" in (sequence.GetIndexName() or "").lower()
    return number * scale if timed else None


def _frames(node) -> int:
    image = node.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        raise InputError(f"{node.GetName()} has no voxels in memory; load it again.")
    return image.GetPointData().GetScalars().GetNumberOfComponents()


def _multivolume_time(node, index: int) -> float | None:
    labels = [_number(text) for text in (node.GetAttribute("MultiVolume.FrameLabels") or "").split(",")]
    scale = _SECONDS.get(
        (node.GetAttribute("MultiVolume.FrameIdentifyingDICOMTagUnits") or "").strip().lower()
    )
    timed = scale is not None and len(labels) == _frames(node) and None not in labels
    return labels[index] * scale if timed else None


def _multivolume_frame(node, index: int) -> Volume:
    from vtk.util.numpy_support import vtk_to_numpy

    frames, image = _frames(node), node.GetImageData()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    array = (
        (voxels[:, index] if frames > 1 else voxels).reshape(image.GetDimensions(), order="F").copy(order="F")
    )
    return Volume(array, local_to_world(node) @ ijk_to_ras(node))


def _instance_uids(node) -> list[str]:
    return [uid for uid in (node.GetAttribute(_INSTANCES) or "").split() if _UID.match(uid)]


def _identifiers(nodes) -> dict:
    """UIDs of the series where the DICOM database knows them, else of each volume's first instance.

    With the former a digest of the patient ID, and the date, by which two exams are told to belong together.
    """
    identifiers: dict = {"node_ids": [node.GetID() for node in nodes]}
    firsts = [uids[0] for uids in (_instance_uids(node) for node in nodes) if uids]
    if firsts:
        identifiers["first_instance_uids"] = firsts
    tags = [_database_tags(node) for node in nodes]
    series = list(dict.fromkeys(entry[_SERIES_UID] for entry in tags if entry.get(_SERIES_UID)))
    if series:
        identifiers["series_instance_uids"] = series
    studies = {entry[_STUDY_UID] for entry in tags if entry.get(_STUDY_UID)}
    if len(studies) == 1:
        identifiers["study_instance_uid"] = studies.pop()
    patients = {key for entry in tags if (key := patient_key(entry.get(_PATIENT_ID, "")))}
    if len(patients) == 1:
        identifiers["patient"] = patients.pop()
    dates = [seconds_to_date(entry[_ACQUISITION_DATE]) for entry in tags if entry.get(_ACQUISITION_DATE)]
    if any(dates):
        identifiers["acquired_s"] = min(date for date in dates if date)
    return identifiers


def study_of(node) -> str:
    """Study instance UID of a volume node by the DICOM database; "" when it is not known."""
    return _database_tags(node).get(_STUDY_UID, "")


def _database_tags(node) -> Mapping[str, str]:
    """A few tags of the node's first instance from the desktop's DICOM database; empty without one."""
    import slicer

    database = getattr(slicer, "dicomDatabase", None)
    uids = _instance_uids(node)
    if database is None or not uids or not getattr(database, "isOpen", False):
        return {}
    tags = (
        *(_PATIENT_ID, _STUDY_UID, _SERIES_UID, _SERIES_NUMBER, _ACQUISITION_NUMBER),
        *(_ACQUISITION_DATE, _ACQUISITION_TIME, _CONTENT_TIME),
    )
    return {tag: value for tag in tags if (value := str(database.instanceValue(uids[0], tag) or "").strip())}


def _integer(text: str | None) -> int | None:
    return int(text) if text and re.match(r"^-?\d+$", text) else None


def _number(text) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
