"""``python -m Testing.batch_kills --output batch_kills.json``: 1,000 small exams in a batch, killed ten
times.

Is anything lost, read twice, or in a wrong folder? The exams are copies of twelve, and 20 folders hold none.
Now the batch is killed (SIGKILL), now a worker of it, now both. After each kill the results that are in their
place are remembered: their files must be the same ones in the end. Every heatmap must be that of a single
analysis of the exam it is a copy of, every ``result.json`` that of its own folder, and the table must have a
row an exam.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
DISTINCT = 12
REFUSED = 20
_LOOK_S = 0.2


def make_exams(folder: Path, count: int) -> dict[str, int]:
    """Folders of exams, linked copies of ``DISTINCT`` ones, and ``REFUSED`` that hold none: name → which."""
    sys.path.insert(0, str(CHECKOUT / "Testing" / "Python"))
    from builders import small_exam, write_volumes

    masters = [write_volumes(folder / "masters" / f"{n}", small_exam(seed=n).phases) for n in range(DISTINCT)]
    names = {f"exam {n:05d}": n % DISTINCT for n in range(count)}
    for name, which in names.items():
        place = folder / "exams" / name
        place.mkdir(parents=True)
        for file in masters[which]:
            os.link(file, place / file.name)
    for n in range(REFUSED):
        (folder / "exams" / f"none {n}").mkdir()
    return names


def command(folder: Path, model: Path, workers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "BreastCMSLLib", "batch", str(folder / "exams")),
        *("--output", str(folder / "out"), "--model", str(model), "--device", "cpu", "--no-scene"),
        *("--progress", "none", "--workers", str(workers), "--threads", "1"),
    ]


def finished(out: Path) -> dict[str, int]:
    """Exam → the time of its ``result.json``, of those that have one."""
    stamps = {}
    for place in (out / "exams").glob("*"):
        with suppress(OSError):
            stamps[place.name] = (place / "result.json").stat().st_mtime_ns
    return stamps


def killed_runs(call: list[str], out: Path, total: int, kills: int, rng: random.Random) -> tuple[dict, int]:
    """Runs that are killed when so many exams are finished: the stamps then, and the kills of workers."""
    stamps, of_workers = {}, 0
    for number, limit in enumerate(sorted(rng.sample(range(1, total), kills))):
        with subprocess.Popen(call, cwd=CHECKOUT, stdout=subprocess.DEVNULL) as process:
            while len(finished(out)) < limit and process.poll() is None:
                time.sleep(_LOOK_S)
            time.sleep(rng.random())
            if number % 3:
                for pid in workers_of(process.pid)[: number % 3]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        of_workers += 1
            if number % 3 != 1:
                process.kill()
            else:  # the batch has to go on without its worker for a while
                time.sleep(3)
                process.kill()
        stamps.update({name: stamp for name, stamp in finished(out).items() if name not in stamps})
    return stamps, of_workers


def workers_of(pid: int) -> list[int]:
    """The child processes of a process, on Linux."""
    with suppress(OSError):
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    return []


def judged(folder: Path, names: dict[str, int], model: Path, stamps: dict[str, int]) -> dict:
    """What is wrong in the end: exams lost, read twice, in a wrong place; rows missing; files left behind."""
    from BreastCMSLLib import cli, readers

    expected = {}
    for which in range(DISTINCT):
        single = folder / "single" / str(which)
        exam = str(folder / "masters" / str(which))
        options = ["--model", str(model), "--device", "cpu", "--no-scene", "--progress", "none"]
        with redirect_stdout(io.StringIO()):
            status = cli.main(["analyze", exam, "--output", str(single), *options])
        if status:
            raise RuntimeError(f"the single analysis of {exam} failed")
        expected[which] = digest(single / "heatmap.nrrd")
    now, wrong = finished(folder / "out"), []
    for name, which in names.items():
        place = folder / "out" / "exams" / name
        if name in now:
            result = json.loads((place / "result.json").read_text(encoding="utf-8"))
            own = readers.read(folder / "exams" / name).exam_id == result["exam_id"]
            if not own or digest(place / "heatmap.nrrd") != expected[which]:
                wrong.append(name)
    with open(folder / "out" / "results.csv", encoding="utf-8", newline="") as file:
        statuses = {row["exam"]: row["status"] for row in csv.DictReader(file)}
    right = {**dict.fromkeys(names, "done"), **{f"none {n}": "refused" for n in range(REFUSED)}}
    return {
        "lost": sorted(set(names) - set(now)),
        "read_twice": sorted(name for name, stamp in stamps.items() if now.get(name) != stamp),
        "wrong": wrong,
        "rows_wrong": sorted(name for name, status in right.items() if statuses.get(name) != status),
        "left_behind": sorted(p.name for p in (folder / "out" / "exams").iterdir() if p.name not in names),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def campaign(count: int, kills: int, workers: int, seed: int, folder: Path) -> dict:
    """The whole of it; ``flawless`` where nothing is wrong."""
    from Testing.soak import small_model

    names, model = make_exams(folder, count), small_model(folder)
    call, begin = command(folder, model, workers), time.monotonic()
    stamps, of_workers = killed_runs(call, folder / "out", count, kills, random.Random(seed))
    before, start = len(finished(folder / "out")), time.monotonic()
    status = subprocess.run(call, cwd=CHECKOUT, stdout=subprocess.DEVNULL).returncode
    end = time.monotonic()
    report = judged(folder, names, model, stamps)
    rate = 60 * (count - before) / (end - start)
    return {
        "exams": count,
        "kills": kills,
        "kills_of_workers": of_workers,
        "workers": workers,
        "seed": seed,
        "status": status,
        "flawless": status == 0 and not any(report.values()),
        **report,
        "seconds": round(end - begin, 1),
        "exams_per_minute_of_the_last_run": round(rate, 1),
        # of the largest process; of those that were killed too
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the report")
    parser.add_argument("--count", type=int, default=1000, help="exams")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="breastcmsl-batch-") as folder:
        place = Path(folder)
        report = campaign(options.count, options.kills, options.workers, options.seed, place)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0 if report["flawless"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
