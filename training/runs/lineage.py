"""What a run's networks have learned from, its own exams and others: simulated ones, or those of patients."""

from __future__ import annotations

import json
from pathlib import Path

from BreastCMSLLib.core.errors import BreastCMSLError
from BreastCMSLLib.models.cards import read_card
from training.data.files import read_rows

from .folder import CANDIDATES, Run

ALL_SIMULATED = "simulated exams"


def training_data(run: Run) -> str:
    """What the networks of a run have learned from, as its bundle says it.

    ``ALL_SIMULATED`` where that is known of everything: its exams, described candidates, and what it was
    started from.
    """
    if only_simulated(run):
        return ALL_SIMULATED
    own = ALL_SIMULATED if run.config["simulated"] else f"exams of {Path(run.config['source']).name}"
    rows = [row for row in read_rows(run.folder / "split.csv") if row["split"] == "train"]
    made = sum(bool(row.get("seed")) for row in rows)
    parts = [f"{own}, {made} of {len(rows)} simulated" if made else own]
    if more := described_exams(run):
        parts.append(f"candidates of {more}")
    # of a run it is known what it learned from, of a bundle only what its card says
    parts += [f"starting from the bundle {start.stem}" for start in _starts(run) if start.suffix == ".json"]
    parts += [
        f"starting from the run {start.name}, which learned from exams that are not simulated"
        for start in _starts(run)
        if run.config["simulated"] and start.suffix != ".json" and not _start_is_simulated(start)
    ]
    return ", ".join(parts)


def only_simulated(run: Run) -> bool:
    """Whether no exam of a patient is known among what a run's networks have learned from."""
    more = _candidates_card(run).get("more", "")
    return (
        bool(run.config["simulated"]) and _is_simulated(more) and all(map(_start_is_simulated, _starts(run)))
    )


def described_exams(run: Run) -> str:
    """Number and source of the described exams that its candidate classifier learned from; "" of none."""
    number, word, source = _candidates_card(run).get("more", "").partition(" training exams of ")
    if not word:
        return ""
    if source.startswith("simulated:"):
        return f"{number} simulated exams"
    return f"{number} exams of {Path(source).name}"


def _is_simulated(more: str) -> bool:
    """Of the entry ``more`` of candidates/config.json."""
    number, _, source = more.partition(" training exams of ")
    return not more or number.endswith(" simulated") or source.startswith("simulated:")


def _candidates_card(run: Run) -> dict:
    if run.candidates is None:
        return {}
    try:
        return json.loads((run.folder / CANDIDATES / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _starts(run: Run) -> list[Path]:
    """Runs and cards of bundles that the network or the candidate classifier was started from."""
    names = (run.config.get("init"), run.config.get("teacher"), _candidates_card(run).get("init"))
    return list(dict.fromkeys(Path(name) for name in names if name))


def _start_is_simulated(start: Path) -> bool:
    """Whether it is known to be."""
    try:
        if start.suffix == ".json":
            return read_card(start).training_data == ALL_SIMULATED
        config = json.loads((start / "config.json").read_text(encoding="utf-8"))
        card = start / CANDIDATES / "config.json"
        candidates = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    except (OSError, ValueError, BreastCMSLError):  # it lies elsewhere by now
        return False
    names = (config.get("init"), config.get("teacher"), candidates.get("init"))
    earlier = [Path(name) for name in names if name and Path(name) != start]
    own = bool(config.get("simulated")) and _is_simulated(candidates.get("more", ""))
    return own and all(map(_start_is_simulated, earlier))
