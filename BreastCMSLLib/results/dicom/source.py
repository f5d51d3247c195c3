"""The images that DICOM results refer to: those of one dynamic volume, as their files say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from ...core.errors import InputError
from ...core.geometry import LPS_FROM_RAS, Volume, voxels_apart
from ...exam import Exam, Phase
from ...readers.dicom.objects import is_dicom, quiet_pydicom
from ...readers.dicom.scan import scan
from ...readers.dicom.slices import Slice
from ...readers.dicom.stacks import Stack, build_stacks

LARGEST_SHIFT = 0.5  # voxels between an array's grid and that of the images

# What tells whose study it is. All of it, and nothing else of the headers, goes into the results.
_DATES, _TIMES = ("PatientBirthDate", "StudyDate"), ("StudyTime",)
_REQUIRED = (
    *("PatientName", "PatientID", "PatientSex", *_DATES, *_TIMES),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_OPTIONAL = (
    *("IssuerOfPatientID", "StudyDescription", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
)
IDENTITY = ("StudyInstanceUID", *_REQUIRED, *_OPTIONAL)


@dataclass(frozen=True)
class Source:
    """The images of one volume, in the order of its slices.

    Parameters
    ----------
    images : tuple of Dataset
        What highdicom needs of their headers: one for each image; of a multi-frame object one, with the
        frames of this volume alone.
    frames : tuple of int
        Numbers (from 1) of these frames in the object; () of single images.
    affine : ndarray, shape (4, 4)
        Index i, j, k → RAS mm.
    shape : (int, int, int)
        Columns, rows, slices.
    """

    images: tuple[Dataset, ...]
    frames: tuple[int, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]

    @property
    def head(self) -> Dataset:
        """The first image, for what all have in common."""
        return self.images[0]

    def slices_of(self, volume: Volume) -> np.ndarray:
        """The voxels of a volume in the order of DICOM frames.

        Parameters
        ----------
        volume : Volume
            On the grid of the images; its axes may be exchanged or run the other way.

        Returns
        -------
        ndarray, shape (slices, rows, columns)

        Raises
        ------
        InputError
            The volume lies on another grid.
        """
        array, affine = _along(volume, self.affine)
        if array.shape != self.shape or voxels_apart(self.shape, self.affine, affine) > LARGEST_SHIFT:
            raise InputError(
                "The results lie on another grid than the exam's DICOM images, so they cannot be written as "
                "DICOM; analyse the DICOM folder itself."
            )
        return np.ascontiguousarray(array.transpose(2, 1, 0))


def source_of(exam: Exam, phase: Phase) -> Source:
    """The images of a phase of an exam that was read from DICOM files.

    Parameters
    ----------
    exam : Exam
    phase : Phase
        One of its ``phases``.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        The exam was not read from DICOM files, or these are gone or lack what results must refer to.
    """
    dynamics = [] if exam.plan is None else [stack for stack in exam.plan.stacks if stack.is_dynamic]
    own = next((stack for stack in dynamics if stack.name == phase.name), None)
    # where one file holds several phases, it stands in the first of them alone
    files = own.files if own and own.files else [file for stack in dynamics for file in stack.files]
    return source_of_files(files, exam.grid, phase.name, own.series_number if own else None)


def source_of_files(
    files: Iterable[str | Path],
    grid: Volume,
    name: str,
    series_number: int | None = None,
    place: tuple[int, int] | None = None,
) -> Source:
    """The images of a volume among files.

    Parameters
    ----------
    files : iterable of str or Path
        Of the volume, and perhaps of others.
    grid : Volume
        Where the volume lies, RAS mm.
    name : str
        Of the volume, to choose among several on this grid.
    series_number : int, optional
        Its, for the same.
    place : (int, int), optional
        Index of the volume among the exam's, and how many these are: where no name tells, and one series
        holds as many.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        As for :func:`source_of`, or nothing tells which of several volumes it is.
    """
    paths = [Path(file) for file in files]
    if not paths or not all(map(is_dicom, paths[:1])):
        raise InputError(
            "The exam was not read from DICOM files, so there is no study that DICOM results could "
            "belong to; give the exam's DICOM folder, or do not ask for DICOM."
        )
    stack = _chosen(_stacks_on(scan(paths).slices, grid, name), name, series_number, place)
    if not stack.head.frame_of_reference or not all(item.sop_uid for item in stack.slices):
        raise InputError(
            f"{name} has no Frame of Reference UID or no SOP Instance UIDs, which DICOM results must "
            "refer to; export the exam again, or do not ask for DICOM."
        )
    identity = _identity(stack.head.path)
    many = stack.head.frame is not None
    images = (_multiframe(stack, identity),) if many else tuple(_images(stack, identity))
    frames = tuple(item.frame + 1 for item in stack.slices) if many else ()
    return Source(images, frames, stack.affine, stack.shape)


def _along(volume: Volume, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine of a volume, its axes in the order and direction of those of an affine."""
    turn = np.linalg.inv(affine)[:3, :3] @ volume.affine[:3, :3]
    order = [int(np.abs(row).argmax()) for row in turn]
    if sorted(order) != [0, 1, 2]:
        return volume.array, volume.affine
    array, matrix = volume.array.transpose(order), volume.affine[:, [*order, 3]].copy()
    for axis, source_axis in enumerate(order):
        if turn[axis, source_axis] < 0:
            array = np.flip(array, axis)
            matrix[:3, 3] += (array.shape[axis] - 1) * matrix[:3, axis]
            matrix[:3, axis] *= -1
    return array, matrix


