"""DICOM studies with images that are no phases: maps, labels, captures, other grids, clutter."""

from __future__ import annotations

from pathlib import Path

from ..cases import NEVER, READ, TOLD, TOLD_SAME, exam_of_dicom, files_in
from ..kinds import Kinds, Subject

kind = Kinds("plan-images", ["dicom", "duke"], exam_of_dicom, weight=9)
SIMULATED = ["dicom"]  # kinds that need headers as our simulation writes them


# ---------------------------------------------------------------- images that are no phases


@kind(
    *("SER PE PEI WI WO TTP Ktrans kep ve iAUC MIP ADC".split()),
    *("Wash-in", "Wash Out", "PE1", "SUB 1", "ax dyn_WI", "AUC90"),
)
def _map(subject: Subject, what: str) -> None:
    """A vendor's map on the grid of the phases, whatever its image type and time say."""
    rng = subject.rng
    values = {"ImageType": rng.choice([["ORIGINAL", "PRIMARY", "M", "ND"], ["DERIVED", "SECONDARY"]])}
    if rng.random() < 0.5:
        values["AcquisitionTime"] = "093000"
    subject.add_series(what, rng.choice(subject.series), _ratio, number=rng.randint(1, 200), **values)


def _ratio(data) -> None:
    """Voxels of a map: smooth, and unlike the anatomy."""
    import numpy as np

    rows, columns = np.indices(data.pixel_array.shape)
    data.PixelData = (40 + 3 * rows + 2 * columns).astype("<u2").tobytes()


@kind("label map")
def _label_map(subject: Subject) -> None:
    def label(data) -> None:
        image = data.pixel_array
        data.PixelData = (image > image.mean()).astype("<u2").tobytes()

    name = subject.rng.choice(["seg", "ax dyn mask", "tumor label", "ax dyn"])
    subject.add_series(name, subject.rng.choice(subject.series), label, AcquisitionTime="093000")


@kind("segmentation object", accept=READ, of=SIMULATED)
def _segmentation(subject: Subject) -> None:
    file = subject.series[0][0]
    values = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}
    subject.add_series("tumor", [file], **values)


_NO_GEOMETRY = dict.fromkeys(
    ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SliceLocation"]
)


@kind("secondary capture", accept=READ)
def _capture(subject: Subject) -> None:
    values = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", **_NO_GEOMETRY}
    subject.add_series("CAD capture", subject.series[-1][:2], ImageType=["DERIVED", "SECONDARY"], **values)


@kind("secondary capture in the series of a phase")
def _capture_inside(subject: Subject) -> None:
    series = subject.rng.choice(subject.series)
    values = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "1.2.3.9", **_NO_GEOMETRY}
    subject.add_image(series[0], subject.place / Path(series[0]).with_name("capture.dcm"), **values)


@kind("secondary capture with geometry")
def _capture_with_geometry(subject: Subject) -> None:
    subject.add_series("CAD", subject.series[-1], SOPClassUID="1.2.840.10008.5.1.4.1.1.7", number=300)


@kind("other sequence", accept=READ, of=SIMULATED)
def _other_sequence(subject: Subject) -> None:
    values = {"EchoTime": 102.0, "RepetitionTime": 5200.0, "ScanningSequence": "SE", "ContrastBolusAgent": ""}
    subject.add_series("ax t2 tse", subject.series[0], AcquisitionTime="084500", **values)


@kind("flip angles", of=SIMULATED)
def _flip_angles(subject: Subject) -> None:
    for number, angle in enumerate((2, 5, 15), 80):
        clock = {"AcquisitionTime": f"0850{number % 60:02d}", "ContrastBolusAgent": ""}
        subject.add_series("ax vfa", subject.series[0], number=number, FlipAngle=angle, **clock)


@kind("diffusion", of=SIMULATED)
def _diffusion(subject: Subject) -> None:
    for number, b in enumerate((50.0, 800.0), 80):
        values = {"DiffusionBValue": b, "ScanningSequence": "EP", "ContrastBolusAgent": ""}
        subject.add_series(f"ep2d_diff_{b:.0f}", subject.series[0], _ratio, number=number, **values)


# ---------------------------------------------------------------- other grids


def _coarser(data) -> None:
    image = data.pixel_array[::2, ::2]
    data.Rows, data.Columns = image.shape
    data.PixelSpacing = [2 * float(v) for v in data.PixelSpacing]
    data.PixelData = image.tobytes()


@kind("a series more on another grid")
def _another_grid(subject: Subject) -> None:
    subject.add_series("ax dyn small", subject.series[-1], _coarser, AcquisitionTime="093000")


@kind("first series on another grid", accept=NEVER)
def _first_on_another_grid(subject: Subject) -> None:
    subject.rewrite(subject.series[0], _coarser)


@kind("later series on another grid", accept=TOLD)
def _later_on_another_grid(subject: Subject) -> None:
    subject.rewrite(subject.rng.choice(subject.series[1:]), _coarser)


@kind("jitter of a millionth", accept=READ)
def _jitter(subject: Subject) -> None:
    rng = subject.rng

    def jitter(data) -> None:
        position = [float(v) + rng.uniform(-1e-4, 1e-4) for v in data.ImagePositionPatient]
        data.ImagePositionPatient = [f"{v:.7g}" for v in position]

    subject.rewrite(subject.files, jitter)


# ---------------------------------------------------------------- what else lies there


@kind("clutter", accept=READ)
def _clutter(subject: Subject) -> None:
    for name in ("notes.txt", "report.pdf", "DICOMDIR.bak", "sub/viewer.exe", "Thumbs.db", "a.json"):
        path = subject.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something else")


@kind("volume files beside")
def _volumes_beside(subject: Subject) -> None:
    for file in files_in(subject.bases / "nrrd"):
        (subject.place / file).write_bytes((subject.bases / "nrrd" / file).read_bytes())


@kind("damaged image beside", accept=TOLD_SAME)
def _damaged_beside(subject: Subject) -> None:
    data = (subject.base / subject.files[0]).read_bytes()
    (subject.place / "IM9999").write_bytes(data[: subject.rng.randint(140, 300)])
    subject.case.names.append("IM9999")
