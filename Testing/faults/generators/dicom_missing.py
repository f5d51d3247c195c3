"""DICOM studies from which something is missing, or in which another's images lie."""

from __future__ import annotations

from ..cases import NEVER, READ, TOLD, VALID, exam_of_dicom, files_in
from ..kinds import Kinds, Subject

kind = Kinds("plan-missing", ["dicom", "duke"], exam_of_dicom, weight=7)
SIMULATED = ["dicom"]  # kinds that need headers as our simulation writes them


@kind("first series cut at an end", accept=NEVER)
def _first_cut(subject: Subject) -> None:
    subject.lose(*subject.ends(subject.series[0]))


@kind("later series cut at an end", accept=NEVER)
def _later_cut(subject: Subject) -> None:
    subject.lose(*subject.ends(subject.rng.choice(subject.series[1:])))


@kind("all series cut at one end", accept=VALID)
def _all_cut(subject: Subject) -> None:
    """Nothing tells that there ever was more."""
    for series in subject.series:
        subject.lose(series[0])


@kind("T1 cut at an end", of=SIMULATED)
def _t1_cut(subject: Subject) -> None:
    subject.lose(*subject.ends([file for file in files_in(subject.base) if "t1" in file]))


@kind("first series is gone but for its number", accept=TOLD, of=SIMULATED)
def _first_gone(subject: Subject) -> None:
    """What is left all names a contrast agent."""
    subject.lose(*subject.series[0])


# ---------------------------------------------------------------- links and pointers to what is not here


@kind("dead link for a slice", accept=NEVER)
def _dead_slice(subject: Subject) -> None:
    subject.deaden(subject.rng.choice(subject.files))


@kind("dead links for the first series", accept=NEVER)
def _dead_first(subject: Subject) -> None:
    subject.deaden(*subject.series[0])


@kind("dead links for a later series", accept=TOLD)
def _dead_later(subject: Subject) -> None:
    subject.deaden(*subject.rng.choice(subject.series[1:]))


@kind("dead links beside", accept=TOLD)
def _dead_beside(subject: Subject) -> None:
    subject.deaden("IM0001", "more/IM0002")


@kind("pointers for a slice", accept=NEVER)
def _pointer(subject: Subject) -> None:
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    subject.replace(subject.rng.choice(subject.files), text)


# ---------------------------------------------------------------- other studies


@kind("another study of the patient", accept=NEVER)
def _another_study(subject: Subject) -> None:
    """The whole exam of another day beside it."""
    for number, series in enumerate(subject.series, 70):
        day = dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20010203")
        subject.add_series("ax dyn before", series, number=number, StudyInstanceUID="1.2.3.4", **day)


@kind("another patient", accept=NEVER)
def _another_patient(subject: Subject) -> None:
    other = {"StudyInstanceUID": "1.2.3.5", "PatientID": "OTHER", "FrameOfReferenceUID": "1.2.3.6"}
    for number, series in enumerate(subject.series, 70):
        subject.add_series("ax dyn other", series, number=number, **other)


@kind("first series in another study", accept=NEVER)
def _first_elsewhere(subject: Subject) -> None:
    subject.rewrite(subject.series[0], StudyInstanceUID="1.2.3.4")


@kind("later series in another study", accept=TOLD)
def _later_elsewhere(subject: Subject) -> None:
    subject.rewrite(subject.rng.choice(subject.series[1:]), StudyInstanceUID="1.2.3.4")


@kind("nothing missing", accept=READ)
def _nothing(subject: Subject) -> None:
    """The undamaged exams are read: else the other kinds would show nothing."""
