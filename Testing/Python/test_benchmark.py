"""The benchmark runs and its rows are well formed; what it calls equal is equal. No time is asserted: speed
is measured, not tested."""

import json
import math
import shutil
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import printed_by, write_volumes
from conftest import CHECKOUT
from scipy import ndimage

from BreastCMSLLib import pipeline
from BreastCMSLLib.core import threads
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.core.itk import from_sitk, set_sitk_geometry, to_sitk
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.models import folding
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.attention import coam
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing import breast_mask as masking
from BreastCMSLLib.preprocessing import frangi
from BreastCMSLLib.preprocessing.model_input import InputContract, canonical_grid
from Testing.benchmark import __main__ as main_module
from Testing.benchmark import (
    baseline,
    budget,
    exams,
    floors,
    machine,
    switched_off,
    table,
    topics,
    tricks,
    waits,
    whole,
)
from Testing.benchmark import measure as measuring
from Testing.benchmark.__main__ import TOPICS, main, measure
from Testing.benchmark.cost import EXAMS, GPU_TFLOPS, TRAINED, cost, duration
from Testing.benchmark.measure import row as row_of
from training.simulation.exam import simulate

KNOWN = {"name", "ours_s", "baseline_s", "ratio", "peak_mb", "floor_ratio", "n"}


@pytest.fixture(scope="module")
def simulated():
    return simulate(exams.SEED, True, voxel_mm=4.4, with_t1=True).exam


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    network = exams.random_network(exams.settings(True))
    return exams.write_model(tmp_path_factory.mktemp("model"), "tiny", network, exams.contract(True))


# ---------------------------------------------------------------- the benchmark itself


def _well_formed(report, *, expected):
    assert {"processor", "cores", "memory_gb", "versions"} <= set(report["machine"]) and report["quick"]
    for row in report["rows"]:
        assert KNOWN <= set(row) and row["name"]
        for key in ("ours_s", "baseline_s", "ratio", "peak_mb", "floor_ratio"):
            assert row[key] is None or row[key] > 0, (row["name"], key)
        assert row["ours_s"] is not None or row.get("note") or row.get("tflop_per_s"), row["name"]
        if row["ours_s"] and row["baseline_s"]:
            assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"], rel=0.01)
    names = [row["name"] for row in report["rows"]]
    assert len(set(names)) == len(names)
    for start in expected:
        assert any(name.startswith(start) for name in names), start
    json.dumps(report, allow_nan=False)
    assert all(name in table.text(report) for name in names)


def _measured(topics_, *, expected):
    """The report of a quick run of topics, checked, with its rows by name."""
    report = measure(["prepare", *topics_], quick=True, limit_s=math.inf)
    _well_formed(report, expected=expected)
    assert not [row["name"] for row in report["rows"] if row["name"].endswith((": left out", ": the rest"))]
    return {row["name"]: row for row in report["rows"]}


@pytest.mark.benchmark
def test_rows_of_what_is_measured_inside_a_process():
    by_name = _measured(
        ["machine", "mask", "coam", "network", "precision", "reading", "model_load", "many"],
        expected=(
            "simulation",
            "matrix product, cpu, float32",
            "copy within memory",
            "breast mask",
            "COAM",
            "network, cpu, float32",
            "precision",
            "reading, NRRD",
            "reading, DICOM",
            "model load, shipped model",
            "12 exams in one process",
        ),
    )
    assert by_name["COAM"]["error"] <= 1e-5
    assert len(by_name["12 exams in one process, per exam"]["memory_mb"]) == 4
    assert (
        by_name["network, cpu, float32"]["floor_ratio"] > 0
        and by_name["network, cpu, float32"]["peak_mb"] > 50
    )


@pytest.mark.benchmark
def test_rows_of_whole_processes():
    stages = ("start", "read", "model", "register", "preprocess", "network", "map", "save")
    by_name = _measured(
        ["analyze", "duke", "start", "sizes"],
        expected=(
            "Analyze, NRRD",
            *(f"Analyze, NRRD: {stage}" for stage in stages),
            "Analyze, DICOM (Duke)",
            "child process",
            "import of the module",
            "Analyze, exam and model at 4.4 mm",
        ),
    )
    shares = [row["share"] for name, row in by_name.items() if name.startswith("Analyze, NRRD: ")]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    assert by_name["Analyze, NRRD"]["peak_mb"] > 100
    for stage in ("read", "preprocess", "network", "map", "save"):
        assert by_name[f"Analyze, NRRD: {stage}"]["floor_ratio"] > 0


@pytest.mark.benchmark
def test_rows_of_what_people_wait_for():
    by_name = _measured(
        ["command", "second", "panel", "register", "large", "long", "batch"],
        expected=(
            "Analyze, NRRD, shipped model",
            "whole command, NRRD, shipped model",
            "first exam of a process",
            "second exam of a process",
            "panel, first exam",
            "Analyze, registration off",
            "Analyze, registration rigid",
            "Analyze, registration deformable",
            "Analyze, 448×448×160×7",
            "Analyze, 260 mm head to foot",
            "batch, per exam",
        ),
    )
    assert by_name["batch, per exam"]["exams_per_min"] > 0
    assert by_name["second exam of a process"]["times"] > 0
    if find_spec("slicer") is not None:
        assert by_name["whole command, NRRD, shipped model"]["times"] > 0


