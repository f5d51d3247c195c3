"""Results as DICOM: in the exam's study, where the voxels lie, for research alone, the same each time."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_factory import SHAPE, affine, dynamics, edit, write_enhanced, write_study
from refusals import refuse

from BreastCMSLLib.core.errors import InputError, OutputError
from BreastCMSLLib.core.geometry import LPS_FROM_RAS, Volume, apply_affine
from BreastCMSLLib.readers import read

highdicom = pytest.importorskip(
    "highdicom", reason="highdicom is not installed: pip install breastcmsl[dicom]"
)

from BreastCMSLLib.results.dicom import study  # noqa: E402
from BreastCMSLLib.results.dicom.parametric_map import NamedMap  # noqa: E402
from BreastCMSLLib.results.dicom.source import source_of, source_of_files  # noqa: E402
from BreastCMSLLib.results.dicom.stamp import NO_RESULT  # noqa: E402

GRIDS = {
    "axial": {"flips": (True, True, False)},
    "oblique": {"angles_deg": (11, -7, 14), "flips": (True, True, False)},
    "sagittal": {"order": (1, 2, 0), "flips": (False, True, True), "spacing": (1.5, 1.25, 2.0)},
    "oblique sagittal": {"order": (1, 2, 0), "angles_deg": (5, 9, -12), "flips": (False, True, True)},
    "coronal": {"order": (0, 2, 1), "flips": (False, True, False)},
}
WRITTEN = datetime(2026, 11, 28, 12, 0)
LESION = (9, 4, 6)  # i, j, k of its middle voxel


def exam_in(folder: Path, grid: str = "oblique", **options):
    """An exam read from DICOM, and the files of its series."""
    series = write_study(folder, dynamics(3, grid=affine(**GRIDS[grid])), **options)
    return read(folder), series


def contents_of(exam, **changes) -> study.Contents:
    """Made-up results: a lesion of 3 × 3 × 3 voxels about ``LESION``, a map with its maximum there."""
    grid = exam.grid
    # a reader may turn the axes: the lesion is where it is in the patient
    labels, heat = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.float32)
    box = tuple(slice(c - 1, c + 2) for c in LESION)
    labels[box] = 1
    heat[box] = 0.5
    heat[LESION] = 1.0
    breasts = np.zeros(grid.shape, np.uint8)
    breasts[2:-2, 2:-2, 1:-1] = 1
    ras = apply_affine(grid.affine, np.array(LESION)).round(3).tolist()
    peak = {"ras_mm": ras, "value": 1.0, "side": "left", "depth_mm": 18.0, "probability": 0.8, "outline": 1}
    peak |= {"size_mm": 6.5, "volume_ml": 0.1}
    peaks = [peak, {"ras_mm": ras, "value": 0.5, "side": "left", "depth_mm": 3.0, "probability": 0.1}]
    result = {
        "exam_id": exam.exam_id,
        "probability": 0.93,
        "malignant": True,
        "threshold": 0.5,
        "candidates_calibrated": True,
        "map": "LESION",
        "map_meaningful": True,
        "breasts": {"right": {"probability": 0.1}, "left": {"probability": 0.92}},
        "peaks": peaks,
        "kinetics": {"type": "washout"},
        "model": {"name": "test", "sha256": "ab" * 32, "training_data": "simulated exams"},
        "out_of_range": [],
        "timings_s": {"total": 1.0},
    }
    result |= changes.pop("result", {})
    own = {"outlines": Volume(labels, grid.affine), "breasts": Volume(breasts, grid.affine)}
    maps = [NamedMap("LESION", "Lesion map", Volume(heat, grid.affine))]
    pictures = {"Slices through the finding": png()}
    own |= {"maps": maps, "pictures": pictures, "pdf": b"%PDF-1.4\n1", "image": exam.post[0].volume}
    return study.Contents(result, **{**own, **changes})


def png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((40, 220, 3), 90, np.uint8)).save(file, "PNG")
    return file.getvalue()


def objects_of(exam, **changes) -> dict[str, pydicom.Dataset]:
    source = source_of(exam, exam.post[0])
    return study.dicom_objects(source, contents_of(exam, **changes), WRITTEN)


def frame_affines(dataset) -> list[np.ndarray]:
    """(column, row, 1) → LPS mm of every frame, by PS3.3 C.7.6.2.1.1."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    matrices = []
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        matrix = np.zeros((3, 3))
        matrix[:, 0], matrix[:, 1] = row * across, column * down
        matrix[:, 2] = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        matrices.append(matrix)
    return matrices


