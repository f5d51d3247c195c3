"""The plan of volume files: what each file is, by names, folders and headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import InputError
from ...core.text import one_line
from ...exam import (
    MAX_PHASES,
    MIN_PHASES,
    ExamPlan,
    check_number,
    kind_of_names,
    looks_pre_contrast,
    missing_pre,
    order_phases,
    uncertain_order,
    with_times_of_names,
)
from ...exam.plan import LEFT_OUT, PROBLEM, T1, sorted_stacks
from ..crowds import BESIDE_USUAL, is_fast, too_many
from ..given_times import timed
from ..messages import listing
from ..options import ReadOptions
from ..roles import Roles, assign_roles, roles_as_told
from .draft import Draft
from .planned import PlannedVolume, facts_once, planned_volumes
from .sorting import candidates, common_folder, data_beside, each_once, with_data
from .stacks import dynamic_stacks

_MAX_FILES = 40
_Ties = tuple[tuple[str, ...], ...]


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
    public
        Name → name in results, of every volume.
    """

    plan: ExamPlan
    dynamics: tuple[PlannedVolume, ...]
    t1: PlannedVolume | None
    ties: _Ties
    remarks: tuple[str, ...]
    names: tuple[str, ...]
    options: ReadOptions
    public: Mapping[str, str]


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
    where = str(where or (paths[0] if len(paths) == 1 else common_folder(paths)))
    return _Planner(options, given, where).plan(list(paths))


