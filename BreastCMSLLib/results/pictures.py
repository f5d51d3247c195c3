"""Slices through a position as pictures, from arrays alone: the map over the grey image, outlines, a marker.

Radiological convention: axial and coronal with the patient's right on the picture's left, anterior up in the
axial view, superior up in the others, so the breasts point up in the axial and to the left in the sagittal
view. Pictures are RGB uint8 (height, width, 3) without text, which the scene's drawing adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, apply_affine
from .colors import MARKER_COLOR, heat_ramp
from .wording import AXIS_LETTERS

MARKER = np.round(np.array(MARKER_COLOR) * 255).astype(np.uint8)
_MARGIN = 1.03  # of the view that shows a whole volume


@dataclass(frozen=True)
class Orientation:
    """One of the three standard views.

    Parameters
    ----------
    name : str
    across, up : int
        The world axes (0: R, 1: A, 2: S) that run to the picture's left and to its top.
    """

    name: str
    across: int
    up: int

    @property
    def normal(self) -> int:
        """The world axis that the view looks along."""
        return 3 - self.across - self.up

    @property
    def edges(self) -> str:
        """Letters at the left, right, top and bottom edge."""
        return AXIS_LETTERS[self.across] + AXIS_LETTERS[self.up]

    def whole(self, low: np.ndarray, high: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
        """The view that shows a whole volume.

        Parameters
        ----------
        low, high : ndarray, shape (3,)
            The volume's bounds, world RAS mm.
        size : (int, int)
            Width and height of the picture in pixels.

        Returns
        -------
        centre : ndarray, shape (3,)
            World RAS mm.
        mm_per_pixel : float
        """
        extent = high - low
        return (low + high) / 2, _MARGIN * float(
            max(extent[self.across] / size[0], extent[self.up] / size[1])
        )


ORIENTATIONS = {
    "axial": Orientation("axial", across=0, up=1),
    "sagittal": Orientation("sagittal", across=1, up=2),
    "coronal": Orientation("coronal", across=0, up=2),
}


@dataclass(frozen=True)
class Layers:
    """What a slice shows. All volumes have affines to world RAS mm, each on its own grid.

    Parameters
    ----------
    background : Volume
        Grey.
    window : (float, float)
        Its values that are black and white.
    heatmap : Volume, optional
        0 to 1, in colour over the background.
    threshold : float
        The heatmap is transparent below.
    opacity : float
        Of the heatmap.
    outlines : Volume, optional
        Labels, their borders drawn as lines.
    marked : bool
        Whether a marker stands at the position.
    """

    background: Volume
    window: tuple[float, float]
    heatmap: Volume | None = None
    threshold: float = 0.4
    opacity: float = 0.5
    outlines: Volume | None = None
    marked: bool = False


def slice_picture(
    layers: Layers,
    orientation: Orientation,
    position: np.ndarray,
    size: tuple[int, int],
    width_mm: float | None = None,
) -> tuple[np.ndarray, float]:
    """One slice through a position.

    Parameters
    ----------
    layers : Layers
    orientation : Orientation
    position : ndarray, shape (3,)
        World RAS mm.
    size : (int, int)
        Width and height in pixels.
    width_mm : float, optional
        Width of a close-up centred on the position; by default the whole background is in view.

    Returns
    -------
    picture : ndarray of uint8, shape (height, width, 3)
    mm_per_pixel : float
    """
    if width_mm is None:
        centre, step = orientation.whole(*_bounds(layers.background), size)
    else:
        centre, step = position, width_mm / size[0]
    points, marker = _plane(orientation, position, centre, step, size)
    picture = _blend(layers, points)
    if layers.outlines is not None:
        _draw_border(picture, _nearest(layers.outlines, points) > 0)
    if layers.marked:
        _draw_marker(picture, *marker)
    return picture, step


def sample(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Trilinear values of a volume; 0 outside.

    Parameters
    ----------
    volume : Volume
    points : ndarray, shape (…, 3)
        World RAS mm.

    Returns
    -------
    ndarray of float32, shape (…)
    """
    index = apply_affine(np.linalg.inv(volume.affine), points)
    last = np.array(volume.shape) - 1
    inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=-1)
    values = ndimage.map_coordinates(
        volume.array, np.moveaxis(index, -1, 0), np.float32, order=1, mode="nearest"
    )
    return np.where(inside, values, np.float32(0))