def lps_of(exam, ijk) -> np.ndarray:
    return apply_affine(LPS_FROM_RAS @ exam.grid.affine, np.array(ijk))


# ---------------------------------------------------------------- where it lies


@pytest.mark.parametrize("grid", GRIDS)
def test_segments_and_maps_lie_where_the_voxels_lie(tmp_path, grid):
    """By DICOM's own equation, without highdicom: within a hundredth of a voxel."""
    exam, _ = exam_in(tmp_path, grid)
    objects = objects_of(exam)
    findings = objects["findings.seg.dcm"]
    inside = []
    for matrix, frame in zip(frame_affines(findings), findings.pixel_array, strict=True):
        rows, columns = np.nonzero(frame)
        inside += (matrix @ np.stack([columns, rows, np.ones_like(rows)])).T.tolist()
    assert len(inside) == 27
    limit = 0.01 * float(exam.grid.spacing.min())
    assert np.linalg.norm(np.mean(inside, axis=0) - lps_of(exam, LESION)) < limit
    written = objects["map01.pm.dcm"]
    frames = np.frombuffer(written.FloatPixelData, "<f4").reshape(-1, written.Rows, written.Columns)
    frame, row, column = np.unravel_index(int(frames.argmax()), frames.shape)
    place = frame_affines(written)[frame] @ [column, row, 1]
    assert np.linalg.norm(place - lps_of(exam, LESION)) < limit
    along = [matrix[:, 2] @ np.cross(matrix[:, 0], matrix[:, 1]) for matrix in frame_affines(written)]
    assert np.all(np.diff(along) > 0), "frames not in the order of the slices, which dcmqi would turn round"


@pytest.mark.parametrize("grid", ["oblique", "oblique sagittal"])
def test_highdicom_reads_back_every_voxel(tmp_path, grid):
    exam, _ = exam_in(tmp_path / "exam", grid)
    contents = contents_of(exam)
    files = study.write_objects(tmp_path / "out", source_of(exam, exam.post[0]), contents, WRITTEN)
    for name, truth in (("findings.seg.dcm", contents.outlines), ("breasts.seg.dcm", contents.breasts)):
        file = next(file for file in files if file.name == name)
        back = highdicom.seg.segread(file).get_volume(combine_segments=True)
        lps = LPS_FROM_RAS @ truth.affine
        wanted = highdicom.Volume(
            truth.array.transpose(2, 1, 0),
            lps[:, [2, 1, 0, 3]],
            "PATIENT",
            frame_of_reference_uid=back.frame_of_reference_uid,
        )
        assert np.array_equal(back.match_geometry(wanted).array, wanted.array)


def test_results_with_turned_axes_come_out_the_same(tmp_path):
    """A scene may hold the volume with axes exchanged and reversed."""
    exam, _ = exam_in(tmp_path)
    source, volume = source_of(exam, exam.post[0]), exam.post[0].volume
    order = (2, 0, 1)
    turned = Volume(volume.array.transpose(order), volume.affine[:, [*order, 3]].copy())
    matrix = turned.affine.copy()
    matrix[:3, 3] += (turned.shape[0] - 1) * matrix[:3, 0]
    matrix[:3, 0] *= -1
    assert np.array_equal(source.slices_of(Volume(turned.array[::-1], matrix)), source.slices_of(volume))
    matrix[:3, 3] += 0.8 * matrix[:3, 1]
    with pytest.raises(InputError, match="another grid"):
        source.slices_of(Volume(turned.array[::-1], matrix))


