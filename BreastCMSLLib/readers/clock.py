"""DICOM times of day."""

from __future__ import annotations

from collections.abc import Sequence

DAY = 86400.0


def seconds_of_day(text: str) -> float | None:
    """Seconds since midnight of a DICOM time (HHMMSS.ffffff, also HH:MM:SS), None when it is none."""
    text = text.replace(":", "").strip()
    whole, _, fraction = text.partition(".")
    if len(whole) not in (2, 4, 6) or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    whole = whole.ljust(6, "0")
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4]), int(whole[4:])
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return hours * 3600.0 + minutes * 60 + seconds + (float(f"0.{fraction}") if fraction else 0.0)


def across_midnight(values: Sequence[float]) -> list[float]:
    """The same times with those after midnight moved to the next day, where the headers do not tell the right date."""
    if not 0.5 * DAY < max(values) - min(values) <= DAY:
        return list(values)
    middle = min(values) + 0.5 * DAY
    return [v + DAY if v < middle else v for v in values]
