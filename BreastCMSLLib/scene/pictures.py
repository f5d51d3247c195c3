"""Slices through the candidates as PNG files for the report: no view, no OpenGL, the scene stays untouched.

For pictures of the scene as Slicer shows it, see :mod:`views`; conventions (sides, letters, colours) are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.geometry import Volume, apply_affine
from ..findings.names import LOW
from ..kinetics.names import MIP_AXIAL
from ..results.colors import grey_window
from ..results.pictures import ORIENTATIONS, Layers, sample, slice_picture
from ..results.wording import PROJECTIONS, coordinate_text, map_title, meaning_note, position_text
from .drawing import GREY, draw_orientation, draw_text, encode_png

NEAR_MM = 80.0  # width of a close-up
_SIZE, _NEAR_SIZE = (400, 360), (400, 270)  # of one slice: width and height in pixels
_BAR_MM = 20.0
_GAP, _GAP_SHADE = 4, 16
_CUBE = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def peak_pictures(
    background: Volume,
    heatmap: Volume,
    result: Mapping,
    *,
    outlines: Volume | None = None,
) -> dict[str, bytes]:
    """Axial, sagittal and coronal slices through each candidate: whole with the map, and close up.

    Close-ups are without the map, which would hide the lesion. That of the first candidate is a picture of
    its own, those of the others lie under their whole exam. There is none of a
    candidate of low suspicion, nor below the model's threshold or out of its range: maps mean nothing there.

    Parameters
    ----------
    background : Volume
        Grey.
    heatmap : Volume
        0 to 1; transparent below the result's ``map_threshold``.
    result : mapping
        The content of ``result.json``; its positions, as all affines, are in world RAS mm.
    outlines : Volume, optional
        Labels, drawn as lines.

    Returns
    -------
    dict of str to bytes
        Caption → PNG.
    """
    peaks = result.get("peaks") or ()
    title = map_title(result["map"])
    threshold = float(result.get("map_threshold", 0.4))
    if meaning_note(result):
        return {}
    window = grey_window(background.array)
    layers = Layers(background, window, heatmap, threshold, outlines=outlines, marked=True)
    pictures = {}
    for number, peak in enumerate(peaks, 1):
        if peak.get("suspicion") == LOW:
            continue
        whole = _slices(layers, peak)
        near = _close_up(layers, peak)
        line = "; line: outline" if outlines is not None and peak.get("outline") else ""
        if number == 1:
            caption = f"Candidate 1, with the {title}: slices through {_where(peak)}"
            pictures[caption] = encode_png(whole)
            caption = f"Candidate 1, close-up ({NEAR_MM:.0f} mm wide), without the map{line}"
            pictures[caption] = encode_png(near)
        else:
            caption = (
                f"Candidate {number}: slices through {_where(peak)}, with the {title} and close up{line}"
            )
            pictures[caption] = encode_png(_stacked([whole, near], axis=0))
    return pictures


def projection_pictures(projections: Mapping[str, Volume]) -> dict[str, bytes]:
    """Maximum intensity projections side by side.

    Parameters
    ----------
    projections : mapping of str to Volume
        By the names in ``kinetics.names.PROJECTIONS``; affines to world RAS mm.

    Returns
    -------
    dict of str to bytes
        Caption → PNG; empty without projections.
    """
    views = []
    for name, volume in projections.items():
        orientation = ORIENTATIONS["axial" if name == MIP_AXIAL else "sagittal"]
        middle = apply_affine(volume.affine, (np.array(volume.shape) - 1) / 2)
        layers = Layers(volume, grey_window(volume.array))
        picture, _ = slice_picture(layers, orientation, middle, _SIZE)
        title = map_title(name).removeprefix("MIP, ").capitalize()
        draw_orientation(picture, orientation, title, margin=(8, 14), letter_size=19, title_size=17)
        views.append(picture)
    return {f"{PROJECTIONS}, the breasts alone": encode_png(_stacked(views, axis=1))} if views else {}


def _where(peak: Mapping) -> str:
    """Position and side of a candidate."""
    return position_text(peak["ras_mm"]) + (f" ({peak['side']})" if peak.get("side") else "")


def close_up_layers(layers: Layers, ras_mm: Sequence[float]) -> Layers:
    """Layers of a close-up at a point, RAS mm, windowed so that a bright lesion is no white patch."""
    around = sample(layers.background, np.asarray(ras_mm, dtype=float) + NEAR_MM / 2 * _CUBE)
    low, high = layers.window
    return replace(layers, window=(low, max(high, float(np.percentile(around, 99.8)))))


def _close_up(layers: Layers, peak: Mapping) -> np.ndarray:
    own = close_up_layers(layers, peak["ras_mm"])
    return _slices(replace(own, heatmap=None, marked=False), peak, near=True)


def _slices(layers: Layers, peak: Mapping, near: bool = False) -> np.ndarray:
    """Axial, sagittal and coronal slices through a candidate side by side, with their letters."""
    position = np.asarray(peak["ras_mm"], dtype=float)
    views = []
    for orientation in ORIENTATIONS.values():
        size, width_mm = (_NEAR_SIZE, NEAR_MM) if near else (_SIZE, None)
        picture, mm_per_pixel = slice_picture(layers, orientation, position, size, width_mm)
        if near:
            _draw_bar(picture, mm_per_pixel)
        coordinate = coordinate_text(orientation.normal, float(position[orientation.normal]))
        title = f"{orientation.name.capitalize()} {coordinate}"
        draw_orientation(picture, orientation, title, margin=(8, 14), letter_size=19, title_size=17)
        views.append(picture)
    return _stacked(views, axis=1)


def _stacked(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Pictures below (axis 0) or beside (axis 1) each other, with gaps."""
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, _GAP_SHADE, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=axis)


def _draw_bar(picture: np.ndarray, mm_per_pixel: float) -> None:
    """A bar of 20 mm at the bottom left, for the scale."""
    height = len(picture)
    length = int(round(_BAR_MM / mm_per_pixel))
    picture[height - 13 : height - 10, 8 : 8 + length] = 230
    draw_text(picture, f"{_BAR_MM:.0f} mm", (8, height - 25), 17, GREY)
