"""Plans of volume files: every file accounted for, the part of each, and what is refused in one sentence."""

from __future__ import annotations

import os
import re
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import SHAPE, affine, phase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refuse as refused

from BreastCMSLLib import readers
from BreastCMSLLib.core.itk import to_sitk
from BreastCMSLLib.exam.plan import LEFT_OUT, POST, PRE, PROBLEM, SUBTRACTION, T1
from BreastCMSLLib.readers import ReadOptions
from BreastCMSLLib.readers.files import plan_files
from BreastCMSLLib.readers.folders import hidden_files, is_dead, walk_files


def write(path: Path, level: int = 1, *, array=None, grid=None, packed: bool = False) -> Path:
    """A small volume, brighter with the level."""
    volume = phase("", level, grid=grid).volume
    path.parent.mkdir(parents=True, exist_ok=True)
    image = to_sitk(volume if array is None else volume.with_array(array))
    sitk.WriteImage(image, str(path), packed)
    return path


def write_all(folder: Path, names: str, extension: str = ".mha") -> list[Path]:
    return [write(folder / f"{name}{extension}", level) for level, name in enumerate(names.split(), 1)]


def stacks(plan, *roles: str) -> list[str]:
    return [stack.name for stack in plan.stacks if not roles or stack.role in roles]


def read(folder: Path, **options):
    """The exam by names of its phases, and its plan, which accounts for every file."""
    exam = readers.read(folder, ReadOptions(**options))
    check_whole(exam.plan, folder)
    return [entry.name for entry in exam.phases], exam


def check_whole(plan, folder: Path) -> None:
    there = [str(path) for path in (*walk_files(folder), *hidden_files(folder))]
    assert sorted(plan.files) == sorted(there), "each file once"


def refuse(folder: Path, *parts: str, **options) -> None:
    """Planning and reading say the same."""
    message = refused(lambda: readers.read(folder, ReadOptions(**options)), *parts)
    plan = readers.plan(folder, ReadOptions(**options))
    assert plan.problem == message
    check_whole(plan, folder)


# ---------------------------------------------------------------- roles


def test_a_plan_says_of_every_file_what_it_is(tmp_path):
    write_all(tmp_path, "Pre Post_1 Post_2 Sub_1 T2 SER T1_nofs lesion_seg")
    write(tmp_path / "segmentations" / "heart.nii.gz")
    write(tmp_path / "segmentations" / "lung.nii.gz")
    write(tmp_path / "dyn.seg.nrrd")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf" * 200)
    plan = readers.plan(tmp_path)
    check_whole(plan, tmp_path)
    assert not plan.problem and plan.where == str(tmp_path)
    assert [(s.name, s.number) for s in plan.stacks if s.is_dynamic] == [
        ("Pre", 0), ("Post_1", 1), ("Post_2", 2)
    ]  # fmt: skip
    assert [s.role for s in plan.stacks if s.is_dynamic] == [PRE, POST, POST]
    assert stacks(plan, T1) == ["T1_nofs"]
    assert all(stack.reason and stack.sure for stack in plan.stacks)
    left = {stack.name: stack for stack in plan.stacks if stack.role == LEFT_OUT}
    assert set(left) == {
        "Sub_1", "T2", "SER", "lesion_seg", "segmentations", "dyn.seg.nrrd", "other files"
    }  # fmt: skip
    assert len(left["segmentations"].files) == 2 and len(left["other files"].files) == 2
    remarks = " ".join(plan.warnings)
    assert all(f"{name} was left out: " in remarks for name in set(left) - {"other files"})
    names, exam = read(tmp_path)
    assert names == ["Pre", "Post_1", "Post_2"] and exam.t1.name == "T1_nofs"
    assert [s.role for s in exam.plan.stacks] == [s.role for s in plan.stacks]
    assert exam.plan.as_json()["kind"] == "breastcmsl.plan"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/duke_001", "segmentations/expert/duke_001 segmentations/automatic/duke_001"),
        ("imagesTr/case", "labelsTr/case"),
        ("exam/dyn", "exam/masks/left exam/masks/right exam/TotalSegmentator/heart"),
    ],
)
def test_label_maps_by_their_folders(tmp_path, images, labels):
    for number in range(3):
        write(tmp_path / f"{images}_{number:04d}.nii.gz", number + 1)
    label = (np.indices(SHAPE)[0] > 5).astype(np.uint8)
    for name in labels.split():
        write(tmp_path / f"{name}.nii.gz", array=label)
    names, exam = read(tmp_path)
    assert [name[-4:] for name in names] == ["0000", "0001", "0002"]
    assert sum("a folder of segmentations" in warning for warning in exam.warnings) >= 1


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("name", ["pre_roi", "organs", "heart"])
def test_label_maps_that_names_do_not_tell(tmp_path, kind, name):
    write_all(tmp_path, "pre post_1 post_2")
    write(tmp_path / f"{name}.mha", array=(np.indices(SHAPE)[0] > 5).astype(kind))
    names, exam = read(tmp_path)
    assert names == ["pre", "post_1", "post_2"] and f"{name} was left out" in " ".join(exam.warnings)
    assert all(stack.sure for stack in exam.plan.stacks) and "order" not in " ".join(exam.warnings)


