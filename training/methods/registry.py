"""Every method by its name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.serialisation import from_json
from BreastCMSLLib.network.resnet import NetworkSettings

from .cmsl import CosineMargin
from .method import Method
from .nsl import NormalisedSigmoid
from .resnet_3d import ResNet3d

METHODS: dict[str, Method] = {
    method.name: method for method in (ResNet3d(), NormalisedSigmoid(), CosineMargin())
}


def method_named(name: str) -> Method:
    """The method of that name. Raises InputError when there is none."""
    if name not in METHODS:
        raise InputError(f'There is no method "{name}"; choose one of {", ".join(METHODS)}.')
    return METHODS[name]


def network_of(config: Mapping) -> nn.Module:
    """The untrained network of a run's config.json."""
    return method_named(config["method"]).network(from_json(NetworkSettings, config["network"]))
