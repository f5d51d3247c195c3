"""Which images form volumes: one stack for each, whatever the series they come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.geometry import LPS_FROM_RAS
from ...exam import looks_derived, looks_other_contrast, looks_subtracted, says_fat_saturation
from ..messages import counted
from .slices import Slice
from .times import clocks_of

MIN_SLICES = 4
_SAME_PLACE_MM = 0.02  # slices nearer to each other along their normal are at one position
_DIXON = set("W WATER F FAT IP IN_PHASE OP OUT_PHASE OPP_PHASE P R REAL I IMAGINARY".split()) | {"PHASE MAP"}
_SUBTRACTED = {"SUBTRACT", "SUBTRACTION", "SUB"}
_PROJECTED = set("MIP MINIP MPR LOCALIZER ADC WASHIN WASHOUT".split()) | {
    "PROJECTION IMAGE",
    "T1 MAP",
    "CSA MIP",
    "SCREEN SAVE",
}
_FAT_OPTIONS = ("FS", "FATSAT", "FAT_SAT", "SPAIR", "SPIR")
_LONG_ECHO_MS = 30


@dataclass
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
        What a user recognises it by.
    clocks
        Earliest seconds of its slices, by each clock that the headers keep.
    """

    slices: list[Slice]
    phase: int | None = None
    affine: np.ndarray | None = None
    problem: str = ""
    name: str = ""
    clocks: dict[str, float | None] = field(default_factory=dict)

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
    def source(self) -> str:
        """The folder of the first slice."""
        return str(self.head.path.parent)

    @property
    def dixon(self) -> set[str]:
        """Which of the images of a Dixon acquisition it is."""
        return dixon_of(self.head)

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
    def is_subtraction(self) -> bool:
        """Whether the scanner has subtracted."""
        return bool(_SUBTRACTED & set(self.head.image_type)) or looks_subtracted(self.head.description)

    @property
    def is_excluded(self) -> bool:
        """Never a dynamic phase nor a T1: other contrasts, projections, maps, diffusion, colour."""
        head = self.head
        return bool(
            _PROJECTED & set(head.image_type)
            or looks_derived(head.description)
            or looks_other_contrast(head.description)
            or "EP" in head.scanning_sequence
            or head.b_value is not None
            or (head.echo_time_ms or 0) > _LONG_ECHO_MS
            or head.photometric not in ("MONOCHROME2", "")
        )


def dixon_of(item: Slice) -> set[str]:
    """Words of the image type that tell the images of a Dixon acquisition apart."""
    return _DIXON & set(item.image_type[2:])


def normal_of(item: Slice) -> np.ndarray | None:
    """The unit normal (3,) of a slice, LPS; None when its axes are not two perpendicular unit vectors."""
    if item.orientation is None:
        return None
    row, column = np.array(item.orientation[:3]), np.array(item.orientation[3:])
    if (
        abs(np.linalg.norm(row) - 1) > 0.01
        or abs(np.linalg.norm(column) - 1) > 0.01
        or abs(row @ column) > 0.01
    ):
        return None
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


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
    stacks = [stack for group in _groups(slices) for stack in _phases(group)]
    _name(stacks)
    for stack in stacks:
        problem = stack.problem or _place(stack)
        stack.problem = f"{stack.name} in {where} {problem}" if problem else ""
        stack.clocks = clocks_of(stack.slices)
    return stacks


def _groups(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one series, image geometry and kind of image."""
    groups: dict[tuple, list[Slice]] = {}
    for item in slices:
        key = (
            item.study_uid,
            item.series_uid,
            item.rows,
            item.columns,
            None if item.orientation is None else tuple(round(v, 3) + 0.0 for v in item.orientation),
            None if item.pixel_spacing is None else tuple(round(v, 3) for v in item.pixel_spacing),
            tuple(sorted(dixon_of(item))),
            None if item.echo_time_ms is None else round(item.echo_time_ms, 1),
            item.b_value,
        )
        groups.setdefault(key, []).append(item)
    return list(groups.values())


# ---------------------------------------------------------------- phases of one series


def _phases(group: list[Slice]) -> list[Stack]:
    """One stack for each phase in a group of slices, or one of all of them with its problem."""
    normal = normal_of(group[0])
    if normal is None or any(item.position is None for item in group):
        problem = "tells no usable slice positions or orientation in its headers; export the series again."
        return [Stack(group, problem=problem)]
    places = _places(np.array([np.dot(item.position, normal) for item in group]))
    counts = np.bincount(places)  # images at each place
    if counts.max() == 1:
        return [Stack(group)]
    if len(counts) == 1:
        problem = (
            f"holds {len(group)} images that all claim one slice position; its headers are wrong, "
            "export the series again."
        )
        return [Stack(group, problem=problem)]
    phases = _by_header(group, places, counts)
    if phases is None:
        if counts.min() != counts.max():
            problem = (
                f"holds {len(group)} images at {len(counts)} slice positions, which makes no whole number "
                "of phases: slices are missing or doubled; export the series again."
            )
            return [Stack(group, problem=problem)]
        phases = _by_instance(group, places, counts)
    return [Stack(phase, number if len(phases) > 1 else None) for number, phase in enumerate(phases, 1)]


def _places(along: np.ndarray) -> np.ndarray:
    """The number of each slice's position, counted along the normal (mm)."""
    order = np.argsort(along, kind="stable")
    places = np.empty(len(along), int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > _SAME_PLACE_MM)])
    return places


