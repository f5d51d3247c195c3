"""Public collections: small folders in their published layouts become manifests whose exams load."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import SHAPE, affine, dynamics, edit, phase, t1, write_study
from refusals import refuse

from BreastCMSLLib.core.errors import DependencyError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.itk import to_sitk
from training import collect
from training.data.exams import load_exam, truth
from training.data.manifest import read_manifest, write_manifest
from training.datasets import COLLECTIONS, breast_diagnosis, find
from training.datasets.common import label_of, read_table

GRID = affine((0, 0, 0), spacing=(1.5, 1.25, 2.0), origin=(-20.0, 15.0, 40.0), flips=(True, True, False))
UNSET = np.diag([-1.0, -1.0, 1.0, 1.0])  # what a NIfTI file without geometry reads as


def nifti(path: Path, level: int | np.ndarray, grid: np.ndarray = GRID, shape=SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = level if isinstance(level, np.ndarray) else phase("", level, shape=shape).volume.array
    sitk.WriteImage(to_sitk(Volume(array, grid)), str(path))
    return path


def series(
    study: Path,
    name: str,
    phases,
    *,
    number: int = 1,
    seed: int = 0,
    merged: bool = False,
    reverse: bool = True,
    **values,
) -> Path:
    """One TCIA series folder, files ``1-001.dcm``… against z (or along it); several phases in a row."""
    scratch = study / f".{name}"
    folder = study / f"{number}.000000-{name}-{10000 + number}"
    folder.mkdir(parents=True)
    count = 0
    for files in write_study(scratch, phases, seed=1000 * seed + number):
        common = {
            "SeriesDescription": name,
            "SeriesNumber": number,
            "StudyInstanceUID": f"1.2.{seed}",
            **values,
        }
        if merged:  # nothing but the order of the images tells the phases apart
            common |= {
                "SeriesInstanceUID": f"1.2.{seed}.{number}",
                "AcquisitionNumber": 1,
                "AcquisitionTime": "090500",
                "SeriesTime": "090500",
            }
            common |= {"ContentTime": None}
        edit(files, lambda data, k, start=count: setattr(data, "InstanceNumber", start + k + 1), **common)
        for file in files[::-1] if reverse else files:
            count += 1
            os.rename(file, folder / f"1-{count:03d}.dcm")
        files[0].parent.rmdir()
    scratch.rmdir()
    return folder


def study(patient: Path, seed: int, *, date: str = "01-05-2001", **options) -> Path:
    """A Duke-like study: pre-contrast and two passes, each a series of its own, with the scanner's clock."""
    folder = patient / f"{date}-NA-MRI BREAST-{20000 + seed}"
    for number, entry in enumerate(dynamics(3, grid=GRID), 2):
        clock = {
            "AcquisitionTime": f"09{number:02d}00",
            "ContentTime": None,
            "SeriesTime": f"09{number:02d}00",
        }
        series(folder, entry.name, [entry], number=number, seed=seed, **clock, **options)
    return folder


def table(path: Path, *rows, sheet: str = "Sheet1") -> Path:
    if path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        return path
    openpyxl = pytest.importorskip("openpyxl", reason="xlsx tables need openpyxl (extra train)")
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return path


def collected(name: str, folder: Path, tmp_path_factory, **options):
    """Rows by exam as the manifest gives them back, and the reasons of those left out."""
    path = tmp_path_factory.mktemp("out") / "manifest.csv"
    collection = find(name, folder, **options)
    write_manifest(path, collection.rows)
    return {row.exam: row for row in read_manifest(path)}, dict(collection.left_out), collection


# ---------------------------------------------------------------- ODELIA


