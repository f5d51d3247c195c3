"""From volume files to an exam: what each file is, by its name, folder and header, and then its voxels."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.text import one_line
from ..exam import (
    MIN_PHASES,
    Exam,
    ExamPlan,
    Phase,
    PlannedStack,
    check_number,
    check_volume,
    guess_kind,
    holds_segmentations,
    looks_pre_contrast,
    make_exam,
    missing_pre,
    order_phases,
    pre_contrast_names,
    subtracted_names,
    uncertain_order,
    with_times_of_names,
)
from ..exam.plan import LEFT_OUT, POST, PRE, PROBLEM, SUBTRACTION, T1, sorted_stacks
from .confirmation import confirm
from .folders import is_dead, is_pointer
from .headers import check_header
from .messages import counted, listing
from .options import ReadOptions
from .roles import Named, Roles, assign_roles, roles_as_told
from .volumes import NoVolume, is_volume_file, read_volume_file, several, stem, volumes_in

_MAX_FILES = 40
_SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")
_WITH_DATA_BESIDE = (".nhdr", ".mhd")
_FOREIGN_IMAGES = (".hdr", ".img", ".mgz", ".mgh", ".mnc", ".par", ".rec", ".nii.bz2", ".nii.zst", ".gipl")
_OTHERS, _AGAIN = "other files", "the same again"  # stacks without a remark
_SINGLY = 4  # remarks of one reason; more become one


@dataclass(frozen=True)
class PlannedVolume:
    """A volume in a file, before its voxels are read.

    Attributes
    ----------
    facts
        Its name, source and time; its ``volume`` is None.
    named
        What names tell it by.
    path
        Its file.
    frame
        Its place in the file, from 0 on.
    problem
        Why it cannot be read, or "".
    foreign
        Whether the problem is that the file holds no grey volume, rather than that it is damaged.
    """

    facts: Phase
    named: Named
    path: Path
    frame: int = 0
    problem: str = ""
    foreign: bool = False

    @property
    def name(self) -> str:
        """Of no other volume of the plan."""
        return self.facts.name


@dataclass(frozen=True)
class FilePlan:
    """What volume files are, and what reading them takes.

    Attributes
    ----------
    plan
        Every file of the input.
    dynamics
        The dynamic volumes, in the order of time.
    t1
        The T1 among the files, or None.
    ties
        Names of volumes of one phase that names do not tell apart.
    remarks
        Sentences on what was left out.
    names
        Of the dynamic volumes in the order of the files, where the user gave each; else none.
    options
        What the user said.
    """

    plan: ExamPlan
    dynamics: tuple[PlannedVolume, ...]
    t1: PlannedVolume | None
    ties: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    names: tuple[str, ...]
    options: ReadOptions


# ---------------------------------------------------------------- the plan


def plan_files(
    paths: Sequence[Path],
    options: ReadOptions | None = None,
    given: bool = True,
    where: Path | str | None = None,
) -> FilePlan:
    """What each of several files is, by names, folders and headers.

    Parameters
    ----------
    paths
        Volume files in any order, and whatever else lies with them: dead links, data beside headers, others.
    options
        What the user says.
    given
        Whether the user named each file, so that a file given twice is an error rather than an accident of
        the folder.
    where
        What to call them in messages; by default their common folder.

    Returns
    -------
    FilePlan
        Its ``plan.problem`` says why there is no exam, where there is none.
    """
    options = options or ReadOptions()
    where = str(where or (paths[0] if len(paths) == 1 else _common_folder(paths)))
    return _Planner(options, given, where).plan(list(paths))


class _Planner:
    """One plan in the making: a stack for each file, the first problem, remarks."""

    def __init__(self, options: ReadOptions, given: bool, where: str):
        self.options, self.given, self.where = options, given, where
        self.stacks: list[PlannedStack] = []
        self.problem = ""
        self.remarks: list[str] = []

    def plan(self, paths: Sequence[Path]) -> FilePlan:
        if self.options.study:
            self._refuse("A study can be chosen among DICOM images only; these are volume files.")
        files = self._each_once(paths)
        beside = _data_beside(files)
        volumes = _volumes(self._candidates([file for file in files if str(file) not in beside]))
        roles = self._roles(volumes)
        by_name = {volume.name: volume for volume in volumes}
        dynamics = self._readable([by_name[name] for name in roles.dynamics])
        t1 = None if roles.t1 is None else by_name[roles.t1]
        self._refuse(t1.problem if t1 is not None else "")
        self._refuse(roles.problem)
        in_order, ties = self._in_order(dynamics, roles.ties)
        kind, unsure = self._kind(in_order), uncertain_order(_facts_once(in_order, ties))
        missing = self._check(in_order, kind)
        self._stack_volumes(volumes, roles, in_order, kind, not unsure)
        self._remark_left_out()
        warnings = (*self.remarks, *filter(None, [unsure]), *missing)
        plan = ExamPlan(self.where, _with_data(sorted_stacks(self.stacks), beside), warnings, self.problem)
        names = tuple(volume.name for volume in dynamics) if self.given else ()
        return FilePlan(plan, tuple(in_order), t1, ties, tuple(self.remarks), names, self.options)

    def _refuse(self, sentence: str) -> None:
        """Keep the first problem."""
        self.problem = self.problem or sentence

    def _stack(self, name: str, role: str, reason: str, files: Iterable[Path], **values) -> None:
        self.stacks.append(PlannedStack(name, role, reason, tuple(map(str, files)), **values))

    def _each_once(self, paths: Sequence[Path]) -> list[Path]:
        """The files, each once; others that lead to one of them make a stack."""
        first: dict[str, Path] = {}
        again = []
        for path in paths:
            place = os.path.realpath(path)
            if place not in first:
                first[place] = path
                continue
            if self.given:
                self._refuse(f"{path.name} is given twice; list each file once.")
            if path not in (first[place], *again):
                again.append(path)
        if again:
            self._stack(_AGAIN, LEFT_OUT, "they lead to files that are here already", again)
        return list(first.values())

    def _candidates(self, files: Sequence[Path]) -> list[Path]:
        """Files that may hold volumes of the exam; the others make stacks."""
        candidates, others = [], []
        t1 = self.options.t1
        for file in files:
            if not is_volume_file(file):
                others.append(file)
            elif t1 is not None and os.path.abspath(file) == t1.source:
                self._stack(t1.name, T1, "named by the user", [file])
            elif file.name.lower().endswith(_SEGMENTATIONS):
                self._stack(file.name, LEFT_OUT, "it is a segmentation", [file])
            else:
                candidates.append(file)
        self._stack_others(others)
        return self._outside_of_segmentations(candidates)

    def _stack_others(self, files: Sequence[Path]) -> None:
        """Stacks of files that are no volumes by their names."""
        kinds = {file: _kind_of_other(file) for file in files}
        dead, foreign, plain = ([file for file in files if kinds[file] == n] for n in range(3))
        if dead:
            names = listing([file.name for file in dead])
            self._stack("dead links", PROBLEM, "they lead to files that are not here", dead)
            self.remarks.append(
                f"{counted(len(dead), 'link')} to files that are not here could not be read ({names}); "
                "fetch them where they belong to the exam."
            )
        if foreign:
            names = listing([file.name for file in foreign])
            self._stack("other formats", PROBLEM, "their format is not supported", foreign)
            sentence = f"{names} could not be read: convert to NIfTI, NRRD or MetaImage."
            self.remarks.append(sentence)
            if any(looks_pre_contrast(file.stem) for file in foreign) and not self.options.keep_order:
                self._refuse(sentence)
        if plain:
            self._stack(_OTHERS, LEFT_OUT, "no image", plain)

    def _outside_of_segmentations(self, files: Sequence[Path]) -> list[Path]:
        """The files in no folder of segmentations, if there are any; a stack for each such folder."""
        if self.options.phases:
            return list(files)
        root = _common_folder(files) if files else Path()
        inside: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            folder = Path(os.path.relpath(os.path.abspath(file.parent), root))
            if any(map(holds_segmentations, folder.parts)):
                inside[folder.as_posix()].append(file)
        outside = [file for file in files if not any(file in own for own in inside.values())]
        if not outside:
            return list(files)
        for folder, own in inside.items():
            self._stack(folder, LEFT_OUT, "it is a folder of segmentations", own)
        return outside

    def _roles(self, volumes: Sequence[PlannedVolume]) -> Roles:
        """Parts by the user's word and by names."""
        chosen = self._named_by_user(volumes, self.options.phases)
        out = self._named_by_user(volumes, self.options.leave_out)
        rest = [volume.named for volume in volumes if volume.name not in out]
        has_t1 = self.options.t1 is not None
        if chosen:
            roles = roles_as_told(rest, chosen, has_t1=has_t1)
        else:
            roles = assign_roles(rest, has_t1=has_t1, kind=self.options.kind)
        roles.left_out.update(dict.fromkeys(out, "the user leaves it out"))
        if not self.given:
            self._leave_out_foreign(volumes, roles)
        return roles

    def _named_by_user(self, volumes: Sequence[PlannedVolume], entries: Sequence[str]) -> list[str]:
        """Names of the volumes that the user means; an entry that means none is a problem."""
        names = []
        for entry in entries:
            meant = [volume.name for volume in volumes if entry.lower() in _called(volume)]
            if not meant:
                self._refuse(
                    f"{self.where} holds no volume called {one_line(entry, 80)}; it holds "
                    f"{listing([volume.name for volume in volumes], 12)}."
                )
            names += meant
        return names

    def _leave_out_foreign(self, volumes: Sequence[PlannedVolume], roles: Roles) -> None:
        """Colour images, deformation fields and the like in a folder are no phases, whatever their names."""
        foreign = {one.name for one in volumes if one.foreign and not looks_pre_contrast(one.name)}
        rest = [name for name in roles.dynamics if name not in foreign]
        if len(rest) >= MIN_PHASES:
            roles.left_out.update({n: "it is no grey volume" for n in roles.dynamics if n in foreign})
            roles.dynamics = rest
            roles.ties = [[name for name in tie if name not in foreign] for tie in roles.ties]

    def _readable(self, dynamics: Sequence[PlannedVolume]) -> list[PlannedVolume]:
        """The dynamic volumes that can be read; another is a problem, or a remark where the user goes on."""
        count = len({volume.path for volume in dynamics})
        if count > _MAX_FILES:
            self._refuse(
                f"{count} volume files in {self.where} are more than one exam; choose the files of one exam."
            )
        for volume in dynamics:
            if volume.problem and self.options.keep_order:
                self.remarks.append(volume.problem)
            self._refuse("" if self.options.keep_order else volume.problem)
        return [volume for volume in dynamics if not volume.problem]

    def _in_order(
        self, dynamics: Sequence[PlannedVolume], ties: Sequence[Sequence[str]]
    ) -> tuple[list[PlannedVolume], tuple[tuple[str, ...], ...]]:
        """The dynamic volumes in the order of time, those of one tie side by side."""
        present = {volume.name for volume in dynamics}
        ties = tuple(tie for names in ties if len(tie := tuple(n for n in names if n in present)) > 1)
        times = self.options.times_s
        if times is not None and self.given and len(times) == len(dynamics):
            facts = timed([volume.facts for volume in dynamics], times)
        else:
            facts = with_times_of_names([volume.facts for volume in dynamics])
        volumes = {one.name: replace(volume, facts=one) for volume, one in zip(dynamics, facts, strict=True)}
        tied = {tie[0]: tie for tie in ties}
        ordered = order_phases(_facts_once(volumes.values(), ties))
        return [volumes[name] for one in ordered for name in tied.get(one.name, [one.name])], ties

    def _kind(self, dynamics: Sequence[PlannedVolume]) -> str:
        if self.options.kind != "auto":
            return self.options.kind
        subtracted = subtracted_names([volume.name for volume in dynamics])
        return "subtractions" if subtracted and all(subtracted) else "phases"

    def _check(self, dynamics: Sequence[PlannedVolume], kind: str) -> list[str]:
        """Refuse too few phases, and where that before contrast is missing; what to say of it otherwise."""
        try:
            if len(dynamics) < MIN_PHASES:
                check_number([volume.facts for volume in dynamics])
            if kind == "phases":
                names = [volume.name for volume in dynamics]
                return missing_pre(names, self.options.kind, self.where, keep_order=self.options.keep_order)
        except InputError as error:
            self._refuse(str(error))
        return []

    def _stack_volumes(
        self,
        volumes: Sequence[PlannedVolume],
        roles: Roles,
        dynamics: Sequence[PlannedVolume],
        kind: str,
        sure: bool,
    ) -> None:
        """A stack for each volume; of several in one file the first has the file."""
        stacked: set[Path] = set()

        def file_of(volume: PlannedVolume) -> tuple[str, ...]:
            new = volume.path not in stacked
            stacked.add(volume.path)
            return (str(volume.path),) if new else ()

        tied = {name for tie in roles.ties for name in tie}
        placed = {volume.name for volume in dynamics}
        for stack, volume in zip(_dynamic_stacks(dynamics, kind), dynamics, strict=True):
            why = "the user names it" if self.options.phases else stack.reason
            is_sure = sure and volume.name not in tied
            self.stacks.append(replace(stack, reason=why, files=file_of(volume), sure=is_sure))
        for volume in volumes:
            if volume.name in placed:
                continue
            if volume.problem and not (volume.foreign and volume.name in roles.left_out):
                self._stack(volume.name, PROBLEM, volume.problem.rstrip("."), file_of(volume))
                if volume.name in roles.left_out:
                    self.remarks.append(volume.problem)
            elif volume.name == roles.t1:
                self._stack(volume.name, T1, "its name says so", file_of(volume))
            else:
                reason = roles.left_out.get(volume.name, "it is no phase")
                self._stack(volume.name, LEFT_OUT, reason, file_of(volume))

    def _remark_left_out(self) -> None:
        """A sentence for each volume that is left out, or one for many of the same reason."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for stack in self.stacks:
            if stack.role == LEFT_OUT and stack.name not in (_OTHERS, _AGAIN):
                by_reason[stack.reason].append(stack.name)
        for reason, names in by_reason.items():
            singly = names if len(names) <= _SINGLY else [f"Each of {listing(names)}"]
            self.remarks += [f"{name} was left out: {reason}." for name in singly]


# ---------------------------------------------------------------- its parts


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))


def _data_beside(files: Sequence[Path]) -> dict[str, str]:
    """Data files → the detached header that names each."""
    found: dict[str, str] = {}
    places = {os.path.abspath(file): str(file) for file in files}
    for file in files:
        if file.name.lower().endswith(_WITH_DATA_BESIDE):
            with suppress(InputError):
                data = check_header(Path(os.path.abspath(file))).data
                if data.name != file.name and str(data) in places:
                    found.setdefault(places[str(data)], str(file))
    return found


def _with_data(stacks: Sequence[PlannedStack], beside: dict[str, str]) -> tuple[PlannedStack, ...]:
    """The stacks, those of detached headers with the data, too."""
    data: dict[str, list[str]] = defaultdict(list)
    for file, header in beside.items():
        data[header].append(file)
    return tuple(
        replace(stack, files=tuple(f for file in stack.files for f in (file, *data.get(file, ()))))
        for stack in stacks
    )


def _kind_of_other(file: Path) -> int:
    """0: a dead link or pointer; 1: an image of another format; 2: no image."""
    if is_dead(file) or is_pointer(file):
        return 0
    return 1 if file.name.lower().endswith(_FOREIGN_IMAGES) else 2


def _volumes(files: Sequence[Path]) -> list[PlannedVolume]:
    """The volumes that files hold by their headers; of one that cannot be read, what is wrong with it."""
    if not files:
        return []
    root = _common_folder(files)
    stems = Counter(stem(file).lower() for file in files)
    places = [Path(os.path.relpath(os.path.abspath(file.parent), root)).as_posix() for file in files]
    placed = Counter((place, stem(file).lower()) for place, file in zip(places, files, strict=True))
    volumes = []
    for file, place, facts in zip(files, places, several(_facts, files), strict=True):
        folder = "" if place == "." else place
        own = file.name if placed[place, stem(file).lower()] > 1 else stem(file)
        label = f"{folder}/{own}" if folder and stems[stem(file).lower()] > 1 else own
        if isinstance(facts, InputError):
            found = [(Phase(None, label, str(file)), str(facts))]
        else:
            found = [(replace(one, name=label + one.name.removeprefix(stem(file))), "") for one in facts]
        for frame, (one, problem) in enumerate(found):
            one = replace(one, name=one_line(one.name) or "unnamed")
            foreign = isinstance(facts, NoVolume)
            volumes.append(PlannedVolume(one, Named(one.name, folder), file, frame, problem, foreign))
    return volumes


def _facts(file: Path) -> list[Phase] | InputError:
    if is_dead(file):
        return InputError(
            f"{file.name} is a link to a file that is not here; fetch it (git annex get), or remove the link."
        )
    try:
        return volumes_in(file)
    except InputError as error:
        return error


def _called(volume: PlannedVolume) -> set[str]:
    """What a user may call a volume."""
    file = volume.path
    return {name.lower() for name in (volume.name, stem(file), file.name, str(file), os.path.abspath(file))}


def _facts_once(volumes: Iterable[PlannedVolume], ties: Sequence[Sequence[str]]) -> list[Phase]:
    """What is known of the volumes, of each tie only the first."""
    others = {name for tie in ties for name in tie[1:]}
    return [volume.facts for volume in volumes if volume.name not in others]


def _dynamic_stacks(dynamics: Sequence[PlannedVolume | Phase], kind: str) -> list[PlannedStack]:
    """Roles of the dynamic volumes in the order of time; no files."""
    phases = [one.facts if isinstance(one, PlannedVolume) else one for one in dynamics]
    times = [phase.time_s for phase in phases]
    timed_all = None not in times
    by = "time" if timed_all else "name"
    called_pre = pre_contrast_names([phase.name for phase in phases])
    stacks = []
    for place, (phase, is_named) in enumerate(zip(phases, called_pre, strict=True)):
        number = place + 1 if kind == "subtractions" else place
        role = SUBTRACTION if kind == "subtractions" else POST if place else PRE
        reason = f"number {number} by its {by}"
        if role == PRE:
            said = "its name says it was taken before contrast"
            reason = said if is_named else f"it comes first by its {by}"
        time = phase.time_s - times[0] if timed_all else None
        stacks.append(PlannedStack(phase.name, role, reason, (), number=number, time_s=time))
    return stacks


# ---------------------------------------------------------------- the exam


def load_files(planned: FilePlan) -> Exam:
    """The exam of a plan.

    Parameters
    ----------
    planned
        By :func:`plan_files`.

    Returns
    -------
    Exam
        With the plan as the voxels confirmed it, and remarks on what was left out among its warnings.

    Raises
    ------
    InputError
        One sentence that names the file and the remedy.
    """
    if planned.plan.problem:
        raise InputError(planned.plan.problem)
    options = planned.options
    dynamics, own_t1 = _read(planned)
    kind = guess_kind(dynamics) if options.kind == "auto" else options.kind
    kept, plan, told = _confirmed(dynamics, planned, kind)
    if len(kept) < MIN_PHASES:
        _refuse_copies(dynamics)
    if options.times_s is not None and planned.names:
        kept = _with_times_of_files(kept, planned)
    exam = make_exam(kept, kind=kind, t1=options.t1 or own_t1, warnings=(*planned.remarks, *told))
    if options.times_s is not None and not planned.names:
        exam = with_times(exam, options.times_s)
    if exam.pre is not None:
        names = [phase.name for phase in exam.phases]
        missing = missing_pre(names, options.kind, plan.where, keep_order=options.keep_order)
        exam = replace(exam, warnings=(*exam.warnings, *missing))
    return replace(exam, plan=_as_read(plan, exam))


def _read(planned: FilePlan) -> tuple[list[Phase], Phase | None]:
    """The dynamic volumes and the T1, each file read once."""
    wanted = [*planned.dynamics, *([] if planned.t1 is None else [planned.t1])]
    files = list(dict.fromkeys(volume.path for volume in wanted))
    frames = dict(zip(files, several(read_volume_file, files), strict=True))
    phases = [replace(frames[one.path][one.frame], name=one.name, time_s=one.facts.time_s) for one in wanted]
    return phases[: len(planned.dynamics)], None if planned.t1 is None else phases[-1]


def _confirmed(
    dynamics: Sequence[Phase], planned: FilePlan, kind: str
) -> tuple[list[Phase], ExamPlan, list[str]]:
    """What voxels tell; a volume that is no image of a patient is called that, not unlike the others."""
    for phase in dynamics:
        if phase.volume.array.dtype.kind == "f":  # may hold NaN
            check_volume(phase)
    try:
        return confirm(
            dynamics, planned.plan, kind=kind, keep_order=planned.options.keep_order, ties=planned.ties
        )
    except InputError:
        for phase in dynamics:
            check_volume(phase)
        raise


def _refuse_copies(phases: Sequence[Phase]) -> None:
    """Refuse one phase under two names, where nothing else is left."""
    for place, phase in enumerate(phases):
        for twin in phases[:place]:
            if np.array_equal(phase.volume.array, twin.volume.array):
                raise InputError(f"{phase.name} and {twin.name} hold the same voxels; give each phase once.")


def _with_times_of_files(phases: Sequence[Phase], planned: FilePlan) -> list[Phase]:
    """The phases with the times that the user gave in the order of the files; some may be no phases."""
    times = planned.options.times_s
    if len(times) == len(planned.names):
        return list(phases)  # each has its own by the plan
    return timed(sorted(phases, key=lambda phase: planned.names.index(phase.name)), times)


def _as_read(plan: ExamPlan, exam: Exam) -> ExamPlan:
    """The plan with the order, roles and times of the exam."""
    kind = "subtractions" if exam.pre is None else "phases"
    read = {stack.name: stack for stack in _dynamic_stacks(exam.phases, kind)}
    sure = not uncertain_order(exam.phases)
    stacks = []
    for stack in plan.stacks:
        if (one := read.get(stack.name)) is not None and stack.is_dynamic:
            reason = stack.reason if stack.role == one.role else one.reason
            facts = {"number": one.number, "time_s": one.time_s, "sure": sure}
            stack = replace(stack, role=one.role, reason=reason, **facts)
        stacks.append(stack)
    return replace(plan, stacks=sorted_stacks(stacks), warnings=exam.warnings)


def timed(phases: Sequence[Phase], times_s: Sequence[float | None]) -> list[Phase]:
    """Phases with other times.

    Parameters
    ----------
    phases
        The dynamic volumes.
    times_s
        Seconds of each, None where unknown.

    Returns
    -------
    list of Phase
        In the same order.

    Raises
    ------
    InputError
        When there are more or fewer times than phases.
    """
    if len(times_s) != len(phases):
        names = ", ".join(phase.name for phase in phases)
        raise InputError(
            f"{len(times_s)} times were given for {len(phases)} dynamic volumes ({names}); "
            "give one time for each."
        )
    return [
        replace(phase, time_s=None if time is None else float(time))
        for phase, time in zip(phases, times_s, strict=True)
    ]


def with_times(exam: Exam, times_s: Sequence[float | None]) -> Exam:
    """The exam with times that the user knows.

    Parameters
    ----------
    exam
        Of phases in the order of time.
    times_s
        Seconds of each, None where unknown.

    Returns
    -------
    Exam

    Raises
    ------
    InputError
        More or fewer times than phases, or times that are no numbers or do not increase.
    """
    phases = timed(exam.phases, times_s)
    known = [time for time in times_s if time is not None]
    if not all(math.isfinite(time) for time in known):
        raise InputError("A time given is not a number; give the seconds of each phase.")
    if any(later <= earlier for earlier, later in zip(known, known[1:])):
        raise InputError(
            "The times given do not increase; give the seconds of each phase in the order of acquisition."
        )
    pre, post = (None, phases) if exam.pre is None else (phases[0], phases[1:])
    return replace(exam, pre=pre, post=tuple(post))
