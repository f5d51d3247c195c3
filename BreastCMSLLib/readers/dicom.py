"""DICOM folders: which images form volumes, which volumes are the dynamic phases, which one is the T1.

The way from files to an exam: ``dicom_slices.scan`` reads headers; ``build_stacks`` makes one stack per volume (a series
may hold several phases); ``_choose_dynamics`` takes the largest set of volumes of one study, grid and protocol;
``_choose_t1`` looks for a T1 without fat saturation from before the contrast agent; only then are pixels read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.geometry import LPS_FROM_RAS, Volume, apply_affine, breasts_covered, grid_distance
from ..exam.exam import WHOLE_T1, Exam, Phase, make_exam
from ..exam.phase_order import looks_pre_contrast, looks_subtracted, order_phases
from .clock import DAY, across_midnight
from .detect import (
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_t1,
    missing_pre,
    says_fat_saturation,
)
from .dicom_slices import Scan, Slice, load_pixels, scan, walk_files

_MIN_SLICES = 4
_GRID_TOLERANCE_MM = 0.1
_DIXON = {"W", "WATER", "F", "FAT", "IP", "IN_PHASE", "OP", "OUT_PHASE", "OPP_PHASE", "P", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}
_SUBTRACTED_TYPES = {"SUBTRACT", "SUBTRACTION", "SUB"}
_PROJECTED_TYPES = {"MIP", "MINIP", "PROJECTION IMAGE", "MPR", "LOCALIZER", "ADC", "T1 MAP", "WASHIN", "WASHOUT", "CSA MIP", "SCREEN SAVE"}


@dataclass
class Stack:
    """The slices of one volume, sorted along their normal, or the reason (``problem``) why they are none.

    affine: IJK → RAS mm. clocks: earliest seconds of its slices by each clock the headers keep.
    phase: 1, 2… when its series holds several phases, else None.
    """

    slices: list[Slice]
    phase: int | None = None
    affine: np.ndarray | None = None
    problem: str = ""
    name: str = ""
    clocks: dict[str, float | None] = field(default_factory=dict)

    @property
    def head(self) -> Slice:
        return self.slices[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.head.columns, self.head.rows, len(self.slices)

    @property
    def size(self) -> str:
        return "×".join(map(str, self.shape))

    @property
    def source(self) -> str:
        return str(self.head.path.parent)

    @property
    def fat_saturated(self) -> bool | None:
        said = says_fat_saturation(self.head.description)
        return said if said is not None else _option_fat_saturation(self.head)

    @property
    def is_subtraction(self) -> bool:
        return bool(_SUBTRACTED_TYPES & set(self.head.image_type)) or looks_subtracted(self.head.description)

    @property
    def is_excluded(self) -> bool:
        """Never a dynamic phase nor a T1: other contrasts, projections, maps, diffusion, colour."""
        head = self.head
        return bool(
            _PROJECTED_TYPES & set(head.image_type)
            or looks_derived(head.description)
            or looks_other_contrast(head.description)
            or "EP" in head.scanning_sequence
            or head.b_value is not None
            or (head.echo_time_ms or 0) > 30
            or head.photometric not in ("MONOCHROME2", "")
        )


def read_dicom(paths: Iterable[Path], where: Path, *, kind: str = "auto", t1: Phase | None = None, t1_uids: Iterable[str] = ()) -> Exam:
    """The exam in DICOM files.

    paths: candidate files, other formats are passed over. where: what to call them in messages.
    kind: "auto", "phases" or "subtractions" as in ``exam.make_exam``. t1: a T1 read already, then none is looked for;
    t1_uids: series that belong to it, so that they cannot be phases too.
    Raises InputError with one sentence naming the series or the folder.
    """
    found = scan(paths)
    _check_scan(found, where)
    stacks = build_stacks(found.slices, where)
    dynamics, are_subtractions = _choose_dynamics([s for s in stacks if s.head.series_uid not in set(t1_uids)], kind, where, found)
    messages: list[str] = []
    if found.damaged:
        messages.append(f"{_count(len(found.damaged), 'damaged DICOM file')} ({found.damaged[0].name}) could not be read.")
    chosen = {id(s) for s in dynamics}
    subtractions = [s.name for s in stacks if s.is_subtraction and not s.is_excluded and id(s) not in chosen]
    if subtractions and not are_subtractions:
        messages.append(f"The scanner's own subtractions ({_listing(subtractions)}) were left out, since the phases themselves are here.")
    if len({s.head.study_uid for s in stacks}) > 1:
        messages.append("Images of other studies in the folder were left out.")
    messages += _other_acquisitions(stacks, dynamics)
    times = phase_times(dynamics)
    split = any(stack.phase is not None for stack in dynamics)
    phases = [_phase(stack, time, number_from_header=not split) for stack, time in zip(dynamics, times, strict=True)]
    if t1 is None:
        t1_stack, remarks = _choose_t1(stacks, dynamics, times, where)
        messages += remarks
        t1 = None if t1_stack is None else _phase(t1_stack, None)
    stack_of = {id(phase): stack for phase, stack in zip(phases, dynamics, strict=True)}
    ordered = order_phases(phases)
    uids = list(dict.fromkeys(stack_of[id(phase)].head.series_uid for phase in ordered))
    head = stack_of[id(ordered[0])].head
    identifiers = {
        "study_instance_uid": head.study_uid or None,
        "series_instance_uids": uids,
        "manufacturer": head.manufacturer or None,
        "magnetic_field_strength_t": head.field_strength_t,
    }
    exam_kind = "subtractions" if are_subtractions else "phases"
    if not are_subtractions:
        messages += missing_pre([phase.name for phase in ordered], kind, str(where))
    return make_exam(phases, kind=exam_kind, t1=t1, identifiers=identifiers, warnings=messages)


def _other_acquisitions(stacks: Sequence[Stack], chosen: Sequence[Stack]) -> list[str]:
    """A remark for each set of as many phases on another grid: one breast at a time, or an acquisition done again."""
    members = {id(s) for s in chosen}
    head = chosen[0].head
    others = [
        s
        for s in stacks
        if id(s) not in members
        and not (s.is_excluded or s.problem or s.is_subtraction != chosen[0].is_subtraction or s.head.study_uid != head.study_uid)
        and not _same_grid(s, chosen[0])
    ]
    return [
        f"{group[0].name} and {len(group) - 1} more of its {_count(len(group), 'phase')} lie on another grid and were left out: only one "
        "acquisition is analysed at a time, so analyse the other breast or repetition by itself."
        for group in _sets(others)
        if len(group) >= len(chosen)
    ]


def read_dicom_volume(paths: Iterable[Path], where: Path) -> tuple[Phase, str]:
    """The only MR volume in the files (a T1 the user points at) and its SeriesInstanceUID."""
    found = scan(paths)
    _check_scan(found, where)
    stacks = [s for s in build_stacks(found.slices, where) if len(s.slices) >= _MIN_SLICES]
    for stack in stacks:
        if stack.problem:
            raise InputError(stack.problem)
    if len(stacks) != 1:
        raise InputError(f"{where} holds {_count(len(stacks), 'MR volume')}, not one; choose the folder of the T1 series alone.")
    return _phase(stacks[0], None), stacks[0].head.series_uid


def is_dicom_folder(folder: Path) -> bool:
    """True when any file below the folder is DICOM."""
    from .dicom_slices import is_dicom

    return any(is_dicom(path) for path in walk_files(folder))


def build_stacks(slices: Sequence[Slice], where: Path) -> list[Stack]:
    """One stack per volume: by series, image geometry and kind of image, then by phase within the series."""
    groups: dict[tuple, list[Slice]] = {}
    for item in slices:
        orientation = None if item.orientation is None else tuple(round(v, 3) + 0.0 for v in item.orientation)
        spacing = None if item.pixel_spacing is None else tuple(round(v, 3) for v in item.pixel_spacing)
        marks = tuple(sorted(_DIXON & set(item.image_type[2:])))
        echo = None if item.echo_time_ms is None else round(item.echo_time_ms, 1)
        key = (item.study_uid, item.series_uid, item.rows, item.columns, orientation, spacing, marks, echo, item.b_value)
        groups.setdefault(key, []).append(item)
    stacks: list[Stack] = []
    for group in groups.values():
        phases, problem = _split_phases(group)
        for number, phase in enumerate(phases, 1):
            stacks.append(Stack(phase, number if len(phases) > 1 else None, problem=problem))
    _name(stacks)
    for stack in stacks:
        label = f"{stack.name} in {where}"
        if stack.problem:
            stack.problem = f"{label} {stack.problem}"
        else:
            _place(stack, label)
        for clock in stack.head.clocks:
            stack.clocks[clock] = _earliest([s.clocks[clock] for s in stack.slices])
        _add_relative_clocks(stack)
    return stacks


def _split_phases(group: list[Slice]) -> tuple[list[list[Slice]], str]:
    """The phases of one series and "", or all its slices and what is wrong with them."""
    normal = _normal(group[0])
    if normal is None or any(s.position is None for s in group):
        return [group], "tells no usable slice positions or orientation in its headers; export the series again."
    along = np.array([np.dot(s.position, normal) for s in group])
    order = np.argsort(along, kind="stable")
    places = np.empty(len(group), int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > 0.02)])
    counts = np.bincount(places)
    if counts.max() == 1:
        return [group], ""
    if len(counts) == 1:
        return [group], f"holds {len(group)} images that all claim one slice position; its headers are wrong, export the series again."

    def trigger(s: Slice) -> float | None:
        return s.trigger_ms

    keys: list[Callable[[Slice], float | None]] = [
        lambda s: s.temporal_position,
        lambda s: s.acquisition_number,
        lambda s: s.clocks["datetime"],
        lambda s: s.clocks["acquisition"],
        trigger,
        lambda s: s.clocks["content"],
    ]
    partial = None
    for key in keys:
        values = [key(s) for s in group]
        if any(v is None for v in values):
            continue
        parts: dict[float, list[int]] = {}
        for index, value in enumerate(values):
            parts.setdefault(value, []).append(index)
        if len(parts) < 2 or any(len(set(places[part])) != len(part) for part in parts.values()):
            continue
        result = [[group[i] for i in parts[value]] for value in sorted(parts)]
        if all(len(part) == len(counts) for part in result):
            return result, ""
        if partial is None and len(parts) == counts.max():
            partial = result
    if partial is not None:
        return partial, ""
    if counts.min() != counts.max():
        return [group], (
            f"holds {len(group)} images at {len(counts)} slice positions, which makes no whole number of phases: "
            "slices are missing or doubled; export the series again."
        )
    ranked = sorted(range(len(group)), key=lambda i: (group[i].instance_number is None, group[i].instance_number or 0, str(group[i].path)))
    taken, result = np.zeros(len(counts), int), [[] for _ in range(counts.max())]
    for index in ranked:  # the n-th image at each position belongs to the n-th phase
        result[taken[places[index]]].append(group[index])
        taken[places[index]] += 1
    return result, ""


def _name(stacks: list[Stack]) -> None:
    """Names a user recognises; the series number is added where two series are called the same."""
    series_called: dict[str, set[str]] = {}
    for stack in stacks:
        number = stack.head.series_number
        stack.name = stack.head.description or (f"series {number}" if number is not None else "unnamed series")
        series_called.setdefault(stack.name, set()).add(stack.head.series_uid)
    for stack in stacks:
        if len(series_called[stack.name]) > 1 and stack.head.series_number is not None:
            stack.name += f" (series {stack.head.series_number})"
        if stack.phase is not None:
            stack.name += f" phase {stack.phase}"


def _place(stack: Stack, label: str) -> None:
    """Sort the slices along the normal and find the affine, or note the problem."""
    first = stack.head
    normal = _normal(first)
    positions = np.array([s.position for s in stack.slices])
    order = np.argsort(positions @ normal, kind="stable")
    stack.slices = [stack.slices[i] for i in order]
    positions = positions[order]
    spacing = first.pixel_spacing
    if spacing is None or min(spacing) <= 0:
        stack.problem = f"{label} tells no usable pixel spacing in its headers; export the series again."
        return
    if len(positions) < _MIN_SLICES:
        stack.problem = f"{label} has only {_count(len(positions), 'slice')}; choose a 3-D series."
        return
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if np.abs(gaps - usual).max() > max(0.1 * usual, 0.03):
        worst = int(np.abs(gaps - usual).argmax())
        missing = round(float(gaps[worst]) / usual) - 1
        what = (
            f"misses {_count(missing, 'slice')} between {stack.slices[worst].path.name} and {stack.slices[worst + 1].path.name}"
            if missing >= 1 and abs(gaps[worst] / usual - missing - 1) < 0.2
            else f"has uneven slice distances ({gaps.min():.2f} to {gaps.max():.2f} mm)"
        )
        stack.problem = f"{label} {what}; copy or export the whole series again."
        return
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = step - normal * (step @ normal)
    if np.linalg.norm(sideways) * (len(positions) - 1) > 0.5 * min(spacing):
        stack.problem = f"{label} has slices shifted sideways (a tilted or sheared stack); resample it to a regular grid first."
        return
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    lps = np.eye(4)
    lps[:3, 0] = row / np.linalg.norm(row) * spacing[1]
    lps[:3, 1] = np.cross(normal, row / np.linalg.norm(row)) * spacing[0]
    lps[:3, 2] = normal * (step @ normal)
    lps[:3, 3] = positions[0]
    if np.dot(lps[:3, 1], column) < 0:  # cannot happen with a normal from both axes; guards later edits
        raise AssertionError("the column axis must follow the header")
    stack.affine = LPS_FROM_RAS @ lps


def _normal(item: Slice) -> np.ndarray | None:
    """The unit normal of a slice in LPS, None when its orientation is not two perpendicular unit vectors."""
    if item.orientation is None:
        return None
    row, column = np.array(item.orientation[:3]), np.array(item.orientation[3:])
    if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
        return None
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def _earliest(values: Sequence[float | None]) -> float | None:
    if not values or any(v is None for v in values):
        return None
    return min(across_midnight(values))


def _add_relative_clocks(stack: Stack) -> None:
    """Clocks that count from the start of the series: trigger delay, temporal position times resolution."""
    head, start = stack.head, stack.clocks.get("acquisition")
    trigger = [s.trigger_ms for s in stack.slices]
    if start is not None and all(t is not None for t in trigger):
        stack.clocks["trigger"] = start + min(trigger) / 1000
    if head.temporal_position is not None and head.temporal_resolution_ms:
        base = stack.clocks.get("series")
        if base is not None:
            stack.clocks["temporal"] = base + (head.temporal_position - 1) * head.temporal_resolution_ms / 1000


def phase_times(stacks: Sequence[Stack]) -> list[float | None]:
    """Seconds from the earliest of the stacks to each, by the best clock that all keep and that tells them apart.

    None for all when there is no such clock (anonymised files): the order then comes from numbers and names.
    """
    for clock, closest in (("datetime", 0.5), ("acquisition", 0.5), ("trigger", 0.5), ("temporal", 0.5), ("content", 2.0), ("series", 2.0)):
        values = [s.clocks.get(clock) for s in stacks]
        if any(v is None for v in values):
            continue
        if max(values) - min(values) > DAY:  # some files lost their date: compare the times of day
            values = [v % DAY for v in values]
        values = across_midnight(values)
        if len(values) > 1 and np.diff(np.sort(values)).min() < closest:
            continue
        if not _follows_phases(stacks, values):
            continue
        start = min(values)
        return [round(v - start, 3) for v in values]
    return [None] * len(stacks)


def _follows_phases(stacks: Sequence[Stack], values: Sequence[float]) -> bool:
    """False when a clock contradicts the temporal positions inside one series: then it is no clock of the acquisition."""
    series: dict[str, list[tuple[int, float]]] = {}
    for stack, value in zip(stacks, values, strict=True):
        if stack.phase is not None and stack.head.temporal_position is not None:
            series.setdefault(stack.head.series_uid, []).append((stack.head.temporal_position, value))
    return all(list(pairs) == sorted(pairs, key=lambda p: p[1]) for pairs in (sorted(p) for p in series.values()))


def _option_fat_saturation(item: Slice) -> bool | None:
    if item.scan_options is None:
        return None
    return any(o in ("FS", "FATSAT", "FAT_SAT", "SPAIR", "SPIR") or o.startswith("FAT") for o in item.scan_options)


def _same_protocol(a: Stack, b: Stack) -> bool:
    """Whether two stacks can be phases of one dynamic acquisition, as far as their headers tell."""
    x, y = a.head, b.head
    said = says_fat_saturation(x.description), says_fat_saturation(y.description)
    if said[0] is not said[1] and False in said:
        return False
    options = _option_fat_saturation(x), _option_fat_saturation(y)
    if None not in options and options[0] is not options[1] and None in said:
        return False
    for one, other, ratio in ((x.echo_time_ms, y.echo_time_ms, 1.25), (x.repetition_time_ms, y.repetition_time_ms, 1.6)):
        if one and other and max(one, other) > ratio * min(one, other):
            return False
    if _DIXON & set(x.image_type[2:]) != _DIXON & set(y.image_type[2:]):
        return False
    return x.study_uid == y.study_uid


def _same_grid(a: Stack, b: Stack) -> bool:
    return a.shape == b.shape and grid_distance(a.shape, a.affine, b.affine) <= _GRID_TOLERANCE_MM


def _sets(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks grouped by grid and protocol, the largest set first; among equals the fat-saturated, then the finest."""
    sets: list[list[Stack]] = []
    for stack in stacks:
        home = next((s for s in sets if _same_grid(s[0], stack) and _same_protocol(s[0], stack)), None)
        if home is None:
            sets.append([stack])
        else:
            home.append(stack)
    originals = []
    for group in sets:  # motion-corrected copies and the like lie beside the originals: take those
        kept = [s for s in group if "DERIVED" not in s.head.image_type[:1]]
        originals.append(kept if len(kept) >= 2 else group)
    water = {"W", "WATER"}
    return sorted(
        originals,
        key=lambda g: (len(g), bool(water & set(g[0].head.image_type[2:])), bool(g[0].fat_saturated), np.prod(g[0].shape)),
        reverse=True,
    )


