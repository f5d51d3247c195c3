"""The request a parent process (the desktop module) writes: volume files already in order, a T1, options."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.text import one_line
from ..exam import Exam, Phase, make_exam
from .folders import check_regular
from .messages import one_sentence
from .t1 import check_t1_is_no_phase
from .volumes import read_volume_file, several

SCHEMA_VERSION = 1
_KINDS = ("auto", "phases", "subtractions")
_OPTIONS = ("map", "device", "model", "operating_point", "register")


def read_request(path: Path | str) -> tuple[Exam, dict[str, Any]]:
    """The exam and the options of a request.

    Parameters
    ----------
    path
        A REQUEST.json; relative file names in it are looked up beside it.

    Returns
    -------
    exam : Exam
        Its volumes in the request's order.
    options : dict
        "map", "device", "model" and "operating_point" are text, "prevalence" is a number, or None or missing.

    Raises
    ------
    InputError
        One sentence.
    """
    path = Path(path)
    with one_sentence():
        request = _load(path)
        _check_version(path, request)
        kind = request.get("kind", "auto")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InputError(
                f"{path.name}: kind must be one of {', '.join(_KINDS)}, not {one_line(kind, 40)}."
            )
        entries = request.get("dynamics")
        if not isinstance(entries, list) or not entries:
            raise InputError(f'{path.name}: "dynamics" must be a list of volumes with at least two entries.')
        identifiers = _object(path, request, "identifiers")
        _check_values(path, identifiers)
        options = _options(path, request)
        _check_uids(path, identifiers)
        warnings = request.get("warnings") or []
        if not isinstance(warnings, list) or not all(isinstance(warning, str) for warning in warnings):
            raise InputError(f'{path.name}: "warnings" must be a list of sentences.')
        dynamics, t1 = _volumes(path, entries, request.get("t1"))
        exam = make_exam(
            dynamics, kind=kind, t1=t1, identifiers=identifiers, warnings=warnings, keep_order=True
        )
        check_t1_is_no_phase(exam)
        return exam, options


def read_options(path: Path | str) -> dict[str, Any]:
    """The options of a request alone; none of its volumes is read.

    Parameters
    ----------
    path
        A REQUEST.json.

    Returns
    -------
    dict
        As :func:`read_request` returns them.

    Raises
    ------
    InputError
        One sentence.
    """
    path = Path(path)
    with one_sentence():
        return _options(path, _load(path))


def _load(path: Path) -> dict[str, Any]:
    check_regular(path)
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # no UTF-8, no JSON, a number of thousands of digits, too deep
        raise InputError(f"{path.name} is not valid JSON; write the request again.") from error
    if not isinstance(request, dict):
        raise InputError(f"{path.name} must hold one JSON object.")
    return request


def _check_version(path: Path, request: dict[str, Any]) -> None:
    version = request.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise InputError(
            f"{path.name} has schema version {one_line(version, 40)}, not {SCHEMA_VERSION}; "
            "update both parts of BreastCMSL."
        )


def _check_values(path: Path, identifiers: dict[str, Any]) -> None:
    """Refuse identifiers that results could not hold, and an exam's key that is no file name."""
    for key, value in identifiers.items():
        is_list = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        if not (value is None or isinstance(value, (str, int, float)) or is_list):
            raise InputError(
                f"{path.name}: the identifier {one_line(key, 40)} must be text, a number or a list of texts."
            )
    if not re.fullmatch(r"[\w.-]{1,64}", str(identifiers.get("exam_id") or "-")):
        raise InputError(f"{path.name}: exam_id must be up to 64 letters, digits, dots or dashes.")


def _check_uids(path: Path, identifiers: dict[str, Any]) -> None:
    for key, kind, words in (
        ("study_instance_uid", str, "text"),
        ("series_instance_uids", list, "a list of texts"),
    ):
        if identifiers.get(key) is not None and not isinstance(identifiers[key], kind):
            raise InputError(f"{path.name}: {key} must be {words}.")


def _options(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    options = _object(path, request, "options")
    for key in _OPTIONS:
        if not (options.get(key) is None or isinstance(options[key], str)):
            value = one_line(options[key], 40)
            raise InputError(f"{path.name}: the option {key} must be text or null, not {value}.")
    share = options.get("prevalence")
    if not (share is None or isinstance(share, (int, float)) and not isinstance(share, bool)):
        raise InputError(f"{path.name}: the option prevalence must be a number or null.")
    return options


def _object(path: Path, request: dict[str, Any], key: str) -> dict[str, Any]:
    value = request.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f'{path.name}: "{key}" must be a JSON object.')
    return value


def _volumes(path: Path, entries: list, t1: Any) -> tuple[list[Phase], Phase | None]:
    """The dynamic volumes, and the T1 if the request names one."""
    listed = [(entry, f"dynamics[{index}]") for index, entry in enumerate(entries)]
    if t1 is not None:
        listed.append((t1, "t1"))
    phases = several(lambda named: _phase(path, *named), listed)
    return phases[: len(entries)], None if t1 is None else phases[-1]


def _phase(path: Path, entry: Any, where: str) -> Phase:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or not entry["file"]:
        raise InputError(f'{path.name}: {where} must be an object with a "file".')
    name, time = entry.get("name"), entry.get("time_s")
    if name is not None and not isinstance(name, str):
        raise InputError(f"{path.name}: the name in {where} must be text.")
    is_number = isinstance(time, (int, float)) and not isinstance(time, bool)
    if time is not None and not (is_number and abs(time) < 1e12):
        raise InputError(f"{path.name}: time_s in {where} must be a number of seconds or null.")
    file = path.parent / entry["file"]
    if not file.name:
        raise InputError(f"{path.name}: {where} names a folder; name a volume file.")
    frames = read_volume_file(file)
    if len(frames) != 1:
        raise InputError(f"{file.name} holds {len(frames)} volumes; store each phase in its own file.")
    return replace(frames[0], name=name or frames[0].name, time_s=None if time is None else float(time))
