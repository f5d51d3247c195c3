"""Files of any kind, read once: the MR images among them, and what the others are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import DependencyError
from .objects import quiet_pydicom, read_header, transfer_syntax, why_no_dicom
from .slices import SECONDARY_CAPTURES, Slice, slice_of
from .values import Header, integer_of, text_of

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
_NO_PHASES = {  # objects of modality MR that are none, by how their class begins
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.4.2": "spectroscopy",
}
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Others:
    """Files that hold no MR image.

    Attributes
    ----------
    name, reason
        What they are, and why they are not used.
    problem
        Whether they may be parts of the exam that cannot be read.
    """

    name: str
    reason: str
    problem: bool = False


NO_IMAGE = Others("other files", "no image")
DAMAGED = Others("damaged files", "not readable as DICOM", problem=True)
EMPTY = Others("empty files", "nothing in them", problem=True)
UNREADABLE = Others("unreadable files", "not readable by this user", problem=True)
MISSING = Others("missing files", "links to files that are not there", problem=True)
PACKED = Others("packed or unfinished files", "to be unpacked or downloaded again", problem=True)
NO_DICOM = Others("files named like DICOM", "no DICOM in them", problem=True)
VOLUMES = Others("volume files", "beside DICOM images, which are used")
_BY_ENDING = {
    **dict.fromkeys((".dcm", ".dicom", ".ima"), NO_DICOM),
    **dict.fromkeys((".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"), VOLUMES),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".xz", ".bz2", ".zst"), PACKED),
    **dict.fromkeys((".part", ".partial", ".crdownload", ".download", ".filepart"), PACKED),
}
_NO_DICOM = {"other": NO_IMAGE, "empty": EMPTY, "unreadable": UNREADABLE, "missing": MISSING}


@dataclass
class Scan:
    """What files hold: MR images, and what else.

    Attributes
    ----------
    slices
        MR images, in the files' order.
    files
        How many were looked at.
    modalities
        Of the DICOM objects.
    copies
        Files that repeat an image under its own identifiers, by its series.
    multiframe
        Names of multi-frame objects that do not tell where their frames lie.
    others
        Every file that holds no MR image.
    """

    slices: list[Slice] = field(default_factory=list)
    files: int = 0
    modalities: set[str] = field(default_factory=set)
    copies: dict[str, list[Path]] = field(default_factory=dict)
    multiframe: list[str] = field(default_factory=list)
    others: dict[Others, list[Path]] = field(default_factory=dict)

    @property
    def damaged(self) -> list[Path]:
        """DICOM files that cannot be read."""
        return self.others.get(DAMAGED, [])

    @property
    def unread(self) -> list[Path]:
        """All files that may be parts of the exam and cannot be read."""
        return [path for what, paths in self.others.items() if what.problem for path in paths]

    def put(self, what: Others, path: Path) -> None:
        """Note a file that holds no MR image."""
        self.others.setdefault(what, []).append(path)


def scan(paths: Iterable[Path]) -> Scan:
    """Read the headers of the DICOM files among the paths.

    In one thread: parsing 800 headers takes seconds, and threads only add contention for the interpreter.

    Parameters
    ----------
    paths
        Files of any kind, and links to nothing.

    Returns
    -------
    Scan
        Copies of one image (same SOP instance, at the same place and time) count once.

    Raises
    ------
    DependencyError
        There is a DICOM file, but no pydicom to read it with.
    """
    result, seen = Scan(), set()
    with quiet_pydicom():
        for path in paths:
            result.files += 1
            if instead := why_no_dicom(path):
                result.put(_instead_of_dicom(instead, path), path)
                continue
            try:
                slices = _read_file(path, result)
            except DependencyError:
                raise
            except (
                Exception
            ):  # whatever a parser trips over, the file is damaged: the caller names it if it matters
                result.put(DAMAGED, path)
                continue
            new = [item for item in slices if _identity(item) not in seen]
            seen.update(map(_identity, new))
            result.slices += new
            if slices and not new:
                result.copies.setdefault(slices[0].description or "unnamed series", []).append(path)
    return result


def _instead_of_dicom(instead: str, path: Path) -> Others:
    """What a file is that is no DICOM; for one that may be anything, by how its name ends."""
    if instead != "other":
        return _NO_DICOM[instead]
    name = path.name.lower()
    return _BY_ENDING.get(max(filter(name.endswith, _BY_ENDING), key=len, default=""), NO_IMAGE)


def _identity(item: Slice) -> tuple:
    """What copies of one image have in common, also where anonymisers gave one UID to several images."""
    return (
        item.sop_uid or str(item.path),
        item.frame,
        item.series_uid,
        item.series_number,
        item.instance_number,
        item.acquisition_number,
        item.temporal_position,
        item.position,
        item.clocks["acquisition"],
        item.clocks["content"],
        item.trigger_ms,
        item.image_type,
    )


def _read_file(path: Path, result: Scan) -> list[Slice]:
    """The MR images in a DICOM file; of one that holds none, the result keeps why."""
    dataset, offset = read_header(path)
    instead = _instead_of_mr(dataset, result, path)
    if instead is not None:
        result.put(instead, path)
        return []
    syntax = transfer_syntax(dataset)
    frames = integer_of(dataset, "NumberOfFrames") or 1
    if "PerFrameFunctionalGroupsSequence" in dataset:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        if len(groups) != frames:
            raise ValueError("frames and their descriptions differ in number")
        return [
            slice_of(path, Header(dataset, (group, shared)), index, syntax, offset, frames)
            for index, group in enumerate(groups)
        ]
    if frames > 1:
        name = text_of(dataset, "SeriesDescription") or path.name
        result.multiframe.append(name)
        is_capture = text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURES)
        reason = "a multi-frame object that does not tell where its frames lie"
        result.put(Others(name, reason, problem=not is_capture), path)
        return []
    return [slice_of(path, Header(dataset), None, syntax, offset, 1)]


def _instead_of_mr(dataset, result: Scan, path: Path) -> Others | None:
    """What an object is instead of an MR image; its modality is noted where it has one."""
    sop_class = text_of(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    modality = text_of(dataset, "Modality").upper()
    if not modality and sop_class in MR_CLASSES:
        modality = "MR"
    if sop_class == _DIRECTORY or path.name.upper().startswith("DICOMDIR"):
        return NO_IMAGE
    has_rows = integer_of(dataset, "Rows") is not None
    if not modality and not (sop_class and has_rows):  # it breaks off within its header
        return DAMAGED
    result.modalities.add(modality or "unknown")
    name = text_of(dataset, "SeriesDescription") or text_of(dataset, "ProtocolName") or f"{modality} object"
    if modality != "MR":
        return Others(name, f"of modality {modality or 'unknown'}, not MR")
    for start, what in _NO_PHASES.items():
        if sop_class.startswith(start):
            return Others(name, what)
    if not has_rows:
        return DAMAGED if sop_class in MR_CLASSES else Others(name, "no image")
    return None
