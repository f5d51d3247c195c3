"""Figures of evaluated runs, as PNG: style, ROC, reliability, training curves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from BreastCMSLLib.core.errors import InputError
from training.data.files import read_rows, write_atomically

from . import metrics
from .records import read_config
from .texts import interval

# colours that stay apart for colour-blind readers (Okabe and Ito 2008)
BENIGN, MALIGNANT = "#0072B2", "#D55E00"
METHODS = ("#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0072B2", "#D55E00")
MOST_BANDS = 4  # in a figure
ROC_STYLES = ("-", "--", ":")  # of methods beyond the colours
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


@dataclass(frozen=True)
class Curve:
    """Scores of one method.

    Parameters
    ----------
    name : str
        For the legend.
    scores : numpy.ndarray
        (seeds, exams).
    labels, patients : numpy.ndarray
        (exams,).
    """

    name: str
    scores: np.ndarray
    labels: np.ndarray
    patients: np.ndarray


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function with the project's style, whatever the caller's is."""

    @wraps(draw)
    def drawn(*arguments, **named):
        with plt.rc_context(STYLE):
            return draw(*arguments, **named)

    return drawn


def blank(width: float, height: float, note: str = "", **grid) -> tuple[Figure, np.ndarray]:
    """A figure (inches) with axes in two dimensions, and a note in its lower right corner."""
    figure, axes = plt.subplots(figsize=(width, height), squeeze=False, layout="constrained", **grid)
    if note:
        figure.get_layout_engine().set(rect=(0, 0.19 / height, 1, 1 - 0.19 / height))
        annotate(figure, note)
    return figure, axes


def annotate(figure: Figure, note: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(1 - 0.05 / width, 0.05 / height, note, ha="right", va="bottom", fontsize=7, color=GREY)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically, and let go of it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=STYLE["savefig.dpi"])
    plt.close(figure)
    write_atomically(path, stream.getvalue())
    return path


def note_of(folder: Path) -> str:
    """What stands in the corner of a run's figures."""
    return SIMULATED if read_config(folder).get("simulated") else "research use only"


# --- ROC ---


def sensitivity_at(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of ``GRID``, the highest where the curve is vertical."""
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    last = np.append(np.diff(false) > 0, True)
    return np.interp(GRID, false[last], true[last])


@styled
def roc(curves: Sequence[Curve], note: str = "", points: Sequence[dict] = ()) -> Figure:
    """ROC curves, the mean of each method's seeds.

    Up to ``MOST_BANDS`` of them have the 95 % band of resampled patients; more bands would hide each other.

    Parameters
    ----------
    curves : sequence of Curve
        One a method.
    note : str
        For the corner.
    points : sequence of dict
        Markers with name, sensitivity and specificity.

    Returns
    -------
    Figure
    """
    beside = len(curves) > len(METHODS)
    figure, axes = blank(4.2 + 4.9 * beside, 4.1, note)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="#c4c9cf", linewidth=0.8, linestyle=(0, (4, 3)))
    for number, curve in enumerate(curves):
        turn, place = divmod(number, len(METHODS))
        alpha = 0.13 if len(curves) == 1 else 0.08 if len(curves) <= MOST_BANDS else 0.0
        _draw_curve(ax, curve, METHODS[place], ROC_STYLES[turn % 3], alpha)
    style = {
        "markersize": 6,
        "markerfacecolor": "white",
        "markeredgecolor": METHODS[0],
        "markeredgewidth": 1.3,
    }
    for point, marker in zip(points, "os^Dv"):
        ax.plot(1 - point["specificity"], point["sensitivity"], marker, label=point["name"], **style)
    ax.set(
        xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="sensitivity", aspect="equal"
    )
    if beside:
        figure.legend(loc="outside right center", handlelength=1.4)
    else:
        ax.legend(loc="lower right", handlelength=1.4)
    return figure


def _draw_curve(ax: Axes, curve: Curve, colour: str, style: str, alpha: float) -> None:
    def mean_curve(index: np.ndarray) -> np.ndarray:
        labels = curve.labels[index]
        if np.unique(labels).size < 2:
            return np.full(GRID.size, np.nan)
        return np.mean([sensitivity_at(labels, scores[index]) for scores in curve.scores], axis=0)

    if alpha:
        draws = metrics.bootstrap(mean_curve, curve.labels.size, curve.patients, rounds=500)
        low, high = np.nanpercentile(draws, (2.5, 97.5), axis=0)
        ax.fill_between(GRID, low, high, color=colour, alpha=alpha, linewidth=0)
    if len(curve.scores) == 1:
        x, y, _ = roc_curve(curve.labels, curve.scores[0], drop_intermediate=False)
    else:
        x, y = np.append(0, GRID), np.append(0, mean_curve(np.arange(curve.labels.size)))
    area, (below, above) = metrics.mean_auc(curve.labels, curve.scores, curve.patients)
    seeds = f", {len(curve.scores)} seeds" if len(curve.scores) > 1 else ""
    label = f"{curve.name}: AUC {area:.3f} ({below:.3f}–{above:.3f}){seeds}"
    ax.plot(x, y, style, color=colour, linewidth=1.6, label=label)


# --- reliability ---


@styled
def reliability(
    bins: Sequence[dict],
    before: Sequence[dict],
    probabilities: np.ndarray,
    labels: np.ndarray,
    figures: dict,
    note: str = "",
) -> Figure:
    """Share malignant against predicted probability, over the histogram of the probabilities.

    Parameters
    ----------
    bins, before : sequence of dict
        Of ``metrics.reliability``, calibrated and before.
    probabilities, labels : numpy.ndarray
        (exams,) calibrated.
    figures : dict
        Of ``metrics.reliability``.
    note : str
        For the corner.

    Returns
    -------
    Figure
    """
    figure, axes = blank(4.2, 4.9, note, nrows=2, sharex=True, height_ratios=(3.4, 1))
    _draw_reliability(axes[0, 0], bins, before, figures)
    _draw_histogram(axes[1, 0], probabilities, labels)
    figure.align_ylabels(axes[:, 0])
    return figure


def _draw_reliability(ax: Axes, bins: Sequence[dict], before: Sequence[dict], figures: dict) -> None:
    ax.plot([0, 1], [0, 1], color="#c4c9cf", linewidth=0.8, linestyle=(0, (4, 3)))
    style = {"color": "#9aa3ad", "markersize": 6, "markerfacecolor": "none", "linewidth": 0.8}
    ax.plot(*_points(before), "s-", label="before calibration", **style)
    x, y = _points(bins)
    errors = np.abs(np.array([b["observed_95"] for b in bins], dtype=float).T - y)
    style = {"color": METHODS[0], "markersize": 4.5, "linewidth": 1, "elinewidth": 0.9, "capsize": 2}
    ax.errorbar(x, y, errors, fmt="o-", label="calibrated", **style)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.03, 1.03), ylabel="share malignant")
    texts = [
        f"ECE {figures['ece']:.3f} ({interval(figures['ece_95'])})",
        f"by chance alone up to {figures['ece_by_chance']:.3f}",
        f"Brier {figures['brier']:.3f} ({interval(figures['brier_95'])})",
    ]
    ax.text(0.03, 0.97, "\n".join(texts), transform=ax.transAxes, va="top", fontsize=8)
    ax.legend(loc="lower right", handlelength=1.4)


def _draw_histogram(ax: Axes, probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Malignant exams upwards, benign ones downwards."""
    edges = np.linspace(0, 1, 26)
    for value, colour, name, sign in ((0, BENIGN, "benign", -1), (1, MALIGNANT, "malignant", 1)):
        heights = np.histogram(probabilities[labels == value], edges)[0] * sign
        ax.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colour, label=name)
    ax.axhline(0, color="black", linewidth=0.6)
    reach = max(1, *(abs(v) for v in ax.get_ylim()))
    ax.set(xlabel="predicted probability of malignancy", ylabel="exams", ylim=(-reach, reach))
    ax.yaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
    ax.legend(loc="upper center", ncols=2, handlelength=0.9, bbox_to_anchor=(0.5, 1.25))


