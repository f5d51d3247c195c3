"""DICOM folders: every volume is there, in order and in its place; one sentence for everything wrong."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import SHAPE, affine, dynamics, edit, phase, t1, write_enhanced, write_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refuse as refused

from BreastCMSLLib import readers
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.exam import subtraction_offset


def refuse(folder, *parts: str, **options) -> None:
    """Reading fails with one sentence that contains the parts."""
    refused(lambda: readers.read(folder, **options), *parts)


def names(exam) -> list[str]:
    return [phase.name for phase in exam.phases]


# ---------------------------------------------------------------- what is read


def test_simulated_study(tmp_path):
    phases = dynamics(4)
    write_study(tmp_path, phases, t1=t1(), scrambled_names=True)
    exam = readers.read(tmp_path)
    assert names(exam) == [p.name for p in phases]
    assert exam.times_s.tolist() == [90, 180, 270] and exam.pre.time_s == 0
    for got, wanted in zip(exam.phases, phases, strict=True):
        assert got.volume.array.dtype == np.uint16
        assert np.array_equal(got.volume.array, wanted.volume.array)
        assert np.allclose(got.volume.affine, wanted.volume.affine, atol=1e-6)
    assert exam.t1.name == "ax t1 non fat sat" and not exam.warnings
    assert np.array_equal(exam.t1.volume.array, t1().volume.array)
    ids = exam.identifiers
    assert len(ids["series_instance_uids"]) == 4
    assert ids["magnetic_field_strength_t"] == 1.5 and ids["manufacturer"]
    assert "Simulated" not in repr(ids) and "2000" not in repr(
        {k: v for k, v in ids.items() if "uid" not in k}
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-60, 60)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 5.0)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    flips=st.tuples(*[st.booleans()] * 3),
    order=st.permutations([0, 1, 2]),
    seed=st.integers(0, 10**6),
)
def test_any_grid_round_trips(tmp_path_factory, angles, spacing, origin, flips, order, seed):
    grid = affine(angles, spacing, origin, flips, order)
    folder = tmp_path_factory.mktemp("grid")
    phases = dynamics(2, grid=grid, shape=(6, 5, 4))
    write_study(folder, phases, scrambled_names=True, seed=seed)
    exam = readers.read(folder)
    if np.linalg.det(grid[:3, :3]) > 0:
        array, matrix = exam.pre.volume.array, exam.pre.volume.affine
    else:  # DICOM stacks are right-handed: k comes back reversed, every voxel at its place
        array = exam.pre.volume.array[:, :, ::-1]
        matrix = exam.pre.volume.affine @ np.array(
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1.0]]
        )
    assert np.array_equal(array, phases[0].volume.array)
    corners = np.array([[0, 0, 0], [5, 4, 3], [5, 0, 3], [0, 4, 0]])
    assert np.abs(apply_affine(matrix, corners) - apply_affine(grid, corners)).max() < 1e-4
    shutil.rmtree(folder)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([0, 1, 2, 3]), keep=st.sampled_from(["time", "acquisition", "series", "name"]))
def test_any_order_on_disk_gives_the_same_exam(tmp_path_factory, order, keep):
    """Series numbers, times and names are removed one after another: the next key takes over."""
    folder = tmp_path_factory.mktemp("order")
    phases = dynamics(4, shape=(6, 5, 4))
    series = write_study(folder, phases)
    removed = {
        "time": {},
        "acquisition": {"SeriesNumber": 1},
        "series": {"AcquisitionNumber": 1},
        "name": {"SeriesNumber": None},
    }[keep]
    if keep != "time":
        removed |= {"AcquisitionTime": None, "ContentTime": None, "SeriesTime": None}
    if keep == "name":
        removed |= {"AcquisitionNumber": None}
    for place, (index, files) in zip(order, enumerate(series), strict=True):
        edit(files, **removed)
        os.rename(files[0].parent, folder / f"s{place}-{index}")
    exam = readers.read(folder)
    assert names(exam) == [p.name for p in phases]
    assert (exam.times_s is None) == (keep != "time")
    shutil.rmtree(folder)


def test_after_midnight(tmp_path):
    series = write_study(tmp_path)
    for files, clock in zip(series, ("235830", "000030", "000230"), strict=True):
        edit(files, AcquisitionTime=clock)
    exam = readers.read(tmp_path)
    assert names(exam) == ["ax dyn pre", "ax dyn pass 1", "ax dyn pass 2"] and exam.times_s.tolist() == [
        120,
        240,
    ]
    for files in series:
        edit(files, AcquisitionDate=None)
    assert readers.read(tmp_path).times_s.tolist() == [120, 240]
    for files, date in zip(series, ("20000101", "20000102", "20000102"), strict=True):
        edit(files, AcquisitionDate=date)
    assert readers.read(tmp_path).times_s.tolist() == [120, 240]


def test_equal_times_do_not_mislead(tmp_path):
    for files in write_study(tmp_path):
        edit(files, AcquisitionTime="090000", ContentTime="090000", SeriesTime="090000")
    exam = readers.read(tmp_path)
    assert names(exam)[0] == "ax dyn pre" and exam.times_s is None


@pytest.mark.parametrize(
    "key",
    ["TemporalPositionIdentifier", "AcquisitionNumber", "AcquisitionTime", "TriggerTime", "positions only"],
)
def test_one_series_of_several_phases(tmp_path, key):
    series = write_study(tmp_path, dynamics(4), scrambled_names=True)
    values = {
        "TemporalPositionIdentifier": [1, 2, 3, 4],
        "AcquisitionNumber": [1, 2, 3, 4],
        "AcquisitionTime": ["090000", "090130", "090300", "090430"],
        "TriggerTime": [0, 90000, 180000, 270000],
    }
    for number, files in enumerate(series):
        common = {
            "AcquisitionNumber": 7,
            "AcquisitionTime": "090000",
            "ContentTime": None,
            "SeriesTime": "090000",
        }
        if key in values:
            common[key] = values[key][number]
        edit(
            files,
            lambda data, k, n=number: setattr(data, "InstanceNumber", 1 + k * 4 + n),
            SeriesInstanceUID="1.2.3",
            SeriesNumber=5,
            SeriesDescription="AX MultiPhase",
            **common,
        )
    exam = readers.read(tmp_path)
    assert names(exam) == [f"AX MultiPhase phase {n}" for n in (1, 2, 3, 4)]
    assert np.array_equal(exam.post[2].volume.array, dynamics(4)[3].volume.array)
    assert (exam.times_s is not None) == (key in ("AcquisitionTime", "TriggerTime"))
    assert exam.identifiers["series_instance_uids"] == ["1.2.3"]


def test_pre_series_and_a_series_of_the_rest(tmp_path):
    series = write_study(tmp_path, dynamics(4))
    gone = {"AcquisitionTime": None, "ContentTime": None, "SeriesTime": None}
    edit(series[0], SeriesDescription="AX Sen Vibrant", SeriesNumber=3, AcquisitionNumber=9, **gone)
    for number, files in enumerate(series[1:], 1):
        edit(
            files,
            SeriesInstanceUID="1.2.3",
            SeriesNumber=4,
            SeriesDescription="AX MultiPhase",
            TemporalPositionIdentifier=number,
            **gone,
        )
    exam = readers.read(tmp_path)
    assert names(exam) == ["AX Sen Vibrant", *(f"AX MultiPhase phase {n}" for n in (1, 2, 3))]


def test_enhanced_multiframe(tmp_path):
    phases = dynamics(3, grid=affine((10, -5, 20)))
    write_enhanced(tmp_path / "all.dcm", phases)
    exam = readers.read(tmp_path)
    assert exam.times_s.tolist() == [90, 180]
    for got, wanted in zip(exam.phases, phases, strict=True):
        assert np.array_equal(got.volume.array, wanted.volume.array)
        assert np.allclose(got.volume.affine, wanted.volume.affine, atol=1e-4)


def test_foreign_files_and_other_series_are_passed_over(tmp_path):
    series = write_study(tmp_path / "exam" / "deep", dynamics(3), t1=t1())
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    (tmp_path / ".DS_Store").write_bytes(b"\0" * 200)
    (tmp_path / "report.dcm").write_text("not DICOM at all")
    os.symlink(tmp_path, tmp_path / "exam" / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken")
    shutil.copytree(series[1][0].parent, tmp_path / "copy of the pre")
    others = {
        "scout": {"SeriesDescription": "3-plane loc"},
        "t2": {"SeriesDescription": "ax T2 tse", "EchoTime": 90},
        "dwi": {"SeriesDescription": "ep2d_diff", "DiffusionBValue": 800.0},
        "mip": {"SeriesDescription": "ax dyn pass 1 MIP"},
        "seg": {"Modality": "SEG"},
        "ct": {"Modality": "CT"},
        "sub": {"SeriesDescription": "ax dyn SUB 1", "ImageType": ["DERIVED", "SECONDARY", "SUBTRACT"]},
        "moco": {},
    }
    for number, (name, values) in enumerate(others.items()):
        if name == "moco":
            continue
        files = write_study(tmp_path / name, [phase("x", 4 + number)], seed=100 + number)[0]
        import pydicom

        study = pydicom.dcmread(series[0][0]).StudyInstanceUID
        edit(files, StudyInstanceUID=study, **values)
    started = time.process_time()
    exam = readers.read(tmp_path)
    assert time.process_time() - started < 10
    assert names(exam) == ["ax dyn pre", "ax dyn pass 1", "ax dyn pass 2"]
    assert exam.t1.name == "ax t1 non fat sat"
    broken, no_dicom, subtraction = exam.warnings
    assert "broken" in broken and "links to files that are not there" in broken
    assert "report.dcm" in no_dicom and "ax dyn SUB 1" in subtraction


def test_t1_on_the_same_grid_is_no_phase(tmp_path):
    series = write_study(tmp_path, dynamics(3), t1=phase("ax t1 vibe", 9))
    edit(series[0], EchoTime=1.5, RepetitionTime=4.5)
    exam = readers.read(tmp_path)
    assert len(exam.post) == 2 and exam.t1.name == "ax t1 vibe"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"SeriesDescription": "ax t1 tse +c"}, "after the contrast agent"),
        ({"AcquisitionTime": "100000"}, "after the contrast agent"),
        (
            {"AcquisitionTime": None, "ContentTime": None, "SeriesTime": None, "ContrastBolusAgent": "x"},
            "contrast agent",
        ),
    ],
)
def test_post_contrast_t1_is_left_out(tmp_path, values, reason):
    series = write_study(tmp_path, dynamics(3), t1=t1("ax t1 tse"))
    edit(series[0], **values)
    exam = readers.read(tmp_path)
    assert exam.t1 is None and reason in exam.warnings[0]


@pytest.mark.parametrize(
    "names_of_posts",
    [["ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass"], ["t1 vibe post 1", "t1 vibe post 2"]],
)
def test_a_missing_pre_contrast_series_is_noticed(tmp_path, names_of_posts):
    series = write_study(
        tmp_path,
        [phase(name, n + 1, time_s=90.0 * n) for n, name in enumerate(["ax dyn pre", *names_of_posts])],
    )
    assert readers.read(tmp_path).pre.name == "ax dyn pre"
    shutil.rmtree(series[0][0].parent)
    refuse(tmp_path, "pre-contrast phase is missing", names_of_posts[0], tmp_path.name)
    exam = readers.read(tmp_path, kind="phases")
    assert exam.pre.name == names_of_posts[0] and any("after the contrast agent" in w for w in exam.warnings)


def test_two_acquisitions_of_equally_many_phases_are_mentioned(tmp_path):
    """Unilateral exams: one breast is analysed, and the user reads of the other."""
    write_study(tmp_path / "right", dynamics(3), seed=1)
    moved = affine(origin=(60.0, 15.0, 40.0))
    left = write_study(
        tmp_path / "left",
        [phase(f"left {p.name}", n + 21, grid=moved, time_s=p.time_s) for n, p in enumerate(dynamics(3))],
        seed=2,
    )
    import pydicom

    study = pydicom.dcmread(next((tmp_path / "right").rglob("*.dcm"))).StudyInstanceUID
    edit([f for files in left for f in files], StudyInstanceUID=study)
    exam = readers.read(tmp_path)
    (remark,) = [warning for warning in exam.warnings if "another grid" in warning]
    assert len(exam.post) == 2 and "dyn pre" in remark and "3 phases" in remark


def test_t1_given_by_hand(tmp_path):
    write_study(tmp_path / "exam", dynamics(3), t1=t1("ax t1 tse +c"))
    folder = next((tmp_path / "exam").glob("*t1*"))
    exam = readers.read(tmp_path / "exam", t1=folder)
    assert exam.t1.name == "ax t1 tse +c" and not exam.warnings
    with pytest.raises(InputError, match="not one"):
        readers.read(tmp_path / "exam", t1=tmp_path / "exam")
    with pytest.raises(InputError, match="does not exist"):
        readers.read(tmp_path / "exam", t1=tmp_path / "none")


def test_only_subtractions(tmp_path):
    base = np.random.default_rng(0).normal(100, 5, SHAPE)
    phases = [phase(f"sub {n}", n) for n in (1, 2, 3)]
    for n, p in enumerate(phases):
        p.volume.array[...] = np.clip(base + n, 0, None)
        p.volume.array[4:6, 4:6, 4:6] += 200
    write_study(tmp_path, phases)
    exam = readers.read(tmp_path)
    assert exam.pre is None and len(exam.post) == 3 and all(90 < o < 110 for o in exam.offsets)
    refuse(tmp_path, "only subtractions", tmp_path.name, kind="phases")


def test_rescale_and_types(tmp_path):
    phases = [phase("pre", 1, dtype=np.int16), phase("post", 2, dtype=np.int16)]
    phases[0].volume.array[...] -= 200
    series = write_study(tmp_path, phases)
    exam = readers.read(tmp_path)
    assert exam.pre.volume.array.dtype == np.int16 and np.array_equal(
        exam.pre.volume.array, phases[0].volume.array
    )
    edit(series[1], RescaleSlope=0.5, RescaleIntercept=-3)
    exam = readers.read(tmp_path)
    assert exam.post[0].volume.array.dtype == np.float32
    assert np.array_equal(exam.post[0].volume.array, phases[1].volume.array * 0.5 - 3)


def test_bits_that_are_not_stored_do_not_count(tmp_path):
    series = write_study(tmp_path)
    import pydicom

    data = pydicom.dcmread(series[0][3])
    pixels = np.frombuffer(data.PixelData, "<u2") | 0x8000  # an overlay in the top bit
    edit([series[0][3]], PixelData=pixels.tobytes())
    edit([f for files in series for f in files], BitsStored=12, HighBit=11)
    assert np.array_equal(readers.read(tmp_path).pre.volume.array, dynamics()[0].volume.array)


def test_compressed(tmp_path):
    series = write_study(tmp_path)
    import pydicom
    from pydicom.uid import JPEG2000Lossless, RLELossless

    for file in series[1]:
        data = pydicom.dcmread(file)
        data.compress(RLELossless)
        data.save_as(file)
    assert np.array_equal(readers.read(tmp_path).post[0].volume.array, dynamics()[1].volume.array)

    def lie(data, _):
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
        data["PixelData"].VR = "OB"

    edit(series[2], lie)
    refuse(tmp_path, "ax dyn pass 2", "cannot be decoded", "JPEG 2000")


def test_deflated_images_are_read_and_none_is_taken_for_a_copy_of_another(tmp_path):
    """Their pixels lie nowhere in the file as they are: it cannot be told by their bytes that two are one."""
    import pydicom

    from BreastCMSLLib.readers.dicom.copies import same_pixels
    from BreastCMSLLib.readers.dicom.scan import scan

    files = [file for series in write_study(tmp_path) for file in series]
    for file in files:
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        data.save_as(file)
    for got, wanted in zip(readers.read(tmp_path).phases, dynamics(), strict=True):
        assert np.array_equal(got.volume.array, wanted.volume.array)
    images = scan(sorted(files)[:2]).slices
    assert len(images) == 2 and same_pixels(*images) is None


def test_other_encodings(tmp_path):
    """Big endian, no preamble, no file meta at all: as old archives have them."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    series = write_study(tmp_path)
    for file in series[0]:
        file.write_bytes(file.read_bytes()[132:])
    for file in series[1]:
        data = pydicom.dcmread(file)
        data.preamble, data.file_meta = None, FileMetaDataset()
        data.save_as(file, implicit_vr=True, little_endian=True)
    for file in series[2]:
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        list(data.iterall())  # decode every value before the byte order changes
        pydicom.dcmwrite(file, data, implicit_vr=False, little_endian=False)
    exam = readers.read(tmp_path)
    for got, wanted in zip(exam.phases, dynamics(), strict=True):
        assert np.array_equal(got.volume.array, wanted.volume.array)


