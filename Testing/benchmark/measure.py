"""Timing: medians of interleaved runs, and processes whose peak memory is their own."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Late(Exception):
    """A process did not end in its time."""


def interleaved(
    *functions: Callable[[], Any], repeats: int = 3, warm: bool = True, seconds: float = math.inf
) -> tuple[list[float], int]:
    """Time functions in turn, A B A B, after one run of each that does not count (``warm``).

    Parameters
    ----------
    repeats
        Runs of each.
    seconds
        Where so many are used up sooner, fewer runs; at least one of each counts.

    Returns
    -------
    medians : list of float
        Seconds of each function.
    n : int
        Runs of each that count.
    """
    taken: list[list[float]] = [[] for _ in functions]
    begun = time.perf_counter()
    for number in range(repeats + warm):
        used = time.perf_counter() - begun
        if taken[0] and used * (number + 1) / number > seconds:
            break
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if number >= warm:
                taken[place].append(time.perf_counter() - start)
    return [statistics.median(values) for values in taken], len(taken[0])


def row(
    name: str, ours_s: float | None, baseline_s: float | None = None, *, n: int, **more: Any
) -> dict[str, Any]:
    """One line of the table.

    Parameters
    ----------
    more
        peak_mb, floor_ratio, note, goal (a sentence), met, and further numbers; beside, the name of
        another row, and times, how many times its seconds this one takes.
    """
    known = {
        "name": name,
        "ours_s": ours_s,
        "baseline_s": baseline_s,
        "ratio": None,
        "peak_mb": None,
        "floor_ratio": None,
        "n": n,
    }
    if ours_s and baseline_s:
        known["ratio"] = baseline_s / ours_s
    return rounded({**known, **more})


def rounded(value: Any) -> Any:
    """The same with floats of four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def process(
    arguments: Sequence[str], *, environment: dict[str, str] | None = None, limit_s: float = math.inf
) -> tuple[float, float | None, str]:
    """Run ``python ARGUMENTS`` in the checkout.

    What starts it must be small: Linux counts the parent's memory at the moment of starting as the child's.

    Returns
    -------
    seconds : float
    peak_mb : float or None
        None where the system does not tell.
    output : str

    Raises
    ------
    RuntimeError
        It failed; with what it printed.
    Late
        It was not done after ``limit_s``, and was ended with all that it started.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = started(arguments, stdout=output, stderr=subprocess.STDOUT, environment=environment)
        peak = None
        try:
            if hasattr(os, "wait4"):
                status, usage = _wait(child, limit_s)
                peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
            else:
                status = child.wait(None if math.isinf(limit_s) else limit_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            end(child)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Late(f"not done after {limit_s:.0f} s") from None
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if status:
        command = " ".join(map(str, arguments))
        raise RuntimeError(f"python {command} ended with status {status}:\n{text[-2000:]}")
    return seconds, peak, text


def started(
    arguments: Sequence[str], *, environment: dict[str, str] | None = None, **more: Any
) -> subprocess.Popen:
    """``python ARGUMENTS`` in the checkout, in a group of its own: :func:`end` ends all of that."""
    group = os.setpgrp if os.name == "posix" else None
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        preexec_fn=group,
        **more,
    )


def timed(arguments: Sequence[str], options: dict[str, Any], **more: Any) -> tuple[float, float | None, str]:
    """:func:`process` of a topic, with the time that is left to it: until ``options["until"]``."""
    return process(arguments, limit_s=max(0.0, options["until"] - time.monotonic()), **more)


def _wait(child: subprocess.Popen, limit_s: float):
    """Exit status and use of a process. Raises TimeoutExpired."""
    end_at = time.monotonic() + limit_s
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        if time.monotonic() > end_at:
            raise subprocess.TimeoutExpired(child.args, limit_s)
        time.sleep(0.002)


def end(child: subprocess.Popen) -> None:
    """End a process of :func:`started`, with all that it has started."""
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def memory_mb() -> float | None:
    """Resident memory of this process now, in MB; None where the system does not tell (all but Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def worker(name: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one of ``topics.WORKERS``, from a process of its own, with its peak memory.

    Parameters
    ----------
    options
        ``until``: when it is ended, by ``time.monotonic``.

    Raises
    ------
    Late, RuntimeError
        It did not end in time, or failed; after the rows that were there by then.
    """
    with tempfile.TemporaryDirectory(prefix="breastcmsl-benchmark-") as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "rows.jsonl")
        request.write_text(json.dumps(options))
        failure, peak = None, None
        try:
            arguments = ["-m", "Testing.benchmark.topics", name, str(request), str(answer)]
            _, peak, _ = timed(arguments, options)
        except (Late, RuntimeError) as error:
            failure = error
        # the last line of a process that was ended may be cut
        lines = answer.read_text().splitlines(keepends=True) if answer.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
    for entry in rows:
        if entry.get("peak_mb") is None and not entry.get("no_peak"):
            entry["peak_mb"] = rounded(peak)
        entry.pop("no_peak", None)
        yield entry
    if failure is not None:
        raise failure
