"""Training: cache, step to finer voxels, the loop with its exact resume, and two processes against one."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TINY

from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.network.resnet import POOLINGS, BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import ModelInput
from training import prepare, train
from training.command import ends_in_a_sentence
from training.data import cache, preparation, processes
from training.data.files import read_rows
from training.data.manifest import read_cohort
from training.evaluation.figures import training_curves
from training.methods import loop
from training.methods.exams import Exams
from training.methods.loaders import EpochSampler, fits
from training.methods.transfer import to_spacing
from training.recipes import RECIPES, Config
from training.runs import folder as runs
from training.runs.log import Log

ROOT = Path(__file__).resolve().parents[2]


def model_input(label: int, seed: int) -> ModelInput:
    """Noise with a bright spot whose later phases fall (malignant) or rise."""
    rng = np.random.default_rng(seed)
    array = np.zeros((6, 16, 12, 12), np.float32)
    array[:, 2:14, 1:11, 1:11] = rng.normal(0.3, 0.1, (6, 12, 10, 10))
    i, j, k = rng.integers(3, 7, 3)
    array[:, i : i + 4, j : j + 4, k : k + 4] += (np.linspace(4, 2, 6) if label else np.linspace(1, 4, 6))[
        :, None, None, None
    ]
    return ModelInput(array, np.diag([4.4, 4.4, 4.4, 1.0]), (array != 0).all(0), 1.0, 8.0, "pre", 100.0, ())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A finished cache of 40 tiny exams: 24 to train, 8 to validate, 8 to test."""
    folder, rows = tmp_path_factory.mktemp("cohort") / "cache", []
    cache.write_cache(folder, cache.contract_at(4.4), "simulated:tiny")
    for n in range(40):
        row = {
            "exam": f"e{n}",
            "patient": f"p{n}",
            "label": n % 2,
            "split": "train" if n < 24 else "validate" if n < 32 else "test",
        }
        cache.store(cache.exam_path(folder, row["exam"]), model_input(n % 2, n), {**row, "lesions": []})
        rows.append(row)
    cache.write_index(folder, rows)
    return folder


@pytest.fixture
def config(cohort, tmp_path) -> Config:
    return Config(
        tmp_path / "run",
        cache=cohort,
        spacing_mm=4.4,
        network=TINY,
        epochs=4,
        batch=8,
        rate=0.01,
        precision="no",
        shift_mm=4.4,
    )


def weights(folder: Path, name: str = "best.safetensors") -> dict[str, torch.Tensor]:
    return runs.load_run(folder, name).network.state_dict()


