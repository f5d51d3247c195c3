"""Lists of exams for training."""

from __future__ import annotations

import csv
import io
import os
import random
from pathlib import Path

from .. import damage
from ..cases import NEVER, VALID, Case, files_in, generator

_MANIFEST_PATHS = [
    "../secret.nrrd",
    "/etc/passwd",
    "a/../../b.nrrd",
    "C:\\x.nrrd",
    "nowhere.nrrd",
    "",
    "\0",
    "~",
    "exam/../../nrrd/x.nrrd",
    "pipe",
]


def _pick_manifest(rng: random.Random, bases: Path) -> dict:
    what = rng.choice(["path", "path", "bytes", "cell", "columns"])
    return {
        "what": what,
        "path": rng.choice(_MANIFEST_PATHS),
        "cell": [
            rng.randrange(8),
            rng.choice(
                ["", "nan", "-1", "2", "maybe", "1e400", '"', "a,b", "\u202e", "x" * 5000, "[[", "0;0;0"]
            ),
        ],
        "operations": [damage.damage_bytes(rng, 400) for _ in range(rng.choice([1, 2, 5]))],
    }


@generator("manifest", _pick_manifest, weight=3, needs_torch=True)
def _manifest(parameters: dict, bases: Path, folder: Path) -> Case:
    """Lists of exams that name files elsewhere, or are no lists."""
    place = folder / "data"
    place.mkdir()
    for file in files_in(bases / "nrrd"):
        os.symlink(bases / "nrrd" / file, place / file)
    os.mkfifo(place / "pipe")
    columns = ["patient", "exam", "label", "split", "pre", "post", "kind", "times_s"]
    rows = [
        [
            f"p{n}",
            f"e{n}",
            str(n % 2),
            "train",
            "ax dyn pre.nrrd",
            "ax dyn pass 1.nrrd|ax dyn pass 2.nrrd",
            "phases",
            "0|90|180",
        ]
        for n in range(3)
    ]
    what = parameters["what"]
    if what == "path":
        rows[1][4] = parameters["path"]
    elif what == "cell":
        rows[1][parameters["cell"][0]] = parameters["cell"][1]
    elif what == "columns":
        columns = columns[: parameters["cell"][0]]
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    data = text.getvalue().encode()
    path = place / "manifest.csv"
    path.write_bytes(damage.apply_bytes(data, parameters["operations"]) if what == "bytes" else data)
    accept = NEVER if what == "path" and parameters["path"] not in ("",) else VALID
    return Case("manifest", [path], ["manifest.csv"], accept)
