"""Words of places and suspicion as ``result.json`` has them. Imports nothing heavy."""

from __future__ import annotations

INDEX, SAME_QUADRANT, SAME_BREAST, OTHER_BREAST = "index", "same quadrant", "same breast", "other breast"
GROUPS = (INDEX, SAME_QUADRANT, SAME_BREAST, OTHER_BREAST)  # in the order of a report
POSTERIOR, AXILLARY = "posterior", "axillary"
HIGH, MODERATE, LOW = "high", "moderate", "low"
LOW_BELOW = 0.05  # probability; a candidate below is named in one line
