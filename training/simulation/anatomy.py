"""A woman lying prone in a breast coil: tissue fractions on the scanner's grid.

Coordinates in mm: x towards the patient's right, y towards the front (down, as she lies), z towards the head; origin on
the skin over the sternum. Shapes and their ranges are chosen to look like the public exams; they are not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Anatomy:
    """float32 fractions [i, j, k] in 0–1. depth: mm below the skin (negative in air). breast: side −1 left, +1 right, 0 none."""

    fractions: dict[str, torch.Tensor]
    depth: torch.Tensor
    breast: torch.Tensor
    front: torch.Tensor  # mm in front of the chest wall


def smooth_noise(shape, cell: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise of unit variance, correlated over about ``cell`` voxels: a coarse random grid, interpolated linearly."""
    cell = max(float(cell), 1.0)
    noise = torch.randn([int(np.ceil(n / cell)) + 2 for n in shape], generator=generator)
    for axis, n in enumerate(shape):  # one product per axis is much faster than trilinear up-sampling
        place = torch.arange(n) / cell
        low = place.floor().long()
        matrix = torch.zeros(n, noise.shape[axis])
        matrix[torch.arange(n), low] = 1 - (place - low)
        matrix[torch.arange(n), low + 1] += place - low
        noise = torch.tensordot(matrix, noise, dims=([1], [axis])).movedim(0, axis)
    noise = noise.contiguous()
    sample = noise[::2, ::2, ::2]
    return (noise - sample.mean()) / sample.std().clamp_min(1e-6)


def _soft(signed_mm: torch.Tensor, width_mm: float) -> torch.Tensor:
    """Partial volume: 1 where the signed distance is well inside (positive), 0 outside."""
    return (signed_mm / width_mm + 0.5).clamp(0, 1)


def _ellipsoid(x, y, z, centre, radii) -> torch.Tensor:
    """Approximate signed distance in mm, positive inside."""
    q2 = sum(((c - m) / r) ** 2 for c, m, r in zip((x, y, z), centre, radii))
    q = q2.clamp_min(1e-6).sqrt()
    slope = sum(((c - m) / r**2) ** 2 for c, m, r in zip((x, y, z), centre, radii)).clamp_min(1e-8).sqrt() / q
    return (1 - q) / slope.clamp_min(1e-3)


def build(
    x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, voxel_mm: float, rng: np.random.Generator, generator: torch.Generator
) -> Anatomy:
    """Tissues for coordinates x (n,1,1), y (1,n,1), z (1,1,n)."""
    shape = (x.shape[0], y.shape[1], z.shape[2])
    u = rng.uniform
    cell = 45.0 / voxel_mm
    bend = [smooth_noise(shape, cell, generator) * u(1.0, 4.0) for _ in range(3)]
    x, y, z = x + bend[0], y + bend[1], z + bend[2]

    half_width, half_depth = u(140, 175), u(90, 120)
    cover = u(9, 20)  # skin to muscle over the sternum
    q = ((x / half_width) ** 2 + ((y + half_depth) / half_depth) ** 2).clamp_min(1e-6).sqrt()
    slope = ((x / half_width**2) ** 2 + ((y + half_depth) / half_depth**2) ** 2).clamp_min(1e-9).sqrt() / q
    torso = (1 - q) / slope.clamp_min(2e-3)

    centre_x, size = u(72, 95), u(0.75, 1.25)
    projection = u(55, 125)
    middle_z = u(-10, 10)
    breasts = []
    for side in (-1, 1):
        radii = (size * u(56, 70), projection * u(0.93, 1.07) + 20, size * u(62, 84))
        centre = (side * centre_x * u(0.95, 1.05), -25 - u(0, 10), middle_z + u(-6, 6))
        breasts.append((side, centre, radii, _ellipsoid(x, y, z, centre, radii)))
    both = torch.maximum(breasts[0][3], breasts[1][3])
    blend = 10.0  # smooth union of breasts and chest
    h = (0.5 + 0.5 * (both - torso) / blend).clamp(0, 1)
    depth = torso + (both - torso) * h + blend * h * (1 - h)
    body = _soft(depth, voxel_mm)
    wall = torso - cover  # > 0 behind the chest wall
    front = -wall

    tissue: dict[str, torch.Tensor] = {}
    skin_mm = u(1.5, 2.6)
    skin = body * _soft(skin_mm - depth, voxel_mm)
    inner = body - skin
    muscle_mm = u(8, 18)
    muscle = inner * _soft(wall, voxel_mm) * _soft(muscle_mm - wall, voxel_mm)
    chest = inner * _soft(wall - muscle_mm, voxel_mm)
    breast_side = torch.zeros(shape)
    glandular = torch.zeros(shape)
    density = u(0.0, 1.0) ** 1.3
    texture = 0.75 * smooth_noise(shape, u(4, 8) / voxel_mm, generator) + 0.5 * smooth_noise(shape, u(9, 16) / voxel_mm, generator)
    texture += 0.3 * smooth_noise(shape, 2.5 / voxel_mm, generator)
    for side, centre, radii, inside in breasts:
        within = (inside > 0) & (front > 0)
        breast_side[within] = side
        # glandular tissue: a cone that opens backwards from behind the nipple
        tip = centre[1] + radii[1] * 0.9
        across = (((x - centre[0]) / (radii[0] * 0.62)) ** 2 + ((z - centre[2]) / (radii[2] * 0.62)) ** 2).sqrt()
        along = ((tip - y) / (radii[1] * 0.9)).clamp(0, 1.2)
        cone = 1.0 - across / (0.25 + 0.85 * along.sqrt()) - 0.4 * (along - 0.75).clamp_min(0)
        fraction = torch.sigmoid((1.6 * cone + 0.9 * texture - 1.2 + 1.9 * density) * 3.0)
        glandular += within * fraction * _soft(inside - 2.0, 4.0) * _soft(front - 3.0, 5.0) * (cone > -1.2)
        nipple = _ellipsoid(x, y, z, (centre[0] + side * u(-4, 10), centre[1] + radii[1] + 1.0, centre[2] + u(-5, 5)), (6.0, 6.5, 6.0))
        knob = _soft(nipple, voxel_mm)
        skin = torch.maximum(skin, knob)
        inner = torch.minimum(inner, 1 - knob)
    glandular = glandular.clamp(0, 1) * (inner - muscle - chest).clamp_min(0)

    heart = chest * _soft(
        _ellipsoid(x, y, z, (-u(15, 35), -u(62, 75) - cover * 0.5, middle_z - u(-5, 25)), (u(42, 55), u(34, 44), u(48, 60))), voxel_mm * 2
    )
    aorta = chest * _soft(_ellipsoid(x, y, z, (-u(8, 18), -u(130, 150), 0.0), (11.0, 11.0, 900.0)), voxel_mm)
    arch = chest * _soft(_ellipsoid(x, y, z, (u(-5, 12), -u(55, 70), middle_z + u(50, 75)), (u(16, 26), u(16, 24), u(28, 40))), voxel_mm)
    liver = chest * _soft(
        _ellipsoid(x, y, z, (u(35, 60), -u(80, 95), middle_z - u(105, 130)), (u(80, 100), u(60, 75), u(50, 70))), voxel_mm * 2
    )
    blood = torch.maximum(torch.maximum(heart, aorta), arch)
    liver = torch.minimum(liver, (chest - blood).clamp_min(0))
    vessels = _vessels(x, y, z, breasts, front, voxel_mm, cover, rng, shape)
    room = (inner - muscle - chest).clamp_min(0)
    vessels_in = torch.minimum(vessels, (inner - blood - liver).clamp_min(0))
    glandular = torch.minimum(glandular, (room - vessels_in).clamp_min(0))
    tissue["skin"], tissue["muscle"], tissue["blood"] = skin, (muscle - vessels_in).clamp_min(0), blood + vessels_in
    tissue["liver"], tissue["glandular"] = liver, glandular
    tissue["lung"] = (chest - blood - liver).clamp_min(0)
    tissue["fat"] = (body - sum(tissue.values())).clamp_min(0)
    return Anatomy(tissue, depth, breast_side, front)


