"""Small synthetic exams for the reader tests, written through the project's own DICOM export and then bent
out of shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Phase
from training.simulation.dicom_export import write_dicom

SHAPE = (14, 12, 10)


def affine(
    angles_deg: Sequence[float] = (0, 0, 0),
    spacing: Sequence[float] = (1.5, 1.25, 2.0),
    origin: Sequence[float] = (-20.0, 15.0, 40.0),
    flips: Sequence[bool] = (False, False, False),
    order: Sequence[int] = (0, 1, 2),
) -> np.ndarray:
    """IJK → RAS from rotations about R, A, S, axes permuted and flipped."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    matrix = np.eye(4)
    matrix[:3, :3] = (rotation * np.where(flips, -1, 1))[:, list(order)] * np.asarray(spacing)
    matrix[:3, 3] = origin
    return matrix


def phase(
    name: str,
    level: int,
    *,
    shape=SHAPE,
    grid: np.ndarray | None = None,
    time_s: float | None = None,
    dtype=np.uint16,
) -> Phase:
    """A volume of one anatomy whose every voxel differs from its neighbours, brighter with the level."""
    anatomy = np.random.default_rng(0).integers(0, 400, shape)
    values = 100 + anatomy + 20 * level + np.random.default_rng(level).integers(0, 10, shape)
    return Phase(Volume(values.astype(dtype), affine() if grid is None else grid), name, time_s=time_s)


def dynamics(count: int = 3, **options) -> list[Phase]:
    """A pre-contrast phase and count − 1 passes, 90 s apart."""
    names = ["ax dyn pre", *(f"ax dyn pass {n}" for n in range(1, count))]
    return [phase(name, n + 1, time_s=90.0 * n, **options) for n, name in enumerate(names)]


def t1(name: str = "ax t1 non fat sat", **options) -> Phase:
    return phase(
        name,
        9,
        shape=(16, 16, 12),
        grid=affine(spacing=(1.3, 1.2, 1.9), origin=(-20.5, 14.5, 39.5)),
        **options,
    )


def write_study(folder: Path, phases: Sequence[Phase] | None = None, **options) -> list[list[Path]]:
    """Write a study; the files of each series, T1 first when there is one."""
    files = write_dicom(folder, dynamics() if phases is None else phases, **options)
    series: dict[Path, list[Path]] = {}
    for file in files:
        series.setdefault(file.parent, []).append(file)
    return list(series.values())


def edit(files: Iterable[Path], change: Callable | None = None, **values) -> None:
    """Rewrite DICOM files with other values (None deletes); change(dataset, index) may do more."""
    import pydicom

    for index, file in enumerate(files):
        data = pydicom.dcmread(file)
        for keyword, value in values.items():
            if value is None:
                if keyword in data:
                    del data[keyword]
            else:
                setattr(data, keyword, value)
        if change is not None:
            change(data, index)
        data.save_as(file, enforce_file_format=True)


def write_enhanced(file: Path, phases: Sequence[Phase]) -> None:
    """All phases in one Enhanced MR object, frames slice by slice with the phases interleaved."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phases[0].volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.SeriesNumber, data.SeriesDescription = "MR", 5, "dyn enhanced"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    columns, rows, slices = phases[0].volume.shape

    def item(**values) -> Dataset:
        result = Dataset()
        for keyword, value in values.items():
            setattr(result, keyword, value)
        return result

    data.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=spacing[2])],
            PlaneOrientationSequence=[
                item(ImageOrientationPatient=[round(v, 9) for a in (0, 1) for v in lps[:3, a] / spacing[a]])
            ],
        )
    ]
    frames, pixels = [], []
    for k in reversed(range(slices)):
        for number, entry in enumerate(phases, 1):
            clock = f"{int(entry.time_s) // 60:02d}{entry.time_s % 60:04.1f}"
            frames.append(
                item(
                    FrameContentSequence=[
                        item(TemporalPositionIndex=number, FrameAcquisitionDateTime=f"2000010109{clock}")
                    ],
                    PlanePositionSequence=[
                        item(ImagePositionPatient=[round(v, 6) for v in lps[:3, 3] + k * lps[:3, 2]])
                    ],
                    PixelValueTransformationSequence=[
                        item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")
                    ],
                )
            )
            pixels.append(entry.volume.array[:, :, k].T)
    data.PerFrameFunctionalGroupsSequence = frames
    data.NumberOfFrames, data.Rows, data.Columns = len(frames), rows, columns
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = np.ascontiguousarray(pixels).astype("<u2").tobytes()
    data.save_as(file, enforce_file_format=True)
