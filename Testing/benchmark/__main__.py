"""Measure, print the table, write benchmark.json: ``python -m Testing.benchmark --markdown PAGE``."""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine, whole
from .cost import cost
from .measure import ROOT, worker
from .table import into, text

DUKE = ROOT.parent / "shared" / "data" / "duke_breast_mri_153"
# in this order: the exam is made first, and training makes the cohort that two processes train on
TOPICS = ("prepare", "machine", "analyze", "mask", "coam", "network", "precision", "reading", "start")
TOPICS += ("model_load", "training", "processes", "many", "sizes")
NEEDS = {"processes": "training"}


def unpack_duke(folder: Path) -> Path | None:
    """The Duke exam's DICOM files, unpacked; None where the exam is not at hand."""
    archives = sorted(DUKE.glob("*.tar.xz"))
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "duke", filter="data")
    return folder / "duke" if archives else None


def measure(topics: list[str], quick: bool, say=lambda text: None) -> dict[str, Any]:
    """The report: machine, rows of the topics in their order, costs."""
    start, about, rows = time.perf_counter(), machine.describe(), []
    with tempfile.TemporaryDirectory(prefix="breastcmsl-benchmark-") as name:
        folder = Path(name)
        duke = None if quick or not {"analyze", "reading"} & set(topics) else unpack_duke(folder)
        options = {"quick": quick, "folder": name, "duke": None if duke is None else str(duke)}
        for topic in topics:
            begun = time.perf_counter()
            rows += whole.TOPICS[topic](options) if topic in whole.TOPICS else worker(topic, options)
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmark", description=__doc__)
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="tiny sizes, once: shows that everything runs, not how fast it is",
    )
    add("--only", nargs="+", choices=TOPICS, metavar="TOPIC", help=f"some of: {', '.join(TOPICS)}")
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
        report = measure(topics, options.quick, lambda line: print(line, file=sys.stderr, flush=True))
        options.output.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(text(report))
    if options.markdown is not None:
        into(options.markdown, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
