"""The plan of DICOM exams: every file accounted for, no phase twice, none missing in silence.

Exams are as scanners, PACS and anonymisers leave them, tiny, and only their headers are read.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import affine, edit, phase, t1, write_enhanced, write_study

from BreastCMSLLib import cli, readers
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.exam import ExamPlan, Phase
from BreastCMSLLib.readers.dicom import DicomPlan, find_dynamics, load_dicom, plan_dicom
from BreastCMSLLib.readers.folders import walk_files
from BreastCMSLLib.readers.options import ReadOptions

SHAPE = (6, 5, 8)
NO_TIMES = dict.fromkeys(("AcquisitionTime", "ContentTime", "SeriesTime"))
NO_AGENT = {"ContrastBolusAgent": ""}
ORIGINAL = ["ORIGINAL", "PRIMARY", "M", "ND"]


def phases(count: int = 4, name: str = "ax dyn", **options) -> list[Phase]:
    """Phases of one name, 90 s apart; headers name a contrast agent from the second on."""
    return [phase(name, n + 1, time_s=90.0 * n, shape=SHAPE, **options) for n in range(count)]


def study_of(file: Path) -> dict[str, str]:
    """What puts other files into the study of one."""
    import pydicom

    data = pydicom.dcmread(file, stop_before_pixels=True)
    return {name: data[name].value for name in ("StudyInstanceUID", "FrameOfReferenceUID")}


def add(
    folder: Path, series: Sequence[Sequence[Path]], volumes: Sequence[Phase], seed: int = 99, **values
) -> list[list[Path]]:
    """More series in the study of others, numbered from 101 on."""
    added = write_study(folder, volumes, seed=seed)
    for number, files in enumerate(added, 101):
        edit(files, SeriesNumber=number, **study_of(series[0][0]), **values)
    return added


def one_series(series: Sequence[Sequence[Path]], **values) -> None:
    """Make several series one."""
    common = {"SeriesInstanceUID": "1.2.3", "SeriesNumber": 5, "AcquisitionNumber": 1}
    for files in series:
        edit(files, **common, **values)


def planned(folder: Path, **options) -> DicomPlan:
    return plan_dicom(list(walk_files(folder)), folder, ReadOptions(**options))


def plan(folder: Path, **options) -> ExamPlan:
    """The plan, in which every file stands once."""
    result = planned(folder, **options).plan
    assert sorted(result.files) == sorted(map(str, walk_files(folder)))
    assert len({stack.name for stack in result.stacks if stack.is_dynamic}) == len(dynamic(result))
    return result


def dynamic(result: ExamPlan) -> list[str]:
    """Names of the dynamic volumes, in the order of time."""
    return [stack.name for stack in result.stacks if stack.is_dynamic]


def numbers(result: ExamPlan) -> list[int | None]:
    """Series numbers of the dynamic volumes, in the order of time."""
    return [stack.series_number for stack in result.stacks if stack.is_dynamic]


def refused(folder: Path, *parts: str, **options) -> ExamPlan:
    """The plan has a problem whose sentence contains the parts, and loading says so."""
    result = planned(folder, **options)
    for part in parts:
        assert part in result.plan.problem, result.plan.problem
    assert result.plan.problem.endswith(".") and "\n" not in result.plan.problem
    with pytest.raises(InputError):
        load_dicom(result)
    return plan(folder, **options)


def role_of(result: ExamPlan, name: str) -> tuple[str, str]:
    (stack,) = [stack for stack in result.stacks if stack.name == name]
    return stack.role, stack.reason


# ---------------------------------------------------------------- a phase is missing


def cut(keep: Callable[[int], bool]) -> Callable[[list[list[Path]]], None]:
    """Lose slices of the phase before contrast."""

    def lose(series: list[list[Path]]) -> None:
        for k, file in enumerate(series[0]):
            if not keep(k):
                file.unlink()

    return lose


def broken(**values) -> Callable[[list[list[Path]]], None]:
    """Headers of the phase before contrast that are no use."""
    return lambda series: edit(series[0], **values)


LOST = {
    "one slice left": (cut(lambda k: k == 3), "has 1 slice but"),
    "three slices left": (cut(lambda k: k < 3), "has 3 slices but"),
    "the first half left": (cut(lambda k: k < 4), "has 4 slices but"),
    "the second half left": (cut(lambda k: k >= 4), "has 4 slices but"),
    "every second slice": (cut(lambda k: k % 2 == 0), "has 4 slices but"),
    "a slice in the middle": (cut(lambda k: k != 4), "misses 1 slice"),
    "in another study": (broken(StudyInstanceUID="1.2.3"), "lies in another study"),
    "another day's study": (
        broken(StudyInstanceUID="1.2.3", AcquisitionDate=None, AcquisitionTime=None),
        "lies in another study",
    ),
    "without positions": (broken(ImagePositionPatient=None), "no usable slice positions"),
    "one position": (broken(ImagePositionPatient=[0, 0, 0]), "one slice position"),
    "other pixels": (broken(PixelSpacing=[3.0, 3.0]), "lies on another grid"),
    "moved": (
        broken(ImageOrientationPatient=[0, 1, 0, -1, 0, 0], PixelSpacing=[1.5, 1.25]),
        "another grid",
    ),
}


@pytest.mark.parametrize("agents", [True, False], ids=["agents named", "no agents"])
@pytest.mark.parametrize("how", LOST)
def test_the_phase_before_contrast_is_not_whole(tmp_path, how, agents):
    lose, sentence = LOST[how]
    series = write_study(tmp_path, phases())
    if not agents:
        edit([file for files in series for file in files], **NO_AGENT)
    lose(series)
    result = refused(tmp_path, sentence, "ax dyn")
    assert not any(stack.role == "pre" for stack in result.stacks)
    if "one slice position" not in sentence and "no usable" not in sentence:
        assert any(stack.role == "problem" for stack in result.stacks) or "study" in sentence
    kept = plan(tmp_path, keep_order=True)
    assert not kept.problem and len(dynamic(kept)) == 3
    assert any("as asked" in warning for warning in kept.warnings)


def test_what_was_given_up_before_a_sure_pre_contrast_phase_is_left_out(tmp_path):
    series = write_study(tmp_path, phases())
    aborted = add(tmp_path / "aborted", series, phases(1), AcquisitionTime="085500", **NO_AGENT)
    for file in aborted[0][3:]:
        file.unlink()
    result = plan(tmp_path)
    assert not result.problem and numbers(result) == [1, 2, 3, 4]
    assert any("part of a volume" in warning for warning in result.warnings)


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_later_phase_that_is_not_whole_is_refused(tmp_path, position):
    series = write_study(tmp_path, phases())
    for file in series[position][5:]:
        file.unlink()
    refused(tmp_path, "has 5 slices but", f"--leave-out {position + 1}")
    assert numbers(plan(tmp_path, leave_out=(str(position + 1),))) == [
        n for n in (1, 2, 3, 4) if n != position + 1
    ]


def test_halves_of_a_phase_under_two_series_are_named(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[2][4:], SeriesInstanceUID="1.2.3")
    refused(tmp_path, "Parts of phases", "ax dyn (series 3) 4 slices", "[2] 4 slices", "has 8")


def test_a_phase_of_one_series_that_is_not_whole(tmp_path):
    series = write_study(tmp_path, phases())
    for number, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=number)
    one_series(series)
    for file in series[0][3:]:
        file.unlink()
    refused(tmp_path, "ax dyn phase 1", "has 3 slices but", "--leave-out 5:1")


def dead_links(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink()
        file.symlink_to("../.git/annex/objects/aa/bb/missing.dcm")


def pointers(files: Sequence[Path]) -> None:
    for file in files:
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 300\n")


def empty(files: Sequence[Path]) -> None:
    for file in files:
        file.write_bytes(b"")


def web_pages(files: Sequence[Path]) -> None:
    for file in files:
        file.write_text("<html>Session expired</html>" * 20)


def damaged(files: Sequence[Path]) -> None:
    for file in files:
        file.write_bytes(b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(400))


def packed(files: Sequence[Path]) -> None:
    shutil.make_archive(str(files[0].parent), "zip", files[0].parent)
    shutil.rmtree(files[0].parent)


@pytest.mark.parametrize("spoil", [dead_links, pointers, empty, web_pages, damaged, packed])
def test_files_that_cannot_be_read_may_be_the_phase_before_contrast(tmp_path, spoil):
    spoil(write_study(tmp_path, phases())[0])
    result = refused(tmp_path, "may be missing", "cannot be read")
    assert any(stack.role == "problem" and stack.files for stack in result.stacks)
    kept = plan(tmp_path, keep_order=True)
    assert numbers(kept) == [2, 3, 4] and any("could not be" in warning for warning in kept.warnings)


@pytest.mark.parametrize("spoil", [dead_links, pointers, empty, web_pages, damaged])
def test_other_files_that_cannot_be_read_are_named(tmp_path, spoil):
    write_study(tmp_path, phases())
    other = tmp_path / "other.dcm"
    other.write_bytes(b"x")
    spoil([other])
    result = plan(tmp_path)
    assert not result.problem and any("other.dcm" in warning for warning in result.warnings)


def test_phases_that_all_name_a_contrast_agent(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[0], ContrastBolusAgent="agent")
    result = plan(tmp_path)
    assert not result.problem and not result.stacks[0].sure and "contrast agent" in result.stacks[0].reason
    add(
        tmp_path / "other",
        series,
        [phase("ax dyn", 1, shape=(6, 5, 6), grid=affine(origin=(0, 9, 0)))],
        **NO_AGENT,
    )
    refused(tmp_path, "may be missing", "another grid")


@pytest.mark.parametrize("word", ["NO", "none", "No contrast", "N"])
def test_an_agent_that_is_none(tmp_path, word):
    series = write_study(tmp_path, phases())
    edit(series[0], ContrastBolusAgent=word)
    assert plan(tmp_path).stacks[0].sure


@pytest.mark.parametrize("count", [4, None])
def test_temporal_positions_begin_with_the_second(tmp_path, count):
    series = write_study(tmp_path, phases())
    shutil.rmtree(series[0][0].parent)
    for number, files in enumerate(series[1:], 2):
        edit(files, TemporalPositionIdentifier=number, NumberOfTemporalPositions=count)
    one_series(series[1:])
    refused(tmp_path, "has the number 2")


def test_contrast_agent_was_given_before_the_first_phase(tmp_path):
    series = write_study(tmp_path, phases())
    shutil.rmtree(series[0][0].parent)
    edit([file for files in series[1:] for file in files], ContrastBolusStartTime="090030")
    refused(tmp_path, "60 s before")
    edit([file for files in series[1:] for file in files], ContrastBolusStartTime="090230")
    assert not plan(tmp_path).problem


def test_the_phase_without_agent_comes_last(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[0], AcquisitionTime="091500")
    refused(tmp_path, "order of the phases", "names no contrast agent")


@pytest.mark.parametrize("apart", ["study", "patient"])
def test_two_phases_in_two_studies(tmp_path, apart):
    series = write_study(tmp_path, phases(2))
    if apart == "study":
        edit(series[1], StudyInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4")
        refused(tmp_path, "two studies", "1.2.3")
    else:
        edit(series[1], PatientID="ANOTHER")
        refused(tmp_path, "two visits")


def test_a_later_phase_in_another_study_is_named(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[2], StudyInstanceUID="1.2.3")
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 4]
    assert any("ax dyn (series 3) may be phases" in warning for warning in result.warnings)


def test_a_later_phase_on_another_grid_is_named(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[2], PixelSpacing=[3.0, 3.0])
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 4]
    assert any("(series 3) was left out: of the protocol" in warning for warning in result.warnings)


def test_numbers_that_leave_out_a_phase(tmp_path):
    series = write_study(tmp_path, phases())
    for number, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=number)
    shutil.rmtree(series[2][0].parent)
    assert any("they have the numbers 1, 2, 4" in warning for warning in plan(tmp_path).warnings)


def test_instance_numbers_of_one_series_begin_with_the_second_phase(tmp_path):
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], **NO_AGENT)
    numbered(lambda n, k: 1 + 8 * n + k)(series)
    assert not plan(tmp_path).problem
    shutil.rmtree(series[0][0].parent)
    refused(tmp_path, "has the number 2")


def test_phases_chosen_without_the_one_before_contrast(tmp_path):
    write_study(tmp_path, phases())
    refused(tmp_path, "names no contrast agent", "add 1 to --phases", phases=("2", "3", "4"))
    assert numbers(plan(tmp_path, phases=("2", "3"), keep_order=True)) == [2, 3]


# ---------------------------------------------------------------- a phase is there twice


def test_an_exam_that_was_exported_twice(tmp_path):
    write_study(tmp_path / "a", phases(), study_uid="1.2.3")
    write_study(tmp_path / "b", phases(), study_uid="1.2.3", seed=7)
    result = plan(tmp_path)
    assert len(dynamic(result)) == 4 and not result.problem
    (warning,) = result.warnings
    assert "the same images" in warning


@pytest.mark.parametrize("count", [1, 2, 3])
def test_some_phases_were_exported_twice(tmp_path, count):
    write_study(tmp_path / "a", phases(), study_uid="1.2.3")
    write_study(tmp_path / "b", phases(count), study_uid="1.2.3", seed=7)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_copies_without_times_are_told_by_their_numbers(tmp_path):
    for folder, seed in (("a", 1), ("b", 2)):
        for files in write_study(tmp_path / folder, phases(), study_uid="1.2.3", seed=seed):
            edit(files, FrameOfReferenceUID="1.2", **NO_TIMES)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_a_copy_of_one_phase_of_a_series_does_not_change_the_order(tmp_path):
    series = write_study(tmp_path, phases())
    numbered(lambda n, k: 1 + 4 * k + n)(series)
    copied = add(tmp_path / "copy", series, [phases()[1]])
    edit(copied[0], SeriesNumber=1, SeriesDescription="ax dyn", **NO_TIMES)
    assert dynamic(plan(tmp_path)) == [f"ax dyn (series 5) phase {n}" for n in (1, 2, 3, 4)]


def test_of_two_copies_the_one_called_pre_contrast_is_kept(tmp_path):
    series = write_study(tmp_path, phases(name="MultiPhase"))
    numbered(lambda n, k: 1 + 8 * n + k)(series)
    mask = add(tmp_path / "mask", series, [phases()[0]])
    edit(mask[0], SeriesNumber=4, SeriesDescription="MASK", **NO_TIMES)
    assert dynamic(plan(tmp_path)) == ["MASK", *(f"MultiPhase phase {n}" for n in (2, 3, 4))]


def test_copies_on_another_grid_are_no_exam(tmp_path):
    """The phase before contrast and its normalised copy lie elsewhere: they are one volume, not two."""
    series = write_study(tmp_path, phases(3))
    normalised = add(
        tmp_path / "norm", series, [phase("ax dyn", n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(3)]
    )
    for files in normalised:
        edit(files, ImageType=[*ORIGINAL, "NORM"])
    edit(series[0] + normalised[0], PixelSpacing=[3.0, 3.0])
    refused(tmp_path, "another grid")


VARIANTS = {
    "corrected by type": ({"ImageType": ORIGINAL}, {"ImageType": [*ORIGINAL, "NORM", "MOCO"]}),
    "corrected by name": ({}, {"SeriesDescription": "ax dyn_MoCo"}),
    "registered": ({}, {"SeriesDescription": "ax dyn registered"}),
    "distortion": ({"ImageType": [*ORIGINAL[:3], "DIS3D"]}, {"ImageType": ORIGINAL}),
    "distortion 2D": ({"ImageType": [*ORIGINAL[:3], "DIS2D"]}, {"ImageType": ORIGINAL}),
    "normalised": ({"ImageType": [*ORIGINAL, "NORM"]}, {"ImageType": ORIGINAL}),
    "derived": ({"ImageType": ORIGINAL}, {"ImageType": ["DERIVED", *ORIGINAL[1:]]}),
    "filtered": ({"ImageType": ORIGINAL}, {"ImageType": [*ORIGINAL, "XYZ"]}),
    "frame": ({}, {"FrameOfReferenceUID": "1.2.3.4"}),
    "stem": ({}, {"SeriesDescription": "ax dyn sense"}),
}


@pytest.mark.parametrize(
    ("how", "first"),
    [(how, True) for how in VARIANTS] + [(how, False) for how in list(VARIANTS)[:7]],
    ids=lambda value: {True: "kept first", False: "kept last"}.get(value, value),
)
def test_the_same_times_before_and_after_a_correction(tmp_path, how, first):
    """Of the last three only the series number prefers one."""
    kept, left = VARIANTS[how]
    series = write_study(tmp_path / "kept", phases())
    changed = [phase("ax dyn", n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
    others = add(tmp_path / "left", series, changed)
    if how == "frame":  # of each visit one part: no exam by itself
        edit([file for files in others for file in files], ContrastBolusAgent="agent")
    for files in series:
        edit(files, **kept)
    for n, files in enumerate(others):
        edit(files, **left, SeriesNumber=20 + n if first else -20 + n)
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and not result.problem
    assert sum("left out" in warning for warning in result.warnings) == 1
    assert len([stack for stack in result.stacks if stack.role == "left out"]) == 4


def test_motion_corrected_copies_without_times(tmp_path):
    series = write_study(tmp_path, phases())
    add(tmp_path / "moco", series, [phase("ax dyn MOCO", n + 11, shape=SHAPE) for n in range(4)])
    edit(list(walk_files(tmp_path)), **NO_TIMES)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_motion_corrected_copies_with_times_of_their_own(tmp_path):
    series = write_study(tmp_path, phases())
    add(tmp_path / "moco", series, [phase("ax dyn MOCO", n + 11, shape=SHAPE) for n in range(4)])
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_the_corrected_set_is_taken_where_it_alone_is_whole(tmp_path):
    series = write_study(tmp_path, phases())
    shutil.rmtree(series[0][0].parent)
    moco = [phase("ax dyn MOCO", n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
    add(tmp_path / "moco", series[1:], moco)
    assert numbers(plan(tmp_path)) == [101, 102, 103, 104]


def test_phases_of_one_image_type_each_are_all_kept(tmp_path):
    """No two have one time: a pre-contrast phase that was corrected otherwise is still the one."""
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], ImageType=[*ORIGINAL, "NORM"])
    edit(series[0], ImageType=["DERIVED", *ORIGINAL[1:]], SeriesDescription="ax dyn moco")
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


@pytest.mark.parametrize("values", [{}, {"AcquisitionTime": "090130", "SeriesTime": "090000"}])
def test_two_volumes_of_one_time_that_nothing_tells_apart(tmp_path, values):
    series = write_study(tmp_path, phases())
    add(
        tmp_path / "again",
        series,
        [phase("ax dyn", 17, shape=SHAPE)],
        AcquisitionTime="090130",
        ContrastBolusAgent="agent",
    )
    refused(tmp_path, "one time but differ", "--leave-out", "(series 101)")
    assert numbers(plan(tmp_path, leave_out=("101",))) == [1, 2, 3, 4]


DIXON = {
    "words": ("WATER: ax dyn", "FAT: ax dyn"),
    "letters": ("ax dyn_W", "ax dyn_F"),
    "in and out": ("ax dyn_in", "ax dyn_opp"),
    "phases": ("InPhase: ax dyn", "OutPhase: ax dyn"),
    "water only": ("ax dyn water only", "ax dyn fat only"),
}


@pytest.mark.parametrize("how", DIXON)
def test_dixon_images_by_name(tmp_path, how):
    water, fat = DIXON[how]
    series = write_study(tmp_path, phases(name=water))
    fats = [phase(fat, n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
    for n, files in enumerate(add(tmp_path / "fat", series, fats)):
        edit(files, SeriesNumber=-20 + n)
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and any("Dixon" in warning for warning in result.warnings)


def test_dixon_images_by_type_in_one_series(tmp_path):
    series = write_study(tmp_path, phases(name="mDIXON"))
    fats = add(
        tmp_path / "fat", series, [phase("mDIXON", n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
    )
    for n, (water, fat) in enumerate(zip(series, fats, strict=True), 1):
        edit(water, ImageType=["ORIGINAL", "PRIMARY", "W", "W", "DERIVED"], TemporalPositionIdentifier=n)
        edit(fat, ImageType=["ORIGINAL", "PRIMARY", "F", "F", "DERIVED"], TemporalPositionIdentifier=n)
    one_series([*series, *fats])
    kept = planned(tmp_path).order.stacks
    assert [stack.dixon for stack in kept] == ["water"] * 4 and not plan(tmp_path).problem


def test_fat_images_are_not_taken_for_water_that_lacks_phases(tmp_path):
    series = write_study(tmp_path, phases(name="ax dyn_W"))
    add(tmp_path / "fat", series, [phase("ax dyn_F", n + 11, time_s=90.0 * n, shape=SHAPE) for n in range(4)])
    shutil.rmtree(series[0][0].parent)
    for file in series[2][2:] + series[3][2:]:
        file.unlink()
    refused(tmp_path, "fat images")


def test_with_and_without_contrast_are_no_dixon_images(tmp_path):
    series = write_study(tmp_path, phases(2))
    edit(series[0], SeriesDescription="AX DYN WO")
    edit(series[1], SeriesDescription="AX DYN W")
    assert dynamic(plan(tmp_path)) == ["AX DYN WO", "AX DYN W"]


VISITS = {
    "frames": {"FrameOfReferenceUID": "1.2.3.4", "AcquisitionDate": None},
    "dates": {"AcquisitionDate": "20010101", "FrameOfReferenceUID": None},
    "patients": {"PatientID": "ANOTHER"},
    "times": {"FrameOfReferenceUID": None, "AcquisitionDate": None},
}


@pytest.mark.parametrize("agents", [True, False], ids=["agents named", "no agents"])
@pytest.mark.parametrize("how", VISITS)
def test_two_visits_under_one_study(tmp_path, how, agents):
    for folder, seed, hour in (("first", 1, 9), ("second", 2, 11)):
        level = 10 * seed
        volumes = [phase("ax dyn", level + n, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
        for n, files in enumerate(write_study(tmp_path / folder, volumes, study_uid="1.2.3", seed=seed)):
            edit(files, AcquisitionTime=f"{hour:02d}{n * 2:02d}00", FrameOfReferenceUID="1.2")
            edit(files, **(VISITS[how] if seed == 2 else dict.fromkeys(VISITS[how]) | {"PatientID": "ONE"}))
            if how == "dates" and seed == 1:
                edit(files, AcquisitionDate="20000101")
            if not agents:
                edit(files, **NO_AGENT)
    refused(tmp_path, "holds the dynamic series of 2", "first", "second", "--study")
    for number, folder in (("1", "first"), ("2", "second")):
        result = plan(tmp_path, study=number)
        assert not result.problem, result.problem
        assert all(folder in file for stack in result.stacks if stack.is_dynamic for file in stack.files)
        assert len(dynamic(result)) == 4


def test_parts_in_two_frames_of_reference_are_one_exam(tmp_path):
    """The phases after contrast got a frame of their own; so does every series from some anonymisers."""
    series = write_study(tmp_path, phases(5))
    edit([file for files in series[1:] for file in files], FrameOfReferenceUID="1.2.3.4")
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4, 5]
    for n, files in enumerate(series):
        edit(files, FrameOfReferenceUID=f"1.2.3.{n}")
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4, 5]


def test_across_midnight_is_one_visit(tmp_path):
    series = write_study(tmp_path, phases(6))
    for n, files in enumerate(series):
        late = n >= 3
        edit(files, AcquisitionTime=f"{0 if late else 23}{5 if late else 55 + n}{n}0".rjust(6, "0"))
        edit(files, AcquisitionDate="20000102" if late else "20000101", **NO_AGENT)
    for n, files in enumerate(series):
        clock = ("235500", "235630", "235800", "000000", "000130", "000300")[n]
        edit(files, AcquisitionTime=clock)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_late_phases_are_no_second_visit(tmp_path):
    series = write_study(tmp_path, phases(5))
    for n, clock in enumerate(("090000", "092500", "092700", "095000", "095200")):
        edit(series[n], AcquisitionTime=clock)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- what is no phase


def test_flip_angles_are_no_phases(tmp_path):
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], FlipAngle=10)
    angles = add(tmp_path / "angles", series, [phase(f"ax fa{a}", a, shape=SHAPE) for a in (2, 5, 10, 15)])
    for files, angle in zip(angles, (2, 5, 10, 15), strict=True):
        edit(files, FlipAngle=angle, AcquisitionTime=f"0850{angle:02d}", **NO_AGENT)
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and any("flip angle" in warning for warning in result.warnings)


def test_flip_angles_of_the_name_of_the_phases(tmp_path):
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], FlipAngle=10)
    angles = add(tmp_path / "angles", series, [phase("ax dyn", a, shape=SHAPE) for a in (2, 10, 15)])
    for minute, (files, angle) in enumerate(zip(angles, (2, 10, 15), strict=True)):
        edit(files, FlipAngle=angle, AcquisitionTime=f"085{minute}00", **NO_AGENT)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_flip_angles_in_one_series(tmp_path):
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], FlipAngle=10)
    angles = add(tmp_path / "angles", series, [phase("T1 3D", a, shape=SHAPE) for a in (2, 5, 15)])
    for files, angle in zip(angles, (2, 5, 15), strict=True):
        edit(
            files,
            FlipAngle=angle,
            AcquisitionTime="085000",
            SeriesInstanceUID="1.2",
            SeriesNumber=8,
            **NO_AGENT,
        )
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


def test_inversion_times_are_no_phases(tmp_path):
    series = write_study(tmp_path, phases())
    inversions = add(tmp_path / "ir", series, [phase("ax ir", n + 30, shape=SHAPE) for n in range(6)])
    for n, files in enumerate(inversions):
        edit(files, InversionTime=100 * (n + 1), AcquisitionTime=f"085{n}00", **NO_AGENT)
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


MAPS = (
    "SER|PE|PEI|WI|WO|ax dyn_WI|ax dyn_WO|ax dyn WASH-IN|Wash Out|washin rate|TTP|"
    "time to peak|Ktrans|K-trans|kep"
    "|ve|iAUC|iAUC60|AUC90|ax dyn MIP TRA|MIP_Time|ADC|ADC_map|ax dyn_PEI|Max Slope|Rel Enh|PosEnhInt|T1 map"
    "|fat fraction|Peak Enhancement|Signal Enhancement Ratio|Percent Enhancement|SUB 1|ax dyn_SUB|subtraction"
).split("|")


@pytest.mark.parametrize("kind", [ORIGINAL, ["DERIVED", "SECONDARY"]], ids=["original", "derived"])
def test_maps_under_any_name(tmp_path, kind):
    series = write_study(tmp_path, phases())
    edit([file for files in series for file in files], ImageType=kind)
    maps = add(tmp_path / "maps", series, [phase(name, n + 20, shape=SHAPE) for n, name in enumerate(MAPS)])
    for n, files in enumerate(maps):  # some with the time of a phase, most with times of their own
        clock = "090000" if n % 3 == 0 else f"09{20 + n // 2}{n % 2}0"
        edit(files, ImageType=kind, AcquisitionTime=clock, ContrastBolusAgent="agent")
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and not result.problem
    assert {role_of(result, name)[0] for name in MAPS} == {"left out"}


@pytest.mark.parametrize("word", ["WI", "WO", "PEI", "TTP", "WASHIN", "ADC", "MIP", "SUB", "SUBTRACTION"])
def test_maps_by_image_type(tmp_path, word):
    series = write_study(tmp_path, phases())
    add(
        tmp_path / "map",
        series,
        [phase("ax dyn", 20, shape=SHAPE)],
        ImageType=["DERIVED", "SECONDARY", "M", word],
    )
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "names", [("AX WO", "AX W"), ("ax dyn wo", "ax dyn 1", "ax dyn 2"), ("PE AP wo", "PE AP w 1")]
)
def test_short_words_that_are_no_maps(tmp_path, names):
    volumes = [phase(name, n + 1, time_s=90.0 * n, shape=SHAPE) for n, name in enumerate(names)]
    write_study(tmp_path, volumes)
    assert dynamic(plan(tmp_path)) == list(names)


def test_a_word_that_all_names_share_says_nothing(tmp_path):
    volumes = [phase(f"CAD dyn {n}", n + 1, time_s=90.0 * n, shape=SHAPE) for n in range(4)]
    write_study(tmp_path, volumes, t1=t1("CAD t1 tse"))
    assert dynamic(plan(tmp_path)) == [f"CAD dyn {n}" for n in range(4)]


GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
CAPTURES = {
    "capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "as MR": {"ImageType": ["DERIVED", "SECONDARY"]},
    "with times of echo": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2",
        "EchoTime": 1.5,
        "RepetitionTime": 4.5,
    },
}


@pytest.mark.parametrize("how", CAPTURES)
def test_screen_captures_without_geometry(tmp_path, how):
    series = write_study(tmp_path, phases())
    values = dict.fromkeys([*GEOMETRY, "EchoTime", "RepetitionTime", "ScanOptions"]) | CAPTURES[how]
    add(tmp_path / "cad", series, [phase("DynaCAD", 20, shape=SHAPE)], **values)
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and role_of(result, "DynaCAD")[0] == "left out"


def test_screen_captures_with_geometry_are_no_phases(tmp_path):
    series = write_study(tmp_path, phases(3))
    captures = [phase("CAD", n + 20, time_s=90.0 * n, shape=SHAPE) for n in range(5)]
    add(tmp_path / "cad", series, captures, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert numbers(plan(tmp_path)) == [1, 2, 3]


# ---------------------------------------------------------------- one series of several phases


def numbered(order: Callable[[int, int], int], **values) -> Callable[[list[list[Path]]], None]:
    """One series whose images have these instance numbers, and no times."""

    def change(series: list[list[Path]]) -> None:
        for n, files in enumerate(series):
            edit(
                files, lambda data, k, n=n: setattr(data, "InstanceNumber", order(n, k)), **NO_TIMES, **values
            )
        one_series(series)

    return change


def timed(clock: str, seconds: Callable[[int, int], float]) -> Callable[[list[list[Path]]], None]:
    """One series whose instance numbers restart, with a time for each image."""

    def change(series: list[list[Path]]) -> None:
        for n, files in enumerate(series):
            edit(files, **NO_TIMES)
            for k, file in enumerate(files):
                s = 32400 + seconds(n, k)
                text = f"{int(s // 3600):02d}{int(s % 3600 // 60):02d}{s % 60:06.3f}"
                edit([file], **{clock: text, "InstanceNumber": k + 1})
        one_series(series)

    return change


def twice(series: list[list[Path]], **values) -> None:
    """Every image once more, under another UID."""
    for files in series:
        for k, file in enumerate(list(files)):
            copy = file.with_name(f"copy_{file.name}")
            shutil.copy(file, copy)
            edit([copy], SOPInstanceUID=f"1.{k}.{zlib.crc32(str(file).encode())}", **values)
    one_series(series)
    one_series([[f.with_name(f"copy_{f.name}") for f in files] for files in series])


def twice_with_positions(series: list[list[Path]]) -> None:
    for number, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=number)
    twice(series)


def twice_with_times(series: list[list[Path]]) -> None:
    twice(series, InstanceNumber=500)


TOLD = {
    "phase by phase": numbered(lambda n, k: 1 + 8 * n + k),
    "place by place": numbered(lambda n, k: 1 + 4 * k + n),
    "phases backwards in place": numbered(lambda n, k: 8 * n + 8 - k),
    "with gaps": numbered(lambda n, k: 1 + 2 * (8 * n + k)),
    "a time for each image": timed("AcquisitionTime", lambda n, k: 90 * n + 0.5 * k),
    "interleaved": timed("AcquisitionTime", lambda n, k: 90 * n + (k % 2) * 20 + k),
    "content times": timed("ContentTime", lambda n, k: 90 * n + k),
    "back to back": timed("AcquisitionTime", lambda n, k: 8 * n + k),
    "images twice, temporal positions": twice_with_positions,
    "images twice, times": twice_with_times,
}


@pytest.mark.parametrize("how", TOLD)
def test_phases_of_one_series(tmp_path, how):
    series = write_study(tmp_path, phases(), scrambled_names=True)
    series = [sorted(files, key=_position) for files in series]
    edit([file for files in series for file in files], **NO_AGENT)
    TOLD[how](series)
    result = planned(tmp_path)
    assert not result.plan.problem, result.plan.problem
    for stack, files in zip(result.order.stacks, series, strict=True):
        assert {item.path.name.removeprefix("copy_") for item in stack.slices} == {f.name for f in files}
    assert len(dynamic(plan(tmp_path))) == 4


def _position(file: Path) -> float:
    import pydicom

    return float(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2])


def half_of_two_phases(series: list[list[Path]]) -> None:
    for number, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=number)
    one_series(series)
    for file in series[0][4:] + series[1][:4] + series[2] + series[3]:
        file.unlink()


def halves_with_times(series: list[list[Path]]) -> None:
    timed("AcquisitionTime", lambda n, k: 90 * n + k)(series)
    for file in series[0][4:] + series[1][:4]:
        file.unlink()


NOT_TOLD = {
    "restarts": (numbered(lambda n, k: k + 1), "neither times nor numbers tell apart"),
    "some restart": (numbered(lambda n, k: k + 1 + 8 * (n // 2)), "neither times nor numbers"),
    "at random": (
        numbered(lambda n, k: int(np.random.default_rng(8 * n + k).integers(1 << 30))),
        "neither times nor numbers",
    ),
    "no numbers": (numbered(lambda n, k: None), "neither times nor numbers"),
    "halves by temporal position": (half_of_two_phases, "2 temporal positions"),
    "halves by time": (halves_with_times, "neither times nor numbers"),
}


@pytest.mark.parametrize("how", NOT_TOLD)
def test_slices_of_different_phases_are_never_mixed(tmp_path, how):
    series = [sorted(files, key=_position) for files in write_study(tmp_path, phases())]
    change, sentence = NOT_TOLD[how]
    change(series)
    refused(tmp_path, sentence)


def test_enhanced_objects_hold_several_phases(tmp_path):
    write_enhanced(tmp_path / "all.dcm", phases())
    result = plan(tmp_path)
    assert len(dynamic(result)) == 4 and [len(stack.files) for stack in result.stacks] == [1, 0, 0, 0]


# ---------------------------------------------------------------- geometry


def jitter(**amounts: float) -> Callable:
    """Change headers by random amounts."""
    rng = np.random.default_rng(0)

    def change(data, _):
        for keyword, amount in amounts.items():
            values = np.array(data[keyword].value, float)
            setattr(data, keyword, [f"{v:.8f}" for v in values + rng.uniform(-amount, amount, len(values))])

    return change


@pytest.mark.parametrize(
    "amounts",
    [
        {"ImageOrientationPatient": 1e-6},
        {"ImageOrientationPatient": 1e-5},
        {"ImageOrientationPatient": 3e-4},
        {"ImagePositionPatient": 0.06},
        {"PixelSpacing": 1e-5},
        {"ImageOrientationPatient": 1e-5, "ImagePositionPatient": 0.03, "PixelSpacing": 1e-6},
    ],
)
@pytest.mark.parametrize("single", [False, True], ids=["series each", "one series"])
def test_headers_that_jitter(tmp_path, amounts, single):
    grid = affine(angles_deg=(0, 0, 1.29))
    series = write_study(tmp_path, phases(grid=grid))
    for n, files in enumerate(series, 1):
        edit(files, jitter(**amounts), TemporalPositionIdentifier=n)
    if single:
        one_series(series)
    result = plan(tmp_path)
    assert len(dynamic(result)) == 4 and not result.problem, result.problem


@pytest.mark.parametrize(("voxels", "is_one"), [(0.1, True), (0.4, True), (0.9, False)])
def test_phases_apart_by_less_than_half_a_voxel(tmp_path, voxels, is_one):
    series = write_study(tmp_path, phases())
    edit(
        series[2],
        lambda data, _: setattr(
            data,
            "ImagePositionPatient",
            [float(data.ImagePositionPatient[0]) + 1.5 * voxels, *data.ImagePositionPatient[1:]],
        ),
    )
    result = plan(tmp_path)
    assert (len(dynamic(result)) == 4) is is_one


SAGITTAL = affine(spacing=(1.5, 1.5, 2.0), order=(1, 2, 0))


@pytest.mark.parametrize("single", [False, True], ids=["series each", "one series"])
@pytest.mark.parametrize("gap", [8, 9, 15])
def test_two_sagittal_stacks(tmp_path, gap, single):
    shape = (6, 5, 16 + gap)
    volumes = [phase("sag dyn", n + 1, time_s=90.0 * n, shape=shape, grid=SAGITTAL) for n in range(3)]
    series = write_study(tmp_path, volumes)
    for n, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=n)
        for file in files[9 : 9 + gap]:
            file.unlink()
    if single:
        one_series([[f for f in files if f.exists()] for files in series])
    refused(tmp_path, "two sagittal stacks, of 9 and 7 slices")


def test_five_digit_times(tmp_path):
    series = write_study(tmp_path, phases())
    for n, files in enumerate(series):
        edit(files, AcquisitionTime=f"95{8 + n}00" if n < 2 else f"100{n}00", **NO_AGENT)
    result = plan(tmp_path)
    assert [stack.time_s for stack in result.stacks] == [0, 60, 240, 300]


# ---------------------------------------------------------------- many phases


def ultrafast(count: int, **options) -> list[Phase]:
    return [phase("ax twist", n + 1, time_s=5.0 * n, **options) for n in range(count)]


@pytest.mark.parametrize("count", [8, 12, 15])
@pytest.mark.parametrize("grid", ["coarse", "same"])
def test_usual_phases_beside_ultrafast_ones(tmp_path, count, grid):
    series = write_study(tmp_path, phases())
    if grid == "coarse":
        fast = ultrafast(count, shape=(3, 3, 5), grid=affine(spacing=(3.0, 2.5, 3.2)))
    else:
        fast = ultrafast(count, shape=SHAPE)
    for n, files in enumerate(add(tmp_path / "fast", series, fast)):
        edit(files, AcquisitionTime=f"0900{10 + 5 * n}" if n < 10 else f"0901{5 * (n - 10):02d}")
        edit(files, ContrastBolusAgent="agent")
    result = plan(tmp_path)
    assert numbers(result) == [1, 2, 3, 4] and not result.problem
    assert any("ax twist" in warning and "left out" in warning for warning in result.warnings)


def test_an_ultrafast_acquisition_alone_is_an_exam(tmp_path):
    series = write_study(tmp_path, ultrafast(8, shape=SHAPE))
    edit(series[0], SeriesDescription="ax twist pre")
    assert numbers(plan(tmp_path)) == list(range(1, 9))


def test_the_advice_for_too_many_phases_can_be_followed(tmp_path):
    series = write_study(tmp_path, ultrafast(20, shape=SHAPE))
    result = planned(tmp_path).plan
    chosen = result.problem.split("--phases ")[1].rstrip(".").split()
    assert "20 dynamic volumes" in result.problem and len(chosen) == 6
    assert numbers(plan(tmp_path, phases=tuple(chosen))) == list(map(int, chosen))
    for n, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=n)
    one_series(series)
    result = planned(tmp_path).plan
    chosen = result.problem.split("--phases ")[1].rstrip(".").split()
    assert chosen == ["5:1", "5:5", "5:9", "5:12", "5:16", "5:20"]
    assert dynamic(plan(tmp_path, phases=tuple(chosen))) == [f"ax twist phase {c[2:]}" for c in chosen]


# ---------------------------------------------------------------- what the user says


def test_chosen_phases_of_one_time_are_ordered_by_numbers(tmp_path):
    series = write_study(tmp_path, phases())
    edit(series[3], AcquisitionTime="090300")
    refused(tmp_path, "one time but differ")
    result = plan(tmp_path, phases=("1", "2", "3", "4"))
    assert numbers(result) == [1, 2, 3, 4]
    assert any("have one time; their order rests on numbers" in warning for warning in result.warnings)


def test_phases_and_what_to_leave_out(tmp_path):
    series = write_study(tmp_path, phases())
    add(tmp_path / "other", series, [phase("late", 9, time_s=900.0, shape=SHAPE)], AcquisitionTime="092000")
    assert numbers(plan(tmp_path)) == [1, 2, 3, 4, 101]
    assert numbers(plan(tmp_path, phases=("4", "1", "2"))) == [1, 2, 4]
    assert numbers(plan(tmp_path, leave_out=("Late",))) == [1, 2, 3, 4]
    assert numbers(plan(tmp_path, phases=("ax dyn",), leave_out=("3",))) == [1, 2, 4]
    refused(tmp_path, "--phases 77 names no series", "101 (late)", phases=("77",))
    refused(tmp_path, "--leave-out x names no series", leave_out=("x",))
    refused(tmp_path, "only one volume", phases=("2",))


def test_ranges_of_phases_in_one_series(tmp_path):
    series = write_study(tmp_path, phases(6))
    for n, files in enumerate(series, 1):
        edit(files, TemporalPositionIdentifier=n)
    one_series(series)
    assert dynamic(plan(tmp_path, phases=("5:1-3", "5:6"))) == [f"ax dyn phase {n}" for n in (1, 2, 3, 6)]
    assert len(dynamic(plan(tmp_path, leave_out=("5:6",)))) == 5
    assert len(dynamic(plan(tmp_path, phases=("5",)))) == 6


def test_studies_by_number_and_uid(tmp_path):
    for n, folder in enumerate(("c", "a", "b")):
        for files in write_study(tmp_path / folder, phases(), study_uid=f"1.2.{n}", seed=n):
            edit(files, AcquisitionDate=f"200{n}0101")
    refused(tmp_path, "3 studies", "1: ", "2000-01-01", "3: ", "2002-01-01")
    for n, folder in enumerate(("c", "a", "b")):
        for study in (str(n + 1), f"1.2.{n}"):
            result = plan(tmp_path, study=study)
            assert all(f"/{folder}/" in f for s in result.stacks if s.is_dynamic for f in s.files)
            assert "Images of other studies in the folder were left out." in result.warnings
    refused(tmp_path, "holds no study 4", "3: ", study="4")


def test_patients_in_one_folder(tmp_path):
    for n, folder in enumerate(("ann", "bea")):
        for files in write_study(tmp_path / folder, phases(), seed=n):
            edit(files, PatientID=folder)
    result = refused(tmp_path, "2 patients", "--study")
    assert "PatientID" not in repr(result)


def test_a_t1_that_was_given_is_no_phase(tmp_path):
    series = write_study(tmp_path, phases(5))
    import pydicom

    uid = str(pydicom.dcmread(series[4][0]).SeriesInstanceUID)
    assert numbers(plan(tmp_path, t1_uids=(uid,))) == [1, 2, 3, 4]


# ---------------------------------------------------------------- Philips


def philips(series: list[list[Path]], scales: Sequence[tuple[float, float | None]], block: int = 0) -> None:
    """Set rescale slope and private scale slope of each series."""
    for files, (slope, scale) in zip(series, scales, strict=True):

        def change(data, _, scale=scale):
            for _other in range(block):
                data.private_block(0x2005, f"Other {_other}", create=True)
            if scale is not None:
                own = data.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
                own.add_new(0x0E, "FL", scale)

        edit(files, change, Manufacturer="Philips Medical Systems", RescaleSlope=slope, RescaleIntercept=0)


@pytest.mark.parametrize("block", [0, 1, 3])
def test_philips_scales(tmp_path, block):
    volumes = phases()
    series = write_study(tmp_path, volumes)
    philips(series, [(1.2, 0.4), *[(2.4, 0.16)] * 3], block)
    exam = load_dicom(planned(tmp_path))
    pre, post = (exam.phases[n].volume.array for n in (0, 1))
    assert any("one scale" in warning for warning in exam.warnings)
    assert np.allclose(pre, volumes[0].volume.array * 1.2, rtol=1e-6)
    assert np.allclose(post, volumes[1].volume.array / 0.16 * (1.2 * 0.4), rtol=1e-5)


def test_philips_scales_that_agree_change_nothing(tmp_path):
    series = write_study(tmp_path, phases())
    philips(series, [(1.0, 0.4)] * 4)
    exam = load_dicom(planned(tmp_path))
    assert not exam.warnings and exam.pre.volume.array.dtype == np.uint16


def test_philips_scales_that_are_not_known(tmp_path):
    series = write_study(tmp_path, phases())
    philips(series, [(1.2, None), *[(2.4, 0.16)] * 3])
    assert any("may be scaled apart" in warning for warning in plan(tmp_path).warnings)


# ---------------------------------------------------------------- whole studies


def hospital(folder: Path) -> list[int]:
    """A study of 28 series as a hospital exports it; the series numbers of its phases."""
    series = write_study(folder / "dyn", phases(6, "t1_fl3d_dyn"))
    for n, files in enumerate(series):
        edit(files, ImageType=["DERIVED", "PRIMARY", "M", "NORM", "DIS2D"], SeriesNumber=10 + 2 * n)
    small = (6, 5, 5)
    number, common = 30, study_of(series[0][0])

    def more(name: str, shape=SHAPE, grid=None, **values) -> None:
        nonlocal number
        number += 1
        files = write_study(
            folder / f"s{number}", [phase(name, number, shape=shape, grid=grid)], seed=number
        )[0]
        edit(files, SeriesNumber=number, **common, **({"AcquisitionTime": f"09{number}00"} | values))

    more("3-plane localizer", small)
    more("loc breast", small, AcquisitionTime="084000")
    more("t2_tirm_tra", small, EchoTime=60, RepetitionTime=5000, AcquisitionTime="084200")
    more("t2_tse_tra", small, EchoTime=90, RepetitionTime=5000, AcquisitionTime="084400")
    more("t1_fl3d_tra_non_fat_sat", EchoTime=4.8, ScanOptions="", AcquisitionTime="084600", **NO_AGENT)
    more("ep2d_diff_b50_800", small, EchoTime=70, DiffusionBValue=800.0)
    more("ep2d_diff_ADC", small, EchoTime=70)
    for n in range(1, 6):
        more(f"t1_fl3d_dyn_SUB{n}", ImageType=["DERIVED", "SECONDARY", "M", "NORM", "DIS2D", "SUB"])
    for word in ("WI", "WO", "PEI", "TTP", "MIP_TIME"):
        kind = ["DERIVED", "SECONDARY", "M", "NORM", "DIS2D", word]
        more(f"t1_fl3d_dyn_{word}", ImageType=kind, AcquisitionTime="090000")
    for n in range(3):
        more(f"t1_fl3d_dyn_SUB MIP {n}", small, ImageType=["DERIVED", "SECONDARY", "MIP"])
    more("screenshot", Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    more("Phoenix ZIPReport", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    (folder / "Thumbs.db").write_bytes(b"thumbs" * 50)
    (folder / "README.txt").write_text("CD of the hospital")
    return [10 + 2 * n for n in range(6)]


def flatten(folder: Path) -> None:
    """All files in one folder, called by numbers as on a CD."""
    for number, file in enumerate(list(walk_files(folder))):
        if file.parent != folder:
            file.rename(folder / f"IM{number:05d}")


@pytest.mark.parametrize("flat", [False, True])
def test_the_whole_study_of_a_hospital_gives_the_phases_alone(tmp_path, flat):
    expected = hospital(tmp_path)
    if flat:
        flatten(tmp_path)
    result = plan(tmp_path)
    assert not result.problem and numbers(result) == expected
    series = [stack for stack in result.stacks if stack.name != "other files"]
    assert len(series) == 28 and len({stack.name for stack in series}) == 28
    left_out = {stack.name: stack.reason for stack in series if stack.role == "left out"}
    assert len(left_out) == 28 - len(expected) - 1
    for name, reason in left_out.items():
        words = {
            "SUB": "subtraction", "loc": "localizer", "t2": "another contrast", "diff": "diffusion",
            "dyn_": "projection or a map", "screen": "modality OT", "Phoenix": "modality SR",
        }  # fmt: skip
        meant = [text for word, text in words.items() if word in name]
        assert any(text in reason for text in (*meant, "projection or a map", "another contrast")), (
            name,
            reason,
        )
    assert [stack.name for stack in result.stacks if stack.role == "T1"] == ["t1_fl3d_tra_non_fat_sat"]
    others = next(stack for stack in result.stacks if stack.name == "other files")
    assert {os.path.basename(file) for file in others.files} == {"DICOMDIR", "Thumbs.db", "README.txt"}
    assert not any(stack.role == "problem" for stack in result.stacks)
    assert all(stack.reason for stack in result.stacks)


def test_times_of_the_user_stand_in_the_plan(tmp_path, capsys):
    write_study(tmp_path, phases(3))
    exam = readers.read(tmp_path, ReadOptions(times_s=(10, 50, 130)))
    assert [stack.time_s for stack in exam.plan.stacks if stack.is_dynamic] == [0, 40, 120]
    assert cli.main(["check", str(tmp_path), "--times", "10", "50", "130"]) in (0, 2)
    table = capsys.readouterr().out.splitlines()
    assert [line.split("post")[1].split()[0] for line in table[2:4]] == ["40", "120"]


# ---------------------------------------------------------------- two acquisitions on one grid


def two_runs(folder: Path, names: str, **values) -> list[list[Path]]:
    """Two acquisitions of three volumes each; the headers of the second have other values, and no times."""
    first, second = names.split("|")
    series = write_study(folder, [phase(first.format(n), n, shape=SHAPE) for n in (1, 2, 3)])
    series += add(folder, series, [phase(second.format(n), 6 + n, shape=SHAPE) for n in (1, 2, 3)])
    for files in series:
        edit(files, **NO_TIMES, **NO_AGENT)
    for files in series[3:]:
        edit(files, **values)
    return series


@pytest.mark.parametrize(
    ("names", "values"),
    [
        ("t1_fl3d {}|Ax VIBRANT {}", {"RepetitionTime": 5.5}),
        ("run one|thrive", {"EchoTime": 2.1}),
        ("dyn-a {}|dyn-b {}", {}),
        ("left {}|right {}", {}),
    ],
)
def test_two_acquisitions_are_never_pooled(tmp_path, names, values):
    two_runs(tmp_path, names, **values)
    result = refused(tmp_path, "2 dynamic acquisitions", "--phases")
    assert len(result.stacks) == 6
    assert not plan(tmp_path, phases=("101", "102", "103")).problem


@pytest.mark.parametrize("values", [{"RepetitionTime": 5.5}, {"EchoTime": 2.1}])
@pytest.mark.parametrize("told", ["agent", "name"])
def test_of_two_acquisitions_that_with_a_phase_before_contrast_is_kept(tmp_path, values, told):
    series = two_runs(tmp_path, "t1_fl3d {}|Ax VIBRANT {}", **values)
    if told == "agent":
        for files in [*series[1:3], *series[3:]]:
            edit(files, ContrastBolusAgent="Gd")
    else:
        edit(series[0], SeriesDescription="t1_fl3d pre")
    result = plan(tmp_path, keep_order=True)
    kept = [stack.name for stack in result.stacks if stack.is_dynamic]
    assert not result.problem and len(kept) == 3 and all(name.startswith("t1_fl3d") for name in kept)
    assert "acquisition" in " ".join(result.warnings)


def test_a_phase_before_contrast_of_another_repetition_time_is_a_phase(tmp_path):
    series = write_study(tmp_path, phases(4))
    edit(series[0], RepetitionTime=5.5, SeriesDescription="t1 vibrant", **NO_AGENT)
    assert len(numbers(plan(tmp_path))) == 4


def test_what_the_headers_give_is_what_is_loaded(tmp_path):
    write_study(tmp_path, phases(), t1=t1())
    stacks, kind = find_dynamics(walk_files(tmp_path), tmp_path)
    exam = readers.read(tmp_path)
    assert kind == "phases" and [stack.name for stack in stacks] == [one.name for one in exam.phases]
    assert exam.plan is not None and exam.plan.stacks[0].role == "pre" and exam.plan.files


def test_nothing_that_can_be_used(tmp_path):
    write_study(tmp_path, [phase("ax dyn", 1)])
    edit(list(walk_files(tmp_path)), Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    result = refused(tmp_path, "not an MRI")
    assert result.stacks[0].role == "left out" and "CT" in result.stacks[0].reason
    with pytest.raises(InputError, match="empty"):
        plan_dicom([], tmp_path)


def test_an_exam_that_is_still_packed(tmp_path):
    for name in ("dyn_pre.tar.xz", "dyn_post.nii.bz2.part"):
        (tmp_path / name).write_bytes(b"\xfd7zXZ" + b"x" * 100)
    refused(tmp_path, "2 packed or unfinished files", "unpack")
