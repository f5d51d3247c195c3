"""The outline of a finding: the bright region about it without the vessels that run into it, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..candidates.regions import REACH_MM, SNAP_MM, region_at
from ..core.geometry import Volume, apply_affine, spacing_of
from ..core.itk import to_sitk
from ..core.resampling import resample_image
from ..core.windows import Box, ball, bounding_box, box_about
from ..exam import Exam
from ..preprocessing.enhancement import early_phases
from ..preprocessing.model_input import phase_weights

_VESSEL_MM = 2.0  # radius of the opening that cuts vessels off
_DIRECTIONS, _AROUND = 500, 36  # in which the longest diameter is measured, and the longest across it


@dataclass(frozen=True)
class Outline:
    """A region and its size; build it with :meth:`of`.

    Parameters
    ----------
    region : Volume
        Boolean, on the grid it was grown on.
    volume_ml : float
    diameters_mm : tuple of float
        The longest straight line in it, the longest across that, and the extent across both.
    """

    region: Volume
    volume_ml: float
    diameters_mm: tuple[float, float, float]

    @property
    def diameter_mm(self) -> float:
        """The longest of the three."""
        return self.diameters_mm[0]

    @classmethod
    def of(cls, region: np.ndarray, affine: np.ndarray) -> Outline:
        """The outline of a boolean region on the grid of an affine (index → RAS mm)."""
        affine = np.array(affine, dtype=np.float64)
        volume_ml = float(region.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)
        return cls(Volume(region, affine), volume_ml, diameters(region, affine))


def outline(
    enhancement: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    ras_mm: Sequence[float],
    *,
    search_mm: float = 6.0,
    reach_mm: float = REACH_MM,
    level: float = 0.5,
) -> Outline | None:
    """The bright region at a finding, on any grid with perpendicular axes.

    Grown as :func:`~BreastCMSLLib.candidates.regions.region_at` does, filled (a rim belongs with its dark
    middle), and freed of vessels that run into it: what an opening takes away is dropped unless that is
    everything.

    Parameters
    ----------
    enhancement : ndarray, 3-D
    inside : ndarray, of the same shape, bool
        Where the region may lie.
    affine : ndarray, shape (4, 4)
        Index → RAS mm.
    ras_mm : sequence of float
        The finding, RAS, mm.
    search_mm, reach_mm, level : float
        As for ``region_at``.

    Returns
    -------
    Outline or None
        None where nothing stands out.
    """
    bright = region_at(
        enhancement, inside, affine, ras_mm, search_mm=search_mm, reach_mm=reach_mm, level=level
    )
    if bright is None:
        return None
    window = tuple(slice(s, s + n) for s, n in zip(bright.start, bright.inside.shape))
    filled = ndimage.binary_fill_holes(bright.inside) & inside[window]
    region = np.zeros(inside.shape, dtype=bool)
    region[window] = _without_branches(filled, spacing_of(affine))
    return Outline.of(region, affine)


def _without_branches(region: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The largest part that an opening leaves, grown back within the region; all of it where none is left."""
    element = ball(_VESSEL_MM, spacing)
    if element.size == 1:
        return region  # voxels wider than a vessel
    reach = [n // 2 for n in element.shape]
    padded = np.pad(region, [(r, r) for r in reach])
    # the largest part that remains of an erosion
    labels, count = ndimage.label(ndimage.binary_erosion(padded, element))
    if not count:
        return region
    core = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    # grown back, and by one voxel more, which rounds off what the ball cannot reach
    grown = ndimage.binary_dilation(core, element)
    grown = ndimage.binary_dilation(grown, ndimage.generate_binary_structure(3, 1)) & padded
    return grown[tuple(slice(r, n - r) for r, n in zip(reach, grown.shape))]


def diameters(region: np.ndarray, affine: np.ndarray) -> tuple[float, float, float]:
    """Three extents of a region, perpendicular to one another, its voxels taken for balls of their own width.

    The longest of 500 directions, the longest across it of 36 directions, and the one across both.

    Parameters
    ----------
    region : ndarray, 3-D, bool
    affine : ndarray, shape (4, 4)
        Index → RAS mm.

    Returns
    -------
    tuple of float
        mm; zeros for an empty region.
    """
    if not region.any():
        return 0.0, 0.0, 0.0
    axes = np.asarray(affine)[:3, :3]
    region = region[bounding_box(region)]
    points = np.argwhere(region & ~ndimage.binary_erosion(region)) @ axes.T
    # on half of a sphere, as a direction and its opposite measure the same, along a spiral
    steps = np.arange(_DIRECTIONS) + 0.5
    turn, height = np.pi * (1 + 5**0.5) * steps, 1 - steps / _DIRECTIONS
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height])
    longest, extent = _longest(points, directions, axes)
    # around it: two perpendicular directions span the plane across
    side = np.cross(longest, np.eye(3)[np.argmin(np.abs(longest))])
    side /= np.linalg.norm(side)
    angles = np.arange(_AROUND) * np.pi / _AROUND
    around = np.outer(side, np.cos(angles)) + np.outer(np.cross(longest, side), np.sin(angles))
    across, width = _longest(points, around, axes)
    _, depth = _longest(points, np.cross(longest, across)[:, None], axes)
    return extent, width, depth


