"""The request a parent process (the desktop module) writes: volume files already in order, a T1, options."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..exam import Exam, Phase, make_exam
from .detect import one_line
from .files import read_volume_file

SCHEMA_VERSION = 1
_KINDS = ("auto", "phases", "subtractions")


def read_request(path: Path | str) -> tuple[Exam, dict[str, Any]]:
    """The exam and the options of a REQUEST.json; the order of its volumes is kept.

    Relative file names are looked up beside the request. Raises InputError with one sentence.
    """
    path = Path(path)
    data = _load(path)
    if data.get("schema_version") != SCHEMA_VERSION:
        version = one_line(data.get("schema_version"), 40)
        raise InputError(f"{path.name} has schema version {version}, not {SCHEMA_VERSION}; update both parts of BreastCMSL.")
    kind = data.get("kind", "auto")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{path.name}: kind must be one of {', '.join(_KINDS)}, not {one_line(kind, 40)}.")
    entries = data.get("dynamics")
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path.name}: "dynamics" must be a list of volumes with at least two entries.')
    identifiers = _object(path, data, "identifiers")
    options = _object(path, data, "options")
    warnings = data.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(w, str) for w in warnings):
        raise InputError(f'{path.name}: "warnings" must be a list of sentences.')
    dynamics = [_phase(path, entry, f"dynamics[{index}]") for index, entry in enumerate(entries)]
    t1 = None if data.get("t1") is None else _phase(path, data["t1"], "t1")
    exam = make_exam(dynamics, kind=kind, t1=t1, identifiers=identifiers, warnings=warnings, keep_order=True)
    return exam, options


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not valid JSON; write the request again.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path.name} must hold one JSON object.")
    return data


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
    if time is not None and (isinstance(time, bool) or not isinstance(time, (int, float)) or not math.isfinite(time)):
        raise InputError(f"{path.name}: time_s in {where} must be a number of seconds or null.")
    file = path.parent / entry["file"]
    frames = read_volume_file(file)
    if len(frames) != 1:
        raise InputError(f"{file.name} holds {len(frames)} volumes; store each phase in its own file.")
    return replace(frames[0], name=name or frames[0].name, time_s=None if time is None else float(time))