def test_every_frame_names_the_image_it_was_made_from(tmp_path):
    exam, series = exam_in(tmp_path)
    places = {}
    for file in series[1]:
        image = pydicom.dcmread(file)
        places[image.SOPInstanceUID] = np.array(image.ImagePositionPatient, float)
    for name in ("findings.seg.dcm", "breasts.seg.dcm", "map01.pm.dcm"):
        dataset = objects_of(exam)[name]
        for matrix, frame in zip(frame_affines(dataset), dataset.PerFrameFunctionalGroupsSequence):
            (image,) = frame.DerivationImageSequence[0].SourceImageSequence
            assert np.allclose(places[image.ReferencedSOPInstanceUID], matrix[:, 2], atol=1e-3)


def test_frames_of_an_enhanced_object_are_those_of_the_phase(tmp_path):
    phases = dynamics(3, grid=affine(flips=(True, True, False)))
    write_enhanced(tmp_path / "enhanced.dcm", phases)
    edit([tmp_path / "enhanced.dcm"], FrameOfReferenceUID="1.2.3.4")
    header = pydicom.dcmread(tmp_path / "enhanced.dcm")
    exam = read(tmp_path)
    objects = objects_of(exam)
    dataset = objects["breasts.seg.dcm"]
    for matrix, frame in zip(frame_affines(dataset), dataset.PerFrameFunctionalGroupsSequence, strict=True):
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == header.SOPInstanceUID
        group = header.PerFrameFunctionalGroupsSequence[int(image.ReferencedFrameNumber) - 1]
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, matrix[:, 2], atol=1e-3)
        assert group.FrameContentSequence[0].TemporalPositionIndex == 2  # the first after contrast
    (marked,) = objects["marks.gsps.dcm"].GraphicAnnotationSequence[0].ReferencedImageSequence
    group = header.PerFrameFunctionalGroupsSequence[int(marked.ReferencedFrameNumber) - 1]
    assert group.FrameContentSequence[0].TemporalPositionIndex == 2


def test_phases_of_one_file_are_found_where_another_series_has_their_name(tmp_path):
    phases = dynamics(3, grid=affine(flips=(True, True, False)))
    for number in (5, 6):
        write_enhanced(tmp_path / f"{number}.dcm", phases)
        edit([tmp_path / f"{number}.dcm"], FrameOfReferenceUID="1.2.3.4", SeriesNumber=number)
    edit([tmp_path / "6.dcm"], ImageType=["DERIVED", "PRIMARY", "MIP", "NONE"])
    exam = read(tmp_path)
    assert exam.post[1].name == "dyn enhanced (series 5) phase 3"
    groups = pydicom.dcmread(tmp_path / "5.dcm").PerFrameFunctionalGroupsSequence
    for index, phase in enumerate((exam.pre, *exam.post), 1):
        frames = source_of(exam, phase).frames
        positions = {groups[n - 1].FrameContentSequence[0].TemporalPositionIndex for n in frames}
        assert positions == {index}


def test_without_a_name_a_phase_is_told_by_its_place_or_not_at_all(tmp_path):
    write_enhanced(tmp_path / "5.dcm", dynamics(3, grid=affine(flips=(True, True, False))))
    edit([tmp_path / "5.dcm"], FrameOfReferenceUID="1.2.3.4")
    exam = read(tmp_path)
    files, grid = exam.plan.files, exam.grid
    frames = source_of_files(files, grid, "MRBreast", place=(1, 3)).frames
    assert frames == source_of(exam, exam.post[0]).frames
    for place in (None, (1, 2)):
        with pytest.raises(InputError, match="which of 3 volumes"):
            source_of_files(files, grid, "MRBreast", place=place)


