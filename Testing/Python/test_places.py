"""Places of a cohort as numbers: the same as those of cached exams, made in parts, and learned from beside a run's own exams."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from BreastCMSLLib.candidates import classifier as candidates
from BreastCMSLLib.candidates.classifier import CandidateSettings, propose
from BreastCMSLLib.core.errors import InputError
from training import places, train_candidates
from training.data import cache
from training.data.manifest import read_manifest, write_manifest
from training.prepare import make, rows_of
from training.runs import folder as runs

SMOKE = "simulated:smoke"
SETTINGS = CandidateSettings(grid_mm=4.4, count=4)


def test_a_place_is_described_as_from_the_cache(tmp_path):
    row = rows_of(SMOKE)[0]
    contract = cache.contract_at(4.4)
    found = places.of_exam(row, contract, SETTINGS)
    make(row, contract, tmp_path)
    exam = cache.load(cache.exam_path(tmp_path, row.exam))
    kept = propose(exam.array.numpy(), exam.inside, np.array(exam.meta["affine"]), exam.meta["minutes"], SETTINGS)
    assert np.array_equal(found.measures, kept.measures)
    assert np.allclose(found.ras_mm, [peak.ras_mm for peak in kept.peaks], atol=1e-3)
    centres = [lesion["ras_mm"] for lesion in exam.meta["lesions"] if lesion["malignant"]]
    assert np.allclose(found.lesions_mm, np.reshape(centres, (-1, 3)), atol=1e-3)
    assert found.minutes == exam.meta["minutes"] and 2 < found.minutes < 15
    assert (found.exam, found.patient, found.label, found.split) == (row.exam, row.patient, row.label, row.split)


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Places of the first 6 exams of a cohort in parts of 4."""
    monkeypatch.setattr(places, "PART", 4)
    write_manifest(tmp_path / "some.csv", rows_of(SMOKE)[:6])
    assert places.make(str(tmp_path / "some.csv"), tmp_path / "places", 4.4, SETTINGS, workers=1) == 6
    return tmp_path / "places"


def test_parts_are_made_once_and_read_back_in_order(described):
    source = str(described.parent / "some.csv")
    rows = read_manifest(source)
    about, found = places.load(described)
    assert [place.exam for place in found] == [row.exam for row in rows] and about["source"] == source
    assert sorted(p.name for p in described.glob("*.npz")) == ["part-0000.npz", "part-0001.npz"]
    again = places.of_exam(rows[5], cache.contract_at(4.4), SETTINGS)
    assert np.array_equal(found[5].measures, again.measures) and np.array_equal(found[5].lesions_mm, again.lesions_mm)
    assert {place.split for place in places.load(described, "train")[1]} == {"train"}

    (described / "part-0001.npz").unlink()  # a computer that makes the first part only adds nothing; the next run makes what is missing
    assert places.make(source, described, 4.4, SETTINGS, workers=1, parts=[0]) == 0
    assert len(places.load(described)[1]) == 4
    assert places.make(source, described, 4.4, SETTINGS, workers=1) == 2


def test_folders_that_do_not_fit_are_named(described):
    with pytest.raises(InputError, match="another cohort"):
        places.make(SMOKE, described, 4.4, SETTINGS, workers=1)
    part = described / "part-0000.npz"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(InputError, match="part-0000.npz is damaged"):
        places.load(described)
    with pytest.raises(InputError, match="holds no places"):
        places.load(described.parent)


def test_more_exams_join_the_runs_own(described, tmp_path, monkeypatch):
    run = SimpleNamespace(folder=tmp_path / "run", contract=cache.contract_at(4.4))
    about, found = train_candidates.more_exams(described, run, SETTINGS, [{"patient": "p", "split": "test"}])
    assert about["source"].endswith("some.csv") and all(place.split == "train" for place in found)
    own = train_candidates.as_bags([(np.zeros((2, found[0].measures.shape[1]), np.float32), 1, None)])
    both = train_candidates.joined(own, train_candidates.as_bags([(place.measures, place.label, place.minutes) for place in found]))
    assert both.labels.tolist() == [1, *(place.label for place in found)]
    measures, row, _ = both.of(torch.tensor([1]))
    assert np.array_equal(measures.numpy(), found[0].measures) and set(row.tolist()) == {0}

    monkeypatch.setattr(candidates, "SAME_MM", 25.0)
    with pytest.raises(InputError, match="by other code"):
        train_candidates.more_exams(described, run, SETTINGS, [])
    monkeypatch.undo()
    (described.parent / "some.csv").unlink()  # on another computer, without the exams, the numbers are enough
    assert len(train_candidates.more_exams(described, run, SETTINGS, [])[1]) == len(found)

    with pytest.raises(InputError, match="among the run's validation or test patients"):
        train_candidates.more_exams(described, run, SETTINGS, [{"patient": found[0].patient, "split": "validate"}])
    with pytest.raises(InputError, match="another settings"):
        train_candidates.more_exams(described, run, CandidateSettings(grid_mm=4.4, count=5), [])
    with pytest.raises(InputError, match="another contract"):
        train_candidates.more_exams(described, SimpleNamespace(folder=run.folder, contract=cache.contract_at(2.2)), SETTINGS, [])


def test_patients_learned_from_are_remembered(tmp_path):
    runs.remember_patients(tmp_path, ["b", "a"])
    runs.remember_patients(tmp_path, ["b", "c"])
    assert runs.seen_patients(tmp_path) == [{"patient": p, "split": "train"} for p in "abc"]


def test_a_manifest_that_cannot_be_used_is_named(tmp_path, capsys):
    (tmp_path / "some.csv").write_text("patient,exam,label,split,pre,post\np,e,1,train,gone.nrrd,missing.nrrd\n")
    assert places.main([str(tmp_path / "some.csv"), "--output", str(tmp_path / "places"), "--workers", "1"]) == 2
    message = capsys.readouterr().err
    assert "some.csv" in message and "gone.nrrd" in message and message.count("\n") == 1
    assert not list(tmp_path.glob("places/*.npz"))
