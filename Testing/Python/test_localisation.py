"""The comparison of ways to find the lesion."""

import json

import numpy as np
import pytest
import torch
from shapes import GRID, tube
from test_evaluation import make_cache, make_run

from BreastCMSLLib.candidates.regions import region_at
from training import localize
from training.data import cache
from training.data.files import read_rows, write_rows
from training.evaluation import localisation, localisation_figures, localisation_run, metrics, slow_maps
from training.evaluation.correlax import CorrelaxSettings
from training.evaluation.localisation_run import compare_methods
from training.evaluation.slow_maps import SLOW_MAPS
from training.methods.registry import network_of
from training.runs.folder import save_weights


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "ROUNDS", 50)
        top = tmp_path_factory.mktemp("localize")
        rows = make_cache(top / "cache")
        run = make_run(top / "run", top / "cache", rows)
        assert localize.main([str(run), "--output", str(top / "out"), "--precision", "float32"]) == 0
        yield top, run


def test_every_method_is_measured_on_the_same_exams(compared):
    top, _ = compared
    result = json.loads((top / "out" / "localisation.json").read_text())
    names = localisation.methods()
    assert list(result["methods"]) == names and not {"SIGNAL", "NORM", "CAM", "COAM", "COAMxCAM"} - set(names)
    assert result["n"] == 8 and result["split"] == "validation" and result["simulated"]
    for figures in result["methods"].values():
        assert figures["all"]["n"] == 8 and figures["called"]["n"] == result["called"] <= 8
        assert 0 <= figures["all"]["dice_outline"] <= 1 and figures["seconds"] >= 0
    # a bright cube is all there is: snapped to it, every map finds it, to a fraction of its 17.6 mm
    plain, snapped = (result["methods"][name]["all"] for name in ("COAM", "COAM+snap"))
    assert snapped["hit10"] == 1 and snapped["mean_mm"] < 3.0 and snapped["mean_mm"] < plain["mean_mm"]
    text = (top / "out" / "localisation.md").read_text()
    assert "simulated" in text and all(
        text.count(f"| {name} |") >= 2 for name in names
    )  # one table a protocol
    assert (top / "out" / "worst20.png").stat().st_size > 10_000


def test_the_lesion_map_takes_part_where_there_is_one():
    assert localisation.methods(has_candidates=True) == [*localisation.methods(), "LESION"]


def test_both_kinds_and_the_stages_of_the_training_stand_in_the_table(compared):
    top, _ = compared
    result = json.loads((top / "out" / "localisation.json").read_text())
    maps = [name for name in localisation.methods() if not name.endswith(localisation.SNAP)]
    assert list(result["kinds"]) == maps, "snapping moves the peak, and not the map"
    of = result["kinds"]["CAM"]
    assert of["benign"]["n"] == of["malignant"]["n"] == 8 and 0 < of["benign"]["dice"] < 1
    assert of["malignant"]["dice"] == pytest.approx(result["methods"]["CAM"]["all"]["dice_map"], abs=1e-4)
    stages = result["coam_by_stage"]
    assert [stage["stage"] for stage in stages] == ["untrained", "best"]
    assert all(0 < stage["cells"] < stage["sum"] < 1 and stage["n"] == 8 for stage in stages[1:])
    text = (top / "out" / "localisation.md").read_text()
    assert "| Dice benign |" in text and "| untrained | 8 |" in text


def test_a_choice_for_other_weights_is_refused_before_a_test_exam_is_read(compared, tmp_path, capsys):
    top, run = compared
    rows = [{**row, "label": int(row["label"])} for row in read_rows(run / "split.csv")]
    other = make_run(tmp_path / "other", top / "cache", rows, noise=0.1)
    command = [str(other), "--split", "test", "--choice", str(top / "out"), "--output", str(tmp_path / "out")]
    assert localize.main([*command, "--precision", "float32"]) == 2
    assert "was chosen for other weights than these" in capsys.readouterr().err
    assert not (other / "evaluation.json").exists()


def test_slow_maps_take_part_where_they_are_asked_for(compared, tmp_path, monkeypatch):
    _, run = compared
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    monkeypatch.setattr(localisation_run, "draw_worst", lambda *a, **k: None)
    monkeypatch.setattr(slow_maps, "CorrelaxSettings", lambda masks=4: CorrelaxSettings(masks=masks))
    result = compare_methods(run, tmp_path, precision="float32", limit=1, slow=True)
    assert list(result["methods"]) == localisation.methods(slow=True)
    assert set(SLOW_MAPS) < set(result["methods"]) and "--slow" in result["command"]
    assert result["kinds"]["CorRELAX-predictions"]["micro"] in (0, 0.5, 1)
    assert result["kinds"]["CAM"]["micro"] is None, "CAM has no map of benign lesions"


def sparse_run(folder, run, **columns):
    """A run of Sparse MIL on another run's exams; columns: changes of all lines of its split.csv."""
    config = json.loads((run / "config.json").read_text())
    config |= {"method": "sparse_mil", "spacing_mm": config["input"]["spacing_mm"], "precision": "fp32"}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(network_of(config), folder / "best.safetensors")
    write_rows(folder / "split.csv", [row | columns for row in read_rows(run / "split.csv")])
    return folder


