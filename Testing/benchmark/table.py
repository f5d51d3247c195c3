"""The rows as text: a table for the terminal, and a block for ``docs/benchmark.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cost import ASSUMED, EXAMS, duration

BEGIN, END = (f"<!-- made by python -m Testing.benchmark: {end} -->" for end in ("begin", "end"))
HEAD = ("What", "ours", "baseline", "ratio", "peak MB", "× floor", "n", "goal", "note")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    met = {True: "met: ", False: "NOT met: ", None: ""}[row.get("met")]
    rate = row.get("tflop_per_s")
    return (
        row["name"],
        f"{rate:.2f} TFLOP/s" if rate is not None else time_text(row["ours_s"]),
        time_text(row["baseline_s"]),
        "" if row["ratio"] is None else f"{row['ratio']:,.1f}",
        "" if row["peak_mb"] is None else f"{row['peak_mb']:,.0f}",
        "" if row["floor_ratio"] is None else f"{row['floor_ratio']:.2f}",
        str(row["n"]),
        met + (row.get("goal") or ""),
        _more(row),
    )


def _more(row: dict[str, Any]) -> str:
    numbers = [f"{label} {row[key]:.3g}{unit}" for key, label, unit in _NUMBERS if row.get(key) is not None]
    if row.get("beside"):
        numbers.insert(0, f"{row['times']:.2f} × {row['beside']}")
    return "; ".join([*numbers, *([row["note"]] if row.get("note") else [])])


_NUMBERS = (
    ("exams_per_s", "", " exams/s"),
    ("exams_per_min", "", " exams a minute"),
    ("dice", "Dice", ""),
    ("error", "largest difference", ""),
    ("probability_difference", "probability differs by", ""),
    ("peak_mm", "peak moves", " mm"),
    ("baseline_peak_mb", "peak of the baseline", " MB"),
)


def time_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def text(report: dict[str, Any]) -> str:
    """The table for a terminal, notes last: on lines of their own they would be lost among the columns."""
    lines = [HEAD, *[cells(row) for row in report["rows"]]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD) - 2)]
    aligned = []
    for line in lines:
        name, *numbers = [cell.rjust(width) for cell, width in zip(line, widths)]
        words = [cell for cell in line[-2:] if cell]
        aligned.append("  ".join([line[0].ljust(len(name)), *numbers, *words]).rstrip())
    return "\n".join(aligned)


def markdown(report: dict[str, Any]) -> str:
    """The block for the docs: machine, table, goals, costs."""
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    lines = [
        f"Machine: {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"{about['system']}, Python {about['python']}; {versions}. Load at the start "
        f"{about['load_at_start']}. The whole took {report['seconds']:.0f} s.",
        "",
        _line(HEAD),
        "|---" * len(HEAD) + "|",
        *[_line([cell.replace("|", "\\|") for cell in cells(row)]) for row in report["rows"]],
    ]
    if report["cost"]:
        lines += [
            "",
            f"### {EXAMS:,} exams",
            "",
            f"| Work | this machine ({about['cores']} cores) | one GPU | cluster |",
            "|---|---|---|---|",
            *[
                _line([c["work"], *[duration(c[f"{where}_h"]) for where in ("laptop", "gpu", "cluster")]])
                for c in report["cost"]
            ],
            "",
            *[f"- {sentence}." for sentence in ASSUMED],
        ]
    return "\n".join(lines)


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def into(page: Path, report: dict[str, Any]) -> None:
    """Put the block between its marks in a page. Raises ValueError when the page has no such marks."""
    whole = page.read_text(encoding="utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        marks = "the two marks of Testing/benchmark/table.py"
        raise ValueError(f"{page} has no block between {marks}; put them where the table belongs.")
    before, after = whole[: whole.index(BEGIN) + len(BEGIN)], whole[whole.index(END) :]
    page.write_text(f"{before}\n{markdown(report)}\n{after}", encoding="utf-8")
