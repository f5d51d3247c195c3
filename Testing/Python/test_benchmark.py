"""The benchmark runs and its rows are well formed; what it calls equal is equal. No time is asserted: speed is measured, not tested."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from BreastCMSLLib.core import threads
from BreastCMSLLib.core.geometry import Volume, from_sitk, resample, set_sitk_geometry, to_sitk
from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.network.attention import coam
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing import breast_mask as masking
from BreastCMSLLib.preprocessing import frangi
from BreastCMSLLib.preprocessing.model_input import InputContract, canonical_grid
from Testing.benchmark import baseline, exams, machine, table, topics
from Testing.benchmark.__main__ import TOPICS, main, measure
from Testing.benchmark.cost import EXAMS, GPU_TFLOPS, TRAINED, cost, duration
from training.simulation.exam import simulate

CHECKOUT = Path(__file__).resolve().parents[2]
KNOWN = {"name", "ours_s", "baseline_s", "ratio", "peak_mb", "floor_ratio", "n"}


@pytest.fixture(scope="module")
def simulated():
    return simulate(exams.SEED, True, voxel_mm=4.4, with_t1=True).exam


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    network = exams.random_network(exams.settings(True))
    folder = tmp_path_factory.mktemp("model")
    return save_bundle(
        folder, "tiny", network, exams.contract(True), threshold=0.5, description="test", training_data="nothing", evidence={}
    )


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


def test_rows_of_what_is_measured_inside_a_process():
    report = measure(["prepare", "machine", "mask", "coam", "network", "precision", "reading", "model_load", "many"], quick=True)
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
    assert by_name["network, cpu, float32"]["floor_ratio"] > 0 and by_name["network, cpu, float32"]["peak_mb"] > 50


def test_rows_of_whole_processes():
    report = measure(["prepare", "analyze", "start", "sizes"], quick=True)
    stages = [f"Analyze, NRRD: {stage}" for stage in ("start", "read", "model", "preprocess", "network", "map", "save")]
    _well_formed(report, expected=("Analyze, NRRD", *stages, "child process", "import of the module", "Analyze, exam and model at 4.4 mm"))
    whole = {row["name"]: row for row in report["rows"]}
    shares = [row["share"] for name, row in whole.items() if name.startswith("Analyze, NRRD: ")]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    assert whole["Analyze, NRRD"]["peak_mb"] > 100


def test_rows_of_training():
    report = measure(["prepare", "training"], quick=True)
    _well_formed(report, expected=("simulation and preprocessing", "preprocessing", "training input", "training step, tiny, cpu, float32"))


def test_every_topic_is_listed_once_and_can_be_asked_for(tmp_path, capsys):
    from Testing.benchmark import whole

    assert sorted(TOPICS) == sorted([*topics.WORKERS, *whole.TOPICS])
    assert main(["--quick", "--only", "machine", "--output", str(tmp_path / "b.json")]) == 0
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["kind"] == "breastcmsl.benchmark" and report["cost"] == []
    assert "TFLOP/s" in capsys.readouterr().out
    page = tmp_path / "page.md"
    shutil.copy(CHECKOUT / "docs" / "benchmark.md", page)
    assert main(["--from", str(tmp_path / "b.json"), "--markdown", str(page)]) == 0
    assert main(["--from", str(tmp_path / "b.json"), "--markdown", str(page)]) == 0  # and again, into the same place
    text = page.read_text()
    assert text.count("matrix product, cpu, float32") == 1 and text.count(table.BEGIN) == 1 and text.startswith("# Speed")
    (tmp_path / "b.json").write_text("{")
    assert main(["--from", str(tmp_path / "b.json")]) == 2


def test_a_page_without_marks_is_left_alone(tmp_path):
    (tmp_path / "page.md").write_text("# Nothing\n")
    report = {"rows": [], "cost": [], "machine": machine.describe(), "seconds": 1.0}
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
    assert prepare["laptop_h"] == pytest.approx(2 * EXAMS / 3600) and prepare["gpu_h"] == pytest.approx(prepare["laptop_h"] / 8)
    assert train["laptop_h"] == pytest.approx(80 * 6 * TRAINED / 3600)
    assert train["gpu_h"] == pytest.approx(80 * 2 / GPU_TFLOPS * TRAINED / 3600)
    assert read["gpu_h"] == pytest.approx(7 * EXAMS / 3600 / 8)
    rows.append({"name": "training step, paper, cuda, bfloat16", "ours_s": 0.05})
    assert cost(rows, cores=2)[1]["gpu_h"] == pytest.approx(80 * 0.05 * TRAINED / 3600)
    assert cost(rows[1:], cores=2) == []
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


def _reference_measure(plane: np.ndarray, sigma: float, c: float) -> np.ndarray:
    """Frangi et al. 1998, eqs. 13 and 15, for one slice in double precision, by scipy's filters."""
    parts = [sigma**2 * ndimage.gaussian_filter(plane, sigma, order=o, mode="nearest", truncate=4) for o in ((2, 0), (1, 1), (0, 2))]
    values = np.linalg.eigvalsh(np.stack([np.stack(parts[:2], -1), np.stack(parts[1:], -1)], -1))
    values = np.take_along_axis(values, np.abs(values).argsort(-1), -1)
    ratio, norm = (values[..., 0] / np.where(values[..., 1] == 0, 1e-12, values[..., 1])) ** 2, (values**2).sum(-1)
    return np.exp(-ratio / 0.5) * (1 - np.exp(-norm / (2 * c**2)))