def test_many_of_one_kind_make_one_remark(tmp_path):
    write_all(tmp_path, "pre post_1 post_2 PE SER ktrans kep TTP MIP ADC WI WO")
    _, exam = read(tmp_path)
    assert len(exam.warnings) == 1 and "and 3 more was left out" in exam.warnings[0]


def test_subtractions_alone(tmp_path):
    rng = np.random.default_rng(1)
    for n in range(3):
        write(tmp_path / f"post{n + 1}-pre.mha", array=rng.integers(-50, 90, SHAPE).astype(np.int16))
    plan = readers.plan(tmp_path)
    assert [stack.number for stack in plan.stacks] == [1, 2, 3] and stacks(plan, SUBTRACTION) == stacks(plan)
    _, exam = read(tmp_path)
    assert exam.pre is None and stacks(exam.plan, SUBTRACTION) == stacks(plan)


def test_subtractions_that_only_voxels_tell(tmp_path):
    rng = np.random.default_rng(1)
    for n in range(3):
        write(tmp_path / f"dyn_{n}.mha", array=rng.normal(0, 30, SHAPE).astype(np.int16))
    assert stacks(readers.plan(tmp_path), PRE) == ["dyn_0"]
    _, exam = read(tmp_path)
    assert exam.pre is None and [stack.number for stack in exam.plan.stacks] == [1, 2, 3]


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    "names",
    [
        "pre post_90s post_3min post_4min30s",
        "precontrast early peak delayed",
        "sub-01_ses-01_acq-pre_T1w sub-01_ses-01_acq-post1_T1w sub-01_ses-01_acq-post2_T1w",
        "ax_dynamic Ph1_ax_dynamic Ph2_ax_dynamic",
    ],
)
def test_order_by_names(tmp_path, names):
    write_all(tmp_path, names, ".nii.gz")
    found, exam = read(tmp_path)
    assert found == names.split() and not exam.warnings and all(stack.sure for stack in exam.plan.stacks)


def test_an_order_that_names_do_not_tell_is_said(tmp_path):
    from BreastCMSLLib.checks.input_check import FAIR, check_exam

    files = write_all(tmp_path, "alpha beta gamma")
    plan = readers.plan(tmp_path)
    assert not any(stack.sure for stack in plan.stacks)
    _, exam = read(tmp_path)
    for warnings in (plan.warnings, exam.warnings, exam.plan.warnings):
        assert len(warnings) == 1 and re.search("order.*uncertain.*alpha, beta, gamma", warnings[0])
    findings = {finding.topic: finding for finding in check_exam(exam).findings}
    assert findings["Order"].level == FAIR and "uncertain" in findings["Order"].text
    exam = readers.read(files, times_s=[0, 90, 180])
    assert not exam.warnings and all(stack.sure for stack in exam.plan.stacks)


def test_times_of_names_and_of_the_user(tmp_path):
    files = write_all(tmp_path, "dyn_TT=6.9s dyn_TT=45s dyn_TT=102.5s")
    plan = readers.plan(tmp_path)
    assert [stack.time_s for stack in plan.stacks] == pytest.approx([0, 38.1, 95.6])
    assert read(tmp_path)[1].times_s.tolist() == pytest.approx([38.1, 95.6])
    assert read(tmp_path, times_s=[0, 60, 120])[1].times_s.tolist() == [60, 120]
    exam = readers.read([files[2], files[0], files[1]], times_s=[120, 0, 60])
    assert exam.times_s.tolist() == [60, 120] and exam.pre.name == "dyn_TT=6.9s"
    refused(lambda: readers.read(tmp_path, times_s=[0, 60]), "2 times were given for 3")
    refused(lambda: readers.read(tmp_path, times_s=[0, 60, 30]), "do not increase")


