"""Whether an exam plan accounts for every file, and whether what is read is what was planned."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import BreastCMSLError

from .cases import Case


@dataclass
class Account:
    """What of a plan is wrong.

    Attributes
    ----------
    unaccounted
        Files that stand in no stack of the plan, or in two.
    disagreement
        How planning and reading differ; "" when they do not.
    other_roles
        What was read under a role that the plan does not give it; "" when nothing.
    """

    unaccounted: tuple[str, ...] = ()
    disagreement: str = ""
    other_roles: str = ""


def options_of(case: Case):
    """What the user says of an exam, as ``readers.ReadOptions``; a T1 that cannot be read is refused."""
    from BreastCMSLLib.readers import ReadOptions, read_t1

    t1, uids = (None, ()) if case.t1 is None else read_t1(case.t1)
    return ReadOptions(t1=t1, t1_uids=tuple(uids), **case.options)


def account(case: Case, exam, refusal: str) -> Account:
    """Compare the plan of an exam with its files and with what reading them gave.

    Parameters
    ----------
    exam
        As it was read, or None.
    refusal
        Why it was refused; "" when it was read.

    Raises
    ------
    Exception
        Whatever else than a refusal comes out of planning: a crash.
    """
    from BreastCMSLLib import readers

    try:
        options = options_of(case)
        plan = readers.plan(case.paths, options)
    except BreastCMSLError as error:
        return Account(disagreement=_difference(str(error), refusal))
    unaccounted = _unaccounted(case.paths, plan.files)
    if plan.problem:
        return Account(unaccounted, _difference(plan.problem, refusal))
    try:
        again, refusal_again = readers.read(plan), ""
    except BreastCMSLError as error:
        again, refusal_again = None, str(error)
    disagreement = _difference(refusal_again, refusal) or _other_exam(again, exam)
    return Account(unaccounted, disagreement, _other_roles(plan, exam) if exam is not None else "")


def _difference(planned: str, read: str) -> str:
    """How two refusals differ, each "" where there is none."""
    if planned == read:
        return ""
    if not read:
        return f"only the plan refuses: {planned[:300]}"
    if not planned:
        return f"only reading refuses: {read[:300]}"
    return f"the plan says {planned[:200]!r}, reading {read[:200]!r}"


def _other_exam(one, other) -> str:
    """Whether two exams of one input differ."""
    if one is None or other is None:
        return ""
    names = [[phase.name for phase in exam.phases] for exam in (one, other)]
    if names[0] != names[1]:
        return f"by its plan the exam is {names[0]}, by its paths {names[1]}"
    same = all(
        np.array_equal(a.volume.array, b.volume.array) for a, b in zip(one.phases, other.phases, strict=True)
    )
    return "" if same else "by its plan the exam has other voxels than by its paths"


# ---------------------------------------------------------------- files


def _unaccounted(paths: list[Path], planned: tuple[str, ...]) -> tuple[str, ...]:
    """Files of the input that the plan names not at all or twice, and files that are not of the input."""
    there = {key for path in paths for key in _files_of(path)}
    count = Counter(_key(path) for path in planned)
    wrong = [key for key in there if count[key] != 1]
    if any(os.path.isdir(path) for path in paths):
        wrong += [key for key in count if key not in there]
    return tuple(sorted(name.decode("utf-8", "replace") for _, name in wrong))


def _key(path: Path | str) -> tuple[bytes, bytes]:
    """A file's folder, however it was come to, and its name."""
    folder, name = os.path.split(os.path.abspath(os.fsencode(path)))
    return os.path.realpath(folder), name


def _files_of(path: Path) -> set[tuple[bytes, bytes]]:
    """Regular files and dead links below a folder, or the file itself; no hidden ones."""
    if not os.path.isdir(path):
        return {_key(path)} if _counts(os.fsencode(path)) else set()
    keys, seen = set(), set()
    for folder, folders, names in os.walk(os.fsencode(path), followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith((b".", b"__MACOSX"))]
        visible = [name for name in names if not name.startswith((b".", b"__MACOSX"))]
        keys |= {(place, name) for name in visible if _counts(os.path.join(folder, name))}
    return keys


def _counts(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return os.path.islink(path)


# ---------------------------------------------------------------- roles


def _other_roles(plan, exam) -> str:
    """What the exam holds under another role than the plan says; voxels may only take phases away."""
    confirmed = exam.plan
    if confirmed is None:
        return "the exam has no plan"
    if sorted(confirmed.files) != sorted(plan.files):
        return "the exam's plan names other files"
    dynamics = [stack for stack in confirmed.stacks if stack.is_dynamic]
    if [stack.name for stack in dynamics] != [phase.name for phase in exam.phases]:
        return f"{[p.name for p in exam.phases]} were read, {[s.name for s in dynamics]} were planned"
    usual = ["subtraction"] if exam.pre is None else ["post"]
    roles = [stack.role for stack in dynamics]
    if roles != ([] if exam.pre is None else ["pre"]) + usual * len(exam.post):
        return f"phases have the roles {roles}"
    before = {(stack.name, stack.files) for stack in plan.stacks if stack.is_dynamic}
    if new := [stack.name for stack in dynamics if (stack.name, stack.files) not in before]:
        return f"{new} were no phases in the plan"
    t1 = [stack.name for stack in confirmed.stacks if stack.role == "T1"]
    if exam.t1 is not None and exam.t1.name not in t1:
        return f"{exam.t1.name} was read as the T1, {t1} planned"
    return ""
