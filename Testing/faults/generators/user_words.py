"""What a user says of an exam that is whole, and what cannot be: times, and a T1 that is a phase."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from ..cases import NEVER, VALID, Case, exam_in_folder, exam_of_dicom, exam_of_files
from ..kinds import Kinds, Subject


def _files_or_folder(bases: Path, base: str, folder: Path, accept: str) -> Case:
    if base == "dicom":
        return exam_of_dicom(bases, base, folder, accept)
    begin = exam_in_folder if base == "mha" else exam_of_files
    return begin(bases, base, folder, accept)


# files given one by one, a folder of files, a folder of DICOM
kind = Kinds("user-words", ["nrrd", "nii-gz", "mha", "dicom"], _files_or_folder, weight=6)

_TIMES = {
    "times: nan": [0.0, math.nan, 180.0],
    "times: all nan": [math.nan] * 3,
    "times: inf": [0.0, 90.0, math.inf],
    "times: -inf": [-math.inf, 90.0, 180.0],
    "times: negative": [-90.0, 0.0, 90.0],
    "times: duplicate": [0.0, 90.0, 90.0],
    "times: all alike": [0.0, 0.0, 0.0],
    "times: too few": [0.0, 90.0],
    "times: one": [0.0],
    "times: too many": [0.0, 90.0, 180.0, 270.0],
}


@kind(*_TIMES, accept=NEVER)
def _times(subject: Subject, what: str) -> None:
    subject.case.options["times_s"] = _TIMES[what]
    subject.case.names += ["time", "--times"]


def _phase(subject: Subject) -> Path:
    """One of the phases: a file, or the folder of a series."""
    if subject.base.name == "dicom":
        return subject.place / Path(subject.rng.choice(subject.series)[0]).parent
    return subject.rng.choice(subject.volumes)


def _point_at(subject: Subject, t1: Path) -> None:
    subject.case.t1 = t1
    subject.case.names += [t1.name, "T1"]


# In a folder the T1 lies among the phases, and the user's word decides: only files that were given one by one
# are plainly phases.
_GIVEN = ["nrrd", "nii-gz"]


@kind("T1 is a phase", accept=NEVER, of=_GIVEN)
def _t1_is_phase(subject: Subject) -> None:
    _point_at(subject, _phase(subject))


@kind("T1 is a phase by another path", accept=NEVER, of=_GIVEN)
def _t1_by_path(subject: Subject) -> None:
    phase = _phase(subject)
    (subject.place / "sub").mkdir()
    _point_at(subject, phase.parent / "sub" / ".." / phase.name)


@kind("T1 is a phase by a link", accept=NEVER, of=_GIVEN)
def _t1_by_link(subject: Subject) -> None:
    phase = _phase(subject)
    link = subject.folder / f"t1{''.join(phase.suffixes)}"
    link.symlink_to(phase)
    _point_at(subject, link)


@kind("T1 is a phase by a hard link", accept=NEVER, of=_GIVEN)
def _t1_by_hard_link(subject: Subject) -> None:
    phase = _phase(subject)
    link = subject.folder / f"t1{''.join(phase.suffixes)}"
    os.link(phase, link)
    _point_at(subject, link)


@kind("T1 is of the folder", accept=VALID, of=["mha", "dicom"])
def _t1_of_folder(subject: Subject) -> None:
    _point_at(subject, _phase(subject))


@kind("T1 is a twin of a phase's name", accept=NEVER, of=_GIVEN)
def _t1_twin(subject: Subject) -> None:
    """The same file under a name that looks alike: é as one letter, and as e with an accent."""
    phase = _phase(subject)
    ending = "".join(phase.suffixes)
    composed, decomposed = f"caf\u00e9 {phase.stem}", f"cafe\u0301 {phase.stem}"
    new = phase.with_name(composed.split(".")[0] + ending)
    phase.rename(new)
    twin = phase.with_name(decomposed.split(".")[0] + ending)
    shutil.copyfile(new, twin)
    subject.case.paths = [new if path == phase else path for path in subject.case.paths]
    subject.case.names.append("caf")
    _point_at(subject, twin)


_WORDS = {
    "study of files": {"study": "2"},
    "phases that are not there": {"phases": ("nowhere", "77")},
    "left out that is not there": {"leave_out": ("nowhere",)},
    "odd words": {"phases": ("\udcff", "x" * 5000, "1:2:3", "-1")},
    "one phase": {"phases": ("ax dyn pre",)},
}


@kind(*_WORDS, accept=NEVER)
def _words(subject: Subject, what: str) -> None:
    if what == "study of files" and subject.base.name == "dicom":
        what = "phases that are not there"
    subject.case.options.update(_WORDS[what])
    subject.case.names += ["study", "--phases", "--leave-out", "nowhere", "phase"]
