"""The angles between pooled features and the head's weight w, after Fig. 2 of Luo et al. 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from BreastCMSLLib.core.errors import InputError

from . import metrics
from .figures import BENIGN, GREY, MALIGNANT, blank, styled
from .records import read_config


@dataclass(frozen=True)
class Angles:
    """cos θ between pooled feature and w, by exam.

    Parameters
    ----------
    name : str
        Of the run.
    cosine, labels : numpy.ndarray
        (exams,).
    scale : float
        s of a cosine head, 0 of a linear one.
    margin : float
        m of CMSL, else 0.
    """

    name: str
    cosine: np.ndarray
    labels: np.ndarray
    scale: float = 0.0
    margin: float = 0.0


@styled
def draw_angles(runs: Sequence[Angles], note: str = "") -> Figure:
    """The angles of runs side by side: on the half circle around w, and the spread of cos θ.

    Dashed: cos θ = 0, the boundary of a cosine head, and ±m, what CMSL's training asks for. Grey: σ(s·cos θ).
    A linear head has neither, because its logit also depends on the feature's length and on the bias.

    Parameters
    ----------
    runs : sequence of Angles
        From left to right.
    note : str
        For the corner.

    Returns
    -------
    Figure
    """
    figure, axes = blank(0.5 + 2.6 * len(runs), 4.9, note, nrows=2, ncols=len(runs), height_ratios=(1.6, 1))
    low = min(min(float(np.percentile(run.cosine, 0.5)), -0.05, -run.margin) for run in runs)
    high = max(max(float(np.percentile(run.cosine, 99.5)), 0.05, run.margin) for run in runs)
    limits = max(-1.0, low - 0.07), min(1.0, high + 0.07)
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
        ax.scatter(
            radius * np.sin(theta), radius * np.cos(theta), s=5, color=colour, alpha=0.45, linewidths=0
        )
        if theta.size:
            mean = float(theta.mean())
            ax.plot([0, 0.86 * np.sin(mean)], [0, 0.86 * np.cos(mean)], color=colour, linewidth=1.4)
    for boundary in _boundaries(run):
        theta = float(np.arccos(boundary))
        ax.plot(
            [0, 1.18 * np.sin(theta)],
            [0, 1.18 * np.cos(theta)],
            color=GREY,
            linewidth=0.8,
            linestyle=(0, (4, 3)),
        )
    ax.annotate("", (0, 1.3), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.1})
    ax.text(0.05, 1.27, "w", fontstyle="italic", fontsize=10, va="center")
    for degrees in (45, 90, 135):
        theta = np.deg2rad(degrees)
        ax.text(
            1.27 * np.sin(theta),
            1.27 * np.cos(theta),
            f"{degrees}°",
            ha="center",
            va="center",
            fontsize=7,
            color=GREY,
        )
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


def has_angles(folder: Path) -> bool:
    """Whether an evaluated run's method has an angle between its feature and a weight."""
    return (folder / "features.npz").exists()


def angles_of(folder: Path, name: str | None = None, split: str = "test") -> Angles:
    """The angles of an evaluated run's exams."""
    config = read_config(folder)
    try:
        with np.load(folder / "features.npz", allow_pickle=False) as parts:
            chosen = parts["split"] == split
            cosine, labels = parts["cos_theta"][chosen], parts["label"][chosen]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"The run {folder} has no features.npz; run python training/evaluate.py {folder} first."
        ) from error
    scale = float(config["network"]["scale"]) if config["network"]["head"] == "cosine" else 0.0
    margin = float(config.get("margin", 0.0)) if config["method"] == "cmsl" else 0.0
    return Angles(name or config["method"].upper(), cosine, labels, scale, margin)
