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

from ..candidates.classifier import CandidateNetwork, CandidateSettings
from ..core.errors import ModelError
from ..core.resources import resources
from ..core.text import one_line
from ..network.resnet import BreastNet, NetworkSettings
from ..preprocessing.breast_mask import MaskSettings
from ..preprocessing.model_input import InputContract

SCHEMA_VERSION = 1
MAX_CARD_BYTES, MAX_WEIGHTS_BYTES = 16 << 20, 2 << 30
_WAITING = ".safetensors.part"
_CANDIDATES = "candidates."  # prefix of the second reading's weights
_POSITIVE = ("chest_half_width_mm", "smooth_mm")
DEFAULT_MODEL = "breastcmsl"


@dataclass(frozen=True)
class Bundle:
    """A loaded, verified bundle. threshold: probability at and above which an exam is called suspicious.

    temperature divides the logit before the sigmoid (1 when not calibrated). candidates: of the second reading, or None.
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
    candidates: CandidateNetwork | None = None


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
    data, digest = _read_weights(card_path, weights_name, card["weights"]["sha256"])
    try:
        settings = _dataclass(NetworkSettings, card["architecture"])
        contract_values = dict(card["input"])
        contract_values["mask"] = _dataclass(MaskSettings, contract_values.get("mask", {}), whole=True)
        contract = _dataclass(InputContract, contract_values)
        _check_ranges(settings, contract)
        with_candidates = None if card.get("candidates") is None else _dataclass(CandidateSettings, card["candidates"])
        network, candidates = _networks(settings, with_candidates, load(data))
        threshold, temperature = float(card["threshold"]), float(card.get("temperature", 1.0))
        name, evidence = one_line(card["name"], 80), dict(card.get("evidence", {}))
        _check_depth(evidence)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, SafetensorError, ModelError) as error:
        reason = one_line(error, 160) or type(error).__name__
        raise ModelError(
            f"{card_path.name} does not fit this version of BreastCMSL ({reason.rstrip('.')}); use a model made for it."
        ) from error
    if settings.channels != contract.phases:
        raise ModelError(
            f"{card_path.name}: the network reads {settings.channels} channels, the input has {contract.phases} phases; use another model."
        )
    if candidates is not None and candidates.settings.phases != contract.phases:
        raise ModelError(f"{card_path.name}: its candidates read other phases than its network; use another model.")
    if not 0.0 < threshold < 1.0 or not 0.001 < temperature < 1000:
        raise ModelError(f"{card_path.name}: its threshold or temperature is out of range; use another model.")
    return Bundle(
        name,
        network,
        contract,
        threshold,
        temperature,
        digest,
        card_path,
        one_line(card.get("description", ""), 1000),
        one_line(card.get("training_data", ""), 1000),
        evidence,
        candidates,
    )


def save_bundle(
    folder: Path,
    name: str,
    network: BreastNet,
    contract: InputContract,
    *,
    candidates: CandidateNetwork | None = None,
    threshold: float,
    temperature: float = 1.0,
    description: str,
    training_data: str,
    evidence: dict[str, Any],
) -> Path:
    """Write a bundle (convolutions in half precision, everything else in float32) and return its JSON file."""
    from safetensors.torch import save

    tensors = dict(network.state_dict())
    if candidates is not None:
        tensors |= {_CANDIDATES + key: tensor for key, tensor in candidates.state_dict().items()}
    state = {}
    for key, tensor in tensors.items():
        if key.endswith("num_batches_tracked"):
            state[key] = tensor.float().reshape(1)[0].clone()
        else:
            state[key] = (tensor.half() if tensor.ndim == 5 else tensor.float()).detach().cpu().contiguous()
    data = save(state)
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "schema_version": SCHEMA_VERSION,
        "kind": "breastcmsl.model",
        "name": name,
        "description": description,
        "training_data": training_data,
        "architecture": asdict(network.settings),
        "input": asdict(contract),
        "candidates": None if candidates is None else asdict(candidates.settings),
        "threshold": threshold,
        "temperature": temperature,
        "weights": {"file": f"{name}.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        "evidence": evidence,
    }
    # the card decides which weights count: whenever this ends, the folder holds the old bundle or the new one
    waiting = folder / f"{name}{_WAITING}"
    _write(waiting, data)
    _write(folder / f"{name}.json.part", (json.dumps(card, indent=1) + "\n").encode())
    os.replace(folder / f"{name}.json.part", folder / f"{name}.json")
    os.replace(waiting, folder / f"{name}.safetensors")
    return folder / f"{name}.json"


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_weights(card_path: Path, name: str, sha256: str) -> tuple[bytes, str]:
    """The bytes of the weights and their SHA-256, which is the card's. Only files beside the card are looked at."""
    import errno

    path = card_path.parent / name if name and os.path.basename(name) == name and name.isprintable() else None
    # a bundle whose saving was interrupted: the card is new, its weights still wait under their first name
    waiting = card_path.with_name(card_path.stem + _WAITING)
    candidates = [p for p in (path, waiting) if p is not None and p.is_file()]
    if path is None or not candidates:
        raise ModelError(f"{card_path.name}: its weights {one_line(name, 60)} are missing beside it; copy both files of the model.")
    for candidate in candidates:
        try:
            if candidate.stat().st_size > MAX_WEIGHTS_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            data = candidate.read_bytes()
        except OSError as error:
            raise ModelError(f"{candidate.name} could not be read ({error.strerror}); copy both files of the model again.") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest == sha256:
            return data, digest
    raise ModelError(f"{path.name} is not the file its model card describes (SHA-256 differs); it was altered or damaged: copy it again.")


