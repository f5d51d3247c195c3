"""Requests of the desktop module."""

from __future__ import annotations

import json
import random
from pathlib import Path

from .. import damage
from ..cases import VALID, Case, exam_of_files, generator, put


def _pick_request(rng: random.Random, bases: Path) -> dict:
    value = json.loads((bases / "request" / "REQUEST.json").read_text())
    if rng.random() < 0.25:
        size = (bases / "request" / "REQUEST.json").stat().st_size
        return {
            "operations": [],
            "bytes": [damage.damage_bytes(rng, size) for _ in range(rng.choice([1, 3]))],
        }
    return {
        "operations": [damage.damage_json(rng, value) for _ in range(rng.choice([1, 1, 1, 2, 3]))],
        "bytes": [],
    }


def _evil_names() -> list[str]:
    """Names that a damaged request gives its files: a message rightly repeats them."""
    return [
        Path(text).name
        for text in damage.EVIL_JSON
        if isinstance(text, str) and Path(text).name.isprintable() and Path(text).name
    ]


@generator("request", _pick_request, weight=8)
def _request(parameters: dict, bases: Path, folder: Path) -> Case:
    case = exam_of_files(bases, "request", folder)
    value = json.loads((bases / "request" / "REQUEST.json").read_text())
    text = damage.apply_json(value, parameters["operations"]).encode("utf-8", "surrogatepass")
    put(folder / "exam" / "REQUEST.json", damage.apply_bytes(text, parameters["bytes"]))
    return Case(
        "request",
        [folder / "exam" / "REQUEST.json"],
        [*case.names, "node", "REQUEST.json", folder.name, *_evil_names()],
        VALID,
    )