def _longest(points: np.ndarray, directions: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, float]:
    """The direction (a column of unit vectors) along which points extend farthest, and how far, mm."""
    along = points @ directions
    extents = along.max(axis=0) - along.min(axis=0) + np.linalg.norm(axes.T @ directions, axis=0)
    best = int(extents.argmax())
    return directions[:, best], float(extents[best])


def outline_candidates(
    exam: Exam, inside: Volume, points: Sequence[Sequence[float]], phases: int
) -> tuple[Volume, list[tuple[int, Outline | None]]]:
    """Outlines of candidates on the exam's own grid, from its early enhancement at full resolution.

    Parameters
    ----------
    exam : Exam
    inside : Volume
        The breast mask, boolean, on any grid.
    points : sequence of sequence of float
        The candidates, RAS, mm, the most important first.
    phases : int
        Of the model, which tells what is early.

    Returns
    -------
    labels : Volume
        uint8, n where the outline of the n-th candidate is.
    outlines : list of tuple
        For each candidate the label of the outline it lies in, 0 where nothing stands out; and the outline,
        on a box about it, for the first candidate of each, None for the others.
    """
    labels = np.zeros(exam.grid.shape, dtype=np.uint8)
    mask = to_sitk(inside)
    outlines: list[tuple[int, Outline | None]] = []
    for number, point in enumerate(points, 1):
        box = box_about(
            apply_affine(np.linalg.inv(exam.grid.affine), np.asarray(point)),
            (REACH_MM + 2 * SNAP_MM) / exam.grid.spacing,
            exam.grid.shape,
        )
        bright = None if box is None else _outline_in(box, exam, mask, point, phases)
        if bright is None:
            outlines.append((0, None))
            continue
        region, known = bright.region.array, labels[box]
        # candidates of one lesion share its outline
        if 2 * np.count_nonzero(known[region]) > np.count_nonzero(region):
            outlines.append((int(np.argmax(np.bincount(known[region])[1:])) + 1, None))
            continue
        own = region & (known == 0)
        known[own] = number
        outlines.append((number, Outline.of(own, bright.region.affine)))
    return Volume(labels, exam.grid.affine), outlines


def _outline_in(box: Box, exam: Exam, mask, point: Sequence[float], phases: int) -> Outline | None:
    """The outline at a point on a box of the exam's grid. mask: the breast mask, a SimpleITK image."""
    affine = np.array(exam.grid.affine)
    affine[:3, 3] = apply_affine(exam.grid.affine, np.array([float(s.start) for s in box]))
    enhancement = _early_enhancement(exam, box, phases)
    inside = resample_image(mask, enhancement.shape, affine, nearest=True).array.astype(bool)
    return outline(enhancement, inside, affine, point) if inside.any() else None


def _early_enhancement(exam: Exam, box: Box, phases: int) -> np.ndarray:
    """Mean positive enhancement (float32) in a box of the exam over the times of the model's early phases."""
    shares = phase_weights(exam.times_s, len(exam.post), phases)[early_phases(phases)].mean(axis=0)
    total = np.zeros([s.stop - s.start for s in box], dtype=np.float32)
    for share, phase, offset in zip(shares, exam.post, exam.offsets):
        if share:
            total += np.float32(share) * (phase.volume.array[box].astype(np.float32) - np.float32(offset))
    if exam.pre is not None:
        total -= exam.pre.volume.array[box].astype(np.float32)
    return np.maximum(total, 0.0)
