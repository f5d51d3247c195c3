"""From an exam to what the network reads (Luo et al. 2019, 3.1): mask, one intensity scale, six phases, 340×220×128.

Slicer, the command line and training all come through :func:`preprocess`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, breasts_covered, closest_canonical_axes, resample
from ..exam.exam import WHOLE_T1, Exam, t1_share_needed
from .breast_mask import BreastMask, MaskSettings, breast_mask

PLAUSIBLE_ML = (150, 8000)  # both breasts with the tissue in front of the chest wall


@dataclass(frozen=True)
class InputContract:
    """What a model expects; stored in its bundle.

    size: voxels along LR × AP × SI. spacing_mm: isotropic. phases: subtractions, equally spaced in time from the first
    to the last post-contrast acquisition. scale_percentile: of the mean enhancement inside the mask, mapped to 1.
    clip: limits after scaling.
    """

    size: tuple[int, int, int] = (340, 220, 128)
    spacing_mm: float = 1.1
    phases: int = 6
    scale_percentile: float = 99.0
    clip: tuple[float, float] = (-1.0, 10.0)
    mask: MaskSettings = field(default_factory=MaskSettings)


@dataclass(frozen=True)
class ModelInput:
    """array: float32 (phases, LR, AP, SI), fading to zero at the mask's edge; index i grows towards R, j towards A, k towards S.

    affine: index → RAS mm. inside: boolean mask on the same grid. scale: signal units that became 1.
    middle: index i of the sternum, to tell left from right. minutes: as :func:`minutes_of` tells.
    """

    array: np.ndarray
    affine: np.ndarray
    inside: np.ndarray
    scale: float
    middle: float
    mask_source: str
    mask_volume_ml: float
    warnings: tuple[str, ...]
    minutes: float | None = None


def minutes_of(exam: Exam) -> float | None:
    """Minutes from the first phase after contrast to the last, over which the model's phases are spread; None where not known.

    How far a lesion has washed out says little without it. What lies between the phase before contrast and the first one after it
    is left out: it may hold any other sequence, and the injection at any time.
    """
    times = exam.times_s
    return None if times is None or len(times) < 2 else float(times[-1] - times[0]) / 60.0


def canonical_grid(volume: Volume, spacing_mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Size and affine of the isotropic grid over a volume's field of view, its axes ordered and flipped to R, A, S.

    The exam's own obliquity is kept: only axes are exchanged, so the voxels are not mixed more than needed.
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


def model_grid(mask: BreastMask, contract: InputContract) -> tuple[np.ndarray, np.ndarray]:
    """Start index (i, j, k; may be negative) of the model's grid in the mask's grid, and its affine.

    Centred on the breasts: on the box of the mask across, on its front edge where it is deeper than the model's
    field, and on its centre of mass from head to foot.
    """
    inside = mask.inside
    start = np.zeros(3, dtype=int)
    for axis in range(3):
        profile = inside.sum(axis=tuple(a for a in range(3) if a != axis))
        found = np.flatnonzero(profile > 0.01 * profile.max())
        low, high = int(found[0]), int(found[-1])
        if axis == 2:
            centre = float((profile * np.arange(profile.size)).sum() / profile.sum())
            if high - low + 1 <= contract.size[axis]:
                centre = (low + high) / 2
        elif axis == 1 and high - low + 1 > contract.size[axis] - 4:
            centre = high + 2 - contract.size[axis] / 2
        else:
            centre = (low + high) / 2
        start[axis] = int(round(centre - (contract.size[axis] - 1) / 2))
    affine = mask.weights.affine.copy()
    affine[:3, 3] = (affine @ [*start, 1.0])[:3]
    return start, affine


def phase_weights(times_s: np.ndarray | None, count: int, wanted: int) -> np.ndarray:
    """(wanted, count) matrix of linear interpolation in time; rows sum to 1.

    times_s: acquisition times in seconds, increasing; None or unusable times mean equal spacing.
    """
    times = np.arange(count, dtype=np.float64) if times_s is None else np.asarray(times_s, dtype=np.float64)
    if count > 1 and not (np.diff(times) > 0).all():
        times = np.arange(count, dtype=np.float64)
    targets = np.linspace(times[0], times[-1], wanted)
    return np.array([np.interp(targets, times, np.eye(count)[c]) for c in range(count)]).T.reshape(wanted, count)


def paste(source: np.ndarray, start: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """The window of ``size`` that begins at index ``start`` of ``source``; zero where it reaches outside."""
    out = np.zeros(size, dtype=source.dtype)
    low = np.maximum(start, 0)
    high = np.minimum(np.asarray(start) + size, source.shape)
    if (high > low).all():
        into = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[into] = source[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def preprocess(exam: Exam, contract: InputContract | None = None, progress: Callable[[str, float], None] | None = None) -> ModelInput:
    """Mask, resample, subtract, scale and stack an exam. Raises InputError when there is nothing to analyse."""
    contract = contract or InputContract()
    report = progress or (lambda stage, fraction: None)
    warnings: list[str] = []
    size, affine = canonical_grid(exam.grid, contract.spacing_mm)
    report("mask", 0.0)
    image, source = _mask_image(exam, size, affine, warnings)
    report("mask", 0.3)
    mask = breast_mask(image, contract.mask, tissue=source != "subtractions")
    if not PLAUSIBLE_ML[0] <= mask.volume_ml <= PLAUSIBLE_ML[1]:
        warnings.append(
            f"The breast region found measures {mask.volume_ml:.0f} ml, outside {PLAUSIBLE_ML[0]}–{PLAUSIBLE_ML[1]} ml: "
            "look at the overlay before trusting the result."
        )
    start, grid = model_grid(mask, contract)
    weights = paste(mask.weights.array, start, contract.size)
    inside = weights > 0.5
    kept = float(inside.sum()) / max(1, int(mask.inside.sum()))
    if kept < 0.9:
        warnings.append(f"{100 * (1 - kept):.0f} % of the breast region lies outside the model's field of view and was not analysed.")
    report("resample", 0.0)
    mix = phase_weights(exam.times_s, len(exam.post), contract.phases)
    if len(exam.post) != contract.phases:
        warnings.append(f"{len(exam.post)} post-contrast phases were interpolated in time to the model's {contract.phases}.")
    if exam.times_s is None:
        warnings.append(
            "The times of the phases are unknown: equally spaced ones of an ordinary exam were assumed, which makes the score less sure."
        )
    # resampling and subtraction commute, and the model's grid is smaller than most exams' own
    before = None if exam.pre is None else _resampled(exam.pre.volume, grid, np.empty(contract.size, dtype=np.float32))
    stack = np.empty((contract.phases, *contract.size), dtype=np.float32)
    mixed = len(exam.post) != contract.phases or not np.array_equal(mix, np.eye(contract.phases))
    posts = np.empty((len(exam.post), *contract.size), dtype=np.float32) if mixed else stack
    for index, phase in enumerate(exam.post):
        _resampled(phase.volume, grid, posts[index], exam.offsets[index] if before is None else 0.0)
        report("resample", (index + 1) / len(exam.post))
    values = _subtract(stack, posts, mix if mixed else None, before, inside)
    del posts
    scale = float(np.percentile(values, contract.scale_percentile)) if values.size else 0.0
    if not scale > 0:
        raise InputError("No enhancement was found inside the breasts; check the order of the phases and that contrast was given.")
    _scale(stack, 1.0 / scale, contract.clip, weights)
    middle = mask.middle - float(start[0])
    return ModelInput(stack, grid, inside, scale, middle, source, mask.volume_ml, tuple(warnings), minutes_of(exam))


_SLAB = 4  # indices i worked on at a time: what belongs to them stays in the cache


def _resampled(volume: Volume, grid: np.ndarray, out: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """The volume less the offset on the model's grid, written to ``out``; 0 outside its field of view."""
    resample(volume, out.shape, grid, outside=offset, out=out)
    if offset:
        out -= np.float32(offset)
    return out


