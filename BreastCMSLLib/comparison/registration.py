"""The current exam registered to a prior one: each breast as a rigid body, between the phases before contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, apply_affine, spacing_of
from ..core.resampling import resample
from ..preprocessing.registration import displacement_field, edges
from ..results.analysis import Analysis
from ..results.pictures import sample
from .start import Start, shows_both

RIGID, ANCHORS = "rigid", "anchors"
_MARGIN_MM = 10.0  # about the breast mask, skin and air before it
_BACK_STEPS = 20  # of the iteration that takes a point back
_CLOSE_MM = 0.01  # at which it ends


@dataclass(frozen=True)
class ExamRegistration:
    """Where points of the current exam lie in the prior one.

    Parameters
    ----------
    start : Start
    affine : ndarray, shape (4, 4)
        Index of ``field`` → RAS mm of the current exam.
    field : ndarray, shape (3, LR, AP, SI), or None
        mm along the current exam's own right, front and head, by which points are moved ahead of ``start``;
        None where the start alone is used.
    similarity : tuple of float, or None
        Correlation of edges inside the breasts by the start alone, and as registered (−1 to 1); None where
        there is no phase before contrast to compare.
    """

    start: Start
    affine: np.ndarray
    field: np.ndarray | None
    similarity: tuple[float, float] | None

    @property
    def mode(self) -> str:
        """``RIGID``, or ``ANCHORS`` where the start alone is used."""
        return ANCHORS if self.field is None else RIGID

    def to_prior(self, ras_mm: Sequence[float]) -> np.ndarray:
        """Points of the current exam, shape (…, 3), RAS mm, in the prior one."""
        points = np.asarray(ras_mm, dtype=float)
        if self.field is None:
            return self.start(points)
        index = np.moveaxis(apply_affine(np.linalg.inv(self.affine), points), -1, 0)
        moved = [ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in self.field]
        return self.start(points + np.stack(moved, axis=-1) @ self.start.axes)

    def to_current(self, ras_mm: Sequence[float]) -> np.ndarray:
        """A point of the prior exam, shape (3,), RAS mm, in the current one: a fixed point of ``to_prior``."""
        wanted = np.asarray(ras_mm, dtype=float)
        back = self.start.rotation.T
        point = self.start.anchors.mean(axis=0) + back @ (wanted - self.start.prior_anchors.mean(axis=0))
        for _ in range(_BACK_STEPS):
            missing = wanted - self.to_prior(point)
            point = point + back @ missing
            if np.linalg.norm(missing) < _CLOSE_MM:
                break
        return point

    def as_json(self) -> dict:
        """As a comparison holds it."""
        before, after = self.similarity or (None, None)
        return {
            "mode": self.mode,
            "start": "nipples" if self.start.by_nipples else "breast masks",
            "similarity_before": None if before is None else round(before, 3),
            "similarity_after": None if after is None else round(after, 3),
        }


def register_exams(current: Analysis, prior: Analysis) -> ExamRegistration:
    """Register the current exam to the prior one.

    From the anchors on, ``preprocessing.registration.displacement_field`` moves each breast as a rigid body, on
    the grid of the model. What does not make the edges more alike is not used.

    Parameters
    ----------
    current, prior : Analysis

    Returns
    -------
    ExamRegistration

    Raises
    ------
    InputError
        One exam shows one breast, the other both.
    """
    start = Start.of(current, prior)
    model_input = current.model_input
    box = _about_breasts(model_input.inside, model_input.affine, model_input.middle, shows_both(current))
    affine = np.array(model_input.affine, dtype=np.float64)
    affine[:3, 3] = apply_affine(affine, [float(part.start) for part in box])
    if current.exam.pre is None or prior.exam.pre is None:
        return ExamRegistration(start, affine, None, None)
    # both phases before contrast on one grid, the prior one as it lies by the start
    inside = model_input.inside[box]
    points = apply_affine(affine, np.stack(np.indices(inside.shape), axis=-1))
    fixed = resample(current.exam.pre.volume, inside.shape, affine).array
    before = prior.exam.pre.volume
    moving = sample(before, start(points))
    size_mm = tuple(float(step) for step in spacing_of(affine))
    by_start = _likeness(fixed, moving, inside, size_mm)
    # each breast as a rigid body
    try:
        field = displacement_field(fixed, moving, size_mm, deformable=False)
    except RuntimeError:
        return ExamRegistration(start, affine, None, (by_start, by_start))
    registered = ExamRegistration(start, affine, field, None)
    likeness = _likeness(fixed, sample(before, registered.to_prior(points)), inside, size_mm)
    if likeness <= by_start:
        return ExamRegistration(start, affine, None, (by_start, by_start))
    return ExamRegistration(start, affine, field, (by_start, likeness))


def _about_breasts(
    inside: np.ndarray, affine: np.ndarray, middle: float, both: bool
) -> tuple[slice, slice, slice]:
    """The box that is registered: the breasts and a margin, with the sternum in its middle."""
    margin = np.ceil(_MARGIN_MM / spacing_of(affine)).astype(int)
    index = np.argwhere(inside)
    low = np.maximum(index.min(axis=0) - margin, 0)
    high = np.minimum(index.max(axis=0) + 1 + margin, inside.shape)
    box = [slice(int(a), int(b)) for a, b in zip(low, high)]
    if both:
        # the registration parts the breasts at the middle of its grid
        centre = int(round(middle))
        reach = min(max(centre - box[0].start, box[0].stop - centre), centre, inside.shape[0] - centre)
        if 2 * reach >= (box[0].stop - box[0].start) / 2:
            box[0] = slice(centre - reach, centre + reach)
    return tuple(box)


def _likeness(fixed: np.ndarray, moving: np.ndarray, inside: np.ndarray, size_mm: Sequence[float]) -> float:
    """Correlation of edges inside the breasts; −1 where one of them has none."""
    near = ndimage.binary_dilation(inside, iterations=2)  # the skin, which tells most
    one, other = (edges(part, size_mm)[near] for part in (fixed, moving))
    if not (one.std() > 0 and other.std() > 0):
        return -1.0
    return float(np.corrcoef(one, other)[0, 1])


def inside_of(volume: Volume, ras_mm: Sequence[float]) -> bool:
    """Whether a point, RAS mm, lies in a volume's field of view."""
    index = apply_affine(np.linalg.inv(volume.affine), np.asarray(ras_mm, dtype=float))
    return bool(((index >= -0.5) & (index <= np.array(volume.shape) - 0.5)).all())
