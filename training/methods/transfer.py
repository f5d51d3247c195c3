"""Carry a network from a coarse input to one of half the voxel size, so that learning can begin where exams
are small.

A stem of kernel k and stride s that reads voxels of 4.4 mm becomes one of kernel 2k + 1 and stride 2s that
reads 2.2 mm: each tap is spread over its fine neighbours with weights ½, 1, ½ along every axis (over 2). From
the stem on, both networks work on the same grid, so nothing else changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.resnet import NetworkSettings


def _spread(kernel: torch.Tensor) -> torch.Tensor:
    """Stem weights (out, in, k, k, k) at spacing 2h → (out, in, 2k+1, …) at spacing h, with the same sum."""
    k = kernel.shape[-1]
    matrix = torch.zeros(2 * k + 1, k)
    for tap in range(k):
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            matrix[2 * tap + 1 + offset, tap] += weight
    return torch.einsum("ocxyz,ix,jy,kz->ocijk", kernel.float(), matrix, matrix, matrix)


def _halve_voxels(
    state: dict[str, torch.Tensor], settings: NetworkSettings
) -> tuple[dict[str, torch.Tensor], NetworkSettings]:
    """Weights and settings for an input of half the voxel size."""
    wider = replace(settings, stem_kernel=2 * settings.stem_kernel + 1, stem_stride=2 * settings.stem_stride)
    return {**state, "stem.0.weight": _spread(state["stem.0.weight"])}, wider


def to_spacing(
    state: dict[str, torch.Tensor], settings: NetworkSettings, spacing_mm: float, wanted_mm: float
) -> tuple[dict[str, torch.Tensor], NetworkSettings]:
    """Weights and settings for another voxel size.

    Parameters
    ----------
    state : dict
        Weights by name.
    settings : NetworkSettings
        Of the network they are of.
    spacing_mm, wanted_mm : float
        Voxel size that they read, and that is wanted: the same or smaller by a power of two.

    Returns
    -------
    state : dict
        Weights for the wanted size.
    settings : NetworkSettings
        Likewise; cells lie as far apart in mm as before.

    Raises
    ------
    InputError
        For another voxel size.
    """
    halvings = float(np.log2(spacing_mm / wanted_mm))
    if abs(halvings - round(halvings)) > 1e-6 or halvings < -1e-6:
        raise InputError(
            f"Weights for {spacing_mm} mm cannot be carried to {wanted_mm} mm; "
            "halve the voxel size, once or more."
        )
    for _ in range(round(halvings)):
        state, settings = _halve_voxels(state, settings)
    return state, settings
