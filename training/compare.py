"""Compare methods on the same test exams, over seeds, and say whether a gain is more than noise.

    python training/compare.py BCE-0 BCE-1 BCE-2 CMSL-0 CMSL-1 CMSL-2 --baseline BCE-0 --output COMPARISON

Runs that differ only in their seed are one method. Every run must have been evaluated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.data.cache import write_atomically  # noqa: E402
from training.evaluate import column, read_evaluation, read_predictions, tidy  # noqa: E402
from training.evaluation import card, metrics  # noqa: E402

# settings that do not make another method: where, from which seed, on what machine, and what follows from the objective
NOT_METHOD = {
    "output",
    "cache",
    "cohort",
    "seed",
    "init",
    "workers",
    "input",
    "simulated",
    "source",
    "supervision",
    "accumulation",
    "precision",
}
NOT_METHOD_NETWORK = {"head", "scale"}
AT_THRESHOLD = ("accuracy", "sensitivity", "specificity", "f1")
PLACES = {"mean_mm": 1, "median_mm": 1, "hit10": 2, "hit20": 2, "pointing": 2}  # and their decimals
MARGINS = (0.0, 0.1, 0.35)  # at which the pull of the loss is told
ENOUGH_SEEDS = 3  # with two, methods that differ in luck alone were called different in 13 % of trials


@dataclass(frozen=True)
class Method:
    """Runs that differ only in their seed, in the order of their seeds."""

    name: str
    folders: list[Path]
    seeds: list[int]
    rows: list[list[dict]]
    evidence: list[dict]

    def scores(self) -> np.ndarray:
        return np.stack([column(rows, "logit") for rows in self.rows])

    def called(self) -> np.ndarray:
        """(seeds, exams): called malignant at each run's own frozen threshold."""
        return np.stack([column(rows, "probability") >= e["classification"]["threshold"] for rows, e in zip(self.rows, self.evidence)])


def settings(config: dict) -> dict[str, object]:
    """What makes a run's method, by name."""
    chosen = {k: v for k, v in config.items() if k not in NOT_METHOD and not isinstance(v, dict)}
    chosen |= {f"network.{k}": v for k, v in config.get("network", {}).items() if k not in NOT_METHOD_NETWORK}
    chosen["starts from another run"] = bool(config.get("init"))
    if config["objective"] != "cmsl":
        chosen |= {"margin": None, "margin_warmup": None}
    return chosen


def group(folders: Sequence[Path]) -> list[Method]:
    """Methods in the order in which they were named. Raises InputError for runs that cannot be compared."""
    runs = []
    for folder in folders:
        evidence, rows = read_evaluation(folder)["evidence"], read_predictions(folder)
        config = json.loads((folder / "config.json").read_text())
        runs.append((folder, config, settings(config), rows, evidence))
    exams = [(r["exam"], r["label"]) for r in runs[0][3]]
    for folder, _, _, rows, _ in runs[1:]:
        if [(r["exam"], r["label"]) for r in rows] != exams:
            raise InputError(f"{folder} was tested on other exams than {folders[0]}; compare runs of one cohort and one split.")
    keys = [key for key in dict.fromkeys(k for run in runs for k in run[2]) if len({repr(run[2].get(key)) for run in runs}) > 1]
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(repr(run[2].get(key)) for key in keys), []).append(run)
    names = _names([members[0][2] for members in groups.values()], keys)
    methods = []
    for name, members in zip(names, groups.values()):
        members = sorted(members, key=lambda run: run[1]["seed"])
        seeds = [run[1]["seed"] for run in members]
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise InputError(f"Two runs of {name} have the seed {twice}; name each run once.")
        methods.append(Method(name, [run[0] for run in members], seeds, [run[3] for run in members], [run[4] for run in members]))
    return methods


def _names(chosen: list[dict], keys: list[str]) -> list[str]:
    """The objective, and what sets apart methods of one objective: where most have one value, only the others name theirs."""
    names = []
    for one in chosen:
        rivals = [other for other in chosen if other["objective"] == one["objective"]]
        apart = [k for k in keys if k != "objective" and len({repr(other.get(k)) for other in rivals}) > 1]
        if "recipe" in apart and len({other["recipe"] for other in rivals}) == len(rivals):
            apart = ["recipe"]
        apart = [k for k in apart if repr(one.get(k)) != _usual([repr(other.get(k)) for other in rivals])]
        texts = [str(one[k]) if k == "recipe" else f"{k.removeprefix('network.')} {one.get(k)}" for k in apart]
        names.append(", ".join([one["objective"].upper(), *texts]))
    return names