@pytest.mark.benchmark
def test_rows_of_training():
    _measured(
        ["training"],
        expected=(
            "simulation and preprocessing",
            "preprocessing",
            "training input",
            "training step, tiny, cpu, float32",
        ),
    )


@pytest.mark.benchmark
@pytest.mark.parametrize("has", ["AVX2", "AVX512_CORE"])
def test_a_processor_without_bfloat16_is_measured_to_the_end(monkeypatch, has):
    """Nothing is emulated: a matrix product in bfloat16 would take minutes there."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", has)
    by_name = _measured(
        ["machine", "network", "precision", "training"],
        expected=("network, cpu, float32", "training step, tiny, cpu, float32"),
    )
    assert "emulated" in by_name["matrix product, cpu, bfloat16"]["note"]
    assert "emulates" in by_name["precision, float32 and bfloat16"]["note"]
    assert not [name for name in by_name if "cpu, bfloat16" in name and by_name[name]["ours_s"]]


# ---------------------------------------------------------------- what the machine can do


@pytest.fixture
def products(monkeypatch):
    """Edges of the products by precision; seconds of one in bfloat16 beside a second in float32 as given."""
    edges = {torch.float32: [], torch.bfloat16: []}
    times = {torch.float32: 1.0, torch.bfloat16: 0.5}

    def seconds(dtype, device, size, repeats):
        edges[dtype].append(size)
        return [times[dtype] * (size / 256) ** 3] * repeats

    monkeypatch.setattr("BreastCMSLLib.models.inference.fast_precision", lambda device: torch.bfloat16)
    monkeypatch.setattr(machine, "_product_seconds", seconds)
    monkeypatch.setattr(machine, "copy_rate", lambda: 1e10)
    return edges, times


@pytest.mark.parametrize("emulated_s", (30.0, 1.0, 0.9))
def test_a_precision_that_is_emulated_is_only_probed(products, emulated_s):
    """oneDNN says that it has bfloat16 wherever there is AVX-512; a small product shows that it has not."""
    edges, times = products
    times[torch.bfloat16] = emulated_s
    assert machine.computed_precisions("cpu") == [torch.float32]
    rows = {row["name"]: row for row in machine.rows({"quick": False})}
    assert "emulated" in rows["matrix product, cpu, bfloat16"]["note"]
    assert rows["matrix product, cpu, float32"]["tflop_per_s"] and set(edges[torch.bfloat16]) == {256}


def test_a_precision_that_is_faster_is_measured(products):
    assert machine.computed_precisions("cpu") == [torch.bfloat16, torch.float32]
    rows = {row["name"]: row for row in machine.rows({"quick": False})}
    rates = [rows[f"matrix product, cpu, {name}"]["tflop_per_s"] for name in ("bfloat16", "float32")]
    assert rates[0] == pytest.approx(2 * rates[1], rel=1e-3)
    assert "10.0 GB/s" in rows["copy within memory"]["note"]


def test_no_product_is_probed_where_onednn_has_no_bfloat16(products, monkeypatch):
    monkeypatch.setattr("BreastCMSLLib.models.inference.fast_precision", lambda device: torch.float32)
    assert machine.computed_precisions("cpu") == [torch.float32] and not any(products[0].values())


@pytest.mark.parametrize(
    "cpuinfo, expected",
    [
        (
            "model name\t: A\ncpu family\t: 6\nmodel\t\t: 9\nflags\t\t: fpu avx2\n",
            "A (family 6; model 9; has avx2; lacks avx512, avx512_bf16, amx)",
        ),
        (
            "model name : B\nflags : avx2 avx512f avx512_bf16 amx_tile amx_bf16\n",
            "B (has avx2, avx512, avx512_bf16, amx)",
        ),
        ("flags : avx2 avx512f amx_tile\nmodel name : C\n", "C (has avx2, avx512; lacks avx512_bf16, amx)"),
        ("model name : D\nFeatures : fp asimd bf16\n", "D (has asimd, bf16; lacks sve)"),
    ],
)
def test_a_processor_says_what_it_has_and_lacks(cpuinfo, expected):
    assert machine.processor_text(cpuinfo) == expected


# ---------------------------------------------------------------- ten minutes


def test_every_topic_is_listed_once():
    assert sorted(TOPICS) == sorted([*topics.WORKERS, *whole.TOPICS, *waits.TOPICS])
    assert not set(topics.HELPERS) & set(TOPICS)


def test_what_a_slow_machine_needs_fits_into_ten_minutes():
    assert sum(budget.EXPECTED_S.values()) <= budget.LIMIT_S < 600


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_is_shared_out_in_proportion_and_what_is_left_over_goes_on():
    clock, chosen = Clock(), ["prepare", "analyze", "coam"]
    expected = [budget.EXPECTED_S[topic] for topic in chosen]
    shares = budget.Budget(chosen, 2 * sum(expected), clock)
    assert shares.next("prepare") == pytest.approx((2 * expected[0], 4 * expected[0]))
    clock.now += expected[0]  # half of its share
    analyze = (2 * sum(expected) - expected[0]) * expected[1] / sum(expected[1:])
    assert shares.next("analyze")[0] == pytest.approx(analyze) and analyze > 2 * expected[1]
    clock.now += analyze
    share, limit = shares.next("coam")  # the last one may use up all
    assert share == pytest.approx(100 + 2 * sum(expected) - clock.now) and limit == pytest.approx(share)


def test_no_topic_goes_beyond_the_end():
    clock = Clock()
    shares = budget.Budget(["prepare", "analyze", "coam"], 60, clock)
    assert shares.next("prepare")[1] <= 60
    clock.now += 40
    share, limit = shares.next("analyze")
    assert 0 < share < 20 and limit == pytest.approx(20)
    clock.now += 19
    assert shares.next("coam") == (0, 0)


def _interleaved(monkeypatch, taken, **options):
    clock = Clock()
    monkeypatch.setattr(measuring.time, "perf_counter", clock)

    def work(seconds):
        clock.now += seconds

    functions = [lambda s=s: work(s) for s in taken]
    return measuring.interleaved(*functions, **options)


@pytest.mark.parametrize("seconds, n", [(math.inf, 3), (16.0, 3), (15.9, 2), (12.0, 2), (11.0, 1), (0.0, 1)])
def test_what_takes_long_is_run_less_often(monkeypatch, seconds, n):
    medians, count = _interleaved(monkeypatch, (1.0, 3.0), repeats=3, seconds=seconds)
    assert medians == [1.0, 3.0] and count == n


def test_a_process_that_is_late_is_ended():
    with pytest.raises(measuring.Late, match="not done after"):
        measuring.process(["-c", "import time; time.sleep(600)"], limit_s=0.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
def test_a_process_is_ended_with_all_it_has_started():
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    child = measuring.started(["-c", code], stdout=subprocess.PIPE)
    grandchild = int(child.stdout.readline())
    measuring.end(child)
    child.stdout.close()
    assert child.returncode

    def runs() -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{grandchild}/stat").read_text().rpartition(")")[2].split()[0]
            return state not in "ZX"
        return False

    end = time.monotonic() + 30
    while runs() and time.monotonic() < end:
        time.sleep(0.01)
    assert not runs()


@pytest.mark.parametrize("failure", (measuring.Late("not done after 9 s"), RuntimeError("it failed")))
def test_a_topic_that_ends_early_keeps_the_rows_that_it_had(monkeypatch, failure):
    def late(arguments, options, **more):
        whole_rows = [json.dumps({**row_of(name, 1.0, n=1), "peak_mb": 5.0}) for name in ("one", "two")]
        Path(arguments[-1]).write_text("\n".join([*whole_rows, '{"name": "cut']))
        raise failure

    monkeypatch.setattr(measuring, "timed", late)
    names = [row["name"] for row in main_module.topic_rows("coam", {"until": math.inf})]
    assert names == ["one", "two", "coam: the rest"]


def test_a_topic_for_which_no_time_is_left_says_so(monkeypatch):
    monkeypatch.setitem(main_module.RUN, "analyze", lambda options: pytest.fail("it was begun"))
    (row,) = main_module.topic_rows("analyze", {"until": -math.inf})
    assert row["name"] == "analyze: left out" and "time" in row["note"]


def test_a_topic_that_fails_does_not_cost_the_others(monkeypatch):
    def fails(options):
        raise RuntimeError("python -m x ended with status 1:\nTraceback\nValueError: too small\n")

    monkeypatch.setitem(main_module.RUN, "analyze", fails)
    (row,) = main_module.topic_rows("analyze", {"until": math.inf})
    assert row["note"] == "ValueError: too small" and row["ours_s"] is None


# ---------------------------------------------------------------- rows


def _runs(*seconds, **stages):
    runs = whole.Runs()
    for one in seconds:
        runs.add(one, 1000.0, stages)
    return runs


def test_a_stage_is_held_against_its_floor_and_the_usual_stack():
    ours = _runs(10.0, read=2.0, preprocess=4.0, network=3.0, kinetics=0.5)
    theirs = {"start": 2.0, "read": 5.0, "mask and resampling": 20.0, "subtraction and scaling": 4.0}
    floor = {
        name: {"floor_s": seconds, "why": name}
        for name, seconds in (("read", 0.5), ("preprocess", 0.1), ("network", 1.0))
    }
    rows = {row["name"]: row for row in whole.stage_rows("A", ours, theirs, floor, quick=False)}
    assert list(rows) == [f"A: {name}" for name in ("start", "read", "preprocess", "network", "kinetics")]
    assert rows["A: start"]["ours_s"] == 0.5 and rows["A: start"]["ratio"] == 4.0
    assert rows["A: read"]["floor_ratio"] == 4.0 and rows["A: read"]["ratio"] == 2.5
    assert rows["A: preprocess"]["baseline_s"] == 24.0 and rows["A: preprocess"]["met"]  # there is a reason
    assert rows["A: network"]["met"] is False and rows["A: network"]["baseline_s"] is None
    assert rows["A: kinetics"]["floor_ratio"] is None and "goal" not in rows["A: kinetics"]
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Command lines of topics, none of which is run: each takes as many seconds as given by a word in it."""
    ran, seconds = [], {"--no-scene": 4.0}

    def timed(arguments, options, **more):
        ran.append(arguments)
        output = Path(arguments[arguments.index("--output") + 1])
        output.mkdir(exist_ok=True)
        stages = {"read": 1.0, "register": 0.5, "map": 0.5, "heatmaps": 0.5, "total": 2.5}
        stages |= {} if "--no-scene" in arguments else {"scene": 2.0}
        result = {"timings_s": stages, "input": {"grid": {"size": [2, 3, 4]}}}
        (output / "result.json").write_text(json.dumps(result))
        return next((s for word, s in seconds.items() if word in arguments), 5.0), 1500.0, ""

    for module in (waits, whole):
        monkeypatch.setattr(module, "timed", timed)
    monkeypatch.setattr(waits, "find_spec", lambda name: True)
    options = {"quick": False, "folder": str(tmp_path), "duke": str(tmp_path / "duke")}
    return ran, seconds, {**options, "seconds": math.inf, "until": math.inf}