def test_cache_returns_what_was_stored(tmp_path):
    stored, truth = model_input(1, 0), np.zeros((16, 12, 12), np.uint8)
    truth[3:6, 4, 5] = 2
    cache.store(tmp_path / "one.npz", stored, {"exam": "one", "label": 1}, truth)
    exam = cache.load(tmp_path / "one.npz")
    assert torch.allclose(exam.array.float(), torch.from_numpy(stored.array), atol=4e-3)
    assert np.allclose(exam.affine, stored.affine) and exam.meta["label"] == 1
    assert (exam.inside == stored.inside).all() and (exam.truth == truth).all()
    assert torch.equal(cache.load_packed(tmp_path / "one.npz").dense(), exam.array)
    with np.load(tmp_path / "one.npz") as parts:
        older = {name: parts[name] for name in parts.files}
    meta = json.loads(older["meta"].tobytes())
    assert meta.pop("duration_min", "absent") == stored.duration_min
    np.savez(tmp_path / "older.npz", **{**older, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(InputError, match="older.npz was made by an earlier version"):
        cache.load(tmp_path / "older.npz")
    data = (tmp_path / "one.npz").read_bytes()
    (tmp_path / "one.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="one.npz is damaged"):
        cache.load(tmp_path / "one.npz")
    with pytest.raises(InputError, match="two.npz is missing"):
        cache.load(tmp_path / "two.npz")


def test_an_unfinished_cache_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a cache"):
        cache.open_cache(tmp_path)
    cache.write_cache(tmp_path, cache.contract_at(2.2), "manifest.csv")
    with pytest.raises(InputError, match="is not finished"):
        cache.open_cache(tmp_path)
    assert cache.contract_at(2.2).size == (170, 110, 64)


def test_a_cache_of_other_code_is_said_once(tmp_path, monkeypatch, capsys):
    cache.write_cache(tmp_path, cache.contract_at(2.2), "manifest.csv")
    cache.write_index(tmp_path, [{"exam": "e1", "patient": "p1", "label": 1, "split": "train"}])
    assert not cache.open_cache(tmp_path).of_other_code and not capsys.readouterr().err
    monkeypatch.setattr(cache, "code_version", lambda *folders: "later")
    for _ in range(2):
        assert cache.open_cache(tmp_path).of_other_code
    assert capsys.readouterr().err.count("prepared by another version of the code") == 1


def test_names_are_written_and_read_alike_whatever_the_computer_writes_in(tmp_path, monkeypatch):
    """Windows reads in an encoding of its country where none is named."""
    cache.write_cache(tmp_path, cache.contract_at(2.2), "manifest.csv")
    row = {"exam": "e1", "patient": "\u0141ucja", "label": 1, "split": "train"}
    cache.write_index(tmp_path, [row])
    real = open

    def of_windows(file, mode="r", *arguments, encoding=None, **further):
        encoding = encoding or (None if "b" in mode else "cp1252")
        return real(file, mode, *arguments, encoding=encoding, **further)

    monkeypatch.setattr("builtins.open", of_windows)
    assert cache.open_cache(tmp_path).rows == [row]


def small_manifest(folder: Path, seeds=(1, 2)) -> Path:
    lines = [
        "patient,exam,label,split,seed,voxel_mm",
        *[f"p{s},e{s},{'malignant' if s % 2 else 'benign'},train,{s},8.8" for s in seeds],
    ]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def test_prepare_goes_on_where_it_stopped_and_notices_changes(tmp_path, monkeypatch):
    """Serial here, so that the calls can be counted; the pool only spreads them."""
    rows = read_cohort(str(small_manifest(tmp_path)))
    contract, folder, calls = cache.contract_at(8.8), tmp_path / "cache", []
    real = preparation.preprocess
    monkeypatch.setattr(preparation, "preprocess", lambda *a: calls.append(1) or real(*a))
    for _ in range(2):
        for row in rows:
            preparation.prepare_exam(row, contract, folder)
        assert len(calls) == 2  # the second round finds both
    preparation.prepare_exam(rows[0], replace(contract, scale_percentile=98.0), folder)
    assert len(calls) == 3  # another contract, another exam
    exam = cache.load(cache.exam_path(folder, "e1"))
    lesion = next(x for x in exam.meta["lesions"] if x["malignant"])
    index = np.rint(np.linalg.inv(exam.meta["affine"]) @ [*lesion["ras_mm"], 1.0])[:3].astype(int)
    assert exam.inside[tuple(index)]


def test_prepare_names_the_exam_that_cannot_be_used(tmp_path, capsys):
    import SimpleITK as sitk

    for name in ("a", "b", "c"):
        sitk.WriteImage(
            sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 5, (12, 12, 12)).astype(np.float32)),
            tmp_path / f"{name}.nrrd",
        )
    (tmp_path / "c.nrrd").write_bytes((tmp_path / "c.nrrd").read_bytes()[:900])
    manifest = tmp_path / "bad.csv"
    manifest.write_text("patient,exam,label,split,pre,post\np1,broken,malignant,train,a.nrrd,b.nrrd|c.nrrd\n")
    assert (
        prepare.main(
            [str(manifest), "--output", str(tmp_path / "cache"), "--spacing", "8.8", "--workers", "1"]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert "broken" in said
    assert "c.nrrd" in said and "Traceback" not in said
    assert not (tmp_path / "cache" / "index.csv").exists() and not list((tmp_path / "cache").rglob("*.npz"))


def test_prepare_names_all_exams_that_cannot_be_used(tmp_path, monkeypatch, capsys):
    """The others are prepared meanwhile."""

    def broken(row, *_):
        if row.seed % 4:
            raise InputError("it is damaged")

    monkeypatch.setattr(preparation, "prepare_exam", broken)
    source = small_manifest(tmp_path, range(16))
    command = [str(source), "--output", str(tmp_path / "cache"), "--spacing", "8.8", "--workers", "2"]
    assert prepare.main(command) == 2
    said = capsys.readouterr().err
    assert "12 exams cannot be used; correct their lines or leave them out" in said
    named = [n for n in range(16) if f" e{n}: it is damaged" in said]
    assert named == [1, 2, 3, 5, 6, 7, 9, 10, 11, 13] and "And 2 more." in said


def test_work_that_is_given_up_leaves_out_what_has_not_begun():
    with pytest.raises(KeyboardInterrupt), processes.worker_processes(1) as pool:
        jobs = [pool.submit(time.sleep, 0.05) for _ in range(20)]
        raise KeyboardInterrupt
    assert sum(job.cancelled() for job in jobs) > 10


def test_a_process_that_is_ended_is_said_in_a_sentence(capsys):
    @ends_in_a_sentence
    def main(arguments):
        with processes.worker_processes(1) as pool:
            pool.submit(os._exit, 1).result()

    assert main([]) == 2
    said = capsys.readouterr().err
    assert "A process was ended, mostly for lack of memory" in said and "Traceback" not in said


def test_no_more_processes_are_usual_than_the_memory_holds(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 2**21), raising=False)
    assert processes.usual_workers() == 2, "of 8.6 GB"
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 2**25))
    assert processes.usual_workers() == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert processes.usual_workers() == 2, "cores that this process may use"
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert processes.usual_workers() == 4, "where the system does not tell them"


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_two_orders_agree_only_where_they_should(pooling, head):
    torch.manual_seed(1)
    network = BreastNet(replace(TINY, head=head, pooling=pooling)).eval()
    features = torch.rand(2, network.settings.features, 4, 3, 3)
    if pooling == "power":
        with pytest.raises(ModelError, match="classify-pool"):
            replace(network.settings, order="classify-pool")
        return
    other = BreastNet(replace(network.settings, order="classify-pool")).eval()
    other.load_state_dict(network.state_dict())
    same = torch.allclose(network.logit(features), other.logit(features), atol=1e-5)
    assert same == (pooling == "average" and head == "linear")
    other.logit(features.requires_grad_()).sum().backward()
    assert torch.isfinite(features.grad).all() and features.grad.abs().sum() > 0


