"""The methods that are compared: losses, aggregation and maps against cases reckoned by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import TINY

from BreastCMSLLib.preprocessing.model_input import ModelInput
from training.data import cache
from training.methods import loop
from training.methods.registry import METHODS, network_of
from training.recipes import Config
from training.runs import folder as runs

AFFINE = np.diag([4.4, 4.4, 4.4, 1.0])


def store_exam(folder: Path, row: dict, seed: int) -> None:
    """Noise with a bright cube whose later phases fall (malignant) or rise, and its marks."""
    rng = np.random.default_rng(seed)
    label, array = row["label"], np.zeros((6, 16, 12, 12), np.float32)
    array[:, 2:14, 1:11, 1:11] = rng.normal(0.3, 0.1, (6, 12, 10, 10))
    corner = rng.integers(3, 7, 3)
    window = tuple(slice(c, c + 4) for c in corner)
    course = np.linspace(4, 2, 6) if label else np.linspace(1, 4, 6)
    array[(slice(None), *window)] += course[:, None, None, None]
    truth = np.zeros(array.shape[1:], np.uint8)
    truth[window] = 2 if label else 1
    lesion = {"ras_mm": (4.4 * (corner + 1.5)).tolist(), "radius_mm": 9.0 + label, "malignant": bool(label)}
    lesion |= {"pattern": "mass", "irregularity": 0.3, "spiculation": 0.3, "heterogeneity": 0.3, "rim": 0.9}
    lesion |= {"ktrans_per_min": 0.3 if label else 0.02, "ve": 0.3, "vp": 0.02, "box_ras_mm": None}
    model_input = ModelInput(array, AFFINE, (array != 0).all(0), 1.0, 8.0, "pre", 100.0, ())
    cache.store(cache.exam_path(folder, row["exam"]), model_input, {**row, "lesions": [lesion]}, truth)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A finished cache of 32 tiny exams: 16 to train, 8 to validate, 8 to test."""
    folder, rows = tmp_path_factory.mktemp("cohort") / "cache", []
    cache.write_cache(folder, cache.contract_at(4.4), "simulated:tiny")
    for n in range(32):
        split = "train" if n < 16 else "validate" if n < 24 else "test"
        rows.append({"exam": f"e{n}", "patient": f"p{n}", "label": n % 2, "split": split})
        store_exam(folder, rows[-1], n)
    cache.write_index(folder, rows)
    return folder


@pytest.fixture(scope="module")
def config(cohort, tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp("runs")
    common = {"cache": cohort, "spacing_mm": 4.4, "network": TINY, "epochs": 2, "batch": 8, "rate": 0.01}
    return Config(folder / "base", precision="no", shift_mm=4.4, **common)


@pytest.fixture(scope="module")
def base(config) -> Path:
    return loop.train("test", config)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "shen"])
def test_every_method_trains_from_the_base_and_reads_an_exam(config, base, cohort, name):
    method = METHODS[name]
    init = base if method.start else None
    folder = loop.train("test", replace(config, output=config.output.parent / name, method=name, init=init))
    run = runs.load_run(folder, build=network_of)
    if "patches" in method.needs:
        return
    exam = cache.load(cache.exam_path(cohort, "e25"))
    with torch.inference_mode():
        reading = method.read(run.network, exam.array[None].float(), run.contract.size)
        assert math.isfinite(reading.logit)
        for cells, stride in reading.maps.values():
            assert tuple(cells.shape) == tuple(-(-n // stride) for n in (16, 12, 12)), name
        output = run.network(exam.array[None].float())
    assert float(method.logit(output)[0]) == pytest.approx(reading.logit, abs=1e-4)