@pytest.fixture
def against(commands, monkeypatch):
    """Analyze and a baseline on the simulated exam; nothing is run."""
    ran, seconds, options = commands
    timed, usual = whole.timed, {"read": 2.0, "map": 6.0}

    def also(arguments, options):
        if "Testing.benchmark.baseline" not in arguments:
            return timed(arguments, options)
        ran.append(arguments)
        if "late" in seconds:
            raise measuring.Late("not done after 9 s")
        return 26.0, 3000.0, f"A warning of a library\n{json.dumps(usual)}\n"

    monkeypatch.setattr(whole, "timed", also)
    monkeypatch.setattr(whole, "find_spec", lambda name: True)
    known = [{"stage": "read", "floor_s": 0.4, "why": "unpacking"}]
    monkeypatch.setattr(whole, "worker", lambda name, options: known)
    return ran, seconds, options


def test_analyze_and_the_usual_stack_take_turns(against):
    ran, _, options = against
    rows = {row["name"]: row for row in whole.analyze(options)}
    kinds = ["baseline" if "Testing.benchmark.baseline" in one else "ours" for one in ran]
    assert kinds == ["ours", *["ours", "baseline"] * 3] and "paper-4.4" in str(ran[0])
    analyze = rows["Analyze, NRRD"]
    assert (analyze["ratio"], analyze["n"], analyze["met"]) == (6.5, 3, True)
    assert rows["Analyze, NRRD: read"]["floor_ratio"] == 2.5 and rows["Analyze, NRRD: read"]["ratio"] == 2.0
    assert rows["Analyze, NRRD: map"]["ours_s"] == 1.0 and rows["Analyze, NRRD: map"]["ratio"] == 6.0