def test_times_are_for_what_remains(tmp_path):
    files = write_all(tmp_path, "pre post_1 post_2")
    label = write(tmp_path / "organs.mha", array=(np.indices(SHAPE)[0] > 5).astype(np.uint8))
    exam = readers.read([label, files[2], *files[:2]], times_s=[180, 0, 90])
    assert exam.times_s.tolist() == [90, 180]


# ---------------------------------------------------------------- one phase, one volume


@pytest.mark.parametrize(
    "copies", ["post_1_registered post_2_registered", "rpre rpost_1", "moco/pre moco/post_1"]
)
def test_processed_copies_are_left_out(tmp_path, copies):
    write_all(tmp_path, "pre post_1 post_2")
    for level, name in enumerate(copies.split(), 5):
        write(tmp_path / f"{name}.mha", level)
    names, exam = read(tmp_path)
    assert names == ["pre", "post_1", "post_2"]
    assert len(exam.warnings) == 2 and "a processed copy (" in exam.warnings[0]


def test_one_phase_in_two_places(tmp_path):
    for folder in "ab":
        write_all(tmp_path / folder, "pre post_1 post_2")
    plan = readers.plan(tmp_path)
    assert not plan.problem and not any(stack.sure for stack in plan.stacks)
    names, exam = read(tmp_path)
    assert names == ["folder 1/pre", "folder 1/post_1", "folder 1/post_2"]
    assert "same voxels" in " ".join(exam.warnings)
    assert all(stack.sure for stack in exam.plan.stacks)
    write(tmp_path / "b" / "post_1.mha", 7)
    refused(lambda: readers.read(tmp_path), "a/post_1, b/post_1", "only one can be a phase")
    names, _ = read(tmp_path, leave_out=("b/pre", "b/post_1", "b/post_2"))
    assert names == ["folder 1/pre", "folder 1/post_1", "folder 1/post_2"]


def test_one_phase_in_two_formats(tmp_path):
    write_all(tmp_path, "pre post_1 post_2", ".nrrd")
    write(tmp_path / "post_1.nii.gz", 2)
    names, exam = read(tmp_path)
    assert len(names) == 3 and "same voxels" in " ".join(exam.warnings)


def test_a_phase_of_each_folder(tmp_path):
    for number in range(3):
        write(tmp_path / f"Phase{number}" / "dyn.nii.gz", number + 1)
    assert read(tmp_path)[0] == ["Phase0/dyn", "Phase1/dyn", "Phase2/dyn"]


def test_links_to_what_is_here_already(tmp_path):
    write_all(tmp_path, "pre post_1 post_2")
    (tmp_path / "zzz.mha").symlink_to(tmp_path / "pre.mha")
    names, exam = read(tmp_path)
    assert len(names) == 3 and "the same again" in stacks(exam.plan, LEFT_OUT)


def test_volumes_of_two_patients(tmp_path):
    for patient in "12":
        write_all(tmp_path, f"sub-0{patient}_pre sub-0{patient}_post1")
    refuse(tmp_path, "2 exams (sub-01, sub-02)", "--phases")
    assert read(tmp_path, phases=("sub-02_pre", "sub-02_post1"))[0] == ["sub-02_pre", "sub-02_post1"]


# ---------------------------------------------------------------- the user's word


def test_the_user_names_phases_or_leaves_out(tmp_path):
    write_all(tmp_path, "pre post_1 post_2 T2 t1_nofs SER")
    names, exam = read(tmp_path, phases=("post_1", "pre.mha", "SER"))
    assert names == ["pre", "SER", "post_1"] or names == ["pre", "post_1", "SER"]
    assert exam.t1.name == "t1_nofs" and stacks(exam.plan, LEFT_OUT) == ["T2", "post_2"]
    assert "the user names other phases" in " ".join(exam.warnings)
    names, exam = read(tmp_path, leave_out=("POST_1", "t1_nofs"))
    assert names == ["pre", "post_2"] and exam.t1 is None
    for option in ("phases", "leave_out"):
        refuse(tmp_path, "no volume called other", "post_1, post_2, pre", **{option: ("pre", "other")})
    refuse(tmp_path, "DICOM images only", study="2")


