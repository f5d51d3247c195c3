"""compare.py as the one command: what is missing is trained, all is evaluated alike, and the files say so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import TINY
from test_methods import cohort  # noqa: F401  a cache of tiny exams

from training import compare
from training.data.files import read_rows
from training.evaluation import metrics, table_1
from training.evaluation.beside import bayes_of, size_alone
from training.evaluation.claims import AGREES, DIFFERS, UNSURE, judge_claims
from training.evaluation.method_runs import MethodRuns, averaged, runs_of
from training.evaluation.records import column, read_evaluation, read_predictions
from training.evaluation.reproduction import reproduce, write_rows_of_all
from training.evaluation.table_1 import Plan, overlapping, run_plan

METHODS = ("bce", "cmsl", "mil_2d", "shen")


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "ROUNDS", 50)
        yield


@pytest.fixture(scope="module")
def plan(cohort, tmp_path_factory) -> Plan:  # noqa: F811
    changes = {"network": TINY, "batch": 8, "rate": 0.01, "precision": "no", "shift_mm": 4.4}
    output = tmp_path_factory.mktemp("comparison") / "tiny" / "runs"
    lengths = {"seeds": 2, "base_epochs": 3, "epochs": 2, "converge": 1}
    return Plan(output, "simulated:tiny", cohort, "smoke", METHODS, changes=changes, **lengths)


@pytest.fixture(scope="module")
def folder(plan) -> Path:
    """Of the finished comparison."""
    reproduce(plan, draws=400)
    return plan.output.parent


def held(folder: Path) -> dict:
    return json.loads((folder / "comparison.json").read_text())


def test_every_method_has_a_row_with_what_stands_beside_it(folder):
    rows = {row["method"]: row for row in held(folder)["rows"]}
    assert list(rows) == [
        "3D ResNet",
        "3D ResNet + CMSL",
        "2D MIL",
        "Shen, end to end (strong labels)",
        "Shen, end to end (strong labels), mean of 2 runs",
    ]
    for name, row in rows.items():
        assert 0 <= row["auc"] <= 1 and row["seconds"] > 0 and "tiny" in row["cohort"], name
        assert row["auc_of_size_alone"] == 1.0  # malignant cubes are said to be the larger
        assert row["labels"] == ("lesions' places" if "Shen" in name else "image-level labels only")
    assert rows["3D ResNet + CMSL"]["paper"]["auc"] == 0.902 and rows["2D MIL"]["paper"]["auc"] == 0.842
    assert rows["2D MIL"]["seeds"] == 2


def test_the_page_holds_tables_figures_and_the_papers_statements(folder):
    page = (folder / "comparison.md").read_text()
    for text in (
        "AUC of the size alone",
        "What the paper says",
        "The margin helps",
        "Converged",
        "slice CAM",
    ):
        assert text in page
    for name in ("roc.png", "angles.png", "maps.png", "comparison.html"):
        assert (folder / name).stat().st_size > 0
    joined = write_rows_of_all(folder.parent).read_text()
    assert joined.count("3D ResNet + CMSL") == 1
    assert len(json.loads((folder.parent / "comparison.json").read_text())["rows"]) == 5


def test_every_method_gets_the_passes_of_the_others(folder, plan):
    epochs = {
        path.name: len(read_rows(path / "metrics.csv")) for path in plan.output.iterdir() if path.is_dir()
    }
    base = epochs["base-0"]
    assert epochs["bce-0"] == epochs["cmsl-0"] == 2 and epochs["mil_2d-0"] == base + 2
    assert epochs["shen_patches-0"] + epochs["shen-0"] == 2
    ends = held(folder)["bases"]
    assert [end["seed"] for end in ends] == [0, 1] and ends[0]["epochs"] == base
    config = json.loads((plan.output / "cmsl-1" / "config.json").read_text())
    assert config["init"].endswith("base-1") and config["init_weights"] == "last"


def test_the_same_command_does_nothing_twice(folder, plan):
    def files():
        return {path: path.stat().st_mtime_ns for path in plan.output.rglob("*.safetensors")}

    before = files()
    assert [len(runs) for runs in run_plan(plan).values()] == [2] * len(METHODS)
    assert files() == before
    assert read_evaluation(plan.output / "cmsl-0")["evaluations"] == 1


def test_the_figures_are_those_of_the_predictions(folder, plan):
    runs = [plan.output / f"shen-{seed}" for seed in (0, 1)]
    rows = [read_predictions(run) for run in runs]
    labels, logits = column(rows[0], "label"), [column(own, "logit") for own in rows]
    mean = averaged("mean", runs_of("Shen", runs))
    assert np.allclose(column(mean.rows[0], "logit"), np.mean(logits, axis=0))
    assert mean.evidence[0]["classification"]["auc"] == pytest.approx(
        metrics.auc(labels, np.mean(logits, axis=0)), abs=1e-6
    )
    malignant = [row for row in rows[0] if row["label"]]
    assert all(0 <= row["patches_dice"] <= 1 and row["patches_mm"] >= 0 for row in malignant)
    assert all("patches_mm" not in row for row in rows[0] if not row["label"])


def test_more_seeds_are_for_methods_whose_intervals_overlap():
    intervals = {"a": (0.5, 0.6), "b": (0.59, 0.7), "c": (0.71, 0.8)}
    assert overlapping(intervals) == ["a", "b"] and not overlapping({"a": (0.1, 0.9)})


def test_size_alone_is_the_largest_lesion():
    rows = [
        {"label": n % 2, "patient": str(n), "largest_mm": size} for n, size in enumerate((0, 9, 8, 7, 5, 9))
    ]
    assert size_alone(rows)["auc"] == pytest.approx((1 + 1 + 1 + 1 + 0 + 1 + 1 + 1 + 1) / 9)
    assert size_alone([{**row, "largest_mm": 0.0} for row in rows]) is None
    assert size_alone([{"label": 1}]) is None


def test_the_bayes_bound_is_that_of_the_cohort_tested():
    bounds = bayes_of("simulated:large+paper", 2000)
    assert 0.6 < bounds["size alone"]["auc"] < bounds["all marks"]["auc"] < 1
    assert (
        bounds["size alone"]["auc"] > bayes_of("simulated:smoke", 2000)["size alone"]["auc"]
    )  # sizes lie apart
    assert bayes_of("manifest.csv") is None and bayes_of("simulated:tiny") is None


def test_a_statement_agrees_only_where_the_difference_is_more_than_noise():
    rng, labels = np.random.default_rng(0), np.arange(200) % 2

    def runs(name: str, quality: float) -> MethodRuns:
        logits = [quality * labels + rng.normal(size=200) for _ in range(3)]
        rows = [
            [
                {"label": int(y), "patient": str(n), "logit": z, "probability": 1 / (1 + np.exp(-z))}
                for n, (y, z) in enumerate(zip(labels, own))
            ]
            for own in logits
        ]
        return MethodRuns(name, [], [0, 1, 2], rows, [{"classification": {"threshold": 0.6}}] * 3)

    good, poor = runs("3D ResNet + CMSL", 2.5), runs("3D ResNet", 0.3)
    claim = "The margin helps (AUC 0.902 against 0.880)"
    verdicts = []
    for pair in ((good, poor), (poor, good), (poor, poor)):
        renamed = [replace(own, name=name) for own, name in zip(pair, ("3D ResNet + CMSL", "3D ResNet"))]
        judged = judge_claims({own.name: own for own in renamed})
        verdicts.append(next(one["verdict"] for one in judged if one["claim"] == claim))
    assert verdicts == [AGREES, DIFFERS, UNSURE]


def test_the_command_makes_a_plan_for_each_cohort(tmp_path, monkeypatch):
    plans = []
    monkeypatch.setattr(compare, "reproduce", lambda plan: plans.append(plan) or "page")
    monkeypatch.setattr(compare, "write_rows_of_all", lambda output: "all")
    arguments = [
        "--cohort",
        "simulated:small",
        "simulated:paper",
        "--methods",
        "bce",
        "glam",
        "--limit",
        "99",
    ]
    assert compare.main([*arguments, "--output", str(tmp_path)]) == 0
    small, paper = plans
    assert small.output == tmp_path / "small" / "runs" and paper.cache == tmp_path / "cache" / "paper-4.4mm"
    assert small.methods == ("bce", "glam") and small.changes == {"limit": 99}
    assert compare.main(["--smoke", "--output", str(tmp_path)]) == 0
    assert plans[2].methods == table_1.ALL and plans[2].cohort == "simulated:smoke"
