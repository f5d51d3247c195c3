"""What is measured as processes of their own: Analyze from files to saved results, starting up, training over
processes.

Imports nothing heavy: see ``measure.process``.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .measure import ROOT, Late, process, row, timed, worker

Options = dict[str, Any]
Row = dict[str, Any]

TIMES, PEAK_MB = 6, 2500
SHARE = 0.2  # of the whole that a stage may take without a reason
FLOORS = 2.0  # times its floor that it may take without one
REASONS = {  # why a stage may take more
    "start": "the interpreter, imports beside PyTorch's, and giving the memory back at the end",
    "read": "headers, checks of positions and times; PyTorch and the model load on the other core meanwhile",
    "model": "what is left of PyTorch's import and of the check of half precision once the exam is read",
    "preprocess": "the mask's filter and two interpolations an axis, not one copy",
    "map": "candidates are found and described before the map is made",
    "findings": "outlines, places and words of each candidate; the range check",
    "kinetics": "projections and tumour volume sort and interpolate voxels, which one copy does not",
    "save": "one core packs",
}
SAME = {  # stages of the usual stack that do the same
    "start": ("start",),
    "read": ("read",),
    "model": ("model",),
    "preprocess": ("mask and resampling", "subtraction and scaling"),
    "network": ("network",),
    "map": ("map",),
    "save": ("save",),
}
NO_DUKE = "the Duke exam is not in ../shared/data"


def analyze_command(exam: Path, output: Path, model: Path | None, *more: str) -> list[str]:
    files = sorted(exam.glob("dynamic_*.nrrd"))
    t1 = ["--t1", str(exam / "t1.nrrd")] if (exam / "t1.nrrd").exists() else []
    given = [*map(str, files), *t1] if files else [str(exam)]
    chosen = [] if model is None else ["--model", str(model)]
    options = ["--output", str(output), *chosen, "--device", "cpu", "--progress", "none", "--overwrite"]
    return ["-m", "BreastCMSLLib", "analyze", *given, *options, *more]


def _theirs(exam: Path, output: Path, quick: bool) -> list[str]:
    size = ["--spacing", "4.4", "--size", "32", "55", "85", "--width", "4"] if quick else []
    return ["-m", "Testing.benchmark.baseline", str(exam), str(output), *size]


def analyze(options: Options) -> Iterator[Row]:
    """Analyze and the usual stack on the simulated exam, in turn, whole processes; each stage of ours."""
    yield from _against("Analyze, NRRD", Path(options["folder"], "exam"), options, repeats=3)


def duke(options: Options) -> Iterator[Row]:
    """The same on the Duke exam's DICOM files, where they are at hand."""
    if options.get("duke") is not None:
        yield from _against("Analyze, DICOM (Duke)", Path(options["duke"]), options, repeats=2)
    else:
        yield row("Analyze, DICOM (Duke)", None, n=0, note=NO_DUKE)