def test_with_little_time_each_runs_once(against):
    ran, _, options = against
    rows = list(whole.analyze({**options, "seconds": 0.0}))
    assert len(ran) == 3 and rows[0]["n"] == 1 and rows[0]["ratio"] == 6.5


def test_without_an_end_of_the_usual_stack_ours_is_known(against):
    ran, seconds, options = against
    seconds["late"] = 0.0
    rows = {row["name"]: row for row in whole.analyze(options)}
    assert rows["Analyze, NRRD"]["ours_s"] == 4.0 and rows["Analyze, NRRD"]["baseline_s"] is None
    assert "the baseline was not done" in rows["Analyze, NRRD"]["note"] and "Analyze, NRRD: read" in rows


def test_the_whole_command_is_held_against_the_bare_analysis(commands):
    ran, seconds, options = commands
    rows = {row["name"]: row for row in waits.command(options)}
    command = rows["whole command, DICOM (Duke), shipped model"]
    assert (command["times"], command["beside"], command["met"]) == (1.25, "the bare analysis", True)
    assert rows["whole command, DICOM (Duke), shipped model: scene"]["ours_s"] == 2.0
    bare = rows["Analyze, DICOM (Duke), shipped model"]
    assert bare["n"] == 2 and bare["beside"] == "that with the full-width model"
    assert sum("--model" in arguments for arguments in ran) == 1
    seconds["--no-scene"] = 3.0
    rows = {row["name"]: row for row in waits.command({**options, "seconds": 0.0})}
    assert rows["whole command, DICOM (Duke), shipped model"]["met"] is False
    assert rows["Analyze, DICOM (Duke), shipped model"]["n"] == 1  # there was no time for more