def _usual(values: list[str]) -> str | None:
    """What more than half of them are."""
    return next((value for value in set(values) if 2 * values.count(value) > len(values)), None)


def summary(method: Method) -> dict:
    """Figures of a method: means over seeds with both kinds of interval, and every run's own."""
    found = {}
    for key in ("auc", *AT_THRESHOLD):
        values = [e["classification"][key] for e in method.evidence]
        known = [v for v in values if v is not None]
        found[key] = metrics.over_seeds(known) if known else {"seeds": 0, "mean": float("nan"), "mean_95": metrics.NOWHERE}
        found[key]["exams_95"] = _exams_interval(method, key)
    maps = [name for name in method.evidence[0]["localisation"] if all(name in e["localisation"] for e in method.evidence)]
    local = {protocol: {name: _places(method, protocol, name) for name in maps} for protocol in ("localisation", "localisation_all")}
    ratios = [r for e in method.evidence if (r := e.get("cam_over_coam", {}).get("ratio")) is not None]
    runs = [
        {"folder": folder.name, "seed": seed, **{k: e["classification"].get(k) for k in ("auc", "auc_95", *AT_THRESHOLD)}}
        for folder, seed, e in zip(method.folders, method.seeds, method.evidence)
    ]
    return {"figures": found, **local, "pull": _pull(method), "cam_over_coam": metrics.over_seeds(ratios) if ratios else None, "runs": runs}


def _places(method: Method, protocol: str, name: str) -> dict:
    """Localisation figures of one map: over seeds, and for a single seed the interval of its exams."""
    runs = [e[protocol][name] for e in method.evidence]
    found = {}
    for key in PLACES:
        known = [run[key] for run in runs if run[key] is not None]
        found[key] = metrics.over_seeds(known) if known else {"seeds": 0, "mean": float("nan"), "sd": float("nan")}
        found[key]["exams_95"] = runs[0].get(f"{key}_95") if len(runs) == 1 else None
    return found


def _pull(method: Method) -> dict:
    """Range of cos θ of the first seed's validation exams, and how the losses of eq. 3 and 4 would pull at them."""
    from training.evaluation.figures import angles_of

    held = angles_of(method.folders[0], split="validate")
    if not len(held.labels):
        return {}
    spread = {label: np.percentile(held.cosine[held.labels == label], (5, 95)).tolist() for label in np.unique(held.labels).tolist()}
    return {"cosine": spread, "margins": {margin: metrics.pull(held.cosine, held.labels, margin) for margin in MARGINS}}


def _exams_interval(method: Method, key: str) -> tuple[float, float]:
    """Interval of a mean over these very seeds, by resampling patients (DeLong for the AUC)."""
    labels, patients = column(method.rows[0], "label"), column(method.rows[0], "patient")
    if key == "auc":
        from training.evaluation.figures import Curve, auc_text

        return auc_text(Curve(method.name, method.scores(), labels, patients))[1]
    called = method.called()
    return metrics.percentile_interval(metrics.bootstrap(lambda i: mean_rate(called[:, i], labels[i], key), labels.size, patients))


def mean_rate(called: np.ndarray, labels: np.ndarray, key: str) -> float:
    return float(np.mean([metrics.rates(**metrics.counts(labels, row))[key] for row in called]))


def difference(method: Method, baseline: Method) -> dict:
    """A method against the baseline on the same exams: AUC by paired DeLong and bootstrap, the rest by bootstrap."""
    labels, patients = column(method.rows[0], "label"), column(method.rows[0], "patient")
    paired = method.seeds == baseline.seeds
    ours, theirs = method.scores(), baseline.scores()
    gain = metrics.auc_gain(labels, ours, theirs, patients, paired)

    def areas(index: np.ndarray) -> float:
        return float(
            np.mean([metrics.auc(labels[index], s[index]) for s in ours]) - np.mean([metrics.auc(labels[index], s[index]) for s in theirs])
        )

    result = {
        "method": method.name,
        "baseline": baseline.name,
        "auc": gain,
        "auc_bootstrap": metrics.paired_bootstrap(areas, labels.size, patients),
        "delong": [
            {"seed": seed, **metrics.paired_delong(labels, a, b, patients)}
            for seed, a, b in zip(method.seeds, ours, theirs if paired else theirs[:0])
        ],
    }
    called, other = method.called(), baseline.called()
    for key in AT_THRESHOLD:
        result[key] = metrics.paired_bootstrap(
            lambda i, key=key: mean_rate(called[:, i], labels[i], key) - mean_rate(other[:, i], labels[i], key), labels.size, patients
        )
    return {**result, "sentence": sentence(method, baseline, gain)}


