"""The elements of a DICOM image, as far as they can be used: what does not fit its type is as good as none.

In an Enhanced object a frame's values stand in its functional groups or in those that all frames share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
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
        source = self.dataset if source is None else source
        plain = _plain(source, keyword)
        try:
            values = tuple(
                float(v) for v in (_value(source, keyword) if plain is None else plain.split("\\"))
            )
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
    except MemoryError:
        raise
    except Exception:  # whatever pydicom trips over
        return None


_TEXT_VRS = {"CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"}


@cache
def _known(keyword: str) -> tuple[int, str]:
    """Tag and value representation of a keyword."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    return (0, "") if tag is None else (int(tag), dictionary_VR(tag))


def _raw(dataset, keyword: str) -> tuple[Any, str]:
    """The element as it was read, and its value representation; None once pydicom has converted it."""
    tag, representation = _known(keyword)
    element = dataset.get_item(tag)
    if not isinstance(element, tuple) or element.VR not in (None, representation):
        return None, ""
    return element, representation


def _plain(dataset, keyword: str) -> str | None:
    """The characters of an element in ASCII, None for others.

    pydicom's conversion of every element takes as long as reading the files.
    """
    element, representation = _raw(dataset, keyword)
    if element is None or representation not in _TEXT_VRS:
        return None
    value = element.value or b""
    if not isinstance(value, bytes) or not value.isascii() or b"\x1b" in value:
        return None
    return value.decode("ascii").strip("\0 ")


def text_of(dataset, keyword: str) -> str:
    """The value as one line, "" where there is none."""
    plain = _plain(dataset, keyword)
    if plain is not None and "\\" not in plain:
        return one_line(plain, 200)
    value = _value(dataset, keyword)
    return "" if value is None else one_line(value, 200)


def texts_of(dataset, keyword: str) -> tuple[str, ...]:
    """The values, each on one line."""
    value = _plain(dataset, keyword)
    if value is not None and "\\" in value:
        value = value.split("\\")
    elif value is None:
        value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    return (one_line(value, 100),) if isinstance(value, str) else tuple(one_line(v, 100) for v in value)


def number_of(dataset, keyword: str) -> float | None:
    """The value as a finite number, None where it is none."""
    element, representation = _raw(dataset, keyword)
    if representation == "US" and isinstance(element.value, bytes) and len(element.value) == 2:
        return float(int.from_bytes(element.value, "little" if element.is_little_endian else "big"))
    plain = _plain(dataset, keyword)
    try:
        value = float(_value(dataset, keyword) if plain is None else plain)
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
