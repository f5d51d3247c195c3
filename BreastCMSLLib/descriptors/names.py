"""Words of the BI-RADS lexicon as ``result.json`` has them. Imports nothing heavy."""

from __future__ import annotations

TYPE, SHAPE, MARGIN, INTERNAL = "type", "shape", "margin", "internal enhancement"
MASS, NON_MASS = "mass", "non-mass"
OVAL, ROUND, IRREGULAR = "oval", "round", "irregular"
CIRCUMSCRIBED, NOT_CIRCUMSCRIBED = "circumscribed", "not circumscribed"
HOMOGENEOUS, HETEROGENEOUS, RIM = "homogeneous", "heterogeneous", "rim"
BACKGROUND, AMOUNT = "background enhancement", "fibroglandular tissue"
BACKGROUNDS = ("minimal", "mild", "moderate", "marked")
AMOUNTS = ("a", "b", "c", "d")
