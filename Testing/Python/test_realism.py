"""Realism measured: every property by its definition, distances, the command."""

import copy
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from training import simulate as simulate_command
from training.evaluation import realism_run
from training.evaluation.realism import PROPERTIES, Realism, distances, measure_realism
from training.evaluation.realism_run import realism_lines
from training.simulation import simulate


@pytest.fixture(scope="module")
def exam():
    return simulate(21, True, voxel_mm=3.0).exam


@pytest.fixture(scope="module")
def measured(exam):
    return measure_realism(exam)


def test_an_exam_has_every_property_and_its_features_medians(measured):
    assert list(measured.properties) == list(PROPERTIES)
    assert all(np.isfinite(value) for value in measured.properties.values())
    assert 0 <= measured.properties["tubular share"] <= 1 < measured.properties["breasts, l"] < 12
    assert 0 < measured.properties["noise"] < 0.3 and 0 <= measured.properties["below −3 σ, %"] < 50
    assert len(measured.features) > 50


def test_more_noise_that_is_smoother_is_measured_as_such(exam, measured):
    noisier, rng = copy.deepcopy(exam), np.random.default_rng(1)
    for phase in noisier.phases:
        noise = ndimage.gaussian_filter(rng.normal(size=phase.volume.array.shape), 1.0)
        values = phase.volume.array + 12 * noise / noise.std() + 20
        object.__setattr__(phase.volume, "array", np.clip(values, 0, 65535).astype(np.uint16))
    before, after = measured.properties, measure_realism(noisier).properties
    assert after["noise"] > 1.1 * before["noise"]
    assert after["noise correlation"] > before["noise correlation"] + 0.1


def _realism(values) -> Realism:
    return Realism(
        dict.fromkeys(PROPERTIES, float(values[0])), {str(n): float(v) for n, v in enumerate(values)}
    )


def test_an_exam_apart_is_farther_than_all_simulated_ones():
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(12, 12))
    simulated = [_realism(rng.normal(size=12) @ mix) for _ in range(200)]
    alike, apart = _realism(rng.normal(size=12) @ mix), _realism(6 * rng.normal(size=12) @ mix)
    own, (near, far) = distances(simulated, [alike, apart])
    assert np.median(own) == pytest.approx(12, rel=0.35) and near < own.max() < far


def test_the_command_prints_a_row_a_property_and_writes_json_and_sheet(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(3)
    monkeypatch.setattr(realism_run, "_measured", lambda number, **_: _realism(rng.normal(size=5)))
    monkeypatch.setattr(realism_run, "_SHEET", 1)
    command = ["realism", "--exams", "30", "--voxel", "6", "--output", str(tmp_path)]
    assert simulate_command.main(command) == 0
    answer, printed = json.loads((tmp_path / "realism.json").read_text()), capsys.readouterr().out
    assert answer["properties"].keys() == PROPERTIES.keys() and answer["exams"] == 30
    assert printed.splitlines() == realism_lines(answer) and all(name in printed for name in PROPERTIES)
    assert Image.open(tmp_path / "sheet.png").size[1] > 200


def test_a_real_exam_outside_is_marked_so_in_the_table(exam, monkeypatch):
    monkeypatch.setattr(realism_run, "read", lambda paths: exam)
    monkeypatch.setattr(realism_run, "measure_realism", lambda _: _realism([99.0] * 5))
    rng = np.random.default_rng(4)
    monkeypatch.setattr(realism_run, "_measured", lambda number, **_: _realism(rng.normal(size=5)))
    answer = realism_run.ask_realism(20, [["some/exam"]])
    assert not answer["properties"]["breasts, l"]["real"]["exam"]["inside"]
    assert answer["distance"]["real"]["exam"] > answer["distance"]["simulated"]["100"]
    rows = realism_lines(answer)
    assert all("*" in row for row in rows[1 : 1 + len(PROPERTIES)]) and "*" not in rows[0]
