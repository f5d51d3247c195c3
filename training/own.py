"""From a cohort of your own to an evaluated model: split, prepare, train, evaluate, export.

    python training/own.py exams.csv --output RUN --init Resources/Models/breastcmsl.json --dry-run
    python training/own.py exams.csv --output RUN --init Resources/Models/breastcmsl.json
    python training/own.py exams.csv --output RUN                          # anew: for thousands of exams

The same command goes on where it stopped. RUN/card.html says what came out. RUN/model holds the bundle,
called as RUN is. A model that was not shown to work stays in RUN, and its card says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.course.steps import Course, follow, rehearse
from training.data.manifest import SIMULATED
from training.data.processes import usual_workers
from training.recipes import RECIPES


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", metavar="MANIFEST", help="a CSV table of exams (docs/datasets.md)")
    parser.add_argument("--output", required=True, type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--init", type=Path, metavar="MODEL", help="run, or card of a bundle, to learn on from"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="own")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    parser.add_argument("--workers", type=int, default=usual_workers(), help="processes")
    parser.add_argument("--dry-run", action="store_true", help="only check, and print plan and duration")
    o = parser.parse_args(arguments)
    # absolute, so that the same course can be gone on with from another folder
    source = o.source if o.source.startswith(f"{SIMULATED}:") else str(Path(o.source).absolute())
    init = None if o.init is None else o.init.absolute()
    course = Course(source, o.output.absolute(), o.recipe, init, o.seed, max(1, o.workers))
    if o.dry_run:
        rehearse(course)
    else:
        follow(course)


if __name__ == "__main__":
    raise SystemExit(main())
