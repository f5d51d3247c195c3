"""BI-RADS words and similar simulated lesions, as a reader sees them in report, panel and record.

``result`` is the dictionary of ``result.json``; a record is ``result["finding"]``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..descriptors.names import (
    AMOUNT,
    BACKGROUND,
    INTERNAL,
    MARGIN,
    TYPE,
)
from .wording import percent

NOTE = (
    "Words of the BI-RADS lexicon: from measurements of the outline by cut-offs chosen on simulated exams. "
    "Where a measurement lies between two words, it is not clear, and none is given."
)
SIMILAR_TITLE = "Looks like (simulated lesions)"
SIMILAR_NOTE = (
    "Each pair: axial slice of the first and last subtraction, 40 mm wide. Simulated, none of a patient: "
    "alike in size, outline, inside and curve, which says little of what it is."
)
NOTHING_ALIKE = "No simulated lesion is much like it."
_TOO_SMALL = "not told: the outline has too few voxels"
_NOT_CLEAR = "not clear"
_AMOUNTS = {
    "a": "almost entirely fat",
    "b": "scattered",
    "c": "heterogeneous",
    "d": "extreme",
}


def lexicon_text(record: Mapping[str, Any]) -> str:
    """The words of a finding in one line: "mass; margin not clear; rim enhancement"."""
    words = record.get("descriptors")
    if words is None:
        return ""
    if not words:
        return _TOO_SMALL
    kind = words[TYPE]["word"]
    parts = [kind or "mass or non-mass not clear"]
    if MARGIN in words:
        parts.append(f"{MARGIN} {words[MARGIN]['word'] or _NOT_CLEAR}")
    if INTERNAL in words:
        inside = words[INTERNAL]["word"]
        parts.append(f"{inside} enhancement" if inside else f"{INTERNAL} {_NOT_CLEAR}")
    return "; ".join(parts)


def breast_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and words of each descriptor of the breasts, or why it is not told."""
    records = result.get("breast_descriptors") or {}
    amount, background = records.get(AMOUNT) or {}, records.get(BACKGROUND) or {}
    rows = []
    if amount.get("missing") and amount.get("missing") == background.get("missing"):
        return [("Breast tissue", amount["missing"])]
    if amount:
        text = f"{amount['word']}{_meaning(amount['word'])}, {percent(amount['share'])} of the breasts"
        rows.append(("Fibroglandular tissue", text))
    if background:
        seen = background.get("missing")
        if not seen:
            seen = f"{background['word']}, {percent(background['share'])} of that tissue enhances early"
        rows.append(("Background enhancement", seen))
    return rows


def _meaning(word: str) -> str:
    return f" ({_AMOUNTS[word]})" if word in _AMOUNTS else ""


def similar_numbers(record: Mapping[str, Any]) -> list[int]:
    """Numbers in the atlas of the lesions that a finding looks like."""
    return [int(lesion["lesion"]) for lesion in (record.get("looks_like") or {}).get("lesions") or ()]


def similar_text(record: Mapping[str, Any]) -> str:
    """What a finding looks like: "3 of 5 malignant: fibroadenoma (2), …"; "" where it was not looked at."""
    similar = record.get("looks_like")
    if not similar:
        return ""
    if similar.get("missing"):
        return similar["missing"]
    lesions = similar.get("lesions") or ()
    if not lesions:
        return NOTHING_ALIKE if record.get("descriptors") else ""
    malignant = sum(bool(lesion["malignant"]) for lesion in lesions)
    kinds = Counter(_kind(lesion) for lesion in lesions)
    names = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in kinds.items())
    return f"{malignant} of {len(lesions)} malignant: {names}"


def similar_caption(record: Mapping[str, Any]) -> str:
    """Under the pictures, from left to right: class, subtype and size of each."""
    lesions = (record.get("looks_like") or {}).get("lesions") or ()
    parts = [
        f"{number}. {'malignant' if lesion['malignant'] else 'benign'}, {_kind(lesion)}, "
        f"{float(lesion['diameter_mm']):.0f} mm"
        for number, lesion in enumerate(lesions, 1)
    ]
    return f"Simulated lesions, from left to right: {'; '.join(parts)}." if parts else ""


def _kind(lesion: Mapping[str, Any]) -> str:
    pattern = "" if lesion["pattern"] == "mass" else f", {lesion['pattern']}"
    return f"{lesion['subtype']}{pattern}"