def odelia(folder: Path, side: str = "") -> Path:
    """Two institutions with labels and one without, as in the challenge; the same three women in each."""
    for institution in ("CAM", "UKA", "RSH"):
        home = folder / "data" / institution
        names = [f"{n}{s}" for n in ("A", "B", "C") for s in (("_left", "_right") if side else ("",))]
        for name in names:
            for n, file in enumerate(("Pre", "Post_1", "Post_2", "Post_10", "Sub_1", "T2"), 1):
                nifti(home / f"data{side}" / name / f"{file}.nii.gz", n)
        (home / f"metadata{side}").mkdir()
        splits = [
            (name, fold, ("train", "val", "test")[("ABC".index(name[0]) + fold) % 3])
            for fold in (0, 1)
            for name in names
        ]
        table(home / f"metadata{side}" / "split.csv", ("UID", "Fold", "Split"), *splits)
        if institution != "RSH":
            if side:
                codes = {"A_left": 2, "A_right": 0, "B_left": 1, "B_right": 0, "C_left": 0, "C_right": 1}
                rows = [
                    ("UID", "PatientID", "Age", "Lesion"),
                    *((uid, uid[0], 50, codes[uid]) for uid in names),
                ]
            else:
                rows = [
                    ("UID", "PatientID", "Age", "Lesion_Left", "Lesion_Right"),
                    ("A", "A", 50, 0, 2),
                    ("B", "B", 50, 1, 0),
                    ("C", "C", 50, 0, 0),
                ]
            table(home / f"metadata{side}" / "annotation.csv", *rows)
    return folder


def test_odelia_both_breasts(tmp_path, tmp_path_factory):
    rows, left, _ = collected("odelia", odelia(tmp_path), tmp_path_factory)
    assert {exam: (row.label, row.split) for exam, row in rows.items()} == {
        "CAM_A": (1, "train"),
        "CAM_B": (0, "validate"),
        "UKA_A": (1, "train"),
        "UKA_B": (0, "validate"),
    }
    assert "no lesion" in left["CAM_C"] and "no annotation.csv" in left["RSH_A"] and len(left) == 5
    exam = load_exam(rows["CAM_A"])
    names = [p.name for p in (exam.pre, *exam.post)]
    assert names == ["Pre", "Post_1", "Post_2", "Post_10"]
    assert np.array_equal(exam.post[2].volume.array, phase("", 4).volume.array)
    with_negatives, _, _ = collected("odelia", tmp_path, tmp_path_factory, negatives=True)
    assert with_negatives["CAM_C"].label == 0 and with_negatives["CAM_C"].split == "test"


def test_odelia_one_breast(tmp_path, tmp_path_factory):
    rows, left, _ = collected("odelia", odelia(tmp_path, "_unilateral"), tmp_path_factory)
    labels = {exam: row.label for exam, row in rows.items() if exam.startswith("CAM")}
    assert labels == {"CAM_A_left": 1, "CAM_B_left": 0, "CAM_C_right": 0}
    assert (
        rows["CAM_A_left"].patient == "CAM_A"
        and rows["CAM_C_right"].split == "test"
        and "no lesion" in left["CAM_A_right"]
    )


def test_odelia_incomplete_exams(tmp_path, tmp_path_factory):
    home = odelia(tmp_path) / "data" / "CAM"
    for n in (1, 2):
        (home / "data" / "A" / f"Post_{n}.nii.gz").unlink()
    (home / "data" / "A" / "Post_10.nii.gz").unlink()
    nifti(home / "data" / "B" / "Post_2.nii.gz", 3, shape=(9, 9, 9))
    (tmp_path / "data" / "UKA" / "data" / "B" / "Post_1.nii.gz").write_bytes(b"damaged")
    rows, left, _ = collected("odelia", tmp_path, tmp_path_factory)
    assert set(rows) == {"UKA_A"}
    assert (
        "neither Pre with Post_1" in left["CAM_A"]
        and "another size" in left["CAM_B"]
        and "cannot be read" in left["UKA_B"]
    )
    for n in (1, 2, 3):
        nifti(home / "data" / "A" / f"Sub_{n}.nii.gz", n + 1)
    rows, _, _ = collected("odelia", tmp_path, tmp_path_factory)
    assert (
        rows["CAM_A"].kind == "subtractions"
        and rows["CAM_A"].pre is None
        and len(load_exam(rows["CAM_A"]).post) == 3
    )


# ---------------------------------------------------------------- MAMA-MIA


