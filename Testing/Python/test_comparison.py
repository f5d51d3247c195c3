"""An exam beside a prior one: registered, findings matched, what changed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders import save_model
from phantom import body_exam, smoothing_network

from BreastCMSLLib.comparison.changes import change_of, kind_of
from BreastCMSLLib.comparison.compare import compare
from BreastCMSLLib.comparison.names import GROWN, NEW, SHRUNK, STABLE, VANISHED
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing.model_input import InputContract

SPACING_MM, SHAPE = 4.0, (84, 64, 44)
MOVED = np.array([9.0, -7.0, 12.0])  # mm between where the woman lay at the two dates
LESION = np.array([-80.0, 20.0, 5.0])  # from the middle of the body


def woman(*, moved=(0, 0, 0), lesion=LESION, radius_mm=8.0, name="exam", seed=0):
    """An exam of one body whose middle lies at ``moved``, on a grid that does not show by how much."""
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    middle = affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    affine[:3, 3] = np.asarray(moved) - middle
    place = None if lesion is None else np.asarray(lesion) + moved
    exam = body_exam(affine, SHAPE, place, phases=3, seed=seed, radius_mm=radius_mm)
    exam.identifiers["exam_id"] = name
    return exam


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Analyses a woman's exam by a network that only smooths, each once."""
    contract = InputContract(size=(84, 56, 44), spacing_mm=4.4)
    card = save_model(tmp_path_factory.mktemp("model"), smoothing_network(), contract, name="impulse")
    predictor, known = Predictor(load_bundle(card), "cpu", "float32"), {}

    def analysis(name: str):
        if name not in known:
            known[name] = analyze(woman(name=name, **WOMEN[name]), predictor)
        return known[name]

    return analysis


# the radius is the lesion's sigma, mm
WOMEN = {
    "now": {"moved": MOVED, "seed": 1},
    "before": {},
    "smaller before": {"radius_mm": 5.0},
    "larger before": {"radius_mm": 13.0},
    "elsewhere before": {"lesion": LESION * [-1, 1, 1]},
    "in the same breast before": {"lesion": LESION + [-5, 0, -40]},
}


def compared(analysed, prior, current="now"):
    return compare(analysed(current), analysed(prior))


def kinds(record):
    return [finding["change"] for finding in record["findings"]]
