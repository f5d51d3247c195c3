"""From an exam to what the network reads (Luo et al. 2019, 3.1): mask, one intensity scale, six phases.

Slicer, the command line and training all come through :func:`preprocess`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, closest_canonical_axes
from ..core.ranges import check_ranges, ranged
from ..core.resampling import resample
from ..core.serialisation import from_json
from ..exam import WHOLE_T1, Exam, breasts_covered, t1_share_needed
from .breast_mask import BreastMask, MaskSettings, breast_mask
from .landmarks import Landmarks

PLAUSIBLE_ML = (150, 8000)  # both breasts with the tissue in front of the chest wall
LARGEST = (
    1.5,
    1.5,
    2.25,
)  # the grid's bound, times the contract's size: 561 × 363 × 317 mm of the shipped model
_GROWTH = (
    4  # voxels by which the grid grows: the candidates' grid, up to that many voxels a step, divides them
)
_MOST_VOXELS = 1 << 27  # more than any exam has
_SLAB = 4  # indices i worked on at a time: what belongs to them stays in the cache

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class InputContract:
    """What a model expects; stored in its bundle.

    Parameters
    ----------
    size : tuple of int
        Voxels along LR × AP × SI that the network reads at once; a larger body is read in several windows.
    spacing_mm : float
        Of the isotropic voxels.
    phases : int
        Subtractions, equally spaced in time from the first to the last post-contrast acquisition.
    scale_percentile : float
        Of the mean enhancement inside the mask; it becomes 1.
    clip : tuple of float
        Limits after scaling.
    mask : MaskSettings

    Raises
    ------
    ValueError
        A number is one that no model of ours has.
    """

    size: tuple[int, int, int] = ranged((340, 220, 128), 8, 1024, count=(3, 3))
    spacing_mm: float = ranged(1.1, 0.2, 20)
    phases: int = ranged(6, 1, 24)
    scale_percentile: float = ranged(99.0, 1, 100)
    clip: tuple[float, float] = ranged((-1.0, 10.0), -1e6, 1e6, count=(2, 2))
    mask: MaskSettings = field(default_factory=MaskSettings)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.size[0] * self.size[1] * self.size[2] > _MOST_VOXELS:
            raise ValueError("size is larger than any exam")
        if self.clip[0] >= self.clip[1]:
            raise ValueError("clip is empty")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> InputContract:
        """The contract that ``dataclasses.asdict`` made JSON of.

        Parameters
        ----------
        values : mapping
            The settings of the mask have to be complete, the others take their defaults.

        Returns
        -------
        InputContract

        Raises
        ------
        TypeError, ValueError
            A setting is unknown, missing, or out of range.
        """
        values = dict(values)
        values["mask"] = from_json(MaskSettings, values.get("mask", {}), complete=True)
        return from_json(cls, values)


@dataclass(frozen=True)
class ModelInput:
    """A preprocessed exam; index i grows towards R, j towards A, k towards S.

    Parameters
    ----------
    array : ndarray, shape (phases, LR, AP, SI), float32
        Enhancement, fading to zero at the mask's edge. At least of the contract's size.
    affine : ndarray, shape (4, 4)
        Index → RAS mm.
    inside : ndarray, shape (LR, AP, SI), bool
        The breast mask.
    scale : float
        Signal units that became 1.
    middle : float
        Index i of the sternum, to tell left from right.
    mask_source : {"t1", "pre", "subtractions"}
        What the mask was made from.
    mask_volume_ml : float
        Of the whole mask.
    warnings : tuple of str
        Sentences for the user.
    duration_min : float or None
        As :func:`exam_duration_min` returns it.
    landmarks : Landmarks or None
        Of the breast mask.
    share_read : float
        Of the breast mask that lies on the grid: 1 unless the breasts are larger than ``LARGEST``.
    """

    array: np.ndarray
    affine: np.ndarray
    inside: np.ndarray
    scale: float
    middle: float
    mask_source: str
    mask_volume_ml: float
    warnings: tuple[str, ...]
    duration_min: float | None = None
    landmarks: Landmarks | None = None
    share_read: float = 1.0


def exam_duration_min(exam: Exam) -> float | None:
    """Minutes from the first phase after contrast to the last, over which the model's phases are spread.

    How far a lesion has washed out says little without it. What lies between the phase before contrast and
    the first one after it is left out: it may hold any other sequence, and the injection at any time.

    Returns
    -------
    float or None
        None where the times are not known.
    """
    times = exam.times_s
    return None if times is None or len(times) < 2 else float(times[-1] - times[0]) / 60.0


def preprocess(
    exam: Exam,
    contract: InputContract | None = None,
    progress: Progress | None = None,
    over: tuple[tuple[int, int, int], np.ndarray] | None = None,
) -> ModelInput:
    """Mask, resample, subtract, scale and stack an exam.

    Parameters
    ----------
    exam : Exam
    contract : InputContract, optional
        None takes the defaults.
    progress : callable, optional
        Called with a stage, "mask" or "resample", and the fraction of it that is done.
    over : tuple, optional
        Size and affine of the grid whose voxels are used, in place of :func:`canonical_grid`: the same exam
        on a moved or turned grid, to learn from or to measure what that changes.

    Returns
    -------
    ModelInput

    Raises
    ------
    InputError
        No body outline, no breast tissue or no enhancement was found.
    """
    contract = contract or InputContract()
    report = progress or (lambda stage, fraction: None)
    size, affine = over or canonical_grid(exam.grid, contract.spacing_mm)
    report("mask", 0.0)
    image, source, warnings = _mask_image(exam, size, affine)
    report("mask", 0.3)
    mask = breast_mask(image, contract.mask, tissue=source != "subtractions")
    start, size, grid = model_grid(mask, contract)
    weights = paste(mask.weights.array, start, size)
    inside = weights > 0.5
    share_read = float(inside.sum()) / int(mask.inside.sum())
    warnings += [
        *_mask_warnings(mask.volume_ml, share_read, contract),
        *_phase_warnings(exam, contract.phases),
    ]
    report("resample", 0.0)
    stack, means = _subtractions(exam, contract, grid, inside, report)
    scale = float(np.percentile(means, contract.scale_percentile)) if means.size else 0.0
    if not scale > 0:
        raise InputError(
            "No enhancement was found inside the breasts; check the order of the phases "
            "and that contrast was given."
        )
    _scale(stack, 1.0 / scale, contract.clip, weights)
    middle = mask.middle - float(start[0])
    return ModelInput(
        stack,
        grid,
        inside,
        scale,
        middle,
        source,
        mask.volume_ml,
        tuple(warnings),
        exam_duration_min(exam),
        mask.landmarks,
        share_read,
    )


# --- grids ---


def canonical_grid(volume: Volume, spacing_mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """The isotropic grid over a volume's field of view, its axes ordered and flipped to R, A, S.

    The exam's own obliquity is kept: only axes are exchanged, so the voxels are not mixed more than needed.

    Returns
    -------
    size : tuple of int
    affine : ndarray, shape (4, 4)
        Index → RAS mm.
    """
    axes, flips = closest_canonical_axes(volume.affine)
    affine = np.eye(4)
    origin = volume.affine[:3, 3].copy()
    size = []
    for row, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        step = volume.affine[:3, axis]
        length = float(np.linalg.norm(step)) * (volume.shape[axis] - 1)
        if flip:
            origin = origin + step * (volume.shape[axis] - 1)
            step = -step
        affine[:3, row] = step / np.linalg.norm(step) * spacing_mm
        size.append(int(np.floor(length / spacing_mm + 1e-6)) + 1)
    affine[:3, 3] = origin
    return tuple(size), affine


def model_grid(
    mask: BreastMask, contract: InputContract
) -> tuple[np.ndarray, tuple[int, int, int], np.ndarray]:
    """The model's grid within the mask's: the contract's size, larger where the breasts are.

    Along every axis it is centred on the mask and holds all of it. A mask larger than ``LARGEST`` is cut: at
    its back, and else at both ends alike.

    Returns
    -------
    start : ndarray, shape (3,), int
        Index of the mask's grid at which the model's begins; may be negative.
    size : tuple of int
        Voxels of the model's grid.
    affine : ndarray, shape (4, 4)
        Of the model's grid, index → RAS mm.
    """
    inside = mask.inside
    start, size = np.zeros(3, dtype=int), []
    for axis, usual in enumerate(contract.size):
        profile = inside.sum(axis=tuple(a for a in range(3) if a != axis))
        first, last = np.flatnonzero(profile)[[0, -1]]
        needed = usual + _GROWTH * max(0, -(-(last - first + 1 - usual) // _GROWTH))
        count = min(int(needed), int(LARGEST[axis] * usual))
        # a few voxels at the end of a mask do not move the centre, but all of them are held
        low, high = np.flatnonzero(profile > 0.01 * profile.max())[[0, -1]]
        begin = int(round((low + high) / 2 - (count - 1) / 2))
        if needed <= count:
            begin = int(np.clip(begin, last - count + 1, first))
        elif axis == 1:
            begin = int(last) + 1 - count
        start[axis] = begin
        size.append(count)
    affine = mask.weights.affine.copy()
    affine[:3, 3] = (affine @ [*start, 1.0])[:3]
    return start, tuple(size), affine


def paste(source: np.ndarray, start: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """The window of ``size`` that begins at index ``start`` of ``source``; zero where it reaches outside."""
    out = np.zeros(size, dtype=source.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(np.asarray(start) + size, source.shape)
    if (high > low).all():
        into = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[into] = source[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


# --- the mask's image ---


def _mask_image(exam: Exam, size: tuple[int, int, int], affine: np.ndarray) -> tuple[Volume, str, list[str]]:
    """The volume whose edges show the breasts, on the canonical grid, what it is, and warnings."""
    warnings: list[str] = []
    if exam.t1 is not None:
        image, remark = _t1_image(exam, size, affine)
        if image is not None:
            return image, "t1", [f"{remark}; what it does not show was left out."] if remark else []
        instead = "pre-contrast phase" if exam.pre is not None else "subtractions"
        warnings.append(f"{remark}, so the breast mask was made from the {instead} instead.")
    if exam.pre is not None:
        if exam.t1 is None:
            warnings.append(
                "No non-fat-saturated T1 was given: the breast mask was made from the pre-contrast phase."
            )
        return resample(exam.pre.volume, size, affine), "pre", warnings
    if exam.t1 is None:
        warnings.append(
            "Neither a T1 nor a pre-contrast phase was given: the breast mask was made from the subtractions."
        )
    total = np.zeros(size, dtype=np.float32)
    for phase, offset in zip(exam.post, exam.offsets, strict=True):
        total += resample(phase.volume, size, affine, outside=offset).array - np.float32(offset)
    return Volume(np.maximum(total, 0), affine), "subtractions", warnings


def _t1_image(exam: Exam, size: tuple[int, int, int], affine: np.ndarray) -> tuple[Volume | None, str]:
    """The T1 on the canonical grid, None where it shows too little; what it shows, "" where that is all."""
    share = breasts_covered(size, affine, exam.t1.volume.shape, exam.t1.volume.affine)
    remark = f"{exam.t1.name} shows {100 * share:.0f} % of where the breasts lie in the dynamic volumes"
    if share < t1_share_needed(exam.pre is None):
        return None, remark
    image = resample(exam.t1.volume, size, affine)
    if not float((image.array > 0).mean()) > 0.05:
        return None, f"{exam.t1.name} shows no breasts where the dynamic volumes do"
    return image, remark if share < WHOLE_T1 else ""


def _mask_warnings(volume_ml: float, share_read: float, contract: InputContract) -> list[str]:
    warnings = []
    low, high = PLAUSIBLE_ML
    if not low <= volume_ml <= high:
        warnings.append(
            f"The breast region found measures {volume_ml:.0f} ml, outside {low}–{high} ml: "
            "look at the overlay before trusting the result."
        )
    if share_read < 1:
        limit = " × ".join(f"{n * most * contract.spacing_mm:.0f}" for n, most in zip(contract.size, LARGEST))
        warnings.append(
            f"{max(100 * (1 - share_read), 0.1):.1f} % of the breast region was not read: it is larger than "
            f"the {limit} mm (across × deep × head to foot) that the model reads at most."
        )
    return warnings


# --- phases ---


def _phase_warnings(exam: Exam, phases: int) -> list[str]:
    warnings = []
    if len(exam.post) != phases:
        warnings.append(
            f"{len(exam.post)} post-contrast phases were interpolated in time to the model's {phases}."
        )
    if exam.times_s is None:
        warnings.append(
            "The times of the phases are unknown: equally spaced ones of an ordinary exam were assumed, "
            "which makes the score less sure."
        )
    return warnings


def phase_weights(times_s: np.ndarray | None, count: int, wanted: int) -> np.ndarray:
    """Linear interpolation in time as a matrix, to phases equally spaced from the first time to the last.

    Parameters
    ----------
    times_s : ndarray, shape (count,), or None
        Acquisition times in seconds, increasing; None or unusable times mean equal spacing.
    count, wanted : int
        Phases that there are, and that there shall be.

    Returns
    -------
    ndarray, shape (wanted, count)
        Rows sum to 1.
    """
    times = np.arange(count, dtype=np.float64) if times_s is None else np.asarray(times_s, dtype=np.float64)
    if count > 1 and not (np.diff(times) > 0).all():
        times = np.arange(count, dtype=np.float64)
    targets = np.linspace(times[0], times[-1], wanted)
    return np.array([np.interp(targets, times, row) for row in np.eye(count)]).T.reshape(wanted, count)


def _subtractions(
    exam: Exam, contract: InputContract, grid: np.ndarray, inside: np.ndarray, report: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Enhancement on the model's grid and phases, float32, and its mean over phases inside the mask."""
    mix = phase_weights(exam.times_s, len(exam.post), contract.phases)
    mixed = len(exam.post) != contract.phases or not np.array_equal(mix, np.eye(contract.phases))
    # resampling and subtraction commute, and the model's grid is smaller than most exams' own
    before = None
    if exam.pre is not None:
        before = _resampled(exam.pre.volume, grid, np.empty(inside.shape, dtype=np.float32))
    stack = np.empty((contract.phases, *inside.shape), dtype=np.float32)
    posts = np.empty((len(exam.post), *inside.shape), dtype=np.float32) if mixed else stack
    for index, phase in enumerate(exam.post):
        _resampled(phase.volume, grid, posts[index], exam.offsets[index] if before is None else 0.0)
        report("resample", (index + 1) / len(exam.post))
    return stack, _subtract(stack, posts, mix if mixed else None, before, inside)


