"""Single DICOM images: the few header fields we use.

Enhanced multi-frame objects are taken apart into one entry a frame, so that nothing after this module knows
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .objects import is_dicom, quiet_pydicom, read_header, transfer_syntax
from .values import Header, clock_of, datetime_of, integer_of, text_of, texts_of

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
_SEGMENTATIONS = "1.2.840.10008.5.1.4.1.1.66"
_NO_IMAGES = ("SEG", "PR", "SR", "KO", "RTSTRUCT", "RTDOSE")
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
    clocks
        Seconds from year 1 on, by what they are the time of: "datetime" and "acquisition" (acquisition),
        "content" and "series".
    trigger_ms, temporal_position, temporal_resolution_ms
        Other ways to tell when the image was acquired.
    scan_options
        Upper case; None where the header does not tell.
    contrast_agent
        Whether the header names one.
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
    study_uid: str
    series_uid: str
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
    temporal_resolution_ms: float | None
    scan_options: tuple[str, ...] | None
    echo_time_ms: float | None
    repetition_time_ms: float | None
    scanning_sequence: tuple[str, ...]
    b_value: float | None
    contrast_agent: bool
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    photometric: str
    transfer_syntax: str
    pixel_offset: int
    frames: int
    manufacturer: str
    field_strength_t: float | None


@dataclass
class Scan:
    """What files hold: MR images, and how much of what else, for the messages.

    Attributes
    ----------
    slices
        MR images, in the files' order.
    files
        How many were looked at.
    modalities
        Of the DICOM objects, with their number.
    damaged
        DICOM files that cannot be read.
    multiframe
        Names of multi-frame objects that do not tell where their frames lie.
    """

    slices: list[Slice] = field(default_factory=list)
    files: int = 0
    modalities: Counter = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)
    multiframe: list[str] = field(default_factory=list)


def scan(paths: Iterable[Path]) -> Scan:
    """Read the headers of the DICOM files among the paths.

    In one thread: parsing 800 headers takes seconds, and threads only add contention for the interpreter.

    Parameters
    ----------
    paths
        Files of any kind.

    Returns
    -------
    Scan
        Copies of one image (same SOP instance) count once.
    """
    result, seen = Scan(), set()
    with quiet_pydicom():
        for path in paths:
            result.files += 1
            if not is_dicom(path):
                continue
            try:
                slices = _read_file(path, result)
            except (
                Exception
            ):  # whatever a parser trips over, the file is damaged: the caller names it if it matters
                result.damaged.append(path)
                continue
            for item in slices:
                key = (item.sop_uid or str(item.path), item.frame)
                if key not in seen:
                    seen.add(key)
                    result.slices.append(item)
    return result


def _read_file(path: Path, result: Scan) -> list[Slice]:
    """The MR images in a DICOM file; what else it is is counted in the result."""
    dataset, offset = read_header(path)
    if not _is_mr_image(dataset, result):
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
        result.multiframe.append(text_of(dataset, "SeriesDescription") or path.name)
        return []
    return [_slice(path, Header(dataset), None, syntax, offset, 1)]


def _is_mr_image(dataset, result: Scan) -> bool:
    """Whether an object is an MR image; its modality is counted, unless it is a DICOMDIR or no DICOM."""
    sop_class = text_of(dataset, "SOPClassUID")
    modality = text_of(dataset, "Modality").upper()
    if not modality and sop_class in MR_CLASSES:
        modality = "MR"
    if not sop_class and not modality:
        return False
    is_image = integer_of(dataset, "Rows") is not None and modality not in _NO_IMAGES
    result.modalities[modality or "unknown"] += 1
    return modality == "MR" and is_image and not sop_class.startswith(_SEGMENTATIONS)


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
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
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
        trigger_ms=header.number("TriggerTime"),
        temporal_position=temporal,
        temporal_resolution_ms=header.number("TemporalResolution"),
        scan_options=_scan_options(header),
        echo_time_ms=header.number("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        repetition_time_ms=header.number("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
        scanning_sequence=header.texts("ScanningSequence"),
        b_value=header.number("DiffusionBValue", "MRDiffusionSequence"),
        contrast_agent=bool(header.text("ContrastBolusAgent")),
        bits_allocated=bits,
        bits_stored=header.integer("BitsStored") or bits,
        signed=header.integer("PixelRepresentation") == 1,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        photometric=header.text("PhotometricInterpretation").upper() if samples == 1 else "COLOUR",
        transfer_syntax=syntax,
        pixel_offset=offset,
        frames=frames,
        manufacturer=header.text("Manufacturer"),
        field_strength_t=header.number("MagneticFieldStrength"),
    )


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