def test_times_given_by_hand(tmp_path):
    write_study(tmp_path)
    assert readers.read(tmp_path, times_s=[0, 60, 120]).times_s.tolist() == [60, 120]
    refuse(tmp_path, "2 times", "3 dynamic volumes", times_s=[0, 60])
    refuse(tmp_path, "do not increase", times_s=[0, 60, 30])


def test_export_is_deterministic(tmp_path):
    for name in "ab":
        write_study(tmp_path / name, seed=5)
    first, second = (sorted((tmp_path / name).rglob("*.dcm")) for name in "ab")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]
    write_study(tmp_path / "c", seed=6)
    a, b, c = (readers.read(tmp_path / name).exam_id for name in "abc")
    assert a == b != c


def test_export_of_real_numbers(tmp_path):
    wanted = np.random.default_rng(0).normal(0.3, 0.1, SHAPE)
    phases = [phase("pre", 1), phase("post", 2)]
    phases = [
        type(p)(p.volume.with_array((wanted + n / 9).astype(np.float32)), p.name)
        for n, p in enumerate(phases)
    ]
    write_study(tmp_path, phases)
    exam = readers.read(tmp_path)
    assert np.abs(
        exam.post[0].volume.array - phases[1].volume.array
    ).max() < 1e-4 and exam.times_s.tolist() == [90]


