"""Words of a comparison as ``comparison.json`` has them. Imports nothing heavy."""

from __future__ import annotations

NEW, VANISHED, GROWN, SHRUNK, STABLE = "new", "vanished", "grown", "shrunk", "stable"
KINDS = (NEW, GROWN, STABLE, SHRUNK, VANISHED)  # in the order of a report
RIGID, ANCHORS = "rigid", "anchors"  # how exams are registered