def _choose_dynamics(stacks: Sequence[Stack], kind: str, where: Path, found: Scan) -> tuple[list[Stack], bool]:
    """The dynamic phases (in any order) and whether they are subtractions."""
    usable = [s for s in stacks if not s.is_excluded]
    valid = [s for s in usable if not s.problem]
    studies: dict[str, tuple[list[Stack], bool]] = {}
    for study in dict.fromkeys(s.head.study_uid for s in valid):
        of_study = [s for s in valid if s.head.study_uid == study]
        phases = next(iter(_sets([s for s in of_study if not s.is_subtraction])), [])
        subtractions = next(iter(_sets([s for s in of_study if s.is_subtraction])), [])
        studies[study] = _phases_or_subtractions(phases, subtractions, kind)
    with_dynamics = [study for study, (chosen, _) in studies.items() if len(chosen) >= 2]
    if len(with_dynamics) > 1:
        folders = [f"{studies[study][0][0].source} (study {study})" for study in with_dynamics]
        raise InputError(f"{where} holds the dynamic series of {len(with_dynamics)} studies; choose one of them: {', '.join(folders)}.")
    if with_dynamics:
        chosen, are_subtractions = studies[with_dynamics[0]]
        _check_incomplete(chosen, [s for s in usable if s.is_subtraction == are_subtractions], where)
        return chosen, are_subtractions
    raise InputError(_why_no_dynamics(usable, valid, kind, where, found))