class _Planner:
    """One plan in the making."""

    def __init__(self, options: ReadOptions, given: bool, where: str):
        self.options, self.given, self.where = options, given, where
        self.draft = Draft()
        self.volumes: list[PlannedVolume] = []

    def plan(self, paths: Sequence[Path]) -> FilePlan:
        draft, options = self.draft, self.options
        if options.study:
            draft.refuse("A study can be chosen among DICOM images only; these are volume files.")
        files = each_once(paths, draft, self.given)
        beside = data_beside(files)
        files = [file for file in files if str(file) not in beside]
        self.volumes = planned_volumes(candidates(files, draft, options, self.given))
        by_name = {volume.name: volume for volume in self.volumes}
        roles = self._roles()
        dynamics = self._readable([by_name[name] for name in roles.dynamics])
        t1 = None if roles.t1 is None else by_name[roles.t1]
        draft.refuse(t1.problem if t1 is not None else "")
        draft.refuse(roles.problem)
        in_order, ties = self._in_order(dynamics, roles.ties)
        kind, unsure = self._kind(in_order), uncertain_order(facts_once(in_order, ties))
        missing = self._check(in_order, kind)
        self._stack_volumes(roles, in_order, kind, not unsure)
        draft.remark_left_out()
        warnings = (*draft.remarks, *filter(None, [unsure]), *missing)
        plan = ExamPlan(self.where, with_data(sorted_stacks(draft.stacks), beside), warnings, draft.problem)
        names = tuple(volume.name for volume in dynamics) if self.given else ()
        public = {volume.name: volume.public for volume in self.volumes}
        return FilePlan(plan, tuple(in_order), t1, ties, tuple(draft.remarks), names, options, public)

    # ------------------------------------------------------------ roles

    def _roles(self) -> Roles:
        """Parts by the user's word and by names."""
        chosen = self._named_by_user(self.options.phases)
        out = self._named_by_user(self.options.leave_out)
        rest = [volume.named for volume in self.volumes if volume.name not in out]
        has_t1 = self.options.t1 is not None
        if chosen:
            roles = roles_as_told(rest, chosen, has_t1=has_t1)
        else:
            roles = assign_roles(rest, has_t1=has_t1, kind=self.options.kind)
            _leave_out(roles, _ultrafast(self._of(roles.dynamics)), BESIDE_USUAL)
        roles.left_out.update(dict.fromkeys(out, "the user leaves it out"))
        if not self.given:
            # colour images, deformation fields and the like in a folder are no phases, whatever their names
            foreign = [
                v.name for v in self._of(roles.dynamics) if v.foreign and not looks_pre_contrast(v.name)
            ]
            _leave_out(roles, foreign, "it is no grey volume")
        return roles

    def _of(self, names: Sequence[str]) -> list[PlannedVolume]:
        return [volume for volume in self.volumes if volume.name in names]

    def _named_by_user(self, entries: Sequence[str]) -> list[str]:
        """Names of the volumes that the user means; an entry that means none is a problem."""
        names = []
        for entry in entries:
            meant = [volume.name for volume in self.volumes if volume.is_meant(entry)]
            if not meant:
                self.draft.refuse(
                    f"{self.where} holds no volume called {one_line(entry, 80)}; it holds "
                    f"{listing([volume.name for volume in self.volumes], 12)}."
                )
            names += meant
        return names

    # ------------------------------------------------------------ order and number

    def _readable(self, dynamics: Sequence[PlannedVolume]) -> list[PlannedVolume]:
        """The dynamic volumes that can be read; another is a problem, or a remark where the user goes on."""
        count = len({volume.path for volume in dynamics})
        if count > _MAX_FILES:
            self.draft.refuse(
                f"{count} volume files in {self.where} are more than one exam; choose the files of one exam."
            )
        for volume in dynamics:
            if volume.problem and self.options.keep_order:
                self.draft.remarks.append(volume.problem)
            self.draft.refuse("" if self.options.keep_order else volume.problem)
        return [volume for volume in dynamics if not volume.problem]

    def _in_order(
        self, dynamics: Sequence[PlannedVolume], ties: Sequence[Sequence[str]]
    ) -> tuple[list[PlannedVolume], _Ties]:
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
        ordered = order_phases(facts_once(volumes.values(), ties))
        return [volumes[name] for one in ordered for name in tied.get(one.name, [one.name])], ties

    def _kind(self, dynamics: Sequence[PlannedVolume]) -> str:
        if self.options.kind != "auto":
            return self.options.kind
        return kind_of_names([volume.name for volume in dynamics]) or "phases"

    def _check(self, dynamics: Sequence[PlannedVolume], kind: str) -> list[str]:
        """Refuse a wrong number of phases, or a missing one before contrast; else what to say of that."""
        names = [volume.name for volume in dynamics]
        try:
            if len(dynamics) < MIN_PHASES:
                check_number([volume.facts for volume in dynamics])
            if _too_many_frames(dynamics):
                self.draft.refuse(too_many(names, [volume.key for volume in dynamics], self.where))
            if kind == "phases":
                return missing_pre(names, self.options.kind, self.where, keep_order=self.options.keep_order)
        except InputError as error:
            self.draft.refuse(str(error))
        return []

    # ------------------------------------------------------------ stacks

    def _stack_volumes(self, roles: Roles, dynamics: Sequence[PlannedVolume], kind: str, sure: bool) -> None:
        """A stack for each volume; of several in one file the first has the file."""
        stacked: set[Path] = set()

        def file_of(volume: PlannedVolume) -> tuple[str, ...]:
            new = volume.path not in stacked
            stacked.add(volume.path)
            return (str(volume.path),) if new else ()

        draft = self.draft
        tied = {name for tie in roles.ties for name in tie}
        placed = {volume.name for volume in dynamics}
        facts = [volume.facts for volume in dynamics]
        for stack, volume in zip(dynamic_stacks(facts, kind), dynamics, strict=True):
            why = "the user names it" if self.options.phases else stack.reason
            is_sure = sure and volume.name not in tied
            draft.stacks.append(replace(stack, reason=why, files=file_of(volume), sure=is_sure))
        for volume in self.volumes:
            if volume.name in placed:
                continue
            if volume.problem and not (volume.foreign and volume.name in roles.left_out):
                draft.stack(volume.name, PROBLEM, volume.problem.rstrip("."), file_of(volume))
                if volume.name in roles.left_out:
                    draft.remarks.append(volume.problem)
            elif volume.name == roles.t1:
                draft.stack(volume.name, T1, "its name says so", file_of(volume))
            else:
                reason = roles.left_out.get(volume.name, "it is no phase")
                draft.stack(volume.name, LEFT_OUT, reason, file_of(volume))


def _leave_out(roles: Roles, names: Sequence[str], reason: str) -> None:
    """Take volumes from the dynamic ones, if enough of them remain."""
    rest = [name for name in roles.dynamics if name not in names]
    if len(rest) >= MIN_PHASES:
        roles.left_out.update({name: reason for name in roles.dynamics if name in names})
        roles.dynamics = rest
        roles.ties = [[name for name in tie if name not in names] for tie in roles.ties]


def _ultrafast(volumes: Sequence[PlannedVolume]) -> list[str]:
    """Names of volumes of an ultrafast acquisition: in one file, or called alike but for numbers."""
    families: dict[object, list[PlannedVolume]] = defaultdict(list)
    for volume in volumes:
        letters = "".join(filter(str.isalpha, volume.name.lower()))
        families[volume.path if volume.frames > 1 else letters].append(volume)
    fast = []
    for family in families.values():
        if is_fast([one.time_s for one in with_times_of_names([volume.facts for volume in family])]):
            fast += [volume.name for volume in family]
    return fast


def _too_many_frames(volumes: Sequence[PlannedVolume]) -> bool:
    """Whether one file alone holds too many phases; of too many files voxels may tell that some are none."""
    frames: dict[Path, int] = defaultdict(int)
    for volume in volumes:
        frames[volume.path] += 1
    return max(frames.values(), default=0) > MAX_PHASES