def test_mama_mia(tmp_path, tmp_path_factory):
    patients = ["DUKE_001", "DUKE_002", "ISPY1_1001", "ISPY2_100899", "NACT_12", "NACT_13"]
    for name in patients:
        for n in range(4):
            nifti(tmp_path / "images" / name / f"{name.lower()}_{n:04d}.nii.gz", n + 1)
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[4:8, 3:6, 2:5] = 1
    for name in patients[:5]:
        nifti(tmp_path / "segmentations" / "expert" / f"{name.lower()}.nii.gz", lesion)
    (tmp_path / "images" / "ISPY1_1001" / "ispy1_1001_0000.nii.gz").unlink()
    rows = [
        ("train_split", "test_split"),
        ("DUKE_001", "NACT_12"),
        ("ISPY2_100899", "NACT_13"),
        ("ISPY1_1001", ""),
    ]
    table(tmp_path / "train_test_splits.csv", *rows)
    rows, left, found = collected("mama_mia", tmp_path, tmp_path_factory)
    assert {row.label for row in rows.values()} == {1} and set(rows) == {
        "DUKE_001",
        "ISPY2_100899",
        "NACT_12",
        "NACT_13",
    }
    assert rows["NACT_12"].split == rows["NACT_13"].split == "test"
    assert {rows["DUKE_001"].split, rows["ISPY2_100899"].split} <= {"train", "validate"}
    assert "0000 is missing" in left["ISPY1_1001"] and "published split does not list" in left["DUKE_002"]
    assert any("no expert segmentation" in note for note in found.notes) and not rows["NACT_13"].lesions
    exam = load_exam(rows["DUKE_001"])
    (only,), mask = truth(rows["DUKE_001"], exam)
    assert len(exam.post) == 3 and only["malignant"] and np.array_equal(mask == 2, lesion == 1)
    assert np.allclose(only["ras_mm"], apply_affine(GRID, np.array([5.5, 4, 3])), atol=1e-3)


def test_a_validation_set_is_taken_from_published_training_patients(tmp_path, tmp_path_factory):
    names = [f"DUKE_{n:03d}" for n in range(1, 25)]
    for name in names:
        for n in range(2):
            nifti(tmp_path / "images" / name / f"{name.lower()}_{n:04d}.nii", n + 1, shape=(4, 4, 4))
    table(
        tmp_path / "train_test_splits.csv",
        ("train_split", "test_split"),
        *zip(names[:16], [*names[16:], *[""] * 8], strict=True),
    )
    rows, _, _ = collected("mama_mia", tmp_path, tmp_path_factory)
    assert {row.exam for row in rows.values() if row.split == "test"} == set(names[16:])
    assert (
        sum(row.split == "validate" for row in rows.values()) == 2
        and sum(row.split == "train" for row in rows.values()) == 14
    )
    again, _, _ = collected("mama_mia", tmp_path, tmp_path_factory, seed=0)
    other, _, _ = collected("mama_mia", tmp_path, tmp_path_factory, seed=5)
    assert (
        {k: r.split for k, r in again.items()}
        == {k: r.split for k, r in rows.items()}
        != {k: r.split for k, r in other.items()}
    )


# ---------------------------------------------------------------- I-SPY


def test_ispy1_tumour_segmentations(tmp_path, tmp_path_factory):
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[5:9, 2:6, 3:7] = 1
    for name in ("ISPY1_1001", "ISPY1_1002"):
        for n in range(3):
            nifti(tmp_path / "images_zscored" / name / f"{name}_DCE_{n:04d}_N3_zscored.nii.gz", n + 1)
    for n in range(3):
        nifti(tmp_path / "images" / "ISPY1_1002" / f"ISPY1_1002_DCE_{n:04d}_N3.nii.gz", n + 4)
    nifti(tmp_path / "masks_stv_manual" / "ISPY1_1001.nii.gz", lesion)
    rows, left, found = collected("ispy", tmp_path, tmp_path_factory)
    assert (
        not left
        and {row.label for row in rows.values()} == {1}
        and rows["ISPY1_1002"].pre.endswith("_N3.nii.gz")
    )
    assert any("1 exam: each phase was scaled by itself" in note for note in found.notes)
    exam = load_exam(rows["ISPY1_1001"])
    assert [p.name for p in (exam.pre, *exam.post)] == [f"ISPY1_1001_DCE_000{n}_N3_zscored" for n in range(3)]
    assert rows["ISPY1_1001"].lesions[0].mask_grid == "file" and np.array_equal(
        truth(rows["ISPY1_1001"], exam)[1] == 2, lesion == 1
    )


