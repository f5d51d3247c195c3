"""BI-RADS words from measurements (ACR BI-RADS Atlas, MRI, 5th edition, 2013). Imports nothing heavy.

A word is given on either side of two cut-offs; between them the measurement is not clear, and no word is
given. Cut-offs were chosen on simulated exams, never on a real one: docs/descriptors.md.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from .names import (
    AMOUNTS,
    BACKGROUNDS,
    CIRCUMSCRIBED,
    HETEROGENEOUS,
    HOMOGENEOUS,
    INTERNAL,
    IRREGULAR,
    MARGIN,
    MASS,
    NOT_CIRCUMSCRIBED,
    OVAL,
    RIM,
    ROUND,
    SHAPE,
    TYPE,
)

LEAST_VOXELS, LEAST_RADIUS_MM = 60, 3.5  # of a region whose shape, margin and inside are told
# what results say: the words of shape did not agree with what was drawn (docs/descriptors.md)
SHOWN = (TYPE, MARGIN, INTERNAL)
# the clear cases: up to the first number one word, from the second on the other
COMPACT_FROM = 0.66  # mean of radial and solidity: a mass
APART_FROM = 0.97  # apart: below, an outline runs into other bright tissue
ROUGH = (0.095, 0.14)  # roughness: oval or round, irregular
LONG = (1.25, 1.35)  # elongation: round, oval
FULL = (0.82, 0.90)  # solidity: margin not circumscribed, circumscribed
BRIGHT_RIM = (1.15, 1.30)  # rim: none, rim enhancement
UNEVEN = (0.14, 0.16)  # unevenness: homogeneous, heterogeneous
# between the words of the breasts; near a cut-off, within a tenth of it, both words are given
BACKGROUND_AT = (0.17, 0.39, 0.66)
AMOUNT_AT = (0.08, 0.16, 0.32)
_NEAR = 0.1


def describe(measures: Mapping[str, float | None]) -> dict[str, dict[str, Any]]:
    """The words of a lesion.

    Parameters
    ----------
    measures : mapping
        Of ``measures.measure_region``.

    Returns
    -------
    dict
        By ``TYPE``, ``SHAPE``, ``MARGIN`` and ``INTERNAL``: ``word``, None where it is not clear, and
        ``by``, the measures that it rests on. Shape, margin and inside of masses alone; nothing of a region
        of a few voxels.
    """
    if measures["voxels"] < LEAST_VOXELS or measures["radius_mm"] < LEAST_RADIUS_MM:
        return {}
    words = {TYPE: (_type(measures), ("radial", "solidity", "apart"))}
    if words[TYPE][0] == MASS:
        words |= {
            SHAPE: (_shape(measures), ("roughness", "elongation")),
            MARGIN: (_side(measures["solidity"], FULL, NOT_CIRCUMSCRIBED, CIRCUMSCRIBED), ("solidity",)),
            INTERNAL: (_inside(measures), ("rim", "unevenness")),
        }
    return {
        name: {"word": word, "by": {key: measures[key] for key in keys}}
        for name, (word, keys) in words.items()
    }


def _side(value: float | None, cuts: tuple[float, float], low: str, high: str) -> str | None:
    """The word of a measure; None between the cut-offs."""
    if value is None:
        return None
    return low if value <= cuts[0] else high if value >= cuts[1] else None


def _type(measures: Mapping[str, float | None]) -> str | None:
    """A mass or not clear: an outline that runs into bright tissue looks like non-mass enhancement."""
    radial, solidity, apart = (measures[name] for name in ("radial", "solidity", "apart"))
    if None in (radial, solidity, apart):
        return None
    return MASS if (radial + solidity) / 2 >= COMPACT_FROM and apart >= APART_FROM else None


def _shape(measures: Mapping[str, float | None]) -> str | None:
    smooth = "smooth"
    outline = _side(measures["roughness"], ROUGH, smooth, IRREGULAR)
    return _side(measures["elongation"], LONG, ROUND, OVAL) if outline == smooth else outline


def _inside(measures: Mapping[str, float | None]) -> str | None:
    """A rim goes before all else, as it is uneven too."""
    none = "none"
    rim = _side(measures["rim"], BRIGHT_RIM, none, RIM)
    return _side(measures["unevenness"], UNEVEN, HOMOGENEOUS, HETEROGENEOUS) if rim == none else rim


def background_word(share: float) -> str:
    """Minimal, mild, moderate or marked, or two of them: "mild to moderate"; share of the gland, 0 to 1."""
    return _grade(share, BACKGROUND_AT, BACKGROUNDS)


def amount_word(share: float) -> str:
    """a, b, c or d, or two of them: "b to c"; share of the breast, 0 to 1."""
    return _grade(share, AMOUNT_AT, AMOUNTS)


def _grade(share: float, cuts: Sequence[float], words: Sequence[str]) -> str:
    low, high = (words[bisect(cuts, share * factor)] for factor in (1 - _NEAR, 1 + _NEAR))
    return low if low == high else f"{low} to {high}"