def test_without_the_duke_exam_the_simulated_one_is_analysed(commands):
    ran, _, options = commands
    names = [row["name"] for row in waits.command({**options, "duke": None})]
    assert names[0] == "whole command, DICOM (Duke)" and "whole command, NRRD, shipped model" in names


def test_registration_is_held_against_the_phases_as_they_are(commands):
    ran, seconds, options = commands
    seconds |= {"rigid": 6.0}
    seconds["--no-scene"] = seconds.pop("--no-scene")  # the last word that counts
    rows = list(waits.register(options))
    assert [row["name"].rpartition(" ")[2] for row in rows] == ["off", "rigid", "deformable"]
    assert "beside" not in rows[0] and rows[1]["times"] == 1.5 and rows[2]["times"] == 1.0
    assert len(list(waits.register({**options, "seconds": 0.0}))) == 2  # there was no time for the slowest


@pytest.mark.parametrize("kind", ("large", "long"))
def test_another_exam_is_made_and_analysed_once(commands, monkeypatch, kind):
    ran, _, options = commands
    monkeypatch.setattr(waits, "worker", lambda name, options: [row_of(name, 1.0, n=1, note="made")])
    (row,) = waits.TOPICS[kind](options)
    assert row["ours_s"] == 4.0 and row["peak_mb"] == 1500 and len(ran) == 1 and "made" in row["note"]


def test_a_row_beside_another_says_how_many_times_it_takes():
    row = waits.beside("panel", 6.0, "the bare analysis", 4.0, n=1, note="real child")
    assert table.cells(row)[-1] == "1.50 × the bare analysis; real child"
    assert "times" not in waits.beside("panel", None, "the bare analysis", 4.0, n=0)


# ---------------------------------------------------------------- floors


@pytest.mark.parametrize("packed", (True, False))
def test_bytes_of_an_exam_are_those_of_its_voxels(tmp_path, packed):
    for number in range(2):
        image = sitk.GetImageFromArray(np.arange(24000, dtype=np.int16).reshape(20, 30, 40))
        sitk.WriteImage(image, str(tmp_path / f"dynamic_{number}.nrrd"), packed)
    size, rate = floors.exam_bytes(tmp_path)
    assert size == 2 * 2 * 24000 and (rate is not None) == packed


def test_files_that_are_no_volumes_count_whole(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "image.dcm").write_bytes(bytes(1000))
    assert floors.exam_bytes(tmp_path) == (1000, None)


def test_each_stage_has_the_floor_of_what_it_passes_over(tmp_path, small_model, monkeypatch):
    """The analysis was made in a precision that is emulated: its floor is that of float32."""
    multiplied = []
    monkeypatch.setattr(machine, "copy_rate", lambda: 1e6)
    monkeypatch.setattr(machine, "matrix_rate", lambda dtype, *_: multiplied.append(dtype) or 1e9)
    monkeypatch.setattr(machine, "computed_precisions", lambda device: [torch.float32])
    monkeypatch.setattr(machine, "cores", lambda: 2)
    exam, result = tmp_path / "exam", tmp_path / "result"
    exam.mkdir()
    result.mkdir()
    (exam / "a.dcm").write_bytes(bytes(2_000_000))
    image = sitk.GetImageFromArray(np.zeros((20, 30, 40), np.float32))
    sitk.WriteImage(image, str(result / "heatmap.nrrd"), True)
    facts = {"input": {"grid": {"size": [40, 30, 20]}}, "precision": "bfloat16"}
    (result / "result.json").write_text(json.dumps(facts))
    asked = {"exam": str(exam), "result": str(result), "model": str(small_model), "quick": True}
    known = {row["stage"]: row["floor_s"] for row in floors.floors(asked)}
    bundle = load_bundle(small_model)
    size = bundle.contract.size
    assert known["read"] == known["register"] == known["kinetics"] == 2.0
    assert known["preprocess"] == pytest.approx(2.0 + 6 * 4e-6 * math.prod(size))
    assert known["network"] == pytest.approx(floors.flops(bundle.network, (6, *size)) / 1e9)
    assert multiplied == [torch.float32]
    assert known["map"] == pytest.approx(4e-6 * (math.prod(size) + 24000)) and known["save"] > 0


# ---------------------------------------------------------------- the page


@pytest.fixture
def report():
    """The report of a quick run, not measured here."""
    rows = [row_of("Analyze, NRRD", 2.0, 8.0, n=3, note="by hand")]
    rows.append(row_of("matrix product, cpu, float32", None, n=3, tflop_per_s=0.5))
    about = machine.describe()
    return {
        "quick": True,
        "kind": "breastcmsl.benchmark",
        "machine": about,
        "seconds": 1.0,
        "rows": rows,
        "cost": [],
    }


