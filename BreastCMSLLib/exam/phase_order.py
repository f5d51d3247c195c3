"""The order in which phases were acquired, from their clock, their numbers or their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exam import Phase
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
_PRE = re.compile(r"(?<![a-z])(pre|precontrast|mask|nativ\w*|without|unenhanced|vor|ph(ase)?[ _-]?0+)(?![a-z0-9])", re.I)
_SUBTRACTION = re.compile(r"(?<![a-z])(sub|subs|subtr\w*)(?![a-z])|(?<![a-z])sub[ _-]?\d+", re.I)


def looks_pre_contrast(name: str) -> bool:
    """True when a phase's name says it was taken before contrast ("ax dyn pre", "Pre.nii.gz", "MASK")."""
    return bool(_PRE.search(name))


def looks_subtracted(name: str) -> bool:
    """True when a name says the volume is a subtraction ("S10_subtraction_1", "Sub_1")."""
    return bool(_SUBTRACTION.search(name))


def name_rank(name: str) -> tuple[float, str]:
    """The place in time that a name tells: pre first, then "1st pass", "Post_2", "third"…, else the last number in it."""
    text = name.lower()
    padded = re.sub(r"\d+", lambda number: number.group().zfill(9), text)  # so that 10 follows 9 among equals
    if looks_pre_contrast(text):
        return (0.0, padded)
    for word, number in _ORDINALS.items():
        if re.search(rf"(?<![a-z]){word}(?![a-z])", text):
            return (float(number), padded)
    ordinal = re.search(r"(\d+)\s*(?:st|nd|rd|th)(?![a-z])", text)
    numbers = re.findall(r"\d+", text)
    if ordinal:
        return (float(ordinal.group(1)), padded)
    return (float(numbers[-1]) if numbers else float("inf"), padded)


def order_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Phases in the order they were acquired (the input order does not matter).

    By time; where a time is missing or two are equal, by AcquisitionNumber, then SeriesNumber, then both (a pre-contrast
    series followed by one series of several phases), then the name.
    A key is used only when every phase has it and no two share it, so that half-anonymised files cannot mislead.
    """

    def distinct(values: list) -> bool:
        return all(v is not None for v in values) and len(set(values)) == len(values)

    for key in ("time_s", "acquisition_number", "series_number"):
        if distinct([getattr(phase, key) for phase in phases]):
            return sorted(phases, key=lambda phase: getattr(phase, key))
    if all(phase.series_number is not None for phase in phases):
        numbers = [(phase.series_number, phase.acquisition_number or 0) for phase in phases]
        if distinct(numbers):
            return [phase for _, phase in sorted(zip(numbers, phases, strict=True), key=lambda pair: pair[0])]
    return sorted(phases, key=lambda phase: (*name_rank(phase.name), phase.source))
