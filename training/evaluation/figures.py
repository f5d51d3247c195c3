"""Figures of evaluated runs, as PNG.

python training/figures.py RUN                                  # into RUN/figures
python training/figures.py BCE NSL CMSL --output FIGURES        # side by side
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.evaluation import metrics  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colours that stay apart for colour-blind readers (Okabe and Ito 2008)
BENIGN, MALIGNANT = "#0072B2", "#D55E00"
METHODS = ("#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0072B2", "#D55E00")
GREY = "#6b7280"
LESION = "#4cf0ff"  # stands out from inferno and from grey
SIMULATED = "simulated exams, research use only"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 200,
}
GRID = np.linspace(0, 1, 201)  # of the false positive rate
POINT_NAMES = {"youden": "Youden", "paper_sensitivity": "the paper's sensitivity (default)", "sensitivity_95": "95 % sensitivity"}


@dataclass(frozen=True)
class Curve:
    """Scores of one method: scores (seeds, exams) on exams with these labels and patients."""

    name: str
    scores: np.ndarray
    labels: np.ndarray
    patients: np.ndarray


def styled(draw):
    """Run a drawing function with the project's style, whatever the caller's is."""

    @wraps(draw)
    def drawn(*arguments, **named):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        with plt.rc_context(STYLE):
            return draw(*arguments, **named)

    return drawn


def blank(width: float, height: float, note: str = "", **grid) -> tuple[Figure, np.ndarray]:
    """A figure (inches) with axes in two dimensions, and a note in its lower right corner."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), squeeze=False, layout="constrained", **grid)
    if note:
        figure.get_layout_engine().set(rect=(0, 0.19 / height, 1, 1 - 0.19 / height))
        _annotate(figure, note)
    return figure, axes


