"""One comparison from a plan: train and evaluate what is missing, compare, and write all files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.files import write_atomically, write_json
from training.methods.registry import METHODS

from .bayes import DRAWS
from .comparison import compare
from .comparison_page import write_comparison
from .method_maps import maps_figure
from .method_runs import averaged, runs_of
from .pages import Table, markdown_table
from .paper import TABLE_1
from .records import tidy
from .table_1 import ALL, BASELINE, Plan, bases, run_plan
from .texts import NAMES, number, with_interval

AVERAGED = "shen"  # also as the mean of its runs, as in the source


def reproduce(plan: Plan, draws: int = DRAWS) -> Path:
    """Carry a plan out.

    Parameters
    ----------
    plan : Plan
        The page and comparison.json are written beside its runs' folder.
    draws : int
        Exams drawn for the best AUC that a simulated cohort allows.

    Returns
    -------
    Path
        The page as Markdown.
    """
    folders = run_plan(plan)
    methods = [runs_of(METHODS[name].title, own) for name, own in folders.items()]
    if len(folders.get(AVERAGED, ())) > 1:
        one = methods[list(folders).index(AVERAGED)]
        methods.append(averaged(f"{one.name}, mean of {len(one.folders)} runs", one))
    baseline = folders.get(BASELINE) or next(iter(folders.values()))
    comparison = compare(methods, baseline[0], draws)
    comparison["bases"] = tidy(bases(plan, range(plan.seeds)))
    return write_comparison(comparison, methods, plan.output.parent, maps_figure(methods))


def smoke_plan(output: Path, methods: Sequence[str] = ALL) -> Plan:
    """A plan that shows that every method works, in minutes; nothing is learned."""
    return Plan(
        output / "smoke" / "runs",
        "simulated:smoke",
        output / "cache" / "smoke-4.4mm",
        "smoke",
        tuple(methods),
        seeds=2,
        base_epochs=2,
        epochs=2,
        converge=0,
    )


def write_rows_of_all(output: Path) -> Path:
    """Join the rows of all cohorts compared in a folder into its comparison.json and comparison.md.

    Raises InputError when there is none.
    """
    rows: list[dict] = []
    for path in sorted(output.glob("*/comparison.json")):
        rows += json.loads(path.read_text(encoding="utf-8"))["rows"]
    if not rows:
        raise InputError(f"{output} holds no comparison; run training/compare.py with a cohort first.")
    write_json(
        output / "comparison.json", {"schema_version": 2, "kind": "breastcmsl.comparisons", "rows": rows}
    )
    table = Table(
        ["Cohort", "Method", "Seeds", *(NAMES[key] for key in TABLE_1), "AUC of the size alone"],
        [
            [
                row["cohort"],
                row["method"],
                str(row["seeds"]),
                *(with_interval(row, key) for key in TABLE_1),
                number(row["auc_of_size_alone"]),
            ]
            for row in rows
        ],
    )
    page = f"# Comparison of methods\n\n{markdown_table(table)}\n"
    write_atomically(output / "comparison.md", page)
    return output / "comparison.md"
