"""The simulated lesions that a finding is most like, from a small atlas that comes with the library.

Distance is Euclidean over standardised features: the root mean square of (x − y) / standard deviation over
those that both lesions have. The atlas is a table and a sheet of pictures in ``Resources/Atlas``, made by
``python training/descriptors.py atlas``. Nothing heavy is imported until a picture is asked for.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..core.errors import ModelError
from ..core.resources import resources

COUNT = 5
KIND = "breastcmsl.atlas"
TABLE, SHEET = "lesions.json", "lesions.webp"
_LOGARITHMS = ("radius_mm", "elongation", "rim")  # whose ratios count, not their differences
_MEASURES = (*_LOGARITHMS, "roughness", "solidity", "thickness", "radial", "unevenness")
_CURVE = ("wash_in", "wash_out")
FEATURES = (*_MEASURES, *_CURVE)
_LEAST_FEATURES = 7  # that both have, for a distance to mean anything


@dataclass(frozen=True)
class Atlas:
    """A table of simulated lesions.

    Parameters
    ----------
    mean, spread : tuple of float
        Of each of ``FEATURES`` over its lesions.
    lesions : tuple of mapping
        ``features`` (standardised, None where unknown), ``malignant``, ``subtype``, ``pattern``,
        ``diameter_mm``.
    unlike_from : float
        Distance that nineteen of twenty of its lesions have to their nearest at most.
    columns, width, height : int
        Pictures in a row of the sheet, and pixels of each.
    digest : str
        SHA-256 of the table: a lesion's number means something in this atlas alone.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    lesions: tuple[Mapping[str, Any], ...]
    unlike_from: float
    columns: int
    width: int
    height: int
    digest: str


def features_of(measures: Mapping[str, Any], curve: Mapping[str, Any] | None) -> list[float | None]:
    """``FEATURES`` of a lesion from its measures and its mean curve, None where unknown.

    Parameters
    ----------
    measures : mapping
        Of ``measures.measure_region``.
    curve : mapping or None
        As in ``findings.kinetics``; the early peak counts in % alone.
    """
    curve = curve or {}
    known = {**measures, "wash_out": curve.get("wash_out")}
    known["wash_in"] = curve.get("wash_in") if curve.get("unit") == "%" else None
    values = [known.get(name) for name in FEATURES]
    return [
        None
        if value is None or not math.isfinite(value) or (name in _LOGARITHMS and value <= 0)
        else math.log(value)
        if name in _LOGARITHMS
        else float(value)
        for name, value in zip(FEATURES, values)
    ]


@cache
def load_atlas() -> Atlas:
    """The atlas that comes with the library. Raises ModelError where it is missing or damaged."""
    path = resources() / "Atlas" / TABLE
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
        if table["kind"] != KIND:
            raise ValueError("another kind")
        names = tuple(table["features"])
        if names != FEATURES:
            raise ValueError("other features")
        mean, spread = zip(*(table["features"][name] for name in names))
        sheet = table["sheet"]
        return Atlas(
            tuple(map(float, mean)),
            tuple(map(float, spread)),
            tuple(table["lesions"]),
            float(table["unlike_from"]),
            *(int(sheet[key]) for key in ("columns", "width", "height")),
            hashlib.sha256(text.encode()).hexdigest(),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The atlas of simulated lesions {path} cannot be read; install the extension again."
        ) from error


def distance(one: Sequence[float | None], other: Sequence[float | None]) -> float:
    """Root mean square difference of standardised features that both have; ∞ where these are too few."""
    squares = [(a - b) ** 2 for a, b in zip(one, other) if a is not None and b is not None]
    return math.sqrt(sum(squares) / len(squares)) if len(squares) >= _LEAST_FEATURES else math.inf


def standardised(values: Sequence[float | None], atlas: Atlas) -> list[float | None]:
    """Features less their mean, over their spread in the atlas."""
    rows = zip(values, atlas.mean, atlas.spread)
    return [None if value is None else (value - mean) / spread for value, mean, spread in rows]


def most_similar(values: Sequence[float | None], atlas: Atlas, count: int = COUNT) -> list[dict[str, Any]]:
    """The lesions of the atlas that a lesion is most like, the nearest first.

    Parameters
    ----------
    values : sequence of float or None
        Of :func:`features_of`.
    atlas : Atlas
    count : int

    Returns
    -------
    list of dict
        ``lesion`` (its number in the atlas, from 0), ``distance``, ``malignant``, ``subtype``, ``pattern``,
        ``diameter_mm``. Empty where features are unknown, or nothing is as near as lesions of the atlas are
        to one another.
    """
    own = standardised(values, atlas)
    distances = [distance(own, lesion["features"]) for lesion in atlas.lesions]
    order = sorted(range(len(distances)), key=distances.__getitem__)[:count]
    if not order or distances[order[0]] > atlas.unlike_from:
        return []
    keys = ("malignant", "subtype", "pattern", "diameter_mm")
    return [
        {"lesion": n, "distance": round(distances[n], 3), **{key: atlas.lesions[n][key] for key in keys}}
        for n in order
        if math.isfinite(distances[n])
    ]


def atlas_strip(numbers: Sequence[int]) -> bytes:
    """Pictures of lesions of the atlas beside one another, as PNG.

    Each shows the lesion's axial slice in the first and in the last subtraction, on one grey scale.

    Parameters
    ----------
    numbers : sequence of int
        Of ``most_similar``.

    Raises
    ------
    ModelError
        The sheet of pictures is missing or damaged.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:  # it comes with reportlab, and with Slicer
        raise ModelError("The pictures of simulated lesions need the package pillow; install it.") from error
    atlas, path = load_atlas(), resources() / "Atlas" / SHEET
    gap = 4
    try:
        with Image.open(path) as opened:
            sheet = opened.convert("L")
    except (OSError, UnidentifiedImageError) as error:
        raise ModelError(
            f"The pictures of simulated lesions {path} cannot be read; install the extension again."
        ) from error
    strip = Image.new("L", (len(numbers) * (atlas.width + gap) - gap, atlas.height), 255)
    for place, number in enumerate(numbers):
        row, column = divmod(number, atlas.columns)
        left, top = column * atlas.width, row * atlas.height
        part = sheet.crop((left, top, left + atlas.width, top + atlas.height))
        strip.paste(part, (place * (atlas.width + gap), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
