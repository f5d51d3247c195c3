"""``python -m Testing.soak --output soak.json``: 500 analyses in one process and 100 through the module; does
anything grow?

Each analysis is whole: reading, mask, network, map, scene, pictures, report, files. Exams and model are
small, because what leaks does so by the analysis, not by the voxel. Counted after each tenth analysis:
memory, open files, threads, child processes, entries of the temporary folder, MRML nodes, Python objects.
Through the module means the panel on the Qt stand-ins of ``Testing/standins`` with a child process for each
analysis: every fifth is the real one, the others ``self_test_child.py``.

Flat means: of files, threads, children, temporary entries and nodes the least in the last third is not above
the most in the first third after the 20th analysis, and memory grows by less than ``MAX_MB`` an analysis
(slope of a straight line through the samples).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
WARM = 20  # analyses after which libraries have loaded and pools have filled
EVERY = 10
MAX_MB = 0.1  # an analysis: a day of 1000 exams would not fill 100 MB
COUNTED = ("files", "threads", "children", "temporary", "nodes")
REAL_EVERY = 5


def sample(done: int, temporary: Path) -> dict:
    """What this process holds after so many analyses."""
    gc.collect()
    slicer = sys.modules.get("slicer")
    scene = getattr(slicer, "mrmlScene", None)
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return {
        "after": done,
        "rss_mb": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
        "children": len(children()),
        "temporary": sum(1 for _ in temporary.rglob("*")),
        "nodes": 0 if scene is None else scene.GetNumberOfNodes(),
        "objects": len(gc.get_objects()),
    }


def children() -> list[int]:
    """Processes that this one has started and that are still there, ended ones that nobody collected too."""
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                pids.append(int(entry))
    return pids


def judged(samples: list[dict], seconds: float) -> dict:
    """Judge the samples from ``WARM`` on.

    Returns
    -------
    dict
        Samples at the start, after ``WARM`` and at the end; slope of memory between the latter; what grew.
    """
    import numpy as np

    later = [s for s in samples if s["after"] >= min(WARM, samples[-1]["after"] // 2)]
    slope = (
        float(np.polyfit([s["after"] for s in later], [s["rss_mb"] for s in later], 1)[0])
        if len(later) > 2
        else float("nan")
    )
    # what is there depends on the last exam (a suspicious one has more nodes): the least at the end against
    # the most at the start
    third = max(1, len(later) // 3)
    grown = [
        name for name in COUNTED if min(s[name] for s in later[-third:]) > max(s[name] for s in later[:third])
    ]
    if not slope < MAX_MB:
        grown.insert(0, "rss_mb")
    return {
        "analyses": samples[-1]["after"],
        "start": samples[0],
        "warm": later[0],
        "end": samples[-1],
        "mb_per_analysis": round(slope, 4),
        "limit_mb_per_analysis": MAX_MB,
        "grown": grown,
        "flat": not grown,
        "seconds": round(seconds, 1),
        "samples": samples,
    }


def in_one_process(count: int, folder: Path, temporary: Path) -> dict:
    """``count`` runs of the command line's own ``main``, of two exams in turn into one output folder."""
    from BreastCMSLLib import cli
    from Testing.faults import kills

    kills.make_exams(folder / "exams")
    model = small_model(folder)
    common = ["--output", str(folder / "out"), "--overwrite", "--model", str(model), "--device", "cpu"]
    samples, begin = [sample(0, temporary)], time.monotonic()
    for number in range(1, count + 1):
        exam = str(folder / "exams" / "ab"[number % 2])
        status = cli.main(["analyze", exam, *common, "--progress", "none"])
        if status:
            raise RuntimeError(f"analysis {number} ended with {status}")
        if number % EVERY == 0 or number == count:
            samples.append(sample(number, temporary))
            say("in one process", samples[-1], begin)
    return judged(samples, time.monotonic() - begin)


def through_the_module(count: int, folder: Path, temporary: Path) -> dict:
    """``count`` analyses of the panel: two exams in turn, again and again; results removed now and then."""
    from Testing.faults.module_kills import Ground

    ground = Ground(small_model(folder))
    panel = ground.panel
    samples, begin = [sample(0, temporary)], time.monotonic()
    for number in range(1, count + 1):
        if number % REAL_EVERY == 0:
            ground.real(wait=True)
        else:
            panel.analyze(["ok", "benign", "ok"][number % 3])
            if panel.logic.lastFailure.stage or panel.logic._run.outcome.error:
                raise RuntimeError(f"analysis {number}: {panel.ui.statusLabel.text}")
        if number % 7 == 0:
            panel.logic.removeResults(panel.logic._run.outcome.result["exam_id"])
            panel.settle()
            panel.analyze("benign") if number % REAL_EVERY else ground.real(wait=True)
        if number % EVERY == 0 or number == count:
            panel.settle()
            samples.append(sample(number, temporary))
            say("through the module", samples[-1], begin)
    report = judged(samples, time.monotonic() - begin)
    panel.close()
    return {**report, "real": count // REAL_EVERY}


PARTS = {"in_one_process": in_one_process, "through_the_module": through_the_module}


def small_model(folder: Path) -> Path:
    from Testing.faults.bases import make_bundle

    if not (folder / "bundle" / "small.json").exists():
        make_bundle(folder / "bundle")
    return folder / "bundle" / "small.json"


def say(part: str, counts: dict, begin: float) -> None:
    print(f"{part}: {json.dumps(counts)} {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def run(part: str, count: int) -> dict:
    """One part in a process and a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix="breastcmsl-soak-") as place:
        report, temporary = Path(place, "report.json"), Path(place, "tmp")
        temporary.mkdir()
        environment = {
            **os.environ,
            "TMPDIR": str(temporary),
            "QT_QPA_PLATFORM": "offscreen",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        command = [
            sys.executable,
            "-m",
            "Testing.soak",
            "--part",
            part,
            "--count",
            str(count),
            "--output",
            str(report),
        ]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL
        )  # each analysis prints its result
        if done.returncode:
            return {"analyses": 0, "flat": False, "grown": [f"it ended with {done.returncode}"]}
        # PyTorch keeps one cache folder for each user, whoever loads it
        left = [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor_")]
        part_report = json.loads(report.read_text())
        return {**part_report, "left_after_the_end": left, "flat": part_report["flat"] and not left}


def main(arguments: list[str] | None = None) -> int:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m Testing.soak", description=__doc__, formatter_class=layout
    )
    parser.add_argument("--analyses", type=int, default=500, help="in one process")
    parser.add_argument("--module", type=int, default=100, help="analyses through the module")
    parser.add_argument("--output", type=Path, default=Path("soak.json"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        sys.path.insert(0, str(CHECKOUT))
        temporary = Path(tempfile.gettempdir())
        with tempfile.TemporaryDirectory(prefix="soak-exams-", dir=options.output.parent) as folder:
            report = PARTS[options.part](options.count, Path(folder), temporary)
        options.output.write_text(json.dumps(report))
        return 0
    whole = {
        part: run(part, count) for part, count in zip(PARTS, (options.analyses, options.module)) if count
    }
    options.output.write_text(json.dumps(whole, indent=1) + "\n")
    for part, part_report in whole.items():
        print(
            f"{part}: {part_report['analyses']} analyses, {part_report.get('mb_per_analysis')} MB each, "
            f"grown: {part_report['grown'] or 'nothing'}"
        )
    return 0 if all(part_report["flat"] for part_report in whole.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
