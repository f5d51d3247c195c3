"""What the page lets one choose before an analysis, and the command that follows from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..batch.worklist import Entry
from ..models.cards import Card, default_model, shipped_cards
from ..results.wording import evidence_short


@dataclass(frozen=True)
class Choices:
    """How an exam is to be analysed.

    Parameters
    ----------
    model : str
        File of the model's card; "" for the shipped one.
    point : str
        Sensitivity in percent of the operating point; "" for the model's own.
    kinetics : bool
        Kinetic maps too.
    """

    model: str = ""
    point: str = ""
    kinetics: bool = False


def models() -> list[dict[str, object]]:
    """The shipped models as the page lists them: ``value``, ``title``, ``note`` and ``points``."""
    return [_model(card) for card in shipped_cards(default_model().parent)]


def _model(card: Card) -> dict[str, object]:
    own = card.operating_point
    points = [{"value": "", "title": f"{own} % sensitivity (the model's own)" if own else "The model's own"}]
    points += [
        {"value": name, "title": f"{name} % sensitivity"} for name in card.operating_points if name != own
    ]
    return {
        "value": str(card.path),
        "title": f"{card.name} ({card.training_data})" if card.training_data else card.name,
        "note": evidence_short(card.evidence),
        "points": points,
    }


def command_of(entry: Entry, choices: Choices, output: Path, dicom: Path | None) -> list[str]:
    """The command that analyses an exam.

    Parameters
    ----------
    entry : Entry
    choices : Choices
    output : Path
        The results' folder.
    dicom : Path, optional
        Where the results go as DICOM objects too.

    Returns
    -------
    list of str
        Program and arguments. Its progress comes as JSON lines; it ends with this process.
    """
    command = [sys.executable, "-m", "BreastCMSLLib", "analyze", *reading_arguments(entry.reading)]
    command += ["--output", str(output), "--progress", "json", "--parent", str(os.getpid()), "--all-maps"]
    command += ["--dicom", str(dicom)] if dicom is not None else []
    command += ["--model", choices.model] if choices.model else []
    command += ["--operating-point", choices.point] if choices.point else []
    command += ["--kinetics"] if choices.kinetics else []
    return [*command, "--", *entry.input]


def reading_arguments(reading: Mapping[str, object]) -> list[str]:
    """What a worklist says of an exam, as arguments of ``breastcmsl analyze``.

    Parameters
    ----------
    reading : mapping
        Keywords of ``one_exam.reading_options``.

    Returns
    -------
    list of str
    """
    arguments = []
    for name, value in reading.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif isinstance(value, (list, tuple)):
            arguments += [option, *map(str, value)] if value else []
        elif value not in (None, False, ""):
            arguments.append(f"{option}={value}")
    return arguments
