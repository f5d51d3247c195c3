"""Lines of rows.jsonl, an exam each, from which a comparison that was broken off goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from BreastCMSLLib.core.checksum import sha256_of
from training.data import cache

from . import localisation
from .localisation import Ways
from .other_runs import weights_of

CODE = (
    "correlax",
    "lesion_kinds",
    "lesions",
    "localisation",
    "method_run",
    "metrics",
    "slow_maps",
    "stage_maps",
)  # files beside this one that decide what a line holds


def judged_rows(ways: Ways, paths: Sequence[Path], folder: Path, split: str) -> list[dict]:
    """Rows of cached exams in the order given.

    Those that the file holds of the same models, code and cached exam are not computed again.

    Parameters
    ----------
    ways : Ways
    paths : sequence of Path
        The exams.
    folder : Path
        Where rows.jsonl lies, or will.
    split : {"validate", "test"}
        Whose the exams are.

    Returns
    -------
    list of dict
        Of :func:`localisation.judge`.
    """
    key, path = _key(ways, split), folder / "rows.jsonl"
    known = _known_rows(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with open(path, "a", encoding="utf-8") as stream:
        for exam in track(paths, "exams", disable=not sys.stderr.isatty()):
            own = f"{key} {cache.read_meta(exam).get('fingerprint', '')}"
            row = known.get((exam.stem, own))
            if row is None:
                row = {"key": own, **localisation.judge(ways, cache.load(exam))}
                row = json.loads(json.dumps(row, default=float))
                stream.write(json.dumps(row) + "\n")
                stream.flush()
            rows.append(row)
    return rows


def _key(ways: Ways, split: str) -> str:
    """Of everything but the exam that decides what a line holds."""
    predictor = ways.predictor
    bundle = predictor.bundle
    mix = bundle.candidates.settings.mix if bundle.has_candidates else ""
    others = "".join(f"{sha256[:16]} " for sha256 in weights_of(ways.others).values())
    slow = "slow " if ways.slow else ""
    return f"{bundle.sha256[:16]} {mix} {split} {predictor.precision} {slow}{others}{_code(bool(others))}"


def _known_rows(path: Path) -> dict[tuple[str, str], dict]:
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the line at which an earlier run was broken off
        known[row.get("exam"), row.get("key")] = row
    return known


def _code(with_methods: bool) -> str:
    """Digest of the code that decides what a line holds."""
    here = Path(__file__).parent
    own = sha256_of(*(here / f"{name}.py" for name in CODE))
    library = [
        f"BreastCMSLLib/{name}" for name in ("candidates", "findings", "models", "network", "scoring.py")
    ]
    return cache.code_version(*library, *(["training/methods"] if with_methods else [])) + own[:8]