def _against(name: str, exam: Path, options: Options, repeats: int) -> Iterator[Row]:
    """Ours and the baseline in turn, as often as there is time for."""
    folder, quick = Path(options["folder"]), options["quick"]
    model, output = folder / "paper.json", folder / "ours"
    missing = [name for name in ("monai", "skimage") if find_spec(name) is None]
    no_baseline = f"{' and '.join(missing)} not installed" if missing else ""
    command = analyze_command(exam, output, model, "--no-scene")
    ours, theirs, end = Runs(), Runs(), time.monotonic() + options["seconds"]
    pair_s = 0.0
    if not quick:  # a small exam brings the libraries into the system's cache; the exam was just written
        small = analyze_command(folder / "exam-4.4", output, folder / "paper-4.4.json", "--no-scene")
        timed(small, options)
    while ours.n < (1 if quick else repeats) and (not ours.n or time.monotonic() + pair_s < end):
        begun = time.monotonic()
        ours.add(*timed(command, options)[:2], stages_of(output))
        if not no_baseline:
            try:
                seconds, peak, text = timed(_theirs(exam, folder / "theirs", quick), options)
            except Late as error:
                no_baseline = f"the baseline was {error}"
                break
            theirs.add(seconds, peak, json.loads(text[text.rindex("{") :]))
        pair_s = time.monotonic() - begun
    more: dict[str, Any] = {"n": ours.n, "peak_mb": ours.peak_mb, "baseline_peak_mb": theirs.peak_mb}
    if theirs.n and not quick:
        more["goal"] = f"{TIMES} times as fast, peak at most {PEAK_MB} MB"
        more["met"] = theirs.seconds / ours.seconds >= TIMES and (ours.peak_mb or 0) <= PEAK_MB
    note = "; ".join(filter(None, ["whole processes, files to saved heatmap and result", no_baseline]))
    yield row(name, ours.seconds, theirs.seconds, **more, note=note)
    asked = {"exam": str(exam), "result": str(output), "model": str(model), "quick": quick}
    floor = {}
    with suppress(Late):  # the stages themselves are known
        for one in worker("floors", {**options, **asked}):
            floor[one["stage"]] = one
    yield from stage_rows(name, ours, theirs.stages, floor, quick)


class Runs:
    """Seconds, peak memory and stages of processes that did the same."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._peaks: list[float | None] = []
        self._stages: list[dict[str, float]] = []

    def add(self, seconds: float, peak_mb: float | None, stages: dict[str, float]) -> None:
        self._seconds.append(seconds)
        self._peaks.append(peak_mb)
        rest = max(0.0, seconds - sum(stages.values()))
        self._stages.append({"start": rest, **stages})

    @property
    def n(self) -> int:
        return len(self._seconds)

    @property
    def seconds(self) -> float | None:
        """The median."""
        return statistics.median(self._seconds) if self._seconds else None

    @property
    def peak_mb(self) -> float | None:
        return None if None in self._peaks or not self._peaks else max(self._peaks)

    @property
    def stages(self) -> dict[str, float]:
        """Median seconds of each; "start" is what lies outside all of them."""
        names = self._stages[0] if self._stages else {}
        return {name: statistics.median(s.get(name, 0.0) for s in self._stages) for name in names}


def stages_of(output: Path) -> dict[str, float]:
    """Seconds of each stage, by the result that was written; making a map on both grids is one."""
    stages = json.loads((output / "result.json").read_text(encoding="utf-8"))["timings_s"]
    stages = {name: seconds for name, seconds in stages.items() if name != "total"}
    stages["map"] += stages.pop("heatmaps")
    return stages


def stage_rows(
    name: str, ours: Runs, theirs: dict[str, float], floors: dict[str, dict[str, Any]], quick: bool
) -> Iterator[Row]:
    """A row for each stage: beside the usual stack's, times its floor, and why it takes so much where it
    does.

    Parameters
    ----------
    name
        Of the row of the whole.
    ours
        Analyze's runs.
    theirs
        Seconds of the baseline's stages.
    floors
        By stage, as ``floors.floors`` gives them.
    """
    same = {stage: [theirs[one] for one in SAME.get(stage, ()) if one in theirs] for stage in ours.stages}
    for stage, seconds in ours.stages.items():
        share, floor = seconds / ours.seconds, floors.get(stage)
        times = seconds / floor["floor_s"] if floor else None
        reason = REASONS.get(stage, "") if share > SHARE or (times or 0) > FLOORS else ""
        goal = f"at most {FLOORS:.0f} times its floor, or a reason" if floor else ""
        met = {"goal": goal, "met": times <= FLOORS or bool(reason)} if floor and not quick else {}
        note = f"{100 * share:.0f} %" + (f"; floor: {floor['why']}" if floor else "")
        note += f"; {reason}" if reason else ""
        baseline = sum(same[stage]) or None
        more = {"share": share, "floor_ratio": times, **met, "note": note}
        yield row(f"{name}: {stage}", seconds, baseline, n=ours.n, **more)


def sizes(options: Options) -> Iterator[Row]:
    """Time and memory of Analyze against the size of the input, full-width network; 1.1 mm is Analyze's
    row.
    """
    folder = Path(options["folder"])
    cases = [("4.4", "exam-4.4", "paper-4.4"), ("2.2", "exam-2.2", "paper-2.2")]
    if options["quick"]:
        cases = [("4.4", "exam", "paper")]
    for voxel, exam, model in cases:
        command = analyze_command(folder / exam, folder / "size", folder / f"{model}.json", "--no-scene")
        seconds, peak, _ = timed(command, options)
        result = json.loads((folder / "size" / "result.json").read_text())
        voxels, stages = math.prod(map(int, result["input"]["grid"]["size"])), result["timings_s"]
        note = f"{voxels / 1e6:.2f} million voxels a phase; "
        note += f"preprocessing {stages['preprocess']:.2f} s, network {stages['network']:.2f} s"
        name = f"Analyze, exam and model at {voxel} mm"
        yield row(name, seconds, n=1, peak_mb=peak, voxels=voxels, note=note)


def start(options: Options) -> Iterator[Row]:
    """From starting the child process to its first line of progress; what the module adds to Slicer's."""
    folder, repeats, seconds = Path(options["folder"]), 2 if options["quick"] else 5, []
    command = analyze_command(folder / "exam", folder / "start", folder / "paper.json", "--no-scene")
    command[command.index("none")] = "json"
    for _ in range(repeats):
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        line = child.stdout.readline()
        seconds.append(time.perf_counter() - begun)
        child.kill()
        child.communicate()
        if json.loads(line).get("event") != "progress":
            raise RuntimeError(f"The child's first line was no progress: {line[:200]!r}")
    yield row("child process to its first progress line", statistics.median(seconds), n=repeats)
    try:
        text = process(["scripts/measure_import.py"], environment={"QT_QPA_PLATFORM": "offscreen"})[2]
    except RuntimeError as error:
        text = str(error)
    measured = re.search(r"adds (\d+) ms.*?\(median of (\d+), limit (\d+)\)", text)
    name = "import of the module"
    if measured is None:
        note = "PySide6 is not installed, or the import is over its limit"
        yield row(name, None, n=0, note=note)
        return
    milliseconds, count, limit = map(int, measured.groups())
    goal = {"goal": f"at most {limit} ms of processor time", "met": milliseconds <= limit}
    yield row(name, milliseconds / 1000, n=count, **goal, note="on the stand-ins")