def _resampled(volume: Volume, grid: np.ndarray, out: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """The volume less the offset on the model's grid, written to ``out``; 0 outside its field of view."""
    resample(volume, out.shape, grid, outside=offset, out=out)
    if offset:
        out -= np.float32(offset)
    return out


def _subtract(
    stack: np.ndarray,
    posts: np.ndarray,
    mix: np.ndarray | None,
    before: np.ndarray | None,
    inside: np.ndarray,
) -> np.ndarray:
    """Fill ``stack`` with the mixture of the phases less the one before contrast. ``posts`` is used up.

    mix: None when the phases are wanted as they are; then ``posts`` is ``stack``. Returns the mean over
    phases of every voxel inside the mask, float32.
    """
    import torch

    from ..core.threads import for_each, parts

    wanted = torch.from_numpy(stack)
    given = torch.from_numpy(posts)
    pre = None if before is None else torch.from_numpy(before)
    shares = None if mix is None else torch.from_numpy(mix.astype(np.float32))
    means = torch.empty(inside.shape)

    def work(part: slice) -> None:
        values = given[:, part]
        # before mixing, so that phases without enhancement give zeros, not what rounding leaves
        if pre is not None:
            values.sub_(pre[part])
        if shares is not None:
            values = wanted[:, part].copy_((shares @ values.flatten(1)).view(-1, *values.shape[1:]))
        torch.mean(values, 0, out=means[part])

    for_each(work, parts(len(inside), _SLAB))
    return means.numpy()[inside]


def _scale(stack: np.ndarray, factor: float, clip: tuple[float, float], weights: np.ndarray) -> None:
    """Scale, clip and weight every phase, in place."""
    import torch

    from ..core.threads import for_each, parts

    whole, shares = torch.from_numpy(stack), torch.from_numpy(weights)

    def work(part: slice) -> None:
        whole[:, part].mul_(float(np.float32(factor))).clamp_(*clip).mul_(shares[part])

    for_each(work, parts(whole.shape[1], _SLAB))
