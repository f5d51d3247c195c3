"""What is measured inside one process: each topic makes rows. ``python -m Testing.benchmark.topics NAME
REQUEST.json ROWS.json``.

``whole.py`` measures what runs as processes of its own. A topic's process is started for it alone, so its
peak memory is its own.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import exams, machine, running
from .floors import floors, flops
from .measure import interleaved, memory_mb, row

Options = dict[str, Any]
Row = dict[str, Any]
Rows = list[Row]

EVERY = 4  # slices of the loop that are timed
MONAI = find_spec("monai") is not None
SKIMAGE = find_spec("skimage") is not None


def _devices() -> list[str]:
    import torch

    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _exam(folder: Path):
    from BreastCMSLLib.readers import read

    return read(sorted(folder.glob("dynamic_*.nrrd")), t1=folder / "t1.nrrd")


# ---------------------------------------------------------------- mask


def mask(options: Options) -> Rows:
    """The breast mask of the exam's T1, beside the slice loop; its overlap with the reference filter's."""
    import numpy as np

    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.core.resampling import resample
    from BreastCMSLLib.preprocessing import breast_mask as masking
    from BreastCMSLLib.preprocessing.model_input import canonical_grid

    from . import baseline

    spacing = exams.contract(options["quick"]).spacing_mm
    exam = _exam(Path(options["folder"], "exam"))
    size, affine = canonical_grid(exam.grid, spacing)
    image = Volume(resample(exam.t1.volume, size, affine).array, affine)
    # one and two voxels, as the baseline; at 1.1 mm the default
    settings = masking.MaskSettings(sigmas_mm=(spacing, 2 * spacing))
    slices = np.ascontiguousarray(image.array.T)  # [k, j, i], as the libraries of the baseline have it
    note = "×".join(map(str, size))
    (ours,), n = interleaved(lambda: masking.breast_mask(image, settings), seconds=options["seconds"] / 4)
    if not SKIMAGE:
        return [row("breast mask", ours, n=n, note=f"{note}; scikit-image is not installed")]
    some = slices[::EVERY]  # the loop takes as long for each
    loops = [partial(baseline.mask, some, spacing, both=both) for both in (True, False)]
    looped, bright = (EVERY * s for s in interleaved(*loops, repeats=1, warm=False)[0])
    dice = _dice_of_the_reference(exam, settings, 2 * spacing)
    goal = "15 times as fast as the loop over slices, Dice at least 0.99 against the reference filter"
    met = looped / ours >= 15 and dice >= 0.99
    note += f"; the loop, bright and dark ridges, on every {EVERY}th slice, times {EVERY}; "
    note += f"Dice at {2 * spacing:.1f} mm"
    half = {"n": n, "note": "half the loop's work; ours finds both"}
    return [
        row("breast mask", ours, looped, n=n, dice=dice, goal=goal, met=met, note=note),
        row("breast mask, loop with bright ridges only", ours, bright, **half),
    ]


def _dice_of_the_reference(exam, settings, spacing: float) -> float:
    """Overlap of the mask with one whose edges scikit-image's filter found, at the same scales and c."""
    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.core.resampling import resample
    from BreastCMSLLib.preprocessing import breast_mask as masking
    from BreastCMSLLib.preprocessing import frangi
    from BreastCMSLLib.preprocessing.model_input import canonical_grid

    from . import baseline

    def reference(stack, threshold, sigmas):
        planes = (stack / stack.abs().max()).numpy()
        c = tuple(baseline.structure(planes, sigma) for sigma in sigmas)
        return baseline.edges(planes, c, sigmas=tuple(sigmas)) > threshold

    size, affine = canonical_grid(exam.grid, spacing)
    image = Volume(resample(exam.t1.volume, size, affine).array, affine)
    settings = replace(settings, sigmas_mm=(spacing, 2 * spacing))
    mine = masking.breast_mask(image, settings).inside
    own, frangi.ridges = frangi.ridges, reference
    try:
        theirs = masking.breast_mask(image, settings).inside
    finally:
        frangi.ridges = own
    return float(2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()))


# ---------------------------------------------------------------- COAM


