"""Models: cards and weights that were altered."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

from .. import damage
from ..cases import NEVER, VALID, Case, generator

_ARCHITECTURE = {
    "channels": [0, -1, 1, 5, 10**6, 2.5], "width": [0, -1, 2, 4096, 10**9, 1.5, "1"],
    "blocks": [[], [0], [10**6], [1], [1, 1, 1], [-1, 1], ["1", "1"], [[1], [1]]],
    "strides": [[], [0, 2], [-1, 2], [10**6, 1], [1], [1, 2, 3]], "stem_kernel": [0, -1, 2, 8, 10001],
    "stem_stride": [0, -4, 10**9], "stem_pool": [1, "yes", None], "head": ["", "cosine", "mlp", None, []],
    "pooling": ["", "max", "mean", None, {}], "scale": [0, -1, 1e400, "20", float("nan")],
}  # fmt: skip
_CONTRACT = {
    "size": [
        [0, 0, 0], [-1, 40, 24], [10**5, 10**5, 10**5], [48, 40], [48.5, 40, 24], 5, [2048] * 3, [1, 1, 1],
        ["a", 1, 2],
    ],
    "spacing_mm": [0, -1, 1e-9, 1e9, float("nan"), float("inf"), "1.1", None],
    "phases": [0, -1, 5, 10**9, 6.5], "scale_percentile": [-1, 101, float("nan"), "99"],
    "clip": [[1, -1], [0, 0], [float("nan"), 1], [-1], "x", [-1, float("inf")]],
    "mask": [
        5, [], {"unknown": 1}, {"sigmas_mm": []}, {"sigmas_mm": [0]}, {"sigmas_mm": [1e9]}, {"skin_mm": "x"},
        {"smooth_mm": -1}, {"edge_threshold": float("nan")}, {"chest_half_width_mm": 0},
    ],
}  # fmt: skip


def _pick_bundle(rng: random.Random, bases: Path) -> dict:
    card = json.loads((bases / "bundle" / "small.json").read_text())
    what = rng.choice(
        ["card", "card", "settings", "settings", "settings", "weights", "tensors", "tensors", "bytes", "file"]
    )
    parameters: dict = {"what": what, "operations": [], "rehash": True}
    if what == "card":
        parameters["operations"] = [damage.damage_json(rng, card) for _ in range(rng.choice([1, 1, 2]))]
    elif what == "settings":
        group, table = rng.choice([("architecture", _ARCHITECTURE), ("input", _CONTRACT)])
        name = rng.choice(list(table))
        parameters.update(group=group, name=name, value=rng.choice(table[name]))
    elif what in ("weights", "bytes"):
        size = (bases / "bundle" / "small.safetensors").stat().st_size
        parameters["operations"] = [
            damage.damage_bytes(rng, size, rng.choice([8, 2000, None])) for _ in range(rng.choice([1, 2]))
        ]
        parameters["rehash"] = what == "weights"
    elif what == "tensors":
        parameters["tensor"] = rng.choice(
            [
                "length",
                "nesting",
                "shape",
                "dtype",
                "offsets",
                "overlap",
                "huge",
                "nan",
                "missing",
                "more",
                "empty",
                "metadata",
            ]
        )
    else:
        parameters["file"] = rng.choice(
            [
                "../small.safetensors",
                "/dev/zero",
                "",
                ".",
                "missing",
                "pipe",
                "small.json",
                "a/b",
                "..",
                "zero.safetensors",
                "\0",
            ]
        )
    return parameters


def _safetensors(data: bytes, what: str) -> bytes:
    """Weights whose header lies."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    key = next(k for k in header if k != "__metadata__")
    if what == "length":
        return (2**63 - 1).to_bytes(8, "little") + data[8:]
    if what == "nesting":
        text = b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"
        return len(text).to_bytes(8, "little") + text + body
    if what == "shape":
        header[key]["shape"] = [2**40]
    elif what == "dtype":
        header[key]["dtype"] = "F8_E5M2"
    elif what == "offsets":
        header[key]["data_offsets"] = [0, 2**50]
    elif what == "overlap":
        for entry in header.values():
            if "data_offsets" in entry:
                entry["data_offsets"] = header[key]["data_offsets"]
    elif what == "huge":
        header["extra"] = {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [len(body), len(body)]}
    elif what == "nan":
        body = b"\xff" * len(body)
    elif what == "missing":
        header.pop(key)
    elif what == "more":
        header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(body), len(body)]}
    elif what == "empty":
        header, body = {}, b""
    elif what == "metadata":
        header["__metadata__"] = {"a": "b" * 10**6}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@generator("bundle", _pick_bundle, weight=8, needs_torch=True)
def _bundle(parameters: dict, bases: Path, folder: Path) -> Case:
    """Cards and weights that were altered, with a hash that fits where an attacker would have made it fit."""
    place = folder / "model"
    place.mkdir()
    data = (bases / "bundle" / "small.safetensors").read_bytes()
    card = json.loads((bases / "bundle" / "small.json").read_text())
    what = parameters["what"]
    accept = VALID
    if what in ("weights", "bytes"):
        changed = damage.apply_bytes(data, parameters["operations"])
        accept = NEVER if what == "bytes" and changed != data else VALID
        data = changed
    elif what == "tensors":
        data = _safetensors(data, parameters["tensor"])
    elif what == "settings":
        card[parameters["group"]][parameters["name"]] = parameters["value"]
    elif what == "file":
        card["weights"]["file"] = parameters["file"]
        accept = NEVER
        os.mkfifo(place / "pipe")
        (place / "zero.safetensors").symlink_to("/dev/zero")
    if parameters["rehash"]:
        card["weights"].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    text = damage.apply_json(card, parameters["operations"] if what == "card" else [])
    (place / "small.safetensors").write_bytes(data)
    (place / "small.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case("bundle", [place / "small.json"], ["small", "weights"], accept)