def _annotate(figure: Figure, note: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(1 - 0.05 / width, 0.05 / height, note, ha="right", va="bottom", fontsize=7, color=GREY)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically, and let go of it."""
    import io

    import matplotlib.pyplot as plt

    from training.data.cache import write_atomically

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=STYLE["savefig.dpi"])
    plt.close(figure)
    write_atomically(path, stream.getvalue())
    return path


# --- ROC ---


def roc_points(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1); equal scores are one step, drawn as a slope."""
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    true, false = np.cumsum(labels[order])[last], np.cumsum(~labels[order])[last]
    return np.concatenate([[0], false / max(1, false[-1])]), np.concatenate([[0], true / max(1, true[-1])])


def sensitivity_at(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of ``GRID``, the highest where the curve is vertical."""
    false, true = roc_points(labels, scores)
    keep = np.append(np.diff(false) > 0, True)
    return np.interp(GRID, false[keep], true[keep])


@styled
def roc(curves: Sequence[Curve], note: str = "", points: Sequence[dict] = ()) -> Figure:
    """ROC curves, the mean of each method's seeds, with the 95 % band of resampled patients.

    points: markers with name, sensitivity and specificity.
    """
    figure, axes = blank(4.2, 4.1, note)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="#c4c9cf", linewidth=0.8, linestyle=(0, (4, 3)))
    for curve, colour in zip(curves, METHODS):
        labels = curve.labels.astype(bool)

        def mean_curve(index: np.ndarray, curve=curve) -> np.ndarray:
            if np.unique(curve.labels[index]).size < 2:
                return np.full(GRID.size, np.nan)
            return np.mean([sensitivity_at(curve.labels[index], s[index]) for s in curve.scores], axis=0)

        draws = metrics.bootstrap(mean_curve, labels.size, curve.patients, rounds=500)
        low, high = np.nanpercentile(draws, (2.5, 97.5), axis=0)
        value, (below, above) = auc_text(curve)
        seeds = f", {len(curve.scores)} seeds" if len(curve.scores) > 1 else ""
        ax.fill_between(GRID, low, high, color=colour, alpha=0.13 if len(curves) == 1 else 0.08, linewidth=0)
        if len(curve.scores) == 1:
            x, y = roc_points(labels, curve.scores[0])
        else:
            x, y = np.append(0, GRID), np.append(0, mean_curve(np.arange(labels.size)))
        ax.plot(x, y, color=colour, linewidth=1.6, label=f"{curve.name}: AUC {value:.3f} ({below:.3f}–{above:.3f}){seeds}")
    for point, marker in zip(points, "os^Dv"):
        x, y = 1 - point["specificity"], point["sensitivity"]
        ax.plot(x, y, marker, markersize=6, markerfacecolor="white", markeredgecolor=METHODS[0], markeredgewidth=1.3, label=point["name"])
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
    ax.legend(loc="lower right", handlelength=1.4)
    return figure


def auc_text(curve: Curve) -> tuple[float, tuple[float, float]]:
    """Mean AUC over seeds, and its DeLong interval on these exams."""
    areas, covariance = metrics.delong(curve.labels, curve.scores, curve.patients)
    if len(areas) == 1:
        return float(areas[0]), metrics.auc_interval(curve.labels, curve.scores[0], patients=curve.patients)
    half = 1.959964 * float(np.sqrt(covariance.mean()))
    value = float(areas.mean())
    return value, (max(0.0, value - half), min(1.0, value + half))


# --- reliability ---


@styled
def reliability(
    bins: Sequence[dict], before: Sequence[dict], probabilities: np.ndarray, labels: np.ndarray, figures: dict, note: str = ""
) -> Figure:
    """Share malignant against predicted probability, calibrated and before, over the histogram of the probabilities."""
    figure, axes = blank(4.2, 4.9, note, nrows=2, sharex=True, height_ratios=(3.4, 1))
    ax, below = axes[:, 0]
    ax.plot([0, 1], [0, 1], color="#c4c9cf", linewidth=0.8, linestyle=(0, (4, 3)))
    ax.plot(*_places(before), "s-", color="#9aa3ad", markersize=6, markerfacecolor="none", linewidth=0.8, label="before calibration")
    x, y = _places(bins)
    errors = np.abs(np.array([b["observed_95"] for b in bins], dtype=float).T - y)
    ax.errorbar(x, y, errors, fmt="o-", color=METHODS[0], markersize=4.5, linewidth=1, elinewidth=0.9, capsize=2, label="calibrated")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.03, 1.03), ylabel="share malignant")
    low, high = figures["ece_95"]
    ax.text(
        0.03,
        0.97,
        f"ECE {figures['ece']:.3f} ({low:.3f}–{high:.3f})\nby chance alone up to {figures['ece_by_chance']:.3f}\n"
        f"Brier {figures['brier']:.3f} ({figures['brier_95'][0]:.3f}–{figures['brier_95'][1]:.3f})",
        transform=ax.transAxes,
        va="top",
        fontsize=8,
    )
    ax.legend(loc="lower right", handlelength=1.4)
    edges = np.linspace(0, 1, 26)
    for value, colour, name, sign in ((0, BENIGN, "benign", -1), (1, MALIGNANT, "malignant", 1)):
        heights = np.histogram(probabilities[labels == value], edges)[0] * sign
        below.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colour, label=name)
    below.axhline(0, color="black", linewidth=0.6)
    reach = max(1, *(abs(v) for v in below.get_ylim()))
    below.set(xlabel="predicted probability of malignancy", ylabel="exams", ylim=(-reach, reach))
    below.yaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
    below.legend(loc="upper center", ncols=2, handlelength=0.9, bbox_to_anchor=(0.5, 1.25))
    figure.align_ylabels(axes[:, 0])
    return figure


def _places(bins: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([b["predicted"] for b in bins]), np.array([b["observed"] for b in bins])


# --- angles ---


@dataclass(frozen=True)
class Angles:
    """cos θ between pooled feature and w, by exam. scale: s of a cosine head, 0 of a linear one. margin: m of CMSL, else 0."""

    name: str
    cosine: np.ndarray
    labels: np.ndarray
    scale: float = 0.0
    margin: float = 0.0


@styled
def angles(runs: Sequence[Angles], note: str = "") -> Figure:
    """The paper's Fig. 2 with measured features: where they lie on the half circle around w, and the spread of cos θ.

    Dashed: cos θ = 0, the boundary of a cosine head, and ±m, what CMSL's training asks for. Grey: σ(s·cos θ). A linear
    head has neither, because its logit also depends on the feature's length and on the bias.
    """
    figure, axes = blank(0.5 + 2.6 * len(runs), 4.9, note, nrows=2, ncols=len(runs), height_ratios=(1.6, 1))
    low = min(float(np.percentile(r.cosine, 0.5)) for r in runs)
    high = max(float(np.percentile(r.cosine, 99.5)) for r in runs)
    limits = max(-1.0, min(low, -0.05, *(-r.margin for r in runs)) - 0.07), min(1.0, max(high, 0.05, *(r.margin for r in runs)) + 0.07)
    for (circle, spread), run in zip(axes.T, runs):
        _half_circle(circle, run)
        _cosine_histogram(spread, run, limits)
    axes[1, 0].set_ylabel("exams")
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=8, handlelength=1.0)
    return figure


def _half_circle(ax: Axes, run: Angles) -> None:
    arc = np.linspace(0, np.pi, 181)
    ax.plot(np.sin(arc), np.cos(arc), color="#c4c9cf", linewidth=0.8)
    rng = np.random.default_rng(0)
    for value, colour, lane in ((0, BENIGN, 0.94), (1, MALIGNANT, 1.06)):
        theta = np.arccos(np.clip(run.cosine[run.labels == value], -1, 1))
        radius = lane + rng.uniform(-0.04, 0.04, theta.size)
        ax.scatter(radius * np.sin(theta), radius * np.cos(theta), s=5, color=colour, alpha=0.45, linewidths=0)
        if theta.size:
            mean = float(theta.mean())
            ax.plot([0, 0.86 * np.sin(mean)], [0, 0.86 * np.cos(mean)], color=colour, linewidth=1.4)
    for boundary in _boundaries(run):
        theta = float(np.arccos(boundary))
        ax.plot([0, 1.18 * np.sin(theta)], [0, 1.18 * np.cos(theta)], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.annotate("", (0, 1.3), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.1})
    ax.text(0.05, 1.27, "w", fontstyle="italic", fontsize=10, va="center")
    for degrees in (45, 90, 135):
        theta = np.deg2rad(degrees)
        ax.text(1.27 * np.sin(theta), 1.27 * np.cos(theta), f"{degrees}°", ha="center", va="center", fontsize=7, color=GREY)
    ax.set(xlim=(-0.1, 1.4), ylim=(-1.1, 1.36), aspect="equal", title=run.name)
    ax.axis("off")


def _cosine_histogram(ax: Axes, run: Angles, limits: tuple[float, float]) -> None:
    edges = np.linspace(*limits, 41)
    for value, colour, name in ((0, BENIGN, "benign"), (1, MALIGNANT, "malignant")):
        chosen = np.clip(run.cosine[run.labels == value], *limits)
        ax.hist(chosen, edges, color=colour, alpha=0.55, label=name, linewidth=0)
        ax.hist(chosen, edges, color=colour, histtype="step", linewidth=0.9)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.5)
    top = ax.get_ylim()[1]
    for boundary in _boundaries(run):
        ax.axvline(boundary, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    if run.scale:
        x = np.linspace(*limits, 200)
        ax.plot(x, 0.66 * top / (1 + np.exp(-run.scale * x)), color=GREY, linewidth=1)
        ax.text(limits[1], 0.68 * top, "σ(s·cos θ)", color=GREY, fontsize=7, ha="right", va="bottom")
    text = []
    for value, name in ((0, "benign"), (1, "malignant")):
        degrees = np.rad2deg(np.arccos(np.clip(run.cosine[run.labels == value], -1, 1)))
        if degrees.size > 1:
            text.append(f"{name} {degrees.mean():.0f}° ± {degrees.std(ddof=1):.0f}°")
    if len(text) == 2:
        text.append(f"AUC of cos θ {metrics.auc(run.labels, run.cosine):.3f}")
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    ax.text(0.02, 0.99, "\n".join(text), transform=ax.transAxes, va="top", fontsize=7.5, bbox=box)
    ax.set(xlim=limits, xlabel="cos θ")


def _boundaries(run: Angles) -> tuple[float, ...]:
    if not run.scale:
        return ()
    return (-run.margin, run.margin) if run.margin else (0.0,)


def angles_of(folder: Path, name: str | None = None, split: str = "test") -> Angles:
    """The angles of an evaluated run's exams."""
    config = _config(folder)
    try:
        with np.load(folder / "features.npz", allow_pickle=False) as parts:
            chosen = parts["split"] == split
            cosine, labels = parts["cos_theta"][chosen], parts["label"][chosen]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The run {folder} has no features.npz; run python training/evaluate.py {folder} first.") from error
    scale = float(config["network"]["scale"]) if config["network"]["head"] == "cosine" else 0.0
    margin = float(config.get("margin", 0.0)) if config["objective"] == "cmsl" else 0.0
    return Angles(name or config["objective"].upper(), cosine, labels, scale, margin)


# --- maps ---


@dataclass(frozen=True)
class MapExample:
    """One exam for :func:`map_sheet`: an axial slice of each volume through the lesion.

    picture, inside: [i, j] (to the right, to the front). heats, peaks: by map; a peak is (i, j, slices off). Millimetres
    where said.
    """

    title: str
    picture: np.ndarray
    inside: np.ndarray
    heats: dict[str, np.ndarray]
    peaks: dict[str, tuple[float, float, int, float]]
    centre: tuple[float, float]
    radius: float
    spacing_mm: float


@styled
def map_sheet(examples: Sequence[MapExample], maps: Sequence[str], note: str = "") -> Figure:
    """The paper's Fig. 3: subtraction slice and maps below each other, the lesion circled, one exam a column.

    All panels show a field of one size in mm. Seen from the feet, as radiologists do: the patient's right is on the left.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    windows = [_window(e.inside) for e in examples]
    field = np.max([(w[1] * e.spacing_mm, w[2] * e.spacing_mm) for w, e in zip(windows, examples)], axis=0) + 10.0
    panel, rows, left, right, top, bottom, gap = 2.0, 1 + len(maps), 0.3, 0.62, 0.42, 0.22, 0.04
    tall = panel * field[1] / field[0]
    width, height = left + right + len(examples) * (panel + gap), top + bottom + rows * (tall + gap)
    figure = plt.figure(figsize=(width, height))
    if note:
        _annotate(figure, note)
    edge = [withStroke(linewidth=2.4, foreground="black")]
    for column, (example, (middle, _, _)) in enumerate(zip(examples, windows)):
        half = field / 2 / example.spacing_mm
        level = float(np.percentile(example.picture[example.inside], 99.5)) if example.inside.any() else 1.0
        for row, name in enumerate(("", *maps)):
            place = (left + column * (panel + gap)) / width, 1 - (top + row * (tall + gap) + tall) / height, panel / width, tall / height
            ax = figure.add_axes(place, facecolor="black", xticks=[], yticks=[])
            picture = np.clip(example.picture / level, 0, 1) ** 0.7  # faint glandular tissue stays visible beside the lesion
            ax.imshow(picture.T, cmap="gray", origin="lower", vmin=0, vmax=1, interpolation="bilinear")
            if name:
                _draw_map(ax, example, name, edge)
            angle = np.linspace(0, 2 * np.pi, 90)
            radius = max(example.radius, 4.0) / example.spacing_mm + 1.5
            circle = example.centre[0] + radius * np.cos(angle), example.centre[1] + radius * np.sin(angle)
            ax.plot(*circle, color=LESION, linewidth=1.2, path_effects=edge)
            ax.set(xlim=(middle[0] + half[0], middle[0] - half[0]), ylim=(middle[1] - half[1], middle[1] + half[1]))
            for spine in ax.spines.values():
                spine.set_visible(False)
            if column == 0:
                ax.set_ylabel(name or "subtraction")
            if row == 0:
                ax.set_title(example.title, fontsize=8)
                for side, across, align in (("R", 0.02, "left"), ("L", 0.98, "right")):
                    ax.text(across, 0.97, side, transform=ax.transAxes, color="white", fontsize=8, ha=align, va="top")
            if (row, column) == (0, 0):
                length = 50 / 2 / field[0]
                ax.plot(
                    [0.5 - length, 0.5 + length], [0.05, 0.05], transform=ax.transAxes, color="white", linewidth=1.6, solid_capstyle="butt"
                )
                ax.text(0.5, 0.07, "50 mm", transform=ax.transAxes, color="white", fontsize=7, ha="center", va="bottom")
    bar = figure.add_axes(
        ((width - right + 0.06) / width, (bottom + 0.1) / height, 0.09 / width, len(maps) * (tall + gap) / height - 0.2 / height)
    )
    colours = figure.colorbar(plt.cm.ScalarMappable(cmap="inferno"), cax=bar, ticks=(0, 0.5, 1))
    colours.set_label("share of the map's highest point", fontsize=7.5)
    colours.outline.set_visible(False)
    return figure


def _draw_map(ax: Axes, example: MapExample, name: str, edge: list) -> None:
    heat = np.where(example.inside, example.heats[name], 0).T
    ax.imshow(heat, cmap="inferno", origin="lower", vmin=0, vmax=1, alpha=np.clip(2 * heat, 0, 0.85), interpolation="bilinear")
    i, j, off, distance = example.peaks[name]
    away = off * example.spacing_mm
    near = abs(away) <= 5
    ax.plot(i, j, "+" if near else "x", color="white", markersize=7, markeredgewidth=1.2, path_effects=edge, zorder=5)
    text = f"{distance:.0f} mm" + ("" if near else f", {abs(away):.0f} mm of it {'upwards' if away > 0 else 'downwards'}")
    ax.text(0.03, 0.04, text, transform=ax.transAxes, color="white", fontsize=7.5, va="bottom")


def _window(inside: np.ndarray) -> tuple[tuple[float, float], int, int]:
    """Middle, width and depth, in voxels, of the part of a slice that holds the breasts."""
    i, j = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not i.size:
        i, j = np.arange(inside.shape[0]), np.arange(inside.shape[1])
    return ((i[0] + i[-1]) / 2, (j[0] + j[-1]) / 2), int(i[-1] - i[0] + 1), int(j[-1] - j[0] + 1)


def map_example(answer, maps: Sequence[str], settings, title: str) -> MapExample:
    """A column of the sheet, from an ``evaluate.Answer``."""
    from BreastCMSLLib.core.geometry import apply_affine
    from training.evaluate import heat_of, malignant_lesions, peak_of

    affine = np.array(answer.exam.meta["affine"])
    back = np.linalg.inv(affine)
    lesion = max(malignant_lesions(answer.exam.meta), key=lambda x: x["radius_mm"])
    centre = apply_affine(back, np.array(lesion["ras_mm"]))
    size = answer.exam.inside.shape
    level = int(np.clip(round(centre[2]), 0, size[2] - 1))
    heats, peaks = {}, {}
    for name in maps:
        heats[name] = heat_of(name, answer, settings)[:, :, level]
        ras = np.array(peak_of(name, answer, settings))
        i, j, k = apply_affine(back, ras)
        peaks[name] = float(i), float(j), int(round(k)) - level, float(np.linalg.norm(ras - lesion["ras_mm"]))
    early = answer.exam.array[min(1, answer.exam.array.shape[0] - 1)].float().numpy()
    spacing = float(np.linalg.norm(affine[:3, 0]))
    return MapExample(
        title,
        early[:, :, level],
        answer.exam.inside[:, :, level],
        heats,
        peaks,
        (float(centre[0]), float(centre[1])),
        lesion["radius_mm"],
        spacing,
    )


def typical_exams(rows: list[dict], threshold: float, count: int = 4, by: str = "COAM") -> list[tuple[str, str]]:
    """(exam, what it stands for): test exams called malignant at even ranks of a map's distance, so that nobody picks them."""
    called = sorted((r for r in rows if r["label"] and r["probability"] >= threshold and f"{by}_mm" in r), key=lambda r: r[f"{by}_mm"])
    if not called:
        return []
    shares = np.linspace(10, 90, min(count, len(called))) if len(called) > 1 else np.array([50.0])
    chosen = {called[round(share / 100 * (len(called) - 1))]["exam"]: f"{by} error, {share:.0f}th percentile" for share in shares}
    return list(chosen.items())


# --- training curves ---


@styled
def training_curves(folder: Path, target: Path | None = None) -> Path:
    """Losses and validation AUC by epoch, from metrics.csv; written to RUN/curves.png."""
    try:
        with open(folder / "metrics.csv", newline="") as stream:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
        epochs = [row["epoch"] for row in rows]
        areas = np.array([row.get("validation_auc", np.nan) for row in rows])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder / 'metrics.csv'} cannot be read; choose the folder of a training run.") from error
    if not rows:
        raise InputError(f"{folder / 'metrics.csv'} holds no epoch yet; wait for the run's first.")
    config = _config(folder)
    figure, axes = blank(6.4, 2.7, SIMULATED if config.get("simulated") else "research use only", ncols=2)
    loss, area = axes[0]
    style = {"marker": "o", "markersize": 2.5, "linewidth": 1.3} if len(rows) < 40 else {"linewidth": 1.3}
    loss.plot(
        epochs,
        [row["train_loss"] for row in rows],
        color=METHODS[0],
        label="training (with margin)" if config["objective"] == "cmsl" else "training",
        **style,
    )
    loss.plot(epochs, [row["validation_loss"] for row in rows], color=METHODS[3], label="validation", **style)
    loss.set(xlabel="epoch", ylabel="loss (cross-entropy)", title=f"{config['objective'].upper()}, seed {config['seed']}")
    loss.legend()
    area.plot(epochs, areas, color=METHODS[3], **style)
    if np.isfinite(areas).any():
        best = int(np.nanargmax(areas))
        area.plot(epochs[best], areas[best], "o", markersize=7, markerfacecolor="none", markeredgecolor=METHODS[0], markeredgewidth=1.2)
        area.set_title(f"best {areas[best]:.3f} after epoch {epochs[best]:.0f}")
    area.set(xlabel="epoch", ylabel="AUC on validation")
    for ax in (loss, area):
        ax.xaxis.get_major_locator().set_params(integer=True)
    return save(figure, target or folder / "curves.png")


# --- whole runs ---


def note_of(folder: Path) -> str:
    return SIMULATED if _config(folder).get("simulated") else "research use only"


def curve_of(folders: Sequence[Path], name: str) -> Curve:
    """Test scores of the runs of one method, which must share their test exams."""
    from training.evaluate import column, read_predictions

    rows = [read_predictions(folder) for folder in folders]
    for folder, other in zip(folders, rows):
        if [(r["exam"], r["label"]) for r in other] != [(r["exam"], r["label"]) for r in rows[0]]:
            raise InputError(f"{folder} was tested on other exams than {folders[0]}; compare runs of one cohort.")
    return Curve(name, np.stack([column(r, "logit") for r in rows]), column(rows[0], "label"), column(rows[0], "patient"))


def draw_run(folder: Path, output: Path, cache_folder: Path | None = None, exams: Sequence[str] = (), device: str = "auto") -> list[Path]:
    """All figures of one evaluated run. exams: those shown with their maps (default: even ranks of the error of COAM).

    The maps need the cache; where it is no longer at hand, and none is named, they are left out.
    """
    from training.evaluate import column, read_evaluation, read_predictions

    held, rows, note = read_evaluation(folder), read_predictions(folder), note_of(folder)
    evidence = held["evidence"]
    points = [{"name": POINT_NAMES.get(name, name), **p["test"]} for name, p in evidence["operating_points"].items()]
    points = [p for p in points if p["sensitivity"] is not None and p["specificity"] is not None]
    probabilities, labels = column(rows, "probability"), column(rows, "label")
    made = []
    if np.unique(labels).size == 2:
        made.append(save(roc([curve_of([folder], evidence["objective"].upper())], note, points), output / "roc.png"))
    bins = held["reliability_bins"]
    made.append(
        save(
            reliability(bins["calibrated"], bins["uncalibrated"], probabilities, labels, evidence["calibration"], note),
            output / "reliability.png",
        )
    )
    made.append(save(angles([angles_of(folder)], note), output / "angles.png"))
    if (folder / "metrics.csv").exists():
        made.append(training_curves(folder, output / "curves.png"))
    if cache_folder is not None or Path(held["cache"]).is_dir():
        sheet = draw_maps(folder, Path(cache_folder or held["cache"]), exams, device)
        made += [save(sheet, output / "maps.png")] if sheet is not None else []
    return made


def draw_maps(folder: Path, cache_folder: Path, exams: Sequence[str] = (), device: str = "auto") -> Figure | None:
    """CAM beside COAM on test exams; None when no malignant test exam was called malignant."""
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor
    from training.data import cache
    from training.evaluate import answers, malignant_lesions, read_evaluation, read_predictions

    held, rows = read_evaluation(folder), {r["exam"]: r for r in read_predictions(folder)}
    maps = [name for name in ("LESION", "CAM", "COAM") if name in held["maps"]] or held["maps"][:2]
    threshold = held["evidence"]["classification"]["threshold"]
    chosen = [(exam, "") for exam in exams] or typical_exams(list(rows.values()), threshold, by=maps[-1])
    bundle = Path(held["bundle"]["file"])
    predictor = Predictor(load_bundle(bundle if bundle.exists() else folder / bundle.name), device)
    store = cache.open_cache(cache_folder)
    for exam, _ in chosen:
        if exam not in rows:
            raise InputError(f"{exam} is not a test exam of {folder}; choose one named in its predictions.csv.")
    examples = []
    for answer, (exam, why) in zip(answers(predictor, [store.path(exam) for exam, _ in chosen]), chosen):
        if not malignant_lesions(answer.exam.meta):
            raise InputError(f"{exam} has no malignant lesion of known place; choose another exam.")
        title = f"{exam}, p = {rows[exam]['probability']:.2f}" + (f"\n{why}" if why else "")
        examples.append(map_example(answer, maps, predictor.bundle.network.settings, title))
    return map_sheet(examples, maps, note_of(folder)) if examples else None


def draw_together(folders: Sequence[Path], output: Path) -> list[Path]:
    """ROC curves and angles of several runs side by side, named by objective and seed."""
    configs = [_config(folder) for folder in folders]
    names = [config["objective"].upper() for config in configs]
    if len(set(names)) < len(names):
        names = [f"{name}, seed {config['seed']}" for name, config in zip(names, configs)]
    if len(set(names)) < len(names):
        names = [folder.name for folder in folders]
    note = SIMULATED if any(config.get("simulated") for config in configs) else "research use only"
    return [
        save(roc([curve_of([folder], name) for folder, name in zip(folders, names)], note), output / "roc.png"),
        save(angles([angles_of(folder, name) for folder, name in zip(folders, names)], note), output / "angles.png"),
    ]


def _config(folder: Path) -> dict:
    import json

    try:
        return json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no config.json; choose the folder of a training run.") from error


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, help="folder of the pictures (default: RUN/figures)")
    parser.add_argument("--cache", type=Path, help="cache of the exams (default: the one that was evaluated)")
    parser.add_argument("--exams", nargs="+", default=(), help="test exams to show with their maps")
    parser.add_argument("--device", default="auto")
    o = parser.parse_args(arguments)
    if len(o.runs) == 1:
        made = draw_run(o.runs[0], o.output or o.runs[0] / "figures", o.cache, o.exams, o.device)
    else:
        made = draw_together(o.runs, o.output or Path("figures"))
    for path in made:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