def _phases_or_subtractions(phases: list[Stack], subtractions: list[Stack], kind: str) -> tuple[list[Stack], bool]:
    """Originals where a pre-contrast phase is surely among them, else the scanner's subtractions."""
    if kind == "phases":
        return phases, False
    if kind == "subtractions":
        return (subtractions, True) if subtractions else (phases, True)
    agents = {s.head.contrast_agent for s in phases}
    has_pre = any(looks_pre_contrast(s.head.description) for s in phases) or agents == {True, False}
    if len(phases) >= 2 and (len(phases) > len(subtractions) or has_pre):
        return phases, False
    return (subtractions, True) if len(subtractions) >= 2 else (phases, False)


def _check_incomplete(chosen: list[Stack], candidates: Sequence[Stack], where: Path) -> None:
    """Refuse to go on without a phase that plainly belongs to the chosen ones but lacks slices."""
    reference, members = chosen[0], {id(s) for s in chosen}
    head, normal = reference.head, _normal(reference.head)
    for stack in candidates:
        other = stack.head
        if id(stack) in members or not _same_protocol(reference, stack):
            continue
        if (other.rows, other.columns) != (head.rows, head.columns) or len(stack.slices) < 0.7 * len(reference.slices):
            continue
        if stack.problem:  # what its header tells of its place cannot be trusted, unless it plainly lies across
            across = _normal(other)
            if across is None or abs(across @ normal) > 0.99:
                raise InputError(stack.problem)
            continue
        if not np.allclose(other.orientation, head.orientation, atol=1e-3) or not np.allclose(
            other.pixel_spacing, head.pixel_spacing, rtol=1e-3
        ):
            continue
        offset = np.subtract(other.position, head.position)
        if np.linalg.norm(offset - normal * (offset @ normal)) > 0.5:
            continue
        short, full = sorted((stack, reference), key=lambda s: len(s.slices))
        if len(short.slices) != len(full.slices):
            raise InputError(
                f"{short.name} in {where} has {len(short.slices)} slices but {full.name} has {len(full.slices)}: "
                "some are missing; copy or export the whole series again."
            )


