"""The network a run starts from, and its precision."""

from __future__ import annotations

import torch
from torch import nn

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.inference import cpu_bfloat16
from training.data import cache
from training.recipes import Config
from training.runs import folder as runs

from .method import trunk_of
from .registry import method_named, network_of
from .transfer import to_spacing


def pick_precision(precision: str) -> str:
    """ "no", "bf16" or "fp16"; auto takes bf16 where the device computes in it."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if cpu_bfloat16() else "no"


def starting_network(config: Config, exams: cache.Cache) -> tuple[nn.Module, list[dict]]:
    """The network a run starts from.

    A run that starts from another takes its architecture; what the method has besides is new.

    Parameters
    ----------
    config : Config
        Of the run.
    exams : Cache
        Of its cohort.

    Returns
    -------
    network : nn.Module
        New, or with the weights of ``config.init``.
    ancestry : list of dict
        The patients that runs before it, and its teacher, have seen.

    Raises
    ------
    InputError
        When the run cannot start from the other.
    """
    method = method_named(config.method)
    ancestry = [] if config.teacher is None else runs.check_ancestry(exams.rows, config.teacher)
    if config.init is None:
        return method.network(config.network, config.spacing_mm), ancestry
    ancestry += runs.check_ancestry(exams.rows, config.init)
    run = runs.load_start(config.init, f"{config.init_weights}.safetensors", network_of)
    trunk = trunk_of(run.network)
    state, settings = to_spacing(
        trunk.state_dict(), trunk.settings, run.contract.spacing_mm, config.spacing_mm
    )
    network = method.network(settings, config.spacing_mm)
    if trunk_of(network).settings.head == "linear" and settings.head == "cosine":
        raise InputError(
            f"{config.init} has a cosine head; train --method {config.method} from a run of bce."
        )
    method.take_over(network, run.network, state)
    return network, ancestry