def test_the_mark_is_a_circle_about_the_finding(tmp_path):
    exam, series = exam_in(tmp_path)
    (annotation,) = objects_of(exam)["marks.gsps.dcm"].GraphicAnnotationSequence
    (referenced,) = annotation.ReferencedImageSequence
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, series[1])}
    image = images[referenced.ReferencedSOPInstanceUID]
    x, y = annotation.GraphicObjectSequence[0].GraphicData[:2]
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    down, across = map(float, image.PixelSpacing)
    # the centre of the first pixel is 0.5, 0.5
    place = np.array(image.ImagePositionPatient, float) + row * across * (x - 0.5) + column * down * (y - 0.5)
    assert np.linalg.norm(place - lps_of(exam, LESION)) < 0.01


def test_results_of_registered_phases_lie_on_the_phase_they_were_registered_to(tmp_path):
    exam, series = exam_in(tmp_path)
    assert study.reference_phase(exam, {"registration": {"applied": [False, False]}}) is exam.post[0]
    phase = study.reference_phase(exam, {"registration": {"applied": [False, True]}})
    uids = [image.SOPInstanceUID for image in source_of(exam, phase).images]
    assert set(uids) == {pydicom.dcmread(file).SOPInstanceUID for file in series[0]}


def test_a_voxel_without_a_value_is_not_one_of_zero(tmp_path):
    exam, _ = exam_in(tmp_path)
    values = np.full(exam.grid.shape, np.nan, np.float32)
    values[2:5, 3, 4], values[2:5, 3, 5] = 0.0, 7.0
    wash_out = NamedMap("WASHOUT", "Wash-out", Volume(values, exam.grid.affine), (-100.0, 100.0))
    written = objects_of(exam, maps=[wash_out])["map01.pm.dcm"]
    pixels = np.frombuffer(written.FloatPixelData, "<f4")
    assert written.FloatPixelPaddingValue == -9999.0
    assert [int((pixels == value).sum()) for value in (0.0, 7.0)] == [3, 3]
    assert set(np.unique(pixels)) <= {0.0, 7.0, -9999.0}
    assert "FloatPixelPaddingValue" not in objects_of(exam)["map01.pm.dcm"]


# ---------------------------------------------------------------- what it says


def items(dataset):
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item)


def measured(report) -> dict[str, list[tuple[str, float]]]:
    """Tracking identifier → code meaning and value of each number."""
    numbers: dict[str, list] = {}
    for group in items(report):
        content = list(group.get("ContentSequence", []))
        named = [
            item for item in content if item.get("ValueType") == "TEXT" and _meaning(item).startswith("Tr")
        ]
        for item in content if named else ():
            if item.ValueType == "NUM":
                value = float(item.MeasuredValueSequence[0].NumericValue)
                numbers.setdefault(named[0].TextValue, []).append((_meaning(item), value))
    return numbers


def _meaning(item) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_the_structured_report_holds_the_numbers(tmp_path):
    exam, _ = exam_in(tmp_path)
    report = objects_of(exam)["report.sr.dcm"]
    numbers = measured(report)
    assert numbers["Exam"] == [("Probability of cancer", 93.0)]
    assert numbers["Left breast"] == [("Probability of cancer", 92.0)]
    assert numbers["Candidate 1"] == [
        *(("Diameter", 6.5), ("Volume", 0.1)),
        *(("Probability of cancer", 80.0), ("Depth", 18.0)),
    ]
    assert ("Diameter", 6.5) not in numbers["Candidate 2"]
    rough = measured(objects_of(exam, result={"candidates_calibrated": False})["report.sr.dcm"])
    assert rough["Candidate 1"] == [("Diameter", 6.5), ("Volume", 0.1), ("Depth", 18.0)]
    assert rough["Exam"] == numbers["Exam"], "that of the exam is calibrated on its own"
    points = [item.GraphicData for item in items(report) if item.get("GraphicType") == "POINT"]
    assert np.allclose(points[0], lps_of(exam, LESION), atol=1e-2)
    texts = " ".join(item.TextValue for item in items(report) if item.get("ValueType") == "TEXT")
    assert "Research use only" in texts and "probability 93 %" in texts and "simulated exams" in texts
    codes = {item.CodeValue for item in items(report) if "CodeValue" in item}
    assert {"130599", "52988006", "76752008"} <= codes  # washout curve, lesion, breast


