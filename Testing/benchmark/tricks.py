"""What each speed trick saves of Analyze: ``python -m Testing.benchmark.tricks --output tricks.json``.

Whole processes in pairs, with and without one trick, in turn first, on a machine that does nothing else. A
trick pays when Analyze takes at least ``WORTH`` less with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import exams, machine
from .measure import process, rounded
from .switched_off import TRICKS
from .whole import analyze_command

WORTH = 0.03
MODELS = ("shipped", "paper")


def measure(
    folder: Path,
    models: list[str],
    tricks: list[str],
    runs: int,
    quick: bool,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time Analyze with and without each trick.

    Parameters
    ----------
    folder
        For exam, model and results.
    models
        "shipped", or "paper": ResNet34 of full width at 1.1 mm, random weights.
    tricks
        Names of ``switched_off.TRICKS``.
    runs
        Pairs of processes for each trick and model.
    quick
        A coarse exam and a tiny network: shows that everything runs.

    Returns
    -------
    dict
        "machine", and a row for each model and trick: see :func:`compare`.
    """
    report: dict[str, Any] = {
        "kind": "breastcmsl.tricks",
        "quick": quick,
        "machine": machine.describe(),
        "rows": [],
    }
    exams.write_exam(folder / "exam", 4.4 if quick else 1.1)
    if "paper" in models:
        exams.write_model(folder, "paper", exams.random_network(exams.settings(quick)), exams.contract(quick))
    for model in models:
        card = None if model == "shipped" else folder / "paper.json"
        command = analyze_command(folder / "exam", folder / "result", card, "--no-scene")
        seconds_of("nothing", command)  # brings the files into the system's cache
        for trick in tricks:
            pairs = [pair(trick, command, first=number % 2 == 1) for number in range(runs)]
            report["rows"].append({"model": model, "trick": trick, **compare(pairs)})
            say(text(report["rows"][-1]))
    return report


def pair(trick: str, command: list[str], first: bool) -> tuple[float, float]:
    """Seconds with the trick and without it. first: without it first."""
    names = ["nothing", trick]
    seconds = {name: seconds_of(name, command) for name in (names[::-1] if first else names)}
    return seconds["nothing"], seconds[trick]


def seconds_of(trick: str, command: list[str]) -> float:
    """Seconds of a whole process of the command without a trick."""
    module, *arguments = command[1:]
    assert module == "BreastCMSLLib"
    return process(["-m", "Testing.benchmark.switched_off", trick, *arguments])[0]


def compare(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """How much less Analyze takes with a trick.

    Parameters
    ----------
    pairs
        Seconds with and without it.

    Returns
    -------
    dict
        "with_s", "without_s" (medians); "share" of Analyze without the trick that it saves, the median over
        the pairs; "low", "high": the middle half of them; "pays"; "pairs".
    """
    shares = sorted(1 - with_s / without_s for with_s, without_s in pairs)
    low, share, high = (
        statistics.quantiles(shares, n=4, method="inclusive") if len(shares) > 1 else 3 * shares
    )
    columns = {name: statistics.median(column) for name, column in zip(("with_s", "without_s"), zip(*pairs))}
    known = {**columns, "share": share, "low": low, "high": high, "pays": share >= WORTH}
    return rounded({**known, "pairs": [list(seconds) for seconds in pairs]})


def text(row: dict[str, Any]) -> str:
    """A row for a terminal."""
    share, low, high = (f"{100 * row[key]:+.1f} %" for key in ("share", "low", "high"))
    verdict = "pays" if row["pays"] else "does not pay"
    times = f"{row['with_s']:.2f} s with, {row['without_s']:.2f} s without"
    return f"{row['model']:8s} {row['trick']:27s} saves {share} ({low} to {high}; {times}): {verdict}"


def main(arguments: list[str] | None = None) -> int:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmark.tricks", description=__doc__, formatter_class=layout
    )
    names = [name for name in TRICKS if name != "nothing"]
    parser.add_argument("--output", type=Path, required=True, help="a JSON file to write")
    parser.add_argument("--runs", type=int, default=10, help="pairs of processes for each trick and model")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="TRICK", help=", ".join(names)
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="breastcmsl-tricks-") as folder:
        sizes = (options.models, options.only, options.runs, options.quick)
        report = measure(Path(folder), *sizes, lambda line: print(line, flush=True))
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