def _points(bins: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([b["predicted"] for b in bins]), np.array([b["observed"] for b in bins])


# --- training curves ---


@styled
def _training_figure(rows: Sequence[dict], config: dict) -> Figure:
    epochs = [row["epoch"] for row in rows]
    figure, axes = blank(6.4, 2.7, SIMULATED if config.get("simulated") else "research use only", ncols=2)
    style = {"linewidth": 1.3} | ({"marker": "o", "markersize": 2.5} if len(rows) < 40 else {})
    loss, area = axes[0]
    label = "training (with margin)" if config["method"] == "cmsl" else "training"
    loss.plot(epochs, [row["train_loss"] for row in rows], color=METHODS[0], label=label, **style)
    loss.plot(epochs, [row["validation_loss"] for row in rows], color=METHODS[3], label="validation", **style)
    title = f"{config['method'].upper()}, seed {config['seed']}"
    loss.set(xlabel="epoch", ylabel="loss (cross-entropy)", title=title)
    loss.legend()
    areas = np.array([row.get("validation_auc", np.nan) for row in rows])
    area.plot(epochs, areas, color=METHODS[3], **style)
    if np.isfinite(areas).any():
        best = int(np.nanargmax(areas))
        ring = {
            "markersize": 7,
            "markerfacecolor": "none",
            "markeredgecolor": METHODS[0],
            "markeredgewidth": 1.2,
        }
        area.plot(epochs[best], areas[best], "o", **ring)
        area.set_title(f"best {areas[best]:.3f} after epoch {epochs[best]:.0f}")
    area.set(xlabel="epoch", ylabel="AUC on validation")
    for ax in (loss, area):
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def training_curves(folder: Path, target: Path | None = None) -> Path:
    """Losses and validation AUC by epoch, from RUN/metrics.csv.

    Parameters
    ----------
    folder : Path
        Of the run.
    target : Path, optional
        The PNG (default: RUN/curves.png).

    Returns
    -------
    Path
        The PNG.

    Raises
    ------
    InputError
        When the run has no metrics yet.
    """
    path = folder / "metrics.csv"
    try:
        rows = [{k: float(v) for k, v in row.items() if v} for row in read_rows(path)]
        if rows:
            figure = _training_figure(rows, read_config(folder))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read; choose the folder of a training run.") from error
    if not rows:
        raise InputError(f"{path} holds no epoch yet; wait for the run's first.")
    return save(figure, target or folder / "curves.png")
