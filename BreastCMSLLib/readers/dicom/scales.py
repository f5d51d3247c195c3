"""Philips' scales: rescaled values are for display and differ between series; what images share is

FP = DV / (RS · SS)

with the displayed value DV, the rescale slope RS and the private scale slope SS, (2005,100E).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .slices import Slice

if TYPE_CHECKING:
    from .stacks import Stack

_SAME = 1e-3  # relative difference of scales


def common_scale(stacks: Sequence[Stack]) -> float | None:
    """The scale of the first slice, where slices were scaled apart and all tell by how much.

    Parameters
    ----------
    stacks
        The dynamic volumes, the first in time first.

    Returns
    -------
    float or None
        RS · SS to bring all values to; None where nothing is to be done.
    """
    scales = [_scale(item) for stack in stacks for item in stack.slices]
    if None in scales or np.ptp(scales) <= _SAME * max(scales):
        return None
    return scales[0]


def factor_of(item: Slice, scale: float | None) -> float:
    """What brings the rescaled values of a slice to a common scale; 1 for None."""
    return 1.0 if scale is None else scale / _scale(item)


def scale_remarks(stacks: Sequence[Stack]) -> list[str]:
    """What to tell the user of the scales of phases.

    Parameters
    ----------
    stacks
        The dynamic volumes, the first in time first.

    Returns
    -------
    list of str
        A sentence where values are put on one scale, or may be scaled apart.
    """
    if common_scale(stacks) is not None:
        return [
            "The phases were scaled apart by the scanner; their values were put on one scale (Philips' scale "
            "slope)."
        ]
    heads = [stack.head for stack in stacks]
    apart = np.ptp([head.slope for head in heads]) > _SAME * max(abs(head.slope) for head in heads)
    if apart and any("philips" in head.manufacturer.lower() for head in heads) and None in map(_scale, heads):
        return [
            "The phases may be scaled apart: their rescale slopes differ, and Philips' private scale slope "
            "is not in every header; curves and score cannot be relied on."
        ]
    return []


def _scale(item: Slice) -> float | None:
    return None if item.scale is None or item.slope <= 0 else item.slope * item.scale