def _why_no_dynamics(usable: list[Stack], valid: list[Stack], kind: str, where: Path, found: Scan) -> str:
    damaged = f" ({_count(len(found.damaged), 'file')} could not be read, {found.damaged[0].name} for one)" if found.damaged else ""
    bad = [s for s in usable if s.problem and len(s.slices) >= _MIN_SLICES]
    if bad:
        return bad[0].problem
    if kind == "phases" and any(s.is_subtraction for s in valid):
        return f"{where} holds only subtractions, no dynamic phases; choose subtractions as the kind of input."
    candidates = [s for s in valid if not s.is_subtraction] or valid
    if len(candidates) == 1:
        return (
            f"Only one dynamic phase ({candidates[0].name}) was found in {where}{damaged}; "
            "add the pre- or post-contrast series of the same acquisition."
        )
    if candidates:
        sizes = _listing([f"{s.name} {s.size}" for s in candidates])
        return f"No two MR series in {where} share one grid and protocol ({sizes}){damaged}; choose the folder with all dynamic phases."
    return f"{where} holds MR images but no dynamic T1-weighted volumes{damaged}; choose the folder with the pre- and post-contrast series."


def _check_scan(found: Scan, where: Path) -> None:
    """Say plainly when there is nothing to work with."""
    if found.slices:
        return
    if not found.files:
        raise InputError(f"{where} is empty; choose the folder with the exam's DICOM or volume files.")
    if found.multiframe:
        raise InputError(
            f"{found.multiframe[0]} in {where} is a multi-frame object that does not tell where its frames lie; "
            "export it as Enhanced MR or as single slices."
        )
    if found.damaged:
        raise InputError(f"{where} has no readable MR image: {found.damaged[0].name} is damaged; copy or export it again.")
    others = sorted(m for m in found.modalities if m != "MR")
    if others:
        raise InputError(f"{where} is not an MRI: it holds images of modality {', '.join(others)}; choose a breast MRI exam.")
    raise InputError(f"{where} holds no DICOM images and no NRRD, NIfTI or MHA volumes; choose the folder of the exam.")


