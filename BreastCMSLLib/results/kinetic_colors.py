"""The colours of kinetic maps, and the values that they span.

SER has the five colours of UCSF's extension Breast_DCEMRI_FTV, wash-out the three that workstations give to
types of curves: red washout, yellow plateau, blue persistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..kinetics.names import PE, SER, SER_LEVELS, TIME_TO_PEAK, WASH_IN, WASH_IN_LEVELS, WASH_OUT
from ..kinetics.settings import DEFAULTS
from .colors import heat_ramp

_RED, _YELLOW, _GREEN = (0.84, 0.10, 0.11), (1.0, 0.85, 0.10), (0.20, 0.70, 0.25)
_BLUE, _PURPLE = (0.12, 0.35, 0.90), (0.55, 0.10, 0.60)


@dataclass(frozen=True)
class KineticColors:
    """How a map is drawn.

    Parameters
    ----------
    low, high : float
        The values of the first colour's lower and of the last one's upper end.
    table : ndarray of float64, shape (n, 3)
        sRGB, 0 to 1, each over an equal part of these values.
    shown_from : float
        Below it nothing is drawn: slow enhancement is mostly noise in fat.
    label_format : str
        Of values in a legend.
    """

    low: float
    high: float
    table: np.ndarray
    shown_from: float = -np.inf
    label_format: str = "%.0f"


def kinetic_colors(name: str, result: Mapping) -> KineticColors | None:
    """The colours of a kinetic map.

    Parameters
    ----------
    name : str
        As in ``kinetics.names``.
    result : mapping
        The content of ``result.json``, whose phases tell how long times to the peak can be.

    Returns
    -------
    KineticColors or None
        None for a projection, which is grey.
    """
    if name == PE:
        return KineticColors(0.0, 300.0, heat_ramp(), DEFAULTS.shown_percent)
    if name == WASH_IN:
        colors = (_GREEN, _YELLOW, _RED)
        table = _steps(0, 200, 10, WASH_IN_LEVELS, colors)
        return KineticColors(0.0, 200.0, table, DEFAULTS.shown_percent)
    if name == WASH_OUT:
        return KineticColors(-100.0, 100.0, _steps(-100, 100, 10, (-10, 10), (_RED, _YELLOW, _BLUE)))
    if name == SER:
        colors = (_BLUE, _PURPLE, _GREEN, _RED, _YELLOW)
        return KineticColors(0.0, 3.0, _steps(0, 3, 0.05, SER_LEVELS, colors), label_format="%.2f")
    if name == TIME_TO_PEAK:
        times = [phase["time_s"] for phase in result.get("phases") or () if phase.get("role") != "pre"]
        minutes = (times[-1] - times[0]) / 60.0 if times and None not in (times[0], times[-1]) else 1.0
        return KineticColors(0.0, minutes, heat_ramp()[::-1], label_format="%.1f")
    return None


def _steps(low: float, high: float, step: float, levels, colors) -> np.ndarray:
    """One colour for each step: the first below the first level, and so on."""
    middles = np.arange(round((high - low) / step)) * step + low + step / 2
    table = np.array(colors)[np.searchsorted(np.array(levels, dtype=float), middles)]
    return np.round(table * 255) / 255  # what a .ctbl file can hold