def processes(options: Options) -> Iterator[Row]:
    """Training with one and two processes (gloo), one thread each, on the cohort of ``training``."""
    folder, rates = Path(options["folder"]), []
    name = "smoke" if options["quick"] else "small_cpu"
    recipe = [name, "--cache", str(folder / "cache"), "--precision", "no"]
    if not options["quick"]:
        recipe += ["--cohort", "simulated:smoke", "--epochs", "2", "--batch", "8"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *_paths()])}
    for count in (1, 2):
        run = folder / f"run-{count}"
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command += ["training/train.py", *recipe, "--output", str(run)]
        timed(command, options, environment=environment)
        with open(run / "metrics.csv", newline="") as stream:
            rates.append(max(float(line["exams_per_s"]) for line in csv.DictReader(stream)))
    for count, rate in zip((1, 2), rates):
        title = f"training {name}, {count} gloo process{'es' * (count > 1)}, per exam"
        note = f"{rate:.1f} exams/s" + (f", {rate / rates[0]:.2f} times one process" if count > 1 else "")
        yield row(title, 1 / rate, n=1, exams_per_s=rate, scaling=rate / rates[0], note=note)


def _paths() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


TOPICS = {"analyze": analyze, "duke": duke, "start": start, "sizes": sizes, "processes": processes}
