"""Nipples and the thicker skin of the areola around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .grid import Grid, bent, soft
from .woman import Breast, Woman

_THICKER = 1.1  # skin of the areola, in thicknesses of the skin added (chosen)
_ROOT_MM = 4.0  # of the nipple below the skin (chosen)


@dataclass(frozen=True)
class Nipple:
    """Radius and height of the nipple and radius of the areola in mm, and its place on the skin."""

    radius: float
    height: float
    areola: float
    at: np.ndarray

    def share(self, grid: Grid, device: torch.device | str) -> tuple[tuple[slice, ...], torch.Tensor]:
        """Window of a grid and share of its voxels in the nipple: a rounded cylinder."""
        width, half = max(grid.spacing), (self.height + _ROOT_MM) / 2
        aside = self.radius + width
        low, high = (aside, _ROOT_MM + width, aside), (aside, self.height + width, aside)
        window = grid.window(self.at - low, self.at + high)
        axes = [axis[w] - float(c) for axis, w, c in zip(grid.axes(device), window, self.at)]
        x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        across, along = (x.square() + z.square()).sqrt_(), (y - half + _ROOT_MM).abs_()
        return window, soft(self.radius - across - 0.12 * along.square(), width) * soft(half - along, width)


def draw_nipple(rng: np.random.Generator, breast: Breast, grid: Grid, bend: Sequence[torch.Tensor]) -> Nipple:
    """A nipple of a breast, flat to 8 mm high as it lies in the coil (chosen)."""
    radius, height = rng.uniform(5.0, 8.0), float(np.clip(rng.normal(4.0, 1.8), 0.5, 8))
    return Nipple(radius, height, rng.uniform(13, 26), bent(breast.nipple[None], grid, bend)[0])


def skin_mm(straight: tuple, woman: Woman, nipples: Sequence[Nipple]) -> torch.Tensor | float:
    """Thickness of the skin at points (x, y, z that broadcast, mm), more in the areola."""
    thick = woman.skin_mm
    for nipple in nipples:
        if (straight[0] - float(nipple.at[0])).abs().min() > nipple.areola + 4:
            continue
        distance2 = sum((axis - float(c)) ** 2 for axis, c in zip(straight, nipple.at))
        edge = (nipple.areola - distance2.sqrt_()).mul_(1 / 4.0).clamp_(0, 1)
        thick = edge.mul_(_THICKER * woman.skin_mm) + thick
    return thick
