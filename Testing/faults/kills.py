"""``python -m Testing.faults.kills --count 200 --output faults.json``: analyses killed, starved of disk,
robbed of their folder.

Each trial begins with an output folder that holds the whole results of one exam and a file of the user, and
lets another exam be analysed into it. Whatever happens, the folder must then hold the old results or the new,
whole, and the user's file. ``lost`` counts the trials after which it does not. One trial in five runs the
command as a user does; the others are forked from a process that has the libraries loaded (``forks.py``), so
that more kills strike the work itself.

Then come the kills of training (``training_kills.py``) and of the module's child process
(``module_kills.py``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from .bases import CHECKOUT, TESTS, prepare
from .forks import Forked, session_alive

# and the outline, where the result says so
FILES = {"scene.mrb", "heatmap.nrrd", "result.json", "report.html", "overlay.png"}
NOTE = "the user's own file"
FRESH = 0.2  # share of the trials that start the command anew
TOO_LATE = "ended before the kill"  # judged like the others, but no kill
AGAIN = 0.15  # share of the kills after which the analysis is run once more, to its end


class Ground:
    """Exams, bundle, and one undisturbed run of each exam: the old results, and the measure of time."""

    def __init__(self, folder: Path, bases: Path):
        self.folder, self.model = folder, bases / "bundle" / "small.json"
        command = [sys.executable, "-m", "Testing.faults.kills", "--make-exams", str(folder)]
        subprocess.run(command, cwd=CHECKOUT, check=True)
        self.old = folder / "old"
        self._whole_run("a", self.old)
        self.seconds = {}  # how long one run takes: of the command (True), of one forked (False)
        begin = time.monotonic()
        self.new_id = self._whole_run("b", folder / "new")
        self.seconds[True] = time.monotonic() - begin
        shutil.rmtree(folder / "new")
        load_libraries()
        begin = time.monotonic()
        process = self.start(folder / "new", folder / "scratch", fresh=False)
        if process.run():
            raise RuntimeError(process.errors)
        self.seconds[False] = time.monotonic() - begin
        shutil.rmtree(folder / "new")
        (self.old / "notes.txt").write_text(NOTE)
        self.fingerprint = fingerprint(self.old)

    def _whole_run(self, exam: str, out: Path) -> str:
        options = {
            "cwd": CHECKOUT,
            "env": environment(),
            "capture_output": True,
            "text": True,
            "timeout": 600,
        }
        done = subprocess.run(self.command(exam, out), **options)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads((out / "result.json").read_text())["exam_id"]

    def command(self, exam: str, out: Path) -> list[str]:
        model = ["--model", str(self.model), "--device", "cpu", "--progress", "json", "--overwrite"]
        command = [sys.executable, "-m", "BreastCMSLLib", "analyze", str(self.folder / exam)]
        return [*command, "--output", str(out), *model]

    def start(
        self,
        out: Path,
        scratch: Path,
        *,
        fresh: bool,
        under_a_parent: bool = False,
        file_limit: int | None = None,
    ) -> Forked:
        """Analyse the new exam into ``out``, as a process that can be killed.

        Parameters
        ----------
        fresh
            The command itself, instead of a fork that has the libraries.
        file_limit
            Bytes that no file may exceed.
        """
        command = self.command("b", out)

        def work() -> int:
            os.chdir(CHECKOUT)
            os.environ.update(environment(), PYTHONDONTWRITEBYTECODE="1")
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            if fresh:
                os.execv(command[0], command)
            from BreastCMSLLib import cli

            return cli.main(command[3:])

        return Forked(work, scratch, under_a_parent=under_a_parent)

    def output(self, name: str) -> Path:
        out = self.folder / name / "out"
        shutil.copytree(self.old, out)
        return out

    def state(self, out: Path) -> str:
        """ "old", "new", or what is wrong."""
        if fingerprint(out) == self.fingerprint:
            return "old"
        return new_or_wrong(out, self.new_id)


def load_libraries() -> None:
    """What an analysis loads first; nothing is started, so that the process can still be forked."""
    sys.path.insert(0, str(CHECKOUT))
    import numpy  # noqa: F401
    import pydicom  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import SimpleITK  # noqa: F401
    import slicer.util  # noqa: F401
    import torch

    import BreastCMSLLib.models.bundle  # noqa: F401

    torch.set_num_threads(1)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen"}


def fingerprint(folder: Path) -> dict[str, str]:
    """Names and SHA-256 of what a user sees in a folder: a killed process's hidden files do not count."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.iterdir())
        if not p.name.startswith(".")
    }


