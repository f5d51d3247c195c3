"""A grade like BI-RADS 3, 4 or 5 of an exam, as a reader would give it.

Real exams have it from the manifest's column ``birads``. For simulated ones it is the Göttingen score
(Fischer et al., Radiology 1999;213:881–888) of the lesions' drawn marks, read with noise: form and border
0–1 each, inner enhancement 0–2, first rise 0–2, what follows 0–2; up to 3 points are BI-RADS 3, 4–5 are 4,
more are 5.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from training.simulation.kinetics import RELAXIVITY, T1_MS, spoiled_gradient_echo, tofts

GRADES = (3, 4, 5)
NOISE = 0.35  # chosen: standard deviation of what is read, on the logarithm
IRREGULAR, SPICULATED = 0.15, 0.25  # marks from which a reader says so; chosen between the subtypes' medians
MIXED, RIM = 0.25, 0.60
RISES = (0.5, 1.0)  # Fischer: less than 50 %, to 100 %, more
STEADY = 0.10  # Fischer: a plateau stays within 10 % of the first rise
EARLY_MIN, LATE_MIN = 2.0, 7.0  # after injection
TR_MS, FLIP_DEG = 5.0, 12.0  # of an ordinary dynamic sequence; chosen


def grade_of(meta: dict, birads: str = "") -> int | None:
    """The grade of a cached exam.

    Parameters
    ----------
    meta : dict
        Of the exam: its name, and the lesions with the marks that the simulation drew.
    birads : str
        What the manifest says; a digit from 3 to 5 (4A–4C count as 4), "" for nothing.

    Returns
    -------
    int or None
        The highest of its lesions; None where nothing is known, or there is no lesion.
    """
    if birads:
        return int(birads[0]) if birads[0] in "345" else None
    lesions = [lesion for lesion in meta.get("lesions") or () if "ktrans_per_min" in lesion]
    rng = np.random.default_rng(zlib.crc32(meta["exam"].encode()))
    return max((_birads(points(lesion, rng.normal(0, NOISE, 6))) for lesion in lesions), default=None)


def points(lesion: dict, noise: Sequence[float] = (0.0,) * 6) -> int:
    """Göttingen score of a lesion, 0–8.

    Parameters
    ----------
    lesion : dict
        pattern, irregularity, spiculation, heterogeneity, rim, ktrans_per_min, ve, vp.
    noise : sequence of float
        Six errors of the reader on the logarithm, in that order from the second; the last is of the curve.

    Returns
    -------
    int
    """
    wrong = np.exp(noise)
    mass = lesion["pattern"] == "mass"
    form = not mass or lesion["irregularity"] * wrong[0] >= IRREGULAR
    border = not mass or lesion["spiculation"] * wrong[1] >= SPICULATED
    inner = (
        2 if mass and lesion["rim"] * wrong[3] >= RIM else int(lesion["heterogeneity"] * wrong[2] >= MIXED)
    )
    first, later = _rises(lesion)
    first, change = first * wrong[4], (later - first) / first + noise[5] * STEADY
    rise = sum(first > limit for limit in RISES)
    after = 0 if change > STEADY else 1 if change >= -STEADY else 2
    return int(form) + int(border) + inner + rise + after


def _rises(lesion: dict) -> tuple[float, float]:
    """Relative enhancement two and seven minutes after injection."""
    times = np.array([EARLY_MIN, LATE_MIN])
    concentration = tofts(times, lesion["ktrans_per_min"], lesion["ve"], lesion["vp"])[0]
    rates = 1000 / T1_MS["lesion"] + RELAXIVITY * np.array([0.0, *concentration])
    signal = spoiled_gradient_echo(rates, TR_MS, FLIP_DEG)
    early, late = signal[1:] / signal[0] - 1
    return float(early), float(late)


def _birads(score: int) -> int:
    return 3 if score <= 3 else 4 if score <= 5 else 5
