"""Single DICOM images: finding them in a folder, the few header fields we use, and their pixels.

Enhanced multi-frame objects are taken apart into one entry per frame, so that nothing after this module knows them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.text import one_line
from .clock import seconds_of_day

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
MAX_FILES = 100_000  # below one folder: more is an archive, or a link out of the exam
MAX_SIDE = 8192  # pixels along a side of an image
MAX_INFLATED = 256 << 20  # bytes of one deflated object
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PLAIN_SYNTAXES = {"1.2.840.10008.1.2": 8, "1.2.840.10008.1.2.1": 12}  # little endian: bytes before the pixels themselves
_TAGS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber AcquisitionNumber InstanceNumber SeriesDescription "
    "ProtocolName Modality ImageType Rows Columns ImageOrientationPatient ImagePositionPatient PixelSpacing AcquisitionDateTime "
    "AcquisitionDate AcquisitionTime ContentDate ContentTime SeriesDate SeriesTime TriggerTime TemporalPositionIdentifier "
    "TemporalResolution ScanOptions EchoTime RepetitionTime InversionTime ScanningSequence DiffusionBValue ContrastBolusAgent "
    "BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope RescaleIntercept SamplesPerPixel PhotometricInterpretation "
    "NumberOfFrames Manufacturer MagneticFieldStrength SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()


@dataclass(frozen=True)
class Slice:
    """One image (or one frame of a multi-frame object). Positions in LPS mm; spacing is (between rows, between columns)."""

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
    """What a folder holds: MR images, and how much of what else (for the messages)."""

    slices: list[Slice] = field(default_factory=list)
    files: int = 0
    modalities: Counter = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)
    multiframe: list[str] = field(default_factory=list)


def walk_files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder in a stable order; links are followed once, hidden files are skipped.

    Raises InputError at more than MAX_FILES.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for root, folders, names in os.walk(folder, followlinks=True):
        try:
            status = os.stat(root)
        except OSError:
            folders.clear()
            continue
        if status.st_ino and (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                count += 1
                if count > MAX_FILES:
                    raise InputError(f"{folder} holds more than {MAX_FILES} files; choose the folder of one exam.")
                yield path


def is_dicom(path: Path) -> bool:
    """True for a DICOM file, also an old one without the 128-byte preamble."""
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # without preamble: the first element is of group 2 (file meta) or 8 (identification), with a small element number
    return head[128:132] == b"DICM" or (len(head) == 132 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3] == 0 and head[2] <= 0x18)


def scan(paths: Iterable[Path]) -> Scan:
    """Read the headers of the DICOM files among the paths. Copies of one image (same SOP instance) count once.

    One thread: parsing 800 headers takes under a second here, and threads only add contention for the interpreter.
    """
    result, seen = Scan(), set()
    with _quiet_pydicom():
        for path in paths:
            result.files += 1
            if not is_dicom(path):
                continue
            try:
                slices = _read_header(path, result)
            except Exception:  # whatever a parser trips over, the file is damaged: the caller names it if it matters
                result.damaged.append(path)
                continue
            for item in slices:
                key = (item.sop_uid or str(item.path), item.frame)
                if key not in seen:
                    seen.add(key)
                    result.slices.append(item)
    return result


@contextmanager
def _quiet_pydicom():
    """No warnings about odd but harmless values: a user can do nothing about them."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _read_header(path: Path, result: Scan) -> list[Slice]:
    import pydicom

    with open(path, "rb") as file:
        if _DEFLATED in file.read(2048):
            _refuse_inflation(file)
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        offset = file.tell()
    sop_class = _text(dataset, "SOPClassUID")
    modality = _text(dataset, "Modality").upper()
    if not modality and sop_class in MR_CLASSES:
        modality = "MR"
    if not sop_class and not modality:
        return []  # DICOMDIR, or not DICOM after all
    is_image = _number(dataset, "Rows") is not None and modality not in ("SEG", "PR", "SR", "KO", "RTSTRUCT", "RTDOSE")
    result.modalities[modality or "unknown"] += 1
    if modality != "MR" or not is_image or sop_class.startswith("1.2.840.10008.5.1.4.1.1.66"):
        return []
    implicit, little_endian = dataset.original_encoding
    guess = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little_endian else "1.2.840.10008.1.2.2"
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", guess))
    frames = _integer(dataset, "NumberOfFrames") or 1
    if "PerFrameFunctionalGroupsSequence" in dataset:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        if len(groups) != frames:
            raise ValueError("frames and their descriptions differ in number")
        return [_slice(path, dataset, syntax, offset, frames, i, [group, shared]) for i, group in enumerate(groups)]
    if frames > 1:
        result.multiframe.append(_text(dataset, "SeriesDescription") or path.name)
        return []
    return [_slice(path, dataset, syntax, offset, 1, None, [])]


