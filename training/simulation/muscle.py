"""Muscles of the chest with their texture, ribs and breastbone, arms."""

from __future__ import annotations

import numpy as np
import torch

from .grid import ramp, soft
from .torso import Surfaces
from .woman import Woman

CAGE_MM = 10.5  # depth of ribs and intercostal muscles (chosen)
_RIB_PITCH_MM, _RIB_HEIGHT_MM, _RIB_SLOPE = (
    26.0,
    12.0,
    0.5,
)  # chosen: slope along the body for each mm forward
_BREASTBONE_MM = 17.0  # half its width, chosen
_ARM_FAT_MM, _BONE_MM, _RAGGED_MM = 11.0, 11.0, 1.0


def chest(
    at: list[torch.Tensor], surfaces: Surfaces, woman: Woman, texture: torch.Tensor, voxel_mm: float
) -> dict[str, torch.Tensor]:
    """Shares of the voxels behind the chest wall.

    From outside: the greater pectoral muscle in front of the axilla, which reaches farther to the side the
    nearer to the shoulder; fat; the lesser pectoral muscle and serratus on the ribs; ribs with muscle between
    them; the chest's inside. Muscle is crossed by fat and by small vessels, so that it washes out unevenly.

    Parameters
    ----------
    at : list of torch.Tensor
        (i, j, k) mm along x, y, z.
    surfaces : Surfaces
        Signed distances there.
    woman : Woman
        Her sizes.
    texture : torch.Tensor
        (i, j, k) noise of unit variance.
    voxel_mm : float
        Of the grid.

    Returns
    -------
    dict
        muscle, bone, blood, and "inside": of the rib cage, for lungs and organs.
    """
    behind, cage = soft(surfaces.wall, voxel_mm), soft(surfaces.ribs, voxel_mm)
    inside = soft(surfaces.ribs - CAGE_MM, voxel_mm)
    cage = torch.minimum(cage, behind)
    inside = torch.minimum(inside, cage)
    between, shell = behind - cage, cage - inside
    bone = _bones(at, surfaces.ribs, shell, voxel_mm)
    ragged = texture * _RAGGED_MM
    muscle = torch.maximum(
        _pectoral(at, surfaces, ragged, woman, voxel_mm), _deep(at, surfaces, ragged, woman, voxel_mm)
    )
    muscle = muscle.mul_(between).add_(shell).sub_(bone)
    if surfaces.arms is not None:
        arm = soft(surfaces.arms - _ARM_FAT_MM, voxel_mm).mul_(1 - behind)
        humerus = soft(surfaces.arms - (woman.arms.radius - _BONE_MM), voxel_mm).mul_(1 - behind)
        muscle, bone = muscle.add_(arm - humerus), bone.add_(humerus)
    streaks = (texture - 0.9).clamp_(0, 1).mul_(0.35)  # fat between the fibres
    vessels = (-0.9 - texture).clamp_(0, 1).mul_(0.14)
    blood = muscle * vessels
    muscle = muscle.mul_(1 - streaks - vessels)
    return {"muscle": muscle, "bone": bone, "blood": blood, "inside": inside}


def _pectoral(
    at: list[torch.Tensor], surfaces: Surfaces, ragged: torch.Tensor, woman: Woman, voxel_mm: float
) -> torch.Tensor:
    """The greater pectoral muscle, and the thin layer of muscle below it and of the back beside it."""
    above = at[2][0, 0].cpu().numpy() - woman.middle_z
    thick = 4.0 + (0.62 * woman.muscle_mm - 4.0) * ramp(above, -70.0, -30.0) + 5.0 * ramp(above, 40.0, 120.0)
    reach = 0.62 + 0.33 * ramp(above, -20.0, 110.0)  # of the half width of the chest
    half, front, depth = woman.wall(at[2][0, 0].cpu().numpy())
    thick, reach, back = (
        torch.as_tensor(np.float32(v), device=at[2].device)
        for v in (thick, reach * half, front - 1.15 * depth)
    )
    aside = (reach - at[0].abs()).mul_(1 / 8.0).add_(0.5).clamp_(0, 1)
    forward = (at[1] - back).mul_(1 / 8.0).clamp_(0, 1)
    layer = soft(thick + ragged - surfaces.wall, voxel_mm)
    return layer.mul_(aside.mul_(forward)).add_(1 - forward).clamp_(max=1)


def _deep(
    at: list[torch.Tensor], surfaces: Surfaces, ragged: torch.Tensor, woman: Woman, voxel_mm: float
) -> torch.Tensor:
    """The lesser pectoral muscle in front of the upper ribs and a thin layer on the others."""
    z = at[2][0, 0].cpu().numpy()
    thick = 2.0 + 0.3 * woman.muscle_mm * ramp(z - woman.middle_z, 0.0, 60.0)
    thick = torch.as_tensor(np.float32(thick), device=at[2].device)
    return soft(surfaces.ribs + thick - ragged, voxel_mm)


def _bones(at: list[torch.Tensor], ribs: torch.Tensor, shell: torch.Tensor, voxel_mm: float) -> torch.Tensor:
    """Ribs slope forward and down; the breastbone lies between them in front."""
    level = torch.remainder(at[2] + _RIB_SLOPE * at[1], _RIB_PITCH_MM).sub_(_RIB_PITCH_MM / 2).abs_()
    rib = soft(_RIB_HEIGHT_MM / 2 - level, max(voxel_mm, 2.0))
    rib = rib.mul_(soft(ribs - 1.5, voxel_mm)).mul_(soft(9.5 - ribs, voxel_mm))
    breastbone = soft(_BREASTBONE_MM - at[0].abs(), 2 * voxel_mm).mul_(at[1] > -60)
    return torch.maximum(rib, breastbone.mul_(soft(ribs - 1.0, voxel_mm))).mul_(shell)
