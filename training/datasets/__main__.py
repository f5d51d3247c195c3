"""``python -m training.datasets NAME FOLDER --output manifest.csv``: the manifest of a downloaded public collection."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from BreastCMSLLib.core.errors import BreastCMSLError

from . import COLLECTIONS, make_manifest
from .common import Found


def main(arguments: list[str] | None = None) -> int:
    listing = "\n".join(f"  {name:18}{title}" for name, title in COLLECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m training.datasets",
        description="Write the manifest of a downloaded public collection of breast MRI.",
        epilog=f"collections:\n{listing}\n\nLayouts and labels: docs/datasets.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the collection (see below)")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where it was downloaded to")
    parser.add_argument("--output", type=Path, required=True, help="the manifest to write (CSV)")
    parser.add_argument("--labels", type=Path, help="its table of labels, boxes or splits, where that is not in FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="of the split by patient, where none is published (default 0)")
    parser.add_argument("--negatives", action="store_true", help="count exams without any lesion as benign instead of leaving them out")
    options = parser.parse_args(arguments)

    def show(found: Found) -> None:
        for exam, why in found.left_out:
            print(f"left out: {exam}: {why}.", file=sys.stderr)
        for note in found.notes:
            print(f"note: {note}.", file=sys.stderr)
        print(f"left out: {_count(len(found.left_out), 'exam')} in all.", file=sys.stderr, flush=True)

    try:
        rows = make_manifest(
            options.name, options.folder, options.output, options.labels, seed=options.seed, negatives=options.negatives, show=show
        )
    except BreastCMSLError as error:
        print(f"training.datasets: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("training.datasets: Stopped; nothing was written.", file=sys.stderr, flush=True)
        return 130
    splits = Counter(row.split for row in rows)
    print(
        f"{options.output}: {_count(len(rows), 'exam')} of {_count(len({row.patient for row in rows}), 'patient')} "
        f"({sum(row.label for row in rows)} malignant, {sum(not row.label for row in rows)} benign; "
        f"{', '.join(f'{split} {splits[split]}' for split in ('train', 'validate', 'test'))})"
    )
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    sys.exit(main())
