"""What people wait for: the whole command, the panel, a second exam, other exams than the usual, many exams.

As ``whole.py``: processes of their own, and nothing heavy is imported here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .measure import row, timed, worker
from .whole import NO_DUKE, Runs, analyze_command, stages_of

Options = dict[str, Any]
Row = dict[str, Any]

WHOLE = 1.25  # goal: times the bare analysis
NO_SCENE = "slicer-core is not installed, so there is no scene"


def beside(name: str, seconds: float | None, other: str, other_s: float | None, **more: Any) -> Row:
    """A row that is compared with another of this run."""
    times = {"beside": other, "times": seconds / other_s} if seconds and other_s else {}
    return row(name, seconds, **{**times, **more})


def command(options: Options) -> Iterator[Row]:
    """The whole command and the bare analysis in turn with the shipped model; that with the full-width one.

    On the Duke exam where it is at hand, else on the simulated one.
    """
    folder = Path(options["folder"])
    exam, kind = folder / "exam", "NRRD"
    if options.get("duke"):
        exam, kind = Path(options["duke"]), "DICOM (Duke)"
    elif not options["quick"]:
        yield row("whole command, DICOM (Duke)", None, n=0, note=NO_DUKE)
    scene = find_spec("slicer") is not None
    bare, full, whole = Runs(), Runs(), Runs()
    kinds = [(bare, None, ["--no-scene"]), (whole, None, []), (full, folder / "paper.json", ["--no-scene"])]
    end, round_s, output = time.monotonic() + options["seconds"], 0.0, folder / "command"
    while bare.n < (1 if options["quick"] else 2) and (not bare.n or time.monotonic() + round_s < end):
        begun = time.monotonic()
        for runs, model, more in kinds:
            if (scene or runs is not whole) and not (runs is full and full.n):
                arguments = analyze_command(exam, output, model, *more)
                runs.add(*timed(arguments, options)[:2], stages_of(output))
        round_s = time.monotonic() - begun
    name, peak = f"Analyze, {kind}, shipped model", {"n": bare.n, "peak_mb": bare.peak_mb}
    wide = "that with the full-width model"
    yield beside(name, bare.seconds, wide, full.seconds, **peak, note="--no-scene: heatmap and result alone")
    title = f"whole command, {kind}, shipped model"
    if not scene:
        yield row(title, None, n=0, note=NO_SCENE)
        return
    more: dict[str, Any] = {"n": whole.n, "peak_mb": whole.peak_mb}
    if options.get("duke"):
        times = whole.seconds / bare.seconds
        more |= {"goal": f"at most {WHOLE} times the bare analysis", "met": times <= WHOLE}
    note = "scene, report and pictures, as by default"
    yield beside(title, whole.seconds, "the bare analysis", bare.seconds, **more, note=note)
    stages, without = whole.stages, bare.stages
    for stage, seconds in stages.items():
        added = seconds - without.get(stage, 0.0)
        if stage not in without or added > 0.05 * whole.seconds:
            note = "not in the bare analysis" if stage not in without else f"{added:.2f} s more than bare"
            yield row(f"{title}: {stage}", seconds, n=whole.n, share=seconds / whole.seconds, note=note)


def panel(options: Options) -> Iterator[Row]:
    """From the click on Analyze to the results in the scene, beside the bare analysis of the same exam."""
    name, folder = "panel, first exam", Path(options["folder"])
    if find_spec("slicer") is None or find_spec("PySide6") is None:
        yield row(name, None, n=0, note="slicer-core or PySide6 is not installed")
        return
    arguments = analyze_command(folder / "exam", folder / "bare", None, "--no-scene")
    bare = timed(arguments, options)[0]
    for one in worker("through_panel", options):
        yield beside(
            one["name"], one["ours_s"], "the bare analysis", bare, n=1, peak_mb=None, note=one["note"]
        )


def register(options: Options) -> Iterator[Row]:
    """Analyze with the phases as they are, and registered; the slowest way where there is time."""
    folder, first, begun = Path(options["folder"]), None, time.monotonic()
    for mode in ("off", "rigid", "deformable"):
        if mode == "deformable" and 1.5 * (time.monotonic() - begun) > options["seconds"]:
            break
        output = folder / "registered"
        more = ["--no-scene", "--register", mode]
        seconds, peak, _ = timed(analyze_command(folder / "exam", output, None, *more), options)
        first, note = first or seconds, f"registering takes {stages_of(output).get('register', 0):.2f} s"
        other = {"other": "registration off", "other_s": first if mode != "off" else None}
        yield beside(f"Analyze, registration {mode}", seconds, **other, n=1, peak_mb=peak, note=note)


def large(options: Options) -> Iterator[Row]:
    """An exam of 448×448×160 voxels and seven phases."""
    yield from _of_another(options, "large", "Analyze, 448×448×160×7")


def long(options: Options) -> Iterator[Row]:
    """An exam of 260 mm from head to foot, of which the network reads more than its usual window."""
    yield from _of_another(options, "long", "Analyze, 260 mm head to foot")


def _of_another(options: Options, kind: str, name: str) -> Iterator[Row]:
    """Analyze with the shipped model of an exam that is made first, by the worker ``make_KIND``."""
    folder = Path(options["folder"])
    (made,) = worker(f"make_{kind}", options)
    arguments = analyze_command(folder / kind, folder / "another", None, "--no-scene")
    seconds, peak, _ = timed(arguments, options)
    longest = sorted(stages_of(folder / "another").items(), key=lambda one: -one[1])[:3]
    note = f"{made['note']}; shipped model; " + ", ".join(f"{stage} {s:.2f} s" for stage, s in longest)
    yield row(name, seconds, n=1, peak_mb=peak, note=note)


def batch(options: Options) -> Iterator[Row]:
    """Exams a minute of a batch, its start and its tables included."""
    folder = Path(options["folder"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(2 * cores, 8)
    lines = [f"exam-{number},{folder / 'exam'}" for number in range(count)]  # one exam by many names
    table = folder / "worklist.csv"
    table.write_text("\n".join(["exam,input", *lines]) + "\n", encoding="utf-8")
    arguments = ["-m", "BreastCMSLLib", "batch", str(table), "--output", str(folder / "batch")]
    arguments += ["--device", "cpu", "--no-scene", "--progress", "none"]
    seconds, _, text = timed(arguments, options)
    done = len(list((folder / "batch" / "exams").glob("*/result.json")))
    if done != count:
        raise RuntimeError(f"{done} of {count} exams were done: {text[-300:]}")
    note = f"{count} exams, --no-scene, shipped model, a process a core where memory allows"
    rate = 60 * count / seconds
    yield row("batch, per exam", seconds / count, n=count, exams_per_min=rate, note=note)


TOPICS = {
    "command": command,
    "panel": panel,
    "register": register,
    "large": large,
    "long": long,
    "batch": batch,
}
