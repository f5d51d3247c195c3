"""The benchmark runs and its rows are well formed; what it calls equal is equal. No time is asserted: speed
is measured, not tested."""

import json
import shutil
from importlib.util import find_spec
from itertools import permutations

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
from Testing.benchmark import baseline, exams, machine, switched_off, table, topics, tricks, whole
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


@pytest.mark.benchmark
def test_rows_of_what_is_measured_inside_a_process():
    report = measure(
        ["prepare", "machine", "mask", "coam", "network", "precision", "reading", "model_load", "many"],
        quick=True,
    )
    _well_formed(
        report,
        expected=(
            "simulation",
            "matrix product, cpu, float32",
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
    by_name = {row["name"]: row for row in report["rows"]}
    assert by_name["COAM"]["error"] <= 1e-5
    assert len(by_name["12 exams in one process, per exam"]["memory_mb"]) == 4
    assert (
        by_name["network, cpu, float32"]["floor_ratio"] > 0
        and by_name["network, cpu, float32"]["peak_mb"] > 50
    )


@pytest.mark.benchmark
def test_rows_of_whole_processes():
    report = measure(["prepare", "analyze", "start", "sizes"], quick=True)
    stages = [
        f"Analyze, NRRD: {stage}"
        for stage in ("start", "read", "model", "preprocess", "network", "map", "save")
    ]
    _well_formed(
        report,
        expected=(
            "Analyze, NRRD",
            *stages,
            "child process",
            "import of the module",
            "Analyze, exam and model at 4.4 mm",
        ),
    )
    whole = {row["name"]: row for row in report["rows"]}
    shares = [row["share"] for name, row in whole.items() if name.startswith("Analyze, NRRD: ")]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    assert whole["Analyze, NRRD"]["peak_mb"] > 100


@pytest.mark.benchmark
def test_rows_of_training():
    report = measure(["prepare", "training"], quick=True)
    _well_formed(
        report,
        expected=(
            "simulation and preprocessing",
            "preprocessing",
            "training input",
            "training step, tiny, cpu, float32",
        ),
    )


@pytest.mark.benchmark
def test_a_processor_without_bfloat16_is_measured_to_the_end(monkeypatch):
    """Nothing is emulated: a matrix product in bfloat16 would take minutes there."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    report = measure(["prepare", "machine", "network", "precision", "training"], quick=True)
    _well_formed(report, expected=("network, cpu, float32", "training step, tiny, cpu, float32"))
    by_name = {row["name"]: row for row in report["rows"]}
    assert "emulated" in by_name["matrix product, cpu, bfloat16"]["note"]
    assert "no bfloat16" in by_name["precision, float32 and bfloat16"]["note"]
    assert not [name for name in by_name if "cpu, bfloat16" in name and by_name[name]["ours_s"]]


def test_only_what_the_processor_computes_in_is_multiplied(monkeypatch):
    multiplied = []
    monkeypatch.setattr(machine, "matrix_rate", lambda dtype, *_: multiplied.append(dtype) or 1e9)
    monkeypatch.setattr("BreastCMSLLib.models.inference.fast_precision", lambda device: torch.float32)
    rows = machine.rows({"quick": True})
    assert [row["name"] for row in rows if row.get("tflop_per_s")] == ["matrix product, cpu, float32"]
    assert set(multiplied) == {torch.float32} and "emulated" in rows[-1]["note"]


def test_every_topic_is_listed_once():
    assert sorted(TOPICS) == sorted([*topics.WORKERS, *whole.TOPICS])


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
    total = topics.flops(hollow, (6, 340, 220, 128))
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