def _vessels(x, y, z, breasts, front, voxel_mm, cover, rng, shape) -> torch.Tensor:
    """Blood fraction of smooth random vessels in the breasts and of the two internal mammary vessels."""
    out = np.zeros(shape, dtype=np.float32)
    axes = [np.asarray(a.reshape(shape) if a.numel() == np.prod(shape) else a.expand(shape)) for a in (x, y, z)]
    # vessel paths run in voxel space: the bend of the anatomy is small against their own wandering
    gx, gy, gz = axes[0][:, 0, 0], axes[1][0, :, 0], axes[2][0, 0, :]

    def paint(points: np.ndarray, radii: np.ndarray) -> None:
        for point, radius in zip(points, radii):
            index = [int(np.abs(g - c).argmin()) for g, c in zip((gx, gy, gz), point)]
            reach = int(np.ceil(radius / voxel_mm)) + 1
            window = tuple(slice(max(0, n - reach), n + reach + 1) for n in index)
            distance = np.sqrt(
                (gx[window[0], None, None] - point[0]) ** 2
                + (gy[None, window[1], None] - point[1]) ** 2
                + (gz[None, None, window[2]] - point[2]) ** 2
            )
            out[window] = np.maximum(
                out[window], np.clip((radius - distance) / voxel_mm + 0.5, 0, 1) * min(1.0, (2 * radius / voxel_mm) ** 2)
            )

    for side in (-1, 1):
        z_line = np.arange(-90, 90, voxel_mm)
        paint(
            np.stack([np.full_like(z_line, side * 24.0), np.full_like(z_line, -cover - 9.0), z_line], 1),
            np.full(z_line.size, rng.uniform(1.2, 2.0)),
        )
    for _side, centre, radii, _ in breasts:
        for _vessel in range(rng.integers(2, 8)):
            start = np.array(
                [centre[0] + rng.uniform(-0.6, 0.6) * radii[0], rng.uniform(-10, 5), centre[2] + rng.uniform(-0.7, 0.7) * radii[2]]
            )
            aim = np.array(
                [
                    centre[0] + rng.uniform(-0.5, 0.5) * radii[0],
                    centre[1] + radii[1] * rng.uniform(0.5, 0.9),
                    centre[2] + rng.uniform(-0.5, 0.5) * radii[2],
                ]
            )
            steps = int(np.linalg.norm(aim - start) / (voxel_mm * 0.8))
            t = np.linspace(0, 1, max(steps, 2))[:, None]
            sway = sum(rng.normal(0, 7 / n, 3) * np.sin(np.pi * n * t + rng.uniform(0, np.pi)) for n in (1, 2, 3))
            paint(start + (aim - start) * t + sway, np.linspace(rng.uniform(0.9, 1.8), 0.5, len(t)))
    return torch.from_numpy(out)
