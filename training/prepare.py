"""Preprocess a cohort once, with the library's own preprocessing, into a cache that training reads.

    python training/prepare.py simulated:small --output CACHE --spacing 4.4
    python training/prepare.py manifest.csv --output CACHE

Goes on where it stopped: an exam is made again only when its input, the input contract or the code has
changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.data.preparation import prepare


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", help="a manifest (CSV), or simulated:NAME")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument(
        "--spacing", type=float, default=1.1, help="voxel size in mm of the model's input (1.1, 2.2 or 4.4)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core, if memory allows)")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=(),
        choices=("train", "validate", "test"),
        help="only these (default: all exams)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu or cuda, to make simulated exams on (another noise, as real as the first)",
    )
    o = parser.parse_args(arguments)
    exams = prepare(o.source, o.output, o.spacing, o.workers, o.splits, o.device)
    print(f"{len(exams.rows)} exams in {o.output}")


if __name__ == "__main__":
    raise SystemExit(main())
