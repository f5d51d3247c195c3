"""Compare ways to find the lesion, by the same protocol on the same malignant exams, with their cost.

    python training/localize.py RUN --output DIR                               # validation exams: choose here
    python training/localize.py RUN --split test --choice DIR --output DIR2    # once, with that choice

Writes localisation.json, localisation.md and worst20.png, and rows.jsonl, from which a broken-off comparison
goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.evaluation.localisation_run import compare_methods


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--cache", type=Path, help="cache of the exams (default: the one the run was trained on)"
    )
    parser.add_argument("--split", default="validate", choices=("validate", "test"))
    parser.add_argument(
        "--choice", type=Path, help="output of the comparison on validation exams; needed for --split test"
    )
    parser.add_argument("--limit", type=int, help="only the first N malignant exams")
    parser.add_argument("--weights", default="best.safetensors", help="weights in the run's folder")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument(
        "--slow", action="store_true", help="also CorRELAX and Layer-CAM of all stages, minutes an exam"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="a run of another method on the same split, whose maps take part (GLAM, Sparse MIL); repeatable",
    )
    parser.add_argument("--output", type=Path, required=True)
    o = parser.parse_args(arguments)
    compare_methods(
        o.run,
        o.output,
        cache_folder=o.cache,
        split=o.split,
        limit=o.limit,
        choice=o.choice,
        weights=o.weights,
        precision=o.precision,
        slow=o.slow,
        beside=o.beside,
    )
    print((o.output / "localisation.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