def test_maps_of_other_methods_stand_beside_those_of_the_run(compared, tmp_path, monkeypatch, capsys):
    _, run = compared
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    monkeypatch.setattr(localisation_run, "draw_worst", lambda *a, **k: None)
    sparse = sparse_run(tmp_path / "sparse", run)
    own = "3D Sparse MIL: r"
    command = [str(run), "--limit", "2", "--precision", "float32", "--output", str(tmp_path / "out")]
    assert localize.main([*command, "--beside", str(sparse)]) == 0
    result = json.loads((tmp_path / "out" / "localisation.json").read_text())
    assert (
        list(result["methods"]) == [*localisation.methods(), own] and "--beside sparse" in result["command"]
    )
    assert result["kinds"][own]["benign"]["n"] == result["kinds"][own]["malignant"]["n"] == 2
    assert result["methods"][own]["all"]["n"] == 2 and own not in result["choice"].values()
    # refused: the same method twice, and a run that was trained on these exams
    assert localize.main([*command, "--beside", str(sparse), "--beside", str(sparse)]) == 2
    assert "one of each method" in capsys.readouterr().err
    seen = sparse_run(tmp_path / "seen", run, split="train")
    assert localize.main([*command, "--beside", str(seen)]) == 2
    assert "has seen patient" in capsys.readouterr().err


def test_a_broken_off_comparison_goes_on(compared, monkeypatch):
    top, run = compared
    before = (top / "out" / "localisation.md").read_text()
    rows = (top / "out" / "rows.jsonl").read_text().splitlines()
    (top / "out" / "rows.jsonl").write_text("\n".join([*rows[:6], rows[6][:40]]) + "\n")
    judged, judge = [], localisation.judge

    def counted(ways, exam):
        judged.append(exam.meta["exam"])
        return judge(ways, exam)

    monkeypatch.setattr(localisation, "judge", counted)
    monkeypatch.setattr(localisation_run, "draw_worst", lambda *a, **k: None)
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    compare_methods(run, top / "out", precision="float32")
    assert len(judged) == 10, "two malignant exams, and the eight others"

    def figures(text):  # the tables of methods without their seconds
        return [line.rsplit("|", 2)[0] for line in text.splitlines() if line.count("|") == 10]

    assert len(figures(before)) > 10 and figures((top / "out" / "localisation.md").read_text()) == figures(
        before
    )
    known = cache.read_meta
    monkeypatch.setattr(
        cache, "read_meta", lambda path: {**known(path), "fingerprint": "x" * (path.stem == judged[0])}
    )
    compare_methods(run, top / "out", precision="float32")
    assert judged[10:] == judged[:1], "an exam that was made anew is judged anew"


def test_test_exams_need_a_choice_made_on_validation_and_are_counted(compared, tmp_path, monkeypatch, capsys):
    top, run = compared
    monkeypatch.setattr(metrics, "ROUNDS", 50)
    command = [str(run), "--split", "test", "--output", str(tmp_path / "no")]
    assert localize.main(command) == 2
    assert "--choice" in capsys.readouterr().err and not (run / "evaluation.json").exists()
    result = compare_methods(run, tmp_path / "test", split="test", choice=top / "out", precision="float32")
    chosen = json.loads((top / "out" / "localisation.json").read_text())["choice"]
    assert result["choice"] == chosen and result["split"] == "test"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["evaluations"] == 1
    assert evaluation["history"][-1]["finished"], "it came to its end"
    assert localize.main([*command, "--choice", str(tmp_path / "test")]) == 2


def test_choice_keeps_to_twice_the_time_of_coam():
    def line(hits, median, seconds):
        return {"called": {"hit10": hits, "median_mm": median}, "seconds": seconds}

    table = {"COAM": line(0.6, 9, 1.0), "CAM": line(0.5, 2, 1.0), "slow": line(0.9, 4, 2.1)}
    table |= {"quick": line(0.8, 3, 1.9), "wide": line(0.8, 5, 1.0)}
    assert localisation_figures.choose(table) == {"best": "slow", "default": "quick"}


def test_by_score_takes_the_most_suspicious_first():
    lines = [{"COAM": {"mm": 100.0 - 10 * n, "inside": n > 7}} for n in range(10)]
    rows = [{"patient": n, "logit": n, "methods": line} for n, line in enumerate(lines)]
    top, whole = localisation_figures.by_score(rows, "COAM", (0.2, 1.0))
    assert (top["n"], top["mean_mm"], top["pointing"], top["lowest_logit"]) == (2, 15.0, 1.0, 8)
    assert (whole["n"], whole["mean_mm"]) == (10, 55.0)


def test_what_was_hit_is_read_off_the_truth_first():
    inside = np.zeros((40, 40, 40), bool)
    inside[4:36, 4:36, 4:36] = True
    lesions = [
        {"ras_mm": [40.0, 40, 40], "radius_mm": 6.0, "malignant": True},
        {"ras_mm": [20.0, 20, 20], "radius_mm": 5.0, "malignant": False},
    ]
    exam = cache.CachedExam(torch.zeros(1), {"affine": GRID.tolist(), "lesions": lesions}, inside, None)
    signal = 0.2 + tube(inside.shape, GRID, [60.0, 40, 40], (0, 0, 1), 3.0)
    vessel = region_at(signal, inside, GRID, (60.0, 40, 40))
    for point, region, what in (
        ((41.0, 40, 40), vessel, "malignant lesion"),
        ((22.0, 20, 20), None, "benign lesion"),
        ((60.0, 40, 40), vessel, "vessel by its shape"),
        ((60.0, 40, 40), None, "other tissue"),
        ((69.0, 40, 40), None, "border of the mask"),
        ((22.0, 68.0, 40), None, "nipple by its place"),
    ):
        assert localisation.what_is_there(exam, point, region) == what
