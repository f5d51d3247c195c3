"""What a region looks like, in numbers that words of the lexicon can be made of.

V is the region's volume and R the radius of the ball of that volume. E is the ellipsoid of the region's
centre c and second moments C, scaled to V: the points with q ≤ 1, where q² ∝ (x − c)ᵀ C⁻¹ (x − c). The signal
is the early subtraction.

==============  ========================================================================================
``radius_mm``   R
``voxels``      how many voxels the region has
``elongation``  longest over shortest axis of E
``solidity``    V over the volume of the convex hull of its surface voxels' faces' centres: on grids of any
                spacing a digital ball has 0.95 to 1
``thickness``   radius of the largest ball that fits in, over R
``radial``      cosine between the steepest descent and the way out from c, over the surface, weighted by
                steepness: the radial gradient of Gilhuijs et al., Med Phys 1998;25:1647
``apart``       share of what lies 2.4 to 5 mm outside whose signal is below half of the region's median: an
                outline that runs into bright tissue shows neither shape nor margin
``roughness``   standard deviation over mean of q on the surface voxels, less the share that a voxel's width s
                alone gives: s / (√12 R)
``rim``         mean signal at 0.6 < q < 0.9 over that at q < 0.45
``unevenness``  standard deviation of the signal from 1 mm below the surface on, less its trend a + bq + cq²
                and less noise, over its mean
==============  ========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ..core.geometry import Volume
from ..core.moments import half_axes
from ..core.windows import bounding_box, box_about
from ..exam import Exam

_REACH_MM = 6.0  # about the region, for what is seen of its edge
_NEAR_MM = (2.4, 5.0)  # outside the surface, from where a blurred edge has ended
_SMOOTH_MM = 1.0  # σ of the signal whose gradient is taken
_SURFACE_MM = (
    1.6  # half of the thickness of the surface on which gradients are taken, a voxel where that is more
)
_LEAST = 8  # voxels that a mean or a spread is taken of


@dataclass(frozen=True)
class _Frame:
    """A region and its signal on a box; depth and height in mm from the surface, offset from c in mm."""

    region: np.ndarray
    signal: np.ndarray
    spacing: np.ndarray
    depth: np.ndarray
    height: np.ndarray
    offset: np.ndarray
    q: np.ndarray
    axes: np.ndarray

    @property
    def volume(self) -> float:
        """mm³."""
        return float(self.region.sum() * np.prod(self.spacing))

    @property
    def radius(self) -> float:
        """mm, of the ball of that volume."""
        return (3 * self.volume / (4 * np.pi)) ** (1 / 3)


def measure_region(exam: Exam, region: Volume, phase: int) -> dict[str, float | None]:
    """Measure a region.

    Parameters
    ----------
    exam : Exam
    region : Volume
        Boolean, on the exam's own grid; at least one voxel is true.
    phase : int
        Of ``exam.post``, the early one.

    Returns
    -------
    dict
        The numbers of the module's docstring; None where the region is too small to tell.
    """
    frame = _frame(exam, region, phase)
    values = {
        "radius_mm": frame.radius,
        "voxels": int(frame.region.sum()),
        "elongation": float(frame.axes[0] / frame.axes[2]),
        "solidity": _solidity(frame),
        "thickness": float(frame.depth.max()) / frame.radius,
        "apart": _apart(frame),
        "radial": _radial(frame),
        "roughness": _roughness(frame),
        "rim": _rim(frame),
        "unevenness": _unevenness(frame),
    }
    return {name: None if v is None or not np.isfinite(v) else round(v, 3) for name, v in values.items()}


def _frame(exam: Exam, region: Volume, phase: int) -> _Frame:
    spacing = exam.grid.spacing
    own = bounding_box(region.array)
    middle = np.array([(s.start + s.stop - 1) / 2 for s in own])
    half = np.array([(s.stop - s.start) / 2 for s in own]) + np.ceil(_REACH_MM / spacing)
    box = box_about(middle, half, region.array.shape)
    # early enhancement, and mm below and above the surface, half a voxel outside the outermost centres
    signal = exam.post[phase].volume.array[box].astype(np.float32)
    signal -= np.float32(exam.offsets[phase]) if exam.pre is None else exam.pre.volume.array[box]
    body = region.array[box]
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    height = ndimage.distance_transform_edt(~body, sampling=spacing)
    # the ellipsoid, scaled to hold as many voxels as the region
    steps = np.meshgrid(*[np.arange(n) * s for n, s in zip(body.shape, spacing)], indexing="ij")
    points = np.stack(steps, axis=-1)
    offset = points - points[body].mean(axis=0)
    covariance = np.cov(points[body].T, bias=True) if body.sum() > 1 else np.zeros((3, 3))
    shape = np.linalg.inv(covariance + np.diag(spacing**2) / 12)
    squared = np.einsum("...i,ij,...j", offset, shape, offset)
    scale = np.partition(squared.ravel(), body.sum() - 1)[body.sum() - 1]
    q = np.sqrt(squared / max(scale, 1e-9))
    axes = half_axes(covariance, spacing)
    return _Frame(body, signal, spacing, depth, height, offset, q, axes)


# ---------------------------------------------------------------- shape


def _solidity(frame: _Frame) -> float | None:
    surface = np.argwhere(frame.region & ~ndimage.binary_erosion(frame.region))
    faces = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    try:
        hull = ConvexHull((surface[:, None] + faces).reshape(-1, 3) * frame.spacing)
    except QhullError:
        return None
    return frame.volume / hull.volume


# ---------------------------------------------------------------- margin


def _radial(frame: _Frame) -> float | None:
    if min(frame.signal.shape) < 2:
        return None
    smooth = ndimage.gaussian_filter(frame.signal, _SMOOTH_MM / frame.spacing)
    gradient = np.stack(np.gradient(smooth, *frame.spacing.tolist()), axis=-1)
    reach = max(_SURFACE_MM, 1.01 * float(frame.spacing.min()))  # edges of a voxel differ by rounding
    surface = np.where(frame.region, frame.depth, frame.height) <= reach
    slope, way = gradient[surface], frame.offset[surface]
    way = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    steepness = float(np.linalg.norm(slope, axis=1).sum())
    return -float((slope * way).sum()) / steepness if steepness > 0 else None


def _apart(frame: _Frame) -> float | None:
    near = (frame.height > _NEAR_MM[0]) & (frame.height <= _NEAR_MM[1])
    half = 0.5 * float(np.median(frame.signal[frame.region]))
    smooth = ndimage.gaussian_filter(frame.signal, _SMOOTH_MM / frame.spacing)
    return float((smooth[near] < half).mean()) if np.count_nonzero(near) >= _LEAST else None


def _roughness(frame: _Frame) -> float | None:
    q = frame.q[frame.region & ~ndimage.binary_erosion(frame.region)]
    if q.size < _LEAST or not q.mean() > 0:
        return None
    width = float(np.prod(frame.spacing)) ** (1 / 3)
    grid = width / (np.sqrt(12.0) * frame.radius)
    return float(np.sqrt(max((q.std() / q.mean()) ** 2 - grid**2, 0.0)))


# ---------------------------------------------------------------- inside


def _rim(frame: _Frame) -> float | None:
    edge, core = frame.region & (frame.q > 0.6) & (frame.q < 0.9), frame.region & (frame.q < 0.45)
    if min(np.count_nonzero(edge), np.count_nonzero(core)) < _LEAST:
        return None
    below = float(frame.signal[core].mean())
    return float(frame.signal[edge].mean()) / below if below > 0 else None


def _unevenness(frame: _Frame) -> float | None:
    """Noise by second differences, whose variance is six times its own; the median hardly sees edges."""
    where = frame.region & (frame.depth > 1.0 + float(frame.spacing.min()) / 2)
    values, q = frame.signal[where].astype(np.float64), frame.q[where]
    if values.size < _LEAST or values.mean() <= 0:
        return None
    trend = np.stack([np.ones_like(q), q, q**2], axis=1)  # a rim is no unevenness
    rest = values - trend @ np.linalg.lstsq(trend, values, rcond=None)[0]
    noise = 1.4826 * float(np.median(np.abs(np.diff(frame.signal, 2, axis=0)))) / np.sqrt(6.0)
    return float(np.sqrt(max(rest.var() - noise**2, 0.0)) / values.mean())
