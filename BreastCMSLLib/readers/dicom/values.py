"""The elements of a DICOM image, as far as they can be used: what does not fit its type is as good as none.

In an Enhanced object a frame's values stand in its functional groups or in those that all frames share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.text import one_line
from ..clock import seconds_of_day, seconds_to_date


@dataclass(frozen=True)
class Header:
    """The values of one image or frame.

    Attributes
    ----------
    dataset
        pydicom's, of the whole object.
    groups
        Functional groups, those of the frame before those that are shared; empty for a single image.
    """

    dataset: Any
    groups: tuple[Any, ...] = ()

    def group(self, sequence: str):
        """The first item of a sequence in the functional groups, None where there is none."""
        for source in self.groups:
            if source is not None and source.get(sequence):
                return source[sequence].value[0]
        return None

    def number(self, keyword: str, sequence: str = "", other: str = "") -> float | None:
        """A number from a functional group (there under an ``other`` keyword, if given), else the dataset."""
        source = self.group(sequence) if sequence else None
        value = number_of(source, other or keyword) if source is not None else None
        return number_of(self.dataset, keyword) if value is None else value

    def numbers(self, keyword: str, count: int, sequence: str) -> tuple[float, ...] | None:
        """So many numbers from a functional group where there is that group, else from the dataset."""
        source = self.group(sequence)
        try:
            values = tuple(float(v) for v in _value(self.dataset if source is None else source, keyword))
        except (TypeError, ValueError):
            return None
        return values if len(values) == count and np.isfinite(values).all() else None

    def integer(self, keyword: str) -> int | None:
        """A whole number from the dataset."""
        return integer_of(self.dataset, keyword)

    def text(self, keyword: str) -> str:
        """Text from the dataset."""
        return text_of(self.dataset, keyword)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Texts from the dataset."""
        return texts_of(self.dataset, keyword)


def _value(dataset, keyword: str):
    try:
        return dataset.get(keyword)
    except Exception:  # whatever pydicom trips over
        return None


def text_of(dataset, keyword: str) -> str:
    """The value as one line, "" where there is none."""
    value = _value(dataset, keyword)
    return "" if value is None else one_line(value, 200)


def texts_of(dataset, keyword: str) -> tuple[str, ...]:
    """The values, each on one line."""
    value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    return (one_line(value, 100),) if isinstance(value, str) else tuple(one_line(v, 100) for v in value)


def number_of(dataset, keyword: str) -> float | None:
    """The value as a finite number, None where it is none."""
    try:
        value = float(_value(dataset, keyword))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def integer_of(dataset, keyword: str) -> int | None:
    """The value without its decimals, None where it is no number."""
    value = number_of(dataset, keyword)
    return None if value is None else int(value)


def clock_of(dataset, kind: str) -> float | None:
    """Seconds from year 1 on of ``kind``'s Date and Time, without a date from midnight; None without time."""
    seconds = seconds_of_day(text_of(dataset, f"{kind}Time"))
    return None if seconds is None else seconds_to_date(text_of(dataset, f"{kind}Date")) + seconds


def datetime_of(dataset, keyword: str) -> float | None:
    """Seconds from year 1 on of a date and time (YYYYMMDDHHMMSS.ffffff), without its offset from UTC."""
    text = text_of(dataset, keyword)
    seconds = seconds_of_day(text[8:].split("+")[0].split("-")[0]) if len(text) > 8 else None
    return None if seconds is None else seconds_to_date(text[:8]) + seconds
