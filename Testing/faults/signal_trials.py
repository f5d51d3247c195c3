"""Analyses that are killed, or asked to stop, at random moments.

Those that are asked to stop have to clear away after themselves: no image of the patient may stay in the
temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .forks import Forked, session_alive
from .ground import FRESH, NOTE, Ground, is_one_sentence, with_status

TOO_LATE = "ended before the kill"  # judged like the others, but no kill
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.15  # share of the kills after which the analysis is run once more, to its end
STAGES = ("map", "scene", "save", "save")  # in which files are written; while "scene" it is packed
STEP_S = 0.03  # before and after each file that changes places, so that a signal can strike between


def kill_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """SIGKILL of the analysis, or of its parent, at a random moment; two in three while it writes.

    After some, the analysis is run again: it must end with new results and leave nothing else.
    """
    out = ground.output(f"kill-{number}")
    parent_dies, late, fresh = rng.random() < 0.3, rng.random() < 0.67, rng.random() < FRESH
    seconds = ground.seconds[fresh]
    process = ground.start(out, out.parent / "scratch", fresh=fresh, under_a_parent=parent_dies)
    _wait_for_moment(process, rng, seconds, late)
    process.kill(whole_session=not parent_dies)
    # the child of a killed parent goes on, or ends because nobody reads its progress
    struck = process.wait(20 * seconds + 60) == -signal.SIGKILL
    kind = f"{'parent' if parent_dies else 'child'}{' while writing' if late else ''}"
    state = "still running" if session_alive(process.pid) else ground.state(out)
    if state in ("old", "new") and rng.random() < AGAIN:
        state = _with_next_run(ground, out, state)
    return kind if struck else TOO_LATE, state


def _wait_for_moment(process: Forked, rng: random.Random, seconds: float, late: bool) -> None:
    """Let a random part of the run pass; ``late``: only while it writes."""
    if late:
        wanted = rng.choice(STAGES)
        _read_until(process, lambda event: event.get("stage") == wanted)
        time.sleep(rng.choice([0.0, rng.random() * 0.02, rng.random() * 0.2 * seconds]))
    else:
        time.sleep(rng.random() * seconds)


def _with_next_run(ground: Ground, out: Path, state: str) -> str:
    """The state, if the next run finds its way and clears away what was left."""
    scratch = out.parent / "scratch"
    after = with_status(ground, out, ground.start(out, scratch, fresh=False), (0,))
    if after != "new":
        return f"{state}, and the next run: {after}"
    return state if not images_in(scratch) else f"{state}, and the next run left {images_in(scratch)}"


def images_in(scratch: Path) -> list[str]:
    """Files of a temporary folder that may show a patient."""
    ends = (".nrrd", ".mrb", ".png", ".mrml", ".html", ".json", ".nii", ".gz", ".raw", ".zip")
    return sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*") if p.name.endswith(ends))


# ---------------------------------------------------------------- asked to stop


def stop_trial(
    ground: Ground,
    number: int,
    rng: random.Random,
    request: int | None = None,
    moment: float | None = None,
    twice: bool | None = None,
) -> tuple[str, str]:
    """Ctrl-C (once or twice), SIGTERM or SIGHUP at a random moment, two in three while it writes.

    Parameters
    ----------
    request, twice
        The signal, and whether it comes again a moment later (drawn by default).
    moment
        When it comes, as a fraction of an undisturbed run (drawn by default).
    """
    out = ground.output(f"stop-{number}")
    request = rng.choice(STOPS) if request is None else request
    twice = request == signal.SIGINT and rng.random() < 0.5 if twice is None else twice
    fresh, late = rng.random() < FRESH, moment is None and rng.random() < 0.67
    process = ground.start(out, out.parent / "scratch", fresh=fresh)
    _read_until(process, lambda event: True)  # the command has begun
    if moment is None:
        _wait_for_moment(process, rng, ground.seconds[fresh], late)
    else:
        time.sleep(moment * ground.seconds[fresh])
    process.kill(number=request)
    if twice:
        time.sleep(rng.choice([0.0, rng.random() * 0.05]))
        process.kill(number=request)
    kind = f"{signal.Signals(request).name}{' twice' if twice else ''}{' while writing' if late else ''}"
    return kind, _after_stop(ground, out, process, request)


def _after_stop(ground: Ground, out: Path, process: Forked, request: int) -> str:
    """What an analysis left that was asked to stop; its status is told from results that are whole."""
    state = with_status(ground, out, process, (0, 130, 128 + request))
    if state in ("old", "new") and (left := images_in(out.parent / "scratch")):
        return f"left {left} in the temporary folder"
    return state


def exchange_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """A signal while files change places one by one, and once more while they are put back; or files that
    something else holds on to.

    Where not all can be put back at once, none may be lost, and the next run puts them back.
    """
    out = ground.output(f"exchange-{number}")
    (out / "sub").mkdir()  # a folder that holds folders cannot be swapped in one step
    (out / "sub" / "notes.txt").write_text(NOTE)
    locked = rng.random() < 0.3
    failing = {rng.randint(1, 10), rng.randint(1, 20)} if locked else set()
    request = rng.choice(STOPS)
    process = ground.start(out, out.parent / "scratch", fresh=False, prepare=lambda: _slow_exchange(failing))
    for _ in range(0 if locked else rng.choice([1, 2, 2])):
        for _ in range(rng.randint(1, 5)):
            _read_until(process, lambda event: event.get("event") == "replace")
        time.sleep(rng.random() * 2 * STEP_S)
        process.kill(number=request)
    status = process.run()
    kind = "files in use" if locked else f"{signal.Signals(request).name} while files change places"
    if not is_one_sentence(process.errors, status):
        return kind, f"exit {status}: {process.errors[-300:]}"
    state = ground.state(out)
    if state not in ("old", "new") and _is_kept(ground, out):
        state = "old"
    if (out / "sub" / "notes.txt").read_text() != NOTE:
        state = "the user's file has changed"
    return kind, _with_next_run(ground, out, state) if state in ("old", "new") else state


def _slow_exchange(failing: set[int]) -> None:
    """In the process: say when a file is about to change places, and take time; some cannot."""
    replace, count = os.replace, 0

    def slowly(source, target, **options):
        nonlocal count
        count += 1
        print(json.dumps({"event": "replace"}), flush=True)
        time.sleep(STEP_S)
        if count in failing:
            raise PermissionError(13, "in use", str(target))
        replace(source, target, **options)
        time.sleep(STEP_S)

    os.replace = slowly


def _is_kept(ground: Ground, out: Path) -> bool:
    """Whether every earlier file lies in the output or in a private folder."""
    places = [p for p in [*out.rglob("*"), *out.parent.glob(".*/**/*")] if p.is_file()]
    there = {hashlib.sha256(p.read_bytes()).hexdigest() for p in places}
    return set(ground.fingerprint.values()) <= there


def _read_until(process: Forked, wanted: Callable[[dict], bool]) -> None:
    """Read the progress up to an event, or to its end."""
    for line in process.output:
        with suppress(ValueError):
            if wanted(json.loads(line)):
                return
