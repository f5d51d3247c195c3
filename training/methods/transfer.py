"""Carry a network from a coarse input to one of half the voxel size, so that learning can begin where exams
are small, and back.

A stem of kernel k and stride s that reads voxels of 4.4 mm becomes one of kernel 2k + 1 and stride 2s that
reads 2.2 mm: each tap is spread over its fine neighbours with weights ½, 1, ½ along every axis (over 2). From
the stem on, both networks work on the same grid, so nothing else changes. The way back takes the coarse taps
whose spreading comes nearest to the fine ones (least squares): what was only carried comes back as it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.resnet import NetworkSettings


def _spreading(taps: int) -> torch.Tensor:
    """(2k + 1, k) matrix from k taps at spacing 2h to those at spacing h, of the same sum."""
    matrix = torch.zeros(2 * taps + 1, taps)
    for tap in range(taps):
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            matrix[2 * tap + 1 + offset, tap] += weight
    return matrix


def _along_each_axis(matrix: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ocxyz,ix,jy,kz->ocijk", kernel.float(), matrix, matrix, matrix)


def _halve_voxels(
    state: dict[str, torch.Tensor], settings: NetworkSettings
) -> tuple[dict[str, torch.Tensor], NetworkSettings]:
    """Weights and settings for an input of half the voxel size."""
    kernel = _along_each_axis(_spreading(settings.stem_kernel), state["stem.0.weight"])
    wider = replace(settings, stem_kernel=2 * settings.stem_kernel + 1, stem_stride=2 * settings.stem_stride)
    return {**state, "stem.0.weight": kernel}, wider


def _double_voxels(
    state: dict[str, torch.Tensor], settings: NetworkSettings
) -> tuple[dict[str, torch.Tensor], NetworkSettings]:
    """Weights and settings for an input of twice the voxel size. Raises InputError for a stem without one."""
    taps, odd = divmod(settings.stem_kernel - 1, 2)
    if odd or taps % 2 == 0 or settings.stem_stride % 2:
        raise InputError(
            f"A stem of kernel {settings.stem_kernel} and stride {settings.stem_stride} "
            "cannot be carried to coarser voxels; start from another run."
        )
    kernel = _along_each_axis(torch.linalg.pinv(_spreading(taps)), state["stem.0.weight"])
    narrower = replace(settings, stem_kernel=taps, stem_stride=settings.stem_stride // 2)
    return {**state, "stem.0.weight": kernel}, narrower


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
        Voxel size that they read, and that is wanted: the same, or another by a power of two.

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
    if abs(halvings - round(halvings)) > 1e-6:
        raise InputError(
            f"Weights for {spacing_mm} mm cannot be carried to {wanted_mm} mm; "
            "halve or double the voxel size, once or more."
        )
    step = _halve_voxels if halvings > 0 else _double_voxels
    for _ in range(abs(round(halvings))):
        state, settings = step(state, settings)
    return state, settings