def test_the_structured_report_holds_the_clear_words_that_dicom_has_codes_for(tmp_path):
    exam, _ = exam_in(tmp_path)
    words = {"margin": {"word": "circumscribed"}}

    def evaluated(**descriptors):
        finding = {"descriptors": {"type": {"word": "mass"}, **descriptors}}
        report = objects_of(exam, result={"finding": finding})["report.sr.dcm"]
        return {
            _meaning(item): item.ConceptCodeSequence[0].CodeValue
            for item in items(report)
            if item.get("ValueType") == "CODE" and "ConceptNameCodeSequence" in item
        }

    told = evaluated(**words)
    assert told["Margins"] == "129738007"
    assert "Margins" not in evaluated(margin={"word": "not circumscribed"})


def test_segments_and_measurements_of_a_candidate_have_one_tracking_identifier(tmp_path):
    objects = objects_of(exam_in(tmp_path)[0])
    segment = objects["findings.seg.dcm"].SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodingSchemeDesignator == "SCT"
    values = [str(item.get("UID", "")) for item in items(objects["report.sr.dcm"])]
    assert segment.TrackingUID in values
    breast = objects["breasts.seg.dcm"].SegmentSequence[0]
    assert breast.SegmentedPropertyTypeCodeSequence[0].CodeValue == "76752008"


def test_all_objects_are_of_the_study_and_for_research(tmp_path):
    exam, series = exam_in(tmp_path)
    first = pydicom.dcmread(series[0][0])
    objects = objects_of(exam)
    assert len(objects) == 7
    for name, dataset in objects.items():
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "PatientSex"):
            assert str(dataset.get(keyword)) == str(first.get(keyword)), (name, keyword)
        assert "research use only" in dataset.SeriesDescription and dataset.ContentQualification == "RESEARCH"
        assert dataset.SeriesDate == "20261128" and dataset.Manufacturer == "BreastCMSL"
    known = {file.parent for files in series for file in files}
    uids = {dataset.SeriesInstanceUID for dataset in objects.values()}
    assert len(uids) == 7 and len(known) == 3
    assert not uids & {pydicom.dcmread(files[0]).SeriesInstanceUID for files in series}


def test_every_object_of_an_exam_out_of_range_says_so_first_and_none_judges(tmp_path):
    exam, _ = exam_in(tmp_path)
    reasons = [{"code": "motion", "text": "The breasts moved."}]
    odd, usual = objects_of(exam, result={"out_of_range": reasons}), objects_of(exam)
    assert set(usual) - set(odd) == {"findings.seg.dcm", "marks.gsps.dcm"}
    assert all(dataset.SeriesDescription.startswith(NO_RESULT) for dataset in odd.values())
    assert not any(NO_RESULT in dataset.SeriesDescription for dataset in usual.values())
    assert all(len(dataset.SeriesDescription) <= 64 for dataset in odd.values()), "VR LO"
    report = odd[study.REPORT]
    texts = " ".join(item.TextValue for item in items(report) if item.get("ValueType") == "TEXT")
    assert "The breasts moved." in texts and "93 %" not in texts
    assert not any(measured(report).values()) and any(measured(usual[study.REPORT]).values())


def test_nothing_else_of_the_headers_goes_along(tmp_path):
    exam, series = exam_in(tmp_path / "exam")
    secret = {
        "InstitutionName": "Secret Hospital",
        "OperatorsName": "Secret^Operator",
        "PatientAddress": "Secret Street",
        "OtherPatientIDs": "Secret-1",
        "PatientComments": "Secret comment",
        "PerformingPhysicianName": "Secret^Physician",
    }
    edit([file for files in series for file in files], **secret)
    files = study.write_objects(tmp_path / "out", source_of(exam, exam.post[0]), contents_of(exam), WRITTEN)
    for file in files:
        assert b"Secret" not in file.read_bytes(), file.name


