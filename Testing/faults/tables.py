"""``python -m Testing.faults.tables faults.json``: tables of docs/reliability.md from a campaign's report.

A table stands between ``<!-- faults: NAME -->`` and ``<!-- faults: end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from .bases import CHECKOUT

PAGE = CHECKOUT / "docs" / "reliability.md"
# what the report calls it, and what the page does
INPUTS = {
    "inputs": "inputs",
    "typed_errors": "refused in one sentence",
    "accepted": "read, and whole",
    "planned": "exam plans compared with their files and with what was read",
    "crashes": "crashed",
    "untyped": "another error, or not one clean sentence that names a file",
    "timeouts": "no answer in time",
    "partial_results": "read in part, or although it must not be",
    "wrongly_refused": "refused although it is the whole exam",
    "silent": "read, and nothing said of what is wrong",
    "files_unaccounted_for": "files unaccounted for",
    "disagreements": "planning and reading disagree",
    "other_roles": "read under a role other than the plan's",
}
GOOD = ("typed_errors", "accepted")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; what was not counted says so."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "not counted yet"
    return f"{value:,}" if isinstance(value, int) else str(value)


def inputs_table(report: dict) -> str:
    """How many inputs came to what."""
    command = f"`python -m Testing.faults --count {report.get('count')} --seed {report.get('seed')}`"
    return table((command, "Number"), [(text, report.get(name)) for name, text in INPUTS.items()])


def generators_table(report: dict) -> str:
    """The same by what was damaged."""
    rows = []
    for name, counts in sorted(report["generators"].items()):
        good = [counts.get(verdict, 0) for verdict in GOOD]
        rows.append((f"`{name}`", sum(counts.values()), *good, sum(counts.values()) - sum(good)))
    return table(("Generator", "Inputs", "Refused", "Read, and whole", "Wrong"), rows)


def kills_table(report: dict) -> str:
    """How the trials of ``Testing.faults.kills`` ended."""
    campaign = report.get("kill_campaign", {})
    rows = [
        (kind, sum(counts.values()), counts.get("old", 0), counts.get("new", 0), counts.get("lost", 0))
        for kind, counts in campaign.get("trials", {}).items()
    ]
    for name in ("training", "module"):
        if part := campaign.get(name):
            rows.append((f"kills of {name}", part["kills"], "", "", len(part["failures"])))
    return table(("Trial", "Trials", "Earlier results", "New results", "Lost"), rows)


TABLES = {"inputs": inputs_table, "generators": generators_table, "kills": kills_table}


def renewed(page: str, report: dict) -> str:
    """The page with the tables for which the report has numbers."""
    needs = {"inputs": "inputs", "generators": "generators", "kills": "kill_campaign"}
    for name, make in TABLES.items():
        if needs[name] in report:
            block = rf"(<!-- faults: {name} -->\n).*?(<!-- faults: end -->)"
            text = make(report)
            page = re.sub(block, lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL)
    return page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults.tables", description=__doc__)
    parser.add_argument("report", type=Path, nargs="?", default=Path("faults.json"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(renewed(page, json.loads(options.report.read_text())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