def sentence(method: Method, baseline: Method, gain: dict) -> str:
    """Whether the AUCs differ by more than chance, in words."""
    value, (low, high), p = gain["difference"], gain["difference_95"], gain["p"]
    start = f"{method.name} against {baseline.name}: "
    if not np.isfinite(p):
        return start + "too few exams of one class to tell."
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    start += f"AUC {value:+.3f} (95 % {low:+.3f} to {high:+.3f}, {chance}); "
    if p >= 0.05:
        return start + "the difference cannot be told from noise."
    kind, fewest = "a gain" if value > 0 else "a loss", min(gain["seeds"])
    if fewest >= ENOUGH_SEEDS:
        return start + f"{kind} that neither the choice of exams nor that of the seeds explains."
    seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
    return start + f"{kind} that the choice of exams does not explain, but {seeds} each cannot tell it from luck in training."


def compare(folders: Sequence[Path], baseline: Path | None = None) -> dict:
    """Figures of all methods and their differences to the baseline (default: the first run's method)."""
    methods = group(folders)
    base = next((m for m in methods if (baseline or folders[0]).resolve() in {f.resolve() for f in m.folders}), None)
    if base is None:
        raise InputError(f"The baseline {baseline} is not among the runs compared; name it among them.")
    first = methods[0].evidence[0]
    return tidy(
        {
            "schema_version": 1,
            "kind": "breastcmsl.comparison",
            "cohort": first["cohort"],
            "simulated": first["simulated"],
            "baseline": base.name,
            "methods": {method.name: {"seeds": method.seeds, **summary(method)} for method in methods},
            "differences": [difference(method, base) for method in methods if method is not base],
        }
    )


# --- the table ---


def document(held: dict) -> tuple[str, str, list[card.Section]]:
    """Title, banner and sections of the comparison."""
    kind = "Simulated exams, research use only." if held["simulated"] else "Research use only."
    names = [card.NAMES[key] for key in card.TABLE_1]
    rows = []
    for name, method in held["methods"].items():
        cells = [_mean(method["figures"][key], 3) for key in card.TABLE_1]
        rows.append([name, str(len(method["seeds"])), *cells])
    for name in card.PAPER:
        rows.append([f"{name} in Luo et al. 2019 (346 real exams, another cohort)", "1", *card.paper_row(name)])
    table = [
        held["cohort"][:1].upper() + held["cohort"][1:] + ".",
        card.Table(["Method", "Seeds", *names], rows),
        "Means over seeds. In brackets the 95 % interval from the choice of exams (AUC: DeLong; else bootstrap over patients), "
        "then ± the standard deviation over seeds. Thresholds are each run's own, frozen on its validation exams. The paper's rows "
        "come from other, real exams: their intervals are reckoned from its figures (Hanley–McNeil, Wilson).",
    ]
    texts = [d["sentence"] for d in held["differences"]] or ["Only one method was given, so nothing is compared."]
    rows = []
    for one in held["differences"]:
        for key in ("auc", "auc_bootstrap", *AT_THRESHOLD):
            label = {"auc": "AUC (DeLong, and the spread over seeds)", "auc_bootstrap": "AUC (bootstrap over patients)"}.get(
                key
            ) or card.NAMES[key]
            rows.append([one["method"], label, _signed(one[key]), _p(one[key]["p"])])
        for run in one["delong"]:
            rows.append([one["method"], f"AUC, seed {run['seed']} (paired DeLong)", _signed(run), _p(run["p"])])
    differences = [card.Items(texts)]
    if rows:
        head = ["Method", "Figure", f"Difference to {held['baseline']} (95 %)", "p"]
        differences += [card.Table(head, rows), "All on the same test exams. The p values are not corrected for the number of comparisons."]
    return (
        "Comparison of methods",
        kind,
        [
            card.Section("Table 1", table),
            card.Section("Is the difference real?", differences),
            card.Section("Localisation", _localisation(held)),
            card.Section("How the losses pull", _pulls(held)),
            card.Section("Runs", [_runs(held)]),
        ],
    )


