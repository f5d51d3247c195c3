"""Write the manifest of a downloaded public collection of breast MRI.

    python training/collect.py odelia /data/ODELIA --output odelia.csv

Nothing is written when anything is wrong. Layouts, labels and splits: docs/datasets.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.data.manifest import write_manifest
from training.datasets import COLLECTIONS, find


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.epilog = "collections:\n" + "\n".join(f"  {name:18}{title}" for name, title in COLLECTIONS.items())
    parser.add_argument("name", help="the collection (see below)")
    parser.add_argument("folder", type=Path, help="where it was downloaded to")
    parser.add_argument("--output", type=Path, required=True, help="the manifest to write (CSV)")
    parser.add_argument(
        "--labels", type=Path, help="its table of labels, boxes or splits, where that is elsewhere"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the split by patient, where none is published"
    )
    parser.add_argument(
        "--negatives",
        action="store_true",
        help="count exams without any lesion as benign instead of leaving them out",
    )
    o = parser.parse_args(arguments)
    collection = find(o.name, o.folder, o.labels, seed=o.seed, negatives=o.negatives)
    for line in collection.remarks():
        print(line, file=sys.stderr)
    write_manifest(o.output, collection.rows)
    print(f"{o.output}: {collection.summary()}")


if __name__ == "__main__":
    raise SystemExit(main())
