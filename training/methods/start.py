"""The network a run starts from, and its precision."""

from __future__ import annotations

from dataclasses import replace

import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.resnet import BreastNet
from training.data import cache
from training.recipes import Config
from training.runs import folder as runs

from .transfer import to_spacing


def pick_precision(precision: str) -> str:
    """ "no", "bf16" or "fp16"; auto takes bf16 where the device computes in it."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if bf16 else "no"


def starting_network(config: Config, exams: cache.Cache) -> tuple[BreastNet, list[dict]]:
    """The network a run starts from.

    A run that starts from another takes its architecture; only the head is changed to the objective's.

    Parameters
    ----------
    config : Config
        Of the run.
    exams : Cache
        Of its cohort.

    Returns
    -------
    network : BreastNet
        New, or with the weights of ``config.init``.
    ancestry : list of dict
        The patients that runs before it have seen.

    Raises
    ------
    InputError
        When the run cannot start from the other.
    """
    head = "linear" if config.objective == "bce" else "cosine"
    if config.init is None:
        return BreastNet(replace(config.network, head=head)), []
    ancestry = runs.check_ancestry(exams.rows, config.init)
    run = runs.load_start(config.init)
    state, settings = to_spacing(
        run.network.state_dict(), run.network.settings, run.contract.spacing_mm, config.spacing_mm
    )
    if head == "linear" and settings.head == "cosine":
        raise InputError(
            f"{config.init} has a cosine head; train --objective bce from a run that was trained so."
        )
    network = BreastNet(replace(settings, head=head))
    network.load_state_dict(state, strict=False)  # a cosine head has no bias
    return network, ancestry
