"""The colours of a saliency map and what they mean: in the corner of a picture, or in a strip below it."""

from __future__ import annotations

import numpy as np

from .drawing import GREY, WHITE, draw_text
from .nodes import ResultNodes

_FRAME = (150, 154, 160)
_STRIP, _BAR, _FONT = 34, (220, 12), 17  # pixels: height of a strip, its bar, its letters


def legend_strip(nodes: ResultNodes, width: int, shade: tuple[int, int, int]) -> np.ndarray:
    """A strip with the heatmap's name and colours, to stand below a picture.

    Parameters
    ----------
    nodes : ResultNodes
    width : int
        Pixels.
    shade : (int, int, int)
        RGB of the ground.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    strip = np.empty((_STRIP, width, 3), np.uint8)
    strip[:] = shade
    (length, thickness), middle = _BAR, _STRIP // 2
    left, top = width // 2, middle - thickness // 2
    strip[top - 1 : top + thickness + 1, left - 1 : left + length + 1] = _FRAME
    strip[top : top + thickness, left : left + length] = _colours(nodes, length)[None]
    draw_text(
        strip, nodes.heatmap.GetName(), (left - 3 * _FONT, middle), _FONT, WHITE, anchor="right", bold=True
    )
    draw_text(strip, "0", (left - 8, middle), _FONT, GREY, anchor="right")
    text = f"1 (its maximum); transparent below {_threshold(nodes):.1f}"
    draw_text(strip, text, (left + length + 8, middle), _FONT, GREY)
    return strip


def draw_legend(picture: np.ndarray, nodes: ResultNodes) -> None:
    """Draw the heatmap's colours at the bottom right of a picture, empty where the map is transparent.

    Drawn here because the view's own legend has a text size meant for a screen and hides a third of a small
    picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB; changed in place.
    nodes : ResultNodes
    """
    threshold = _threshold(nodes)
    height, width, _ = picture.shape
    font = max(12, height // 36)
    bar_height, bar_width = int(0.26 * height), max(10, font)
    right, bottom = width - font, height - 2 * font
    left, top = right - bar_width, bottom - bar_height
    # the bar, with a frame of one pixel
    picture[top - 1 : bottom + 1, left - 1 : right + 1] = _FRAME
    picture[top:bottom, left:right] = _colours(nodes, bar_height)[::-1, None]
    for value in dict.fromkeys((1.0, threshold, 0.0)):
        at = (left - font // 2, bottom - int(value * bar_height))
        draw_text(picture, f"{value:.1f}", at, font, WHITE, anchor="right")
    # the name above it, what is in brackets on a line of its own
    title = nodes.heatmap.GetName().replace(" (", "\n(").split("\n")
    for line, text in enumerate(reversed(title)):
        at = (right, top - int((1.2 + 1.3 * line) * font))
        draw_text(picture, text, at, font, WHITE, anchor="right", bold=line == len(title) - 1)


def _threshold(nodes: ResultNodes) -> float:
    """Below which the heatmap is transparent."""
    display = nodes.heatmap.GetDisplayNode()
    return float(display.GetLowerThreshold()) if display.GetApplyThreshold() else 0.0


def _colours(nodes: ResultNodes, number: int) -> np.ndarray:
    """The heatmap's colours from 0 to 1, black where it is transparent, shape (number, 3)."""
    threshold, rgba = _threshold(nodes), np.zeros(4)
    colours = np.zeros((number, 3), np.uint8)
    for row, value in enumerate(np.linspace(0, 1, number)):
        nodes.colors.GetColor(int(round(value * (nodes.colors.GetNumberOfColors() - 1))), rgba)
        colours[row] = np.round(rgba[:3] * 255) if value >= threshold else 0
    return colours
