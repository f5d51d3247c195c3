"""Histological subtypes of lesions: how often each occurs, how it grows and the density of its marks.

A lesion is drawn as (subtype, pattern, marks). The marks are normal on a transformed scale, without bounds
and correlated within a subtype, so that the classes overlap as they do in patients and the likelihood of a
lesion is known exactly. Sources of the shares and of the order of the medians: docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MARKS = ("size", "ktrans", "ve", "irregularity", "spiculation", "rim", "heterogeneity")
KINETICS, MORPHOLOGY = MARKS[1:3], MARKS[3:]
PATTERNS = ("mass", "ductal", "segmental", "regional")
# standard deviations of log radius, log Ktrans, logit ve, log irregularity, log length of spicules, rim (the
# negative log of what the centre enhances against the body), log heterogeneity. Chosen; see _SUBTYPES
_SPREAD = np.array([0.42, 0.63, 0.63, 0.50, 0.62, 0.55, 0.45])
# correlation of the marks in every subtype, chosen by sign: what is larger is less regular and more often
# dark in its centre, what enhances fast washes out, and irregular outlines, spicules and mixed insides go
# together
_TOGETHER = {
    ("size", "irregularity"): 0.20,
    ("size", "rim"): 0.25,
    ("size", "heterogeneity"): 0.25,
    ("ktrans", "ve"): -0.25,
    ("ktrans", "rim"): 0.15,
    ("irregularity", "spiculation"): 0.45,
    ("irregularity", "heterogeneity"): 0.35,
    ("rim", "heterogeneity"): 0.20,
}
_NO_MASS = {"spiculation": 0.12, "rim": 0.0}  # medians of what non-mass enhancement does not show
# radius of the sphere of the lesion's volume, mm
ALIKE_MM = 9.0


@dataclass(frozen=True)
class Subtype:
    """A histological subtype.

    Attributes
    ----------
    name : str
        As in the truth of an exam.
    malignant : bool
        Its class.
    share : float
        Of the lesions of its class.
    patterns : tuple of float
        How often it grows as each of ``PATTERNS``.
    across_mm : float
        Median diameter of the sphere of its volume where sizes differ by subtype.
    mass, spread_out : tuple of float
        Medians of the marks after the size: Ktrans (1/min), ve, irregularity, length of spicules (radii),
        rim, heterogeneity; as a mass, and as non-mass enhancement (Ktrans, ve, irregularity, heterogeneity).
    together : Mapping
        Correlations of its own.
    """

    name: str
    malignant: bool
    share: float
    patterns: tuple[float, float, float, float]
    across_mm: float
    mass: tuple[float, ...]
    spread_out: tuple[float, ...]
    together: Mapping[tuple[str, str], float]


_SUBTYPES = (
    Subtype(
        "invasive of no special type",
        True,
        0.55,
        (0.84, 0.03, 0.08, 0.05),
        21.0,
        (0.165, 0.44, 0.195, 0.34, 0.45, 0.32),
        (0.130, 0.48, 0.44, 0.58),
        {},
    ),
    Subtype(
        "invasive lobular",
        True,
        0.10,
        (0.65, 0.03, 0.14, 0.18),
        26.0,
        (0.115, 0.52, 0.220, 0.38, 0.15, 0.32),
        (0.100, 0.54, 0.44, 0.54),
        {("size", "spiculation"): 0.25},
    ),
    Subtype(
        "ductal in situ",
        True,
        0.20,
        (0.30, 0.20, 0.34, 0.16),
        22.0,
        (0.130, 0.50, 0.200, 0.19, 0.10, 0.36),
        (0.115, 0.51, 0.47, 0.62),
        {("ktrans", "heterogeneity"): 0.25},
    ),
    Subtype(
        "mucinous",
        True,
        0.03,
        (1.0, 0.0, 0.0, 0.0),
        20.0,
        (0.080, 0.68, 0.110, 0.14, 0.75, 0.30),
        (),
        {("ve", "rim"): 0.25},
    ),
    Subtype(
        "triple-negative",
        True,
        0.12,
        (0.875, 0.02, 0.065, 0.04),
        26.0,
        (0.190, 0.43, 0.120, 0.15, 1.15, 0.30),
        (0.150, 0.46, 0.44, 0.54),
        {("size", "rim"): 0.50},
    ),
    Subtype(
        "fibroadenoma",
        False,
        0.35,
        (1.0, 0.0, 0.0, 0.0),
        17.0,
        (0.058, 0.69, 0.082, 0.13, 0.05, 0.145),
        (),
        {("size", "heterogeneity"): 0.40},
    ),
    Subtype(
        "papilloma",
        False,
        0.12,
        (0.86, 0.10, 0.04, 0.0),
        11.0,
        (0.110, 0.57, 0.115, 0.15, 0.25, 0.18),
        (0.090, 0.58, 0.31, 0.38),
        {},
    ),
    Subtype(
        "cyst",
        False,
        0.10,
        (1.0, 0.0, 0.0, 0.0),
        15.0,
        (0.042, 0.66, 0.072, 0.12, 1.50, 0.13),
        (),
        {("size", "rim"): 0.40},
    ),
    Subtype(
        "fibrocystic change",
        False,
        0.33,
        (0.42, 0.08, 0.12, 0.38),
        16.0,
        (0.055, 0.66, 0.115, 0.16, 0.10, 0.18),
        (0.052, 0.66, 0.32, 0.37),
        {("ktrans", "heterogeneity"): 0.15},
    ),
    Subtype(
        "intramammary node",
        False,
        0.10,
        (1.0, 0.0, 0.0, 0.0),
        8.0,
        (0.140, 0.50, 0.078, 0.12, 0.60, 0.15),
        (),
        {("ktrans", "ve"): -0.40},
    ),
)
SUBTYPES = {subtype.name: subtype for subtype in _SUBTYPES}


@dataclass(frozen=True)
class DrawnMarks:
    """The subtype of a lesion, its pattern and its marks (7,) on the normal scale, in the order of MARKS."""

    subtype: Subtype
    pattern: str
    values: np.ndarray

    def __getitem__(self, mark: str) -> float:
        """A mark on its natural scale: mm, 1/min, a fraction, radii, a factor's logarithm."""
        value = float(self.values[MARKS.index(mark)])
        if mark == "rim":
            return value
        return 1 / (1 + float(np.exp(-value))) if mark == "ve" else float(np.exp(value))


