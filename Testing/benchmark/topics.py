"""What is measured inside one process: each topic makes rows. ``python -m Testing.benchmark.topics NAME REQUEST.json ROWS.json``.

``whole.py`` measures what runs as processes of its own. A topic's process is started for it alone, so its peak memory is its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import exams, machine
from .measure import interleaved, memory_mb, row

Options = dict[str, Any]
Rows = list[dict[str, Any]]

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
    """The breast mask of the exam's T1, beside the slice loop; its overlap with that of the reference filter."""
    import numpy as np

    from BreastCMSLLib.core.geometry import Volume, resample
    from BreastCMSLLib.preprocessing import breast_mask as masking
    from BreastCMSLLib.preprocessing import frangi
    from BreastCMSLLib.preprocessing.model_input import canonical_grid

    from . import baseline

    spacing = exams.contract(options["quick"]).spacing_mm
    exam = _exam(Path(options["folder"], "exam"))
    size, affine = canonical_grid(exam.grid, spacing)
    image = Volume(resample(exam.t1.volume, size, affine).array, affine)
    settings = masking.MaskSettings(sigmas_mm=(spacing, 2 * spacing))  # one and two voxels, as the baseline; at 1.1 mm the default
    slices = np.ascontiguousarray(image.array.T)  # [k, j, i], as the libraries of the baseline have it
    note = "×".join(map(str, size))
    ours = interleaved(lambda: masking.breast_mask(image, settings), repeats=3)[0]
    if not SKIMAGE:
        return [row("breast mask", ours, n=3, note=f"{note}; scikit-image is not installed")]
    looped = interleaved(lambda: baseline.mask(slices, spacing), repeats=1, warm=False)[0]
    bright = interleaved(lambda: baseline.mask(slices, spacing, both=False), repeats=1, warm=False)[0]

    def reference(stack, threshold, sigmas) -> np.ndarray:
        c = [frangi.structure(stack, sigma) / sigma**2 for sigma in sigmas]  # scikit-image does not multiply by sigma²
        scaled = stack / stack.abs().max()
        return baseline.edges(scaled.numpy(), tuple(c), sigmas=tuple(sigmas)) > threshold

    own, frangi.ridges = frangi.ridges, reference
    try:
        theirs = masking.breast_mask(image, settings).inside
    finally:
        frangi.ridges = own
    mine = masking.breast_mask(image, settings).inside
    dice = float(2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()))
    goal = "15 times as fast as the loop over slices, Dice at least 0.99 against the reference filter"
    met = looped / ours >= 15 and dice >= 0.99
    return [
        row("breast mask", ours, looped, n=3, dice=dice, goal=goal, met=met, note=f"{note}; the loop once, bright and dark ridges"),
        row("breast mask, loop with bright ridges only", ours, bright, n=3, note="half the loop's work; ours finds both"),
    ]


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
    theirs = interleaved(lambda: baseline.gram(array), repeats=1, warm=False)[0]
    error = float(np.abs(ours(features).numpy() - expected).max() / np.abs(expected).max())
    mine = interleaved(lambda: ours(features), repeats=20)[0]
    goal = "equal to the Gram matrix to 1e-5, 1000 times as fast, memory as N·C"
    met = error <= 1e-5 and theirs / mine >= 1000
    gram_mb = 4 * count**2 / 1e6
    note = f"N = {count:,}, C = 512; the matrix takes {gram_mb:,.0f} MB, ours reads the features ({array.nbytes / 1e6:.0f} MB) alone"
    last = features[None].contiguous(memory_format=torch.channels_last_3d)[0]
    as_given = interleaved(lambda: ours(last), repeats=20)[0]
    return [
        row("COAM", mine, theirs, n=20, error=error, features_mb=array.nbytes / 1e6, before_mb=before, goal=goal, met=met, note=note),
        row("COAM, channels last", as_given, theirs, n=20, note="the same features as our network's convolutions lay them out on a CPU"),
    ]


# ---------------------------------------------------------------- network


def flops(network, size: tuple[int, ...]) -> int:
    """Operations (two for each multiplication and addition) of a network's convolutions for one exam of (phases, LR, AP, SI)."""
    import torch

    total = 0

    def count(layer, _, out) -> None:
        nonlocal total
        total += 2 * layer.weight[0].numel() * out.numel()

    from BreastCMSLLib.network.resnet import BreastNet

    with torch.device("meta"):
        hollow = BreastNet(network.settings).eval()
        handles = [m.register_forward_hook(count) for m in hollow.modules() if isinstance(m, torch.nn.Conv3d)]
        hollow.feature_map(torch.empty(1, *size))
    for handle in handles:
        handle.remove()
    return total


