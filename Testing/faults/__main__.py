"""``python -m Testing.faults --count 10000 --output faults.json``: bad inputs through every reader.

The report is written every 500 inputs and when the run is interrupted; ``--resume`` goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .bases import prepare
from .catalogue import GENERATORS, schedule
from .judge import VERDICTS, pick
from .pool import run_all
from .summary import Summary, of_same_identity, write_report

REGRESSIONS = Path(__file__).with_name("regressions.json")
_OFTEN = 500  # inputs between two reports


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults", description=__doc__)
    count = "inputs to make, besides those that ever failed"
    parser.add_argument("--count", type=int, default=10000, help=count)
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other inputs")
    parser.add_argument("--output", type=Path, default=Path("faults.json"), help="the report")
    parser.add_argument("--resume", action="store_true", help="go on with the report of the same inputs")
    parser.add_argument("--bases", type=Path, help="keep the undamaged inputs here, and use them again")
    parser.add_argument("--only", nargs="+", metavar="GENERATOR", help="some of the generators")
    workers = min(2, os.cpu_count() or 1)
    parser.add_argument(
        "--workers", type=int, default=workers, help="processes that read (default: %(default)s)"
    )
    limit = "seconds of processor time for one input, and of waiting"
    parser.add_argument("--time-limit", type=float, default=30.0, help=limit)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="breastcmsl-bases-") as temporary:
        report = campaign(prepare(options.bases or Path(temporary, "bases")), options)
    print(json.dumps({key: report[key] for key in _HEADLINE}))
    for failure in report["failures"][:20]:
        print(f"{failure['verdict']}: {failure['generator']}: {failure['message']}", file=sys.stderr)
    return 1 if report["failures"] or not report["complete"] else 0


_HEADLINE = ("inputs", "complete", *VERDICTS, "planned", "files_unaccounted_for", "slowest_s", "largest_mb")


def campaign(bases: Path, options: argparse.Namespace) -> dict:
    """The report over all inputs; written to ``options.output``, if that is not None."""
    chosen, skipped = schedule(bases, options.only)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    identity = {"count": options.count, "seed": options.seed, "only": options.only}
    earlier = of_same_identity(options.output, identity) if options.output and options.resume else {}
    summary, start, complete = Summary(identity, earlier), time.monotonic(), False

    def report() -> dict:
        content = summary.as_json(time.monotonic() - start, complete, skipped)
        if options.output:
            write_report(options.output, content)
        return content

    rest = itertools.islice(jobs(chosen, bases, options), summary.inputs, None)
    try:
        for outcome in run_all(rest, bases, workers=options.workers, limit_s=options.time_limit):
            summary.add(outcome)
            if summary.inputs % _OFTEN == 0:
                report()
                seconds = time.monotonic() - start
                said = f"{summary.inputs} inputs, {len(summary.failures)} failures, {seconds:.0f} s"
                print(said, file=sys.stderr, flush=True)
        complete = True
    except KeyboardInterrupt:
        print("interrupted; --resume goes on", file=sys.stderr)
    return report()


def jobs(chosen: list, bases: Path, options: argparse.Namespace) -> Iterator[tuple[str, dict, bool]]:
    """Generator, parameters, and whether it needs PyTorch, of every input: those that ever failed first."""
    for entry in regressions(bases):
        if not options.only or entry["generator"] in options.only:
            yield entry["generator"], entry["parameters"], GENERATORS[entry["generator"]].needs_torch
    for number in range(options.count):
        entry = chosen[number % len(chosen)]
        yield entry.name, pick(entry.name, options.seed * 1_000_003 + number, bases), entry.needs_torch


def regressions(bases: Path) -> list[dict]:
    """Inputs that failed once: {"generator", "parameters", "was"}, where generator and base are at hand."""
    kept = json.loads(REGRESSIONS.read_text()) if REGRESSIONS.exists() else []
    return [
        entry
        for entry in kept
        if entry["generator"] in GENERATORS
        and not GENERATORS[entry["generator"]].unavailable(bases)
        and (bases / entry["parameters"].get("base", ".")).is_dir()
    ]


if __name__ == "__main__":
    sys.exit(main())