def pixel_of(
    ras_mm: np.ndarray, orientation: Orientation, centre: np.ndarray, step: float, size: tuple[int, int]
) -> tuple[int, int]:
    """Row and column of a point in a picture about a centre, as ``slice_picture`` draws a close-up.

    Parameters
    ----------
    ras_mm, centre : ndarray, shape (3,)
        World RAS mm.
    orientation : Orientation
    step : float
        mm per pixel.
    size : (int, int)
        Width and height in pixels.
    """
    width, height = size
    column = (width - 1) / 2 - (ras_mm[orientation.across] - centre[orientation.across]) / step
    row = (height - 1) / 2 - (ras_mm[orientation.up] - centre[orientation.up]) / step
    return int(round(row)), int(round(column))


def draw_arrow(picture: np.ndarray, row: int, column: int, gap: float = 6.0, length: float = 30.0) -> None:
    """Draw an arrow from the lower left that ends beside a point.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB; changed in place.
    row, column : int
        The point.
    gap, length : float
        Pixels from the tip to the point, and from tip to tail.
    """
    rows, columns = np.indices(picture.shape[:2])
    down, right = (rows - row) / np.sqrt(2), (column - columns) / np.sqrt(2)
    along, across = down + right - gap, np.abs(down - right)  # from the tip towards the tail
    head = (along >= 0) & (along <= 11) & (across <= 0.5 * along)
    shaft = (along > 8) & (along <= length) & (across <= 1.2)
    picture[head | shaft] = MARKER


def draw_ring(picture: np.ndarray, row: int, column: int, radius: float = 10.0) -> None:
    """Draw a thin circle about a point of a picture (RGB, uint8), in place."""
    rows, columns = np.indices(picture.shape[:2])
    picture[np.abs(np.hypot(rows - row, columns - column) - radius) <= 0.7] = MARKER


def _bounds(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest world coordinates of a volume's corners."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape], indexing="ij")).reshape(3, -1).T
    points = apply_affine(volume.affine, corners)
    return points.min(axis=0), points.max(axis=0)


def _plane(
    orientation: Orientation, position: np.ndarray, centre: np.ndarray, step: float, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """World points (rows, columns, 3) of a picture's pixels, and the row and column nearest ``position``."""
    width, height = size
    x = centre[orientation.across] - (np.arange(width) - (width - 1) / 2) * step
    y = centre[orientation.up] - (np.arange(height) - (height - 1) / 2) * step
    points = np.empty((height, width, 3))
    points[...] = position
    points[..., orientation.across] = x[None, :]
    points[..., orientation.up] = y[:, None]
    row = int(np.argmin(np.abs(y - position[orientation.up])))
    column = int(np.argmin(np.abs(x - position[orientation.across])))
    return points, (row, column)


def _blend(layers: Layers, points: np.ndarray) -> np.ndarray:
    """The map in colour over the grey image at world points."""
    low, high = layers.window
    grey = 255 * np.clip((sample(layers.background, points) - low) / (high - low), 0, 1)[..., None]
    if layers.heatmap is None:
        return np.repeat(grey, 3, axis=-1).round().astype(np.uint8)
    heat = sample(layers.heatmap, points)
    ramp = heat_ramp() * 255
    colour = ramp[np.clip(np.round(heat * (len(ramp) - 1)), 0, len(ramp) - 1).astype(int)]
    share = np.where(heat >= layers.threshold, layers.opacity, 0.0)[..., None]
    return (grey * (1 - share) + colour * share).round().astype(np.uint8)


def _nearest(volume: Volume, points: np.ndarray) -> np.ndarray:
    """The values of the nearest voxels at world points (…, 3); 0 outside."""
    index = np.round(apply_affine(np.linalg.inv(volume.affine), points)).astype(int)
    inside = ((index >= 0) & (index < volume.shape)).all(axis=-1)
    index = np.clip(index, 0, np.array(volume.shape) - 1)
    return np.where(inside, volume.array[index[..., 0], index[..., 1], index[..., 2]], 0)


def _draw_border(picture: np.ndarray, region: np.ndarray) -> None:
    """The border of a region, one pixel wide."""
    inner = region.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(region, shift, axis)
    picture[region & ~inner] = MARKER


def _draw_marker(picture: np.ndarray, row: int, column: int, arm: int = 13, gap: int = 5) -> None:
    """Four short lines around a position that leave it free to see."""
    height, width, _ = picture.shape
    for distance in range(gap, arm):
        for r, c in (
            (row - distance, column),
            (row + distance, column),
            (row, column - distance),
            (row, column + distance),
        ):
            if 0 <= r < height and 0 <= c < width:
                picture[r, c] = MARKER
