"""Slices through the peaks as PNG files for the report, drawn from arrays: no view, no OpenGL, the scene stays untouched.

For pictures of the scene as Slicer shows it, see :mod:`views`; conventions (sides, letters, colours) are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, apply_affine
from ..results.report import place_text
from ..results.wording import title_of
from .colors import heat_ramp
from .results import NOT_MEANINGFUL, grey_window
from .views import _DIM, _EDGES, _NORMAL, _TEXT, ORIENTATIONS, _draw, encode_png

_MARKER = np.array([26, 255, 255], dtype=np.uint8)
_ACROSS_UP = {"axial": ((0, -1), (1, 1)), "sagittal": ((1, -1), (2, 1)), "coronal": ((0, -1), (2, 1))}  # (world axis, sign)
NEAR_MM = 80.0  # width of a picture from near
_BAR_MM = 20.0
_LATTICE = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # points in a cube
_GAP = 4


def peak_pictures(
    background: Volume,
    heatmap: Volume,
    result: Mapping,
    *,
    outlines: Volume | None = None,
    first: int = 0,
    threshold: float | None = None,
    opacity: float = 0.5,
    size: tuple[int, int] = (400, 360),
) -> dict[str, bytes]:
    """Caption → PNG, for each peak: axial, sagittal and coronal slices through it of the whole exam with the map, and from near.

    The pictures from near are without the map, which would hide the lesion. They are a figure of their own for the first
    peak, and lie under the others' whole exam. first: how many peaks need no picture of the whole exam.
    background: grey volume. heatmap: 0 to 1; transparent below ``threshold`` (default: the result's). outlines: labels,
    drawn as lines. All with affines to world RAS mm, as the peaks in ``result``. size: of one slice in pixels.
    Below the model's threshold one picture shows the first place, and none is marked.
    """
    meaningful = bool(result.get("map_meaningful", True))
    limit = float(result.get("map_threshold", 0.4)) if threshold is None else float(threshold)
    window = grey_window(background.array)
    name = title_of(result.get("map", "map"))
    pictures = {}
    for place, peak in enumerate(result.get("peaks") or (), 1):
        if not meaningful and place > 1:
            break
        position = np.asarray(peak["ras_mm"], dtype=float)
        drawn = outlines if meaningful else None
        where = place_text(peak["ras_mm"]) + (f" ({peak['side']})" if peak.get("side") else "")
        whole = _row(position, background, heatmap, window, limit, opacity, size, outlines=drawn, marked=meaningful)
        if not meaningful:
            if not first:
                pictures[f"The place the map points at ({NOT_MEANINGFUL}), with the {name}: slices through {where}"] = encode_png(whole)
            break
        around = _sample(background, position + NEAR_MM / 2 * _LATTICE)
        close = (window[0], max(window[1], float(np.percentile(around, 99.8))))  # a bright lesion must not be a white patch
        near = _row(position, background, heatmap, close, 2.0, 0.0, (size[0], int(0.75 * size[1])), outlines=drawn, marked=False, near=True)
        line = "; line: outline" if drawn is not None and peak.get("outline") else ""
        if place == 1:
            if not first:
                pictures[f"Peak 1, with the {name}: slices through {where}"] = encode_png(whole)
            pictures[f"Peak 1 from near, {NEAR_MM:.0f} mm wide, without the map{line}"] = encode_png(near)
        else:
            gap = np.full((_GAP, whole.shape[1], 3), 16, np.uint8)
            both = near if place <= first else np.concatenate([whole, gap, near])
            pictures[f"Peak {place}: slices through {where}, above with the {name}, below from near{line}"] = encode_png(both)
    return pictures


def _row(position, background, heatmap, window, threshold, opacity, size, **drawn) -> np.ndarray:
    """Axial, sagittal and coronal slices side by side."""
    views = [_slice(name, position, background, heatmap, window, threshold, opacity, size, **drawn) for name in ORIENTATIONS]
    gap = np.full((size[1], _GAP, 3), 16, np.uint8)
    return np.concatenate([views[0], gap, views[1], gap, views[2]], axis=1)


def _slice(name, position, background, heatmap, window, threshold, opacity, size, *, outlines=None, marked=True, near=False) -> np.ndarray:
    """One orientation as RGB uint8 of ``size`` (width, height), patient's right on the left; ``near``: only around the position."""
    points, cross, step = _plane(name, position, background, size, NEAR_MM / size[0] if near else None)
    picture = _blend(points, background, heatmap, window, threshold, opacity)
    if outlines is not None:
        _line(picture, _nearest(outlines, points) > 0)
    if marked:
        _cross(picture, *cross)
    if near:
        _bar(picture, step)
    _letters(picture, name, position)
    return picture


def _plane(
    name: str, position: np.ndarray, background: Volume, size: tuple[int, int], step: float | None = None
) -> tuple[np.ndarray, tuple[int, int], float]:
    """World points (rows, columns, 3) of a picture, row and column of ``position`` in it, and mm per pixel.

    step: mm per pixel of a picture about the position; None shows the whole volume.
    """
    (across, right), (up, top) = _ACROSS_UP[name]
    width, height = size
    centre = position
    if step is None:
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in background.shape], indexing="ij")).reshape(3, -1).T
        bounds = apply_affine(background.affine, corners)
        low, high = bounds.min(axis=0), bounds.max(axis=0)
        centre = (low + high) / 2
        step = 1.03 * max((high[across] - low[across]) / width, (high[up] - low[up]) / height)
    x = centre[across] + (np.arange(width) - (width - 1) / 2) * step * right
    y = centre[up] - (np.arange(height) - (height - 1) / 2) * step * top
    points = np.empty((height, width, 3))
    points[...] = position
    points[..., across] = x[None, :]
    points[..., up] = y[:, None]
    return points, (int(np.argmin(np.abs(y - position[up]))), int(np.argmin(np.abs(x - position[across])))), float(step)


