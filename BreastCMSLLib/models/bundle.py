"""Model bundles with their networks: loaded and verified, and saved. What a bundle is, see ``cards``."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..candidates.classifier import CandidateClassifier
from ..candidates.settings import CandidateSettings
from ..core.errors import ModelError
from ..core.serialisation import from_json
from ..core.text import one_line
from ..network.resnet import BreastNet, NetworkSettings
from ..preprocessing.model_input import InputContract
from .cards import SCHEMA_VERSION, UNFINISHED, Card, read_card, read_weights
from .decision import is_prevalence
from .ordinary import OrdinaryExams

_CANDIDATES = "candidates."  # prefix of the candidate classifier's weights
_LATER = {"questions": 1, "sharpness": 0.0}  # settings that cards lack which are older, and what these mean
_DEEPEST_EVIDENCE = 8  # how deep a report follows it


@dataclass(frozen=True)
class Bundle:
    """A loaded, verified bundle.

    Parameters
    ----------
    name : str
    network : BreastNet
        On the CPU, float32, in evaluation mode.
    contract : InputContract
        What the network expects.
    threshold : float
        Probability at and above which an exam is called suspicious.
    temperature : float
        Divides the logit before the sigmoid; 1 when not calibrated.
    sha256 : str
        Of the weights.
    path : Path
        The card.
    description, training_data : str
    evidence : dict
        How the model was tested.
    candidates : CandidateClassifier, optional
        Likewise on the CPU; None where the model judges no candidates.
    operating_points : dict of str to float
        Sensitivity in percent → threshold; empty in older bundles.
    operating_point : str, optional
        That of ``threshold``.
    prevalence : float, optional
        Share of malignant exams that the probability assumes; None where it is not known.
    candidate_calibration : tuple of float, optional
        (a, b) of a candidate's calibrated logit a z + b; None where candidates are not calibrated.
    ordinary : OrdinaryExams, optional
        What exams are like that the model was calibrated on.
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
    candidates: CandidateClassifier | None = None
    operating_points: dict[str, float] = field(default_factory=dict)
    operating_point: str | None = None
    prevalence: float | None = None
    candidate_calibration: tuple[float, float] | None = None
    ordinary: OrdinaryExams | None = None

    @property
    def has_candidates(self) -> bool:
        """Whether it judges candidates, and so makes the lesion map."""
        return self.candidates is not None


# --- loading ---


def load_bundle(path: str | os.PathLike | None = None) -> Bundle:
    """Read and verify a bundle.

    Parameters
    ----------
    path : path-like, optional
        The card, or the weights beside it; None takes the shipped model.

    Returns
    -------
    Bundle

    Raises
    ------
    ModelError
        One sentence that names the file and the remedy.
    """
    from safetensors import SafetensorError

    card = read_card(path)
    data = read_weights(card)
    file = card.path.name
    try:
        _check_depth(card.evidence)
        contract = InputContract.from_json(card.content["input"])
        network, candidates = _networks(card, data)
        of_candidates, ordinary = _calibration(card, candidates)
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
        SafetensorError,
        ModelError,
    ) as error:
        reason = (one_line(error, 160) or type(error).__name__).rstrip(".")
        raise ModelError(
            f"{file} does not fit this version of BreastCMSL ({reason}); use a model made for it."
        ) from error
    if network.settings.channels != contract.phases:
        raise ModelError(
            f"{file}: the network reads {network.settings.channels} channels, "
            f"the input has {contract.phases} phases; use another model."
        )
    if candidates is not None and candidates.settings.phases != contract.phases:
        raise ModelError(f"{file}: its candidates read other phases than its network; use another model.")
    threshold, temperature = card.threshold or 0.0, card.temperature or 0.0
    if not 0.0 < threshold < 1.0 or not 0.001 < temperature < 1000:
        raise ModelError(f"{file}: its threshold or temperature is out of range; use another model.")
    known = card.prevalence is None or is_prevalence(card.prevalence)
    if not known or not all(0.0 < share < 1.0 for share in card.operating_points.values()):
        raise ModelError(f"{file}: its operating points or prevalence are out of range; use another model.")
    own = card.operating_points.get(card.operating_point, threshold)
    if not math.isclose(own, threshold, rel_tol=1e-6):
        raise ModelError(
            f"{file}: its threshold is not that of its operating point {card.operating_point} %; "
            "use another model."
        )
    return Bundle(
        card.name,
        network,
        contract,
        threshold,
        temperature,
        card.sha256,
        card.path,
        card.description,
        card.training_data,
        card.evidence,
        candidates,
        card.operating_points,
        card.operating_point,
        card.prevalence,
        of_candidates,
        ordinary,
    )


