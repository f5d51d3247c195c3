"""The command line as a user runs it: five files that agree with each other, and one sentence for every wrong input."""

import json
import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import CHECKOUT
from phantom import body_exam

from BreastCMSLLib import cli
from BreastCMSLLib.candidates.regions import SNAP_MM
from BreastCMSLLib.core.geometry import Volume, from_sitk, to_sitk
from BreastCMSLLib.models import bundle as weights
from training.simulation import simulate
from training.simulation.dicom_export import write_dicom

FILES = {"scene.mrb", "heatmap.nrrd", "result.json", "report.html", "overlay.png"}


def run(*arguments, cwd=CHECKOUT):
    command = [sys.executable, "-m", "BreastCMSLLib", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def simulated():
    return simulate(9_000_002, True, voxel_mm=1.8, with_t1=True)


@pytest.fixture(scope="module")
def analysed(simulated, tmp_path_factory):
    """A simulated exam as a DICOM folder, and what the command leaves of it (non-ASCII, spaced path)."""
    folder = tmp_path_factory.mktemp("prüfung ä b")
    write_dicom(folder / "exam", [simulated.exam.pre, *simulated.exam.post], t1=simulated.exam.t1, seed=3, scrambled_names=True)
    done = run("analyze", folder / "exam", "--output", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def read_result(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_exactly_the_files_that_are_told(analysed):
    folder, done = analysed
    outline = {"outline.seg.nrrd"} if read_result(folder)["malignant"] else set()
    assert {p.name for p in folder.iterdir()} == FILES | outline
    assert "Traceback" not in done.stderr and "Research use only" in done.stdout
    assert "simulated" in (folder / "report.html").read_text(encoding="utf-8")


def test_result_describes_the_input(analysed, simulated):
    folder, _ = analysed
    result = read_result(folder)
    assert [p["role"] for p in result["phases"]] == ["pre"] + ["post"] * len(simulated.exam.post)
    assert [p["time_s"] for p in result["phases"][1:]] == pytest.approx(simulated.exam.times_s, abs=1.0)
    assert result["t1"]["name"] == simulated.exam.t1.name and result["mask"]["source"] == "t1"
    assert result["model"]["sha256"] == weights.load_bundle().sha256
    assert {"read", "preprocess", "network", "map", "scene", "total"} <= set(result["timings_s"])
    assert {"breastcmsl", "torch", "numpy", "SimpleITK", "slicer_core", "python"} <= set(result["versions"])
    assert "Simulated^Exam" not in (folder / "result.json").read_text() + (folder / "report.html").read_text(encoding="utf-8")


def test_heatmap_marker_and_grid_agree_for_plain_readers(analysed, simulated):
    """SimpleITK and plain JSON alone: the marker is on the map's summit, on the exam's own grid."""
    folder, _ = analysed
    result, image = read_result(folder), sitk.ReadImage(str(folder / "heatmap.nrrd"))
    heat = sitk.GetArrayFromImage(image)
    assert heat.dtype == np.float32 and 0 <= heat.min() and heat.max() <= 1
    r, a, s = result["peaks"][0]["map_ras_mm"]
    at = np.rint(image.TransformPhysicalPointToContinuousIndex((-r, -a, s))).astype(int)[::-1]
    around = heat[tuple(slice(max(0, n - 1), n + 2) for n in at)]
    assert around.max() > 0.97 * heat.max()  # two summits of one height may change places in resampling
    moved = np.linalg.norm(np.subtract(result["peaks"][0]["ras_mm"], result["peaks"][0]["map_ras_mm"]))
    assert moved <= SNAP_MM + 6
    heatmap, grid = from_sitk(image), simulated.exam.grid
    assert heatmap.same_grid(grid, 1e-3)
    assert np.allclose(result["input"]["grid"]["ijk_to_ras"], grid.affine, atol=1e-3)


def test_scene_reloads_with_the_same_nodes(analysed):
    from BreastCMSLLib.scene import bundle, embedded, reading, results

    folder, _ = analysed
    result = read_result(folder)
    scene = embedded.start()
    bundle.load_scene(folder / "scene.mrb", scene)
    nodes = results.find_results(scene, result["exam_id"])
    saved = from_sitk(sitk.ReadImage(str(folder / "heatmap.nrrd")))
    loaded = reading.volume_from_node(nodes.heatmap)
    assert np.array_equal(loaded.array, saved.array) and loaded.same_grid(saved, 1e-4)
    shown = [p["ras_mm"] for p in result["peaks"]]
    points = [nodes.peaks.GetNthControlPointPositionWorld(n) for n in range(nodes.peaks.GetNumberOfControlPoints())]
    assert np.allclose(points, shown[: len(points)], atol=1e-3) and points
    cells = [
        nodes.table.GetCellText(row, column)
        for row in range(nodes.table.GetNumberOfRows())
        for column in range(nodes.table.GetNumberOfColumns())
    ]
    assert any("esearch" in cell for cell in cells) and any("simulated" in cell for cell in cells)
    scene.Clear(0)


def test_overlay_shows_the_views(analysed):
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(analysed[0] / "overlay.png")))[..., :3].astype(int)
    assert picture.shape[1] >= 1500 and picture.shape[0] >= 500
    grey = np.abs(picture[..., 0] - picture[..., 2]) < 8
    assert 0.1 < (picture.sum(-1) > 60).mean() and (~grey).mean() > 0.001


def test_analysing_again_replaces_every_earlier_result_and_keeps_other_files(analysed, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(analysed[0], out)
    (out / "notes.txt").write_text("mine")
    before = read_result(out)
    assert cli.main(["analyze", str(analysed[0].parent / "exam"), "--output", str(out), "--no-scene", "--progress", "none"]) == 0
    after = read_result(out)
    for key in ("probability", "logit", "peaks", "exam_id", "kinetics"):
        assert after[key] == before[key], key  # another process, the same numbers
    # a report or scene of an earlier exam beside a new result would mislead
    assert {p.name for p in out.iterdir()} - {"outline.seg.nrrd"} == {"heatmap.nrrd", "result.json", "notes.txt"}


def test_request_mode_speaks_json_lines(simulated, tmp_path, capsys):
    """What the desktop module runs: files and a request in, JSON lines out, two files left."""
    entries = []
    for n, phase in enumerate([simulated.exam.pre, *simulated.exam.post]):
        sitk.WriteImage(to_sitk(phase.volume), str(tmp_path / f"{n}.nrrd"))
        entries.append({"file": str(tmp_path / f"{n}.nrrd"), "name": phase.name, "time_s": phase.time_s})
    identifiers = {"exam_id": "feedfacefeedface"}
    request = {
        "schema_version": 1,
        "kind": "phases",
        "dynamics": entries,
        "t1": None,
        "identifiers": identifiers,
        "options": {"map": "CAM", "device": "cpu"},
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    arguments = [
        "analyze",
        "--request",
        str(tmp_path / "request.json"),
        "--output",
        str(tmp_path / "out"),
        "--no-scene",
        "--progress",
        "json",
    ]
    assert cli.main(arguments) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {e["event"] for e in events} == {"progress", "done"} and events[-1]["event"] == "done"
    fractions = [e["fraction"] for e in events[:-1]]
    assert fractions == sorted(fractions) and all(e["text"] for e in events[:-1])
    result = read_result(tmp_path / "out")
    assert result["map"] == "CAM" and result["exam_id"] == "feedfacefeedface"
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"outline.seg.nrrd"} == {"heatmap.nrrd", "result.json"}
    assert set(events[-1]) - {"outline"} == {"event", "result", "heatmap"}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Three small phases as files."""
    folder = tmp_path_factory.mktemp("volumes")
    affine = np.diag([-8.0, -8.0, 8.0, 1.0])
    for n, phase in enumerate([(e := body_exam(affine, (42, 32, 22))).pre, *e.post][:3]):
        sitk.WriteImage(to_sitk(phase.volume), str(folder / f"phase_{n}.nrrd"))
    return folder


def wrong(name, volumes, tmp_path):
    """The arguments of a wrong call, and what its sentence must name."""
    files = [volumes / f"phase_{n}.nrrd" for n in range(3)]

    def changed(change):
        volume = from_sitk(sitk.ReadImage(str(files[1])))
        array = change(volume.array.astype(np.float32))
        path = tmp_path / "changed.nrrd"
        sitk.WriteImage(to_sitk(Volume(array, volume.affine)), str(path))
        return path

    if name == "empty folder":
        (tmp_path / "empty").mkdir()
        return [tmp_path / "empty"], "empty"
    if name == "no such folder":
        return [tmp_path / "nowhere"], "nowhere"
    if name == "one phase only":
        return files[:1], "phase_0"
    if name == "mismatched sizes":
        return [files[0], changed(lambda a: a[:-3])], "changed"
    if name == "NaN":

        def poison(a):
            a[3, 3, 3] = np.nan
            return a

        return [files[0], changed(poison)], "changed"
    if name == "constant volume":
        return [files[0], changed(lambda a: np.full_like(a, 7))], "changed"
    if name == "not an image":
        path = tmp_path / "text.nrrd"
        path.write_text("not an image at all")
        return [files[0], path], "text.nrrd"
    if name == "missing weights":
        return [*files, "--model", tmp_path / "none.json"], "none.json"
    if name == "unknown map":
        return [*files, "--map", "LIME"], "LIME"
    if name == "altered weights":
        card = weights.default_model()
        shutil.copy(card, tmp_path / "m.json")
        data = bytearray(card.with_suffix(".safetensors").read_bytes())
        data[len(data) // 2] ^= 255
        (tmp_path / card.with_suffix(".safetensors").name).write_bytes(data)
        return [*files, "--model", tmp_path / "m.json"], "safetensors"
    if name == "a CT":
        exam = body_exam(np.diag([-8.0, -8.0, 8.0, 1.0]), (42, 32, 22))
        written = write_dicom(tmp_path / "ct", [exam.pre, *exam.post])
        import pydicom

        for path in written:
            dataset = pydicom.dcmread(path)
            dataset.Modality = "CT"
            dataset.save_as(path)
        return [tmp_path / "ct"], "CT"
    raise AssertionError(name)


CASES = [
    "empty folder",
    "no such folder",
    "one phase only",
    "mismatched sizes",
    "NaN",
    "constant volume",
    "not an image",
    "missing weights",
]


@pytest.mark.parametrize("name", [*CASES, "altered weights", "unknown map", "a CT"])
def test_wrong_input_is_one_sentence_and_nothing_else(name, volumes, tmp_path, capsys):
    arguments, named = wrong(name, volumes, tmp_path)
    out = tmp_path / "out"
    status = cli.main(["analyze", *map(str, arguments), "--output", str(out), "--progress", "none", "--no-scene"])
    text = capsys.readouterr()
    assert status == 2
    assert text.err.count("\n") == 1 and text.err.startswith("breastcmsl: ") and named in text.err, text.err
    assert not out.exists() and not text.out


def test_output_that_cannot_be_is_said_before_the_work(volumes, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["analyze", str(volumes / "phase_0.nrrd"), "--output", str(tmp_path / "file"), "--progress", "none"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_an_unforeseen_error_is_one_sentence(volumes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("BreastCMSLLib.pipeline.preprocess", lambda *a, **k: 1 / 0)
    files = [str(volumes / f"phase_{n}.nrrd") for n in range(3)]
    assert cli.main(["analyze", *files, "--output", str(tmp_path / "out"), "--progress", "none", "--no-scene"]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "ZeroDivisionError" in text and not (tmp_path / "out").exists()


def test_model_commands(capsys):
    assert cli.main(["model", "show"]) == 0
    assert json.loads(capsys.readouterr().out)["training_data"]
    assert cli.main(["model", "verify"]) == 0
    assert weights.load_bundle().sha256 in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
@pytest.mark.parametrize(
    ("arguments", "stream", "status"),
    [
        (["model", "show"], "stdout", 1),
        (["model", "verify", "nowhere.json"], "stderr", 2),
        (["analyze", "nowhere.nrrd", "--output", "never", "--progress", "json"], "stdout", 1),
        (["analyze", "nowhere.nrrd", "--output", "never", "--progress", "text"], "stderr", 1),
    ],
)
def test_a_reader_who_left_ends_the_process_quietly(arguments, stream, status):
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    command = [sys.executable, "-m", "BreastCMSLLib", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, **streams, text=True, timeout=280)
    os.close(writing)
    assert done.returncode == status
    assert not (done.stderr or "") and not (done.stdout or "")
    assert not (CHECKOUT / "never").exists()


def test_the_process_ends_at_once_but_leaves_nothing_undone():
    """Threads end and what was to happen at the exit happens; the status is that of ``main``."""
    code = (
        "import atexit, sys, threading, time\n"
        "from pathlib import Path\n"
        "from BreastCMSLLib import cli\n"
        "def main():\n"
        "    atexit.register(lambda: print('cleared'))\n"
        "    threading.Thread(target=lambda: (time.sleep(0.3), print('written', end=' '))).start()\n"
        "    return 7\n"
        "cli.main = main\n"
        "cli.run()\n"
        "class Never:\n"
        "    def __del__(self): print('taken apart', flush=True)\n"
        "kept = Never()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7 and done.stdout.split() == ["written", "cleared"] and not done.stderr


def test_importing_the_library_is_light():
    heavy = "('torch', 'SimpleITK', 'scipy', 'pydicom', 'slicer')"
    code = f"import sys, BreastCMSLLib.errors, BreastCMSLLib.exam; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_peak_is_near_the_simulated_lesion(analysed, simulated):
    """Not an accuracy claim, a wiring check: one of the peaks lies within a cell and a half of the malignant lesion."""
    result = read_result(analysed[0])
    lesion = next(x for x in simulated.lesions if x["malignant"])
    distances = [np.linalg.norm(np.array(p["ras_mm"]) - lesion["ras_mm"]) for p in result["peaks"]]
    assert min(distances) < 1.5 * result["map_cell_mm"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep freed memory"
)
def test_a_process_of_its_own_uses_freed_memory_again():
    code = (
        "import resource, numpy as np\n"
        "from BreastCMSLLib import cli\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def fill():\n"
        "    before = faults(); np.empty(2**26, np.uint8).fill(1); return faults() - before\n"
        "fill(); plain = fill()\n"
        "cli.keep_freed_memory()\n"
        "fill(); print(plain, fill())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    plain, kept = map(int, done.stdout.split())
    assert kept < 100, (plain, kept)  # of the 16,384 pages of an array of 64 MB


def test_lack_of_memory_is_told_as_such_by_whomever(monkeypatch, tmp_path, capsys):
    for error in (MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")):

        def short(options, error=error):
            raise error

        monkeypatch.setattr(cli, "check_command", short)
        assert cli.main(["check", str(tmp_path)]) == 1
        assert "not enough memory" in capsys.readouterr().err
