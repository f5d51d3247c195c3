"""The way from DICOM files to an exam.

``scan`` reads headers; ``build_stacks`` makes one stack for each volume (a series may hold several phases);
``choose_dynamics`` takes the largest set of volumes of one study, grid and protocol; ``choose_t1`` looks for
a T1 without fat saturation from before the contrast agent; only then are pixels read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...core.errors import InputError
from ...core.geometry import Volume
from ...exam import Exam, Phase, make_exam, missing_pre, order_phases
from ..messages import counted, listing
from .dynamics import choose_dynamics, other_acquisitions
from .pixels import load_pixels
from .slices import Scan, Slice, scan
from .stacks import MIN_SLICES, Stack, build_stacks
from .t1 import choose_t1
from .times import phase_times


def read_dicom(
    paths: Iterable[Path],
    where: Path,
    *,
    kind: str = "auto",
    t1: Phase | None = None,
    t1_uids: Iterable[str] = (),
) -> Exam:
    """The exam in DICOM files.

    Parameters
    ----------
    paths
        Files; those of other formats are passed over.
    where
        What to call them in messages.
    kind
        "auto", "phases" or "subtractions" as for ``make_exam``.
    t1
        A T1 read already; then none is looked for.
    t1_uids
        Series that belong to it, so that they cannot be phases too.

    Returns
    -------
    Exam
        With what was left out, and why, among its warnings.

    Raises
    ------
    InputError
        One sentence that names the series or the folder, and the remedy.
    """
    contents = scan_mr(paths, where)
    stacks = build_stacks(contents.slices, where)
    of_t1 = set(t1_uids)
    dynamics, are_subtractions = choose_dynamics(
        [stack for stack in stacks if stack.head.series_uid not in of_t1], kind, where, contents
    )
    times = phase_times(dynamics)
    phases = _load_phases(dynamics, times)
    remarks = _left_out(contents, stacks, dynamics, are_subtractions)
    if t1 is None:
        t1_stack, t1_remarks = choose_t1(stacks, dynamics, times, where)
        remarks += t1_remarks
        t1 = None if t1_stack is None else _load(t1_stack)
    ordered = order_phases(phases)
    if not are_subtractions:
        remarks += missing_pre([phase.name for phase in ordered], kind, str(where))
    heads = {id(phase): stack.head for phase, stack in zip(phases, dynamics, strict=True)}
    return make_exam(
        phases,
        kind="subtractions" if are_subtractions else "phases",
        t1=t1,
        identifiers=_identifiers([heads[id(phase)] for phase in ordered]),
        warnings=remarks,
    )


def scan_mr(paths: Iterable[Path], where: Path) -> Scan:
    """The headers in files among which there are MR images.

    Parameters
    ----------
    paths
        Files of any format.
    where
        What to call them in messages.

    Returns
    -------
    Scan
        With at least one slice.

    Raises
    ------
    InputError
        When there is nothing to work with, and what there is instead.
    """
    contents = scan(paths)
    if contents.slices:
        return contents
    if not contents.files:
        raise InputError(f"{where} is empty; choose the folder with the exam's DICOM or volume files.")
    if contents.multiframe:
        raise InputError(
            f"{contents.multiframe[0]} in {where} is a multi-frame object that does not tell where its "
            "frames lie; export it as Enhanced MR or as single slices."
        )
    if contents.damaged:
        raise InputError(
            f"{where} has no readable MR image: {contents.damaged[0].name} is damaged; "
            "copy or export it again."
        )
    if others := sorted(modality for modality in contents.modalities if modality != "MR"):
        raise InputError(
            f"{where} is not an MRI: it holds images of modality {', '.join(others)}; "
            "choose a breast MRI exam."
        )
    raise InputError(
        f"{where} holds no DICOM images and no NRRD, NIfTI or MHA volumes; choose the folder of the exam."
    )


def find_dynamics(paths: Iterable[Path], where: Path) -> tuple[list[Stack], str]:
    """The volumes that :func:`read_dicom` would take for the dynamic ones, from headers alone.

    Parameters
    ----------
    paths
        Files of any format.
    where
        What to call them in messages.

    Returns
    -------
    stacks : list of Stack
        In any order.
    kind : str
        "phases" or "subtractions".

    Raises
    ------
    InputError
        The sentence that a user would read.
    """
    contents = scan_mr(paths, where)
    stacks, are_subtractions = choose_dynamics(build_stacks(contents.slices, where), "auto", where, contents)
    return stacks, "subtractions" if are_subtractions else "phases"


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
    contents = scan_mr(paths, where)
    stacks = [stack for stack in build_stacks(contents.slices, where) if len(stack.slices) >= MIN_SLICES]
    for stack in stacks:
        if stack.problem:
            raise InputError(stack.problem)
    if len(stacks) != 1:
        volumes = counted(len(stacks), "MR volume")
        raise InputError(f"{where} holds {volumes}, not one; choose the folder of the T1 series alone.")
    return _load(stacks[0]), stacks[0].head.series_uid


def _left_out(
    contents: Scan, stacks: Sequence[Stack], dynamics: Sequence[Stack], are_subtractions: bool
) -> list[str]:
    """Remarks on what does not belong to the exam."""
    remarks = []
    if contents.damaged:
        files = counted(len(contents.damaged), "damaged DICOM file")
        remarks.append(f"{files} ({contents.damaged[0].name}) could not be read.")
    subtractions = [
        stack.name
        for stack in stacks
        if stack.is_subtraction and not stack.is_excluded and not any(stack is chosen for chosen in dynamics)
    ]
    if subtractions and not are_subtractions:
        remarks.append(
            f"The scanner's own subtractions ({listing(subtractions)}) were left out, "
            "since the phases themselves are here."
        )
    if len({stack.head.study_uid for stack in stacks}) > 1:
        remarks.append("Images of other studies in the folder were left out.")
    return remarks + other_acquisitions(stacks, dynamics)


def _identifiers(heads: Sequence[Slice]) -> dict[str, object]:
    """What results keep of the headers of the phases, in their order."""
    first = heads[0]
    return {
        "study_instance_uid": first.study_uid or None,
        "series_instance_uids": list(dict.fromkeys(head.series_uid for head in heads)),
        "manufacturer": first.manufacturer or None,
        "magnetic_field_strength_t": first.field_strength_t,
    }


def _load_phases(dynamics: Sequence[Stack], times: Sequence[float | None]) -> list[Phase]:
    """Where phases share a series, their numbers in it order them, not their acquisition numbers."""
    phases = [_load(stack, time) for stack, time in zip(dynamics, times, strict=True)]
    if all(stack.phase is None for stack in dynamics):
        return phases
    return [replace(phase, acquisition_number=stack.phase) for phase, stack in zip(phases, dynamics)]


def _load(stack: Stack, time_s: float | None = None) -> Phase:
    """Read the pixels."""
    return Phase(
        volume=Volume(load_pixels(stack.slices, stack.name), stack.affine),
        name=stack.name,
        source=stack.source,
        time_s=time_s,
        acquisition_number=stack.head.acquisition_number,
        series_number=stack.head.series_number,
    )
