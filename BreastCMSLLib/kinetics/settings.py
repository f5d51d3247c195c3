"""What may be set of kinetic maps and functional tumour volume."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError


@dataclass(frozen=True)
class KineticSettings:
    """Times and thresholds.

    The thresholds of functional tumour volume are those of I-SPY (``tumour_volume.py``). There early and
    late are 2.5 and 7.5 min after injection. Exams do not tell when that was: the first phase after
    contrast is taken to be centred one minute after it.

    Parameters
    ----------
    early_s, late_s : float
        From the first phase after contrast to what is early and late; the nearest phases are taken.
    percent : float
        Least early enhancement of tumour, % of the signal before contrast.
    ser : float
        Least signal enhancement ratio of tumour.
    background : float
        Least signal before contrast of tumour, as a share of the 95th percentile; 0 to 1.
    neighbours : int
        Of the 26 about a voxel.
    shown_percent : float
        Highest enhancement, % of the signal before contrast, from which on ratios and times have a value.

    Raises
    ------
    InputError
        A number makes no sense.
    """

    early_s: float = 90.0
    late_s: float = 390.0
    percent: float = 70.0
    ser: float = 0.0
    background: float = 0.6
    neighbours: int = 4
    shown_percent: float = 50.0

    def __post_init__(self) -> None:
        limits = {
            "early_s": (0, 3600),
            "late_s": (0, 7200),
            "percent": (0, 1000),
            "ser": (0, 10),
            "background": (0, 1),
            "neighbours": (0, 26),
            "shown_percent": (0, 1000),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(
                    f"Kinetic maps: {name} cannot be {getattr(self, name):g}; say {low} to {high}."
                )


DEFAULTS = KineticSettings()
