"""Whether images under different identifiers are one: by the bytes of their pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.errors import InputError
from .pixels import UNCOMPRESSED, stored_bytes
from .slices import Slice


def same_pixels(a: Slice, b: Slice) -> bool | None:
    """Whether two images hold the same pixels.

    Parameters
    ----------
    a, b
        Of one series or two.

    Returns
    -------
    bool or None
        None where the files do not tell without decoding them: unlike encodings.
    """
    if (a.rows, a.columns, a.slope, a.intercept) != (b.rows, b.columns, b.slope, b.intercept):
        return False
    if (a.transfer_syntax, a.bits_allocated, a.signed) != (b.transfer_syntax, b.bits_allocated, b.signed):
        return None
    if a.frame != b.frame and a.transfer_syntax not in UNCOMPRESSED:
        return None
    try:
        return stored_bytes(a) == stored_bytes(b)
    except (InputError, OSError):
        return None


def same_volume(a: Sequence[Slice], b: Sequence[Slice]) -> bool | None:
    """Whether two volumes hold the same pixels.

    Parameters
    ----------
    a, b
        Slices in the order of their places.

    Returns
    -------
    bool or None
        None where the files do not tell.
    """
    if len(a) != len(b):
        return False
    middle = len(a) // 2
    first = same_pixels(a[middle], b[middle])  # tells most volumes apart
    if not first:
        return first
    answers = [same_pixels(one, other) for one, other in zip(a, b, strict=True)]
    return None if None in answers else all(answers)


def copies_among(images: Sequence[Slice], groups: np.ndarray) -> list[int]:
    """Which images repeat an earlier one of their group.

    Parameters
    ----------
    images
        Of one series.
    groups
        (images,) int: only images of one group are compared.

    Returns
    -------
    list of int
        Their indices.
    """
    kept: dict[int, list[int]] = {}
    copies = []
    for index, group in enumerate(groups.tolist()):
        others = kept.setdefault(group, [])
        if any(same_pixels(images[index], images[other]) for other in others):
            copies.append(index)
        else:
            others.append(index)
    return copies
