"""The current exam registered to a prior one: each breast as a rigid body, by the phases before contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, apply_affine, spacing_of
from ..core.resampling import resample
from ..core.windows import bounding_box
from ..preprocessing.registration import displacement_field, edges
from ..results.analysis import Analysis
from ..results.pictures import sample
from .names import ANCHORS, RIGID
from .start import Start, shows_both

_GRID_MM = 2.2  # of the coarse grid
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
        index = apply_affine(np.linalg.inv(self.affine), points.reshape(-1, 3)).T
        moved = [ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in self.field]
        return self.start(points + (np.stack(moved, axis=-1) @ self.start.axes).reshape(points.shape))

    def to_current(self, ras_mm: Sequence[float]) -> np.ndarray:
        """A point of the prior exam, shape (3,), RAS mm, in the current one; undoes :meth:`to_prior`."""
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

    From the anchors on, ``preprocessing.registration.displacement_field`` moves each breast as a rigid body.
    What does not make the edges more alike is not used.

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
    inside, affine = _about_breasts(current)
    if current.exam.pre is None or prior.exam.pre is None:
        return ExamRegistration(start, affine, None, None)
    # both phases before contrast on one grid, the prior one as it lies by the start
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


def _about_breasts(current: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """The breast mask on a coarse grid about it, the sternum in its middle, and its affine to RAS mm."""
    model_input = current.model_input
    step = max(1, round(_GRID_MM / float(spacing_of(model_input.affine)[0])))
    inside, affine = model_input.inside[::step, ::step, ::step], np.array(model_input.affine, dtype=float)
    affine[:3, :3] *= step
    box = list(bounding_box(inside, margin=int(np.ceil(_MARGIN_MM / spacing_of(affine)[0]))))
    if shows_both(current):
        # the registration parts the breasts at the middle of its grid
        middle, count = round(model_input.middle / step), inside.shape[0]
        reach = min(max(middle - box[0].start, box[0].stop - middle), middle, count - middle)
        box[0] = slice(middle - reach, middle + reach) if reach > 0 else box[0]
    affine[:3, 3] = apply_affine(affine, [float(part.start) for part in box])
    return inside[tuple(box)], affine


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
