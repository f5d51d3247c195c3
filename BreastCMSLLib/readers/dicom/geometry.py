"""Where images lie: slices sorted along their normal make a regular grid, or what is wrong with them.

Tolerances are shares of the voxel spacing: scanners and anonymisers round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.geometry import LPS_FROM_RAS
from ..messages import counted
from .slices import Slice

MIN_SLICES = 4
_PARALLEL = 1e-3  # largest difference of direction cosines within a stack
_SAME_SPACING = 1e-3  # largest relative difference of pixel spacings within a stack
_PLACE_TOLERANCES_MM = (0.02, 0.05, 0.1, 0.2, 0.3)
_UNEVEN, _LEAST_UNEVEN_MM = 0.25, 0.03  # of the usual distance between slices
_ASIDE = 0.5  # of a pixel, for slices beside the line of the others
_SAGITTAL = 0.7  # least share of the normal that runs from left to right
_BETWEEN_BREASTS_MM = 10.0  # at least, between two sagittal stacks


def normal_of(item: Slice) -> np.ndarray | None:
    """The unit normal (3,) of a slice, LPS; None when its axes are not two perpendicular unit vectors."""
    if item.orientation is None:
        return None
    row, column = np.array(item.orientation[:3]), np.array(item.orientation[3:])
    if (
        abs(np.linalg.norm(row) - 1) > 0.01
        or abs(np.linalg.norm(column) - 1) > 0.01
        or abs(row @ column) > 0.01
    ):
        return None
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def parallel(a: Slice, b: Slice) -> bool:
    """Whether two images have axes and pixel spacings alike, or lack the same of them."""
    for one, other, tolerance in (
        (a.orientation, b.orientation, _PARALLEL),
        (a.pixel_spacing, b.pixel_spacing, _SAME_SPACING * max(a.pixel_spacing or (1.0,))),
    ):
        if one is None or other is None:
            if one is not other:
                return False
        elif any(abs(x - y) > tolerance for x, y in zip(one, other, strict=True)):
            return False
    return True


def places_of(along: np.ndarray) -> np.ndarray:
    """The number of each image's place along the normal.

    Parameters
    ----------
    along
        (images,) mm.

    Returns
    -------
    ndarray
        (images,) int, from 0 on: images nearer to each other than those of different places share one.
    """
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    tolerance = next((t for t in _PLACE_TOLERANCES_MM if _divides(gaps, t)), _PLACE_TOLERANCES_MM[0])
    places = np.empty(len(along), int)
    places[order] = np.concatenate([[0], np.cumsum(gaps > tolerance)])
    return places


def _divides(gaps: np.ndarray, tolerance: float) -> bool:
    """Whether gaps within and between places differ plainly at a tolerance."""
    within, between = gaps[gaps <= tolerance], gaps[gaps > tolerance]
    return not between.size or between.min() > 3 * max(within.max(initial=0.0), tolerance / 2)


def place(slices: Sequence[Slice]) -> tuple[list[Slice], np.ndarray | None, str]:
    """The grid of the slices of one volume.

    Parameters
    ----------
    slices
        With positions and usable orientations, in any order.

    Returns
    -------
    slices : list of Slice
        Sorted along their normal.
    affine : ndarray or None
        4×4, IJK → RAS mm.
    problem : str
        What is wrong with them, to follow their name in a sentence; "" where there is an affine.
    """
    head = slices[0]
    normal, spacing = normal_of(head), head.pixel_spacing
    positions = np.array([item.position for item in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[index] for index in order], positions[order]
    if spacing is None or min(spacing) <= 0:
        return slices, None, "tells no usable pixel spacing in its headers; export the series again."
    if len(positions) < MIN_SLICES:
        return slices, None, f"has only {counted(len(positions), 'slice')}; choose a 3-D series."
    gaps = np.diff(positions @ normal)
    if problem := _two_stacks(gaps, normal) or _uneven(slices, gaps):
        return slices, None, problem
    steps = np.arange(len(positions)) / (len(positions) - 1)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    on_line = positions[0] + steps[:, None] * (positions[-1] - positions[0])
    sideways = step - normal * (step @ normal)
    beside = positions - on_line
    beside = np.linalg.norm(beside - np.outer(beside @ normal, normal), axis=1)
    if max(np.linalg.norm(sideways) * (len(positions) - 1), beside.max()) > _ASIDE * min(spacing):
        return (
            slices,
            None,
            "has slices shifted sideways (a tilted or sheared stack); resample it to a regular grid first.",
        )
    row = np.array(slices[0].orientation[:3])
    row = row / np.linalg.norm(row)
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[1]
    lps[:3, 1] = np.cross(normal, row) * spacing[0]
    lps[:3, 2] = normal * (step @ normal)
    lps[:3, 3] = positions[0]
    return slices, LPS_FROM_RAS @ lps, ""


def _two_stacks(gaps: np.ndarray, normal: np.ndarray) -> str:
    """Whether sagittal slices make two stacks, one for each breast, or ""."""
    widest, usual = int(gaps.argmax()), float(np.median(gaps))
    counts = widest + 1, len(gaps) - widest
    rest = np.delete(gaps, widest)
    regular = np.abs(rest - usual).max(initial=0.0) <= max(_UNEVEN * usual, _LEAST_UNEVEN_MM)
    is_gap = gaps[widest] >= max(3 * usual, _BETWEEN_BREASTS_MM)
    if abs(normal[0]) < _SAGITTAL or not is_gap or min(counts) < MIN_SLICES or not regular:
        return ""
    return (
        f"holds two sagittal stacks, of {counts[0]} and {counts[1]} slices, {gaps[widest]:.0f} mm apart "
        "(one for each breast, it seems); export each as a series of its own and choose one."
    )


def _uneven(slices: Sequence[Slice], gaps: np.ndarray) -> str:
    """What is wrong with the distances (mm) between slices, or ""."""
    usual = float(np.median(gaps))
    if np.abs(gaps - usual).max() <= max(_UNEVEN * usual, _LEAST_UNEVEN_MM):
        return ""
    worst = int(np.abs(gaps - usual).argmax())
    missing = round(float(gaps[worst]) / usual) - 1
    if missing >= 1 and abs(gaps[worst] / usual - missing - 1) < 0.2:
        before, after = slices[worst].path.name, slices[worst + 1].path.name
        what = f"misses {counted(missing, 'slice')} between {before} and {after}"
    else:
        what = f"has uneven slice distances ({gaps.min():.2f} to {gaps.max():.2f} mm)"
    return f"{what}; copy or export the whole series again."


def lies_on(slices: Sequence[Slice], reference: Sequence[Slice]) -> bool:
    """Whether slices, few or many, are images of the lines and in the range of a volume's voxels.

    Parameters
    ----------
    slices
        Any of which may lack its place.
    reference
        The slices of a volume, sorted along their normal.

    Returns
    -------
    bool
        True where most of the slices lie between the first and last of the reference, or these between them,
        with pixels upon pixels.
    """
    head, normal = reference[0], normal_of(reference[0])
    first, last = (float(np.dot(item.position, normal)) for item in (head, reference[-1]))
    pixel = min(head.pixel_spacing)
    along = []
    for item in slices:
        if (item.rows, item.columns) != (head.rows, head.columns) or item.position is None:
            continue
        if not parallel(item, head):
            continue
        offset = np.subtract(item.position, head.position)
        if np.linalg.norm(offset - normal * (offset @ normal)) <= _ASIDE * pixel:
            along.append(float(np.dot(item.position, normal)))
    if not along or len(along) < 0.5 * len(slices):
        return False
    slack = (last - first) / max(1, len(reference) - 1)
    inside = sum(first - slack <= value <= last + slack for value in along)
    covers = min(along) <= first + slack and max(along) >= last - slack
    return inside >= 0.5 * len(along) or covers
