"""Carry weights learned at 2.2 mm over to the 1.1 mm network, and read and write plain weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from BreastCMSLLib.network import BreastNet, NetworkSettings


def half_settings(settings: NetworkSettings) -> NetworkSettings:
    """The network that reads 2.2 mm exams: a 3³ stem of half the stride; from there on the grids are those of the full one."""
    return replace(settings, stem_kernel=3, stem_stride=settings.stem_stride // 2)


def full_from_half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State of the 1.1 mm network (7³ stem, twice the stride) that answers as the 2.2 mm one does on the averaged exam.

    A cell of the averaged exam is two voxels per axis, so three taps become six of half the weight. Six taps lie half a
    voxel to one side of the output's centre; the mean of both placements is symmetric and keeps cell i on voxel S·i.
    """
    matrix = torch.zeros(7, 3)
    for tap in range(3):
        for placement in (0, 1):
            for voxel in (0, 1):
                matrix[2 * tap + placement + voxel, tap] += 0.25
    stem = torch.einsum("ocxyz,ax,by,dz->ocabd", state["stem.0.weight"].float(), matrix, matrix, matrix)
    return {**state, "stem.0.weight": stem}


def save_weights(network: BreastNet, path: Path) -> None:
    """Float32 safetensors, written atomically."""
    partial = path.with_suffix(".part")
    save_file({k: v.detach().float().contiguous() for k, v in network.state_dict().items()}, partial)
    partial.replace(path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)
