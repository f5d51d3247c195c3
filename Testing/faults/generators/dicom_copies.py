"""DICOM studies in which images are there twice, under identifiers of their own."""

from __future__ import annotations

from ..cases import VALID, exam_of_dicom
from ..kinds import Kinds, Subject

kind = Kinds("plan-copies", ["dicom", "duke"], exam_of_dicom, weight=3)
SIMULATED = ["dicom"]  # kinds that need headers as our simulation writes them


@kind("whole exam under new UIDs")
def _copied_exam(subject: Subject) -> None:
    for number, series in enumerate(subject.series, 70):
        subject.add_series(_description(subject, series[0]), series, number=number)


@kind("one series under new UIDs")
def _copied_series(subject: Subject) -> None:
    series = subject.rng.choice(subject.series)
    subject.add_series(_description(subject, series[0]), series)


@kind("some slices under new UIDs")
def _copied_slices(subject: Subject) -> None:
    series = subject.rng.choice(subject.series)
    subject.add_series(_description(subject, series[0]), subject.ends(series))


_MOCO = ["DERIVED", "PRIMARY", "MOCO"]


@kind("corrected copy of every series", of=SIMULATED)
def _corrected(subject: Subject) -> None:
    """Motion correction: the same times, other voxels and image type. One of both sets, and whole."""
    subject.case.accept = VALID
    for number, series in enumerate(subject.series, 70):
        name = f"{_description(subject, series[0])}_MOCO"
        subject.add_series(name, series, _shift_pixels, number=number, ImageType=_MOCO)


def _description(subject: Subject, file: str) -> str:
    import pydicom

    return str(pydicom.dcmread(subject.base / file, stop_before_pixels=True).get("SeriesDescription", ""))


def _shift_pixels(data) -> None:
    """The image moved by a row."""
    import numpy as np

    data.PixelData = np.roll(data.pixel_array, 1, axis=0).tobytes()
