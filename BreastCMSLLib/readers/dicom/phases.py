"""The phases in one series: which of the images at each place belong together.

Images are ranked at each place by temporal position, else by a clock, else by acquisition number, else by
instance number. A field that is the same for all says nothing; one that ties for some only means copies.
Where nothing tells the phases apart, their slices are not mixed by guess: the series has a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .copies import copies_among
from .geometry import normal_of, places_of
from .slices import Slice

_SPAN = 1.75  # times the usual one: no phase takes longer
_SLACK = 2.0  # seconds, or numbers, that it may take in any case


@dataclass(frozen=True)
class Part:
    """Images of a series that belong together.

    Attributes
    ----------
    slices
        In any order.
    phase
        1, 2… where the series holds several phases, else None.
    problem
        What is wrong, to follow the series' name in a sentence; or "".
    is_copy
        Whether they repeat other images of the series.
    """

    slices: list[Slice]
    phase: int | None = None
    problem: str = ""
    is_copy: bool = False


@dataclass(frozen=True)
class _Key:
    """A field that may tell phases apart: a number of each image that grows with time."""

    value: Callable[[Slice], float | None]
    surely_time: bool = True  # what it ties are images of one moment
    in_order: bool = True  # all images of a phase come before those of the next


_KEYS = (
    _Key(lambda item: item.temporal_position),
    _Key(lambda item: item.clocks["datetime"]),
    _Key(lambda item: item.clocks["acquisition"]),
    _Key(lambda item: item.trigger_ms),
    _Key(lambda item: item.acquisition_number, surely_time=False),
    _Key(lambda item: item.clocks["content"], surely_time=False),
    _Key(lambda item: item.instance_number, surely_time=False, in_order=False),
)
_CERTAIN = 5  # so many of these keys tell phases; the others also count files as they were written


def phases_of(group: Sequence[Slice]) -> list[Part]:
    """One part for each phase in images of one series and geometry, or one of all with its problem.

    Parameters
    ----------
    group
        In any order.

    Returns
    -------
    list of Part
        In the order of time; last what repeats other images.
    """
    normal = normal_of(group[0])
    if normal is None or any(item.position is None for item in group):
        problem = "tells no usable slice positions or orientation in its headers; export the series again."
        return [Part(list(group), problem=problem)]
    images, copies = list(group), []
    while True:
        places = places_of(np.array([np.dot(item.position, normal) for item in images]))
        counts = np.bincount(places)  # images at each place
        phases, repeated = _told_apart(images, places, counts)
        if not repeated:
            break
        copies += [images[index] for index in repeated]
        images = [item for index, item in enumerate(images) if index not in set(repeated)]
    repeats = [Part(copies, is_copy=True)] if copies else []
    if phases is None:
        return [Part(images, problem=_why_not(images, counts)), *repeats]
    if len(phases) == 1 and (positions := _temporal_positions(phases[0])) > 1:
        problem = (
            f"holds slices of {positions} temporal positions at different places: the others of each are "
            "missing; copy or export the whole series again."
        )
        return [Part(images, problem=problem), *repeats]
    numbered = enumerate(phases, 1)
    return [Part(phase, number if len(phases) > 1 else None) for number, phase in numbered] + repeats


def _temporal_positions(images: Sequence[Slice]) -> int:
    """How many temporal positions images come from; 1 where that number merely counts them."""
    positions = {item.temporal_position for item in images}
    return len(positions) if None not in positions and len(positions) <= len(images) / 2 else 1


def _why_not(images: Sequence[Slice], counts: np.ndarray) -> str:
    if len(counts) == 1:
        return (
            f"holds {len(images)} images that all claim one slice position; its headers are wrong, "
            "export the series again."
        )
    if counts.min() != counts.max():
        return (
            f"holds {len(images)} images at {len(counts)} slice positions, which makes no whole number "
            "of phases: slices are missing or doubled; export the series again."
        )
    return (
        f"holds {counts.max()} images at each slice position that neither times nor numbers tell apart; "
        "export each phase as a series of its own."
    )


def _told_apart(
    images: list[Slice], places: np.ndarray, counts: np.ndarray
) -> tuple[list[list[Slice]] | None, list[int]]:
    """The phases by the first key that tells whole ones, and images that repeat others.

    Else the phases by the first key that tells as many as there are images at a place, some incomplete.
    """
    if counts.max() == 1:
        return [images], []
    if len(counts) == 1:
        return None, []
    incomplete, tied = None, False
    for number, key in enumerate(_KEYS):
        values = [key.value(item) for item in images]
        if any(value is None for value in values):
            continue
        moments = np.unique(np.array(values, dtype=np.float64), return_inverse=True)[1]
        same_place_and_time = np.unique(np.stack([places, moments]), axis=1, return_inverse=True)[1].ravel()
        distinct = np.bincount(np.unique(np.stack([places, moments]), axis=1)[0])  # moments at each place
        if distinct.max() == 1:
            continue  # it tells nothing
        if (distinct < counts).any():
            if repeated := copies_among(images, same_place_and_time):
                return None, repeated
            tied = tied or key.surely_time
            continue
        if tied and number >= _CERTAIN:
            break
        phases = _by_value(images, moments)
        if all(len(phase) == len(counts) for phase in phases):
            return phases, []
        if (counts == counts.max()).all() and (ranked := _by_rank(images, places, values, key)) is not None:
            return ranked, []
        if incomplete is None and len(phases) == counts.max():
            incomplete = phases
    return incomplete, [] if incomplete else copies_among(images, places)


def _by_value(images: Sequence[Slice], moments: np.ndarray) -> list[list[Slice]]:
    phases: list[list[Slice]] = [[] for _ in range(moments.max() + 1)]
    for item, moment in zip(images, moments, strict=True):
        phases[moment].append(item)
    return phases


def _by_rank(
    images: Sequence[Slice], places: np.ndarray, values: Sequence[float], key: _Key
) -> list[list[Slice]] | None:
    """Phases by rank at each place; None where these are no phases after one another."""
    order = np.lexsort((values, places))
    ranked = order.reshape(places.max() + 1, -1)  # (places, phases) indices of images
    table = np.array(values, dtype=np.float64)[ranked]
    first, last = table.min(axis=0), table.max(axis=0)
    phase_by_phase = (last[:-1] < first[1:]).all()
    by_place = table[np.argsort(table[:, 0])]
    place_by_place = (by_place[:-1].max(axis=1) < by_place[1:].min(axis=1)).all()
    if not (phase_by_phase or (place_by_place and not key.in_order)):
        return None
    spans = last - first
    if spans.max() > _SPAN * np.median(spans) + _SLACK:
        return None  # one holds slices of two
    return [[images[index] for index in phase] for phase in ranked.T]
