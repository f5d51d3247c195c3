"""The atlas of simulated lesions that comes with the library: which lesions, their table and pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.descriptors.atlas import FEATURES, KIND, SHEET, TABLE, distance, features_of
from training.data.files import write_atomically

EACH = 10  # lesions of a subtype at most
_LEAST_DICE = 0.5  # of outline and truth: a picture shows what its class says
_COLUMNS = 8
_QUALITY = 70


def chosen_lesions(rows: Sequence[Mapping[str, Any]], each: int = EACH) -> list[int]:
    """Numbers of the rows that the atlas takes: the first ones of each subtype that were outlined well."""
    taken: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        own = taken.setdefault(row["subtype"], [])
        if row["dice"] >= _LEAST_DICE and len(own) < each and None not in features_of(row, row):
            own.append(number)
    return [number for name in sorted(taken) for number in taken[name]]


def write_atlas(
    folder: Path, rows: Sequence[Mapping[str, Any]], pictures: Sequence[np.ndarray], each: int = EACH
) -> int:
    """Write table and sheet of the chosen lesions; returns how many they are.

    Parameters
    ----------
    folder : Path
    rows : sequence of mapping
        Lesions of ``described_lesions.DescribedExam``.
    pictures : sequence of ndarray
        Of the same lesions.
    each : int
        Lesions of a subtype at most.

    Raises
    ------
    InputError
        Fewer than two lesions can be taken.
    """
    numbers = chosen_lesions(rows, each)
    if len(numbers) < 2:
        raise InputError("Too few lesions for an atlas; describe more exams.")
    features = np.array([features_of(rows[n], rows[n]) for n in numbers], dtype=np.float64)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    standard = np.round((features - mean) / spread, 3)
    table = {
        "schema_version": 1,
        "kind": KIND,
        "data": "simulated lesions, none of a patient",
        "features": {
            name: [round(float(m), 5), round(float(s), 5)] for name, m, s in zip(FEATURES, mean, spread)
        },
        "unlike_from": round(_unlike_from(standard), 3),
        "sheet": {"columns": _COLUMNS, "width": pictures[0].shape[1], "height": pictures[0].shape[0]},
        "lesions": [
            {
                "seed": rows[n]["seed"],
                "malignant": rows[n]["malignant"],
                "subtype": rows[n]["subtype"],
                "pattern": rows[n]["pattern"],
                "diameter_mm": round(2 * rows[n]["true_radius_mm"], 1),
                "features": values.tolist(),
            }
            for n, values in zip(numbers, standard)
        ],
    }
    write_atomically(folder / TABLE, _lines(table))
    write_atomically(folder / SHEET, _sheet([pictures[n] for n in numbers]))
    return len(numbers)


def _unlike_from(standard: np.ndarray) -> float:
    """Nineteen of twenty lesions have another one nearer than this."""
    nearest = [
        min(distance(own, other) for m, other in enumerate(standard) if m != n)
        for n, own in enumerate(standard)
    ]
    return float(np.percentile(nearest, 95))


def _lines(table: Mapping[str, Any]) -> str:
    """JSON with one lesion a line."""
    lesions = ",\n  ".join(json.dumps(lesion) for lesion in table["lesions"])
    head = json.dumps({key: value for key, value in table.items() if key != "lesions"}, indent=1)
    return f'{head.removesuffix("}").rstrip()},\n "lesions": [\n  {lesions}\n ]\n}}\n'


def _sheet(pictures: Sequence[np.ndarray]) -> bytes:
    high, wide = pictures[0].shape
    rows = -(-len(pictures) // _COLUMNS)
    sheet = np.zeros((rows * high, _COLUMNS * wide), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        sheet[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()
