"""A run's networks as *Analyze* will have them.

A bundle rounds the weights, and what is evaluated is what is shipped.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.cards import DEFAULT_NAME
from BreastCMSLLib.models.inference import Predictor

from .folder import Run
from .lineage import training_data


def bundle_texts(run: Run) -> dict[str, str]:
    """What a run's bundle says of itself: ``description`` and ``training_data``."""
    text = f"3-D ResNet, width {run.network.settings.width}, method {run.config['method'].upper()}, "
    text += run.config["supervision"]
    if run.candidates is not None:
        text += ", and a candidate classifier"
        if run.candidate_supervision != run.config["supervision"]:
            text += f" (taught by {run.candidate_supervision})"
    return {"description": text, "training_data": training_data(run)}


def draft_predictor(
    run: Run, name: str = DEFAULT_NAME, device: str = "auto", precision: str = "auto"
) -> Predictor:
    """A predictor of a run's bundle, not calibrated.

    Parameters
    ----------
    run : Run
        Its network, and its candidate classifier if it has one.
    name : str
        Of the bundle.
    device, precision : str
        As of :class:`Predictor`.

    Returns
    -------
    Predictor
        Of a bundle that is nowhere kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = save_bundle(
            Path(folder),
            name,
            run.network,
            run.contract,
            candidates=run.candidates,
            threshold=0.5,
            evidence={},
            **bundle_texts(run),
        )
        return Predictor(load_bundle(path), device, precision)