def _choose_t1(
    stacks: Sequence[Stack], dynamics: Sequence[Stack], times: Sequence[float | None], where: Path
) -> tuple[Stack | None, list[str]]:
    """A T1 without fat saturation from before the contrast agent, on any grid that overlaps the dynamics; and remarks."""
    remarks: list[str] = []
    members = {id(s) for s in dynamics}
    reference = dynamics[0]
    series = {s.head.series_uid for s in dynamics}
    candidates = []
    for stack in stacks:
        if id(stack) in members or stack.head.series_uid in series or stack.head.study_uid != reference.head.study_uid:
            continue
        if stack.is_excluded or stack.is_subtraction or stack.fat_saturated or not _t1_weighted(stack):
            continue
        if len(stack.slices) < 8 or (stack.affine is not None and not _overlaps(stack, reference)):
            continue
        if stack.problem:
            # the sentence goes into results: it must not carry the folder, which may be named after the patient
            remarks.append(f"The T1 was left out: {stack.problem.replace(f' in {where}', '')}")
            continue
        before, why = _before_contrast(stack, dynamics, times)
        if before is False:
            remarks.append(f"{stack.name} was left out: {why}.")
        else:
            whole = breasts_covered(reference.shape, reference.affine, stack.shape, stack.affine) >= WHOLE_T1
            unsaturated = says_fat_saturation(stack.head.description) is False
            candidates.append((before is True, whole, unsaturated, int(np.prod(stack.shape)), stack))
    if not candidates:
        return None, remarks  # preprocessing says what the breasts were found on instead
    sure, *_, best = max(candidates, key=lambda c: c[:4])
    if not sure:
        remarks.append(f"{best.name} was taken for the T1, though its headers do not tell that it is from before the contrast agent.")
    return best, remarks