def test_breastdcedl(tmp_path, tmp_path_factory):
    """Masks whose headers tell no place; the table says which phase is before contrast."""
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[5:9, 2:6, 3:7] = 1
    for n in range(3):
        nifti(tmp_path / "spy1" / "spt1_dce" / f"ISPY1_1003_spy1_vis1_acq{n}.nii.gz", n + 1)
    for pid in ("ISPY2-100899", "ACRIN-6698-102212", "ISPY2-100900", "ISPY2-100901"):
        for n in range(4):
            nifti(
                tmp_path / "spy2" / "dce" / pid / f"{pid}_spy2_vis1_dce_aqc_{n}.nii.gz",
                n + 1,
                UNSET if pid == "ISPY2-100900" else GRID,
            )
    nifti(tmp_path / "spy1" / "spy1_mask" / "ISPY1_1003_spy1_vis1_mask.nii.gz", lesion, UNSET)
    nifti(tmp_path / "spy2" / "mask" / "ISPY2-100899_spy2_vis1_mask.nii.gz", lesion, UNSET)
    nifti(tmp_path / "spy2" / "mask" / "ACRIN-6698-102212_spy2_vis1_mask.nii.gz", lesion[:, :, 1:], UNSET)
    table(
        tmp_path / "BreastDCEDL_metadata.csv",
        ("pid", "pCR", "pre", "post_early"),
        ("ISPY2-100899", 1, 1, 2),
        ("ISPY2-100901", 0, 7, 8),
    )
    rows, left, found = collected("ispy", tmp_path, tmp_path_factory)
    assert set(rows) == {"ISPY1_1003", "ISPY2-100899", "ACRIN-6698-102212"} and {
        row.label for row in rows.values()
    } == {1}
    assert (
        "tells neither voxel size nor place" in left["ISPY2-100900"]
        and "pre-contrast phase 7 is missing" in left["ISPY2-100901"]
    )
    assert any(note.startswith("2 exams: the mask's header tells no place") for note in found.notes)
    assert (
        any("ACRIN-6698-102212" in note and "not used" in note for note in found.notes)
        and not rows["ACRIN-6698-102212"].lesions
    )
    assert rows["ISPY2-100899"].pre.endswith("aqc_1.nii.gz") and len(rows["ISPY2-100899"].post) == 2
    exam = load_exam(rows["ISPY1_1003"])
    (only,), mask = truth(rows["ISPY1_1003"], exam)
    assert np.array_equal(mask == 2, lesion == 1) and np.allclose(
        only["ras_mm"], apply_affine(GRID, np.array([6.5, 3.5, 4.5]))
    )


# ---------------------------------------------------------------- Duke