def test_a_report_is_shown_and_put_into_a_page(tmp_path, capsys, report):
    _well_formed(report, expected=("Analyze, NRRD",))
    (tmp_path / "b.json").write_text(json.dumps(report))
    page = tmp_path / "page.md"
    shutil.copy(CHECKOUT / "docs" / "benchmark.md", page)
    for _ in range(2):  # and again, into the same place
        assert main(["--from", str(tmp_path / "b.json"), "--markdown", str(page)]) == 0
    assert "0.50 TFLOP/s" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("matrix product, cpu, float32") == 1 and text.count(table.BEGIN) == 1
    assert text.startswith("# Speed")
    (tmp_path / "b.json").write_text("{")
    assert main(["--from", str(tmp_path / "b.json")]) == 2


def test_a_page_without_marks_is_left_alone(tmp_path, report):
    (tmp_path / "page.md").write_text("# Nothing\n")
    with pytest.raises(ValueError, match="page.md"):
        table.into(tmp_path / "page.md", report)
    assert (tmp_path / "page.md").read_text() == "# Nothing\n"


def test_cost_follows_from_the_rows():
    rows = [
        {"name": "training step, paper, cpu, bfloat16", "ours_s": 6.0, "gflop": 2000.0},
        {"name": "preprocessing, 1.1 mm", "ours_s": 2.0},
        {"name": "Analyze, NRRD", "ours_s": 8.0},
        {"name": "network, cpu, bfloat16", "ours_s": 1.0, "gflop": 700.0},
    ]
    prepare, train, read = cost(rows, cores=2)
    assert prepare["laptop_h"] == pytest.approx(2 * EXAMS / 3600) and prepare["gpu_h"] == pytest.approx(
        prepare["laptop_h"] / 8
    )
    assert train["laptop_h"] == pytest.approx(80 * 6 * TRAINED / 3600)
    assert train["gpu_h"] == pytest.approx(80 * 2 / GPU_TFLOPS * TRAINED / 3600)
    assert read["gpu_h"] == pytest.approx(7 * EXAMS / 3600 / 8)
    rows.append({"name": "training step, paper, cuda, bfloat16", "ours_s": 0.05})
    assert cost(rows, cores=2)[1]["gpu_h"] == pytest.approx(80 * 0.05 * TRAINED / 3600)
    assert cost(rows[1:], cores=2) == []
    slower = [{**row, "name": row["name"].replace("cpu, bfloat16", "cpu, float32")} for row in rows]
    assert cost(slower, cores=2) == cost(rows, cores=2)  # on a processor without bfloat16
    assert [duration(h) for h in (0.5, 3, 96)] == ["30.0 min", "3.0 h", "4 days"]


def test_operations_are_counted_as_the_formula_has_them():
    chosen = exams.settings(False)
    with torch.device("meta"):
        from BreastCMSLLib.network.resnet import BreastNet

        hollow = BreastNet(chosen)
    stem = 2 * 7**3 * 6 * 64 * 170 * 110 * 64
    first = 6 * 2 * 27 * 64 * 64 * 85 * 55 * 32
    total = floors.flops(hollow, (6, 340, 220, 128))
    assert stem + first < total < 1e12 and total == pytest.approx(7.66e11, rel=0.02)


# ---------------------------------------------------------------- what is called equal


def test_coam_is_the_row_sum_of_the_gram_matrix():
    features = torch.rand(48, 9, 8, 7, generator=torch.Generator().manual_seed(1))
    expected = baseline.gram(features.numpy())
    assert np.abs(coam(features).numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def _measure(along_rows, mixed, along_columns, c: float) -> np.ndarray:
    """Frangi et al. 1998, eqs. 13 and 15, of a Hessian, in double precision."""
    hessian = np.stack([np.stack([along_rows, mixed], -1), np.stack([mixed, along_columns], -1)], -1)
    values = np.linalg.eigvalsh(hessian.astype(float))
    values = np.take_along_axis(values, np.abs(values).argsort(-1), -1)
    ratio = (values[..., 0] / np.where(values[..., 1] == 0, 1e-12, values[..., 1])) ** 2
    return np.exp(-ratio / 0.5) * (1 - np.exp(-(values**2).sum(-1) / (2 * c**2)))


def test_mask_is_that_of_the_reference_filter(simulated, monkeypatch):
    """The whole mask with our edges, and with edges from the filter's formula and scipy's derivatives."""
    size, affine = canonical_grid(simulated.grid, 2.2)
    image = Volume(resample(simulated.t1.volume, size, affine).array, affine)
    chosen = masking.MaskSettings(sigmas_mm=(2.2, 4.4))
    mine = masking.breast_mask(image, chosen).inside

    def reference(stack, threshold, sigmas):
        planes = (stack / stack.abs().max()).double().numpy()
        return np.any(
            [
                _measure(*baseline.hessian(planes, sigma), baseline.structure(planes, sigma)) > threshold
                for sigma in sigmas
            ],
            axis=0,
        )

    monkeypatch.setattr(frangi, "ridges", reference)
    theirs = masking.breast_mask(image, chosen).inside
    assert mine.any() and 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) >= 0.99


