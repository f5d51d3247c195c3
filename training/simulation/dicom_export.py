"""Write volumes as a DICOM MR study, so that simulated exams pass through the same reader as a hospital's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import OutputError
from BreastCMSLLib.core.geometry import LPS_FROM_RAS, check_affine
from BreastCMSLLib.exam import Phase

_START_S = 9 * 3600  # the first phase is acquired at nine o'clock


def write_dicom(
    folder: Path,
    phases: Sequence[Phase],
    *,
    t1: Phase | None = None,
    description_prefix: str = "",
    study_uid: str | None = None,
    seed: int = 0,
    scrambled_names: bool = False,
) -> list[Path]:
    """Write each phase as one MR series, in a sub-folder of its own.

    Slices are columns × rows = i × j, stacked along k. Integers of at most 16 bits are stored as they are,
    others as 16 bits with rescale slope and intercept. DICOM has no left-handed stacks: of such a volume a
    reader returns k reversed.

    Parameters
    ----------
    folder : Path
        Made when missing.
    phases : sequence of Phase
        In order of acquisition; ``time_s`` (or 90 s steps where it is None) becomes AcquisitionTime.
    t1 : Phase, optional
        Written as a series acquired before them, without fat saturation.
    description_prefix : str
        Before the phases' names in SeriesDescription.
    study_uid, seed
        UIDs follow from these alone, so that the same call writes the same files.
    scrambled_names : bool
        File names that do not sort by position, to test readers.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        For an affine that is no regular grid.
    OutputError
        When the folder cannot be written.
    """
    from pydicom.uid import generate_uid

    def uid(*parts: object) -> str:
        return str(generate_uid(entropy_srcs=["BreastCMSL simulation", str(seed), *map(str, parts)]))

    study = study_uid or uid("study")
    frame_of_reference = uid(study, "frame of reference")
    times = [p.time_s for p in phases]
    start = next((t for t in times if t is not None), 0.0)
    clock = [_START_S + (90.0 * n if t is None else t - start) for n, t in enumerate(times)]
    series = [(phase, time, True, n > 0) for n, (phase, time) in enumerate(zip(phases, clock, strict=True))]
    if t1 is not None:
        series.insert(0, (t1, _START_S - 300.0, False, False))
    files: list[Path] = []
    for number, (phase, time, fat_saturated, contrast) in enumerate(series, 1):
        common = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": uid(study, "series", number),
            "FrameOfReferenceUID": frame_of_reference,
            "SeriesNumber": number,
            "AcquisitionNumber": number,
            "SeriesDescription": f"{description_prefix}{phase.name}"[:64],
            "ScanOptions": "FS" if fat_saturated else "",
            "EchoTime": 1.5 if fat_saturated else 4.8,
            "RepetitionTime": 4.5 if fat_saturated else 11.0,
            "ContrastBolusAgent": "simulated" if contrast else "",
            "AcquisitionTime": _dicom_time(time),
            "ContentTime": _dicom_time(time + 30),
            "SeriesTime": _dicom_time(time),
        }
        label = re.sub(r"\W+", "_", phase.name, flags=re.ASCII).strip("_") or "series"
        series_folder = folder / f"{number:02d}-{label}"
        image_uid = partial(uid, study, "image", number)
        try:
            series_folder.mkdir(parents=True, exist_ok=True)
            files += _write_series(series_folder, phase, common, image_uid, scrambled_names, seed + number)
        except OSError as error:
            raise OutputError(
                f"{series_folder} cannot be written ({error.strerror}); choose another folder."
            ) from error
    return files


def _write_series(
    folder: Path,
    phase: Phase,
    common: dict[str, object],
    image_uid: Callable[[int], str],
    scrambled: bool,
    seed: int,
) -> list[Path]:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    affine = LPS_FROM_RAS @ check_affine(phase.volume.affine, phase.name)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    pixels, slope, intercept = _as_16_bit(phase.volume.array)
    columns, rows, count = pixels.shape
    names = np.random.default_rng(seed).permutation(count) if scrambled else np.arange(count)
    files = []
    for k in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = image_uid(k)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        data.SpecificCharacterSet = "ISO_IR 192"
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.ImageType = ["DERIVED", "SECONDARY", "SIMULATED"]
        data.PatientName, data.PatientID = "Simulated^Exam", "SIMULATED"
        data.PatientBirthDate, data.PatientSex = "", "F"
        data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20000101"
        data.StudyTime = _dicom_time(_START_S)
        data.StudyID = data.AccessionNumber = data.ReferringPhysicianName = ""
        data.Modality, data.Manufacturer, data.MagneticFieldStrength = "MR", "BreastCMSL simulation", 1.5
        data.BodyPartExamined, data.PatientPosition, data.Laterality = "BREAST", "FFP", ""
        data.ScanningSequence, data.SequenceVariant = "GR", "SP"
        data.MRAcquisitionType, data.EchoTrainLength = "3D", 1
        for keyword, value in common.items():
            setattr(data, keyword, value)
        data.InstanceNumber, data.PositionReferenceIndicator = k + 1, ""
        data.ImageOrientationPatient = [_ds(v) for axis in (0, 1) for v in affine[:3, axis] / spacing[axis]]
        data.ImagePositionPatient = [_ds(v) for v in affine[:3, 3] + k * affine[:3, 2]]
        data.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
        data.SliceThickness = data.SpacingBetweenSlices = _ds(spacing[2])
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = rows, columns
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = int(pixels.dtype == np.int16)
        if (slope, intercept) != (1.0, 0.0):
            data.RescaleSlope, data.RescaleIntercept, data.RescaleType = _ds(slope), _ds(intercept), "US"
        plane = np.ascontiguousarray(pixels[:, :, k].T)
        data.PixelData = plane.astype(pixels.dtype.newbyteorder("<")).tobytes()
        file = folder / f"{int(names[k]) + 1:04d}.dcm"
        data.save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def _as_16_bit(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Voxels as int16 or uint16, with the slope and intercept that give the values back."""
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.integer) or array.dtype == bool:
        for kind in (np.uint16, np.int16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return array.astype(kind), 1.0, 0.0
    slope = (float(_ds((high - low) / 65535)) if high > low else 1.0) or 1.0
    intercept = float(_ds(low))
    steps = np.round((array.astype(np.float64) - intercept) / slope)
    return np.clip(steps, 0, 65535).astype(np.uint16), slope, intercept


def _ds(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def _dicom_time(seconds: float) -> str:
    seconds = round(seconds % 86400, 6)
    return f"{int(seconds // 3600):02d}{int(seconds % 3600 // 60):02d}{seconds % 60:09.6f}"
