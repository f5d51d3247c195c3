"""The page of a comparison of ways to find the lesion: localisation.md."""

from __future__ import annotations

from . import lesion_kinds, metrics
from .coam_parts import parts_table
from .localisation_figures import FAR_MM
from .pages import Table, markdown_table
from .texts import interval, number, taught_by


def markdown(result: dict) -> str:
    """localisation.md."""
    kind, choice = "simulated exams" if result["simulated"] else "exams", result["choice"]
    lines = [
        f"{result['n']} malignant {result['split']} {kind}, {result['called']} of them called malignant; "
        f"grid {result['spacing_mm']:g} mm, cells {result['cell_mm']:.1f} mm; {taught_by(result)}; "
        f"seed {result['seed']}; {result['precision']}. Research use only.",
        "",
        f"`{result['command']}`",
        "",
        f"In {result['outside_mask']} exams ({result['outside_mask_called']} "
        "of those called malignant) no voxel of "
        "the lesion lies inside the breast mask: no method can point at it, and the network cannot see it.",
        "",
        "Distance in mm from the peak to the centre of the malignant lesion; "
        f"in brackets {metrics.CONFIDENCE:.0%} of a bootstrap over patients.",
        f"Best: {choice['best']}. Best within twice the time of COAM: {choice['default']}.",
    ]
    for protocol, title in (("called", "Malignant exams called malignant"), ("all", "All malignant exams")):
        lines += ["", f"**{title}**", "", markdown_table(_protocol_table(result["methods"], protocol))]
    lines += ["", "By the score, over the malignant exams that score highest:", ""]
    lines += [markdown_table(_score_table(result["by_score"])), ""]
    lines += [
        f"What was hit where the peak misses by more than {FAR_MM:g} mm (all malignant exams):",
        "",
    ]
    for name in dict.fromkeys(("COAM", "CAM", choice["default"], choice["best"])):
        hits = ", ".join(f"{what} {count}" for what, count in result["methods"][name]["hit_instead"].items())
        lines.append(f"- {name}: {hits or 'nothing'}")
    if result["kinds"]:
        lines += ["", "By the kind of lesion (the peak in its box, grown by a window's stride):", ""]
        lines.append(markdown_table(lesion_kinds.kinds_table(result["kinds"])))
    if result["coam_by_stage"]:
        lines += ["", "COAM by its parts, mean of the exams, and median distance of its peak:", ""]
        lines.append(markdown_table(parts_table(result["coam_by_stage"])))
    return "\n".join(lines) + "\n"


def _protocol_table(methods: dict[str, dict], protocol: str) -> Table:
    head = (
        "Method",
        "median",
        "≤ 10 mm",
        "≤ 20 mm",
        "pointing",
        "mean ± sd",
        "Dice map",
        "Dice outline",
        "s",
    )
    rows = []
    for name, figures in methods.items():
        of = figures[protocol]
        shares = (number(of[key]) for key in ("hit10", "hit20", "pointing"))
        dice = (number(of[key], 2) for key in ("dice_map", "dice_outline"))
        mean = f"{_mean(of)}{_brackets(of, 'mean_mm')}"
        median = f"{number(of['median_mm'], 1)}{_brackets(of, 'median_mm')}"
        rows.append((name, median, *shares, mean, *dice, number(figures["seconds"])))
    return Table(head, rows)


def _score_table(by_score: dict[str, list[dict]]) -> Table:
    rows = []
    for name, groups in by_score.items():
        for of in groups:
            shares = (number(of[key]) for key in ("hit10", "pointing"))
            rows.append(
                (name, f"{of['share']:.0%}", str(of["n"]), number(of["median_mm"], 1), *shares, _mean(of))
            )
    return Table(("Method", "share", "n", "median", "≤ 10 mm", "pointing", "mean ± sd"), rows)


def _mean(figures: dict) -> str:
    return f"{number(figures['mean_mm'], 1)} ± {number(figures['sd_mm'], 1)}"


def _brackets(figures: dict, key: str) -> str:
    between = interval(figures.get(f"{key}_95"), 1)
    return "" if between == "–" else f" ({between})"
