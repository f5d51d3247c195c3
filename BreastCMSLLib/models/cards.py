"""What is known of a model bundle without loading it: name, training data, evidence, checksum. Imports no torch.

:mod:`BreastCMSLLib.weights` loads and verifies; this is for lists, tooltips and reports. Cards of other versions are
read as far as they can be: what is missing is not shown.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import ModelError
from ..results.wording import title_of

DEFAULT_NAME = "breastcmsl"


@dataclass(frozen=True)
class Card:
    """path: the .json file. weights: the file beside it. sha256: what the card says the weights' checksum is."""

    path: Path
    name: str
    sha256: str
    weights: Path
    description: str = ""
    training_data: str = ""
    threshold: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def read_card(path: str | os.PathLike) -> Card:
    """The card of a bundle, given its .json file or the .safetensors beside it. Raises ModelError with one sentence."""
    path = Path(path)
    if path.suffix == ".safetensors":
        path = path.with_suffix(".json")
    if not path.is_file():
        raise ModelError(f"The model {path} was not found; choose the .json file of a model bundle.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not a readable model card; choose the .json file of a model bundle.") from error
    weights = data.get("weights") if isinstance(data, dict) and data.get("kind") == "breastcmsl.model" else None
    if not isinstance(weights, dict) or not all(isinstance(weights.get(key), str) for key in ("file", "sha256")):
        raise ModelError(f"{path.name} is not a BreastCMSL model card; choose the .json file of a model bundle.")
    if Path(weights["file"]).name != weights["file"] or not (path.parent / weights["file"]).is_file():
        raise ModelError(f"{path.name}: its weights {weights['file']} are missing beside it; copy both files of the model.")
    return Card(
        path,
        str(data.get("name") or path.stem),
        weights["sha256"],
        path.parent / weights["file"],
        str(data.get("description") or ""),
        str(data.get("training_data") or ""),
        _number(data.get("threshold")),
        data["evidence"] if isinstance(data.get("evidence"), dict) else {},
    )


def shipped_cards(folder: Path) -> list[Card]:
    """The readable cards in a folder, the default model first."""
    cards = []
    for path in sorted(folder.glob("*.json")):
        try:
            cards.append(read_card(path))
        except ModelError:
            continue  # a damaged card must not hide the others; choosing its file says what is wrong
    return sorted(cards, key=lambda card: card.path.stem != DEFAULT_NAME)


def verify(card: Card) -> None:
    """Raises ModelError when the weights are not those the card describes."""
    digest = hashlib.sha256()
    try:
        with open(card.weights, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"{card.weights.name} could not be read ({error.strerror}); copy both files of the model again.") from error
    if digest.hexdigest() != card.sha256:
        raise ModelError(
            f"{card.weights.name} is not the file its model card describes (SHA-256 differs); it was altered or damaged: copy it again."
        )


def evidence_lines(evidence: object) -> list[str]:
    """The evidence of a card in plain lines; keys it does not know are left out."""
    lines: list[str] = []
    if not isinstance(evidence, Mapping):
        return lines
    found = evidence.get("classification")
    if isinstance(found, Mapping):
        auc, interval = _number(found.get("auc")), _pair(found.get("auc_95"))
        if auc is not None:
            count = found.get("n")
            text = f"AUC {auc:.2f}" + (f" (95 % interval {interval[0]:.2f}–{interval[1]:.2f})" if interval else "")
            lines.append(text + (f" on {count} exams" if isinstance(count, int) else ""))
        rates = [
            f"{name} {_number(found.get(name)):.2f}" for name in ("sensitivity", "specificity") if _number(found.get(name)) is not None
        ]
        if rates:
            lines.append("At its threshold: " + ", ".join(rates))
    places = evidence.get("localisation")
    for name, values in places.items() if isinstance(places, Mapping) else ():
        if name == "NORM" or str(name).endswith(".all_malignant"):  # the null is for researchers, nothing a user can choose
            continue
        if not isinstance(values, Mapping) or _number(values.get("mean_mm")) is None:
            continue
        text = f"{title_of(str(name).removesuffix('.called_malignant'))}: misses the lesion's centre by {_number(values['mean_mm']):.1f}"
        text += f" ± {_number(values.get('sd_mm')):.1f} mm" if _number(values.get("sd_mm")) is not None else " mm"
        hits = _number(values.get("hit10"))
        lines.append(text + (f", {100 * hits:.0f} % within 10 mm" if hits is not None else ""))
    cohort = evidence.get("cohort") or (found.get("cohort") if isinstance(found, Mapping) else None)
    if lines and isinstance(cohort, str) and cohort:
        lines.append(f"Measured on: {cohort}")
    return lines


def evidence_short(evidence: object) -> str:
    """The first of :func:`evidence_lines`, or that there is none."""
    return next(iter(evidence_lines(evidence)), "no evidence is recorded in its card")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value else None


def _pair(value: object) -> tuple[float, float] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(_number(v) is not None for v in value):
        return float(value[0]), float(value[1])
    return None
