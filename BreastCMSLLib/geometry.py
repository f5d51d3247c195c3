"""Volumes with their place in the patient.

Everywhere in this library a volume is an array indexed ``[i, j, k]`` with a 4×4 affine that takes voxel indices
(cell centres) to RAS millimetres, as a MRML node's IJK-to-RAS matrix does. SimpleITK and DICOM speak LPS, and NumPy
arrays from SimpleITK or ``slicer.util`` are indexed ``[k, j, i]``; the conversions live here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SQUARE = 1e-3  # largest cosine between two axes of a regular grid


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


def resample(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray, *, nearest: bool = False, outside: float = 0.0) -> Volume:
    """The volume on another grid, by trilinear interpolation (float32) or nearest neighbour (dtype kept).

    shape, affine: the target grid (IJK → RAS mm). outside: the value beyond the volume's field of view.
    """
    import SimpleITK as sitk

    reference = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    set_sitk_geometry(reference, affine)
    source = to_sitk(volume)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape])
    resampler.SetOutputSpacing(reference.GetSpacing())
    resampler.SetOutputOrigin(reference.GetOrigin())
    resampler.SetOutputDirection(reference.GetDirection())
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetOutputPixelType(source.GetPixelID() if nearest else sitk.sitkFloat32)
    resampler.SetDefaultPixelValue(float(outside))
    return Volume(sitk.GetArrayFromImage(resampler.Execute(source)).transpose(2, 1, 0), np.array(affine, dtype=np.float64))
