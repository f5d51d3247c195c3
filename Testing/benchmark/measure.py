"""Timing: medians of interleaved runs, and processes whose peak memory is their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def interleaved(*functions: Callable[[], Any] | None, repeats: int = 3, warm: bool = True) -> list[float]:
    """Median seconds of each function, run A B A B, after one run of each that does not count (``warm``)."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(repeats + warm):
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if number >= warm:
                seconds[place].append(time.perf_counter() - start)
    return [statistics.median(values) for values in seconds]


def row(
    name: str, ours_s: float | None, baseline_s: float | None = None, *, n: int, **more: Any
) -> dict[str, Any]:
    """One line of the table.

    Parameters
    ----------
    more
        peak_mb, floor_ratio, note, goal (a sentence), met, and further numbers.
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
    arguments: Sequence[str], *, environment: dict[str, str] | None = None, limit_s: float = 600
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
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        options = {
            "stdout": output,
            "stderr": subprocess.STDOUT,
            "env": {**os.environ, **(environment or {})},
        }
        child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, **options)
        peak = None
        if hasattr(os, "wait4"):
            status, usage = _wait(child, limit_s)
            peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        else:
            status = child.wait(limit_s)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if status:
        command = " ".join(map(str, arguments))
        raise RuntimeError(f"python {command} ended with status {status}:\n{text[-2000:]}")
    return seconds, peak, text


def _wait(child: subprocess.Popen, limit_s: float):
    end = time.monotonic() + limit_s
    pause = 0.002
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        if time.monotonic() > end:
            child.kill()
        time.sleep(pause)


def memory_mb() -> float | None:
    """Resident memory of this process now, in MB; None where the system does not tell (all but Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def worker(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one of ``topics.WORKERS``, from a process of its own, with its peak memory."""
    with tempfile.TemporaryDirectory(prefix="breastcmsl-benchmark-") as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "rows.json")
        request.write_text(json.dumps(options))
        _, peak, _ = process(["-m", "Testing.benchmark.topics", name, str(request), str(answer)])
        rows = json.loads(answer.read_text())
    for entry in rows:
        if entry.get("peak_mb") is None and not entry.get("no_peak"):
            entry["peak_mb"] = rounded(peak)
        entry.pop("no_peak", None)
    return rows
