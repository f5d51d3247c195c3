"""Every method by its name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.serialisation import from_json
from BreastCMSLLib.network.resnet import NetworkSettings

from .cmsl import CosineMargin
from .cosface import CosFace
from .distilled import Distilled
from .dkmt import BalancedKnowledge, DomainKnowledge
from .glam import Glam
from .method import Method
from .mil_2d import AttendedMil2d, Mil2d
from .nsl import NormalisedSigmoid
from .resnet_3d import ResNet3d
from .shen import Shen, ShenPatches
from .sparse_mil import SparseMil

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Mil2d(),
        AttendedMil2d(),
        ResNet3d(),
        SparseMil(),
        DomainKnowledge(),
        BalancedKnowledge(),
        NormalisedSigmoid(),
        CosineMargin(),
        CosFace(),
        Glam(),
        ShenPatches(),
        Shen(),
        Distilled(),
    )
}


def method_named(name: str) -> Method:
    """The method of that name. Raises InputError when there is none."""
    if name not in METHODS:
        raise InputError(f'There is no method "{name}"; choose one of {", ".join(METHODS)}.')
    return METHODS[name]


def network_of(config: Mapping) -> nn.Module:
    """The untrained network of a run's config.json."""
    settings = from_json(NetworkSettings, config["network"])
    return method_named(config["method"]).network(settings, config["spacing_mm"])
