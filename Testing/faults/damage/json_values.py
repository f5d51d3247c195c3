"""Damage to JSON values."""

from __future__ import annotations

import json
import random
from typing import Any

# values that a header field or a JSON entry may be given; JSON itself can hold all of them (NaN and huge
# integers in Python's dialect)
NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    7,
    127,
    255,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32,
    2**63,
    10**30,
    -(2**31),
    0.0,
    0.5,
    -0.001,
    1e-30,
    1e30,
    1e308,
]
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf")]
WORDS = [
    "",
    " ",
    "x",
    "nan",
    "inf",
    "-0",
    "0x10",
    "1e999",
    "1" * 400,
    "a" * 3000,
    "\u00e4\u4e2d",
    "<script>alert(1)</script>",
    "%s%n",
    "; rm -rf x",
    "\t",
]


EVIL_JSON: list[Any] = [
    None, True, False, *NUMBERS, *ODD_NUMBERS, 10**400, -(10**400), "", "\0", "a\0b", "\ud800",
    "../../etc/passwd", "/dev/zero", "a" * 5000, "x\ny", {}, [], [[]], {"": None}, [1, 2, 3], ["a"], "NaN",
    "1", "cuda:99", "mps", "<script>alert(1)</script>", "\u202e", "..", ".", "/", "~", "file:///etc/passwd",
    "a.nrrd",
]  # fmt: skip


def json_places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of every node of a JSON value."""
    places = [path]
    if isinstance(value, dict):
        places += [p for key, entry in value.items() for p in json_places(entry, (*path, key))]
    elif isinstance(value, list):
        places += [p for index, entry in enumerate(value) for p in json_places(entry, (*path, index))]
    return places


def damage_json(rng: random.Random, value: Any) -> list:
    """One operation on a JSON value: [name, path, index of EVIL_JSON or depth]."""
    places = json_places(value)
    path = list(rng.choice(places))
    name = rng.choice(["put"] * 6 + ["delete", "twice", "deep", "add"])
    return [name, path, rng.choice([5, 50, 900, 5000]) if name == "deep" else rng.randrange(len(EVIL_JSON))]


def apply_json(value: Any, operations: list) -> str:
    """The JSON text after the operations; nesting deeper than Python writes is put in as text."""
    marks: dict[str, str] = {}
    value = json.loads(json.dumps(value))
    for number, (name, path, argument) in enumerate(operations):
        holder, last = {"": value}, ""
        try:
            for key in path:
                holder, last = holder[last], key
                if not isinstance(holder, (dict, list)):
                    raise TypeError
                holder[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier operation took it away
        if name == "deep":
            marks[f"@deep{number}@"] = "[" * argument + "]" * argument
            evil: Any = f"@deep{number}@"
        else:
            evil = EVIL_JSON[argument]
        if name in ("put", "deep"):
            holder[last] = evil
        elif name == "delete" and path:
            del holder[last]
        elif name == "twice" and isinstance(holder, list):
            holder.append(holder[last])
        elif name == "add" and isinstance(holder, dict) and path:
            holder["unknown"] = evil
        if not path:
            value = holder.get("", value)
    text = json.dumps(value)
    for mark, deep in marks.items():
        text = text.replace(json.dumps(mark), deep)
    return text
