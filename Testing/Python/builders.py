"""What many tests start from: a small exam, its files, small networks, a bundle, code in a process of its
own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from conftest import CHECKOUT
from phantom import body_exam, smoothing_network

from BreastCMSLLib.core.itk import to_sitk
from BreastCMSLLib.exam import Exam, Phase
from BreastCMSLLib.models.bundle import save_bundle
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import InputContract

COARSE = np.diag([-8.0, -8.0, 8.0, 1.0])  # IJK → RAS
SMALLEST = NetworkSettings(width=1, blocks=(1, 1), strides=(1, 2))
TINY = NetworkSettings(
    width=4, blocks=(1, 1), strides=(1, 2), stem_kernel=1, stem_stride=1, pooling="power"
)  # learns


def small_exam(lesion_ras=(-78, 20, 0), *, seed: int = 0) -> Exam:
    """A body with breasts in three phases of 42×32×22 voxels of 8 mm, analysed in a second."""
    return body_exam(COARSE, (42, 32, 22), lesion_ras, phases=3, seed=seed)


def write_volumes(folder: Path, phases: Iterable[Phase], name: str = "phase_{}.nrrd") -> list[Path]:
    """The phases' volumes as files, numbered from 0 by ``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, phase in enumerate(phases):
        files.append(folder / name.format(number))
        sitk.WriteImage(to_sitk(phase.volume), str(files[-1]))
    return files


def save_model(
    folder: Path, network: BreastNet | None = None, contract: InputContract | None = None, **changes
) -> Path:
    """Card of a saved bundle; the smallest network that only smooths, and what is said of it, by default."""
    network = network or smoothing_network(SMALLEST)
    about = {"threshold": 0.5, "description": "", "training_data": "nothing", "evidence": {}, **changes}
    name = about.pop("name", "small")
    return save_bundle(folder, name, network, contract or InputContract(), **about)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in the checkout."""
    return subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)


def printed_by(code: str) -> str:
    """What code prints in a process of its own, which must end well and say nothing else."""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()
