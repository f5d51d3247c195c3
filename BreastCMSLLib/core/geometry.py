"""Volumes with their place in the patient.

Everywhere in this library a volume is an array indexed ``[i, j, k]`` with a 4×4 affine that takes voxel indices
(cell centres) to RAS millimetres, as a MRML node's IJK-to-RAS matrix does. SimpleITK and DICOM speak LPS, and NumPy
arrays from SimpleITK or ``slicer.util`` are indexed ``[k, j, i]``; the conversions live here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SQUARE = 1e-3  # largest cosine between two axes of a regular grid
_AIR_MM = (20.0, 20.0, 5.0)  # at either side, in front, at either end; see breasts_covered


@dataclass(frozen=True)
class Volume:
    """A scalar volume.

    array: 3-D array indexed ``[i, j, k]``, any real dtype.
    affine: 4×4 float64, voxel index → RAS mm.
    """

    array: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(int(n) for n in self.array.shape)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along i, j, k in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """True when both grids have the same size and no voxel lies further apart than the tolerance."""
        return self.shape == other.shape and grid_distance(self.shape, self.affine, other.affine) <= tolerance_mm

    def with_array(self, array: np.ndarray) -> Volume:
        """The same grid with other values."""
        return Volume(array, self.affine)


def grid_distance(shape: tuple[int, int, int], a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance in mm between the corners of two grids of one shape."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm((a @ corners - b @ corners)[:3], axis=0).max())


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (…, 3) through a 4×4 affine."""
    points = np.asarray(points, dtype=np.float64)
    return points @ affine[:3, :3].T + affine[:3, 3]