def network(options: Options) -> Rows:
    """The forward pass, by device and precision, beside MONAI's and the floor of the device's matrix products."""
    import torch

    from BreastCMSLLib.cli import keep_freed_memory
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor

    from . import baseline

    keep_freed_memory()  # as Analyze's process does; the baseline has it, too
    quick = options["quick"]
    bundle = load_bundle(Path(options["folder"], "paper.json"))
    size = (bundle.contract.phases, *bundle.contract.size)
    batch = torch.rand(1, *size, generator=torch.Generator().manual_seed(1))
    work = flops(bundle.network, size)
    out = []
    theirs = None
    if MONAI:
        made = baseline.network(bundle.network.settings.width)
        input_ = batch.permute(0, 1, 4, 3, 2).contiguous()
        theirs = interleaved(lambda: baseline.forward(made, input_), repeats=1)[0]
        del made, input_
    for device in _devices():
        for precision in ("bfloat16", "float32"):
            predictor = Predictor(bundle, device, precision)
            if predictor.precision != precision:
                out.append(row(f"network, {device}, {precision}", None, n=0, note=predictor.precision_note))
                continue
            dtype = getattr(torch, precision)
            before = machine.matrix_rate(dtype, device, machine.sizes(device, quick), repeats=3)
            repeats = 5 if precision == "bfloat16" and not quick else 3
            mine = interleaved(partial(predictor.predict, batch[0]), repeats=repeats)[0]
            rate = max(before, machine.matrix_rate(dtype, device, machine.sizes(device, quick), repeats=3))
            chosen = precision == "bfloat16" and device == "cpu"  # a GPU waits for its input to be copied
            out.append(
                row(
                    f"network, {device}, {precision}",
                    mine,
                    theirs if device == "cpu" else None,
                    n=repeats,
                    floor_ratio=mine / (work / rate),
                    gflop=work / 1e9,
                    gflop_per_s=rate / 1e9,
                    goal="within 1.3 times of its floor" if chosen and not quick else None,
                    met=mine / (work / rate) <= 1.3 if chosen and not quick else None,
                    note="floor: convolutions' operations ÷ best matrix product of this run; baseline: MONAI, float32"
                    if MONAI
                    else "floor: convolutions' operations ÷ best matrix product of this run; MONAI is not installed",
                )
            )
            if device == "cuda" and precision == "bfloat16":
                out.append(_on_gpu(predictor, batch, options))
    return out


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

    seconds = interleaved(once, repeats=5)[0]
    goal = None if options["quick"] else "0.25 s for mask, network and maps"
    note = "edges of the mask, network and COAM; Analyze itself finds the mask on the CPU"
    return row("edges, network and map, cuda", seconds, n=5, goal=goal, met=None if goal is None else seconds <= 0.25, note=note)


def precision(options: Options) -> Rows:
    """Probability and strongest peak of the exam in each precision."""
    import numpy as np

    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor
    from BreastCMSLLib.pipeline import analyze

    exam = _exam(Path(options["folder"], "exam"))
    bundle = load_bundle(Path(options["folder"], "paper.json"))
    found = {}
    for name in ("float32", "bfloat16"):
        predictor = Predictor(bundle, "cpu", name)
        if predictor.precision == name:
            result = analyze(exam, predictor, map_name="COAM").result
            found[name] = result["probability"], np.array(result["peaks"][0]["ras_mm"])
    if len(found) < 2:
        return [row("precision, float32 and bfloat16", None, n=1, note="this processor has no bfloat16 convolutions")]
    (p, a), (q, b) = found["float32"], found["bfloat16"]
    moved = float(np.linalg.norm(a - b))
    goal = "probability within 0.01, peak within 1.1 mm"
    met = abs(p - q) <= 0.01 and moved <= 1.1
    more = {"probability_difference": abs(p - q), "peak_mm": moved, "goal": goal, "met": met}
    return [row("precision, float32 and bfloat16", None, n=1, **more, note="whole analysis of the simulated exam, random weights")]


# ---------------------------------------------------------------- reading


