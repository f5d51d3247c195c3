"""One simulated exam: anatomy, lesions, contrast, scanner → an Exam as a reader would give it, and the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from BreastCMSLLib.exam import Exam, Phase, make_exam
from BreastCMSLLib.geometry import Volume

from . import anatomy, kinetics, lesions


@dataclass(frozen=True)
class SimulatedExam:
    """exam: dynamic phases (uint16), and a T1 in some exams. malignant: the image-level label.

    truth: uint8 [i, j, k] on the exam's grid, 1 benign, 2 malignant lesion. lesions: ras_mm centre, radius_mm,
    malignant, side of each. facts: nuisance features, to test that they do not tell the label.
    """

    exam: Exam
    malignant: bool
    truth: np.ndarray
    lesions: tuple[dict, ...]
    facts: dict


# tissue: (proton density in arbitrary units, Ktrans 1/min, ve, vp); chosen within the ranges of the literature
_TISSUE = {
    "fat": (1.00, 0.004, 0.10, 0.003),
    "glandular": (0.85, 0.013, 0.30, 0.015),
    "muscle": (0.80, 0.020, 0.12, 0.02),
    "blood": (0.90, 0.0, 0.5, 0.58),
    "liver": (0.75, 0.30, 0.30, 0.08),
    "skin": (0.55, 0.060, 0.30, 0.02),
    "lung": (0.10, 0.02, 0.2, 0.05),
}


def simulate(seed: int, malignant: bool, *, voxel_mm: float | None = None, with_t1: bool | None = None) -> SimulatedExam:
    """The exam of a seed. voxel_mm: in-plane spacing (default drawn from 1.1–1.4 mm). with_t1: None draws it."""
    rng = np.random.default_rng([seed, 20190713])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    u = rng.uniform
    inplane = voxel_mm or u(1.1, 1.4)
    slice_mm = max(inplane, u(1.1, 1.6)) if voxel_mm is None else voxel_mm
    size = (int(u(325, 350) / inplane), int(u(255, 285) / inplane), int(u(165, 185) / slice_mm))
    gx = (np.arange(size[0]) - (size[0] - 1) / 2) * inplane + u(-6, 6)
    gy = np.arange(size[1]) * inplane - u(110, 130)
    gz = (np.arange(size[2]) - (size[2] - 1) / 2) * slice_mm + u(-10, 10)
    x, y, z = (torch.as_tensor(g, dtype=torch.float32).reshape(s) for g, s in zip((gx, gy, gz), ((-1, 1, 1), (1, -1, 1), (1, 1, -1))))
    body = anatomy.build(x, y, z, inplane, rng, generator)

    found = _lesions(body, malignant, (gx, gy, gz), inplane, rng)
    truth = np.zeros(size, dtype=np.uint8)
    lesion_fraction = torch.zeros(size)
    for lesion in found:
        part = truth[lesion.window]
        part[lesion.fraction > 0.5] = 2 if lesion.malignant else 1
        lesion_fraction[lesion.window] = torch.maximum(lesion_fraction[lesion.window], torch.from_numpy(lesion.fraction))

    phases, times, t1 = _scan(body, found, lesion_fraction, size, inplane, rng, generator, with_t1)
    affine = np.diag([inplane, inplane, slice_mm, 1.0])
    affine[:3, 3] = gx[0], gy[0], gz[0]
    shift = np.array([u(-15, 15), u(-30, 30), u(-30, 30)])
    affine[:3, 3] += shift
    names = ["dynamic pre", *[f"dynamic post {n}" for n in range(1, len(times))]]
    dynamics = [
        Phase(_scanner_axes(p, affine), name, f"simulated:{seed}:{n}", float(t), n)
        for n, (p, t, name) in enumerate(zip(phases, times, names))
    ]
    exam = make_exam(
        dynamics,
        kind="phases",
        identifiers={"simulated_seed": seed},
        t1=None if t1 is None else Phase(_scanner_axes(t1, affine), "T1 non-fat-saturated (simulated)", f"simulated:{seed}:t1"),
    )
    listed = tuple(
        {
            "ras_mm": tuple(float(c) for c in lesion.centre + shift),
            "radius_mm": lesion.radius_mm,
            "malignant": lesion.malignant,
            "side": "right" if lesion.side > 0 else "left",
        }
        for lesion in found
    )
    return SimulatedExam(
        exam, malignant, truth[::-1, ::-1, :], listed, {"lesions": len(found), "largest_mm": max(lesion.radius_mm for lesion in found)}
    )


def _scanner_axes(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Axes as an axial Siemens series has them: towards L, P, S."""
    flipped = affine.copy()
    for axis in (0, 1):
        flipped[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        flipped[:3, axis] *= -1
    return Volume(array[::-1, ::-1, :], flipped)


def _lesions(body: anatomy.Anatomy, malignant: bool, grid, voxel_mm: float, rng: np.random.Generator) -> list[lesions.Lesion]:
    """One to three lesions, their number and sizes drawn without regard to the label; one of a malignant exam is malignant."""
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    depth, front, side, tissue = (t.numpy() for t in (body.depth, body.front, body.breast, body.fractions["glandular"]))
    placed: list[lesions.Lesion] = []
    for n in range(count):
        for attempt in range(20):
            lesion = lesions.draw(malignant and n == 0, rng)
            margin = 0.8 * lesion.radius_mm
            allowed = (side != 0) & (depth > 4.0 + margin) & (front > 2.0 + margin)
            if rng.random() < 0.7:  # most lesions arise in glandular tissue
                allowed &= tissue > 0.3
            if n == 0 and attempt == 19:  # a breast too small for the lesions drawn gets a small one, whatever the label
                lesion.radius_mm = 5.0
                allowed = (side != 0) & (depth > 5.0) & (front > 3.0)
            allowed[:, :, :6] = allowed[:, :, -6:] = False
            if not lesions.place(lesion, *grid, allowed, voxel_mm, rng) or min(lesion.fraction.shape) <= 3:
                continue
            if all(np.linalg.norm(lesion.centre - other.centre) > 25 for other in placed):
                lesion.side = 1 if lesion.centre[0] > 0 else -1
                placed.append(lesion)
                break
    if not placed:
        raise RuntimeError("no lesion could be placed: the simulated breasts are too small")
    return placed


def _scan(body, found, lesion_fraction, size, voxel_mm, rng, generator, with_t1):
    """Dynamic phases (list of uint16 arrays), their times in s, and a non-fat-saturated T1 or None."""
    u = rng.uniform
    posts = int(rng.integers(4, 8))
    spacing_s = u(55, 125)
    first_s = u(40, 130)  # centre of k-space of the first post-contrast phase after injection
    times = np.array([0.0, *(60.0 + first_s + spacing_s * np.arange(posts))])
    minutes = (times[1:] - 60.0) / 60.0
    tr, flip = u(3.8, 5.5), u(10, 14)

    names = list(_TISSUE)
    variation = np.exp(rng.normal(0, 0.25, len(names)))
    enhancement = float(np.exp(rng.normal(0, 0.6)))  # background enhancement differs most between women
    ktrans = np.array([_TISSUE[n][1] for n in names]) * variation
    ktrans[names.index("glandular")] *= enhancement
    curves = kinetics.tofts(minutes, ktrans, [_TISSUE[n][2] for n in names], [_TISSUE[n][3] for n in names])
    lesion_curves = kinetics.tofts(minutes, [x.ktrans for x in found], [x.ve for x in found], [x.vp for x in found])

    inside = (body.depth > -2 * voxel_mm).reshape(-1).nonzero()[:, 0]
    take = lambda t: t.reshape(-1)[inside]  # noqa: E731  only body voxels carry signal
    rest = take(1 - lesion_fraction)
    parts = torch.stack([take(body.fractions[n]) for n in names]) * rest
    patchy = take(
        (0.45 * anatomy.smooth_noise(size, 12 / voxel_mm, generator) + 0.3 * anatomy.smooth_noise(size, 4 / voxel_mm, generator)).exp()
    )
    fat_left = _fat_left(size, rng, generator)
    shading = _shading(body, size, rng, generator)
    field = take(shading)
    left = take(fat_left)

    density = torch.tensor([_TISSUE[n][0] for n in names])
    r10 = torch.tensor([1000.0 / kinetics.T1_MS.get(n, 1000.0) for n in names])
    lesion_r10 = 1000.0 / kinetics.T1_MS["lesion"]
    lesion_part = take(lesion_fraction)
    lesion_mod = torch.ones(size)
    lesion_index = torch.zeros(size, dtype=torch.long)
    for n, lesion in enumerate(found):
        here = torch.from_numpy(lesion.fraction) > 0
        lesion_mod[lesion.window] = torch.where(here, torch.from_numpy(lesion.modulation), lesion_mod[lesion.window])
        lesion_index[lesion.window] = torch.where(here, torch.tensor(n), lesion_index[lesion.window])
    has_lesion = lesion_part.nonzero()[:, 0]
    lesion_mod, lesion_index = take(lesion_mod)[has_lesion], take(lesion_index)[has_lesion]

    def signal(
        concentrations: np.ndarray | None, lesion_concentrations: np.ndarray | None, tr_ms: float, flip_deg: float, fat
    ) -> torch.Tensor:
        total = torch.zeros(inside.numel())
        for n, name in enumerate(names):
            r1 = r10[n]
            if concentrations is not None:
                c = float(concentrations[n])
                r1 = r1 + kinetics.RELAXIVITY * c * patchy if name == "glandular" else r1 + kinetics.RELAXIVITY * c
            s = density[n] * kinetics.spoiled_gradient_echo(r1, tr_ms, flip_deg)
            total += parts[n] * s * (fat if name == "fat" else 1.0)
        r1 = torch.full((has_lesion.numel(),), lesion_r10)
        if lesion_concentrations is not None:
            r1 = r1 + kinetics.RELAXIVITY * torch.as_tensor(lesion_concentrations, dtype=torch.float32)[lesion_index] * lesion_mod
        total[has_lesion] += lesion_part[has_lesion] * 0.88 * kinetics.spoiled_gradient_echo(r1, tr_ms, flip_deg)
        return total * field

    reference = float(kinetics.spoiled_gradient_echo(np.array(1000 / kinetics.T1_MS["glandular"]), tr, flip)) * 0.85
    noise = reference / u(5, 20)
    gain = u(80, 200) / reference
    offset = rng.normal(0, u(0.1, 0.8), 3)  # residual motion: mm against the pre-contrast phase, growing with time
    pure = [signal(None, None, tr, flip, left)] + [signal(curves[:, p], lesion_curves[:, p], tr, flip, left) for p in range(posts)]
    phases = []
    for p, values in enumerate(pure):
        volume = torch.zeros(size)
        volume.view(-1)[inside] = values
        move = offset * p / posts + rng.normal(0, 0.15, 3) * (p > 0)
        phases.append(_finish(_shift(volume, move / voxel_mm), noise, gain, generator))
    t1 = None
    if with_t1 if with_t1 is not None else rng.random() < 0.5:
        volume = torch.zeros(size)
        volume.view(-1)[inside] = signal(None, None, u(5, 9), u(14, 22), 1.0)
        t1 = _finish(volume, noise, gain, generator)
    return phases, times, t1


def _fat_left(size, rng, generator) -> torch.Tensor:
    """Fraction of the fat signal that escapes fat saturation: low, with regions where saturation fails."""
    base = rng.uniform(0.06, 0.25)
    field = anatomy.smooth_noise(size, size[0] / 2.5, generator)
    return base + 0.6 * torch.sigmoid((field - rng.uniform(1.4, 2.6)) * 4.0)


def _shading(body, size, rng, generator) -> torch.Tensor:
    """Receive sensitivity: strong near the coil in front, falling towards the back; slow variation."""
    fall = torch.exp(body.front.clamp(-120, 140) / rng.uniform(110, 260))
    return fall * (1 + 0.15 * anatomy.smooth_noise(size, size[0] / 3, generator)).clamp_min(0.3)


def _shift(volume: torch.Tensor, voxels: np.ndarray) -> torch.Tensor:
    """Translate by a sub-voxel distance, linearly."""
    for axis, amount in enumerate(voxels):
        amount = float(np.clip(amount, -1, 1))
        if abs(amount) > 1e-3:
            volume = torch.lerp(volume, torch.roll(volume, 1 if amount > 0 else -1, axis), abs(amount))
    return volume


def _finish(volume: torch.Tensor, noise: float, gain: float, generator: torch.Generator) -> np.ndarray:
    """Rician magnitude, scanner units, uint16."""
    real = volume + noise * torch.randn(volume.shape, generator=generator)
    # the imaginary channel needs noise independent of the real one at each voxel only: the same field, displaced, will do
    imaginary = torch.roll((real - volume).reshape(-1), 1_000_003).reshape(volume.shape)
    return (torch.hypot(real, imaginary) * gain).clamp(0, 65535).round().to(torch.int32).numpy().astype(np.uint16)
