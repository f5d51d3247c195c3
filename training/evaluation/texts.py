"""Numbers as text, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1"}
NAMES |= {"auc": "AUC", "ppv": "Positive predictive value", "npv": "Negative predictive value"}


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many digits; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def interval(low_high: Sequence[float | None] | None, digits: int = 3) -> str:
    """ "0.871–0.933", "-0.010 to 0.020", or a dash."""
    if low_high is None or any(value is None or value != value for value in low_high):
        return "–"
    low, high = (f"{value:.{digits}f}" for value in low_high)
    return f"{low} to {high}" if low_high[0] < 0 else f"{low}–{high}"


def with_interval(figures: dict, key: str, digits: int = 3) -> str:
    """ "0.902 (0.871–0.933)" from ``figures[key]`` and ``figures[key + "_95"]``."""
    value, between = number(figures.get(key), digits), interval(figures.get(f"{key}_95"), digits)
    return value if between == "–" else f"{value} ({between})"


def distance(figures: dict) -> str:
    """ "18.3 ± 13.7 (15.4–21.2)": mean ± standard deviation (interval of the mean), in mm."""
    value = f"{number(figures.get('mean_mm'), 1)} ± {number(figures.get('sd_mm'), 1)}"
    between = interval(figures.get("mean_mm_95"), 1)
    return value if between == "–" else f"{value} ({between})"


def p_value(value: float | None) -> str:
    """ "0.012", "< 0.001" or a dash."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def taught_by(evidence: dict) -> str:
    """What network and candidate classifier learned from, of evidence that holds ``Run.supervision``."""
    own = evidence["supervision"]
    taught = evidence.get("candidate_supervision", own)
    return own if taught == own else f"{own}; the candidate classifier: {taught}"
