"""Which images form volumes: one stack for each, whatever the series they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...exam import (
    looks_derived,
    looks_motion_corrected,
    looks_other_contrast,
    looks_subtracted,
    says_fat_saturation,
)
from .geometry import parallel, place
from .phases import phases_of
from .slices import SECONDARY_CAPTURES, Slice
from .times import clocks_of

_DIXON = {
    "W": "water",
    "WATER": "water",
    "F": "fat",
    "FAT": "fat",
    "IP": "in-phase",
    "IN_PHASE": "in-phase",
    "OP": "out-of-phase",
    "OUT_PHASE": "out-of-phase",
    "OPP_PHASE": "out-of-phase",
    "P": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}
_SUBTRACTED = {"SUBTRACT", "SUBTRACTION", "SUB"}
_PROJECTED = set("MIP MINIP MPR LOCALIZER ADC WASHIN WASHOUT WI WO PEI TTP TTA IAUC".split()) | {
    "PROJECTION IMAGE",
    "T1 MAP",
    "CSA MIP",
    "SCREEN SAVE",
    "CSA REPORT",
}
_CORRECTED = {"MOCO", "MOCO_APPLIED"}
_KINDS = {*_DIXON, *_SUBTRACTED, *_PROJECTED, *_CORRECTED}
_NAMED_DERIVED = "a projection or a map by its name"
_REPEATED = "the same images again"
_FAT_OPTIONS = ("FS", "FATSAT", "FAT_SAT", "SPAIR", "SPIR")
_LONG_ECHO_MS = 30
_SAME_ECHO, _SAME_ANGLE = 0.02, 0.02  # relative differences within a stack


@dataclass(eq=False)
class Stack:
    """The slices of one volume, or the reason why they are none.

    Attributes
    ----------
    slices
        Sorted along their normal, unless there is a problem.
    phase
        1, 2… when its series holds several phases, else None.
    affine
        4×4, IJK → RAS mm.
    problem
        A sentence for the user, or "".
    name
        What a user recognises it by; no two stacks share one.
    clocks
        Earliest seconds of its slices, by each clock that the headers keep.
    dixon
        Which image of a Dixon acquisition it is ("water"), or what else than magnitudes it shows.
    exclusion
        Why it is never a dynamic phase nor a T1, or "".
    """

    slices: list[Slice]
    phase: int | None = None
    affine: np.ndarray | None = None
    problem: str = ""
    name: str = ""
    clocks: dict[str, float | None] = field(default_factory=dict)
    dixon: str = ""
    exclusion: str = ""

    @property
    def head(self) -> Slice:
        """The first slice, for what all have in common."""
        return self.slices[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.head.columns, self.head.rows, len(self.slices)

    @property
    def size(self) -> str:
        """The shape for messages."""
        return "×".join(map(str, self.shape))

    @property
    def stem(self) -> str:
        """The letters of its description, in lower case: what phases numbered in their names share."""
        return "".join(filter(str.isalpha, self.head.description.lower()))

    @property
    def source(self) -> str:
        """The folder of the first slice."""
        return str(self.head.path.parent)

    @property
    def option_fat_saturated(self) -> bool | None:
        """Whether the scan options say that fat is suppressed, None where there are none."""
        options = self.head.scan_options
        if options is None:
            return None
        return any(option in _FAT_OPTIONS or option.startswith("FAT") for option in options)

    @property
    def fat_saturated(self) -> bool | None:
        """Whether fat is suppressed, by description, else by scan options; None where neither tells."""
        said = says_fat_saturation(self.head.description)
        return said if said is not None else self.option_fat_saturated

    @property
    def is_repeated(self) -> bool:
        """Whether its images are there as others of its series, too."""
        return self.exclusion == _REPEATED

    @property
    def is_capture(self) -> bool:
        """Whether it is a screenshot or another image that no scanner made."""
        return f"{self.head.sop_class}.".startswith(f"{SECONDARY_CAPTURES}.")

    @property
    def is_named_derived(self) -> bool:
        """Whether it is excluded for its name alone, as a projection or a map."""
        return self.exclusion == _NAMED_DERIVED

    @property
    def is_corrected(self) -> bool:
        """Whether it was corrected for motion or registered, by its image type or its name."""
        return bool(_CORRECTED & set(self.head.image_type)) or looks_motion_corrected(self.head.description)

    @property
    def is_subtraction(self) -> bool:
        """Whether the scanner has subtracted."""
        return bool(_SUBTRACTED & set(self.head.image_type)) or looks_subtracted(self.head.description)


def dixon_of(item: Slice) -> str:
    """Which image of a Dixon acquisition it is by its image type, or what else than magnitudes; else ""."""
    return " ".join(sorted({_DIXON[word] for word in item.image_type[2:] if word in _DIXON}))


def build_stacks(slices: Sequence[Slice], where: Path) -> list[Stack]:
    """One stack per volume: by series, image geometry and kind of image, then by phase within the series.

    Parameters
    ----------
    slices
        In any order.
    where
        What to call their folder in messages.

    Returns
    -------
    list of Stack
        Also those that make no volume, with their problem.
    """
    stacks = []
    for group in _groups(slices):
        for part in phases_of(group):
            stack = Stack(part.slices, part.phase, problem=part.problem, dixon=dixon_of(part.slices[0]))
            stack.clocks = clocks_of(part.slices)
            stack.exclusion = _REPEATED if part.is_copy else _why_never(stack)
            stacks.append(stack)
    _name(stacks)
    for stack in stacks:
        if not stack.problem and not stack.is_repeated:
            stack.slices, stack.affine, stack.problem = place(stack.slices)
        stack.problem = f"{stack.name} in {where} {stack.problem}" if stack.problem else ""
    return stacks


def _why_never(stack: Stack) -> str:
    """Why a stack is never a dynamic phase nor a T1: other contrasts, projections, maps, captures."""
    head = stack.head
    words, name = set(head.image_type), head.description
    if _PROJECTED & words:
        return "a projection or a map by its image type"
    if looks_other_contrast(name):
        return "another contrast than T1, or a localizer, by its name"
    if "EP" in head.scanning_sequence or head.b_value is not None:
        return "diffusion, or echo-planar"
    if (head.echo_time_ms or 0) > _LONG_ECHO_MS:
        return f"another contrast than T1, with an echo time of {head.echo_time_ms:g} ms"
    if head.photometric not in ("MONOCHROME2", ""):
        return "in colour, or inverted"
    has_place = head.position is not None and head.orientation is not None
    is_made = "SECONDARY" in words and head.echo_time_ms is None and head.repetition_time_ms is None
    if not has_place and (stack.is_capture or is_made):
        return "a screen capture, or another image without a place in the patient"
    return _NAMED_DERIVED if looks_derived(name) else ""


def _groups(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one series, image geometry and kind of image."""
    series: dict[tuple, list[list[Slice]]] = {}
    for item in slices:
        key = (
            item.study_uid,
            item.patient,
            item.series_uid or item.path.parent,
            item.series_number,
            item.description,
            item.sop_class,
            item.rows,
            item.columns,
            frozenset(_KINDS.intersection(item.image_type)),
            item.b_value,
        )
        groups = series.setdefault(key, [])
        home = next((group for group in groups if _alike(group[0], item)), None)
        if home is None:
            groups.append([item])
        else:
            home.append(item)
    return [images for groups in series.values() for group in groups for images in _by_image_type(group)]


