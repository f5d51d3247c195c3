"""The exams that a way to find the lesion misses most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.preprocessing.enhancement import early_phases, mean_enhancement
from training.data import cache

from .lesions import malignant_lesions

ACROSS = 3  # exams beside each other, two panes each
BENIGN, MALIGNANT, PEAK, MASK = "#E69F00", "#4cf0ff", "#ff2d2d", "#6b7280"


def draw_worst(
    rows: Sequence[dict], store: cache.Cache, method: str, path: Path, simulated: bool, count: int = 20
) -> None:
    """Draw the worst exams of a method: axial slices through its peak (red cross) and through the lesion.

    Parameters
    ----------
    rows : sequence of dict
        Of ``localisation.judge``.
    store : Cache
        Of the exams.
    method : str
        Name of the method.
    path : Path
        The PNG.
    simulated : bool
        Whether the exams are, for the title.
    count : int
        Exams at most.
    """
    worst = sorted(rows, key=lambda row: -row["methods"][method]["mm"])[:count]
    down = -(-len(worst) // ACROSS)
    figure = Figure(figsize=(4.8 * ACROSS, 0.6 + 1.95 * down), layout="constrained")
    axes = figure.subplots(down, 2 * ACROSS, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, row in enumerate(worst):
        column = 2 * (number % ACROSS)
        _draw_exam(
            axes[number // ACROSS, column : column + 2], row, cache.load(store.path(row["exam"])), method
        )
    source = "simulated exams, research use only" if simulated else "research use only"
    figure.suptitle(
        f"{method}: the {len(worst)} exams with the largest distance ({source}).\n"
        "Of each: the slice of the peak (red cross), and that of the cancer. "
        "Cyan: malignant, orange: benign lesion.",
        fontsize=11,
    )
    figure.savefig(path, dpi=100)


def _draw_exam(panes: Sequence[Axes], row: dict, exam: cache.CachedExam, method: str) -> None:
    line = row["methods"][method]
    early = mean_enhancement(exam.array, early_phases(len(exam.array)))
    distances = [
        (np.linalg.norm(np.subtract(lesion["ras_mm"], line["ras_mm"])), number)
        for number, lesion in enumerate(malignant_lesions(exam.meta))
    ]
    nearest = malignant_lesions(exam.meta)[min(distances)[1]]
    to_index = np.linalg.inv(exam.affine)
    peak, lesion = (apply_affine(to_index, np.array(point)) for point in (line["ras_mm"], nearest["ras_mm"]))
    titles = (f"{line['mm']:.0f} mm: {line['hit']}", f"{row['exam']}, lesion")
    for axis, point, title in zip(panes, (peak, lesion), titles):
        level = int(np.clip(round(point[2]), 0, early.shape[2] - 1))
        _draw_slice(axis, exam, early, level)
        if abs(peak[2] - level) <= 0.5:
            at = early.shape[0] - 1 - peak[0], peak[1]
            axis.plot(*at, "+", color=PEAK, markersize=9, markeredgewidth=1.4)
        axis.set_title(title, fontsize=9)


def _draw_slice(axis: Axes, exam: cache.CachedExam, early: np.ndarray, level: int) -> None:
    """Index i grows towards the patient's right, which radiologists look at on the left of the picture."""
    top = float(np.percentile(early[exam.inside], 99.7)) or 1.0
    axis.imshow(early[::-1, :, level].T, cmap="gray", origin="lower", vmin=0, vmax=top, aspect="equal")
    if exam.inside[:, :, level].any():
        axis.contour(exam.inside[::-1, :, level].T, levels=[0.5], colors=MASK, linewidths=0.5)
    for value, colour in ((1, BENIGN), (2, MALIGNANT)):
        if exam.truth is not None and (exam.truth[:, :, level] == value).any():
            shown = (exam.truth[::-1, :, level] == value).T
            axis.contour(shown, levels=[0.5], colors=colour, linewidths=1.0)