def test_unknown_architectures_are_refused():
    for wrong in ({"pooling": "median"}, {"head": "softmax"}, {"norm": "none"}, {"strides": (1, 2, 2)}):
        with pytest.raises(ModelError):
            NetworkSettings(**wrong)


def test_weights_carry_over_to_finer_voxels():
    """On an exam that is smooth at 4.4 mm the networks for 2.2 and 1.1 mm answer as the coarse one did."""
    torch.manual_seed(0)
    coarse = BreastNet(replace(TINY, stem_pool=True)).eval()
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 6, 5, 5, 4), size=(40, 40, 32), mode="trilinear", align_corners=True
    )
    with torch.no_grad():
        a = coarse.feature_map(smooth)
    for spacing in (2.2, 1.1):
        factor = round(4.4 / spacing)
        state, settings = to_spacing(coarse.state_dict(), coarse.settings, 4.4, spacing)
        fine = BreastNet(settings).eval()
        fine.load_state_dict(state)
        assert settings.total_stride == factor * coarse.settings.total_stride
        with torch.no_grad():
            b = fine.feature_map(
                torch.nn.functional.interpolate(smooth, scale_factor=factor, mode="trilinear")
            )
        assert a.shape == b.shape
        inner = (..., slice(2, -2), slice(2, -2), slice(2, -2))
        assert float((a - b)[inner].abs().mean() / a[inner].abs().mean()) < 0.25
        back, narrow = to_spacing(state, settings, spacing, 4.4)
        assert narrow == coarse.settings
        assert torch.allclose(back["stem.0.weight"], coarse.state_dict()["stem.0.weight"], atol=1e-5)
    with pytest.raises(InputError, match="carried"):
        to_spacing(coarse.state_dict(), coarse.settings, 1.1, 4.4)


def test_an_epoch_holds_every_exam_once_and_augments_it_the_same_way_again(cohort, config):
    sampler = EpochSampler(24, seed=3)
    sampler.epoch = 1
    first = list(sampler)
    assert sorted(n for _, n in first) == list(range(24)) and first == list(sampler)
    sampler.epoch = 2
    assert [n for _, n in sampler] != [n for _, n in first]
    exams = Exams([cache.exam_path(cohort, f"e{n}") for n in range(4)], config)
    again = Exams(exams.paths, replace(config, workers=1))  # reads from disk each time
    once, plain = exams[(5, 2)][0], exams[2][0]
    assert torch.equal(once, again[(5, 2)][0]) and torch.equal(plain, again[2][0])
    assert not torch.equal(once, exams[(6, 2)][0]) and not torch.equal(once, plain)