def test_frames_can_be_named(tmp_path):
    image = sitk.JoinSeries([to_sitk(phase("", n).volume) for n in range(1, 15)])
    sitk.WriteImage(image, str(tmp_path / "dyn.nrrd"))
    refused(lambda: readers.read(tmp_path), "14 dynamic volumes", "--phases")
    names, exam = read(tmp_path, phases=("dyn phase 1", "dyn phase 4", "dyn phase 14"))
    assert names == ["dyn phase 1", "dyn phase 4", "dyn phase 14"]
    assert [stack.files for stack in exam.plan.stacks].count(()) == 13, "the file stands in one stack"


def frames(path: Path, count: int, step_s: float = 1.0) -> Path:
    """A file of several volumes along time."""
    volumes = [to_sitk(phase("", level).volume) for level in range(1, count + 1)]
    image = sitk.JoinSeries(volumes, 0.0, step_s)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(("name", "step_s"), [("dyn.nii.gz", 60.0), ("my dyn.nrrd", 7.0), ("dyn.mha", 1.0)])
def test_the_advice_for_too_many_frames_can_be_followed(tmp_path, name, step_s):
    file = frames(tmp_path / name, 20, step_s)
    plan = readers.plan(file)
    assert "20 dynamic volumes" in plan.problem and name in plan.problem
    refused(lambda: readers.read(file), "--phases")
    words = shlex.split(plan.problem.split("--phases ")[1].rstrip("."))
    exam = readers.read(file, ReadOptions(phases=tuple(words)))
    stem = name.partition(".")[0]
    assert [one.name for one in exam.phases] == [f"{stem} phase {n}" for n in (1, 5, 9, 12, 16, 20)]
    ranges = readers.plan(file, ReadOptions(phases=(f"{stem}:2-5",)))
    assert [s.name for s in ranges.stacks if s.is_dynamic] == [f"{stem} phase {n}" for n in range(2, 6)]


def test_usual_phases_beside_ultrafast_ones(tmp_path):
    write_all(tmp_path, "pre post_1 post_2 post_3")
    frames(tmp_path / "twist.mha", 16, 4.0)
    names, exam = read(tmp_path)
    assert names == ["pre", "post_1", "post_2", "post_3"]
    assert {s.reason for s in exam.plan.stacks if "twist" in s.name} == {
        "of an ultrafast acquisition, and the usual phases are here"
    }


def test_too_many_files_can_be_chosen_among(tmp_path):
    write_all(tmp_path, " ".join(f"dyn_{n:02d}" for n in range(14)))
    message = refused(lambda: readers.read(tmp_path), "14 dynamic volumes", "--phases dyn_00 dyn_03")
    words = message.split("--phases ")[1].rstrip(".").split()
    assert len(readers.read(tmp_path, ReadOptions(phases=tuple(words))).phases) == 6


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("runA_1 runA_2 runA_3 runB_1 runB_2 runB_3", None),
        ("vibe_01 vibe_02 vibrant_01 vibrant_02 vibrant_03", None),
        ("scan-a_t1 scan-a_t2 scan-a_t3 scan-b_t1 scan-b_t2 scan-b_t3", None),
        ("left_1 left_2 right_1 right_2", None),
        ("pre early_1 early_2 late_1 late_2", 5),
        ("pre_1 post_1 post_2", 3),
        ("dyn_1 dyn_2 dyn_3 dyn_4", 4),
    ],
)
def test_two_acquisitions_are_never_one_exam(tmp_path, names, kept):
    write_all(tmp_path, names)
    plan = readers.plan(tmp_path)
    assert sum(stack.is_dynamic for stack in plan.stacks) == (kept or len(names.split()))
    assert bool(plan.problem) is (kept is None) and (kept or "2 exams" in plan.problem)


@pytest.mark.parametrize(
    "names",
    [
        "dyn_W_1 dyn_W_2 dyn_W_3 dyn_F_1 dyn_F_2 dyn_F_3",
        "1_water 1_fat 2_water 2_fat 3_water 3_fat",
        "dyn1_W dyn2_W dyn3_W dyn1_in dyn2_in dyn3_in dyn1_opp dyn2_opp dyn3_opp",
    ],
)
def test_of_dixon_images_water_alone_is_a_phase(tmp_path, names):
    write_all(tmp_path, names)
    plan = readers.plan(tmp_path)
    assert not plan.problem
    dynamic = [stack.name.lower() for stack in plan.stacks if stack.is_dynamic]
    assert len(dynamic) == 3 and all("w" in name for name in dynamic)


