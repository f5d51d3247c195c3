"""Results say nothing of where an exam lies: no path, and no folder's name that may be a patient's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import SHAPE, edit, phase, write_study

from BreastCMSLLib import readers
from BreastCMSLLib.core.itk import to_sitk
from BreastCMSLLib.readers import ReadOptions
from BreastCMSLLib.readers.public import PublicFolders, without_places
from BreastCMSLLib.results.plan_table import stack_records

PATIENT = "Zyxomelda_Anna_19470321"


def written(exam) -> str:
    """All that results take from an exam's names, plan and warnings."""
    names = [one.name for one in (*exam.phases, *([exam.t1] if exam.t1 else []))]
    return json.dumps([names, exam.warnings, exam.plan.warnings, stack_records(exam.plan), exam.identifiers])


def write(path, level: int = 1, array=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = phase("", level).volume
    sitk.WriteImage(to_sitk(volume if array is None else volume.with_array(array)), str(path))


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("01_pre", "02_post", "03_post"), ["01_pre/img", "02_post/img", "03_post/img"]),
        (
            (f"{PATIENT}_pre", f"{PATIENT}_post_1", f"{PATIENT}_post_2"),
            ["pre/img", "post_1/img", "post_2/img"],
        ),
        ((f"a{PATIENT}", f"b{PATIENT}", f"c{PATIENT}"), ["folder 1/img", "folder 2/img", "folder 3/img"]),
    ],
)
def test_folders_of_phases_keep_only_words_of_the_field(tmp_path, folders, names):
    for level, folder in enumerate(folders, 1):
        write(tmp_path / PATIENT / folder / "img.nii.gz", level)
    exam = readers.read(tmp_path / PATIENT)
    assert [one.name for one in exam.phases] == names
    assert "Zyxomelda" not in written(exam) and str(tmp_path) not in written(exam)
    again = readers.read(tmp_path / PATIENT, ReadOptions(phases=tuple(names)))
    assert [one.name for one in again.phases] == names, "what a result calls a volume chooses it"


def test_what_is_left_out_names_no_folder(tmp_path):
    for folder in ("original", f"{PATIENT} registered"):
        for level, name in enumerate(("pre", "post_1", "post_2"), 1):
            write(tmp_path / folder / f"{name}.nii.gz", level)
    label = (np.indices(SHAPE)[0] > 5).astype(np.uint8)
    write(tmp_path / PATIENT / "segmentations" / "left.nii.gz", array=label)
    exam = readers.read(tmp_path)
    text = written(exam)
    assert "Zyxomelda" not in text and str(tmp_path) not in text
    assert "registered/pre was left out" in " ".join(exam.warnings) and "segmentations" in text


@pytest.mark.parametrize("agents", [True, False])
def test_what_lies_in_another_study_is_named_without_its_folder(tmp_path, agents):
    """An earlier volume of the protocol lies elsewhere, and the user goes on."""
    phases = [phase("ax dyn", n + 1, time_s=90.0 * n) for n in range(4)]
    series = write_study(tmp_path / PATIENT, phases)
    other = {"StudyInstanceUID": "1.2.3.4", "ContrastBolusAgent": ""}
    edit(series[0], **other)
    for files in series[1:]:
        edit(files, ContrastBolusAgent="Gd" if agents else "")
    home = tmp_path / PATIENT / "another Zyxomelda"
    home.mkdir()
    for file in series[0]:
        file.rename(home / file.name)
    problem = readers.plan(tmp_path / PATIENT).problem
    assert "another study" in problem, problem
    exam = readers.read(tmp_path / PATIENT, ReadOptions(keep_order=True))
    text = written(exam)
    assert "another study" in " ".join(exam.warnings)
    assert "Zyxomelda" not in text and str(tmp_path) not in text


def test_places_are_taken_out_of_sentences():
    place = "/data/Anna"
    assert without_places("A in /data/Anna is short.", [place]) == "A is short."
    assert without_places("A (/data/Anna) is short.", [place]) == "A is short."
    assert without_places("Look into /data/Anna/x.", [place]) == "Look into the folder/x."
    assert without_places("ax dyn in phase in ..", ["."]) == "ax dyn in phase."


def test_folders_of_one_meaning_stay_apart():
    folders = PublicFolders(["Miller", "Smith", "post_1", "pre 2", "case_12"])
    assert [folders.of(name) for name in ("Miller", "Smith", "post_1", "pre 2")] == [
        "folder 1", "folder 2", "post_1", "pre 2"
    ]  # fmt: skip