def new_or_wrong(out: Path, exam_id: str) -> str:
    """ "new" when the folder holds the exam's whole results and the user's file, else what is wrong."""
    wrong = not_whole(out, exam_id, {"notes.txt"})
    if not wrong and (out / "notes.txt").read_text() != NOTE:
        return "the user's file has changed"
    return wrong or "new"


def not_whole(out: Path, exam_id: str, further: set[str]) -> str:
    """Why a folder is not an exam's whole results and the ``further`` files alone; "" when it is."""
    names = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    try:
        result = json.loads((out / "result.json").read_text())
        outline = {result["outline"]["file"]} if result["outline"] else set()
        if names != FILES | outline | further:
            return f"holds {sorted(names)}"
        from BreastCMSLLib.readers.headers import check_file

        for name in {"heatmap.nrrd"} | outline:
            check_file(out / name)
        with zipfile.ZipFile(out / "scene.mrb") as archive:
            whole = archive.testzip() is None
            scene = archive.read(next(n for n in archive.namelist() if n.endswith(".mrml"))).decode()
    except Exception as error:
        return f"holds {sorted(names)}, {type(error).__name__}: {error}"
    belongs = [result["exam_id"], (out / "report.html").read_text(), scene]
    if (
        not whole
        or not all(exam_id in text for text in belongs)
        or (out / "overlay.png").read_bytes()[-8:-4] != b"IEND"
    ):
        return "results of two exams, or not whole"
    return ""


def make_exams(folder: Path) -> None:
    """Two small exams of three phases as NRRD."""
    sys.path.insert(0, str(TESTS))
    from builders import small_exam, write_volumes

    for seed, name in enumerate("ab"):
        write_volumes(folder / name, small_exam(seed=seed).phases, "phase {}.nrrd")


# ---------------------------------------------------------------- trials


def kill_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """Kill -9 of the analysis, or of its parent, at a random moment; two in three while it writes.

    After some, the analysis is run again: it must end with new results and leave nothing else.
    """
    out = ground.output(f"kill-{number}")
    parent_dies, late, fresh = rng.random() < 0.3, rng.random() < 0.67, rng.random() < FRESH
    seconds = ground.seconds[fresh]
    process = ground.start(out, out.parent / "scratch", fresh=fresh, under_a_parent=parent_dies)
    if late:
        wanted = rng.choice(["map", "scene", "save", "save"])
        for line in process.output:
            with suppress(ValueError):
                if json.loads(line).get("stage") == wanted:
                    break
        time.sleep(rng.choice([0.0, rng.random() * 0.02, rng.random() * 0.2 * seconds]))
    else:
        time.sleep(rng.random() * seconds)
    process.kill(whole_session=not parent_dies)
    # the child of a killed parent goes on, or ends because nobody reads its progress
    struck = process.wait(20 * seconds + 60) == -signal.SIGKILL
    kind = (
        TOO_LATE
        if not struck
        else f"{'parent' if parent_dies else 'child'}{' while writing' if late else ''}"
    )
    state = "still running" if session_alive(process.pid) else ground.state(out)
    if (
        state in ("old", "new") and rng.random() < AGAIN
    ):  # the next run finds its way and clears what was left
        again = ground.start(out, out.parent / "scratch", fresh=False)
        after = _with_status(ground, out, again, (0,))
        state = state if after == "new" else f"{state}, and the next run: {after}"
    return kind, state


def starved_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """No file may grow beyond a limit: the writes fail as on a full disk, each time somewhere else."""
    out = ground.output(f"starved-{number}")
    limit = int(10 ** rng.uniform(2, 5.5))
    process = ground.start(
        out, ground.folder / f"scratch-{number}", fresh=rng.random() < FRESH, file_limit=limit
    )
    return "file size limit", _with_status(ground, out, process, (0, 2))


def _with_status(ground: Ground, out: Path, process: Forked, allowed) -> str:
    status = process.run()
    state, errors = ground.state(out), process.errors
    if status not in allowed or "Traceback" in errors:
        return f"exit {status}: {errors[-300:]}"
    if state == "new" and status:
        return "new results, but reported as failed"
    if state == "old" and not status:
        return "old results, but reported as done"
    left = [p.name for p in [*out.iterdir(), *out.parent.iterdir()] if p.name.startswith(".")]
    return f"left {left}" if left else state


def full_disk_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str] | None:
    """A disk nearly full, or one that may only be read. None where disks cannot be mounted."""
    place = ground.folder / f"disk-{number}"
    place.mkdir()
    old_bytes = sum(p.stat().st_size for p in ground.old.iterdir())
    size = old_bytes + 65536 + int(rng.random() * 1.5 * old_bytes)
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True
        ).returncode
    ):
        place.rmdir()
        return None
    try:
        out = place / "out"
        shutil.copytree(ground.old, out)
        read_only = rng.random() < 0.3
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True, capture_output=True)
        process = ground.start(out, ground.folder / f"scratch-{number}", fresh=rng.random() < FRESH)
        state = _with_status(ground, out, process, (2,) if read_only else (0, 2))
        return ("read-only disk" if read_only else "full disk"), state
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True)


