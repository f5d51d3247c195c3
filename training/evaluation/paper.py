"""Figures of Luo et al. 2019, to be set beside those of a run."""

from __future__ import annotations

from . import metrics
from .texts import interval, number

# Table 1: 346 real exams of one hospital, 231 malignant and 115 benign by its sensitivities and specificities
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
PAPER_LOCALISATION = {"CAM": (39.84, 8.82), "COAM": (18.26, 13.65)}  # mm, mean and sd over 85 malignant exams
PAPER_RATIO = 2.18


def paper_row(name: str) -> list[str]:
    """A row of the paper's Table 1, with intervals.

    They are reckoned from its values: Hanley–McNeil for the AUC, Wilson for proportions.

    Parameters
    ----------
    name : str
        A key of ``PAPER``.

    Returns
    -------
    list of str
        In the order of ``TABLE_1``.
    """
    sizes = {
        "accuracy": PAPER_MALIGNANT + PAPER_BENIGN,
        "sensitivity": PAPER_MALIGNANT,
        "specificity": PAPER_BENIGN,
    }
    cells = []
    for key, value in zip(TABLE_1, PAPER[name], strict=True):
        if key == "auc":
            between = metrics.hanley_mcneil_interval(value, PAPER_MALIGNANT, PAPER_BENIGN)
        elif key in sizes:
            between = metrics.wilson([n < round(value * sizes[key]) for n in range(sizes[key])])
        else:
            between = None
        cells.append(number(value) if between is None else f"{number(value)} ({interval(between)})")
    return cells
