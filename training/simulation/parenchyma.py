"""Glandular tissue: lobes in a cone behind the nipple, strands towards it, Cooper's ligaments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .grid import Grid, sheet, smooth_noise, soft, unit_variance
from .torso import InBreast
from .woman import Woman

# Threshold of the glandular texture and its reach. Chosen so that the share of glandular tissue and skin in
# the breast comes near that of 2831 women: mean 19 %, 80 % of them below 27 %, 95 % below 45 % (Yaffe et al.,
# Med Phys 2009;36:5437–5443)
_SPARSE, _DENSE, _STEEP = 2.6, 3.4, 3.0
_STROMA = 0.45  # share of connective tissue, which hardly enhances, in the lobes (chosen)
_STRAND_CELLS, _STRAND_MM = (7.0, 24.0, 7.0), 1.5  # strands run towards the front (chosen)
_LIGAMENT_CELL, _LIGAMENT_MM = (
    (14.0, 36.0, 14.0),
    0.6,
)  # distance and thickness of Cooper's ligaments (chosen)
_STEEPNESS = 2.6  # mean slope of a random field of unit variance, in its cells


@dataclass(frozen=True)
class Texture:
    """Random fields of the rows in front of the chest: lobes, two whose common zeros are strands, and one
    whose zeros are ligaments."""

    lobes: torch.Tensor
    strands: tuple[torch.Tensor, torch.Tensor]
    ligaments: torch.Tensor

    def slab(self, planes: slice) -> Texture:
        return Texture(self.lobes[planes], tuple(s[planes] for s in self.strands), self.ligaments[planes])


def draw_texture(
    grid: Grid, rng: np.random.Generator, fields: Iterator[np.random.Generator], device, rows: slice
) -> Texture:
    """Draw the random fields of a woman's breasts; rows: of the second axis."""

    def noise(cell):
        return smooth_noise(grid, cell, next(fields), device, rows)

    lobes = noise((*(2 * [rng.uniform(4, 7)]), rng.uniform(4, 7))).mul_(0.7)
    lobes += noise(rng.uniform(10, 20)).mul_(0.8)
    lobes += noise((2.5, 5.0, 2.5)).mul_(0.35)
    lobes = unit_variance(lobes).mul_(1.12)
    strands = tuple(unit_variance(noise(_STRAND_CELLS)) for _ in range(2))
    return Texture(lobes, strands, unit_variance(noise(_LIGAMENT_CELL)))


def parenchyma(
    place: InBreast, front: torch.Tensor, texture: Texture, woman: Woman, voxel_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of glandular and of fibrous tissue of a breast in a slab.

    Parameters
    ----------
    place : InBreast
        Of the voxels in the breast.
    front : torch.Tensor
        mm in front of the chest wall.
    texture : Texture
        Of the same voxels.
    woman : Woman
        Her density.
    voxel_mm : float
        Of the grid.
    """
    # a cone that opens backwards from behind the nipple
    along = (0.92 - place.along).mul_(1 / 0.92).clamp_(0, 1.2)
    across = place.across2.clamp_min(0).sqrt_().mul_(1 / 0.66)
    cone = 1.0 - across / (0.22 + 0.85 * along.sqrt()) - 0.4 * (along - 0.75).clamp_min_(0)
    lobes = torch.sigmoid((2.2 * cone + texture.lobes - _SPARSE + _DENSE * woman.density).mul_(_STEEP))
    # strands: ducts and septa with what glandular tissue is left along them, in a wider cone
    first, second = (
        sheet(field, _STEEPNESS / _STRAND_CELLS[0], _STRAND_MM, voxel_mm) for field in texture.strands
    )
    strands = first.mul_(second).mul_((cone + 1.0).clamp_(0, 1)).mul_(0.6 + 0.6 * woman.density)
    room = soft(place.signed - 3.0, 4.0).mul_(soft(front - 3.0, 5.0))
    lobes = lobes.mul_(room)
    glandular = (lobes * (1 - _STROMA)).add_(strands.mul_(room)).clamp_(max=1)
    # ligaments reach the skin
    ligaments = sheet(texture.ligaments, _STEEPNESS / _LIGAMENT_CELL[0], _LIGAMENT_MM, voxel_mm)
    ligaments = ligaments.mul_(soft(place.signed, voxel_mm)).mul_(soft(front, voxel_mm))
    fibrous = torch.minimum((lobes * _STROMA).add_(ligaments), 1 - glandular)
    return glandular, fibrous