@pytest.mark.parametrize("names", ["Post_1 Post_2 Post_3", "early peak delayed", "1st_pass 2nd_pass"])
def test_without_a_phase_before_contrast(tmp_path, names):
    write_all(tmp_path, names)
    refuse(tmp_path, "pre-contrast phase is missing", str(tmp_path))
    first = names.split()[0]
    for options in ({"kind": "phases"}, {"keep_order": True}):
        found, exam = read(tmp_path, **options)
        assert found[0] == first and f"{first} was taken for the pre-contrast phase" in exam.warnings[-1]


def test_t1_given_is_in_the_plan(tmp_path):
    write_all(tmp_path, "pre post_1 post_2")
    file = write(tmp_path / "anatomy.mha", 8)
    exam = readers.read(tmp_path, t1=file)
    assert exam.t1.name == "anatomy" and stacks(exam.plan, T1) == ["anatomy"]
    check_whole(exam.plan, tmp_path)


# ---------------------------------------------------------------- files that cannot be read


@pytest.mark.parametrize("name", ["pre.mha", "post_1.mha", "post_3.mha"])
def test_dead_links_and_pointers_of_phases_are_refused(tmp_path, name):
    write_all(tmp_path, "pre post_1 post_2")
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("../.git/annex/objects/ab/cd/missing.mha")
    assert is_dead(tmp_path / name) and tmp_path / name in list(walk_files(tmp_path))
    refuse(tmp_path, name, "link to a file that is not here")
    assert stacks(readers.plan(tmp_path), PROBLEM) == [name.removesuffix(".mha")]
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refuse(tmp_path, name, "only a pointer")
    if name != "pre.mha":
        names, exam = read(tmp_path, keep_order=True)
        assert names[0] == "pre" and name in " ".join(exam.warnings)


def test_other_files_that_cannot_be_read_are_named(tmp_path):
    write_all(tmp_path, "pre post_1 post_2")
    (tmp_path / "T2.mha").symlink_to("nowhere")
    (tmp_path / "IM_0001").symlink_to("nowhere else")
    (tmp_path / "extra.mgz").write_bytes(b"x")
    names, exam = read(tmp_path)
    assert names == ["pre", "post_1", "post_2"]
    assert set(stacks(exam.plan, PROBLEM)) == {"T2", "dead links", "other formats"}
    assert all(name in " ".join(exam.warnings) for name in ("T2.mha", "IM_0001", "extra.mgz"))
    (tmp_path / "pre.mha").rename(tmp_path / "other")
    (tmp_path / "pre.mgz").write_bytes(b"x")
    refuse(tmp_path, "pre.mgz", "convert")


def test_an_unreadable_volume_is_a_problem(tmp_path):
    write_all(tmp_path, "pre post_1 post_2")
    (tmp_path / "post_1.mha").write_bytes(b"junk")
    refuse(tmp_path, "post_1.mha", "not what its name says")


def test_vector_images_in_a_folder_are_no_phases(tmp_path):
    write_all(tmp_path, "pre post_1 post_2")
    field = tmp_path / "post_1_1Warp.mha"
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorFloat32, 3), str(field))
    names, exam = read(tmp_path)
    assert names == ["pre", "post_1", "post_2"] and "post_1_1Warp was left out" in " ".join(exam.warnings)
    refused(lambda: readers.read([*sorted(tmp_path.glob("p*.mha"))]), "3 values per voxel")


def test_detached_data_stand_with_their_header(tmp_path):
    for level, name in enumerate(("pre.mhd", "post_1.mhd", "post_2.nhdr", "post_3.nhdr"), 1):
        write(tmp_path / name, level)
    names, exam = read(tmp_path)
    assert len(names) == 4 and all(len(stack.files) == 2 for stack in exam.plan.stacks)


