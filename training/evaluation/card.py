"""The model card of an evaluated run, as Markdown and as one HTML file: ``python training/card.py RUN``."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.evaluation import metrics  # noqa: E402

# Luo et al. 2019, Table 1: 346 real exams of one hospital, 231 malignant and 115 benign by its sensitivities and specificities
TABLE_1 = ("accuracy", "sensitivity", "specificity", "f1", "auc")
PAPER = {
    "2D MIL": (0.789, 0.870, 0.626, 0.846, 0.842),
    "3D ResNet": (0.821, 0.840, 0.783, 0.862, 0.880),
    "3D Sparse MIL": (0.832, 0.857, 0.783, 0.872, 0.885),
    "3D DK-MT": (0.824, 0.896, 0.643, 0.864, 0.883),
    "3D ResNet + NSL": (0.821, 0.840, 0.783, 0.862, 0.874),
    "3D ResNet + CMSL": (0.855, 0.857, 0.852, 0.888, 0.902),
}
PAPER_MALIGNANT, PAPER_BENIGN = 231, 115
PAPER_LOCALISATION = {"CAM": (39.84, 8.82), "COAM": (18.26, 13.65)}  # mm, mean and standard deviation over 85 malignant exams
PAPER_RATIO = 2.18

NAMES = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1", "auc": "AUC"}
NAMES |= {"ppv": "Positive predictive value", "npv": "Negative predictive value"}
POINTS = {
    "youden": "Youden (largest sensitivity + specificity)",
    "paper_sensitivity": "sensitivity of the paper's CMSL, 0.857",
    "sensitivity_95": "sensitivity 0.95",
}
FIGURES = {
    "roc.png": "ROC curve on the test exams, with the 95 % band of resampled patients and the frozen operating points.",
    "reliability.png": "Calibration on the test exams: share malignant against predicted probability, in bins of equal size.",
    "angles.png": "Angle between each test exam's pooled feature and the head's weight w, after Fig. 2 of Luo et al. 2019.",
    "maps.png": "Maps (CAM, COAM and, where the model makes one, the lesion map) on "
    "malignant test exams called malignant, at even ranks of COAM's error, after Fig. 3 of Luo et al. 2019. "
    "Circle: the lesion; cross: the map's highest point (× where it lies more than 5 mm above or below this slice).",
    "curves.png": "Losses and validation AUC while training.",
}


# --- numbers as text ---


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def interval(low_high: Sequence[float | None] | None, digits: int = 3) -> str:
    if low_high is None or any(v is None or v != v for v in low_high):
        return "–"
    return (
        f"{low_high[0]:.{digits}f} to {low_high[1]:.{digits}f}" if low_high[0] < 0 else f"{low_high[0]:.{digits}f}–{low_high[1]:.{digits}f}"
    )


def with_interval(figures: dict, key: str, digits: int = 3) -> str:
    """ "0.902 (0.871–0.933)" from ``figures[key]`` and ``figures[key + "_95"]``."""
    value, between = number(figures.get(key), digits), interval(figures.get(f"{key}_95"), digits)
    return value if between == "–" else f"{value} ({between})"


def distance(figures: dict) -> str:
    """ "18.3 ± 13.7 (15.4–21.2)": mean ± standard deviation (interval of the mean), in mm."""
    value = f"{number(figures.get('mean_mm'), 1)} ± {number(figures.get('sd_mm'), 1)}"
    between = interval(figures.get("mean_mm_95"), 1)
    return value if between == "–" else f"{value} ({between})"


def paper_row(name: str) -> list[str]:
    """A row of the paper's Table 1; intervals reckoned from the values: Hanley–McNeil for the AUC, Wilson for proportions."""
    values = dict(zip(TABLE_1, PAPER[name]))
    sizes = {"accuracy": PAPER_MALIGNANT + PAPER_BENIGN, "sensitivity": PAPER_MALIGNANT, "specificity": PAPER_BENIGN}
    cells = []
    for key, value in values.items():
        if key == "auc":
            between = metrics.hanley_mcneil_interval(value, PAPER_MALIGNANT, PAPER_BENIGN)
        elif key in sizes:
            between = metrics.wilson([n < round(value * sizes[key]) for n in range(sizes[key])])
        else:
            between = None
        cells.append(number(value) if between is None else f"{number(value)} ({interval(between)})")
    return cells


