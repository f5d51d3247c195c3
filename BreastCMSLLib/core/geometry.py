"""Volumes with their place in the patient.

Everywhere in this library a volume is an array indexed ``[i, j, k]`` with a 4×4 affine that takes voxel
indices (cell centres) to RAS millimetres, as a MRML node's IJK-to-RAS matrix does. DICOM speaks LPS;
:mod:`.itk` speaks to SimpleITK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .errors import InputError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SQUARE = 1e-3  # largest cosine between two axes of a regular grid


@dataclass(frozen=True)
class Volume:
    """A scalar volume.

    Attributes
    ----------
    array
        3-D, indexed ``[i, j, k]``, of any real dtype.
    affine
        4×4 float64, voxel index → RAS mm.
    """

    array: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return tuple(int(n) for n in self.array.shape)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along i, j, k in mm."""
        return spacing_of(self.affine)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """True when both grids have the same size and no voxel lies further apart than the tolerance."""
        return (
            self.shape == other.shape and grid_distance(self.shape, self.affine, other.affine) <= tolerance_mm
        )

    def with_array(self, array: np.ndarray) -> Volume:
        """The same grid with other values."""
        return Volume(array, self.affine)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel size (3,) in mm along the axes of an index → mm affine."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def grid_distance(shape: tuple[int, int, int], a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance in mm between the corners of two grids.

    Parameters
    ----------
    shape
        Of both grids.
    a, b
        Their affines, index → mm.

    Returns
    -------
    float
        0 for one grid.
    """
    corners = _corners(shape)
    return float(np.linalg.norm((a @ corners - b @ corners)[:3], axis=0).max())


def voxels_apart(shape: tuple[int, int, int], a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance between the corners of two grids along an axis, in voxels.

    Parameters
    ----------
    shape
        Of both grids.
    a, b
        Their affines, index → mm; the voxels are those of ``a``.

    Returns
    -------
    float
        0 for one grid.
    """
    corners = _corners(shape)
    return float(np.abs((np.linalg.inv(a) @ b @ corners - corners)[:3]).max())


def _corners(shape: tuple[int, int, int]) -> np.ndarray:
    """Homogeneous indices (4, 8) of a grid's corners."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    return np.vstack([corners, np.ones(corners.shape[1])])


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points through an affine.

    Parameters
    ----------
    affine
        4×4.
    points
        (…, 3).

    Returns
    -------
    ndarray
        (…, 3) float64.
    """
    points = np.asarray(points, dtype=np.float64)
    return points @ affine[:3, :3].T + affine[:3, 3]


def check_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """Refuse an affine that no regular grid in a scanner has.

    Parameters
    ----------
    affine
        Voxel index → mm.
    name
        Of the volume, for messages.

    Returns
    -------
    ndarray
        A float64 copy.

    Raises
    ------
    InputError
        Not a finite 4×4 affine, axes sheared or collapsed, or impossible spacing or place.
    """
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError(
            f"{name}: the voxel-to-patient matrix is not a valid 4×4 transform; export the volume again."
        )
    spacing = spacing_of(affine)
    if (spacing < 1e-3).any() or (spacing > 100).any():
        raise InputError(
            f"{name}: voxel spacing {tuple(np.round(spacing, 4))} mm is impossible; check its header."
        )
    direction = affine[:3, :3] / spacing
    if abs(np.linalg.det(direction)) < 0.5:
        raise InputError(
            f"{name}: the voxel axes are not independent (sheared or collapsed); check its header."
        )
    if not perpendicular(direction):
        raise InputError(
            f"{name}: the voxel axes are not perpendicular; resample it to a regular grid first."
        )
    if (farthest := np.abs(affine[:3, 3]).max()) > 1e5:
        raise InputError(
            f"{name}: its place, {farthest:.3g} mm from the scanner's centre, is impossible; "
            "check its header."
        )
    return affine


def perpendicular(direction: np.ndarray) -> bool:
    """Whether the columns of a 3×3 matrix are perpendicular unit vectors, as far as files round them."""
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() <= _SQUARE)


def closest_canonical_axes(affine: np.ndarray) -> tuple[list[int], list[bool]]:
    """The voxel axis closest to each of R, A and S.

    Parameters
    ----------
    affine
        4×4, voxel index → RAS mm.

    Returns
    -------
    axes : list of int
        For R, A and S, the voxel axis that runs closest to it; each axis once.
    flips : list of bool
        Whether that axis must be flipped to increase towards R, A or S.
    """
    direction = affine[:3, :3] / spacing_of(affine)
    best, best_score = None, -1.0
    for order in permutations(range(3)):  # the assignment with the largest total alignment, stable near 45°
        score = sum(abs(direction[row, axis]) for row, axis in enumerate(order))
        if score > best_score + 1e-9:
            best, best_score = order, score
    return list(best), [bool(direction[row, axis] < 0) for row, axis in enumerate(best)]


def extent_mm(shape: Sequence[int], affine: np.ndarray) -> tuple[float, float, float]:
    """How far a grid reaches, along its own axes.

    Parameters
    ----------
    shape
        Of the grid.
    affine
        4×4, voxel index → RAS mm.

    Returns
    -------
    tuple of float
        mm across (LR), from front to back (AP) and from head to foot (SI).
    """
    axes, _ = closest_canonical_axes(affine)
    spacing = spacing_of(affine)
    return tuple(float(spacing[axis] * shape[axis]) for axis in axes)
