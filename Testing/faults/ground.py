"""Where analyses are interrupted: exams, a model, an output folder that holds earlier results and the user's
file, and how to tell whether what is there afterwards is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from .bases import CHECKOUT, TESTS
from .forks import Forked

# and the outline, where the result says so
FILES = {"scene.mrb", "heatmap.nrrd", "result.json", "report.html", "report.pdf", "overlay.png"}
NOTE = "the user's own file"
FRESH = 0.2  # share of the trials that start the command anew


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
        self.ids = {"b": self._whole_run("b", folder / "new")}
        self.seconds[True] = time.monotonic() - begin
        shutil.rmtree(folder / "new")
        self.ids["c"] = self._whole_run("c", folder / "new")
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

    @property
    def new_id(self) -> str:
        """The exam that trials analyse, into the results of another."""
        return self.ids["b"]

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

    def command(self, exam: str, out: Path | str, progress: str = "json") -> list[str]:
        """The analysis of an exam of the ground as a command."""
        model = ["--model", str(self.model), "--device", "cpu", "--progress", progress, "--overwrite"]
        command = [sys.executable, "-m", "BreastCMSLLib", "analyze", str(self.folder / exam)]
        return [*command, "--output", str(out), *model]

    def start(
        self,
        out: Path,
        scratch: Path,
        *,
        fresh: bool,
        under_a_parent: bool = False,
        prepare: Callable[[], None] | None = None,
        exam: str = "b",
    ) -> Forked:
        """Analyse the new exam into ``out``, as a process that can be killed.

        Parameters
        ----------
        fresh
            The command itself, instead of a fork that has the libraries.
        prepare
            What the process does first.
        exam
            "b", or another.
        """
        command = self.command(exam, out)

        def work() -> int:
            os.chdir(CHECKOUT)
            os.environ.update(environment(), PYTHONDONTWRITEBYTECODE="1")
            if prepare is not None:
                prepare()
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
        if p.is_file() and not p.name.startswith(".")
    }


def new_or_wrong(out: Path, exam_id: str) -> str:
    """ "new" when the folder holds the exam's whole results and the user's file, else what is wrong."""
    wrong = not_whole(out, exam_id, {"notes.txt"})
    if not wrong and (out / "notes.txt").read_text() != NOTE:
        return "the user's file has changed"
    return wrong or "new"


def not_whole(out: Path, exam_id: str, further: set[str]) -> str:
    """Why a folder is not an exam's whole results and the ``further`` files alone; "" when it is."""
    names = {p.name for p in out.iterdir() if p.is_file() and not p.name.startswith(".")}
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
    """Three small exams of three phases as NRRD."""
    sys.path.insert(0, str(TESTS))
    from builders import small_exam, write_volumes

    for seed, name in enumerate("abc"):
        write_volumes(folder / name, small_exam(seed=seed).phases, "phase {}.nrrd")


def is_one_sentence(errors: str, status: int) -> bool:
    """Whether standard error is what it may be: nothing, or why there is no result in one line."""
    lines = [line for line in errors.splitlines() if line.strip()]
    if not lines:
        return status in (0, 1) or status < 0  # 1: nobody read the progress any more
    return len(lines) == 1 and lines[0].startswith("breastcmsl: ") and lines[0].endswith(".")


def with_status(ground: Ground, out: Path, process: Forked, allowed) -> str:
    status = process.run()
    state, errors = ground.state(out), process.errors
    if status not in allowed or not is_one_sentence(errors, status):
        return f"exit {status}: {errors[-300:]}"
    if state == "new" and status:
        return "new results, but reported as failed"
    if state == "old" and not status:
        return "old results, but reported as done"
    left = [p.name for p in [*out.iterdir(), *out.parent.iterdir()] if p.name.startswith(".")]
    return f"left {left}" if left else state