def test_mask_is_that_of_the_reference_filter(simulated, monkeypatch):
    """The whole mask with our edges, and with edges from the filter's formula slice by slice."""
    size, affine = canonical_grid(simulated.grid, 2.2)
    image = Volume(resample(simulated.t1.volume, size, affine).array, affine)
    chosen = masking.MaskSettings(sigmas_mm=(2.2, 4.4))
    mine = masking.breast_mask(image, chosen).inside

    def reference(stack, threshold, sigmas):
        planes = (stack / stack.abs().max()).double().numpy()
        found = np.zeros(planes.shape, bool)
        for sigma in sigmas:
            c = frangi.structure(stack, sigma)
            found |= np.stack([_reference_measure(plane, sigma, c) > threshold for plane in planes])
        return found

    monkeypatch.setattr(frangi, "ridges", reference)
    theirs = masking.breast_mask(image, chosen).inside
    assert mine.any() and 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) >= 0.99


@pytest.mark.parametrize("count", (1, 2))
def test_ridges_are_where_the_measure_is_above_the_threshold(count):
    rng = np.random.default_rng(3)
    slices = ndimage.gaussian_filter(rng.normal(size=(9, 45, 70)), (0, 1.5, 1.5)).astype(np.float32)
    slices[4] = 0
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        for threshold in (0.0, 0.12, 0.6):
            measure_ = frangi.ridgeness(slices, (1.0, 2.0)).numpy()
            found = frangi.ridges(slices, threshold, (1.0, 2.0))
            assert found.dtype == bool and found.any()
            differ = found != (measure_ > threshold)
            assert not differ.any() or np.abs(measure_[differ] - threshold).max() < 1e-6
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def _by_itk(volume: Volume, shape, affine, outside: float) -> np.ndarray:
    reference = sitk.Image([int(n) for n in shape], sitk.sitkFloat32)
    set_sitk_geometry(reference, affine)
    return from_sitk(sitk.Resample(to_sitk(volume), reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)).array


@pytest.mark.parametrize("kind", (np.float32, np.uint16, np.int16, np.float64))
def test_resampling_along_the_axes_is_what_itk_does(kind):
    """All orders and flips of the axes, finer and coarser, partly outside; the type that ITK is left with included."""
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
            made = resample(volume, shape, target, outside=-7.0)
            expected = _by_itk(volume, shape, target, -7.0)
            assert made.array.dtype == np.float32 and made.shape == shape
            assert np.abs(made.array - expected).max() < 1e-3
            out = np.full(shape, np.nan, dtype=np.float32)
            assert resample(volume, shape, target, outside=-7.0, out=out).array is out and np.array_equal(out, made.array)


def test_resampling_far_away_gives_what_is_outside():
    volume = Volume(np.ones((5, 5, 5), np.float32), np.eye(4))
    away = np.eye(4)
    away[:3, 3] = 100
    assert (resample(volume, (4, 4, 4), away, outside=3.0).array == 3.0).all()


def test_a_piece_that_fails_is_told_and_the_threads_come_back():
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


def test_probability_and_peak_are_the_same_in_every_precision(simulated, small_model):
    """The whole analysis of a simulated exam: probability and first peak with the shipped model (of places that are as high to 3 %,
    which bfloat16 cannot tell apart, either), probability with a random one of the paper's architecture, whose maps are flat.
    """
    for card, name in ((None, "LESION"), (None, "COAM"), (None, "CAM"), (small_model, "COAM")):
        bundle = load_bundle(card)
        found = {}
        for precision in ("float32", "bfloat16"):
            predictor = Predictor(bundle, "cpu", precision)
            if predictor.precision != precision:
                pytest.skip(f"this processor has no {precision} convolutions")
            result = analyze(simulated, predictor, map_name=name).result
            found[precision] = result["probability"], result["peaks"]
        (p, exact), (q, rounded) = found.values()
        assert abs(p - q) <= 0.02, bundle.name
        first = np.array(rounded[0]["ras_mm"])
        same = [peak for peak in exact if np.linalg.norm(first - peak["ras_mm"]) <= bundle.contract.spacing_mm]
        assert card or (same and same[0]["value"] >= 0.97 * exact[0]["value"]), name


def test_loading_a_model_does_not_load_what_only_compiling_needs():
    """Building a network whose weights are still to come once imported sympy and 800 modules: two seconds of every start."""
    code = (
        "import sys\nfrom BreastCMSLLib.weights import load_bundle\nfrom BreastCMSLLib.inference import Predictor\n"
        "Predictor(load_bundle(), 'cpu')\nprint(sorted({'sympy', 'torch._dynamo', 'torch._inductor'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_progress_is_told_before_anything_heavy_is_imported():
    code = (
        "import sys\nfrom BreastCMSLLib import cli\ncli.Reporter('json').progress('read', 0.0)\n"
        "print(sorted({'torch', 'numpy', 'SimpleITK', 'scipy', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    first, heavy = done.stdout.splitlines()
    assert json.loads(first)["stage"] == "read" and heavy == "[]"


def test_the_baseline_reads_and_masks_as_a_user_would(tmp_path, simulated):
    for number, phase in enumerate([simulated.pre, *simulated.post]):
        sitk.WriteImage(to_sitk(phase.volume), str(tmp_path / f"dynamic_{number}.nrrd"))
    arrays, t1, spacing = baseline.read_nrrd(tmp_path)
    assert len(arrays) == 1 + len(simulated.post) and t1 is None and np.allclose(spacing, 4.4)
    assert np.array_equal(arrays[0], simulated.pre.volume.array.T)
    if find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed (it comes with make benchmark)")
    assert 0.02 < (baseline.mask(arrays[0], 4.4) > 0.5).mean() < 0.9


def test_the_contract_of_a_quick_run_is_a_quarter_of_the_papers():
    assert exams.contract(False) == InputContract() and exams.contract(True).size == (85, 55, 32)
