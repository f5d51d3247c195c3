"""Exams and models to measure with: simulated, written as a user would have them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .measure import row

EXAM_SEED = 167  # a field of view as exams mostly have it: 356×322×196 mm
LONG_SEED = 1226  # its field of view reaches 260 mm from head to foot
LARGE = (448, 448, 160)  # voxels of an exam of many hospitals
SEED = 12345  # of weights and noise


def contract(quick: bool):
    """The paper's input, 340×220×128 at 1.1 mm, or a sixteenth of its length each way."""
    from training.data.cache import contract_at

    return contract_at(4.4 if quick else 1.1)


def settings(quick: bool):
    """ResNet34 of full width with the strides of He et al. (``paper`` in docs/training.md), or a tiny one."""
    from BreastCMSLLib.network.resnet import NetworkSettings

    return NetworkSettings(width=4 if quick else 64, stem_stride=2, stem_pool=True, strides=(1, 2, 2, 2))


def random_network(chosen):
    """Random weights with which every layer does something: no block starts as the identity."""
    import torch

    from BreastCMSLLib.network.resnet import BasicBlock, BreastNet

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
    """Write what the other topics read into ``options["folder"]``; the seconds a simulation takes.

    exam/, exam-2.2/, exam-4.4/: a simulated exam as NRRD files, by voxel size in mm (quick: at 4.4 only).
    paper.json: a full-width model for the paper's input; paper-2.2.json, paper-4.4.json: the same for coarser
    ones; small.json: the shipped architecture at 4.4 mm.
    """
    from BreastCMSLLib.network.resnet import NetworkSettings
    from training.data.cache import contract_at

    quick, folder = options["quick"], Path(options["folder"])
    sizes = {"exam": 4.4} if quick else {"exam": 1.1, "exam-2.2": 2.2, "exam-4.4": 4.4}
    rows = [write_exam(folder / name, voxel) for name, voxel in sizes.items()]
    chosen = random_network(settings(quick))
    models = {
        "paper": (chosen, contract(quick)),
        "small": (random_network(NetworkSettings(width=4)), contract_at(4.4)),
    }
    if not quick:
        models |= {f"paper-{voxel}": (chosen, contract_at(voxel)) for voxel in (2.2, 4.4)}
    for name, (network, input_) in models.items():
        write_model(folder, name, network, input_)
    return rows


def write_model(folder: Path, name: str, network, input_) -> Path:
    """Save a network of random weights as a bundle; its card."""
    from BreastCMSLLib.models.bundle import save_bundle

    facts = {"description": "Random weights, to measure speed.", "training_data": "nothing", "evidence": {}}
    return save_bundle(folder, name, network, input_, threshold=0.5, **facts)


def write_exam(folder: Path, voxel: float, seed: int = EXAM_SEED) -> dict[str, Any]:
    """A simulated exam as dynamic_*.nrrd and t1.nrrd; the row of its simulation.

    It has six phases after contrast and a T1, as in Luo et al. 2019. voxel: edge in mm.
    """
    from training.simulation.exam import simulate

    start = time.perf_counter()
    exam = simulate(seed, True, population="paper", voxel_mm=voxel).exam
    seconds = time.perf_counter() - start
    write_volumes(folder, [phase.volume for phase in (exam.pre, *exam.post)], exam.t1.volume)
    size = "×".join(map(str, exam.grid.shape))
    note = f"one exam, {size}, {len(exam.post)} phases, T1"
    return row(f"simulation, {voxel} mm", seconds, n=1, exams_per_s=1 / seconds, note=note)


def write_volumes(folder: Path, dynamic, t1) -> None:
    """Volumes as dynamic_*.nrrd, one at a time, and t1.nrrd; packed quickly."""
    import SimpleITK as sitk

    from BreastCMSLLib.core.itk import to_sitk

    folder.mkdir(parents=True)
    for number, volume in enumerate(dynamic):
        sitk.WriteImage(to_sitk(volume), str(folder / f"dynamic_{number}.nrrd"), True, 1)
    if t1 is not None:
        sitk.WriteImage(to_sitk(t1), str(folder / "t1.nrrd"), True, 1)


def make_long(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Write ``long/``, an exam of 260 mm from head to foot; the row of its simulation."""
    voxel = 4.4 if options["quick"] else 1.1
    return [write_exam(Path(options["folder"], "long"), voxel, LONG_SEED)]


def make_large(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Write ``large/``, the phases of ``exam/`` on ``LARGE`` voxels with noise of their own, no T1."""
    import numpy as np

    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.core.resampling import resample
    from BreastCMSLLib.readers import read

    folder, rng, start = Path(options["folder"]), np.random.default_rng(SEED), time.perf_counter()
    exam = read(sorted((folder / "exam").glob("dynamic_*.nrrd")))
    size = tuple(n // 4 for n in LARGE) if options["quick"] else LARGE
    affine = exam.grid.affine.copy()
    affine[:3, :3] *= (np.array(exam.grid.shape) - 1) / (np.array(size) - 1)

    def volumes():
        for phase in (exam.pre, *exam.post):
            array = resample(phase.volume, size, affine).array
            array += rng.standard_normal(size, dtype=np.float32) * (0.02 * float(array.mean()))
            yield Volume(np.maximum(array, 0).astype(np.uint16), affine)

    write_volumes(folder / "large", volumes(), None)
    note = f"{'×'.join(map(str, size))}, {1 + len(exam.post)} phases, no T1"
    return [row("made", time.perf_counter() - start, n=1, note=note)]
