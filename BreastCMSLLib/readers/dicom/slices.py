"""Single DICOM images: the few header fields we use.

Enhanced multi-frame objects are taken apart into one entry a frame, so that nothing after this module knows
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import DependencyError
from ..clock import seconds_of_day
from .objects import philips_scale, quiet_pydicom, read_header, transfer_syntax, why_no_dicom
from .values import Header, clock_of, datetime_of, integer_of, text_of, texts_of

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
SECONDARY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # this class, and those that begin with it
_NO_PHASES = {  # objects of modality MR that are none, by how their class begins
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.4.2": "spectroscopy",
}
_DIRECTORY = "1.2.840.10008.1.3.10"
_NO_IMAGES = ("SEG", "PR", "SR", "KO", "RTSTRUCT", "RTDOSE")
_NO_AGENT = {"", "NO", "NONE", "N", "0", "NIL", "NEIN", "OHNE", "WITHOUT", "N/A", "NO CONTRAST", "UNENHANCED"}
_MAX_SIDE = 8192  # pixels along a side of an image


@dataclass(frozen=True)
class Slice:
    """One image, or one frame of a multi-frame object.

    Attributes
    ----------
    path, frame
        The file, and the frame's index in it; None for a single image.
    orientation, position
        Row and column axis (6) and centre of the first voxel (3), LPS, mm.
    pixel_spacing
        Between rows, between columns, mm.
    patient, frame_of_reference
        Identifiers, to be compared only; no result or message names them.
    clocks
        Seconds from year 1 on, by what they are the time of: "datetime" and "acquisition" (acquisition),
        "content" and "series".
    trigger_ms, temporal_position, temporal_resolution_ms
        Other ways to tell when the image was acquired; the first also from a temporal position's offset.
    temporal_positions
        How many there are in the series, where the header tells.
    scan_options
        Upper case; None where the header does not tell.
    contrast_agent
        Whether the header names one.
    bolus_s
        Seconds since midnight at which its injection began.
    scale
        Philips' scale slope.
    slope, intercept
        Of the rescaling of stored values.
    photometric
        Photometric interpretation, upper case; "COLOUR" for more than one sample a pixel.
    pixel_offset
        Of the pixel data's element in the file, bytes.
    frames
        In the file.
    """

    path: Path
    frame: int | None
    sop_uid: str
    sop_class: str
    study_uid: str
    series_uid: str
    patient: str
    frame_of_reference: str
    series_number: int | None
    acquisition_number: int | None
    instance_number: int | None
    description: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    clocks: dict[str, float | None]
    trigger_ms: float | None
    temporal_position: int | None
    temporal_positions: int | None
    temporal_resolution_ms: float | None
    scan_options: tuple[str, ...] | None
    echo_time_ms: float | None
    repetition_time_ms: float | None
    inversion_time_ms: float | None
    flip_angle: float | None
    scanning_sequence: tuple[str, ...]
    b_value: float | None
    contrast_agent: bool
    bolus_s: float | None
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    scale: float | None
    photometric: str
    transfer_syntax: str
    pixel_offset: int
    frames: int
    manufacturer: str
    field_strength_t: float | None


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
            _slice(path, Header(dataset, (group, shared)), index, syntax, offset, frames)
            for index, group in enumerate(groups)
        ]
    if frames > 1:
        name = text_of(dataset, "SeriesDescription") or path.name
        result.multiframe.append(name)
        is_capture = text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURES)
        reason = "a multi-frame object that does not tell where its frames lie"
        result.put(Others(name, reason, problem=not is_capture), path)
        return []
    return [_slice(path, Header(dataset), None, syntax, offset, 1)]


def _instead_of_mr(dataset, result: Scan, path: Path) -> Others | None:
    """What an object is instead of an MR image; its modality is noted where it has one."""
    sop_class = text_of(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    modality = text_of(dataset, "Modality").upper()
    if not modality and sop_class in MR_CLASSES:
        modality = "MR"
    if sop_class == _DIRECTORY or path.name.upper().startswith("DICOMDIR"):
        return NO_IMAGE
    if not sop_class and not modality:
        return DAMAGED
    result.modalities.add(modality or "unknown")
    name = text_of(dataset, "SeriesDescription") or text_of(dataset, "ProtocolName") or f"{modality} object"
    if modality != "MR":
        return Others(name, f"of modality {modality or 'unknown'}, not MR")
    for start, what in _NO_PHASES.items():
        if sop_class.startswith(start):
            return Others(name, what)
    if integer_of(dataset, "Rows") is None or modality in _NO_IMAGES:
        return Others(name, "no image")
    return None


def _slice(path: Path, header: Header, frame: int | None, syntax: str, offset: int, frames: int) -> Slice:
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    if not (0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE):
        raise ValueError("an image of impossible size")
    acquisition, temporal = _numbers_in_time(header)
    slope = header.number("RescaleSlope", "PixelValueTransformationSequence")
    intercept = header.number("RescaleIntercept", "PixelValueTransformationSequence")
    bits = header.integer("BitsAllocated") or 16
    samples = header.integer("SamplesPerPixel") or 1
    return Slice(
        path=path,
        frame=frame,
        sop_uid=header.text("SOPInstanceUID"),
        sop_class=header.text("SOPClassUID"),
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        patient=header.text("PatientID"),
        frame_of_reference=header.text("FrameOfReferenceUID"),
        series_number=header.integer("SeriesNumber"),
        acquisition_number=acquisition,
        instance_number=frame if frame is not None else header.integer("InstanceNumber"),
        description=header.text("SeriesDescription") or header.text("ProtocolName"),
        image_type=_image_type(header),
        rows=rows,
        columns=columns,
        orientation=header.numbers("ImageOrientationPatient", 6, "PlaneOrientationSequence"),
        position=header.numbers("ImagePositionPatient", 3, "PlanePositionSequence"),
        pixel_spacing=header.numbers("PixelSpacing", 2, "PixelMeasuresSequence"),
        clocks=_clocks(header),
        trigger_ms=_delay_ms(header),
        temporal_position=temporal,
        temporal_positions=header.integer("NumberOfTemporalPositions"),
        temporal_resolution_ms=header.number("TemporalResolution"),
        scan_options=_scan_options(header),
        echo_time_ms=header.number("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        repetition_time_ms=header.number("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
        inversion_time_ms=header.number("InversionTime", "MRModifierSequence", "InversionTimes"),
        flip_angle=header.number("FlipAngle", "MRTimingAndRelatedParametersSequence"),
        scanning_sequence=header.texts("ScanningSequence"),
        b_value=header.number("DiffusionBValue", "MRDiffusionSequence"),
        contrast_agent=_names_agent(header),
        bolus_s=seconds_of_day(header.text("ContrastBolusStartTime")),
        bits_allocated=bits,
        bits_stored=header.integer("BitsStored") or bits,
        signed=header.integer("PixelRepresentation") == 1,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        scale=_scale(header),
        photometric=header.text("PhotometricInterpretation").upper() if samples == 1 else "COLOUR",
        transfer_syntax=syntax,
        pixel_offset=offset,
        frames=frames,
        manufacturer=header.text("Manufacturer"),
        field_strength_t=header.number("MagneticFieldStrength"),
    )


def _delay_ms(header: Header) -> float | None:
    """Trigger time, or the offset of the frame's temporal position."""
    offset = header.number("TemporalPositionTimeOffset", "TemporalPositionSequence")
    return header.number("TriggerTime") if offset is None else 1000 * offset