# --- blocks, and the two ways to write them ---


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Items:
    texts: Sequence[str]


@dataclass(frozen=True)
class Picture:
    path: Path
    caption: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Section:
    """title, and blocks: plain text is a paragraph."""

    title: str
    blocks: Sequence[str | Table | Items | Picture | Code]


def markdown(title: str, banner: str, sections: Sequence[Section], folder: Path) -> str:
    """Markdown, with pictures by their path relative to the folder."""
    lines = [f"# {_plain(title)}", "", f"> {_plain(banner)}", ""]
    for section in sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            if isinstance(block, Table):
                lines += [markdown_table(block), ""]
            elif isinstance(block, Items):
                lines += [*(f"- {_plain(text)}" for text in block.texts), ""]
            elif isinstance(block, Picture):
                place = Path(os.path.relpath(block.path, folder)).as_posix().replace(" ", "%20")
                lines += [f"![{_plain(block.caption)}]({place})", "", _plain(block.caption), ""]
            elif isinstance(block, Code):
                fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", block.text))]))
                lines += [f"{fence}sh", block.text, fence, ""]
            else:
                lines += [_plain(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(cell if n == 1 else _plain(cell) for cell in row) + " |" for n, row in enumerate(rows))


def _plain(text: object) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", escape(" ".join(str(text).split()), quote=False))


_STYLE = """
body { margin: 0 auto; padding: 0 24px 32px; max-width: 940px; color: #1b1f24; background: #fff;
  font: 14.5px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.banner { margin: 0 -24px; padding: 8px 24px; background: #8a4b00; color: #fff; font-weight: 600; }
h1 { margin: 20px 0 4px; font-size: 24px; }
h2 { margin: 26px 0 6px; font-size: 17px; border-bottom: 1px solid #d8dde3; padding-bottom: 3px; }
table { border-collapse: collapse; margin: 8px 0 12px; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #edf0f3; }
th { color: #5b6570; font-weight: 600; } figure { margin: 14px 0 20px; break-inside: avoid; }
figure img { max-width: 100%; max-height: 620px; } figcaption { color: #5b6570; font-size: 12.5px; }
pre { padding: 8px 10px; background: #f4f6f8; border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
td { overflow-wrap: break-word; } td.short { white-space: nowrap; } .wide { overflow-x: auto; }
@page { size: A4; margin: 14mm; }
@media print { body { padding: 0; max-width: none; font-size: 11.5px; }
  .banner { margin: 0; -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def html(title: str, banner: str, sections: Sequence[Section]) -> str:
    """One page that needs nothing else: pictures inside, no script, every text escaped."""
    body = [f'<div class="banner">{escape(banner)}</div>', f"<h1>{escape(title)}</h1>"]
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        for block in section.blocks:
            if isinstance(block, Table):
                head = "".join(f"<th>{escape(str(cell))}</th>" for cell in block.head)
                rows = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in block.rows)
                body.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>')
            elif isinstance(block, Items):
                body.append("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in block.texts) + "</ul>")
            elif isinstance(block, Picture):
                data, caption = base64.b64encode(block.path.read_bytes()).decode("ascii"), escape(block.caption)
                body.append(f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>')
            elif isinstance(block, Code):
                body.append(f"<pre>{escape(block.text)}</pre>")
            else:
                body.append(f"<p>{escape(block)}</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _cell(text: object) -> str:
    """Figures stay on one line with their interval."""
    short = ' class="short"' if len(str(text)) <= 28 else ""
    return f"<td{short}>{escape(str(text))}</td>"


# --- what the card says ---


def sections(folder: Path) -> tuple[str, str, list[Section]]:
    """Title, banner and sections. Raises InputError for a run that was not evaluated."""
    from training.evaluate import read_evaluation, read_split
    from training.runs.folder import read_rows

    held = read_evaluation(folder)
    config, environment = _json(folder / "config.json"), _json(folder / "environment.json", {})
    bundle = _bundle_card(folder, held)
    evidence, split = held["evidence"], read_split(folder)
    simulated = evidence["simulated"]
    banner = f"Research use only, not for diagnosis. Trained on {bundle['training_data']}."
    parts = [
        Section("What it is", _description(config, bundle)),
        Section("Intended use", [_intended(simulated)]),
        Section("Not for", [Items(_not_for(simulated))]),
        Section("Data", _data(config, evidence, split, read_rows(folder / "ancestry.csv"))),
        Section("Training", _training(config)),
        Section("Classification", _classification(evidence)),
        Section("Operating points", _operating_points(evidence)),
        Section("Calibration", _calibration(evidence)),
        Section("Localisation", _localisation(evidence)),
        Section("Limits", [Items(_limits(held, simulated))]),
        Section("Provenance", _provenance(held, config, environment)),
    ]
    pictures = [Picture(folder / "figures" / name, caption) for name, caption in FIGURES.items() if (folder / "figures" / name).is_file()]
    if pictures:
        parts.append(Section("Figures", pictures))
    return f"Model card: {bundle['name']}", banner, parts


def _description(config: dict, bundle: dict) -> list:
    network, contract = config["network"], config["input"]
    stride = network["stem_stride"] * (2 if network["stem_pool"] else 1)
    for step in network["strides"]:
        stride *= step
    size, blocks = " × ".join(str(n) for n in contract["size"]), ", ".join(str(n) for n in network["blocks"])
    cell, voxel = stride * contract["spacing_mm"], contract["spacing_mm"]
    head = "s·cos θ of the pooled feature and w" if network["head"] == "cosine" else "w·x + b of the pooled feature x"
    rows = [
        ("Description", bundle["description"]),
        ("Reads", f"{contract['phases']} subtractions of one breast DCE-MRI exam: {size} voxels (LR × AP × SI) of {voxel:g} mm"),
        ("Gives", "a probability of malignancy for the exam, and maps of where it comes from"),
        ("Network", f"3-D ResNet, blocks {blocks}; width {network['width']}; one cell every {cell:g} mm"),
        ("Head", f"{head}; pooling: {network['pooling']}; order: {network.get('order', 'pool-classify')}"),
        ("Weights", f"{bundle['weights']['bytes'] / 1e6:.1f} MB, SHA-256 {bundle['weights']['sha256']}"),
    ]
    return [
        "After Luo et al. 2019, Deep Angular Embedding and Feature Correlation Attention for Breast MRI Cancer Analysis.",
        Table(("", ""), rows),
    ]


def _intended(simulated: bool) -> str:
    text = (
        "Research: developing and comparing methods, teaching, and testing software on breast DCE-MRI, by people who can read such exams."
    )
    return text + (" It has learned from simulated exams only: on exams of patients its score is an experiment." if simulated else "")


def _not_for(simulated: bool) -> list[str]:
    return [
        "Diagnosis, screening, triage, or any decision about a patient.",
        "Exams without contrast agent, of one phase, after surgery or with implants: none were in the training data."
        if simulated
        else "Exams unlike those it was trained and tested on, by scanner, protocol or population.",
        "Outlining a lesion: the maps are coarse and say where the score comes from, not where a lesion ends.",
    ]


def _data(config: dict, evidence: dict, split: list[dict], ancestry: list[dict]) -> list:
    """ancestry: patient and split of what the runs that this one started from have seen."""
    rows = []
    for part, name in (("train", "training"), ("validate", "validation"), ("test", "test")):
        exams = [r for r in split if r["split"] == part]
        rows.append((name, str(len(exams)), str(len({r["patient"] for r in exams})), str(sum(r["label"] for r in exams))))
    kind = "All exams are simulated; no patient was involved. " if evidence["simulated"] else ""
    text = f"{kind}Split by patient: nobody is in two parts. Supervision: {evidence['supervision']}."
    if ancestry:
        learned, chosen = (len({r["patient"] for r in ancestry if r["split"] == part}) for part in ("train", "validate"))
        text += f" The runs it started from learned from {learned} other patients and were chosen by {chosen}."
    if config.get("limit"):
        text += f" Only the first {config['limit']} training exams were used."
    return [evidence["cohort"][:1].upper() + evidence["cohort"][1:] + ".", text, Table(("Part", "Exams", "Patients", "Malignant"), rows)]


def _training(config: dict) -> list:
    names = ("recipe", "objective", "seed", "epochs", "batch", "rate", "schedule", "weight_decay", "patience")
    rows = [(name.replace("_", " "), str(config[name])) for name in names if name in config]
    if config["objective"] == "cmsl":
        rows.append(
            ("margin m, scale s", f"{config['margin']:g}, {config['network']['scale']:g}; warm-up {config.get('margin_warmup', 0)} epochs")
        )
    if config.get("init"):
        rows.append(("started from", f"the run {Path(config['init']).name}"))
    return [
        Table(("Setting", "Value"), rows),
        "All settings are in the run's config.json. The weights are those of the best validation AUC.",
    ]


def _classification(evidence: dict) -> list:
    found = evidence["classification"]
    reference = dict(zip(TABLE_1, paper_row("3D ResNet + CMSL")))
    rows = [(NAMES[key], with_interval(found, key), reference.get(key, "–")) for key in (*TABLE_1, "ppv", "npv")]
    counted = f"TP {found['tp']}, FN {found['fn']}, FP {found['fp']}, TN {found['tn']}"
    return [
        f"{found['n']} test exams, {found['malignant']} malignant. "
        f"Called malignant at a probability of {found['threshold']:.3f} and above: {counted}.",
        Table(("", "This model (95 % interval)", "CMSL in Luo et al. 2019: 346 real exams, another cohort"), rows),
        f"Intervals: {evidence['intervals']}. Predictive values hold for this cohort's share of malignant exams, "
        f"{number(found['malignant'] / found['n'], 2)}, and for no clinic's.",
    ]


def _operating_points(evidence: dict) -> list:
    rows = []
    for name, point in evidence["operating_points"].items():
        label = POINTS.get(name, name) + (" (default)" if point["default"] else "")
        held = f"{number(point['validation']['sensitivity'])} / {number(point['validation']['specificity'])}"
        rows.append(
            (
                label,
                f"{point['threshold']:.3f}",
                held,
                with_interval(point["test"], "sensitivity"),
                with_interval(point["test"], "specificity"),
            )
        )
    head = ("Chosen for", "Threshold", "Validation: sensitivity / specificity", "Sensitivity on test", "Specificity on test")
    return ["Frozen on the validation exams, on the calibrated probability, before any test exam was read.", Table(head, rows)]


def _calibration(evidence: dict) -> list:
    found = evidence["calibration"]
    rows = [
        ("Temperature (fitted on validation)", f"{found['temperature']:.3f}"),
        (
            "Brier score",
            f"{with_interval(found, 'brier')}; always saying the share of malignant exams scores {number(found['brier_of_prevalence'])}",
        ),
        (
            "Expected calibration error",
            f"{with_interval(found, 'ece')}; a perfect model of this size stays below {number(found['ece_by_chance'])}",
        ),
        ("Mean probability − share malignant", with_interval(found, "in_the_large")),
    ]
    return [Table(("", "On the test exams (95 % interval)"), rows)]


def localisation_table(by_map: dict[str, dict]) -> Table:
    head = ("Map", "n", "Distance, mean ± sd (95 %), mm", "Median, mm", "≤ 10 mm", "≤ 20 mm", "Peak inside the lesion")
    rows = []
    for name, found in by_map.items():
        label = "feature norm (null)" if name == "NORM" else name
        shares = [with_interval(found, key, 2) for key in ("hit10", "hit20", "pointing")]
        rows.append((label, str(found["n"]), distance(found), with_interval(found, "median_mm", 1), *shares))
    return Table(head, rows)


def _localisation(evidence: dict) -> list:
    blocks: list = [
        "Distance from the map's highest point inside the breast mask to the centre of the nearest malignant lesion. "
        "The paper's protocol: malignant exams called malignant.",
        localisation_table(evidence["localisation"]),
        "All malignant exams, also those the model missed:",
        localisation_table(evidence["localisation_all"]),
    ]
    if evidence.get("cam_over_coam", {}).get("ratio") is not None:
        blocks.append(f"Mean distance of CAM over that of COAM: {with_interval(evidence['cam_over_coam'], 'ratio', 2)}.")
    values = "; ".join(f"{name} {mean:.2f} ± {sd:.2f} mm" for name, (mean, sd) in PAPER_LOCALISATION.items())
    return [*blocks, f"Luo et al. 2019 report, on 85 real exams of another cohort: {values}, a ratio of {PAPER_RATIO}."]


def _limits(held: dict, simulated: bool) -> list[str]:
    evidence = held["evidence"]
    found = evidence["classification"]
    low, high = found["auc_95"]
    texts = []
    if simulated:
        texts.append("Trained and tested on simulated exams of one simulator: nothing here says how it would do on patients.")
    if low is not None:
        texts.append(
            f"With {found['n']} test exams an AUC between {low:.3f} and {high:.3f} fits what was seen; smaller differences are noise."
        )
    texts += [
        f"One training seed ({evidence['seed']}): another seed gives other figures, and no interval here counts that.",
        "COAM knows no class: a benign lesion or a vessel that enhances more than the cancer may hold its highest point.",
        "One temperature corrects how sure the model is, not a shift of all probabilities, as another share of malignant exams brings.",
    ]
    times = held["evaluations"]
    texts.append(
        "The test exams were read once."
        if times == 1
        else f"The test exams were read {times} times by evaluations of this run: its figures may be better than those of exams never seen."
    )
    return texts


def _provenance(held: dict, config: dict, environment: dict) -> list:
    evidence = held["evidence"]
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items() if version)
    rows = [
        ("Weights, SHA-256", held["bundle"]["sha256"]),
        ("Evaluated", f"{held['history'][-1]['finished']}, evaluation {held['evaluations']} of this run"),
        ("Computed on", f"{held['speed']['device']}, {evidence['precision']}, {held['speed']['seconds_per_exam']} s an exam"),
        ("Seed", str(evidence["seed"])),
        ("Code", environment.get("commit") or "unknown"),
        ("Trained with", f"Python {environment.get('python', 'unknown')}, {packages}" if environment else "unknown"),
    ]
    return [
        Table(("", ""), rows),
        f"Training: recipe {config['recipe']} with the settings in the run's config.json. Evaluation (RUN and CACHE are folders):",
        Code(evidence["command"]),
    ]


def _bundle_card(folder: Path, held: dict) -> dict:
    path = Path(held["bundle"]["file"])
    card = _json(path if path.exists() else folder / path.name)
    if card["weights"]["sha256"] != held["bundle"]["sha256"]:
        raise InputError(f"{path.name} holds other weights than those that were evaluated; run python training/evaluate.py {folder} again.")
    return card


def _json(path: Path, default: dict | None = None) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise InputError(f"{path} is missing; evaluate the run again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read; evaluate the run again.") from error


# --- outputs ---


def write_card(folder: Path) -> list[Path]:
    """RUN/card.md and RUN/card.html; the pictures are those in RUN/figures."""
    from training.data.cache import write_atomically

    title, banner, parts = sections(folder)
    paths = [folder / "card.md", folder / "card.html"]
    write_atomically(paths[0], markdown(title, banner, parts, folder))
    write_atomically(paths[1], html(title, banner, parts))
    return paths


def console(held: dict) -> str:
    """Table 1 and the localisation of one evaluation, for the terminal."""
    evidence = held["evidence"]
    found = evidence["classification"]
    head = ["", *(NAMES[key] for key in TABLE_1)]
    mine = [evidence["objective"].upper(), *(with_interval(found, key) for key in TABLE_1)]
    paper = ["CMSL in the paper (real exams, another cohort)", *paper_row("3D ResNet + CMSL")]
    lines = [evidence["cohort"], "", *_aligned([head, mine, paper]), "", "malignant exams called malignant (the paper's protocol):"]
    table = localisation_table(evidence["localisation"])
    lines += [*_aligned([table.head, *table.rows]), "", "all malignant exams:"]
    table = localisation_table(evidence["localisation_all"])
    paper_mm = ", ".join(f"{name} {mean} ± {sd} mm" for name, (mean, sd) in PAPER_LOCALISATION.items())
    return "\n".join([*lines, *_aligned([table.head, *table.rows]), "", f"in the paper (85 real exams, another cohort): {paper_mm}", ""])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    o = parser.parse_args(arguments)
    for path in write_card(o.run):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
