"""From the plan of a DICOM exam to the exam: pixels are read, and voxels confirm what headers tell."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...core.errors import InputError
from ...core.geometry import Volume
from ...exam import Exam, Phase, make_exam
from ..confirmation import confirm
from ..messages import counted
from ..patient import patient_key
from ..public import public_exam
from .geometry import MIN_SLICES
from .order import stand_in
from .pixels import load_pixels
from .plan import DicomPlan, plan_dicom
from .scales import common_scale
from .scan import scan
from .slices import Slice
from .stacks import Stack, build_stacks
from .why_none import why_no_images

_FIRST_DATE_S = 366 * 86400.0  # from year 1 on; a smaller clock has no date


def load_dicom(plan: DicomPlan) -> Exam:
    """The exam of a plan.

    Parameters
    ----------
    plan
        From :func:`~.plan.plan_dicom`.

    Returns
    -------
    Exam
        With the plan as voxels confirmed it, and what was left out, and why, among its warnings.

    Raises
    ------
    InputError
        One sentence that names the series or the folder, and the remedy: the plan's problem, or what is wrong
        with the pixels.
    """
    if plan.order is None or plan.plan.problem:
        raise InputError(plan.plan.problem)
    kind = "subtractions" if plan.are_subtractions else "phases"
    phases, confirmed, remarks = confirm(
        _load_phases(plan),
        plan.plan,
        kind=kind,
        keep_order=plan.options.keep_order,
        ties=plan.ties,
    )
    kept = {phase.name for phase in phases}
    heads = [stack.head for stack in plan.order.stacks if stack.name in kept]
    exam = make_exam(
        phases,
        kind=kind,
        t1=plan.options.t1 if plan.t1 is None else _load(plan.t1, None, False),
        identifiers=_identifiers(heads),
        warnings=[*plan.plan.warnings, *remarks],
        keep_order=True,
    )
    folders = {os.path.dirname(file) for file in confirmed.files}
    return public_exam(replace(exam, plan=confirmed), {}, [confirmed.where, *folders])


def find_dynamics(paths: Iterable[Path], where: Path) -> tuple[list[Stack], str]:
    """The volumes that are an exam's dynamic ones, from headers alone.

    Parameters
    ----------
    paths
        Files of any format.
    where
        What to call them in messages.

    Returns
    -------
    stacks : list of Stack
        In the order of time.
    kind : str
        "phases" or "subtractions".

    Raises
    ------
    InputError
        The sentence that a user would read.
    """
    plan = plan_dicom(paths, where)
    if plan.order is None or plan.plan.problem:
        raise InputError(plan.plan.problem)
    return list(plan.order.stacks), "subtractions" if plan.are_subtractions else "phases"


def read_dicom_volume(paths: Iterable[Path], where: Path) -> tuple[Phase, str]:
    """The only MR volume in files: a T1 that the user points at.

    Parameters
    ----------
    paths
        Files of any format.
    where
        What to call them in messages.

    Returns
    -------
    volume : Phase
        Without a time.
    series_uid : str
        Its SeriesInstanceUID.

    Raises
    ------
    InputError
        When there is none, or more than one.
    """
    contents = scan(paths)
    if not contents.slices:
        raise InputError(why_no_images(contents, where))
    stacks = [stack for stack in build_stacks(contents.slices, where) if len(stack.slices) >= MIN_SLICES]
    for stack in stacks:
        if stack.problem:
            raise InputError(stack.problem)
    if len(stacks) != 1:
        volumes = counted(len(stacks), "MR volume")
        raise InputError(f"{where} holds {volumes}, not one; choose the folder of the T1 series alone.")
    return _load(stacks[0], None, False), stacks[0].head.series_uid


def _identifiers(heads: Sequence[Slice]) -> dict[str, object]:
    """What is kept of the headers of the phases, in their order.

    ``patient`` and ``acquired_s`` tell two exams apart and do not go into results.
    """
    first = heads[0]
    clocks = [clock for clock in first.clocks.values() if clock is not None and clock > _FIRST_DATE_S]
    return {
        "patient": patient_key(first.patient),
        "acquired_s": min(clocks, default=None),
        "study_instance_uid": first.study_uid or None,
        "series_instance_uids": list(dict.fromkeys(head.series_uid for head in heads)),
        "manufacturer": first.manufacturer or None,
        "magnetic_field_strength_t": first.field_strength_t,
    }


def _load_phases(plan: DicomPlan) -> list[Phase]:
    """The dynamic volumes in the order of time."""
    stacks = plan.order.stacks
    scale, shared = common_scale(stacks), any(stack.phase is not None for stack in stacks)
    return [_load(stack, time, shared, scale) for stack, time in zip(stacks, plan.order.times_s, strict=True)]


def _load(stack: Stack, time_s: float | None, shared: bool, scale: float | None = None) -> Phase:
    """Read the pixels."""
    volume = Volume(load_pixels(stack.slices, stack.name, scale), stack.affine)
    return replace(stand_in(stack, time_s, shared), volume=volume)
