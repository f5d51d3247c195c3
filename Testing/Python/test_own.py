"""One command from a manifest to a bundle: splits, what is said beforehand, going on, and the examples."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders import TINY
from conftest import CHECKOUT

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.resources import resources
from BreastCMSLLib.network.resnet import BreastNet
from training import own, train
from training.course import estimate, steps
from training.course.cohort import PARTS, freeze, frozen_cohort, split_cohort
from training.course.estimate import Seconds
from training.data import cache, preparation
from training.data.files import read_rows, write_arrays, write_json, write_rows
from training.data.manifest import Row, read_cohort, write_manifest
from training.data.splits import fitting_batch
from training.evaluation import splits
from training.evaluation.doubts import doubts_of
from training.methods.start import starting_network
from training.runs import lineage
from training.runs.draft import bundle_texts

SHIPPED = resources() / "Models" / "breastcmsl.json"


def manifest(path: Path, *exams: tuple, voxel_mm: float = 8.8) -> str:
    """A manifest of simulated exams: patient, label and split of each."""
    rows = [
        Row(patient, f"e{n}", label, split, seed=n, voxel_mm=voxel_mm)
        for n, (patient, label, split) in enumerate(exams)
    ]
    write_manifest(path, rows)
    return str(path)


def unsplit(path: Path, malignant: int, benign: int) -> str:
    return manifest(path, *[(f"p{n}", int(n < malignant), "") for n in range(malignant + benign)])


# --- splits ---


def test_a_manifest_without_splits_is_split_by_patient_and_stays_so(tmp_path):
    exams = [(f"p{n // 2}", n % 4 // 2, "") for n in range(80)]  # two exams each of 40 patients
    source, run = manifest(tmp_path / "mine.csv", *exams), tmp_path / "run"
    kept, rows = frozen_cohort(source, run)
    assert not run.exists(), "only looked at"
    shares = [sum(row.split == part for row in rows) for part in PARTS]
    assert shares == [48, 16, 16]
    assert len({(row.patient, row.split) for row in rows}) == 40
    for part in PARTS:
        assert 2 * sum(row.label for row in rows if row.split == part) == shares[PARTS.index(part)]
    freeze(kept, rows)
    assert kept == str(run / "cohort" / "mine.csv")
    again = frozen_cohort(source, run, seed=7)[1]
    assert [row.split for row in again] == [row.split for row in rows], "whatever the seed says now"
    assert [row.split for row in split_cohort(source, seed=7)] != [row.split for row in rows]


def test_a_cohort_that_changes_under_a_run_is_refused(tmp_path):
    source, run = unsplit(tmp_path / "mine.csv", 8, 8), tmp_path / "run"
    freeze(*frozen_cohort(source, run))
    (run / "split.csv").write_text("exam\n")  # as training leaves it: the network has begun to learn
    rows = read_cohort(source)
    write_manifest(source, [replace(row, voxel_mm=4.4) for row in rows])
    assert {row.voxel_mm for row in frozen_cohort(source, run)[1]} == {4.4}, "corrections are taken over"
    for other in (rows[:-1], [replace(rows[0], label=0), *rows[1:]], [replace(rows[0], exam="new"), *rows]):
        write_manifest(source, [replace(row, seed=n) for n, row in enumerate(other)])
        with pytest.raises(
            InputError, match="says something else of the exam (e0|e15|new) than when this run"
        ):
            frozen_cohort(source, run)


def test_an_exam_that_cannot_be_used_may_be_left_out_until_the_network_learns(tmp_path):
    source, run = unsplit(tmp_path / "mine.csv", 8, 8), tmp_path / "run"
    kept, rows = frozen_cohort(source, run)
    freeze(kept, rows)
    gone = next(row for row in rows if row.split == "train")
    write_manifest(source, [replace(row, split="") for row in rows if row != gone])
    fewer = frozen_cohort(source, run, seed=7)[1]
    assert {row.exam: row.split for row in fewer} == {r.exam: r.split for r in rows if r != gone}
    write_manifest(source, [replace(row, split="") for row in rows if (row.split, row.label) != ("test", 1)])
    with pytest.raises(InputError, match="has no malignant exams for test"):
        frozen_cohort(source, run)


def test_what_cannot_be_split_is_said_in_a_sentence(tmp_path):
    path = tmp_path / "mine.csv"
    with pytest.raises(InputError, match="has 3 patients with malignant exams, too few to split"):
        split_cohort(unsplit(path, 3, 9))
    for malignant in (4, 5, 7, 13):
        assert len(split_cohort(unsplit(path, malignant, 4))) == malignant + 4
    with pytest.raises(InputError, match=r"line 3 \(e1\): it has no split, and other exams have one"):
        split_cohort(manifest(path, ("a", 1, "train"), ("b", 0, "")))
    exams = [(f"p{n}", n % 2, ("train", "validate")[n // 2]) for n in range(4)]
    with pytest.raises(InputError, match="has no benign and no malignant exams for test"):
        split_cohort(manifest(path, *exams))


def test_training_says_what_is_missing_before_it_prepares(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.methods.loaders.prepare", lambda *a, **k: pytest.fail("hours of work"))
    path = tmp_path / "mine.csv"
    command = ["smoke", "--output", str(tmp_path / "run"), "--cohort", str(path)]
    manifest(path, *[(f"p{n}", n % 2, "train") for n in range(8)])
    assert train.main(command) == 2
    assert "no benign and no malignant exams for validate; correct the split" in capsys.readouterr().err
    manifest(path, *[(f"p{n}", n % 2, "train" if n < 2 else "validate") for n in range(8)])
    assert train.main(command) == 2
    assert "2 training exams do not fill a batch of 4; lower --batch" in capsys.readouterr().err


def test_what_is_measured_need_not_be_prepared_again(tmp_path, monkeypatch):
    """The frozen manifest names the same files by other paths; hours left count what is done already."""
    lines = ["patient,exam,label,split,pre,post"]
    for n in range(6):
        for name in "ab":
            (tmp_path / f"{name}{n}.nii").write_bytes(b"1")
        lines.append(f"p{n},e{n},{n % 2},{PARTS[n // 2]},a{n}.nii,b{n}.nii")
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    course = steps.Course(str(tmp_path / "mine.csv"), tmp_path / "run", "own", None, 0, 1)
    kept = str(course.run / "cohort" / "mine.csv")
    contract = cache.contract_at(2.2)

    def measured(rows, config, settings, folder):
        path = cache.exam_path(folder, rows[0].exam)
        meta = {"fingerprint": preparation.fingerprint(rows[0], contract)}
        write_arrays(path, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
        assert [row.exam for row in estimate.missing_exams(read_cohort(kept), folder, contract)] == [
            f"e{n}" for n in range(1, 6)
        ]
        write_rows(course.run / "metrics.csv", [{"epoch": n} for n in range(5)])
        return Seconds(prepare=10.0, describe=0.0, learn=3.0, megabytes=1.0)

    monkeypatch.setattr(steps, "measure", measured)
    monkeypatch.setattr(steps, "_hours", lambda left: pytest.fail(str(left)))
    with pytest.raises(pytest.fail.Exception, match="'prepare': 50.0, 'network': 120.0"):
        steps.follow(course)


def test_few_exams_get_a_batch_that_they_fill():
    assert [fitting_batch(16, exams) for exams in (2, 10, 30, 180)] == [2, 2, 7, 16]


# --- what may not be worth using ---


def test_a_model_is_doubted_for_its_candidates_and_for_its_interval():
    good, chance = {"auc_95": [0.61, 0.8]}, {"auc_95": [0.43, 0.71]}
    assert doubts_of(None, good) == doubts_of((0.0, 0.4, 0.1), good) == []
    assert "b = -0.30" in doubts_of((1.0, -0.3, 0.0), good)[0]
    assert "0.430–0.710, does not lie above 0.5" in doubts_of(None, chance)[0]
    assert "no interval" in doubts_of(None, {"auc_95": None})[0]
    assert len(doubts_of((0.0, 0.0, 0.0), {"auc_95": [0.1, 0.4]})) == 2
    few, enough = ({"malignant_patients": n, "benign_patients": 40} for n in (9, 10))
    assert "9 with malignant exams" in doubts_of(None, good | few)[0] and not doubts_of(None, good | enough)


# --- the course ---


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path, capsys):
    def refused(*further: str) -> str:
        assert own.main([*command, *further]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and not (tmp_path / "run").exists()
        return message

    command = ["simulated:smoke", "--output", str(tmp_path / "run"), "--recipe", "smoke"]
    assert "at 2.2 mm and the exams have 6 at 4.4 mm" in refused("--init", str(SHIPPED))
    assert "holds no config.json" in refused("--init", str(tmp_path))
    command[0] = str(tmp_path / "none.csv")
    assert "does not exist" in refused()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert own.main(["simulated:smoke", *command[1:]]) == 2
    assert "holds something else" in capsys.readouterr().err


def test_a_start_may_be_corrected_until_the_network_learns(tmp_path, monkeypatch):
    def refuses(*_):
        raise InputError("it has seen these patients")

    course = steps.Course("simulated:smoke", tmp_path / "run", "own", SHIPPED, 0, 1)
    monkeypatch.setattr(steps, "starting_network", refuses)
    with pytest.raises(InputError, match="has seen these patients"):
        steps.follow(course)
    assert not course.run.exists(), "said before anything is written"
    write_json(course.run / steps.CARD, course.card())
    steps._refuse_another(replace(course, init=None))
    with pytest.raises(InputError, match="another seed"):
        steps._refuse_another(replace(course, seed=1))
    (course.run / "split.csv").write_text("exam\n")
    with pytest.raises(InputError, match="another init"):
        steps._refuse_another(replace(course, init=None))


def test_the_first_exams_that_can_be_used_are_measured(tmp_path, capsys):
    def work(row):
        if row.exam in ("e0", "e2"):
            raise InputError("it is damaged")
        return 2.0, 1.0

    rows = [Row(f"p{n}", f"e{n}", n % 2) for n in range(5)]
    with ThreadPoolExecutor(1) as pool:
        assert list(estimate._first_usable(pool, work, rows)) == ["e1", "e3"]
        assert "Cannot be used: e0: it is damaged\nCannot be used: e2" in capsys.readouterr().out
        with pytest.raises(InputError, match="e0: it is damaged"):
            estimate._first_usable(pool, work, rows[:1])


def test_a_course_that_starts_from_the_shipped_bundle_learns_on_gently(tmp_path):
    course = steps.Course("simulated:smoke", tmp_path / "run", "own", SHIPPED, 0, 1)
    rows = frozen_cohort(course.source, course.run)[1]
    plan = steps._plan(course, course.source, rows)
    anew = steps._plan(replace(course, init=None), course.source, rows)
    assert plan.start == plan.network.init == SHIPPED and anew.start is anew.network.init is None
    assert plan.network.rate < anew.network.rate and plan.network.epochs < anew.network.epochs
    assert plan.candidates.rate < anew.candidates.rate
    listed = cache.Cache(tmp_path, cache.contract_at(plan.network.spacing_mm), [], course.source)
    network, ancestry = starting_network(plan.network, listed)
    assert (network.settings.stem_kernel, network.settings.stem_stride) == (3, 2) and ancestry == []


def test_a_bundle_says_which_bundle_it_began_as(tmp_path):
    config = {
        "method": "bce",
        "supervision": "labels",
        "simulated": False,
        "source": "runs/a/cohort/a.csv",
    }
    run = SimpleNamespace(
        folder=tmp_path,
        network=BreastNet(TINY),
        candidates=None,
        config={**config, "init": "m/shipped.json"},
    )
    assert bundle_texts(run)["training_data"] == "exams of a.csv, starting from the bundle shipped"
    run.config["init"] = "runs/base"
    assert bundle_texts(run)["training_data"] == "exams of a.csv"


@pytest.mark.parametrize(
    "simulated, more, init, said",
    [
        (True, "9 training exams of simulated:large", None, "simulated exams"),
        (True, "9 simulated training exams of a/b.csv", SHIPPED, "simulated exams"),
        (True, "9 training exams of a/b.csv", None, "simulated exams, candidates of 9 exams of b.csv"),
        (True, "", "real", "simulated exams, starting from the run real, which learned from exams that"),
        (
            False,
            "9 training exams of simulated:large",
            None,
            "exams of a.csv, candidates of 9 simulated exams",
        ),
    ],
)
def test_a_bundle_says_what_is_simulated_of_what_it_learned_from(tmp_path, simulated, more, init, said):
    real = {"simulated": False}
    write_json(tmp_path / "real" / "config.json", real)
    write_json(tmp_path / "run" / "candidates" / "config.json", {"more": more} if more else {})
    config = {"simulated": simulated, "source": "a.csv", "init": init and str(tmp_path / init)}
    run = SimpleNamespace(folder=tmp_path / "run", candidates=True, config=config)
    assert lineage.training_data(run).startswith(said)
    assert lineage.only_simulated(run) == (said == "simulated exams")


def test_simulated_exams_of_a_manifest_with_both_kinds_are_counted(tmp_path):
    rows = [
        {"exam": f"e{n}", "patient": f"p{n}", "label": n % 2, "split": "train", "seed": n if n < 3 else None}
        for n in range(5)
    ]
    cache.write_index(tmp_path, rows)
    kept = read_rows(tmp_path / "index.csv")
    write_rows(tmp_path / "split.csv", kept)
    config = {"simulated": False, "source": "a.csv"}
    run = SimpleNamespace(folder=tmp_path, candidates=None, config=config)
    assert lineage.training_data(run) == "exams of a.csv, 3 of 5 simulated"
    store = cache.Cache(tmp_path, cache.contract_at(2.2), kept, "a.csv")
    assert splits.simulated_among(store, kept[1:]) == ", 2 of them simulated"
    cache.write_index(tmp_path, rows[:3])
    assert "seed" not in read_rows(tmp_path / "index.csv")[0], "all are, as the cache says itself"


def test_time_left_follows_from_what_an_exam_takes():
    rows = [
        Row("p", f"e{n}", 1, part) for n, part in enumerate(["train"] * 6 + ["validate"] * 2 + ["test"] * 2)
    ]
    left = Seconds(prepare=10.0, describe=2.0, learn=3.0, megabytes=1.0).left(rows, 4, 5, 2)
    assert left == {"prepare": 20.0, "network": 5 * (18.0 + 2.0), "candidates": 8.0 + 2.0, "evaluate": 22.0}


# --- the examples ---


@pytest.mark.slow
def test_the_notebook_goes_the_whole_way(tmp_path):
    """Makes six exams, rehearses, trains, evaluates, analyses; then the same command goes on at once."""
    cells = json.loads((CHECKOUT / "examples" / "own_exams.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "without what an earlier run printed"
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code += [  # from another folder, by relative paths
        "import os; os.chdir(folder)",
        "assert own.main([manifest.name, '--output', 'six', *command[3:]]) == 0",
        "print('FOLDER', folder)",
    ]
    done = subprocess.run(
        [sys.executable, "-"],
        input="\n".join(code),
        cwd=CHECKOUT / "examples",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Nothing was written." in lines
    begun = [line for line in lines if line.startswith(tuple(f"{n} of 5, " for n in range(1, 6)))]
    assert [line[0] for line in begun] == list("1234512345"), "a line a step, twice"
    assert "About 0 s left: prepare 0 s, network 0 s, candidates 0 s, evaluate 0 s" in lines
    assert "DO NOT RELY ON THIS MODEL." in lines
    run = Path(lines[-1].removeprefix("FOLDER ")) / "six"
    assert json.loads((run / "evaluation.json").read_text())["evaluations"] == 1, "test exams are read once"
    bundle = json.loads((run / "six.json").read_text())
    assert bundle["name"] == "six" and "does not lie above 0.5" in bundle["description"]
    assert bundle["training_data"] == "exams of simulated_exams.csv" and not (run / "model").exists()
    assert "DO NOT RELY ON THIS MODEL." in (run / "card.md").read_text()