def _by_image_type(group: list[Slice]) -> list[list[Slice]]:
    """The images of each image type, where there are equally many of each: before and after a correction."""
    types: dict[tuple, list[Slice]] = {}
    for item in group:
        types.setdefault(item.image_type, []).append(item)
    positions = [sorted(item.position or () for item in images) for images in types.values()]
    return list(types.values()) if all(own == positions[0] for own in positions) else [group]


def _alike(a: Slice, b: Slice) -> bool:
    """Whether two images of a series can be of one volume: geometry, echo, flip angle, inversion."""
    return (
        parallel(a, b)
        and _near(a.echo_time_ms, b.echo_time_ms, _SAME_ECHO)
        and _near(a.flip_angle, b.flip_angle, _SAME_ANGLE)
        and _near(a.inversion_time_ms, b.inversion_time_ms, _SAME_ANGLE)
    )


def _near(a: float | None, b: float | None, share: float) -> bool:
    return a is b or (a is not None and b is not None and abs(a - b) <= share * max(abs(a), abs(b)))


def _name(stacks: list[Stack]) -> None:
    """Names a user recognises, with what tells series of one name apart where there are several."""
    numbers_called: dict[str, set[int | None]] = {}
    for stack in stacks:
        number = stack.head.series_number
        stack.name = stack.head.description or (
            f"series {number}" if number is not None else "unnamed series"
        )
        numbers_called.setdefault(stack.name, set()).add(number)
    for stack in stacks:
        if len(numbers_called[stack.name]) > 1 and stack.head.series_number is not None:
            stack.name += f" (series {stack.head.series_number})"
    called: dict[str, list[Stack]] = {}
    for stack in stacks:
        if stack.phase is not None:
            stack.name += f" phase {stack.phase}"
        called.setdefault(stack.name, []).append(stack)
    for alike in called.values():
        for number, stack in enumerate(alike[1:], 2):
            stack.name += f" [{number}]"
