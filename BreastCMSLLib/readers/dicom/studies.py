"""Studies, patients and visits in one folder, and what messages call them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ..clock import DAY_S
from ..messages import counted
from .stacks import Stack

if TYPE_CHECKING:
    from .dynamics import Dynamics

_MOST_LISTED = 8  # studies in a sentence


def studies_of(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks by study and patient, in the order in which they come; one without patient belongs to any.

    Parameters
    ----------
    stacks
        Of any.

    Returns
    -------
    list of list of Stack
    """
    patients: dict[str, set[str]] = {}
    for stack in stacks:
        patients.setdefault(stack.head.study_uid, set()).add(stack.head.patient)
    studies: dict[tuple[str, str], list[Stack]] = {}
    for stack in stacks:
        study = stack.head.study_uid
        patient = stack.head.patient if len(patients[study] - {""}) > 1 else ""
        studies.setdefault((study, patient), []).append(stack)
    return list(studies.values())


def begin_of(exam: Dynamics) -> tuple[float, str]:
    """When an exam began, as far as its headers tell; and where it lies.

    Parameters
    ----------
    exam
        Of any study.

    Returns
    -------
    seconds : float
        0 where no clock tells.
    folder : str
    """
    return min(map(_start, exam.stacks)), exam.stacks[0].source


def _start(stack: Stack) -> float:
    times = (stack.clocks.get(clock) for clock in ("datetime", "acquisition", "content", "series"))
    return next((time for time in times if time is not None), 0.0)


def counted_studies(exams: Sequence[Dynamics]) -> str:
    """How many patients, studies or visits exams are of ("2 patients").

    Parameters
    ----------
    exams
        More than one.

    Returns
    -------
    str
    """
    heads = [exam.stacks[0].head for exam in exams]
    noun = "visits"
    if len({head.patient for head in heads}) == len(exams):
        noun = "patients"
    elif len({head.study_uid for head in heads}) == len(exams):
        noun = "studies"
    return f"{len(exams)} {noun}"


def labels_of(exams: Sequence[Dynamics]) -> str:
    """Exams as messages list them: number, folder, date, number of volumes; the UID where folders are one.

    Parameters
    ----------
    exams
        In the order of time.

    Returns
    -------
    str
        Words that go into a sentence.
    """
    folders = [exam.stacks[0].source for exam in exams]
    labels = []
    for number, (exam, folder) in enumerate(zip(exams, folders, strict=True), 1):
        head, days = exam.stacks[0].head, int(_start(exam.stacks[0]) // DAY_S)
        facts = [counted(len(exam.stacks), "volume"), *([str(date.fromordinal(days))] if days else [])]
        facts += [f"study {head.study_uid}"] if folders.count(folder) > 1 and head.study_uid else []
        labels.append(f"{number}: {folder} ({', '.join(facts)})")
    more = f"; and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
    return "; ".join(labels[:_MOST_LISTED]) + more


def of_that_study(exams: list[Dynamics], others: list[Stack], study: str, where: Path) -> list[Dynamics]:
    """The exam that the user chooses, several for a study of several visits.

    Parameters
    ----------
    exams
        In the order in which messages list them.
    others
        Volumes of studies that hold no exam.
    study
        A number in the list, or a study UID.
    where
        What to call their folder in messages.

    Returns
    -------
    list of Dynamics

    Raises
    ------
    InputError
        There is no such study.
    """
    if study.isdigit() and 1 <= int(study) <= len(exams):
        return [exams[int(study) - 1]]
    named = [exam for exam in exams if exam.stacks[0].head.study_uid == study]
    if named or any(stack.head.study_uid == study for stack in others):
        return named
    listed = labels_of(exams) or "none"
    raise InputError(f"{where} holds no study {study}; its studies with dynamic series are {listed}.")
