"""The current exam registered to a prior one: each breast as a rigid body, by the phases before contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine, spacing_of
from ..core.resampling import resample
from ..core.windows import bounding_box
from ..preprocessing.registration import displacement_field
from ..results.analysis import Analysis
from ..results.pictures import sample
from .earlier import shows_both
from .likeness import likeness, residual_mm
from .names import ANCHORS, RIGID
from .start import Start, axes_of

_GRID_MM = 2.2  # of the coarse grid
_MARGIN_MM = 10.0  # about the breast mask, skin and air before it
# voxels of that grid, and sigma by which it is smoothed: from what shows far off to what is exact
_ROUNDS = ((2, 6.0), (2, 3.0), (1, 0.0))
_MIDLINE_MM = 8.0  # over which one breast's movement passes into the other's
_BACK_STEPS = 20  # of the iteration that takes a point back
_CLOSE_MM = 0.01  # at which it ends
_CHECKED = 29  # every so many voxels of the breasts are looked up in the prior exam
# share of a breast that lies on the same breast (lab book, entry 25)
_LEAST_ON_SAME = 0.5
_LEAST_SIDE = 0.05  # share of the breast masks' voxels that makes a side a breast


@dataclass(frozen=True)
class ExamRegistration:
    """Where points of the current exam lie in the prior one.

    Parameters
    ----------
    transforms : ndarray, shape (2, 4, 4)
        RAS mm of the current exam → RAS mm of the prior one, rigid, for the left and the right breast.
    middle, right : ndarray, shape (3,)
        A point between the breasts, RAS mm of the current exam, and the unit vector towards the right.
    by_nipples : bool
        Whether the start was nipple on nipple.
    registered : bool
        Whether a breast was moved from where the start laid it.
    similarity : tuple of float, or None
        Correlation of edges inside the breasts by the start alone, and as registered (−1 to 1); None where
        there is no phase before contrast to compare.
    residual_mm : float or None
        By how much tissue of the breasts still lies off, as ``likeness.residual_mm`` measures it.
    """

    transforms: np.ndarray
    middle: np.ndarray
    right: np.ndarray
    by_nipples: bool
    registered: bool = False
    similarity: tuple[float, float] | None = None
    residual_mm: float | None = None

    @property
    def mode(self) -> str:
        """``RIGID``, or ``ANCHORS`` where the start alone is used."""
        return RIGID if self.registered else ANCHORS

    def to_prior(self, ras_mm: Sequence[float]) -> np.ndarray:
        """Points of the current exam, shape (…, 3), RAS mm, in the prior one."""
        points = np.asarray(ras_mm, dtype=float)
        beyond_mm = (points - self.middle) @ self.right
        share = (1 / (1 + np.exp(-np.clip(beyond_mm / _MIDLINE_MM, -30, 30))))[..., None]
        left, right = (apply_affine(transform, points) for transform in self.transforms)
        return left * (1 - share) + right * share

    def to_current(self, ras_mm: Sequence[float]) -> np.ndarray:
        """A point of the prior exam, shape (3,), RAS mm, in the current one; undoes :meth:`to_prior`."""
        wanted = np.asarray(ras_mm, dtype=float)
        back = np.linalg.inv(self.transforms.mean(axis=0))
        point = apply_affine(back, wanted)
        for _ in range(_BACK_STEPS):
            missing = wanted - self.to_prior(point)
            point = point + back[:3, :3] @ missing
            if np.linalg.norm(missing) < _CLOSE_MM:
                break
        return point

    def as_json(self) -> dict:
        """As a comparison holds it."""
        before, after = self.similarity or (None, None)
        return {
            "mode": self.mode,
            "start": "nipples" if self.by_nipples else "breast masks",
            "similarity_before": None if before is None else round(before, 3),
            "similarity_after": None if after is None else round(after, 3),
            "residual_mm": None if self.residual_mm is None else round(self.residual_mm, 1),
        }


def register_exams(current: Analysis, prior: Analysis) -> ExamRegistration:
    """Register the current exam to the prior one.

    From a start on, ``preprocessing.registration.displacement_field`` moves each breast as a rigid body, in
    rounds from smooth to sharp: one round ends after few steps, and sees only what lies near. What does not
    make a breast's edges more alike is not used. Where this does not lay each breast on the same breast, the
    other starts are tried, and the registration counts that makes the breasts most alike.

    Parameters
    ----------
    current, prior : Analysis

    Returns
    -------
    ExamRegistration

    Raises
    ------
    InputError
        They show one breast each, and not the same; or each breast does not come to lie on the same breast.
    """
    tried: list[ExamRegistration] = []
    for start in Start.all_of(current, prior):
        tried.append(_registered(start, current, prior))
        best = max(tried, key=lambda registration: (registration.similarity or (0.0, 0.0))[1])
        # one that is less alike than another cannot be the right one
        if best is tried[-1] and _lie_on_same(best, current, prior):
            return best
    raise InputError(
        "The breasts of the two exams could not be laid on each other, so places cannot be compared; "
        "check that both exams are of the same woman, or read them one by one."
    )


def _registered(start: Start, current: Analysis, prior: Analysis) -> ExamRegistration:
    inside, affine = _about_breasts(current)
    axes, half = axes_of(current), inside.shape[0] // 2
    middle = apply_affine(affine, [half, *(n / 2 for n in inside.shape[1:])])
    by_start = ExamRegistration(start.transforms, middle, axes[0], start.by_nipples)
    if current.exam.pre is None or prior.exam.pre is None:
        return by_start
    pair = _Pair.of(current.exam.pre.volume, prior.exam.pre.volume, inside, affine)
    # each breast as a rigid body
    transforms, moved = start.transforms, False
    for step, sigma_mm in _ROUNDS:
        coarse = pair.coarse(step, sigma_mm)
        try:
            better = coarse.moved(transforms, axes)
        except RuntimeError:
            continue
        moved = moved or better is not transforms
        transforms = better
    # how well they lie on each other
    done = replace(by_start, transforms=transforms, registered=moved)
    images = [sample(pair.before, one.to_prior(pair.points)) for one in (by_start, done)]
    similarity = tuple(likeness(pair.fixed, image, inside, pair.size_mm) for image in images)
    return replace(
        done, similarity=similarity, residual_mm=residual_mm(pair.fixed, images[1], inside, pair.size_mm)
    )


def _lie_on_same(registration: ExamRegistration, current: Analysis, prior: Analysis) -> bool:
    """Whether most of each breast lies on the same one there, as far as the prior exam shows its place."""
    now, then = current.model_input, prior.model_input
    index = np.argwhere(now.inside)[::_CHECKED]
    laid = registration.to_prior(apply_affine(now.affine, index))
    seen = inside_of(prior.exam.grid, laid)
    # the prior exam's breast mask there
    there = np.rint(apply_affine(np.linalg.inv(then.affine), laid)).astype(int)
    limits = np.array(then.inside.shape) - 1
    on_breast = ((there >= 0) & (there <= limits)).all(axis=1) & then.inside[
        tuple(np.clip(there, 0, limits).T)
    ]
    sides = [np.ones(len(index), bool)]
    if shows_both(current.exam):
        right = index[:, 0] > now.middle
        on_breast &= (there[:, 0] > then.middle) == right
        # after a mastectomy a side holds a few stray voxels
        right_then = np.argwhere(then.inside)[:, 0] > then.middle
        both = [(right, right_then), (~right, ~right_then)]
        sides = [one for one, other in both if min(one.mean(), other.mean()) >= _LEAST_SIDE]
    shares = [on_breast[side & seen].mean() if (side & seen).any() else 0.0 for side in sides]
    return bool(shares) and min(shares) >= _LEAST_ON_SAME


@dataclass(frozen=True)
class _Pair:
    """Two phases before contrast: the current one on a grid, [R, A, S], and the prior one as it is."""

    fixed: np.ndarray
    before: Volume
    inside: np.ndarray
    points: np.ndarray  # RAS mm of the grid in the current exam
    size_mm: tuple[float, ...]
    sigma_mm: float = 0.0  # by which ``fixed`` was smoothed

    @classmethod
    def of(cls, now: Volume, before: Volume, inside: np.ndarray, affine: np.ndarray) -> _Pair:
        points = apply_affine(affine, np.stack(np.indices(inside.shape), axis=-1))
        size_mm = tuple(float(step) for step in spacing_of(affine))
        return cls(resample(now, inside.shape, affine).array, before, inside, points, size_mm)

    def coarse(self, step: int, sigma_mm: float) -> _Pair:
        """Every so many voxels, smoothed."""
        thin = (slice(None, None, step),) * 3
        return replace(
            self,
            fixed=self._smoothed(self.fixed, sigma_mm)[thin],
            inside=self.inside[thin],
            points=self.points[thin],
            size_mm=tuple(step * size for size in self.size_mm),
            sigma_mm=sigma_mm,
        )

    def moved(self, transforms: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """Transforms of both breasts after a further registration; the same object where it is no better."""
        moving = self._laid(transforms)
        field = displacement_field(self.fixed, moving, self.size_mm, deformable=False)
        outer = _outer(len(self.fixed))
        further = np.stack(
            [t @ _rigid_move(self.points[o], field[:, o], axes) for t, o in zip(transforms, outer)]
        )
        better = np.array(self._alike(self._laid(further))) > self._alike(moving)
        return np.where(better[:, None, None], further, transforms) if better.any() else transforms

    @property
    def _halves(self) -> tuple[slice, slice]:
        middle = len(self.fixed) // 2
        return slice(0, middle), slice(middle, None)

    def _laid(self, transforms: np.ndarray) -> np.ndarray:
        """The prior phase on the grid, each half moved by its transform."""
        parts = [apply_affine(one, self.points[half]) for one, half in zip(transforms, self._halves)]
        return self._smoothed(sample(self.before, np.concatenate(parts)), self.sigma_mm)

    def _alike(self, moving: np.ndarray) -> list[float]:
        return [likeness(self.fixed[h], moving[h], self.inside[h], self.size_mm) for h in self._halves]

    def _smoothed(self, array: np.ndarray, sigma_mm: float) -> np.ndarray:
        sigma = [sigma_mm / step for step in self.size_mm]
        return ndimage.gaussian_filter(array, sigma) if sigma_mm else array


def _outer(count: int) -> tuple[slice, slice]:
    """Indices of the outer half of either breast, where the other one's movement does not count."""
    quarter = max(1, count // 4)
    return slice(0, quarter), slice(count - quarter, count)


def _rigid_move(points: np.ndarray, field: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The rigid body's movement, shape (4, 4), RAS, that displaces points as a field does (Kabsch 1976)."""
    thin = (slice(None, None, 3),) * 3
    before = points[thin].reshape(-1, 3)
    after = before + field[(slice(None), *thin)].reshape(3, -1).T @ axes
    middles = before.mean(axis=0), after.mean(axis=0)
    u, _, v = np.linalg.svd((before - middles[0]).T @ (after - middles[1]))
    u[:, 2] *= np.sign(np.linalg.det(u @ v))
    move = np.eye(4)
    move[:3, :3] = (u @ v).T
    move[:3, 3] = middles[1] - move[:3, :3] @ middles[0]
    return move


def _about_breasts(current: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """The breast mask on a coarse grid about it, the sternum in its middle, and its affine to RAS mm."""
    model_input = current.model_input
    step = max(1, round(_GRID_MM / float(spacing_of(model_input.affine)[0])))
    inside, affine = model_input.inside[::step, ::step, ::step], np.array(model_input.affine, dtype=float)
    affine[:3, :3] *= step
    box = list(bounding_box(inside, margin=int(np.ceil(_MARGIN_MM / spacing_of(affine)[0]))))
    if shows_both(current.exam):
        # the registration parts the breasts at the middle of its grid
        middle, count = round(model_input.middle / step), inside.shape[0]
        reach = min(max(middle - box[0].start, box[0].stop - middle), middle, count - middle)
        box[0] = slice(middle - reach, middle + reach) if reach > 0 else box[0]
    affine[:3, 3] = apply_affine(affine, [float(part.start) for part in box])
    return inside[tuple(box)], affine


def inside_of(volume: Volume, ras_mm: Sequence[float]) -> np.ndarray:
    """Whether points, shape (…, 3), RAS mm, lie in a volume's field of view; shape (…), bool."""
    index = apply_affine(np.linalg.inv(volume.affine), np.asarray(ras_mm, dtype=float))
    return ((index >= -0.5) & (index <= np.array(volume.shape) - 0.5)).all(axis=-1)
