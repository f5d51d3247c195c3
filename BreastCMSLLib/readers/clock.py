"""DICOM times of day.

Not pydicom's TM: it refuses colons, blanks and a seventh decimal, and takes a second away from the second 60.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

DAY_S = 86400.0


def seconds_of_day(text: str) -> float | None:
    """Seconds since midnight of a DICOM time.

    Parameters
    ----------
    text
        HHMMSS.ffffff or less of it, also HH:MM:SS; of five digits, as where a program took the time for a
        number, the hour has lost its zero.

    Returns
    -------
    float or None
        None when the text is no time.
    """
    text = text.replace(":", "").strip()
    whole, _, fraction = text.partition(".")
    whole = whole.zfill(6) if len(whole) == 5 else whole
    if len(whole) not in (2, 4, 6) or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    whole = whole.ljust(6, "0")
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4]), int(whole[4:])
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return hours * 3600.0 + minutes * 60 + seconds + (float(f"0.{fraction}") if fraction else 0.0)


def seconds_to_date(text: str) -> float:
    """Seconds from year 1 to a DICOM date (YYYYMMDD, also YYYY.MM.DD); 0 when the text is no date."""
    text = text.replace(".", "").replace("-", "").strip()
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal() * DAY_S
    except ValueError:
        return 0.0


def across_midnight(values: Sequence[float]) -> list[float]:
    """Times of one exam, those after midnight on the next day, where the headers do not tell the right date.

    Parameters
    ----------
    values
        Seconds.

    Returns
    -------
    list of float
        As they are, unless more than half a day and no more than a day lies between them.
    """
    earliest = min(values)
    if not 0.5 * DAY_S < max(values) - earliest <= DAY_S:
        return list(values)
    return [value + DAY_S if value < earliest + 0.5 * DAY_S else value for value in values]


def on_one_clock(values: Sequence[float]) -> list[float]:
    """Times of one exam made comparable: by the time of day where dates got lost; then across midnight."""
    if max(values) - min(values) > DAY_S:
        values = [value % DAY_S for value in values]
    return across_midnight(values)
