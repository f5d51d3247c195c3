"""Compare methods on the same test exams, over seeds, and say whether a gain is more than noise.

    python training/compare.py BCE-0 BCE-1 BCE-2 CMSL-0 CMSL-1 CMSL-2 --baseline BCE-0 --output COMPARISON

Runs that differ only in their seed are one method. Every run must have been evaluated.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.evaluation.comparison import compare, group_runs
from training.evaluation.comparison_page import write_comparison


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--baseline", type=Path, help="a run of the method to compare with (default: the first)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for comparison.md, comparison.html, comparison.json and pictures",
    )
    o = parser.parse_args(arguments)
    methods = group_runs(o.runs)
    comparison = compare(methods, o.baseline or o.runs[0])
    page = write_comparison(comparison, methods, o.output)
    print(*(one["sentence"] for one in comparison["differences"]), page, sep="\n")


if __name__ == "__main__":
    raise SystemExit(main())
