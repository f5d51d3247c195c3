"""Small known inputs for the tests: oblique grids, a two-breasted body, a network that only smooths."""

import numpy as np
import torch

from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import Exam, Phase, make_exam
from BreastCMSLLib.network.resnet import BasicBlock, BreastNet, NetworkSettings


def rotation(rng: np.random.Generator, largest_deg: float) -> np.ndarray:
    """A random rotation of at most ``largest_deg``."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(-largest_deg, largest_deg))
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def oblique_affine(rng: np.random.Generator, spacing, largest_deg: float = 25.0) -> np.ndarray:
    """Axes permuted, flipped and turned, of the given spacing along i, j, k (mm), and a random origin."""
    affine = np.eye(4)
    axes = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine[:3, :3] = rotation(rng, largest_deg) @ axes * np.asarray(spacing)
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    return affine


def body_exam(
    affine: np.ndarray,
    shape,
    lesion_ras=None,
    *,
    phases: int = 4,
    seed: int = 0,
    radius_mm: float = 8.0,
    lesion_signal: float = 500.0,
) -> Exam:
    """A chest with two breasts in the middle of a grid of any orientation.

    Parameters
    ----------
    affine
        IJK → RAS mm.
    lesion_ras
        Centre of a lesion that enhances and washes out; None for none.
    radius_mm
        Its sigma.
    """
    rng = np.random.default_rng(seed)
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    steps = [
        np.arange(n, dtype=np.float32).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(shape)
    ]
    places = [
        sum(np.float32(affine[row, a]) * steps[a] for a in range(3)) + np.float32(affine[row, 3])
        for row in range(3)
    ]
    x, y, z = (p - np.float32(c) for p, c in zip(places, centre, strict=True))
    chest = (x / 150) ** 2 + ((y + 80) / 90) ** 2 < 1
    breasts = sum((((x - side * 80) / 60) ** 2 + (y / 75) ** 2 + (z / 60) ** 2 < 1) for side in (-1, 1)) > 0
    body = (chest | breasts).astype(np.float32)
    heart = ((x + 20) / 45) ** 2 + ((y + 75) / 40) ** 2 + (z / 50) ** 2 < 1
    pre = 200 * body + rng.normal(0, 4, shape)
    dynamics = [pre]
    for p in range(1, phases):
        post = 200 * body + rng.normal(0, 4, shape) + 300.0 * heart + 8.0 * body * p
        if lesion_ras is not None:
            squared = sum((place - np.float32(c)) ** 2 for place, c in zip(places, lesion_ras, strict=True))
            post = post + lesion_signal * np.exp(-0.5 * squared / radius_mm**2) * (1 - 0.1 * p)
        dynamics.append(post)
    return make_exam(
        [
            Phase(Volume(np.clip(a, 0, None).astype(np.float32), affine), f"phase {n}", time_s=90.0 * n)
            for n, a in enumerate(dynamics)
        ],
        kind="phases",
    )


def smoothing_network(settings: NetworkSettings | None = None) -> BreastNet:
    """The real architecture with binomial kernels and neutral norms: an impulse keeps its place."""
    network = BreastNet(settings or NetworkSettings(width=2)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d):
                n = module.kernel_size[0]
                line = torch.tensor([1.0])
                for _ in range(n - 1):
                    line = torch.nn.functional.pad(line, (1, 0)) + torch.nn.functional.pad(line, (0, 1))
                line /= line.sum()
                module.weight.copy_(
                    (line[:, None, None] * line[:, None] * line).expand_as(module.weight) / module.in_channels
                )
            if isinstance(module, BasicBlock):
                module.norm2.weight.fill_(1.0)
        network.weight.fill_(1.0)
    return network
