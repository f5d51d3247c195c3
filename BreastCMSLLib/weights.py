"""Model bundles: ``NAME.json`` (architecture, input contract, thresholds, evidence) beside ``NAME.safetensors``.

Weights are never unpickled. The JSON holds the SHA-256 of the weights' file, checked at every load.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import ModelError
from .masking import MaskSettings
from .network import BreastNet, NetworkSettings
from .preprocessing import InputContract

SCHEMA_VERSION = 1
DEFAULT_MODEL = "breastcmsl"


@dataclass(frozen=True)
class Bundle:
    """A loaded, verified bundle. threshold: probability at and above which an exam is called suspicious.

    temperature divides the logit before the sigmoid (1 when not calibrated).
    """

    name: str
    network: BreastNet
    contract: InputContract
    threshold: float
    temperature: float
    sha256: str
    path: Path
    description: str = ""
    training_data: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


def resources() -> Path:
    """The Resources folder: inside the package when installed as a wheel, beside it in a checkout or in Slicer."""
    here = Path(__file__).resolve().parent
    for folder in (here / "Resources", here.parent / "Resources"):
        if (folder / "Models").is_dir():
            return folder
    raise ModelError(f"The Resources folder with the models is missing beside {here}; install the extension again.")


def default_model() -> Path:
    """The JSON file of the bundle that ships with the extension."""
    return resources() / "Models" / f"{DEFAULT_MODEL}.json"


def load_bundle(path: str | os.PathLike | None = None) -> Bundle:
    """Read and verify a bundle on the CPU in float32, in evaluation mode.

    path: the JSON file (or the .safetensors file beside it); None takes the shipped model. Raises ModelError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    card_path = Path(path) if path is not None else default_model()
    if card_path.suffix == ".safetensors":
        card_path = card_path.with_suffix(".json")
    card = _read_card(card_path)
    weights_name = card["weights"]["file"]
    weights_path = card_path.parent / weights_name
    if Path(weights_name).name != weights_name or not weights_path.is_file():  # beside the card and nowhere else
        raise ModelError(f"{card_path.name}: its weights {weights_name} are missing beside it; copy both files of the model.")
    try:
        data = weights_path.read_bytes()
    except OSError as error:
        raise ModelError(f"{weights_path.name} could not be read ({error.strerror}); copy both files of the model again.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["weights"]["sha256"]:
        raise ModelError(
            f"{weights_path.name} is not the file its model card describes (SHA-256 differs); it was altered or damaged: copy it again."
        )
    try:
        settings = _dataclass(NetworkSettings, card["architecture"])
        contract_values = dict(card["input"])
        contract_values["mask"] = _dataclass(MaskSettings, contract_values.get("mask", {}))
        contract = _dataclass(InputContract, contract_values)
        network = BreastNet(settings)
        state = {name: tensor.float() for name, tensor in load(data).items()}
        network.load_state_dict(state)
        threshold, temperature = float(card["threshold"]), float(card.get("temperature", 1.0))
        name, evidence = str(card["name"]), dict(card.get("evidence", {}))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise ModelError(f"{card_path.name} does not fit this version of BreastCMSL ({reason}); use a model made for it.") from error
    if settings.channels != contract.phases:
        raise ModelError(
            f"{card_path.name}: the network reads {settings.channels} channels, the input has {contract.phases} phases; use another model."
        )
    if not 0.0 < threshold < 1.0 or not temperature > 0:
        raise ModelError(f"{card_path.name}: its threshold or temperature is out of range; use another model.")
    return Bundle(
        name,
        network.eval(),
        contract,
        threshold,
        temperature,
        digest,
        card_path,
        str(card.get("description", "")),
        str(card.get("training_data", "")),
        evidence,
    )


def save_bundle(
    folder: Path,
    name: str,
    network: BreastNet,
    contract: InputContract,
    *,
    threshold: float,
    temperature: float = 1.0,
    description: str,
    training_data: str,
    evidence: dict[str, Any],
) -> Path:
    """Write a bundle (convolutions in half precision, everything else in float32) and return its JSON file."""
    import torch
    from safetensors.torch import save

    state = {}
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = tensor.float().reshape(1)[0].clone()
        else:
            state[key] = (tensor.half() if tensor.ndim == 5 else tensor.float()).detach().cpu().contiguous()
    data = save({key: (t if t.dtype == torch.float16 else t.float()) for key, t in state.items()})
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.model",
        "name": name,
        "description": description,
        "training_data": training_data,
        "architecture": asdict(network.settings),
        "input": asdict(contract),
        "threshold": threshold,
        "temperature": temperature,
        "weights": {"file": f"{name}.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        "evidence": evidence,
    }
    _replace(folder / f"{name}.safetensors", data)
    _replace(folder / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())
    return folder / f"{name}.json"


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    os.replace(partial, path)


def _read_card(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"The model {path} was not found; choose the .json file of a model bundle, or install the extension again.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} is not a readable model card; choose the .json file of a model bundle.") from error
    shaped = isinstance(card, dict) and card.get("kind") == "breastcmsl.model" and isinstance(card.get("weights"), dict)
    if not shaped or not all(isinstance(card["weights"].get(k), str) for k in ("file", "sha256")):
        raise ModelError(f"{path.name} is not a BreastCMSL model card; choose the .json file of a model bundle.")
    if card.get("schema_version") != SCHEMA_VERSION:
        raise ModelError(
            f"{path.name} has format {card.get('schema_version')}, this version reads {SCHEMA_VERSION}; update BreastCMSL or the model."
        )
    return card


def _dataclass(kind, values: dict[str, Any]):
    """A frozen settings object from JSON: unknown names are refused, lists become tuples."""
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} is not an object")
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"unknown setting {sorted(unknown)[0]}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
