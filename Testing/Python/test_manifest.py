"""Manifests: every wrong line is named and stops everything; what is read is what the line describes."""

from __future__ import annotations

import os
import types
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import SHAPE, affine, dynamics, edit, phase, t1, write_study
from refusals import refuse

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.itk import to_sitk
from training.data import cache, exams
from training.data.exams import load_exam, truth
from training.data.manifest import (
    COLUMNS,
    Lesion,
    Row,
    box_lesion,
    read_cohort,
    read_manifest,
    split_by_patient,
    validate,
    write_manifest,
)
from training.data.preparation import fingerprint

GRID = affine((12, -8, 25), flips=(True, False, False))


def save(path: Path, array: np.ndarray, grid: np.ndarray = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_sitk(Volume(np.asarray(array), grid)), str(path))
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two exams of three phases each, in files that do not sort by time."""
    for exam in ("one", "two"):
        for name, entry in zip(("z_before", "m_early", "a_late"), dynamics(3, grid=GRID), strict=True):
            save(tmp_path / exam / f"{name}.nii.gz", entry.volume.array + (exam == "two"))
    return tmp_path


HEADER = "patient,exam,label,split,pre,post"
ONE = "p1,e1,malignant,train,one/z_before.nii.gz,one/m_early.nii.gz|one/a_late.nii.gz"
TWO = "p2,e2,benign,test,two/z_before.nii.gz,two/m_early.nii.gz|two/a_late.nii.gz"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


# ---------------------------------------------------------------- reading and writing


def test_a_hand_written_manifest(folder):
    path = write(folder, ONE, "", TWO)
    rows = read_manifest(path)
    assert [(r.patient, r.exam, r.label, r.split) for r in rows] == [
        ("p1", "e1", 1, "train"),
        ("p2", "e2", 0, "test"),
    ]
    assert "line 2" in rows[0].where and "line 4" in rows[1].where
    exam = load_exam(rows[0])
    for got, wanted in zip(
        (exam.pre, *exam.post), dynamics(3, grid=GRID), strict=True
    ):  # the order of the line, not of the names
        assert np.array_equal(got.volume.array, wanted.volume.array) and np.allclose(
            got.volume.affine, GRID, atol=1e-4
        )
    assert truth(rows[0], exam) == ((), None)


def test_the_example_of_the_docs(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    path = tmp_path / "manifest.csv"
    path.write_text(text.partition("```csv\n")[2].partition("```")[0], encoding="utf-8")
    for name in (
        "P01/pre.nii.gz",
        *(f"P01/post{n}.nii.gz" for n in (1, 2, 3)),
        "P01/t1.nii.gz",
        "P02/lesions.nrrd",
        "P03/dynamics_4d.nrrd",
    ):
        save(tmp_path / name, np.zeros(SHAPE, np.uint8))
    for name in ("P01b/pre", "P01b/first", "P01b/second", "P02/dicom"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1-001.dcm").touch()
    rows = read_manifest(path)
    assert [(r.label, len(r.post), bool(r.pre), r.seed) for r in rows] == [
        (1, 3, True, None),
        (0, 2, True, None),
        (1, 1, False, None),
        (0, 1, False, None),
        (0, 0, False, 7),
    ]
    assert (
        rows[0].times_s == (0, 90, 180, 270)
        and rows[0].t1
        and rows[0].lesions[0].ras_mm == pytest.approx((93.4, 106.35, -41.2))
    )
    assert {(lesion.malignant, lesion.values) for lesion in rows[2].lesions} == {
        (False, (1,)),
        (True, (2,)),
    } and rows[4].voxel_mm == 4.4
    named = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
    assert set(COLUMNS) - {"seed", "voxel_mm"} <= named  # every column is explained


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_spreadsheets_write(folder, delimiter):
    path = folder / "manifest.csv"
    path.write_text("\ufeff" + f"{HEADER}\n{ONE}\n".replace(",", delimiter), encoding="utf-8")
    assert read_manifest(path)[0].exam == "e1"


def test_writing_and_reading_again_changes_nothing(folder, tmp_path_factory):
    save(folder / "masks" / "e2.nrrd", np.ones(SHAPE, np.uint8))
    rows = [
        replace(
            read_manifest(write(folder, ONE))[0],
            times_s=(0.0, 61.5, 125.25),
            t1="one/a_late.nii.gz",
            where="",
        ),
        Row(
            "p2",
            "e2",
            1,
            "validate",
            post=("two/m_early.nii.gz", "two/a_late.nii.gz"),
            kind="subtractions",
            lesions=(
                box_lesion(True, ((-10.5, 0.25, 3.0), (-1.0, 12.0, 9.0))),
                Lesion(True, mask="masks/e2.nrrd", values=(2, 4), mask_grid="exam"),
                Lesion(False, mask="masks/e2.nrrd", values=(1,), mask_grid="exam"),
            ),
            folder=folder,
        ),
        Row(
            "p3",
            "e3",
            1,
            post=("one",),
            lesions=(Lesion(True, box_voxels=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),),
            folder=folder,
        ),
        Row("sim-7", "sim-7", 0, "test", seed=7, voxel_mm=4.4),
    ]
    here, elsewhere = folder / "written.csv", tmp_path_factory.mktemp("elsewhere") / "new" / "written.csv"
    for path in (here, elsewhere):
        write_manifest(path, rows)
        for got, wanted in zip(read_manifest(path), rows, strict=True):
            assert got.files == tuple(wanted.files)
            plain = {"folder": Path(), "where": "", "pre": None, "post": (), "t1": None}
            lesions = tuple(replace(lesion, mask=None) for lesion in got.lesions)
            expected = tuple(replace(lesion, mask=None) for lesion in wanted.lesions)
            assert replace(got, **plain, lesions=lesions) == replace(wanted, **plain, lesions=expected)
    assert (
        "one/z_before.nii.gz" in here.read_text() and str(folder) not in here.read_text()
    )  # moves along with its files


# ---------------------------------------------------------------- wrong manifests


BAD_LINES = {
    "two splits": (
        (ONE, TWO.replace("p2,", "p1,")),
        ("line 3 (e2)", "patient p1", "train", "test", "line 2"),
    ),
    "missing file": (
        (ONE, TWO.replace("two/a_late", "two/c_late")),
        ("line 3 (e2)", "two/c_late.nii.gz does not exist"),
    ),
    "wrong label": ((ONE, TWO.replace("benign", "2")), ("line 3 (e2)", '"2"', "malignant or benign")),
    "wrong split": ((ONE.replace("train", "training"),), ("line 2 (e1)", '"training"')),
    "duplicate exam": ((ONE, TWO.replace("e2", "E1")), ("line 3 (E1)", "listed already", "line 2 (e1)")),
    "traversal": ((ONE, TWO.replace("two/z_", "one/../two/z_")), ("line 3 (e2)", '".."')),
    "other traversal": ((ONE.replace("one/z_", "..\\one/z_"),), ("line 2 (e1)", '".."')),
    "no patient": ((ONE.replace("p1,", ","),), ("line 2 (e1)", "patient is missing")),
    "no key": ((ONE.replace("e1", "e 1/x"),), ("line 2 (e 1/x)", "letters, digits")),
    "no images": (("p1,e1,benign,train,,",), ("line 2 (e1)", "names no images")),
    "no pre": (
        ("p1,e1,benign,train,,one/m_early.nii.gz|one/a_late.nii.gz",),
        ("line 2 (e1)", "column pre is empty"),
    ),
    "twice": ((ONE.replace("m_early", "z_before"),), ("line 2 (e1)", "named twice")),
    "comma": ((ONE + ",note",), ("line 2", "7 cells", "6 columns")),
    "quote": ((ONE, 'p2,"e2,benign'), ("line 3", "not valid CSV")),
    "line break": ((ONE.replace("malignant", '"mali\ngnant"'),), ("line 3 (e1)", '"mali gnant"')),
    "none": ((), ("lists no exams",)),
    "small letters": (
        (ONE, TWO.replace("p2,", "P1,")),
        ("line 3 (e2)", "patient P1 is spelled p1", "line 2 (e1)"),
    ),
    "accent of two parts": (
        (ONE.replace("p1,", "Ren\u00e9,"), TWO.replace("p2,", "Rene\u0301,")),
        ("line 3 (e2)", "is spelled Ren\u00e9 in", "line 2 (e1)"),
    ),
    "exam of two patients": (
        (ONE, ONE.replace("p1,e1", "p2,e2")),
        ("line 3 (e2)", "one/z_before.nii.gz belongs to", "line 2 (e1)", "one line an exam"),
    ),
    "exam with both labels": (
        (ONE, ONE.replace("e1,malignant", "e2,benign")),
        ("line 3 (e2)", "one/z_before.nii.gz belongs to", "line 2 (e1)"),
    ),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_named(folder, case):
    lines, parts = BAD_LINES[case]
    path = write(folder, *lines)
    refuse(lambda: read_manifest(path), "manifest.csv", *parts)


def test_a_link_to_images_of_another_exam_is_found(folder):
    os.symlink(folder / "one", folder / "linked", target_is_directory=True)
    path = write(folder, ONE, ONE.replace("p1,e1", "p2,e2").replace("one/", "linked/"))
    refuse(lambda: read_manifest(path), "line 3 (e2)", "linked/z_before.nii.gz belongs to", "line 2 (e1)")


def test_a_simulated_cohort_is_named_once():
    refuse(lambda: read_cohort("simulated:smoke+smoke"), "listed already")


BAD_CELLS = [
    ("kind", "subtraction", "phases or subtractions"),
    ("kind", "subtractions", "no pre-contrast phase"),
    ("times_s", "0|60|50", "do not increase"),
    ("times_s", "0|one|two", "times_s needs 1 number"),
    ("box_ras_mm", "1 2 3 4 5", "box_ras_mm needs 6 numbers"),
    ("box_voxels", "1;2;3;4;5;6", "box_voxels needs 6 numbers"),
    ("box_label", "malignant", "once for each box"),
    ("mask", "absent.nrrd", "absent.nrrd does not exist"),
    ("mask_label", "1=malignant", "without a mask"),
    ("seed", "7", "both a seed and files"),
    ("seed", "seven", "whole number"),
    ("voxel_mm", "0.01", "cannot be simulated"),
    ("t1", "../t1.nrrd", '".."'),
]


@pytest.mark.parametrize("column, cell, part", BAD_CELLS)
def test_bad_cells_are_named(folder, column, cell, part):
    path = write(folder, f"{ONE},{cell}", header=f"{HEADER},{column}")
    refuse(lambda: read_manifest(path), "manifest.csv, line 2 (e1)", part)


def test_a_malignant_lesion_in_a_benign_exam_is_refused(folder):
    path = write(folder, f"{TWO},0 0 0 9 9 9,malignant", header=f"{HEADER},box_ras_mm,box_label")
    refuse(lambda: read_manifest(path), "line 2 (e2)", "lesion is malignant", "labelled benign")


@pytest.mark.parametrize(
    "header, parts",
    [
        ("exam,label,split,pre,post", ("no column patient",)),
        ("patient,exam", ("no column label",)),
        ("patient,exam,label,split,pre,post_1", ("post_1", "write post")),
        ("patient,exam,label,split,pre,pre", ("pre twice",)),
    ],
)
def test_bad_headers(folder, header, parts):
    path = write(folder, ONE, header=header)
    refuse(lambda: read_manifest(path), "manifest.csv", *parts)


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04\xff\xfe\x00spreadsheet", b"patient,exam\0,label\n", "patient,Größe\n".encode("latin-1")],
)
def test_what_is_no_csv(folder, content):
    path = folder / "manifest.csv"
    path.write_bytes(content)
    refuse(lambda: read_manifest(path), "manifest.csv is not a CSV table")


def test_absent_and_unreadable_manifests(folder):
    refuse(lambda: read_manifest(folder / "absent.csv"), "absent.csv does not exist")
    refuse(lambda: read_manifest(folder), "cannot be read")


def test_nothing_is_written_when_anything_is_wrong(folder):
    good = read_manifest(write(folder, ONE, TWO))
    target = folder / "out" / "written.csv"
    for bad in (
        replace(good[1], patient="p1"),
        replace(good[1], exam="e1"),
        replace(good[1], post=("absent.nrrd",)),
        replace(good[1], post=("../x.nrrd",)),
        replace(good[1], label=2),
        replace(good[1], split="dev"),
    ):
        refuse(lambda bad=bad: write_manifest(target, [good[0], bad]), "line 3")
    refuse(lambda: write_manifest(target, [good[0], good[0]]), "line 2", "listed already")
    assert not target.parent.exists()
    write_manifest(target, good)
    before = target.read_bytes()
    refuse(lambda: write_manifest(target, [good[0], replace(good[1], exam="e1")]))
    assert target.read_bytes() == before and [p.name for p in target.parent.iterdir()] == ["written.csv"]
    refuse(lambda: write_manifest(target / "below.csv", good), "could not be written")


def test_a_corrupt_volume_is_named_with_its_row(folder):
    whole = (folder / "two" / "m_early.nii.gz").read_bytes()
    path = write(folder, ONE, TWO)
    for content, what in (
        (whole[: len(whole) // 2], "m_early.nii.gz"),
        (b"no volume", "m_early.nii.gz"),
        (b"", "empty"),
    ):
        (folder / "two" / "m_early.nii.gz").write_bytes(content)
        rows = read_manifest(path)
        load_exam(rows[0])
        refuse(lambda rows=rows: load_exam(rows[1]), "manifest.csv, line 3 (e2)", what)
    save(folder / "two" / "m_early.nii.gz", np.arange(729, dtype=np.uint16).reshape(9, 9, 9))
    refuse(lambda: load_exam(rows[1]), "line 3 (e2)", "9×9×9")


# ---------------------------------------------------------------- splits


def cohort(seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    patients = [(f"p{n}", int(rng.random() < 0.6)) for n in range(150)]
    exams = [patients[n] for n in range(150)] + [patients[int(rng.integers(150))] for _ in range(60)]
    return [Row(patient, f"e{n}", label, seed=n) for n, (patient, label) in enumerate(exams)]


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_patients_whole_and_labels_balanced(seed):
    rows = cohort(seed)
    made = split_by_patient(rows, seed=seed)
    validate(made)
    of = {row.patient: row.split for row in made}
    label = {row.patient: row.label for row in made}
    for value in (0, 1):
        patients = [of[p] for p in of if label[p] == value]
        for split, share in (("train", 0.7), ("validate", 0.1), ("test", 0.2)):
            assert abs(patients.count(split) - share * len(patients)) <= 1
    assert [replace(row, split="") for row in made] == rows
    again = split_by_patient(rows[::-1], seed=seed)
    assert {row.exam: row.split for row in again} == {row.exam: row.split for row in made}
    assert {row.exam: row.split for row in split_by_patient(rows, seed=seed + 1)} != {
        row.exam: row.split for row in made
    }


def test_split_shares(folder):
    rows = cohort(0)
    assert {row.split for row in split_by_patient(rows, (1, 0, 0))} == {"train"}
    assert {row.split for row in split_by_patient(rows, (7, 1, 0))} == {"train", "validate"}
    refuse(lambda: split_by_patient(rows, (0.5, 0.5)), "three shares")


# ---------------------------------------------------------------- DICOM folders


def dicom_row(folder: Path, **values) -> Row:
    return Row("p", "e", 1, folder=folder, where="m.csv, line 2 (e)", **values)


def test_whole_exam_in_one_dicom_folder(tmp_path):
    write_study(tmp_path / "exam", dynamics(4), t1=t1(), scrambled_names=True)
    exam = load_exam(dicom_row(tmp_path, post=("exam",)))
    assert (
        exam.pre.name == "ax dyn pre"
        and exam.times_s.tolist() == [90, 180, 270]
        and exam.t1.name == "ax t1 non fat sat"
    )
    timed = load_exam(dicom_row(tmp_path, post=("exam",), times_s=(0.0, 60.0, 120.0, 180.0)))
    assert timed.times_s.tolist() == [60, 120, 180]


def test_dicom_folder_of_each_phase(tmp_path):
    series = write_study(tmp_path, dynamics(3), t1=t1())
    names = [files[0].parent.name for files in series]
    exam = load_exam(dicom_row(tmp_path, pre=names[1], post=(names[3], names[2]), t1=names[0]))
    assert [p.name for p in (exam.pre, *exam.post)] == ["ax dyn pre", "ax dyn pass 1", "ax dyn pass 2"]
    assert exam.t1.name == "ax t1 non fat sat" and not exam.warnings


def test_the_row_decides_what_is_before_contrast(tmp_path):
    series = write_study(tmp_path, [replace(p, name=f"dyn {n}") for n, p in enumerate(dynamics(3))])
    names = [files[0].parent.name for files in series]
    edit(
        series[0], AcquisitionTime="100000", ContentTime="100030", SeriesTime="100000"
    )  # a clock that was set between
    refuse(lambda: load_exam(dicom_row(tmp_path, post=(".",))), "order of the phases", "doubtful")
    exam = load_exam(dicom_row(tmp_path, pre=names[0], post=tuple(names[1:])))
    assert [p.name for p in (exam.pre, *exam.post)] == ["dyn 0", "dyn 1", "dyn 2"]
    assert any("dyn 0 is the pre-contrast phase by the manifest" in w for w in exam.warnings)


def test_a_folder_that_is_no_phase_is_named(tmp_path):
    series = write_study(tmp_path, dynamics(3), t1=t1())
    names = [files[0].parent.name for files in series]
    row = dicom_row(tmp_path, pre=names[1], post=(names[2], names[0]))
    refuse(lambda: load_exam(row), "m.csv, line 2 (e)", names[0], "no phase of the same acquisition")


def test_a_repeated_pre_contrast_phase_is_left_out(tmp_path):
    phases = dynamics(3)
    again = replace(phases[0], name="ax dyn phase 0 again", time_s=45.0)
    write_study(tmp_path / "exam", [phases[0], again, *phases[1:]])
    exam = load_exam(dicom_row(tmp_path, post=("exam",)))
    assert [p.name for p in exam.post] == ["ax dyn pass 1", "ax dyn pass 2"] and exam.times_s.tolist() == [
        90,
        180,
    ]
    assert any("ax dyn phase 0 again was left out" in w for w in exam.warnings)
    write_study(tmp_path / "copies", [phases[0], again])
    refuse(lambda: load_exam(dicom_row(tmp_path, post=("copies",))), "same voxels")


def test_damaged_dicom_is_named_with_its_row(tmp_path):
    series = write_study(tmp_path / "exam", dynamics(3))
    series[1][4].write_bytes(series[1][4].read_bytes()[:-100])
    refuse(
        lambda: load_exam(dicom_row(tmp_path, post=("exam",))),
        "m.csv, line 2 (e)",
        series[1][4].name,
        "truncated",
    )


# ---------------------------------------------------------------- truth


def small_exam(folder: Path, **values) -> tuple[Row, object]:
    for n in range(3):
        save(folder / f"{n}.nrrd", phase("", n + 1, grid=GRID).volume.array)
    row = Row(
        "p",
        "e",
        1,
        pre="0.nrrd",
        post=("1.nrrd", "2.nrrd"),
        folder=folder,
        where="m.csv, line 2 (e)",
        **values,
    )
    return row, load_exam(row)


def test_boxes_in_voxels_and_in_mm_agree(tmp_path):
    voxels = Lesion(True, box_voxels=((2.0, 3.0, 1.0), (6.0, 4.0, 8.0)))
    row, exam = small_exam(tmp_path, lesions=(voxels,))
    (found,), mask = truth(row, exam)
    assert mask is None and found["malignant"]
    assert np.allclose(found["ras_mm"], apply_affine(GRID, np.array([3.5, 3, 4])))  # voxels 2–5, 3, 1–7
    assert found["radius_mm"] == pytest.approx((4 * 1.5 + 1 * 1.25 + 7 * 2.0) / 6)
    corners = apply_affine(GRID, np.array([[1.5, 2.5, 0.5], [5.5, 3.5, 7.5], [1.5, 3.5, 7.5]]))
    low, high = np.array(found["box_ras_mm"])
    assert (corners >= low - 1e-9).all() and (corners <= high + 1e-9).all()
    (again,), _ = truth(replace(row, lesions=(box_lesion(True, found["box_ras_mm"]),)), exam)
    assert np.allclose(again["ras_mm"], found["ras_mm"]) and again["box_ras_mm"] == found["box_ras_mm"]


def ball(centre, radius_mm: float, shape=SHAPE, grid: np.ndarray = GRID) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (
        np.linalg.norm(apply_affine(grid, index) - apply_affine(grid, np.array(centre)), axis=-1) <= radius_mm
    )


def test_label_volume(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((3, 3, 3), 4.0)] = 3
    labels[ball((10, 8, 6), 3.0)] = 1
    labels[13, 0, 9] = 3  # a speck
    save(tmp_path / "mask.nrrd", labels)
    lesions = (Lesion(True, mask="mask.nrrd", values=(3,)), Lesion(False, mask="mask.nrrd", values=(1,)))
    row, exam = small_exam(tmp_path, lesions=lesions)
    found, mask = truth(row, exam)
    assert [f["malignant"] for f in found] == [True, False]
    for lesion, centre, value in zip(found, ((3, 3, 3), (10, 8, 6)), (3, 1), strict=True):
        inside = labels == value
        inside[13, 0, 9] = False
        assert np.linalg.norm(np.subtract(lesion["ras_mm"], apply_affine(GRID, np.array(centre)))) < 0.1
        assert 4 / 3 * np.pi * lesion["radius_mm"] ** 3 == pytest.approx(inside.sum() * 1.5 * 1.25 * 2.0)
        low, high = np.array(lesion["box_ras_mm"])
        assert ((apply_affine(GRID, np.argwhere(inside)) - low) > 0).all() and (
            (high - apply_affine(GRID, np.argwhere(inside))) > 0
        ).all()
    assert (
        mask.dtype == np.uint8
        and np.array_equal(mask == 2, labels == 3)
        and np.array_equal(mask == 1, labels == 1)
    )
    (whole, *_), mask = truth(replace(row, lesions=(Lesion(True, mask="mask.nrrd"),)), exam)
    assert whole["malignant"] and set(np.unique(mask)) == {0, 2} and np.array_equal(mask > 0, labels > 0)


def test_label_volume_on_another_grid(tmp_path):
    """Twice as fine and shifted: the lesion stays where it is in the patient."""
    fine = GRID @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] = apply_affine(GRID, np.array([1.0, 1.0, 1.0]))
    shape = (20, 18, 14)
    centre = apply_affine(np.linalg.inv(fine), apply_affine(GRID, np.array([5, 5, 4])))
    save(tmp_path / "mask.nrrd", ball(centre, 4.0, shape, fine).astype(np.int16), fine)
    row, exam = small_exam(tmp_path, lesions=(Lesion(True, mask="mask.nrrd"),))
    (found,), mask = truth(row, exam)
    assert np.linalg.norm(np.subtract(found["ras_mm"], apply_affine(GRID, np.array([5, 5, 4])))) < 0.2
    wanted = ball((5, 5, 4), 4.0)
    assert mask.shape == SHAPE and (mask[wanted] == 2).mean() > 0.8 and (mask[~wanted] == 0).mean() > 0.98


def test_a_lesion_smaller_than_the_voxels_keeps_one(tmp_path):
    fine = GRID @ np.diag([0.25, 0.25, 0.25, 1.0])
    fine[:3, 3] = apply_affine(GRID, np.array([4.3, 4.3, 4.3]))
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[0, 0, 0] = 1
    save(tmp_path / "mask.nrrd", labels, fine)
    row, exam = small_exam(tmp_path, lesions=(Lesion(True, mask="mask.nrrd"),))
    _, mask = truth(row, exam)
    assert np.argwhere(mask).tolist() == [[4, 4, 4]]


def test_mask_without_a_place_takes_that_of_the_exam(tmp_path):
    labels = ball((6, 5, 4), 4.0).astype(np.uint8)
    save(tmp_path / "mask.nii.gz", labels, np.diag([-1.0, -1.0, 1.0, 1.0]))  # ITK's own axes: nothing was set
    row, exam = small_exam(tmp_path, lesions=(Lesion(True, mask="mask.nii.gz", mask_grid="exam"),))
    (found,), mask = truth(row, exam)
    assert np.allclose(found["ras_mm"], apply_affine(GRID, np.array([6, 5, 4])), atol=0.1) and np.array_equal(
        mask == 2, labels == 1
    )
    save(tmp_path / "mask.nii.gz", labels[1:], np.diag([-1.0, -1.0, 1.0, 1.0]))
    refuse(lambda: truth(row, exam), "m.csv, line 2 (e)", "mask.nii.gz has 13×12×10", "14×12×10")


def test_wrong_truth_is_named_with_its_row(tmp_path):
    row, exam = small_exam(tmp_path)
    ras = apply_affine(GRID, np.array([2.0, 2.0, 2.0]))
    lps = ras * [-1, -1, 1]
    for name, array in (
        ("empty", np.zeros(SHAPE, np.uint8)),
        ("grey", exam.grid.array * 0.37),
        ("below", exam.grid.array.astype(np.int16) - 900),
    ):
        save(tmp_path / f"{name}.nrrd", array)
    save(tmp_path / "far.nrrd", np.ones(SHAPE, np.uint8), affine(origin=(300.0, 0.0, 0.0)))
    for lesion, part in (
        (box_lesion(True, (lps - 2, lps + 2)), "outside the exam"),
        (Lesion(True, mask="empty.nrrd"), "empty.nrrd marks no lesion"),
        (Lesion(True, mask="grey.nrrd"), "grey.nrrd is no label volume"),
        (Lesion(True, mask="below.nrrd"), "below.nrrd is no label volume"),
        (Lesion(True, mask="far.nrrd"), "outside the exam"),
    ):
        refuse(lambda lesion=lesion: truth(replace(row, lesions=(lesion,)), exam), "m.csv, line 2 (e)", part)
    assert truth(replace(row, lesions=(box_lesion(True, (ras - 2, ras + 2)),)), exam)[0][0][
        "ras_mm"
    ] == pytest.approx(ras)


def test_simulated_exam_is_made_once_for_its_image_and_its_truth(tmp_path, monkeypatch):
    _, exam = small_exam(tmp_path)
    calls = []

    def simulate(seed, malignant, *, voxel_mm=None, population="alike", device="cpu"):
        calls.append((seed, malignant, voxel_mm))
        lesion = {"ras_mm": (1.0, 2.0, 3.0), "radius_mm": 4.0, "malignant": malignant, "side": "left"}
        return types.SimpleNamespace(
            exam=exam, truth=np.full(SHAPE, 2, np.uint8), lesions=(lesion,), malignant=malignant
        )

    monkeypatch.setattr(exams, "simulate", simulate)
    exams._simulated.cache_clear()
    path = write(
        tmp_path, "sim-9,sim-9,malignant,test,9,4.4", header="patient,exam,label,split,seed,voxel_mm"
    )
    (row,) = read_manifest(path)
    assert load_exam(row) is exam
    (lesion,), mask = truth(row, exam)
    assert calls == [(9, True, 4.4)] and mask.max() == 2
    assert lesion["ras_mm"] == (1.0, 2.0, 3.0) and lesion["side"] == "left" and lesion["box_ras_mm"] is None
    exams._simulated.cache_clear()


def test_a_readers_grade_reaches_the_index_and_makes_no_exam_anew(tmp_path):
    (tmp_path / "m.csv").write_text(
        "patient,exam,label,split,seed,birads\np1,e1,malignant,train,1,4b\np2,e2,benign,train,2,\n"
    )
    rows = read_manifest(tmp_path / "m.csv")
    assert [row.birads for row in rows] == ["4B", ""]
    contract = cache.contract_at(4.4)
    assert fingerprint(rows[0], contract) == fingerprint(replace(rows[0], birads=""), contract)
    cache.write_cache(tmp_path / "cache", contract, "m.csv")
    cache.write_index(tmp_path / "cache", [asdict(row) for row in rows])
    assert [row["birads"] for row in cache.open_cache(tmp_path / "cache").rows] == ["4B", ""]
    (tmp_path / "m.csv").write_text("patient,exam,label,split,seed,birads\np1,e1,malignant,train,1,high\n")
    with pytest.raises(InputError, match="birads must be a number from 1 to 6"):
        read_manifest(tmp_path / "m.csv")
