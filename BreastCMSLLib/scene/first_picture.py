"""The first picture of the report: both breasts with numbered candidates, and the finding before, after and
subtracted. No map hides a lesion there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.geometry import Volume, apply_affine
from ..findings.names import LOW
from ..results.colors import grey_window
from ..results.pictures import ORIENTATIONS, Layers, draw_arrow, draw_ring, pixel_of, sample, slice_picture
from .drawing import WHITE, draw_orientation, draw_text, encode_png

BREASTS = "Both breasts: maximum intensity projection of the early subtraction"
_WIDTH, _HEIGHTS = 1208, (300, 560)  # pixels of the projection; the least and the largest height
_PANEL, _PANEL_MM = (400, 330), 130.0  # pixels and width of a slice through the finding
_MARGIN_MM = 8.0
_GAP, _GAP_SHADE = 4, 16
_AXIAL = ORIENTATIONS["axial"]
_BALL = 8.0 * np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # mm


@dataclass(frozen=True)
class Views:
    """The volumes of the picture, affines to world RAS mm.

    Parameters
    ----------
    subtraction : Volume
    before, after : Volume, optional
        The phase before contrast and the first one after it.
    projection : Volume, optional
        The axial maximum intensity projection.
    """

    subtraction: Volume
    before: Volume | None = None
    after: Volume | None = None
    projection: Volume | None = None


def first_picture(views: Views, result: Mapping, outlines: Volume | None = None) -> dict[str, bytes]:
    """The projection above, and of a suspicious exam three slices through the finding below it.

    Parameters
    ----------
    views : Views
    result : mapping
        The content of ``result.json``. Without a finding, or out of range, nothing is marked.
    outlines : Volume, optional
        Labels, drawn as thin lines.

    Returns
    -------
    dict of str to bytes
        Caption → PNG; empty when there is nothing to show.
    """
    peaks = result.get("peaks") or ()
    marked = bool(peaks and result["malignant"] and not result.get("out_of_range"))
    rows, captions = [], []
    if views.projection is not None and (views.projection.array > 0).any():
        rows.append(_projection(views.projection, peaks if marked else ()))
        captions.append(BREASTS + (", with the candidates' numbers" if marked else ""))
    if marked:
        panels, names = _panels(views, peaks[0], outlines)
        rows.append(panels)
        line = ", line: outline" if outlines is not None and peaks[0].get("outline") else ""
        captions.append(f"Candidate 1, axial, {_PANEL_MM:.0f} mm wide: {names}; arrow: candidate 1{line}")
    if not rows:
        return {}
    width = max(row.shape[1] for row in rows)
    parts = []
    for row in rows:
        parts += [np.full((_GAP, width, 3), _GAP_SHADE, np.uint8), np.pad(row, _beside(width - row.shape[1]))]
    return {". ".join(captions): encode_png(np.concatenate(parts[1:]))}


def _beside(missing: int) -> tuple:
    return (0, 0), (missing // 2, missing - missing // 2), (0, 0)


def _projection(volume: Volume, peaks) -> np.ndarray:
    """The part of the projection that shows the breasts, with a ring and a number at each candidate."""
    # world bounds of what is not empty
    corners = np.argwhere(volume.array > 0)
    points = apply_affine(volume.affine, np.array([corners.min(axis=0), corners.max(axis=0)]))
    low, high = points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM
    centre, (wide, tall) = (low + high) / 2, (high - low)[[_AXIAL.across, _AXIAL.up]]
    height = int(np.clip(_WIDTH * tall / wide, *_HEIGHTS))
    size, step = (_WIDTH, height), max(wide / _WIDTH, tall / height)
    shown = volume.array[volume.array > 0]
    layers = Layers(volume, (0.0, float(np.percentile(shown, 99.9))))
    picture, _ = slice_picture(layers, _AXIAL, centre, size, step * _WIDTH)
    for number, peak in enumerate(peaks, 1):
        if peak.get("suspicion") == LOW:
            continue
        row, column = pixel_of(np.asarray(peak["ras_mm"], dtype=float), _AXIAL, centre, step, size)
        radius = 8.0 + 0.5 * float(peak.get("size_mm") or 0.0) / step
        draw_ring(picture, row, column, radius)
        aside = int(0.75 * radius) + 3
        draw_text(picture, str(number), (column + aside, row - aside), 22, WHITE, bold=True)
    _letters(picture, "MIP")
    return picture


def _panels(views: Views, peak: Mapping, outlines: Volume | None) -> tuple[np.ndarray, str]:
    """Slices through the finding side by side, and their names."""
    position = np.asarray(peak["ras_mm"], dtype=float)
    gap = 6.0
    if outlines is not None and peak.get("outline"):  # the arrow ends outside the outline
        gap += 0.5 * float(peak["size_mm"]) / _PANEL_MM * _PANEL[0]
    after = None if views.after is None else _window(views.after, position)
    named = {
        "Before contrast": (views.before, after),  # of one window, so that what enhances is seen to
        "First after": (views.after, after),
        "Subtraction": (views.subtraction, _window(views.subtraction, position)),
    }
    pictures = {}
    for name, (volume, window) in named.items():
        if volume is None:
            continue
        own = outlines if name == "Subtraction" else None
        layers = Layers(volume, window or _window(volume, position), outlines=own)
        picture, _ = slice_picture(layers, _AXIAL, position, _PANEL, _PANEL_MM)
        draw_arrow(picture, *pixel_of(position, _AXIAL, position, _PANEL_MM / _PANEL[0], _PANEL), gap)
        _letters(picture, name)
        pictures[name] = picture
    strip = np.full((_PANEL[1], _GAP, 3), _GAP_SHADE, np.uint8)
    parts = [part for picture in pictures.values() for part in (strip, picture)][1:]
    return np.concatenate(parts, axis=1), ", ".join(name.lower() for name in pictures)


def _window(volume: Volume, position: np.ndarray) -> tuple[float, float]:
    """The grey window of a volume, wide enough that a bright lesion is no white patch."""
    low, high = grey_window(volume.array)
    return low, max(high, float(np.percentile(sample(volume, position + _BALL), 99.0)))


def _letters(picture: np.ndarray, title: str) -> None:
    draw_orientation(picture, _AXIAL, title, margin=(8, 14), letter_size=19, title_size=17)