def reading(options: Options) -> Rows:
    """Reading of the simulated exam's NRRD files, and of the Duke exam's DICOM files where it is at hand."""
    from BreastCMSLLib.readers import read

    from . import baseline

    out, repeats = [], 1 if options["quick"] else 3
    folder = Path(options["folder"], "exam")
    ours, theirs = interleaved(lambda: _exam(folder), lambda: baseline.read_nrrd(folder), repeats=repeats)
    out.append(row("reading, NRRD", ours, theirs, n=repeats, note="ours also unpacks each file to check it, and checks the exam"))
    duke = options.get("duke")
    if duke is None:
        return [*out, row("reading, DICOM (Duke)", None, n=0, note="the Duke exam is not in ../shared/data")]
    ours, theirs = interleaved(lambda: read([Path(duke)]), lambda: baseline.read_dicom(Path(duke)), repeats=repeats)
    out.append(row("reading, DICOM (Duke)", ours, theirs, n=repeats, note="840 images; ours also checks positions, times and phases"))
    return out


# ---------------------------------------------------------------- start


def model_load(options: Options) -> Rows:
    """Loading a model and checking its precision: the first in a process (PyTorch is imported), again, and kept."""
    start = time.perf_counter()
    import torch  # noqa: F401

    imported = time.perf_counter() - start
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor

    out = [row("import of PyTorch", imported, n=1)]
    for name, path in (("shipped model", None), ("full-width ResNet34", Path(options["folder"], "paper.json"))):
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            Predictor(load_bundle(path), "cpu")
            seconds.append(time.perf_counter() - start)
        note = "weights read, SHA-256 compared, half precision checked against float32"
        out.append(row(f"model load, {name}, first", seconds[0], n=1, note=note))
        out.append(row(f"model load, {name}, file in the system's cache", statistics.median(seconds[1:]), n=3))
    return out


# ---------------------------------------------------------------- training


def training(options: Options) -> Rows:
    """One training step by width and precision; reading and augmenting against computing; simulation and preprocessing."""
    import torch

    from BreastCMSLLib.network.resnet import NetworkSettings
    from training.data.cache import contract_at
    from training.data.exams import Exams
    from training.prepare import prepare
    from training.recipes import small_cpu

    quick, out = options["quick"], []
    start = time.perf_counter()
    made = prepare("simulated:smoke", Path(options["folder"], "cache"), 4.4, workers=machine.cores())
    seconds = time.perf_counter() - start
    count = len(made.rows)
    each = seconds / count
    note = f"{count} exams at 4.4 mm, {machine.cores()} processes, their start included"
    out.append(row("simulation and preprocessing, per exam", each, n=1, exams_per_s=1 / each, note=note))
    out.append(_preprocessing(options))
    out += [_simulation(device, quick) for device in _devices()]

    config = small_cpu(Path(options["folder"], "run"))
    data = Exams([made.path(r["exam"]) for r in made.rows], config)
    reads = interleaved(lambda: [data[0, n] for n in range(count)], repeats=1, warm=False)[0] / count
    again = interleaved(lambda: [data[1, n] for n in range(count)], repeats=3, warm=False)[0] / count
    out.append(row("training input, first reading of an exam", reads, n=count, exams_per_s=1 / reads, note="file, unpacking, augmentation"))
    out.append(row("training input, an exam kept in memory", again, n=3 * count, exams_per_s=1 / again))

    size = contract_at(4.4).size
    small = config.network
    steps = [("small_cpu", small, size, 16), ("small_cpu, width 32", NetworkSettings(**{**vars(small), "width": 32}), size, 16)]
    if quick:
        steps = [("tiny", exams.settings(True), size, 2)]
    for device in _devices():
        for dtype in (torch.float32, torch.bfloat16):
            rate = machine.matrix_rate(dtype, device, machine.sizes(device, quick)[:2], repeats=3)
            wanted = list(steps)
            if not quick and (device == "cuda" or dtype == torch.bfloat16):
                wanted.append(("paper", exams.settings(False), exams.contract(False).size, 1 if device == "cpu" else 8))
            for name, settings, size_, batch in wanted:
                out.append(_step(name, settings, size_, batch, device, dtype, rate, 1 if quick or name == "paper" else 3))
    slow = next((r for r in out if r["name"].startswith("training step, small_cpu, cpu, bfloat16")), None)
    if slow is not None:
        share = again / slow["ours_s"]
        note = f"reading and augmenting takes {100 * share:.0f} % of what a step takes, before a worker process hides it"
        out.append(row("training, reading against computing (small_cpu)", again, n=1, share=share, note=note))
    return out


