"""Model bundles without their networks. Imports no torch.

A bundle is ``NAME.json``, the card (architecture, input contract, thresholds, evidence), beside
``NAME.safetensors``, the weights. The card holds the SHA-256 of the weights, which are never unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import ModelError
from ..core.resources import resources
from ..core.text import one_line

SCHEMA_VERSION = 1
DEFAULT_NAME = "breastcmsl"
UNFINISHED = ".safetensors.part"  # of weights that are written, and not yet in their place
_MAX_CARD_BYTES, _MAX_WEIGHTS_BYTES = 16 << 20, 2 << 30


@dataclass(frozen=True)
class Card:
    """A model's card; :func:`read_card` reads it.

    Parameters
    ----------
    path : Path
        The .json file.
    content : mapping
        What is in it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        return one_line(self.content.get("name") or self.path.stem, 80)

    @property
    def description(self) -> str:
        return one_line(self.content.get("description") or "", 1000)

    @property
    def training_data(self) -> str:
        return one_line(self.content.get("training_data") or "", 1000)

    @property
    def threshold(self) -> float | None:
        """Probability at and above which an exam is called suspicious."""
        return _number(self.content.get("threshold"))

    @property
    def temperature(self) -> float | None:
        """What divides the logit before the sigmoid; 1 when not calibrated."""
        return _number(self.content.get("temperature", 1.0))

    @property
    def operating_points(self) -> dict[str, float]:
        """Threshold by sensitivity in percent, "95", "90" and so on; empty in older cards."""
        points = self.content.get("operating_points")
        points = points if isinstance(points, dict) else {}
        return {name: _number(value) or 0.0 for name, value in points.items()}

    @property
    def operating_point(self) -> str | None:
        """Name of the operating point that gives the threshold."""
        name = self.content.get("operating_point")
        return name if isinstance(name, str) and name in self.operating_points else None

    @property
    def prevalence(self) -> float | None:
        """Share of malignant exams among those that the model was calibrated on."""
        return _number(self.content.get("prevalence"))

    @property
    def evidence(self) -> dict[str, Any]:
        evidence = self.content.get("evidence")
        return evidence if isinstance(evidence, dict) else {}

    @property
    def has_candidates(self) -> bool:
        """Whether the model judges candidates, and so makes the lesion map."""
        return self.content.get("candidates") is not None

    @property
    def sha256(self) -> str:
        """What the card says the weights' checksum is."""
        return self.content["weights"]["sha256"]

    @property
    def weights_files(self) -> list[Path]:
        """The files beside the card that may hold its weights, their own first."""
        name = self.content["weights"]["file"]
        if not name or os.path.basename(name) != name or not name.isprintable():
            return []
        # where saving was interrupted, the card is new and its weights still wait under their first name
        files = (self.path.parent / name, self.path.with_name(self.path.stem + UNFINISHED))
        return [file for file in files if file.is_file()]


def default_model() -> Path:
    """The card of the bundle that ships with the extension."""
    return resources() / "Models" / f"{DEFAULT_NAME}.json"


def read_card(path: str | os.PathLike | None = None) -> Card:
    """Read and validate the card of a bundle.

    Parameters
    ----------
    path : path-like, optional
        The .json file, or the .safetensors beside it; None takes the shipped model.

    Returns
    -------
    Card
        Of this format, with weights beside it, which are not looked at.

    Raises
    ------
    ModelError
        One sentence that names the file and the remedy.
    """
    path = default_model() if path is None else Path(path)
    if path.suffix == ".safetensors":
        path = path.with_suffix(".json")
    if not os.path.isfile(path):
        raise ModelError(
            f"The model {one_line(path, 1000)} was not found; choose the .json file of a model bundle, "
            "or install the extension again."
        )
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise ValueError("too long for a card")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} is not a readable model card; choose the .json file of a model bundle."
        ) from error
    if not _is_card(content):
        raise ModelError(
            f"{path.name} is not a BreastCMSL model card; choose the .json file of a model bundle."
        )
    version = content.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ModelError(
            f"{path.name} has format {one_line(version, 40)}, this version reads {SCHEMA_VERSION}; "
            "update BreastCMSL or the model."
        )
    card = Card(path, content)
    if not card.weights_files:
        raise ModelError(
            f"{path.name}: its weights {one_line(content['weights']['file'], 60)} are missing beside it; "
            "copy both files of the model."
        )
    return card


def _is_card(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("kind") != "breastcmsl.model":
        return False
    weights = content.get("weights")
    return isinstance(weights, dict) and all(isinstance(weights.get(key), str) for key in ("file", "sha256"))


def shipped_cards(folder: Path) -> list[Card]:
    """The readable cards in a folder, the default model first."""
    cards = []
    for path in sorted(folder.glob("*.json")):
        try:
            cards.append(read_card(path))
        except ModelError:
            continue  # a damaged card must not hide the others; choosing its file says what is wrong
    return sorted(cards, key=lambda card: card.path.stem != DEFAULT_NAME)


def read_weights(card: Card) -> bytes:
    """The bytes of a bundle's weights, once their SHA-256 is the card's.

    Parameters
    ----------
    card : Card

    Returns
    -------
    bytes

    Raises
    ------
    ModelError
        The weights cannot be read, or are not those that the card describes.
    """
    for path in card.weights_files:
        try:
            if path.stat().st_size > _MAX_WEIGHTS_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"{path.name} could not be read ({error.strerror}); copy both files of the model again."
            ) from error
        if hashlib.sha256(data).hexdigest() == card.sha256:
            return data
    raise ModelError(
        f"{one_line(card.content['weights']['file'], 60)} is not the file its model card describes "
        "(SHA-256 differs); it was altered or damaged: copy it again."
    )


def _number(value: object) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return float(value) if number else None