def _refuse_inflation(file) -> None:
    """Raise ValueError for a deflated object that would fill the memory: it is unpacked once, keeping nothing.

    The stream follows the file meta information, whose length stands behind the prefix.
    """
    import zlib

    file.seek(132)
    meta = file.read(12)
    if meta[:4] != b"\x02\x00\x00\x00":
        raise ValueError("a deflated object without the length of its meta information")
    file.seek(144 + int.from_bytes(meta[8:12], "little"))
    unpacker, pending, count = zlib.decompressobj(-zlib.MAX_WBITS), b"", 0
    while not unpacker.eof and (pending := pending or file.read(1 << 20)):
        count += len(unpacker.decompress(pending, 1 << 20))
        pending = unpacker.unconsumed_tail
        if count > MAX_INFLATED:
            raise ValueError("a deflated object of impossible size")


def _slice(path: Path, dataset, syntax: str, offset: int, frames: int, frame: int | None, groups: list) -> Slice:
    def group(sequence: str):
        for source in groups:
            if source is not None and source.get(sequence):
                return source[sequence].value[0]
        return None

    def number(keyword: str, sequence: str = "", other: str = "") -> float | None:
        source = group(sequence) if sequence else None
        value = _number(source, other or keyword) if source is not None else None
        return _number(dataset, keyword) if value is None else value

    def numbers(keyword: str, count: int, sequence: str) -> tuple[float, ...] | None:
        source = group(sequence)
        return _numbers(source if source is not None else dataset, keyword, count)

    content = group("FrameContentSequence")
    frame_type = group("MRImageFrameTypeSequence")
    image_type = _texts(frame_type, "FrameType") if frame_type is not None else ()
    clocks = {
        "datetime": _datetime(_text(content, "FrameAcquisitionDateTime") if content is not None else "")
        or _datetime(_text(dataset, "AcquisitionDateTime")),
        "acquisition": _clock(dataset, "Acquisition"),
        "content": _clock(dataset, "Content"),
        "series": _clock(dataset, "Series"),
    }
    options = _texts(dataset, "ScanOptions") if "ScanOptions" in dataset else None
    modifier = group("MRModifierSequence")
    if modifier is not None:
        suppression = _text(modifier, "SpectrallySelectedSuppression").upper()
        options = ("FS",) if suppression in ("FAT", "FAT AND WATER") else ()
    acquisition_number = _integer(content, "FrameAcquisitionNumber") if content is not None else _integer(dataset, "AcquisitionNumber")
    temporal = _integer(content, "TemporalPositionIndex") if content is not None else None
    slope = number("RescaleSlope", "PixelValueTransformationSequence")
    intercept = number("RescaleIntercept", "PixelValueTransformationSequence")
    bits = _integer(dataset, "BitsAllocated") or 16
    rows, columns = _integer(dataset, "Rows") or 0, _integer(dataset, "Columns") or 0
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise ValueError("an image of impossible size")
    return Slice(
        path=path,
        frame=frame,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        series_number=_integer(dataset, "SeriesNumber"),
        acquisition_number=acquisition_number,
        instance_number=frame if frame is not None else _integer(dataset, "InstanceNumber"),
        description=_text(dataset, "SeriesDescription") or _text(dataset, "ProtocolName"),
        image_type=tuple(t.upper() for t in (image_type or _texts(dataset, "ImageType"))),
        rows=rows,
        columns=columns,
        orientation=numbers("ImageOrientationPatient", 6, "PlaneOrientationSequence"),
        position=numbers("ImagePositionPatient", 3, "PlanePositionSequence"),
        pixel_spacing=numbers("PixelSpacing", 2, "PixelMeasuresSequence"),
        clocks=clocks,
        trigger_ms=number("TriggerTime"),
        temporal_position=temporal if temporal is not None else _integer(dataset, "TemporalPositionIdentifier"),
        temporal_resolution_ms=number("TemporalResolution"),
        scan_options=None if options is None else tuple(o.upper() for o in options),
        echo_time_ms=number("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        repetition_time_ms=number("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
        scanning_sequence=_texts(dataset, "ScanningSequence"),
        b_value=number("DiffusionBValue", "MRDiffusionSequence"),
        contrast_agent=bool(_text(dataset, "ContrastBolusAgent")),
        bits_allocated=bits,
        bits_stored=_integer(dataset, "BitsStored") or bits,
        signed=_integer(dataset, "PixelRepresentation") == 1,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        photometric=_text(dataset, "PhotometricInterpretation").upper() if (_integer(dataset, "SamplesPerPixel") or 1) == 1 else "COLOUR",
        transfer_syntax=syntax,
        pixel_offset=offset,
        frames=frames,
        manufacturer=_text(dataset, "Manufacturer"),
        field_strength_t=number("MagneticFieldStrength"),
    )


def _value(dataset, keyword: str):
    try:
        return dataset.get(keyword)
    except Exception:  # a value that does not fit its type is as good as none
        return None


def _text(dataset, keyword: str) -> str:
    value = _value(dataset, keyword)
    return "" if value is None else one_line(value, 200)


def _texts(dataset, keyword: str) -> tuple[str, ...]:
    value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    return (one_line(value, 100),) if isinstance(value, str) else tuple(one_line(v, 100) for v in value)


def _number(dataset, keyword: str) -> float | None:
    try:
        value = float(_value(dataset, keyword))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def _integer(dataset, keyword: str) -> int | None:
    value = _number(dataset, keyword)
    return None if value is None else int(value)


def _numbers(dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(v) for v in _value(dataset, keyword))
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _days(text: str) -> float:
    """Seconds from year 1 to a DICOM date (YYYYMMDD); 0 when there is no valid date."""
    from datetime import date

    text = text.replace(".", "").replace("-", "").strip()
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal() * 86400.0
    except ValueError:
        return 0.0


def _clock(dataset, kind: str) -> float | None:
    seconds = seconds_of_day(_text(dataset, f"{kind}Time"))
    return None if seconds is None else _days(_text(dataset, f"{kind}Date")) + seconds


def _datetime(text: str) -> float | None:
    seconds = seconds_of_day(text[8:].split("+")[0].split("-")[0]) if len(text) > 8 else None
    return None if seconds is None else _days(text[:8]) + seconds


def load_pixels(slices: Sequence[Slice], label: str) -> np.ndarray:
    """The pixels of slices of one size, as an array [column, row, slice] (i, j, k) in the order given.

    Native integer type unless a rescale slope or intercept applies (then float32). label names the series in errors.
    Raises InputError for truncated files, and for compression that no installed decoder knows.
    """
    first = slices[0]
    dtype = _native_dtype(first, label)
    for item in slices:  # before memory is claimed for what they announce
        held = item.path.stat().st_size if os.path.exists(item.path) else 0
        if item.transfer_syntax in _PLAIN_SYNTAXES and held < item.frames * item.rows * item.columns * dtype.itemsize:
            raise _truncated(item, label)
    rescale = any(s.slope != 1.0 or s.intercept != 0.0 for s in slices)
    stack = np.empty((len(slices), first.rows, first.columns), np.float32 if rescale else dtype)
    opened: dict[Path, np.ndarray] = {}
    with _quiet_pydicom():
        for index, item in enumerate(slices):
            if (item.bits_allocated, item.signed) != (first.bits_allocated, first.signed):
                raise InputError(f"{label}: its slices mix pixel types ({item.path.name} differs); export the series again.")
            if item.transfer_syntax in _PLAIN_SYNTAXES:
                plane = _read_plain(item, dtype, label)
            else:
                if item.path not in opened:
                    opened.clear()
                    opened[item.path] = _decode(item, label)
                frames = opened[item.path]
                plane = frames if item.frame is None else frames[item.frame]
            if plane.shape != (first.rows, first.columns):
                raise InputError(f"{label}: the pixels of {item.path.name} do not have the size its header tells; export the series again.")
            plane = _stored_bits(plane, item)
            stack[index] = plane * np.float32(item.slope) + np.float32(item.intercept) if rescale else plane
    return stack.transpose(2, 1, 0)


def _native_dtype(item: Slice, label: str) -> np.dtype:
    if item.bits_allocated not in (8, 16, 32):
        raise InputError(f"{label}: {item.bits_allocated} bits per pixel are not supported; export the series as 16-bit MR images.")
    return np.dtype(f"<{'i' if item.signed else 'u'}{item.bits_allocated // 8}")


def _read_plain(item: Slice, dtype: np.dtype, label: str) -> np.ndarray:
    count = item.rows * item.columns
    header = _PLAIN_SYNTAXES[item.transfer_syntax]
    start = item.pixel_offset + header + (item.frame or 0) * count * dtype.itemsize
    try:
        with open(item.path, "rb") as file:
            file.seek(item.pixel_offset)
            tag = file.read(header)
            file.seek(start)
            plane = np.fromfile(file, dtype, count)
    except OSError as error:
        raise InputError(f"{label}: {item.path.name} cannot be read ({one_line(error.strerror)}).") from error
    told = int.from_bytes(tag[-4:], "little") if len(tag) == header else 0
    if tag[:4] != b"\xe0\x7f\x10\x00" or plane.size != count or told < count * dtype.itemsize * item.frames:
        raise _truncated(item, label)
    return plane.reshape(item.rows, item.columns)


def _truncated(item: Slice, label: str) -> InputError:
    size = f"{item.rows}×{item.columns}" + (f"×{item.frames}" if item.frames > 1 else "")
    return InputError(
        f"{label}: {item.path.name} is truncated, it holds less than the {size} pixels it announces; copy or export it again."
    )


def _decode(item: Slice, label: str) -> np.ndarray:
    """Pixels of a compressed or big-endian object: by pydicom's decoders, else by those of ITK."""
    import pydicom

    with suppress(Exception):  # no decoder for this syntax, or a damaged stream: the other library may do better
        return pydicom.dcmread(item.path, force=True).pixel_array
    try:
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(item.path))
        values = sitk.GetArrayFromImage(reader.Execute())
    except Exception as error:
        name = pydicom.uid.UID(item.transfer_syntax).name
        raise InputError(
            f"{label}: {item.path.name} ({name}) cannot be decoded: it is damaged or needs a missing decoder; export it uncompressed."
        ) from error
    if item.slope != 1.0 or item.intercept != 0.0:  # this decoder has already rescaled
        values = np.round((values - item.intercept) / item.slope)
    values = values.astype(_native_dtype(item, label))
    return values[0] if item.frame is None and values.ndim == 3 else values


def _stored_bits(plane: np.ndarray, item: Slice) -> np.ndarray:
    """Only the stored bits count: old files keep overlays in the others."""
    unused = item.bits_allocated - item.bits_stored
    if not 0 < unused < item.bits_allocated:
        return plane
    if item.signed:
        return (plane << unused) >> unused
    return plane & plane.dtype.type((1 << item.bits_stored) - 1)
