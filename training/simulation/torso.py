"""The skin, the chest wall and the rib cage: signed distances of every voxel in mm, positive inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .grid import Grid, smooth_union
from .woman import Arms, Breast, Woman

_BREAST_BLEND_MM, _ARM_BLEND_MM = 13.0, 18.0  # over which breasts and shoulders run into the chest
_FAR_MM = -1e3
BACK_MM = 45.0  # depth of a breast behind its centre


@dataclass(frozen=True)
class Levels:
    """Outlines of the torso at the grid's levels: width and front as (k,) tensors, mm; depth is a number."""

    skin: tuple
    wall: tuple
    ribs: tuple


@dataclass(frozen=True)
class InBreast:
    """Where a slab's voxels lie in a breast: signed distance of its skin, share of its radius (squared) and
    of its depth."""

    breast: Breast
    signed: torch.Tensor
    across2: torch.Tensor
    along: torch.Tensor


@dataclass(frozen=True)
class Surfaces:
    """Signed distances in mm, positive inside: skin, arms, chest wall, rib cage; and the breasts.

    ``rows`` of the second axis hold all that lies in ``breasts``.
    """

    depth: torch.Tensor
    arms: torch.Tensor | None
    wall: torch.Tensor
    ribs: torch.Tensor
    breasts: list[InBreast]
    rows: slice


def levels(grid: Grid, woman: Woman, device: torch.device | str) -> Levels:
    """The torso's outlines at each level of a grid."""
    z = grid.centres(2)

    def outline(width, front, depth):
        return *(torch.as_tensor(np.float32(v), device=device) for v in (width, front)), depth

    return Levels(*(outline(*of(z)) for of in (woman.skin, woman.wall, woman.ribs)))


def surfaces(at: list[torch.Tensor], outlines: Levels, woman: Woman, rows: slice) -> Surfaces:
    """Signed distances of a slab.

    Parameters
    ----------
    at : list of torch.Tensor
        (i, j, k) mm along x, y, z.
    outlines : Levels
        Of the grid.
    woman : Woman
        Her sizes.
    rows : slice
        Of the second axis, in front of the chest.
    """
    torso, wall, ribs = (_ellipse(at, *outline) for outline in (outlines.skin, outlines.wall, outlines.ribs))
    arms = _arms(at, woman.arms)
    skin = torso if arms is None else smooth_union(torso, arms, _ARM_BLEND_MM)
    front = [axis[:, rows] for axis in at]
    breasts = [_in_breast(front, breast) for breast in woman.breasts if _within_reach(front[0], breast)]
    for place in breasts:
        skin[:, rows] = smooth_union(skin[:, rows], place.signed, _BREAST_BLEND_MM)
    return Surfaces(skin, arms, wall, ribs, breasts, rows)


def _ellipse(at: list[torch.Tensor], width: torch.Tensor, front: torch.Tensor, depth: float) -> torch.Tensor:
    across, along = at[0] / width, (at[1] - (front - depth)).mul_(1 / depth)
    q2 = across.square() + along.square()
    slope = across.div_(width).square_().add_(along.mul_(1 / depth).square_())
    q = q2.clamp_min_(1e-6).sqrt_()
    slope = slope.clamp_min_(1e-9).sqrt_().div_(q).clamp_min_(2e-3)
    return (1 - q).div_(slope)


def _arms(at: list[torch.Tensor], arms: Arms) -> torch.Tensor | None:
    """Both arms' signed distance; None where they are out of view."""
    (x0, y0, z0), (wx, wy, wz), reach = arms.shoulder, arms.way, arms.radius + 2 * _ARM_BLEND_MM
    z = at[2][0, 0]
    near = ((z > min(z0, z0 + wz) - reach) & (z < max(z0, z0 + wz) + reach)).nonzero()[:, 0]
    if not len(near):
        return None
    first, last = int(near[0]), int(near[-1]) + 1
    x, y, z = (axis[..., first:last] for axis in at)
    x, y, z = x.abs() - x0, y - y0, z - z0
    t = (x * wx).add_(y * wy).add_(z * wz).mul_(1 / (wx**2 + wy**2 + wz**2)).clamp_(0, 1)
    distance2 = (x - t * wx).square_().add_((y - t * wy).square_()).add_((z - t * wz).square_())
    signed = torch.full_like(at[0], _FAR_MM)
    signed[..., first:last] = arms.radius - distance2.sqrt_()
    return signed


def _within_reach(x: torch.Tensor, breast: Breast) -> bool:
    ends = breast.centre[0], breast.centre[0] + breast.lean[0] * breast.radii[1]
    reach = breast.radii[0] + 20
    return bool(x[-1].max() > min(ends) - reach and x[0].min() < max(ends) + reach)


def _in_breast(at: list[torch.Tensor], breast: Breast) -> InBreast:
    (cx, cy, cz), (rx, ry, rz), m = breast.centre, breast.radii, breast.fullness
    y = at[1] - cy
    x = (at[0] - cx).sub_(y, alpha=breast.lean[0]).mul_(1 / rx)
    z = (at[2] - cz).sub_(y, alpha=breast.lean[1]).mul_(1 / rz)
    along = torch.where(y > 0, y * (1 / ry), y * (1 / BACK_MM))
    x2, z2, t2 = x.square_(), z.square_(), along.square()
    across2 = x2 + z2
    q = (t2 * t2).mul_(m).add_(t2, alpha=1 - m).add_(across2).clamp_min_(1e-6).sqrt_()
    # |∇q| = |∇F| / 2q
    rise = t2.clone().mul_(2 * m).add_(1 - m).square_().mul_(t2).mul_(1 / ry**2)
    slope = x2.mul_(1 / rx**2).add_(z2.mul_(1 / rz**2)).add_(rise)
    slope = slope.clamp_min_(1e-9).sqrt_().div_(q).clamp_min_(2e-3)
    return InBreast(breast, (1 - q).div_(slope), across2, along)