@pytest.mark.parametrize("method", ["bce", "nsl", "cmsl"])
def test_the_loop_learns(config, method):
    folder = loop.train("test", replace(config, method=method, epochs=8))
    rows = read_rows(folder / "metrics.csv")
    assert [int(r["epoch"]) for r in rows] == list(range(1, 9)) and all(int(r["exams"]) == 24 for r in rows)
    assert max(float(r["validation_auc"]) for r in rows) == 1.0
    assert float(rows[-1]["train_loss"]) < 0.7 * float(rows[0]["train_loss"])
    for name in ("config.json", "environment.json", "split.csv", "last/state.pt", "best.safetensors"):
        assert (folder / name).stat().st_size > 0
    assert training_curves(folder).read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").glob("events*"))
    run = runs.load_run(folder)
    assert run.config["method"] == method and run.config["supervision"] == "image-level labels only"
    assert run.network.settings.head == ("linear" if method == "bce" else "cosine")


def test_an_interrupted_run_reaches_the_same_weights(config, monkeypatch):
    straight = loop.train("test", replace(config, output=config.output / "straight"))
    broken = replace(config, output=config.output / "broken")
    real, count = Log.save, []

    def save(self, *a):
        if len(count) == 2:
            raise KeyboardInterrupt  # in the third epoch, before its checkpoint
        count.append(1)
        real(self, *a)

    monkeypatch.setattr(Log, "save", save)
    with pytest.raises(KeyboardInterrupt):
        loop.train("test", broken)
    monkeypatch.setattr(Log, "save", real)
    assert len(read_rows(broken.output / "metrics.csv")) == 2
    loop.train("test", broken)
    ours, theirs = weights(straight), weights(broken.output)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    losses = [[r["train_loss"] for r in read_rows(f / "metrics.csv")] for f in (straight, broken.output)]
    assert losses[0] == losses[1]
    with pytest.raises(InputError, match="another rate"):
        loop.train("test", replace(broken, rate=0.02))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"split": "test"}, "e0 has the split test and had train"),
        ({"label": 1}, "e0 has the label 1 and had 0"),
        ({"patient": "p39"}, "e0 has the patient p39 and had p0"),
        ({"exam": "e40"}, "e40 is new"),
    ],
)
def test_a_run_goes_on_with_its_own_split_alone(config, cohort, change, said):
    exams = cache.open_cache(cohort)
    accelerator = SimpleNamespace(wait_for_everyone=lambda: None, is_main_process=True, num_processes=1)
    ancestry = [{"patient": "earlier", "split": "train"}]
    Log("test", config, exams, ancestry, accelerator, "no")
    runs.remember_patients(config.output, [{"patient": "described", "split": "train"}])
    Log("test", config, exams, ancestry, accelerator, "no")
    seen = {row["patient"] for row in runs.seen_patients(config.output)}
    assert {"earlier", "described"} <= seen, "what the candidate classifier has seen as well"
    other = replace(exams, rows=[{**exams.rows[0], **change}, *exams.rows[1:]])
    with pytest.raises(InputError, match=f"another cohort or split: the exam {said}; choose another"):
        Log("test", config, other, ancestry, accelerator, "no")
    assert read_rows(config.output / "split.csv")[0]["split"] == "train", "nothing was written"


def test_an_epoch_is_whole_batches_however_many_parts_they_are_read_in(config):
    """A batch whose second part is missing would step at half its weight."""
    for accumulation in (1, 2):
        own = replace(config, output=config.output / str(accumulation), limit=22, accumulation=accumulation)
        rows = read_rows(loop.train("test", replace(own, epochs=1)) / "metrics.csv")
        assert rows[0]["exams"] == "16"


