"""What is measured as processes of their own: Analyze from files to saved results, starting up, training over processes.

Imports nothing heavy: see ``measure.process``.
"""

from __future__ import annotations

import csv
import json
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
    "read": "unpacking, as the files are compressed; PyTorch and the model are loaded on the other core meanwhile",
    "model": "what is left of PyTorch's import and of the check of half precision once the exam is read",
    "preprocess": "mask and resampling pass over every voxel of every phase, each once",
    "network": "arithmetic near the floor of the processor's matrix products (see the rows of the network)",
}


def _ours(exam: Path, output: Path, model: Path | None, *more: str) -> list[str]:
    files = sorted(exam.glob("dynamic_*.nrrd"))
    given = [*map(str, files), "--t1", str(exam / "t1.nrrd")] if files else [str(exam)]
    chosen = [] if model is None else ["--model", str(model)]
    return ["-m", "BreastCMSLLib", "analyze", *given, "--output", str(output), *chosen, "--device", "cpu", "--progress", "none", *more]


def _theirs(exam: Path, output: Path, quick: bool) -> list[str]:
    size = ["--spacing", "4.4", "--size", "32", "55", "85", "--width", "4"] if quick else []
    return ["-m", "Testing.benchmark.baseline", str(exam), str(output), *size]


def analyze(options: Options) -> Rows:
    """Analyze and the usual stack on the same exam, in turn, whole processes; what each stage of ours takes."""
    folder, quick = Path(options["folder"]), options["quick"]
    out = _against("Analyze, NRRD", folder / "exam", options, repeats=1 if quick else 3)
    if find_spec("slicer") is not None and not quick:
        seconds, peak, _ = process(_ours(folder / "exam", folder / "scene", folder / "paper.json"))
        out.append(row("Analyze with scene, report and pictures", seconds, n=1, peak_mb=peak, note="as the command line does by default"))
    if options.get("duke"):
        out += _against("Analyze, DICOM (Duke)", Path(options["duke"]), options, repeats=1 if quick else 2, baselines=1)
    return out


def _against(name: str, exam: Path, options: Options, repeats: int, baselines: int = 3) -> Rows:
    """Ours and the baseline in turn; the baseline, which takes longest, at most so many times."""
    folder, quick = Path(options["folder"]), options["quick"]
    compared = find_spec("monai") is not None and find_spec("skimage") is not None
    ours, theirs, peaks, stages = [], [], ([], []), []
    for number in range(repeats + (not quick)):  # the first of each only brings the files into the system's cache
        seconds, peak, _ = process(_ours(exam, folder / "ours", folder / "paper.json", "--no-scene"))
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
        more |= {"goal": f"5 times as fast, peak at most {PEAK_MB} MB", "met": baseline / middle >= 5 and (peak or 0) <= PEAK_MB}
    note = "whole processes, files to saved heatmap and result" + ("" if compared else "; MONAI or scikit-image is not installed")
    rows = [row(name, middle, baseline, **more, note=note)]
    known = {stage: statistics.median(s[stage] for s in stages) for stage in stages[0] if stage != "total"}
    known = {"start": max(0.0, middle - sum(known.values())), **known}
    for stage, seconds in known.items():
        share = seconds / middle
        reason = REASONS.get(stage, "") if share > SHARE else ""
        entry = {"share": share, "goal": None if quick else "at most 20 % of the whole, or a reason", "note": f"{100 * share:.0f} %"}
        entry["met"] = None if quick else share <= SHARE or bool(reason)
        if reason:
            entry["note"] += f"; {reason}"
        rows.append(row(f"{name}: {stage}", seconds, n=len(ours), **entry))
    return rows


def sizes(options: Options) -> Rows:
    """Time and memory of Analyze against the size of the input, full-width network."""
    folder, out = Path(options["folder"]), []
    cases = [("4.4", "exam", "paper")] if options["quick"] else [("4.4", "exam-4.4", "paper-4.4"), ("2.2", "exam-2.2", "paper-2.2")]
    if not options["quick"]:
        cases.append(("1.1", "exam", "paper"))
    for voxel, exam, model in cases:
        runs = [process(_ours(folder / exam, folder / "size", folder / f"{model}.json", "--no-scene")) for _ in range(2)]
        result = json.loads((folder / "size" / "result.json").read_text())
        voxels = int(_product(result["input"]["grid"]["size"]))
        seconds, peak = min(r[0] for r in runs), None if runs[0][1] is None else max(r[1] for r in runs)
        stages = {k: v for k, v in result["timings_s"].items() if k in ("preprocess", "network")}
        note = f"{voxels / 1e6:.2f} million voxels a phase; preprocessing {stages['preprocess']:.2f} s, network {stages['network']:.2f} s"
        out.append(row(f"Analyze, exam and model at {voxel} mm", seconds, n=2, peak_mb=peak, voxels=voxels, note=note))
    return out


def _product(numbers) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


def start(options: Options) -> Rows:
    """From starting the child process to its first line of progress; what the module adds to Slicer's start."""
    folder, repeats, seconds = Path(options["folder"]), 2 if options["quick"] else 5, []
    command = _ours(folder / "exam", folder / "start", folder / "paper.json", "--no-scene")
    command[command.index("none")] = "json"
    for _ in range(repeats):
        begun = time.perf_counter()
        child = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
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
    told = re.search(r"adds (\d+) ms.*?\(median of (\d+), limit (\d+)\)", text)
    if told is None:
        return [*out, row("import of the module", None, n=0, note="PySide6 is not installed, or the import is over its limit")]
    milliseconds, count, limit = map(int, told.groups())
    goal = f"at most {limit} ms of processor time"
    return [*out, row("import of the module", milliseconds / 1000, n=count, goal=goal, met=milliseconds <= limit, note="on the stand-ins")]


def processes(options: Options) -> Rows:
    """Training's own speed with one and two processes (gloo), one thread each, on the cohort that ``training`` prepared."""
    folder, out, rates = Path(options["folder"]), [], []
    for count in (1, 2):
        run = folder / f"run-{count}"
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "training/train.py"]
        recipe = ["smoke"] if options["quick"] else ["small_cpu", "--cohort", "simulated:smoke", "--epochs", "4", "--batch", "8"]
        more = ["--output", str(run), "--cache", str(folder / "cache"), "--precision", "no"]
        process([*command, *recipe, *more], environment={"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *_paths()])})
        with open(run / "metrics.csv", newline="") as stream:
            speeds = [float(line["exams_per_s"]) for line in csv.DictReader(stream)]
        rates.append(max(speeds))
    name = "smoke" if options["quick"] else "small_cpu"
    for count, rate in zip((1, 2), rates):
        note = f"{rate:.1f} exams/s" + (f", {rate / rates[0]:.2f} times one process" if count > 1 else "")
        out.append(row(f"training {name}, {count} gloo process{'es' * (count > 1)}, per exam", 1 / rate, n=1, exams_per_s=rate, note=note))
    out[-1] |= rounded({"scaling": rates[1] / rates[0]})
    return out


def _paths() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


TOPICS = {"analyze": analyze, "start": start, "sizes": sizes, "processes": processes}