@pytest.mark.parametrize("count", (1, 2))
def test_ridges_are_where_the_measure_is_above_the_threshold(count):
    """The measure is worked out only where the Hessian is strong; everywhere it gives the same ridges."""
    rng = np.random.default_rng(3)
    slices = ndimage.gaussian_filter(rng.normal(size=(9, 45, 70)), (0, 1.5, 1.5)).astype(np.float32)
    slices[4] = 0
    stack, sigmas = torch.from_numpy(slices / np.abs(slices).max()), (1.0, 2.0)
    measures = []
    for sigma in sigmas:
        hessian = [part.numpy() for part in frangi.Derivatives(sigma, stack.device)(stack)]
        norm = np.sqrt(hessian[0] ** 2 + 2 * hessian[1] ** 2 + hessian[2] ** 2)
        measures.append(_measure(*hessian, norm.max() / 2))
    expected = np.max(measures, axis=0)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        for threshold in (0.0, 0.12, 0.6):
            ridges = frangi.ridges(torch.from_numpy(slices), threshold, sigmas)
            assert ridges.dtype == bool and ridges.any() and not ridges.all()
            differ = ridges != (expected > threshold)
            assert not differ.any() or np.abs(expected[differ] - threshold).max() < 1e-5
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def _by_itk(volume: Volume, shape, affine, outside: float) -> np.ndarray:
    reference = sitk.Image([int(n) for n in shape], sitk.sitkFloat32)
    set_sitk_geometry(reference, affine)
    return from_sitk(
        sitk.Resample(
            to_sitk(volume), reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32
        )
    ).array


@pytest.mark.parametrize("kind", (np.float32, np.uint16, np.int16, np.float64))
def test_resampling_along_the_axes_is_what_itk_does(kind):
    """All orders and flips of the axes, finer and coarser, partly outside; ITK's own type, too."""
    rng = np.random.default_rng(4)
    for order in permutations(range(3)):
        for flips in ((1, 1, 1), (-1, 1, -1)):
            source = np.zeros((4, 4))
            source[3, 3] = 1
            for axis, step in enumerate((1.3, 0.9, 2.0)):
                source[order[axis], axis] = step * flips[axis]
            source[:3, 3] = rng.uniform(-3, 3, 3)
            volume = Volume((rng.uniform(0, 300, (11, 14, 9))).astype(kind), source)
            target = np.diag([1.1, 0.7, 1.9, 1.0])
            target[:3, 3] = rng.uniform(-14, -2, 3)
            shape = (22, 30, 17)
            resampled = resample(volume, shape, target, outside=-7.0)
            expected = _by_itk(volume, shape, target, -7.0)
            assert resampled.array.dtype == np.float32 and resampled.shape == shape
            assert np.abs(resampled.array - expected).max() < 1e-3
            out = np.full(shape, np.nan, dtype=np.float32)
            assert resample(volume, shape, target, outside=-7.0, out=out).array is out and np.array_equal(
                out, resampled.array
            )


def test_resampling_far_away_gives_what_is_outside():
    volume = Volume(np.ones((5, 5, 5), np.float32), np.eye(4))
    away = np.eye(4)
    away[:3, 3] = 100
    assert (resample(volume, (4, 4, 4), away, outside=3.0).array == 3.0).all()


def test_a_piece_that_fails_is_named_and_the_threads_come_back():
    def work(number: int) -> None:
        if number >= 3:
            raise ValueError(f"piece {number}")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="piece 3"):
            threads.for_each(work, range(8))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def _in_both_precisions(exam, bundle, **options):
    for precision in ("float32", "bfloat16"):
        predictor = Predictor(bundle, "cpu", precision)
        assert predictor.precision == precision, predictor.precision_note
        yield analyze(exam, predictor, **options)


@pytest.mark.slow
@pytest.mark.skipif(
    torch.bfloat16 not in machine.computed_precisions("cpu"),
    reason="this processor has no bfloat16 convolutions",
)
def test_probability_and_peak_are_the_same_in_every_precision(simulated, small_model):
    """The whole analysis of a simulated exam, with the shipped model and with a random one.

    Of candidates as high to 3 % bfloat16 cannot tell which is first; the random one's maps are flat, so
    that only its probability counts.
    """
    exact, rounded = _in_both_precisions(simulated, load_bundle(), further_maps=("COAM", "CAM"))
    assert abs(exact.result["probability"] - rounded.result["probability"]) <= 0.02
    first = np.array(rounded.result["peaks"][0]["ras_mm"])
    peaks = exact.result["peaks"]
    same = [peak["value"] for peak in peaks if np.linalg.norm(first - peak["ras_mm"]) <= 1.1]
    assert same and same[0] >= 0.97 * peaks[0]["value"]
    for name in ("COAM", "CAM"):
        one, other = exact.further_maps[name].array, rounded.further_maps[name].array
        assert one.ravel()[other.argmax()] >= 0.97 * one.max(), name

    exact, rounded = _in_both_precisions(simulated, load_bundle(small_model))
    assert abs(exact.result["probability"] - rounded.result["probability"]) <= 0.02


