"""What is said of a finding: its outline and size, its curve over time, how deep it lies and on which side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..candidates.regions import REACH_MM, SNAP_MM, Component, box_about, component
from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine, resample, resample_image, to_sitk
from ..exam.exam import Exam
from ..preprocessing.enhancement import early
from ..preprocessing.model_input import phase_weights
from .kinetics import record


@dataclass(frozen=True)
class Outline:
    """region: boolean on the grid it was grown on. diameter_mm: the longest straight line in it. volume_ml."""

    region: Volume
    volume_ml: float
    diameter_mm: float


def outline(
    signal: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    ras_mm: Sequence[float],
    *,
    search_mm: float = 6.0,
    reach_mm: float = REACH_MM,
    level: float = 0.5,
) -> Outline | None:
    """The bright region at a finding on any grid with perpendicular axes, or None where nothing stands out.

    Grown as :func:`localisation.component` does, filled (a rim belongs with its dark middle), and freed of vessels that
    run into it: what an opening takes away is dropped unless that is everything. Always within ``inside``.
    """
    found = component(signal, inside, affine, ras_mm, search_mm=search_mm, reach_mm=reach_mm, level=level)
    return None if found is None else outline_of(found, inside, affine)


def outline_of(found: Component, inside: np.ndarray, affine: np.ndarray) -> Outline:
    """The outline of a component that is known already."""
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    window = tuple(slice(s, s + n) for s, n in zip(found.start, found.inside.shape))
    filled = ndimage.binary_fill_holes(found.inside) & inside[window]
    body = _without_branches(filled, spacing)
    region = np.zeros(inside.shape, dtype=bool)
    region[window] = body
    volume = float(body.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)
    return Outline(Volume(region, np.array(affine, dtype=np.float64)), volume, diameter(body, affine))


def outline_places(
    exam: Exam, inside: Volume, places: Sequence[Sequence[float]], phases: int
) -> tuple[Volume, list[tuple[int, Outline | None]]]:
    """Outlines of several places on the exam's own grid, from its early subtraction at full resolution.

    inside: the breast mask on any grid. places: RAS mm, the most important first. phases: of the model, which tells what
    is early. Returns labels (uint8, n where the n-th outline is) and for each place the label of the outline it lies in
    and, for the first place of each, the outline on a box about it; (0, None) where nothing stands out.
    """
    grid, mask = exam.grid, to_sitk(inside)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    found: list[tuple[int, Outline | None]] = []
    for number, place in enumerate(places, 1):
        centre = apply_affine(np.linalg.inv(grid.affine), np.asarray(place))
        box = box_about(centre, (REACH_MM + 2 * SNAP_MM) / grid.spacing, grid.shape)
        if box is None:
            found.append((0, None))
            continue
        affine = np.array(grid.affine)
        affine[:3, 3] = apply_affine(grid.affine, np.array([float(s.start) for s in box]))
        signal = _early_signal(exam, box, phases)
        allowed = resample_image(mask, signal.shape, affine, nearest=True).array.astype(bool)
        around = outline(signal, allowed, affine, place) if allowed.any() else None
        if around is None:
            found.append((0, None))
            continue
        region, known = around.region.array, labels[box]
        if 2 * np.count_nonzero(known[region]) > np.count_nonzero(region):  # two places of one lesion
            found.append((int(np.argmax(np.bincount(known[region])[1:])) + 1, None))
            continue
        own = region & (known == 0)
        known[own] = number
        volume = float(own.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)
        found.append((number, Outline(Volume(own, affine), volume, diameter(own, affine))))
    return Volume(labels, grid.affine), found


def _early_signal(exam: Exam, box: tuple[slice, ...], phases: int) -> np.ndarray:
    """Mean positive enhancement (float32) in a box of the exam over the times of the model's early phases."""
    shares = phase_weights(exam.times_s, len(exam.post), phases)[early(phases)].mean(axis=0)
    total = np.zeros([s.stop - s.start for s in box], dtype=np.float32)
    for share, phase, offset in zip(shares, exam.post, exam.offsets):
        if share:
            total += np.float32(share) * (phase.volume.array[box].astype(np.float32) - np.float32(offset))
    if exam.pre is not None:
        total -= exam.pre.volume.array[box].astype(np.float32)
    return np.maximum(total, 0.0)


def diameter(region: np.ndarray, affine: np.ndarray) -> float:
    """Largest extent in mm of a boolean region over 500 directions, its voxels taken for balls of their own width."""
    points = np.argwhere(region & ~ndimage.binary_erosion(region)) @ np.asarray(affine)[:3, :3].T
    if not len(points):
        return 0.0
    count = 500
    turn = np.pi * (1 + 5**0.5) * (np.arange(count) + 0.5)
    height = 1 - (np.arange(count) + 0.5) / count  # half of a sphere: a direction and its opposite measure the same
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height])
    along = points @ directions
    width = np.linalg.norm(np.asarray(affine)[:3, :3].T @ directions, axis=0)
    return float((along.max(axis=0) - along.min(axis=0) + width).max())


def _without_branches(region: np.ndarray, spacing: np.ndarray, radius_mm: float = 2.0) -> np.ndarray:
    """The largest part that an opening of ``radius_mm`` leaves, grown back by that much within the region; else all of it."""
    reach = np.floor(radius_mm / spacing).astype(int)
    if not reach.any():
        return region  # voxels wider than a vessel
    axes = [((np.arange(-r, r + 1)) * s) ** 2 for r, s in zip(reach, spacing)]
    ball = (axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]) <= radius_mm**2
    padded = np.pad(region, [(r, r) for r in reach])
    labels, count = ndimage.label(ndimage.binary_erosion(padded, ball))
    if not count:
        return region
    core = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    grown = ndimage.binary_dilation(ndimage.binary_dilation(core, ball), ndimage.generate_binary_structure(3, 1)) & padded
    return grown[tuple(slice(r, n - r) for r, n in zip(reach, grown.shape))]


def region_curve(exam: Exam, region: Volume) -> dict[str, Any]:
    """Mean enhancement over time of a boolean region on any grid, in the form of ``kinetics.curve_at``.

    enhancement: % of the region's mean pre-contrast signal, or signal units where only subtractions exist.
    Raises InputError when the region holds no voxel of the exam.
    """
    held = region if region.same_grid(exam.grid) else resample(_bytes(region), exam.grid.shape, exam.grid.affine, nearest=True)
    index = np.argwhere(held.array)
    if not len(index):
        raise InputError("The finding's outline holds no voxel of the exam; outline it again on the exam's own grid.")
    window = tuple(slice(a, b) for a, b in zip(index.min(axis=0), index.max(axis=0) + 1))
    chosen = held.array[window].astype(bool)
    post = np.array([float(p.volume.array[window][chosen].astype(np.float64).mean()) for p in exam.post])
    if exam.pre is not None:
        before = float(exam.pre.volume.array[window][chosen].astype(np.float64).mean())
        curve, unit = (100.0 * (post - before) / before, "%") if before > 0 else (post - before, "a.u.")
    else:
        curve, unit = post - np.asarray(exam.offsets, dtype=np.float64), "a.u."
    return record(exam, curve, unit, apply_affine(exam.grid.affine, index.mean(axis=0)))


def _bytes(region: Volume) -> Volume:
    return region.with_array(region.array.astype(np.uint8))