def test_the_same_results_have_the_same_identifiers_and_others_others(tmp_path):
    exam, _ = exam_in(tmp_path)
    first, again = objects_of(exam), objects_of(exam, result={"timings_s": {"total": 99.0}})
    other = objects_of(exam, result={"probability": 0.94})
    for name, dataset in first.items():
        assert dataset.to_json_dict() == again[name].to_json_dict(), name
        assert dataset.SOPInstanceUID != other[name].SOPInstanceUID
        assert dataset.SOPInstanceUID.startswith("2.25.") and len(dataset.SOPInstanceUID) <= 64


def test_an_exam_that_is_not_suspicious_has_no_findings(tmp_path):
    exam, _ = exam_in(tmp_path)
    objects = objects_of(exam, outlines=None, result={"malignant": False, "map_meaningful": False})
    assert "findings.seg.dcm" not in objects and "marks.gsps.dcm" not in objects
    assert set(measured(objects["report.sr.dcm"])) == {"Exam", "Left breast", "Right breast"}
    assert "not meaningful" not in objects["breasts.seg.dcm"].SeriesDescription


def test_any_named_map_is_written_and_what_is_no_number_becomes_0(tmp_path):
    from pydicom.sr.codedict import codes

    exam, _ = exam_in(tmp_path)
    values = np.full(exam.grid.shape, np.nan, np.float32)
    values[:, :, 3:5] = 1.75
    ser = NamedMap(
        "SER", "Signal enhancement ratio", exam.grid.with_array(values), (0.0, 2.0), codes.UCUM.NoUnits
    )
    objects = objects_of(exam, maps=[*contents_of(exam).maps, ser])
    dataset = objects["map02.pm.dcm"]
    assert dataset.NumberOfFrames == 2 and "Signal enhancement ratio" in dataset.SeriesDescription
    assert set(np.frombuffer(dataset.FloatPixelData, "<f4")) == {np.float32(1.75)}
    assert dataset.SeriesInstanceUID != objects["map01.pm.dcm"].SeriesInstanceUID
    empty = NamedMap("SER", "Nothing", exam.grid.with_array(np.zeros_like(values)))
    assert objects_of(exam, maps=[empty])["map01.pm.dcm"].NumberOfFrames == SHAPE[2]


def test_odd_headers_do_no_harm(tmp_path):
    exam, series = exam_in(tmp_path / "exam")

    def change(data, index):
        data.SpecificCharacterSet = "ISO_IR 144"
        data.PatientName = "Иванова^Анна"
        for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate"):
            del data[keyword]
        data.add_new("PatientSex", "CS", "FEMALE")
        data.add_new("StudyTime", "TM", "")

    edit([file for files in series for file in files], change)
    files = study.write_objects(tmp_path / "out", source_of(exam, exam.post[0]), contents_of(exam), WRITTEN)
    for file in files:
        dataset = pydicom.dcmread(file)
        assert dataset.PatientName == "Иванова^Анна" and not dataset.PatientSex and not dataset.StudyTime


# ---------------------------------------------------------------- refusals, and the folder


def test_an_exam_that_is_no_dicom_is_refused(tmp_path):
    from builders import small_exam, write_volumes

    exam = read(write_volumes(tmp_path, small_exam().phases), times_s=[0, 90, 180])
    refuse(lambda: study.check_source(exam), "not read from DICOM files")


def test_images_without_a_frame_of_reference_are_refused(tmp_path):
    exam, series = exam_in(tmp_path)
    edit([file for files in series for file in files], FrameOfReferenceUID=None)
    refuse(lambda: study.check_source(exam), "Frame of Reference")