def test_starting_from_another_run(config, tmp_path):
    base = loop.train("test", config)
    second = replace(config, output=tmp_path / "second", method="cmsl", init=base, margin_warmup=3)
    run = runs.load_run(loop.train("test", second))
    assert run.network.settings.head == "cosine"
    moved = max(
        (weights(base)[k] - w).abs().max() for k, w in run.network.stages.named_parameters(prefix="stages")
    )
    assert 0 < moved < 0.5, "it goes on from the weights of the other"
    assert [r["margin"] for r in read_rows(run.folder / "metrics.csv")] == [
        "0.1167",
        "0.2333",
        "0.35",
        "0.35",
    ]
    assert {r["patient"] for r in runs.seen_patients(run.folder)} == {f"p{n}" for n in range(32)}
    rows = [{"patient": "p3", "split": "test"}]
    with pytest.raises(InputError, match="p3 is for test"):
        runs.check_ancestry(rows, run.folder)
    with pytest.raises(InputError, match="p3 is for validate"):
        runs.check_ancestry([{"patient": "p3", "split": "validate"}], run.folder)
    runs.check_ancestry(
        [{"patient": "p30", "split": "validate"}, {"patient": "p39", "split": "test"}], run.folder
    )


def test_a_run_that_was_only_carried_over_is_not_carried_over_again(config, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "carry_candidates", lambda *places: calls.append(places))
    base = loop.train("test", replace(config, epochs=1))
    carried = replace(config, output=tmp_path / "carried", init=base, epochs=0)
    for _ in range(2):
        loop.train("test", carried)
    assert calls == [(base, carried.output)] and len(read_rows(carried.output / "metrics.csv")) == 1


def test_bad_runs_and_cohorts_are_refused_in_one_sentence(config, tmp_path, capsys):
    with pytest.raises(InputError, match="choose the folder of a training run"):
        runs.load_run(tmp_path)
    with pytest.raises(InputError, match="lower --batch"):
        loop.train("test", replace(config, batch=32))
    with pytest.raises(InputError, match="2.2 mm"):
        loop.train("test", replace(config, spacing_mm=2.2))
    command = [
        "smoke",
        "--output",
        str(tmp_path / "x"),
        "--cohort",
        str(tmp_path / "none.csv"),
        "--precision",
        "no",
    ]
    assert train.main(command) == 2
    said = capsys.readouterr().err
    assert "none.csv" in said and "Traceback" not in said and not (tmp_path / "x").exists()


def test_exams_kept_on_a_device_are_augmented_as_those_read_from_disk(config, cohort):
    paths = sorted((cohort / "exams").glob("*.npz"))[:4]
    kept, read = Exams(paths, config, torch.device("cpu")), Exams(paths, config)
    assert len(kept.kept) == 4 and not read.kept
    for key in (0, 3, (0, 1), (5, 2)):
        assert torch.equal(kept[key][0], read[key][0]) and kept[key][1:] == read[key][1:]
    assert not read.kept and not fits(paths, torch.device("cpu"))


def test_recipes_can_be_overridden(tmp_path):
    for name in RECIPES:
        BreastNet(RECIPES[name](tmp_path).network)
    recipe, chosen = train.parse(
        ["small_cpu", "--output", str(tmp_path), "--epochs", "3", "--network.width", "8"]
    )
    assert (
        recipe == "small_cpu"
        and chosen.epochs == 3
        and chosen.network.width == 8
        and chosen.spacing_mm == 4.4
    )
    full = RECIPES["paper"](tmp_path)
    assert (
        full.network.width == 64
        and full.network.blocks == (3, 4, 6, 3)
        and full.network.total_stride == 32
        and full.rate == 1e-4
    )


@pytest.mark.slow
def test_two_processes_match_one(config, cohort, tmp_path):
    """The same exams in every step, synchronised statistics: losses agree, and each exam is counted once."""
    one = loop.train("test", replace(config, output=tmp_path / "one", epochs=2))
    network = ["--network.width", "4", "--network.blocks", "1", "1", "--network.strides", "1", "2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [
        "training/train.py",
        "smoke",
        "--output",
        str(tmp_path / "two"),
        "--cache",
        str(cohort),
        *network,
        "--network.no-stem-pool",
        "--epochs",
        "2",
        "--batch",
        "8",
    ]
    command += ["--rate", "0.01", "--precision", "no", "--shift-mm", "4.4"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, (
        done.stderr
    )  # whole: what went wrong stands before what the launcher says of it
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    ours, theirs = (read_rows(folder / "metrics.csv") for folder in (one, tmp_path / "two"))
    for a, b in zip(ours, theirs, strict=True):
        assert a["exams"] == b["exams"] == "24"
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=2e-3)
        assert float(a["validation_loss"]) == pytest.approx(float(b["validation_loss"]), rel=2e-2)
    first, second = weights(one), weights(tmp_path / "two")
    assert all(torch.allclose(first[k].float(), second[k].float(), atol=2e-2, rtol=2e-2) for k in first)
