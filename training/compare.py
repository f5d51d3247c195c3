"""Table 1 of Luo et al. 2019: train what is missing of every method, evaluate it, and compare.

    python training/compare.py --cohort simulated:paper --recipe paper --output COMPARISON
    python training/compare.py --cohort simulated:small --methods bce nsl cmsl --output COMPARISON
    python training/compare.py --smoke --output COMPARISON
    python training/compare.py RUN-A-0 RUN-A-1 RUN-B-0 --baseline RUN-A-0 --output COMPARISON

For each cohort a folder of the output gets the runs, comparison.json (a row a method), comparison.md and
.html, and pictures; the output itself one table of all cohorts. The same command goes on where it stopped.
Given runs, they are compared as they are: those that differ only in their seed are one method, and every one
must have been evaluated.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.evaluation.comparison import compare
from training.evaluation.comparison_page import write_comparison
from training.evaluation.method_runs import group_runs
from training.evaluation.reproduction import reproduce, smoke_plan, write_rows_of_all
from training.evaluation.table_1 import ALL, Plan
from training.recipes import RECIPES

FIELDS = ("limit", "batch", "workers", "alpha", "sparsity", "unfreeze", "precision")  # of every run


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    o = _parser().parse_args(arguments)
    if o.runs:
        methods = group_runs(o.runs)
        comparison = compare(methods, o.baseline or o.runs[0])
        page = write_comparison(comparison, methods, o.output)
        print(*(one["sentence"] for one in comparison["differences"]), page, sep="\n")
        return
    plans = [smoke_plan(o.output, o.methods)] if o.smoke else [_plan(o, cohort) for cohort in o.cohort]
    for plan in plans:
        print(reproduce(plan))
    print(write_rows_of_all(o.output))


def _plan(o, cohort: str) -> Plan:
    spacing = RECIPES[o.recipe](Path()).spacing_mm
    name = Path(cohort.partition(":")[2] or cohort).stem
    changes = {key: value for key in FIELDS if (value := getattr(o, key)) is not None}
    return Plan(
        o.output / name / "runs",
        cohort,
        o.cache or o.output / "cache" / f"{name}-{spacing}mm",
        o.recipe,
        tuple(o.methods),
        o.seeds,
        o.base_epochs,
        o.epochs,
        o.converge,
        o.rate,
        changes,
    )


def _parser():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("runs", nargs="*", type=Path, help="evaluated runs, to compare these instead")
    add("--baseline", type=Path, help="a run of the method to compare those with (default: the first)")
    add("--output", type=Path, required=True)
    add("--cohort", nargs="+", default=["simulated:paper"], help="manifests (CSV), or simulated:NAME")
    add("--cache", type=Path, help="of the cohort's exams (default: made in the output); for one cohort")
    add("--recipe", default="small_cpu", choices=sorted(RECIPES), help="settings of the networks")
    add("--methods", nargs="+", default=list(ALL), choices=ALL, metavar="METHOD", help=", ".join(ALL))
    add("--seeds", type=int, default=3, help="of methods whose intervals overlap; others have one")
    add("--base-epochs", type=int, default=200, help="at most, of the base")
    add("--converge", type=int, default=8, help="epochs over which the base's loss is flat")
    add("--epochs", type=int, default=20, help="of every method after the base")
    add("--rate", type=float, default=0.25, help="after the base, as a share of the recipe's")
    add("--limit", type=int, help="only so many training exams")
    add("--batch", type=int)
    add("--workers", type=int, help="processes that read ahead")
    add("--alpha", type=float, help="weight of the grades (dkmt)")
    add("--sparsity", type=float, help="weight of the cells (sparse_mil, glam)")
    add("--unfreeze", type=float, help="factor of the rate when more of the network begins to learn (shen)")
    add("--precision", choices=("auto", "no", "bf16", "fp16"))
    add("--smoke", action="store_true", help="every method on 40 small exams in minutes; nothing is learned")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