def _simulation(device: str, quick: bool) -> dict[str, Any]:
    from training.simulation.exam import simulate

    repeats = 1 if quick else 3
    seconds = interleaved(lambda: simulate(900, True, voxel_mm=4.4 if quick else 1.1, device=device), repeats=repeats)[0]
    return row(f"simulation, 1.1 mm, {device}", seconds, n=repeats, exams_per_s=1 / seconds, note="one exam at a time, on all cores")


def _preprocessing(options: Options) -> dict[str, Any]:
    from BreastCMSLLib.preprocessing.model_input import preprocess

    exam, contract = _exam(Path(options["folder"], "exam")), exams.contract(options["quick"])
    repeats = 2 if options["quick"] else 3
    seconds = interleaved(lambda: preprocess(exam, contract), repeats=repeats)[0]
    return row(f"preprocessing, {contract.spacing_mm} mm", seconds, n=repeats, exams_per_s=1 / seconds, note="mask, resampling, scaling")


def _step(name: str, settings, size, batch: int, device: str, dtype, rate: float, repeats: int) -> dict[str, Any]:
    """Forward, backward and update, per exam, with autocast as ``training/train.py`` has it."""
    import torch

    from BreastCMSLLib.network.losses import sigmoid_loss
    from BreastCMSLLib.network.resnet import BreastNet

    torch.backends.cudnn.benchmark = True  # as in training/train.py
    network = BreastNet(settings).train().to(device, memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters())
    x = torch.rand(batch, settings.channels, *size, device=device).contiguous(memory_format=torch.channels_last_3d)
    y = (torch.arange(batch, device=device) % 2).float()

    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = sigmoid_loss(network(x), y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()

    seconds = interleaved(step, repeats=repeats)[0] / batch
    work = 3 * flops(network, (settings.channels, *size))  # backward takes two products for each of forward
    precision = str(dtype).removeprefix("torch.")
    return row(
        f"training step, {name}, {device}, {precision}",
        seconds,
        n=repeats,
        exams_per_s=1 / seconds,
        batch=batch,
        floor_ratio=seconds / (work / rate),
        fraction_of_rate=work / rate / seconds,
        gflop=work / 1e9,
        note=f"per exam, batch {batch}; {100 * work / rate / seconds:.0f} % of the matrix rate of {rate / 1e9:.0f} GFLOP/s",
    )


# ---------------------------------------------------------------- growth


def many(options: Options) -> Rows:
    """One exam after another in one process: time and memory must not grow."""
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor
    from BreastCMSLLib.pipeline import analyze
    from training.simulation.exam import simulate

    count = 12 if options["quick"] else 200
    predictor = Predictor(load_bundle(Path(options["folder"], "small.json")), "cpu")
    kept = [simulate(seed, bool(seed % 2), voxel_mm=4.4).exam for seed in range(900, 904)]
    marks, seconds = {}, []
    for number in range(1, count + 1):
        start = time.perf_counter()
        analyze(kept[number % len(kept)], predictor)
        seconds.append(time.perf_counter() - start)
        if number in (1, count // 10, count // 4, count // 2, count):
            marks[number] = memory_mb() or 0.0
    third = max(1, count // 4)
    early, late = statistics.median(seconds[1 : 1 + third]), statistics.median(seconds[-third:])
    settled, last = marks[count // 4], marks[count]
    grown = last - settled
    goal = None if options["quick"] else f"memory flat: less than 50 MB more at {count} exams than at {count // 4}"
    listed = ", ".join(f"{n}: {mb:.0f}" for n, mb in marks.items())
    note = f"MB after {listed}; an exam of the last quarter takes {late / early:.2f} times one of the first; 4.4 mm"
    return [
        row(
            f"{count} exams in one process, per exam",
            late,
            n=count,
            memory_mb={str(n): mb for n, mb in marks.items()},
            grown_mb=grown,
            goal=goal,
            met=None if goal is None else grown < 50,
            note=note,
        )
    ]


WORKERS = {
    "prepare": exams.prepare,
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

if __name__ == "__main__":
    _, name, request, answer = sys.argv
    Path(answer).write_text(json.dumps(WORKERS[name](json.loads(Path(request).read_text()))))
