"""DICOM studies whose numbers restart or whose clocks tie."""

from __future__ import annotations

from ..cases import TOLD, exam_of_dicom
from ..kinds import Kinds, Subject

kind = Kinds("plan-clocks", ["dicom", "duke"], exam_of_dicom, weight=4)
SIMULATED = ["dicom"]  # kinds that need headers as our simulation writes them


def _one_series(subject: Subject, **values) -> None:
    """All phases in one series; instance numbers restart with each."""
    for phase in subject.series:
        for instance, file in enumerate(phase, 1):
            own = {"InstanceNumber": instance, "SeriesInstanceUID": "1.2.3", "SeriesNumber": 5}
            subject.rewrite(file, AcquisitionNumber=1, **own, **values)


_CLOCKS = ("AcquisitionTime", "ContentTime", "SeriesTime", "AcquisitionDateTime", "TriggerTime")
_COUNTERS = ("TemporalPositionIdentifier", "TemporalPositionIndex", "NumberOfTemporalPositions")
NO_CLOCK = dict.fromkeys((*_CLOCKS, *_COUNTERS))


@kind("instance numbers restart in one series")
def _restart(subject: Subject) -> None:
    _one_series(subject)


@kind("instance numbers restart without a clock")
def _restart_without_clock(subject: Subject) -> None:
    _one_series(subject, **NO_CLOCK)


@kind("instance numbers restart with tied clocks")
def _restart_with_ties(subject: Subject) -> None:
    _one_series(subject, **{**NO_CLOCK, "AcquisitionTime": "090000", "ContentTime": "090100"})


@kind("two time points in one series")
def _two_in_one_series(subject: Subject) -> None:
    """The first series holds two phases, the others one each."""
    for n, file in enumerate([*subject.series[0], *subject.series[1]], 1):
        subject.rewrite(file, SeriesInstanceUID="1.2.3", SeriesNumber=5, InstanceNumber=n)


@kind("all clocks tie", accept=TOLD)
def _tied_clocks(subject: Subject) -> None:
    subject.rewrite(subject.files, **{**NO_CLOCK, "AcquisitionTime": "090000", "SeriesTime": "090000"})


@kind("two clocks tie", accept=TOLD, of=SIMULATED)
def _two_tied(subject: Subject) -> None:
    subject.rewrite(subject.series[2], AcquisitionTime="090130", ContentTime="090200", SeriesTime="090130")


@kind("no clock at all")
def _no_clock(subject: Subject) -> None:
    subject.rewrite(subject.files, **NO_CLOCK)


@kind("clocks of another day", accept=TOLD, of=SIMULATED)
def _another_day(subject: Subject) -> None:
    day = dict.fromkeys(("AcquisitionDate", "SeriesDate", "ContentDate"), "20010203")
    subject.rewrite(subject.series[1], **day)