def test_a_dicomdir_is_no_exam(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    refused(lambda: readers.read(tmp_path / "DICOMDIR"), "give the folder it lies in", str(tmp_path))


def test_hidden_files_can_be_listed(tmp_path):
    write_all(tmp_path, "pre post_1")
    for name in (".DS_Store", "._pre.mha", ".git/annex/pre.mha"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert read(tmp_path)[0] == ["pre", "post_1"]
    listed = [os.path.relpath(path, tmp_path) for path in hidden_files(tmp_path)]
    assert sorted(listed) == [".DS_Store", "._pre.mha", ".git/annex/pre.mha"]
    stack = next(stack for stack in readers.plan(tmp_path).stacks if stack.name == "hidden files")
    assert stack.role == LEFT_OUT and "hidden" in stack.reason and len(stack.files) == 3


def test_what_a_visible_link_leads_to_is_not_hidden_as_well(tmp_path):
    write_all(tmp_path / ".store", "pre post_1 post_2")
    for file in (tmp_path / ".store").iterdir():
        (tmp_path / file.name).symlink_to(file)
    plan = readers.plan(tmp_path)
    places = [os.path.realpath(file) for file in plan.files]
    assert len(places) == len(set(places)) == 3 and not plan.problem


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_all(tmp_path, "pre post_1 post_2")
    closed = tmp_path / "closed"
    write_all(closed, "more")
    scandir = os.scandir

    def refuse_closed(path):
        if str(path) == str(closed):
            raise PermissionError(13, "denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_closed)
    plan = readers.plan(tmp_path)
    assert stacks(plan, PROBLEM) == ["unreadable folders"] and str(closed) in plan.files
    assert any("1 folder may not be read" in warning for warning in plan.warnings)


def test_long_paths_that_are_not_ascii(tmp_path):
    folder = tmp_path / "Größe der Läsion 乳腺 🩻" / ("sehr langer Ordnername " * 8).strip()
    write_all(folder, "nativ früh spät", ".nii.gz")
    assert read(tmp_path)[0] == ["nativ", "früh", "spät"]


# ---------------------------------------------------------------- headers


def nifti(path: Path, change) -> Path:
    """A NIfTI whose bytes are changed."""
    raw = bytearray(write(path, 2).read_bytes())
    path.write_bytes(change(raw) or raw)
    return path


@pytest.mark.parametrize(("row", "shear"), [(1, 0.02), (6, 0.5), (0, 0.9)])
def test_sheared_and_missing_forms_are_named(tmp_path, row, shear):
    write(tmp_path / "pre.nii")

    def sheared(raw, codes=(0, 2)):
        rows = list(struct.unpack_from("<12f", raw, 280))
        rows[row + (row == 0)] += shear
        struct.pack_into("<12f", raw, 280, *rows)
        struct.pack_into("<2h", raw, 252, *codes)

    nifti(tmp_path / "post.nii", sheared)
    refuse(tmp_path, "post.nii", "not perpendicular", "sheared sform")
    nifti(tmp_path / "post.nii", lambda raw: struct.pack_into("<2h", raw, 252, 0, 0))
    refuse(tmp_path, "post.nii", "neither qform nor sform", "left and right")
    nifti(tmp_path / "post.nii", lambda raw: sheared(raw, (1, 2)))
    assert read(tmp_path)[0] == ["pre", "post"], "the qform is sound"


def test_phases_along_the_fifth_dimension_are_refused_with_a_remedy(tmp_path):
    def fifth(raw):
        struct.pack_into("<8h", raw, 40, 5, *SHAPE, 1, 6, 1, 1)
        struct.pack_into("<h", raw, 68, 1007)
        return raw[:352] + raw[352:] * 6

    refuse(nifti(tmp_path / "dyn.nii", fifth).parent, "dyn.nii", "6 values per voxel", "4-D file")


@pytest.mark.parametrize("axis", ["first", "last"])
def test_sequences_of_nrrd(tmp_path, axis):
    volumes = [phase("", n).volume for n in (1, 2, 3)]
    vectors = [f"({','.join(map(str, row))})" for row in affine()[:3, :3].T.tolist()]
    sizes, kinds = [*SHAPE], ["domain"] * 3
    place = 0 if axis == "first" else 3
    for values, value in ((sizes, 3), (kinds, "list"), (vectors, "none")):
        values.insert(place, value)
    head = (
        f"NRRD0005\ntype: unsigned short\ndimension: 4\nspace: right-anterior-superior\n"
        f"sizes: {' '.join(map(str, sizes))}\nspace directions: {' '.join(vectors)}\n"
        f"kinds: {' '.join(kinds)}\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n"
        f"axis {place} index type:=numeric\naxis {place} index values:=0 90 200\n\n"
    )
    stack = np.stack([volume.array for volume in volumes], axis=place)
    (tmp_path / "dyn.seq.nrrd").write_bytes(head.encode() + stack.astype("<u2").tobytes(order="F"))
    names, exam = read(tmp_path)
    assert names == [f"dyn.seq phase {n}" for n in (1, 2, 3)] and exam.times_s.tolist() == [90, 200]
    assert np.array_equal(exam.post[1].volume.array, volumes[2].array)
    assert [stack.time_s for stack in readers.plan(tmp_path).stacks] == [0, 90, 200]


@pytest.mark.parametrize("size", [None, 0, 10, -20, -5, 99999])
def test_packed_metaimage_whose_size_is_not_told_right(tmp_path, size):
    write(tmp_path / "pre.mha", packed=True)
    file = write(tmp_path / "post.mha", 2, packed=True)
    assert read(tmp_path)[0] == ["pre", "post"]
    raw = file.read_bytes()
    true = int(re.search(rb"CompressedDataSize = (\d+)", raw)[1])
    told = size if size is None or size >= 0 else true + size
    line = b"" if told is None else b"CompressedDataSize = %d\n" % told
    file.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", line, raw))
    refused(lambda: readers.read(tmp_path), "post.mha", "packed")


def test_a_detached_packed_metaimage_need_not_tell_its_size(tmp_path):
    write(tmp_path / "pre.mhd", packed=True)
    file = write(tmp_path / "post.mhd", 2, packed=True)
    text = file.read_text()
    file.write_text(re.sub(r"CompressedDataSize = \d+\n", "", text))
    _, exam = read(tmp_path)
    assert np.array_equal(exam.post[0].volume.array, phase("", 2).volume.array)
    file.write_text(re.sub(r"CompressedDataSize = \d+", "CompressedDataSize = 40", text))
    refused(lambda: readers.read(tmp_path), "packed data end early")


@pytest.mark.parametrize(("voxels", "one_grid"), [(0.05, True), (0.4, True), (0.6, False)])
def test_less_than_half_a_voxel_apart_is_one_grid(tmp_path, voxels, one_grid):
    moved = affine()
    moved[:3, 3] += moved[:3, 2] * voxels
    write(tmp_path / "pre.mha")
    write(tmp_path / "post.mha", 2, grid=moved)
    if one_grid:
        assert read(tmp_path)[0] == ["pre", "post"]
    else:
        refused(lambda: readers.read(tmp_path), "post lies elsewhere")


# ---------------------------------------------------------------- whatever lies in a folder

NAMES = st.sampled_from(
    "pre post_1 post_2 post_1_reg Sub_1 T2 T1_nofs SER mask tumor_seg dyn dyn_1 sub-01_pre alpha".split()
)
FOLDERS = st.sampled_from(["", "a/", "segmentations/", "reg/"])
EXTENSIONS = st.sampled_from([".mha", ".mhd", ".nii.gz", ".txt", ".link", ""])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(st.tuples(FOLDERS, NAMES, EXTENSIONS), min_size=1, max_size=9, unique=True))
def test_no_file_is_ever_unaccounted_for(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("any")
    for level, (place, name, extension) in enumerate(entries, 1):
        path = folder / f"{place}{name}{extension}"
        if extension in (".txt", ""):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
        elif extension == ".link":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".nrrd").symlink_to("nowhere")
        else:
            write(path, level)
    plan = plan_files(list(walk_files(folder)), ReadOptions(), given=False, where=folder).plan
    check_whole(plan, folder)
    assert not plan.problem or (plan.problem.endswith(".") and "\n" not in plan.problem)
    names = [stack.name for stack in plan.stacks if stack.is_dynamic]
    assert len(set(names)) == len(names)


def test_a_plan_needs_no_voxels(tmp_path, monkeypatch):
    write_all(tmp_path, "pre post_1 post_2", ".nii.gz")
    monkeypatch.setattr("BreastCMSLLib.readers.files.exam.read_volume_file", None)
    monkeypatch.setattr("BreastCMSLLib.readers.headers.checks.unpack", None)
    assert stacks(readers.plan(tmp_path)) == ["pre", "post_1", "post_2"]


def test_given_files_and_their_folder_say_the_same(tmp_path):
    files = write_all(tmp_path, "pre post_1 post_2 T2 t1_nofs")
    assert readers.plan(tmp_path).stacks == readers.plan(files[::-1]).stacks
