"""``python -m Testing.faults --count 10000 --output faults.json``: bad inputs through every reader."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .bases import prepare
from .catalogue import GENERATORS, schedule
from .judge import ACCEPTED, CRASH, PARTIAL, TIMEOUT, TYPED, UNTYPED, pick
from .pool import run_all

REGRESSIONS = Path(__file__).with_name("regressions.json")
COUNTS = (TYPED, ACCEPTED, CRASH, UNTYPED, TIMEOUT, PARTIAL)
FAILURES = (CRASH, UNTYPED, TIMEOUT, PARTIAL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults", description=__doc__)
    parser.add_argument(
        "--count", type=int, default=10000, help="inputs to make, besides those that ever failed"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other inputs")
    parser.add_argument("--output", type=Path, default=Path("faults.json"))
    parser.add_argument("--bases", type=Path, help="keep the undamaged inputs here, and use them again")
    parser.add_argument("--only", nargs="+", metavar="GENERATOR", help="some of the generators")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--time-limit", type=float, default=30.0, help="seconds of processor time for one input"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="breastcmsl-bases-") as temporary:
        report = campaign(prepare(options.bases or Path(temporary, "bases")), options)
    earlier = json.loads(options.output.read_text()) if options.output.exists() else {}
    report = {**{key: earlier[key] for key in ("kills", "lost", "kill_campaign") if key in earlier}, **report}
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("inputs", *COUNTS, "slowest_s", "largest_mb")}))
    for failure in report["failures"][:20]:
        print(f"{failure['verdict']}: {failure['generator']}: {failure['message']}", file=sys.stderr)
    return 1 if report["failures"] else 0


def campaign(bases: Path, options: argparse.Namespace) -> dict:
    chosen, skipped = schedule(bases, options.only)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)

    def jobs():
        for entry in regressions(bases):
            if not options.only or entry["generator"] in options.only:
                yield entry["generator"], entry["parameters"], GENERATORS[entry["generator"]].needs_torch
        for number in range(options.count):
            entry = chosen[number % len(chosen)]
            yield entry.name, pick(entry.name, options.seed * 1_000_003 + number, bases), entry.needs_torch

    counts, by_generator, failures = Counter(), {}, []
    start, slowest, largest, worst = time.monotonic(), 0.0, 0.0, {}
    for outcome in run_all(jobs(), bases, workers=options.workers, limit_s=options.time_limit):
        counts[outcome.verdict] += 1
        by_generator.setdefault(outcome.generator, Counter())[outcome.verdict] += 1
        if outcome.seconds > slowest:
            slowest, worst["slowest"] = outcome.seconds, outcome.as_dict()
        if outcome.peak_mb > largest:
            largest, worst["largest"] = outcome.peak_mb, outcome.as_dict()
        if outcome.verdict in FAILURES:
            failures.append(outcome.as_dict())
        done = sum(counts.values())
        if done % 500 == 0:
            print(
                f"{done} inputs, {len(failures)} failures, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return {
        "inputs": sum(counts.values()),
        **{name: counts[name] for name in COUNTS},
        "seed": options.seed,
        "seconds": round(time.monotonic() - start, 1),
        "slowest_s": slowest,
        "largest_mb": largest,
        "generators": {name: dict(sorted(c.items())) for name, c in sorted(by_generator.items())},
        "skipped": skipped,
        **worst,
        "failures": failures,
    }


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