def _blend(points: np.ndarray, background: Volume, heatmap: Volume, window, threshold: float, opacity: float) -> np.ndarray:
    """The map in colour over the grey volume at world points: RGB uint8 of their rows and columns."""
    grey = np.clip((_sample(background, points) - window[0]) / (window[1] - window[0]), 0, 1)
    heat = _sample(heatmap, points)
    ramp = heat_ramp() * 255
    colour = ramp[np.clip(np.round(heat * (len(ramp) - 1)), 0, len(ramp) - 1).astype(int)]
    share = np.where(heat >= threshold, opacity, 0.0)[..., None]
    return (255 * grey[..., None] * (1 - share) + colour * share).round().astype(np.uint8)


def _nearest(volume: Volume, points: np.ndarray) -> np.ndarray:
    """The values of the nearest voxels at world points (…, 3); 0 outside."""
    index = np.round(apply_affine(np.linalg.inv(volume.affine), points)).astype(int)
    inside = ((index >= 0) & (index < volume.shape)).all(axis=-1)
    index = np.clip(index, 0, np.array(volume.shape) - 1)
    return np.where(inside, volume.array[index[..., 0], index[..., 1], index[..., 2]], 0)


def _line(picture: np.ndarray, region: np.ndarray) -> None:
    """The border of a region, one pixel wide."""
    inner = region.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(region, step, axis)
    picture[region & ~inner] = _MARKER


def _sample(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Trilinear values at world points (…, 3), float32; 0 outside."""
    places = apply_affine(np.linalg.inv(volume.affine), points)
    last = np.array(volume.shape) - 1
    inside = ((places >= -0.5) & (places <= last + 0.5)).all(axis=-1)
    values = ndimage.map_coordinates(volume.array, np.moveaxis(places, -1, 0), np.float32, order=1, mode="nearest")
    return np.where(inside, values, np.float32(0))


def _cross(picture: np.ndarray, row: int, column: int, arm: int = 13, gap: int = 5) -> None:
    """Four short lines around the peak that leave it free to see."""
    height, width, _ = picture.shape
    for distance in range(gap, arm):
        for r, c in ((row - distance, column), (row + distance, column), (row, column - distance), (row, column + distance)):
            if 0 <= r < height and 0 <= c < width:
                picture[r, c] = _MARKER


def _bar(picture: np.ndarray, step: float) -> None:
    """A bar of 20 mm at the bottom left, for the scale."""
    height, _, _ = picture.shape
    length = int(round(_BAR_MM / step))
    picture[height - 13 : height - 10, 8 : 8 + length] = 230
    _draw(picture, f"{_BAR_MM:.0f} mm", (8, height - 25), 17, _DIM, anchor="left")


def _letters(picture: np.ndarray, name: str, position: np.ndarray) -> None:
    height, width, _ = picture.shape
    left, right, top, bottom = _EDGES[name]
    for letter, at, anchor in (
        (left, (8, height // 2), "left"),
        (right, (width - 8, height // 2), "right"),
        (top, (width // 2, 14), "center"),
        (bottom, (width // 2, height - 14), "center"),
    ):
        _draw(picture, letter, at, 19, _TEXT, anchor=anchor, bold=True)
    letters, axis = _NORMAL[name]
    value = float(position[axis])
    _draw(picture, f"{name.capitalize()} {letters[value < 0]} {abs(value):.0f}", (8, 14), 17, _DIM, anchor="left")
