"""What voxels tell about an exam plan: copies, label maps, other images, and whether contrast agent came
first.

Headers say what the exporter believed. Before volumes become an exam, a coarse sample of their voxels
confirms the plan, corrects it, or refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..exam import ExamPlan, Phase
from ..exam.plan import LEFT_OUT, sorted_stacks
from .messages import listing

_SAMPLES = 40  # voxels along each axis that are looked at
_MOST_LABELS = 32  # distinct values of a label map; images have hundreds
# rank correlation with the first volume inside the body: phases 0.54 to 0.94, all alike; maps less
_UNLIKE = 0.75  # of the usual one: below, a volume is no phase
_LEAST_LIKE = 0.45  # usual one, for a first volume that is no image like the others
_MUTUAL = 0.7  # among the later volumes, usually 0.9 and more: below, noise hides what they show
_BODY = 0.15  # of the bright end of the scale: darker is air
# later phases against the first where contrast agent comes, where it goes, and where it has not come yet
_UP, _DOWN, _BEFORE = 1.5, 0.85, 1 / 1.5
_LEAST_DOWN = 0.03  # share of the body that has to darken before the order is doubted
_SCALED_APART = 4.0  # times as bright as the first: no contrast agent does that to a whole body


def confirm(
    dynamics: Sequence[Phase],
    plan: ExamPlan,
    *,
    kind: str,
    keep_order: bool = False,
    ties: Sequence[Sequence[str]] = (),
) -> tuple[list[Phase], ExamPlan, list[str]]:
    """Compare a plan with the voxels of its dynamic volumes.

    Parameters
    ----------
    dynamics
        The dynamic volumes, in the order of time.
    plan
        Names of its stacks are those of the volumes.
    kind
        "phases" or "subtractions".
    keep_order
        Whether to go on where the phase before contrast seems to be missing.
    ties
        Names of volumes of one time and position, of which only one can be a phase.

    Returns
    -------
    dynamics : list of Phase
        Those that are left.
    plan : ExamPlan
        With what voxels told.
    warnings : list of str
        Sentences for the user.

    Raises
    ------
    InputError
        Two volumes of one time that differ, a volume before contrast that is none, or a missing one.
    """
    dynamics = list(dynamics)
    arrays = [phase.volume.array for phase in dynamics]
    if len({array.shape for array in arrays}) != 1 or any(array.min() == array.max() for array in arrays):
        return dynamics, plan, []  # what is wrong with them is said where the exam is made
    reasons: dict[str, str] = {}
    dynamics = _without_copies(dynamics, reasons)
    dynamics = _without_label_maps(dynamics, reasons)
    _refuse_ties(dynamics, ties)
    warnings: list[str] = []
    if kind == "phases" and len(dynamics) > 1:
        dynamics = _without_other_images(dynamics, reasons)
        warnings += _one_scale(dynamics)
        warnings += _contrast_first(dynamics, keep_order)
    warnings[:0] = [f"{name} was left out: {reason}." for name, reason in reasons.items()]
    return dynamics, _with_reasons(plan, reasons), warnings


def _with_reasons(plan: ExamPlan, reasons: dict[str, str]) -> ExamPlan:
    if not reasons:
        return plan
    stacks = [
        replace(stack, role=LEFT_OUT, reason=reasons[stack.name], sure=True, number=None, time_s=None)
        if stack.is_dynamic and stack.name in reasons
        else stack
        for stack in plan.stacks
    ]
    # what remains is counted anew
    number = 0
    for place, stack in enumerate(stacks):
        if stack.is_dynamic and stack.number:
            number += 1
            stacks[place] = replace(stack, number=number)
    return replace(plan, stacks=sorted_stacks(stacks))


# ---------------------------------------------------------------- one phase, one volume


def _without_copies(dynamics: Sequence[Phase], reasons: dict[str, str]) -> list[Phase]:
    """The volumes, each content once."""
    kept: dict[bytes, list[Phase]] = {}
    unique = []
    for phase in dynamics:
        array = phase.volume.array
        alike = kept.setdefault(np.ascontiguousarray(_coarse(array)).tobytes(), [])
        twin = next((other for other in alike if np.array_equal(array, other.volume.array)), None)
        if twin is None:
            alike.append(phase)
            unique.append(phase)
        else:
            reasons[phase.name] = f"it holds the same voxels as {twin.name}"
    if len(unique) < 2 <= len(dynamics):
        names = f"{dynamics[-1].name} and {dynamics[0].name}"
        raise InputError(f"{names} hold the same voxels; give each phase once, and add the others.")
    return unique


def _refuse_ties(dynamics: Sequence[Phase], ties: Sequence[Sequence[str]]) -> None:
    present = {phase.name for phase in dynamics}
    for tie in ties:
        if len(names := [name for name in tie if name in present]) > 1:
            raise InputError(
                f"{listing(names)} show the same place at the same time but differ, and only one can be "
                "a phase; name those to leave out with --leave-out."
            )


def _without_label_maps(dynamics: Sequence[Phase], reasons: dict[str, str]) -> list[Phase]:
    """The volumes without those of few values, where the others have many and at least two remain."""
    counts = [_distinct(phase.volume.array) for phase in dynamics]
    labels = [count <= _MOST_LABELS for count in counts]
    images = [phase for phase, is_label in zip(dynamics, labels, strict=True) if not is_label]
    if len(images) < 2:
        return list(dynamics)
    for phase, count, is_label in zip(dynamics, counts, labels, strict=True):
        if is_label:
            reasons[phase.name] = f"it holds {count} different values, as a label map does"
    return images


def _distinct(array: np.ndarray) -> int:
    """Different values among half a million voxels."""
    return len(np.unique(array.ravel(order="K")[:: max(1, array.size // 500_000)]))


# ---------------------------------------------------------------- images of one kind


def _coarse(array: np.ndarray) -> np.ndarray:
    """Every so manieth voxel along each axis."""
    return array[tuple(slice(None, None, max(1, count // _SAMPLES)) for count in array.shape)]


def _samples(dynamics: Sequence[Phase]) -> np.ndarray:
    """Coarse voxels of each volume, float32 (volumes, voxels)."""
    return np.stack([_coarse(phase.volume.array).astype(np.float32).ravel() for phase in dynamics])


def _body(values: np.ndarray) -> np.ndarray:
    """Where samples of one volume are brighter than air."""
    return values > _BODY * np.percentile(values, 99)


def _without_other_images(dynamics: Sequence[Phase], reasons: dict[str, str]) -> list[Phase]:
    """The volumes without those that do not resemble the first as the others do.

    Raises
    ------
    InputError
        The first volume is no image like the others, or one of these may be the phase before contrast.
    """
    values = _samples(dynamics)
    body = _body(values[0])
    if len(dynamics) < 3 or np.count_nonzero(body) < 100:
        return list(dynamics)
    ranks = values[:, body].argsort(axis=1).argsort(axis=1).astype(np.float64)
    correlation = np.corrcoef(ranks)
    among_later = correlation[1:, 1:][np.triu_indices(len(dynamics) - 1, 1)]
    if np.median(among_later) < _MUTUAL:
        return list(dynamics)  # mostly noise: nothing to tell them by
    likeness = correlation[0, 1:]
    usual = float(np.median(likeness))
    if usual < _LEAST_LIKE:
        raise _other_image(dynamics[0])
    alike = [dynamics[0]]
    for phase, r, own in zip(dynamics[1:], likeness, values[1:, body], strict=True):
        if r >= _UNLIKE * usual:
            alike.append(phase)
        elif _darker_image(own, values[0, body]):
            raise InputError(
                f"{phase.name} looks like the phase before contrast, but comes after {dynamics[0].name}; "
                "check the times, or leave it out with --leave-out."
            )
        else:
            reasons[phase.name] = "it is no image like the phases, but a map or of another kind"
    return alike


def _darker_image(values: np.ndarray, first: np.ndarray) -> bool:
    """Whether a volume may be from before contrast: of one scale with the first, darker here and there."""
    level = float(np.median(values)) / max(float(np.median(first)), 1e-6)
    change = values / np.maximum(first, max(0.1 * float(np.median(first)), 1e-6))
    darker, brighter = float((change < _BEFORE).mean()), float((change > _UP).mean())
    return 1 / _SCALED_APART <= level <= 1.1 and darker > _LEAST_DOWN > brighter


def _other_image(first: Phase) -> InputError:
    return InputError(
        f"{first.name} comes first but is no image like the others, so the phase before contrast may be "
        "missing; add it, or name the phases with --phases."
    )


def _contrast_first(dynamics: Sequence[Phase], keep_order: bool) -> list[str]:
    """Refuse where more of the body darkens than brightens after the first volume."""
    values = _samples(dynamics)
    body = _body(values.max(axis=0))
    if not body.any():
        return []
    first = values[0, body]
    change = values[1:, body] / np.maximum(first, max(0.1 * float(np.median(first)), 1e-6))
    # washed out by and by, or brighter than a later one, which then is the phase before contrast
    course = change.mean(axis=0)
    washes_out = (course < _DOWN).mean() > max((course > _UP).mean(), _LEAST_DOWN)
    darker, brighter = (change < _BEFORE).mean(axis=1), (change > _UP).mean(axis=1)
    if not washes_out and (darker <= np.maximum(brighter, _LEAST_DOWN)).all():
        return []
    name = dynamics[0].name
    if keep_order:
        return [
            f"{name} was taken for the phase before contrast as asked, though more of the body gets darker "
            "than brighter after it."
        ]
    raise InputError(
        f"The phase before contrast seems to be missing: after {name}, the first, more of the body gets "
        "darker than brighter; add it, or go on with --keep-order."
    )


def _one_scale(dynamics: Sequence[Phase]) -> list[str]:
    """Warn of volumes whose whole body is many times as bright or dark as the first.

    Raises
    ------
    InputError
        All are: the first volume is no image like the others.
    """
    values = _samples(dynamics)
    levels = np.median(values[:, _body(values.max(axis=0))], axis=1)
    ratios = levels[1:] / levels[0] if levels[0] > 0 else np.full(len(levels) - 1, np.inf)
    apart = ~((ratios >= 1 / _SCALED_APART) & (ratios <= _SCALED_APART))
    if apart.all():
        raise _other_image(dynamics[0])
    return [
        f"{phase.name} is {ratio:.3g} times as bright as {dynamics[0].name}: they are scaled apart, "
        "so curves and score cannot be relied on."
        for phase, ratio in zip(np.array(dynamics[1:], dtype=object)[apart], ratios[apart], strict=True)
    ]