def test_images_that_are_gone_are_refused(tmp_path):
    exam, series = exam_in(tmp_path)
    for file in series[1][2:]:
        file.unlink()
    refuse(lambda: study.check_source(exam), "files are gone")


def test_the_phase_before_contrast_is_checked_too_where_results_may_lie_on_it(tmp_path):
    exam, series = exam_in(tmp_path)
    edit(series[0], FrameOfReferenceUID=None)
    study.check_source(exam, "off")
    refuse(lambda: study.check_source(exam), "Frame of Reference")


def test_a_failure_leaves_the_earlier_objects_and_the_users_files(tmp_path, monkeypatch):
    exam, _ = exam_in(tmp_path / "exam")
    source, out = source_of(exam, exam.post[0]), tmp_path / "out"
    files = study.write_objects(out, source, contents_of(exam), WRITTEN)
    (folder,) = out.iterdir()
    assert folder.name == f"BreastCMSL-{exam.exam_id}" and {file.parent for file in files} == {folder}
    (folder / "notes.txt").write_text("mine")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    checked = []

    def full(path):
        checked.append(path)
        if len(checked) > 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study, "check_whole", full)
        with pytest.raises(OutputError, match="No space left"):
            study.write_objects(out, source, contents_of(exam, result={"probability": 0.6}), WRITTEN)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in out.iterdir()] == [folder.name]
    study.write_objects(out, source, contents_of(exam, outlines=None, pdf=None), WRITTEN)
    left = {file.name for file in folder.iterdir()}
    assert "notes.txt" in left and not {"findings.seg.dcm", "report.pdf.dcm"} & left


def test_a_folder_of_results_is_no_part_of_the_exam(tmp_path):
    """Written into the exam's own folder, they are left out when it is read again."""
    exam, _ = exam_in(tmp_path)
    study.write_objects(tmp_path, source_of(exam, exam.post[0]), contents_of(exam), WRITTEN)
    again = read(tmp_path)
    assert again.exam_id == exam.exam_id and len(again.phases) == 3


def test_the_command_writes_dicom_beside_its_results(tmp_path, capsys):
    from builders import save_model, small_exam

    from BreastCMSLLib import cli
    from training.simulation.dicom_export import write_dicom

    exam, out = tmp_path / "exam", tmp_path / "dicom"
    write_dicom(exam, small_exam().phases)
    card = save_model(tmp_path / "model", threshold=0.01)
    command = ["analyze", "--no-scene", "--model", str(card), "--progress", "none"]
    results = ["--output", str(tmp_path / "out"), "--dicom", str(out)]
    assert cli.main([*command, "--kinetics", str(exam), *results]) == 0
    (folder,) = out.iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    names = {file.name for file in folder.iterdir()}
    assert {"report.sr.dcm", "breasts.seg.dcm", "map01.pm.dcm", "report.pdf.dcm"} <= names
    maps = [pydicom.dcmread(file) for file in sorted(folder.glob("map*.pm.dcm"))]
    assert all(dataset.SeriesDescription.startswith(NO_RESULT) for dataset in maps), "the exam is no real one"
    titles = [dataset.SeriesDescription.removeprefix(NO_RESULT) for dataset in maps]
    assert any(title.startswith("Signal enhancement ratio") for title in titles), titles
    assert any(title.startswith("Percent enhancement") for title in titles)
    breasts = pydicom.dcmread(folder / "breasts.seg.dcm")
    assert breasts.NumberOfFrames > 5 and breasts.pixel_array.any()
    pdf = bytes(pydicom.dcmread(folder / "report.pdf.dcm").EncapsulatedDocument)
    assert pdf.startswith(b"%PDF") and not (tmp_path / "out" / "report.pdf").exists()