def draw_marks(
    malignant: bool, size: float, rng: np.random.Generator, *, apart: bool = False, subtype: str | None = None
) -> DrawnMarks:
    """Draw a lesion's subtype, pattern and marks.

    Parameters
    ----------
    malignant : bool
        Its class.
    size : float
        Standard normal deviate of the log radius, drawn elsewhere: the same for both classes.
    rng : numpy.random.Generator
        Of all else.
    apart : bool
        Whether sizes differ by subtype (22 mm against 15 mm in the median) or are alike in all.
    subtype : str, optional
        A key of ``SUBTYPES``; None draws one of the class.

    Returns
    -------
    DrawnMarks
        The lesion without a shape.
    """
    of_class = [s for s in _SUBTYPES if s.malignant == malignant]
    chosen = of_class[int(rng.choice(len(of_class), p=[s.share for s in of_class]))]
    chosen = SUBTYPES[subtype] if subtype is not None else chosen
    pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=chosen.patterns))]
    mean, covariance = _density(chosen.name, pattern != "mass", apart)
    # size comes first, so that the others follow from it by the Cholesky factor
    normal = np.concatenate([[size], rng.standard_normal(len(MARKS) - 1)])
    return DrawnMarks(chosen, pattern, mean + np.linalg.cholesky(covariance) @ normal)


def draw_many(
    malignant: bool, count: int, rng: np.random.Generator, *, apart: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (count,), as numbers of ``PATTERNS``, and marks (count, 7) of many lesions of a class."""
    components = [c for c in _components(apart) if c.malignant == malignant]
    which = rng.choice(len(components), count, p=[c.weight for c in components])
    normal, marks = rng.standard_normal((count, len(MARKS))), np.empty((count, len(MARKS)))
    for number, component in enumerate(components):
        mine = which == number
        marks[mine] = component.mean + normal[mine] @ np.linalg.cholesky(component.covariance).T
    return np.array([PATTERNS.index(c.pattern) for c in components])[which], marks


def log_likelihood(
    malignant: bool,
    marks: np.ndarray,
    patterns: np.ndarray | None,
    *,
    use: tuple[str, ...] = MARKS,
    apart: bool = False,
) -> np.ndarray:
    """Logarithm of the density of lesions under a class.

    The mixture over subtypes and patterns of the share of each times the normal density of its marks.

    Parameters
    ----------
    malignant : bool
        The class.
    marks : numpy.ndarray
        (n, 7) on the normal scale.
    patterns : numpy.ndarray or None
        (n,) numbers of ``PATTERNS``; None: the pattern is not known to the reader.
    use : tuple of str
        The marks known to the reader.
    apart : bool
        Whether sizes differ by subtype.

    Returns
    -------
    numpy.ndarray
        (n,).
    """
    columns = [MARKS.index(mark) for mark in use]
    total = np.full(len(marks), -np.inf)
    for component in _components(apart):
        if component.malignant != malignant:
            continue
        factor = np.linalg.cholesky(component.covariance[np.ix_(columns, columns)])
        away = np.linalg.solve(factor, (marks[:, columns] - component.mean[columns]).T)
        density = np.log(component.weight) - np.log(np.diag(factor)).sum()
        density = density - 0.5 * (away**2).sum(0) - 0.5 * len(columns) * np.log(2 * np.pi)
        if patterns is not None:
            density = np.where(patterns == PATTERNS.index(component.pattern), density, -np.inf)
        total = np.logaddexp(total, density)
    return total


@dataclass(frozen=True)
class _Component:
    """A subtype growing in one pattern; weights of a class add up to 1."""

    malignant: bool
    pattern: str
    weight: float
    mean: np.ndarray
    covariance: np.ndarray


@lru_cache
def _components(apart: bool) -> tuple[_Component, ...]:
    return tuple(
        _Component(s.malignant, pattern, s.share * often, *_density(s.name, pattern != "mass", apart))
        for s in _SUBTYPES
        for pattern, often in zip(PATTERNS, s.patterns)
        if often > 0
    )


@lru_cache
def _density(name: str, spread_out: bool, apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean (7,) and covariance (7, 7) of the marks of a subtype on the normal scale."""
    subtype = SUBTYPES[name]
    if spread_out:
        ktrans, ve, irregularity, heterogeneity = subtype.spread_out
        spicules, rim = _NO_MASS["spiculation"], _NO_MASS["rim"]
    else:
        ktrans, ve, irregularity, spicules, rim, heterogeneity = subtype.mass
    radius = subtype.across_mm / 2 if apart else ALIKE_MM
    mean = np.array([radius, ktrans, ve / (1 - ve), irregularity, spicules, np.exp(rim), heterogeneity])
    correlation = np.eye(len(MARKS))
    for pair, value in {**_TOGETHER, **subtype.together}.items():
        if spread_out and set(pair) & set(_NO_MASS):
            continue  # what is not shown tells nothing of the rest
        i, j = (MARKS.index(mark) for mark in pair)
        correlation[i, j] = correlation[j, i] = value
    return np.log(mean), correlation * np.outer(_SPREAD, _SPREAD)