def _t1_weighted(stack: Stack) -> bool:
    if looks_t1(stack.head.description):
        return True
    echo, repetition = stack.head.echo_time_ms, stack.head.repetition_time_ms
    # names fail: short echo and short repetition time make T1 weighting, and the header must rule out fat saturation
    return stack.fat_saturated is False and echo is not None and repetition is not None and echo <= 20 and repetition <= 900


def _overlaps(stack: Stack, reference: Stack) -> bool:
    """Whether the T1's field holds the middle of the dynamics'."""
    middle = apply_affine(reference.affine, (np.array(reference.shape) - 1) / 2)
    index = apply_affine(np.linalg.inv(stack.affine), middle)
    return bool(((index >= 0) & (index <= np.array(stack.shape) - 1)).all())


def _before_contrast(stack: Stack, dynamics: Sequence[Stack], times: Sequence[float | None]) -> tuple[bool | None, str]:
    """True or False with the reason, None when neither name nor header tells."""
    description = stack.head.description
    if looks_post_contrast(description):
        return False, "its name says it was acquired after the contrast agent"
    posts = list(dynamics)
    if times[0] is not None and not all(s.is_subtraction for s in dynamics):
        posts.remove(posts[int(np.argmin(times))])
    elif len(agentless := [s for s in dynamics if not s.head.contrast_agent]) == 1:
        posts.remove(agentless[0])
    for clock in ("datetime", "acquisition", "content", "series"):
        own, others = stack.clocks.get(clock), [s.clocks.get(clock) for s in posts]
        if own is None or any(v is None for v in others):
            continue
        values = [own, *others]
        if max(values) - min(values) > DAY:
            values = [v % DAY for v in values]
        values = across_midnight(values)
        if values[0] != min(values[1:]):
            return (True, "") if values[0] < min(values[1:]) else (False, "it was acquired after the contrast agent")
    if looks_pre_contrast(description):
        return True, ""
    if stack.head.contrast_agent:
        return False, "its header names a contrast agent"
    numbers = [s.head.series_number for s in posts]
    if stack.head.series_number is not None and None not in numbers and stack.head.series_number != min(numbers):
        return (True, "") if stack.head.series_number < min(numbers) else (False, "it comes after the contrast agent in the series")
    return None, ""


def _phase(stack: Stack, time_s: float | None, *, number_from_header: bool = True) -> Phase:
    """Read the pixels. Phases of one series carry their place in it as acquisition number, comparable only within the series."""
    return Phase(
        volume=Volume(load_pixels(stack.slices, stack.name), stack.affine),
        name=stack.name,
        source=stack.source,
        time_s=time_s,
        acquisition_number=stack.head.acquisition_number if number_from_header else stack.phase,
        series_number=stack.head.series_number,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listing(names: Sequence[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