BOXES = ("Patient ID", "Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice")


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_duke(tmp_path, tmp_path_factory, suffix):
    for n in (1, 2, 3):
        study(tmp_path / "manifest-1" / "Duke-Breast-Cancer-MRI" / f"Breast_MRI_{n:03d}", n, reverse=n != 2)
    (
        tmp_path
        / "manifest-1"
        / "Duke-Breast-Cancer-MRI"
        / "Breast_MRI_004"
        / "01-05-2001-NA-x"
        / "2.0-ax dyn pre-1"
    ).mkdir(parents=True)
    rows = [
        ("Breast_MRI_001", 2, 5, 3, 9, 2, 4),
        ("Breast_MRI_002", 2, 5, 3, 9, 2, 4),
        ("Breast_MRI_003", 2, 5, 3, 99, 2, 4),
    ]
    table(tmp_path / f"Annotation_Boxes{suffix}", BOXES, *rows)
    rows, left, found = collected("duke", tmp_path, tmp_path_factory)
    assert set(rows) == {"Breast_MRI_001", "Breast_MRI_002", "Breast_MRI_003"} and {
        row.label for row in rows.values()
    } == {1}
    assert "no MR images" in left["Breast_MRI_004"] and not rows["Breast_MRI_003"].lesions
    assert any("Breast_MRI_003" in note and "does not fit" in note for note in found.notes)
    last = SHAPE[2] - 1
    for exam, slices in (
        ("Breast_MRI_001", (last - 3, last - 1)),
        ("Breast_MRI_002", (1, 3)),
    ):  # files against z, and along it
        loaded = load_exam(rows[exam])
        assert [p.name for p in (loaded.pre, *loaded.post)] == [
            "ax dyn pre",
            "ax dyn pass 1",
            "ax dyn pass 2",
        ]
        (only,), mask = truth(rows[exam], loaded)
        index = apply_affine(np.linalg.inv(loaded.grid.affine), np.array(only["ras_mm"]))
        assert mask is None and only["malignant"]
        assert np.allclose(index, (np.mean((2, 8)), np.mean((1, 4)), np.mean(slices)), atol=0.01), (
            index
        )  # columns 2–8, rows 1–4 from 0
        size = np.subtract(*only["box_ras_mm"][::-1])
        assert np.allclose(size, (7 * 1.5, 4 * 1.25, 3 * 2.0), atol=0.01)


def test_duke_case_153(duke_folder, tmp_path, tmp_path_factory):
    """The real exam: the box of the collection's table lies where the radiologists' box is known to lie."""
    from test_real_exams import DUKE_BOX

    patient = tmp_path / "Duke-Breast-Cancer-MRI" / "Breast_MRI_153"
    patient.mkdir(parents=True)
    (patient / "01-01-1990-NA-MRI BREAST BILATERAL-53553").symlink_to(duke_folder, target_is_directory=True)
    table(tmp_path / "Annotation_Boxes.csv", BOXES, ("Breast_MRI_153", 47, 82, 90, 124, 83, 100))
    rows, left, _ = collected("duke", tmp_path, tmp_path_factory)
    assert not left and rows["Breast_MRI_153"].label == 1
    exam = load_exam(rows["Breast_MRI_153"])
    (only,), _ = truth(rows["Breast_MRI_153"], exam)
    index = apply_affine(np.linalg.inv(exam.grid.affine), np.array(only["ras_mm"]))
    assert np.abs(index - (DUKE_BOX.sum(axis=1) - 1) / 2).max() < 0.5, index
    low, high = (apply_affine(np.linalg.inv(exam.grid.affine), np.array(c)) for c in only["box_ras_mm"])
    ends = np.sort([low, high], axis=0)
    assert (
        np.abs(ends - (DUKE_BOX.T - 0.5)).max() < 0.01 and only["ras_mm"][0] > 0
    )  # the patient's right, in RAS mm towards… right
    signal = exam.subtraction(0).array
    inside = tuple(slice(int(a), int(b)) for a, b in DUKE_BOX)
    assert np.percentile(signal[inside], 90) > 5 * np.median(
        signal[signal > 0]
    )  # the lesion does enhance there


# ---------------------------------------------------------------- Advanced-MRI-Breast-Lesions


def ambl_patient(
    folder: Path,
    number: int,
    *,
    repeated: bool = False,
    mask: bool = True,
    registered: bool = False,
    plain: bool = True,
) -> None:
    home = folder / f"AMBL-{number:03d}" / "03-05-2004-NA-MRI BREASTS - Delayed contrast-93547"
    phases = dynamics(5, grid=GRID)
    if mask:
        series(home, "AX Sen Vibrant MASK", [phases[0]], number=4, seed=number)
    if plain:
        series(
            home,
            "AX Sen Vibrant MultiPhase",
            phases if repeated else phases[1:],
            number=5,
            seed=number,
            merged=True,
        )
    if registered:
        series(home, "Registered AX Sen Vibrant MultiPhase", phases, number=500, seed=number, merged=True)
    series(home, "AX T2 FSE", [t1()], number=9, seed=number)


