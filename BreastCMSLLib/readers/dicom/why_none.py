"""What to say of volumes among which no two are phases of one exam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..messages import counted, listing
from .geometry import MIN_SLICES
from .scan import PACKED, Scan
from .sets import same_grid, same_protocol
from .stacks import Stack


def why_none(usable: Sequence[Stack], valid: Sequence[Stack], kind: str, where: Path, contents: Scan) -> str:
    """What to say when there are no dynamic phases.

    Parameters
    ----------
    usable, valid
        Volumes that may be phases; those of them without a problem.
    kind
        "auto", "phases" or "subtractions".
    where
        What to call their folder.
    contents
        What else the folder holds.

    Returns
    -------
    str
        A sentence.
    """
    for stack in usable:
        if stack.problem and len(stack.slices) >= MIN_SLICES:
            return stack.problem
    if kind == "phases" and any(stack.is_subtraction for stack in valid):
        return (
            f"{where} holds only subtractions, no dynamic phases; choose subtractions as the kind of input."
        )
    damaged = ""
    if contents.damaged:
        files = counted(len(contents.damaged), "file")
        damaged = f" ({files} could not be read, {contents.damaged[0].name} for one)"
    volumes = [stack for stack in valid if not stack.is_subtraction] or list(valid)
    if len(volumes) == 1:
        return (
            f"Only one dynamic phase ({volumes[0].name}) was found in {where}{damaged}; "
            "add the pre- or post-contrast series of the same acquisition."
        )
    if parted := _parted(volumes):
        return f"{parted[0]} in {where}{damaged}; {parted[1]}."
    if volumes:
        sizes = listing([f"{stack.name} {stack.size}" for stack in volumes])
        return (
            f"No two MR series in {where} share one grid and protocol ({sizes}){damaged}; "
            "choose the folder with all dynamic phases."
        )
    return (
        f"{where} holds MR images but no dynamic T1-weighted volumes{damaged}; "
        "choose the folder with the pre- and post-contrast series."
    )


def _parted(volumes: Sequence[Stack]) -> tuple[str, str] | None:
    """What to say of phases of one grid and protocol that lie in different studies or visits."""
    for stack in volumes[1:]:
        first = volumes[0]
        if not (same_grid(first, stack) and same_protocol(first, stack)):
            continue
        uids = first.head.study_uid, stack.head.study_uid
        if uids[0] != uids[1]:
            what = f"{first.name} and {stack.name} lie in two studies ({uids[0]} and {uids[1]})"
            return what, "choose the folder of one exam, with all its phases under one study"
        what = f"{first.name} and {stack.name} lie in two visits, by patient or date"
        return what, "choose the folder of one exam"
    return None


def why_no_images(contents: Scan, where: Path) -> str:
    """What to say of files among which there are no MR images that can be used.

    Parameters
    ----------
    contents
        What the files hold.
    where
        What to call their folder.

    Returns
    -------
    str
        A sentence.
    """
    if contents.multiframe:
        return (
            f"{contents.multiframe[0]} in {where} is a multi-frame object that does not tell where its "
            "frames lie; export it as Enhanced MR or as single slices."
        )
    if contents.damaged:
        return (
            f"{where} has no readable MR image: {contents.damaged[0].name} is damaged; "
            "copy or export it again."
        )
    if others := sorted(modality for modality in contents.modalities if modality != "MR"):
        return (
            f"{where} is not an MRI: it holds images of modality {', '.join(others)}; "
            "choose a breast MRI exam."
        )
    if contents.unread:
        names = listing(sorted(path.name for path in contents.unread), 2)
        if set(contents.unread) == set(contents.others.get(PACKED, [])):
            files = counted(len(contents.unread), "packed or unfinished file")
            return f"{where} holds {files} ({names}) and no image; unpack or download them."
        return (
            f"{where} holds no image that can be read: {counted(len(contents.unread), 'file')} ({names}) "
            "cannot be, empty or links to files that are not there; copy or fetch the exam again."
        )
    return f"{where} holds no DICOM images and no NRRD, NIfTI or MHA volumes; choose the folder of the exam."
