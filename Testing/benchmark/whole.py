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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .measure import ROOT, process, rounded, row

Options = dict[str, Any]
Rows = list[dict[str, Any]]

PEAK_MB = 2500
SHARE = 0.2
REASONS = {  # why a stage may take more than a fifth of the whole
    "start": "the interpreter, imports beside PyTorch's, and giving the memory back at the end",
    "read": "unpacking, as the files are compressed; PyTorch and the model load on the other core meanwhile",
    "model": "what is left of PyTorch's import and of the check of half precision once the exam is read",
    "preprocess": "mask and resampling pass over every voxel of every phase, each once",
    "network": "arithmetic near the floor of the processor's matrix products (see the rows of the network)",
}


def analyze_command(exam: Path, output: Path, model: Path | None, *more: str) -> list[str]:
    files = sorted(exam.glob("dynamic_*.nrrd"))
    given = [*map(str, files), "--t1", str(exam / "t1.nrrd")] if files else [str(exam)]
    chosen = [] if model is None else ["--model", str(model)]
    options = ["--output", str(output), *chosen, "--device", "cpu", "--progress", "none", "--overwrite"]
    return ["-m", "BreastCMSLLib", "analyze", *given, *options, *more]


def _theirs(exam: Path, output: Path, quick: bool) -> list[str]:
    size = ["--spacing", "4.4", "--size", "32", "55", "85", "--width", "4"] if quick else []
    return ["-m", "Testing.benchmark.baseline", str(exam), str(output), *size]


def analyze(options: Options) -> Rows:
    """Analyze and the usual stack on the same exam, in turn, whole processes; each stage of ours."""
    folder, quick = Path(options["folder"]), options["quick"]
    out = _against("Analyze, NRRD", folder / "exam", options, repeats=1 if quick else 3)
    if find_spec("slicer") is not None and not quick:
        seconds, peak, _ = process(analyze_command(folder / "exam", folder / "scene", folder / "paper.json"))
        out.append(
            row(
                "Analyze with scene, report and pictures",
                seconds,
                n=1,
                peak_mb=peak,
                note="as the command line does by default",
            )
        )
    if options.get("duke"):
        out += _against(
            "Analyze, DICOM (Duke)", Path(options["duke"]), options, repeats=1 if quick else 2, baselines=1
        )
    return out


def _against(name: str, exam: Path, options: Options, repeats: int, baselines: int = 3) -> Rows:
    """Ours and the baseline in turn; the baseline, which takes longest, at most so many times."""
    folder, quick = Path(options["folder"]), options["quick"]
    compared = find_spec("monai") is not None and find_spec("skimage") is not None
    ours, theirs, peaks, stages = [], [], ([], []), []
    for number in range(repeats + (not quick)):  # the first of each brings the files into the system's cache
        seconds, peak, _ = process(
            analyze_command(exam, folder / "ours", folder / "paper.json", "--no-scene")
        )
        if number or quick:
            ours.append(seconds)
            peaks[0].append(peak)
            stages.append(json.loads((folder / "ours" / "result.json").read_text())["timings_s"])
        if compared and (number or quick) and len(theirs) < baselines:
            seconds, peak, _ = process(_theirs(exam, folder / "theirs", quick))
            theirs.append(seconds)
            peaks[1].append(peak)
    middle = statistics.median(ours)
    peak = max(p for p in peaks[0]) if None not in peaks[0] else None
    baseline = statistics.median(theirs) if theirs else None
    more: dict[str, Any] = {
        "n": len(ours),
        "baseline_n": len(theirs),
        "peak_mb": peak,
        "baseline_peak_mb": max(peaks[1]) if theirs and None not in peaks[1] else None,
    }
    if baseline and not quick:
        more["goal"] = f"5 times as fast, peak at most {PEAK_MB} MB"
        more["met"] = baseline / middle >= 5 and (peak or 0) <= PEAK_MB
    note = "whole processes, files to saved heatmap and result"
    note += "" if compared else "; MONAI or scikit-image is not installed"
    rows = [row(name, middle, baseline, **more, note=note)]
    stage_s = {stage: statistics.median(s[stage] for s in stages) for stage in stages[0] if stage != "total"}
    stage_s = {"start": max(0.0, middle - sum(stage_s.values())), **stage_s}
    return rows + [_stage(name, stage, s, s / middle, len(ours), quick) for stage, s in stage_s.items()]


