"""The pictures of a comparison: each finding in the prior and the current exam, through registered places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..results.analysis import Analysis
from ..results.colors import grey_window
from ..results.pictures import ORIENTATIONS, Layers, slice_picture
from .drawing import draw_orientation, encode_png
from .pictures import NEAR_MM, close_up_layers

_SIZE = (400, 300)  # of one slice: width and height in pixels
_GAP = 4  # pixels
_VIEWS = ("axial", "sagittal")


def comparison_pictures(
    record: Mapping[str, Any], current: Analysis, prior: Analysis
) -> list[tuple[str, bytes]]:
    """Close-ups of the first subtractions side by side: the prior exam on the left, slices below each other.

    Parameters
    ----------
    record : mapping
        Of ``comparison.compare.compare``.
    current, prior : Analysis

    Returns
    -------
    list of (str, bytes)
        Caption and PNG, one a finding.
    """
    layers = {"prior": _layers(prior), "current": _layers(current)}
    line = ", line: outline" if all(own.outlines is not None for own in layers.values()) else ""
    return [
        (
            f"Prior exam on the left, current one on the right, {_place(finding)} ({NEAR_MM:.0f} mm wide); "
            f"subtraction{line}",
            encode_png(_side_by_side(finding, layers)),
        )
        for finding in record["findings"]
    ]


def _place(finding: Mapping[str, Any]) -> str:
    """What the pictures of a finding are centred on."""
    apart = finding["distance_mm"]
    return "at the same place" if apart is None else f"each at its own candidate, {apart:.0f} mm apart"


def _layers(analysis: Analysis) -> Layers:
    subtraction = analysis.exam.subtraction(0)
    return Layers(subtraction, grey_window(subtraction.array), outlines=analysis.outlines, marked=True)


def _side_by_side(finding: Mapping[str, Any], layers: Mapping[str, Layers]) -> np.ndarray:
    rows = []
    for view in _VIEWS:
        pictures = []
        for name, own in layers.items():
            position = np.asarray(finding[name]["ras_mm"], dtype=float)
            near = close_up_layers(own, position)
            picture, _ = slice_picture(near, ORIENTATIONS[view], position, _SIZE, NEAR_MM)
            title = f"{name.capitalize()}, {view}"
            draw_orientation(
                picture, ORIENTATIONS[view], title, margin=(8, 14), letter_size=19, title_size=17
            )
            pictures.append(np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0))))
        rows.append(np.concatenate(pictures, axis=1))
    return np.concatenate(rows)
