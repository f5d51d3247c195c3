"""Exams and models to measure with: simulated, written as a user would have them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SEED = 12345  # six post-contrast phases, as in Luo et al. 2019


def contract(quick: bool):
    """The paper's input, 340×220×128 at 1.1 mm, or a sixteenth of its length each way."""
    from training.cache import contract_at

    return contract_at(4.4 if quick else 1.1)


def settings(quick: bool):
    """ResNet34 of full width with the strides of He et al. (``paper`` in docs/training.md), or a tiny one."""
    from BreastCMSLLib.network import NetworkSettings

    return NetworkSettings(width=4 if quick else 64, stem_stride=2, stem_pool=True, strides=(1, 2, 2, 2))


def random_network(chosen):
    """A network of random weights in which every layer does something: blocks do not start as the identity."""
    import torch

    from BreastCMSLLib.network import BasicBlock, BreastNet

    torch.manual_seed(SEED)
    network = BreastNet(chosen).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, BasicBlock):
                module.norm2.weight.fill_(0.3)
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_var.uniform_(0.5, 2.0)
                module.running_mean.normal_(0.0, 0.1)
    return network


def prepare(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the simulated exam (NRRD files) and the model bundle into ``options["folder"]``; the seconds a simulation takes."""
    import SimpleITK as sitk

    from BreastCMSLLib.geometry import to_sitk
    from BreastCMSLLib.weights import save_bundle
    from training.simulation.exam import simulate

    from .measure import row

    quick, folder = options["quick"], Path(options["folder"])
    start = time.perf_counter()
    voxel = 4.4 if quick else 1.1
    made = simulate(SEED, True, voxel_mm=voxel, with_t1=True)
    seconds = time.perf_counter() - start
    exam = folder / "exam"
    exam.mkdir(parents=True)
    for number, phase in enumerate([made.exam.pre, *made.exam.post]):
        sitk.WriteImage(to_sitk(phase.volume), str(exam / f"dynamic_{number}.nrrd"), True)
    sitk.WriteImage(to_sitk(made.exam.t1.volume), str(exam / "t1.nrrd"), True)
    save_bundle(
        folder,
        "paper",
        random_network(settings(quick)),
        contract(quick),
        threshold=0.5,
        description="Random weights, to measure speed.",
        training_data="nothing",
        evidence={},
    )
    size = "×".join(map(str, made.exam.grid.shape))
    note = f"one exam, {size}, {len(made.exam.post)} phases, T1"
    return [row(f"simulation, {voxel} mm", seconds, n=1, exams_per_s=1 / seconds, note=note)]