def vanishing_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """The share goes away in the middle: the folder above the output is renamed at a random moment."""
    out = ground.output(f"share-{number}")
    gone = out.parent.with_name(out.parent.name + "-gone")
    fresh = rng.random() < FRESH
    process = ground.start(out, ground.folder / f"scratch-{number}", fresh=fresh)
    time.sleep(rng.random() * 1.1 * ground.seconds[fresh])
    os.rename(out.parent, gone)
    status = process.run()
    errors = process.errors
    if status not in (0, 2) or "Traceback" in errors:
        return "vanishing folder", f"exit {status}: {errors[-300:]}"
    states = {ground.state(gone / "out")}
    if out.exists():  # it was made again: then by whole results and nothing else
        wrong = not_whole(out, ground.new_id, set())
        states.add(f"made again: {wrong}" if wrong else "new")
    return "vanishing folder", next((s for s in states if s not in ("old", "new")), sorted(states)[0])


def campaign(count: int, seed: int, bases: Path, folder: Path, further: tuple[int, int] = (0, 0)) -> dict:
    """The trials: ``count`` kills, and a tenth as many of each other kind.

    Parameters
    ----------
    further
        Kills of training, and of the module's child process.

    Returns
    -------
    dict
        "kills", "lost", and "kill_campaign" with the details.
    """
    ground = Ground(folder, bases)
    kinds: dict[str, Counter] = {}
    lost: list[str] = []
    others = [starved_trial, full_disk_trial, vanishing_trial] * max(1, count // 10)
    kills = number = 0
    start = time.monotonic()
    while kills < count or others:
        trial = kill_trial if kills < count else others.pop()
        number += 1
        done = trial(ground, number, random.Random(seed * 1_000_003 + number))
        if done is None:
            continue
        kind, state = done
        kills += trial is kill_trial and kind != TOO_LATE
        kinds.setdefault(kind, Counter())[state if state in ("old", "new") else "lost"] += 1
        if state not in ("old", "new"):
            lost.append(f"{kind} (trial {number}): {state}")
            print(lost[-1], file=sys.stderr, flush=True)
        for leftover in ground.folder.glob(f"*-{number}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if number % 20 == 0:
            print(
                f"{number} trials, {kills} kills, {len(lost)} lost, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    details = {}
    for name, amount, options in zip(("training", "module"), further, ([], ["--model", str(ground.model)])):
        if amount:
            report = details[name] = _elsewhere(f"Testing.faults.{name}_kills", amount, seed, options)
            kills += report["kills"]
            lost += report["failures"]
    return {
        "kills": kills,
        "lost": len(lost),
        "kill_campaign": {
            "trials": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
            **details,
            "one_run_s": {"fresh": round(ground.seconds[True], 2), "forked": round(ground.seconds[False], 2)},
            "seconds": round(time.monotonic() - start, 1),
            "seed": seed,
            "failures": lost,
        },
    }


def _elsewhere(module: str, count: int, seed: int, options: list[str]) -> dict:
    """A part of the campaign in a process of its own, which prints its report last."""
    command = [sys.executable, "-m", module, "--count", str(count), "--seed", str(seed), *options]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"kills": 0, "failures": [f"{module} ended with {done.returncode}: {done.stderr[-500:]}"]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills; a tenth as many of each other trial")
    parser.add_argument("--training", type=int, default=24, help="kills of training, besides")
    parser.add_argument("--module", type=int, default=24, help="kills of the module's child process, besides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("faults.json"), help="the counts are added to this file"
    )
    parser.add_argument(
        "--bases", type=Path, help="the undamaged inputs of Testing.faults, to use them again"
    )
    parser.add_argument("--make-exams", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.make_exams:
        make_exams(options.make_exams)
        return 0
    with tempfile.TemporaryDirectory(prefix="breastcmsl-kills-") as temporary:
        bases = prepare(options.bases or Path(temporary, "bases"))
        report = campaign(
            options.count, options.seed, bases, Path(temporary, "ground"), (options.training, options.module)
        )
    whole = json.loads(options.output.read_text()) if options.output.exists() else {}
    options.output.write_text(json.dumps({**whole, **report}, indent=1) + "\n")
    print(json.dumps({key: report["kill_campaign"].get(key) for key in ("trials", "training", "module")}))
    return 1 if report["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