def coam(options: Options) -> Rows:
    """COAM of stride-8 features against the explicit Gram matrix."""
    import numpy as np
    import torch

    from BreastCMSLLib.network.attention import coam as ours

    from . import baseline

    size = (8, 7, 6) if options["quick"] else (43, 28, 16)  # of 340×220×128 at stride 8
    features = torch.rand(512, *size, generator=torch.Generator().manual_seed(0))
    array, count = features.numpy(), int(np.prod(size))
    before = memory_mb()
    expected = baseline.gram(array)
    theirs = interleaved(lambda: baseline.gram(array), repeats=1, warm=False)[0][0]
    error = float(np.abs(ours(features).numpy() - expected).max() / np.abs(expected).max())
    (mine,), n = interleaved(lambda: ours(features), repeats=20)
    last = features[None].contiguous(memory_format=torch.channels_last_3d)[0]
    as_given = interleaved(lambda: ours(last), repeats=20)[0][0]
    features_mb, gram_mb = array.nbytes / 1e6, 4 * count**2 / 1e6
    note = f"N = {count:,}, C = 512; the matrix takes {gram_mb:,.0f} MB, "
    note += f"ours reads the features ({features_mb:.0f} MB) alone"
    goal = "equal to the Gram matrix to 1e-5, 1000 times as fast, memory as N·C"
    met = error <= 1e-5 and theirs / mine >= 1000
    more = {"error": error, "features_mb": features_mb, "before_mb": before, "goal": goal, "met": met}
    laid_out = "the same features as our network's convolutions lay them out on a CPU"
    return [
        row("COAM", mine, theirs, n=n, **more, note=note),
        row("COAM, channels last", as_given, theirs, n=n, note=laid_out),
    ]


# ---------------------------------------------------------------- network


def network(options: Options) -> Rows:
    """The forward pass, by device and precision, beside MONAI's and the floor of matrix products."""
    import torch

    from BreastCMSLLib.cli import keep_freed_memory
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor

    keep_freed_memory()  # as Analyze's process does; the baseline has it, too
    bundle = load_bundle(Path(options["folder"], "paper.json"))
    size = (bundle.contract.phases, *bundle.contract.size)
    batch = torch.rand(1, *size, generator=torch.Generator().manual_seed(1))
    theirs = _monai_seconds(bundle, batch) if MONAI else None
    out = []
    for device in _devices():
        for dtype in machine.computed_precisions(device):
            name = _name(dtype)
            predictor = Predictor(bundle, device, name)
            if predictor.precision != name:
                out.append(row(f"network, {device}, {name}", None, n=0, note=predictor.precision_note))
                continue
            out.append(_forward(predictor, device, dtype, batch, theirs, options))
            if device == "cuda" and name == "bfloat16":
                out.append(_on_gpu(predictor, batch, options))
    return out


