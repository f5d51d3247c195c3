"""Slices through the peaks as PNG files for the report, drawn from arrays: no view, no OpenGL, the scene stays untouched.

For pictures of the scene as Slicer shows it, see :mod:`views`; conventions (sides, letters, colours) are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..geometry import Volume, apply_affine
from ..report import place_text
from .colors import heat_ramp
from .results import NOT_MEANINGFUL, grey_window
from .views import _DIM, _EDGES, _NORMAL, _TEXT, ORIENTATIONS, _draw, encode_png

_MARKER = np.array([26, 255, 255], dtype=np.uint8)
_ACROSS_UP = {"axial": ((0, -1), (1, 1)), "sagittal": ((1, -1), (2, 1)), "coronal": ((0, -1), (2, 1))}  # (world axis, sign)


def peak_pictures(
    background: Volume,
    heatmap: Volume,
    result: Mapping,
    *,
    outlines: Volume | None = None,
    first: int = 0,
    threshold: float | None = None,
    opacity: float = 0.5,
    height: int = 280,
) -> dict[str, bytes]:
    """Caption → PNG: axial, sagittal and coronal slices of the whole exam through each peak from number ``first`` (0: all) on.

    background: grey volume. heatmap: 0 to 1; transparent below ``threshold`` (default: the result's). outlines: labels,
    drawn as lines. All with affines to world RAS mm, as the peaks in ``result``. height: of the pictures in pixels.
    Below the model's threshold one picture shows the first place, and none is marked.
    """
    meaningful = bool(result.get("map_meaningful", True))
    limit = float(result.get("map_threshold", 0.4)) if threshold is None else float(threshold)
    low, high = grey_window(background.array)
    pictures = {}
    for place, peak in enumerate(result.get("peaks") or (), 1):
        if place <= first or (not meaningful and place > 1):
            continue
        position = np.asarray(peak["ras_mm"], dtype=float)
        drawn = outlines if meaningful else None
        rows = [
            _slice(name, position, background, heatmap, (low, high), limit, opacity, height, outlines=drawn, marked=meaningful)
            for name in ORIENTATIONS
        ]
        gap = np.full((height, 4, 3), 16, np.uint8)
        picture = np.concatenate([rows[0], gap, rows[1], gap, rows[2]], axis=1)
        title = f"Peak {place} ({peak.get('side', '')})" if meaningful else f"The place the map points at ({NOT_MEANINGFUL})"
        pictures[f"{title}: slices through {place_text(peak['ras_mm'])}"] = encode_png(picture)
    return pictures


def _slice(name, position, background, heatmap, window, threshold, opacity, height, *, outlines=None, marked=True) -> np.ndarray:
    """One orientation as RGB uint8, ``height`` pixels high, patient's right on the left."""
    points, cross = _plane(name, position, background, height)
    picture = _blend(points, background, heatmap, window, threshold, opacity)
    if outlines is not None:
        _line(picture, _nearest(outlines, points) > 0)
    if marked:
        _cross(picture, *cross)
    _letters(picture, name, position)
    return picture


def _plane(name: str, position: np.ndarray, background: Volume, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """World points (rows, columns, 3) of a picture, and row and column of ``position`` in it."""
    (across, right), (up, top) = _ACROSS_UP[name]
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in background.shape], indexing="ij")).reshape(3, -1).T
    bounds = apply_affine(background.affine, corners)
    low, high = bounds.min(axis=0), bounds.max(axis=0)
    step = (high[up] - low[up]) / height
    width = max(1, int(round((high[across] - low[across]) / step)))
    x = low[across] + (np.arange(width) + 0.5) * step
    y = low[up] + (np.arange(height) + 0.5) * step
    points = np.empty((height, width, 3))
    points[...] = position
    points[..., across] = (x if right > 0 else x[::-1])[None, :]
    points[..., up] = (y[::-1] if top > 0 else y)[:, None]
    column = int(np.argmin(np.abs(points[0, :, across] - position[across])))
    row = int(np.argmin(np.abs(points[:, 0, up] - position[up])))
    return points, (row, column)


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
    """Trilinear values at world points (…, 3), float64; 0 outside."""
    places = apply_affine(np.linalg.inv(volume.affine), points)
    last = np.array(volume.shape) - 1
    inside = ((places >= -0.5) & (places <= last + 0.5)).all(axis=-1)
    places = np.clip(places, 0, last)
    base = np.minimum(np.floor(places).astype(int), np.maximum(last - 1, 0))
    part = places - base
    value = np.zeros(points.shape[:-1])
    for corner in np.ndindex(2, 2, 2):
        index = np.minimum(base + corner, last)
        weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
        value += weight * volume.array[index[..., 0], index[..., 1], index[..., 2]]
    return np.where(inside, value, 0.0)


def _cross(picture: np.ndarray, row: int, column: int, arm: int = 13, gap: int = 5) -> None:
    """Four short lines around the peak that leave it free to see."""
    height, width, _ = picture.shape
    for distance in range(gap, arm):
        for r, c in ((row - distance, column), (row + distance, column), (row, column - distance), (row, column + distance)):
            if 0 <= r < height and 0 <= c < width:
                picture[r, c] = _MARKER


def _letters(picture: np.ndarray, name: str, position: np.ndarray) -> None:
    height, width, _ = picture.shape
    left, right, top, bottom = _EDGES[name]
    for letter, at, anchor in (
        (left, (6, height // 2), "left"),
        (right, (width - 6, height // 2), "right"),
        (top, (width // 2, 10), "center"),
        (bottom, (width // 2, height - 10), "center"),
    ):
        _draw(picture, letter, at, 14, _TEXT, anchor=anchor, bold=True)
    letters, axis = _NORMAL[name]
    value = float(position[axis])
    _draw(picture, f"{name.capitalize()} {letters[value < 0]} {abs(value):.0f}", (6, 11), 12, _DIM, anchor="left")
