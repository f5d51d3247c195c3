"""The command line as a user runs it: files that agree with each other, one sentence for every wrong
input."""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from builders import printed_by, run_python, save_model, small_exam, write_volumes
from conftest import CHECKOUT
from dicom_factory import edit
from scene_case import open_scene

from BreastCMSLLib import cli
from BreastCMSLLib.candidates.regions import SNAP_MM
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.core.itk import from_sitk, to_sitk
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.cards import default_model
from training.simulation import simulate
from training.simulation.dicom_export import write_dicom

FILES = {"scene.mrb", "heatmap.nrrd", "result.json", "report.html", "report.pdf", "overlay.png"}


def run(*arguments, cwd=CHECKOUT):
    command = [sys.executable, "-m", "BreastCMSLLib", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def simulated():
    return simulate(9_000_002, True, voxel_mm=1.8, with_t1=True)


@pytest.fixture(scope="module")
def analysed(simulated, tmp_path_factory):
    """A simulated exam as a DICOM folder, and what the command leaves of it (non-ASCII, spaced path)."""
    folder = tmp_path_factory.mktemp("prüfung ä b")
    exam = simulated.exam
    write_dicom(folder / "exam", exam.phases, t1=exam.t1, seed=3, scrambled_names=True)
    done = run("analyze", folder / "exam", "--output", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def read_result(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slicer
def test_exactly_the_files_that_the_pages_name(analysed):
    folder, done = analysed
    outline = {"outline.seg.nrrd"} if read_result(folder)["malignant"] else set()
    assert {p.name for p in folder.iterdir()} == FILES | outline
    assert "Traceback" not in done.stderr and "Research use only" in done.stdout
    assert "simulated" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slicer
def test_result_describes_the_input(analysed, simulated):
    folder, _ = analysed
    result = read_result(folder)
    assert [p["role"] for p in result["phases"]] == ["pre"] + ["post"] * len(simulated.exam.post)
    assert [p["time_s"] for p in result["phases"][1:]] == pytest.approx(simulated.exam.times_s, abs=1.0)
    assert result["t1"]["name"] == simulated.exam.t1.name and result["mask"]["source"] == "t1"
    assert result["model"]["sha256"] == load_bundle().sha256
    assert {"read", "preprocess", "network", "map", "scene", "total"} <= set(result["timings_s"])
    assert {"breastcmsl", "torch", "numpy", "SimpleITK", "slicer_core", "python"} <= set(result["versions"])
    assert "Simulated^Exam" not in (folder / "result.json").read_text() + (folder / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.slicer
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


@pytest.mark.slicer
def test_scene_reloads_with_the_same_nodes(analysed):
    from BreastCMSLLib.scene import embedded, reading, results

    folder, _ = analysed
    result = read_result(folder)
    scene = embedded.start()
    open_scene(folder / "scene.mrb")
    nodes = results.find_results(scene, result["exam_id"])
    saved = from_sitk(sitk.ReadImage(str(folder / "heatmap.nrrd")))
    loaded = reading.volume_from_node(nodes.heatmap)
    assert np.array_equal(loaded.array, saved.array) and loaded.same_grid(saved, 1e-4)
    shown = [p["ras_mm"] for p in result["peaks"]]
    points = [
        nodes.peaks.GetNthControlPointPositionWorld(n) for n in range(nodes.peaks.GetNumberOfControlPoints())
    ]
    assert np.allclose(points, shown[: len(points)], atol=1e-3) and points
    cells = [
        nodes.table.GetCellText(row, column)
        for row in range(nodes.table.GetNumberOfRows())
        for column in range(nodes.table.GetNumberOfColumns())
    ]
    assert any("esearch" in cell for cell in cells) and any("simulated" in cell for cell in cells)
    scene.Clear(0)


@pytest.mark.slicer
def test_overlay_shows_the_views(analysed):
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(analysed[0] / "overlay.png")))[..., :3].astype(int)
    assert picture.shape[1] >= 1500 and picture.shape[0] >= 500
    grey = np.abs(picture[..., 0] - picture[..., 2]) < 8
    assert 0.1 < (picture.sum(-1) > 60).mean() and (~grey).mean() > 0.001


@pytest.mark.slicer
def test_analysing_again_replaces_every_earlier_result_and_keeps_other_files(analysed, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(analysed[0], out)
    (out / "notes.txt").write_text("mine")
    before = read_result(out)
    assert (
        cli.main(
            [
                "analyze",
                str(analysed[0].parent / "exam"),
                "--output",
                str(out),
                "--no-scene",
                "--progress",
                "none",
            ]
        )
        == 0
    )
    after = read_result(out)
    for key in ("probability", "logit", "peaks", "exam_id", "kinetics"):
        assert after[key] == before[key], key  # another process, the same numbers
    # a report or scene of an earlier exam beside a new result would mislead
    assert {p.name for p in out.iterdir()} - {"outline.seg.nrrd"} == {
        "heatmap.nrrd",
        "result.json",
        "notes.txt",
    }


def test_request_mode_speaks_json_lines(simulated, tmp_path, capsys):
    """What the desktop module runs: files and a request in, JSON lines out, two files left."""
    phases = simulated.exam.phases
    entries = [
        {"file": str(file), "name": phase.name, "time_s": phase.time_s}
        for file, phase in zip(write_volumes(tmp_path, phases), phases)
    ]
    request = {
        "schema_version": 1,
        "kind": "phases",
        "dynamics": entries,
        "t1": None,
        "identifiers": {"exam_id": "feedfacefeedface"},
        "options": {"map": "CAM", "device": "cpu"},
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    arguments = ["--request", str(tmp_path / "request.json"), "--output", str(tmp_path / "out")]
    assert cli.main(["analyze", *arguments, "--no-scene", "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {e["event"] for e in events} == {"progress", "done"} and events[-1]["event"] == "done"
    fractions = [e["fraction"] for e in events[:-1]]
    assert fractions == sorted(fractions) and all(e["text"] for e in events[:-1])
    result = read_result(tmp_path / "out")
    assert result["map"] == "CAM" and result["exam_id"] == "feedfacefeedface"
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"outline.seg.nrrd"} == {
        "heatmap.nrrd",
        "result.json",
    }
    assert set(events[-1]) - {"outline"} == {"event", "result", "heatmap"}


@pytest.fixture(scope="module")
def dynamics():
    """The first three phases of a coarse simulated exam."""
    exam = simulate(9_000_003, True, voxel_mm=4.0, with_t1=False).exam
    return [replace(phase, name=f"ax dyn {n}", time_s=90.0 * n) for n, phase in enumerate(exam.phases[:3])]


@pytest.fixture(scope="module")
def volumes(dynamics, tmp_path_factory):
    """Three small phases as files."""
    return write_volumes(tmp_path_factory.mktemp("volumes"), dynamics)


# Wrong calls: each gives arguments of ``analyze``, and what its sentence must name.


def empty_folder(volumes, folder):
    (folder / "empty").mkdir()
    return [folder / "empty"], "empty"


def no_such_folder(volumes, folder):
    return [folder / "nowhere"], "nowhere"


def one_phase_only(volumes, folder):
    return volumes[:1], "phase_0"


def mismatched_sizes(volumes, folder):
    return [volumes[0], changed(volumes[1], folder, lambda array: array[:-3])], "changed"


def not_a_number(volumes, folder):
    def poison(array):
        array[3, 3, 3] = np.nan
        return array

    return [volumes[0], changed(volumes[1], folder, poison)], "changed"


def constant_volume(volumes, folder):
    return [volumes[0], changed(volumes[1], folder, lambda array: np.full_like(array, 7))], "changed"


def not_an_image(volumes, folder):
    (folder / "text.nrrd").write_text("not an image at all")
    return [volumes[0], folder / "text.nrrd"], "text.nrrd"


def missing_weights(volumes, folder):
    return [*volumes, "--model", folder / "none.json"], "none.json"


def altered_weights(volumes, folder):
    card = default_model()
    shutil.copy(card, folder / "m.json")
    data = bytearray(card.with_suffix(".safetensors").read_bytes())
    data[len(data) // 2] ^= 255
    (folder / card.with_suffix(".safetensors").name).write_bytes(data)
    return [*volumes, "--model", folder / "m.json"], "safetensors"


def unknown_map(volumes, folder):
    return [*volumes, "--map", "LIME"], "LIME"


def a_ct(volumes, folder):
    edit(write_dicom(folder / "ct", small_exam().phases), Modality="CT")
    return [folder / "ct"], "CT"


def changed(file, folder, change):
    """A volume file whose voxels were changed."""
    volume = from_sitk(sitk.ReadImage(str(file)))
    array = change(volume.array.astype(np.float32))
    sitk.WriteImage(to_sitk(Volume(array, volume.affine)), str(folder / "changed.nrrd"))
    return folder / "changed.nrrd"


WRONG = [empty_folder, no_such_folder, one_phase_only, mismatched_sizes, not_a_number, constant_volume]
WRONG += [not_an_image, missing_weights, altered_weights, unknown_map, a_ct]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_one_sentence_and_nothing_else(wrong, volumes, tmp_path, capsys):
    arguments, named = wrong(volumes, tmp_path)
    out = tmp_path / "out"
    status = cli.main(
        ["analyze", *map(str, arguments), "--output", str(out), "--progress", "none", "--no-scene"]
    )
    text = capsys.readouterr()
    assert status == 2
    assert text.err.count("\n") == 1 and text.err.startswith("breastcmsl: ") and named in text.err, text.err
    assert not out.exists() and not text.out


# ---------------------------------------------------------------- how an exam is understood


@pytest.fixture(scope="module")
def study(dynamics, tmp_path_factory):
    """An exam as a hospital exports it: three phases, a subtraction, a map, and what is no image."""
    folder = tmp_path_factory.mktemp("Doe^Jane")
    pre, post, _ = dynamics
    first = pre.volume.array.astype(np.float32)
    difference = np.clip(post.volume.array - first, 0, None).astype(np.uint16)
    extra = [
        replace(pre, name=name, time_s=time_s, volume=pre.volume.with_array(array))
        for name, time_s, array in (
            ("ax dyn SUB 1", 400.0, difference),
            ("ax dyn PEI", 500.0, difference // 2),
        )
    ]
    write_dicom(folder, [*dynamics, *extra], seed=4)
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    return folder


@pytest.fixture(scope="module")
def quickly(tmp_path_factory):
    """Options of an analysis in little time."""
    model = save_model(tmp_path_factory.mktemp("model"))
    return ["--model", str(model), "--no-scene", "--progress", "none"]


def check_json(capsys, *arguments):
    """Status, printed object, stderr."""
    status = cli.main(["check", *map(str, arguments), "--json"])
    text = capsys.readouterr()
    return status, json.loads(text.out), text.err


def roles(plan):
    return {stack["name"]: stack["role"] for stack in plan["stacks"]}


def test_check_prints_what_every_file_is(study, capsys):
    assert cli.main(["check", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["#", "Series", "Name", "Role", "Time", "s", "Reason"]
    table = lines[1 : lines.index("")]
    assert [line.split()[0] for line in table[:3]] == ["0", "1", "2"]
    assert " pre " in table[0] and all(" post " in line for line in table[1:3])
    rest = "\n".join(table[3:])
    assert "SUB 1" in rest and "PEI" in rest and rest.count("left out") == 3  # and what is no image
    assert any(line.startswith("ok    Geometry") for line in lines)


def test_check_as_json_accounts_for_every_file_and_the_result_keeps_it(study, quickly, tmp_path, capsys):
    status, printed, _ = check_json(capsys, study)
    assert status == 0 and set(printed) == {"schema_version", "kind", "plan", "findings"}
    assert (printed["schema_version"], printed["kind"]) == (1, "breastcmsl.check")
    plan = printed["plan"]
    assert set(plan) == {"schema_version", "kind", "where", "problem", "warnings", "stacks"}
    files = [file for stack in plan["stacks"] for file in stack["files"]]
    assert sorted(files) == sorted(str(file) for file in study.rglob("*") if file.is_file())
    assert [set(finding) for finding in printed["findings"]][0] == {"level", "topic", "text"}

    out = tmp_path / "out"
    assert cli.main(["analyze", str(study), "--output", str(out), *quickly]) == 0
    result = read_result(out)
    assert roles(result) == roles(plan)  # what check says, analyze says
    assert [stack["file_count"] for stack in result["stacks"]] == [len(s["files"]) for s in plan["stacks"]]
    assert set(plan["warnings"]) <= set(result["warnings"])
    dynamic = [stack for stack in result["stacks"] if stack["role"] in ("pre", "post")]
    assert [(s["name"], s["time_s"]) for s in dynamic] == [(p["name"], p["time_s"]) for p in result["phases"]]
    assert "Doe^Jane" not in json.dumps(result["stacks"])


def test_an_input_without_an_exam_is_still_shown_by_check(study, quickly, tmp_path, capsys):
    """Table, then the sentence that analyze says."""
    folder = tmp_path / "half"
    shutil.copytree(study, folder)
    lost = sorted(file for file in folder.rglob("*.dcm") if "001" in str(file.relative_to(folder)))[:3]
    for file in lost:
        file.unlink()
    assert cli.main(["check", str(folder)]) == 2
    shown = capsys.readouterr()
    assert "ax dyn" in shown.out and shown.out.splitlines()[0].startswith("#")
    assert shown.err.count("\n") == 1
    assert cli.main(["analyze", str(folder), "--output", str(tmp_path / "out"), *quickly]) == 2
    assert capsys.readouterr().err == shown.err
    status, printed, err = check_json(capsys, folder)
    assert status == 2 and err == shown.err and printed["findings"] == []
    assert f"breastcmsl: {printed['plan']['problem']}\n" == err


def test_the_user_chooses_phases_by_number_or_name(study, capsys):
    everything = check_json(capsys, study)[1]["plan"]
    phases = [stack for stack in everything["stacks"] if stack["role"] in ("pre", "post")]
    numbers = [stack["series_number"] for stack in phases]
    for chosen in (numbers[:2], [stack["name"] for stack in phases[:2]]):
        plan = check_json(capsys, study, "--phases", *chosen)[1]["plan"]
        assert [role for role in roles(plan).values() if role != "left out"] == ["pre", "post"]
        assert roles(plan)[phases[2]["name"]] == "left out"
        assert len([f for s in plan["stacks"] for f in s["files"]]) == len(
            [f for s in everything["stacks"] for f in s["files"]]
        )
    plan = check_json(capsys, study, "--leave-out", numbers[2])[1]["plan"]
    assert roles(plan)[phases[2]["name"]] == "left out" and list(roles(plan).values()).count("post") == 1
    status, _, err = check_json(capsys, study, "--phases", 99, 98)
    assert status == 2 and "99" in err and err.count("\n") == 1


def test_the_user_chooses_one_of_several_studies(dynamics, tmp_path, capsys):
    for number, visit in enumerate(("one", "two")):
        phases = [replace(phase, name=f"{visit} {phase.name}") for phase in dynamics]
        write_dicom(tmp_path / visit, phases, seed=number + 10)
    status, _, err = check_json(capsys, tmp_path)
    assert status == 2 and "--study" in err and err.count("\n") == 1
    used = []
    for number in (1, 2):
        status, printed, _ = check_json(capsys, tmp_path, "--study", number)
        assert status == 0
        plan = roles(printed["plan"])
        used.append({name.split()[0] for name, role in plan.items() if role in ("pre", "post")})
        assert len(plan) == 6 and list(plan.values()).count("left out") == 3
    assert sorted(map(sorted, used)) == [["one"], ["two"]]
    assert check_json(capsys, tmp_path, "--study", 3)[0] == 2


def test_without_the_phase_before_contrast_it_only_goes_on_where_asked(dynamics, quickly, tmp_path, capsys):
    """And then result and check say so."""
    files = write_volumes(tmp_path, [dynamics[1], dynamics[0], dynamics[2]])
    arguments = [*map(str, files), "--kind", "phases", "--times", "0", "90", "180"]
    status, _, err = check_json(capsys, *arguments)
    assert status == 2 and "--keep-order" in err
    status, printed, _ = check_json(capsys, *arguments, "--keep-order")
    assert status == 0 and any("as asked" in warning for warning in printed["plan"]["warnings"])
    assert cli.main(["analyze", *arguments, "--keep-order", "--output", str(tmp_path / "out"), *quickly]) == 0
    assert set(printed["plan"]["warnings"]) <= set(read_result(tmp_path / "out")["warnings"])


def test_output_that_cannot_be_is_said_before_the_work(volumes, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        cli.main(["analyze", str(volumes[0]), "--output", str(tmp_path / "file"), "--progress", "none"]) == 2
    )
    assert "is a file" in capsys.readouterr().err


def test_an_unforeseen_error_is_one_sentence(volumes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("BreastCMSLLib.pipeline.preprocess", lambda *a, **k: 1 / 0)
    assert (
        cli.main(
            [
                "analyze",
                *map(str, volumes),
                "--output",
                str(tmp_path / "out"),
                "--progress",
                "none",
                "--no-scene",
            ]
        )
        == 1
    )
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "ZeroDivisionError" in text and not (tmp_path / "out").exists()


def test_model_commands(capsys):
    bundle = load_bundle()
    assert cli.main(["model", "show"]) == 0
    card = capsys.readouterr().out
    assert bundle.name in card and bundle.sha256 in card
    assert cli.main(["model", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training_data"] == bundle.training_data
    assert cli.main(["model", "verify"]) == 0
    assert bundle.sha256 in capsys.readouterr().out


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
    done = subprocess.run(command, cwd=CHECKOUT, **streams, text=True)
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
    done = run_python(code)
    assert done.returncode == 7 and done.stdout.split() == ["written", "cleared"] and not done.stderr


def test_importing_the_library_is_light():
    light = "BreastCMSLLib, BreastCMSLLib.core.errors, BreastCMSLLib.exam, BreastCMSLLib.models.cards, "
    light += "BreastCMSLLib.results.wording, BreastCMSLLib.cli"
    heavy = "'torch', 'SimpleITK', 'scipy', 'pydicom', 'jinja2', 'slicer', 'vtk'"
    assert printed_by(f"import sys, {light}; print(sorted({{{heavy}}} & set(sys.modules)))") == "[]"


@pytest.mark.slicer
def test_a_peak_is_near_the_simulated_lesion(analysed, simulated):
    """A wiring check, no claim: some peak lies within a cell and a half of the malignant lesion."""
    result = read_result(analysed[0])
    lesion = next(x for x in simulated.lesions if x["malignant"])
    distances = [np.linalg.norm(np.array(p["ras_mm"]) - lesion["ras_mm"]) for p in result["peaks"]]
    assert min(distances) < 1.5 * result["map_cell_mm"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc",
    reason="only glibc is told to keep freed memory",
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
    plain, kept = map(int, printed_by(code).split())
    assert kept < 100, (plain, kept)  # of the 16,384 pages of an array of 64 MB


def test_lack_of_memory_is_said_whoever_ran_out_of_it(monkeypatch, tmp_path, capsys):
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ):

        def short(*_, error=error):
            raise error

        monkeypatch.setattr(cli, "check_command", short)
        assert cli.main(["check", str(tmp_path)]) == 2
        assert "not enough memory" in capsys.readouterr().err