def test_ambl(tmp_path, tmp_path_factory):
    folder = tmp_path / "Advanced-MRI-Breast-Lesions"
    ambl_patient(folder, 1, registered=True)
    ambl_patient(folder, 2, repeated=True)
    ambl_patient(folder, 3, mask=False, repeated=True)
    ambl_patient(folder, 4, mask=False, plain=False)
    ambl_patient(folder, 5)
    ambl_patient(folder, 6)
    ambl_patient(folder, 7, plain=False, registered=True)
    head = ("Patient ID", "BIRADS", "laterality lesion1", *(f"tumor/benign{n}" for n in range(1, 7)))
    codes = {1: (1, 0), 2: (0, 0), 3: (0, -1), 4: (1, -1), 5: (-1, -1), 7: (-1, 1)}
    lines = [(f"AMBL-{n:03d}", 4, "", *two, -1, -1, -1, -1) for n, two in codes.items()]
    table(
        tmp_path / "Advanced-MRI-Breast-Lesions-DA-Clinical-Sep2024.xlsx",
        ("General", "", ""),
        head,
        *lines,
        sheet="MRI BREASTS with Delay",
    )
    rows, left, found = collected("ambl", tmp_path, tmp_path_factory)
    assert {exam: row.label for exam, row in rows.items()} == {
        "AMBL-001": 1,
        "AMBL-002": 0,
        "AMBL-003": 0,
        "AMBL-007": 1,
    }
    assert (
        "no MultiPhase" in left["AMBL-004"]
        and "label is missing" in left["AMBL-005"]
        and "does not list" in left["AMBL-006"]
    )
    assert any("registered" in note for note in found.notes) and "Registered" in rows["AMBL-007"].post[0]
    for exam, row in rows.items():  # however the series are stored: the same five phases in the same order
        loaded = load_exam(row)
        for got, wanted in zip((loaded.pre, *loaded.post), dynamics(5, grid=GRID), strict=True):
            assert np.array_equal(got.volume.array, wanted.volume.array), exam
    assert rows["AMBL-001"].pre.endswith("AX Sen Vibrant MASK-10004")


# ---------------------------------------------------------------- fastMRI breast


def fastmri_patient(folder: Path, name: str, seed: int) -> None:
    """Four time frames: a file for each slice and frame, one series, the clock of each frame in its files."""
    home = folder / name
    home.mkdir(parents=True)
    for frame, files in enumerate(write_study(folder / f".{name}", dynamics(4, grid=GRID), seed=seed)):
        edit(
            files,
            SeriesInstanceUID=f"1.2.{seed}.1",
            SeriesNumber=1,
            AcquisitionNumber=1,
            SeriesDescription="GRASP",
        )
        for k, file in enumerate(files):
            os.rename(file, home / f"slice_{k:03d}_frame_{frame:03d}.dcm")


