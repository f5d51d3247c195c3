"""Measure, print the table, write benchmark.json: ``python -m Testing.benchmark --markdown PAGE``."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine, waits, whole
from .budget import LIMIT_S, TOPICS, Budget
from .cost import cost
from .measure import ROOT, Late, row, worker
from .table import into, text

DUKE = ROOT.parent / "shared" / "data" / "duke_breast_mri_153"
OF_DUKE = {"duke", "command", "second", "reading"}
NEEDS = {"processes": "training"}
RUN = {**whole.TOPICS, **waits.TOPICS}  # here, as processes of their own; the others inside one


def unpack_duke(folder: Path) -> Path | None:
    """The Duke exam's DICOM files, unpacked; None where the exam is not at hand."""
    archives = sorted(DUKE.glob("*.tar.xz"))
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "duke", filter="data")
    return folder / "duke" if archives else None


def measure(
    topics: list[str], quick: bool, say=lambda text: None, limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """The report: machine, rows of the topics in their order, costs. It takes ``limit_s`` at the most."""
    start, about, rows = time.perf_counter(), machine.describe(), []
    budget = Budget(topics, limit_s)
    with tempfile.TemporaryDirectory(prefix="breastcmsl-benchmark-") as name:
        folder = Path(name)
        duke = None if quick or not OF_DUKE & set(topics) else unpack_duke(folder)
        options = {"quick": quick, "folder": name, "duke": None if duke is None else str(duke)}
        for topic in topics:
            begun = time.perf_counter()
            options["seconds"], limit_s = budget.next(topic)
            rows += topic_rows(topic, {**options, "until": time.monotonic() + limit_s})
            say(f"{topic}: {time.perf_counter() - begun:.0f} s")
    return {
        "schema_version": 1,
        "kind": "breastcmsl.benchmark",
        "quick": quick,
        "machine": about,
        "seconds": round(time.perf_counter() - start, 1),
        "rows": rows,
        "cost": cost(rows, about["cores"]),
    }


def topic_rows(topic: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a topic; one that says so where its time, or that of all, was up."""
    rows, late = [], "no time was left"
    if time.monotonic() < options["until"]:
        try:
            rows.extend(RUN[topic](options) if topic in RUN else worker(topic, options))
            return rows
        except Late as error:
            late = str(error)
        except Exception as error:  # the others are still measured
            late = "; ".join(str(error).strip().splitlines()[-1:]) or type(error).__name__
    return [*rows, row(f"{topic}: left out" if not rows else f"{topic}: the rest", None, n=0, note=late)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmark", description=__doc__)
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="tiny sizes, once: shows that everything runs, not how fast it is",
    )
    add("--only", nargs="+", choices=TOPICS, metavar="TOPIC", help=f"some of: {', '.join(TOPICS)}")
    add(
        "--seconds",
        type=float,
        default=LIMIT_S,
        help=f"for all topics; with less, fewer runs and topics (default: {LIMIT_S:.0f})",
    )
    add("--output", type=Path, default=Path("benchmark.json"))
    add("--markdown", type=Path, metavar="PAGE", help="put the table into this page, too")
    add(
        "--from",
        dest="known",
        type=Path,
        metavar="JSON",
        help="measure nothing, show an earlier benchmark.json",
    )
    options = parser.parse_args(arguments)
    if options.output.is_dir() or not options.output.absolute().parent.is_dir():
        # before minutes are spent
        parser.error(f"--output names the file to write, in a folder that exists; {options.output} is none")
    if options.known is not None:
        try:
            report = json.loads(options.known.read_text(encoding="utf-8"))
            report["cost"] = cost(report["rows"], report["machine"]["cores"])
        except (OSError, ValueError, KeyError, TypeError):
            sentence = f"{options.known} is not a benchmark.json that can be read; measure again."
            print(sentence, file=sys.stderr)
            return 2
    else:
        wanted = set(options.only or TOPICS) | {"prepare"}
        wanted |= {NEEDS[topic] for topic in wanted if topic in NEEDS}
        topics = [topic for topic in TOPICS if topic in wanted]
        report = measure(
            topics,
            options.quick,
            lambda line: print(line, file=sys.stderr, flush=True),
            math.inf if options.quick else options.seconds,
        )
        options.output.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(text(report))
    if options.markdown is not None:
        into(options.markdown, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
