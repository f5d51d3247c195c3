"""What stands beside every AUC: that of the size alone, and the best that any reader could have."""

from __future__ import annotations

from collections.abc import Sequence

from training.simulation.cohorts import COHORTS

from . import metrics
from .bayes import DRAWS, bayes_bound
from .records import column


def size_alone(rows: Sequence[dict]) -> dict | None:
    """AUC of the radius of an exam's largest lesion, by the truth; 0 where there is none.

    Parameters
    ----------
    rows : sequence of dict
        Test rows of predictions.csv.

    Returns
    -------
    dict or None
        auc and auc_95; None where sizes are not known of both classes.
    """
    if not all("largest_mm" in row for row in rows):
        return None
    labels, sizes = column(rows, "label"), column(rows, "largest_mm")
    if not all(sizes[labels == label].any() for label in (0, 1)):
        return None
    interval = metrics.auc_interval(labels, sizes, patients=column(rows, "patient"))
    return {"auc": metrics.auc(labels, sizes), "auc_95": interval}


def bayes_of(cohort: str, draws: int = DRAWS) -> dict[str, dict] | None:
    """Bayes-optimal AUC by what a reader sees, of the simulated cohort that a comparison's test exams are of.

    Parameters
    ----------
    cohort : str
        simulated:NAME; joined cohorts have that of the last with test exams.
    draws : int
        Of :func:`bayes_bound`.

    Returns
    -------
    dict or None
        Reader → auc and auc_95; None where the cohort is not a named simulated one.
    """
    kind, _, names = cohort.partition(":")
    known = [COHORTS[name] for name in names.split("+") if name in COHORTS]
    tested = [cohort for cohort in known if any(part[0] == "test" for part in cohort.parts)]
    if kind != "simulated" or not tested:
        return None
    last = tested[-1]
    bounds = bayes_bound(last.population, draws, last.lesion_free)
    return {name: {"auc": value, "auc_95": [low, high]} for name, (value, low, high) in bounds.items()}