def test_fastmri(tmp_path, tmp_path_factory):
    for n, name in enumerate(("001_2", "002_2", "003_2", "004_2", "005_2", "006_2"), 1):
        fastmri_patient(tmp_path / "dicom", f"fastMRI_breast_{name}", n)
    head = (
        "Patient Coded Name",
        "Repeated scans (0 = not repeat, 1:16 = repeated)",
        "Data split (0=training, 1=testing)",
        "Age",
        "Lesion status (0 = negative, 1= malignancy, 2= benign)",
    )
    codes = [(1, 0, 0, 1), (2, 0, 1, 2), (3, 0, 0, 0), (4, 7, 0, 2), (5, 7, 1, 1)]
    lines = [(f"fastMRI_breast_{n:03d}", repeat, split, 50, lesion) for n, repeat, split, lesion in codes]
    table(tmp_path / "breast_fastMRI_final.xlsx", head, *lines)
    rows, left, _ = collected("fastmri", tmp_path, tmp_path_factory)
    assert {exam[-3:]: (row.label, row.split) for exam, row in rows.items() if exam[-3:] != "001"} == {
        "002": (0, "test"),
        "005": (1, "test"),
    }
    assert rows["fastMRI_breast_001"].label == 1 and rows["fastMRI_breast_001"].split in ("train", "validate")
    assert "no lesion" in left["fastMRI_breast_003"] and "does not list" in left["fastMRI_breast_006"]
    assert (
        "another exam of the patient" in left["fastMRI_breast_004"]
    )  # the same woman as 005, who is in the published test set
    assert rows["fastMRI_breast_005"].patient == "fastMRI_breast_repeated_7"
    exam = load_exam(rows["fastMRI_breast_001"])
    assert exam.times_s.tolist() == [90, 180, 270]
    for got, wanted in zip((exam.pre, *exam.post), dynamics(4, grid=GRID), strict=True):
        assert np.array_equal(got.volume.array, wanted.volume.array)
    with_negatives, _, _ = collected("fastmri", tmp_path, tmp_path_factory, negatives=True)
    assert with_negatives["fastMRI_breast_003"].label == 0


# ---------------------------------------------------------------- BREAST-DIAGNOSIS


DIAGNOSES = {
    "Invasive ductal ca": 1,
    "infiltrat lobular": 1,
    "Ductal carcinoma in-situ": 1,
    "DCIS and LCIS": 1,
    "IDC left breast, benign fibroadenoma right": 1,
    "Benign fibrosis": 0,
    "Stromal hyperplasia no ca": 0,
    "Fibroadenoma, no evidence of malignancy, no atypia": 0,
    "benign; history of breast cancer": 0,
    "fibrocystic change": 0,
    "LCIS": None,
    "Atypical ductal hyperplasia": None,
    "suspicious for carcinoma": None,
    "benign vs low grade DCIS": None,
    "see report": None,
    "no ca": None,
    "High risk normal": None,
    "": None,
}


@pytest.mark.parametrize("text", DIAGNOSES)
def test_diagnoses_in_free_text(text):
    label, why = breast_diagnosis.read_diagnosis(text)
    assert label == DIAGNOSES[text] and bool(why) is (label is None)


def test_breast_diagnosis(tmp_path, tmp_path_factory):
    folder = tmp_path / "BREAST-DIAGNOSIS"
    for n in (1, 2, 3, 4, 6):
        study(folder / f"BreastDx-01-{n:04d}", n, date="03-01-2008")
    study(folder / "BreastDx-01-0001", 11, date="01-02-2009")
    mammograms = series(
        folder / "BreastDx-01-0005" / "03-01-2008-NA-MAMMO-1", "L CC", [phase("a", 1)], seed=5, Modality="MG"
    )
    edit(mammograms.iterdir(), SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2")
    lines = [
        ("BreastDx-01-0001", "F", "Invasive ductal ca"),
        ("BreastDx-01-0002", "F", "Benign"),
        ("BreastDx-01-0006", "F", "Benign"),
        ("BreastDx-01-0006", "F", "DCIS"),
        ("BreastDx-01-0003", "F", "Atypia"),
        ("BreastDx-01-0005", "F", "Benign"),
    ]
    table(
        tmp_path / "TCIA-Breast-clinical-data-public-7_16_11.xlsx",
        ("Breast Dx Case", "Sex", "Pathology"),
        *lines,
    )
    rows, left, _ = collected("breast_diagnosis", tmp_path, tmp_path_factory)
    assert {exam: row.label for exam, row in rows.items()} == {
        "BreastDx-01-0001": 1,
        "BreastDx-01-0002": 0,
        "BreastDx-01-0006": 1,
    }
    assert (
        "03-01-2008" in rows["BreastDx-01-0001"].post[0]
        and len(load_exam(rows["BreastDx-01-0001"]).post) == 2
    )
    assert (
        '"Atypia"' in left["BreastDx-01-0003"]
        and "does not list" in left["BreastDx-01-0004"]
        and "no MR images" in left["BreastDx-01-0005"]
    )
    assert any("01-02-2009" in exam and "earlier study" in why for exam, why in left.items())


# ---------------------------------------------------------------- the command, and what goes wrong


def test_command(tmp_path, capsys):
    out = tmp_path / "out" / "manifest.csv"
    assert collect.main(["ODELIA", str(odelia(tmp_path / "in")), "--output", str(out), "--negatives"]) == 0
    printed = capsys.readouterr()
    assert "6 exams of 6 patients (2 malignant, 4 benign; train 2, validate 2, test 2)" in printed.out
    assert (
        "left out: RSH_A: RSH has no annotation.csv." in printed.err
        and "left out: 3 exams in all." in printed.err
    )
    assert len(read_manifest(out)) == 6
    before = out.read_bytes()
    assert collect.main(["duke", str(tmp_path / "in"), "--output", str(out)]) == 2
    message = capsys.readouterr().err
    assert "no usable exam" in message and message.count("\n") == 1
    assert out.read_bytes() == before and [p.name for p in out.parent.iterdir()] == ["manifest.csv"]


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_wrong_folder_is_refused(tmp_path, name):
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "notes.txt").write_text("nothing")
    refuse(lambda: find(name, tmp_path), str(tmp_path))
    refuse(lambda: find(name, tmp_path / "absent"), "is not a folder")


