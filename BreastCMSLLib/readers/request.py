"""The request a parent process (the desktop module) writes: volume files already in order, a T1, options."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.text import one_line
from ..exam.exam import Exam, Phase, make_exam
from . import one_sentence
from .files import read_volume_file, several

SCHEMA_VERSION = 1
_KINDS = ("auto", "phases", "subtractions")


def read_request(path: Path | str) -> tuple[Exam, dict[str, Any]]:
    """The exam and the options of a REQUEST.json; the order of its volumes is kept.

    Relative file names are looked up beside the request. Raises InputError with one sentence.
    """
    with one_sentence():
        return _read(Path(path))


def read_options(path: Path | str) -> dict[str, Any]:
    """The options of a REQUEST.json alone; none of its volumes is read. Raises InputError with one sentence."""
    path = Path(path)
    with one_sentence():
        return _options(path, _load(path))


def _read(path: Path) -> tuple[Exam, dict[str, Any]]:
    data = _load(path)
    if data.get("schema_version") != SCHEMA_VERSION or isinstance(data["schema_version"], bool):
        version = one_line(data.get("schema_version"), 40)
        raise InputError(f"{path.name} has schema version {version}, not {SCHEMA_VERSION}; update both parts of BreastCMSL.")
    kind = data.get("kind", "auto")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{path.name}: kind must be one of {', '.join(_KINDS)}, not {one_line(kind, 40)}.")
    entries = data.get("dynamics")
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path.name}: "dynamics" must be a list of volumes with at least two entries.')
    identifiers = _object(path, data, "identifiers")
    for key, value in identifiers.items():
        if not (
            value is None or isinstance(value, (str, int, float)) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
        ):
            raise InputError(f"{path.name}: the identifier {one_line(key, 40)} must be text, a number or a list of texts.")
    if not re.fullmatch(r"[\w.-]{1,64}", str(identifiers.get("exam_id") or "-")):
        raise InputError(f"{path.name}: exam_id must be up to 64 letters, digits, dots or dashes.")
    options = _options(path, data)
    for key, kind_of_value, words in (("study_instance_uid", str, "text"), ("series_instance_uids", list, "a list of texts")):
        if identifiers.get(key) is not None and not isinstance(identifiers[key], kind_of_value):
            raise InputError(f"{path.name}: {key} must be {words}.")
    warnings = data.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(w, str) for w in warnings):
        raise InputError(f'{path.name}: "warnings" must be a list of sentences.')
    listed = [(entry, f"dynamics[{index}]") for index, entry in enumerate(entries)]
    if data.get("t1") is not None:
        listed.append((data["t1"], "t1"))
    phases = several(lambda entry: _phase(path, *entry), listed)
    dynamics, t1 = phases[: len(entries)], phases[len(entries)] if len(phases) > len(entries) else None
    exam = make_exam(dynamics, kind=kind, t1=t1, identifiers=identifiers, warnings=warnings, keep_order=True)
    return exam, options


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of thousands of digits, nested too deep
        raise InputError(f"{path.name} is not valid JSON; write the request again.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path.name} must hold one JSON object.")
    return data


def _options(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    options = _object(path, data, "options")
    for key in ("map", "device", "model"):
        if not (options.get(key) is None or isinstance(options[key], str)):
            raise InputError(f"{path.name}: the option {key} must be text or null, not {one_line(options[key], 40)}.")
    return options


def _object(path: Path, data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f'{path.name}: "{key}" must be a JSON object.')
    return value


def _phase(path: Path, entry: Any, where: str) -> Phase:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or not entry["file"]:
        raise InputError(f'{path.name}: {where} must be an object with a "file".')
    name, time = entry.get("name"), entry.get("time_s")
    if name is not None and not isinstance(name, str):
        raise InputError(f"{path.name}: the name in {where} must be text.")
    if time is not None and (isinstance(time, bool) or not isinstance(time, (int, float)) or not abs(time) < 1e12):
        raise InputError(f"{path.name}: time_s in {where} must be a number of seconds or null.")
    file = path.parent / entry["file"]
    frames = read_volume_file(file)
    if len(frames) != 1:
        raise InputError(f"{file.name} holds {len(frames)} volumes; store each phase in its own file.")
    return replace(frames[0], name=name or frames[0].name, time_s=None if time is None else float(time))
