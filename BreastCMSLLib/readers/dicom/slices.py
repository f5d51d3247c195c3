"""Single DICOM images: the few header fields we use.

Enhanced multi-frame objects are taken apart into one entry a frame, so that nothing after this module knows
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..clock import seconds_of_day
from .objects import philips_scale
from .values import Header, clock_of, datetime_of, integer_of, text_of, texts_of

SECONDARY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # this class, and those that begin with it
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


def slice_of(path: Path, header: Header, frame: int | None, syntax: str, offset: int, frames: int) -> Slice:
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