def test_an_unknown_collection_is_refused(tmp_path):
    refuse(lambda: find("tcga", tmp_path), "tcga is no known collection", "odelia")


def test_wrong_tables(tmp_path):
    fastmri_patient(tmp_path, "fastMRI_breast_001", 1)
    refuse(lambda: find("fastmri", tmp_path), "give it with --labels")
    refuse(lambda: find("fastmri", tmp_path, tmp_path / "absent.xlsx"), "absent.xlsx does not exist")
    wrong = table(tmp_path / "wrong.csv", ("Patient Coded Name", "Age"), ("fastMRI_breast_001", 40))
    refuse(lambda: find("fastmri", tmp_path, wrong), 'wrong.csv has no column "lesion status"')
    other = table(tmp_path / "other.csv", ("a", "b"), (1, 2))
    refuse(lambda: find("fastmri", tmp_path, other), 'other.csv has no column "patient coded name"')
    (tmp_path / "damaged.xlsx").write_bytes(b"PK damaged")
    pytest.importorskip("openpyxl", reason="xlsx tables need openpyxl (extra train)")
    refuse(lambda: find("fastmri", tmp_path, tmp_path / "damaged.xlsx"), "damaged.xlsx cannot be read")
    sheet = table(tmp_path / "sheet.xlsx", ("Patient ID", "tumor/benign1"), ("AMBL-001", 1))
    refuse(lambda: read_table(sheet, "patient id", sheet="MRI BREASTS with Delay"), "no sheet")


def test_without_openpyxl_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DependencyError, match="a.xlsx needs openpyxl.*pip install openpyxl"):
        read_table(tmp_path / "a.xlsx", "patient")


def test_codes_of_several_lesions():
    labels = {"0": None, "1": 0, "2": 1}
    assert label_of(["0", "2"], labels, False) == (1, "") and label_of(["1", "0"], labels, False) == (0, "")
    assert label_of(["0", "0"], labels, True) == (0, "") and label_of(["0", "0"], labels, False)[0] is None
    for codes in (["3"], ["1", "7"], [""]):  # a side that is not known may hold the cancer
        assert label_of(codes, labels, True)[0] is None
    assert label_of(["2", "7"], labels, False) == (1, "")


def test_a_malignant_code_of_one_collection_is_not_that_of_another():
    """The README of the collections: 1 is benign in ODELIA, malignant in fastMRI and AMBL."""
    from training.datasets import ambl, fastmri, odelia

    assert [m.LABELS["1"] for m in (odelia, fastmri, ambl)] == [0, 1, 1]
    assert (odelia.LABELS["2"], fastmri.LABELS["2"], ambl.LABELS["0"]) == (1, 0, 0)