def _names_agent(header: Header) -> bool:
    """Whether a contrast agent is named that is not said to be none."""
    usage = header.group("ContrastBolusUsageSequence")
    if usage is not None:
        return text_of(usage, "ContrastBolusAgentAdministered").upper() != "NO"
    return header.text("ContrastBolusAgent").upper() not in _NO_AGENT


def _scale(header: Header) -> float | None:
    for source in (*header.groups, header.dataset):
        if source is not None and (scale := philips_scale(source)) is not None:
            return scale
    return None


def _numbers_in_time(header: Header) -> tuple[int | None, int | None]:
    """Acquisition number and temporal position."""
    content = header.group("FrameContentSequence")
    position = header.integer("TemporalPositionIdentifier")
    if content is None:
        return header.integer("AcquisitionNumber"), position
    own = integer_of(content, "TemporalPositionIndex")
    return integer_of(content, "FrameAcquisitionNumber"), position if own is None else own


def _image_type(header: Header) -> tuple[str, ...]:
    frame_type = header.group("MRImageFrameTypeSequence")
    own = () if frame_type is None else texts_of(frame_type, "FrameType")
    return tuple(text.upper() for text in own or header.texts("ImageType"))


def _clocks(header: Header) -> dict[str, float | None]:
    content = header.group("FrameContentSequence")
    of_frame = None if content is None else datetime_of(content, "FrameAcquisitionDateTime")
    return {
        "datetime": of_frame or datetime_of(header.dataset, "AcquisitionDateTime"),
        "acquisition": clock_of(header.dataset, "Acquisition"),
        "content": clock_of(header.dataset, "Content"),
        "series": clock_of(header.dataset, "Series"),
    }


def _scan_options(header: Header) -> tuple[str, ...] | None:
    """Enhanced objects tell fat suppression in another way, in capitals already."""
    modifier = header.group("MRModifierSequence")
    if modifier is not None:
        suppression = text_of(modifier, "SpectrallySelectedSuppression").upper()
        return ("FS",) if suppression in ("FAT", "FAT AND WATER") else ()
    if "ScanOptions" not in header.dataset:
        return None
    return tuple(option.upper() for option in header.texts("ScanOptions"))