def test_loading_a_model_does_not_load_what_only_compiling_needs():
    """Building a hollow network once imported sympy and 800 modules: two seconds of every start."""
    code = (
        "import sys\nfrom BreastCMSLLib.models.bundle import load_bundle\n"
        "from BreastCMSLLib.models.inference import Predictor\nPredictor(load_bundle(), 'cpu')\n"
        "print(sorted({'sympy', 'torch._dynamo', 'torch._inductor'} & set(sys.modules)))"
    )
    assert printed_by(code) == "[]"


def test_progress_is_shown_before_anything_heavy_is_imported():
    code = (
        "import sys\nfrom BreastCMSLLib import cli\ncli.Reporter('json').progress('read', 0.0)\n"
        "print(sorted({'torch', 'numpy', 'SimpleITK', 'scipy', 'pydicom'} & set(sys.modules)))"
    )
    first, heavy = printed_by(code).splitlines()
    assert json.loads(first)["stage"] == "read" and heavy == "[]"


def test_the_baseline_reads_and_masks_as_a_user_would(tmp_path, simulated):
    write_volumes(tmp_path, simulated.phases, "dynamic_{}.nrrd")
    arrays, t1, spacing = baseline.read_nrrd(tmp_path)
    assert len(arrays) == 1 + len(simulated.post) and t1 is None and np.allclose(spacing, 4.4)
    assert np.array_equal(arrays[0], simulated.pre.volume.array.T)
    if find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed (it comes with make benchmark)")
    assert 0.02 < (baseline.mask(arrays[0], 4.4) > 0.5).mean() < 0.9


def test_the_contract_of_a_quick_run_is_a_quarter_of_the_papers():
    assert exams.contract(False) == InputContract() and exams.contract(True).size == (85, 55, 32)


# ---------------------------------------------------------------- speed tricks


@pytest.mark.benchmark
def test_every_trick_is_measured(tmp_path, capsys):
    arguments = ["--quick", "--runs", "1", "--models", "shipped", "--output", str(tmp_path / "tricks.json")]
    assert tricks.main(arguments) == 0
    rows = json.loads((tmp_path / "tricks.json").read_text())["rows"]
    assert [row["trick"] for row in rows] == [name for name in switched_off.TRICKS if name != "nothing"]
    assert all(row["with_s"] > 0 and row["without_s"] > 0 for row in rows)
    assert capsys.readouterr().out.count("saves") == len(rows)


def test_a_trick_pays_by_the_median_of_its_pairs():
    row = tricks.compare([(9.0, 10.0), (9.5, 10.0), (9.0, 9.0), (9.6, 10.0), (9.5, 10.0)])
    assert row["share"] == pytest.approx(0.05) and row["pays"]
    assert (row["with_s"], row["without_s"]) == (9.5, 10.0) and 0 < row["low"] <= row["share"] <= row["high"]
    assert not tricks.compare([(9.9, 10.0)])["pays"]


@pytest.mark.parametrize("name", ["onednn_fuses", "stem_folds_its_stride"])
def test_without_a_trick_the_network_says_the_same(monkeypatch, small_model, name):
    bundle = load_bundle(small_model)
    exam = torch.rand(6, *bundle.contract.size, generator=torch.Generator().manual_seed(2))
    expected = Predictor(bundle, "cpu", "float32").predict(exam)
    places = ((folding, "_onednn_fuses"), (folding, "FoldedStem"))
    tricks_of = [getattr(*place) for place in places]
    for place, trick in zip(places, tricks_of):
        monkeypatch.setattr(*place, trick)  # given back afterwards
    switched_off.TRICKS[name]()
    assert [getattr(*place) for place in places] != tricks_of
    without = Predictor(bundle, "cpu", "float32").predict(exam)
    assert without.logit == pytest.approx(expected.logit, abs=1e-4)
    assert torch.allclose(
        without.features, expected.features, atol=1e-4 * float(expected.features.abs().max())
    )


def test_an_early_trick_is_taken_away_before_anything_is_imported():
    code = (
        "import sys\nfrom Testing.benchmark import switched_off\nfrom BreastCMSLLib import cli\n"
        "kept = cli.keep_freed_memory\nswitched_off.switch_off('freed_memory_kept')\n"
        "print(cli.keep_freed_memory is kept, sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert printed_by(code) == "False []"


def test_the_network_is_prepared_at_once_without_its_trick(monkeypatch, simulated, small_model):
    bundle = load_bundle(small_model)
    monkeypatch.setattr(pipeline, "Preparing", pipeline.Preparing)  # given back afterwards
    expected = analyze(simulated, bundle, device="cpu").result["probability"]
    switched_off.TRICKS["network_prepared_beside"]()
    assert pipeline.Preparing(bundle, "cpu").predictor().precision
    assert analyze(simulated, bundle, device="cpu").result["probability"] == expected
