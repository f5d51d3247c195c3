"""Volumes on other grids.

Two grids whose axes are parallel are the usual case: canonical and model grids keep the exam's own axes. Then
trilinear interpolation is linear interpolation along one axis after another, on a few planes at a time that
stay in the processor's cache. ITK does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .geometry import Volume
from .itk import set_sitk_geometry, to_sitk
from .threads import for_each, parts

_STRAY = 1e-4  # voxels by which parallel axes may miss each other over a whole volume
_PLANES = 4  # of the target that are made at a time
_TYPES = ("uint8", "int8", "int16", "uint16", "int32", "float32")


def resample(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    nearest: bool = False,
    outside: float = 0.0,
    out: np.ndarray | None = None,
) -> Volume:
    """The volume on another grid.

    Parameters
    ----------
    volume
        On a grid with perpendicular axes.
    shape, affine
        The target grid; voxel index → RAS mm.
    nearest
        Nearest neighbour instead of trilinear interpolation.
    outside
        The value beyond the volume's field of view, which reaches half a voxel beyond the outermost centres;
        there the outermost values go on.
    out
        Where to write, float32 of ``shape``; its memory layout is the caller's choice. Not for nearest
        neighbour.

    Returns
    -------
    Volume
        float32, or of the volume's dtype for nearest neighbour.

    Raises
    ------
    InputError
        Where axes are not perpendicular.
    """
    if not nearest:
        shape = tuple(int(n) for n in shape)
        axes = _parallel_axes(volume, shape, affine)
        if axes is not None:
            if out is None:
                out = np.empty(shape[::-1], dtype=np.float32).T  # i fastest, as ITK and files want it
            _resample_along_axes(volume, axes, outside, out)
            return Volume(out, np.array(affine, dtype=np.float64))
    resampled = resample_image(to_sitk(volume), shape, affine, nearest=nearest, outside=outside)
    if out is None:
        return resampled
    out[...] = resampled.array
    return resampled.with_array(out)


def resample_image(
    source, shape: tuple[int, int, int], affine: np.ndarray, *, nearest: bool = False, outside: float = 0.0
) -> Volume:
    """:func:`resample` of a SimpleITK image, as :func:`to_sitk` makes it, by ITK alone.

    For several pieces of one volume, which is then converted once.

    Parameters
    ----------
    source
        SimpleITK image.
    shape, affine, nearest, outside
        As for :func:`resample`.

    Returns
    -------
    Volume
        float32, or of the image's pixel type for nearest neighbour.

    Raises
    ------
    InputError
        Where the target's axes are not perpendicular.
    """
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
    array = sitk.GetArrayFromImage(resampler.Execute(source)).transpose(2, 1, 0)
    return Volume(array, np.array(affine, dtype=np.float64))


@dataclass(frozen=True)
class _Line:
    """How one axis of the target reads its axis of the source.

    axis: of the source. start, stop: the target's voxels in the field of view. low, share: for each of these,
    its lower neighbour in the source and the share of the upper one.
    """

    axis: int
    start: int
    stop: int
    low: np.ndarray
    share: np.ndarray


def _parallel_axes(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> list[_Line] | None:
    """What each axis of the target reads; None where axes are not parallel or the dtype is an unusual one."""
    if volume.array.dtype.name not in _TYPES or not volume.array.dtype.isnative or 0 in volume.shape:
        return None
    mapping = np.linalg.inv(np.asarray(volume.affine, dtype=np.float64)) @ np.asarray(
        affine, dtype=np.float64
    )
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    # the source's axis for each of the target's, and how far the others stray over the whole volume
    sources = np.abs(matrix).argmax(axis=0)
    stray = np.abs(matrix) * np.maximum(np.array(shape) - 1, 1)
    stray[sources, range(3)] = 0
    if sorted(sources) != [0, 1, 2] or not (stray.sum(axis=1) <= _STRAY).all():
        return None
    return [
        _line(int(source), matrix[source, axis] * np.arange(count) + offset[source], volume.shape[source])
        for axis, (source, count) in enumerate(zip(sources, shape))
    ]


def _line(axis: int, position: np.ndarray, count: int) -> _Line:
    """position: index of each voxel of the target on the source's axis, which has ``count`` voxels."""
    last = count - 1
    # in the field of view, which is contiguous: positions are evenly spaced
    within = np.flatnonzero((position >= -0.5) & (position < last + 0.5))
    start, stop = (int(within[0]), int(within[-1]) + 1) if within.size else (0, 0)
    position = np.clip(position[start:stop], 0, last)
    low = np.minimum(position.astype(np.int64), max(last - 1, 0))
    return _Line(axis, start, stop, low, (position - low).astype(np.float32))


def _resample_along_axes(volume: Volume, lines: list[_Line], outside: float, out: np.ndarray) -> None:
    import torch

    if any(line.start == line.stop for line in lines):
        out[...] = outside
        return
    _fill_outside(out, lines, outside)
    # axes in the order of the source's memory, slowest first
    order = sorted(range(3), key=lambda axis: -abs(volume.array.strides[lines[axis].axis]))
    source = volume.array.transpose([lines[axis].axis for axis in order])
    target = torch.from_numpy(out[tuple(slice(line.start, line.stop) for line in lines)].transpose(order))
    slow, middle, fast = (_neighbours(lines[axis], count) for axis, count in zip(order, source.shape))

    def fill(planes: slice) -> None:
        lower, upper, share = (None if values is None else values[planes] for values in slow)
        first, stop = int(min(lower.min(), upper.min())), int(max(lower.max(), upper.max())) + 1
        values = torch.from_numpy(np.ascontiguousarray(source[first:stop])).float()
        values = _interpolate(values, 0, lower - first, upper - first, share)
        target[planes] = _interpolate(_interpolate(values, 1, *middle), 2, *fast)

    for_each(fill, parts(len(slow[0]), _PLANES))


def _fill_outside(out: np.ndarray, lines: list[_Line], outside: float) -> None:
    """What lies beyond the field of view, each voxel once."""
    within: list[slice] = [slice(None)] * 3
    for axis, line in enumerate(lines):
        for beyond in (slice(0, line.start), slice(line.stop, out.shape[axis])):
            out[(*within[:axis], beyond)] = outside
        within[axis] = slice(line.start, line.stop)


def _neighbours(line: _Line, count: int) -> tuple:
    """Lower and upper neighbours on an axis of ``count`` voxels, and the upper ones' share or None."""
    import torch

    upper = np.minimum(line.low + 1, count - 1)
    share = torch.from_numpy(line.share) if line.share.any() else None
    return torch.from_numpy(line.low), torch.from_numpy(upper), share


def _interpolate(values, axis: int, lower, upper, share):
    """Tensor interpolated along one axis; without ``share``, the lower neighbours as they are."""
    first = values.index_select(axis, lower)
    if share is None:
        return first
    return first.lerp_(
        values.index_select(axis, upper), share.view([-1 if a == axis else 1 for a in range(3)])
    )
