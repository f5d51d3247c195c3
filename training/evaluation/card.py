"""The model card of an evaluated run, as Markdown and as one HTML file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.cards import Card, read_card
from training.data.files import read_rows, write_atomically

from .pages import Block, Code, Items, Page, Picture, Section, Table, aligned_table, html, markdown
from .paper import PAPER_LOCALISATION, PAPER_RATIO, TABLE_1, paper_row
from .records import read_config, read_evaluation
from .scored_exams import NULL_MAP
from .splits import read_split
from .texts import NAMES, distance, interval, number, taught_by, with_interval

POINTS = {
    "youden": "Youden (largest sensitivity + specificity)",
    "paper_sensitivity": "sensitivity of the paper's CMSL, 0.857",
    "sensitivity_95": "sensitivity 0.95",
    "sensitivity_90": "sensitivity 0.90",
    "sensitivity_85": "sensitivity 0.85",
}
FIGURES = {
    "roc.png": (
        "ROC curve on the test exams, "
        "with the 95 % band of resampled patients and the frozen operating points."
    ),
    "reliability.png": (
        "Calibration on the test exams: share malignant against predicted probability, in bins of equal size."
    ),
    "angles.png": (
        "Angle between each test exam's pooled feature and the head's weight w, after Fig. "
        "2 of Luo et al. 2019."
    ),
    "maps.png": (
        "Maps (CAM, COAM and, where the model makes one, "
        "the lesion map) on malignant test exams called malignant, "
        "at even ranks of COAM's error, after Fig. 3 of Luo et al. "
        "2019. Circle: the lesion; cross: the map's "
        "highest point (× where it lies more than 5 mm above or below this slice)."
    ),
    "curves.png": "Losses and validation AUC while training.",
}
PAPER_COHORT = "another cohort"
PARTS = {"train": "training", "validate": "validation", "test": "test"}


def write_card(folder: Path) -> list[Path]:
    """Write RUN/card.md and RUN/card.html; the pictures are those in RUN/figures.

    Raises InputError for a run that was not evaluated.
    """
    page, paths = card_page(folder), [folder / "card.md", folder / "card.html"]
    write_atomically(paths[0], markdown(page, folder))
    write_atomically(paths[1], html(page))
    return paths


def card_page(folder: Path) -> Page:
    """The card of an evaluated run. Raises InputError for a run that was not evaluated."""
    evaluation, config = read_evaluation(folder), read_config(folder)
    bundle, evidence = _bundle_card(folder, evaluation), evaluation["evidence"]
    simulated = evidence["simulated"]
    sections = [
        Section("What it is", _description(config, bundle, evaluation["bundle"]["bytes"])),
        Section("Intended use", [_intended(simulated)]),
        Section("Not for", [Items(_not_for(simulated))]),
        Section(
            "Data", _data(config, bundle, evidence, read_split(folder), read_rows(folder / "ancestry.csv"))
        ),
        Section("Training", _training(config)),
        *_evidence_sections(evidence),
        Section("Limits", [Items(_limits(evidence, evaluation["evaluations"]))]),
        Section("Provenance", _provenance(evaluation, config, _environment(folder))),
    ]
    paths = [folder / "figures" / name for name in FIGURES]
    if pictures := [Picture(path, FIGURES[path.name]) for path in paths if path.is_file()]:
        sections.append(Section("Figures", pictures))
    return Page(f"Model card: {bundle.name}", _banner(bundle), sections)


def bundle_page(bundle: Card) -> Page:
    """The card of a bundle without its run: what it is, its evidence, and their limits."""
    content, evidence = bundle.content, bundle.evidence
    config = {"network": content["architecture"], "input": content["input"]}
    sections = [
        Section("What it is", _description(config, bundle, content["weights"]["bytes"])),
        *([Section("Candidates", [_candidates(content["candidates"])])] if bundle.has_candidates else []),
        Section("Intended use", [_intended(evidence["simulated"])]),
        Section("Not for", [Items(_not_for(evidence["simulated"]))]),
        Section("Data", [f"{evidence['cohort']}. Supervision: {taught_by(evidence)}."]),
        *_evidence_sections(evidence),
        Section("Limits", [Items(_limits(evidence, evidence["evaluations"]))]),
        Section("Made by", ["RUN and CACHE are folders.", Code(evidence["command"])]),
    ]
    return Page(f"Model card: {bundle.name}", _banner(bundle), sections)


def _banner(bundle: Card) -> str:
    text = f"Research use only, not for diagnosis. Trained on {bundle.training_data}."
    return " ".join([text, *_doubts(bundle.evidence)])


def _doubts(evidence: dict) -> list[str]:
    """What is doubted of a model, behind words that nobody overlooks."""
    doubts = evidence.get("doubts", [])
    return ["DO NOT RELY ON THIS MODEL.", *doubts] if doubts else []


def _evidence_sections(evidence: dict) -> list[Section]:
    return [
        Section("Classification", _classification(evidence)),
        Section("Operating points", _operating_points(evidence)),
        Section("Calibration", _calibration(evidence)),
        Section("Localisation", _localisation(evidence)),
    ]


def console(evaluation: dict) -> str:
    """Table 1 and the localisation of one evaluation, for the terminal."""
    evidence = evaluation["evidence"]
    mine = [with_interval(evidence["classification"], key) for key in TABLE_1]
    paper = [f"CMSL in the paper (real exams, {PAPER_COHORT})", *paper_row("3D ResNet + CMSL")]
    head = ["", *(NAMES[key] for key in TABLE_1)]
    distances = ", ".join(f"{name} {mean} ± {sd} mm" for name, (mean, sd) in PAPER_LOCALISATION.items())
    return "\n".join(
        [
            evidence["cohort"],
            "",
            *aligned_table(Table(head, [[evidence["method"].upper(), *mine], paper])),
            "",
            "malignant exams called malignant (the paper's protocol):",
            *aligned_table(_localisation_table(evidence["localisation"])),
            "",
            "all malignant exams:",
            *aligned_table(_localisation_table(evidence["localisation_all"])),
            "",
            f"in the paper (85 real exams, {PAPER_COHORT}): {distances}",
            "",
            *_doubts(evidence),
        ]
    )


# --- what the card says ---


def _description(config: dict, bundle: Card, size: int) -> list[Block]:
    network, contract = config["network"], config["input"]
    stride = network["stem_stride"] * (2 if network["stem_pool"] else 1) * math.prod(network["strides"])
    voxels = " × ".join(str(n) for n in contract["size"])
    blocks = ", ".join(str(n) for n in network["blocks"])
    head = (
        "s·cos θ of the pooled feature and w"
        if network["head"] == "cosine"
        else "w·x + b of the pooled feature x"
    )
    rows = [
        ("Description", bundle.description),
        (
            "Reads",
            f"{contract['phases']} subtractions of one breast DCE-MRI exam: {voxels} voxels (LR × AP × SI) "
            f"of {contract['spacing_mm']:g} mm",
        ),
        ("Gives", "a probability of malignancy for the exam, and maps of where it comes from"),
        (
            "Network",
            f"3-D ResNet, blocks {blocks}; width {network['width']}; "
            f"one cell every {stride * contract['spacing_mm']:g} mm",
        ),
        ("Head", f"{head}; pooling: {network['pooling']}; order: {network.get('order', 'pool-classify')}"),
        ("Weights", f"{size / 1e6:.1f} MB, SHA-256 {bundle.sha256}"),
    ]
    return [
        "After Luo et al. "
        "2019, Deep Angular Embedding and Feature Correlation Attention for Breast MRI Cancer Analysis.",
        Table(("", ""), rows),
    ]


def _candidates(settings: dict) -> Table:
    a, b, c = settings["mix"]
    members, without = settings["members"], settings["members_without_curve"]
    rows = [
        ("Found and described at", f"{settings['grid_mm']:g} mm, by {len(settings['features'])} features"),
        ("Ensemble", f"{members} members, and {without} that do not see curve and wash-out"),
        ("The exam's logit", f"{a:.2f} · network + {b:.2f} · candidates + {c:.2f}"),
    ]
    return Table(("", ""), rows)


def _intended(simulated: bool) -> str:
    text = (
        "Research: developing and comparing methods, teaching, and testing software on breast DCE-MRI, "
        "by people who can read such exams."
    )
    if simulated:
        text += " It has learned from simulated exams only: on exams of patients its score is an experiment."
    return text


def _not_for(simulated: bool) -> list[str]:
    if simulated:
        unlike = "Exams without contrast agent, of one phase, after surgery or with implants: "
        unlike += "none were in the training data."
    else:
        unlike = "Exams unlike those it was trained and tested on, by scanner, protocol or population."
    return [
        "Diagnosis, screening, triage, or any decision about a patient.",
        unlike,
        "Outlining a lesion: "
        "the maps are coarse and say where the score comes from, not where a lesion ends.",
    ]


def _data(
    config: dict, bundle: Card, evidence: dict, split: Sequence[dict], ancestry: Sequence[dict]
) -> list[Block]:
    """ancestry: patient and split of what the runs that this one started from have seen."""
    rows = []
    for part, name in PARTS.items():
        exams = [row for row in split if row["split"] == part]
        patients, malignant = len({row["patient"] for row in exams}), sum(row["label"] for row in exams)
        rows.append((name, str(len(exams)), str(patients), str(malignant)))
    if evidence["simulated"]:
        kind = "All exams are simulated; no patient was involved."
    else:
        kind = f"Learned from {bundle.training_data}."
        if any(row.get("seed") for row in split):
            made = {
                part: sum(bool(row.get("seed")) for row in split if row["split"] == part) for part in PARTS
            }
            kind += f" Simulated are {', '.join(f'{n} {PARTS[part]}' for part, n in made.items())} exams."
    text = f"{kind} Split by patient: nobody is in two parts. Supervision: {taught_by(evidence)}."
    if ancestry:
        learned, chosen = (
            len({row["patient"] for row in ancestry if row["split"] == part})
            for part in ("train", "validate")
        )
        text += (
            f" Other exams that it or the runs it started from have seen: those of {learned} patients or "
            f"simulations to learn from, of {chosen} to choose by."
        )
    if config.get("limit"):
        text += f" Only the first {config['limit']} training exams were used."
    table = Table(("Part", "Exams", "Patients", "Malignant"), rows)
    return [evidence["cohort"][:1].upper() + evidence["cohort"][1:] + ".", text, table]


def _training(config: dict) -> list[Block]:
    names = ("recipe", "method", "seed", "epochs", "batch", "rate", "schedule", "weight_decay", "patience")
    rows = [(name.replace("_", " "), str(config[name])) for name in names if name in config]
    if config["method"] == "cmsl":
        numbers = f"{config['margin']:g}, {config['network']['scale']:g}"
        rows.append(("margin m, scale s", f"{numbers}; warm-up {config.get('margin_warmup', 0)} epochs"))
    if config.get("init"):
        kind = "bundle" if config["init"].endswith(".json") else "run"
        rows.append(("started from", f"the {kind} {Path(config['init']).name.removesuffix('.json')}"))
    return [
        Table(("Setting", "Value"), rows),
        "All settings are in the run's config.json. The weights are those of the best validation AUC.",
    ]


def _classification(evidence: dict) -> list[Block]:
    figures = evidence["classification"]
    reference = dict(zip(TABLE_1, paper_row("3D ResNet + CMSL")))
    rows = [
        (NAMES[key], with_interval(figures, key), reference.get(key, "–")) for key in (*TABLE_1, "ppv", "npv")
    ]
    counts = ", ".join(f"{key.upper()} {figures[key]}" for key in ("tp", "fn", "fp", "tn"))
    paper = f"CMSL in Luo et al. 2019: 346 real exams, {PAPER_COHORT}"
    return [
        f"{figures['n']} test exams, {figures['malignant']} malignant. "
        f"Called malignant at a probability of {figures['threshold']:.3f} and above: {counts}.",
        Table(("", "This model (95 % interval)", paper), rows),
        f"Intervals: {evidence['intervals']}. "
        "Predictive values hold for this cohort's share of malignant exams, "
        f"{number(figures['malignant'] / figures['n'], 2)}, and for no clinic's.",
    ]


def _operating_points(evidence: dict) -> list[Block]:
    rows = []
    for name, point in evidence["operating_points"].items():
        validation = (number(point["validation"][key]) for key in ("sensitivity", "specificity"))
        rows.append(
            (
                POINTS.get(name, name) + (" (default)" if point["default"] else ""),
                f"{point['threshold']:.3f}",
                " / ".join(validation),
                with_interval(point["test"], "sensitivity"),
                with_interval(point["test"], "specificity"),
            )
        )
    source = evidence.get("calibrated_on", "the validation exams")
    place = "There" if "calibrated_on" in evidence else "Validation"
    head = ("Chosen for", "Threshold", f"{place}: sensitivity / specificity")
    head += ("Sensitivity on test", "Specificity on test")
    return [
        f"Frozen on {source}, on the calibrated probability, before any test exam was read.",
        Table(head, rows),
    ]


def _calibration(evidence: dict) -> list[Block]:
    figures, source = evidence["calibration"], evidence.get("calibrated_on", "validation")
    prevalence, chance = number(figures["brier_of_prevalence"]), number(figures["ece_by_chance"])
    rows = [
        (f"Temperature (fitted on {source})", f"{figures['temperature']:.3f}"),
        (
            "Brier score",
            f"{with_interval(figures, 'brier')}; "
            f"always saying the share of malignant exams scores {prevalence}",
        ),
        (
            "Expected calibration error",
            f"{with_interval(figures, 'ece')}; a perfect model of this size stays below {chance}",
        ),
        ("Mean probability − share malignant", with_interval(figures, "in_the_large")),
    ]
    return [Table(("", "On the test exams (95 % interval)"), rows)]


def _localisation_table(by_map: dict[str, dict]) -> Table:
    head = ("Map", "n", "Median, mm", "≤ 10 mm", "≤ 20 mm", "Peak inside the lesion", "Mean ± sd, mm")
    rows = []
    for name, figures in by_map.items():
        label = "feature norm (null)" if name == NULL_MAP else name
        shares = [with_interval(figures, key, 2) for key in ("hit10", "hit20", "pointing")]
        median = with_interval(figures, "median_mm", 1)
        rows.append((label, str(figures["n"]), median, *shares, distance(figures)))
    return Table(head, rows)


def _localisation(evidence: dict) -> list[Block]:
    blocks: list[Block] = [
        "Distance from the map's highest point inside the breast "
        "mask to the centre of the nearest malignant lesion. "
        "The paper's protocol: malignant exams called malignant.",
        _localisation_table(evidence["localisation"]),
        "All malignant exams, also those the model missed:",
        _localisation_table(evidence["localisation_all"]),
    ]
    if evidence.get("cam_over_coam", {}).get("ratio") is not None:
        ratio = with_interval(evidence["cam_over_coam"], "ratio", 2)
        blocks.append(f"Mean distance of CAM over that of COAM: {ratio}.")
    paper = "; ".join(f"{name} {mean:.2f} ± {sd:.2f} mm" for name, (mean, sd) in PAPER_LOCALISATION.items())
    blocks.append(
        f"Luo et al. 2019 report, on 85 real exams of {PAPER_COHORT}: {paper}, a ratio of {PAPER_RATIO}."
    )
    return blocks


def _limits(evidence: dict, times: int) -> list[str]:
    """times: so often the test exams were read, also after these figures."""
    figures, texts = evidence["classification"], []
    if evidence["simulated"]:
        texts.append(
            "Trained and tested on simulated exams of one simulator: "
            "nothing here says how it would do on patients."
        )
    if figures["auc_95"][0] is not None:
        between = interval(figures["auc_95"]).replace("–", " and ")
        texts.append(
            f"With {figures['n']} test exams an AUC between {between} fits what was seen; "
            "smaller differences are noise."
        )
    texts += [
        f"One training seed ({evidence['seed']}): "
        "another seed gives other figures, and no interval here counts that.",
        "COAM knows no class: "
        "a benign lesion or a vessel that enhances more than the cancer may hold its highest point.",
        "One temperature corrects how sure the model is, not a shift of all probabilities, "
        "as another share of malignant exams brings.",
    ]
    if times == 1:
        return [*texts, "The test exams were read once."]
    return [
        *texts,
        f"The test exams were read {times} times for this run: "
        "its figures may be better than those of exams never seen.",
    ]


def _provenance(evaluation: dict, config: dict, environment: dict) -> list[Block]:
    evidence, speed = evaluation["evidence"], evaluation["speed"]
    number, finished = _evaluated(evaluation["history"])
    trained = "unknown"
    if environment:
        installed = [
            f"{name} {version}" for name, version in environment.get("packages", {}).items() if version
        ]
        trained = ", ".join([f"Python {environment.get('python', 'unknown')}", *installed])
    rows = [
        ("Weights, SHA-256", evaluation["bundle"]["sha256"]),
        ("Evaluated", f"{finished}, reading {number} of {evaluation['evaluations']} of the test exams"),
        ("Computed on", f"{speed['device']}, {evidence['precision']}, {speed['seconds_per_exam']} s an exam"),
        ("Seed", str(evidence["seed"])),
        ("Code", environment.get("commit") or "unknown"),
        ("Trained with", trained),
    ]
    return [
        Table(("", ""), rows),
        f"Training: recipe {config['recipe']} with the settings in the run's config.json. "
        "Evaluation (RUN and CACHE are folders):",
        Code(evidence["command"]),
    ]


def _evaluated(history: Sequence[dict]) -> tuple[int, str]:
    """Which reading of the test exams gave the figures, from 1, and when: the last evaluation that ended."""
    ended = [
        (number, entry["finished"])
        for number, entry in enumerate(history, 1)
        if entry["finished"] and "localize.py" not in entry.get("command", "")
    ]
    return ended[-1]


# --- what it is read from ---


def _bundle_card(folder: Path, evaluation: dict) -> Card:
    path = Path(evaluation["bundle"]["file"])
    card = read_card(path if path.exists() else folder / path.name)
    if card.sha256 != evaluation["bundle"]["sha256"]:
        raise InputError(
            f"{path.name} holds other weights than those that were evaluated; "
            f"run python training/evaluate.py {folder} again."
        )
    return card


def _environment(folder: Path) -> dict:
    try:
        return json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'environment.json'} cannot be read; train the run again.") from error