def _name(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _monai_seconds(bundle, batch) -> float:
    from . import baseline

    resnet = baseline.network(bundle.network.settings.width)
    exam = batch.permute(0, 1, 4, 3, 2).contiguous()
    return interleaved(lambda: baseline.forward(resnet, exam), repeats=1)[0][0]


def _forward(predictor, device: str, dtype, batch, theirs: float | None, options: Options) -> dict[str, Any]:
    """Forward passes between two measurements of the matrix rate, the better of which is the floor's."""
    quick, name, work = (
        options["quick"],
        _name(dtype),
        flops(predictor.bundle.network, tuple(batch.shape[1:])),
    )
    before = machine.matrix_rate(dtype, device, machine.sizes(device, quick))
    repeats = 5 if name == "bfloat16" and not quick else 3
    forward = partial(predictor.predict, batch[0])
    (mine,), n = interleaved(forward, repeats=repeats, seconds=options["seconds"] / 2)
    rate = max(before, machine.matrix_rate(dtype, device, machine.sizes(device, quick)))
    compared = "baseline: MONAI, float32" if MONAI else "MONAI is not installed"
    more: dict[str, Any] = {
        "floor_ratio": mine / (work / rate),
        "gflop": work / 1e9,
        "gflop_per_s": rate / 1e9,
    }
    if name == "bfloat16" and device == "cpu" and not quick:  # a GPU waits for its input to be copied
        more |= {"goal": "within 1.3 times of its floor", "met": more["floor_ratio"] <= 1.3}
    note = f"floor: convolutions' operations ÷ best matrix product of this run; {compared}"
    return row(
        f"network, {device}, {name}", mine, theirs if device == "cpu" else None, n=n, **more, note=note
    )


def _on_gpu(predictor, batch, options: Options) -> dict[str, Any]:
    """Frangi's filter, network and COAM of one exam on a GPU."""
    import torch

    from BreastCMSLLib.network.attention import coam as coam_of
    from BreastCMSLLib.preprocessing.frangi import ridges

    stack = torch.rand(163, 258, 303, device="cuda")

    def once() -> None:
        ridges(stack, 0.12)
        coam_of(predictor.predict(batch[0]).features)
        torch.cuda.synchronize()

    seconds = interleaved(once, repeats=5)[0][0]
    goal = {} if options["quick"] else {"goal": "0.25 s for mask, network and maps", "met": seconds <= 0.25}
    note = "edges of the mask, network and COAM; Analyze itself finds the mask on the CPU"
    return row("edges, network and map, cuda", seconds, n=5, **goal, note=note)


def precision(options: Options) -> Rows:
    """Probability and strongest peak of the exam in each precision."""
    import numpy as np

    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor
    from BreastCMSLLib.pipeline import analyze

    title, outcomes = "precision, float32 and bfloat16", {}
    names = [_name(dtype) for dtype in machine.computed_precisions("cpu")]
    if len(names) < 2:
        return [row(title, None, n=0, note="this processor only emulates bfloat16")]
    exam = _exam(Path(options["folder"], "exam"))
    bundle = load_bundle(Path(options["folder"], "paper.json"))
    for name in names:
        predictor = Predictor(bundle, "cpu", name)
        if predictor.precision == name:
            result = analyze(exam, predictor, map_name="COAM").result
            outcomes[name] = result["probability"], np.array(result["peaks"][0]["ras_mm"])
    if len(outcomes) < 2:
        return [row(title, None, n=1, note=predictor.precision_note)]
    (p, a), (q, b) = outcomes["float32"], outcomes["bfloat16"]
    moved = float(np.linalg.norm(a - b))
    more = {"probability_difference": abs(p - q), "peak_mm": moved}
    more |= {
        "goal": "probability within 0.01, peak within 1.1 mm",
        "met": abs(p - q) <= 0.01 and moved <= 1.1,
    }
    return [row(title, None, n=1, **more, note="whole analysis of the simulated exam, random weights")]


# ---------------------------------------------------------------- reading


def reading(options: Options) -> Rows:
    """Reading of the simulated exam's NRRD files, and of the Duke exam's DICOM files where it is at hand."""
    from BreastCMSLLib.readers import read

    from . import baseline

    repeats, folder = 1 if options["quick"] else 3, Path(options["folder"], "exam")
    most = {"repeats": repeats, "seconds": options["seconds"] / 2}
    (ours, theirs), n = interleaved(lambda: _exam(folder), lambda: baseline.read_nrrd(folder), **most)
    note = "ours also unpacks each file to check it, and checks the exam"
    out = [row("reading, NRRD", ours, theirs, n=n, note=note)]
    if options.get("duke") is None:
        return [*out, row("reading, DICOM (Duke)", None, n=0, note="the Duke exam is not in ../shared/data")]
    duke = Path(options["duke"])
    (ours, theirs), n = interleaved(lambda: read([duke]), lambda: baseline.read_dicom(duke), **most)
    note = "840 images; ours also checks positions, times and phases"
    return [*out, row("reading, DICOM (Duke)", ours, theirs, n=n, note=note)]


# ---------------------------------------------------------------- start


def model_load(options: Options) -> Rows:
    """Loading a model and checking its precision: first in a process, with PyTorch's import, and again."""
    start = time.perf_counter()
    import torch  # noqa: F401

    out = [row("import of PyTorch", time.perf_counter() - start, n=1)]
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor

    models = {"shipped model": None, "full-width ResNet34": Path(options["folder"], "paper.json")}
    for name, path in models.items():
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            Predictor(load_bundle(path), "cpu")
            seconds.append(time.perf_counter() - start)
        note = "weights read, SHA-256 compared, half precision checked against float32"
        again = statistics.median(seconds[1:])
        out.append(row(f"model load, {name}, first", seconds[0], n=1, note=note))
        out.append(row(f"model load, {name}, file in the system's cache", again, n=3))
    return out


# ---------------------------------------------------------------- training


def training(options: Options) -> Iterator[Row]:
    """Making exams, reading them, and one step by width and precision; reading against computing."""
    from training.data.preparation import prepare
    from training.recipes import small_cpu

    quick = options["quick"]
    start = time.perf_counter()
    cohort = prepare("simulated:smoke", Path(options["folder"], "cache"), 4.4, workers=machine.cores())
    each, count = (time.perf_counter() - start) / len(cohort.rows), len(cohort.rows)
    note = f"{count} exams at 4.4 mm, {machine.cores()} processes, their start included"
    yield row("simulation and preprocessing, per exam", each, n=1, exams_per_s=1 / each, note=note)
    yield _preprocessing(options)
    if "cuda" in _devices():  # on a CPU: the first rows of all
        yield _simulation("cuda", quick)
    config = small_cpu(Path(options["folder"], "run"))
    inputs = _training_input(cohort, config)
    yield from inputs
    best = None
    for device in _devices():
        for step in _steps(config.network, device, options):
            if step["name"].startswith("training step, small_cpu, cpu, "):
                best = min(best or math.inf, step["ours_s"])
            yield step
    if best is not None:
        again = inputs[-1]["ours_s"]
        share = again / best
        note = f"reading and augmenting takes {100 * share:.0f} % of what a step takes, "
        note += "before a worker process hides it"
        yield row("training, reading against computing (small_cpu)", again, n=1, share=share, note=note)


def _simulation(device: str, quick: bool) -> Row:
    from training.simulation.exam import simulate

    voxel = 4.4 if quick else 1.1
    (seconds,), n = interleaved(lambda: simulate(900, True, voxel_mm=voxel, device=device), repeats=1)
    note = "one exam at a time, on all cores"
    return row(f"simulation, 1.1 mm, {device}", seconds, n=n, exams_per_s=1 / seconds, note=note)


def _preprocessing(options: Options) -> dict[str, Any]:
    from BreastCMSLLib.preprocessing.model_input import preprocess

    exam, contract = _exam(Path(options["folder"], "exam")), exams.contract(options["quick"])
    (seconds,), n = interleaved(lambda: preprocess(exam, contract), repeats=2, seconds=options["seconds"] / 6)
    more = {"exams_per_s": 1 / seconds, "note": "mask, resampling, scaling"}
    return row(f"preprocessing, {contract.spacing_mm} mm", seconds, n=n, **more)


def _training_input(cohort, config) -> Rows:
    """Reading an exam, which is done anew in each epoch."""
    from training.methods.exams import Exams

    count = len(cohort.rows)
    data = Exams([cohort.path(r["exam"]) for r in cohort.rows], config)
    seconds = interleaved(lambda: [data[0, n] for n in range(count)], repeats=3, warm=False)[0][0] / count
    more = {"exams_per_s": 1 / seconds, "note": "file, unpacking, augmentation"}
    return [row("training input", seconds, n=3 * count, **more)]


def _steps(small, device: str, options: Options) -> Iterator[Row]:
    """A step of each network in each precision that the device computes in, the fastest precision first."""
    from training.data.cache import contract_at

    quick, size = options["quick"], contract_at(4.4).size
    cases = [("small_cpu", small, size, 16), ("small_cpu, width 32", replace(small, width=32), size, 16)]
    if quick:
        cases = [("tiny", exams.settings(True), size, 2)]
    paper = ("paper", exams.settings(False), exams.contract(False).size, 1 if device == "cpu" else 8)
    precisions = machine.computed_precisions(device)
    for dtype in precisions:
        rate = machine.matrix_rate(dtype, device, machine.sizes(device, quick)[:2])
        full_width = not quick and (device == "cuda" or dtype == precisions[0])
        for case in [paper, *cases] if full_width else cases:
            yield _step(*case, device, dtype, rate, options["seconds"] / 8)


def _step(name: str, settings, size, batch: int, device: str, dtype, rate: float, most_s: float) -> Row:
    """Forward, backward and update, per exam, with autocast as ``training/train.py`` has it."""
    import torch

    from BreastCMSLLib.network.losses import sigmoid_loss
    from BreastCMSLLib.network.resnet import BreastNet

    torch.backends.cudnn.benchmark = True  # as in training/train.py
    layout = torch.channels_last_3d
    network = BreastNet(settings).train().to(device, memory_format=layout)
    optimiser = torch.optim.AdamW(network.parameters())
    x = torch.rand(batch, settings.channels, *size, device=device).contiguous(memory_format=layout)
    y = (torch.arange(batch, device=device) % 2).float()

    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = sigmoid_loss(network(x), y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()

    warm = name != "paper" or device != "cpu"  # what a first step of seconds does more is nothing beside it
    (seconds,), n = interleaved(step, repeats=3 if warm else 1, warm=warm, seconds=most_s)
    seconds /= batch
    work = 3 * flops(network, (settings.channels, *size))  # backward takes two products for each of forward
    share = work / rate / seconds
    note = f"per exam, batch {batch}; {100 * share:.0f} % of the matrix rate of {rate / 1e9:.0f} GFLOP/s"
    more = {"exams_per_s": 1 / seconds, "batch": batch, "gflop": work / 1e9}
    more |= {"floor_ratio": 1 / share, "fraction_of_rate": share, "note": note}
    return row(f"training step, {name}, {device}, {_name(dtype)}", seconds, n=n, **more)


# ---------------------------------------------------------------- growth


def many(options: Options) -> Rows:
    """One exam after another in one process: time and memory must not grow."""
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor
    from BreastCMSLLib.pipeline import analyze
    from training.simulation.exam import simulate

    count = 12 if options["quick"] else 80
    predictor = Predictor(load_bundle(Path(options["folder"], "small.json")), "cpu")
    kept = [simulate(seed, bool(seed % 2), voxel_mm=4.4).exam for seed in range(900, 904)]
    marks, seconds = {}, []
    for number in range(1, count + 1):
        start = time.perf_counter()
        analyze(kept[number % len(kept)], predictor)
        seconds.append(time.perf_counter() - start)
        if number in (1, count // 10, count // 4, count // 2, count):
            marks[number] = memory_mb() or 0.0
    quarter = max(1, count // 4)
    early, late = statistics.median(seconds[1 : 1 + quarter]), statistics.median(seconds[-quarter:])
    grown = marks[count] - marks[count // 4]
    more: dict[str, Any] = {"memory_mb": {str(n): mb for n, mb in marks.items()}, "grown_mb": grown}
    if not options["quick"]:
        more["goal"] = f"memory flat: less than 50 MB more at {count} exams than at {count // 4}"
        more["met"] = grown < 50
    note = f"MB after {', '.join(f'{n}: {mb:.0f}' for n, mb in marks.items())}; "
    note += f"an exam of the last quarter takes {late / early:.2f} times one of the first; 4.4 mm"
    return [row(f"{count} exams in one process, per exam", late, n=count, **more, note=note)]


WORKERS = {
    "prepare": exams.prepare,
    "second": running.second,
    "machine": machine.rows,
    "mask": mask,
    "coam": coam,
    "network": network,
    "precision": precision,
    "reading": reading,
    "model_load": model_load,
    "training": training,
    "many": many,
}

# what topics of other processes need done in one of its own
HELPERS = {
    "floors": floors,
    "make_large": exams.make_large,
    "make_long": exams.make_long,
    "through_panel": running.panel,
}

if __name__ == "__main__":
    _, chosen, request, answer = sys.argv
    with open(answer, "w", encoding="utf-8") as stream:
        for entry in {**WORKERS, **HELPERS}[chosen](json.loads(Path(request).read_text())):
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