def _networks(
    settings: NetworkSettings, candidates: CandidateSettings | None, tensors: dict[str, Any]
) -> tuple[BreastNet, CandidateNetwork | None]:
    """The networks with these weights. Memory is only claimed for what the weights' file holds. Raises ValueError, ModelError."""
    import torch

    with torch.device("meta"):
        parts = {"": BreastNet(settings)}
        if candidates is not None:
            parts[_CANDIDATES] = CandidateNetwork(candidates)
    wanted = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.state_dict().items()}
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(f"the weights {name} are missing")
        if tensors[name].shape != tensor.shape:
            raise ValueError(f"the weights {name} have the shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
    unknown = sorted(set(tensors) - set(wanted))
    if unknown:
        raise ValueError(f"there are weights {unknown[0]} too many")
    state = {name: tensors[name].to(tensor.dtype, copy=True) for name, tensor in wanted.items()}
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ValueError(f"the weights {bad[0]} are not finite")
    for prefix, part in parts.items():
        part.load_state_dict({name: state[prefix + name] for name in part.state_dict()}, assign=True)
        part.eval()
    return parts[""], parts.get(_CANDIDATES)


def _check_ranges(settings: NetworkSettings, contract: InputContract) -> None:
    """Raise ValueError for settings that no model of ours has: they would fill the memory or divide by zero."""

    def within(name: str, value, low: float, high: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name} is {one_line(value, 30)}, not {low:g} to {high:g}")

    def whole(name: str, value, low: int, high: int) -> None:
        within(name, value, low, high)
        if not isinstance(value, int):
            raise ValueError(f"{name} is {value}, not a whole number")

    for name, high in (("channels", 24), ("width", 256), ("stem_kernel", 15), ("stem_stride", 16)):
        whole(name, getattr(settings, name), 1, high)
    if settings.stem_kernel % 2 == 0:
        raise ValueError("stem_kernel is even")
    if not isinstance(settings.stem_pool, bool):
        raise ValueError("stem_pool is not true or false")
    within("scale", settings.scale, 1e-3, 1e3)
    for name, values, high in (("blocks", settings.blocks, 64), ("strides", settings.strides, 8)):
        if not isinstance(values, tuple) or not 1 <= len(values) <= 6:
            raise ValueError(f"{name} must list one to six stages")
        for value in values:
            whole(name, value, 1, high)
    whole("phases", contract.phases, 1, 24)
    within("spacing_mm", contract.spacing_mm, 0.2, 20)
    within("scale_percentile", contract.scale_percentile, 1, 100)
    for name, values, count in (("size", contract.size, 3), ("clip", contract.clip, 2)):
        if not isinstance(values, tuple) or len(values) != count:
            raise ValueError(f"{name} must have {count} numbers")
    for value in contract.size:
        whole("size", value, 8, 1024)
    if contract.size[0] * contract.size[1] * contract.size[2] > 1 << 27:
        raise ValueError("size is larger than any exam")
    for value in contract.clip:
        within("clip", value, -1e6, 1e6)
    if contract.clip[0] >= contract.clip[1]:
        raise ValueError("clip is empty")
    sigmas = contract.mask.sigmas_mm
    if not isinstance(sigmas, tuple) or not 1 <= len(sigmas) <= 8:
        raise ValueError("sigmas_mm must list one to eight scales")
    for value in sigmas:
        within("sigmas_mm", value, 0.1, 50)
    for setting in fields(contract.mask):
        if setting.name != "sigmas_mm":
            within(setting.name, getattr(contract.mask, setting.name), 0 if setting.name not in _POSITIVE else 1e-3, 1000)


def _check_depth(value: Any, depth: int = 0) -> None:
    """Raise ValueError where a report would have to follow the evidence too deep."""
    if depth > 8:
        raise ValueError("evidence is nested too deep")
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(entry, depth + 1)


def _read_card(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):
        raise ModelError(
            f"The model {one_line(path, 1000)} was not found; choose the .json file of a model bundle, or install the extension again."
        )
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ValueError("too long for a card")
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not a readable model card; choose the .json file of a model bundle.") from error
    shaped = isinstance(card, dict) and card.get("kind") == "breastcmsl.model" and isinstance(card.get("weights"), dict)
    if not shaped or not all(isinstance(card["weights"].get(k), str) for k in ("file", "sha256")):
        raise ModelError(f"{path.name} is not a BreastCMSL model card; choose the .json file of a model bundle.")
    if card.get("schema_version") != SCHEMA_VERSION or isinstance(card["schema_version"], bool):
        raise ModelError(
            f"{path.name} has format {one_line(card.get('schema_version'), 40)}, this version reads {SCHEMA_VERSION}; "
            "update BreastCMSL or the model."
        )
    return card


def _dataclass(kind, values: dict[str, Any], whole: bool = False):
    """A frozen settings object from JSON: unknown names are refused, lists become tuples.

    whole: so are missing ones; what a model was trained without would change what it sees.
    """
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} is not an object")
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"unknown setting {one_line(sorted(unknown)[0], 40)}")
    if whole and (missing := known - set(values)):
        raise ValueError(f"made before the setting {sorted(missing)[0]}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
