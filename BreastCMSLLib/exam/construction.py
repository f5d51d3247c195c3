"""What makes volumes a usable exam, decided here once: readers and scenes only look for the volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..core.geometry import check_affine, extent_mm, voxels_apart
from ..core.text import one_line
from .exam import Exam, Phase
from .name_sets import all_post_contrast, kind_of_names, pre_contrast_names
from .phase_order import order_phases, uncertain_order
from .subtractions import is_signed_subtraction, subtraction_offset

MIN_PHASES, MAX_PHASES = 2, 12
MAX_VOXELS_APART = 0.5  # along each axis; phases that are less apart lie on one grid
_MAX_FIELD_MM = 1000.0
_LEAST_VOXELS = 4  # along each axis


def make_exam(
    dynamics: Sequence[Phase],
    *,
    kind: str = "auto",
    t1: Phase | None = None,
    identifiers: Mapping[str, object] | None = None,
    warnings: Sequence[str] = (),
    keep_order: bool = False,
) -> Exam:
    """Check the volumes and build the exam.

    Parameters
    ----------
    dynamics
        The dynamic phases or the subtractions, in any order (in the given one with ``keep_order``).
    kind
        "phases" (the first in time is pre-contrast), "subtractions", or "auto" (by name, then by negative
        voxels).
    t1
        Non-fat-saturated T1 on any grid, or None.
    identifiers, warnings
        As :class:`Exam` holds them.
    keep_order
        Whether the order given is that of acquisition.

    Returns
    -------
    Exam
        With what was noticed added to its warnings.

    Raises
    ------
    InputError
        One sentence that names the volume and the remedy.
    """
    phases = [_printable(phase) for phase in dynamics]
    t1 = None if t1 is None else _printable(t1)
    unsure = "" if keep_order else uncertain_order(phases)
    if not keep_order:
        phases = order_phases(phases)
    check_number(phases)
    for phase in (*phases, *(() if t1 is None else (t1,))):
        check_volume(phase)
    _check_one_grid(phases)
    if kind == "auto":
        kind = guess_kind(phases)
    if kind == "phases":
        pre, remarks = _pre_contrast(phases, keep_order)
        post = [phase for phase in phases if phase is not pre]
        offsets = [0.0] * len(post)
    elif kind == "subtractions":
        pre, post = None, phases
        offsets, remarks = _offsets(post)
    else:
        raise InputError(f"Unknown kind of volumes: {kind}; say phases or subtractions.")
    warnings = (*(one_line(warning, 1000) for warning in warnings), *remarks, *filter(None, [unsure]))
    return Exam(tuple(post), pre, tuple(offsets), t1, dict(identifiers or {}), tuple(dict.fromkeys(warnings)))


def _printable(phase: Phase) -> Phase:
    """The phase with a name fit for messages and reports."""
    return replace(phase, name=one_line(phase.name) or "unnamed")


def check_number(phases: Sequence[Phase]) -> None:
    """Refuse too few or too many phases.

    Parameters
    ----------
    phases
        The dynamic volumes; only their names are used.

    Raises
    ------
    InputError
        Names the only one.
    """
    if not phases:
        raise InputError(
            "No dynamic phases were given; select a pre-contrast and at least one post-contrast volume."
        )
    if len(phases) < MIN_PHASES:
        raise InputError(
            f"Only one dynamic phase ({phases[0].name}) was found; add its pre- or post-contrast phases, "
            f"{MIN_PHASES} to {MAX_PHASES} volumes in all."
        )
    if len(phases) > MAX_PHASES:
        raise InputError(
            f"{len(phases)} dynamic volumes were found; the exam may have {MIN_PHASES} to "
            f"{MAX_PHASES}: select fewer, on the command line with --phases."
        )


def check_volume(phase: Phase) -> None:
    """Refuse what is no image of a patient.

    Parameters
    ----------
    phase
        A dynamic volume or a T1.

    Raises
    ------
    InputError
        Too few axes or voxels, voxels of another kind than grey values, not finite or all alike, or a grid
        that no scanner makes.
    """
    array, affine = phase.volume.array, phase.volume.affine
    if array.ndim != 3 or min(array.shape) < _LEAST_VOXELS:
        raise InputError(
            f"{phase.name}: a volume of at least 4×4×4 voxels is needed, not {_size(phase)}; "
            "choose a 3-D series."
        )
    is_number = np.issubdtype(array.dtype, np.number) and not np.issubdtype(array.dtype, np.complexfloating)
    if not is_number:
        raise InputError(
            f"{phase.name}: its voxels are of type {array.dtype}, not grey values; "
            "choose the image, not a segmentation."
        )
    check_affine(affine, phase.name)
    if (widest := max(extent_mm(array.shape, affine))) > _MAX_FIELD_MM:
        raise InputError(
            f"{phase.name} measures {widest:.0f} mm, more than a scanner's field; "
            "check the voxel spacing in its header."
        )
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(
            f"{phase.name} contains NaN or infinite voxels; export it again from the scanner or PACS."
        )
    if low == high:
        raise InputError(
            f"{phase.name} is constant (every voxel is {low:g}); it holds no image: choose another volume."
        )


def _check_one_grid(phases: Sequence[Phase]) -> None:
    first = phases[0]
    for phase in phases[1:]:
        if phase.volume.shape != first.volume.shape:
            raise InputError(
                f"{phase.name} has {_size(phase)} voxels but {first.name} has {_size(first)}; "
                "use phases of one acquisition, or resample them to one grid."
            )
        if voxels_apart(first.volume.shape, first.volume.affine, phase.volume.affine) > MAX_VOXELS_APART:
            raise InputError(
                f"{phase.name} lies elsewhere in the patient than {first.name}; "
                "use phases of one acquisition."
            )


def _size(phase: Phase) -> str:
    return "×".join(map(str, phase.volume.array.shape))


def guess_kind(phases: Sequence[Phase]) -> str:
    """Whether volumes are phases or subtractions, by their names, else by their negative voxels.

    Parameters
    ----------
    phases
        All dynamic volumes.

    Returns
    -------
    str
        "phases" or "subtractions".
    """
    if kind := kind_of_names([phase.name for phase in phases]):
        return kind
    return "subtractions" if all(is_signed_subtraction(phase.volume.array) for phase in phases) else "phases"


def _pre_contrast(phases: Sequence[Phase], keep_order: bool) -> tuple[Phase, list[str]]:
    """The pre-contrast phase, and a remark where its name and the clock disagree."""
    first = phases[0]
    if keep_order:
        return first, []
    named = pre_contrast_names([phase.name for phase in phases])
    pre = next((phase for phase, is_named in zip(phases, named, strict=True) if is_named), first)
    if pre is first or any(phase.time_s is None for phase in phases):
        return pre, []
    remark = (
        f"{pre.name} is called pre-contrast but was not acquired first; the first phase in time was used."
    )
    return first, [remark]


def _offsets(subtractions: Sequence[Phase]) -> tuple[list[float], list[str]]:
    """What the scanner added to each subtraction, and remarks on offsets and on lost negative enhancement."""
    offsets = [subtraction_offset(phase.volume.array) for phase in subtractions]
    remarks = []
    if removed := sorted({round(offset, 3) for offset in offsets if offset}):
        listing = ", ".join(f"{offset:g}" for offset in removed)
        remarks.append(f"The scanner's subtraction offset of {listing} was removed.")
    clipped = [
        phase.name
        for phase, offset in zip(subtractions, offsets, strict=True)
        if phase.volume.array.min() >= offset
    ]
    if clipped:
        remarks.append(
            f"{clipped[0]} holds no negative enhancement: it was clipped when saved, so wash-out may "
            "be missed."
        )
    return offsets, remarks


def missing_pre(names: Sequence[str], kind: str, where: str, *, keep_order: bool = False) -> list[str]:
    """What to say of phases that all call themselves post-contrast.

    The first of them would be taken for the pre-contrast one.

    Parameters
    ----------
    names
        Of the dynamic phases, in time order.
    kind
        What the user says they are, as in :func:`make_exam`.
    where
        What to call their folder.
    keep_order
        Whether the user says to go on.

    Returns
    -------
    list of str
        A remark, where the user has said that the volumes are phases, or to go on; else nothing.

    Raises
    ------
    InputError
        Where all phases are called post-contrast and the user has not said what they are.
    """
    if not all_post_contrast(names):
        return []
    if kind == "phases" or keep_order:
        return [
            f"{names[0]} was taken for the pre-contrast phase, though its name says it was acquired after "
            "the contrast agent."
        ]
    raise InputError(
        f"The pre-contrast phase is missing in {where}: all phases ({', '.join(names[:6])}) are called "
        "post-contrast; add it, or say that the volumes are phases if the first of them is it."
    )