def _stacks_on(slices: list[Slice], grid: Volume, name: str) -> list[Stack]:
    """The volumes on a grid, at least one."""
    with quiet_pydicom():
        stacks = [stack for stack in build_stacks(slices, Path("the exam")) if stack.affine is not None]
    source = [stack for stack in stacks if _covers(stack, grid)]
    if not source:
        raise InputError(
            f"No DICOM images of {name} lie where its results do: files are gone, or volumes were moved; "
            "analyse the exam's DICOM folder again."
        )
    return source


def _chosen(
    stacks: list[Stack], name: str, series_number: int | None, place: tuple[int, int] | None
) -> Stack:
    """The volume of that name; never another one, whose images the results would refer to."""
    if len(stacks) == 1:
        return stacks[0]
    alike = [
        stack
        for stack in stacks
        if _bare(stack.name) == _bare(name) and series_number in (None, stack.head.series_number)
    ]
    if len(alike) > 1:
        alike = [stack for stack in alike if stack.name == name]
    in_order = sorted(stacks, key=lambda stack: stack.phase or 0)
    of_one_series = [stack.phase for stack in in_order] == list(range(1, len(stacks) + 1))
    if not alike and place is not None and of_one_series and place[1] == len(stacks):
        alike = [in_order[place[0]]]
    if not alike:
        raise InputError(
            f"Nothing tells which of {len(stacks)} volumes in the exam's DICOM files {name} is, so that no "
            "DICOM results can refer to it; give the exam's DICOM folder, or do not ask for DICOM."
        )
    return alike[0]


def _bare(name: str) -> str:
    """A name without what tells it from others of the same input, which are not all here."""
    return re.sub(r" \(series \d+\)| \[\d+\]$", "", name)


def _covers(stack: Stack, grid: Volume) -> bool:
    array, affine = _along(grid, stack.affine)
    return array.shape == stack.shape and voxels_apart(stack.shape, stack.affine, affine) <= LARGEST_SHIFT


def _identity(path: Path) -> Dataset:
    """Patient and study, as text that every DICOM object can hold."""
    with quiet_pydicom():
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        identity = Dataset()
        identity.SpecificCharacterSet = "ISO_IR 192"
        identity.StudyInstanceUID = str(header.get("StudyInstanceUID") or "")
        for keyword in (*_REQUIRED, *_OPTIONAL):
            text = str(header.get(keyword) or "")
            if text or keyword in _REQUIRED:
                setattr(identity, keyword, _well_formed(keyword, text))
    return identity


def _well_formed(keyword: str, text: str) -> str:
    """The text, or "" where it has not the form that its element must have."""
    forms = {
        **dict.fromkeys(_DATES, r"\d{8}"),
        **dict.fromkeys(_TIMES, r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
        "PatientSex": "[MFO]",
    }
    return text if re.fullmatch(forms.get(keyword, r"[^\x00-\x1f]*"), text) else ""


def _images(stack: Stack, identity: Dataset) -> Iterable[Dataset]:
    for number, item in enumerate(stack.slices):
        image = _image(stack, item, identity)
        image.update(_plane(stack, number))
        yield image


def _image(stack: Stack, item: Slice, identity: Dataset) -> Dataset:
    """Identity and size of an image."""
    image = Dataset()
    image.update(identity)
    image.SOPClassUID, image.SOPInstanceUID = item.sop_class, item.sop_uid
    image.SeriesInstanceUID, image.FrameOfReferenceUID = item.series_uid, stack.head.frame_of_reference
    image.Modality, image.PositionReferenceIndicator = "MR", ""
    image.InstanceNumber = item.instance_number or 1
    image.Columns, image.Rows = stack.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored = item.bits_allocated, item.bits_stored
    if item.frame is None and _one_scale(stack):
        image.RescaleSlope, image.RescaleIntercept = _decimals(np.array([item.slope, item.intercept]))
        image.RescaleType = "US"
    return image


def _one_scale(stack: Stack) -> bool:
    """Whether all slices have the values of the exam by one slope and intercept."""
    scales = {(item.slope, item.intercept) for item in stack.slices}
    return len(scales) == 1 and all(item.scale is None for item in stack.slices)


def _plane(stack: Stack, number: int) -> Dataset:
    """Where a slice lies, from the volume's grid: position, orientation and spacing, LPS."""
    lps = LPS_FROM_RAS @ stack.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    plane = Dataset()
    plane.ImagePositionPatient = _decimals(lps[:3, 3] + number * lps[:3, 2])
    plane.ImageOrientationPatient = _decimals((lps[:3, :2] / spacing[:2]).T.ravel())
    plane.PixelSpacing = _decimals(spacing[[1, 0]])
    plane.SliceThickness = plane.SpacingBetweenSlices = _decimals(spacing[2:])[0]
    return plane


def _decimals(values: np.ndarray) -> list[str]:
    """DICOM's decimal strings, of at most 16 characters."""
    return [pydicom.valuerep.format_number_as_ds(float(value) + 0.0) for value in values]


def _multiframe(stack: Stack, identity: Dataset) -> Dataset:
    """One object with the frames of the volume alone."""
    image = _image(stack, stack.head, identity)
    image.InstanceNumber, image.NumberOfFrames = 1, len(stack.slices)
    shared, frames = Dataset(), []
    for number in range(len(stack.slices)):
        plane, frame, position = _plane(stack, number), Dataset(), Dataset()
        position.ImagePositionPatient = plane.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = plane.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = plane.PixelSpacing, plane.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    if _one_scale(stack):
        scale = Dataset()
        slope_intercept = np.array([stack.head.slope, stack.head.intercept])
        scale.RescaleSlope, scale.RescaleIntercept = _decimals(slope_intercept)
        scale.RescaleType = "US"
        shared.PixelValueTransformationSequence = [scale]
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    return image
