"""What changed of a finding between two exams: measures side by side, and one word for it.

Grown and shrunk are as RECIST 1.1 has them of target lesions (Eisenhauer et al., Eur J Cancer 2009;45:228):
the longest diameter at least 20 % and 5 mm larger, or at least 30 % smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .names import GROWN, SHRUNK, STABLE

_GROWN_PERCENT, _GROWN_MM, _SHRUNK_PERCENT = 20.0, 5.0, -30.0
MEASURES = {"size_mm": 1, "volume_ml": 2, "ftv_ml": 2}  # of a record, and their decimals


def change_of(current: float | None, prior: float | None, digits: int = 2) -> dict[str, float | None]:
    """Two values of one measure and their difference.

    Parameters
    ----------
    current, prior : float or None
        None where it was not measured.
    digits : int
        Decimals of the difference.

    Returns
    -------
    dict
        ``current``, ``prior``, ``change`` (current − prior) and ``percent`` of the prior value; None where it
        is not known.
    """
    known = current is not None and prior is not None
    change = round(current - prior, digits) if known else None
    percent = round(100.0 * (current - prior) / prior, 1) if known and prior else None
    return {"current": current, "prior": prior, "change": change, "percent": percent}


def changes_of(
    current: Mapping[str, Any], prior: Mapping[str, Any], curves: tuple[Mapping, Mapping]
) -> dict[str, Any]:
    """Diameter, volume, tumour volume and curve of one lesion in two exams.

    Parameters
    ----------
    current, prior : mapping
        Records of its candidate.
    curves : (mapping, mapping)
        Current and prior, as ``findings.kinetics`` makes them.

    Returns
    -------
    dict
        By measure, as :func:`change_of`; ``curve_type`` with ``current`` and ``prior``.
    """
    changes = {
        name: change_of(current.get(name), prior.get(name), digits) for name, digits in MEASURES.items()
    }
    now, then = curves
    # enhancement in % and in grey values are two things
    alike = now["unit"] == then["unit"] == "%"
    changes["wash_in"] = change_of(*((c["wash_in"] if alike else None) for c in curves), 1)
    changes["wash_out"] = change_of(now["wash_out"], then["wash_out"], 1)
    return changes | {"curve_type": {"current": now["type"], "prior": then["type"]}}


def kind_of(size: Mapping[str, float | None]) -> str:
    """``GROWN``, ``SHRUNK`` or ``STABLE``, from the change of the longest diameter."""
    change, percent = size["change"], size["percent"]
    if change is None or percent is None:
        return STABLE
    if percent >= _GROWN_PERCENT and change >= _GROWN_MM:
        return GROWN
    return SHRUNK if percent <= _SHRUNK_PERCENT else STABLE
