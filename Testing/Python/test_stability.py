"""The score of an exam is the patient's: it hardly depends on where a grid begins."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_candidates import DURATION_MIN, PERSISTENT, WASHOUT, breast

from BreastCMSLLib.candidates.classifier import exam_logit
from BreastCMSLLib.candidates.grids import judge_candidates, match, offsets, propose_on_grids
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.preprocessing.model_input import canonical_grid
from training import stability as stability_command
from training.candidates.described import describe_exam
from training.data.cache import contract_at
from training.data.manifest import read_cohort
from training.data.moved_grids import drawn_grid, moved_grid
from training.evaluation import stability
from training.simulation import simulate


@pytest.fixture(scope="module")
def classifier():
    return load_bundle().candidates


def test_a_cohort_without_exams_of_the_split_is_refused(tmp_path, capsys):
    command = ["--cohort", "simulated:smoke", "--split", "other", "--output", str(tmp_path / "out")]
    assert stability_command.main(command) == 2
    assert 'simulated:smoke has no exams in the split "other"' in capsys.readouterr().err


def test_an_input_that_is_not_averaged_has_one_grid():
    assert offsets(1) == ((0, 0, 0),)
    assert len(offsets(2)) == len(set(offsets(2))) == 4


def test_candidates_of_grids_are_matched_nearest_first():
    places = [[(0, 0, 0), (20, 0, 0)], [(21, 0, 0), (3, 0, 0), (60, 0, 0)], [(5, 0, 0), (1, 0, 0)]]
    found = match(places)
    assert found == [{0: 0, 1: 1, 2: 1}, {0: 1, 1: 0}, {1: 2}, {2: 0}]
    assert match([[], []]) == []


def test_a_candidate_of_few_grids_counts_less(classifier, monkeypatch):
    array, inside, affine = breast([((60, 40, 30), 8, WASHOUT)], spacing=1.1, shape=(84, 60, 48))
    whole = judge_candidates(array, inside, affine, DURATION_MIN, classifier)
    grids = whole.grids
    monkeypatch.setattr("BreastCMSLLib.candidates.grids.propose_on_grids", lambda *a: [*grids, *[empty] * 4])
    empty = SimpleNamespace(candidates=[], features=np.zeros((0, grids[0].features.shape[1]), np.float32))
    half = judge_candidates(array, inside, affine, DURATION_MIN, classifier)
    assert np.allclose(half.of_exam, whole.of_exam - np.log(2), atol=1e-5)


def test_a_grid_that_begins_elsewhere_gives_nearly_the_same_logit(classifier):
    """Blobs moved by parts of a voxel against a grid of 1.1 mm, read at 2.2 mm."""
    alone, together, places = [], [], []
    for exam in range(2):
        rng = np.random.default_rng(exam)
        centres = rng.uniform((25, 20, 15), (65, 45, 35), (2, 3))
        own, mean = [], []
        for part in ((0, 0, 0), (0.6, 0.3, 0.8), (1.1, 0.2, 0.5)):
            spots = [
                (centre + part, 6, curve) for centre, curve in zip(centres, (WASHOUT / 2, PERSISTENT / 2))
            ]
            described = breast(spots, seed=exam, spacing=1.1, shape=(84, 60, 48))
            judged = judge_candidates(*described, DURATION_MIN, classifier)
            single = classifier.logits(judged.grids[0].features, DURATION_MIN)[0]
            own.append(exam_logit(0.0, single, classifier.settings))
            mean.append(exam_logit(0.0, judged.of_exam, classifier.settings))
            places.append(np.subtract(judged.candidates[int(judged.of_candidates.argmax())].ras_mm, part))
        alone.append(np.std(own, ddof=1))
        together.append(np.std(mean, ddof=1))
        assert np.ptp(places[-3:], axis=0).max() < 3.0, "the first candidate stays"
    assert np.mean(together) < stability.MOST_SD and np.mean(together) < np.mean(alone), (together, alone)


def test_the_first_grid_is_the_ordinary_one(classifier):
    exam = breast([((60, 40, 30), 8, WASHOUT)], spacing=2.2, shape=(60, 40, 30))
    grids = propose_on_grids(*exam, DURATION_MIN, classifier.settings)
    assert len(grids) == 1, "at the grid's own size there is no other"


def test_moved_grids_keep_the_voxels_and_turn_about_the_middle():
    exam = simulate(9_000_002, False, voxel_mm=4.4).exam
    size, affine = canonical_grid(exam.grid, 4.4)
    moved_size, moved = moved_grid(exam, 4.4, (0.5, 0, 0.25), (0, 0, 5))
    assert moved_size == (size[0] - 1, size[1], size[2] - 1)
    assert np.allclose(np.linalg.norm(moved[:3, :3], axis=0), 4.4)
    middle = moved @ [*(np.array(moved_size) - 1) / 2, 1]
    assert np.allclose(middle, affine @ [*((np.array(moved_size) - 1) / 2 + (0.5, 0, 0.25)), 1])
    assert np.array_equal(drawn_grid(exam, 4.4, "a", 1)[1], drawn_grid(exam, 4.4, "a", 1)[1])
    assert not np.allclose(drawn_grid(exam, 4.4, "a", 1)[1], drawn_grid(exam, 4.4, "a", 2)[1])
    assert stability.cropped(exam, 10).grid.shape[2] == exam.grid.shape[2] - 10


def test_a_copy_is_the_same_exam_on_another_grid():
    row = read_cohort("simulated:smoke")[0]
    settings = load_bundle().candidates.settings
    settings = replace(settings, grid_mm=4.4)
    plain, copy = (describe_exam(row, contract_at(4.4), settings, n) for n in (0, 1))
    assert (copy.exam, copy.label) == (plain.exam, plain.label)
    assert not np.array_equal(copy.features[:3], plain.features[:3])


def test_figures_of_readings():
    rows = []
    for exam, changes in (("steady", (0.0, 0.0, 0.0)), ("loose", (0.0, 1.0, -1.0))):
        for way, change in zip(("as it is", "moved", "moved"), changes):
            score = SimpleNamespace(
                logit=change,
                probability=1 / (1 + np.exp(-change)),
                candidates=[SimpleNamespace(ras_mm=(20.0 * change, 0.0, 0.0))],
            )
            rows += stability.row_of(exam, 0, [(way, score)])
    figures = stability.summary(rows)
    assert set(figures) == {"moved", "all"}
    assert figures["moved"]["sd"] == pytest.approx(np.sqrt(0.5)) and figures["moved"]["exams"] == 2
    assert figures["moved"]["within"] == figures["moved"]["same_first"] == 0.5
