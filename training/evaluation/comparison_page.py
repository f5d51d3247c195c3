"""A comparison of methods, written: comparison.json, comparison.md, comparison.html and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.data.files import write_atomically, write_json

from .angles import angles_of, draw_angles, has_angles
from .comparison import DISTANCES
from .comparison_sections import bases_section, bounds_section, claims_section, dice_section
from .difference import AT_THRESHOLD
from .figures import Curve, note_of, roc, save
from .method_runs import MethodRuns
from .pages import Block, Items, Page, Picture, Section, Table, html, markdown
from .paper import PAPER, PAPER_LOCALISATION, PAPER_RATIO, TABLE_1, paper_row
from .texts import NAMES, interval, number, p_value, with_interval

PAPER_EXAMS = "Luo et al. 2019 (85 real exams, another cohort)"
CAPTIONS = {
    "roc.png": "ROC curves; of a few methods with the 95 % bands of resampled patients.",
    "angles.png": "Angles to w, first seed of each method, after Fig. 2 of Luo et al. 2019.",
    "maps.png": "Maps of the methods, after Fig. 3 of Luo et al. 2019, on exams at even ranks of the first "
    "method's error.",
}


def write_comparison(
    comparison: dict, methods: Sequence[MethodRuns], output: Path, maps: Figure | None = None
) -> Path:
    """Write all files of a comparison.

    Parameters
    ----------
    comparison : dict
        Of ``comparison.compare``.
    methods : sequence of MethodRuns
        That were compared.
    output : Path
        Their folder.
    maps : Figure, optional
        The methods' maps on some exams.

    Returns
    -------
    Path
        The page as Markdown.
    """
    paths = _draw(methods, output)
    paths += [save(maps, output / "maps.png")] if maps is not None else []
    pictures = [Picture(path, CAPTIONS[path.name]) for path in paths]
    page = comparison_page(comparison, pictures)
    write_json(output / "comparison.json", comparison)
    write_atomically(output / "comparison.md", markdown(page, output))
    write_atomically(output / "comparison.html", html(page))
    return output / "comparison.md"


def _draw(methods: Sequence[MethodRuns], output: Path) -> list[Path]:
    """ROC curves of the methods, and angles of the first seed of each."""
    note = note_of(methods[0].folders[0])
    paths = []
    if np.unique(methods[0].labels).size == 2:
        curves = [Curve(m.name, m.scores(), m.labels, m.patients) for m in methods]
        paths.append(save(roc(curves, note), output / "roc.png"))
    angles = [angles_of(m.folders[0], m.name) for m in methods if has_angles(m.folders[0])]
    return [*paths, *([save(draw_angles(angles, note), output / "angles.png")] if angles else [])]


def comparison_page(comparison: dict, pictures: Sequence[Picture]) -> Page:
    """A comparison as a page."""
    banner = "Simulated exams, research use only." if comparison["simulated"] else "Research use only."
    sections = [
        Section("Table 1", _table_1(comparison)),
        Section("What an AUC can come to", bounds_section(comparison)),
        Section("What the paper says", claims_section(comparison, _signed)),
        Section("Is the difference real?", _differences(comparison)),
        Section("Localisation", [*_localisation(comparison), *dice_section(comparison)]),
        Section("How the losses pull", _pulls(comparison)),
        Section("Runs", [_runs(comparison), *bases_section(comparison.get("bases") or ())]),
        Section("Figures", pictures),
    ]
    return Page("Comparison of methods", banner, sections)


def _table_1(comparison: dict) -> list[Block]:
    rows = []
    for row in comparison["rows"]:
        figures = comparison["methods"][row["method"]]["figures"]
        cells = [_mean(figures[key], 3) for key in TABLE_1]
        paper = number(row["paper"]["auc"]) if row["paper"] else "–"
        beside = [number(row["auc_of_size_alone"]), paper, number(row["seconds"], 2), row["labels"]]
        rows.append([row["method"], str(row["seeds"]), *cells, *beside])
    empty = ["–"] * 4
    for name in PAPER:
        title = f"{name} in Luo et al. 2019 (346 real exams, another cohort)"
        rows.append([title, "1", *paper_row(name), *empty])
    cohort = comparison["cohort"]
    head = ["Method", "Seeds", *(NAMES[key] for key in TABLE_1)]
    return [
        cohort[:1].upper() + cohort[1:] + ".",
        Table([*head, "AUC of the size alone", "AUC in the paper", "Seconds an exam", "Learned from"], rows),
        "Means over seeds. In brackets the 95 % interval from the choice of exams (AUC: "
        "DeLong; else bootstrap over patients), then ± the standard deviation over seeds. "
        "Thresholds are each run's own, frozen on its validation exams. "
        "The paper's rows come from other, real exams: their intervals are reckoned from its figures "
        "(Hanley–McNeil, Wilson).",
    ]


def _differences(comparison: dict) -> list[Block]:
    sentences = [one["sentence"] for one in comparison["differences"]]
    blocks: list[Block] = [Items(sentences or ["Only one method was given, so nothing is compared."])]
    names = {
        "auc": "AUC (DeLong, and the spread over seeds)",
        "auc_bootstrap": "AUC (bootstrap over patients)",
        **{key: NAMES[key] for key in AT_THRESHOLD},
    }
    rows = []
    for one in comparison["differences"]:
        rows += [
            [one["method"], name, _signed(one[key]), p_value(one[key]["p"])] for key, name in names.items()
        ]
        rows += [
            [one["method"], f"AUC, seed {run['seed']} (paired DeLong)", _signed(run), p_value(run["p"])]
            for run in one["delong"]
        ]
    if rows:
        head = ["Method", "Figure", f"Difference to {comparison['baseline']} (95 %)", "p"]
        blocks += [
            Table(head, rows),
            "All on the same test exams. The p values are not corrected for the number of comparisons.",
        ]
    return blocks


def _localisation(comparison: dict) -> list[Block]:
    head = ["Method", "Map", "Median, mm", "≤ 10 mm", "≤ 20 mm", "Peak inside the lesion", "Mean, mm"]
    blocks: list[Block] = []
    for protocol, text in (
        ("localisation", "Malignant exams called malignant, as in the paper:"),
        ("localisation_all", "All malignant exams:"),
    ):
        rows = [
            [method_name, map_name, *(_mean(figures[key], digits) for key, digits in DISTANCES.items())]
            for method_name, method in comparison["methods"].items()
            for map_name, figures in method[protocol].items()
        ]
        if protocol == "localisation":
            for name, (mean, sd) in PAPER_LOCALISATION.items():
                rows.append([PAPER_EXAMS, name, *["–"] * 4, f"{mean} (sd over exams {sd})"])
        blocks += [text, Table(head, rows)]
    ratios = [
        [name, _mean(method["cam_over_coam"], 2)]
        for name, method in comparison["methods"].items()
        if method["cam_over_coam"]
    ]
    if ratios:
        blocks += [
            "Mean distance of CAM over that of COAM, malignant exams called malignant:",
            Table(["Method", "CAM / COAM"], [*ratios, [PAPER_EXAMS, f"{PAPER_RATIO}"]]),
        ]
    return [
        *blocks,
        "Means over seeds ± their standard deviation; "
        "of a single seed the 95 % interval from the choice of exams.",
    ]


def _pulls(comparison: dict) -> list[Block]:
    rows = []
    for name, method in comparison["methods"].items():
        if not method["pull"]:
            continue
        spread = "; ".join(
            f"{'malignant' if int(label) else 'benign'} {low:.2f} to {high:.2f}"
            for label, (low, high) in method["pull"]["cosine"].items()
        )
        for margin, figures in method["pull"]["margins"].items():
            numbers = (number(figures[key], 2) for key in ("mean", "share", "misjudged"))
            rows.append([name, spread, f"{float(margin):g}", *numbers])
    head = ["Method", "cos θ, 5th to 95th percentile", "Margin", "Mean pull"]
    return [
        Table([*head, "Effective share of exams", "Share of the misjudged"], rows),
        "Validation exams, first seed. Pull: |σ(z) − y| with z = 20·(cos θ − I(y)·m), what the loss of eq. 4 "
        "(m = 0: eq. 3) gives back for an exam. "
        "Near 1 for all exams, the loss is linear in cos θ: it draws the mean "
        "features of the classes apart and does not heed the exams that are misjudged.",
    ]


def _runs(comparison: dict) -> Table:
    rows = []
    for name, method in comparison["methods"].items():
        for run in method["runs"]:
            figures = (number(run[key]) for key in AT_THRESHOLD)
            rows.append([name, run["folder"], str(run["seed"]), with_interval(run, "auc"), *figures])
    return Table(["Method", "Run", "Seed", "AUC (95 %)", *(NAMES[key] for key in AT_THRESHOLD)], rows)


def _mean(figures: dict, digits: int) -> str:
    text = number(figures["mean"], digits)
    if (between := interval(figures.get("exams_95"), digits)) != "–":
        text += f" ({between})"
    return text + (f" ± {figures['sd']:.{digits}f}" if figures.get("sd") is not None else "")


def _signed(figures: dict) -> str:
    low, high = figures["difference_95"]
    text = "–" if figures["difference"] is None else f"{figures['difference']:+.3f}"
    return text if low is None else f"{text} ({low:+.3f} to {high:+.3f})"