def _subtract(stack: np.ndarray, posts: np.ndarray, mix: np.ndarray | None, before: np.ndarray | None, inside: np.ndarray) -> np.ndarray:
    """Fill ``stack`` with the mixture of the phases less the one before contrast. ``posts`` is used up.

    mix: None when the phases are wanted as they are; then ``posts`` is ``stack``. Returns the mean over phases of every voxel
    inside the mask, float32.
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
        if pre is not None:
            values.sub_(pre[part])  # first, so that phases without enhancement give zeros, not what rounding leaves
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


def _mask_image(exam: Exam, size: tuple[int, int, int], affine: np.ndarray, warnings: list[str]) -> tuple[Volume, str]:
    """The volume whose edges show the breasts, on the canonical grid, and what it is."""
    if exam.t1 is not None:
        share = breasts_covered(size, affine, exam.t1.volume.shape, exam.t1.volume.affine)
        shown = f"{exam.t1.name} shows {100 * share:.0f} % of where the breasts lie in the dynamic volumes"
        if share >= t1_share_needed(exam.pre is None):
            image = resample(exam.t1.volume, size, affine)
            if float((image.array > 0).mean()) > 0.05:
                if share < WHOLE_T1:
                    warnings.append(f"{shown}; what it does not show was left out.")
                return image, "t1"
            shown = f"{exam.t1.name} shows no breasts where the dynamic volumes do"
        instead = "pre-contrast phase" if exam.pre is not None else "subtractions"
        warnings.append(f"{shown}, so the breast mask was made from the {instead} instead.")
    if exam.pre is not None:
        if exam.t1 is None:
            warnings.append("No non-fat-saturated T1 was given: the breast mask was made from the pre-contrast phase.")
        return resample(exam.pre.volume, size, affine), "pre"
    if exam.t1 is None:
        warnings.append("Neither a T1 nor a pre-contrast phase was given: the breast mask was made from the subtractions.")
    total = np.zeros(size, dtype=np.float32)
    for index, phase in enumerate(exam.post):
        total += resample(phase.volume, size, affine, outside=exam.offsets[index]).array - np.float32(exam.offsets[index])
    return Volume(np.maximum(total, 0), affine), "subtractions"