def check_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """A float64 copy of a usable 4×4 affine; raises InputError naming the volume when axes are degenerate."""
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError(f"{name}: the voxel-to-patient matrix is not a valid 4×4 transform; export the volume again.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing < 1e-3).any() or (spacing > 100).any():
        raise InputError(f"{name}: voxel spacing {tuple(np.round(spacing, 4))} mm is impossible; check its header.")
    direction = affine[:3, :3] / spacing
    if abs(np.linalg.det(direction)) < 0.5:
        raise InputError(f"{name}: the voxel axes are not independent (sheared or collapsed); check its header.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SQUARE:
        raise InputError(f"{name}: the voxel axes are not perpendicular; resample it to a regular grid first.")
    if np.abs(affine[:3, 3]).max() > 1e5:
        raise InputError(
            f"{name}: its place, {np.abs(affine[:3, 3]).max():.3g} mm from the scanner's centre, is impossible; check its header."
        )
    return affine


def extent(inside: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds a boolean grid's true voxels; it has to have some."""
    box = []
    for axis in range(inside.ndim):
        held = np.flatnonzero(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(box)


def closest_canonical_axes(affine: np.ndarray) -> tuple[list[int], list[bool]]:
    """Which voxel axis runs closest to R, A and S, and whether it must be flipped to increase towards it."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best, best_score = None, -1.0
    from itertools import permutations

    for order in permutations(range(3)):  # the assignment with the largest total alignment, stable near 45°
        score = sum(abs(direction[row, axis]) for row, axis in enumerate(order))
        if score > best_score + 1e-9:
            best, best_score = order, score
    return list(best), [bool(direction[row, axis] < 0) for row, axis in enumerate(best)]


def extent_mm(shape: Sequence[int], affine: np.ndarray) -> tuple[float, float, float]:
    """How far a grid reaches across (LR), from front to back (AP) and from head to foot (SI), in mm, along its own axes."""
    axes, _ = closest_canonical_axes(affine)
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return tuple(float(spacing[axis] * shape[axis]) for axis in axes)


def breasts_covered(shape: Sequence[int], affine: np.ndarray, other_shape: Sequence[int], other_affine: np.ndarray) -> float:
    """Share, 0 to 1, of where the breasts lie in a breast MRI that another grid reaches.

    shape, affine: of the MRI's grid (index → RAS mm); where they lie: its front half, but for ``_AIR_MM``. A T1 may well be narrower
    than the dynamic volumes, and need not reach to the back.
    """
    axes, flips = closest_canonical_axes(affine)
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    ranges = [np.zeros(1)] * 3
    for role, (axis, flip) in enumerate(zip(axes, flips)):
        middle = (shape[axis] - 1) / 2
        reach = max(shape[axis] / 2 - _AIR_MM[role] / spacing[axis], 0.5)
        low, high = middle - reach, middle + reach
        if role == 1:  # the front half; an axis that is flipped runs from front to back
            low, high = (low, middle) if flip else (middle, high)
        ranges[axis] = low + (np.arange(40) + 0.5) / 40 * (high - low)
    points = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    index = apply_affine(np.linalg.inv(other_affine), apply_affine(affine, points))
    return float(np.mean(((index >= -0.5) & (index <= np.array(other_shape) - 0.5)).all(axis=1)))


def to_sitk(volume: Volume):
    """A SimpleITK image (LPS) of the volume; copies the voxels."""
    import SimpleITK as sitk

    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    set_sitk_geometry(image, volume.affine)
    return image


def set_sitk_geometry(image, affine: np.ndarray) -> None:
    """Give a SimpleITK image the grid of an IJK→RAS affine. Axes that ITK cannot hold raise InputError."""
    lps = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    direction[np.abs(direction) < 1e-12] = 0.0  # ITK cannot invert a matrix with denormal numbers
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SQUARE:  # ITK would take a sheared grid and misplace its voxels
        raise InputError("The volume's axes are not perpendicular; resample it to a regular grid first.")
    try:
        image.SetSpacing([float(s) for s in spacing])
        image.SetDirection(direction.ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
    except RuntimeError as error:
        raise InputError("The volume's axes are not perpendicular; resample it to a regular grid first.") from error


def from_sitk(image) -> Volume:
    """The volume of a 3-D SimpleITK image; its voxels are copied."""
    import SimpleITK as sitk

    lps = np.eye(4)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    lps[:3, :3] = direction * np.array(image.GetSpacing(), dtype=np.float64)
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), LPS_FROM_RAS @ lps)


def resample(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    nearest: bool = False,
    outside: float = 0.0,
    out: np.ndarray | None = None,
) -> Volume:
    """The volume on another grid, by trilinear interpolation (float32) or nearest neighbour (dtype kept).

    shape, affine: the target grid (IJK → RAS mm). outside: the value beyond the volume's field of view, which reaches half a
    voxel beyond the outermost centres; there the outermost values are held. out: where to write, of ``shape`` and float32;
    its memory layout is the caller's choice. Not for nearest neighbour.
    """
    if not nearest:
        shape = tuple(int(n) for n in shape)
        axes = _parallel_axes(volume, shape, affine)
        if axes is not None:
            if out is None:
                out = np.empty(shape[::-1], dtype=np.float32).T  # i fastest, as ITK and files want it
            _resample_along_axes(volume, axes, outside, out)
            return Volume(out, np.array(affine, dtype=np.float64))
    made = resample_image(to_sitk(volume), shape, affine, nearest=nearest, outside=outside)
    if out is not None:
        out[...] = made.array
        made = made.with_array(out)
    return made


def resample_image(source, shape: tuple[int, int, int], affine: np.ndarray, *, nearest: bool = False, outside: float = 0.0) -> Volume:
    """:func:`resample` of a SimpleITK image, as :func:`to_sitk` makes it, by ITK alone: for several pieces of one volume."""
    import SimpleITK as sitk

    reference = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    set_sitk_geometry(reference, affine)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape])
    resampler.SetOutputSpacing(reference.GetSpacing())
    resampler.SetOutputOrigin(reference.GetOrigin())
    resampler.SetOutputDirection(reference.GetDirection())
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetOutputPixelType(source.GetPixelID() if nearest else sitk.sitkFloat32)
    resampler.SetDefaultPixelValue(float(outside))
    made = sitk.GetArrayFromImage(resampler.Execute(source)).transpose(2, 1, 0)
    return Volume(made, np.array(affine, dtype=np.float64))


# Two grids whose axes are parallel are the usual case (canonical and model grids keep the exam's own axes). Then trilinear
# interpolation is linear interpolation along one axis after another, on a few planes at a time that stay in the cache.

_STRAY = 1e-4  # voxels by which parallel axes may miss each other over a whole volume
_PLANES = 4
_TYPES = ("uint8", "int8", "int16", "uint16", "int32", "float32")


@dataclass(frozen=True)
class _Line:
    """How one axis of the target reads its axis of the source: lower neighbour and share of the upper one for each voxel.

    Only voxels ``start`` to ``stop`` lie in the field of view.
    """

    axis: int
    start: int
    stop: int
    low: np.ndarray
    share: np.ndarray


def _parallel_axes(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> list[_Line] | None:
    """For each axis of the target what it reads; None where axes are not parallel or the voxels' type is an unusual one."""
    if volume.array.dtype.name not in _TYPES or not volume.array.dtype.isnative or 0 in volume.shape:
        return None
    mapping = np.linalg.inv(np.asarray(volume.affine, dtype=np.float64)) @ np.asarray(affine, dtype=np.float64)
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    sources = np.abs(matrix).argmax(axis=0)
    stray = np.abs(matrix) * np.maximum(np.array(shape) - 1, 1)
    stray[sources, range(3)] = 0
    if sorted(sources) != [0, 1, 2] or not (stray.sum(axis=1) <= _STRAY).all():
        return None
    lines = []
    for axis, (source, count) in enumerate(zip(sources, shape)):
        last = volume.shape[source] - 1
        place = matrix[source, axis] * np.arange(count) + offset[source]
        within = np.flatnonzero((place >= -0.5) & (place < last + 0.5))  # contiguous: places are evenly spaced
        start, stop = (int(within[0]), int(within[-1]) + 1) if within.size else (0, 0)
        place = np.clip(place[start:stop], 0, last)
        low = np.minimum(place.astype(np.int64), max(last - 1, 0))
        lines.append(_Line(int(source), start, stop, low, (place - low).astype(np.float32)))
    return lines


def _resample_along_axes(volume: Volume, lines: list[_Line], outside: float, out: np.ndarray) -> None:
    import torch

    from .threads import for_each, parts

    if any(line.start == line.stop for line in lines):
        out[...] = outside
        return
    within: list[slice] = [slice(None)] * 3
    for axis, line in enumerate(lines):  # what lies beyond the field of view, each voxel once
        for beyond in (slice(0, line.start), slice(line.stop, out.shape[axis])):
            out[(*within[:axis], beyond)] = outside
        within[axis] = slice(line.start, line.stop)
    # axes in the order of the source's memory, slowest first
    order = sorted(range(3), key=lambda axis: -abs(volume.array.strides[lines[axis].axis]))
    source = volume.array.transpose([lines[axis].axis for axis in order])
    target = torch.from_numpy(out[tuple(slice(line.start, line.stop) for line in lines)].transpose(order))
    slow, middle, fast = (lines[axis] for axis in order)

    def both(line: _Line) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        upper = np.minimum(line.low + 1, source.shape[order.index(lines.index(line))] - 1)
        share = torch.from_numpy(line.share) if line.share.any() else None
        return torch.from_numpy(line.low), torch.from_numpy(upper), share

    def along(values: torch.Tensor, axis: int, low: torch.Tensor, upper: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
        first = values.index_select(axis, low)
        if share is None:
            return first
        return first.lerp_(values.index_select(axis, upper), share.view([-1 if a == axis else 1 for a in range(3)]))

    lower, upper, share = both(slow)
    rest = both(middle), both(fast)

    def work(part: slice) -> None:
        needed = int(min(lower[part].min(), upper[part].min())), int(max(lower[part].max(), upper[part].max())) + 1
        values = torch.from_numpy(np.ascontiguousarray(source[needed[0] : needed[1]])).float()
        values = along(values, 0, lower[part] - needed[0], upper[part] - needed[0], None if share is None else share[part])
        target[part] = along(along(values, 1, *rest[0]), 2, *rest[1])

    for_each(work, parts(len(lower), _PLANES))
