"""Bad inputs and interrupted writes: a bounded part of ``python -m Testing.faults`` and
``Testing.faults.kills``."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.readers.headers import check_file
from BreastCMSLLib.results.new_folder import check_whole
from Testing.faults import __main__ as faults
from Testing.faults import judge
from Testing.faults.catalogue import GENERATORS


@pytest.mark.slow
def test_bad_inputs_are_refused_in_one_sentence_or_read_whole(bases):
    """Hundreds of inputs, and all that ever failed: no crash, nothing untyped, nothing partial."""
    seed = os.environ.get("BREASTCMSL_FAULT_SEED", "0")
    words = ["--count", "250", "--seed", seed, "--workers", "1", "--time-limit", "60"]
    options = faults.parser().parse_args(words)
    options.output = None
    report = faults.campaign(bases, options)
    assert report["inputs"] >= 250 and not report["failures"], json.dumps(report["failures"][:3], indent=1)
    assert report["typed_errors"] > 100 and report["accepted"] > 25
    assert report["largest_mb"] < 400, report["largest"]
    assert set(report["generators"]) | set(report["skipped"]) == set(GENERATORS)


def test_the_harness_sees_what_it_must_see(bases, tmp_path, monkeypatch):
    """A reader that lets a truncated file through, raises another error, or names nothing, is caught."""
    parameters = {"base": "nii", "file": "ax dyn pre.nii", "keep": 2983}
    assert judge.run("volume-truncated", parameters, bases, tmp_path).verdict == judge.TYPED
    monkeypatch.setattr("BreastCMSLLib.readers.headers.checks.check_size", lambda path, header: None)
    monkeypatch.setattr("BreastCMSLLib.readers.volumes.unpacked_voxels", lambda path: None)
    assert judge.run("volume-truncated", parameters, bases, tmp_path).verdict == judge.PARTIAL

    def broken(*arguments, **options):
        raise KeyError("x")

    monkeypatch.setattr("BreastCMSLLib.readers.volumes.unpacked_voxels", broken)
    assert judge.run("volume-truncated", parameters, bases, tmp_path).verdict == judge.UNTYPED

    def nameless(*arguments, **options):
        raise InputError("Something is wrong.")

    monkeypatch.setattr("BreastCMSLLib.readers.volumes.unpacked_voxels", nameless)
    assert judge.run("volume-truncated", parameters, bases, tmp_path).verdict == judge.UNTYPED
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_crash_a_hang_and_hunger_are_counted(bases, monkeypatch, tmp_path):
    """The pool outlives a worker that dies, one that never answers, and one that wants all memory."""
    if sys.platform != "linux":
        pytest.skip("memory is limited on Linux only")
    from Testing.faults.pool import run_all

    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import Testing.faults.judge as judge, os, time\n"
        "def read(case):\n"
        "    base = case.like[0].parent.name\n"
        "    if base == 'nii': os.abort()\n"
        "    if base == 'mha': time.sleep(600)\n"
        "    return bytearray(8 << 30)\n"
        "judge.read = read\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(CHECKOUT)]))
    jobs = [
        ("volume-bytes", {"base": b, "file": f"ax dyn pass 2{e}", "operations": []}, False)
        for b, e in (("nii", ".nii"), ("mha", ".mha"), ("nrrd", ".nrrd"))
    ]
    outcomes = {o.parameters["base"]: o for o in run_all(jobs, bases, limit_s=0.5)}
    assert outcomes["nii"].verdict == judge.CRASH and "SIGABRT" in outcomes["nii"].message
    assert outcomes["mha"].verdict == judge.TIMEOUT
    assert outcomes["nrrd"].verdict == judge.UNTYPED and "MemoryError" in outcomes["nrrd"].message


NAMES = [
    "volume-bytes",
    "header-text",
    "header-nifti",
    "dicom-bytes",
    "dicom-elements",
    "dicom-study",
    "request",
    "folder",
]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), rng=st.randoms(use_true_random=False))
def test_hypothesis_finds_nothing_either(bases, tmp_path_factory, name, rng):
    """The same generators driven by hypothesis, which shrinks what it finds."""
    parameters = GENERATORS[name].pick(rng, bases)
    outcome = judge.run(name, parameters, bases)
    assert outcome.verdict in (judge.TYPED, judge.ACCEPTED), (outcome.message, parameters)


def test_inputs_are_reproducible(bases):
    """A seed gives the same parameters, and they survive JSON: that is how a failing input is kept."""
    for name, entry in GENERATORS.items():
        if entry.unavailable(bases):
            continue
        first, again = judge.pick(name, 7, bases), judge.pick(name, 7, bases)
        assert json.dumps(first) == json.dumps(again), name
        assert json.dumps(json.loads(json.dumps(first))) == json.dumps(first)


@pytest.mark.parametrize("kind", ["nrrd", "mha", "nii", "members", "4d", "nrrd-tail", "nii-tail", "dicom"])
def test_a_bomb_is_refused_before_it_costs_memory(bases, tmp_path, kind):
    sizes = [12, 11, 10] if kind.endswith("tail") else [1024, 1024, 1024]
    outcome = judge.run("bomb", {"format": kind, "sizes": sizes, "bits": 8}, bases, tmp_path)
    assert outcome.verdict == judge.TYPED and outcome.peak_mb < 64, outcome


@pytest.mark.parametrize(
    "base", ["nrrd", "nrrd-gz", "nhdr", "nii", "nii-gz", "mha", "mha-z", "mhd", "4d-nrrd", "4d-nii"]
)
def test_undamaged_files_pass_the_header_check(bases, base):
    for file in (bases / base).iterdir():
        if file.suffix != ".raw":
            header = check_file(file)
            assert np.prod(header.sizes) * 2 == header.bytes


def test_a_flipped_bit_in_packed_voxels_is_noticed(bases, tmp_path):
    """The check sum of the gzip stream is verified: ITK would hand over the altered voxels."""
    data = bytearray((bases / "nii-gz" / "ax dyn pre.nii.gz").read_bytes())
    noticed = 0
    for position in range(400, len(data) - 8, 97):
        path = tmp_path / "flipped.nii.gz"
        path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        with pytest.raises(InputError, match="flipped.nii.gz"):
            check_file(path)
        noticed += 1
    assert noticed > 10


# ---------------------------------------------------------------- the soak's and the kills' own judgement


def soak_samples(**growth) -> list[dict]:
    """Counts after each tenth of 100 analyses; growth: what is added for each analysis."""
    start = {
        "rss_mb": 900.0,
        "files": 7,
        "threads": 3,
        "children": 0,
        "temporary": 4,
        "nodes": 80,
        "objects": 1000,
    }
    return [
        {"after": n, **{name: value + n * growth.get(name, 0) for name, value in start.items()}}
        for n in range(0, 101, 10)
    ]


@pytest.mark.parametrize(
    ("name", "by"),
    [("rss_mb", 0.2), ("files", 1), ("threads", 1), ("children", 1), ("temporary", 1), ("nodes", 2)],
)
def test_the_soak_sees_what_grows(name, by):
    from Testing.soak import judged

    assert judged(soak_samples(), 1.0)["flat"]
    assert judged(soak_samples(rss_mb=0.01), 1.0)["flat"]
    turns = [{**s, "nodes": 80 + 3 * (n % 2)} for n, s in enumerate(soak_samples())]
    assert judged(turns, 1.0)["flat"]  # one exam has more nodes than the other
    report = judged(soak_samples(**{name: by}), 1.0)
    assert report["grown"] == [name] and not report["flat"]


def test_the_kills_tell_whole_results_from_others(tmp_path):
    """The outline belongs to the results where result.json names it, and only there."""
    import SimpleITK as sitk

    from Testing.faults.ground import not_whole

    image = sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8))
    for name in ("heatmap.nrrd", "outline.seg.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "scene.mrb", "w") as archive:
        archive.writestr("scene/scene.mrml", "exam-1")
    (tmp_path / "report.html").write_text("exam-1")
    (tmp_path / "overlay.png").write_bytes(b"....IEND....")
    (tmp_path / "report.pdf").write_bytes(b"%PDF")

    def says(outline, exam="exam-1") -> str:
        (tmp_path / "result.json").write_text(json.dumps({"exam_id": exam, "outline": outline}))
        return not_whole(tmp_path, "exam-1", set())

    assert says({"file": "outline.seg.nrrd"}) == ""
    assert "holds" in says(None)
    assert "two exams" in says({"file": "outline.seg.nrrd"}, "exam-2")
    data = (tmp_path / "outline.seg.nrrd").read_bytes()
    (tmp_path / "outline.seg.nrrd").write_bytes(data[:-9])
    assert "outline.seg.nrrd" in says({"file": "outline.seg.nrrd"})


# ---------------------------------------------------------------- files: whole, old or new


def test_a_volume_that_was_not_written_whole_is_noticed(tmp_path):
    import SimpleITK as sitk

    path = tmp_path / "heatmap.nrrd"
    sitk.WriteImage(
        sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8), np.float32)),
        str(path),
        useCompression=True,
    )
    check_whole(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"heatmap\.nrrd"):
        check_whole(path)


def test_a_bundle_is_replaced_whole(tmp_path, monkeypatch):
    """Cut off before each of its file operations, saving leaves the old bundle or the new one."""
    from builders import SMALLEST, save_model
    from phantom import smoothing_network

    from BreastCMSLLib.models.bundle import load_bundle

    class Killed(BaseException):
        pass

    def save(width):
        return save_model(tmp_path, smoothing_network(replace(SMALLEST, width=width)), name="m")

    seen = []
    for step in range(1, 8):
        card, count = save(1), 0
        with monkeypatch.context() as patch:
            for name in ("replace", "fsync"):
                call = getattr(os, name)

                def counted(*arguments, call=call, step=step):
                    nonlocal count
                    count += 1
                    if count == step:
                        raise Killed
                    return call(*arguments)

                patch.setattr(os, name, counted)
            try:
                save(2)
                done = True
            except Killed:
                done = False
        seen.append(load_bundle(card).network.settings.width)
        if done:
            break
    assert done and set(seen) == {1, 2} and sorted(seen) == seen
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


def test_settings_that_would_fill_the_memory_are_refused(bases, tmp_path):
    from BreastCMSLLib.models.bundle import load_bundle

    for group, name, value in (
        ("architecture", "width", 10**9),
        ("architecture", "blocks", [10**6, 1]),
        ("input", "size", [10**5] * 3),
    ):
        (tmp_path / name).mkdir()
        parameters = {
            "what": "settings",
            "group": group,
            "name": name,
            "value": value,
            "rehash": True,
            "operations": [],
        }
        case = GENERATORS["bundle"].make(parameters, bases, tmp_path / name)
        with pytest.raises(ModelError, match=rf"small\.json.*{name}"):
            load_bundle(case.paths[0])