_PHASE_KEYS: tuple[Callable[[Slice], float | None], ...] = (
    lambda item: item.temporal_position,
    lambda item: item.acquisition_number,
    lambda item: item.clocks["datetime"],
    lambda item: item.clocks["acquisition"],
    lambda item: item.trigger_ms,
    lambda item: item.clocks["content"],
)


def _by_header(group: list[Slice], places: np.ndarray, counts: np.ndarray) -> list[list[Slice]] | None:
    """Phases by the first header field that tells whole ones apart.

    Else by the first that tells as many as there are images at a place.
    """
    incomplete = None
    for key in _PHASE_KEYS:
        values = [key(item) for item in group]
        if any(value is None for value in values):
            continue
        members: dict[float, list[int]] = {}
        for index, value in enumerate(values):
            members.setdefault(value, []).append(index)
        if len(members) < 2 or any(len(set(places[phase])) != len(phase) for phase in members.values()):
            continue
        phases = [[group[index] for index in members[value]] for value in sorted(members)]
        if all(len(phase) == len(counts) for phase in phases):
            return phases
        if incomplete is None and len(members) == counts.max():
            incomplete = phases
    return incomplete


def _by_instance(group: list[Slice], places: np.ndarray, counts: np.ndarray) -> list[list[Slice]]:
    """Phases by instance number: the n-th image at each place belongs to the n-th phase."""

    def instance(index: int) -> tuple:
        number = group[index].instance_number
        return number is None, number or 0, str(group[index].path)

    phases: list[list[Slice]] = [[] for _ in range(counts.max())]
    met = np.zeros(len(counts), int)
    for index in sorted(range(len(group)), key=instance):
        phases[met[places[index]]].append(group[index])
        met[places[index]] += 1
    return phases


def _name(stacks: list[Stack]) -> None:
    """Names a user recognises; the series number is added where two series are called the same."""
    series_called: dict[str, set[str]] = {}
    for stack in stacks:
        number = stack.head.series_number
        stack.name = stack.head.description or (
            f"series {number}" if number is not None else "unnamed series"
        )
        series_called.setdefault(stack.name, set()).add(stack.head.series_uid)
    for stack in stacks:
        if len(series_called[stack.name]) > 1 and stack.head.series_number is not None:
            stack.name += f" (series {stack.head.series_number})"
        if stack.phase is not None:
            stack.name += f" phase {stack.phase}"


# ---------------------------------------------------------------- the place of a stack


def _place(stack: Stack) -> str:
    """Sort the slices along the normal and set the affine; or say what is wrong, after the stack's name."""
    normal = normal_of(stack.head)
    spacing, orientation = stack.head.pixel_spacing, stack.head.orientation
    positions = np.array([item.position for item in stack.slices])
    order = np.argsort(positions @ normal, kind="stable")
    stack.slices = [stack.slices[index] for index in order]
    positions = positions[order]
    if spacing is None or min(spacing) <= 0:
        return "tells no usable pixel spacing in its headers; export the series again."
    if len(positions) < MIN_SLICES:
        return f"has only {counted(len(positions), 'slice')}; choose a 3-D series."
    if uneven := _uneven(stack.slices, np.diff(positions @ normal)):
        return f"{uneven}; copy or export the whole series again."
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = step - normal * (step @ normal)
    if np.linalg.norm(sideways) * (len(positions) - 1) > 0.5 * min(spacing):
        return "has slices shifted sideways (a tilted or sheared stack); resample it to a regular grid first."
    row = np.array(orientation[:3])
    row = row / np.linalg.norm(row)
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[1]
    lps[:3, 1] = np.cross(normal, row) * spacing[0]
    lps[:3, 2] = normal * (step @ normal)
    lps[:3, 3] = positions[0]
    stack.affine = LPS_FROM_RAS @ lps
    return ""


def _uneven(slices: Sequence[Slice], gaps: np.ndarray) -> str:
    """What is wrong with the distances (mm) between slices, or ""."""
    usual = float(np.median(gaps))
    if np.abs(gaps - usual).max() <= max(0.1 * usual, 0.03):
        return ""
    worst = int(np.abs(gaps - usual).argmax())
    missing = round(float(gaps[worst]) / usual) - 1
    if missing >= 1 and abs(gaps[worst] / usual - missing - 1) < 0.2:
        before, after = slices[worst].path.name, slices[worst + 1].path.name
        return f"misses {counted(missing, 'slice')} between {before} and {after}"
    return f"has uneven slice distances ({gaps.min():.2f} to {gaps.max():.2f} mm)"