def test_the_command_refuses_dicom_of_volumes_before_the_work(tmp_path, capsys):
    from builders import save_model, small_exam, write_volumes

    from BreastCMSLLib import cli

    volumes = write_volumes(tmp_path / "exam", small_exam().phases)
    card = save_model(tmp_path / "model")
    command = ["analyze", "--no-scene", "--model", str(card), *map(str, volumes), "--times", "0", "90", "180"]
    out = tmp_path / "out"
    assert cli.main([*command, "--output", str(out), "--dicom", str(tmp_path / "dicom")]) == 2
    assert "not read from DICOM files" in capsys.readouterr().err
    assert not out.exists() and not (tmp_path / "dicom").exists()


# ---------------------------------------------------------------- others read it


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files of an oblique exam's results, with the exam and what they were made from."""
    folder = tmp_path_factory.mktemp("written")
    exam, _ = exam_in(folder / "exam", "oblique sagittal")
    from BreastCMSLLib.results.pdf import pdf_report

    contents = contents_of(exam)
    contents = contents_of(exam, pdf=pdf_report(contents.result, contents.pictures))
    files = study.write_objects(folder / "out", source_of(exam, exam.post[0]), contents, WRITTEN)
    return exam, contents, {file.name: file for file in files}


def tool(name: str) -> str:
    place = shutil.which(name)
    if place is None:
        package = (
            "dicom3tools (apt-get install dicom3tools)" if name == "dciodvfy" else "dcmqi (pip install dcmqi)"
        )
        pytest.skip(f"{name} is not installed; it is part of {package}")
    return place


def test_dciodvfy_has_no_errors(written):
    for file in written[2].values():
        done = subprocess.run([tool("dciodvfy"), "-new", str(file)], capture_output=True, text=True)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert done.returncode == 0 and not errors, (file.name, errors)


def test_dcmqi_reads_segments_map_and_measurements(written, tmp_path):
    import json

    import SimpleITK as sitk

    from BreastCMSLLib.core.itk import to_sitk

    _, contents, files = written
    to_image = ["--outputDirectory", str(tmp_path), "-t", "nrrd"]
    for name, program, output, truth in (
        ("findings.seg.dcm", "segimage2itkimage", "1.nrrd", contents.outlines),
        ("breasts.seg.dcm", "segimage2itkimage", "1.nrrd", contents.breasts),
        ("map01.pm.dcm", "paramap2itkimage", "pmap.nrrd", contents.maps[0].volume),
    ):
        done = subprocess.run(
            [tool(program), "--inputDICOM", str(files[name]), *to_image], capture_output=True
        )
        assert done.returncode == 0, name
        reference = to_sitk(truth)
        image = sitk.Resample(
            sitk.ReadImage(str(tmp_path / output)), reference, sitk.Transform(), sitk.sitkNearestNeighbor
        )
        assert np.allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(reference)), name
    sheet = tmp_path / "sr.json"
    command = [
        tool("tid1500reader"),
        "--inputDICOM",
        str(files["report.sr.dcm"]),
        "--outputMetadata",
        str(sheet),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0
    groups = json.loads(sheet.read_text())["Measurements"]
    assert [group["TrackingIdentifier"] for group in groups][3:5] == ["Candidate 1", "Candidate 1"]


def test_segments_come_into_the_scene_where_the_outline_is(written, scene, tmp_path):
    """Read by highdicom, as Slicer's own DICOM modules read by dcmqi, into a volume node."""
    from BreastCMSLLib.scene.reading import volume_from_node
    from BreastCMSLLib.scene.volumes import add_volume

    exam, _, files = written
    back = highdicom.seg.segread(files["findings.seg.dcm"]).get_volume(combine_segments=True)
    ras = LPS_FROM_RAS @ back.affine
    node = add_volume(scene, Volume(np.asarray(back.array, np.uint8), ras), "Findings")
    held = volume_from_node(node)
    place = apply_affine(held.affine, np.argwhere(held.array > 0)).mean(axis=0)
    assert np.linalg.norm(place - apply_affine(exam.grid.affine, np.array(LESION))) < 0.01
