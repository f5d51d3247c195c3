"""Settings that say beside each value between which limits it may lie."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from .text import one_line


def ranged(default: Any, low: float = 0, high: float = 1, *, count: tuple[int, int] | None = None) -> Any:
    """A dataclass field with limits; :func:`check_ranges` in ``__post_init__`` holds to them.

    Parameters
    ----------
    default : bool, int, float or tuple of numbers
        The value, or each of the values, must be of its type; a whole number will do for a float.
    low, high : float
        Limits of the value, or of each of the values, both included.
    count : tuple of int, optional
        Fewest and most values of a tuple.
    """
    return field(default=default, metadata={"range": (low, high, count)})


def check_ranges(settings: Any) -> None:
    """Check the fields of a dataclass that were made with :func:`ranged`.

    Raises
    ------
    ValueError
        A value is of another type than its default, or lies outside its limits.
    """
    for setting in fields(settings):
        if "range" not in setting.metadata:
            continue
        low, high, count = setting.metadata["range"]
        value, default = getattr(settings, setting.name), setting.default
        if count is None:
            _check_value(setting.name, value, default, low, high)
            continue
        if not isinstance(value, tuple) or not count[0] <= len(value) <= count[1]:
            numbers = str(count[0]) if count[0] == count[1] else f"{count[0]} to {count[1]}"
            raise ValueError(f"{setting.name} does not hold {numbers} numbers")
        for each in value:
            _check_value(setting.name, each, default[0], low, high)


def _check_value(name: str, value: Any, default: Any, low: float, high: float) -> None:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is not true or false")
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} is {one_line(value, 30)}, not {low:g} to {high:g}")
    if isinstance(default, int) and not isinstance(value, int):
        raise ValueError(f"{name} is {value}, not a whole number")