def _stage(name: str, stage: str, seconds: float, share: float, n: int, quick: bool) -> dict[str, Any]:
    """A stage of Analyze, and why it takes so much where it does."""
    reason = REASONS.get(stage, "") if share > SHARE else ""
    note = f"{100 * share:.0f} %" + (f"; {reason}" if reason else "")
    goal = {"goal": "at most 20 % of the whole, or a reason", "met": share <= SHARE or bool(reason)}
    return row(f"{name}: {stage}", seconds, n=n, share=share, **({} if quick else goal), note=note)


def sizes(options: Options) -> Rows:
    """Time and memory of Analyze against the size of the input, full-width network."""
    folder, out = Path(options["folder"]), []
    cases = [("4.4", "exam-4.4", "paper-4.4"), ("2.2", "exam-2.2", "paper-2.2"), ("1.1", "exam", "paper")]
    if options["quick"]:
        cases = [("4.4", "exam", "paper")]
    for voxel, exam, model in cases:
        command = analyze_command(folder / exam, folder / "size", folder / f"{model}.json", "--no-scene")
        runs = [process(command) for _ in range(2)]
        result = json.loads((folder / "size" / "result.json").read_text())
        voxels = math.prod(map(int, result["input"]["grid"]["size"]))
        seconds, peak = min(r[0] for r in runs), None if runs[0][1] is None else max(r[1] for r in runs)
        stages = result["timings_s"]
        note = f"{voxels / 1e6:.2f} million voxels a phase; "
        note += f"preprocessing {stages['preprocess']:.2f} s, network {stages['network']:.2f} s"
        name = f"Analyze, exam and model at {voxel} mm"
        out.append(row(name, seconds, n=2, peak_mb=peak, voxels=voxels, note=note))
    return out


def start(options: Options) -> Rows:
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
    out = [row("child process to its first progress line", statistics.median(seconds), n=repeats)]
    try:
        text = process(["scripts/measure_import.py"], environment={"QT_QPA_PLATFORM": "offscreen"})[2]
    except RuntimeError as error:
        text = str(error)
    measured = re.search(r"adds (\d+) ms.*?\(median of (\d+), limit (\d+)\)", text)
    name = "import of the module"
    if measured is None:
        note = "PySide6 is not installed, or the import is over its limit"
        return [*out, row(name, None, n=0, note=note)]
    milliseconds, count, limit = map(int, measured.groups())
    goal = {"goal": f"at most {limit} ms of processor time", "met": milliseconds <= limit}
    return [*out, row(name, milliseconds / 1000, n=count, **goal, note="on the stand-ins")]


def processes(options: Options) -> Rows:
    """Training with one and two processes (gloo), one thread each, on the cohort of ``training``."""
    folder, out, rates = Path(options["folder"]), [], []
    name = "smoke" if options["quick"] else "small_cpu"
    recipe = [name, "--cache", str(folder / "cache"), "--precision", "no"]
    if not options["quick"]:
        recipe += ["--cohort", "simulated:smoke", "--epochs", "4", "--batch", "8"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *_paths()])}
    for count in (1, 2):
        run = folder / f"run-{count}"
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        process([*command, "training/train.py", *recipe, "--output", str(run)], environment=environment)
        with open(run / "metrics.csv", newline="") as stream:
            rates.append(max(float(line["exams_per_s"]) for line in csv.DictReader(stream)))
    for count, rate in zip((1, 2), rates):
        title = f"training {name}, {count} gloo process{'es' * (count > 1)}, per exam"
        note = f"{rate:.1f} exams/s" + (f", {rate / rates[0]:.2f} times one process" if count > 1 else "")
        out.append(row(title, 1 / rate, n=1, exams_per_s=rate, note=note))
    out[-1] |= rounded({"scaling": rates[1] / rates[0]})
    return out


def _paths() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


TOPICS = {"analyze": analyze, "start": start, "sizes": sizes, "processes": processes}
