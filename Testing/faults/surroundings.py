"""Analyses in surroundings that nobody thinks of: names, streams, memory, folders, and two at once.

Each is one small function that starts the command as a user does and says what the output folder is then:
"old", "new", or what is wrong.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .bases import CHECKOUT
from .ground import FILES, NOTE, Ground, environment, fingerprint, is_one_sentence, new_or_wrong

SURROUNDINGS: dict[str, Callable[[Ground, Path, random.Random], str | None]] = {}
_ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def surrounding(name: str) -> Callable:
    """Decorator: (ground, a folder of its own, random numbers) → state, or None where it cannot be tried."""

    def register(trial):
        SURROUNDINGS[name] = trial
        return trial

    return register


def surrounding_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str] | None:
    """One of the surroundings, in turn."""
    name = list(SURROUNDINGS)[number % len(SURROUNDINGS)]
    place = ground.folder / f"surrounding-{number}"
    place.mkdir()
    state = SURROUNDINGS[name](ground, place, rng)
    return None if state is None else (name, state)


def _earlier(ground: Ground, out: Path) -> Path:
    """An output folder that holds the earlier results."""
    shutil.copytree(ground.old, out)
    return out


def _run(command: list[str], place: Path, more: dict | None = None, **options) -> tuple[int, str]:
    """Exit status and standard error of the command, its temporary files in a folder of its own."""
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    environ = {**environment(), "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(scratch), **(more or {})}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    done = subprocess.run(command, env=environ, timeout=600, **{"cwd": CHECKOUT, **streams, **options})
    return done.returncode, (done.stderr or b"").decode("utf-8", "replace")


def _judged(ground: Ground, out: Path, status: int, errors: str, allowed: tuple[int, ...]) -> str:
    """The state of the output, if status and sentence agree with it."""
    if status not in allowed or not is_one_sentence(errors, status):
        return f"exit {status}: {errors[-300:]}"
    state = ground.state(out)
    if (state == "new") != (status == 0):
        return f"exit {status}, but the results are {state}"
    left = [p.name for p in [*out.iterdir(), *out.parent.iterdir()] if p.name.startswith(".")]
    return f"left {left}" if left else state


# ---------------------------------------------------------------- names


@surrounding("output path that is not UTF-8")
def _not_utf8(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / os.fsdecode(b"r\xe9sultat"))
    return _judged(ground, out, *_run(ground.command("b", out), place), (0, 2))


@surrounding("output path that the locale cannot hold")
def _not_of_locale(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "r\u00e9sultat \u4e2d")
    return _judged(ground, out, *_run(ground.command("b", out), place, _ASCII), (0, 2))


@surrounding("no output name")
def _no_name(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out")
    return _judged(ground, out, *_run(ground.command("b", ""), place, cwd=out), (2,))


# ---------------------------------------------------------------- streams


@surrounding("full stdout")
def _full_stdout(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out")
    command = ground.command("b", out, rng.choice(["text", "none"]))
    with open("/dev/full", "w") as full:
        status, errors = _run(command, place, stdout=full)
    return _judged(ground, out, status, _without_progress(errors), (0,))


@surrounding("closed streams")
def _closed(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out")
    closed = rng.choice([(1,), (1, 2), (0, 1), (0, 1, 2)])

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    status, errors = _run(ground.command("b", out, "none"), place, preexec_fn=close)
    return _judged(ground, out, status, errors, (0,))


@surrounding("reader who has left")
def _no_reader(ground: Ground, place: Path, rng: random.Random) -> str:
    """Where progress is printed nobody reads it, and the analysis may stop; else results are whole."""
    out = _earlier(ground, place / "out")
    near, far = os.pipe()
    os.close(near)
    style = rng.choice(["json", "none"])
    status, errors = _run(ground.command("b", out, style), place, stdout=far)
    os.close(far)
    return _judged(ground, out, status, errors, (0,) if style == "none" else (0, 1))


@surrounding("stdout that cannot hold every letter")
def _ascii_stdout(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out")
    exam = place / "ex\u00e1m \u4e2d"
    shutil.copytree(ground.folder / "b", exam)
    for file in exam.iterdir():
        file.rename(file.with_name(f"\u00e4{file.name}"))
    more = rng.choice([{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, _ASCII])
    command = ground.command("b", out, "none")
    command[4] = str(exam)
    status, errors = _run([*command[:3], "check", str(exam)], place, more)
    if status not in (0, 2) or "Traceback" in errors or "Unforeseen" in errors:
        return f"check: exit {status}: {errors[-300:]}"
    status, errors = _run(command, place, more)
    if more is _ASCII and status == 2:  # such a system cannot say the name of a file
        return _judged(ground, out, status, errors, (2,))
    if status or errors:
        return f"exit {status}: {errors[-300:]}"
    return new_or_wrong(out, json.loads((out / "result.json").read_text())["exam_id"])


def _without_progress(errors: str) -> str:
    """Standard error without the lines of progress."""
    return "\n".join(line for line in errors.splitlines() if " %  " not in line[:8])


# ---------------------------------------------------------------- memory and folders


@surrounding("little memory")
def _little_memory(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out")
    limit = int(2**30 * 10 ** rng.uniform(-0.7, 0.6))

    def starve() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    status, errors = _run(ground.command("b", out), place, preexec_fn=starve)
    state = _judged(ground, out, status, errors, (0, 1, 2))
    return state if state in ("old", "new") else f"{limit >> 20} MiB: {state}"


@surrounding("working folder that is gone")
def _no_working_folder(ground: Ground, place: Path, rng: random.Random) -> str:
    out, gone = _earlier(ground, place / "out"), place / "gone"
    gone.mkdir()
    target = out if rng.random() < 0.5 else Path("out")

    def leave() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    status, errors = _run(ground.command("b", target), place, preexec_fn=leave, cwd=None)
    return _judged(ground, out, status, errors, (0, 2))


@surrounding("full temporary folder")
def _full_scratch(ground: Ground, place: Path, rng: random.Random) -> str | None:
    out, scratch = _earlier(ground, place / "out"), place / "scratch"
    scratch.mkdir()
    size = int(10 ** rng.uniform(3.6, 6.2))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(scratch)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        return None
    try:
        status, errors = _run(ground.command("b", out), place)
    finally:
        subprocess.run(["umount", "-l", scratch], capture_output=True)
    if str(scratch) in errors:
        return f"names a private path: {errors[-300:]}"
    return _judged(ground, out, status, errors, (0, 2))


# ---------------------------------------------------------------- what else is in the folder


@surrounding("two runs into one folder")
def _two_at_once(ground: Ground, place: Path, rng: random.Random) -> str:
    out = _earlier(ground, place / "out") if rng.random() < 0.7 else place / "out"
    if out.exists() and rng.random() < 0.5:
        (out / "sub").mkdir()
    runs = [ground.start(out, place / exam, fresh=False, exam=exam) for exam in "bc"]
    status = [run.run() for run in runs]
    errors = [run.errors for run in runs]
    for code, text in zip(status, errors):
        if code not in (0, 2) or not is_one_sentence(text, code) or " space" in text:
            return f"exit {code}: {text[-300:]}"
    if 0 not in status:
        return f"neither was written: {errors}"[:300]
    if not (out / "notes.txt").exists():
        (out / "notes.txt").write_text(NOTE)
    ids = [ground.ids[exam] for exam, code in zip("bc", status) if code == 0]
    states = [new_or_wrong(out, exam_id) for exam_id in ids]
    left = [p.name for p in [*out.iterdir(), *out.parent.iterdir()] if p.name.startswith(".")]
    return f"left {left}" if left else ("new" if "new" in states else states[0])


@surrounding("the user's own files in the output folder")
def _user_files(ground: Ground, place: Path, rng: random.Random) -> str:
    """Files of our names that no earlier result names: ours are written beside them, or it is refused."""
    out = place / "out"
    out.mkdir()
    own = rng.sample(sorted(FILES - {"result.json"} | {"notes.txt", "outline.seg.nrrd"}), rng.randint(1, 4))
    for name in own:
        (out / name).write_text(NOTE)
    before = fingerprint(out)
    plain = ["--no-scene"] if rng.random() < 0.5 else []
    status, errors = _run([*ground.command("b", out), *plain], place)
    after = fingerprint(out)
    if changed := [name for name in own if after.get(name) != before[name]]:
        return f"the user's {changed} changed or gone, exit {status}"
    if status not in (0, 2) or not is_one_sentence(errors, status):
        return f"exit {status}: {errors[-300:]}"
    return "new" if status == 0 else "old"
