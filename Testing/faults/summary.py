"""The counts of a campaign: kept while it runs, so that a run that was cut short can be gone on with."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from .judge import FAILURES, VERDICTS, Outcome


class Summary:
    """Counts of the first so many inputs.

    Parameters
    ----------
    identity
        What the inputs follow from: count, seed and generators.
    earlier
        The report of a run of the same identity, to go on with.
    """

    def __init__(self, identity: dict, earlier: dict | None = None):
        earlier = earlier or {}
        self.identity = identity
        self.counts = Counter({name: earlier.get(name, 0) for name in VERDICTS})
        self.generators = {name: Counter(c) for name, c in earlier.get("generators", {}).items()}
        self.failures: list[dict] = list(earlier.get("failures", []))
        self.planned, self.unaccounted = earlier.get("planned", 0), earlier.get("files_unaccounted_for", 0)
        self.worst = {name: earlier[name] for name in ("slowest", "largest") if name in earlier}
        self.slowest, self.largest = earlier.get("slowest_s", 0.0), earlier.get("largest_mb", 0.0)
        self.seconds_before = earlier.get("seconds", 0.0)

    @property
    def inputs(self) -> int:
        return sum(self.counts.values())

    def add(self, outcome: Outcome) -> None:
        """Count an input."""
        self.counts[outcome.verdict] += 1
        self.generators.setdefault(outcome.generator, Counter())[outcome.verdict] += 1
        self.planned += outcome.planned
        self.unaccounted += outcome.unaccounted
        if outcome.seconds > self.slowest:
            self.slowest, self.worst["slowest"] = outcome.seconds, outcome.as_dict()
        if outcome.peak_mb > self.largest:
            self.largest, self.worst["largest"] = outcome.peak_mb, outcome.as_dict()
        if outcome.verdict in FAILURES:
            self.failures.append(outcome.as_dict())

    def as_json(self, seconds: float, complete: bool, skipped: dict[str, str]) -> dict:
        """The report."""
        return {
            "inputs": self.inputs,
            "complete": complete,
            **{name: self.counts[name] for name in VERDICTS},
            "planned": self.planned,
            "files_unaccounted_for": self.unaccounted,
            **self.identity,
            "seconds": round(self.seconds_before + seconds, 1),
            "slowest_s": self.slowest,
            "largest_mb": self.largest,
            "generators": {name: dict(sorted(c.items())) for name, c in sorted(self.generators.items())},
            "skipped": skipped,
            **self.worst,
            "failures": self.failures,
        }


def of_same_identity(path: Path, identity: dict) -> dict:
    """An earlier report of the same inputs; empty when there is none."""
    report = read_report(path)
    return report if all(report.get(name) == value for name, value in identity.items()) else {}


def read_report(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def write_report(path: Path, report: dict) -> None:
    """Write a report; what other parts of the campaign counted stays in it."""
    others = {
        key: value for key, value in read_report(path).items() if key in ("kills", "lost", "kill_campaign")
    }
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps({**others, **report}, indent=1) + "\n")
    aside.replace(path)
