"""Whole DICOM studies that are wrong: slices missing, doubled, misplaced, series mixed."""

from __future__ import annotations

import struct
from pathlib import Path

from ..cases import NEVER, SAME, VALID, exam_of_dicom
from ..kinds import Kinds, Subject

kind = Kinds("dicom-study", ["dicom", "duke"], exam_of_dicom, weight=8)


def _one(subject: Subject) -> str:
    return subject.rng.choice(subject.files)


def _series_of(subject: Subject, file: str) -> list[str]:
    return [other for other in subject.files if Path(other).parent == Path(file).parent]


@kind("missing slice", accept=NEVER)
def _missing_slice(subject: Subject) -> None:
    subject.lose(_one(subject))


@kind("missing slices", accept=VALID)
def _missing_slices(subject: Subject) -> None:
    series = _series_of(subject, _one(subject))
    subject.lose(*subject.rng.sample(series, subject.rng.randint(2, len(series) - 1)))


@kind("half a phase", accept=VALID)
def _half_a_phase(subject: Subject) -> None:
    series = _series_of(subject, _one(subject))
    subject.lose(*series[len(series) // 2 :])


@kind("copied slice", accept=SAME)
def _copied_slice(subject: Subject) -> None:
    file = _one(subject)
    subject.add_image(file, subject.place / f"{file}.copy")


def _under_a_new_uid(subject: Subject, change=None) -> None:
    import pydicom

    file = _one(subject)
    uid = pydicom.uid.generate_uid(entropy_srcs=[str(subject.rng.random())])
    subject.add_image(file, subject.place / f"{file}.copy", change, SOPInstanceUID=uid)


@kind("doubled slice", accept=SAME)
def _doubled_slice(subject: Subject) -> None:
    _under_a_new_uid(subject)


@kind("contradicted slice", accept=NEVER)
def _contradicted_slice(subject: Subject) -> None:
    """Two images of one place and time that differ."""

    def differ(data) -> None:
        data.PixelData = bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]

    _under_a_new_uid(subject, differ)


def _share(subject: Subject, keyword: str, files: list[str]) -> None:
    """One series' or study's identifier for files of several."""
    import pydicom

    value = pydicom.dcmread(subject.base / _one(subject))[keyword].value
    subject.rewrite(files, **{keyword: value})


@kind("mixed series", accept=VALID)
def _mixed_series(subject: Subject) -> None:
    count = subject.rng.randint(1, len(subject.files))
    _share(subject, "SeriesInstanceUID", subject.rng.sample(subject.files, count))


@kind("mixed studies", accept=VALID)
def _mixed_studies(subject: Subject) -> None:
    count = subject.rng.randint(1, len(subject.files))
    _share(subject, "StudyInstanceUID", subject.rng.sample(subject.files, count))


@kind("all one series", accept=VALID)
def _all_one_series(subject: Subject) -> None:
    _share(subject, "SeriesInstanceUID", subject.files)


@kind("one slice moved", accept=VALID)
def _one_slice_moved(subject: Subject) -> None:
    shift = subject.rng.choice([0.01, 0.3, 1.0, 50.0, -1e6])

    def move(data) -> None:
        data.ImagePositionPatient = [float(v) + shift for v in data.ImagePositionPatient]

    subject.rewrite(_one(subject), move)


@kind("truncated pixels", accept=NEVER)
def _truncated_pixels(subject: Subject) -> None:
    file = _one(subject)
    subject.replace(file, (subject.base / file).read_bytes()[: -subject.rng.randint(1, 60)])


@kind("pixels too long", accept=VALID)
def _pixels_too_long(subject: Subject) -> None:
    subject.rewrite(_one(subject), lambda data: setattr(data, "PixelData", data.PixelData + bytes(64)))


@kind("swapped phases", accept=VALID)
def _swapped_phases(subject: Subject) -> None:
    subject.replace(_one(subject), (subject.base / _one(subject)).read_bytes())


@kind("other orientation", accept=VALID)
def _other_orientation(subject: Subject) -> None:
    subject.rewrite(_one(subject), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])


@kind("negative length", "undefined length", "huge rows", accept=VALID)
def _lying_length(subject: Subject, what: str) -> None:
    file = _one(subject)
    data = bytearray((subject.base / file).read_bytes())
    at = data.find(b"\x28\x00\x10\x00US") if what == "huge rows" else data.rfind(b"\xe0\x7f\x10\x00")
    if what == "huge rows":
        data[at + 8 : at + 10] = b"\xff\xff"
    else:
        data[at + 8 : at + 12] = b"\xfe\xff\xff\xff" if what == "negative length" else b"\xff\xff\xff\xff"
    subject.replace(file, bytes(data))


@kind("deep sequences", "long sequences", accept=VALID)
def _sequences(subject: Subject, what: str) -> None:
    file, count = _one(subject), subject.rng.choice([50, 900, 3000])
    data = (subject.base / file).read_bytes()
    at = data.find(b"\x20\x00\x0d\x00UI")
    tag = struct.pack("<HH2sHI", 0x0019, 0x1099, b"SQ", 0, 0xFFFFFFFF)
    item, end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    close = b"\xfe\xff\xdd\xe0\0\0\0\0"
    deep = (tag + item) * count + (end + close) * count
    extra = deep if what == "deep sequences" else tag + (item + end) * count * 10 + close
    subject.replace(file, data[:at] + extra + data[at:])