def _localisation(held: dict) -> list:
    head = ["Method", "Map", "Distance, mm", "Median, mm", "≤ 10 mm", "≤ 20 mm", "Peak inside the lesion"]
    blocks: list = []
    for protocol, text in (
        ("localisation", "Malignant exams called malignant, as in the paper:"),
        ("localisation_all", "All malignant exams:"),
    ):
        rows = [
            [method_name, map_name, *(_mean(found[key], digits) for key, digits in PLACES.items())]
            for method_name, method in held["methods"].items()
            for map_name, found in method[protocol].items()
        ]
        if protocol == "localisation":
            for name, (mean, sd) in card.PAPER_LOCALISATION.items():
                rows.append(["Luo et al. 2019 (85 real exams, another cohort)", name, f"{mean} (sd over exams {sd})", *["–"] * 4])
        blocks += [text, card.Table(head, rows)]
    ratios = [[name, _mean(method["cam_over_coam"], 2)] for name, method in held["methods"].items() if method["cam_over_coam"]]
    if ratios:
        ratios.append(["Luo et al. 2019 (85 real exams, another cohort)", f"{card.PAPER_RATIO}"])
        blocks += [
            "Mean distance of CAM over that of COAM, malignant exams called malignant:",
            card.Table(["Method", "CAM / COAM"], ratios),
        ]
    return [*blocks, "Means over seeds ± their standard deviation; of a single seed the 95 % interval from the choice of exams."]


def _pulls(held: dict) -> list:
    rows = []
    for name, method in held["methods"].items():
        if not method["pull"]:
            continue
        spread = "; ".join(
            f"{'malignant' if int(label) else 'benign'} {low:.2f} to {high:.2f}" for label, (low, high) in method["pull"]["cosine"].items()
        )
        for margin, found in method["pull"]["margins"].items():
            rows.append([name, spread, f"{float(margin):g}", *(card.number(found[key], 2) for key in ("mean", "share", "misjudged"))])
    head = ["Method", "cos θ, 5th to 95th percentile", "Margin", "Mean pull", "Effective share of exams", "Share of the misjudged"]
    return [
        card.Table(head, rows),
        "Validation exams, first seed. Pull: |σ(z) − y| with z = 20·(cos θ − I(y)·m), what the loss of eq. 4 (m = 0: eq. 3) gives back for "
        "an exam. Near 1 for all exams, the loss is linear in cos θ: it draws the mean features of the classes apart and does not heed "
        "the exams that are misjudged.",
    ]


def _runs(held: dict) -> card.Table:
    rows = []
    for name, method in held["methods"].items():
        for run in method["runs"]:
            rows.append(
                [name, run["folder"], str(run["seed"]), card.with_interval(run, "auc"), *(card.number(run[key]) for key in AT_THRESHOLD)]
            )
    return card.Table(["Method", "Run", "Seed", "AUC (95 %)", *(card.NAMES[key] for key in AT_THRESHOLD)], rows)


def _mean(found: dict, digits: int) -> str:
    text = card.number(found["mean"], digits)
    if (between := card.interval(found.get("exams_95"), digits)) != "–":
        text += f" ({between})"
    return text + (f" ± {found['sd']:.{digits}f}" if found.get("sd") is not None else "")


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _signed(found: dict) -> str:
    low, high = found["difference_95"]
    text = "–" if found["difference"] is None else f"{found['difference']:+.3f}"
    return text if low is None else f"{text} ({low:+.3f} to {high:+.3f})"


def draw(folders: Sequence[Path], output: Path) -> list[Path]:
    """ROC curves of the methods, and angles of the first seed of each."""
    from training.evaluation import figures

    methods = group(folders)
    note = figures.note_of(folders[0])
    labels, patients = column(methods[0].rows[0], "label"), column(methods[0].rows[0], "patient")
    made = []
    if np.unique(labels).size == 2:
        curves = [figures.Curve(method.name, method.scores(), labels, patients) for method in methods]
        made.append(figures.save(figures.roc(curves, note), output / "roc.png"))
    shown = [figures.angles_of(method.folders[0], method.name) for method in methods]
    return [*made, figures.save(figures.angles(shown, note), output / "angles.png")]


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--baseline", type=Path, help="a run of the method to compare with (default: the first)")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for comparison.md, comparison.html, comparison.json and pictures"
    )
    o = parser.parse_args(arguments)
    held = compare(o.runs, o.baseline)
    pictures = draw(o.runs, o.output)
    captions = {
        "roc.png": "ROC curves, with the 95 % bands of resampled patients.",
        "angles.png": "Angles to w, first seed of each method.",
    }
    title, banner, sections = document(held)
    sections.append(card.Section("Figures", [card.Picture(path, captions[path.name]) for path in pictures]))
    write_atomically(o.output / "comparison.json", json.dumps(held, indent=1) + "\n")
    write_atomically(o.output / "comparison.md", card.markdown(title, banner, sections, o.output))
    write_atomically(o.output / "comparison.html", card.html(title, banner, sections))
    for one in held["differences"]:
        print(one["sentence"])
    print(o.output / "comparison.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
