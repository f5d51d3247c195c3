"""What a map is called where a reader sees it, and what it shows. Files and results keep the short names. Imports nothing heavy."""

from __future__ import annotations

_TITLES = {
    "LESION": "Lesion map",
    "COAMxCAM": "COAM × CAM",
    "COAM": "COAM",
    "CAM": "CAM",
}
_NOTES = {
    "LESION": (
        "Lesion map: the places that a second reading judged one by one, each as bright as it is probably a cancer "
        "compared with the most suspicious one."
    ),
    "COAMxCAM": (
        "COAM × CAM: where the part of the image that speaks for malignant (CAM) agrees with the rest of the exam's features (COAM)."
    ),
    "COAM": ("COAM, correlation attention map: parts whose features agree with the whole exam. It does not tell malignant from benign."),
    "CAM": "CAM, class activation map: how much each part adds to the score for malignant.",
}


def title_of(name: object) -> str:
    """The map's name for a reader: "Lesion map" for LESION; an unknown name as it is."""
    return _TITLES.get(str(name), str(name))


def note_of(name: object) -> str:
    """One sentence on what the map shows; "" for an unknown one."""
    return _NOTES.get(str(name), "")
