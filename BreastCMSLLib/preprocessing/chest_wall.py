"""Where the breasts end behind: an ordinary chest wall, moved to where fat gives way to muscle in this exam.

The ordinary wall is an ellipse through a point behind the sternum's skin. Women differ from it by centimetres
at the sides: in one it cuts lesions off, in another it lets muscle and heart in. So it is moved and bent to
where the tissue changes:

    wall(x) = ordinary(x) + shift + bend · (x / 100 mm)²         x: mm from the sternum to either side

What is sought has two boundaries: from fat to muscle, which is brighter where fat is suppressed and darker
where it is not, and from muscle to what lies behind it, which is always darker. Arrays: i towards R, j
towards A, k towards S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_STEP_MM = 1.1  # between samples along a ray from back to front
_REACH_MM = 55.0  # of the rays about the ordinary wall, each way
_RAYS_MM = 4.4  # between rays
# rays from the sternum to the sides: over the sternum there is no muscle, farther out no wall
_SIDES_MM = (20.0, 125.0)
_WINDOW_MM = 4.4  # of tissue compared on either side of a boundary
_WIDTH = round(_WINDOW_MM / _STEP_MM)
_SHIFTS_MM = np.arange(-16.0, 16.5, 1.0)
_BENDS_MM = np.arange(-28.0, 22.5, 2.0)
# muscle and ribs together: so thick that one boundary is not taken for both, and as thick as they are
_CHEST_MM = np.arange(9.0, 37.0, 3.0)
_USUAL = ((-1.5, 5.5), (-1.0, 9.0))  # mean and spread of shift and bend over simulated women of all kinds
_PRIOR = 0.1  # what a spread from the mean costs, in mean changes along the rays
# Changes of both boundaries together, in mean changes, as they are and above what a plain slope gives:
# noise reaches 2.0 and 1.5, a slope 3.0 and 2.1, simulated women 3.3 and 2.6 at the least
_LEAST, _LEAST_ABOVE_SLOPE = 2.4, 2.35
_FEWEST_RAYS = 10  # the noise of fewer would look like a wall
_BLOCK_MM = 50.0  # of the body's length that a wall is fitted to by itself; blocks overlap by half
_BENT_MM = 130.0  # farther out the wall is moved as here


@dataclass(frozen=True)
class ChestWall:
    """How an exam's wall lies to the ordinary one.

    Parameters
    ----------
    shift_mm, bend_mm : float
        Positive to the front.
    """

    shift_mm: float
    bend_mm: float

    def moved_mm(self, lateral_mm: np.ndarray) -> np.ndarray:
        """How far this wall lies in front of the ordinary one, mm, at such distances from the sternum."""
        return self.shift_mm + self.bend_mm * (np.minimum(lateral_mm, _BENT_MM) / 100.0) ** 2


def ordinary(
    sternum: np.ndarray,
    lateral_mm: np.ndarray,
    spacing_mm: float,
    *,
    sternum_depth_mm: float,
    half_width_mm: float,
    depth_mm: float,
) -> np.ndarray:
    """An elliptic chest wall through a point behind the sternum's skin.

    Parameters
    ----------
    sternum : ndarray, shape (SI,)
        Index j of the skin over the sternum.
    lateral_mm : ndarray, shape (LR,)
        Distance from the midline.
    spacing_mm : float
    sternum_depth_mm : float
        From the sternum's skin to the wall.
    half_width_mm, depth_mm : float
        Of the ellipse.

    Returns
    -------
    ndarray, shape (LR, SI), float32
        Index j.
    """
    drop = depth_mm * (1.0 - np.sqrt(1.0 - np.clip(np.abs(lateral_mm) / half_width_mm, 0.0, 1.0) ** 2))
    return (sternum[None, :] - (sternum_depth_mm + drop[:, None]) / spacing_mm).astype(np.float32)


def moved(
    image: np.ndarray, wall: np.ndarray, middle: float, spacing_mm: float, *, forward_mm: float
) -> np.ndarray | None:
    """How far the exam's wall lies in front of the ordinary one, on either side and along the body.

    Fitted to the whole exam first, then to each side in blocks along the body, where those show a wall:
    chests are neither symmetric nor straight.

    Parameters
    ----------
    image, wall, middle, spacing_mm
        As of :func:`fit`.
    forward_mm : float
        The most by which it may lie in front.

    Returns
    -------
    ndarray, shape (LR, SI), float32, or None
        mm; None where the exam shows no wall.
    """
    whole = fit(image, wall, middle, spacing_mm)
    if whole is None:
        return None
    ni, nk = wall.shape
    half = max(1, round(_BLOCK_MM / 2 / spacing_mm))
    centres = np.arange(min(half, nk // 2), max(nk - half // 2, nk // 2 + 1), half)
    parting = min(max(round(middle), 0), ni)
    out = np.zeros((ni, nk), dtype=np.float32)
    for rows in (slice(0, parting), slice(parting, ni)):
        if rows.stop <= rows.start:
            continue
        lateral = np.abs(np.arange(rows.start, rows.stop) - middle) * spacing_mm
        walls = []
        for centre in centres:
            block = slice(max(centre - half, 0), centre + half)
            own = fit(image[rows, :, block], wall[rows, block], middle - rows.start, spacing_mm) or whole
            walls.append(np.minimum(own.moved_mm(lateral), forward_mm))
        # a block that differs from both its neighbours is not believed
        between = ndimage.median_filter(np.array(walls), (3, 1), mode="nearest")
        between = ndimage.gaussian_filter1d(between, 0.7, axis=0, mode="nearest")
        for row, values in zip(range(rows.start, rows.stop), between.T):
            out[row] = np.interp(np.arange(nk), centres, values)
    return out


def fit(image: np.ndarray, wall: np.ndarray, middle: float, spacing_mm: float) -> ChestWall | None:
    """The wall of an exam.

    Parameters
    ----------
    image : ndarray, [i, j, k], float32
        Shows tissue, not enhancement: T1, or a dynamic phase.
    wall : ndarray, shape (LR, SI)
        The :func:`ordinary` one.
    middle : float
        Index i of the sternum.
    spacing_mm : float

    Returns
    -------
    ChestWall or None
        None where too little of the chest is seen to draw rays, or no wall stands out along them.
    """
    change, lateral = _changes(image, wall, middle, spacing_mm)
    unit = float(np.abs(change).mean()) if len(change) >= _FEWEST_RAYS else 0.0
    if not unit > 0:
        return None
    # both boundaries of every wall that is tried
    shift, bend = np.meshgrid(_SHIFTS_MM, _BENDS_MM, indexing="ij")
    moved = shift[..., None] + bend[..., None] * (lateral / 100.0) ** 2  # (shift, bend, ray)
    to_muscle = _mean_at(change, moved)
    behind = np.max([_mean_at(change, moved - thick) for thick in _CHEST_MM], axis=0)
    # the best of them, unusual ones only where they stand out more
    seen = (np.abs(to_muscle) + behind) / unit
    unusual = sum(((value - mean) / spread) ** 2 for value, (mean, spread) in zip((shift, bend), _USUAL))
    best = np.unravel_index(int(np.argmax(seen - _PRIOR * unusual)), unusual.shape)
    # an image that only darkens to the back shows its slope everywhere
    inner = change[:, _WIDTH:-_WIDTH]
    slope = float(inner.mean())
    noise = float(np.abs(inner - slope).mean() + 1e-6 * unit)
    above = (abs(to_muscle[best] - slope) + behind[best] - slope) / noise
    if seen[best] < _LEAST or above < _LEAST_ABOVE_SLOPE:
        return None
    return ChestWall(float(shift[best]), float(bend[best]))


def _changes(
    image: np.ndarray, wall: np.ndarray, middle: float, spacing_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """(ray, offset) what lies in front less what lies behind, mean over slices; the rays' distances, mm.

    Offsets run forward from −``_REACH_MM`` about the wall to as far in front of it, in steps of ``_STEP_MM``;
    0 at both ends.
    """
    # rays on both sides of the sternum, without the ends of the volume, where coils see little
    every = max(1, round(_RAYS_MM / spacing_mm))
    lateral = np.abs(np.arange(image.shape[0]) - middle) * spacing_mm
    rows = np.flatnonzero((lateral > _SIDES_MM[0]) & (lateral < _SIDES_MM[1]))[::every]
    edge = image.shape[2] // 10
    slices = np.arange(edge, image.shape[2] - edge, every)
    if not rows.size or not slices.size:
        return np.empty((0, 0)), lateral[rows]
    # the image along them, (ray, slice, offset); the root evens out coil shading
    offsets = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    j = wall[np.ix_(rows, slices)][..., None] + offsets / spacing_mm
    points = np.stack(np.broadcast_arrays(rows[:, None, None], j, slices[None, :, None]))
    values = ndimage.map_coordinates(image, points, order=1, mode="nearest", output=np.float32)
    values = _seen_to_the_end(np.maximum(values, 0.0))
    values = np.sqrt(np.minimum(values, np.percentile(values, 99.5)))
    # means of a window in front and of one behind, as differences of a running sum
    sums = np.cumsum(np.pad(values.mean(axis=1, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    here = np.arange(_WIDTH, len(offsets) - _WIDTH)
    in_front = sums[:, here + _WIDTH + 1] - sums[:, here + 1]
    change = np.zeros((len(rows), len(offsets)))
    change[:, here] = (in_front - sums[:, here] + sums[:, here - _WIDTH]) / _WIDTH
    return change, lateral[rows]


def _seen_to_the_end(values: np.ndarray) -> np.ndarray:
    """Rays (…, offset), carried on to the back where more than a window of it is zero.

    The end of a volume is not the end of the chest.
    """
    first = (values > 0).argmax(axis=-1)[..., None]
    # in front of what is interpolated with zeros
    last_seen = np.minimum(first + _WIDTH, values.shape[-1] - 1)
    unseen = (np.arange(values.shape[-1]) < last_seen) & (first > _WIDTH)
    return np.where(unseen, np.take_along_axis(values, last_seen, axis=-1), values)


def _mean_at(change: np.ndarray, moved_mm: np.ndarray) -> np.ndarray:
    """Mean over the rays of the change at (…, ray) mm in front of the ordinary wall."""
    offset = np.clip(np.rint((moved_mm + _REACH_MM) / _STEP_MM).astype(int), 0, change.shape[1] - 1)
    return change[np.arange(len(change)), offset].mean(axis=-1)