def _calibration(
    card: Card, candidates: CandidateClassifier | None
) -> tuple[tuple[float, float] | None, OrdinaryExams | None]:
    """The calibration of candidates, and the ordinary exams; None for what a card does not have."""
    pair, values = card.content.get("candidate_calibration"), card.content.get("ordinary")
    if pair is not None:
        slope, offset = map(float, pair)
        if not 0 < slope < 100 or not -100 < offset < 100:
            raise ValueError("the calibration of candidates is out of range")
        pair = slope, offset
    if values is None or candidates is None:
        return pair, None
    return pair, OrdinaryExams.from_json(values, len(candidates.settings.features))


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > _DEEPEST_EVIDENCE:
        raise ValueError("evidence is nested too deep")
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(entry, depth + 1)


def _networks(card: Card, data: bytes) -> tuple[BreastNet, CandidateClassifier | None]:
    """A card's networks with these weights. Memory is only claimed for what the weights' file holds."""
    import torch
    from safetensors.torch import load

    with torch.device("meta"):
        networks: dict[str, torch.nn.Module] = {
            "": BreastNet(from_json(NetworkSettings, card.content["architecture"]))
        }
        if card.has_candidates:
            settings = from_json(CandidateSettings, _LATER | card.content["candidates"], complete=True)
            networks[_CANDIDATES] = CandidateClassifier(settings)
    states = {prefix: network.state_dict() for prefix, network in networks.items()}
    wanted = {prefix + name: tensor for prefix, state in states.items() for name, tensor in state.items()}
    state = _checked(_renamed(load(data)), wanted)
    for prefix, network in networks.items():
        network.load_state_dict({name: state[prefix + name] for name in states[prefix]}, assign=True)
        network.eval()
    return networks[""], networks.get(_CANDIDATES)


def _renamed(tensors: dict[str, Any]) -> dict[str, Any]:
    """Weights by their present names: files of schema 1 call the members of the ensemble judges."""
    return {
        name.replace("candidates.judges.", "candidates.members."): tensor for name, tensor in tensors.items()
    }


def _checked(tensors: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Tensors of the wanted names, shapes and types, all finite. Raises ValueError."""
    import torch

    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(f"the weights {name} are missing")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise ValueError(f"the weights {name} have the shape {shapes}")
    if unknown := sorted(set(tensors) - set(wanted)):
        raise ValueError(f"there are weights {unknown[0]} too many")
    state = {name: tensors[name].to(tensor.dtype, copy=True) for name, tensor in wanted.items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"the weights {name} are not finite")
    return state


# --- saving ---


def save_bundle(
    folder: Path,
    name: str,
    network: BreastNet,
    contract: InputContract,
    *,
    candidates: CandidateClassifier | None = None,
    threshold: float,
    temperature: float = 1.0,
    description: str,
    training_data: str,
    evidence: dict[str, Any],
    operating_points: dict[str, float] | None = None,
    operating_point: str | None = None,
    prevalence: float | None = None,
    candidate_calibration: tuple[float, float] | None = None,
    ordinary: OrdinaryExams | None = None,
) -> Path:
    """Write a bundle, convolutions in half precision, everything else in float32.

    Whenever this ends, the folder holds the old bundle or the new one.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    name : str
        Of the bundle and its two files.
    network, contract, candidates, threshold, temperature, description, training_data, evidence, \
    operating_points, operating_point, prevalence, candidate_calibration, ordinary
        As in :class:`Bundle`.

    Returns
    -------
    Path
        The card.
    """
    from safetensors.torch import save

    data = save(_state_to_save(network, candidates))
    folder.mkdir(parents=True, exist_ok=True)
    content = {
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
        "operating_points": operating_points or {},
        "operating_point": operating_point,
        "prevalence": prevalence,
        "candidate_calibration": None if candidate_calibration is None else list(candidate_calibration),
        "ordinary": None if ordinary is None else ordinary.as_json(),
        "weights": {
            "file": f"{name}.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
        "evidence": evidence,
    }
    # the card decides which weights count: it comes after they are written and before they get their name
    card, waiting = folder / f"{name}.json", folder / f"{name}{UNFINISHED}"
    _write(waiting, data)
    _write(folder / f"{name}.json.part", (json.dumps(content, indent=1) + "\n").encode())
    os.replace(folder / f"{name}.json.part", card)
    os.replace(waiting, folder / f"{name}.safetensors")
    return card


def _state_to_save(network: BreastNet, candidates: CandidateClassifier | None) -> dict[str, Any]:
    tensors = dict(network.state_dict())
    if candidates is not None:
        tensors |= {_CANDIDATES + key: tensor for key, tensor in candidates.state_dict().items()}
    state = {}
    for key, tensor in tensors.items():
        if key.endswith("num_batches_tracked"):
            state[key] = tensor.float().reshape(1)[0].clone()
        else:
            state[key] = (tensor.half() if tensor.ndim == 5 else tensor.float()).detach().cpu().contiguous()
    return state


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