# ---------------------------------------------------------------- what is refused


def test_nothing_there(tmp_path):
    refuse(tmp_path, "empty", tmp_path.name)
    refuse(tmp_path / "missing", "does not exist")
    refuse([], "No input")
    (tmp_path / "notes.txt").write_text("x")
    refuse(tmp_path, "no DICOM")


def test_not_an_mri(tmp_path):
    for files in write_study(tmp_path):
        edit(files, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    refuse(tmp_path, "not an MRI", "CT", tmp_path.name)


def test_one_phase_only(tmp_path):
    write_study(tmp_path, dynamics()[:1])
    refuse(tmp_path, "Only one dynamic phase", "ax dyn pre", tmp_path.name)


def test_mismatched_sizes(tmp_path):
    write_study(tmp_path, [phase("ax dyn pre", 1), phase("ax dyn pass 1", 2, shape=(14, 12, 20))])
    refuse(tmp_path, "ax dyn pre", "14×12×10", "14×12×20")


@pytest.mark.parametrize(("index", "what"), [(4, "misses 1 slice"), (0, "9 slices"), (9, "9 slices")])
def test_missing_slice(tmp_path, index, what):
    series = write_study(tmp_path, dynamics(4))
    series[2][index].unlink()
    refuse(tmp_path, "ax dyn pass 2", what, tmp_path.name)


def test_missing_slice_in_a_series_of_several_phases(tmp_path):
    series = write_study(tmp_path, dynamics(4))
    for number, files in enumerate(series, 1):
        edit(
            files,
            SeriesInstanceUID="1.2.3",
            SeriesDescription="dyn",
            SeriesNumber=1,
            TemporalPositionIdentifier=number,
        )
    series[1][5].unlink()
    refuse(tmp_path, "dyn phase 2", "misses 1 slice")


def test_truncated_file(tmp_path):
    series = write_study(tmp_path)
    file = series[1][3]
    file.write_bytes(file.read_bytes()[:-100])
    refuse(tmp_path, "ax dyn pass 1", file.name, "truncated")
    file.write_bytes(file.read_bytes()[:300])
    refuse(tmp_path, "ax dyn pass 1")


def test_lying_headers(tmp_path):
    def check(*parts, change=None, **values):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        series = write_study(folder)
        edit(series[1], change, **values)
        refuse(folder, "ax dyn pass 1", *parts)

    check("one slice position", ImagePositionPatient=[0, 0, 0])
    check("orientation", ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    check("slice positions", ImagePositionPatient=None)
    check("pixel spacing", PixelSpacing=[0, 0])
    check("uneven", change=lambda data, k: setattr(data, "ImagePositionPatient", [0, 0, k**1.5]))
    check(
        "sideways",
        change=lambda data, k: setattr(data, "ImagePositionPatient", [20 + 0.5 * k, -15, 40 + 2 * k]),
    )
    folder = tmp_path / "rows"
    for files in write_study(folder):
        edit(files, Rows=64)
    refuse(folder, "truncated", "ax dyn pre")


def test_nan_cannot_enter_and_constant_is_refused(tmp_path):
    phases = dynamics()
    phases[1].volume.array[...] = 7
    write_study(tmp_path, phases)
    refuse(tmp_path, "ax dyn pass 1", "constant")


def test_two_studies(tmp_path):
    write_study(tmp_path / "first", seed=1)
    write_study(tmp_path / "second", seed=2)
    refuse(tmp_path, "2 studies", "first", "second")
    shutil.rmtree(next((tmp_path / "second").glob("02*")))
    shutil.rmtree(next((tmp_path / "second").glob("03*")))
    assert any("other studies" in w for w in readers.read(tmp_path).warnings)


def test_multiframe_without_geometry(tmp_path):
    for files in write_study(tmp_path):
        edit(files, NumberOfFrames=4)
    refuse(tmp_path, "multi-frame", "ax dyn")


def test_damaged_other_file_is_only_mentioned(tmp_path):
    series = write_study(tmp_path)
    garbage = np.random.default_rng(0).bytes(500)
    (tmp_path / "garbage.dcm").write_bytes(b"\0" * 128 + b"DICM" + garbage)
    (warning,) = readers.read(tmp_path).warnings
    assert "1 damaged DICOM file (garbage.dcm) could not be read" in warning
    (tmp_path / "garbage.dcm").unlink()
    shutil.copy(series[0][0], tmp_path / "other.dcm")
    edit([tmp_path / "other.dcm"], Rows=60000)
    exam = readers.read(tmp_path)
    assert len(exam.post) == 2 and "other.dcm" in exam.warnings[0] and "could not be read" in exam.warnings[0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1500), garbage=st.binary(min_size=1, max_size=40))
def test_a_corrupted_header_never_escapes_as_another_error(tmp_path_factory, position, garbage):
    folder = tmp_path_factory.mktemp("fuzz")
    series = write_study(folder, dynamics(2, shape=(6, 5, 4)))
    data = bytearray(series[1][2].read_bytes())
    data[position : position + len(garbage)] = garbage
    series[1][2].write_bytes(data)
    try:
        exam = readers.read(folder)
        assert len(exam.post) == 1
    except InputError as error:
        assert "\n" not in str(error)
    shutil.rmtree(folder)


# ---------------------------------------------------------------- a real exam


def test_duke(duke_folder: Path):
    import SimpleITK as sitk

    from BreastCMSLLib.core.itk import from_sitk

    exam = readers.read(duke_folder)
    assert names(exam) == [
        "ax dyn pre",
        "ax dyn 1st pass",
        "ax dyn 2nd pass",
        "ax dyn 3rd pass",
        "ax dyn 4th pass",
    ]
    assert np.allclose(exam.times_s, [1371.135, 1492.545, 1615.197, 1736.717])
    assert exam.grid.shape == (448, 448, 160) and np.allclose(exam.grid.spacing, [0.7589286, 0.7589286, 1.1])
    assert exam.pre.volume.array.dtype == np.uint16 and exam.t1 is None
    assert "ax t1 tse +c" in exam.warnings[0] and "153" not in repr(exam.identifiers["manufacturer"])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(exam.pre.source))
    independent = from_sitk(reader.Execute())
    assert np.array_equal(independent.array, exam.pre.volume.array) and np.allclose(
        independent.affine, exam.grid.affine
    )
    first = exam.subtraction(0).array
    lesion = first[89:124, 46:82, 60:78]  # the annotated box: columns, rows, slices
    assert np.percentile(lesion, 90) > 2 * np.percentile(first[::4, ::4, ::4], 95)
    assert subtraction_offset(first) == 0 and subtraction_offset(first.astype(np.int16)) == 0
